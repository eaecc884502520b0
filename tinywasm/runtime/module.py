"""Module instances (section 4.2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

from tinywasm.module import DecodedModule
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.globals import GlobalInstance
from tinywasm.runtime.heap import TagInstance
from tinywasm.runtime.memory import MemoryInstance
from tinywasm.runtime.store import Store
from tinywasm.runtime.table import TableInstance
from tinywasm.types import DefinedType

Extern = Union[FuncInstance, TableInstance, MemoryInstance, GlobalInstance, TagInstance]  # noqa: UP007


class ModuleInstance:
    """The index spaces of one instance, imports first. A dropped segment is empty."""

    __slots__ = (
        "datas", "elems", "exports", "funcs", "globals",
        "memories", "source_lines", "store", "syntax", "tables", "tags", "types",
    )  # fmt: skip

    def __init__(self, store: Store, syntax: DecodedModule, types: Sequence[DefinedType]) -> None:
        self.store = store
        self.syntax = syntax
        self.types = types
        self.funcs: list[FuncInstance] = []
        self.tables: list[TableInstance] = []
        self.memories: list[MemoryInstance] = []
        self.globals: list[GlobalInstance] = []
        self.tags: list[TagInstance] = []
        self.elems: list[list[Any]] = []
        self.datas: list[bytes] = []
        self.exports: dict[str, Extern] = {}
        # What backtraces read of the module's debugging information, at the first one.
        self.source_lines: Any = None

    def space(self, kind: str) -> list[Any]:
        """The index space of a kind of external values."""
        spaces: dict[str, list[Any]] = {
            "func": self.funcs,
            "table": self.tables,
            "memory": self.memories,
            "global": self.globals,
            "tag": self.tags,
        }
        return spaces[kind]

    def add(self, extern: Extern) -> None:
        """Append to the index space of its kind."""
        self.space(extern.kind).append(extern)

    def set_segments(self, datas: list[bytes], elems: list[list[Any]]) -> None:
        """Give the segments, once; element segments as raw references."""
        self.datas = datas
        self.elems = elems

    def drop_data(self, index: int) -> None:
        self.datas[index] = b""

    def drop_elem(self, index: int) -> None:
        self.elems[index] = []
