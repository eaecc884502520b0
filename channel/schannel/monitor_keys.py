"""What a security monitor does with keys: deriving its own, attesting enclaves, deriving sealing keys.

On a device this is firmware; a simulated monitor uses the same functions, so that one verifier serves both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .ed25519_sha3 import ED25519_SHA3, SEED_SIZE, SigningKey
from .errors import LocalError
from .evidence import HASH_SIZE, Report
from .layouts import MAX_REPORT_DATA
from .primitives import digest, hkdf

SEALING_KEY_SIZE = 128
"""Bytes of a sealing key (sm/src/enclave.h)."""


def derive_monitor_key(device_secret: bytes, monitor_hash: bytes) -> SigningKey:
    """The monitor's key pair from all 64 bytes of the device secret and of the monitor's hash."""
    _check_hash(monitor_hash, "monitor")
    return ED25519_SHA3.key_from_seed(digest("SHA3-512", device_secret, monitor_hash)[:SEED_SIZE])


def derive_monitor_key_as_coded(device_secret: bytes, monitor_hash: bytes) -> SigningKey:
    """The monitor's key pair as Keystone's boot ROM really makes it: from one byte of each input.

    Only 256 such keys exist for a device (``bootrom/bootloader.c`` passes the size of an element for that of
    the array). For comparison with devices; never to be used for a new monitor.
    """
    return ED25519_SHA3.key_from_seed(digest("SHA3-512", device_secret[:1], monitor_hash[:1])[:SEED_SIZE])


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A sealing key of 128 bytes with the monitor's signature of it."""

    key: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "SealingKey(...)"


@dataclass(frozen=True, slots=True)
class Monitor:
    """A security monitor's identity: its measurement, its key, and the device key's signature of both."""

    monitor_hash: bytes
    key: SigningKey
    monitor_signature: bytes
    device_public_key: bytes

    @classmethod
    def boot(cls, device: SigningKey, monitor_hash: bytes) -> Monitor:
        """What the boot ROM does: derive the monitor's key and sign it with the device's."""
        return cls.with_key(device, monitor_hash, derive_monitor_key(device.secret, monitor_hash))

    @classmethod
    def with_key(cls, device: SigningKey, monitor_hash: bytes, key: SigningKey) -> Monitor:
        """A monitor with a key that was derived elsewhere, signed by the device."""
        _check_hash(monitor_hash, "monitor")
        signature = ED25519_SHA3.sign(device, monitor_hash + key.public)
        return cls(monitor_hash, key, signature, device.public)

    def attest(self, enclave_hash: bytes, data: bytes) -> Report:
        """A signed report of an enclave with its own `data`.

        Raises:
            LocalError: `data` is longer than 1,024 bytes.
        """
        _check_hash(enclave_hash, "enclave")
        if len(data) > MAX_REPORT_DATA:
            raise LocalError(f"a report holds at most {MAX_REPORT_DATA} bytes of data, not {len(data)}")
        unsigned = Report(
            enclave_hash,
            data,
            b"",
            self.monitor_hash,
            self.key.public,
            self.monitor_signature,
            self.device_public_key,
        )
        signature = ED25519_SHA3.sign(self.key, unsigned.enclave_signed_bytes())
        return replace(unsigned, enclave_signature=signature)

    def sealing_key(self, enclave_hash: bytes, identifier: bytes) -> SealingKey:
        """The sealing key of an enclave: another one for each device, monitor, enclave and `identifier`."""
        _check_hash(enclave_hash, "enclave")
        key = hkdf("SHA3-512", b"", self.key.secret, enclave_hash + identifier, SEALING_KEY_SIZE)
        return SealingKey(key, ED25519_SHA3.sign(self.key, key))


def _check_hash(value: bytes, whose: str) -> None:
    if len(value) != HASH_SIZE:
        raise LocalError(f"the {whose} hash has {HASH_SIZE} bytes, not {len(value)}")
