"""Module instances of the python engine."""

from __future__ import annotations

from typing import Any

from tinywasm.module import DecodedModule
from tinywasm.runtime.instance import ModuleInstance
from tinywasm.runtime.store import Store
from tinywasm.validation import Context

# Of each instance the same, since instances are many.
_NOTHING: Any = ()


class PythonModuleInstance(ModuleInstance):
    """A module instance with its segments, of which dropped ones are empty."""

    __slots__ = ("datas", "elems")

    def __init__(self, store: Store, syntax: DecodedModule, context: Context) -> None:
        super().__init__(store, syntax, context)
        self.datas: list[bytes] = _NOTHING
        self.elems: list[list[Any]] = _NOTHING

    def set_segments(self, datas: list[bytes], elems: list[list[Any]]) -> None:
        self.datas, self.elems = datas, list(elems)

    def drop_data(self, index: int) -> None:
        self.datas[index] = b""

    def drop_elem(self, index: int) -> None:
        self.elems[index] = []
