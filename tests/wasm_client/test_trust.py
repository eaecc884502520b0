"""What the client says of devices behind which no hardware stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from riscv.keystone import TEST_DEVICE
from schannel.ed25519_sha3 import ED25519_SHA3, SigningKey
from schannel.events import EnclaveVerified
from schannel.evidence import Claims, Isolation
from schannel.monitor_keys import Monitor
from schannel.policy import KEYSTONE_TEST_DEVICE_KEY
from wasm_client.cli import main
from wasm_client.trust import warn

OWN_DEVICE = ED25519_SHA3.key_from_seed(b"\7" * 32)


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


def saved(folder: Path, device: SigningKey, built_from: str, first: int = 2) -> list[str]:
    """Arguments of ``verify`` for evidence, compact, whose measurement begins with that byte."""
    enclave, monitor = bytes([first]).ljust(64, b"\2"), Monitor.boot(device, b"\1" * 64)
    claims = Claims(b"\3" * 32, bytes(32), (1, 0, 0), Isolation(0), bytes(32), built_from)
    (folder / "evidence").write_bytes(monitor.attest(enclave, claims.build()).to_compact())
    kind = "real" if device.public != KEYSTONE_TEST_DEVICE_KEY else "simulated"
    (folder / "policy.toml").write_text(f"""
        [enclave]
        measurements = ["{enclave.hex()}"]
        [monitor]
        measurements = ["{monitor.monitor_hash.hex()}"]
        [devices]
        {kind} = ["{device.public.hex()}"]
        allow_simulated = true
        allow_published_test_key = true
    """)
    return ["verify", str(folder / "evidence"), "--policy", str(folder / "policy.toml")]


@pytest.mark.parametrize(
    ("device", "built_from", "kind", "isolation"),
    [
        (OWN_DEVICE, "python=3.11", "real", "none"),
        (OWN_DEVICE, "python=3.11;randomness=monitor+host", "real", "Keystone's security monitor"),
        (TEST_DEVICE, "randomness=monitor+host", "published test key", "Keystone's security monitor"),
    ],
)
def test_what_isolates_an_enclave(
    device: SigningKey, built_from: str, kind: str, isolation: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(saved(tmp_path, device, built_from)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"  device kind: {kind}" in lines and f"    isolation: {isolation}" in lines


def test_evidence_that_begins_as_json_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(saved(tmp_path, OWN_DEVICE, "", first=ord("{"))) == 0
    assert "enclave: 7b02" in capsys.readouterr().out
