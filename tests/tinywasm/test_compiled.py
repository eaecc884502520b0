"""What is compiled to machine code does what the loop does, and nobody notices but by the time.

The official suite says so of each instruction, with TINYWASM_TIER=compiled (`spec-tests/`). Here is what lies
between machine code, the loop and the host, and what is hostile.
"""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import tinywasm
from benchmarks.catalogue import KERNELS, Kernel
from tests.engines import COMPILED, compiles, configured, needs_llvm
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_call_depth import in_thread
from tests.tinywasm.test_cli import ENVIRONMENT
from tinywasm import Config, Engine, Interrupted, Store
from tinywasm.engine import backend
from tinywasm.errors import InternalError

pytestmark = needs_llvm

if compiles:
    from tinywasm.engine.llvm import codegen
    from tinywasm.engine.llvm.link import linked
    from tinywasm.engine.llvm.machine import Machine, object_code

BOTH = ("native", COMPILED)


def store_of(lane: str = COMPILED, **options: Any) -> Store:
    return Store(Engine(configured(lane, **options)))


def exports(
    text: str | bytes, lane: str = COMPILED, imports: Any = None, *, within: Store | None = None
) -> Any:
    return tinywasm.instantiate(text, imports or {}, store=within or store_of(lane)).exports


def machine(text: str | bytes) -> Machine:
    module = tinywasm.Module(Engine(), text)
    return Machine(module.context, module.syntax, False)


