"""Table instances (section 4.2.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinywasm.errors import Trap, TrapCode
from tinywasm.runtime.limits import Lease
from tinywasm.runtime.space import exhausted
from tinywasm.types import I64, Limits, TableType


class TableInstance:
    """A vector of references. `limit` caps its growth in elements, whatever the type says."""

    __slots__ = ("__weakref__", "elements", "lease", "limit", "type")
    kind = "table"

    def __init__(
        self, type: TableType, init: Any = None, max_elements: int = 10_000_000, lease: Lease | None = None
    ) -> None:
        self.lease = lease
        self.type = type
        self.limit = max_elements
        size = type.limits.min
        if size > max_elements:
            raise Trap(TrapCode.ALLOCATION_TOO_LARGE, f"allocation too large: table of {size} elements")
        try:
            self.elements: list[Any] = [init] * size
        except MemoryError:
            raise exhausted(f"table of {size} elements", 8 * size) from None

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def current_type(self) -> TableType:
        """The type with the present size as its minimum, as linking sees it."""
        limits = Limits(len(self.elements), self.type.limits.max)
        return TableType(self.type.element, limits, self.type.address)

    @property
    def failure(self) -> int:
        """What `table.grow` answers when refused: -1 in the address type."""
        return 0xFFFFFFFFFFFFFFFF if self.type.address is I64 else 0xFFFFFFFF

    def refuses(self, count: int) -> bool:
        """Whether it may not grow by so many elements."""
        size = len(self.elements) + count
        top = self.type.limits.max
        if (top is not None and size > top) or size > self.limit:
            return True
        if self.lease is None:
            return False
        limits = self.lease.limits
        return not limits.fits(8 * count) or (count > 0 and not limits.table_fits(size))

    def take(self, count: int) -> None:
        """Count elements that were added against what the store may take."""
        if self.lease:
            self.lease.extend(8 * count)

    def grow(self, count: int, value: Any) -> int:
        """The old size, or -1 where growth is refused."""
        old = len(self.elements)
        if self.refuses(count):
            return -1
        try:
            self.elements.extend([value] * count)
        except MemoryError:
            return -1
        self.take(count)
        return old

    def check(self, index: int, count: int) -> None:
        """Raises `Trap` unless `count` elements from `index` lie inside."""
        if index + count > len(self.elements):
            raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS)

    def get(self, index: int) -> Any:
        if index >= len(self.elements):
            raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS)
        return self.elements[index]

    def set(self, index: int, value: Any) -> None:
        self.check(index, 1)
        self.elements[index] = value

    def init(self, target: int, segment: Sequence[Any], source: int, count: int) -> None:
        """Write an active element segment."""
        self.check(target, count)
        if source + count > len(segment):
            raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS)
        self.elements[target : target + count] = segment[source : source + count]
