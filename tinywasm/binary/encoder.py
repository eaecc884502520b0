"""A `DecodedModule` to bytes (chapter 5), every integer in its shortest form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tinywasm.binary.names import BRANCH_HINTS, NAME, write_branch_hints, write_name, write_names
from tinywasm.binary.sections import (
    ADDRESS_64,
    ARRAY,
    EXPLICIT,
    EXPRESSIONS,
    FUNC,
    HAS_MAX,
    HAS_PAGE_SIZE,
    MAGIC,
    NOT_ACTIVE,
    ORDER,
    REC,
    STRUCT,
    SUB,
    SUB_FINAL,
    TABLE_WITH_INIT,
    VERSION,
    Section,
)
from tinywasm.codec import write_heaptype, write_storagetype, write_vector
from tinywasm.leb128 import write_unsigned
from tinywasm.syntax import (
    EXTERN_KINDS,
    CustomSection,
    DataSegment,
    DecodedModule,
    ElementSegment,
    Export,
    Expr,
    FuncImport,
    Function,
    Global,
    Import,
    ImportDesc,
    Table,
)
from tinywasm.types import (
    FUNCREF,
    I64,
    AbstractHeap,
    ArrayType,
    CompositeType,
    FieldType,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    NumType,
    RecGroup,
    RefType,
    StructType,
    SubType,
    TableType,
    TagType,
)

_PAGE_SIZE = 65536
_FUNCTION_REF = RefType(False, AbstractHeap.FUNC)


def encode(module: DecodedModule) -> bytes:
    """The module's binary form.

    Custom sections stand where `after` puts them. Names and branch hints without a custom section of
    their own, as the text format leaves them, get one: hints before the code, names at the end.
    """
    parts = [MAGIC, VERSION, *_customs(module, Section.CUSTOM)]
    for section in ORDER:
        if section is Section.CODE:
            parts += _generated_hints(module)
        content = _CONTENTS[section](module)
        if content:
            parts.append(_section(section, content))
        parts += _customs(module, section)
    parts += _generated_names(module)
    return b"".join(parts)


def _section(section: Section, content: bytes) -> bytes:
    return bytes([section]) + write_unsigned(len(content)) + content


def _customs(module: DecodedModule, after: Section) -> Iterator[bytes]:
    return (_custom(custom) for custom in module.customs if custom.after == after)


def _custom(custom: CustomSection) -> bytes:
    return _section(Section.CUSTOM, write_name(custom.name) + custom.payload)


def _has_custom(module: DecodedModule, name: str) -> bool:
    return any(custom.name == name for custom in module.customs)


def _generated_names(module: DecodedModule) -> Iterator[bytes]:
    payload = write_names(module.names)
    if payload and not _has_custom(module, NAME):
        yield _custom(CustomSection(NAME, payload))


def _generated_hints(module: DecodedModule) -> Iterator[bytes]:
    if module.branch_hints and not _has_custom(module, BRANCH_HINTS):
        yield _custom(CustomSection(BRANCH_HINTS, write_branch_hints(module.branch_hints)))


def _vector(write: Callable[[Any], bytes], items: Sequence[Any]) -> bytes:
    """A section's content: nothing at all for no items."""
    return write_vector(write, items) if items else b""


def _index(index: int | None) -> bytes:
    return b"" if index is None else write_unsigned(index)


def _rectype(group: RecGroup) -> bytes:
    if len(group.subtypes) == 1:
        return _subtype(group.subtypes[0])
    return bytes([REC]) + write_vector(_subtype, group.subtypes)


def _subtype(subtype: SubType) -> bytes:
    composite = _composite(subtype.composite)
    if subtype.final and not subtype.supertypes:
        return composite
    return (
        bytes([SUB_FINAL if subtype.final else SUB])
        + write_vector(write_heaptype, subtype.supertypes)
        + composite
    )


def _composite(composite: CompositeType) -> bytes:
    if isinstance(composite, FuncType):
        params = write_vector(write_storagetype, composite.params)
        return bytes([FUNC]) + params + write_vector(write_storagetype, composite.results)
    if isinstance(composite, StructType):
        return bytes([STRUCT]) + write_vector(_field, composite.fields)
    assert isinstance(composite, ArrayType)
    return bytes([ARRAY]) + _field(composite.field)


def _field(field: FieldType) -> bytes:
    return write_storagetype(field.storage) + bytes([field.mutable])


def _import(item: Import) -> bytes:
    return write_name(item.module) + write_name(item.name) + _import_desc(item.desc)


