"""Bytes to a `DecodedModule` (chapter 5), in one pass over the sections.

Readers take the whole input and a position and return a value and the next position. As in the
reference interpreter they may run past their section's end; the size is compared afterwards.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Any, cast

from tinywasm import proposals
from tinywasm.binary.names import BRANCH_HINTS, NAME, read_branch_hints, read_name, understood_names
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
from tinywasm.codec import (
    Reader,
    instructions,
    read_byte,
    read_bytes,
    read_count,
    read_instruction,
    read_reftype,
    read_run,
    read_storagetype,
    read_valtype,
    read_vector,
)
from tinywasm.compiled import prefer_sources
from tinywasm.errors import DecodeError
from tinywasm.instructions import Feature, Role
from tinywasm.interruption import STEPS, look
from tinywasm.leb128 import read_signed, read_u32, read_unsigned
from tinywasm.loading import loading
from tinywasm.syntax import (
    EXTERN_KINDS,
    Body,
    CustomSection,
    DataSegment,
    DataSegments,
    DecodedModule,
    ElementSegment,
    Export,
    Expr,
    FuncImport,
    Functions,
    Global,
    Import,
    ImportDesc,
    Table,
)
from tinywasm.types import (
    FUNCREF,
    I32,
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
    ValType,
)

_MISMATCH = "section size mismatch"
_END = "unexpected end of section or function"
_I32_CONST, _EXPR_END = 0x41, 0x0B
# Of so many kinds of locals there is one object each.
_KNOWN = 1000
_FUNC = bytes([FUNC])
_COMPONENT = b"\x0d\0\1\0"


def decode(data: bytes | memoryview, features: Collection[Feature] = ()) -> DecodedModule:
    """The module that `data` encodes. Its expressions are slices of `data`.

    Where `data` is a memoryview of bytes that do not change, the contents of data segments and custom
    sections are views of it as well: a large module is not there twice.

    `features` are the proposals to accept beyond the standard; only custom-page-sizes changes the
    format of sections. Function bodies are delimited here, and read by the validator.

    Raises `DecodeError` with the byte offset where `data` is malformed. Custom sections never are:
    name and branch hint sections that cannot be read are kept as bytes only (section 5.5.3).
    """
    # A view has what is used of bytes here: items, slices and a length.
    return _Decoder(cast(bytes, data), features).decode()


class _Decoder:
    def __init__(self, data: bytes, features: Collection[Feature]) -> None:
        self.data = data
        self.page_sizes = Feature.CUSTOM_PAGE_SIZES in features
        self.module = DecodedModule()
        self.type_indices = array("I")
        self.groups: dict[bytes, RecGroup] = {}
        # Where the counts that other sections must agree with stand.
        self.code_pos = self.data_pos = len(data)
        self.content_before = Section.CUSTOM
        self.customs_seen: set[str] = set()

    def decode(self) -> DecodedModule:
        pos = _check_header(self.data)
        expected = 0
        while pos < len(self.data):
            section = _read_section_id(self.data, pos)
            if section is not Section.CUSTOM:
                place = ORDER.index(section)
                if place < expected:
                    detail = f"{section.name.lower().replace('_', ' ')} section"
                    raise DecodeError(f"unexpected content after last section: {detail}", pos)
                expected = place + 1
            pos = self._section(section, pos + 1)
        self._check_functions()
        self._check_data_count()
        return self.module

    def _section(self, section: Section, pos: int) -> int:
        start, end = _read_size(self.data, pos)
        if section is Section.CUSTOM:
            self._custom(start, end)
        elif self._content(section, start) != end:
            raise DecodeError(_MISMATCH, start)
        return end

    def _content(self, section: Section, pos: int) -> int:
        """Read a section's content into the module; the position behind it."""
        module, count = self.module, 1
        match section:
            case Section.TYPE:
                count, pos = self._items(module.types, self._read_group, pos)
            case Section.IMPORT:
                count, pos = self._items(module.imports, self._read_import, pos)
            case Section.FUNCTION:
                self.type_indices, pos = _read_indices(self.data, pos)
                count = len(self.type_indices)
            case Section.TABLE:
                count, pos = self._items(module.tables, _read_table, pos)
            case Section.MEMORY:
                count, pos = self._items(module.memories, self._read_memorytype, pos)
            case Section.TAG:
                count, pos = self._items(module.tags, _read_tagtype, pos)
            case Section.GLOBAL:
                count, pos = self._items(module.globals, _read_global, pos)
            case Section.EXPORT:
                count, pos = self._items(module.exports, _read_export, pos)
            case Section.START:
                module.start, pos = read_u32(self.data, pos)
            case Section.ELEMENT:
                count, pos = self._items(module.elems, read_elem, pos)
            case Section.DATA_COUNT:
                module.data_count, pos = read_u32(self.data, pos)
            case Section.CODE:
                self.code_pos = pos
                count, pos = self._codes(pos)
            case Section.DATA:
                self.data_pos = pos
                count, pos = self._datas(pos)
        # A section without content is not written again, so nothing can be placed after it.
        if count:
            self.content_before = section
        return pos

    def _items(self, into: list[Any], read: Reader, pos: int) -> tuple[int, int]:
        items, pos = read_vector(read, self.data, pos)
        into.extend(items)
        return len(items), pos

    def _codes(self, pos: int) -> tuple[int, int]:
        with loading:
            from tinywasm.binary.columns import read_codes
        known: _Locals = {}
        functions = Functions(self.data, self.type_indices, partial(_read_body, known))
        self.module.functions = functions

        def other(pos: int) -> int:
            start, end = _read_size(self.data, pos)
            _read_body(known, self.data, start, end)
            functions.places.extend((start, end))
            return end

        return self._columns(functions, 2, read_codes, other, pos)

    def _datas(self, pos: int) -> tuple[int, int]:
        with loading:
            from tinywasm.binary.columns import read_datas
        datas = self.module.datas = DataSegments(self.data)

        def other(pos: int) -> int:
            segment, pos = read_data(self.data, pos)
            datas.add(segment)
            return pos

        return self._columns(datas, 4, read_datas, other, pos)

    def _columns(
        self,
        into: Functions | DataSegments,
        width: int,
        usual: Callable[[bytes, int, array[int], int], tuple[int, int]],
        other: Callable[[int], int],
        pos: int,
    ) -> tuple[int, int]:
        """Read what has `width` numbers each: runs of the usual by `usual`, what stops them by `other`."""
        count, pos = read_count(self.data, pos)
        found = array("q", bytes(8 * width * min(count, STEPS)))
        while len(into) < count:
            look()
            pos, number = usual(self.data, pos, found, min(count - len(into), STEPS))
            into.places += found[: width * number]
            if number < STEPS and len(into) < count:
                pos = other(pos)
        return count, pos

    def _custom(self, start: int, end: int) -> None:
        name, pos = read_name(self.data, start)
        if pos > end:
            raise DecodeError(_END, end)
        payload, module = self.data[pos:end], self.module
        module.customs.append(CustomSection(name, payload, int(self.content_before)))
        if name == NAME and NAME not in self.customs_seen:
            module.names = partial(understood_names, payload)
        elif name == BRANCH_HINTS and BRANCH_HINTS not in self.customs_seen:
            # Section 5.5.3: errors in a custom section never invalidate the module.
            with suppress(DecodeError):
                module.branch_hints = read_branch_hints(payload)
        self.customs_seen.add(name)

    def _check_functions(self) -> None:
        declared, defined = len(self.type_indices), len(self.module.functions)
        if declared != defined:
            message = "function and code section have inconsistent lengths"
            raise DecodeError(f"{message}: {declared} and {defined}", self.code_pos)

    def _check_data_count(self) -> None:
        declared, defined = self.module.data_count, len(self.module.datas)
        if declared is not None and declared != defined:
            message = "data count and data section have inconsistent lengths"
            raise DecodeError(f"{message}: {declared} and {defined}", self.data_pos)

    def _read_group(self, data: bytes, pos: int) -> tuple[RecGroup, int]:
        """As `_read_rectype`; a function type that was there before, byte for byte, is the same object."""
        start = pos
        end = _simple_end(data, pos)
        group = self.groups.get(bytes(data[pos:end]))
        if group is not None:
            return group, end
        group, pos = _read_rectype(data, pos)
        if pos == end:
            self.groups[bytes(data[start:end])] = group
        return group, pos

    def _read_import(self, data: bytes, pos: int) -> tuple[Import, int]:
        module, pos = read_name(data, pos)
        name, pos = read_name(data, pos)
        kind, after = read_byte(data, pos)
        desc: ImportDesc
        match kind:
            case 0:
                index, pos = read_u32(data, after)
                desc = FuncImport(index)
            case 1:
                desc, pos = _read_tabletype(data, after)
            case 2:
                desc, pos = self._read_memorytype(data, after)
            case 3:
                desc, pos = _read_globaltype(data, after)
            case 4:
                desc, pos = _read_tagtype(data, after)
            case _:
                raise DecodeError(f"malformed import kind{proposals.of_import_kind(kind)}", pos)
        return Import(module, name, desc), pos

    def _read_memorytype(self, data: bytes, pos: int) -> tuple[MemoryType, int]:
        limits, address, flags, pos = _read_limits(data, pos, HAS_PAGE_SIZE if self.page_sizes else 0)
        if not flags & HAS_PAGE_SIZE:
            return MemoryType(limits, address), pos
        exponent, after = read_u32(data, pos)
        # Larger ones, and most smaller ones, are well-formed but invalid.
        if exponent >= 64:
            raise DecodeError("invalid custom page size", pos)
        return MemoryType(limits, address, 1 << exponent), after


