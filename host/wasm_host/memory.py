"""How much memory enclaves have together, and which one has to go when that is too much.

What one enclave may have is its own configuration's business, and the kernel sees to it; but all of them at
their limit are more than a machine has, and who is then killed would be the kernel's choice. One that has
more than the kernel should have let it have, or goes on growing when it was asked to end, is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .logs import log_event

_INTERVAL = 0.25
"""Seconds between two looks."""

_COUNTED = ("RssAnon:", "RssShmem:", "VmSwap:", "VmPTE:")
_MEBIBYTE = 1 << 20

_BESIDE_DATA = 128 * _MEBIBYTE
"""What a process may have besides its limit of data: its stack, page tables, and code that it was given."""

_STILL_GROWING = 1 / 4
"""How much more an enclave may take that was asked to end, as a part of what all may have together."""
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def machine_memory() -> int:
    """Mebibytes that this process may use: of the machine, or of the container that it is in."""
    size = 0
    with contextlib.suppress(AttributeError, ValueError, OSError):
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        # "max" where there is no limit, no file where there are no such containers.
        size = min(size, int(_CONTAINER_LIMIT.read_text(encoding="ascii")))
    return size // _MEBIBYTE


def process_memory(pid: int) -> int:
    """Bytes that a process has written to and still has, and of its page tables; 0 when it has ended."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_COUNTED))
    return 0


@dataclass(eq=False, slots=True)
class _Watched:
    """Where an enclave is, its bytes, how to end it, and what it had when it was asked to end."""

    place: str
    memory: Callable[[], int]
    kill: Callable[[], None]
    chosen: asyncio.Event = field(default_factory=asyncio.Event)
    had: float = math.inf
    killed: bool = False


class MemoryWatch:
    """Looks, while enclaves serve clients, at what they have, and chooses one when it is too much.

    Args:
        limit: mebibytes of all of them together.
        data_limit: bytes that each may have by its configuration; None where that is not known.
    """

    def __init__(self, limit: int, data_limit: int | None = None) -> None:
        self._limit = limit
        self._each = math.inf if data_limit is None else data_limit + _BESIDE_DATA
        self._watched: set[_Watched] = set()
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def watching(
        self, place: str, memory: Callable[[], int], kill: Callable[[], None]
    ) -> Iterator[asyncio.Event]:
        """Count meanwhile what an enclave has; the event is set when its session has to end.

        `kill` is called, once, when it has to end at once.
        """
        watched = _Watched(place, memory, kill)
        self._watched.add(watched)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield watched.chosen
        finally:
            self._watched.remove(watched)
            if not self._watched:
                self._looking.cancel()

    @property
    def used(self) -> int:
        """Bytes that the enclaves have now that serve clients."""
        return sum(watched.memory() for watched in self._watched)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            used = {watched: watched.memory() for watched in self._watched}
            for watched, size in used.items():
                self._judge(watched, size)
            # One at a time: what it had is free only when it has ended.
            if not any(watched.chosen.is_set() or watched.killed for watched in used):
                self._choose(used)

    def _judge(self, watched: _Watched, size: int) -> None:
        """Kill an enclave that does what none does that was not taken over."""
        if size > self._each:
            self._kill(watched, f"has {size // _MEBIBYTE} MiB, more than an enclave can have")
        elif size > watched.had + self._limit * _MEBIBYTE * _STILL_GROWING:
            self._kill(watched, f"was asked to end, and has grown since, to {size // _MEBIBYTE} MiB")

    def _kill(self, watched: _Watched, why: str) -> None:
        if not watched.killed:
            watched.killed = True
            log_event(logging.WARNING, "memory_killed", f"{watched.place} {why}: killed", place=watched.place)
            watched.kill()

    def _choose(self, used: dict[_Watched, int]) -> None:
        total = sum(used.values())
        if total <= self._limit * _MEBIBYTE:
            return
        largest = max(used, key=lambda watched: used[watched])
        shown = f"enclaves have {total // _MEBIBYTE} MiB, more than {self._limit}: {largest.place}, "
        shown += f"with the most of it ({used[largest] // _MEBIBYTE} MiB), has to end"
        log_event(logging.WARNING, "memory_exhausted", shown, place=largest.place)
        largest.had = used[largest]
        largest.chosen.set()
