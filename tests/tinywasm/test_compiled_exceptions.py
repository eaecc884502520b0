"""Exceptions in machine code: who catches them, and what is there when that happens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import tinywasm
from tests.engines import COMPILED, configured, needs_llvm
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_compiled import MANY, end_from_another_thread
from tinywasm import Engine, Store

pytestmark = needs_llvm

BOTH = ("native", COMPILED)
TEXT = """
(module
  (import "h" "f" (func $host (param i32) (result i32)))
  (type $box (struct (field i32)))
  (tag $a (param i32 f64 i64))
  (tag $b (param v128 (ref null $box)))
  (tag $empty (export "empty"))
  (func $throw (export "throw") (param i32) (result i32)
    (block $host (block $trap (block $box (block $empty (block $none
      (br_table $none $empty $box $trap $host (local.get 0)))
      (throw $a (i32.const 5) (f64.const 1.5) (i64.const -1)))
      (throw $empty))
      (throw $b (v128.const i32x4 1 2 3 4) (struct.new $box (i32.const 33))))
      (unreachable))
    (call $host (local.get 0)))
  (func $interpreted (param i32) (result i32) {MANY}
    (call $throw (local.get 0)))

  (func (export "one") (param i32) (result i32)
    (block $a (result i32 f64 i64)
      (try_table (result i32) (catch $a $a) (call $throw (local.get 0)))
      (return))
    (drop) (i32.trunc_f64_s) (i32.add))
  (func (export "vector") (param i32) (result i32)
    (block $b (result v128 (ref null $box))
      (try_table (result i32) (catch $b $b) (call $interpreted (local.get 0)))
      (return))
    (struct.get $box 0) (local.set 0) (i32x4.extract_lane 2) (i32.add (local.get 0)))
  (func $nested (export "nested") (param i32) (result i32)
    (i32.const 1000)
    (block $all
      (block $a (result i32 f64 i64)
        (try_table (result i32) (catch_all $all)
          (try_table (result i32) (catch $a $a) (call $interpreted (local.get 0)))
          (i32.add (call $throw (i32.add (local.get 0) (i32.const 1)))))
        (return))
      (drop) (drop) (return))
    (i32.const 7) (i32.add))
  (func (export "again") (param i32) (result i32) (local $exn exnref) (local $count i32)
    (block $out (result exnref)
      (try_table (result i32) (catch_all_ref $out)
        (block $in (result exnref)
          (try_table (result i32) (catch_all_ref $in) (call $throw (local.get 0)))
          (return))
        (local.set $exn)
        (local.set $count (i32.const 100))
        (throw_ref (local.get $exn)))
      (return))
    (local.set $exn)
    (block $a (result i32 f64 i64 exnref)
      (try_table (catch_ref $a $a) (throw_ref (local.get $exn)))
      (unreachable))
    (drop) (drop) (drop) (i32.add (local.get $count)))
  (func (export "locals") (param i32) (result i32) (local $box (ref null $box)) (local $n i32)
    (local.set $box (struct.new $box (i32.const 9)))
    (block $all
      (try_table (result i32) (catch_all $all)
        (local.set $n (i32.const 1))
        (call $throw (local.get 0))
        (local.set $n (i32.const 2))
        (i32.add (call $throw (i32.const 1)))
        (local.set $n (i32.const 3)))
      (drop))
    (i32.add (struct.get $box 0 (local.get $box)) (local.get $n)))
  (func (export "loop") (param i32) (result i32) (local $count i32)
    (loop $more (result i32)
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (if (i32.gt_u (local.get $count) (i32.const 1000)) (then (return (local.get $count))))
      (block $a (result i32 f64 i64)
        (try_table (result i32) (catch $empty $more) (catch $a $a)
          (call $throw (i32.rem_u (local.get $count) (i32.const 2))))
        (return))
      (drop) (drop) (drop) (br $more)))
  (func (export "null") (param i32) (result i32) (throw_ref (ref.null exn)))
  (func $deep (param i32 i32) (result i32)
    (if (result i32) (local.get 0)
      (then (call $deep (i32.sub (local.get 0) (i32.const 1)) (local.get 1)))
      (else (call $nested (local.get 1)))))
  (func (export "deep") (param i32) (result i32)
    (block $all
      (try_table (result i32) (catch_all $all) (call $deep (i32.const 30) (local.get 0)))
      (return))
    (i32.const 3))
  (func (export "get") (result i32) (i32.const 0))
  (func (export "endless")
    (loop $more (block $a (result i32 f64 i64)
      (try_table (result i32) (catch $empty $more) (catch $a $a) (call $throw (i32.const 1)))
      (unreachable)) (unreachable))))
""".replace("{MANY}", MANY)
NAMES = ["one", "vector", "nested", "again", "locals", "loop", "null", "deep", "throw"]


def instance(lane: str, **options: Any) -> tuple[Any, Store]:
    store = Store(Engine(configured(lane, **options)))
    within: dict[str, Any] = {}

    def host(number: int) -> int:
        if number > 5:
            raise tinywasm.Trap("of the host's")
        # Exceptions of a call from a host function go through it.
        return int(within["wasm"].throw(number - 4)) if number < 6 else number

    made = tinywasm.instantiate(TEXT, {"h": {"f": host}}, store=store)
    within["wasm"] = made.exports
    return made.exports, store


def seen(call: Callable[[], Any]) -> Any:
    """The outcome, with types in place of objects, which are others in each store."""
    found = outcome(call)
    if not isinstance(found, list):
        return found
    return [each if isinstance(each, int | float | bytes) else type(each) for each in found]


@pytest.mark.parametrize("collects", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_exceptions_end_where_they_do_in_the_loop(name: str, collects: bool) -> None:
    from tinywasm.engine.native._loop import collect_first_at

    if collects:
        collect_first_at(0)
    try:
        found = []
        for lane in BOTH:
            wasm, _ = instance(lane, max_call_depth=60)
            found.append([seen(partial(wasm[name], number)) for number in range(8) for _ in range(2)])
    finally:
        collect_first_at(16 << 20)
    assert found[0] == found[1]


def test_fuel_is_paid_where_handlers_begin() -> None:
    found = []
    for lane in BOTH:
        wasm, store = instance(lane, consume_fuel=True)
        each = []
        for fuel in range(0, 400, 7):
            store.set_fuel(fuel)
            each.append((outcome(partial(wasm["loop"], 0)), store.get_fuel()))
        found.append(each)
    assert found[0] == found[1]


def test_a_loop_of_exceptions_alone_can_be_ended() -> None:
    wasm, store = instance(COMPILED, epoch_interruption=True)
    store.set_epoch_deadline(1)
    end_from_another_thread(store, wasm, wasm["endless"], 0.05)
    assert wasm["get"]() == 0