def _check_header(data: bytes) -> int:
    if not data:
        raise DecodeError("unexpected end: the module is empty", 0)
    magic, pos = read_bytes(data, 0, 4)
    if magic != MAGIC:
        raise DecodeError("magic header not detected", 0)
    version, after = read_bytes(data, pos, 4)
    if version == _COMPONENT:
        raise DecodeError("unknown binary version: a component, not a core module", pos)
    if version != VERSION:
        raise DecodeError("unknown binary version", pos)
    return after


def _read_section_id(data: bytes, pos: int) -> Section:
    try:
        return Section(data[pos])
    except ValueError:
        raise DecodeError("malformed section id", pos) from None


def _read_size(data: bytes, pos: int) -> tuple[int, int]:
    """The start and end of what a size at `pos` delimits."""
    size, start = read_count(data, pos)
    if size > len(data) - start:
        raise DecodeError(_END, len(data))
    return start, start + size


def _simple_end(data: bytes, pos: int) -> int:
    """Where a function type that begins at `pos` ends if its counts and types have one byte each."""
    if data[pos : pos + 1] != _FUNC:
        return pos
    results = pos + 2 + sum(data[pos + 1 : pos + 2])
    return results + 1 + sum(data[results : results + 1])


def _read_rectype(data: bytes, pos: int) -> tuple[RecGroup, int]:
    byte, after = read_byte(data, pos)
    if byte == REC:
        subtypes, pos = read_vector(_read_subtype, data, after)
        return RecGroup(subtypes), pos
    subtype, pos = _read_subtype(data, pos)
    return RecGroup((subtype,)), pos


