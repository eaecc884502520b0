"""Module instances (section 4.2.6)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, overload

from tinywasm.interruption import watched
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.storage import Extern, Global, Memory, Table, Tag
from tinywasm.runtime.store import Store
from tinywasm.syntax import DataSegment, DataSegments, DecodedModule, Function
from tinywasm.validation.context import Context

_SPACES = {"func": "funcs", "table": "tables", "memory": "memories", "global": "globals", "tag": "tags"}
# Of each instance the same, since instances are many: a list comes with the first member.
_NOTHING: Any = ()


class Functions(Sequence[FuncInstance]):
    """The functions of an instance, imports first; its own, of which there may be 100,000, are made when they
    are first asked for, each once."""

    __slots__ = ("_instance", "_made")

    def __init__(self, instance: ModuleInstance, imported: Sequence[FuncInstance]) -> None:
        self._instance = instance
        self._made = dict(enumerate(imported))

    def __len__(self) -> int:
        return len(self._instance.context.funcs)

    @overload
    def __getitem__(self, index: int) -> FuncInstance: ...
    @overload
    def __getitem__(self, index: slice) -> list[FuncInstance]: ...
    def __getitem__(self, index: int | slice) -> FuncInstance | list[FuncInstance]:
        number = range(len(self))[index]
        return self._function(number) if isinstance(number, int) else self.several(number)

    def several(self, indices: Iterable[int]) -> list[FuncInstance]:
        """Those of some indices, none of which is out of range."""
        made, make = self._made, self._function
        return [made.get(index) or make(index) for index in watched(indices)]

    def _function(self, index: int) -> FuncInstance:
        found = self._made.get(index)
        if found is None:
            new = FuncInstance(self._instance.context.funcs[index], module=self._instance, index=index)
            # In one step: the first that is there stays, for another thread may ask as well.
            found = self._made.setdefault(index, new)
        return found


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
        self.funcs: Sequence[FuncInstance] = _NOTHING
        self.tables: list[Table] = _NOTHING
        self.memories: list[Memory] = _NOTHING
        self.globals: list[Global] = _NOTHING
        self.tags: list[Tag] = _NOTHING
        self._exports: dict[str, Extern] | None = None
        # What backtraces read of the module's debugging information, at the first one.
        self.source_lines: Any = None

    def definition(self, index: int) -> Function:
        """The decoded form of a function that the module defines."""
        return self.syntax.functions[index - self.context.imported_funcs]

    def space(self, kind: str) -> Sequence[Any]:
        """The index space of a kind of external values."""
        space: Sequence[Any] = getattr(self, _SPACES[kind])
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
        if isinstance(space, list):
            space.append(extern)
        else:
            setattr(self, _SPACES[extern.kind], [extern])

    def define_functions(self) -> None:
        """Append the functions that the module defines, once, behind all that are imported."""
        self.funcs = Functions(self, self.funcs)

    @abstractmethod
    def set_segments(self, datas: Sequence[DataSegment], elems: Sequence[list[Any] | array[int]]) -> None:
        """Give the segments, once; element segments as raw references, or as array of functions' indices."""

    @abstractmethod
    def run_elem(self, index: int, table: int, offset: int) -> None:
        """Write an element segment into a table. Raises `Trap` where that is out of bounds."""

    @abstractmethod
    def run_datas(self, datas: DataSegments, first: int, last: int) -> None:
        """Write the active segments of these numbers, none of `others`, to the first memory, and drop them.

        Raises `Trap` at one that is out of bounds; those before it stay written.
        """

    @abstractmethod
    def drop_data(self, index: int) -> None:
        """Make a data segment an empty one. Its bytes are the module's."""

    @abstractmethod
    def drop_elem(self, index: int) -> None:
        """Make an element segment an empty one, and let go of what it refers to."""
