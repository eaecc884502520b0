"""Hypothesis strategies for immediates, expressions and well-formed (not valid) modules."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tinywasm.codec import Cast, Catch, MemArg, write_instruction
from tinywasm.instructions import BY_NAME, TABLE, Instruction
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
    Names,
    Table,
)
from tinywasm.types import (
    F32,
    F64,
    FUNCREF,
    I32,
    I64,
    V128,
    AbstractHeap,
    ArrayType,
    FieldType,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    PackedType,
    RecGroup,
    RefType,
    StructType,
    SubType,
    TableType,
    TagType,
)

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
indices = st.integers(0, 300) | u32
numtypes = st.sampled_from([I32, I64, F32, F64, V128])
heaptypes = st.sampled_from(list(AbstractHeap)) | indices
reftypes = st.builds(RefType, st.booleans(), heaptypes)
valtypes = numtypes | reftypes
storagetypes = valtypes | st.sampled_from(list(PackedType))
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def few(items: st.SearchStrategy[Any], size: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(items, max_size=size)


def few_tuple(items: st.SearchStrategy[Any], size: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return few(items, size).map(tuple)


def signed(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)


memargs = st.builds(MemArg, st.integers(0, 63), indices, u64)
catches = st.builds(Catch, st.none() | indices, st.booleans(), indices)
INDEX_KINDS = (
    "label",
    "func",
    "type",
    "local",
    "global",
    "table",
    "mem",
    "tag",
    "data",
    "elem",
    "field",
    "count",
)

IMMEDIATES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(INDEX_KINDS, indices),
    **dict.fromkeys(("lane2", "lane4", "lane8", "lane16"), st.integers(0, 255)),
    **dict.fromkeys(("memarg1", "memarg2", "memarg4", "memarg8", "memarg16"), memargs),
    "block": st.none() | valtypes | indices,
    "labels": st.tuples(few_tuple(indices), indices),
    "catches": few_tuple(catches),
    "i32": signed(32),
    "i64": signed(64),
    "f32": u32,
    "f64": u64,
    "v128": st.binary(min_size=16, max_size=16),
    "shuffle": st.binary(min_size=16, max_size=16),
    "heap": heaptypes,
    "ref": st.builds(RefType, st.just(False), heaptypes),
    "refnull": st.builds(RefType, st.just(True), heaptypes),
    "types": few_tuple(valtypes),
    "cast": st.builds(Cast, indices, reftypes, reftypes),
}

END = BY_NAME["end"][0]
BLOCKS = [row for row in TABLE if "block" in row.immediates]
PLAIN = [row for row in TABLE if "block" not in row.immediates and row.name not in ("end", "else")]


def immediates(row: Instruction) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*(IMMEDIATES[kind] for kind in row.immediates))


def encoded(rows: list[Instruction]) -> st.SearchStrategy[bytes]:
    return st.sampled_from(rows).flatmap(
        lambda row: immediates(row).map(lambda values: write_instruction(row, values))
    )


def _nested(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    end = write_instruction(END)
    return st.tuples(encoded(BLOCKS), few(inner)).map(lambda pair: pair[0] + b"".join(pair[1]) + end)


sequences = few(st.recursive(encoded(PLAIN), _nested, max_leaves=4)).map(b"".join)


@st.composite
def exprs(draw: st.DrawFn) -> Expr:
    code = draw(sequences) + write_instruction(END)
    return Expr(code, 0, len(code))


fieldtypes = st.builds(FieldType, storagetypes, st.booleans())
composites = st.one_of(
    st.builds(FuncType, few_tuple(valtypes), few_tuple(valtypes)),
    st.builds(StructType, few_tuple(fieldtypes)),
    st.builds(ArrayType, fieldtypes),
)
subtypes = st.builds(SubType, composites, few_tuple(indices, 2), st.booleans())
limits = st.builds(Limits, u64, st.none() | u64)
addresses = st.sampled_from([I32, I64])
memorytypes = st.builds(MemoryType, limits, addresses)
custom_memorytypes = st.builds(MemoryType, limits, addresses, st.integers(0, 63).map(lambda bits: 1 << bits))
tabletypes = st.builds(TableType, reftypes, limits, addresses)
globaltypes = st.builds(GlobalType, valtypes, st.booleans())
tagtypes = st.builds(TagType, indices)


def imports(memories: st.SearchStrategy[MemoryType]) -> st.SearchStrategy[Import]:
    desc = st.one_of(st.builds(FuncImport, indices), memories, tabletypes, globaltypes, tagtypes)
    return st.builds(Import, names, names, desc)


functions = st.builds(Function, indices, few_tuple(st.tuples(st.integers(0, 2**30), valtypes)), exprs())


@st.composite
def elems(draw: st.DrawFn) -> ElementSegment:
    mode = draw(st.sampled_from(["active", "passive", "declarative"]))
    init: Any
    if draw(st.booleans()):
        element, init = RefType(False, AbstractHeap.FUNC), draw(few_tuple(indices))
    else:
        element, init = draw(reftypes | st.just(FUNCREF)), draw(few_tuple(exprs()))
    if mode == "active":
        return ElementSegment(element, init, mode, draw(indices), draw(exprs()))
    return ElementSegment(element, init, mode)


@st.composite
def datas(draw: st.DrawFn) -> DataSegment:
    init = draw(st.binary(max_size=20))
    if draw(st.booleans()):
        return DataSegment(init)
    return DataSegment(init, draw(indices), draw(exprs()))


name_maps = st.dictionaries(indices, names, max_size=3)
indirect_maps = st.dictionaries(indices, name_maps, max_size=3)
module_names = st.builds(
    Names,
    st.none() | names.filter(bool),
    **dict.fromkeys(
        ("functions", "types", "tables", "memories", "globals", "elems", "datas", "tags"), name_maps
    ),
    **dict.fromkeys(("locals", "labels", "fields"), indirect_maps),
)
branch_hints = st.dictionaries(indices, few(st.tuples(indices, st.integers(0, 1))), max_size=3)


@st.composite
def modules(draw: st.DrawFn, custom_page_sizes: bool = False) -> DecodedModule:
    """A module as `decode` gives it, without custom sections."""
    memories = custom_memorytypes if custom_page_sizes else memorytypes
    segments = draw(few(datas()))
    return DecodedModule(
        types=draw(few(st.builds(RecGroup, few_tuple(subtypes)))),
        imports=draw(few(imports(memories))),
        functions=draw(few(functions)),
        tables=draw(few(st.builds(Table, tabletypes, st.none() | exprs()))),
        memories=draw(few(memories)),
        tags=draw(few(tagtypes)),
        globals=draw(few(st.builds(Global, globaltypes, exprs()))),
        exports=draw(few(st.builds(Export, names, st.sampled_from(EXTERN_KINDS), indices))),
        start=draw(st.none() | indices),
        elems=draw(few(elems())),
        data_count=draw(st.sampled_from([None, len(segments)])),
        datas=segments,
    )


customs = few(st.builds(CustomSection, names, st.binary(max_size=10), st.integers(0, 13)), 5)
