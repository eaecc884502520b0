"""Tail calls in hot functions of the python engine: nothing grows, and all is as on the reference."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import tinywasm
from fuzz.hot import AT_ONCE, hot_after
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_compiled_tail_calls import NAMES, TEXT
from tests.tinywasm.test_source_tier import COLD, exports, store
from tinywasm import Interrupted, Store


def tailing(within: Store | None = None) -> Any:
    def more(number: int, _: int) -> int:
        if number == 4:
            raise tinywasm.Trap("of the host's")
        return number

    imports = {"h": {"f": lambda _, how: 10 * how, "more": more}}
    return exports(TEXT, imports, within=within or store(max_call_depth=20))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hot", [AT_ONCE, 3, 50])
def test_many_tail_calls_grow_nothing(name: str, hot: int) -> None:
    with hot_after(hot):
        assert tailing()[name](20_000, 6) == 60 + 10 * (name == "results")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fuel", [None, 2_000, 100])
def test_what_ends_in_a_tail_call_is_the_same(name: str, fuel: int | None) -> None:
    found = []
    for hot in (COLD, AT_ONCE, 0, 5):
        with hot_after(hot):
            got: list[Any] = []
            within = store(max_call_depth=20, consume_fuel=fuel is not None)
            if fuel is not None:
                within.set_fuel(1_000_000)
            function = tailing(within)[name]
            for how in range(8):
                for depth in (0, 1, 2, 100):
                    if fuel is not None:
                        within.set_fuel(fuel)
                    got.append(outcome(partial(function, depth, how)))
                    got.append(fuel is not None and within.get_fuel())
            found.append(got)
    assert found[1:] == found[:1] * 3


# Three functions in a ring, one of which counts, and a host function that is asked at each turn.
RING = """
(module
  (import "h" "f" (func $host (param i32)))
  (type $t (func (param i32 i32) (result i32)))
  (table funcref (elem $a $b $c))
  (func $a (export "a") (type $t)
    (call $host (local.get 0))
    (return_call $b (local.get 0) (i32.add (local.get 1) (i32.const 1))))
  (func $b (type $t)
    (return_call_indirect (type $t) (local.get 0) (local.get 1) (i32.const 2)))
  (func $c (type $t)
    (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
    (return_call $a (i32.sub (local.get 0) (i32.const 1)) (local.get 1)))
  (func (export "call") (param i32) (result i32)
    (i32.add (i32.const 1) (call $a (local.get 0) (i32.const 0)))))
"""


@pytest.mark.parametrize("hot", [AT_ONCE, 10])
@pytest.mark.parametrize("name", ["a", "call"])
def test_polls_between_leave_nothing_behind(hot: int, name: str) -> None:
    """The reference takes over at each poll, and gives back at the next tail call."""
    within = store()

    def host(number: int) -> None:
        within.set_deadline(1_000)
        if number == 3:
            within.interrupt()

    with hot_after(hot):
        wasm = exports(RING, {"h": {"f": host}}, within=within)
        args = (5_003, 0) if name == "a" else (5_003,)
        with pytest.raises(Interrupted):
            wasm[name](*args)
        within.set_deadline(None)
        assert wasm[name](*((2, 0) if name == "a" else (2,))) == 3 + (name == "call")


CATCHING = """
(module
  (tag $t (param i32))
  (func $throw (param i32) (result i32) (if (local.get 0) (then (throw $t (local.get 0)))) (i32.const 1))
  (func $tail (param i32) (result i32)
    (block $out (result i32)
      (try_table (result i32) (catch $t $out) (return_call $throw (local.get 0)))))
  (func (export "outer") (param i32) (result i32)
    (block $out (result i32)
      (try_table (result i32) (catch $t $out) (i32.add (i32.const 10) (call $tail (local.get 0)))))))
"""


@pytest.mark.parametrize("hot", [COLD, AT_ONCE])
def test_handlers_around_a_tail_call_catch_nothing(hot: int) -> None:
    with hot_after(hot):
        wasm = exports(CATCHING)
        assert [wasm.outer(5), wasm.outer(0), wasm.outer(7)] == [5, 11, 7]