@pytest.fixture(params=range(3), ids=["quick", "light", "full"])
def effort(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever effort LLVM makes."""
    with patch("tinywasm.engine.llvm.machine.effort_for", lambda records: request.param):
        yield


with_any_effort = pytest.mark.usefixtures("effort")


@with_any_effort
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_all_of_a_kernel_is_compiled_and_gives_its_result(kernel: Kernel) -> None:
    data = kernel.wasm.read_bytes()
    assert not machine(data).declined
    assert exports(data)["run"](kernel.tiny) & 0xFFFFFFFF == kernel.expected


# A function with so many locals is not compiled.
MANY = "(local " + "i32 " * 1_001 + ")"


MIXED = """
(module
  (import "h" "f" (func $host (param i32) (result i32)))
  (tag $t (param i32))
  (memory (export "m") 1)
  (table funcref (elem $a $b $c $catch $host))
  (type $f (func (param i32 i32) (result i32)))
  (func $a (export "a") (param $what i32) (param $n i32) (result i32)
    (if (result i32) (local.get $n)
      (then (call_indirect (type $f) (local.get $what) (i32.sub (local.get $n) (i32.const 1))
        (i32.rem_u (local.get $n) (i32.const 4))))
      (else (call $end (local.get $what)))))
  (func $b (export "b") (param $what i32) (param $n i32) (result i32) {MANY}
    (if (result i32) (local.get $n)
      (then (call $a (local.get $what) (i32.sub (local.get $n) (i32.const 1))))
      (else (call $end (local.get $what)))))
  (func $c (export "c") (param $what i32) (param $n i32) (result i32)
    (if (result i32) (local.get $n)
      (then (i32.add (i32.const 1) (call $b (local.get $what) (i32.sub (local.get $n) (i32.const 1)))))
      (else (call $end (local.get $what)))))
  (func $catch (export "catch") (param $what i32) (param $n i32) (result i32)
    (block $out (result i32)
      (try_table (result i32) (catch $t $out) (call $a (local.get $what) (local.get $n)))))
  (func $end (param $what i32) (result i32)
    (block $h (block $t (block $load (block $div (block $trap (block $null (block $type (block $element
      (br_table $element $type $null $trap $div $load $t $h (local.get $what)))
      (return (call_indirect (result i32) (i32.const 99))))
      (return (call_indirect (result i32) (i32.const 0))))
      (return (call $nothing)))
      (unreachable))
      (return (i32.div_s (i32.const 1) (i32.sub (local.get $what) (local.get $what)))))
      (return (i32.load offset=65535 (local.get $what))))
      (return (call $throw)))
    (i32.add (call $host (local.get $what)) (i32.const 5)))
  (table $empty 3 funcref)
  (func $nothing (result i32) (call_indirect $empty (result i32) (i32.const 2)))
  (func $throw (result i32) (throw $t (i32.const 77))))
""".replace("{MANY}", MANY)


@with_any_effort
@pytest.mark.parametrize("what", range(9))
@pytest.mark.parametrize("name", ["a", "b", "c", "catch"])
def test_what_ends_calls_through_both_is_the_same(name: str, what: int) -> None:
    found = []
    for lane in BOTH:
        inside: list[Any] = []
        within: dict[str, Any] = {}

        def host(number: int, inside: list[Any] = inside, within: dict[str, Any] = within) -> int:
            if number == 8:
                raise KeyError("of the host's")
            inside.append(outcome(partial(within["wasm"].c, 3, 2)))
            return number

        wasm = within["wasm"] = exports(
            MIXED, lane, {"h": {"f": host}}, within=store_of(lane, max_call_depth=40)
        )
        calls = [partial(wasm[name], what, depth) for depth in (0, 1, 2, 3, 4, 5, 11, 38, 39, 40, 41)]
        if what == 8:
            with pytest.raises(KeyError):
                calls[3]()
            calls = []
        # Afterwards the store is as good as before.
        calls.append(partial(wasm["b"], 7, 9))
        found.append(([outcome(each) for each in calls], inside))
    assert found[0] == found[1]


def test_some_of_it_is_declined_and_it_is_said_why() -> None:
    made = machine(MIXED)
    assert made.declined == {2: "too large"}
    assert sorted(made.codes) == [1, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    "body",
    [
        MANY,
        "(local.get 0)" * 501 + "(i32.add)" * 500 + "(local.set 0)",
        "(local.set 0 (i32.add (local.get 0) (local.get 0)))" * 10_000,
    ],
    ids=["locals", "operands", "instructions"],
)
def test_what_would_take_too_long_to_compile_is_interpreted(body: str) -> None:
    text = f'(module (func (export "f") (param i32) (result i32) {body} (local.get 0)))'
    assert machine(text).declined == {0: "too large"}
    assert exports(text).f(1) == exports(text, "native").f(1)


def test_a_store_is_usable_after_each_interruption() -> None:
    """At whatever moment it comes."""
    store = store_of()
    wasm = exports(ENDLESS, within=store)
    assert wasm.get() == 0
    for number in range(60):
        name, arguments = [("loop", ()), ("count", ()), ("tree", (60,)), ("mixed", (60,))][number % 4]
        timer = threading.Timer(number % 7 / 1000, store.interrupt)
        timer.start()
        with pytest.raises(Interrupted):
            wasm[name](*arguments)
        timer.join()
        assert wasm.tree(3) is None


METERED = """
(module
  (memory 1)
  (global $g (mut i32) (i32.const 0))
  (func $f (export "f") (param $n i32) (result i32)
    (local $sum i32)
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 130))
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $n))))
      (global.set $g (local.get $sum))
      (if (i32.and (local.get $n) (i32.const 1))
        (then (local.set $sum (call $twice (local.get $sum)))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n)))
    (local.get $sum))
  (func $twice (param i32) (result i32) (i32.shl (local.get 0) (i32.const 1)))
  (func (export "g") (result i32) (global.get $g)))
"""


@with_any_effort
def test_fuel_ends_at_the_same_place_wherever_it_ends() -> None:
    stores = [store_of(lane, consume_fuel=True) for lane in BOTH]
    for each in stores:
        each.set_fuel(1000)
    lanes = [(each, exports(METERED, within=each)) for each in stores]

    def run(store: Store, wasm: Any, fuel: int) -> Any:
        store.set_fuel(fuel)
        found = outcome(partial(wasm.f, 6))
        left = store.get_fuel()
        store.set_fuel(1000)
        return found, left, wasm.g()

    first = [run(*lane, 10_000) for lane in lanes]
    assert first[0] == first[1]
    used = 10_000 - first[0][1]
    for fuel in range(used + 2):
        assert run(*lanes[0], fuel) == run(*lanes[1], fuel), fuel


DEEP = """
(module
  (func $sum (export "sum") (param $n i64) (param $a i64) (param $b f64) (result i64)
    (if (result i64) (i64.eqz (local.get $n))
      (then (i64.const 0))
      (else (i64.add (local.get $n)
        (call $sum (i64.sub (local.get $n) (i64.const 1)) (local.get $b)
          (i64.trunc_f64_s (local.get $a)) (f64.convert_i64_s (local.get $a))))))))
