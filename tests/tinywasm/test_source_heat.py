"""When a function of the python engine is worth translating."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from tests.tinywasm.test_source_tier import exports, store
from tinywasm.engine.python.bind import Code
from tinywasm.engine.source.tier import Tier
from tinywasm.runtime.func import FuncInstance

# A way into a function: its index, and whether it leads to the head of a loop.
_Way = tuple[int, bool]


@contextmanager
def ways_made() -> Iterator[list[_Way]]:
    """The ways that are made while it lasts."""
    ways: list[_Way] = []
    make = Tier._made

    def made(tier: Tier, func: FuncInstance, code: Code, block: int | None) -> Any:
        ways.append((func.index, block is not None))
        return make(tier, func, code, block)

    with patch.object(Tier, "_made", made):
        yield ways


def adding(times: int) -> str:
    """A function that adds one so many times to its argument, and one that calls it as often as told."""
    more = "(local.set 0 (i32.add (local.get 0) (i32.const 1)))" * times
    return f"""(module
      (func $add (param i32) (result i32) {more} (local.get 0))
      (func (export "call") (param $n i32) (result i32) (local $found i32)
        (loop $again
          (local.set $found (call $add (local.get $found)))
          (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $found)))"""


@pytest.mark.parametrize(("times", "calls", "hot"), [(1, 90, False), (1, 110, True), (500, 900, False)])
def test_large_functions_are_hot_later(times: int, calls: int, hot: bool) -> None:
    wasm = exports(adding(times))
    with ways_made() as ways:
        assert wasm.call(calls) == times * calls
    assert ((0, False) in ways) == hot


LOOP = """(module (func (export "count") (param $n i32) (result i32) (local $found i32)
  (loop $again
    (local.set $found (i32.add (local.get $found) (local.get $n)))
    (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
  (local.get $found)))"""


def test_a_loop_that_ends_soon_is_not_entered_in_its_middle() -> None:
    wasm = exports(LOOP)
    with ways_made() as ways:
        assert [wasm.count(50) for _ in range(20)] == [1275] * 20
        assert ways == [(0, False)]


def test_a_loop_that_goes_on_is_entered_in_its_middle() -> None:
    wasm = exports(LOOP)
    with ways_made() as ways:
        assert wasm.count(1000) == 500500
        assert ways == [(0, True)]
        assert wasm.count(1000) == 500500
        assert ways == [(0, True), (0, False)]


def test_a_large_loop_that_cannot_be_entered_goes_on() -> None:
    """One turn counts for more calls than after which it is asked again."""
    more = "(local.set $found (i32.add (local.get $found) (i32.const 1)))" * 7_000
    text = LOOP.replace("(local.set $found (i32.add (local.get $found) (local.get $n)))", more)
    assert exports(text, within=store(max_call_depth=5)).count(100) == 700_000
