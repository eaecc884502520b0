"""Policies: what is not listed is refused, the refusal names the rule, and mistakes are errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schannel.ed25519_sha3 import ED25519_SHA3, SigningKey
from schannel.errors import PolicyError, PolicyFileError
from schannel.evidence import Claims, Isolation
from schannel.monitor_keys import Monitor
from schannel.policy import KEYSTONE_TEST_DEVICE_KEY, Policy, verify_evidence

ENCLAVE_HASH = b"\x02" * 64
HANDSHAKE = b"\x09" * 32
CLAIMS = Claims(HANDSHAKE, b"\x03" * 32, (1, 2, 3), Isolation.SECCOMP, b"\x04" * 32)
TEST_DEVICE = SigningKey.from_secret(
    bytes.fromhex(
        "40a099478ccefa3a0663abc95e7a1ec954b4f5f645bad804db13e7d7826c7073"
        "576a9ab62160d9d1c6aedc29852fb960ee5132835a1689ec06a8723451aa0e4a"
    )
)
FULL = f"""
[enclave]
measurements = ["{"02" * 64}"]
configurations = ["{"03" * 32}"]
minimum_version = "1.2.3"
required_isolation = ["seccomp"]
[monitor]
measurements = ["{"01" * 64}"]
[devices]
real = ["{"04" * 32}"]
simulated = ["{"05" * 32}"]
allow_simulated = true
allow_published_test_key = false
"""


def test_every_key_is_read(tmp_path: Path) -> None:
    expected = Policy(
        enclave_measurements=frozenset([ENCLAVE_HASH]),
        configurations=frozenset([b"\x03" * 32]),
        minimum_version=(1, 2, 3),
        required_isolation=Isolation.SECCOMP,
        monitor_measurements=frozenset([b"\x01" * 64]),
        real_devices=frozenset([b"\x04" * 32]),
        simulated_devices=frozenset([b"\x05" * 32]),
        allow_simulated=True,
    )
    assert Policy.from_toml(FULL) == expected
    file = tmp_path / "policy.toml"
    file.write_text(FULL)
    assert Policy.from_file(file) == expected
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyFileError):
        Policy.from_file(file)


def _rule(
    policy: Policy, monitor: Monitor, claims: Claims = CLAIMS, enclave_hash: bytes = ENCLAVE_HASH
) -> str:
    with pytest.raises(PolicyError) as refusal:
        verify_evidence(monitor.attest(enclave_hash, claims.build()).to_compact(), policy, HANDSHAKE)
    assert refusal.value.rule in str(refusal.value)
    return refusal.value.rule


def test_the_empty_policy_accepts_nothing(monitor: Monitor) -> None:
    assert _rule(Policy.from_toml(""), monitor) == "devices"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"simulated_devices": frozenset()}, "devices"),
        ({"allow_simulated": False}, "devices.allow_simulated"),
        ({"monitor_measurements": frozenset()}, "monitor.measurements"),
        ({"enclave_measurements": frozenset([b"\x06" * 64])}, "enclave.measurements"),
        ({"configurations": frozenset()}, "enclave.configurations"),
        ({"configurations": frozenset([b"\x06" * 32])}, "enclave.configurations"),
        ({"minimum_version": (1, 2, 4)}, "enclave.minimum_version"),
        ({"minimum_version": (2, 0, 0)}, "enclave.minimum_version"),
        ({"required_isolation": Isolation.SECCOMP | Isolation.LANDLOCK}, "enclave.required_isolation"),
    ],
)
def test_each_rule_refuses(policy: Policy, monitor: Monitor, change: dict[str, Any], rule: str) -> None:
    verify_evidence(monitor.attest(ENCLAVE_HASH, CLAIMS.build()).to_compact(), policy, HANDSHAKE)
    assert _rule(replace(policy, **change), monitor) == rule


def test_what_is_learnt_from_good_evidence(policy: Policy, monitor: Monitor, device: SigningKey) -> None:
    evidence = monitor.attest(ENCLAVE_HASH, CLAIMS.build())
    verified = verify_evidence(evidence.to_raw(), policy, HANDSHAKE)
    assert verified.simulated
    assert verified.isolation == ("seccomp",)
    assert verified.version == (1, 2, 3)
    trusted = replace(policy, simulated_devices=frozenset(), real_devices=frozenset([device.public]))
    assert not verify_evidence(evidence.to_raw(), trusted, HANDSHAKE).simulated
    anything = replace(policy, configurations=None)
    verify_evidence(evidence.to_raw(), anything, HANDSHAKE)


def test_the_published_test_key_needs_its_own_permission(policy: Policy) -> None:
    monitor = Monitor.boot(TEST_DEVICE, b"\x01" * 64)
    assert TEST_DEVICE.public == KEYSTONE_TEST_DEVICE_KEY
    rule = "devices.allow_published_test_key"
    assert _rule(policy, monitor) == rule
    listed = replace(policy, simulated_devices=frozenset([KEYSTONE_TEST_DEVICE_KEY]))
    assert _rule(listed, monitor) == rule
    allowed = replace(listed, allow_published_test_key=True)
    evidence = monitor.attest(ENCLAVE_HASH, CLAIMS.build()).to_compact()
    assert verify_evidence(evidence, allowed, HANDSHAKE).simulated
    assert _rule(replace(allowed, allow_simulated=False), monitor) == "devices.allow_simulated"
    with pytest.raises(PolicyFileError, match="test key"):
        Policy(real_devices=frozenset([KEYSTONE_TEST_DEVICE_KEY]), allow_published_test_key=True)


def test_all_zero_measurements_are_refused(policy: Policy, device: SigningKey) -> None:
    monitor = Monitor.boot(device, bytes(64))
    with pytest.raises(PolicyError, match="all zero") as refusal:
        verify_evidence(monitor.attest(ENCLAVE_HASH, CLAIMS.build()).to_compact(), policy, HANDSHAKE)
    assert refusal.value.rule == "monitor.measurements"
    monitor = Monitor.boot(device, b"\x01" * 64)
    assert _rule(policy, monitor, enclave_hash=bytes(64)) == "enclave.measurements"


def test_another_device_under_the_same_name_is_refused(policy: Policy) -> None:
    stranger = Monitor.boot(ED25519_SHA3.key_from_seed(b"\x08" * 32), b"\x01" * 64)
    assert _rule(policy, stranger) == "devices"


@pytest.mark.parametrize(
    "text",
    [
        "x = ",
        "unknown = 1",
        "[other]\nmeasurements = []",
        "enclave = 1",
        "[enclave]\nmeasurement = []",
        "[enclave]\nmeasurements = 1",
        "[enclave]\nmeasurements = [1]",
        '[enclave]\nmeasurements = ["zz"]',
        '[enclave]\nmeasurements = ["00"]',
        f'[enclave]\nmeasurements = ["{"00" * 64}"]',
        f'[monitor]\nmeasurements = ["{"00" * 64}"]',
        '[enclave]\nminimum_version = "1.0"',
        '[enclave]\nminimum_version = "1.0.x"',
        '[enclave]\nminimum_version = "1.0.\u0661"',
        f'[enclave]\nminimum_version = "1.0.{"9" * 5000}"',
        "[enclave]\nminimum_version = 1.0",
        '[enclave]\nrequired_isolation = ["magic"]',
        '[enclave]\nrequired_isolation = ["SECCOMP"]',
        "[devices]\nallow_simulated = 1",
        '[devices]\nallow_simulated = "true"',
        f'[devices]\nreal = ["{"04" * 32}"]\nsimulated = ["{"04" * 32}"]',
        "a = " + "[" * 5000,
        "a = " + "9" * 5000,
    ],
)
def test_mistakes_in_a_policy_are_errors(text: str) -> None:
    with pytest.raises(PolicyFileError):
        Policy.from_toml(text)