""".replace("(local.get $b)\n          (i64.trunc_f64_s (local.get $a))", "(i64.trunc_f64_s (local.get $b))")


@with_any_effort
@pytest.mark.parametrize("deep", [5_000, 500_000])
def test_calls_are_deeper_than_the_stack_of_the_thread(deep: int) -> None:
    wasm = exports(DEEP, within=store_of(max_call_depth=1_000_000))
    for _ in range(2):
        assert wasm.sum(deep, 1, 2.0) == deep * (deep + 1) // 2


ENDLESS = """
(module
  (global $n (mut i64) (i64.const 0))
  (func (export "loop") (loop (br 0)))
  (func (export "count") (loop (global.set $n (i64.add (global.get $n) (i64.const 1))) (br 0)))
  (func $tree (export "tree") (param i32)
    (if (local.get 0) (then
      (call $tree (i32.sub (local.get 0) (i32.const 1))) (call $tree (i32.sub (local.get 0) (i32.const 1))))))
  (func $left (export "mixed") (param i32)
    (if (local.get 0) (then
      (call $right (i32.sub (local.get 0) (i32.const 1)))
      (call $right (i32.sub (local.get 0) (i32.const 1))))))
  (func $right (param i32) {MANY}
    (if (local.get 0) (then
      (call $left (i32.sub (local.get 0) (i32.const 1))) (call $left (i32.sub (local.get 0) (i32.const 1))))))
  (func (export "get") (result i64) (global.get $n))
  (func (export "null") (loop (br_on_null 0 (ref.null any)) (drop)))
  (func (export "cast") (ref.null any) (loop (param anyref) (br_on_cast 0 anyref anyref) (drop))))
""".replace("{MANY}", MANY)


def end_from_another_thread(store: Store, wasm: Any, call: Callable[[], Any], seconds: float) -> None:
    """Begin a call and end it by the epoch of the store's engine, which is to be usable then."""
    store.set_epoch_deadline(1)
    assert wasm.get() == 0
    # It gets to run at all only where compiled code lets go of the interpreter.
    timer = threading.Timer(seconds, store.engine.increment_epoch)
    timer.start()
    with pytest.raises(Interrupted) as caught:
        call()
    timer.join()
    assert caught.value.frames
    store.set_epoch_deadline(1)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("loop", ()), ("null", ()), ("cast", ()), ("count", ()), ("tree", (90,)), ("mixed", (90,))],
)
def test_another_thread_ends_a_call(name: str, arguments: tuple[int, ...]) -> None:
    store = store_of(epoch_interruption=True)
    wasm = exports(ENDLESS, within=store)
    end_from_another_thread(store, wasm, partial(wasm[name], *arguments), 0.05)
    assert (wasm.get() > 0) == (name == "count")


CTRL_C = """
import os, signal, threading
import tinywasm
from tinywasm import Config, Engine, Store
store = Store(Engine(Config(tier="compiled")))
wasm = tinywasm.instantiate('''(module (func (export "loop") (loop (br 0))) (func (export "one") (result i32)
  (i32.const 1)))''', {}, store=store).exports
wasm.one()
threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    wasm.loop()
except KeyboardInterrupt:
    print(wasm.one())
"""


def python(*words: str) -> str:
    """What Python prints for these words of its command line, which has nothing to say of errors."""
    words = sys.executable, *words
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert not done.stderr
    return done.stdout


def test_ctrl_c_ends_compiled_code() -> None:
    assert python("-c", CTRL_C) == "1\n"


