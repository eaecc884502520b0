"""Memory instances (section 4.2.9)."""

from __future__ import annotations

from tinywasm.errors import Trap, TrapCode
from tinywasm.types import I64, Limits, MemoryType

_PAGE = 65536


class MemoryInstance:
    """Linear memory. `data` holds the bytes; `limit` caps its growth in bytes, whatever the type says."""

    __slots__ = ("data", "limit", "type")
    kind = "memory"

    def __init__(self, type: MemoryType, max_pages: int = 65536) -> None:
        self.type = type
        self.limit = max_pages * _PAGE
        size = type.limits.min * type.page_size
        if size > self.limit:
            raise Trap(TrapCode.ALLOCATION_TOO_LARGE, f"allocation too large: memory of {size} bytes")
        self.data = bytearray(size)

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
        if beyond or size > self.limit:
            return -1
        try:
            self.data.extend(bytes(pages * self.type.page_size))
        except MemoryError:
            return -1
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
