"""The limits under which an enclave runs a client's programs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Configuration:
    """Limits of one enclave. Sizes are bytes, times milliseconds, fuel is instructions.

    The evidence carries the digest, so a client's policy can insist on one configuration.
    """

    max_message: int = 256 << 20
    max_modules: int = 64
    max_call_depth: int = 10_000
    max_memory_pages: int = 16_384
    max_table_elements: int = 10_000_000
    max_fuel: int = 1 << 62
    max_call_ms: int = 60_000
    handshake_ms: int = 10_000
    idle_ms: int = 900_000
    data_limit: int = 4 << 30

    def digest(self) -> bytes:
        """SHA-256 of the limits as JSON with sorted keys and no spaces: 32 bytes."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()