def _read_subtype(data: bytes, pos: int) -> tuple[SubType, int]:
    byte, after = read_byte(data, pos)
    if byte not in (SUB, SUB_FINAL):
        composite, pos = _read_composite(data, pos)
        return SubType(composite), pos
    supertypes, pos = read_vector(read_u32, data, after)
    composite, pos = _read_composite(data, pos)
    return SubType(composite, supertypes, byte == SUB_FINAL), pos


def _read_composite(data: bytes, pos: int) -> tuple[CompositeType, int]:
    byte, after = read_unsigned(data, pos, 7)
    if byte == FUNC:
        params, after = read_vector(read_valtype, data, after)
        results, after = read_vector(read_valtype, data, after)
        return FuncType(params, results), after
    if byte == STRUCT:
        fields, after = read_vector(_read_field, data, after)
        return StructType(fields), after
    if byte == ARRAY:
        field, after = _read_field(data, after)
        return ArrayType(field), after
    raise DecodeError(f"malformed definition type{proposals.of_type(data[pos])}", pos)


def _read_field(data: bytes, pos: int) -> tuple[FieldType, int]:
    storage, pos = read_storagetype(data, pos)
    mutable, pos = _read_mutability(data, pos)
    return FieldType(storage, mutable), pos


def _read_mutability(data: bytes, pos: int) -> tuple[bool, int]:
    byte, after = read_byte(data, pos)
    if byte > 1:
        raise DecodeError("malformed mutability", pos)
    return byte == 1, after


