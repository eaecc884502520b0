"""Hot functions that are called back by host functions: values, exceptions, depth and order are as they are
on the reference, whichever way a call goes in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from fuzz.hot import AT_ONCE, hot_after
from tests.tinywasm.test_source_hosts import PASSED, RETURNED, ended, same_when_hot
from tests.tinywasm.test_source_tier import exports, store
from tinywasm import Val

# What a host function does while a hot function waits for it, and what it calls.
BACK = """
(module
  (import "h" "f" (func $f))
  (tag $t (param i32))
  (global $seen (mut i32) (i32.const 0))
  (func (export "out") (call $f))
  (func $deep (export "deep") (param i32) (result i32)
    (if (result i32) (local.get 0)
      (then (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))
      (else (i32.const 0))))
  (func (export "throw") (param i32) (throw $t (local.get 0)))
  (func (export "trap") (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
  (func (export "nothing") (global.set $seen (i32.add (global.get $seen) (i32.const 1))))
  (func (export "several") (param i32) (result i32 i32) (local.get 0) (local.get 0))
  {more})
"""
# So often that the way in is known, and leads there.
TIMES = 4


def called_back(calls: Callable[[Any], list[Callable[[], Any]]], more: str = "", **config: Any) -> list[Any]:
    """What calls give that a host function makes: first they are chosen among the exports."""
    found: list[Any] = []
    wasm: Any = exports(
        BACK.format(more=more),
        {"h": {"f": lambda: found.extend(ended(call) for call in calls(wasm) for _ in range(TIMES))}},
        within=store(**config),
    )
    for _ in range(2):
        wasm.out()
    return [repr(each) for each in found]


@pytest.mark.parametrize("type", PASSED)
def test_arguments_and_results(type: str) -> None:
    values = [*PASSED[type], *RETURNED, Val.i32(-3), Val.f64(0.5)]
    same_when_hot(
        lambda: called_back(
            lambda wasm: [partial(wasm.same, value) for value in values],
            f'(func (export "same") (param {type}) (result {type}) (local.get 0))',
        )
    )


def test_arguments_too_many_or_too_few() -> None:
    same_when_hot(
        lambda: called_back(
            lambda wasm: [
                partial(getattr(wasm, name), *args)
                for name in ("deep", "nothing", "throw", "trap", "several")
                for args in ((), (0,), (1,), (1, 2))
            ]
        )
    )


@pytest.mark.parametrize("most", [2, 20, 40, 60, 10_000])
def test_depth(most: int) -> None:
    same_when_hot(
        lambda: called_back(
            lambda wasm: [partial(wasm.deep, depth) for depth in (0, 10, most - 2, most - 1, most, 1_000)],
            max_call_depth=most,
        )
    )


def test_frames_of_the_host_function_between() -> None:
    """The way in is found again where a call comes from deeper in Python's stack, or from less deep."""

    def after(frames: int, call: Callable[[], Any]) -> Any:
        return after(frames - 1, call) if frames else call()

    same_when_hot(
        lambda: called_back(
            lambda wasm: [
                partial(after, frames, partial(wasm.deep, depth))
                for frames in (0, 3, 40, 0, 200, 1)
                for depth in (3, 300)
            ]
        )
    )


def test_another_thread_is_kept_out() -> None:
    def elsewhere(call: Callable[[], Any]) -> Any:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(ended(call)))
        thread.start()
        thread.join()
        return found

    same_when_hot(
        lambda: called_back(
            lambda wasm: [partial(elsewhere, partial(call, 5)) for call in (wasm.deep, wasm.trap)]
        )
    )


def test_an_interruption_between() -> None:
    def found() -> list[Any]:
        within, seen = store(), []

        def host() -> None:
            for _ in range(TIMES):
                seen.append(ended(partial(wasm.deep, 5)))
            within.interrupt()
            seen.append(ended(partial(wasm.deep, 5)))
            seen.append(ended(partial(wasm.deep, 5)))

        wasm = exports(BACK.format(more=""), {"h": {"f": host}}, within=within)
        seen.extend(ended(wasm.out) for _ in range(2))
        return [repr(each) for each in seen]

    assert "interrupted" in str(same_when_hot(found))


def test_what_is_usual_goes_the_short_way() -> None:
    ways: list[bool] = []

    def short(function: Any) -> list[Callable[[], Any]]:
        entry = function.func._raw.entry
        return [lambda: ways.append(entry((5,)) == 5)]

    with hot_after(AT_ONCE):
        called_back(lambda wasm: [partial(wasm.deep, 5), *short(wasm.deep)] if wasm.deep(5) else [])
    assert ways[-1]