BITS = """
(module
  (memory 1)
  (global $g (mut f32) (f32.const nan:0x200001))
  (func $same (param f32) (result f32) (local.get 0))
  (func (export "{name}") (param $p i32) (param $q i64) (result i32 i64)
    (local $x f32) (local $y f64) (local $n i32)
    (i32.store (i32.const 0) (local.get $p))
    (i64.store (i32.const 8) (local.get $q))
    (local.set $x (f32.load (i32.const 0)))
    (local.set $y (f64.load (i32.const 8)))
    {body}
    (f32.store (i32.const 0) (local.get $x))
    (f64.store (i32.const 8) (local.get $y))
    (i32.load (i32.const 0)) (i64.load (i32.const 8))))
"""
BODIES = {
    "kept": "",
    "passed": "(local.set $x (call $same (local.get $x)))",
    "turned": "(local.set $x (f32.neg (f32.neg (f32.neg (local.get $x)))))"
    " (local.set $y (f64.abs (local.get $y)))",
    "added": "(local.set $x (f32.add (local.get $x) (f32.const -0)))"
    " (local.set $y (f64.mul (local.get $y) (f64.const 1)))",
    "turned sums": "(local.set $x (f32.neg (f32.sub (local.get $x) (local.get $x))))",
    "signed": "(local.set $y (f64.copysign (f64.sqrt (f64.const -1)) (local.get $y)))",
    "chosen": "(local.set $x (select (f32.div (f32.const 0) (f32.const 0)) (local.get $x) (i32.const 1)))",
    "either": "(local.set $x (if (result f32) (local.get $p) (then (local.get $x))"
    " (else (f32.add (local.get $x) (f32.const 1)))))",
    "global": "(local.set $x (global.get $g)) (global.set $g (f32.sqrt (f32.const -1)))"
    " (local.set $x (f32.min (global.get $g) (local.get $x)))",
    "moved": "(local.set $y (f64.promote_f32 (local.get $x))) (local.set $x (f32.demote_f64 (local.get $y)))",
    "looped": "(loop (local.set $y (f64.add (local.get $y) (f64.const 1)))"
    " (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 3))))",
    "sums of nothing": "(local.set $y (f64.const 0))"
    " (loop (local.set $y (f64.sub (local.get $y) (f64.const inf)))"
    " (local.set $y (f64.add (local.get $y) (f64.const inf)))"
    " (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 3))))",
}


@with_any_effort
@pytest.mark.parametrize("body", BODIES)
def test_nans_have_the_same_bits(body: str) -> None:
    text = BITS.format(name="f", body=BODIES[body])
    lanes = [exports(text, lane).f for lane in BOTH]
    for p in (0x7F800001, 0x7FC00000, -0x400000, 0x7FA00000, 0x3F800000, 0):
        for q in (0x7FF0000000000001, 0x7FF8000000000000, -1 << 51, 0x7FF4000000000000, 1 << 62, 0):
            assert lanes[0](p, q) == lanes[1](p, q), (hex(p), hex(q))


LANES_OF_NANS = """
(module
  (memory 1) (data (i32.const 0) "\\01\\00\\80\\7f\\00\\00\\a0\\ff\\00\\00\\80\\7f\\00\\00\\f0\\7f")
  (func (export "f") (param $n i32) (result i64 i64)
    (local $x v128) (local $y v128)
    (local.set $x (v128.load (i32.const 0)))
    {body}
    (i64x2.extract_lane 0 (local.get $y)) (i64x2.extract_lane 1 (local.get $y))))
"""
LANE_BODIES = {
    "kept": "(local.set $y (local.get $x))",
    "added": "(local.set $y (f32x4.add (local.get $x) (local.get $x)))",
    "added in turns": "(loop (local.set $y (f32x4.sub (local.get $y) (local.get $x)))"
    " (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))",
    "as other lanes": "(local.set $y (f64x2.sqrt (f32x4.mul (local.get $x) (local.get $x))))",
    "of both kinds": "(local.set $y (f32x4.mul (local.get $x) (local.get $x)))"
    " (if (local.get $n) (then (local.set $y (f64x2.add (local.get $x) (local.get $y)))))",
    "or nothing": "(if (local.get $n) (then (local.set $y (f64x2.div (local.get $y) (local.get $y)))))",
    "as bits": "(local.set $y (i32x4.add (f32x4.min (local.get $x) (local.get $x)) (local.get $x)))",
    "one of them": "(local.set $y (f64x2.splat"
    " (f64x2.extract_lane 0 (f64x2.max (local.get $x) (local.get $x)))))",
    "turned": "(local.set $y (f32x4.neg (f32x4.sqrt (local.get $x))))",
    "demoted": "(local.set $y (f32x4.demote_f64x2_zero (f64x2.promote_low_f32x4 (local.get $x))))",
    "least": "(local.set $y (f32x4.pmin (f32x4.sub (local.get $x) (local.get $x)) (local.get $x)))",
}


@with_any_effort
@pytest.mark.parametrize("body", LANE_BODIES)
def test_nans_of_lanes_have_the_same_bits(body: str) -> None:
    text = LANES_OF_NANS.format(body=LANE_BODIES[body])
    assert not machine(text).declined
    lanes = [exports(text, lane).f for lane in BOTH]
    for number in (0, 1, 3):
        if number or "br_if" not in text:
            assert lanes[0](number) == lanes[1](number)