def _import_desc(desc: ImportDesc) -> bytes:
    if isinstance(desc, FuncImport):
        return b"\0" + write_unsigned(desc.type)
    if isinstance(desc, TableType):
        return b"\1" + _tabletype(desc)
    if isinstance(desc, MemoryType):
        return b"\2" + _memorytype(desc)
    if isinstance(desc, GlobalType):
        return b"\3" + _globaltype(desc)
    return b"\4" + _tagtype(desc)


def _limits(limits: Limits, address: NumType, flags: int = 0) -> bytes:
    flags |= ADDRESS_64 if address is I64 else 0
    if limits.max is None:
        return bytes([flags]) + write_unsigned(limits.min)
    return bytes([flags | HAS_MAX]) + write_unsigned(limits.min) + write_unsigned(limits.max)


def _tabletype(table: TableType) -> bytes:
    return write_storagetype(table.element) + _limits(table.limits, table.address)


def _memorytype(memory: MemoryType) -> bytes:
    if memory.page_size == _PAGE_SIZE:
        return _limits(memory.limits, memory.address)
    exponent = write_unsigned(memory.page_size.bit_length() - 1)
    return _limits(memory.limits, memory.address, HAS_PAGE_SIZE) + exponent


def _globaltype(global_type: GlobalType) -> bytes:
    return write_storagetype(global_type.content) + bytes([global_type.mutable])


def _tagtype(tag: TagType) -> bytes:
    assert isinstance(tag.type, int)
    return b"\0" + write_unsigned(tag.type)


def _expr(expr: Expr) -> bytes:
    return expr.bytes


def _table(table: Table) -> bytes:
    if table.init is None:
        return _tabletype(table.type)
    return TABLE_WITH_INIT + _tabletype(table.type) + _expr(table.init)


def _global(item: Global) -> bytes:
    return _globaltype(item.type) + _expr(item.init)


def _export(export: Export) -> bytes:
    kind = bytes([EXTERN_KINDS.index(export.kind)])
    return write_name(export.name) + kind + write_unsigned(export.index)


def _elem(elem: ElementSegment) -> bytes:
    expressions = elem.type != _FUNCTION_REF or any(isinstance(item, Expr) for item in elem.init)
    # Without a type of its own an active segment is of `(ref func)` indices or `funcref` expressions.
    implied = elem.type == (FUNCREF if expressions else _FUNCTION_REF)
    kind, place = EXPRESSIONS if expressions else 0, b""
    if elem.offset is None:
        kind |= NOT_ACTIVE | (EXPLICIT if elem.mode == "declarative" else 0)
    else:
        if elem.table or not implied:
            kind |= EXPLICIT
            place = write_unsigned(elem.table)
        place += _expr(elem.offset)
    element = b""
    if kind & (NOT_ACTIVE | EXPLICIT):
        element = write_storagetype(elem.type) if expressions else b"\0"
    init = write_vector(_expr if expressions else write_unsigned, elem.init)
    return bytes([kind]) + place + element + init


def _code(function: Function) -> bytes:
    content = write_vector(_locals, function.locals) + _expr(function.body)
    return write_unsigned(len(content)) + content


def _locals(run: tuple[int, Any]) -> bytes:
    count, valtype = run
    return write_unsigned(count) + write_storagetype(valtype)


def _data(data: DataSegment) -> bytes:
    init = write_unsigned(len(data.init)) + data.init
    if data.offset is None:
        return b"\1" + init
    if data.memory == 0:
        return b"\0" + _expr(data.offset) + init
    return b"\2" + write_unsigned(data.memory) + _expr(data.offset) + init


_CONTENTS: dict[Section, Callable[[DecodedModule], bytes]] = {
    Section.TYPE: lambda module: _vector(_rectype, module.types),
    Section.IMPORT: lambda module: _vector(_import, module.imports),
    Section.FUNCTION: lambda module: _vector(lambda func: write_unsigned(func.type), module.functions),
    Section.TABLE: lambda module: _vector(_table, module.tables),
    Section.MEMORY: lambda module: _vector(_memorytype, module.memories),
    Section.TAG: lambda module: _vector(_tagtype, module.tags),
    Section.GLOBAL: lambda module: _vector(_global, module.globals),
    Section.EXPORT: lambda module: _vector(_export, module.exports),
    Section.START: lambda module: _index(module.start),
    Section.ELEMENT: lambda module: _vector(_elem, module.elems),
    Section.DATA_COUNT: lambda module: _index(module.data_count),
    Section.CODE: lambda module: _vector(_code, module.functions),
    Section.DATA: lambda module: _vector(_data, module.datas),
}
