"""The client's policy: which enclaves, monitors and devices it accepts. What is not listed is refused.

The form is TOML; every key is optional, and a policy without entries accepts nothing::

    [enclave]
    measurements = ["<128 hexadecimal digits>"]
    configurations = ["<64 hexadecimal digits>"]   # absent: any configuration of these enclaves
    minimum_version = "1.0.0"
    required_isolation = ["seccomp", "landlock"]

    [monitor]
    measurements = ["<128 hexadecimal digits>"]

    [devices]
    real = ["<64 hexadecimal digits>"]
    simulated = ["<64 hexadecimal digits>"]
    allow_simulated = false
    allow_published_test_key = false

Simulation is a matter of the device key alone: a key listed as simulated is a program's, and whoever runs
that program can sign what they like.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

from .errors import EvidenceError, PolicyError, PolicyFileError
from .events import EnclaveVerified
from .evidence import HASH_SIZE, Claims, Isolation, Report
from .whole_files import LARGEST_TEXT, read_whole
from .wire import Buffer

KEYSTONE_TEST_DEVICE_KEY = bytes.fromhex("0faad4ff01178583baa588966f7c1ff32564dd17d7dc2b46cb50a84a69270b4c")
"""Public key of the test device in Keystone's sources; everybody has the secret."""

_DEVICE_KEY_SIZE = 32
_CONFIGURATION_SIZE = 32
_VERSION_PARTS = 3
_MAX_VERSION_DIGITS = 5
_SHOWN_DIGITS = 16
_NO_ISOLATION = Isolation(0)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a client accepts. Measurements are 64 bytes, device keys and configuration digests 32.

    `configurations` of None accepts any configuration of an accepted enclave.

    Raises:
        PolicyFileError: an entry has the wrong size, is all zero, or contradicts another.
    """

    enclave_measurements: frozenset[bytes] = frozenset()
    configurations: frozenset[bytes] | None = None
    minimum_version: tuple[int, int, int] = (0, 0, 0)
    required_isolation: Isolation = _NO_ISOLATION
    monitor_measurements: frozenset[bytes] = frozenset()
    real_devices: frozenset[bytes] = frozenset()
    simulated_devices: frozenset[bytes] = frozenset()
    allow_simulated: bool = False
    allow_published_test_key: bool = False

    def __post_init__(self) -> None:
        _check_entries("enclave.measurements", self.enclave_measurements, HASH_SIZE)
        _check_entries("enclave.configurations", self.configurations or frozenset(), _CONFIGURATION_SIZE)
        _check_entries("monitor.measurements", self.monitor_measurements, HASH_SIZE)
        _check_entries("devices.real", self.real_devices, _DEVICE_KEY_SIZE)
        _check_entries("devices.simulated", self.simulated_devices, _DEVICE_KEY_SIZE)
        if KEYSTONE_TEST_DEVICE_KEY in self.real_devices:
            raise PolicyFileError(
                "devices.real: Keystone's published test key does not belong to a real device"
            )
        if self.real_devices & self.simulated_devices:
            raise PolicyFileError("devices: a key is listed both as real and as simulated")

    @classmethod
    def from_toml(cls, text: str) -> Policy:
        """A policy from TOML text.

        Raises:
            PolicyFileError: not TOML, an unknown key, a value of the wrong type, or a forbidden entry.
        """
        # Enclaves verify evidence as well, where they try themselves, but read no policies.
        import tomllib

        try:
            top = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise PolicyFileError(f"the policy is not TOML: {error}") from error
        return cls(**_read_tables(top))

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> Policy:
        """A policy from a file; raises OSError as well."""
        try:
            return cls.from_toml(read_whole(path, LARGEST_TEXT).decode())
        except UnicodeDecodeError as error:
            raise PolicyFileError("the policy is not UTF-8 text") from error

    def trusted_device(self, public_key: bytes) -> tuple[bytes, bool]:
        """The policy's own copy of a device key, and whether it is a simulated device's.

        Raises:
            PolicyError: the key is not listed, or simulation or the published test key is not allowed.
        """
        if public_key == KEYSTONE_TEST_DEVICE_KEY and not self.allow_published_test_key:
            raise PolicyError(
                "devices.allow_published_test_key",
                "the device key is Keystone's published test key, whose secret everybody has",
            )
        for simulated, keys in ((False, self.real_devices), (True, self.simulated_devices)):
            for key in keys:
                if key == public_key:
                    self._check_simulation(simulated)
                    return key, simulated
        raise PolicyError("devices", f"the device key {public_key.hex()} is not trusted")

    def check_monitor(self, measurement: bytes) -> None:
        """Raise PolicyError unless the monitor's measurement is accepted."""
        _check_listed("monitor.measurements", "security monitor", measurement, self.monitor_measurements)

    def check_enclave(self, measurement: bytes, claims: Claims) -> None:
        """Raise PolicyError unless the enclave's measurement, configuration, version and isolation are."""
        _check_listed("enclave.measurements", "enclave", measurement, self.enclave_measurements)
        if self.configurations is not None and claims.configuration_digest not in self.configurations:
            shown = claims.configuration_digest.hex()
            raise PolicyError("enclave.configurations", f"the configuration {shown} is not accepted")
        if claims.version < self.minimum_version:
            shown = ".".join(map(str, claims.version))
            raise PolicyError("enclave.minimum_version", f"the enclave's version {shown} is too old")
        missing = self.required_isolation & ~claims.isolation
        if missing:
            shown = ", ".join(missing.names())
            raise PolicyError("enclave.required_isolation", f"the enclave runs without {shown}")

    def _check_simulation(self, simulated: bool) -> None:
        if simulated and not self.allow_simulated:
            raise PolicyError(
                "devices.allow_simulated", "the enclave is simulated: the machine's owner can read everything"
            )


