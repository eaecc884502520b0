"""Memory instances (section 4.2.9)."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from contextlib import suppress

from tinywasm.errors import Trap, TrapCode
from tinywasm.runtime import space
from tinywasm.runtime.limits import Lease
from tinywasm.types import I32, I64, Limits, MemoryType

_PAGE = 65536
_OPEN = mmap.PROT_READ | mmap.PROT_WRITE
_mprotect = ctypes.CDLL(None).mprotect


# A weak reference to what is told which memory has grown.
# A weak reference to what says, for a memory and what `data` will be, how to keep up with it.
_Follower = Callable[[], Callable[["MemoryInstance", memoryview], Callable[[], None]] | None]


class MemoryInstance:
    """Linear memory. `data` views the bytes; `limit` caps its growth in bytes, whatever the type says.

    The bytes lie in reserved address space and never move, so that an embedder's view of them stays
    valid when the memory grows: growing only makes `data` longer.
    """

    __slots__ = ("__weakref__", "_followers", "data", "lease", "limit", "opened", "presence", "space", "type")
    kind = "memory"

    def __init__(self, type: MemoryType, max_pages: int = 65536, lease: Lease | None = None) -> None:
        self.lease = lease
        self._followers: list[_Follower] = []
        self.type = type
        self.limit = max_pages * _PAGE
        size = type.limits.min * type.page_size
        if size > self.limit:
            raise Trap(TrapCode.ALLOCATION_TOO_LARGE, f"allocation too large: memory of {size} bytes")
        most = self.limit
        if type.limits.max is not None:
            most = min(most, type.limits.max * type.page_size)
        elif type.address is I32:
            self.limit = max(size, min(most, space.BELOW_ALL))
        # How far it is open, which may be farther than it reaches.
        self.opened = 0
        self.space = space.reserve(lambda room, opened: self._map(size, room, opened), size, most)
        self.presence = space.presence
        self.data = memoryview(self.space)[:size]

    def _map(self, size: int, room: int, opened: bool) -> mmap.mmap | None:
        """Zeroed address space of `room` bytes, open up to `size` or throughout; None where it is refused."""
        try:
            # Closed from the start, Python would give it out for reading only.
            mapping = mmap.mmap(-1, room or 1, flags=space.FLAGS, prot=_OPEN)
        except (OSError, ValueError, OverflowError):
            return None
        self.opened = len(mapping) if opened else _units(size, mapping)
        if not opened:
            return mapping if _protect(mapping, self.opened, len(mapping), 0) else None
        # Where the system gives huge pages unasked, the first byte would take two megabytes.
        with suppress(OSError, AttributeError):
            mapping.madvise(mmap.MADV_NOHUGEPAGE)
        return mapping

    @property
    def pages(self) -> int:
        return len(self.data) // self.type.page_size

    @property
    def current_type(self) -> MemoryType:
        """The type with the present size as its minimum, as linking sees it (section 4.2.9)."""
        limits = Limits(self.pages, self.type.limits.max)
        return MemoryType(limits, self.type.address, self.type.page_size)

    def grow(self, pages: int) -> int:
        """The old size in pages, or -1 where growth is refused (section 4.6.8)."""
        old = self.pages
        size = (old + pages) * self.type.page_size
        top = self.type.limits.max
        beyond = top is not None and old + pages > top
        if beyond or size > min(self.limit, len(self.space)):
            return -1
        if pages and self.lease and not self.lease.limits.memory_fits(size):
            return -1
        end = max(self.opened, _units(size, self.space))
        if not _protect(self.space, self.opened, end, _OPEN):
            return -1
        self.opened = end
        if self.lease and not self.lease.extend(size - len(self.data)):
            return -1
        data = memoryview(self.space)[:size]
        updates = [follower(self, data) for each in self._followers if (follower := each()) is not None]
        # Nothing long between these, where a signal's handler might raise.
        self.data = data
        for update in updates:
            update()
        return old

    def follow(self, follower: _Follower) -> None:
        """Let `follower` keep up with the memory when it grows, as long as it lives."""
        self._followers = [*(each for each in self._followers if each() is not None), follower]

    @property
    def failure(self) -> int:
        """What `memory.grow` answers when refused: -1 in the address type."""
        return 0xFFFFFFFFFFFFFFFF if self.type.address is I64 else 0xFFFFFFFF

    def check(self, address: int, size: int) -> None:
        """Raises `Trap` unless `size` bytes from `address` lie inside."""
        if address + size > len(self.data):
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS)

    def init(self, target: int, segment: bytes, source: int, count: int) -> None:
        """Write an active data segment."""
        self.check(target, count)
        if source + count > len(segment):
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS)
        self.data[target : target + count] = segment[source : source + count]


def _units(size: int, mapping: mmap.mmap) -> int:
    """`size` in whole units of 64 KiB, which are whole pages of any system."""
    return min(-(-size // _PAGE) * _PAGE, len(mapping))


def _protect(mapping: mmap.mmap, start: int, end: int, protection: int) -> bool:
    """Open or close a part; what is closed counts toward no limit of the process (RLIMIT_DATA)."""
    if start >= end:
        return True
    address = ctypes.addressof(ctypes.c_ubyte.from_buffer(mapping))
    status: int = _mprotect(ctypes.c_void_p(address + start), ctypes.c_size_t(end - start), protection)
    return status == 0
