"""The validation context C of section 3.1: what a module declares, with all types closed."""

from __future__ import annotations

from typing import Any

from tinywasm.records import field, record
from tinywasm.types import DefinedType, GlobalType, MemoryType, RefType, TableType


@record()
class Context:
    """The index spaces of a module, imports first, and what code may refer to.

    `types` are the type index space. `funcs` and `tags` hold the definitions of their function types.
    `datas` is the number of data segments. `refs` are the functions that `ref.func` may name in a
    body: those that occur outside of bodies. The `imported_` counts say where the definitions of the
    module itself begin. `compiled` has what an engine, by its name, keeps for all instances of the module,
    and `source` the module's binary format where it was read from that.
    """

    types: tuple[DefinedType, ...] = ()
    funcs: list[DefinedType] = field(default_factory=list)
    tables: list[TableType] = field(default_factory=list)
    memories: list[MemoryType] = field(default_factory=list)
    globals: list[GlobalType] = field(default_factory=list)
    tags: list[DefinedType] = field(default_factory=list)
    elems: list[RefType] = field(default_factory=list)
    datas: int = 0
    refs: set[int] = field(default_factory=set)
    imported_funcs: int = 0
    imported_tables: int = 0
    imported_memories: int = 0
    imported_globals: int = 0
    imported_tags: int = 0
    compiled: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    source: bytes | memoryview | None = field(default=None, compare=False, repr=False)
