"""What is done with a store while a call is under way: by another thread, and in this one in every way
that Python has of running something in the middle of something else."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from greenlet import getcurrent, greenlet

import tinywasm
from tinywasm import (
    Caller,
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Instance,
    Interrupted,
    Limits,
    Linker,
    Memory,
    MemoryType,
    Module,
    Store,
    Table,
    TableType,
    Tag,
    TagType,
    ValType,
    WasiConfig,
    WasmError,
)
from tinywasm.api.func import BoundFunc
from tinywasm.api.instance import Exports, InstanceExports

pytestmark = pytest.mark.slow

TEXT = """
(module
  (import "h" "wait" (func $wait))
  (type $s (struct (field i32)))
  (memory (export "memory") 1 4)
  (table (export "table") 2 8 externref)
  (global (export "global") (mut i32) (i32.const 7))
  (tag (export "tag"))
  (func (export "wait") (param i32) (result i32) (local (ref null $s))
    (local.set 1 (struct.new $s (local.get 0)))
    (call $wait)
    (drop (struct.new $s (i32.const -1)))
    (i32.add (struct.get $s 0 (local.get 1)) (i32.const 1)))
  (func (export "spin") (param i32) (result i32)
    (loop
      (call $wait)
      (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 0))
  (func (export "reference") (result (ref $s)) (struct.new $s (i32.const 5)))
  (func (export "read") (param (ref $s)) (result i32) (struct.get $s 0 (local.get 0)))
  (func (export "one") (result i32) (i32.const 1)))"""
SMALL = '(module (import "" "f" (func)) (func (export "g") (result i32) (i32.const 3)))'
I32 = ValType.i32()


class World:
    """A store with one of everything, and a module whose host function does what it is told."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.waits: Callable[[], Any] = lambda: None
        self.caller: Caller | None = None
        self.instance = tinywasm.instantiate(TEXT, {"h": {"wait": self._wait}}, store=store)
        self.exports = self.instance.exports
        self.handles = self.instance.exports(store)
        self.module = Module(store.engine, SMALL)
        self.func = Func(store, FuncType(), lambda: None)
        self.linker = Linker(store.engine)
        self.linker.define(store, "", "f", self.func)
        self.linker.define_func("host", "", FuncType(), lambda: None)
        self.reference = self.exports.reference()

    def _wait(self) -> None:
        self.waits()


# By class and method: what another thread may do meanwhile, and what is refused to it. What tells of types,
# or is of no store, is open; so are memories, whose bytes are shared with all the world.
OPEN: dict[str, Callable[[World], Any]] = {
    "Store.data": lambda w: w.store.data(),
    "Store.clear_interrupt": lambda w: w.store.clear_interrupt(),
    "Memory.type": lambda w: w.handles["memory"].type(w.store),
    "Memory.size": lambda w: w.handles["memory"].size(w.store),
    "Memory.data_len": lambda w: w.handles["memory"].data_len(w.store),
    "Memory.page_size": lambda w: w.handles["memory"].page_size(w.store),
    "Memory.page_size_log2": lambda w: w.handles["memory"].page_size_log2(w.store),
    "Memory.data_ptr": lambda w: w.handles["memory"].data_ptr(w.store)[0],
    "Memory.get_buffer_ptr": lambda w: bytes(w.handles["memory"].get_buffer_ptr(w.store, 4)),
    "Memory.read": lambda w: w.handles["memory"].read(w.store, 0, 4),
    "Memory.write": lambda w: w.handles["memory"].write(w.store, b"abc", 0),
    "Memory.__buffer__": lambda w: bytes(memoryview(w.handles["memory"])[:4]),
    "Memory.__len__": lambda w: len(w.handles["memory"]),
    "Memory.__getitem__": lambda w: w.handles["memory"][0],
    "Memory.__setitem__": lambda w: w.handles["memory"].__setitem__(1, 5),
    "Table.type": lambda w: w.handles["table"].type(w.store),
    "Global.type": lambda w: w.handles["global"].type(w.store),
    "Tag.type": lambda w: w.handles["tag"].type(w.store),
    "Tag.eq": lambda w: w.handles["tag"].eq(w.store, w.handles["tag"]),
    "Func.type": lambda w: w.func.type(w.store),
    "BoundFunc.type": lambda w: w.exports.one.type,
    "Exports.__call__": lambda w: w.exports(w.store) is w.handles,
    "Exports.__getitem__": lambda w: w.exports["one"].type,
    "Exports.__getattr__": lambda w: w.exports.read.type,
    "Exports.__dir__": lambda w: "one" in dir(w.exports),
    "Exports.__iter__": lambda w: list(w.exports),
    "Exports.__len__": lambda w: len(w.exports),
    "Exports.__contains__": lambda w: "one" in w.exports,
    "InstanceExports.by_index": lambda w: len(w.handles.by_index),
    "InstanceExports.__getitem__": lambda w: w.handles[0] == w.handles["memory"],
    "InstanceExports.__iter__": lambda w: list(w.handles),
    "InstanceExports.__len__": lambda w: len(w.handles),
    "InstanceExports.__contains__": lambda w: "one" in w.handles,
    "Instance.store": lambda w: w.instance.store is w.store,
    "Instance.module": lambda w: len(w.instance.module.exports),
    "Instance.exports": lambda w: w.instance.exports is w.exports,
    "Linker.define": lambda w: Linker(w.store.engine).define(w.store, "m", "n", w.func),
    "Linker.define_func": lambda w: Linker(w.store.engine).define_func("m", "n", FuncType(), print),
    "Linker.define_instance": lambda w: Linker(w.store.engine).define_instance(w.store, "m", w.instance),
    "Linker.define_wasi": lambda w: Linker(w.store.engine).define_wasi(),
    "Linker.define_unknown_imports_as_traps": lambda w: Linker(
        w.store.engine
    ).define_unknown_imports_as_traps(w.module),
    "Linker.get": lambda w: w.linker.get(w.store, "", "f") == w.func,
    "reference ==": lambda w: w.reference == w.reference,
    "reference hash": lambda w: hash(w.reference) == hash(w.reference),
}


def define_module(world: World) -> None:
    if not world.linker.allow_shadowing:
        world.linker.define_module(world.store, str(time.monotonic_ns()), world.module)


REFUSED: dict[str, Callable[[World], Any]] = {
    "Store.set_fuel": lambda w: w.store.set_fuel(1_000_000),
    "Store.get_fuel": lambda w: w.store.get_fuel() > 0,
    "Store.set_deadline": lambda w: w.store.set_deadline(None),
    "Store.set_epoch_deadline": lambda w: w.store.set_epoch_deadline(5),
    "Store.set_limits": lambda w: w.store.set_limits(memory_size=1 << 20),
    "Store.set_wasi": lambda w: w.store.set_wasi(WasiConfig()),
    "Store.gc": lambda w: w.store.gc(),
    "Memory.__init__": lambda w: Memory(w.store, MemoryType(Limits(1, 1))).size(w.store),
    "Memory.grow": lambda w: w.handles["memory"].grow(w.store, 0) > 0,
    "Table.__init__": lambda w: Table(w.store, TableType(ValType.externref(), Limits(1, 1)), None).type(
        w.store
    ),
    "Table.size": lambda w: w.handles["table"].size(w.store),
    "Table.grow": lambda w: w.handles["table"].grow(w.store, 0, None),
    "Table.get": lambda w: w.handles["table"].get(w.store, 0),
    "Table.set": lambda w: w.handles["table"].set(w.store, 0, "object"),
    "Table.__len__": lambda w: len(w.handles["table"]),
    "Table.__iter__": lambda w: len(list(w.handles["table"])),
    "Table.__getitem__": lambda w: w.handles["table"][1],
    "Table.__setitem__": lambda w: w.handles["table"].__setitem__(0, "object"),
    "Global.__init__": lambda w: Global(w.store, GlobalType(I32, True), 5).type(w.store),
    "Global.value": lambda w: w.handles["global"].value(w.store),
    "Global.set_value": lambda w: w.handles["global"].set_value(w.store, 7),
    "Tag.__init__": lambda w: Tag(w.store, TagType(FuncType())).type(w.store),
    "Func.__init__": lambda w: Func(w.store, FuncType(), print).type(w.store),
    "Func.__call__": lambda w: w.handles["one"](w.store),
    "Func.__call__ of a host function": lambda w: w.func(w.store),
    "BoundFunc.__call__": lambda w: w.exports.one(),
    "BoundFunc.__call__ with a reference": lambda w: w.exports.read(w.reference),
    "Instance.__init__": lambda w: Instance(w.store, w.module, [w.func]).exports.g(),
    "Linker.instantiate": lambda w: w.linker.instantiate(w.store, w.module).exports.g(),
    "Linker.define_module": define_module,
    "Linker.get of a host function": lambda w: w.linker.get(w.store, "host", "").type(w.store),
    "Linker.get_default": lambda w: w.linker.get_default(w.store, "nothing").type(w.store),
    "instantiate": lambda w: (
        tinywasm.instantiate("(module (table 1 funcref))", store=w.store).store is w.store
    ),
}


ACTIONS = {**OPEN, **REFUSED}
# What ends the call, which is tested below; what engines call; what makes things of no store, or is refused.
ELSEWHERE = {
    *(
        "Store.interrupt",
        "Store.backend",
        "Store.__init__",
        "Linker.__init__",
        "Exports.__init__",
        "Memory.__new__",
    ),
    *("Store.charge", "Store.pay", "Store.poll", "Store.poll_time", "Store.guard", "Store.epoch_advanced"),
    *("InstanceExports.__init__", "Exports.__setattr__", "Exports.__delattr__"),
}


def named(action: str) -> str:
    return action.split(" ")[0]


def public_methods(cls: type) -> Iterator[str]:
    for name, member in vars(cls).items():
        plain = inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)
        shown = not name.startswith("_") or (name.startswith("__") and name not in ("__repr__", "__module__"))
        if plain and shown:
            yield f"{cls.__name__}.{name}"


