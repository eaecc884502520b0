"""Execution through the public surface: control, calls, traps, fuel, interruption, exceptions, heap."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import tinywasm
from tests.engines import ENGINES
from tinywasm import (
    Config,
    Engine,
    Interrupted,
    OutOfFuel,
    StackExhausted,
    Store,
    Trap,
    TrapCode,
    WasmException,
)

FAC = """
(module
  (func $fac (export "fac") (param i64) (result i64)
    (if (result i64) (i64.eqz (local.get 0))
      (then (i64.const 1))
      (else (i64.mul (local.get 0) (call $fac (i64.sub (local.get 0) (i64.const 1))))))))
"""


def exports(text: str, imports: Any = None, **config: Any) -> tinywasm.Exports:
    store = Store(Engine(Config(**config)))
    return tinywasm.instantiate(text, imports, store=store).exports


@pytest.fixture(autouse=True, params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine that configurations have by default."""
    monkeypatch.setenv("TINYWASM_ENGINE", request.param)
    return str(request.param)


def test_recursion_gives_the_factorial() -> None:
    assert exports(FAC).fac(20) == 2432902008176640000


def test_integers_come_back_signed_and_go_in_either_way() -> None:
    e = exports('(module (func (export "id") (param i32) (result i32) (local.get 0)))')
    assert e.id(-1) == -1
    assert e.id(0xFFFFFFFF) == -1
    with pytest.raises(OverflowError, match="out of range for i32"):
        e.id(1 << 32)
    with pytest.raises(TypeError, match="takes 1 arguments"):
        e.id()


def test_branches_drop_operands_below_their_values() -> None:
    e = exports("""
        (module (func (export "f") (param i32) (result i32)
          (i32.const 5)
          (block $out (result i32)
            (i32.const 1) (i32.const 2) (i32.const 7)
            (br_if $out (local.get 0))
            (drop) (drop) (drop) (i32.const 9))
          (i32.add)))""")
    assert e.f(1) == 12
    assert e.f(0) == 14


def test_br_table_takes_the_default_beyond_its_labels() -> None:
    e = exports("""
        (module (func (export "f") (param i32) (result i32)
          (block (block (block (br_table 0 1 2 (local.get 0)))
            (return (i32.const 10)))
            (return (i32.const 20)))
          (i32.const 30)))""")
    assert [e.f(n) for n in (0, 1, 2, -1)] == [10, 20, 30, 30]


def test_loop_parameters_and_multiple_results() -> None:
    e = exports("""
        (module (func (export "f") (param i32) (result i32 i32)
          (i32.const 0)
          (loop (param i32) (result i32)
            (i32.add (local.get 0))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br_if 0 (local.get 0)))
          (i32.const 3)))""")
    assert e.f(10) == [55, 3]


def test_trap_has_code_message_and_frames_with_names() -> None:
    e = exports("""
        (module $m
          (func $inner (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
          (func $outer (export "f") (result i32) (call $inner (i32.const 0))))""")
    with pytest.raises(Trap) as caught:
        e.f()
    trap = caught.value
    assert trap.code is TrapCode.INTEGER_DIVISION_BY_ZERO
    assert trap.message == "integer divide by zero"
    assert [(f.module_name, f.func_name, f.func_offset) for f in trap.frames] == [
        ("m", "inner", 4),
        ("m", "outer", 2),
    ]


def test_endless_recursion_is_a_trap_at_the_configured_depth() -> None:
    text = '(module (func $f (export "f") (call $f)))'
    with pytest.raises(StackExhausted, match="call stack exhausted") as caught:
        exports(text, max_call_depth=50).f()
    assert len(caught.value.frames) == 50


def test_recursion_through_the_host_is_a_trap_as_well() -> None:
    holder: list[Any] = []
    text = '(module (import "h" "again" (func $again)) (func (export "f") (call $again)))'
    e = exports(text, {"h": {"again": lambda: holder[0].f()}}, max_call_depth=10_000)
    holder.append(e)
    with pytest.raises(StackExhausted):
        e.f()


def test_a_hundred_thousand_tail_calls_grow_nothing() -> None:
    e = exports(
        """
        (module (func $f (export "f") (param i32) (result i32)
          (if (i32.eqz (local.get 0)) (then (return (i32.const 42))))
          (return_call $f (i32.sub (local.get 0) (i32.const 1)))))""",
        max_call_depth=3,
    )
    assert e.f(100_000) == 42