@with_any_effort
@pytest.mark.parametrize("operator", ["f32x4.min", "f32x4.max", "f32x4.pmin", "f32x4.add"])
def test_constants_that_only_the_code_generator_would_fold(operator: str) -> None:
    """It ends the process where a comparison with zero finds a constant with lanes of another width."""
    text = f"""(module (func (export "f") (param f32) (result i32) (i32x4.extract_lane 0 ({operator}
      (f64x2.floor (v128.const f64x2 1.5 0.5)) (f32x4.splat (local.get 0))))))"""
    assert not machine(text).declined
    found = [exports(text, lane).f(-2.5) for lane in BOTH]
    assert found[0] == found[1]


def accesses(memory: str, address: str) -> str:
    parts = []
    for number, offset in enumerate((0, 1, 65528, 65536, 0xFFFFFFFF, (1 << 64) - 8, (1 << 64) - 1)):
        if address == "i64" or offset < 1 << 32:
            parts.append(
                f'(func (export "load{number}") (param {address}) (result i64)'
                f" (i64.load offset={offset} (local.get 0)))"
                f'(func (export "store{number}") (param {address})'
                f" (i64.store offset={offset} (local.get 0) (i64.const -1)))"
            )
    return f"(module (memory {memory}) {' '.join(parts)})"


@with_any_effort
@pytest.mark.parametrize(
    ("memory", "address"), [("1", "i32"), ("i64 1", "i64"), ("0", "i32"), ("i64 0", "i64")]
)
def test_no_access_leaves_the_memory(memory: str, address: str) -> None:
    text = accesses(memory, address)
    edges = [
        edge + near for edge in (0, 1 << 16, 1 << 31, 1 << 32, 1 << 63, 1 << 64) for near in range(-9, 10)
    ]
    bits = int(address[1:])
    lanes = [exports(text, lane) for lane in BOTH]
    for name in lanes[0]:
        for value in sorted({edge % (1 << bits) for edge in edges}):
            found = [outcome(partial(wasm[name], value)) for wasm in lanes]
            assert found[0] == found[1], (name, value)


@pytest.mark.parametrize(("first", "second"), [("i32", "i64"), ("i64", "i32"), ("i64", "i64")])
def test_what_fills_and_copies_ends_where_memories_and_fuel_do(first: str, second: str) -> None:
    small = "i32" if "i32" in (first, second) else "i64"
    text = f"""(module (memory (export "m") {first} 1) (memory {second} 1)
      (func (export "fill") (param {first} {first})
        (memory.fill (local.get 0) (i32.const 0x1ff) (local.get 1)))
      (func (export "back") (param {first} {small})
        (memory.copy 0 1 (local.get 0) ({second}.const 9) (local.get 1)))
      (func (export "there") (param {second} {small})
        (memory.copy 1 0 (local.get 0) ({first}.const 65500) (local.get 1))))"""
    stores = [store_of(lane, consume_fuel=True) for lane in BOTH]

    def run(store: Store, wasm: Any, *call: Any) -> Any:
        found = []
        for fuel in (7, 1000, 10_000):
            store.set_fuel(fuel)
            found.append((outcome(lambda: wasm[call[0]](*call[1:])), store.get_fuel()))
        return found, bytes(wasm.m[:65536])

    for each in stores:
        each.set_fuel(1000)
    lanes = [(each, exports(text, within=each)) for each in stores]
    for name in ("fill", "there", "back"):
        for start in (0, 65000, 65535, 65536, 65537, (1 << 32) - 1, -1):
            for count in (0, 1, 36, 37, 63, 64, 536, 537, 65527, 65528, 65536, 65537, (1 << 32) - 1, -1):
                assert run(*lanes[0], name, start, count) == run(*lanes[1], name, start, count)


def test_a_memory_that_grows_meanwhile_is_seen() -> None:
    text = """(module (import "h" "grow" (func $host)) (memory (export "m") 1 9)
      (func $grow (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)))
      (func (export "f") (result i32)
        (i32.store (i32.const 65532) (i32.const 1))
        (call $grow) (i32.store (i32.const 131068) (i32.const 2))
        (call $host) (i32.store (i32.const 196604) (i32.const 3))
        (memory.size)))"""
    store = store_of()

    def grow() -> None:
        wasm.m.grow(store, 1)

    wasm: Any = exports(text, imports={"h": {"grow": grow}}, within=store)
    assert wasm.f() == 3