def _read_limits(data: bytes, pos: int, allowed: int | None = None) -> tuple[Limits, NumType, int, int]:
    """Limits, address type, flags and the next position.

    `allowed` are flags beyond the standard's for a memory, None for a table, which has no page size.
    """
    flags, after = read_byte(data, pos)
    if flags & ~(HAS_MAX | ADDRESS_64 | (allowed or 0)):
        known = HAS_PAGE_SIZE if allowed is None else allowed
        raise DecodeError(f"malformed limits flags{proposals.of_limits(flags, known)}", pos)
    # 64 bits whatever the address type; the range is for validation (section 3.2).
    minimum, after = read_unsigned(data, after, 64)
    maximum = None
    if flags & HAS_MAX:
        maximum, after = read_unsigned(data, after, 64)
    return Limits(minimum, maximum), I64 if flags & ADDRESS_64 else I32, flags, after


def _read_tabletype(data: bytes, pos: int) -> tuple[TableType, int]:
    element, pos = read_reftype(data, pos)
    limits, address, _, pos = _read_limits(data, pos)
    return TableType(element, limits, address), pos


def _read_table(data: bytes, pos: int) -> tuple[Table, int]:
    if data[pos : pos + len(TABLE_WITH_INIT)] != TABLE_WITH_INIT:
        table, pos = _read_tabletype(data, pos)
        return Table(table), pos
    table, pos = _read_tabletype(data, pos + len(TABLE_WITH_INIT))
    init, pos = _read_expr(data, pos)
    return Table(table, init), pos


def _read_tagtype(data: bytes, pos: int) -> tuple[TagType, int]:
    attribute, after = read_byte(data, pos)
    if attribute != 0:
        raise DecodeError("malformed tag attribute", pos)
    index, after = read_u32(data, after)
    return TagType(index), after


def _read_globaltype(data: bytes, pos: int) -> tuple[GlobalType, int]:
    content, pos = read_valtype(data, pos)
    mutable, pos = _read_mutability(data, pos)
    return GlobalType(content, mutable), pos


def _read_global(data: bytes, pos: int) -> tuple[Global, int]:
    global_type, pos = _read_globaltype(data, pos)
    init, pos = _read_expr(data, pos)
    return Global(global_type, init), pos


def _read_export(data: bytes, pos: int) -> tuple[Export, int]:
    name, pos = read_name(data, pos)
    kind, after = read_byte(data, pos)
    if kind >= len(EXTERN_KINDS):
        raise DecodeError("malformed export kind", pos)
    index, after = read_u32(data, after)
    return Export(name, EXTERN_KINDS[kind], index), after


def _read_expr(data: bytes, pos: int) -> tuple[Expr, int]:
    """An expression that nothing but its own `end` delimits."""
    if pos < len(data) and data[pos] == _I32_CONST:
        number, after = read_signed(data, pos + 1, 32)
        if after < len(data) and data[after] == _EXPR_END:
            return Expr(data, pos, after + 1, None, number & 0xFFFF_FFFF), after + 1
    start, depth, count = pos, 1, 0
    while depth:
        count += 1
        if count % STEPS == 0:
            look()
        row, _, pos = read_instruction(data, pos)
        if row.role is Role.CLOSES:
            depth -= 1
        elif row.role is Role.OPENS:
            depth += 1
    return Expr(data, start, pos), pos


