"""What one engine had wrong and the other had not, and what could harm the native one: small and by hand.

Where only the native engine is tried, the other one has nothing to lose. `fuzz/test_engines_agree.py`
looks for more of these.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

import tinywasm
from tests.engines import ENGINES
from tinywasm.binary import decode
from tinywasm.config import Config, Engine
from tinywasm.engine import native_available
from tinywasm.errors import Interrupted, LinkError, StackExhausted, Trap, WasmError, WasmException
from tinywasm.instantiation import instantiate, invoke
from tinywasm.module import Module, import_types
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.heap import I31
from tinywasm.runtime.store import Store
from tinywasm.syntax import DecodedModule
from tinywasm.text import parse_module
from tinywasm.types import I64, DefinedType

pytestmark = pytest.mark.slow


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


class Raw:
    """An instance at the layer below the public interface, which hands on values as they are."""

    def __init__(self, engine: str, source: str | DecodedModule, imports: Any = None, **config: Any) -> None:
        self.store = store_of(engine, **config)
        syntax = parse_module(source) if isinstance(source, str) else source
        module = Module.from_decoded(self.store.engine, syntax)
        found: dict[str, dict[str, Any]] = {}
        for imp, type in zip(syntax.imports, import_types(module), strict=True):
            value = imports[imp.module][imp.name]
            if isinstance(type, DefinedType) and not isinstance(value, FuncInstance):
                value = FuncInstance(type, host=value)
            found.setdefault(imp.module, {})[imp.name] = value
        self.instance = instantiate(self.store, module, found)
        self.exports: Any = self.instance.exports

    def call(self, name: str, *args: Any) -> list[Any]:
        return invoke(self.store, self.exports[name], args)


def test_a_tiny_double_constant_keeps_its_high_half(engine: str) -> None:
    e = Raw(engine, '(module (func (export "f") (param f64) (result f64) '
                        '(f64.add (local.get 0) (f64.const 0x0.00000f0000000p-1022))))')  # fmt: skip
    assert e.call("f", 0.0)[0] == float.fromhex("0x0.00000f0000000p-1022")


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
    results = [1] * 900
    e = Raw(native, text, {"h": {"wide": lambda: results}}, max_call_depth=20_000)
    assert e.call("once") == [1]
    with pytest.raises(StackExhausted):
        e.call("deep")


@pytest.mark.parametrize("count", [1, 33, 1000])
def test_a_function_with_more_results_than_operands(engine: str, count: int) -> None:
    e = Raw(engine, f'(module (func (export "f") (result {"i64 " * count}) unreachable))')
    with pytest.raises(Trap, match="unreachable"):
        e.call("f")


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
    e = Raw(engine, many_indices())
    assert e.call("f") == [7]
    assert e.call("g") == [ord("c")]


STRUCT = """
    (type $s (struct (field i64)))
    (func (export "read") (param (ref $s)) (result i64) (struct.get $s 0 (local.get 0)))"""


@pytest.mark.parametrize("value", [5, None, I31(1)])
def test_a_reference_from_outside_is_what_its_type_says(native: str, value: Any) -> None:
    e = Raw(native, f"(module {STRUCT})")
    with pytest.raises(TypeError, match="is no"):
        e.call("read", value)


def test_references_from_outside_are_checked_wherever_they_come_in(native: str) -> None:
    e = Raw(
        native,
        """(module
          (import "h" "f" (func $h (result funcref)))
          (global (export "g") (mut funcref) (ref.null func))
          (table (export "t") 1 2 funcref)
          (func (export "call") (drop (call $h))))""",
        {"h": {"f": lambda: [5]}},
    )
    with pytest.raises(TypeError, match="5 is no funcref"):
        e.call("call")
    with pytest.raises(TypeError, match="5 is no funcref"):
        e.exports["g"].value = 5
    table = e.exports["t"]
    with pytest.raises(TypeError, match="5 is no funcref"):
        table.set(0, 5)
    with pytest.raises(TypeError, match="5 is no funcref"):
        table.grow(1, 5)
    assert e.exports["g"].value is None and table.get(0) is None and len(table) == 1


@pytest.mark.parametrize(
    "results, type",
    [((1, 2), "i32"), ((), "i32"), ((b"short",), "v128"), ((1 << 32,), "i32"), ((1 << 64,), "i64")],
)
def test_results_of_a_host_function_are_counted_and_fit(native: str, results: Any, type: str) -> None:
    text = f'(module (import "h" "f" (func (result {type}))) (func (export "g") (drop (call 0))))'
    with pytest.raises((TypeError, OverflowError)):
        Raw(native, text, {"h": {"f": lambda: results}}).call("g")


def test_tables_and_globals_belong_to_one_store(native: str) -> None:
    text = (
        '(module (table (export "x") 1 funcref) (global (export "y") i32 (i32.const 1)) (func (export "z")))'
    )
    first = Raw(native, text)
    for name, what in [("x", "(table 1 funcref)"), ("y", "(global i32)"), ("z", "(func)")]:
        with pytest.raises(LinkError, match="of another store"):
            Raw(native, f'(module (import "m" "{name}" {what}))', {"m": {name: first.exports[name]}})


def test_references_that_go_with_their_store(native: str) -> None:
    """The store, its segments and the references in them are garbage together, freed in any order."""

    class Cycle:
        pass

    for _ in range(20):
        e = Raw(
            native,
            f"""(module {STRUCT}
            (elem (ref $s) (item (struct.new $s (i64.const 1))))
            (func (export "make") (result (ref $s)) (struct.new $s (i64.const 2))))""",
        )
        cycle: Any = Cycle()
        cycle.me, cycle.refs, cycle.exports = cycle, [e.call("make") for _ in range(10)], e
        del e, cycle
        gc.collect()


def test_an_exception_outlives_the_store_of_its_tag(engine: str) -> None:
    other = Raw(
        engine, '(module (tag $t (export "t") (param i32)) (func (export "f") (throw $t (i32.const 3))))'
    )
    with pytest.raises(WasmException) as caught:
        other.call("f")
    thrown: list[WasmException] = [caught.value]
    tag = id(thrown[0].tag)
    del other, caught

    def throw() -> Any:
        raise thrown.pop()

    e = Raw(
        engine,
        """(module (import "h" "throw" (func $throw))
          (global $kept (mut exnref) (ref.null exn))
          (func (export "keep")
            (block $b (result exnref) (try_table (catch_all_ref $b) (call $throw)) (ref.null exn))
            (global.set $kept))
          (func (export "again") (throw_ref (global.get $kept))))""",
        {"h": {"throw": throw}},
    )
    e.call("keep")
    gc.collect()
    with pytest.raises(WasmException) as again:
        e.call("again")
    assert list(again.value.values) == [3] and id(again.value.tag) == tag


def test_a_memory_grown_by_a_host_function_is_seen_at_once(engine: str) -> None:
    holder: list[Raw] = []

    def grow() -> list[Any]:
        holder[0].exports["m"].grow(1)
        return []

    e = Raw(
        engine,
        """(module (import "h" "grow" (func $grow)) (memory (export "m") 1)
          (func (export "f") (result i32) (call $grow) (i32.store8 (i32.const 70000) (i32.const 9))
            (i32.load8_u (i32.const 70000))))""",
        {"h": {"grow": grow}},
    )
    holder.append(e)
    assert e.call("f") == [9]


def test_a_trap_at_the_end_of_the_address_space(engine: str) -> None:
    e = Raw(
        engine,
        """(module (memory i64 1)
          (func (export "f") (param i64) (result i32) (i32.load offset=8 (local.get 0))))""",
    )
    for address in (-1, -8, -9, 65535, 65529, (1 << 63) - 1):
        with pytest.raises(Trap, match="out of bounds memory access"):
            e.call("f", address & (1 << 64) - 1)


FUEL = """
    (module (import "h" "f" (func $h)) (tag $t (export "t"))
      (func (export "nop") (nop) (nop))
      (func (export "call") (call $h) (nop))
      (func (export "catch") (block $b (try_table (catch $t $b) (call $h))) (nop)))"""


@pytest.mark.parametrize("call", ["return_call $h", "return_call_ref $t (ref.func $h)"])
def test_what_a_host_function_throws_behind_a_tail_call_passes_the_handlers_of_its_caller(
    engine: str, call: str
) -> None:
    e: Any = Raw(
        engine,
        f"""(module
          (type $t (func))
          (import "h" "f" (func $h (type $t))) (tag $e (export "e")) (elem declare func $h)
          (func $g (block $b (try_table (catch_all $b) ({call}))))
          (func (export "out") (call $g))
          (func (export "in") (result i32)
            (block $b (try_table (catch $e $b) (call $g)) (return (i32.const 0))) (i32.const 1)))""",
        {"h": {"f": lambda: throw()}},
    )

    def throw() -> Any:
        raise WasmException(e.exports["e"], ())

    with pytest.raises(WasmException):
        e.call("out")
    assert e.call("in") == [1]


@pytest.mark.parametrize("after", ["return", "throw", "raise", "call"])
def test_fuel_that_a_host_function_sets_counts_from_there(engine: str, after: str) -> None:
    holder: list[Raw] = []

    def host() -> list[Any]:
        if not holder:
            return []
        holder[0].store.set_fuel(100)
        if after == "throw":
            raise WasmException(holder[0].exports["t"], ())
        if after == "raise":
            raise KeyError("of the host")
        if after == "call":
            holder[0].call("nop")
        return []

    e = Raw(engine, FUEL, {"h": {"f": host}}, consume_fuel=True)
    holder.append(e)
    e.store.set_fuel(10)
    if after == "raise":
        with pytest.raises(KeyError):
            e.call("call")
        assert e.store.get_fuel() == 100
    elif after == "throw":
        e.call("catch")
        assert e.store.get_fuel() == 99
    else:
        e.call("call")
        assert e.store.get_fuel() == {"return": 100, "call": 98}[after]


def test_a_finalizer_may_use_the_store_while_results_are_read(native: str) -> None:
    """Reading results makes Python objects, which runs its collector, which runs finalizers."""
    from tinywasm.engine.native._loop import collect_first_at

    e = Raw(
        native,
        """(module (type $s (struct (field (mut i32))))
          (func (export "make") (result (ref $s) (ref $s) (ref $s))
            (struct.new $s (i32.const 1)) (struct.new $s (i32.const 2)) (struct.new $s (i32.const 3)))
          (func (export "get") (param (ref $s)) (result i32) (struct.get $s 0 (local.get 0))))""",
    )

    class Finalized:
        def __del__(self) -> None:
            e.call("make")

    collect_first_at(0)
    old = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(50):
            cycle = Finalized()
            cycle.me = cycle  # type: ignore[attr-defined]
            del cycle
            assert [e.call("get", made) for made in e.call("make")] == [[1], [2], [3]]
    finally:
        gc.set_threshold(*old)
        collect_first_at(16 << 20)


def test_another_thread_gets_an_error_and_no_chance_to_do_harm(native: str) -> None:
    text = """
        (module
          (global (export "g") (mut externref) (ref.null extern))
          (table (export "t") 1 funcref)
          (func (export "f") (loop (br 0))))"""
    e = Raw(native, text)
    table, glob, others = e.exports["t"], e.exports["g"], []

    def instantiate_another() -> None:
        instantiate(e.store, Module(e.store.engine, "(module (table 1 funcref))"), {})

    def harm() -> None:
        actions: list[Callable[[], object]] = [
            lambda: e.call("f"),
            lambda: table.set(0, None),
            lambda: table.get(0),
            lambda: table.grow(1, None),
            lambda: glob.value,
            lambda: setattr(glob, "value", "object"),
            instantiate_another,
        ]
        try:
            for action in actions:
                try:
                    action()
                except WasmError as error:
                    others.append(error.message)
        finally:
            e.store.interrupt()

    thread = threading.Timer(0.1, harm)
    thread.start()
    with pytest.raises(Interrupted):
        e.call("f")
    thread.join()
    assert others == ["the store is in use by another thread"] * 7


@pytest.mark.parametrize("type", ["(sub (func (result i32)))", "(func (result i32))"])
def test_a_callable_serves_an_import_of_any_function_type(engine: str, type: str) -> None:
    text = f"""(module (rec (type $f {type}) (type (struct)))
      (import "h" "f" (func $f (type $f))) (func (export "g") (result i32) (call $f)))"""
    instance = tinywasm.instantiate(text, {"h": {"f": lambda: 5}}, store=store_of(engine))
    assert instance.exports.g() == 5


@pytest.mark.parametrize("call", ["call", "return_call"])
def test_a_function_with_too_many_locals_leaves_its_caller_in_the_backtrace_once(
    engine: str, call: str
) -> None:
    text = f"""
    (module
      (func $many (local i64))
      (func $caller ({call} $many))
      (func (export "f") (call $caller)))"""
    syntax = parse_module(text)
    many = replace(syntax.functions[0], locals=((1 << 30, I64),))
    syntax = replace(syntax, functions=[many, *syntax.functions[1:]])
    with pytest.raises(Trap, match="function 0 has more than 1,000,000 locals") as caught:
        Raw(engine, syntax).call("f")
    assert [frame.func_index for frame in caught.value.frames] == [1, 2]


def test_a_module_whose_encoding_is_a_view_runs_from_it(engine: str) -> None:
    text = """
    (module
      (type $i8 (array i8)) (type $i16 (array (mut i16))) (type $f64 (array f64)) (type $v (array v128))
      (memory 1) (global $g i32 (i32.const 7)) (global $f f32 (f32.const 1.5))
      (table $t 2 funcref (ref.func $one)) (elem $e func $one)
      (data (i32.const 8) "active") (data $none "")
      (data $d "\\01\\02\\03\\04\\05\\06\\07\\08\\09\\0a\\0b\\0c\\0d\\0e\\0f\\10")
      (func $one (result i32) (i32.const 1))
      (func (export "f") (result i32 i32 i32 f64 i32 i32) (local $a (ref null $i16))
        (memory.init $d (i32.const 64) (i32.const 1) (i32.const 3))
        (memory.init $none (i32.const 0) (i32.const 0) (i32.const 0))
        (i32.load (i32.const 8)) (i32.load (i32.const 64))
        (array.get_u $i8 (array.new_data $i8 $d (i32.const 2) (i32.const 4)) (i32.const 1))
        (array.get $f64 (array.new_data $f64 $d (i32.const 8) (i32.const 1)) (i32.const 0))
        (i32x4.extract_lane 3 (array.get $v (array.new_data $v $d (i32.const 0) (i32.const 1)) (i32.const 0)))
        (local.set $a (array.new_default $i16 (i32.const 4)))
        (array.init_data $i16 $d (local.get $a) (i32.const 1) (i32.const 4) (i32.const 2))
        (i32.add
          (array.get_u $i16 (local.get $a) (i32.const 2))
          (call_indirect $t (result i32) (i32.const 1)))))
    """
    encoded = tinywasm.wat2wasm(text)
    results = [Raw(engine, decode(source)).call("f") for source in (encoded, memoryview(bytearray(encoded)))]
    assert results[0] == results[1]
    assert results[0][:3] == [int.from_bytes(b"acti", "little"), 0x040302, 4]


def test_the_backtrace_of_an_interrupted_loop_leads_into_it(engine: str) -> None:
    store = store_of(engine)
    text = """
        (module (memory (export "m") 1)
          (func (export "f") (i32.store8 (i32.const 0) (i32.const 1)) (loop (nop) (nop) (br 0))))"""
    e = tinywasm.instantiate(text, store=store).exports

    def interrupt() -> None:
        while not e.m[0]:
            time.sleep(0.001)
        store.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted) as caught:
        e.f()
    thread.join()
    # An engine looks where the loop begins, at its first `nop`, or where it goes back, at `br`.
    assert [frame.func_offset in (9, 11) for frame in caught.value.frames] == [True]