def test_fuel_is_the_number_of_instructions() -> None:
    store = Store(Engine(Config(consume_fuel=True)))
    e = tinywasm.instantiate(
        '(module (func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))',
        store=store,
    ).exports
    with pytest.raises(OutOfFuel):
        e.f(1)
    store.set_fuel(10)
    assert e.f(1) == 2
    assert store.get_fuel() == 7


def test_fuel_ends_an_endless_loop() -> None:
    store = Store(Engine(Config(consume_fuel=True)))
    e = tinywasm.instantiate('(module (func (export "f") (loop (br 0))))', store=store).exports
    store.set_fuel(1000)
    with pytest.raises(OutOfFuel, match="all fuel consumed"):
        e.f()
    assert store.get_fuel() == 0


def test_unmetered_store_says_how_to_meter() -> None:
    with pytest.raises(tinywasm.WasmError, match="consume_fuel=True"):
        Store().set_fuel(1)


@pytest.mark.parametrize(
    "text",
    [
        '(module (func (export "f") (loop (br 0))))',
        '(module (func $f (export "f") (return_call $f)))',
    ],
)
def test_another_thread_interrupts_and_the_store_stays_usable(text: str) -> None:
    store = Store()
    e = tinywasm.instantiate(text, store=store).exports
    timer = threading.Timer(0.05, store.interrupt)
    timer.start()
    with pytest.raises(Interrupted):
        e.f()
    timer.join()
    assert tinywasm.instantiate(FAC, store=store).exports.fac(3) == 6


def test_host_exception_comes_out_as_itself() -> None:
    def fail() -> None:
        raise KeyError("mine")

    text = '(module (import "h" "fail" (func $fail)) (func (export "f") (call $fail)))'
    with pytest.raises(KeyError, match="mine"):
        exports(text, {"h": {"fail": fail}}).f()


def test_exception_crosses_the_host_and_is_caught_by_tag() -> None:
    holder: list[Any] = []
    e = exports(
        """
        (module
          (import "h" "callback" (func $callback))
          (tag $t (param i32)) (tag $other)
          (func (export "throw") (throw $t (i32.const 7)))
          (func (export "f") (result i32)
            (block $miss
              (block $hit (result i32)
                (try_table (catch $other $miss) (catch $t $hit) (call $callback))
                (return (i32.const 0)))
              (return))
            (i32.const -1)))""",
        {"h": {"callback": lambda: holder[0].throw()}},
    )
    holder.append(e)
    assert e.f() == 7
    with pytest.raises(WasmException) as caught:
        e.throw()
    assert caught.value.values == (7,)


def test_dropped_structs_and_cycles_are_collected() -> None:
    store = Store()
    store.set_limits(total_memory=1 << 20)
    e = tinywasm.instantiate(
        """
        (module
          (type $node (struct (field (mut (ref null $node))) (field i64)))
          (func (export "f") (param i32) (local $a (ref null $node))
            (loop
              (local.set $a (struct.new $node (ref.null $node) (i64.const 1)))
              (struct.set $node 0 (local.get $a) (local.get $a))
              (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
              (br_if 0 (local.get 0)))))""",
        store=store,
    ).exports
    # Of 16 bytes of fields each at the least, these take three times what the store may.
    e.f(200_000)


def test_signalling_nan_survives_memory_and_locals() -> None:
    e = exports("""
        (module (memory 1)
          (func (export "f") (param i32) (result i32) (local f32)
            (i32.store (i32.const 0) (local.get 0))
            (local.set 1 (f32.load (i32.const 0)))
            (f32.store (i32.const 8) (local.get 1))
            (i32.load (i32.const 8))))""")
    for bits in (0x7FA00000, 0x7F800001, 0x7FC00000, -0x80000000 + 0x7FA12345):
        assert e.f(bits) == bits


@pytest.mark.parametrize("name", ["v128.load8_lane", "v128.store64_lane"])
def test_lanes_are_not_found_around_the_end_of_a_64_bit_memory(name: str) -> None:
    drop = "(drop {})" if "load" in name else "{}"
    access = f"({name} offset=0x8000000000000000 0 (local.get 0) (v128.const i64x2 0 0))"
    e = exports(f'(module (memory i64 1) (func (export "f") (param i64) {drop.format(access)}))')
    for address in (0, -(1 << 63), (1 << 63) - 1):
        with pytest.raises(Trap) as caught:
            e.f(address)
        assert caught.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS
