"""Module instances of the python engine."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinywasm.errors import LinkError
from tinywasm.interruption import watched
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.globals import GlobalInstance
from tinywasm.runtime.heap import TagInstance
from tinywasm.runtime.memory import MemoryInstance
from tinywasm.runtime.module_instance import Functions, ModuleInstance
from tinywasm.runtime.storage import Extern
from tinywasm.runtime.store import Store
from tinywasm.runtime.table import TableInstance
from tinywasm.syntax import DataSegment, DataSegments, DecodedModule
from tinywasm.validation import Context

if TYPE_CHECKING:
    from tinywasm.engine.source.tier import Tier

_OURS = (GlobalInstance, MemoryInstance, TableInstance, TagInstance)
# Of each instance the same, since instances are many.
_NOTHING: Any = ()


class PythonModuleInstance(ModuleInstance):
    """A module instance with its segments, of which dropped ones are empty."""

    __slots__ = ("datas", "elems", "tier")

    def __init__(self, store: Store, syntax: DecodedModule, context: Context) -> None:
        super().__init__(store, syntax, context)
        self.datas: list[bytes] = _NOTHING
        self.elems: list[list[Any]] = _NOTHING
        # The names of its Python functions, when there are any.
        self.tier: Tier | None = None

    def add(self, extern: Extern) -> None:
        """Raises `LinkError` for what another engine made, and for functions of another store."""
        if isinstance(extern, FuncInstance):
            if extern.module is not None and extern.module.store is not self.store:
                raise LinkError("incompatible import: a function of another store")
        elif not isinstance(extern, _OURS):
            raise LinkError(f"incompatible import: a {extern.kind} that another engine made")
        super().add(extern)

    def set_segments(self, datas: Sequence[DataSegment], elems: Sequence[list[Any] | array[int]]) -> None:
        self.datas = datas.contents() if isinstance(datas, DataSegments) else [data.init for data in datas]
        self.elems = [self._referred(elem) if isinstance(elem, array) else elem for elem in watched(elems)]

    def _referred(self, indices: array[int]) -> list[Any]:
        funcs = self.funcs
        return funcs.several(indices) if isinstance(funcs, Functions) else [funcs[index] for index in indices]

    def run_elem(self, index: int, table: int, offset: int) -> None:
        elem = self.elems[index]
        self.tables[table].init(offset, elem, 0, len(elem))

    def run_datas(self, datas: DataSegments, first: int, last: int) -> None:
        for number, address in enumerate(datas.places[4 * first : 4 * last : 4], first):
            if address >= 0:
                data = self.datas[number]
                self.memories[0].init(address, data, 0, len(data))
                self.datas[number] = b""

    def drop_data(self, index: int) -> None:
        self.datas[index] = b""

    def drop_elem(self, index: int) -> None:
        self.elems[index] = []