def test_every_public_method_is_in_the_table() -> None:
    classes = [Store, Memory, Table, Global, Tag, Func, BoundFunc, Instance, Exports, InstanceExports, Linker]
    there = {method for cls in classes for method in public_methods(cls)}
    known = {named(action) for action in ACTIONS} | ELSEWHERE
    assert not there - known
    assert not {name for name in ELSEWHERE if "." in name} - there - {"Store.backend"}


@pytest.fixture
def world(make_store: Any) -> World:
    store = make_store(consume_fuel=True)
    store.set_fuel(1_000_000)
    return World(store)


def outcome(action: Callable[[World], Any], world: World) -> Any:
    try:
        return action(world)
    except WasmError as error:
        return error.message


@pytest.mark.parametrize("name", ACTIONS)
def test_another_thread_is_refused_what_is_not_open(world: World, name: str) -> None:
    expected = outcome(ACTIONS[name], world) if name in OPEN else "the store is in use by another thread"
    seen: list[Any] = []

    def in_thread() -> None:
        thread = threading.Thread(target=lambda: seen.append(outcome(ACTIONS[name], world)))
        thread.start()
        thread.join(60)

    before = dict(world.store.limits.counts)
    world.waits = in_thread
    assert world.exports.wait(41) == 42
    assert seen == [expected]
    if name in REFUSED:
        assert world.store.limits.counts == before
        world.waits = lambda: None
        in_thread()
        assert seen[1] != expected


