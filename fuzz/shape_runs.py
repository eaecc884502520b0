"""Runs the modules of `generator_shapes` on the engines, and compares what can be seen of each call."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from random import Random
from typing import Any
from unittest.mock import patch

from fuzz.generator_shapes import FUNCTIONS, Shapes, generate
from fuzz.hot import hot_after
from fuzz.machine_code import Mixture, compiled_with, compiles
from fuzz.small_windows import small_windows
from tinywasm.config import Config, Engine
from tinywasm.engine import backend
from tinywasm.engine.ir import form
from tinywasm.engine.native import frame
from tinywasm.errors import Trap, WasmException
from tinywasm.instantiation import instantiate, invoke
from tinywasm.module import Module
from tinywasm.numerics.floats import f64_to_bits
from tinywasm.raw import Profile
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.heap import I31, reference_kind
from tinywasm.runtime.module_instance import ModuleInstance
from tinywasm.runtime.store import Store
from tinywasm.types import I32, AbstractHeap, FuncType

# More than any call uses: every loop ends by itself.
PLENTY = 1 << 40
_ID_TYPE = FuncType((I32,), (I32,))


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run a module: the engine, with fuel or without, and how the native engine lowers.

    `windows` is about how many slots a window has, 0 for as many as there are; `near` how many slots of
    locals are near, None for as many as there are; `unsettled` how many operands may stand for locals when
    one changes, `singly` how many values an instruction takes along that are in no row, None for as many as
    usual. `profiled` code counts calls and instructions. After `hot` calls and turns of its loops, a function
    of the python engine becomes a Python function. The native engine's `tier` is that of the configuration:
    with "compiled" LLVM makes little effort, with "auto" some functions are entered at random looks.
    """

    engine: str
    metered: bool = False
    windows: int = 0
    near: int | None = None
    unsettled: int | None = None
    singly: int | None = None
    profiled: bool = False
    hot: int | None = None
    tier: str = "interpreter"

    def __str__(self) -> str:
        words = [self.engine, "metered" if self.metered else "", "profiled" if self.profiled else ""]
        words.append(f"windows of {self.windows}" if self.windows else "")
        words.append(f"{self.near} near slots" if self.near is not None else "")
        words.append(f"{self.unsettled} unsettled operands" if self.unsettled is not None else "")
        words.append(f"{self.singly} values in no row" if self.singly is not None else "")
        words.append(f"hot after {self.hot}" if self.hot is not None else "")
        words.append(self.tier if self.tier != "interpreter" else "")
        return ", ".join(filter(None, words))


@contextmanager
def lowered(way: Way) -> Iterator[None]:
    """While it lasts, functions are lowered in this way."""
    with ExitStack() as stack:
        if way.windows:
            stack.enter_context(small_windows(way.windows))
        if way.near is not None:
            stack.enter_context(patch.object(frame, "NEAR_SLOTS", way.near))
        if way.unsettled is not None:
            stack.enter_context(patch.object(form, "UNSETTLED", way.unsettled))
        if way.singly is not None:
            stack.enter_context(patch.object(form, "SINGLY", way.singly))
        if way.hot is not None:
            stack.enter_context(hot_after(way.hot))
        if way.tier != "interpreter":
            stack.enter_context(compiled_with("QUICK"))
        yield


def load(shapes: Shapes) -> Module:
    """Validate, once for all engines."""
    return Module.from_decoded(Engine(config("python")), shapes.module)


def config(engine: str, *, metered: bool = False, tier: str = "interpreter") -> Config:
    return Config(
        engine=engine,
        tier=tier,
        wide_arithmetic=True,
        custom_page_sizes=True,
        consume_fuel=metered,
        max_call_depth=50,
        max_memory_pages=4,
        max_table_elements=100,
    )


