"""The limits under which an enclave runs a client's programs, and whose programs it runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from schannel.ed25519_sha3 import PUBLIC_KEY_SIZE
from schannel.errors import LocalError

_KEY = rf"[0-9a-fA-F]{{{2 * PUBLIC_KEY_SIZE}}}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Limits of one enclave, which serves one client. Sizes are bytes, times milliseconds, fuel instructions.

    `max_fuel` and `max_call_ms` are for each call, `max_call_ms` also for each deployment; `max_session_fuel`
    is for all calls of a session, and `data_limit` is all the memory that the enclave may have.

    `deployers` and `callers` are client keys, as 64 hexadecimal digits each: who may send programs and who
    may use what was sent or kept; an empty tuple, which stands for no list at all, means everybody. The
    evidence carries the digest, so a client's policy can insist on one configuration.
    """

    max_message: int = 256 << 20
    max_modules: int = 64
    max_call_depth: int = 10_000
    max_memory_pages: int = 16_384
    max_table_elements: int = 10_000_000
    max_fuel: int = 1 << 62
    max_session_fuel: int = 1 << 62
    max_call_ms: int = 60_000
    handshake_ms: int = 10_000
    idle_ms: int = 900_000
    data_limit: int = 4 << 30
    max_file_bytes: int = 1 << 30
    deployers: tuple[str, ...] = ()
    callers: tuple[str, ...] = ()

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Self:
        """The defaults with what an operator changes.

        Raises:
            LocalError: an unknown name, or a value of the wrong kind.
        """
        known = {field.name: field for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name not in known:
                raise LocalError(f"configuration: there is no setting {name!r}")
            values[name] = _keys(name, value) if known[name].default == () else _limit(name, value)
        return cls(**values)

    def digest(self) -> bytes:
        """SHA-256 of the limits as JSON with sorted keys and no spaces: 32 bytes."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()


def _limit(name: str, value: Any) -> int:
    if type(value) is not int or not 0 < value < 1 << 63:
        raise LocalError(f"configuration: {name} is a positive number below 2**63")
    return value


def _keys(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(map(_is_key, value)):
        raise LocalError(
            f"configuration: {name} is a list of client keys of {2 * PUBLIC_KEY_SIZE} hexadecimal digits"
        )
    if not value:
        # Whoever takes the last key out of a list does not mean to let everybody in.
        raise LocalError(f"configuration: {name} lists no client key: leave it out to let everybody")
    return tuple(sorted({key.lower() for key in value}))


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(_KEY, value) is not None
