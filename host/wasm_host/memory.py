"""How much memory enclaves have together, and which one has to go when that is too much.

What one enclave may have is its own configuration's business; but all of them at their limit are more than a
machine has, and who is then killed would be the kernel's choice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .logs import log_event

_INTERVAL = 0.25
"""Seconds between two looks."""

_COUNTED = ("RssAnon:", "RssShmem:")
_MEBIBYTE = 1 << 20
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
    """Bytes that a process has written to and still has; 0 when there is no such process any more."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_COUNTED))
    return 0


class MemoryWatch:
    """Looks, while enclaves serve clients, at what they have, and chooses one when it is too much.

    Args:
        limit: mebibytes of all of them together.
        measure: bytes of the process of that number.
    """

    def __init__(self, limit: int, measure: Callable[[int], int] = process_memory) -> None:
        self._limit = limit
        self._measure = measure
        self._watched: dict[asyncio.Event, int] = {}
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self, pid: int) -> Iterator[asyncio.Event]:
        """Count an enclave's process meanwhile; the event is set when its session has to end."""
        chosen = asyncio.Event()
        self._watched[chosen] = pid
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            yield chosen
        finally:
            del self._watched[chosen]
            if not self._watched:
                self._looking.cancel()

    @property
    def used(self) -> int:
        """Bytes that the enclaves have now that serve clients."""
        return sum(map(self._measure, self._watched.values()))

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            # One at a time: what it had is free only when it has ended.
            if not any(chosen.is_set() for chosen in self._watched):
                self._choose()

    def _choose(self) -> None:
        used = {chosen: self._measure(pid) for chosen, pid in self._watched.items()}
        total = sum(used.values())
        if total <= self._limit * _MEBIBYTE:
            return
        largest = max(used, key=lambda chosen: used[chosen])
        pid = self._watched[largest]
        shown = f"enclaves have {total // _MEBIBYTE} MiB, more than {self._limit}: process {pid}, with the "
        shown += f"most of it ({used[largest] // _MEBIBYTE} MiB), has to end"
        log_event(logging.WARNING, "memory_exhausted", shown, process=pid)
        largest.set()
