"""What one engine had wrong and the other had not, and what could harm the native one: small and by hand.

Every test runs on both engines; `fuzz/test_engines_agree.py` looks for more of these.
"""

from __future__ import annotations

import gc
from functools import cache
from typing import Any

import pytest

import tinywasm
from tinywasm import Config, Engine, LinkError, StackExhausted, Store, Trap, WasmException
from tinywasm.engine import native_available
from tinywasm.instance import Module, instantiate, invoke
from tinywasm.module import DecodedModule
from tinywasm.runtime.func import FuncInstance, host_function
from tinywasm.runtime.heap import I31
from tinywasm.runtime.module import ModuleInstance
from tinywasm.text import parse_module
from tinywasm.types import I32, I64, V128, FuncType

ENGINES = [
    "python",
    pytest.param("native", marks=pytest.mark.skipif(not native_available, reason="not built")),
]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def native() -> str:
    if not native_available:
        pytest.skip("not built")
    return "native"


def store_of(engine: str, **config: Any) -> Store:
    return Store(Engine(Config(engine=engine, **config)))


def exports(engine: str, text: str, imports: Any = None, **config: Any) -> Any:
    return tinywasm.instantiate(text, imports, store=store_of(engine, **config)).exports


def call(store: Store, instance: ModuleInstance, name: str) -> list[Any]:
    func = instance.exports[name]
    assert isinstance(func, FuncInstance)
    return invoke(store, func, [])


def test_a_tiny_double_constant_keeps_its_high_half(engine: str) -> None:
    e = exports(engine, '(module (func (export "f") (param f64) (result f64) '
                        '(f64.add (local.get 0) (f64.const 0x0.00000f0000000p-1022))))')  # fmt: skip
    assert e.f(0.0) == float.fromhex("0x0.00000f0000000p-1022")


WIDE = " ".join(["i64"] * 900)


@pytest.mark.parametrize(
    "leaf",
    [
        "(return_call $wide)",
        "(try_table (catch $t 0) (call $throw)) (unreachable)",
    ],
    ids=[
        "a host function's results behind a tail call",
        "values that a clause brings to the function's label",
    ],
)
def test_many_results_stay_inside_the_frame(native: str, leaf: str) -> None:
    """The leaf runs at every depth until the stack ends, so once where its results would not fit."""
    text = f"""
        (module
          (import "h" "wide" (func $wide (result {WIDE})))
          (tag $t (param {WIDE}))
          (func $throw (throw $t {"(i64.const 1)" * 900}))
          (func $leaf (result {WIDE}) (local {"i64 " * 5000}) {leaf})
          (func (export "once") (result i64)
            (local i64) (call $leaf) {"(local.set 0)" * 900} (local.get 0))
          (func $deep (export "deep") (call $leaf) {"(drop)" * 900} (call $deep)))"""
    store = store_of(native, max_call_depth=20_000)
    results = [1] * 900
    wide = host_function(FuncType((), [I64] * 900), lambda: results)
    instance = instantiate(store, Module(store.engine, text), {"h": {"wide": wide}})
    assert call(store, instance, "once") == [1]
    with pytest.raises(StackExhausted):
        call(store, instance, "deep")


@cache
def many_indices() -> DecodedModule:
    return parse_module(f"""
        (module
          (rec {"(type (struct))" * 65_536})
          (type $bytes (array i8))
          {"(table 0 funcref)" * 65_536}
          (table $last 2 funcref) (table $very_last 2 funcref)
          (type $f (func (result i32)))
          (func $seven (type $f) (i32.const 7))
          (elem $e func $seven)
          (data $d "abc")
          (func (export "f") (result i32)
            (table.init $very_last $e (i32.const 1) (i32.const 0) (i32.const 1))
            (table.copy $last $very_last (i32.const 0) (i32.const 1) (i32.const 1))
            (call_indirect $last (type $f) (i32.const 0)))
          (func (export "g") (result i32)
            (array.get_u $bytes (array.new_data $bytes $d (i32.const 1) (i32.const 2)) (i32.const 1))))""")


def test_indices_beyond_sixteen_bits(engine: str) -> None:
    store = store_of(engine)
    instance = instantiate(store, Module.from_decoded(store.engine, many_indices()), {})
    assert call(store, instance, "f") == [7]
    assert call(store, instance, "g") == [ord("c")]


STRUCT = """
    (type $s (struct (field i64)))
    (func (export "read") (param (ref $s)) (result i64) (struct.get $s 0 (local.get 0)))"""


@pytest.mark.parametrize("value", [5, None, I31(1)])
def test_a_reference_from_outside_is_what_its_type_says(native: str, value: Any) -> None:
    e = exports(native, f"(module {STRUCT})")
    with pytest.raises(TypeError, match="is no"):
        e.read(value)


