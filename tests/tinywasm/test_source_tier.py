"""Hot functions of the python engine become Python functions, and nobody notices but by the time.

Generated modules say so of results, traps and fuel (`fuzz/`), the official suite of everything by itself
(`spec-tests/`). Here is what comes from outside, and what is hostile.
"""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import pytest

import tinywasm
from fuzz.hot import AT_ONCE, hot_after
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_cli import ENVIRONMENT
from tinywasm import Config, Engine, Interrupted, OutOfFuel, Store, Trap
from tinywasm.instructions import TABLE, Instruction
from tinywasm.raw import Profile
from tinywasm.types import I32, I64, ValType

COLD = 1 << 40
ORDERS = [f"{order}_{sign}" for order in ("lt", "gt", "le", "ge") for sign in "us"]


@pytest.fixture(autouse=True)
def hot() -> Iterator[None]:
    with hot_after(AT_ONCE):
        yield


def store(**config: Any) -> Store:
    return Store(Engine(Config(engine="python", **config)))


def exports(text: str | bytes, imports: Any = None, *, within: Store | None = None) -> Any:
    return tinywasm.instantiate(text, imports or {}, store=within or store()).exports


# A loop that traps, throws or ends, called by one that catches, and by one more.
LOOPS = """
(module
  (tag $t (param i32))
  (memory 1)
  (func $loop (export "loop") (param $n i32) (param $what i32) (result i32)
    (loop $again
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n)))
    (if (i32.eq (local.get $what) (i32.const 1)) (then (throw $t (i32.const 5))))
    (if (i32.eq (local.get $what) (i32.const 2)) (then unreachable))
    (if (i32.eq (local.get $what) (i32.const 3)) (then (drop (i32.load (i32.const -1)))))
    (if (i32.eq (local.get $what) (i32.const 4))
      (then (drop (i32.div_u (i32.const 1) (i32.load8_u (local.get $n))))))
    (i32.const 7))
  (func $catch (export "catch") (param i32 i32) (result i32)
    (block $out (result i32)
      (try_table (result i32) (catch $t $out) (call $loop (local.get 0) (local.get 1)))))
  (func (export "outer") (param i32 i32) (result i32)
    (i32.add (i32.const 1) (call $catch (local.get 0) (local.get 1)))))
"""


@pytest.mark.parametrize("what", range(5))
@pytest.mark.parametrize("name", ["loop", "catch", "outer"])
def test_what_leaves_a_running_loop_is_as_on_the_reference(name: str, what: int) -> None:
    found = []
    for times in (COLD, 10, 0, AT_ONCE):
        with hot_after(times):
            wasm = exports(LOOPS)
            found.append([outcome(lambda: getattr(wasm, name)(50, what)) for _ in range(2)])  # noqa: B023
    assert all(each == found[0] for each in found)


ORDER = """
(module (memory 1) (table 1 funcref)
  (func (export "store") (param i32 i32) (i32.store (i32.load (local.get 0)) (i32.load (local.get 1))))
  (func (export "fill") (param i32 i32)
    (memory.fill (i32.load (local.get 0)) (i32.load8_u (local.get 1)) (i32.const 0)))
  (func (export "divide") (param i32 i32) (result i32)
    (i32.div_u (i32.load (local.get 0)) (i32.load (local.get 1))))
  (func (export "select") (param i32 i32) (result i32)
    (select (i32.load (local.get 0)) (i32.load (local.get 1)) (i32.load (i32.const 0))))
  (func (export "call") (param i32 i32) (result i32)
    (call $add (i32.load (local.get 0)) (i32.load (local.get 1))))
  (func (export "indirect") (param i32 i32) (result i32)
    (call_indirect (param i32) (result i32) (i32.load (local.get 0)) (i32.load (local.get 1))))
  (func $add (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
"""


@pytest.mark.parametrize("name", ["store", "fill", "divide", "select", "call", "indirect"])
def test_operands_trap_in_their_order(name: str) -> None:
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            call = getattr(exports(ORDER), name)
            found.append([outcome(partial(call, *each)) for each in ((-1, -1), (-1, 0), (0, -1), (0, 0))])
    assert found[0] == found[1]


