"""What goes into Wasm and what comes out: arguments, results, references, exceptions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinywasm
from tinywasm import (
    Func,
    FuncType,
    Global,
    GlobalType,
    Instance,
    LinkError,
    Module,
    Store,
    Tag,
    TagType,
    Val,
    ValType,
    WasmError,
    WasmException,
)
from tinywasm.api.values import from_i32, from_i64, to_i32, to_i64

I32, I64, F32, F64 = ValType.i32(), ValType.i64(), ValType.f32(), ValType.f64()
IDENTITIES = """
(module
  (func (export "i32") (param i32) (result i32) (local.get 0))
  (func (export "i64") (param i64) (result i64) (local.get 0))
  (func (export "f32") (param f32) (result f32) (local.get 0))
  (func (export "f64") (param f64) (result f64) (local.get 0))
  (func (export "v128") (param v128) (result v128) (local.get 0))
  (func (export "externref") (param externref) (result externref) (local.get 0))
  (func (export "funcref") (param funcref) (result funcref) (local.get 0))
  (func (export "anyref") (param anyref) (result anyref) (local.get 0))
  (func (export "nonnull") (param (ref extern)) (result externref) (local.get 0))
  (func (export "typed") (param (ref null $t)) (result i32) (ref.is_null (local.get 0)))
  (func (export "i31") (result i31ref) (ref.i31 (i32.const 5)))
  (func (export "pair") (result i32 i64) (i32.const 1) (i64.const -1))
  (func (export "nothing"))
  (type $t (func (param i32) (result i32))))
