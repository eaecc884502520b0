"""Generates modules of many small functions: every shape of code with every kind of operand in it.

`generate(seed)` always gives the same module for the same seed; docs/fuzzing.md describes what is in it.
The bodies come from `shape_bodies`; here is what stands around them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from random import Random
from typing import Any

from fuzz.shape_bodies import SUBJECTS, Body, Subject
from fuzz.shape_types import (
    CALLEES,
    GLOBALS,
    PARAMS,
    STRUCT,
    TAGS,
    Callee,
    Memory,
    Types,
    op,
    unsigned,
)
from tinywasm.syntax import (
    DataSegment,
    DecodedModule,
    ElementSegment,
    Export,
    Expr,
    FuncImport,
    Function,
    Global,
    Import,
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
    GlobalType,
    HeapType,
    Limits,
    MemoryType,
    RefType,
    TableType,
    TagType,
    ValType,
)

# Enough for a module's fixed costs to be small beside its functions'.
FUNCTIONS = 250
# The first memory whose index does not fit a 16-bit field of the native engine's words, less a few.
_FAR = 65_534
_END = op("end")
_CONSTANT: dict[ValType, str] = {I32: "i32.const", I64: "i64.const"}


@dataclass(frozen=True, slots=True)
class Shapes:
    """A module and how it is called.

    Function `first + n` is the one exported as "f" and n, for n below `count`. With `foreign` there are
    functions "w" and n, which give the same results as numbers. `calls` has the arguments of each
    function's calls: raw values of the types PARAMS. The module imports "h" "id", a function from i32 to
    i32, and where `memory` is given the same memory "h" "m" many times. `exported` has the names of the
    exported memories, globals and tables by kind.
    """

    seed: int
    module: DecodedModule
    first: int
    count: int
    calls: Sequence[tuple[Any, ...]]
    memory: MemoryType | None
    exported: dict[str, list[str]]


def generate(
    seed: int,
    *,
    count: int = FUNCTIONS,
    foreign: bool = False,
    far: bool | None = None,
    subjects: Sequence[Subject] = (),
) -> Shapes:
    """The module of a seed, with `count` functions.

    They are about the `subjects` one after the other; modules that follow each other go through all there
    are. Where `far` is not given, a seed in fifty has memories of an index above 65,535.
    """
    rng = Random(f"shapes {seed}")
    far = seed % 50 == 49 if far is None else far
    about = subjects or [SUBJECTS[(seed * count + n) % len(SUBJECTS)] for n in range(count)]
    types = Types()
    module = DecodedModule()
    shared = MemoryType(Limits(1, 2)) if far else None
    id_type = types.function((I32,), (I32,))
    module.imports = [Import("h", "id", FuncImport(id_type))]
    memories = _memories(module, rng, shared)
    module.functions = [_callee(types, callee) for callee in CALLEES]
    first = 1 + len(CALLEES)
    signatures = [
        _function(module, Body(Random(f"{seed} {n}"), types, memories), about[n % len(about)])
        for n in range(count)
    ]
    if foreign:
        for n, results in enumerate(signatures):
            module.functions = [*module.functions, _wrapper(types, first + n, results)]
    module.tags = [TagType(types.function(params, ())) for params in TAGS]
    module.globals = [Global(GlobalType(type, True), _zero(type)) for type in GLOBALS]
    _tables(module, types)
    module.datas = _datas(rng, memories)
    module.data_count = len(module.datas)
    module.types = types.groups
    exported = _export(module, first, count, foreign, memories)
    return Shapes(seed, module, first, count, _calls(rng), shared, exported)


def _memories(module: DecodedModule, rng: Random, shared: MemoryType | None) -> list[Memory]:
    """Memories of both address types; the first is mostly one of 32 bits, which has words of its own."""
    found = [
        (MemoryType(Limits(1, 2)), I32),
        (MemoryType(Limits(1, 3), I64), I64),
        (MemoryType(Limits(600, 700), I32, 1), I32),
        (MemoryType(Limits(1, 1), I64), I64),
    ]
    if rng.random() < 0.15:
        found[:2] = found[1::-1]
    if shared is not None:
        module.imports += [Import("h", "m", shared)] * _FAR
        found = found[1:]
    module.memories = [type for type, _ in found]
    start = _FAR if shared is not None else 0
    memories = [
        Memory(start + n, address, type.limits.min * type.page_size)
        for n, (type, address) in enumerate(found)
    ]
    return memories if shared is None else [Memory(0, I32, 1 << 16), *memories]


def _function(module: DecodedModule, body: Body, subject: Subject) -> tuple[ValType, ...]:
    """Append one function; what it returns."""
    results = body.build(subject)
    code = bytes(body.code)
    runs = [(len(list(same)), local) for local, same in groupby(body.locals[len(PARAMS) :])]
    type = body.types.function(PARAMS, results)
    module.functions = [*module.functions, Function(type, runs, Expr(code, 0, len(code)))]
    return results


def _callee(types: Types, callee: Callee) -> Function:
    code = callee.code + _END
    return Function(types.function(callee.params, callee.results), (), Expr(code, 0, len(code)))


def _wrapper(types: Types, target: int, results: tuple[ValType, ...]) -> Function:
    """Calls a function and gives its results as numbers."""
    code = bytearray()
    for local in range(len(PARAMS)):
        code += op("local.get") + unsigned(local)
    code += op("call") + unsigned(target)
    first = len(PARAMS)
    for n in reversed(range(len(results))):
        code += op("local.set") + unsigned(first + n)
    numbers: list[ValType] = []
    for n, type in enumerate(results):
        get = op("local.get") + unsigned(first + n)
        if type is V128:
            code += get + op("i64x2.extract_lane") + b"\0" + get + op("i64x2.extract_lane") + b"\1"
            numbers += [I64, I64]
        elif isinstance(type, RefType):
            code += get + op("ref.is_null")
            numbers.append(I32)
        elif type in (F32, F64):
            # As bits, since a NaN does not survive every interface.
            code += get + op("i32.reinterpret_f32" if type is F32 else "i64.reinterpret_f64")
            numbers.append(I32 if type is F32 else I64)
        else:
            code += get
            numbers.append(type)
    code += _END
    runs = [(1, type) for type in results]
    return Function(types.function(PARAMS, tuple(numbers)), runs, Expr(bytes(code), 0, len(code)))


def _zero(type: ValType) -> Expr:
    if isinstance(type, RefType):
        heap = type.heap
        code = op("ref.null") + (unsigned(heap) if isinstance(heap, int) else bytes([_HEAP_CODES[heap]]))
    elif type is V128:
        code = op("v128.const") + bytes(range(16))
    elif type in (F32, F64):
        code = op("f32.const") + bytes(4) if type is F32 else op("f64.const") + bytes(8)
    else:
        code = op(_CONSTANT[type]) + b"\x05"
    code += _END
    return Expr(code, 0, len(code))


_HEAP_CODES: dict[HeapType, int] = {
    AbstractHeap.FUNC: 0x70,
    AbstractHeap.EXTERN: 0x6F,
    AbstractHeap.ANY: 0x6E,
    AbstractHeap.EXN: 0x69,
}


def _constant(type: ValType, number: int) -> Expr:
    code = op(_CONSTANT[type]) + unsigned(number) + _END
    return Expr(code, 0, len(code))


def _tables(module: DecodedModule, types: Types) -> None:
    """Tables of functions, the second of 64-bit addresses, and of objects; segments for each."""
    module.tables = [
        Table(TableType(FUNCREF, Limits(12, 16))),
        Table(TableType(FUNCREF, Limits(12, 14), I64)),
        Table(TableType(RefType(True, STRUCT), Limits(6, 8))),
    ]
    functions = list(range(1 + len(CALLEES)))
    plain = RefType(False, AbstractHeap.FUNC)
    objects = RefType(True, STRUCT)
    new = op("struct.new_default") + unsigned(STRUCT) + _END
    null = op("ref.null") + unsigned(STRUCT) + _END
    items = [Expr(code, 0, len(code)) for code in (new, null, new)]
    module.elems = [
        ElementSegment(plain, functions, "active", 0, _constant(I32, 0)),
        # One further on, so that the tables are told apart.
        ElementSegment(plain, functions, "active", 1, _constant(I64, 1)),
        ElementSegment(plain, functions[:4], "passive"),
        ElementSegment(objects, items, "active", 2, _constant(I32, 0)),
        ElementSegment(objects, items, "passive"),
        ElementSegment(plain, functions, "declarative"),
    ]


def _datas(rng: Random, memories: list[Memory]) -> list[DataSegment]:
    """Small numbers here and there, so that what is loaded makes an address again; two passive segments."""
    found = []
    for memory in memories:
        content = b"".join(
            rng.choice((0, 0, rng.randrange(200), rng.randrange(200) << 8)).to_bytes(4, "little")
            for _ in range(40)
        )
        found.append(DataSegment(content, memory.index, _constant(memory.address, 0)))
    return [DataSegment(bytes(range(1, 33))), DataSegment(rng.randbytes(64)), *found]


def _calls(rng: Random) -> list[tuple[Any, ...]]:
    return [
        (0, 0, 0, 0.0, 0.0),
        (rng.randrange(4, 120), rng.randrange(1, 9), rng.randrange(1 << 33), 1.5, -2.5),
        (
            rng.randrange(200),
            rng.choice((0xFFFFFFFF, 0x80000000, 3, 65_535)),
            rng.choice(((1 << 64) - 1, 1 << 63, 7, 1 << 32)),
            rng.choice((-0.0, 16_777_216.0, 0.25)),
            rng.choice((3.0, 1e300, -0.0)),
        ),
    ]


def _export(
    module: DecodedModule, first: int, count: int, foreign: bool, memories: list[Memory]
) -> dict[str, list[str]]:
    """Export what can be looked at; the names by kind."""
    named = [(f"m{n}", "memory", memory.index) for n, memory in enumerate(memories)]
    named += [(f"g{n}", "global", n) for n in range(len(GLOBALS))]
    named += [(f"t{n}", "table", n) for n in range(len(module.tables))]
    named += [(f"f{n}", "func", first + n) for n in range(count)]
    named += [(f"w{n}", "func", first + count + n) for n in range(count if foreign else 0)]
    module.exports = [Export(*each) for each in named]
    found: dict[str, list[str]] = {}
    for name, kind, _ in named:
        found.setdefault(kind, []).append(name)
    return found
