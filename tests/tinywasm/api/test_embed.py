"""The short way: `instantiate`, and exports as attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tinywasm
from tinywasm import (
    BoundFunc,
    Func,
    FuncType,
    Global,
    GlobalType,
    LinkError,
    Memory,
    Store,
    ValType,
    WasmError,
)

CALCULATOR = Path(__file__).resolve().parents[3] / "examples" / "calculator.wat"


def test_three_lines(store: Store) -> None:
    for source in (CALCULATOR, str(CALCULATOR), CALCULATOR.read_text(), CALCULATOR.read_bytes()):
        calculator = tinywasm.instantiate(source, store=store)
        assert calculator.exports.add(1, 1) == 2
    assert tinywasm.instantiate(CALCULATOR).exports.add(1, 1) == 2
    with pytest.raises(FileNotFoundError):
        tinywasm.instantiate("no such file.wat")


def test_imports_get_their_types_from_the_module(store: Store) -> None:
    log: list[Any] = []
    text = """
    (module
      (import "env" "log" (func $log (param i32 f64)))
      (import "env" "limit" (global $limit i64))
      (import "env" "scale" (global f32))
      (import "env" "now" (func $now (result f64 i32)))
      (func (export "run") (result i64) (call $log (i32.const -1) (f64.const 2)) (global.get $limit))
      (func (export "now") (result f64 i32) (call $now)))"""
    imports = {
        "env": {"log": lambda *args: log.append(args), "limit": -7, "scale": 0.5, "now": lambda: (1, 2)},
        "unused": {},
    }
    exports = tinywasm.instantiate(text, imports, store=store).exports
    assert exports.run() == -7 and log == [(-1, 2.0)] and exports.now() == [1.0, 2]


def test_instances_import_each_other(store: Store) -> None:
    first = tinywasm.instantiate(
        '(module (memory (export "memory") 1) (func (export "f") (result i32) (i32.const 42)))', store=store
    )
    text = """
    (module (import "a" "f" (func $f (result i32))) (import "a" "memory" (memory 1))
      (func (export "g") (result i32) (call $f)))"""
    for space in (first, first.exports, {"f": first.exports.f, "memory": first.exports(store)["memory"]}):
        second = tinywasm.instantiate(text, {"a": space})
        assert second.exports.g() == 42 and second.store is store


@pytest.mark.parametrize(
    ("imports", "message"),
    [
        ({}, r'unknown import: "a" "f" should be a function \[i32\] -> \[\]'),
        ({"a": {"f": 5}}, r'incompatible import type: "a" "f" should be a function .* not int object'),
        ({"a": {"f": print, "g": print}}, r'"a" "g" should be a global i32, not a Python callable'),
        ({"a": {"f": print, "g": 1.5}}, r'incompatible import type: "a" "g": i32 takes an integer, not 1.5'),
        ({"a": {"f": print, "g": 1 << 40}}, r'incompatible import type: "a" "g": .* out of range'),
        ({"a": {"f": print, "g": 1, "m": b""}}, r'"a" "m" should be a memory i32 1, not bytes object'),
        ({"a": {"f": print, "g": 1, "m": 5}}, r'"a" "m" should be a memory'),
    ],
)
def test_wrong_imports_say_what_is_wanted(store: Store, imports: Any, message: str) -> None:
    text = """
    (module (import "a" "f" (func (param i32))) (import "a" "g" (global i32)) (import "a" "m" (memory 1)))"""
    with pytest.raises(LinkError, match=message):
        tinywasm.instantiate(text, imports, store=store)


@pytest.mark.parametrize(
    ("imports", "given"),
    [
        ([print], "not list"),
        (print, "not builtin_function_or_method"),
        ([("env", {"f": print})], "not list"),
        ({"f": print}, "the imports of 'f' are builtin_function_or_method"),
        ({"env": [print]}, "the imports of 'env' are list"),
    ],
)
def test_imports_of_another_form_are_told_the_right_one(store: Store, imports: Any, given: str) -> None:
    with pytest.raises(TypeError, match="imports map module names to mappings or instances") as caught:
        tinywasm.instantiate('(module (import "env" "f" (func)))', imports, store=store)
    assert given in str(caught.value)


def test_exports_are_listed_once(store: Store) -> None:
    exports = tinywasm.instantiate(
        '(module (func $f) (export "f" (func $f)) (export "get" (func $f)))', store=store
    ).exports
    exports.f()
    names = dir(exports)
    assert {"f", "get", "items"} <= set(names) and len(names) == len(set(names))


def test_a_mutable_global_wants_a_global(store: Store) -> None:
    text = (
        '(module (import "a" "g" (global $g (mut i32))) (func (export "set") (global.set $g (i32.const 9))))'
    )
    with pytest.raises(LinkError, match=r"should be a global \(mut i32\)"):
        tinywasm.instantiate(text, {"a": {"g": 1}}, store=store)
    glob = Global(store, GlobalType(ValType.i32(), True), 1)
    tinywasm.instantiate(text, {"a": {"g": glob}}).exports.set()
    assert glob.value(store) == 9


def test_exports_are_found_by_attribute_and_by_item(store: Store) -> None:
    text = """
    (module (memory (export "memory") 1)
      (func $f (result i32) (i32.const 1))
      (export "snake_case" (func $f)) (export "kebab-case" (func $f)) (export "get" (func $f))
      (export "items" (func $f)) (export "__len__" (func $f)) (export "" (func $f))
      (export "class" (func $f)))"""
    exports = tinywasm.instantiate(text, store=store).exports
    assert exports.snake_case() == exports["kebab-case"]() == exports[""]() == exports["class"]() == 1
    assert exports.get() == exports.items() == exports["__len__"]() == 1  # type: ignore[call-overload]
    assert len(exports) == 8 and "kebab-case" in exports and "nothing" not in exports
    assert isinstance(exports.memory, Memory) and isinstance(exports[0], Memory)
    assert exports.snake_case is exports.snake_case and isinstance(exports.snake_case, BoundFunc)
    assert list(exports)[:2] == ["memory", "snake_case"] and "snake_case" in dir(exports)
    with pytest.raises(AttributeError, match="exports no 'nothing'; it exports memory, snake_case"):
        _ = exports.nothing
    with pytest.raises(KeyError):
        exports["nothing"]


def test_the_long_way_of_the_same_instance(store: Store, make_store: Any) -> None:
    instance = tinywasm.instantiate(
        '(module (func (export "f") (param i32) (result i32) (local.get 0)))', store=store
    )
    long = instance.exports(store)
    assert (
        isinstance(long["f"], Func) and long["f"](store, 3) == 3 and long[0] == long.by_index[0] == long["f"]
    )
    assert instance.exports.f.type == long["f"].type(store) == FuncType([ValType.i32()], [ValType.i32()])
    assert repr(long["f"]) == "<Func [i32] -> [i32]>" and "BoundFunc" in repr(instance.exports.f)
    with pytest.raises(WasmError, match="another store"):
        instance.exports(make_store())