# By type: a first value, how two are added, and 64 bits of one.
LIVING = {
    "i64": ("i64.const 1", "i64.add", ""),
    "f64": ("f64.const 1.5", "f64.add", "i64.reinterpret_f64"),
    "v128": ("v128.const i64x2 1 2", "i64x2.add", "i64x2.extract_lane 1"),
}


def living() -> str:
    """A function whose loop keeps more values of each type than there are registers."""
    locals, steps, ends = [], [], []
    for type, (first, add, bits) in LIVING.items():
        for number in range(18):
            name, before = f"${type}.{number}", f"${type}.{number - 1}"
            locals.append(f"(local {name} {type})")
            added = f"(local.get {before})" if number else f"({first})"
            steps.append(f"(local.set {name} ({add} (local.get {name}) {added}))")
            value = f"({bits} (local.get {name}))" if bits else f"(local.get {name})"
            ends.append(f"(local.set $sum (i64.mul (i64.add (local.get $sum) {value}) (i64.const 31)))")
    return f"""(module (func (export "f") (param $n i32) (result i64) {" ".join(locals)} (local $sum i64)
        (loop $on
          {" ".join(steps)}
          (br_if $on (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        {" ".join(ends)} (local.get $sum)))"""


def test_values_outlast_the_looks_in_a_loop() -> None:
    assert exports(living())["f"](20_000) == exports(living(), "native")["f"](20_000)


def test_machine_code_goes_with_its_module() -> None:
    def texts() -> int:
        gc.collect()
        return sum(type(each).__name__ == "Machine" for each in gc.get_objects())

    before = texts()
    wasm = exports(METERED)
    wasm.f(3)
    assert texts() == before + 1
    del wasm
    assert texts() == before


def test_two_threads_run_compiled_code_at_once() -> None:
    kernel = next(each for each in KERNELS if each.name == "sha256")
    data, results = kernel.wasm.read_bytes(), []

    def work() -> None:
        results.append(exports(data)["run"](kernel.tiny) & 0xFFFFFFFF)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == [kernel.expected] * 3


def test_a_deadline_ends_compilation() -> None:
    """It is asked for between functions."""
    body = "(local.set 0 (i32.add (local.get 0) (i32.const 1)))" * 200
    functions = "".join(f'(func (export "f{n}") (param i32) {body})' for n in range(300))
    store = store_of(epoch_interruption=True)
    store.set_epoch_deadline(1)
    wasm = exports(f"(module {functions})", within=store)
    start = time.monotonic()
    timer = threading.Timer(0.05, store.engine.increment_epoch)
    timer.start()
    with pytest.raises(Interrupted):
        wasm.f0(1)
    timer.join()
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("moment", [1, 2])
def test_what_was_interrupted_while_it_was_compiled_is_compiled_later(moment: int) -> None:
    """Each function is read twice: when it is seen whether to decline it, and when it is compiled."""
    from tinywasm.engine.ir.build import build
    from tinywasm.engine.llvm import machine

    store = store_of(epoch_interruption=True)
    store.set_epoch_deadline(1)
    blocks = "(block (br_if 0 (local.get 0)) (local.set 0 (i32.const 7)))" * 600
    text = f'(module (func (export "f") (param i32) (result i32) {blocks} (local.get 0)))'
    wasm = exports(text, within=store)
    times = 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal times
        times += 1
        if times == moment:
            store.engine.increment_epoch()
        return build(*arguments)

    with patch.object(machine, "build", interrupted), pytest.raises(Interrupted):
        wasm.f(0)
    store.set_epoch_deadline(1)
    assert wasm.f(0) == 7
    assert backend(store).statistics()[0].startswith("compiled 1 function")


def test_the_python_engine_has_no_such_tier() -> None:
    with pytest.raises(ValueError, match='the python engine has no tier "compiled"'):
        tinywasm.instantiate("(module)", {}, store=Store(Engine(Config(engine="python", tier="compiled"))))


@pytest.mark.parametrize(
    ("said", "options", "told"),
    [
        ("compiled", {"engine": "native"}, "no function was called"),
        ("", {"engine": "native"}, 'the tier is "interpreter"'),
        ("compiled", {"engine": "native", "tier": "interpreter"}, 'the tier is "interpreter"'),
        ("compiled", {"engine": "python"}, "the python engine makes no machine code"),
    ],
)
def test_the_environment_chooses_the_tier_where_nobody_does_and_the_engine_has_it(
    monkeypatch: pytest.MonkeyPatch, said: str, options: dict[str, Any], told: str
) -> None:
    monkeypatch.setenv("TINYWASM_TIER", said)
    assert told in backend(Store(Engine(Config(**options)))).statistics()[0]


