"""Hot functions call host functions as the reference does: values, exceptions, depth and backtraces."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import tinywasm
from fuzz.hot import AT_ONCE, hot_after
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_source_tier import COLD, exports, store
from tinywasm import Func, FuncType, Interrupted, StackExhausted, Tag, TagType, ValType, WasmException

BITS = {"i32": 32, "i64": 64}
PASSED = {
    "i32": (0, 1, -1, 1 << 31, (1 << 31) - 1, (1 << 32) - 1),
    "i64": (0, 1, -1, 1 << 63, (1 << 63) - 1, (1 << 64) - 1, 1 << 31, 1 << 32),
    "f32": (0.0, -0.0, 1.5, float("inf"), float("nan")),
    "f64": (0.0, -0.0, 0.1, float("-inf"), float("nan")),
}


class Index:
    """An integer of somebody else's making."""

    def __index__(self) -> int:
        return -7


RETURNED: list[Any] = [
    *(sign * (1 << bits) + more for bits in (31, 32, 63, 64) for sign in (-1, 1) for more in (-1, 0, 1)),
    *(0, True, Index(), 1.5, -0.0, 1e300, float("nan"), None, "5", [], (1, 2), [3], b"ab"),
]

# By name and by reference.
CALLS = """
(module
  (type $t (func (param {params}) (result {results})))
  (import "h" "f" (func $f (type $t)))
  (table funcref (elem $f))
  (func (export "name") (param {params}) (result {results}) {gets} (call $f))
  (func (export "reference") (param {params}) (result {results})
    {gets} (call_indirect (type $t) (i32.const 0))))
"""


def calling(params: str, results: str, host: Callable[..., Any]) -> Any:
    gets = " ".join(f"(local.get {place})" for place, _ in enumerate(params.split()))
    return exports(CALLS.format(params=params, results=results, gets=gets), {"h": {"f": host}})


def ended(call: Callable[[], Any]) -> Any:
    """As `outcome`, for any error."""
    try:
        return outcome(call)
    except Exception as error:
        return type(error).__name__, str(error)


def same_when_hot(found: Callable[[], Any]) -> Any:
    """What is found with no hot functions, which is found with hot ones."""
    outcomes = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            outcomes.append(found())
    assert repr(outcomes[0]) == repr(outcomes[1])
    return outcomes[0]


@pytest.mark.parametrize("by", ["name", "reference"])
@pytest.mark.parametrize("type", PASSED)
def test_a_host_function_sees_the_same_arguments(type: str, by: str) -> None:
    def found() -> list[Any]:
        seen: list[Any] = []
        wasm = calling(f"{type} {type}", "", lambda *args: seen.append(args))
        for value in PASSED[type]:
            wasm[by](value, PASSED[type][-1])
        return seen

    assert len(same_when_hot(found)) == len(PASSED[type])


@pytest.mark.parametrize("by", ["name", "reference"])
@pytest.mark.parametrize("results", ["", *PASSED, "v128", "externref", "i32 f64"])
def test_what_a_host_function_returns_is_checked(results: str, by: str) -> None:
    def found() -> list[Any]:
        returned = iter(RETURNED)
        wasm = calling("", results, lambda: next(returned))
        return [ended(wasm[by]) for _ in RETURNED]

    same_when_hot(found)


def test_exceptions_of_host_functions() -> None:
    """Those that Wasm catches, one that does not fit its tag, and one that is not Wasm's."""
    text = """
    (module
      (import "h" "t" (tag $t (param i32)))
      (import "h" "f" (func $f (param i32) (result i32)))
      (func $call (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 100)))
      (func (export "leave") (param i32) (result i32) (call $call (local.get 0)))
      (func (export "catch") (param i32) (result i32)
        (block $out (result i32) (try_table (result i32) (catch $t $out) (call $call (local.get 0))))))
    """

    def found() -> list[Any]:
        within = store()
        tag = Tag(within, TagType(FuncType([ValType.i32()], [])))
        raised = [WasmException(tag, [-5]), WasmException(tag, []), WasmException(tag, ["x"]), KeyError(5)]
        raised += [RecursionError("own"), StackExhausted(), Interrupted()]

        def host(number: int) -> int:
            if number < len(raised):
                raise raised[number]
            return number

        wasm = exports(text, {"h": {"t": tag, "f": host}}, within=within)
        calls = [wasm.leave, wasm.catch]
        got = [ended(partial(call, number)) for call in calls for number in range(len(raised) + 1)]
        return [[repr(each) for each in got], [str(each.__traceback__ is None) for each in raised]]

    same_when_hot(found)


