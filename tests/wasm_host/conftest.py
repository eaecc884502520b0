"""What several of the host's tests share."""

from __future__ import annotations

import pytest

from wasm_host import relay


@pytest.fixture(params=["c", "python"])
def either_relay(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs twice: what is plain is passed on by the extension, and by Python."""
    if request.param == "python":
        monkeypatch.setattr(relay, "_Pump", None)
    elif relay.pump_unavailable_because:
        pytest.skip(relay.pump_unavailable_because)
