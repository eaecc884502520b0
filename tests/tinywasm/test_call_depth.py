"""How deep calls go, and that it is as deep on every engine: the rule stands in `engine/recursion.py`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinywasm
from fuzz.hot import AT_ONCE, hot_after
from tests.engines import COMPILED, ENGINES, compiles, configured, needs_llvm
from tinywasm import Config, Engine, StackExhausted, Store
from tinywasm.engine.recursion import STACK_SLOTS

# The python engine, where each function becomes a Python function before its first call.
HOT = "python, hot"
LANES = [*ENGINES, HOT, pytest.param(COMPILED, marks=needs_llvm)]

KINDS = (
    "call",
    "call_indirect",
    "call_ref",
    "host",
    "return_call",
    "return_call_indirect",
    "return_call_ref",
    "return_host",
)


@dataclass(frozen=True)
class Shape:
    """A function that calls the next one: how, with how many locals of one type, with how many operands of
    another one below the arguments, and how many when the call is over. It takes `params` numbers.
    """

    kind: str = "call"
    locals: int = 0
    local: str = "i64"
    below: int = 0
    behind: int = 0
    operand: str = "i64"
    params: int = 0
    guarded: bool = False


CONSTANT = {
    "i32": "(i32.const 7)",
    "i64": "(i64.const 7)",
    "f64": "(f64.const 7)",
    "v128": "(v128.const i64x2 7 7)",
}
WIDTH = {"i32": 1, "i64": 1, "f64": 1, "v128": 2}


def function(shape: Shape, number: int, following: int, params: int, results: int) -> str:
    """The function; the one that it calls takes `params` numbers, and each returns `results`."""
    target = {
        "call": f"(call $f{following})",
        "call_indirect": f"(call_indirect (type $t{following}) (i32.const {following}))",
        "call_ref": f"(call_ref $t{following} (ref.func $f{following}))",
        "host": f"(call $h{following})",
    }[shape.kind.replace("return_host", "host").removeprefix("return_")]
    if shape.kind.startswith("return_"):
        target = target.replace("(call", "(return_call", 1)
    call = "(i64.const 5)" * params + target
    if shape.guarded:
        call = f"(try_table (result {'i64 ' * results}) (catch $e $out) {call})"
    # A global's value lies on the stack, as a constant need not.
    get = f"(global.get ${shape.operand})"
    below = get * shape.below + call
    over = "(drop)" * (results + shape.below) + get * shape.behind + "(drop)" * shape.behind
    return f"""
        (func $f{number} (type $t{number}) (local {f"{shape.local} " * shape.locals})
          (global.set $count (i32.add (global.get $count) (i32.const 1)))
          (block $out {below} {over})
          {"(i64.const 1)" * results})"""


def module(shapes: list[Shape]) -> str:
    count, results = len(shapes), shapes[0].params
    types = "".join(
        f"(type $t{n} (func {'(param i64)' * shape.params} {'(result i64)' * results}))"
        for n, shape in enumerate(shapes)
    )
    hosts = "".join(f'(import "h" "{n}" (func $h{n} (type $t{n})))' for n in range(count))
    functions = "".join(
        function(shape, n, (n + 1) % count, shapes[(n + 1) % count].params, results)
        for n, shape in enumerate(shapes)
    )
    names = " ".join(f"$f{n}" for n in range(count))
    globals = "".join(f"(global ${type} (mut {type}) {constant})" for type, constant in CONSTANT.items())
    exports = "".join(f'(export "f{n}" (func $f{n}))' for n in range(count))
    return f"""(module {types} {hosts} {globals} (tag $e)
        (global $count (export "count") (mut i32) (i32.const 0))
        (table funcref (elem {names})) {exports} {functions})"""


def depth(shapes: list[Shape], engine: str, most: int, nested: int = 100) -> tuple[int, int]:
    """How often the functions are entered before the stack is exhausted, and how many frames the trap has."""
    with hot_after(AT_ONCE) if engine == HOT else nullcontext():
        return _depth(shapes, "python" if engine == HOT else engine, most, nested)


def _depth(shapes: list[Shape], engine: str, most: int, nested: int) -> tuple[int, int]:
    store = Store(Engine(configured(engine, max_call_depth=most, max_nested_calls=nested)))
    exports: Any

    def calling(number: int) -> Callable[..., Any]:
        return lambda *arguments: exports[f"f{number}"](*arguments)

    hosts = {str(number): calling(number) for number in range(len(shapes))}
    exports = tinywasm.instantiate(module(shapes), {"h": hosts}, store=store).exports
    with pytest.raises(StackExhausted) as caught:
        exports.f0(*[5] * shapes[0].params)
    return exports.count.value(store), len(caught.value.frames)


shapes = st.builds(
    Shape,
    kind=st.sampled_from(KINDS),
    locals=st.sampled_from([0, 1, 3, 300, 5_000, 70_000]),
    local=st.sampled_from(list(CONSTANT)),
    below=st.sampled_from([0, 0, 1, 5, 2_000]),
    behind=st.sampled_from([0, 0, 2, 600, 3_000]),
    operand=st.sampled_from(list(CONSTANT)),
    params=st.sampled_from([0, 0, 1, 3, 40]),
    guarded=st.booleans(),
)


def endless(cycle: list[Shape]) -> list[Shape]:
    """With a call that takes stack, and no guard around a call that is not one."""
    first = replace(cycle[0], kind=cycle[0].kind.replace("return_", ""))
    return [
        replace(shape, guarded=shape.guarded and not shape.kind.startswith("return_"))
        for shape in [first, *cycle[1:]]
    ]


@settings(max_examples=12, deadline=None)
@given(st.lists(shapes, min_size=1, max_size=3).map(endless), st.sampled_from([1, 7, 60, 2_000]))
def test_it_is_as_deep_on_every_engine(cycle: list[Shape], most: int) -> None:
    # Each call from a host function takes some of Python's stack, of which a test has not all.
    lanes = [*ENGINES, HOT, *[COMPILED] * compiles]
    assert len({depth(cycle, engine, most, 60) for engine in lanes}) == 1


@pytest.mark.parametrize("engine", LANES)
@pytest.mark.parametrize(
    ("shape", "frame", "taken"),
    [
        (Shape(locals=50_000), 50_000, 50_000),
        (Shape(locals=50_000, local="v128"), 100_000, 100_000),
        (Shape(below=6_000, operand="v128"), 12_000, 12_000),
        (Shape(locals=6_000, behind=3_000), 9_000, 6_000),
        (Shape(locals=20_000, params=1_000), 22_000, 21_000),
        (Shape(locals=20_000, kind="call_ref"), 20_001, 20_000),
    ],
)
def test_all_frames_end_within_the_slots_of_a_stack(
    shape: Shape, frame: int, taken: int, engine: str
) -> None:
    """A frame takes `frame` slots while it is the last one, else `taken`: what is below the arguments."""
    # `global.set` has two operands.
    fitting = 1 + (STACK_SLOTS - max(frame, 2)) // taken
    assert depth([shape], engine, 10_000) == (fitting, fitting)


@pytest.mark.parametrize("engine", LANES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_depth_is_that_of_the_configuration(kind: str, engine: str) -> None:
    """What goes through host functions counts like any other call; tail calls within Wasm take no frame."""
    cycle = [Shape(), Shape(kind=kind, locals=2)]
    entered, frames = depth(cycle, engine, 40)
    assert (entered, frames) == ((79, 40) if kind.startswith("return_call") else (40, 40))


CALLS_A_HOST = '(module (import "h" "f" (func $f)) (func (export "f") (call $f)))'


def in_thread(stack: int, work: Callable[[], Any]) -> Any:
    """What `work` returns in a thread with a stack of so many bytes."""
    found: list[Any] = []
    restored = threading.Event()

    def run() -> None:
        # What compiles sets the size for a moment as well, and would restore this one for good.
        restored.wait()
        found.append(work())

    before = threading.stack_size(stack)
    try:
        thread = threading.Thread(target=run)
        thread.start()
    finally:
        threading.stack_size(before)
        restored.set()
    thread.join()
    assert threading.stack_size() == before
    return found[0]


@pytest.mark.parametrize("engine", LANES)
def test_calls_of_wasm_functions_take_nothing_of_a_small_stack(engine: str) -> None:
    cycle = [Shape(locals=3, behind=2), Shape(kind="call_indirect", guarded=True)]
    assert in_thread(128 << 10, lambda: depth(cycle, engine, 100_000)) == (100_000, 100_000)


@pytest.mark.parametrize("engine", LANES)
@pytest.mark.parametrize("nested", [0, 1, 5, 9, 70])
def test_calls_that_nest_are_those_of_the_configuration(nested: int, engine: str) -> None:
    """Each one enters both functions."""
    cycle = [Shape(), Shape(kind="host", params=1, below=2)]
    assert depth(cycle, engine, 1_000, nested) == (2 * nested, 2 * nested)


@pytest.mark.parametrize("engine", LANES)
@pytest.mark.parametrize("kind", ["host", "return_host"])
def test_as_many_nest_in_a_stack_of_256_kib(kind: str, engine: str) -> None:
    cycle = [Shape(kind="host"), Shape(kind=kind, locals=3)]
    assert in_thread(256 << 10, lambda: depth(cycle, engine, 10_000)) == (100, 100)


def calling(call: Callable[[], Any]) -> None:
    """A host function that calls one of another store."""
    call()


small_stacks = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a thread is not asked for its stack"
)


@small_stacks
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kib", [32, 48, 64, 96, 128])
def test_no_call_is_taken_that_a_small_stack_has_no_room_for(kib: int, engine: str) -> None:
    # No more than 100, or in a large stack Python's recursion limit would end them, within a call.
    entered, frames = in_thread(kib << 10, lambda: depth([Shape(kind="host")], engine, 10_000, 100))
    # A call takes more than 1 KiB. glibc may give a thread the stack of an ended one, up to 4 times as large.
    assert max(1, kib // 4 - 8) <= entered == frames < 4 * kib


@small_stacks
@pytest.mark.parametrize("engine", ENGINES)
def test_calls_of_many_stores_share_the_stack(engine: str) -> None:
    """Each store has one call."""

    def work() -> int:
        call: Callable[[], Any] = list
        for _ in range(300):
            store = Store(Engine(Config(engine=engine)))
            host = partial(calling, call)
            call = tinywasm.instantiate(CALLS_A_HOST, {"h": {"f": host}}, store=store).exports.f
        with pytest.raises(StackExhausted) as caught:
            call()
        return len(caught.value.frames)

    assert 8 <= in_thread(64 << 10, work) < 4 * 64
