"""What a security monitor is to the host: it starts enclaves, stops them, and says when they have ended.

`simulated` has one that is a process of this machine, `keystone` that of a RISC-V machine. The host cannot
ask either for evidence or keys.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from schannel.endings import Ending

KILLED, FAILED = "killed", Ending.FAILED.name.lower()
"""How sessions end that should not: an enclave that does not end is killed by the host."""


class Device(Enum):
    """Where enclaves run: in processes of this machine, or on a RISC-V machine with Keystone."""

    SIMULATED = "simulated"
    KEYSTONE = "keystone"


class Stop(Enum):
    """Why the host ends a session: what its log says. The names are those of the channel's close reasons."""

    SHUTDOWN = "the host stops"
    IDLE = "nothing has passed for too long"
    TIME = "it has lasted for as long as sessions may"
    MEMORY = "it has the most of the memory, which is used up"


class MonitorError(Exception):
    """The monitor cannot be started, or has ended, or cannot start an enclave."""


class NoRoom(MonitorError):
    """There is no room for another enclave now; when others have ended, there may be."""


@dataclass(frozen=True, slots=True)
class EnclaveFiles:
    """The three measured files, and the configuration's; None for one that is not given."""

    loader: Path | None = None
    runtime: Path | None = None
    application: Path | None = None
    configuration: Path | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What the host knows of its enclaves.

    `policy` is what a client's policy has to accept, in TOML. `data_limit` is the memory in bytes that one
    may have by its configuration; None where that is fixed. `missing` names the layers of isolation that
    enclaves do not have on this machine, each with the reason.
    """

    policy: str
    data_limit: int | None = None
    missing: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """How an enclave has ended: one of `Ending`'s names in lower case, or KILLED; and in words."""

    how: str
    shown: str


def end_with(code: int) -> End:
    """How a session ended, from what its enclave exited with."""
    try:
        ending = Ending(code)
    except ValueError:
        return End(FAILED, f"the enclave failed with status {code}")
    return End(ending.name.lower(), ending.shown)


@dataclass(slots=True)
class Enclave:
    """One enclave that has been started.

    `place` says where it runs, `memory` how many bytes it has now; `channel` and `storage` are the host's
    ends of its streams.
    """

    number: int
    place: str
    channel: socket.socket
    storage: socket.socket
    memory: Callable[[], int]
    ended: asyncio.Future[End] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def hang_up(self) -> None:
        """Close the host's ends."""
        self.channel.close()
        self.storage.close()


class Monitor(Protocol):
    """A monitor that is being started, or runs."""

    device: Device

    failed: asyncio.Future[None]
    """Set with a MonitorError when it ends by itself."""

    @property
    def ailment(self) -> str:
        """Why it would start no enclave now, in words; empty where it would."""

    async def ready(self) -> Identity:
        """Wait for the first enclave to be possible; MonitorError says why none is."""

    async def start_enclave(self) -> Enclave:
        """Have an enclave started.

        Raises:
            MonitorError: the monitor has ended, could not start it, or did not in time.
            OSError: this process has no descriptors left.
        """

    def stop_enclave(self, enclave: Enclave, why: Stop) -> None:
        """Ask an enclave to close its session, telling its client why, and to end."""

    def kill_enclave(self, enclave: Enclave) -> None:
        """End an enclave that did not end when asked."""

    async def close(self) -> None:
        """End the monitor and every enclave, and wait for it."""
