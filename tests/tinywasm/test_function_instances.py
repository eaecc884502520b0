"""Functions of an instance, made when they are first asked for: each is one object to whoever asks."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.engines import ENGINES
from tinywasm import Config, Engine, Module, Store, Trap, wat2wasm
from tinywasm.instantiation import instantiate, invoke
from tinywasm.matching import define
from tinywasm.runtime.func import FuncInstance, host_function
from tinywasm.runtime.module_instance import ModuleInstance
from tinywasm.types import FUNCREF, I32, FuncType

SOURCE = """
    (module
      (import "h" "see" (func $see (param funcref)))
      (func $one (export "one") (result i32) (i32.const 1))
      (func $two (result i32) (i32.const 2))
      (func (export "again") (param i32) (result funcref) (table.get 0 (local.get 0)))
      (func (export "show") (call $see (ref.func $two)) (call $see (ref.func $see)))
      (func (export "twice") (result funcref funcref) (ref.func $one) (ref.func $one))
      (func (export "call") (param i32) (result i32) (call_indirect (result i32) (local.get 0)))
      (table (export "t") 8 funcref)
      (global (export "g") funcref (ref.func $two))
      (elem (i32.const 1) $two $one $see)
      (elem (i32.const 5) funcref (ref.func $one) (ref.null func) (item global.get 0))
      (elem $passive func $two $two)
      (func (export "init") (table.init $passive (i32.const 0) (i32.const 0) (i32.const 2)))
      (func (export "fail") (result i32) unreachable))"""


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest) -> Store:
    return Store(Engine(Config(engine=request.param)))


def made(store: Store, seen: list[Any] | None = None) -> ModuleInstance:
    found = [] if seen is None else seen

    def see(value: object) -> list[object]:
        found.append(value)
        return []

    module = Module(store.engine, wat2wasm(SOURCE))
    return instantiate(store, module, {"h": {"see": host_function(FuncType((FUNCREF,), ()), see)}})


def test_a_function_is_the_same_object_from_everywhere(store: Store) -> None:
    seen: list[Any] = []
    instance = made(store, seen)
    exports = instance.exports
    table, one, two = instance.tables[0], instance.funcs[1], instance.funcs[2]
    assert exports["one"] is one is table.get(2) is table.get(5)
    assert two is table.get(1) is instance.globals[0].value is table.get(7)
    assert table.get(6) is table.get(0) is None
    invoke(store, exports["show"], [])  # type: ignore[arg-type]
    assert seen == [two, instance.funcs[0]] and table.get(3) is instance.funcs[0]
    assert invoke(store, exports["twice"], []) == [one, one]  # type: ignore[arg-type]
    invoke(store, exports["init"], [])  # type: ignore[arg-type]
    assert table.get(0) is table.get(1) is two
    assert invoke(store, exports["again"], [2]) == [one]  # type: ignore[arg-type]
    assert invoke(store, exports["call"], [5]) == [1]  # type: ignore[arg-type]


def test_functions_are_a_sequence(store: Store) -> None:
    instance = made(store)
    funcs = instance.funcs
    assert len(funcs) == 9 and funcs[-1] is funcs[8] and funcs[:2] == [funcs[0], funcs[1]]
    assert [each.index for each in funcs[1:]] == list(range(1, 9))
    assert funcs[3] in funcs and funcs.index(funcs[3]) == 3
    with pytest.raises(IndexError):
        funcs[9]
    definition = funcs[1].definition
    assert definition is not None and definition.body.bytes == b"\x41\x01\x0b"
    assert funcs[0].definition is None and funcs[1].type is define(FuncType((), (I32,)))


def test_a_function_that_nobody_asked_for_has_its_place_in_a_backtrace(store: Store) -> None:
    instance = made(store)
    with pytest.raises(Trap) as caught:
        invoke(store, instance.exports["fail"], [])  # type: ignore[arg-type]
    assert [frame.func_index for frame in caught.value.frames] == [8]


def test_threads_that_ask_at_once_get_the_same_function(store: Store) -> None:
    instance = made(store)
    found: list[list[FuncInstance]] = []
    begin = threading.Barrier(4)

    def ask() -> None:
        begin.wait()
        found.append(list(instance.funcs))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(a is b for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_a_function_serves_another_instance_of_its_store(store: Store) -> None:
    first = made(store)
    module = Module(
        store.engine,
        """(module (import "m" "one" (func $one (result i32))) (table (export "t") 1 funcref)
             (elem (i32.const 0) $one) (func (export "f") (result i32) (call $one)))""",
    )
    second = instantiate(store, module, {"m": {"one": first.exports["one"]}})
    assert second.funcs[0] is first.funcs[1] is second.tables[0].get(0)
    assert invoke(store, second.funcs[1], []) == [1]


def test_an_element_segment_that_does_not_fit_leaves_those_before_it(store: Store) -> None:
    module = Module(
        store.engine,
        """(module (import "m" "t" (table 8 funcref)) (func $f)
             (elem (i32.const 0) $f) (elem (i32.const 7) $f $f) (elem (i32.const 1) $f))""",
    )
    table = made(store).tables[0]
    with pytest.raises(Trap, match="out of bounds"):
        instantiate(store, module, {"m": {"t": table}})
    assert table.get(0).definition.body.bytes == b"\x0b" and table.get(1).index == 2


def test_passive_data_needs_no_memory(store: Store) -> None:
    binary = wat2wasm('(module (data "abcdefghijklmnopqrstuvwxyz") (data "abc"))')
    instantiate(store, Module(store.engine, binary), {})


def test_passive_data_between_active_data_stays(store: Store) -> None:
    binary = wat2wasm(
        """(module (memory (export "m") 1)
             (data (i32.const 1) "abcdefghijklmnop") (data "ABCDEFGHIJKLMNOP") (data (i32.const 3) "xyz")
             (func (export "init") (memory.init 1 (i32.const 2) (i32.const 1) (i32.const 3)))
             (func (export "gone") (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1))))"""
    )
    instance = instantiate(store, Module(store.engine, binary), {})
    assert bytes(instance.memories[0].data[:8]) == b"\0abxyzfg"
    invoke(store, instance.funcs[0], [])
    assert bytes(instance.memories[0].data[:8]) == b"\0aBCDzfg"
    with pytest.raises(Trap, match="out of bounds"):
        invoke(store, instance.funcs[1], [])


@pytest.mark.parametrize("segment", ["(elem (i32.const 0))", "(elem (i32.const 0) func $f $f)"])
def test_segments_of_a_module_that_defines_no_function(store: Store, segment: str) -> None:
    imported = '(import "h" "f" (func $f))' if "$f" in segment else ""
    module = Module(store.engine, wat2wasm(f'(module {imported} (table (export "t") 2 funcref) {segment})'))
    function = host_function(FuncType((), ()), list)
    instance = instantiate(store, module, {"h": {"f": function}})
    expected = instance.funcs[0] if imported else None
    assert instance.tables[0].get(0) is instance.tables[0].get(1) is expected