def verify_evidence(evidence: Buffer, policy: Policy, handshake_hash: bytes) -> EnclaveVerified:
    """Verify a report, raw or compact, against a policy and a handshake, in the order of Keystone's Rust SDK.

    Raises:
        EvidenceError: it is malformed, not signed by the keys that must have signed it, or of another
            handshake.
        PolicyError: it is genuine evidence of something that the policy does not accept.
    """
    return _verify(Report.from_bytes(evidence), policy, handshake_hash)


def verify_saved_evidence(report: Report, policy: Policy) -> EnclaveVerified:
    """Verify a report that was kept: it says of itself which connection it was made for.

    Whoever shows it proves nothing by it; it says what stood behind the key that signed a receipt.

    Raises:
        EvidenceError, PolicyError: as `verify_evidence`.
    """
    return _verify(report, policy, None)


def _verify(report: Report, policy: Policy, handshake_hash: bytes | None) -> EnclaveVerified:
    device_key, simulated = policy.trusted_device(report.device_public_key)
    report.verify_signatures(device_key)
    try:
        policy.check_monitor(report.monitor_hash)
        if handshake_hash is None:
            claims = Claims.decode(report.data)
        else:
            claims = report.verified_claims(handshake_hash)
        policy.check_enclave(report.enclave_hash, claims)
    except PolicyError as error:
        error.build = _build(report)
        raise
    return EnclaveVerified(
        simulated=simulated,
        enclave_measurement=report.enclave_hash,
        monitor_measurement=report.monitor_hash,
        device_public_key=device_key,
        configuration_digest=claims.configuration_digest,
        version=claims.version,
        isolation=claims.isolation.names(),
        receipt_key=claims.receipt_key,
        handshake_hash=claims.handshake_hash,
        evidence=report.to_compact(),
    )


def _build(report: Report) -> str:
    try:
        return Claims.decode(report.data).built_from
    except EvidenceError:
        return ""


def _check_listed(rule: str, what: str, measurement: bytes, accepted: frozenset[bytes]) -> None:
    if not any(measurement):
        raise PolicyError(rule, f"the {what} measurement is all zero: nothing was measured")
    if measurement not in accepted:
        shown = measurement.hex()[:_SHOWN_DIGITS]
        raise PolicyError(rule, f"the {what} measurement {shown}... is not accepted")


def _check_entries(rule: str, entries: frozenset[bytes], size: int) -> None:
    for entry in entries:
        if len(entry) != size:
            raise PolicyFileError(f"{rule}: an entry has {len(entry)} bytes instead of {size}")
        if not any(entry):
            raise PolicyFileError(f"{rule}: an all-zero entry would accept anything unmeasured")


_KEYS: dict[tuple[str, str], str] = {
    ("enclave", "measurements"): "enclave_measurements",
    ("enclave", "configurations"): "configurations",
    ("enclave", "minimum_version"): "minimum_version",
    ("enclave", "required_isolation"): "required_isolation",
    ("monitor", "measurements"): "monitor_measurements",
    ("devices", "real"): "real_devices",
    ("devices", "simulated"): "simulated_devices",
    ("devices", "allow_simulated"): "allow_simulated",
    ("devices", "allow_published_test_key"): "allow_published_test_key",
}


def _read_tables(top: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for table_name, table in top.items():
        if table_name not in {name for name, _ in _KEYS} or not isinstance(table, dict):
            raise PolicyFileError(f"unknown key in the policy: {table_name}")
        for key, value in table.items():
            rule = f"{table_name}.{key}"
            field = _KEYS.get((table_name, key))
            if field is None:
                raise PolicyFileError(f"unknown key in the policy: {rule}")
            values[field] = _read_value(rule, field, value)
    return values


def _read_value(rule: str, field: str, value: Any) -> object:
    if field.startswith("allow_"):
        return _read_bool(rule, value)
    if field == "minimum_version":
        return _read_version(rule, value)
    if field == "required_isolation":
        return _read_isolation(rule, value)
    return frozenset(_read_hex(rule, item) for item in _read_strings(rule, value))


def _read_bool(rule: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise PolicyFileError(f"{rule}: true or false expected")
    return value


def _read_strings(rule: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise PolicyFileError(f"{rule}: a list of strings expected")
    return value


def _read_hex(rule: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise PolicyFileError(f"{rule}: hexadecimal digits expected") from error


def _read_version(rule: str, value: Any) -> tuple[int, int, int]:
    parts = value.split(".") if isinstance(value, str) else []
    if len(parts) != _VERSION_PARTS or not all(map(_is_version_part, parts)):
        raise PolicyFileError(f'{rule}: a version such as "1.0.0" expected')
    major, minor, patch = map(int, parts)
    return major, minor, patch


def _is_version_part(part: str) -> bool:
    return part.isascii() and part.isdecimal() and len(part) <= _MAX_VERSION_DIGITS


def _read_isolation(rule: str, value: Any) -> Isolation:
    layers = Isolation(0)
    for name in _read_strings(rule, value):
        if name.upper() not in Isolation.__members__ or name != name.lower():
            raise PolicyFileError(f"{rule}: unknown isolation layer {name!r}")
        layers |= Isolation[name.upper()]
    return layers