def test_an_unknown_tier_in_the_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYWASM_TIER", "fastest")
    with pytest.raises(
        ValueError, match='TINYWASM_TIER: unknown tier "fastest": use "interpreter", "auto" or "compiled"'
    ):
        tinywasm.instantiate("(module)", {}, store=Store(Engine(Config(engine="native"))))


def test_without_llvmlite_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['llvmlite'] = None\n"
        "import tinywasm\nfrom tinywasm import *\n"
        "try: tinywasm.instantiate('(module)', {}, store=Store(Engine(Config(tier='compiled'))))\n"
        "except ValueError as error: print(error)"
    )
    assert 'pip install "tinywasm[llvm]"' in python("-c", program)


BROKEN = {
    "raise OSError('no shared object')": "no shared object",
    "raise RuntimeError": "RuntimeError",
    "initialize_native_target = initialize_native_asmprinter = print": "create_pass_builder",
}


@pytest.mark.parametrize("content", BROKEN)
def test_an_llvmlite_that_does_not_work_is_told_like_a_missing_one(content: str, tmp_path: Path) -> None:
    (tmp_path / "llvmlite").mkdir()
    (tmp_path / "llvmlite" / "__init__.py").touch()
    (tmp_path / "llvmlite" / "binding.py").write_text(content)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import tinywasm\nfrom tinywasm import *\n"
        "try: tinywasm.instantiate('(module)', {}, store=Store(Engine(Config(tier='compiled'))))\n"
        "except ValueError as error: print(error)"
    )
    told = python("-c", program)
    assert BROKEN[content] in told and 'pip install "tinywasm[llvm]"' in told


def test_the_commands_take_a_tier(tmp_path: Path) -> None:
    kernel = next(each for each in KERNELS if each.name == "sieve")
    run = "-m", "tinywasm", "run", "--tier", "compiled", str(kernel.wasm), "--invoke", "run", str(kernel.tiny)
    assert int(python(*run)) == kernel.expected
    script = tmp_path / "one.wast"
    module = '(module (func (export "f") (result i32) (i32.const 1)))'
    script.write_text(f'{module} (assert_return (invoke "f") (i32.const 1))')
    assert "2 passed, 0 failed" in python("-m", "tinywasm", "wast", "--tier", "compiled", str(script))


def test_statistics_say_what_was_compiled(tmp_path: Path) -> None:
    imported = '(import "h" "f" (func $host (param i32) (result i32)))'
    text = MIXED.replace(imported, "").replace("$host", "$throw")
    text = text.replace("(call $throw (local.get $what))", "(call $throw)")
    path = tmp_path / "mixed.wat"
    path.write_text(text)
    run = "-m", "tinywasm", "run", "--stats", "--tier", "compiled"
    words = sys.executable, *run, str(path), "--invoke", "a", "0", "0"
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    lines = done.stderr.splitlines()
    first, second = (line for line in lines if line.startswith(("compiled ", "interpreted ")))
    assert re.fullmatch(r"compiled 6 functions to [\d,]+ bytes of machine code in \d+\.\d\d s", first)
    assert second == "interpreted 1 function: too large (1)"
    assert done.returncode == 134


def test_code_that_needs_another_s_is_refused() -> None:
    text = "declare void @outside()\ndefine void @f() { call void @outside() ret void }"
    with pytest.raises(InternalError, match="not by itself"):
        linked([object_code(text, codegen.LIGHT)])


def test_functions_find_their_constants_and_each_other() -> None:
    text = "define dso_local double @f(double %x) { %y = fadd double %x, 0x400921FB54442D18 ret double %y }"
    made, places = linked([object_code(text, codegen.QUICK)])
    assert set(places) >= {"f"} and len(made) > places["f"]


def test_a_thread_with_a_small_stack_has_its_functions_compiled() -> None:
    kernel = KERNELS[0]
    found = in_thread(32 << 10, lambda: exports(kernel.wasm.read_bytes())["run"](kernel.tiny))
    assert found & 0xFFFFFFFF == kernel.expected
