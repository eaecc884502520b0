"""What stores and instances take of the process, many at a time."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

import tinywasm
from tinywasm import Config, Engine, Module, StackExhausted, Store
from tinywasm.engine import native_available

needs_native = pytest.mark.skipif(not native_available, reason="the native engine is not built")
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
PAGE = 4096
MIB = 1 << 20

RECURSIVE = """
    (module (import "h" "back" (func $back (param i32) (result i32)))
      (func $deep (export "deep") (param i32) (result i64)
        (local i64 i64 i64 i64 i64 i64 i64 i64)
        (if (result i64) (local.get 0)
          (then (i64.add (i64.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))
          (else (i64.const 0))))
      (func $small (export "small") (param i32) (result i32)
        (if (result i32) (local.get 0)
          (then (i32.add (i32.const 1) (call $small (i32.sub (local.get 0) (i32.const 1)))))
          (else (i32.const 0))))
      (func (export "through") (param i32) (result i32)
        (i32.add (local.get 0) (call $back (local.get 0)))))"""


def taken() -> tuple[int, int]:
    """Bytes of address space, and of memory."""
    total, resident = Path("/proc/self/statm").read_text().split()[:2]
    return int(total) * PAGE, int(resident) * PAGE


def recursive(engine: Engine, back: Any = lambda n: n) -> Any:
    store = Store(engine)
    return tinywasm.instantiate(RECURSIVE, imports={"h": {"back": back}}, store=store).exports


@needs_native
@needs_proc
def test_an_idle_store_takes_little_memory_and_address_space() -> None:
    engine = Engine(Config(engine="native"))
    module = Module(engine, '(module (func (export "f") (result i32) (i32.const 5)))')

    def used() -> Any:
        instance = tinywasm.Instance(Store(engine), module, [])
        assert instance.exports.f() == 5
        return instance

    used()
    space, memory = taken()
    kept = [used() for _ in range(1000)]
    assert taken()[0] - space < 64 * MIB
    assert taken()[1] - memory < 1000 * 15_000
    assert kept[0].exports.f() == kept[-1].exports.f() == 5


@needs_native
@needs_proc
def test_what_a_deep_recursion_took_goes_back() -> None:
    e = recursive(Engine(Config(engine="native", max_call_depth=600_000)))
    e.deep(1)
    memory = taken()[1]
    assert e.deep(400_000) == 400_000
    assert taken()[1] - memory < 4 * MIB
    assert e.deep(400_000) == 400_000


@needs_native
def test_the_depth_is_exact_beyond_what_an_idle_stack_keeps() -> None:
    for depth in (4000, 4095, 4096, 4097, 5000, 20_000):
        e = recursive(Engine(Config(engine="native", max_call_depth=depth)))
        assert e.small(depth - 1) == depth - 1
        with pytest.raises(StackExhausted):
            e.small(depth)
        assert e.small(depth - 1) == depth - 1


@needs_native
def test_stores_that_call_each_other_have_stacks_of_their_own() -> None:
    engine = Engine(Config(engine="native"))
    inner = [recursive(engine) for _ in range(20)]

    def back(n: int) -> int:
        # Each runs while all the others before it wait.
        if n == 0:
            return sum(e.deep(100) for e in inner)
        return int(chain[n - 1].through(n - 1))

    chain = [recursive(engine, back) for _ in range(20)]
    assert chain[19].through(19) == sum(range(20)) + 20 * 100
    with pytest.raises(StackExhausted):
        chain[0].deep(20_000)
    assert chain[19].through(19) == sum(range(20)) + 20 * 100


@needs_native
def test_a_store_with_an_instance_has_few_objects_for_the_cyclic_collector() -> None:
    engine = Engine(Config(engine="native"))
    module = Module(engine, '(module (memory (export "m") 1) (func (export "f")))')

    def made() -> Any:
        store = Store(engine)
        return tinywasm.Instance(store, module, [])

    made()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        kept = [made() for _ in range(100)]
        # Each of them costs time at every full collection.
        assert len(gc.get_objects()) - before < len(kept) * 15
    finally:
        gc.enable()
