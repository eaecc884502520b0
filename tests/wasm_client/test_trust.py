"""What the client says of devices behind which no hardware stands."""

from __future__ import annotations

import pytest

from schannel.events import EnclaveVerified
from schannel.policy import KEYSTONE_TEST_DEVICE_KEY
from wasm_client.trust import warn


@pytest.mark.parametrize(
    ("simulated", "key", "said"),
    [
        (True, bytes(32), "this enclave is simulated"),
        (True, KEYSTONE_TEST_DEVICE_KEY, "the test key that Keystone publishes"),
        (False, bytes(32), ""),
    ],
)
def test_a_device_without_hardware_is_told(
    simulated: bool, key: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = bytes(64)
    warn(EnclaveVerified(simulated, empty, empty, key, empty[:32], (1, 0, 0), (), empty[:32], empty, b""))
    written = capsys.readouterr().err
    assert said in written and bool(written) == bool(said)
