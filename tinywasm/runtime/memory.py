"""Memory instances (section 4.2.9)."""

from __future__ import annotations

import mmap

from tinywasm.errors import Trap, TrapCode
from tinywasm.runtime.limits import Lease
from tinywasm.types import I64, Limits, MemoryType

_PAGE = 65536
# `mmap` names this flag from Python 3.13 on; the number is Linux's.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


class MemoryInstance:
    """Linear memory. `data` views the bytes; `limit` caps its growth in bytes, whatever the type says.

    The bytes lie in reserved address space and never move, so that an embedder's view of them stays
    valid when the memory grows: growing only makes `data` longer.
    """

    __slots__ = ("__weakref__", "data", "lease", "limit", "space", "type")
    kind = "memory"

    def __init__(self, type: MemoryType, max_pages: int = 65536, lease: Lease | None = None) -> None:
        self.lease = lease
        self.type = type
        self.limit = max_pages * _PAGE
        size = type.limits.min * type.page_size
        if size > self.limit:
            raise Trap(TrapCode.ALLOCATION_TOO_LARGE, f"allocation too large: memory of {size} bytes")
        most = self.limit
        if type.limits.max is not None:
            most = min(most, type.limits.max * type.page_size)
        self.space = memoryview(_reserve(size, most))
        self.data = self.space[:size]

    @property
    def pages(self) -> int:
        return len(self.data) // self.type.page_size

    @property
    def current_type(self) -> MemoryType:
        """The type with the present size as its minimum, as linking sees it (section 4.2.9)."""
        limits = Limits(self.pages, self.type.limits.max)
        return MemoryType(limits, self.type.address, self.type.page_size)

    def grow(self, pages: int) -> int:
        """The old size in pages, or -1 where growth is refused (section 4.6.9)."""
        old = self.pages
        size = (old + pages) * self.type.page_size
        top = self.type.limits.max
        beyond = top is not None and old + pages > top
        if beyond or size > self.limit or size > len(self.space):
            return -1
        if self.lease and not self.lease.extend(size - len(self.data)):
            return -1
        self.data = self.space[:size]
        return old

    @property
    def failure(self) -> int:
        """What `memory.grow` answers when refused: -1 in the address type."""
        return 0xFFFFFFFFFFFFFFFF if self.type.address is I64 else 0xFFFFFFFF

    def check(self, address: int, size: int) -> None:
        """Raises `Trap` unless `size` bytes from `address` lie inside."""
        if address + size > len(self.data):
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS)

    def copy(self, target: int, source_memory: MemoryInstance, source: int, count: int) -> None:
        """`memory.copy`: overlapping ranges as if through a buffer."""
        self.check(target, count)
        source_memory.check(source, count)
        self.data[target : target + count] = source_memory.data[source : source + count]

    def fill(self, target: int, byte: int, count: int) -> None:
        """`memory.fill`."""
        self.check(target, count)
        self.data[target : target + count] = bytes([byte & 0xFF]) * count

    def init(self, target: int, segment: bytes, source: int, count: int) -> None:
        """`memory.init` from the bytes of a data segment."""
        self.check(target, count)
        if source + count > len(segment):
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS)
        self.data[target : target + count] = segment[source : source + count]


def _reserve(least: int, most: int) -> mmap.mmap:
    """Zeroed address space of at most `most` bytes, backed by memory where it is touched.

    Raises `Trap` where not even `least` bytes can be had.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
    size = max(most, least)
    while True:
        try:
            return mmap.mmap(-1, size or 1, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        except (OSError, ValueError, OverflowError):
            if size == least:
                message = f"allocation too large: memory of {least} bytes"
                raise Trap(TrapCode.ALLOCATION_TOO_LARGE, message) from None
            size = max(least, size // 2)