# A dropped constant was in a temporary, which results of several take over.
DROPPED = """
(module
  (func $two (param i64 i64) (result i64 i64) (local.get 0) (local.get 1))
  (table funcref (elem $two))
  (func (export "wide") (param i64 i64) (result i64 i64)
    (v128.const i64x2 1 2) (block (param v128) (drop))
    (i64.mul_wide_u (local.get 0) (local.get 1)) (local.set 1) (local.set 0)
    (local.get 0) (local.get 1))
  (func (export "call") (param i64 i64) (result i64 i64)
    (v128.const i64x2 1 2) (block (param v128) (drop))
    (call $two (local.get 0) (local.get 1)) (local.set 1) (local.set 0)
    (local.get 0) (local.get 1))
  (func (export "indirect") (param i64 i64) (result i64 i64)
    (v128.const i64x2 1 2) (block (param v128) (drop))
    (call_indirect (param i64 i64) (result i64 i64) (local.get 0) (local.get 1) (i32.const 0))
    (local.set 1) (local.set 0)
    (local.get 0) (local.get 1)))
"""


@pytest.mark.parametrize("name", ["wide", "call", "indirect"])
def test_results_of_several_take_the_place_of_what_was_dropped(name: str) -> None:
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            wasm = exports(DROPPED, within=store(wide_arithmetic=True))
            found.append(getattr(wasm, name)(5 << 40, 7 << 40))
    assert found[0] == found[1]


