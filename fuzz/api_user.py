"""A program that uses the embedding API at random: `python -m fuzz.api_user ENGINE SEED STEPS`.

What it does rightly it follows in a model (bytes, elements, values, sizes, fuel), which must be what the
objects say. What it does wrongly must end in an error of ours or one that Python documents. Nonsense and
hostile objects go to a world of their own (`Junk`), so that the model stays true. The last line of the output
names what was reached of the public API.

A crash or a hang is seen from outside: `test_api_user` runs this in a process. `dimensions` are switched off
one by one with `--without NAME`.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

import tinywasm
from fuzz.api_junk import ALLOWED, REACHED, Junk, reach
from fuzz.api_weather import DIMENSIONS
from tinywasm import (
    Config,
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Instance,
    Limits,
    Linker,
    Memory,
    MemoryType,
    Module,
    Store,
    Table,
    TableType,
    Tag,
    TagType,
    ValType,
    WasmError,
    WasmException,
)

# A step that takes longer hangs.
STEP_SECONDS = 60
I32, I64, F64 = ValType.i32(), ValType.i64(), ValType.f64()
PLAY = """
(module
  (type $s (struct (field (mut i32))))
  (import "h" "memory" (memory $m 1 8)) (import "h" "table" (table $t 2 40 externref))
  (import "h" "global" (global $g (mut i64))) (import "h" "tag" (tag $tag (param i32 f64)))
  (import "h" "call" (func $call (param i32) (result i32)))
  (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
  (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
  (func (export "size") (result i32) (memory.size))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "get") (param i32) (result externref) (table.get $t (local.get 0)))
  (func (export "set") (param i32 externref) (table.set $t (local.get 0) (local.get 1)))
  (func (export "tgrow") (param externref i32) (result i32) (table.grow $t (local.get 0) (local.get 1)))
  (func (export "gget") (result i64) (global.get $g))
  (func (export "gset") (param i64) (global.set $g (local.get 0)))
  (func (export "call") (param i32) (result i32) (i32.add (i32.const 1) (call $call (local.get 0))))
  (func (export "catch") (param i32) (result i32 f64)
    (block $h (result i32 f64)
      (try_table (catch $tag $h) (drop (call $call (local.get 0))))
      (i32.const -1) (f64.const 0)))
  (func (export "throw") (param i32 f64) (throw $tag (local.get 0) (local.get 1)))
  (func (export "trap") (unreachable))
  (func (export "spin") (loop (br 0)))
  (func $deep (export "deep") (call $deep))
  (func (export "box") (param i32) (result (ref $s)) (struct.new $s (local.get 0)))
  (func (export "unbox") (param (ref $s)) (result i32) (struct.get $s 0 (local.get 0)))
  (func (export "many") (param i32 i64 f32 f64 v128 externref) (result externref v128 f64 f32 i64 i32)
    (local.get 5) (local.get 4) (local.get 3) (local.get 2) (local.get 1) (local.get 0)))