def within_a_greenlet(act: Callable[[], None]) -> None:
    greenlet(act).switch()


def within_a_greenlet_that_waits(act: Callable[[], None]) -> None:
    main = getcurrent()

    def work() -> None:
        main.switch()
        act()

    other = greenlet(work)
    other.switch()
    other.switch()


def within_a_signal_handler(act: Callable[[], None]) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: act())
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0)
    finally:
        signal.signal(signal.SIGUSR1, before)


def within_a_finalizer(act: Callable[[], None]) -> None:
    class Finalized:
        def __del__(self) -> None:
            act()

    cycle: Any = Finalized()
    cycle.me = cycle
    del cycle
    gc.collect(0)


def within_a_weak_reference_callback(act: Callable[[], None]) -> None:
    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing, lambda _: act())
    del thing
    assert reference() is None


def within_a_callback_of_the_collector(act: Callable[[], None]) -> None:
    def callback(phase: str, info: dict[str, int]) -> None:
        gc.callbacks.remove(callback)
        act()

    gc.callbacks.append(callback)
    gc.collect(0)


def within_a_generator_that_is_closed(act: Callable[[], None]) -> None:
    def generate() -> Iterator[int]:
        try:
            yield 1
        finally:
            act()

    generator = generate()
    next(generator)
    del generator


