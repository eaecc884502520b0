"""Time, fuel, threads and callers of a store."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any

import pytest

import tinywasm
from tinywasm import (
    Caller,
    Config,
    Engine,
    ExitTrap,
    Func,
    FuncType,
    Interrupted,
    Linker,
    Module,
    Store,
    Table,
    TableType,
    Trap,
    TrapCode,
    ValType,
    WasmError,
)

LOOP = '(module (func (export "loop") (loop (br 0))) (func (export "quick")))'


def _exports(store: Store, text: str = LOOP, imports: Any = None) -> tinywasm.Exports:
    return tinywasm.instantiate(text, imports, store=store).exports


def test_a_deadline_ends_calls_until_it_is_moved(store: Store) -> None:
    exports = _exports(store)
    # Not before it is compiled, which may take longer.
    exports.quick()
    store.set_deadline(0.05)
    exports.quick()
    with pytest.raises(Interrupted) as caught:
        exports.loop()
    assert caught.value.trap_code is TrapCode.INTERRUPT
    with pytest.raises(Interrupted):
        exports.quick()
    store.set_deadline(60)
    exports.quick()
    store.set_deadline(0)
    with pytest.raises(Interrupted):
        exports.quick()
    store.set_deadline(None)
    exports.quick()


def test_a_deadline_keeps_no_store_alive(make_store: Any) -> None:
    store = make_store()
    store.set_deadline(600)
    reference = weakref.ref(store)
    del store
    gc.collect()
    assert reference() is None


def test_a_host_function_may_move_the_deadline(store: Store) -> None:
    def longer() -> None:
        time.sleep(0.6)
        store.set_deadline(60)

    text = """
    (module (import "h" "longer" (func $longer))
      (func (export "run") (param i32) (call $longer)
        (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0)))))"""
    exports = _exports(store, text, {"h": {"longer": longer}})
    store.set_deadline(0.4)
    exports.run(5000)


def test_interrupt_before_a_call_ends_that_one_alone(store: Store) -> None:
    exports = _exports(store)
    store.interrupt()
    with pytest.raises(Interrupted):
        exports.quick()
    exports.quick()


def test_epochs_end_calls_of_all_stores_of_an_engine(make_store: Any) -> None:
    first = make_store()
    second = Store(first.engine)
    stores = [(store, _exports(store)) for store in (first, second)]
    first.set_epoch_deadline(1)
    second.set_epoch_deadline(2)
    first.engine.increment_epoch()
    with pytest.raises(Interrupted):
        stores[0][1].quick()
    stores[1][1].quick()
    timer = threading.Timer(0.05, first.engine.increment_epoch)
    timer.start()
    with pytest.raises(Interrupted):
        stores[1][1].loop()
    timer.join()
    first.set_epoch_deadline(1)
    stores[0][1].quick()


def test_epoch_interruption_needs_a_deadline(make_store: Any) -> None:
    store = make_store(epoch_interruption=True)
    exports = _exports(store)
    with pytest.raises(Interrupted):
        exports.quick()
    store.set_epoch_deadline(1)
    exports.quick()


def test_one_store_in_two_threads_is_an_error(store: Store) -> None:
    entered, finish = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        finish.wait(30)

    text = """
    (module (import "h" "wait" (func $wait))
      (func (export "wait") (call $wait)) (func (export "quick")))"""
    exports = _exports(store, text, {"h": {"wait": wait}})
    thread = threading.Thread(target=exports.wait)
    thread.start()
    entered.wait(30)
    try:
        with pytest.raises(WasmError, match="in use by another thread"):
            exports.quick()
    finally:
        finish.set()
        thread.join()
    exports.quick()


def test_many_threads_fight_for_a_store_without_harm(store: Store) -> None:
    text = """
    (module (func (export "count") (param i32) (result i32) (local i32)
      (loop (local.set 1 (i32.add (local.get 1) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get 1) (local.get 0))))
      (local.get 1)))"""
    exports = _exports(store, text)
    table = Table(store, TableType(ValType.externref(), tinywasm.Limits(1)), None)
    results: list[Any] = []

    def work(number: int) -> None:
        for turn in range(100):
            try:
                results.append(exports.count(500) == 500)
                table.grow(store, 1, [number, turn])
                assert table[0] is None
            except WasmError as error:
                results.append("another thread" in str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) >= 400 and all(results)
    assert exports.count(3) == 3


def test_fuel_is_seen_and_changed_by_a_caller(make_store: Any) -> None:
    store = make_store(consume_fuel=True)
    seen = []

    def look(caller: Caller) -> None:
        seen.append(caller.get_fuel())
        caller.set_fuel(50)

    linker = Linker(store.engine)
    linker.define_func("h", "look", FuncType(), look, access_caller=True)
    module = Module(
        store.engine, '(module (import "h" "look" (func $look)) (func (export "f") (call $look) (nop) (nop)))'
    )
    store.set_fuel(10)
    exports = linker.instantiate(store, module).exports
    exports.f()
    assert 0 < seen[0] < 10 and 40 < store.get_fuel() <= 50
    for wrong in (-1, 1 << 64):
        with pytest.raises(OverflowError):
            store.set_fuel(wrong)
    store.set_fuel((1 << 64) - 1)
    exports.f()


def test_the_caller_is_the_instance_that_calls(store: Store) -> None:
    names = []

    def name(caller: Caller) -> None:
        found = caller.get("name")
        names.append(found and found.value(caller))
        assert caller.store is store and caller.data() is None

    text = """
    (module (import "h" "name" (func $name))
      (global (export "name") i32 (i32.const {0}))
      (func (export "direct") (call $name))
      (func (export "tail") (return_call $name))
      (start {1}))"""
    host = Func(store, FuncType(), name, access_caller=True)
    one = _exports(store, text.format(1, 0), {"h": {"name": host}})
    two = _exports(store, text.format(2, 1), {"h": {"name": one["direct"]}})
    two.direct()
    two.tail()
    host(store)
    # The first is the start function itself, and the last a call from Python.
    assert names == [1, 1, 1, 1, None]


def test_instance_in_the_middle_is_the_caller_of_its_own_calls(store: Store) -> None:
    seen = []

    def outer(caller: Caller) -> None:
        inner_exports.run()
        seen.append(caller["who"].value(caller))

    def inner(caller: Caller) -> None:
        seen.append(caller["who"].value(caller))

    text = """
    (module (import "" "f" (func $f))
      (global (export "who") i32 (i32.const {})) (func (export "run") (call $f)))"""
    inner_exports = _exports(store, text.format(2), {"": {"f": Func(store, FuncType(), inner, True)}})
    _exports(store, text.format(1), {"": {"f": Func(store, FuncType(), outer, True)}}).run()
    assert seen == [2, 1]


def test_python_is_the_caller_also_within_a_call_of_a_host_function(store: Store) -> None:
    seen = []

    def look(caller: Caller) -> None:
        who = caller.get("who")
        seen.append(who and who.value(caller))

    def outer(caller: Caller) -> None:
        looking(store)
        inner_exports.run()
        look(caller)

    looking = Func(store, FuncType(), look, access_caller=True)
    text = """
    (module (import "" "f" (func $f))
      (global (export "who") i32 (i32.const {})) (func (export "run") (call $f)))"""
    inner_exports = _exports(store, text.format(2), {"": {"f": looking}})
    _exports(store, text.format(1), {"": {"f": Func(store, FuncType(), outer, True)}}).run()
    assert seen == [None, 2, 1]


def test_the_store_carries_data_of_the_embedder(make_store: Any) -> None:
    data = object()
    assert Store(make_store().engine, data).data() is data
    with pytest.raises(TypeError, match="expected an Engine"):
        Store(Config())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a Config"):
        Engine(Store())  # type: ignore[arg-type]


def test_gc_lets_go_of_python_objects(store: Store) -> None:
    class Thing:
        pass

    exports = _exports(store, '(module (func (export "drop") (param externref)))')
    thing = Thing()
    reference = weakref.ref(thing)
    exports.drop(thing)
    del thing
    store.gc()
    gc.collect()
    assert reference() is None
    Store().gc()


def test_configurations_are_copied_and_checked() -> None:
    config = Config()
    config.wasm_simd = True
    config.wasm_threads = False
    config.wasm_wide_arithmetic = True
    engine = Engine(config)
    config.consume_fuel = True
    assert engine.config.wide_arithmetic and not engine.config.consume_fuel
    with pytest.raises(ValueError, match="cannot be switched off"):
        config.wasm_gc = False
    with pytest.raises(ValueError, match="not supported"):
        config.wasm_threads = True
    with pytest.raises(AttributeError):
        config.cranelift_opt_level = "speed"


def test_traps_and_exits_as_wasmtime_names_them() -> None:
    assert Trap("boom").trap_code is None and Trap("boom").message == "boom"
    trap = Trap(TrapCode.UNREACHABLE)
    assert trap.trap_code is trap.code is TrapCode.UNREACHABLE and list(trap.frames) == []
    assert ExitTrap(3).code == ExitTrap(3).exit_code == 3 and isinstance(ExitTrap(3), tinywasm.WasmtimeError)
