"""Profiles: calls and instructions of each function."""

from __future__ import annotations

import contextlib

import pytest

import tinywasm
from tinywasm import Config, Engine, Store, Trap
from tinywasm.engine import native_available
from tinywasm.raw import Profile


def profiled(
    text: str, name: str, *args: int, engine: str = "python", fuel: int | None = None
) -> dict[str, tuple[int, int, int | None]]:
    store = Store(Engine(Config(engine=engine, consume_fuel=fuel is not None)))
    store.profile = profile = Profile()
    if fuel is not None:
        store.set_fuel(fuel)
    exports = tinywasm.instantiate(text, store=store).exports
    with contextlib.suppress(Trap):
        exports[name](*args)
    if fuel is not None:
        assert fuel - store.get_fuel() == sum(record.own for record in profile.records())
    return {record.func.name or "": (record.calls, record.own, record.total) for record in profile.records()}


FIB = """(module
  (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                     (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  (func $main (export "main") (result i32) (drop (call $leaf)) (call $fib (i32.const 5)))
  (func $leaf (result i32) (i32.const 1))
  (func $unused))
"""


def test_recursion_counts_once_in_the_total() -> None:
    assert profiled(FIB, "main") == {
        "fib": (15, 8 * 5 + 7 * 13, 8 * 5 + 7 * 13),
        "main": (1, 4, 4 + 1 + 8 * 5 + 7 * 13),
        "leaf": (1, 1, 1),
    }


def test_instructions_are_those_that_fuel_pays_for() -> None:
    profiled(FIB, "main", fuel=10_000)
    assert profiled(FIB, "main", fuel=10_000)["fib"][1] == profiled(FIB, "main")["fib"][1]


def test_running_out_of_fuel_leaves_what_was_done() -> None:
    records = profiled(FIB, "main", fuel=40)
    assert records["fib"][0] > 1
    assert records["main"][2] == sum(own for _, own, _ in records.values())


def test_a_tail_call_ends_the_caller() -> None:
    text = """(module
      (func $a (export "a") (call $b))
      (func $b (return_call $c))
      (func $c nop nop))"""
    assert profiled(text, "a") == {"a": (1, 1, 4), "b": (1, 1, 1), "c": (1, 2, 2)}


def test_a_caught_exception_ends_what_it_leaves() -> None:
    text = """(module (tag $t)
      (func $a (export "a") (block $out (try_table (catch $t $out) (call $b))) nop nop)
      (func $b (call $c))
      (func $c (throw $t)))"""
    assert profiled(text, "a") == {"a": (1, 5, 7), "b": (1, 1, 2), "c": (1, 1, 1)}


def test_host_functions_may_call_back() -> None:
    store = Store(Engine(Config(engine="python")))
    store.profile = Profile()
    box: list[tinywasm.Exports] = []
    imports = {"env": {"back": lambda: box[0].inner()}}
    text = """(module (import "env" "back" (func $h))
      (func $inner (export "inner") nop)
      (func $outer (export "outer") (call $h) nop))"""
    box.append(tinywasm.instantiate(text, imports, store=store).exports)
    box[0].outer()
    records = {record.func.name: (record.own, record.total) for record in store.profile.records()}
    assert records == {"outer": (2, 3), "inner": (1, 1)}


def test_without_a_profile_nothing_is_counted() -> None:
    store = Store(Engine(Config(engine="python")))
    tinywasm.instantiate(FIB, store=store).exports.main()
    assert store.profile is None


def test_records_are_sorted_by_their_own_instructions() -> None:
    own = [entry[1] for entry in profiled(FIB, "main").values()]
    assert own == sorted(own, reverse=True)


@pytest.mark.skipif(not native_available, reason="the native engine is not built")
@pytest.mark.parametrize("fuel", [None, 10_000, 60])
def test_engines_agree_but_native_does_not_follow_calls(fuel: int | None) -> None:
    native = profiled(FIB, "main", engine="native", fuel=fuel)
    python = profiled(FIB, "main", engine="python", fuel=fuel)
    assert native == {name: (calls, own, None) for name, (calls, own, _) in python.items()}
