"""Keystone's reports: published values, the three forms, and that no changed report is accepted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schannel.ed25519_sha3 import ED25519_SHA3, SigningKey
from schannel.errors import EvidenceError, EvidenceReason, LocalError, PolicyError
from schannel.evidence import Claims, Isolation, Report
from schannel.measurement import measure
from schannel.monitor_keys import Monitor, derive_monitor_key, derive_monitor_key_as_coded
from schannel.policy import KEYSTONE_TEST_DEVICE_KEY, Policy, verify_evidence, verify_saved_evidence

ENCLAVE_HASH = b"\x02" * 64
HANDSHAKE = b"\x09" * 32
TEST_DEVICE_SECRET = bytes.fromhex(
    "40a099478ccefa3a0663abc95e7a1ec954b4f5f645bad804db13e7d7826c7073"
    "576a9ab62160d9d1c6aedc29852fb960ee5132835a1689ec06a8723451aa0e4a"
)


def _claims(**changes: Any) -> bytes:
    return replace(
        Claims(HANDSHAKE, b"\x03" * 32, (1, 0, 0), Isolation.SECCOMP, b"\x04" * 32), **changes
    ).build()


def _report(values: dict[str, str], signature: str = "sm_signature") -> Report:
    names = ("enclave_hash", "data", "enclave_signature", "sm_hash", "sm_pubkey", signature, "device_pubkey")
    return Report(*(bytes.fromhex(values[name]) for name in names))


@pytest.mark.parametrize("index", [0, 1])
def test_real_reports_reproduce_and_are_refused(keystone: Any, index: int) -> None:
    values = keystone["real_reports"][index]
    report = _report(values)
    key = SigningKey(bytes.fromhex(values["sm_secret_used"]), report.monitor_public_key)
    assert ED25519_SHA3.sign(key, report.enclave_signed_bytes()) == report.enclave_signature
    assert SigningKey.from_secret(key.secret).public.hex() == values["true_point_of_secret"]
    with pytest.raises(EvidenceError) as refusal:
        report.verify_signatures(report.device_public_key)
    assert refusal.value.reason is EvidenceReason.MONITOR_SIGNATURE
    with pytest.raises(PolicyError):
        verify_evidence(report.to_compact(), Policy(), HANDSHAKE)


@pytest.mark.parametrize(
    ("name", "derive"),
    [("as_coded_1byte", derive_monitor_key_as_coded), ("intended_64byte", derive_monitor_key)],
)
def test_synthetic_chain(keystone: Any, name: str, derive: Any) -> None:
    values = keystone["synthetic"][name]
    device = SigningKey.from_secret(TEST_DEVICE_SECRET)
    monitor_hash = bytes.fromhex(keystone["synthetic"]["sm_hash"])
    monitor = Monitor.with_key(device, monitor_hash, derive(device.secret, monitor_hash))
    assert monitor.key.public.hex() == values["sm_pubkey"]
    assert monitor.key.secret.hex() == values["sm_secret"]
    assert monitor.monitor_signature.hex() == values["sm_signature"]
    enclave_hash = measure(b"L" * 5000, b"R" * 4096, b"E")
    assert enclave_hash.hex() == values["enclave_hash"]
    report = monitor.attest(enclave_hash, bytes.fromhex(values["data"]))
    assert report.enclave_signature.hex() == values["enclave_signature"]
    report.verify_signatures(device.public)
    sealing = monitor.sealing_key(enclave_hash, values["sealing_ident"].encode())
    assert sealing.key.hex() == values["sealing_key"]
    assert sealing.signature.hex() == values["sealing_signature"]


def test_real_chain(keystone_chain: Any) -> None:
    """What a real device made is accepted, and made again bit for bit, as `tests.keystone` makes it."""
    report = Report.from_bytes(bytes.fromhex(keystone_chain["report_hex"]))
    report.verify_signatures(KEYSTONE_TEST_DEVICE_KEY)
    device = SigningKey.from_secret(TEST_DEVICE_SECRET)
    key = derive_monitor_key_as_coded(device.secret, report.monitor_hash)
    monitor = Monitor.with_key(device, report.monitor_hash, key)
    assert monitor.attest(report.enclave_hash, report.data) == report
    sealing = keystone_chain["sealing"]
    made = monitor.sealing_key(report.enclave_hash, sealing["identifier"].encode())
    assert made.key[:32].hex() == sealing["first_32_bytes_hex"]


def test_sealing_keys_differ_by_enclave_and_identifier(monitor: Monitor) -> None:
    keys = {monitor.sealing_key(ENCLAVE_HASH, b"a").key, monitor.sealing_key(ENCLAVE_HASH, b"b").key}
    keys.add(monitor.sealing_key(b"\x04" * 64, b"a").key)
    assert len(keys) == 3
    assert "..." in repr(monitor.sealing_key(ENCLAVE_HASH, b"a"))


@pytest.mark.parametrize("size", [0, 1, 9, 1023, 1024])
def test_all_three_forms(monitor: Monitor, size: int) -> None:
    report = monitor.attest(ENCLAVE_HASH, bytes(range(256)) * 4 if size == 1024 else b"\x55" * size)
    assert len(report.to_compact()) == 328 + size
    assert len(report.to_raw()) == 1352
    assert Report.from_bytes(report.to_compact()) == report
    assert Report.from_bytes(report.to_raw()) == report
    assert Report.from_json(report.to_json()) == report


def test_garbage_after_the_data_is_ignored(monitor: Monitor) -> None:
    report = monitor.attest(ENCLAVE_HASH, b"nonce")
    raw = bytearray(report.to_raw())
    raw[72 + 5 : 1096] = b"\xa5" * (1024 - 5)
    assert Report.from_bytes(bytes(raw)) == report


def test_data_is_bounded(monitor: Monitor) -> None:
    with pytest.raises(LocalError):
        monitor.attest(ENCLAVE_HASH, bytes(1025))
    for length in (1025, 2**32, 2**63, 2**64 - 1):
        raw = bytearray(monitor.attest(ENCLAVE_HASH, b"").to_raw())
        raw[64:72] = length.to_bytes(8, "little")
        for size in (1352, 328, 1353):
            with pytest.raises(EvidenceError):
                Report.from_bytes(bytes(raw[:size]))


@pytest.mark.parametrize("change", [-1, 1])
def test_compact_length_is_exact(monitor: Monitor, change: int) -> None:
    compact = monitor.attest(ENCLAVE_HASH, b"nonce").to_compact()
    with pytest.raises(EvidenceError):
        Report.from_bytes(compact[:-1] if change < 0 else compact + b"\0")


def test_json_is_keystones(monitor: Monitor) -> None:
    text = monitor.attest(ENCLAVE_HASH, b"\xab").to_json()
    assert text.startswith('{"device_pubkey": "')
    assert '"enclave": {"data": "ab", "datalen": 1, "hash": "0202' in text


@pytest.mark.parametrize(
    "change",
    [
        {"datalen": 2},
        {"datalen": -1},
        {"datalen": True},
        {"datalen": "1"},
        {"datalen": 1025},
        {"data": "AB"},
        {"data": "zz"},
        {"data": 1},
        {"hash": ""},
        {"extra": 1},
    ],
)
def test_json_that_is_not_exact_is_refused(monitor: Monitor, change: dict[str, Any]) -> None:
    table = json.loads(monitor.attest(ENCLAVE_HASH, b"\xab").to_json())
    table["enclave"].update(change)
    with pytest.raises(EvidenceError):
        Report.from_json(json.dumps(table))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "1" * 5000, "[" * 100000, '{"a": 1, "a": 1}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(EvidenceError):
        Report.from_json(text)


def _read(encoded: bytes) -> Report:
    return Report.from_json(encoded.decode()) if encoded.startswith(b"{") else Report.from_bytes(encoded)


FORMS: dict[str, Callable[[Report], bytes]] = {
    "compact": Report.to_compact,
    "raw": Report.to_raw,
    "json": lambda report: report.to_json().encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_evidence_that_is_cut_or_goes_on_is_refused(monitor: Monitor, policy: Policy, form: str) -> None:
    whole = FORMS[form](monitor.attest(ENCLAVE_HASH, _claims()))
    verify_saved_evidence(_read(whole), policy)
    for changed in (*(whole[:size] for size in range(len(whole))), whole + b"\0", whole + whole):
        with pytest.raises((EvidenceError, PolicyError)):
            verify_saved_evidence(_read(changed), policy)


def test_every_changed_byte_is_refused(monitor: Monitor, policy: Policy) -> None:
    compact = monitor.attest(ENCLAVE_HASH, _claims()).to_compact()
    verify_evidence(compact, policy, HANDSHAKE)
    for position in range(len(compact)):
        changed = bytearray(compact)
        changed[position] ^= 0x40
        with pytest.raises((EvidenceError, PolicyError)):
            verify_evidence(bytes(changed), policy, HANDSHAKE)


@pytest.mark.parametrize("form", FORMS)
def test_every_byte_says_something(monitor: Monitor, form: str) -> None:
    """But for the room that a raw report has beyond its data, which the monitor does not fill, nor sign."""
    report = monitor.attest(ENCLAVE_HASH, _claims())
    whole = FORMS[form](report)
    unread = range(72 + len(report.data), 72 + 1024) if form == "raw" else range(0)
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x04
        with contextlib.suppress(EvidenceError):
            assert (_read(bytes(changed)) == report) == (position in unread)


def test_space_around_json_is_no_part_of_it(monitor: Monitor) -> None:
    """Such as the end of the line, in a file."""
    report = monitor.attest(ENCLAVE_HASH, _claims())
    assert Report.from_json(f"\n {report.to_json()}\n") == report


@settings(deadline=None)
@given(st.binary(max_size=1400))
def test_random_bytes_are_no_evidence(data: bytes) -> None:
    with pytest.raises((EvidenceError, PolicyError)):
        verify_evidence(data, Policy(), HANDSHAKE)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_no_claims(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        Claims.decode(data)


def _reason(report: Report, policy: Policy, handshake_hash: bytes = HANDSHAKE) -> EvidenceReason:
    with pytest.raises(EvidenceError) as refusal:
        verify_evidence(report.to_compact(), policy, handshake_hash)
    return refusal.value.reason


def test_reasons(monitor: Monitor, policy: Policy) -> None:
    good = monitor.attest(ENCLAVE_HASH, _claims())
    other = Monitor.boot(ED25519_SHA3.key_from_seed(b"\x08" * 32), monitor.monitor_hash)
    forged = replace(other, device_public_key=monitor.device_public_key).attest(ENCLAVE_HASH, _claims())
    assert _reason(forged, policy) is EvidenceReason.MONITOR_SIGNATURE
    resigned = replace(monitor, key=other.key).attest(ENCLAVE_HASH, _claims())
    assert _reason(replace(resigned, monitor_public_key=monitor.key.public), policy) is (
        EvidenceReason.ENCLAVE_SIGNATURE
    )
    assert _reason(good, policy, b"\x0a" * 32) is EvidenceReason.HANDSHAKE
    assert _reason(good, policy, b"") is EvidenceReason.HANDSHAKE
    assert _reason(monitor.attest(ENCLAVE_HASH, b"nonce"), policy) is EvidenceReason.CLAIMS
    assert _reason(monitor.attest(ENCLAVE_HASH, _claims() + b"\0"), policy) is EvidenceReason.CLAIMS
    unknown_layer = _claims()[:-36] + b"\xff" * 36
    assert _reason(monitor.attest(ENCLAVE_HASH, unknown_layer), policy) is EvidenceReason.CLAIMS


def test_an_empty_handshake_hash_never_matches(monitor: Monitor, policy: Policy) -> None:
    report = monitor.attest(ENCLAVE_HASH, _claims(handshake_hash=b""))
    assert _reason(report, policy, b"") is EvidenceReason.HANDSHAKE
