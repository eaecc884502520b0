"""External references: what is behind them is freed, in good time, and also where it refers to its store."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

import tinywasm
from tests.engines import ENGINES
from tinywasm import Config, Engine, Store
from tinywasm.raw import engine_name

pytestmark = pytest.mark.slow

MODULE = """
    (module
      (type $s (struct (field (mut externref)) (field (mut anyref))))
      (type $a (array (mut externref)))
      (import "h" "call" (func $call (param externref)))
      (import "h" "make" (func $make (result externref)))
      (tag $e (param externref))
      (table (export "table") 3 externref)
      (global (export "global") (mut externref) (ref.null extern))
      (global $object (mut anyref) (ref.null any))
      (func (export "pass") (param externref))
      (func (export "keep") (param externref) (global.set 0 (local.get 0)))
      (func (export "put") (param externref) (table.set 0 (i32.const 1) (local.get 0)))
      (func (export "wrap") (param externref) (result (ref $s))
        (struct.new $s (local.get 0) (ref.null any)))
      (func (export "wrap_and_keep") (param externref)
        (global.set $object (struct.new $s (local.get 0) (array.new $a (local.get 0) (i32.const 2)))))
      (func (export "to_host") (param externref) (call $call (local.get 0)))
      (func (export "many") (param i32)
        (loop (drop (call $make))
          (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
      (func (export "allocate") (param i32)
        (loop (global.set $object (struct.new $s (ref.null extern) (ref.null any)))
          (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"""


class Payload:
    """Something of the embedder's that counts how many of it there are."""

    alive = 0
    most = 0

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)
        Payload.alive += 1
        Payload.most = max(Payload.most, Payload.alive)

    def __del__(self) -> None:
        Payload.alive -= 1


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest) -> Store:
    gc.collect()
    Payload.alive = Payload.most = 0
    return Store(Engine(Config(engine=request.param)))


@pytest.fixture
def engine(store: Store) -> Engine:
    return store.engine


def exports(store: Store, call: Any = lambda value: None) -> Any:
    imports = {"h": {"call": call, "make": lambda: Payload()}}
    return tinywasm.instantiate(MODULE, imports=imports, store=store).exports


def test_references_are_counted_towards_a_collection(store: Store) -> None:
    e = exports(store)
    for _ in range(20_000):
        e["pass"](Payload())
    assert Payload.most < 3000
    e.many(20_000)
    assert Payload.most < 3000


def test_what_is_referred_to_stays_however_many_collections_there_are(store: Store) -> None:
    e = exports(store)
    kept = [e.wrap(Payload(number=number)) for number in range(5000)]
    e.keep(Payload(number=-1))
    e.many(20_000)
    gc.collect()
    store.gc()
    assert Payload.alive >= 5001
    assert e["global"].value(store).number == -1
    assert len(kept) == 5000


@pytest.mark.parametrize("how", ["keep", "put", "wrap_and_keep"])
def test_a_store_that_refers_to_itself_is_freed(engine: Engine, how: str) -> None:
    store = Store(engine)
    e = exports(store)
    payload = Payload(store=store, exports=e)
    gone = weakref.ref(payload), weakref.ref(store)
    e[how](payload)
    del payload, e, store
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    assert Payload.alive == 0


def test_stores_that_refer_to_each_other_are_freed(engine: Engine) -> None:
    stores = [Store(engine) for _ in range(5)]
    gone = [weakref.ref(each) for each in stores]
    for number, each in enumerate(stores):
        exports(each).keep(Payload(store=stores[number - 1]))
    del stores, each
    gc.collect()
    assert [reference() for reference in gone] == [None] * 5


def test_a_cycle_through_a_structure_is_freed_with_its_store(engine: Engine) -> None:
    store = Store(engine)
    e = exports(store)
    payload = Payload()
    payload.structure = e.wrap(payload)  # type: ignore[attr-defined]
    gone = weakref.ref(payload), weakref.ref(store)
    del payload, e, store
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_collecting_during_a_call_frees_nothing_that_is_used(store: Store) -> None:
    seen = []

    def call(value: Any) -> None:
        gc.collect()
        store.gc()
        gc.collect()
        seen.append(value.number)

    e = exports(store, call)
    for number in range(5):
        e.to_host(Payload(number=number, store=store))
    assert seen == [0, 1, 2, 3, 4]


def test_another_thread_collects_while_a_store_allocates(store: Store) -> None:
    e = exports(store)
    e.keep(Payload(store=store))
    done = threading.Event()

    def collect() -> None:
        while not done.is_set():
            gc.collect()

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        e.allocate(300_000 if engine_name(store) == "native" else 3000)
    finally:
        done.set()
        thread.join()
    assert Payload.alive == 1
