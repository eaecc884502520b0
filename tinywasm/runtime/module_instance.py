"""Module instances (section 4.2.6)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from tinywasm.interruption import watched
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.storage import Extern, Global, Memory, Table, Tag
from tinywasm.runtime.store import Store
from tinywasm.syntax import DataSegment, DataSegments, DecodedModule
from tinywasm.validation.context import Context

_SPACES = {"func": "funcs", "table": "tables", "memory": "memories", "global": "globals", "tag": "tags"}
# Of each instance the same, since instances are many: a list comes with the first member.
_NOTHING: Any = ()


class ModuleInstance(ABC):
    """The index spaces of one instance, imports first. Its segments are the engine's."""

    __slots__ = (
        "_exports", "context", "funcs", "globals",
        "memories", "source_lines", "store", "syntax", "tables", "tags", "types",
    )  # fmt: skip

    def __init__(self, store: Store, syntax: DecodedModule, context: Context) -> None:
        self.store = store
        self.syntax = syntax
        self.context = context
        self.types = context.types
        self.funcs: list[FuncInstance] = _NOTHING
        self.tables: list[Table] = _NOTHING
        self.memories: list[Memory] = _NOTHING
        self.globals: list[Global] = _NOTHING
        self.tags: list[Tag] = _NOTHING
        self._exports: dict[str, Extern] | None = None
        # What backtraces read of the module's debugging information, at the first one.
        self.source_lines: Any = None

    def space(self, kind: str) -> list[Any]:
        """The index space of a kind of external values."""
        space: list[Any] = getattr(self, _SPACES[kind])
        return space

    @property
    def exports(self) -> dict[str, Extern]:
        """The exports by name, in the module's order.

        Instantiation gathers them where they are many, which a limit of time can end; few are gathered
        when they are first asked for.
        """
        return self._exports if self._exports is not None else self.gather_exports()

    def gather_exports(self) -> dict[str, Extern]:
        exports = {
            export.name: self.space(export.kind)[export.index] for export in watched(self.syntax.exports)
        }
        self._exports = exports
        return exports

    def add(self, extern: Extern) -> None:
        """Append to the index space of its kind. Raises `LinkError` for what the store cannot use."""
        space = self.space(extern.kind)
        if space:
            space.append(extern)
        else:
            setattr(self, _SPACES[extern.kind], [extern])

    @abstractmethod
    def set_segments(self, datas: Sequence[DataSegment], elems: list[list[Any]]) -> None:
        """Give the segments, once; element segments as raw references."""

    @abstractmethod
    def run_datas(self, datas: DataSegments, first: int, last: int) -> None:
        """Write the segments of these numbers, none of `others`, to the first memory, and drop them.

        Raises `Trap` at one that is out of bounds; those before it stay written.
        """

    @abstractmethod
    def drop_data(self, index: int) -> None:
        """Make a data segment an empty one. Its bytes are the module's."""

    @abstractmethod
    def drop_elem(self, index: int) -> None:
        """Make an element segment an empty one, and let go of what it refers to."""