class Run:
    """One instance of a module, and its calls."""

    def __init__(self, shapes: Shapes, module: Module, way: Way) -> None:
        self.shapes = shapes
        self.way = way
        self.mixture = Mixture(shapes.seed)
        self.store = Store(Engine(config(way.engine, metered=way.metered, tier=way.tier)))
        if way.profiled:
            self.store.profile = Profile()
        if way.metered:
            self.store.set_fuel(PLENTY)
        engine = backend(self.store)
        imports: dict[str, Any] = {"id": FuncInstance(module.context.funcs[0], host=lambda number: [number])}
        if shapes.memory is not None:
            imports["m"] = engine.memory(shapes.memory)
        # Not what another way made of the functions, which belongs to the module.
        module.context.compiled.clear()
        self.instance: ModuleInstance = instantiate(self.store, module, {"h": imports})

    def outcomes(self, numbers: Iterable[int] | None = None) -> Iterator[Any]:
        """What comes of all calls of some functions, or of all, and the state at the end."""
        for number in range(self.shapes.count) if numbers is None else numbers:
            with lowered(self.way), self.entered():
                found = [self.call(number, args) for args in self.shapes.calls]
            yield from found
        yield self.state()

    def entered(self) -> AbstractContextManager[None]:
        return self.mixture.entered() if self.way.tier == "auto" else nullcontext()

    def call(self, number: int, args: Sequence[Any], fuel: int = PLENTY) -> tuple[Any, ...]:
        """Call a function: results or the error, and the fuel it used."""
        if self.way.metered:
            self.store.fuel = fuel
        result: tuple[Any, ...]
        try:
            values = invoke(self.store, self.instance.funcs[self.shapes.first + number], args)
            result = ("values", [self.shown(value) for value in values])
        except Trap as trap:
            result = ("trap", trap.code, trap.message, list(trap.frames))
        except WasmException as thrown:
            tag = self.instance.tags.index(thrown.tag)
            result = ("thrown", tag, [self.shown(value) for value in thrown.values])
        return (*result, self.store.fuel)

    def shown(self, value: Any) -> Any:
        """A raw value so that it can be compared between engines: floats by their bits."""
        if isinstance(value, float):
            return f64_to_bits(value)
        if value is None or isinstance(value, int | bytes | str | I31):
            return value
        if isinstance(value, FuncInstance):
            return ("func", self.instance.funcs.index(value))
        kind = reference_kind(value)
        return (kind, None if kind is AbstractHeap.EXN else value.type)

    def exported(self, kind: str) -> list[Any]:
        """What the module exports of a kind that can be looked at."""
        return [self.instance.exports[name] for name in self.shapes.exported[kind]]

    def memories(self) -> list[int]:
        """A number for each memory that depends on all of its bytes."""
        return [zlib.crc32(memory.data) for memory in self.exported("memory")]

    def state(self) -> tuple[Any, ...]:
        tables = self.exported("table")
        return (
            self.memories(),
            [self.shown(glob.value) for glob in self.exported("global")],
            [[self.shown(t.get(index)) for index in range(t.current_type.limits.min)] for t in tables],
            self.counts(),
        )

    def counts(self) -> list[tuple[int, int, int]]:
        """Calls and instructions of each function that was called, where there is a profile."""
        records = [] if self.store.profile is None else self.store.profile.records()
        funcs = self.instance.funcs
        return sorted((funcs.index(record.func), record.calls, record.own) for record in records)


def ways(seed: int) -> list[Way]:
    """How the module of a seed is run; all have to do the same as the first."""
    rng = Random(f"ways {seed}")
    profiled = seed % 16 == 1
    few = Random(f"rows {seed}")
    found = [
        Way("python", metered=True, profiled=profiled),
        Way("native", metered=True),
        Way("native"),
        Way(
            "native",
            metered=rng.random() < 0.5,
            windows=rng.choice((1, 2, rng.randrange(3, 60))),
            singly=few.choice((None, 1, 1, 2)),
        ),
        Way("python", metered=rng.random() < 0.5, hot=rng.choice((-1, rng.randrange(20)))),
        Way(
            "native",
            metered=rng.random() < 0.5,
            near=rng.choice((0, 5, rng.randrange(6, 24))),
            unsettled=rng.choice((None, 0, rng.randrange(12))),
            singly=few.choice((1, 2, 3)),
        ),
    ]
    if seed % 8 == 0:
        windows = rng.choice((1, rng.randrange(2, 60)))
        found.append(Way("native", metered=True, windows=windows, near=rng.randrange(20)))
        found.append(Way("python", singly=few.choice((1, 1, 2))))
    if profiled:
        found += [Way("native", profiled=True), Way("python", metered=True)]
    return found


def ways_compiled(seed: int) -> list[Way]:
    """How it is run besides, with machine code: not each, since LLVM takes long."""
    rng = Random(f"machine code {seed}")
    tier, metered = rng.choice(("compiled", "auto")), rng.random() < 0.5
    return [Way("native", metered=metered, tier=tier)] if compiles and seed % 4 == 0 else []


def check(seed: int, *, count: int = FUNCTIONS) -> int:
    """Run the module of a seed in all ways; how many functions that were.

    Raises `AssertionError` where one differs.
    """
    shapes = generate(seed, count=count)
    module = load(shapes)
    first, *others = ways(seed) + ways_compiled(seed)
    different = compare(shapes, module, list(Run(shapes, module, first).outcomes()), others)
    assert not different, different
    return count


def compare(shapes: Shapes, module: Module, expected: list[Any], ways: Iterable[Way]) -> str:
    """The first difference between the outcomes of any of these ways to run and those of a metered one, or
    nothing."""
    for way in ways:
        different = difference(shapes, way, expected, Run(shapes, module, way).outcomes())
        if different:
            return different
    return ""


def difference(shapes: Shapes, way: Way, expected: list[Any], found: Iterable[Any]) -> str:
    """The first difference between the outcomes of a way to run and those of a metered one, or nothing.

    That one is profiled where the other is.
    """
    calls = len(shapes.calls)
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        last = number == len(expected) - 1
        if not (way.profiled if last else way.metered):
            one, other = one[:-1], other[:-1]
        if one != other:
            where = "state" if last else f"f{number // calls}{shapes.calls[number % calls]}"
            return f"generate({shapes.seed}), {way}: {where}\n  {one}\n  {other}"
    return ""
