"""Evidence: Keystone's attestation report, our claims inside it, and the verification of its signatures.

Whether the keys and measurements in genuine evidence are acceptable is `policy`'s business.
"""

from __future__ import annotations

import json
from enum import STRICT, IntFlag
from typing import Any

from .ed25519_sha3 import ED25519_SHA3
from .errors import EvidenceError, EvidenceReason, MessageError
from .layouts import MAX_REPORT_DATA as MAX_REPORT_DATA
from .structs import (
    TEXT,
    U8,
    U16,
    U32,
    U64_LITTLE,
    Structure,
    bounded,
    fixed,
    one_of,
    part,
    prefixed,
    repeated,
)
from .wire import Buffer

RAW_SIZE = 1352
"""Bytes of a report as the monitor writes it."""

COMPACT_OVERHEAD = 328
"""Bytes of a compact report besides its data."""

HASH_SIZE = 64
"""Bytes of a measurement: SHA3-512."""

_DATA = 72
"""Where a report's data begin: after the hash and the 8 bytes of their count."""


class Isolation(IntFlag, boundary=STRICT):
    """Layers of isolation that an enclave process reports as active."""

    RLIMITS = 1
    NO_NEW_PRIVILEGES = 2
    NOT_DUMPABLE = 4
    LANDLOCK = 8
    SECCOMP = 16
    NAMESPACES = 32
    MEMORY_LOCKED = 64
    PARENT_DEATH_SIGNAL = 128

    def names(self) -> tuple[str, ...]:
        """The layers in lower case, as a policy spells them."""
        return tuple(str(layer.name).lower() for layer in self)


class Claims(Structure, shown="claims", begins=b"TWCLAIMS\3\2"):
    """What an enclave says about itself, in the signed data of its report.

    Nothing else that a monitor attests begins like this: version 3 of our claims, role 2, the enclave.
    `handshake_hash` ties the evidence to one connection, `configuration_digest` to the limits and rights that
    the enclave was started with. `receipt_key` is the Ed25519 public key that signs its receipts, and
    `built_from` says what it was built from, for people (`schannel.builds`).
    """

    handshake_hash: bytes = part(prefixed(U8))
    configuration_digest: bytes = part(fixed(32))
    version: tuple[int, int, int] = part(repeated(3, U16))
    isolation: Isolation = part(one_of(U32, Isolation))
    receipt_key: bytes = part(fixed(32))
    built_from: str = part(TEXT, default="")

    @classmethod
    def decode(cls, data: bytes) -> Claims:
        """Claims from a report's data.

        Raises:
            EvidenceError: the data is anything but claims of the version known here.
        """
        try:
            return cls.parse(data)
        except MessageError as error:
            raise EvidenceError(
                EvidenceReason.CLAIMS, "the report holds no claims of this protocol"
            ) from error


class SignedReport(Structure, shown="signed part of a report"):
    """What the monitor's key signs (sm/src/enclave.c, attest_enclave)."""

    enclave_hash: bytes = part(fixed(HASH_SIZE))
    data: bytes = part(prefixed(bounded(U64_LITTLE, MAX_REPORT_DATA)))


