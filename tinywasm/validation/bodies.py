"""A quick look at function bodies, where the extension is built: nearly all are accepted unseen by Python.

`acceptor` gives it a module's context as plain numbers, and the rows of the instruction table as they
stand. What it accepts is valid; anything else is for `code`, which alone knows what to tell people.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from functools import cache

from tinywasm.codec import HEAP_CODES, NUMBER_CODES
from tinywasm.extensions import usable
from tinywasm.instructions import AT, TABLE, Feature, Instruction
from tinywasm.interruption import watched
from tinywasm.matching import canonicalise, matches_heap
from tinywasm.records import record
from tinywasm.types import (
    I32,
    ArrayType,
    DefinedType,
    FieldType,
    FuncType,
    PackedType,
    RecGroup,
    RefType,
    StructType,
    SubType,
    ValType,
)
from tinywasm.validation.context import Context
from tinywasm.validation.stack import is_defaultable, unpack

available = usable("tinywasm.validation._bodies")
if available:
    try:
        from tinywasm.validation import _bodies
    except ImportError:
        available = False

_SIMPLE: dict[object, int] = {
    **{heap: code for code, heap in HEAP_CODES.items()},
    **{number: code for code, number in NUMBER_CODES.items()},
}
# One of each composite kind, in the order of `enum composite`.
_EXAMPLES = canonicalise(
    [RecGroup((SubType(kind),)) for kind in (FuncType(), StructType(), ArrayType(FieldType(I32)))]
)
_KINDS = [type(example.composite) for example in _EXAMPLES]


@record(frozen=True)
class Definition:
    """A type definition; sequences are packed 32-bit numbers."""

    composite: int
    canonical: int
    parent: int
    defaultable: bool
    params: bytes
    results: bytes
    fields: bytes


@record(frozen=True)
class Numbers:
    """A context; sequences are packed 32-bit numbers, but `declared`, a byte a function."""

    rows: bytes
    above: dict[int, int]
    defined_above: list[int]
    defined_below: list[int]
    types: list[Definition]
    funcs: bytes
    declared: bytes
    tags: bytes
    tables: bytes
    memories: bytes
    elems: bytes
    globals: bytes
    datas: int
    has_data_count: bool


def acceptor(context: Context, features: Collection[Feature], has_data_count: bool) -> _bodies.Acceptor:
    """For the bodies of the module of `context`, whose other parts are valid. Needs `available`."""
    values = _Values(context.types)
    defined_above, defined_below = _beside()
    numbers = Numbers(
        rows=rows(frozenset(features)),
        above=_above(),
        defined_above=defined_above,
        defined_below=defined_below,
        types=_definitions(values, context.types),
        funcs=_pack(map(values.canonical.__getitem__, context.funcs)),
        declared=_declared(context),
        tags=_pack(map(values.canonical.__getitem__, context.tags)),
        tables=_pack(values[value] for table in context.tables for value in (table.element, table.address)),
        memories=_pack(values[memory.address] for memory in context.memories),
        elems=_pack(map(values.__getitem__, context.elems)),
        globals=_pack(number for each in context.globals for number in (values[each.content], each.mutable)),
        datas=context.datas,
        has_data_count=has_data_count,
    )
    return _bodies.Acceptor(numbers, values)


def _declared(context: Context) -> bytes:
    declared = bytearray(len(context.funcs))
    for index in context.refs:
        declared[index] = True
    return bytes(declared)


def _pack(numbers: Iterable[int]) -> bytes:
    return array("I", numbers).tobytes()


def _nullness(value: RefType) -> int:
    return 0 if value.nullable else _bodies.NON_NULL


class _Values(dict[ValType, int]):
    """The numbers of value types, closed or not (`bodies.h` tells how they are made)."""

    def __init__(self, types: Sequence[DefinedType]) -> None:
        super().__init__()
        self.types = types
        self.canonical: dict[DefinedType, int] = {}
        for index, defined in enumerate(types):
            self.canonical.setdefault(defined, index)

    def __missing__(self, value: ValType) -> int:
        number = self[value] = self._number(value)
        return number

    def _number(self, value: ValType) -> int:
        if not isinstance(value, RefType):
            return _SIMPLE[value] << 1
        heap = value.heap
        if isinstance(heap, int):
            heap = self.types[heap]
        code = _bodies.DEFINED + self.canonical[heap] if isinstance(heap, DefinedType) else _SIMPLE[heap]
        return code << 1 | _nullness(value)


def _bit(code: int) -> int:
    return 1 << (code & 31)


@cache
def _above() -> dict[int, int]:
    """For each abstract heap type and number type the bits of those that it is a subtype of."""
    above = {code: _bit(code) for code in NUMBER_CODES}
    for code, heap in HEAP_CODES.items():
        above[code] = sum(_bit(other) for other, wanted in HEAP_CODES.items() if matches_heap(heap, wanted))
    return above


@cache
def _beside() -> tuple[list[int], list[int]]:
    """For each composite kind the bits of the abstract heap types above and below its definitions."""
    return (
        [
            sum(_bit(code) for code, heap in HEAP_CODES.items() if matches_heap(each, heap))
            for each in _EXAMPLES
        ],
        [
            sum(_bit(code) for code, heap in HEAP_CODES.items() if matches_heap(heap, each))
            for each in _EXAMPLES
        ],
    )


def _definitions(values: _Values, types: Sequence[DefinedType]) -> list[Definition]:
    made: dict[DefinedType, Definition] = {}
    for defined in watched(types):
        if defined not in made:
            made[defined] = _definition(values, defined)
    return [made[defined] for defined in types]


def _definition(values: _Values, defined: DefinedType) -> Definition:
    composite = defined.composite
    params: Sequence[ValType] = ()
    results: Sequence[ValType] = ()
    fields: Sequence[FieldType] = ()
    if isinstance(composite, FuncType):
        params, results = composite.params, composite.results
    else:
        fields = composite.fields if isinstance(composite, StructType) else (composite.field,)
    above = defined.ancestors[:-1]
    return Definition(
        _KINDS.index(type(composite)),
        values.canonical[defined],
        values.canonical[above[-1]] if above else _bodies.NO_PARENT,
        all(is_defaultable(field.storage) for field in fields),
        _pack(map(values.__getitem__, params)),
        _pack(map(values.__getitem__, results)),
        _pack(number for field in fields for number in _field(values, field)),
    )


def _field(values: _Values, field: FieldType) -> tuple[int, int, int]:
    width = field.storage.value if isinstance(field.storage, PackedType) else 0
    return values[unpack(field.storage)], field.mutable, width


@cache
def rows(features: frozenset[Feature]) -> bytes:
    made = bytearray(_bodies.ROWS * _bodies.ROW_SIZE)
    for row in TABLE:
        if row.feature is None or row.feature in features:
            place = _bodies.ROW_SIZE * _place(row)
            made[place : place + _bodies.ROW_SIZE] = _row(row)
    return bytes(made)


def _place(row: Instruction) -> int:
    if row.prefix is None:
        return row.code
    return 256 + (row.prefix - _bodies.FIRST_PREFIX) * _bodies.PREFIXED_ROWS + row.code


def _row(row: Instruction) -> bytes:
    """`struct row`."""
    rule = _bodies.RULES[row.name.replace(".", "_")] if row.rule else _bodies.CLOSED
    immediates = bytes(_bodies.IMMEDIATES[kind] for kind in row.immediates)
    return bytes([rule]) + immediates.ljust(2, b"\0") + _row_types(row.params, row.results)


# Most rows share it with others.
@cache
def _row_types(params: tuple[ValType, ...], results: tuple[ValType, ...]) -> bytes:
    types = bytes(map(_row_type, (*params, *results)))
    return bytes([len(params), len(results)]) + types.ljust(_bodies.ROW_TYPES, b"\0")


def _row_type(value: ValType) -> int:
    if value is AT:
        return _bodies.ADDRESS
    return _SIMPLE[value.heap] << 1 | _nullness(value) if isinstance(value, RefType) else _SIMPLE[value] << 1