def within_a_task(act: Callable[[], None]) -> None:
    async def task() -> None:
        await asyncio.sleep(0)
        act()

    async def both() -> None:
        await asyncio.gather(task(), asyncio.sleep(0))

    asyncio.run(both())


CONTEXTS = [
    within_a_greenlet,
    within_a_greenlet_that_waits,
    within_a_signal_handler,
    within_a_finalizer,
    within_a_weak_reference_callback,
    within_a_callback_of_the_collector,
    within_a_generator_that_is_closed,
    within_a_task,
]


@pytest.mark.parametrize("context", CONTEXTS)
def test_this_thread_may_do_everything_in_the_middle_of_a_call(
    world: World, context: Callable[[Callable[[], None]], None]
) -> None:
    for name, action in ACTIONS.items():
        world.waits = lambda: None
        expected = outcome(action, world)
        seen: list[Any] = []

        def act(action: Callable[[World], Any] = action, seen: list[Any] = seen) -> None:
            seen.append(outcome(action, world))

        world.waits = partial(context, act)
        assert world.exports.wait(41) == 42, name
        assert seen == [expected], name


def test_signal_handlers_use_the_store_wherever_they_come(world: World) -> None:
    """On the native engine they come out of loops, on the other one between any two steps."""
    seen: list[int] = []

    def handler(*_: Any) -> None:
        seen.append(world.exports.one() + world.handles["global"].value(world.store))

    world.store.set_fuel(1 << 40)
    text = """
    (module (func (export "f") (param i32) (result i32) (local i32)
      (loop
        (local.set 1 (i32.add (local.get 1) (i32.const 3)))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
      (local.get 1)))"""
    f = tinywasm.instantiate(text, store=world.store).exports.f
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        until = time.monotonic() + 60
        while len(seen) < 20 and time.monotonic() < until:
            assert f(5000) == 15000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(seen) >= 20 and set(seen) == {8}


class _Stop(Exception):
    pass


def test_a_handler_that_raises_leaves_the_store_to_others(world: World) -> None:
    """Wherever the exception comes, no call is left open that would keep other threads out."""

    def handler(*_: Any) -> None:
        raise _Stop

    one, raised = world.exports.one, 0
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for turn in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 * (1 + turn % 17))
                for _ in range(2000):
                    one()
                # The handler may come at this call, too; it comes once.
                signal.setitimer(signal.ITIMER_REAL, 0)
            except _Stop:
                raised += 1
            # The thread's next call tidies up.
            assert one() == 1
            seen: list[Any] = []
            thread = threading.Thread(target=lambda seen=seen: seen.append(outcome(lambda w: one(), world)))
            thread.start()
            thread.join(60)
            assert seen == [1], turn
    finally:
        signal.signal(signal.SIGALRM, before)
    assert raised > 100


def test_a_view_of_the_caller_is_no_way_around(world: World) -> None:
    seen: list[Any] = []

    def work(caller: Caller) -> None:
        def in_thread() -> None:
            seen.append(caller.get("read"))
            seen.append(outcome(lambda w: caller.set_fuel(5), world))
            seen.append(outcome(lambda w: w.handles["one"](caller), world))

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join(60)

    text = '(module (import "" "f" (func $f)) (func (export "read")) (func (export "run") (call $f)))'
    host = Func(world.store, FuncType(), work, access_caller=True)
    instance = tinywasm.instantiate(text, {"": {"f": host}}, store=world.store)
    instance.exports.run()
    assert seen[0] == instance.exports(world.store)["read"]
    assert seen[1:] == ["the store is in use by another thread"] * 2