# From hot code by way of a host function to an export, a function of a table, and back.
INVOKES = """
(module
  (import "h" "invoke" (func $invoke (param i32 i32) (result i32)))
  (table (export "table") funcref (elem $leaf $down $trap))
  (global (export "count") (mut i32) (i32.const 0))
  (func $leaf (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func $down (export "down") (param i32) (result i32)
    (global.set 0 (i32.add (global.get 0) (i32.const 1)))
    (if (result i32) (local.get 0)
      (then (i32.add (i32.const 1) (call $invoke (i32.const 1) (i32.sub (local.get 0) (i32.const 1)))))
      (else (call $invoke (i32.const 0) (local.get 0)))))
  (func $trap (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0)))
  (func (export "trapping") (param i32) (result i32) (call $invoke (i32.const 2) (local.get 0)))
  (func (export "turns") (param $n i32) (result i32) (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (call $invoke (i32.const 0) (local.get $n))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)))
"""


def invoking(**config: Any) -> Any:
    within = store(**config)
    wasm: Any = exports(
        INVOKES,
        {"h": {"invoke": lambda index, *args: wasm.table.get(within, index)(within, *args)}},
        within=within,
    )
    return wasm


def test_calls_that_go_out_and_come_back() -> None:
    wasm = invoking()
    for _ in range(3):
        assert wasm.turns(500) == 500 * 501 // 2 + 500
        assert wasm.down(30) == 31


@pytest.mark.parametrize("most", [5, 17, 40, 90])
def test_they_are_as_deep(most: int) -> None:
    def found() -> list[Any]:
        wasm = invoking(max_call_depth=most)
        return [(ended(partial(wasm.down, 80)), wasm.count.value(wasm.count._store)) for _ in range(3)]

    same_when_hot(found)


def test_a_trap_behind_a_host_function_shows_all_frames() -> None:
    def found() -> list[Any]:
        wasm = invoking()
        with pytest.raises(tinywasm.Trap) as caught:
            wasm.trapping(0)
        return [(frame.func_index, frame.func_offset) for frame in caught.value.frames]

    assert len(same_when_hot(found)) == 2


def test_host_functions_see_who_calls() -> None:
    def found() -> list[Any]:
        within, seen = store(), []
        type = FuncType([ValType.i32()], [ValType.i32()])

        def host(caller: Any, number: int) -> int:
            seen.append((number, sorted(["x", "y"], key=lambda name: caller.get(name) is None)[0]))
            return number + 1

        func = Func(within, type, host, access_caller=True)
        text = """(module (import "h" "f" (func $f (param i32) (result i32))) (table funcref (elem $f))
            (global (export "{name}") i32 (i32.const 0))
            (func (export "f") (param i32) (result i32) (call $f (local.get 0)))
            (func (export "g") (param i32) (result i32)
              (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0))))"""
        both = [exports(text.format(name=name), {"h": {"f": func}}, within=within) for name in "xy"]
        return [*(each[name](number) for number in (1, -1) for each in both for name in "fg"), seen]

    assert same_when_hot(found)[:4] == [2, 2, 2, 2]


def test_a_function_runs_on_while_another_store_is_called() -> None:
    """Each counts on what the other one left of Python's stack."""
    first = exports('(module (func (export "f") (param i32) (result i32) (local.get 0)))')
    other = invoking()
    text = """(module (import "h" "f" (func $f (param i32) (result i32)))
        (func (export "f") (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1))))"""
    call = first.f
    for _ in range(40):
        call = exports(text, {"h": {"f": partial(lambda below, number: below(number), call)}}).f
    assert call(5) == 45 and other.down(40) == 41
