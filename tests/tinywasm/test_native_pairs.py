"""Words that the native loop does two in one: what they do is what the two do, wherever code comes from."""

from __future__ import annotations

import pytest

import tinywasm
from tinywasm import Config, Engine, OutOfFuel, Store, Trap
from tinywasm.engine import native_available

pytestmark = pytest.mark.skipif(not native_available, reason="the native engine is not built")


def exports(text: str, engine: str, fuel: int | None = None) -> tuple[Store, tinywasm.Exports]:
    store = Store(Engine(Config(engine=engine, consume_fuel=fuel is not None)))
    if fuel is not None:
        store.set_fuel(fuel)
    return store, tinywasm.instantiate(text, store=store).exports


def test_a_branch_into_the_middle_of_a_pair() -> None:
    text = """
        (module (memory 1) (data (i32.const 8) "\\2a")
          (func (export "f") (param i32 i32) (result i32)
            (block $skip
              (br_if $skip (i32.eq (local.get 1) (i32.const 7)))
              (local.set 0 (i32.add (local.get 0) (i32.const 4))))
            (i32.load8_u offset=4 (local.get 0))))"""
    _, made = exports(text, "native")
    assert made.f(0, 0) == 42
    assert made.f(4, 7) == 42
    assert made.f(0, 7) == 0


def test_a_trap_in_the_second_word_names_its_instruction() -> None:
    text = """
        (module (memory 1)
          (func (export "f") (param i32) (result i32)
            (i32.load8_u offset=4 (i32.add (local.get 0) (local.get 0)))))"""
    offsets = []
    for engine in ("python", "native"):
        _, made = exports(text, engine)
        assert made.f(8) == 0
        with pytest.raises(Trap, match="out of bounds") as caught:
            made.f(0x7FFF_FFFF)
        offsets.append([frame.module_offset for frame in caught.value.frames])
    assert offsets[0] == offsets[1]


@pytest.mark.parametrize("fuel", range(12))
def test_fuel_runs_out_at_the_same_word(fuel: int) -> None:
    text = """
        (module (global $steps (export "steps") (mut i32) (i32.const 0))
          (func (export "f") (param i32)
            (loop $again
              (global.set $steps (i32.add (global.get $steps) (i32.const 1)))
              (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"""
    seen = []
    for engine in ("python", "native"):
        store, made = exports(text, engine, fuel)
        with pytest.raises(OutOfFuel):
            made.f(100)
        seen.append((made.steps.value(store), store.get_fuel()))
    assert seen[0] == seen[1]


def test_a_value_that_both_operands_take() -> None:
    text = """
        (module
          (func (export "f") (param i32 f64) (result i32 f64) (local i32 f64)
            (local.set 2 (i32.add (local.get 0) (i32.const 3)))
            (local.set 2 (i32.add (local.get 2) (local.get 2)))
            (local.set 3 (f64.add (local.get 1) (local.get 1)))
            (local.set 3 (f64.mul (local.get 3) (local.get 3)))
            (local.get 2) (local.get 3)))"""
    for engine in ("python", "native"):
        _, made = exports(text, engine)
        assert list(made.f(4, 1.5)) == [14, 9.0]