def test_references_from_outside_are_checked_wherever_they_come_in(native: str) -> None:
    e = exports(
        native,
        """(module
          (import "h" "f" (func $h (result funcref)))
          (global (export "g") (mut funcref) (ref.null func))
          (table (export "t") 1 2 funcref)
          (func (export "call") (drop (call $h))))""",
        {"h": {"f": lambda: 5}},
    )
    with pytest.raises(TypeError, match="5 is no funcref"):
        e.call()
    with pytest.raises(TypeError, match="5 is no funcref"):
        e.g.value = 5
    with pytest.raises(TypeError, match="5 is no funcref"):
        e.t.set(0, 5)
    with pytest.raises(TypeError, match="5 is no funcref"):
        e.t.grow(1, 5)
    assert e.g.value is None and e.t.get(0) is None and len(e.t) == 1


def test_raw_results_of_a_host_function_are_counted_and_fit(native: str) -> None:
    for results, type in [
        ((1, 2), I32),
        ((), I32),
        ((b"short",), V128),
        ((1 << 32,), I32),
        ((1 << 64,), I64),
    ]:
        store = store_of(native)
        signature = FuncType((), (type,))
        text = f'(module (import "h" "f" (func (result {type}))) (func (export "g") (drop (call 0))))'
        host = host_function(signature, lambda results=results: results)
        instance = instantiate(store, Module(store.engine, text), {"h": {"f": host}})
        with pytest.raises((TypeError, OverflowError)):
            call(store, instance, "g")


def test_tables_and_globals_belong_to_one_store(native: str) -> None:
    text = (
        '(module (table (export "x") 1 funcref) (global (export "y") i32 (i32.const 1)) (func (export "z")))'
    )
    first = exports(native, text)
    for name, what in [("x", "(table 1 funcref)"), ("y", "(global i32)"), ("z", "(func)")]:
        with pytest.raises(LinkError, match="of another store"):
            exports(native, f'(module (import "m" "{name}" {what}))', {"m": {name: first[name]}})


def test_objects_of_the_other_engine_are_refused(native: str) -> None:
    text = '(module (memory (export "x") 1) (global (export "y") i32 (i32.const 1)) (tag (export "z")))'
    first = exports("python", text)
    for name, what in [("x", "(memory 1)"), ("y", "(global i32)"), ("z", "(tag)")]:
        with pytest.raises(LinkError, match="another engine made"):
            exports(native, f'(module (import "m" "{name}" {what}))', {"m": {name: first[name]}})


def test_references_that_go_with_their_store(native: str) -> None:
    """The store, its segments and the references in them are garbage together, freed in any order."""

    class Cycle:
        pass

    for _ in range(20):
        e = exports(
            native,
            f"""(module {STRUCT}
            (elem (ref $s) (item (struct.new $s (i64.const 1))))
            (func (export "make") (result (ref $s)) (struct.new $s (i64.const 2))))""",
        )
        cycle: Any = Cycle()
        cycle.me, cycle.refs, cycle.exports = cycle, [e.make() for _ in range(10)], e
        del e, cycle
        gc.collect()


def test_an_exception_outlives_the_store_of_its_tag(engine: str) -> None:
    other = exports(
        engine, '(module (tag $t (export "t") (param i32)) (func (export "f") (throw $t (i32.const 3))))'
    )
    with pytest.raises(WasmException) as caught:
        other.f()
    error = caught.value
    tag = id(error.tag)
    del other, caught

    def throw() -> None:
        raise error

    e = exports(
        engine,
        """(module (import "h" "throw" (func $throw))
          (global $kept (mut exnref) (ref.null exn))
          (func (export "keep")
            (block $b (result exnref) (try_table (catch_all_ref $b) (call $throw)) (ref.null exn))
            (global.set $kept))
          (func (export "again") (throw_ref (global.get $kept))))""",
        {"h": {"throw": throw}},
    )
    e.keep()
    error = ValueError()  # type: ignore[assignment]
    gc.collect()
    with pytest.raises(WasmException) as caught:
        e.again()
    assert caught.value.values == (3,) and id(caught.value.tag) == tag


def test_a_memory_grown_by_a_host_function_is_seen_at_once(engine: str) -> None:
    e: Any = exports(
        engine,
        """(module (import "h" "grow" (func $grow)) (memory (export "m") 1)
          (func (export "f") (result i32) (call $grow) (i32.store8 (i32.const 70000) (i32.const 9))
            (i32.load8_u (i32.const 70000))))""",
        {"h": {"grow": lambda: e.m.grow(1)}},
    )
    assert e.f() == 9


def test_a_trap_at_the_end_of_the_address_space(engine: str) -> None:
    e = exports(
        engine,
        """(module (memory i64 1)
          (func (export "f") (param i64) (result i32) (i32.load offset=8 (local.get 0))))""",
    )
    for address in (-1, -8, -9, 65535, 65529, (1 << 63) - 1):
        with pytest.raises(Trap, match="out of bounds memory access"):
            e.f(address)