"""


@pytest.fixture
def same(store: Store) -> tinywasm.Exports:
    return tinywasm.instantiate(IDENTITIES, store=store).exports


@pytest.mark.parametrize(
    ("name", "given_value", "result"),
    [
        ("i32", True, 1),
        ("i32", np.int8(-3), -3),
        ("i32", np.uint32(0xFFFFFFFF), -1),
        ("i32", 0x80000000, -0x80000000),
        ("i64", -(1 << 63), -(1 << 63)),
        ("i64", (1 << 64) - 1, -1),
        ("i64", np.int64(5), 5),
        ("f32", 1, 1.0),
        ("f32", np.float32(0.1), float(np.float32(0.1))),
        ("f32", 0.1, float(np.float32(0.1))),
        ("f64", np.float64(0.1), 0.1),
        ("f64", np.int16(7), 7.0),
        ("f64", True, 1.0),
        ("f64", 0.1, 0.1),
        ("v128", bytes(range(16)), bytes(range(16))),
        ("v128", bytearray(16), bytes(16)),
        ("i32", Val.i32(-4), -4),
        ("f32", Val.f32(0.5), 0.5),
        ("f64", Val.f64(0.25), 0.25),
        ("v128", Val.v128(bytes(16)), bytes(16)),
        ("externref", None, None),
        ("externref", 5, 5),
        ("anyref", None, None),
    ],
)
def test_accepted_values(same: tinywasm.Exports, name: str, given_value: Any, result: Any) -> None:
    found = same[name](given_value)
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("name", "value"),
    [("i32", 1 << 32), ("i32", -(1 << 31) - 1), ("i64", 1 << 64), ("i64", -(1 << 63) - 1), ("f64", 10**400)],
)
def test_numbers_out_of_range_raise(same: tinywasm.Exports, name: str, value: int) -> None:
    with pytest.raises(OverflowError):
        same[name](value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("i32", 1.0),
        ("i32", "1"),
        ("i32", None),
        ("i32", Val.i64(1)),
        ("i64", np.float64(1)),
        ("f32", "1.5"),
        ("f32", None),
        ("f64", "nan"),
        ("f64", b"1"),
        ("f64", Val.f32(1.0)),
        ("v128", bytes(15)),
        ("v128", 1),
        ("funcref", 5),
        ("funcref", len),
        ("externref", Val.i32(1)),
        ("nonnull", None),
    ],
)
def test_other_kinds_of_values_raise(same: tinywasm.Exports, name: str, value: Any) -> None:
    with pytest.raises(TypeError):
        same[name](value)


def test_several_results_are_a_list_and_none_is_none(same: tinywasm.Exports) -> None:
    assert same.pair() == [1, -1]
    assert same.nothing() is None


def test_a_wrong_number_of_arguments_names_the_type(same: tinywasm.Exports) -> None:
    with pytest.raises(TypeError, match=r"takes 1 arguments, not 2: \[i32\] -> \[i32\]"):
        same.i32(1, 2)


@given(st.integers(-(1 << 31), (1 << 31) - 1), st.integers(-(1 << 63), (1 << 63) - 1))
def test_signed_integers_come_back(number32: int, number64: int) -> None:
    assert from_i32(to_i32(number32)) == number32
    assert from_i64(to_i64(number64)) == number64


def test_nan_is_a_nan(same: tinywasm.Exports) -> None:
    assert math.isnan(same.f32(math.nan)) and math.isnan(same.f64(np.float32("nan")))


def test_any_object_passes_as_external_reference(same: tinywasm.Exports) -> None:
    class Strange:
        heap = "no heap type"
        kind = "memory"

        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        __hash__ = None  # type: ignore[assignment]

    values: tuple[Any, ...] = (Strange(), [], "", b"", 1 << 100, float, same, Val)
    for value in values:
        assert same.externref(value) is value
    assert same.externref(Val.externref("x")) == "x"
    assert same.anyref("external") == "external"


def test_functions_pass_as_references(store: Store, same: tinywasm.Exports) -> None:
    back = same.funcref(same.i32)
    assert isinstance(back, Func)
    assert back == same.i32.func and hash(back) == hash(same.i32.func)
    assert back(store, -7) == -7
    host = Func(store, FuncType([I32], [I32]), lambda n: n + 1)
    assert same.funcref(host)(store, 1) == 2
    assert same.typed(host) == 0 and same.typed(same.i32) == 0 and same.typed(None) == 1
    with pytest.raises(TypeError):
        same.typed(same.i64)


def test_a_function_of_another_store_is_refused(same: tinywasm.Exports, make_store: Any) -> None:
    stranger = Func(make_store(), FuncType(), lambda: None)
    with pytest.raises(WasmError, match="another store"):
        same.funcref(stranger)
    with pytest.raises(WasmError, match="another store"):
        same.i32.func(make_store(), 1)


def test_host_results_are_checked(store: Store) -> None:
    def call(results: list[ValType], value: Any) -> Any:
        return Func(store, FuncType([], results), lambda: value)(store)

    assert call([I32], np.int32(-1)) == -1
    assert call([F64, I32], (1, True)) == [1.0, 1]
    assert call([I32, I32], iter([1, 2])) == [1, 2]
    with pytest.raises(OverflowError):
        call([I32], 1 << 40)
    with pytest.raises(TypeError):
        call([I32], None)
    with pytest.raises(TypeError, match="2 values, not 3"):
        call([I32, I32], [1, 2, 3])
    with pytest.raises(TypeError, match="should return nothing"):
        call([], 1)


def test_global_values(store: Store) -> None:
    glob = Global(store, GlobalType(F32, True), 1)
    assert glob.value(store) == 1.0
    glob.set_value(store, np.float32(0.5))
    assert glob.value(store) == 0.5
    with pytest.raises(TypeError):
        glob.set_value(store, "x")
    assert Global(store, GlobalType(ValType.externref()), store).value(store) is store
    with pytest.raises(OverflowError):
        Global(store, GlobalType(I32), 1 << 32)
    with pytest.raises(TypeError, match="expected a GlobalType"):
        Global(store, I32, 1)  # type: ignore[arg-type]


def test_exceptions_have_tags_and_values_for_python(store: Store) -> None:
    text = """
    (module
      (import "h" "t" (tag $t (param i32 externref)))
      (import "h" "throw" (func $throw))
      (func (export "throw") (throw $t (i32.const -2) (ref.null extern)))
      (func (export "catch") (result i32 externref)
        (block $caught (result i32 externref)
          (try_table (catch $t $caught) (call $throw))
          (unreachable))))"""
    tag = Tag(store, TagType(FuncType([I32, ValType.externref()])))
    values: list[Any] = [np.int8(-9), "payload"]

    def throw() -> None:
        raise WasmException(tag, values)

    exports = tinywasm.instantiate(text, {"h": {"t": tag, "throw": throw}}, store=store).exports
    with pytest.raises(WasmException) as caught:
        exports.throw()
    assert caught.value.tag == tag and caught.value.tag.eq(store, tag)
    assert caught.value.values == (-2, None)
    assert exports.catch() == [-9, "payload"]
    values.pop()
    with pytest.raises(TypeError, match="2 values, not 1"):
        exports.catch()
    assert not tag.eq(store, Tag(store, tag.type(store)))
    assert tag.type(store).functype.params == (I32, ValType.externref())


def test_vals_compare_with_values_and_vals() -> None:
    assert Val.i32(5) == 5 and Val.i32(5) == Val.i32(5) and Val.i32(5) != Val.i64(5)
    assert Val.i32(0xFFFFFFFF).value == -1 and Val.i64(True).value == 1
    assert Val.i32(1).as_i32() == 1 and Val.i32(1).as_f64() is None
    assert Val.ref_null(ValType.funcref()).value is None
    assert Val.externref("x").as_externref() == "x" and Val.funcref(None).as_funcref() is None
    assert Val.f32(1).as_f32() == 1.0 and Val.f64(2).as_f64() == 2.0 and Val.i64(3).as_i64() == 3
    assert repr(Val.i64(7)) == "Val(i64, 7)" and hash(Val.i32(3)) == hash(3)
    with pytest.raises(WasmError, match="no null"):
        Val.ref_null(I32)
    with pytest.raises(OverflowError):
        Val.i32(1 << 32)


def test_small_integers_of_the_heap_come_out(same: tinywasm.Exports) -> None:
    assert same.anyref(same.i31()).value == 5


def test_imports_of_the_long_way_are_checked(store: Store, make_store: Any) -> None:
    module = Module(store.engine, '(module (import "a" "f" (func (param i32))) (func (export "f")))')
    good = Func(store, FuncType([I32], []), print)
    assert Instance(store, module, [good]).exports(store)["f"](store) is None
    with pytest.raises(LinkError, match="1 imports, but 0 were given"):
        Instance(store, module, [])
    with pytest.raises(LinkError, match="incompatible import type"):
        Instance(store, module, [Func(store, FuncType(), print)])
    with pytest.raises(TypeError, match="expected a Func, Memory, Table, Global or Tag"):
        Instance(store, module, [print])
    with pytest.raises(WasmError, match="another store"):
        Instance(store, module, [Func(make_store(), FuncType([I32], []), print)])
    with pytest.raises(TypeError, match="expected a FuncType"):
        Func(store, I32, print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a Module"):
        Instance(store, b"", [])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a Store or a Caller"):
        Instance(None, module, [])  # type: ignore[arg-type]
