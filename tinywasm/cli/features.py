"""Which extensions of the first standard (WebAssembly 1.0) a module uses, by their proposals' names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tinywasm.codec import instructions
from tinywasm.instructions import Instruction
from tinywasm.syntax import DecodedModule, Expr
from tinywasm.types import (
    FUNCREF,
    I64,
    V128,
    AbstractHeap,
    ArrayType,
    FieldType,
    FuncType,
    GlobalType,
    MemoryType,
    RefType,
    StorageType,
    StructType,
    SubType,
    TableType,
    TagType,
    ValType,
)

BULK = "bulk-memory"
EXCEPTIONS = "exception-handling"
EXTENDED_CONST = "extended-const"
GC = "gc"
MEMORY64 = "memory64"
MULTI_MEMORY = "multi-memory"
MULTI_VALUE = "multi-value"
MUTABLE_GLOBALS = "mutable-global"
REFERENCES = "reference-types"
SIMD = "simd"
TYPED_FUNCTIONS = "function-references"

_PAGE = 65536
_EXTENDED_CONSTANTS = {f"{type}.{name}" for type in ("i32", "i64") for name in ("add", "sub", "mul")}


def features(module: DecodedModule) -> list[str]:
    """The names, sorted. `module` must be valid."""
    return sorted({*_of_module(module), *_of_types(module), *_of_code(module)})


def _of_module(module: DecodedModule) -> Iterator[str]:
    memories = [*_imported(module, MemoryType), *module.memories]
    tables = [*_imported(module, TableType), *(table.type for table in module.tables)]
    if len(memories) > 1:
        yield MULTI_MEMORY
    if any(each.address is I64 for each in [*memories, *tables]):
        yield MEMORY64
    if any(memory.page_size != _PAGE for memory in memories):
        yield "custom-page-sizes"
    if len(tables) > 1:
        yield REFERENCES
    if module.tags or _imported(module, TagType):
        yield EXCEPTIONS
    if module.branch_hints:
        yield "branch-hinting"
    if module.data_count is not None:
        yield BULK
    globals = [*_imported(module, GlobalType), *(each.type for each in module.globals)]
    exported = [globals[export.index] for export in module.exports if export.kind == "global"]
    if any(each.mutable for each in [*_imported(module, GlobalType), *exported]):
        yield MUTABLE_GLOBALS


def _imported(module: DecodedModule, kind: type) -> list[Any]:
    return [imp.desc for imp in module.imported(kind)]


def _of_types(module: DecodedModule) -> Iterator[str]:
    for group in module.types:
        if len(group.subtypes) > 1:
            yield GC
        for subtype in group.subtypes:
            yield from _of_subtype(subtype)
    for glob in [*_imported(module, GlobalType), *(each.type for each in module.globals)]:
        yield from _of_storage(glob.content)
    for function in module.functions:
        for _, type in function.locals:
            yield from _of_storage(type)
    for table in [*_imported(module, TableType), *(each.type for each in module.tables)]:
        if table.element != FUNCREF:
            yield from _of_storage(table.element)


def _of_subtype(subtype: SubType) -> Iterator[str]:
    composite = subtype.composite
    if subtype.supertypes or not subtype.final:
        yield GC
    if isinstance(composite, FuncType):
        if len(composite.results) > 1:
            yield MULTI_VALUE
        for type in (*composite.params, *composite.results):
            yield from _of_storage(type)
        return
    yield GC
    fields: Iterable[FieldType] = ()
    if isinstance(composite, StructType):
        fields = composite.fields
    elif isinstance(composite, ArrayType):
        fields = (composite.field,)
    for field in fields:
        yield from _of_storage(field.storage)


def _of_storage(type: StorageType) -> Iterator[str]:
    if type is V128:
        yield SIMD
    if not isinstance(type, RefType):
        return
    yield REFERENCES
    if not type.nullable or not isinstance(type.heap, AbstractHeap):
        yield TYPED_FUNCTIONS
    if type.heap in (AbstractHeap.EXN, AbstractHeap.NOEXN):
        yield EXCEPTIONS
    elif isinstance(type.heap, AbstractHeap) and type.heap not in (AbstractHeap.FUNC, AbstractHeap.EXTERN):
        yield GC


def _of_code(module: DecodedModule) -> Iterator[str]:
    rows: dict[int, Instruction] = {}
    types = module.subtypes()
    for function in module.functions:
        for _, row, immediates in instructions(function.body.code, function.body.start, function.body.end):
            rows[row.ordinal] = row
            if "block" in row.immediates:
                yield from _of_block(types, immediates[0])
    for expr in _constants(module):
        for _, row, _ in instructions(expr.code, expr.start, expr.end):
            rows[row.ordinal] = row
            if row.name in _EXTENDED_CONSTANTS:
                yield EXTENDED_CONST
    for row in rows.values():
        yield from row.proposals


def _of_block(types: list[SubType], block: Any) -> Iterator[str]:
    if isinstance(block, int):
        composite = types[block].composite
        if isinstance(composite, FuncType) and (composite.params or len(composite.results) > 1):
            yield MULTI_VALUE
    elif isinstance(block, ValType):
        yield from _of_storage(block)


def _constants(module: DecodedModule) -> Iterator[Expr]:
    yield from (glob.init for glob in module.globals)
    yield from (table.init for table in module.tables if table.init is not None)
    for segment in module.elems:
        yield from (item for item in segment.init if isinstance(item, Expr))
    offsets = [*(each.offset for each in module.elems), *(each.offset for each in module.datas)]
    yield from (offset for offset in offsets if offset is not None)