def test_engines_and_modules_are_shared(world: World) -> None:
    seen: list[Any] = []

    def work() -> None:
        store = Store(world.store.engine)
        store.set_fuel(100)
        seen.append(Instance(store, world.module, [Func(store, FuncType(), print)]).exports.g())

    def in_threads() -> None:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    world.waits = in_threads
    assert world.exports.wait(41) == 42
    assert seen == [3] * 4


def test_two_threads_that_set_up_a_store_get_one_engine_for_it(make_store: Any) -> None:
    for _ in range(20):
        store = make_store()
        ready = threading.Barrier(4)
        made: list[Memory] = []

        def work(store: Store = store, ready: threading.Barrier = ready, made: list[Memory] = made) -> None:
            ready.wait(60)
            made.append(Memory(store, MemoryType(Limits(1, 1))))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert store.limits.counts["memories"] == len(made) == 4


INTERRUPTING = """
(module (import "h" "h" (func $h))
  (func (export "last") (call $h))
  (func (export "one") (result i32) (i32.const 1)))"""


class TestInterrupts:
    def test_one_that_came_too_late_is_taken_back(self, store: Store) -> None:
        exports = tinywasm.instantiate(INTERRUPTING, {"h": {"h": store.interrupt}}, store=store).exports
        try:
            exports.last()
        except Interrupted:
            store.interrupt()
        store.clear_interrupt()
        assert exports.one() == 1
        store.interrupt()
        with pytest.raises(Interrupted):
            exports.one()
        assert exports.one() == 1

    def test_what_is_asked_for_afterwards_holds(self, store: Store) -> None:
        exports = tinywasm.instantiate(INTERRUPTING, {"h": {"h": lambda: None}}, store=store).exports
        store.interrupt()
        store.clear_interrupt()
        store.interrupt()
        with pytest.raises(Interrupted):
            exports.one()
        store.set_deadline(0)
        store.clear_interrupt()
        for _ in range(2):
            with pytest.raises(Interrupted):
                exports.one()
        store.set_deadline(None)
        assert exports.one() == 1
        store.set_epoch_deadline(0)
        store.clear_interrupt()
        with pytest.raises(Interrupted):
            exports.one()

    def test_one_taken_back_during_the_call_does_not_end_it(self, store: Store) -> None:
        def host() -> None:
            store.interrupt()
            store.clear_interrupt()

        text = """
        (module (import "h" "h" (func $h)) (func (export "f") (param i32) (result i32)
          (call $h)
          (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
          (local.get 0)))"""
        f = tinywasm.instantiate(text, {"h": {"h": host}}, store=store).exports.f
        assert f(40_000) == 0

    def test_one_that_comes_as_a_call_ends_hits_no_later_one(self, store: Store) -> None:
        """Another thread interrupts at any point of short calls, whose end it often misses."""
        exports = tinywasm.instantiate(INTERRUPTING, {"h": {"h": lambda: None}}, store=store).exports
        asked, stop, wanted = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

        def ask() -> None:
            while not stop.is_set():
                wanted.acquire(timeout=60)
                store.interrupt()
                asked.release()

        thread = threading.Thread(target=ask)
        thread.start()
        hits = 0
        try:
            for _ in range(500):
                wanted.release()
                while not asked.acquire(blocking=False):
                    try:
                        exports.one()
                    except Interrupted:
                        hits += 1
                # It was asked for before this, whether it hit or not.
                store.clear_interrupt()
                for _ in range(3):
                    assert exports.one() == 1
        finally:
            stop.set()
            wanted.release()
            thread.join(60)
        store.clear_interrupt()
        assert exports.one() == 1
        assert hits <= 500


def test_an_engine_counts_epochs_from_all_threads(make_store: Any) -> None:
    engine: Engine = make_store().engine

    def work() -> None:
        for _ in range(500):
            engine.increment_epoch()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert engine.epoch == 2000