"""


class User:
    """One store with what is in it, and the model of that."""

    def __init__(self, rng: random.Random, engine: str, dimensions: list[str]) -> None:
        self.rng = rng
        self.engine = Engine(
            Config(engine=engine, max_memory_pages=8, max_table_elements=50, max_call_depth=300)
        )
        self.module = Module(self.engine, PLAY)
        self.junk = Junk(rng, self.engine)
        self.dimensions = dimensions
        self.in_host: Callable[[int], int] = lambda number: number
        # Stores with a call under way, the innermost last.
        self.running: list[Store] = []
        self.begin()

    def begin(self) -> None:
        """A new store, and the old one to the collector."""
        self.store = store = Store(self.engine, data=self)
        self.memory = Memory(store, MemoryType(Limits(1, 8)))
        self.bytes = bytearray(65536)
        self.table = Table(store, TableType(ValType.externref(), Limits(2, 40)), None)
        self.elements: list[Any] = [None, None]
        self.number = self.rng.getrandbits(63)
        self.glob = Global(store, GlobalType(I64, True), self.number)
        self.tag = Tag(store, TagType(FuncType([I32, F64])))
        call = Func(store, FuncType([I32], [I32]), lambda number: self.in_host(number))
        items = [self.memory, self.table, self.glob, self.tag, call]
        if self.rng.random() < 0.5:
            self.instance = Instance(store, self.module, items)
        else:
            linker = Linker(self.engine)
            for name, item in zip(("memory", "table", "global", "tag", "call"), items, strict=True):
                linker.define(store, "h", name, item)
            self.instance = linker.instantiate(store, self.module)
        self.exports = self.instance.exports

    def check(self) -> None:
        """The objects say what the model says."""
        store = self.store
        pages = len(self.bytes) // 65536
        assert self.memory.size(store) == pages == self.exports.size()
        assert self.memory.data_len(store) == len(self.bytes) == len(memoryview(self.memory))
        assert self.memory.read(store) == self.bytes
        assert self.table.size(store) == len(self.table) == len(self.elements)
        assert all(a is b for a, b in zip(self.table, self.elements, strict=True))
        assert self.glob.value(store) == self.number == self.exports.gget()
        assert store.data() is self

    # Steps

    def step_write(self) -> None:
        """Bytes, each way, inside and beyond."""
        rng, size = self.rng, len(self.bytes)
        place = rng.choice([rng.randrange(size), size - 1, size, size + rng.getrandbits(20)])
        byte = rng.getrandbits(8)
        try:
            if rng.random() < 0.3:
                self.exports.store(place, byte)
            elif rng.random() < 0.5:
                self.memory.write(self.store, bytes([byte]), place)
            else:
                self.memory[place] = byte
        except (tinywasm.Trap, IndexError):
            assert place >= size
        else:
            self.bytes[place] = byte
        if place < size:
            assert self.exports.load(place) == byte == self.memory[place]

    def step_fill(self) -> None:
        start, count = self.rng.randrange(len(self.bytes)), self.rng.randrange(70_000)
        byte = self.rng.getrandbits(8)
        try:
            self.exports.fill(start, byte, count)
        except tinywasm.Trap as trap:
            assert trap.trap_code is tinywasm.TrapCode.MEMORY_OUT_OF_BOUNDS
            assert start + count > len(self.bytes)
        else:
            self.bytes[start : start + count] = bytes([byte]) * count

    def step_grow(self) -> None:
        delta, old = self.rng.choice([0, 1, 1, 9, 1 << 31]), len(self.bytes) // 65536
        view = memoryview(self.memory)
        if self.rng.random() < 0.5:
            grown = self.exports.grow(delta)
            assert grown == (old if old + delta <= 8 else -1)
        else:
            try:
                assert self.memory.grow(self.store, delta) == old
            except WasmError:
                assert old + delta > 8
        if old + delta <= 8:
            self.bytes.extend(bytes(65536 * delta))
        assert len(view) == old * 65536

    def step_table(self) -> None:
        place, value = self.rng.randrange(50), self.rng.choice([None, object(), self, 5, "x"])
        way = self.rng.randrange(4)
        try:
            if way == 0:
                self.exports.set(place, value)
            elif way == 1:
                self.table.set(self.store, place, value)
            elif way == 2:
                self.table[place] = value
            else:
                grown = self.exports.tgrow(value, place)
                assert grown == (len(self.elements) if len(self.elements) + place <= 40 else -1)
                self.elements.extend([value] * (place if grown >= 0 else 0))
                return
        except (tinywasm.Trap, IndexError):
            assert place >= len(self.elements)
        else:
            self.elements[place] = value
            assert self.exports["get"](place) is value

    def step_global(self) -> None:
        value = self.rng.choice([0, -1, self.rng.getrandbits(64), 1 << 64, -(1 << 63) - 1])
        try:
            if self.rng.random() < 0.5:
                self.exports.gset(value)
            else:
                self.glob.set_value(self.store, value)
        except OverflowError:
            assert not -(1 << 63) <= value < 1 << 64
        else:
            self.number = value - (1 << 64) if value >> 63 == 1 else value

    def step_host(self) -> None:
        """A host function that does another step, raises, throws, or does junk."""
        number = self.rng.getrandbits(31)
        kind = self.rng.randrange(5)

        def host(given: int) -> int:
            self.in_host = lambda again: again
            assert given == number - (number >> 31 << 32)
            if kind == 0:
                self.step()
            elif kind == 1:
                raise KeyError("mine")
            elif kind == 2:
                raise WasmException(self.tag, [number, 1.5])
            elif kind == 3:
                self.junk.step()
            return 41

        self.in_host = host
        self.running.append(self.store)
        try:
            if self.rng.random() < 0.5:
                assert self.exports.call(number) == 42 and kind not in (1, 2)
            else:
                caught = self.exports.catch(number)
                assert caught == ([number, 1.5] if kind == 2 else [-1, 0.0])
        except KeyError:
            assert kind == 1
        except WasmException as thrown:
            assert kind == 2 and thrown.tag == self.tag and thrown.values == (number, 1.5)
        finally:
            self.running.pop()
            self.in_host = lambda again: again

    def step_ends(self) -> None:
        """Calls that end abnormally, and the store goes on."""
        code = tinywasm.TrapCode
        name, wanted = self.rng.choice(
            [("trap", code.UNREACHABLE), ("deep", code.STACK_OVERFLOW), ("spin", code.INTERRUPT)]
        )
        if name == "spin":
            self.store.set_deadline(self.rng.choice([0, 0.001, 0.01]))
        try:
            self.exports[name]()
        except tinywasm.Trap as trap:
            assert trap.trap_code is wanted and (trap.frames or wanted is code.INTERRUPT)
        else:
            raise AssertionError(f"{name} ended")
        finally:
            self.store.set_deadline(None)

    def step_values(self) -> None:
        """Values of all kinds go in and come out; structures keep what they hold."""
        number, thing, vector = self.rng.getrandbits(31), object(), self.rng.randbytes(16)
        result = self.exports.many(number, -number, 0.5, 1e300, vector, thing)
        assert result == [thing, vector, 1e300, 0.5, -number, number]
        boxes = [self.exports.box(number + index & 0x7FFF_FFFF) for index in range(self.rng.randrange(20))]
        if self.rng.random() < 0.3:
            self.store.gc()
        for index, box in enumerate(boxes):
            assert self.exports.unbox(box) == number + index & 0x7FFF_FFFF

    def step_collect(self) -> None:
        if self.rng.random() < 0.2:
            gc.collect()
        gc.set_threshold(self.rng.choice([1, 10, 700]), 5, 5)

    def step_junk(self) -> None:
        for _ in range(self.rng.randrange(1, 12)):
            self.junk.step()

    def step_weather(self) -> None:
        """Threads, signals, forks, greenlets."""
        if self.dimensions:
            name = self.rng.choice(self.dimensions)
            reach(name)
            DIMENSIONS[name](self)

    def step_anew(self) -> None:
        if self.rng.random() < 0.2:
            self.begin()

    def step(self) -> None:
        steps = [name for name in dir(self) if name.startswith("step_")]
        name = self.rng.choice([*steps, "step_junk", "step_junk", "step_write", "step_host"])
        reach(name)
        getattr(self, name)()


def _watch(failures: list[str]) -> None:
    """What finalizers and threads raise counts too."""

    def unraisable(found: Any) -> None:
        if not isinstance(found.exc_value, ALLOWED):
            failures.append(f"unraisable: {found.exc_value!r} in {found.object!r}")

    def in_thread(found: Any) -> None:
        failures.append(f"in a thread: {found.exc_value!r}")

    sys.unraisablehook = unraisable
    threading.excepthook = in_thread


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("engine", choices=["python", "native"])
    parser.add_argument("seed", type=int)
    parser.add_argument("steps", type=int)
    parser.add_argument("--without", action="append", default=[], choices=list(DIMENSIONS))
    options = parser.parse_args()
    failures: list[str] = []
    _watch(failures)
    dimensions = [name for name in DIMENSIONS if name not in options.without]
    user = User(random.Random(options.seed), options.engine, dimensions)
    user.junk.tour()
    for number in range(options.steps):
        faulthandler.dump_traceback_later(STEP_SECONDS, exit=True)
        try:
            user.step()
            user.check()
        except BaseException as error:
            error.add_note(f"step {number} of seed {options.seed}")
            raise
        if failures:
            raise AssertionError(f"step {number} of seed {options.seed}: {failures}")
    faulthandler.cancel_dump_traceback_later()
    reach("native_available")
    print(json.dumps(sorted(REACHED)))
    return 0


if __name__ == "__main__":
    faulthandler.enable()
    sys.exit(main())
