"""Hot functions that throw and catch: results, traps, places and fuel as on the reference."""

from __future__ import annotations

from typing import Any

import pytest

from fuzz.hot import hot_after
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_source_tier import COLD, exports, store
from tinywasm.engine.source import tier

TIMES = (COLD, 3, 0, -1)

CATCHES = """
(module
  (tag $none) (tag $one (param i32)) (tag $two (param i32 f64)) (tag $other (param i32))
  (memory 1)
  (global $seen (mut i32) (i32.const 0))
  ;; Throws, traps or returns.
  (func $do (param $what i32) (result i32)
    (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
    (if (i32.eq (local.get $what) (i32.const 1)) (then (throw $none)))
    (if (i32.eq (local.get $what) (i32.const 2)) (then (throw $one (i32.const 21))))
    (if (i32.eq (local.get $what) (i32.const 3)) (then (throw $two (i32.const 31) (f64.const 2.5))))
    (if (i32.eq (local.get $what) (i32.const 4)) (then (throw $other (i32.const 41))))
    (if (i32.eq (local.get $what) (i32.const 5)) (then unreachable))
    (i32.const 7))
  (func $seen (export "seen") (result i32) (global.get $seen))

  (func (export "inner") (param $what i32) (result i32)
    (block $one (result i32)
      (try_table (result i32) (catch $one $one) (call $do (local.get $what)))))

  (func (export "nested") (param $what i32) (result i32) (local $f f64)
    (block $all
      (block $two (result i32 f64)
        (block $one (result i32)
          (try_table (catch_all $all)
            (local.set 0 (i32.add (local.get 0) (i32.const 0)))
            (try_table (catch $one $one) (catch $two $two)
              (drop (call $do (local.get $what)))
              (local.set $f (f64.mul (f64.const 1.5) (f64.convert_i32_u (call $do (local.get $what))))))
            (return (i32.add (i32.const 100) (call $do (i32.const 0)))))
          (return (i32.trunc_f64_s (local.get $f))))
        (return (i32.add (i32.const 1000))))
      (return (i32.add (i32.trunc_f64_s) (i32.const 10000))))
    (i32.const -1))

  ;; What a call would have written stays as it was where it throws.
  (func (export "kept") (param $what i32) (result i32) (local $found i32) (local $never i32)
    (local.set $found (i32.const 50))
    (block $all
      (try_table (catch_all $all)
        (local.set $found (call $do (local.get $what)))
        (local.set $never (call $do (i32.const 0)))))
    (i32.add (local.get $found) (i32.mul (local.get $never) (i32.const 256))))

  ;; Operands below the label of a clause.
  (func (export "below") (param $what i32) (result i32)
    (i32.load8_u (i32.const 0))
    (i32.const 3)
    (block $one (result i32)
      (try_table (result i32) (catch $one $one)
        (i32.sub (i32.add (local.get $what) (i32.const 9)) (call $do (local.get $what)))))
    (i32.add) (i32.add))

  (func (export "again") (param $what i32) (result i32) (local $caught exnref)
    (block $out (result i32)
      (try_table (result i32) (catch $one $out) (catch $other $out)
        (block $ref (result exnref)
          (try_table (result exnref) (catch_all_ref $ref)
            (drop (call $do (local.get $what)))
            (ref.null exn)))
        (local.tee $caught)
        (throw_ref))))

  (func (export "with reference") (param $what i32) (result i32)
    (block $out (result i32)
      (try_table (result i32) (catch $one $out)
        (block $ref (result i32 exnref)
          (try_table (result i32 exnref) (catch_ref $other $ref)
            (call $do (local.get $what))
            (ref.null exn)))
        (drop))))

  ;; Within one function, and turns of a loop within and around.
  (func (export "turns") (param $n i32) (result i32) (local $sum i32)
    (local.set $n (i32.add (local.get $n) (i32.const 12)))
    (loop $again
      (block $next
        (block $one (result i32)
          (try_table (catch $one $one) (catch $none $next)
            (if (i32.and (local.get $n) (i32.const 1)) (then (throw $one (local.get $n))))
            (if (i32.and (local.get $n) (i32.const 2)) (then (throw $none)))
            (loop $inner
              (local.set $sum (i32.add (local.get $sum) (i32.const 1)))
              (br_if $inner (i32.lt_u (local.get $sum) (i32.const 5))))
            (local.set $sum (i32.add (local.get $sum) (call $do (i32.rem_u (local.get $n) (i32.const 3))))))
          (br $next))
        (local.set $sum (i32.add (local.get $sum))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))
)
"""


def outcomes(text: str, times: int, fuel: int | None, imports: Any = None) -> list[Any]:
    found: list[Any] = []
    with hot_after(times):
        within = store(consume_fuel=fuel is not None)
        if fuel is not None:
            within.set_fuel(fuel)
        wasm = exports(text, imports, within=within)
        for name in wasm:
            call = wasm[name]
            if not callable(call) or name == "seen":
                continue
            for what in (0, 1, 2, 3, 4, 5, 0, 9, 2):
                found.append((name, what, outcome(lambda: call(what))))  # noqa: B023
                if fuel is not None:
                    found.append(within.get_fuel())
        if fuel is not None:
            within.set_fuel(100)
        found.append(wasm.seen())
    return found


@pytest.mark.parametrize("fuel", [None, 1_000_000])
def test_what_is_caught_is_as_on_the_reference(fuel: int | None) -> None:
    found = [outcomes(CATCHES, times, fuel) for times in TIMES]
    assert all(each == found[0] for each in found[1:])
    assert ("inner", 2, 21) in found[0] and ("nested", 3, 10002) in found[0]


def test_fuel_ends_at_the_same_place() -> None:
    for fuel in range(1, 400, 31):
        found = [outcomes(CATCHES, times, fuel) for times in (COLD, -1)]
        assert found[0] == found[1], fuel


def test_functions_with_handlers_are_translated() -> None:
    with hot_after(-1):
        wasm = exports(CATCHES)
        for name in ("inner", "nested", "kept", "below", "again", "with reference", "turns"):
            outcome(lambda: wasm[name](2))  # noqa: B023
            raw = wasm[name].func._raw
            assert raw.fast is not None and tier.of(raw).names[f"f{raw.index}"] is raw.fast, name