class Report(SignedReport, shown="report"):
    """Keystone's report (sm/src/enclave.h) in the Rust SDK's compact form: 328 bytes and the data.

    `data` is what the enclave had signed. The monitor writes the raw form of 1,352 bytes: there is room for
    1,024 bytes of data, whatever their count.
    """

    enclave_signature: bytes = part(fixed(64))
    monitor_hash: bytes = part(fixed(HASH_SIZE))
    monitor_public_key: bytes = part(fixed(32))
    monitor_signature: bytes = part(fixed(64))
    device_public_key: bytes = part(fixed(32))

    @classmethod
    def from_bytes(cls, encoded: Buffer) -> Report:
        """A report from its raw form (1,352 bytes, garbage after the data ignored) or its compact form.

        Raises:
            EvidenceError: any other length, or a data length above 1,024.
        """
        try:
            return cls.parse(compact(encoded))
        except MessageError as error:
            raise EvidenceError(EvidenceReason.MALFORMED, "the report has a wrong length") from error

    def to_compact(self) -> bytes:
        """The compact form: 328 bytes and the data."""
        return self.build()

    def to_raw(self) -> bytes:
        """The monitor's own form, 1,352 bytes, unused data zero."""
        compact = self.build()
        end = _DATA + len(self.data)
        return compact[:end] + bytes(MAX_REPORT_DATA - len(self.data)) + compact[end:]

    def to_json(self) -> str:
        """The JSON form of Keystone's C++ verifier."""
        return json.dumps(
            {
                "device_pubkey": self.device_public_key.hex(),
                "enclave": {
                    "data": self.data.hex(),
                    "datalen": len(self.data),
                    "hash": self.enclave_hash.hex(),
                    "signature": self.enclave_signature.hex(),
                },
                "security_monitor": {
                    "hash": self.monitor_hash.hex(),
                    "pubkey": self.monitor_public_key.hex(),
                    "signature": self.monitor_signature.hex(),
                },
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The inverse of `to_json`; unknown, missing and repeated keys are refused.

        Raises:
            EvidenceError: not exactly such an object, or a field of the wrong length.
        """
        try:
            return cls._from_object(json.loads(text, object_pairs_hook=unique))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise EvidenceError(EvidenceReason.MALFORMED, "not the JSON form of a report") from error

    def enclave_signed_bytes(self) -> bytes:
        """What the monitor's key signs: hash, data length, data."""
        return SignedReport(self.enclave_hash, self.data).build()

    def monitor_signed_bytes(self) -> bytes:
        """What the device key signs: monitor hash and public key."""
        return self.monitor_hash + self.monitor_public_key

    def verify_signatures(self, device_key: bytes) -> None:
        """Check both signatures, the monitor's under `device_key` (the verifier's, not the report's).

        Raises:
            EvidenceError: with `reason` MONITOR_SIGNATURE or ENCLAVE_SIGNATURE.
        """
        if not ED25519_SHA3.verify(device_key, self.monitor_signed_bytes(), self.monitor_signature):
            raise EvidenceError(
                EvidenceReason.MONITOR_SIGNATURE, "the trusted device key did not sign this security monitor"
            )
        signed = self.enclave_signed_bytes()
        if not ED25519_SHA3.verify(self.monitor_public_key, signed, self.enclave_signature):
            raise EvidenceError(
                EvidenceReason.ENCLAVE_SIGNATURE, "the security monitor did not sign this enclave's report"
            )

    def verified_claims(self, handshake_hash: bytes) -> Claims:
        """The claims, if they name this handshake.

        Raises:
            EvidenceError: no claims, or those of another connection.
        """
        claims = Claims.decode(self.data)
        if not handshake_hash or claims.handshake_hash != handshake_hash:
            raise EvidenceError(EvidenceReason.HANDSHAKE, "the evidence was made for another connection")
        return claims

    @classmethod
    def _from_object(cls, top: Any) -> Report:
        _only(top, "device_pubkey", "enclave", "security_monitor")
        enclave, monitor = top["enclave"], top["security_monitor"]
        _only(enclave, "data", "datalen", "hash", "signature")
        _only(monitor, "hash", "pubkey", "signature")
        size = enclave["datalen"]
        if type(size) is not int or not 0 <= size <= MAX_REPORT_DATA:
            raise ValueError("datalen")
        return cls(
            _unhex(enclave["hash"], HASH_SIZE),
            _unhex(enclave["data"], size),
            _unhex(enclave["signature"], 64),
            _unhex(monitor["hash"], HASH_SIZE),
            _unhex(monitor["pubkey"], 32),
            _unhex(monitor["signature"], 64),
            _unhex(top["device_pubkey"], 32),
        )


def compact(encoded: Buffer) -> bytes:
    """The compact form of a report: of the raw form what is left without the room that its data leave."""
    if len(encoded) != RAW_SIZE:
        return bytes(encoded)
    size = int.from_bytes(encoded[_DATA - 8 : _DATA], "little")
    return b"".join((encoded[: _DATA + size], encoded[_DATA + MAX_REPORT_DATA :]))


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, for `json.loads`; ValueError where a key is repeated, which readers take differently."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("repeated key")
    return table


def _only(table: Any, *keys: str) -> None:
    if not isinstance(table, dict) or table.keys() != set(keys):
        raise ValueError("unknown or missing key")


def _unhex(text: Any, size: int) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != size or raw.hex() != text:
        raise ValueError("not lower-case hexadecimal of the right length")
    return raw
