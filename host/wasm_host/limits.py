"""What a host lets clients have, together and each."""

from __future__ import annotations

from dataclasses import dataclass, field

from .memory import machine_memory

MAX_ENCLAVES = 16
"""Enclaves at a time: Keystone's ENCL_MAX."""

START_LIMIT = 120.0
"""Seconds in which enclaves are possible, also on a slow machine, unless something is wrong."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Counts, and times in seconds.

    At most `enclaves` clients are served at a time, and of those from one address at most
    `enclaves_per_address`, where 0 stands for a quarter of all; of the others at most `waiting` wait, each no
    longer than `wait`. `connections` counts all that are open, `per_address` those from one address. A client
    has `handshake` for its first message, before which it costs no enclave. A session is closed in which for
    `idle` nothing has passed, or that has lasted for `session`; and the one that has most, when all enclaves
    together have more than `memory` mebibytes. Of sealed programs `kept` mebibytes are stored,
    `kept_per_client` of one client, and what nobody uses for `kept_days` is removed. `buffer` is what is kept
    of one direction of one connection, in bytes, while the other end is slower. `drain` is what sessions have
    to finish when the host stops, `grace` what an enclave has that is asked to end. `pool` enclaves are kept
    ready beside those that serve. `start` is how long the monitor may take until enclaves can be started.
    """

    enclaves: int = MAX_ENCLAVES
    enclaves_per_address: int = 0
    waiting: int = 64
    wait: float = 10.0
    connections: int = 256
    per_address: int = 16
    handshake: float = 10.0
    idle: float = 900.0
    session: float = 86_400.0
    memory: int = field(default_factory=lambda: machine_memory() * 3 // 4)
    buffer: int = 1 << 16
    kept: int = 4096
    kept_per_client: int = 1024
    kept_days: int = 365
    drain: float = 10.0
    grace: float = 2.0
    pool: int = 2
    start: float = START_LIMIT

    @property
    def descriptors(self) -> int:
        """Descriptors that one of the host's processes has open at most, for all of this."""
        # A connection's socket and the relay's own; an enclave's channel, storage and two of its files.
        return 2 * self.connections + 4 * (self.enclaves + self.pool)

    @property
    def share(self) -> int:
        """Enclaves that clients from one address may have at a time."""
        return self.enclaves_per_address or -(-self.enclaves // 4)