# Of two that trap in ways of their own the first was dropped, from above where the second's result is.
TRAPS = {
    "call": "(call $unreachable (local.get $n))",
    "load": "(i32.load (i32.const -1))",
    "divide": "(i32.div_u (i32.const 1) (local.get $n))",
    "truncate": "(i32.trunc_f32_s (f32.const inf))",
}
TAKERS = {
    "drop": "{} (drop)",
    "add": "{} (drop (i32.add (i32.const 1)))",
    "store": "(i32.store (i32.const 0) {})",
    "branch": "(block {} (br_if 0))",
    "unless": "{} (if (then (return (i32.const 1))))",
    "table": "(block {} (br_table 0 0))",
    "return": "(return {})",
    "select": "(drop (select (i32.const 1) (i32.const 2) {}))",
    "several": "(call $two {}) (drop) (drop)",
    "global": "(global.set 0 {})",
    "local": "(local.set $n {})",
    "grow": "(drop (memory.grow {}))",
    "throw": "{} (throw 0)",
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("second", [*TRAPS, "global"])
def test_what_was_dropped_has_its_turn_before_what_came_later(second: str, taker: str) -> None:
    later = TRAPS.get(second, "(global.get 0)")
    funcs = ""
    for first, dropped in TRAPS.items():
        for below in range(3):
            consts, drops = "(call $one) " * below, "(drop) " * below
            funcs += f"""(func (export "{first} {below}") (param $n i32) (result i32)
              {consts} {dropped} (drop) {drops} {TAKERS[taker].format(later)} (i32.const 3))
            (func (export "{first} {below} held") (param $n i32) (result i32)
              (call $one) {consts} {dropped} (drop) {drops} (i32.add {later}))"""
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            wasm = exports(f"""(module (memory 1) (global (mut i32) (i32.const 0)) (tag (param i32))
              (func $unreachable (param i32) (result i32) (unreachable))
              (func $one (result i32) (global.set 0 (i32.add (global.get 0) (i32.const 1))) (global.get 0))
              (func $two (param i32) (result i32 i32) (local.get 0) (local.get 0)) {funcs})""")
            found.append({name: outcome(partial(wasm[name], 0)) for name in wasm})
    assert found[0] == found[1]


NUMERIC = [
    row
    for row in TABLE
    if row.operator is not None and row.params and set(row.params) <= {I32, I64} and not row.immediates
]


@pytest.mark.parametrize("row", NUMERIC, ids=lambda row: row.name)
def test_an_operand_that_can_only_be_zero_still_traps(row: Instruction) -> None:
    zero32 = "(i32.rem_u (local.get 0) (i32.ne (local.get 1) (i32.const 0)))"
    zero64 = "(i64.rem_u (i64.const 7) (i64.extend_i32_u (i32.ne (local.get 1) (i32.const 0))))"
    zero: dict[ValType, str] = {I32: zero32, I64: zero64}
    one: dict[ValType, str] = {I32: "(i32.const 1)", I64: "(i64.const 1)"}
    funcs = ""
    for place, _ in enumerate(row.params):
        operands = [zero[each] if at == place else one[each] for at, each in enumerate(row.params)]
        drops = "(drop)" * len(row.results)
        funcs += f'(func (export "f{place}") (param i32 i32) {" ".join(operands)} {row.name} {drops})'
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            wasm = exports(f"(module {funcs})", within=store(wide_arithmetic=True))
            calls = [getattr(wasm, f"f{place}") for place, _ in enumerate(row.params)]
            found.append([outcome(partial(call, 7, divisor)) for call in calls for divisor in (0, 1)])
    assert found[0] == found[1]


@pytest.mark.parametrize("row", NUMERIC, ids=lambda row: row.name)
def test_a_value_stays_what_it_is_when_its_local_changes(row: Instruction) -> None:
    funcs = ""
    # A local that is known to be 0, one that is known to be 1, and one that may be anything.
    for name, known in (
        ("zero", ""),
        ("one", "(local.set $x (i64.const 1))"),
        ("any", "(local.set $x (local.get $p))"),
    ):
        x: dict[ValType, str] = {I32: "(i32.wrap_i64 (local.get $x))", I64: "(local.get $x)"}
        y: dict[ValType, str] = {I32: "(local.get $q)", I64: "(i64.extend_i32_u (local.get $q))"}
        for place, _ in enumerate(row.params):
            operands = [x[each] if at == place else y[each] for at, each in enumerate(row.params)]
            results = " ".join(map(str, row.results))
            funcs += f"""(func (export "{name}{place}") (param $p i64) (param $q i32) (result {results})
              (local $x i64)
              {known}
              {" ".join(operands)} {row.name}
              (local.set $x (i64.const 77)) (local.set $p (local.get $x)) (local.set $q (i32.const 78)))"""
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            wasm = exports(f"(module {funcs})", within=store(wide_arithmetic=True))
            found.append([outcome(partial(wasm[name], 5 << 31, 9)) for name in wasm])
    assert repr(found[0]) == repr(found[1])


BRANCHES = """
(module
  (type $v (func (param i32) (result i32)))
  (func $one (result i32) (i32.const 1))
  (func (export "f") (param $n i32) (result i32)
    (block $out
      (i32.const 5)
      (i32.lt_u (local.get $n) (call $one))
      (i32.const 1) (block (type $v) (drop) (f64x2.splat (f64.const 1)) (drop) (local.get $n))
      (i32.le_s)
      {branch}
      (drop)
      (return (i32.const 3)))
    (i32.const 4)))
"""


@pytest.mark.parametrize(
    "branch", ["(br_if $out)", "(if (then (return (i32.const 9))))", "(br_table 0 $out)"]
)
def test_a_branch_asks_before_what_was_dropped_takes_the_place_of_its_operand(branch: str) -> None:
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            wasm = exports(BRANCHES.format(branch=branch))
            found.append([wasm.f(number) for number in (0, 1, 2, -1)])
    assert found[0] == found[1]


# A counter from a start in steps to an end, which it may miss and go around; all that it is shows in the sum.
COUNTER = """
(func (export "{name}") (param $end i32) (result i64)
  (local $i i32) (local $turns i32) (local $sum i64)
  (local.set $i (i32.const {start}))
  (block $out
    {guard}
    (loop $again
      (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31))
        (i64.extend_i32_u (i32.add (local.get $i) (i32.const 1024)))))
      (local.set $sum (i64.xor (local.get $sum) (i64.extend_i32_s (i32.sub (local.get $i) (i32.const 1)))))
      (local.set $sum (i64.sub (local.get $sum) (i64.extend_i32_u (local.get $i))))
      {step}
      (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
      (br_if $out (i32.gt_u (local.get $turns) (i32.const 12)))
      (br_if $again ({compare} {operands}))))
  (local.get $sum))
"""
PLAIN_STEP = "(local.set $i (i32.add (local.get $i) (i32.const {})))"
SOMETIMES = "(if (i32.and (local.get $turns) (i32.const 1)) (then {}))"


def _counters(compare: str) -> str:
    functions: list[str] = []
    ends = ("(i32.const 0)", "(i32.const 8)", "(i32.const -1)", "(local.get $end)")
    for start, step, end in product((0, 5, -3, -8), (1, -1, 3, -4), ends):
        plain = PLAIN_STEP.format(step)
        for written in (plain, SOMETIMES.format(plain)):
            for operands in (f"(local.get $i) {end}", f"{end} (local.get $i)"):
                test = f"({compare} {operands})"
                for guard in ("", f"(br_if $out (i32.eqz {test}))"):
                    made = {"step": written, "compare": compare, "operands": operands, "guard": guard}
                    functions.append(COUNTER.format(name=len(functions), start=start, **made))
    return f"(module {' '.join(functions)})"


@pytest.mark.parametrize("compare", [f"i32.{n}" for n in ("eq", "ne", *ORDERS)])
def test_counters_are_what_they_are_on_the_reference(compare: str) -> None:
    found = []
    module = bytes(tinywasm.wat2wasm(_counters(compare)))
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            wasm = exports(module)
            found.append([[wasm[name](end) for name in wasm] for end in (0, 9)])
    assert found[0] == found[1]


# Loops that are taken up again from the middle of others, and left for two farther out.
NESTED = """
(module (func (export "f") (param $n i32) (result i32)
  (local $i i32) (local $j i32) (local $k i32) (local $s i32)
  (loop $a
    (local.set $j (i32.const 0))
    (loop $b
      (local.set $k (i32.const 0))
      (loop $c
        (local.set $s (i32.add (i32.mul (local.get $s) (i32.const 3)) (local.get $k)))
        (local.set $k (i32.add (local.get $k) (i32.const 1)))
        (br_if $c (i32.lt_u (local.get $k) (i32.const 4)))
        (if (i32.eq (local.get $j) (i32.const 2))
          (then (local.set $j (i32.const 3)) (br $b)))
        (if (i32.eq (i32.rem_u (local.get $s) (i32.const 7)) (i32.const 5))
          (then (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $a (i32.lt_u (local.get $i) (local.get $n))))))
      (local.set $s (i32.xor (local.get $s) (i32.const 77)))
      (local.set $j (i32.add (local.get $j) (i32.const 1)))
      (br_if $b (i32.lt_u (local.get $j) (i32.const 5))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $a (i32.lt_u (local.get $i) (local.get $n))))
  (local.get $s)))
"""


def test_any_of_nested_loops_may_be_where_a_python_function_begins() -> None:
    with hot_after(COLD):
        expected = exports(NESTED).f(9)
    for times in range(80):
        with hot_after(times):
            assert exports(NESTED).f(9) == expected, times


def test_nothing_is_loaded_before_a_function_is_hot() -> None:
    program = """
import sys, tinywasm
from tinywasm import Config, Engine, Store
store = Store(Engine(Config(engine="python")))
wasm = tinywasm.instantiate('(module (func (export "f")))', store=store).exports
for _ in range(100): wasm.f()
assert not [name for name in sys.modules if name.startswith("tinywasm.engine.source")]
for _ in range(200): wasm.f()
assert "tinywasm.engine.source.tier" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, timeout=60, check=True)


FUEL = """
(module
  (memory 1)
  (func $add (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "f") (result i32) (local i32)
    (loop $again
      (i32.store (local.get 0) (call $add (local.get 0) (i32.const 2)))
      (memory.fill (i32.const 128) (i32.const 1) (i32.const 300))
      (local.set 0 (call $add (local.get 0) (i32.const 4)))
      (br_if $again (i32.lt_u (local.get 0) (i32.const 20))))
    (i32.load (i32.const 4))))
"""


def test_fuel_runs_out_at_the_same_places() -> None:
    def used(fuel: int) -> Any:
        within = store(consume_fuel=True)
        wasm = exports(FUEL, within=within)
        within.set_fuel(fuel)
        return outcome(wasm.f), within.get_fuel()

    for fuel in (*range(0, 60), *range(60, 140, 7), 140):
        with hot_after(COLD):
            expected = used(fuel)
        for times in (2, AT_ONCE):
            with hot_after(times):
                assert used(fuel) == expected, (fuel, times)
    assert expected[0] == 6


SPIN = """
(module
  (import "h" "now" (func $now))
  (global (export "g") (mut i32) (i32.const 0))
  (func $add (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func $spin (export "spin") (loop (global.set 0 (call $add (global.get 0))) (br 0)))
  (func (export "soon") (call $now) (call $spin))
  (func (export "one") (result i32) (call $add (i32.const 0))))
"""


@pytest.mark.parametrize("times", [AT_ONCE, 5, 100])
def test_an_interrupted_store_is_usable(times: int) -> None:
    within = store()
    with hot_after(times):
        wasm = exports(SPIN, {"h": {"now": within.interrupt}}, within=within)
        for _ in range(3):
            with pytest.raises(Interrupted) as caught:
                wasm.soon()
            assert [frame.func_index for frame in caught.value.frames][-1] == 3
            assert wasm.one() == 1


def test_a_deadline_ends_a_python_function() -> None:
    within = store()
    wasm = exports(SPIN, {"h": {"now": lambda: None}}, within=within)
    within.set_deadline(0.05)
    with pytest.raises(Interrupted):
        wasm.spin()
    within.set_deadline(None)
    assert wasm.one() == 1


def test_an_interruption_from_another_thread() -> None:
    within = store()
    begun = threading.Event()
    wasm = exports(SPIN, {"h": {"now": begun.set}}, within=within)

    def interrupt() -> None:
        begun.wait(60)
        within.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted):
        wasm.soon()
    thread.join()
    assert wasm.one() == 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that raise signals")
def test_ctrl_c_at_any_moment() -> None:
    def handler(*_: Any) -> None:
        raise KeyboardInterrupt

    wasm = exports(SPIN, {"h": {"now": lambda: None}})
    before = signal.signal(signal.SIGVTALRM, handler)
    try:
        for step in range(1, 12):
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_VIRTUAL, 0.0013 * step)
                wasm.soon()
            assert wasm.one() == 1
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


DEEP = """
(module
  (import "h" "f" (func $host (param i32) (result i32)))
  (func $down (export "down") (param i32) (result i32)
    (if (result i32) (local.get 0)
      (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
      (else (call $host (local.get 0))))))
"""


@pytest.mark.parametrize("limit", [40, 60, 100, 200, 500, 1000])
def test_host_functions_have_their_part_of_a_small_stack(limit: int) -> None:
    """Below so many activations as there may be, one has a third of what the recursion limit leaves."""

    def nested(depth: int) -> int:
        return nested(depth - 1) + 1 if depth else 0

    wasm = exports(DEEP, {"h": {"f": lambda _: nested(limit // 3)}}, within=store(max_call_depth=10_000))
    own, frame = 1, sys._getframe()
    while frame.f_back is not None:
        own, frame = own + 1, frame.f_back
    before = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(own + limit)
        assert wasm.down(5_000) == 5_000 + limit // 3
    finally:
        sys.setrecursionlimit(before)


def test_calls_that_nest_leave_each_other_alone() -> None:
    calls: list[int] = []

    def host(_: int) -> int:
        calls.append(1)
        return wasm.down(2) if len(calls) < 5 else 7

    wasm = exports(DEEP, {"h": {"f": host}})
    assert wasm.down(10) == 10 + 2 * 4 + 7


GROWING = """
(module
  (import "h" "grow" (func $grow))
  (import "h" "m" (memory 1 10))
  (func (export "f") (param $host i32) (result i32) (local $n i32)
    (drop (i32.load (i32.const 0)))
    (loop $again
      (if (local.get $host) (then (call $grow)) (else (drop (memory.grow (i32.const 1)))))
      (i32.store (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4)) (i32.const 9))
      (local.set $n (i32.add (local.get $n)
        (i32.load8_u (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4)))))
      (br_if $again (i32.lt_u (memory.size) (i32.const 5))))
    (local.get $n)))
"""


@pytest.mark.parametrize("host", [0, 1])
def test_a_memory_grows_meanwhile(host: int) -> None:
    within = store()
    other = exports('(module (memory (export "m") 1 10))', within=within)
    again = exports(
        '(module (import "h" "m" (memory 1 10)) (func (export "f") (drop (memory.grow (i32.const 1)))))',
        {"h": {"m": other.m}}, within=within,
    )  # fmt: skip
    wasm = exports(GROWING, {"h": {"m": other.m, "grow": lambda: again.f()}}, within=within)
    assert wasm.f(host) == 4 * 9


def test_functions_of_other_instances() -> None:
    within = store()
    one = exports(
        """(module (table (export "t") 4 funcref) (elem (i32.const 0) $f)
        (func $f (export "f") (param i32) (result i32) (i32.div_u (i32.const 100) (local.get 0))))""",
        within=within,
    )
    two = exports(
        """(module (import "h" "f" (func $f (param i32) (result i32))) (import "h" "t" (table 4 funcref))
        (func $g (param i32) (result i32) (i32.const 3)) (elem (i32.const 1) $g)
        (func (export "call") (param i32) (result i32) (call $f (local.get 0)))
        (func (export "by") (param i32 i32) (result i32)
          (call_indirect (param i32) (result i32) (local.get 0) (local.get 1))))""",
        {"h": {"f": one.f, "t": one.t}}, within=within,
    )  # fmt: skip
    for _ in range(3):
        assert two.call(5) == 20 and two.by(4, 0) == 25 and two.by(4, 1) == 3
        for call, message in (
            (partial(two.call, 0), "integer divide by zero"),
            (partial(two.by, 1, 2), "uninitialized element 2"),
            (partial(two.by, 1, 9), "undefined element"),
        ):
            with pytest.raises(Trap, match=message):
                call()


def test_an_error_of_a_host_function_is_its_own() -> None:
    def host(_: int) -> int:
        return [][1]

    wasm = exports(DEEP, {"h": {"f": host}})
    with pytest.raises(IndexError, match="list index out of range"):
        wasm.down(3)
    wasm = exports(DEEP, {"h": {"f": lambda _: 1 // 0}})
    with pytest.raises(ZeroDivisionError):
        wasm.down(3)


def test_an_instance_that_nobody_has_is_collected() -> None:
    within = store()
    shared = exports('(module (memory (export "m") 1))', within=within)
    text = """(module (import "h" "m" (memory 1)) (import "h" "f" (func $f))
        (func (export "f") (call $f) (i32.store (i32.const 0) (i32.const 1))))"""
    host = tinywasm.Func(within, tinywasm.FuncType([], []), lambda: None)
    wasm: Any = exports(text, {"h": {"m": shared.m, "f": host}}, within=within)
    wasm.f()
    found = [
        each for each in gc.get_objects() if type(each).__name__ == "Tier" and each.backend.store is within
    ]
    gone = [weakref.ref(each.instance.tier.names["f0"]) for each in found]
    assert gone
    del wasm, found
    gc.collect()
    assert [each() for each in gone] == [None] * len(gone)


def test_memories_of_a_few_bytes() -> None:
    wasm = exports(
        """(module (memory 7 (pagesize 1))
        (func (export "get") (param i32) (result i32) (i32.load (local.get 0)))
        (func (export "put") (param i32) (i32.store16 (local.get 0) (i32.const 0x101))))""",
        within=store(custom_page_sizes=True),
    )
    wasm.put(0)
    wasm.put(5)
    assert wasm.get(0) == 0x101 and wasm.get(3) == 0x01010000
    for call, address in ((wasm.get, 4), (wasm.put, 6)):
        with pytest.raises(Trap, match="out of bounds memory access"):
            call(address)


def test_the_reference_runs_what_a_profile_counts() -> None:
    within = store()
    within.profile = Profile()
    wasm = exports(FUEL, within=within)
    assert wasm.f() == 6
    assert {record.calls for record in within.profile.records()} == {1, 10}


def nested(opening: str, times: int, inside: str, closing: str = ")") -> str:
    return opening * times + inside + closing * times


def chain(times: int) -> str:
    return "(local.get 0)" + "(i32.const 3) (i32.xor) (i32.const 5) (i32.sub)" * times


def table(times: int) -> str:
    cases = nested("(block ", times, f"(br_table {' '.join(map(str, range(times)))} 0 (local.get 0))")
    return cases + "(i32.const 1)"


HOSTILE = {
    "blocks": nested("(block ", 3_000, "(br_if 20 (local.get 0)) (br_if 0 (local.get 0))") + "(i32.const 1)",
    "loops": nested("(loop ", 300, "(br_if 5 (i32.eqz (local.get 0)))") + "(i32.const 1)",
    "arms": nested("(if (local.get 0) (then ", 500, "(nop)", "))") + "(i32.const 1)",
    "exits": "(block " + "(br_if 0 (i32.eq (local.get 0) (i32.const 9)))" * 4_000 + ") (i32.const 1)",
    "chain": chain(5_000),
    "table": table(2_000),
    "negations": "(local.get 0)" + "(i32.eqz)" * 2_000,
    "operands": "(local.get 0)" * 700 + "(i32.add)" * 699,
    "straight": "(i32.store (local.get 0) (i32.load (local.get 0)))" * 20_000 + "(i32.const 1)",
    "many blocks": "(block (br_if 0 (local.get 0)) (global.set 0 (local.get 0)))" * 8_000 + "(i32.const 1)",
}  # fmt: skip


def hostile(name: str) -> str:
    head = '(module (memory 1) (global (mut i32) (i32.const 0)) (func (export "f") (param i32) (result i32)'
    return f"{head} {HOSTILE[name]}))"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_function_costs_seconds_at_most(name: str) -> None:
    module = tinywasm.wat2wasm(hostile(name))
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            wasm = exports(module)
            start = time.process_time()
            found.append([wasm.f(number) for number in (1, 2, 1)])
            assert time.process_time() - start < 10
    assert found[0] == found[1]


def test_what_takes_long_to_make_obeys_a_deadline() -> None:
    within = store()
    wasm = exports(hostile("chain"), within=within)
    within.interrupt()
    with pytest.raises(Interrupted):
        wasm.f(1)
    assert wasm.f(1) == wasm.f(1)


def test_out_of_fuel_has_a_backtrace() -> None:
    within = store(consume_fuel=True)
    wasm = exports(FUEL, within=within)
    within.set_fuel(10)
    with pytest.raises(OutOfFuel) as caught:
        wasm.f()
    assert caught.value.frames[-1].func_index == 1


DEEP_LOOPS = """
(module
  (func $down (export "down") (param i32) (result i32)
    (local i32)
    (loop
      (local.set 1 (i32.add (local.get 1) (i32.const 1)))
      (br_if 0 (i32.lt_u (local.get 1) (i32.const 3))))
    (if (result i32) (local.get 0)
      (then (i32.add (local.get 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
      (else (local.get 1)))))
"""


def test_loops_turn_where_no_further_python_function_may_be_under_way() -> None:
    wasm = exports(DEEP_LOOPS, within=store(max_call_depth=10_000))
    assert wasm.down(5_000) == 3 * 5_001
