"""Runs a generated module on an engine and writes down everything that can be seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from fuzz.generator import BUDGET, Generated
from fuzz.generator_env import Env
from tinywasm import matching
from tinywasm.config import Config, Engine
from tinywasm.engine import backend
from tinywasm.errors import Trap, TrapCode, WasmException
from tinywasm.instantiation import instantiate, invoke
from tinywasm.module import Module
from tinywasm.numerics.floats import f32_from_bits, f64_from_bits, f64_to_bits
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.heap import I31, reference_kind
from tinywasm.runtime.module_instance import ModuleInstance
from tinywasm.runtime.store import Store
from tinywasm.syntax import FuncImport
from tinywasm.types import (
    F32,
    F64,
    I32,
    I64,
    V128,
    AbstractHeap,
    GlobalType,
    MemoryType,
    RefType,
    TableType,
    TagType,
    ValType,
)

# More than any run uses: the budget ends it long before.
PLENTY = 1 << 40
HOST_OBJECT = "an object of the host"
# As an engine: the native one, with everything compiled that it compiles.
COMPILED = "compiled"
# The same with what proves hot.
AUTO = "auto"
# How often each function is called.
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Record:
    """What one run showed: one outcome a call, and the state at the end; `fuel` is what it used."""

    outcomes: list[Any]
    state: list[Any]
    fuel: int


def config_of(generated: Generated, engine: str, *, metered: bool) -> Config:
    """Small limits, so that they are reached; few calls deep for some modules."""
    return Config(
        engine="native" if engine in (COMPILED, AUTO) else engine,
        tier=engine if engine in (COMPILED, AUTO) else "interpreter",
        wide_arithmetic=True,
        custom_page_sizes=True,
        consume_fuel=metered,
        max_call_depth=6 if generated.seed % 8 == 0 else 200,
        max_memory_pages=6,
        max_table_elements=24,
    )


def load(generated: Generated) -> Module:
    """Decode and validate, once for all engines."""
    return Module(Engine(config_of(generated, "python", metered=False)), generated.data)


def run(
    generated: Generated, module: Module, engine: str, fuel: int | None = None, store: Store | None = None
) -> Record:
    """Instantiate the module and call its functions; `fuel` None does not meter.

    Where a store is given it is used, which was made with what `config_of` says.
    """
    store = store or Store(Engine(config_of(generated, engine, metered=fuel is not None)))
    return _Run(generated, module, store, fuel).record()


def raw_value(env: Env, rng: Random, type: ValType) -> Any:
    """A raw value of a number type, or of a reference type that is nullable."""
    # The choices of the environment, from another source of chance.
    chosen = Env(rng)
    if type in (I32, I64):
        bits = 32 if type is I32 else 64
        return chosen.integer(bits) & ((1 << bits) - 1)
    if type is F32:
        return f32_from_bits(chosen.float_bits(32))
    if type is F64:
        return f64_from_bits(chosen.float_bits(64))
    if type is V128:
        return chosen.vector()
    assert isinstance(type, RefType)
    if type.heap is AbstractHeap.EXTERN and rng.random() < 0.7:
        return HOST_OBJECT
    if type.heap in (AbstractHeap.I31, AbstractHeap.EQ, AbstractHeap.ANY) and rng.random() < 0.7:
        return I31(rng.getrandbits(31))
    return None


class _Run:
    def __init__(self, generated: Generated, module: Module, store: Store, fuel: int | None) -> None:
        self.generated = generated
        self.module = module
        self.store = store
        self.fuel = fuel
        if fuel is not None:
            self.store.set_fuel(fuel)
        self.instance: ModuleInstance | None = None
        self.host_calls: list[Any] = []
        self.tag: Any = None

    def record(self) -> Record:
        outcomes = [self.outcome(self.instantiate)]
        if self.instance is not None:
            rng = Random(self.generated.seed)
            for _ in range(ROUNDS):
                for index in range(len(self.generated.env.funcs)):
                    outcomes.append(self.call(index, rng))
        state = [] if self.instance is None else self.state(self.instance)
        used = 0 if self.fuel is None else self.fuel - self.store.get_fuel()
        return Record(outcomes, state, used)

    def instantiate(self) -> list[Any]:
        self.instance = instantiate(self.store, self.module, {"h": self.imports()})
        return []

    def imports(self) -> dict[str, Any]:
        env, engine = self.generated.env, backend(self.store)
        found: dict[str, Any] = {}
        for imp in self.generated.imports:
            desc = imp.desc
            if isinstance(desc, FuncImport):
                found[imp.name] = self.host(int(imp.name))
            elif isinstance(desc, MemoryType):
                found[imp.name] = engine.memory(desc)
            elif isinstance(desc, TableType):
                element = matching.close_ref(desc.element, env.defined)
                found[imp.name] = engine.table(TableType(element, desc.limits, desc.address), None)
            elif isinstance(desc, GlobalType):
                found[imp.name] = engine.glob(desc, 0x0123456789ABCDEF)
            else:
                assert isinstance(desc, TagType) and isinstance(desc.type, int)
                found[imp.name] = engine.tag(TagType(env.defined[desc.type]))
        return found

    # Host functions

    def host(self, index: int) -> FuncInstance:
        env, plan = self.generated.env, self.generated.hosts[index]
        rng = Random(plan.seed)

        def call(*args: Any) -> Sequence[Any]:
            self.host_calls.append((index, [self.shown(arg) for arg in args]))
            if self.instance is not None:
                self.behave(plan.behaviour, rng, self.instance)
            return [raw_value(env, rng, type) for type in env.results(plan.type)]

        return FuncInstance(env.defined[plan.type], host=call)

    def behave(self, behaviour: str, rng: Random, instance: ModuleInstance) -> None:
        env = self.generated.env
        if behaviour == "trap":
            raise Trap(TrapCode.INTEGER_OVERFLOW, "integer overflow of the host's")
        if behaviour == "error":
            raise KeyError("of the host's")
        if behaviour == "throw":
            raise WasmException(instance.tags[0], [raw_value(env, rng, t) for t in env.params(env.tags[0])])
        if behaviour == "grow":
            instance.memories[0].grow(1)
        if behaviour == "reenter":
            target = instance.funcs[0]
            if target.host is None:
                invoke(self.store, target, [raw_value(env, rng, t) for t in env.params(env.funcs[0])])

    # Calls

    def call(self, index: int, rng: Random) -> Any:
        assert self.instance is not None
        env, func = self.generated.env, self.instance.funcs[index]
        args = [raw_value(env, rng, type) for type in env.params(env.funcs[index])]
        self.instance.globals[env.budget].value = BUDGET
        return self.outcome(lambda: invoke(self.store, func, args))

    def outcome(self, action: Any) -> Any:
        """What came of it, with the fuel left and what host functions were given meanwhile."""
        result: tuple[Any, ...]
        try:
            result = ("values", [self.shown(value) for value in action()])
        except Trap as trap:
            result = ("trap", trap.code, trap.message, list(trap.frames))
        except WasmException as thrown:
            assert self.instance is None or thrown.tag in self.instance.tags
            tag = self.instance.tags.index(thrown.tag) if self.instance is not None else -1
            result = ("thrown", tag, [self.shown(value) for value in thrown.values])
        except KeyError as error:
            result = ("error", str(error))
        calls, self.host_calls = self.host_calls, []
        return (*result, self.store.fuel, calls)

    def shown(self, value: Any) -> Any:
        """A raw value so that it can be compared between engines: floats by their bits."""
        if isinstance(value, float):
            return f64_to_bits(value)
        if isinstance(value, FuncInstance):
            known = self.instance is not None and value in self.instance.funcs
            return ("func", self.instance.funcs.index(value) if known and self.instance else None)
        if value is None or isinstance(value, int | bytes | str | I31):
            return value
        kind = reference_kind(value)
        return (kind, None if kind is AbstractHeap.EXN else value.type)

    def state(self, instance: ModuleInstance) -> list[Any]:
        tables = [
            [self.shown(table.get(index)) for index in range(table.current_type.limits.min)]
            for table in instance.tables
        ]
        return [
            [bytes(memory.data) for memory in instance.memories],
            [self.shown(glob.value) for glob in instance.globals],
            tables,
        ]


def difference(first: Record, second: Record, *, fuel: bool = True) -> str:
    """The first difference between two records, or nothing. Without `fuel` that is not compared."""
    for number, (one, other) in enumerate(zip(first.outcomes, second.outcomes, strict=True)):
        if not fuel:
            one, other = (*one[:-2], one[-1]), (*other[:-2], other[-1])
        if one != other:
            return f"call {number}:\n  {one}\n  {other}"
    for what, one, other in zip(("memory", "global", "table"), first.state, second.state, strict=False):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            if left != right:
                return f"{what} {index}: {_first(left, right)}"
    if fuel and first.fuel != second.fuel:
        return f"fuel: {first.fuel} {second.fuel}"
    return "" if len(first.state) == len(second.state) else "only one was instantiated"


def _first(left: Any, right: Any) -> str:
    if not isinstance(left, bytes | list) or len(left) != len(right):
        return f"{left!r:.100} {right!r:.100}"
    at = next(i for i, pair in enumerate(zip(left, right, strict=True)) if pair[0] != pair[1])
    return f"at {at}: {left[at]!r} {right[at]!r}"
