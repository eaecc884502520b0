"""What the instances of one store may take together."""

from __future__ import annotations

import gc
from operator import index

from tinywasm.errors import Trap, TrapCode
from tinywasm.types import MemoryType, TableType


class ResourceLimits:
    """A store's limits, None for no limit, and what it counts against them.

    `memory_size` (bytes) and `table_elements` hold for each memory and table, also one that is there
    already; `instances`, `tables` and `memories` for all that were ever made in the store. `total_memory`
    (bytes) holds for what memories, tables and objects take together: an engine that makes these itself
    counts that, elsewhere everything that counts has a `Lease`.
    """

    def __init__(self) -> None:
        self.memory_size: int | None = None
        self.table_elements: int | None = None
        self.total_memory: int | None = None
        self.used = 0
        self.counts = {"instances": 0, "tables": 0, "memories": 0}
        self.most: dict[str, int] = {}

    def set(self, memory_size: int, table_elements: int, counts: dict[str, int]) -> None:
        """Replace the limits that are given; a negative number gives none."""
        memory_size, table_elements = min(index(memory_size), _MOST), min(index(table_elements), _MOST)
        counts = {kind: index(most) for kind, most in counts.items()}
        if memory_size >= 0:
            self.memory_size = memory_size
        if table_elements >= 0:
            self.table_elements = table_elements
        self.most.update({kind: most for kind, most in counts.items() if most >= 0})

    def set_total(self, total: int) -> None:
        """Replace the limit of everything together; a negative number gives none."""
        if total >= 0:
            self.total_memory = total

    def fits(self, size: int) -> bool:
        """Whether the store may take `size` more bytes."""
        return not size or self.total_memory is None or self.used + size <= self.total_memory

    def lease(self, size: int) -> Lease:
        """`size` bytes of the store's, for as long as the lease lives. Raises `Trap` where it has no more."""
        if not self.fits(size):
            gc.collect()
        if not self.fits(size):
            raise _too_large(f"the store may take {self.total_memory} bytes")
        return Lease(self, size)

    def lease_object(self, slots: int) -> Lease | None:
        """As `lease` for a structure, an array or an exception, but not where nothing limits them."""
        return None if self.total_memory is None else self.lease(_OBJECT + 8 * slots)

    def count(self, kind: str) -> None:
        """One more of `kind`. Raises `Trap` where that is too many."""
        if self.counts[kind] >= self.most.get(kind, self.counts[kind] + 1):
            raise _too_large(f"the store may hold {self.most[kind]} {kind}")
        self.counts[kind] += 1

    def count_memory(self, type: MemoryType) -> None:
        """Raises `Trap` where the store may not have a memory of this type."""
        size = type.limits.min * type.page_size
        if self.memory_size is not None and size > self.memory_size:
            raise _too_large(f"a memory of {size} bytes, where the store allows {self.memory_size}")
        self.count("memories")

    def count_table(self, type: TableType) -> None:
        """Raises `Trap` where the store may not have a table of this type."""
        size = type.limits.min
        if self.table_elements is not None and size > self.table_elements:
            raise _too_large(f"a table of {size} elements, where the store allows {self.table_elements}")
        self.count("tables")

    def memory_fits(self, size: int) -> bool:
        """Whether a memory may grow to `size` bytes."""
        return self.memory_size is None or size <= self.memory_size

    def table_fits(self, size: int) -> bool:
        """Whether a table may grow to `size` elements."""
        return self.table_elements is None or size <= self.table_elements


class Lease:
    """Bytes that something of a store takes; they go back when the lease dies."""

    __slots__ = ("limits", "size")

    def __init__(self, limits: ResourceLimits, size: int) -> None:
        self.limits = limits
        self.size = size
        limits.used += size

    def extend(self, size: int) -> bool:
        """Take `size` more bytes, where the store has them."""
        if not self.limits.fits(size):
            return False
        self.size += size
        self.limits.used += size
        return True

    def __del__(self) -> None:
        self.limits.used -= self.size


# What fits into the compiled side's counters; no memory or table gets there.
_MOST = (1 << 63) - 1
# What an object takes beside its fields or elements.
_OBJECT = 40


def _too_large(what: str) -> Trap:
    return Trap(TrapCode.ALLOCATION_TOO_LARGE, f"allocation too large: {what}")
