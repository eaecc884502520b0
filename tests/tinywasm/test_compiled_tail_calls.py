"""Tail calls in machine code: nothing grows, and traps are told as the loop tells them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import tinywasm
from tests.engines import COMPILED, configured, needs_llvm
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_compiled import MANY
from tinywasm import Engine, Store
from tinywasm.engine.recursion import STACK_SLOTS

pytestmark = needs_llvm

BOTH = ("native", COMPILED)
# Each takes how many calls are left, and ends in what its last argument says.
TEXT = """
(module
  (import "h" "f" (func $host (param i32 i32) (result i32)))
  (import "h" "more" (func $more (param i32 i64) (result i32)))
  (type $same (func (param i32 i32) (result i32)))
  (type $many (func (param i32 i32) (result i64 i64 i64 i64 i32)))
  (table $functions funcref (elem $self $indirect $ref $interpreted $host $wide))
  (elem declare func $ref)
  (func $less (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1)))

  (func $end (param i32 i32) (result i32)
    (block $large (block $host (block $div (block $null (block $type (block $none
      (br_table $none $type $null $div $host $large (local.get 1)))
      (return_call_indirect (type $same) (local.get 0) (local.get 1) (i32.const 99)))
      (return_call_indirect (type $same) (local.get 0) (local.get 1) (i32.const 5)))
      (return_call_ref $same (local.get 0) (local.get 1) (ref.null $same)))
      (return (i32.div_s (local.get 0) (i32.const 0))))
      (return_call $more (local.get 1) (i64.const 1)))
    (return_call $host (local.get 0) (local.get 1)))

  (func $self (export "self") (type $same)
    (if (local.get 0) (then (return_call $self (call $less (local.get 0)) (local.get 1))))
    (return_call $end (local.get 0) (local.get 1)))
  (func $indirect (export "indirect") (type $same)
    (if (local.get 0)
      (then (return_call_indirect (type $same) (call $less (local.get 0)) (local.get 1) (i32.const 1))))
    (return_call $end (local.get 0) (local.get 1)))
  (func $ref (export "ref") (type $same)
    (if (local.get 0)
      (then (return_call_ref $same (call $less (local.get 0)) (local.get 1) (ref.func $ref))))
    (return_call $end (local.get 0) (local.get 1)))
  (func $interpreted (export "interpreted") (type $same) {MANY}
    (if (local.get 0) (then (return_call $self (call $less (local.get 0)) (local.get 1))))
    (return_call $end (local.get 0) (local.get 1)))
  (func $turns (export "turns") (type $same)
    (if (local.get 0) (then (return_call $wide (f64.const 1) (call $less (local.get 0)) (local.get 1))))
    (return_call $end (local.get 0) (local.get 1)))
  (func $wide (param f64 i32 i32) (result i32)
    (if (local.get 1) (then (return_call $back (call $less (local.get 1)) (local.get 2))))
    (return_call $end (local.get 1) (local.get 2)))
  (func $back (type $same) {MANY}
    (return_call $turns (local.get 0) (local.get 1)))
  (func (export "results") (type $same) (local i64)
    (call $results (local.get 0) (local.get 1))
    (local.set 0) (i64.add) (i64.add) (i64.add) (local.set 2)
    (i32.add (local.get 0) (i32.wrap_i64 (local.get 2))))
  (func $results (type $many)
    (if (local.get 0) (then (return_call $results (call $less (local.get 0)) (local.get 1))))
    (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (call $end (local.get 0) (local.get 1))))
""".replace("{MANY}", MANY)
NAMES = ["self", "indirect", "ref", "interpreted", "turns", "results"]


def exports(lane: str) -> Any:
    def more(number: int, _: int) -> int:
        if number == 4:
            raise tinywasm.Trap("of the host's")
        return number

    imports = {"h": {"f": lambda _, how: 10 * how, "more": more}}
    store = Store(Engine(configured(lane, max_call_depth=20)))
    return tinywasm.instantiate(TEXT, imports, store=store).exports


@pytest.mark.parametrize("name", NAMES)
def test_a_million_tail_calls_grow_nothing(name: str) -> None:
    assert exports(COMPILED)[name](1_000_000, 6) == 60 + 10 * (name == "results")


@pytest.mark.parametrize("name", NAMES)
def test_what_ends_in_a_tail_call_is_the_same(name: str) -> None:
    found = []
    for lane in BOTH:
        function = exports(lane)[name]
        found.append([outcome(partial(function, depth, how)) for how in range(8) for depth in (0, 1, 2, 100)])
    assert found[0] == found[1]


def test_a_function_that_does_not_fit_is_not_begun() -> None:
    """Where the slots end: the trap is the caller's, as long as the frame is its own."""
    text = """
    (module
      (type $f (func (param i32) (result i32)))
      (table funcref (elem $large))
      (func $large (type $f) (local {locals}) (i32.const 7))
      (func $direct (type $f) (return_call $large (local.get 0)))
      (func $indirect (type $f) (return_call_indirect (type $f) (local.get 0) (i32.const 0)))
      (func $deep (export "deep") (param i32 i32) (result i32) (local {locals})
        (if (i32.eqz (local.get 0))
          (then (return (if (result i32) (local.get 1)
            (then (call $direct (i32.const 1))) (else (call $indirect (i32.const 1)))))))
        (call $deep (i32.sub (local.get 0) (i32.const 1)) (local.get 1))))
    """.replace("{locals}", "i64 " * 900)
    lanes = []
    for lane in BOTH:
        store = Store(Engine(configured(lane, max_call_depth=1_000_000)))
        lanes.append(tinywasm.instantiate(text, store=store).exports["deep"])
    low, high = STACK_SLOTS // 950, STACK_SLOTS // 890
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if outcome(partial(lanes[0], middle, 0)) == 7 else (low, middle)
    assert outcome(partial(lanes[0], low, 0)) == 7 != outcome(partial(lanes[0], high, 0))
    for depth in range(low - 1, low + 3):
        for how in (0, 1):
            found = [outcome(partial(each, depth, how)) for each in lanes]
            assert found[0] == found[1]
