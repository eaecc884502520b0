"""What the instances of one module share on the native engine: the code of its functions."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

import tinywasm
from tinywasm import Config, Engine, Instance, Module, Store, Trap
from tinywasm.engine import native_available
from tinywasm.raw import Profile

pytestmark = pytest.mark.skipif(not native_available, reason="the native engine is not built")

TEXT = """
    (module
      (import "h" "next" (func $next (param i32) (result i32)))
      (memory (export "memory") 1)
      (global $calls (mut i32) (i32.const 0))
      (func $first (export "first") (param i32) (result i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.add (i32.load (i32.const 0)) (call $next (local.get 0))))
      (func $second (export "second") (param i32) (result i32)
        (nop) (i32.div_u (i32.const 100) (local.get 0)))
      (func (export "calls") (result i32) (global.get $calls)))"""


@pytest.fixture
def module() -> Module:
    return Module(Engine(Config(engine="native")), TEXT)


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices of the functions that are lowered from now on."""
    from tinywasm.engine.native import backend, select

    indices: list[int] = []
    lower = select.lower

    def counted(context: Any, index: int, *args: Any, **options: Any) -> Any:
        indices.append(index)
        return lower(context, index, *args, **options)

    monkeypatch.setattr(backend, "lower", counted)
    return indices


def instantiate(store: Store, module: Module, next: Any) -> Any:
    if not isinstance(next, tinywasm.Func):
        type = module.imports[0].type
        assert isinstance(type, tinywasm.FuncType)
        next = tinywasm.Func(store, type, next)
    return Instance(store, module, [next]).exports


def test_a_function_is_lowered_once_for_all_instances(module: Module, lowered: list[int]) -> None:
    one = instantiate(Store(module.engine), module, lambda n: n)
    assert one.first(3) == 3 and lowered == [1]
    again = instantiate(Store(module.engine), module, lambda n: n + 1)
    same_store = instantiate(one.first.func._store, module, lambda n: n + 2)
    assert again.first(3) == 4 and same_store.first(3) == 5 and lowered == [1]
    assert again.second(4) == one.second(4) == 25 and lowered == [1, 2]


def test_instances_keep_their_own_imports_memories_and_globals(module: Module) -> None:
    made = []
    for factor in range(1, 5):
        exports = instantiate(Store(module.engine), module, lambda n, factor=factor: n * factor)
        exports.memory[0] = 10 * factor
        made.append(exports)
    for _ in range(2):
        assert [exports.first(7) for exports in made] == [17, 34, 51, 68]
    made[2].first(0)
    assert [exports.calls() for exports in made] == [2, 2, 3, 2]


def test_metered_and_unmetered_stores_have_code_of_their_own(module: Module, lowered: list[int]) -> None:
    metered, unmetered = Store(Engine(Config(engine="native", consume_fuel=True))), Store(module.engine)
    metered.set_fuel(100)
    for _ in range(2):
        assert instantiate(unmetered, module, lambda n: n).second(5) == 20
        assert instantiate(metered, module, lambda n: n).second(5) == 20
    # Four instructions a call.
    assert metered.get_fuel() == 92
    assert lowered == [2, 2]
    metered.set_fuel(2)
    exports = instantiate(metered, module, lambda n: n)
    with pytest.raises(tinywasm.OutOfFuel):
        exports.second(5)


def test_a_profile_counts_for_its_store_alone(module: Module) -> None:
    assert instantiate(Store(module.engine), module, lambda n: n).second(5) == 20
    profiles = []
    for calls in (2, 3):
        store = Store(module.engine)
        store.profile = Profile()
        exports = instantiate(store, module, lambda n: n)
        for _ in range(calls):
            exports.second(5)
        profiles.append(store.profile)
    counts = [[record.calls for record in profile.records()] for profile in profiles]
    assert counts == [[2], [3]]


def test_a_backtrace_goes_through_the_instances_in_turn(module: Module) -> None:
    store = Store(module.engine)
    inner = instantiate(store, module, lambda n: n)
    outer = instantiate(store, module, inner.second.func)
    outer.memory[0] = 1
    assert outer.first(50) == 3
    with pytest.raises(Trap, match="divide by zero") as caught:
        outer.first(0)
    assert [frame.func_name for frame in caught.value.frames] == ["second", "first"]
    assert [frame.func_index for frame in caught.value.frames] == [2, 1]


def test_threads_with_stores_of_their_own_share_code(lowered: list[int]) -> None:
    count, threads = 200, 4
    funcs = "\n".join(
        f'(func (export "f{n}") (param i32) (result i32) (i32.add (local.get 0) (i32.const {n})))'
        for n in range(count)
    )
    module = Module(Engine(Config(engine="native")), f"(module {funcs})")
    results: list[list[int]] = []
    barrier = threading.Barrier(threads)

    def run() -> None:
        exports = Instance(Store(module.engine), module, []).exports
        barrier.wait(30)
        results.append([exports[f"f{n}"](1000) for n in range(count)])

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    assert results == [[1000 + n for n in range(count)]] * threads
    # Two may have begun the same one at once.
    assert set(lowered) == set(range(count))
    exports = Instance(Store(module.engine), module, []).exports
    lowered.clear()
    assert exports.f7(1) == 8 and not lowered


def test_literals_are_no_code(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinywasm.engine.native import backend, select

    evaluated: list[Any] = []
    lower_constant = select.lower_constant

    def counted(context: Any, expr: Any, type: Any) -> Any:
        evaluated.append(type)
        return lower_constant(context, expr, type)

    monkeypatch.setattr(backend, "lower_constant", counted)
    text = """(module (memory 1) (data (i32.const 8) "a") (data (offset i32.const 65535) "b")
        (global (export "low") i32 (i32.const -1)) (global (export "high") i64 (i64.const -2))
        (global (export "sum") i32 (i32.add (i32.const -1) (i32.const 3)))
        (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0))))"""
    store = Store(module.engine)
    exports = Instance(store, Module(module.engine, text), []).exports
    assert [exports.load(8), exports.load(65535)] == [ord("a"), ord("b")]
    assert [exports[name].value(store) for name in ("low", "high", "sum")] == [-1, -2, 2]
    assert evaluated == [tinywasm.ValType.i32()]


def test_code_lives_as_long_as_its_module_or_an_instance() -> None:
    from tinywasm.engine.native import _loop

    def alive() -> int:
        gc.collect()
        return sum(type(each) is _loop.NativeModule for each in gc.get_objects())

    before = alive()
    module = Module(Engine(Config(engine="native")), TEXT)
    exports = instantiate(Store(module.engine), module, lambda n: n)
    assert exports.second(4) == 25 and alive() == before + 1
    del module
    assert alive() == before + 1 and exports.first(4) == 4
    del exports
    assert alive() == before
