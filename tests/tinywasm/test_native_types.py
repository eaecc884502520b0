"""Types of the native engine: made for whoever uses them, the same ones for all, and freed with the last."""

from __future__ import annotations

import gc
from pathlib import Path
from random import Random
from typing import Any

import pytest

import tinywasm
from tinywasm import Config, Engine, Func, FuncType, Instance, Module, Store, Trap, ValType
from tinywasm.engine import native_available

pytestmark = pytest.mark.skipif(not native_available, reason="the native engine is not built")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Config(engine="native"))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def many_types(random: Random) -> str:
    def numbers() -> str:
        return " ".join(random.choice(("i32", "i64", "f32", "f64")) for _ in range(20))

    functions = "".join(f"(type (func (param {numbers()})))" for _ in range(200))
    structures = "".join(f"(type (sub (struct (field {numbers()}))))" for _ in range(200))
    return f'(module {functions} {structures} (func (export "f") (result i32) (i32.const 3)))'


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_types_are_freed_with_the_last_store_that_uses_them(engine: Engine) -> None:
    random = Random(1)

    def load(count: int) -> None:
        for _ in range(count):
            store = Store(engine)
            assert Instance(store, Module(engine, many_types(random)), []).exports(store)["f"](store) == 3
        gc.collect()

    load(40)
    before = resident()
    load(30)
    # 12,000 types; they took 1.3 kB each.
    assert resident() - before < 5 << 20


PRODUCER = """
    (module
      (type $s (sub (struct (field i32))))
      (type $t (sub $s (struct (field i32) (field i64))))
      (global (export "g") (mut (ref null $s)) (ref.null $s))
      (func (export "make") (param i32) (result (ref $s)) (struct.new $t (local.get 0) (i64.const 1))))"""
CONSUMER = """
    (module
      (type $s (sub (struct (field i32))))
      (type $t (sub $s (struct (field i32) (field i64))))
      (type $u (sub $s (struct (field i32) (field f64))))
      (func (export "is_t") (param anyref) (result i32) (ref.test (ref $t) (local.get 0)))
      (func (export "is_u") (param anyref) (result i32) (ref.test (ref $u) (local.get 0)))
      (func (export "get") (param anyref) (result i32)
        (struct.get $s 0 (ref.cast (ref $s) (local.get 0)))))"""


def test_objects_keep_their_types_when_module_and_instance_are_dropped(engine: Engine) -> None:
    store = Store(engine)
    value: Any = tinywasm.instantiate(PRODUCER, store=store).exports.make(7)
    for _ in range(3):
        gc.collect()
        # Other types where those of the dropped ones may have lain.
        tinywasm.instantiate(many_types(Random(2)), store=Store(engine))
    e = tinywasm.instantiate(CONSUMER, store=store).exports
    assert (e.is_t(value), e.is_u(value), e.get(value)) == (1, 0, 7)


def test_a_reference_outlives_its_store(engine: Engine) -> None:
    value: Any = tinywasm.instantiate(PRODUCER, store=Store(engine)).exports.make(7)
    for seed in range(3):
        gc.collect()
        tinywasm.instantiate(many_types(Random(seed)), store=Store(engine))
    assert value.heap is not None and len(value.type.composite.fields) == 2
    assert value == value and hash(value) == hash(value)


INDIRECT = """
    (module (import "h" "f" (func $f (param i32 i64) (result i64))) (table (export "t") 1 funcref)
      (type $odd (func (param f32 f32 f64))) (tag (param i32 f64 i32)) (elem declare func $f)
      (func (export "set") (table.set 0 (i32.const 0) (ref.func $f)))
      (func (export "odd")
        (call_indirect (type $odd) (f32.const 0) (f32.const 0) (f64.const 0) (i32.const 0)))
      (func (export "call") (result i64)
        (call_indirect (param i32 i64) (result i64) (i32.const 3) (i64.const 4) (i32.const 0))))"""


def test_host_functions_and_tags_keep_their_types(engine: Engine) -> None:
    store = Store(engine)
    kinds = FuncType([ValType.i32(), ValType.i64()], [ValType.i64()])
    host = Func(store, kinds, lambda a, b: a * b)
    e = Instance(store, Module(engine, INDIRECT), [host]).exports
    del host, kinds
    e.set()
    for seed in range(3):
        gc.collect()
        tinywasm.instantiate(many_types(Random(seed)), store=Store(engine))
    assert e.call() == 12
    with pytest.raises(Trap, match="indirect call type mismatch"):
        e.odd()
