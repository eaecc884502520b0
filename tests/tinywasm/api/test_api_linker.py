"""`Linker`: definitions, shadowing, modules that instantiate themselves, WASI."""

from __future__ import annotations

from typing import Any

import pytest

import tinywasm
from tinywasm import (
    ExitTrap,
    Func,
    FuncType,
    Linker,
    LinkError,
    Module,
    Store,
    Trap,
    ValType,
    WasiConfig,
    WasmError,
)

COUNTER = """
(module
  (global $n (mut i32) (i32.const {0}))
  (memory (export "memory") 1)
  (func (export "{1}") (global.set $n (i32.const 100)))
  (func (export "next") (result i32)
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (global.get $n)))
"""
USER = (
    '(module (import "m" "next" (func $next (result i32))) (func (export "run") (result i32) (call $next)))'
)


@pytest.fixture
def linker(store: Store) -> Linker:
    return Linker(store.engine)


def test_a_reactor_is_instantiated_once_and_initialised(store: Store, linker: Linker) -> None:
    linker.define_module(store, "m", Module(store.engine, COUNTER.format(0, "_initialize")))
    run = linker.instantiate(store, Module(store.engine, USER)).exports.run
    assert [run(), run()] == [101, 102]
    assert linker.get(store, "m", "memory").size(store) == 1
    assert linker.get_default(store, "m")(store) is None


def test_a_command_is_instantiated_for_every_call(store: Store, linker: Linker) -> None:
    linker.define_module(store, "m", Module(store.engine, COUNTER.format(5, "_start")))
    run = linker.instantiate(store, Module(store.engine, USER)).exports.run
    assert [run(), run()] == [6, 6]
    with pytest.raises(LinkError, match="not defined"):
        linker.get(store, "m", "memory")
    assert linker.get_default(store, "m")(store) is None


def test_the_default_export(store: Store, linker: Linker) -> None:
    linker.define_func("m", "", FuncType([], [ValType.i32()]), lambda: 7)
    assert linker.get_default(store, "m")(store) == 7
    assert linker.get_default(store, "nobody")(store) is None
    memory = tinywasm.instantiate('(module (memory (export "m") 1))', store=store).exports.m
    linker.define(store, "other", "_start", memory)
    with pytest.raises(LinkError, match="`other::_start` is not a function"):
        linker.get_default(store, "other")


def test_names_are_defined_once_unless_shadowing_is_allowed(store: Store, linker: Linker) -> None:
    linker.define_func("m", "next", FuncType([], [ValType.i32()]), lambda: 1)
    with pytest.raises(LinkError, match=r"`m::next` defined twice"):
        linker.define_func("m", "next", FuncType([], [ValType.i32()]), lambda: 2)
    linker.allow_shadowing = True
    linker.define_func("m", "next", FuncType([], [ValType.i32()]), lambda: 2)
    assert linker.instantiate(store, Module(store.engine, USER)).exports.run() == 2


def test_definitions_of_functions_serve_every_store(linker: Linker) -> None:
    linker.define_func("m", "next", FuncType([], [ValType.i32()]), lambda: 1)
    module = Module(linker.engine, USER)
    assert [linker.instantiate(Store(linker.engine), module).exports.run() for _ in range(2)] == [1, 1]


def test_items_serve_their_store_alone(store: Store, linker: Linker) -> None:
    other = Store(store.engine)
    item = Func(store, FuncType([], [ValType.i32()]), lambda: 1)
    with pytest.raises(WasmError, match="another store"):
        linker.define(other, "m", "next", item)
    linker.define(store, "m", "next", item)
    with pytest.raises(WasmError, match="another store"):
        linker.instantiate(other, Module(store.engine, USER))
    with pytest.raises(TypeError, match="expected a Func, Memory"):
        linker.define(store, "m", "other", lambda: 1)


def test_missing_imports(store: Store, linker: Linker) -> None:
    module = Module(store.engine, USER)
    with pytest.raises(LinkError, match=r"unknown import: `m::next` has not been defined"):
        linker.instantiate(store, module)
    linker.define_unknown_imports_as_traps(module)
    with pytest.raises(Trap, match=r"`m::next` has not been defined"):
        linker.instantiate(store, module).exports.run()


@pytest.mark.parametrize(
    "types",
    [
        "(type $f (sub (func)))",
        "(rec (type $f (func)) (type $g (func)))",
        "(type $top (sub (func))) (type $f (sub final $top (func)))",
    ],
)
def test_unknown_functions_of_any_type_are_traps(store: Store, linker: Linker, types: str) -> None:
    module = Module(
        store.engine,
        f'(module {types} (import "m" "f" (func $i (type $f))) (func (export "run") (call $i)))',
    )
    linker.define_unknown_imports_as_traps(module)
    with pytest.raises(Trap, match=r"`m::f` has not been defined"):
        linker.instantiate(store, module).exports.run()


def test_wrong_arguments(store: Store, linker: Linker) -> None:
    for call in (
        lambda: Linker(store),  # type: ignore[arg-type]
        lambda: linker.define_func("m", "f", ValType.i32(), print),  # type: ignore[arg-type]
        lambda: linker.define_instance(store, "m", Module),  # type: ignore[arg-type]
        lambda: linker.define_module(store, "m", b""),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=r"expected an? "):
            call()


WASI_USER = """
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (call $exit (i32.load (i32.const 0)))))
"""


def test_wasi_of_a_store(store: Store, linker: Linker) -> None:
    linker.define_wasi()
    module = Module(store.engine, WASI_USER)
    with pytest.raises(LinkError, match="set_wasi"):
        linker.instantiate(store, module)
    config = WasiConfig()
    config.argv = ["a", "b", "c"]
    store.set_wasi(config)
    with pytest.raises(ExitTrap) as stop:
        linker.instantiate(store, module).exports["_start"]()
    assert stop.value.code == 3
    with pytest.raises(ExitTrap):
        linker.instantiate(store, module).exports(store)["_start"](store)


def test_wasi_functions_may_be_shadowed(store: Store, linker: Linker) -> None:
    codes: list[int] = []
    exit = ("wasi_snapshot_preview1", "proc_exit", FuncType([ValType.i32()]), codes.append)
    linker.define_wasi()
    with pytest.raises(LinkError, match="defined twice"):
        linker.define_func(*exit)
    linker.allow_shadowing = True
    linker.define_func(*exit)
    store.set_wasi(WasiConfig())
    linker.instantiate(store, Module(store.engine, WASI_USER)).exports["_start"]()
    assert codes == [0]
    other = Linker(store.engine)
    other.define_func(*exit)
    with pytest.raises(LinkError, match="defined twice"):
        other.define_wasi()


def test_a_start_function_that_traps(store: Store, linker: Linker) -> None:
    module: Any = Module(store.engine, "(module (func $f unreachable) (start $f))")
    with pytest.raises(Trap, match="unreachable"):
        linker.instantiate(store, module)
