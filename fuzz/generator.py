"""Generates valid modules that use every instruction; docs/fuzzing.md describes how.

`generate(seed)` always gives the same module for the same seed. `generated_modules` is the strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st

import fuzz.generator_control
import fuzz.generator_refs
from fuzz.generator_code import Body
from fuzz.generator_env import ABSTRACT, NUMBERS, Env, HostPlan, defaultable
from tinywasm import binary
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
    ANYREF,
    EXTERNREF,
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
    NumType,
    PackedType,
    RecGroup,
    RefType,
    StorageType,
    StructType,
    SubType,
    TableType,
    TagType,
    ValType,
)

# The producers and statements of these modules are registered by importing them.
assert fuzz.generator_control and fuzz.generator_refs

# What a call of an export may do is counted down from this, in the global that is exported as "budget".
BUDGET = 150
_STRUCTS, _ARRAYS = 4, 7
_SCALARS: frozenset[ValType] = frozenset({I32, I64, F32, F64})


@dataclass(frozen=True, slots=True)
class Generated:
    """A module, and what the functions do that it imports as "h" "0", "h" "1" and so on.

    `params` has the types of the parameters of the functions, exported as "f0", "f1" and so on, tables,
    memories, globals and tags as t, m, g and e. `imports` are the types of all imports, in order.
    """

    seed: int
    data: bytes
    hosts: tuple[HostPlan, ...]
    env: Env
    imports: tuple[Import, ...]


def generate(seed: int, *, foreign: bool = False) -> Generated:
    """The module of a seed.

    With `foreign` it imports nothing but functions of scalar parameters and results that do nothing else,
    so that runtimes of others can be given them.
    """
    env = Env(Random(seed))
    _types(env)
    imports = _host_functions(env, _SCALARS if foreign else None)
    _spaces(env)
    if not foreign:
        imports += _further_imports(env)
    _segments(env)
    module = DecodedModule(types=env.groups, imports=imports)
    module.elems, module.datas = env.elems, env.datas
    module.data_count = len(env.datas)
    count = {kind: sum(isinstance(imp.desc, kind) for imp in imports) for kind in _DEFINED}
    module.memories = env.memories[count[MemoryType] :]
    module.tags = [TagType(type) for type in env.tags[count[TagType] :]]
    _globals(env, module, count[GlobalType])
    # Section 3.4.17: tables know the imported globals only.
    module.tables = [
        Table(type, _table_init(env, type, count[GlobalType])) for type in env.tables[count[TableType] :]
    ]
    module.functions = [_function(env, index) for index in range(len(env.hosts), len(env.funcs))]
    module.exports = _exports(env)
    starts = [i for i, type in enumerate(env.funcs) if env.signature(type) == FuncType()]
    if starts and env.chance(0.15):
        module.start = env.pick(starts)
    return Generated(seed, binary.encode(module), tuple(env.hosts), env, tuple(imports))


_DEFINED: tuple[type, ...] = (MemoryType, TagType, GlobalType, TableType)


def generated_modules(*, foreign: bool = False) -> st.SearchStrategy[Generated]:
    return st.integers(0, 2**32 - 1).map(lambda seed: generate(seed, foreign=foreign))


# Types


def _types(env: Env) -> None:
    """A recursive group of aggregates, then function types."""
    inside = range(_STRUCTS + _ARRAYS)
    base = tuple(_field(env, inside) for _ in range(env.rng.randrange(4)))
    more = base + tuple(_field(env, inside) for _ in range(1 + env.rng.randrange(2)))
    other = tuple(_field(env, inside) for _ in range(env.rng.randrange(4)))
    structs = [
        SubType(StructType(base), final=False),
        SubType(StructType(more), (0,), final=env.chance(0.5)),
        SubType(StructType(other), final=False),
        SubType(StructType(other), (2,)),
    ]
    reference = env.pick([ANYREF, FUNCREF, RefType(True, env.pick(inside))])
    storages: list[StorageType] = [
        PackedType.I8, PackedType.I16, env.pick(NUMBERS), env.pick(NUMBERS), V128, reference,
    ]  # fmt: skip
    arrays = [SubType(ArrayType(FieldType(storage, env.chance(0.9)))) for storage in storages]
    arrays.append(SubType(ArrayType(_field(env, inside))))
    env.close([RecGroup((*structs, *arrays))])
    env.close([*env.groups, *_function_types(env)])


def _field(env: Env, inside: Sequence[int]) -> FieldType:
    choice = env.rng.random()
    storage: StorageType
    if choice < 0.5:
        storage = env.pick(NUMBERS)
    elif choice < 0.7:
        storage = env.pick(list(PackedType))
    elif choice < 0.75:
        storage = RefType(False, AbstractHeap.I31)
    elif choice < 0.9:
        storage = RefType(True, env.pick(inside))
    else:
        storage = env.pick(ABSTRACT)
    return FieldType(storage, env.chance(0.75))


def _function_types(env: Env) -> list[RecGroup]:
    signatures = [FuncType(), FuncType((I32,), (I32,)), FuncType((), (env.value_type(),))]
    for _ in range(3):
        params = [env.value_type() for _ in range(env.rng.randrange(5))]
        results = [env.value_type() for _ in range(env.rng.randrange(4))]
        signatures.append(FuncType(params, results))
    if env.chance(0.1):
        signatures.append(FuncType([I64] * 70, [I32] * 70))
    carried = tuple(env.value_type() for _ in range(env.rng.randrange(4)))
    exn = RefType(False, AbstractHeap.EXN)
    signatures += [FuncType(carried), FuncType((), carried), FuncType((), (*carried, exn))]
    return [RecGroup((SubType(signature, final=env.chance(0.7)),)) for signature in signatures]


# Index spaces


def _spaces(env: Env) -> None:
    """Functions, tags, memories and tables."""
    funcs = env.of_kind(FuncType)
    env.funcs = [host.type for host in env.hosts]
    env.funcs += [type for type in funcs if type not in env.funcs]
    env.funcs += [env.pick(funcs) for _ in range(2)]
    carrying = next(i for i in reversed(funcs) if env.params(i) or not env.results(i))
    env.tags = [carrying, env.pick([i for i in funcs if not env.results(i)])]
    env.memories = [
        MemoryType(Limits(1, env.pick([None, 2, 4]))),
        MemoryType(Limits(1, 3), I64),
        MemoryType(Limits(env.pick([64, 100, 3000]), 5000), I32, 1),
    ][: 1 + env.rng.randrange(3)]
    env.rng.shuffle(env.memories)
    typed = RefType(True, env.pick(funcs))
    others = [ANYREF, EXTERNREF, typed, RefType(True, 0), RefType(False, AbstractHeap.I31)]
    env.tables = [TableType(FUNCREF, Limits(8, 16))]
    for _ in range(env.rng.randrange(3)):
        address = env.pick([I32, I64])
        env.tables.append(TableType(env.pick(others), Limits(8, env.pick([None, 12])), address))


def _further_imports(env: Env) -> list[Import]:
    """The first of a space is sometimes imported."""
    imports = []
    for kind, space in (("m", env.memories), ("e", env.tags), ("t", env.tables)):
        if env.chance(0.25):
            desc: Any = space[0] if kind != "e" else TagType(env.tags[0])
            imports.append(Import("h", kind, desc))
    if env.chance(0.5):
        env.globals.append(GlobalType(I64))
        imports.append(Import("h", "g", env.globals[0]))
    return imports


def _host_functions(env: Env, only: frozenset[ValType] | None) -> list[Import]:
    """Imported functions; where only some types are allowed, they do nothing but return values."""
    behaviours = [*["values"] * 8, "trap", "throw", "throw", "error", "reenter", "reenter", "grow"]
    exn = RefType(False, AbstractHeap.EXN)
    possible = [type for type in env.of_kind(FuncType) if exn not in env.results(type)]
    if only is not None:
        behaviours = ["values"]
        possible = [type for type in possible if only.issuperset(env.params(type) + env.results(type))]
    for _ in range(1 + env.rng.randrange(3)):
        plan = HostPlan(env.pick(possible), env.pick(behaviours), env.rng.getrandbits(32))
        env.hosts.append(plan)
    return [Import("h", str(index), FuncImport(plan.type)) for index, plan in enumerate(env.hosts)]


def _globals(env: Env, module: DecodedModule, imported: int) -> None:
    """Globals with constant expressions, which may name those before; the last one is the budget."""
    for _ in range(2 + env.rng.randrange(5)):
        type = GlobalType(env.value_type(), env.chance(0.6))
        module.globals.append(Global(type, _constant(env, type.content)))
        env.globals.append(type)
    env.budget = imported + len(module.globals)
    code = Body(env, FuncType(), constant=True)
    code.emit("i32.const", BUDGET)
    code.emit("end")
    module.globals.append(Global(GlobalType(I32, True), _expr(code)))
    env.globals.append(GlobalType(I32, True))


def _expr(body: Body) -> Expr:
    return Expr(bytes(body.code), 0, len(body.code))


def _constant(env: Env, type: ValType, globals: int | None = None) -> Expr:
    """A constant expression, an extended one where that is possible; it may name the first `globals`."""
    body = Body(env, FuncType((), (type,)), constant=True)
    before = env.some(
        i
        for i, each in enumerate(env.globals[:globals])
        if not each.mutable and env.matches(each.content, type)
    )
    if before is not None and env.chance(0.5):
        body.emit("global.get", before)
    else:
        body.leaf(type)
    if type in (I32, I64):
        for _ in range(env.rng.randrange(3)):
            body.leaf(type)
            body.emit(f"{type}.{env.pick(['add', 'sub', 'mul'])}")
    body.emit("end")
    return _expr(body)


def _offset(env: Env, type: NumType, number: int) -> Expr:
    body = Body(env, FuncType((), (type,)), constant=True)
    body.number_of(type, number)
    body.emit("end")
    return _expr(body)


def _table_init(env: Env, type: TableType, globals: int) -> Expr | None:
    if defaultable(type.element) and env.chance(0.7):
        return None
    return _constant(env, type.element, globals)


# Segments


def _segments(env: Env) -> None:
    for table, type in enumerate(env.tables):
        if env.top(type.element) is AbstractHeap.FUNC:
            _function_segment(env, table, type)
    for _ in range(env.rng.randrange(3)):
        element = env.pick([FUNCREF, ANYREF, EXTERNREF, RefType(True, env.pick(range(len(env.types))))])
        items = [_constant(env, element) for _ in range(env.rng.randrange(5))]
        env.elems.append(ElementSegment(element, items, "passive"))
    every = list(range(len(env.funcs)))
    env.elems.append(ElementSegment(RefType(False, AbstractHeap.FUNC), every, "declarative"))
    for memory, memory_type in enumerate(env.memories):
        if memory_type.limits.min and env.chance(0.8):
            start = 70 if env.chance(0.03) and memory_type.page_size == 1 else 0
            init = env.rng.randbytes(env.rng.randrange(60))
            env.datas.append(DataSegment(init, memory, _offset(env, memory_type.address, start)))
    for _ in range(env.rng.randrange(3)):
        env.datas.append(DataSegment(env.rng.randbytes(env.rng.randrange(40))))


def _function_segment(env: Env, table: int, type: TableType) -> None:
    """Functions in a table, remembered so that indirect calls find them."""
    fitting = [i for i, each in enumerate(env.funcs) if env.matches(RefType(False, each), type.element)]
    items = [env.pick(fitting) for _ in range(1 + env.rng.randrange(8))]
    env.slots[table] = {slot: env.funcs[item] for slot, item in enumerate(items)}
    bodies = []
    for item in items:
        body = Body(env, FuncType((), (type.element,)), constant=True)
        body.emit("ref.func", item)
        body.emit("end")
        bodies.append(_expr(body))
    plain = type.element == FUNCREF and env.chance(0.5)
    element = RefType(False, AbstractHeap.FUNC) if plain else type.element
    offset = _offset(env, type.address, 0)
    env.elems.append(ElementSegment(element, items if plain else bodies, "active", table, offset))


# Functions and exports


def _function(env: Env, index: int) -> Function:
    type = env.funcs[index]
    signature = env.signature(type)
    body = Body(env, signature, 8 + env.rng.randrange(48), index)
    for _ in range(env.rng.randrange(5)):
        body.add_local(env.value_type())
    if env.chance(0.2):
        body.add_local(RefType(False, env.pick(range(len(env.types)))))
    body.finish(1 + env.rng.randrange(6))
    runs = [(1, local) for local in body.locals[len(signature.params) :]]
    return Function(type, runs, _expr(body))


def _exports(env: Env) -> list[Export]:
    spaces: list[tuple[str, str, int]] = [
        ("f", "func", len(env.funcs)),
        ("t", "table", len(env.tables)),
        ("m", "memory", len(env.memories)),
        ("g", "global", len(env.globals)),
        ("e", "tag", len(env.tags)),
    ]
    exports = [Export(f"{letter}{i}", kind, i) for letter, kind, count in spaces for i in range(count)]
    return [*exports, Export("budget", "global", env.budget)]
