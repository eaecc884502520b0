"""The tier "auto": loops go on in machine code in the middle of a call, and nobody notices."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest

from fuzz.hot import compiled_after
from tests.engines import compiles, needs_llvm
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_auto import compiled, exports, loops, store_of
from tests.tinywasm.test_compiled import ENDLESS
from tinywasm import Interrupted

if compiles:
    from tinywasm.engine.llvm import auto, codegen
    from tinywasm.engine.native import _loop

LOOPS = """
(module
  (import "h" "f" (func $host (param i32) (result i32)))
  (memory 1)
  (global $g (mut i64) (i64.const 0))
  (func (export "sum") (param $n i32) (result i64)
    (local $s i64) (local $x f64) (local $v v128) (local $f f32)
    (loop $outer
      (local.set $s (i64.add (local.get $s) (i64.extend_i32_u (call $inner (local.get $n) (i32.const 7)))))
      (local.set $x (f64.add (local.get $x) (f64.const 0.5)))
      (local.set $f (f32.sub (local.get $f) (f32.const inf)))
      (local.set $v (i32x4.add (local.get $v) (i32x4.splat (local.get $n))))
      (br_if $outer (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i64.add (i64.add (local.get $s) (i64.trunc_sat_f64_s (local.get $x)))
      (i64.add (i64.extend_i32_s (i32.reinterpret_f32 (local.get $f)))
        (i64.extend_i32_u (i32x4.extract_lane 2 (local.get $v))))))
  (func $inner (param $a i32) (param $b i32) (result i32) (local $i i32) (local $j i32)
    ;; Operands lie below the loops.
    (i32.add (local.get $a)
      (i32.mul (local.get $b)
        (loop $i (result i32)
          (local.set $j (i32.const 0))
          (loop $j
            (local.set $a (i32.add (local.get $a) (i32.mul (local.get $i) (local.get $j))))
            (br_if $j (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 3))))
          (br_if $i (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 4)))
          (local.get $a)))))
  (func (export "values") (param $n i32) (result i64 f32 i32) (local i64 f32)
    (local.get $n) (f32.const 1.5) (i64.const 3)
    (loop $again (param i32 f32 i64) (result i32 f32 i64)
      (i64.add (i64.const 5)) (local.set 1) (f32.mul (f32.const 1.25)) (local.set 2) (i32.add (i32.const 1))
      (local.get 2) (local.get 1)
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.set 1) (local.set 2) (local.set $n) (local.get 1) (local.get 2) (local.get $n))
  (func (export "trap") (param $n i32) (result i32)
    (loop $again (result i32)
      (i32.store (local.get $n) (i32.const 1))
      (local.set $n (i32.add (local.get $n) (i32.const 4096)))
      (br $again)))
  (func (export "host") (param $n i32) (result i32) (local $s i32)
    (loop $again
      (local.set $s (i32.add (local.get $s) (call $host (local.get $n))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $s))
  (func (export "caught") (param $n i32) (result i32) (local $s i32)
    (block $out (result i32)
      (loop $again
        (local.set $s (i32.add (local.get $s) (call $inner (local.get $n) (i32.const 1))))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $s)))
  (func (export "table") (param $n i32) (result i32) (local $s i32)
    (loop $a (loop $b (loop $c
      (local.set $s (i32.add (i32.mul (local.get $s) (i32.const 3)) (local.get $n)))
      (if (i32.eqz (local.tee $n (i32.sub (local.get $n) (i32.const 1)))) (then (return (local.get $s))))
      (br_table $a $b $c (i32.rem_u (local.get $n) (i32.const 4))))))
    (unreachable))
  (func (export "again") (param $n i32) (result i32)
    (loop $head
      (local.set $n (i32.sub (local.get $n) (i32.const 3)))
      (br_if $head (i32.gt_s (local.get $n) (i32.const 0))))
    (local.get $n)))
"""
CALLS = {
    "sum": [9, 2, 1],
    "values": [9, 2, 1],
    "trap": [4, 0],
    "host": [11, 5, 1],
    "caught": [6, 1],
    "table": [30, 3, 1],
    "again": [50, 1],
}


@needs_llvm
@pytest.mark.parametrize("name", CALLS)
def test_loops_go_on_in_machine_code(name: str) -> None:
    for looks, words in ((3, 1), (3, 7), (5, 1)):
        found = []
        for tier in ("interpreter", "auto"):
            with compiled_after(looks, words):
                store = store_of(tier)
                wasm = exports(LOOPS, {"h": {"f": lambda number: number * 3}}, within=store)
                found.append([outcome(partial(wasm[name], n)) for n in CALLS[name]])
                if tier == "auto" and (looks, words) == (3, 1):
                    assert loops(store)
        assert found[0] == found[1], (looks, words)


@needs_llvm
def test_one_call_that_loops_goes_over_to_machine_code() -> None:
    with compiled_after(2, 1000):
        store = store_of()
        wasm = exports(LOOPS, {"h": {"f": lambda number: number}}, within=store)
        assert wasm.again(100_000) == -2
        assert list(loops(store)) == [8]
        # The next call enters it as well.
        assert compiled(store) == [8]
        assert wasm.again(1000) == -2


@needs_llvm
@pytest.mark.parametrize(
    ("small", "large", "efforts"),
    [(400, 2000, ["loop 1", "whole 1"]), (1, 2000, ["whole 0", "loop 1"]), (1, 2, ["loop 0", "whole 0"])],
)
def test_a_loop_is_compiled_with_as_much_effort_as_its_function_is_worth(
    small: int, large: int, efforts: list[str]
) -> None:
    """It is not left for better code, as the function is with the next call."""
    found = []
    make = auto.Auto._make

    def making(machine: auto.Auto, forms: Any, entered: Any, effort: int, loop: Any) -> None:
        found.append(f"{'loop' if loop else 'whole'} {effort}")
        make(machine, forms, entered, effort, loop)

    records = {codegen.QUICK: 6_000, codegen.LIGHT: large}
    with (
        compiled_after(2, 1000),
        patch.multiple(auto, LOOP_RECORDS=small, UNIT_RECORDS=records),
        patch.object(auto.Auto, "_make", making),
    ):
        wasm = exports(LOOPS, {"h": {"f": lambda number: number}})
        assert wasm.again(100_000) == -2
    assert found == efforts


@needs_llvm
@pytest.mark.parametrize(("calls", "found"), [(1, [0]), (40, [])])
def test_functions_that_are_called_often_have_no_code_for_loops(calls: int, found: list[int]) -> None:
    text = """(module (func (export "sum") (param i64) (result i64) (local i64)
      (loop (local.set 1 (i64.add (local.get 1) (local.get 0)))
        (br_if 0 (i64.ne (local.tee 0 (i64.sub (local.get 0) (i64.const 1))) (i64.const 0))))
      (local.get 1)))"""
    with compiled_after(30, 1):
        store = store_of()
        wasm = exports(text, within=store)
        for _ in range(calls):
            assert wasm.sum(100 // calls) == sum(range(100 // calls + 1))
        assert compiled(store) == [0]
        assert list(loops(store)) == found


@needs_llvm
def test_fuel_ends_in_a_loop_at_the_same_place() -> None:
    for fuel in range(10, 300, 57):
        found = []
        for tier in ("interpreter", "auto"):
            with compiled_after(2, 1):
                store = store_of(tier, consume_fuel=True)
                store.set_fuel(1000)
                wasm = exports(LOOPS, {"h": {"f": lambda number: number}}, within=store)
                store.set_fuel(fuel)
                found.append((outcome(partial(wasm.sum, 3)), store.get_fuel()))
        assert found[0] == found[1], fuel


@needs_llvm
def test_another_thread_ends_a_loop_in_machine_code() -> None:
    with compiled_after(3, 1000):
        store = store_of(epoch_interruption=True)
        store.set_epoch_deadline(1)
        wasm = exports(ENDLESS, within=store)
        timer = threading.Timer(0.2, store.engine.increment_epoch)
        timer.start()
        with pytest.raises(Interrupted) as caught:
            wasm.count()
        timer.join()
        assert [frame.func_index for frame in caught.value.frames] == [1]
        assert list(loops(store)) == [1]


CALLING = """
(module
  (table funcref (elem $one $other))
  (func (export "run") (param $which i32) (param $n i32) (result i32) (local $s i32)
    (loop $again
      (local.set $s (call_indirect (param i32) (result i32) (local.get $s) (local.get $which)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $s))
  (func $one (param i32) (result i32) (i32.add (local.get 0) (i32.const 3)))
  (func $other (param i32) (result i32) (i32.sub (local.get 0) (i32.const 5))))
"""


@needs_llvm
def test_what_machine_code_calls_becomes_hot_without_a_look() -> None:
    with compiled_after(3, 1):
        store = store_of()
        wasm = exports(CALLING, within=store)
        for _ in range(9):
            assert wasm.run(0, 9) == 27
        assert compiled(store) == [0, 1]
        _loop.look_after(1 << 40)
        assert wasm.run(1, 1000) == -5000
        assert compiled(store) == [0, 1, 2]
        assert wasm.run(1, 1000) == -5000
