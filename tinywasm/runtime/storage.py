"""What memories, tables, globals and tags are to everything outside of engines, whichever made them.

Each engine has classes of its own for them, which keep to these. Values are raw (see `runtime`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Union

from tinywasm.runtime.func import FuncInstance
from tinywasm.types import GlobalType, MemoryType, TableType, TagType


class Memory(Protocol):
    """A memory instance (section 4.2.9)."""

    @property
    def kind(self) -> str:
        """The word 'memory'."""

    @property
    def type(self) -> MemoryType:
        """As it was declared."""

    @property
    def current_type(self) -> MemoryType:
        """The type with the present size as its minimum, as linking sees it."""

    @property
    def pages(self) -> int:
        """The present size in pages of the type's size."""

    @property
    def data(self) -> memoryview:
        """The bytes, to read and to write. They never move: a view stays valid when the memory grows."""

    def grow(self, pages: int) -> int:
        """Grow by so many pages; the old size in pages, or -1 where that is refused (section 4.6.8)."""

    def init(self, target: int, segment: bytes, source: int, count: int) -> None:
        """Write a part of a data segment. Raises `Trap` where either range is out of bounds."""


class Table(Protocol):
    """A table instance (section 4.2.8)."""

    @property
    def kind(self) -> str:
        """The word 'table'."""

    @property
    def type(self) -> TableType:
        """As it was declared."""

    @property
    def current_type(self) -> TableType:
        """The type with the present size as its minimum, as linking sees it."""

    def __len__(self) -> int: ...

    def get(self, index: int) -> Any:
        """An element. Raises `Trap` out of bounds."""

    def set(self, index: int, value: Any) -> None:
        """Replace an element. Raises `Trap` out of bounds."""

    def grow(self, count: int, value: Any) -> int:
        """Add so many elements; the old size, or -1 where that is refused (section 4.6.7)."""

    def init(self, target: int, segment: Sequence[Any], source: int, count: int) -> None:
        """Write a part of an element segment. Raises `Trap` where either range is out of bounds."""


class Global(Protocol):
    """A global instance (section 4.2.10), whose `value` may be set whatever the type says."""

    value: Any

    @property
    def kind(self) -> str:
        """The word 'global'."""

    @property
    def type(self) -> GlobalType: ...


class Tag(Protocol):
    """A tag instance (section 4.2.11): an identity. `type.type` is a canonical definition."""

    @property
    def kind(self) -> str:
        """The word 'tag'."""

    @property
    def type(self) -> TagType: ...


Extern = Union[FuncInstance, Table, Memory, Global, Tag]  # noqa: UP007