def read_elem(data: bytes, pos: int) -> tuple[ElementSegment, int]:
    """Section 5.5.12."""
    kind, after = read_u32(data, pos)
    if kind > NOT_ACTIVE | EXPLICIT | EXPRESSIONS:
        raise DecodeError("malformed elements segment kind", pos)
    mode, table, offset, pos = "active", 0, None, after
    if kind & NOT_ACTIVE:
        mode = "declarative" if kind & EXPLICIT else "passive"
    else:
        if kind & EXPLICIT:
            table, pos = read_u32(data, pos)
        offset, pos = _read_expr(data, pos)
    typed = bool(kind & (NOT_ACTIVE | EXPLICIT))
    if kind & EXPRESSIONS:
        element, pos = _read_elem_type(data, pos, typed)
        init, pos = read_vector(_read_expr, data, pos)
        return ElementSegment(element, init, mode, table, offset), pos
    element, pos = _read_elem_kind(data, pos, typed)
    indices, pos = _read_indices(data, pos)
    return ElementSegment(element, tuple(indices), mode, table, offset), pos


def _read_elem_type(data: bytes, pos: int, typed: bool) -> tuple[RefType, int]:
    return read_reftype(data, pos) if typed else (FUNCREF, pos)


def _read_elem_kind(data: bytes, pos: int, typed: bool) -> tuple[RefType, int]:
    after = pos
    if typed:
        kind, after = read_byte(data, pos)
        if kind != 0:
            raise DecodeError("malformed element kind", pos)
    return RefType(False, AbstractHeap.FUNC), after


_Locals = dict[bytes, tuple[tuple[int, ValType], ...]]


def _read_body(known: _Locals, data: bytes, start: int, end: int) -> Body:
    """The locals and the body of a function (section 5.5.13)."""
    local_types, pos = _read_locals(known, data, start)
    if pos > end:
        raise DecodeError(_MISMATCH, start)
    if data[end - 1] != _EXPR_END or pos == end:
        raise _missing_end(data, pos, end)
    return local_types, Expr(data, pos, end)


def _read_locals(known: _Locals, data: bytes, start: int) -> tuple[tuple[tuple[int, ValType], ...], int]:
    """All locals of a function; a few that were there before, byte for byte, are the same object."""
    # Where they end if each has a count and a type of one byte.
    end = start + 1 + 2 * sum(data[start : start + 1])
    found = known.get(bytes(data[start:end]))
    if found is not None:
        return found, end
    local_types, pos = read_vector(_read_run, data, start)
    if sum(count for count, _ in local_types) >= 1 << 32:
        raise DecodeError("too many locals", start)
    if pos == end and len(known) < _KNOWN:
        known[bytes(data[start:end])] = local_types
    return local_types, pos


def _read_run(data: bytes, pos: int) -> tuple[tuple[int, ValType], int]:
    count, pos = read_u32(data, pos)
    valtype, pos = read_valtype(data, pos)
    return (count, valtype), pos


def _read_indices(data: bytes, pos: int) -> tuple[array[int], int]:
    """A vector of indices."""
    with loading:
        from tinywasm.binary.columns import read_short
    count, pos = read_count(data, pos)
    indices = array("I")
    found = array("I", bytes(4 * min(count, STEPS)))
    while len(indices) < count:
        look()
        pos, number = read_short(data, pos, found, min(count - len(indices), STEPS))
        indices += found[:number]
        if number < STEPS and len(indices) < count:
            index, pos = read_u32(data, pos)
            indices.append(index)
    return indices, pos


def _missing_end(data: bytes, pos: int, end: int) -> DecodeError:
    """What is wrong with a body that does not end in `end`.

    A malformed instruction comes first; after the last one the reference interpreter takes the byte
    behind the body for the missing `end`.
    """
    for _ in instructions(data, pos, end):
        pass
    if end == len(data):
        return DecodeError(_END, end)
    return DecodeError(_MISMATCH if data[end] == _EXPR_END else "END opcode expected", end)


def read_data(data: bytes, pos: int) -> tuple[DataSegment, int]:
    """Section 5.5.14."""
    kind, after = read_u32(data, pos)
    if kind > 2:
        raise DecodeError("malformed data segment kind", pos)
    memory, offset, pos = 0, None, after
    if kind == 2:
        memory, pos = read_u32(data, pos)
    if kind != 1:
        offset, pos = _read_expr(data, pos)
    init, pos = read_run(data, pos)
    return DataSegment(init, memory, offset), pos


prefer_sources("tinywasm.binary.columns")
