"""What bounds running code on both engines: memory, time, Ctrl-C, and one thread a store."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

import tinywasm
from fuzz.hot import AT_ONCE, hot_after
from tests.engines import ENGINES, LANES, configured
from tinywasm import Config, Engine, Interrupted, Module, Store, Trap, TrapCode, WasmError, WasmException
from tinywasm.engine import IMPLEMENTATIONS, native_available

needs_native = pytest.mark.skipif(not native_available, reason="the native engine is not built")
MIB = 1 << 20


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest) -> Store:
    return Store(Engine(Config(engine=request.param)))


def exports(store: Store, text: str, imports: Any = None) -> tinywasm.Exports:
    return tinywasm.instantiate(text, imports=imports or {}, store=store).exports


MEMORIES = """
    (module (memory 1) (table $t 0 funcref)
      (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
      (func (export "grow_table") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0))))"""


def test_memories_and_tables_share_what_a_store_may_take(store: Store) -> None:
    store.set_limits(total_memory=MIB)
    first, second = exports(store, MEMORIES), exports(store, MEMORIES)
    assert first.grow(10) == 1
    assert second.grow(5) == -1
    assert second.grow(3) == 1
    assert first.grow_table(8192) == 0
    assert first.grow_table(1) == -1
    assert second.grow(0) == 4
    with pytest.raises(Trap, match="allocation too large: the store may take 1048576 bytes") as caught:
        exports(store, "(module (memory 1))")
    assert caught.value.trap_code is TrapCode.ALLOCATION_TOO_LARGE


def test_the_total_may_change(store: Store) -> None:
    e = exports(store, MEMORIES)
    store.set_limits(total_memory=0)
    assert e.grow(1) == -1
    assert e.grow(0) == 1
    store.set_limits(total_memory=64 * MIB)
    assert e.grow(1) == 1


def test_a_store_cannot_allow_more_than_the_configuration(store: Store) -> None:
    engine = Engine(Config(engine=store.engine.config.engine, max_memory_pages=4, max_table_elements=10))
    store = Store(engine)
    e = exports(store, MEMORIES)
    store.set_limits(memory_size=2 * 65536, table_elements=5)
    assert (e.grow(2), e.grow_table(6)) == (-1, -1)
    assert (e.grow(1), e.grow_table(5)) == (1, 0)
    store.set_limits(memory_size=MIB, table_elements=1000)
    assert (e.grow(3), e.grow_table(6)) == (-1, -1)
    assert (e.grow(2), e.grow_table(5)) == (2, 5)
    # Below what is there, nothing shrinks, and growing by nothing still tells the size.
    store.set_limits(memory_size=0, table_elements=0)
    assert (e.grow(1), e.grow_table(1)) == (-1, -1)
    assert (e.grow(0), e.grow_table(0)) == (4, 10)


OBJECTS = {
    "structures": """
        (type $t (struct (field (ref null $t)) (field i64)))
        (func (export "f") (local (ref null $t))
          (loop (local.set 0 (struct.new $t (local.get 0) (i64.const 1))) (br 0)))""",
    "structures of defaults in a list": """
        (type $t (struct (field (mut (ref null $t)))))
        (func (export "f") (local (ref null $t) (ref null $t))
          (loop
            (local.set 1 (struct.new_default $t))
            (struct.set $t 0 (local.get 1) (local.get 0))
            (local.set 0 (local.get 1)) (br 0)))""",
    "arrays": """
        (type $t (array (mut anyref)))
        (func (export "f") (local (ref null $t) (ref null $t))
          (loop
            (local.set 1 (array.new_default $t (i32.const 100)))
            (array.set $t (local.get 1) (i32.const 0) (local.get 0))
            (local.set 0 (local.get 1)) (br 0)))""",
    "one array": """
        (type $t (array i64))
        (func (export "f") (drop (array.new $t (i64.const 7) (i32.const 1000000))))""",
    "exceptions": """
        (tag $t (param exnref))
        (func (export "f") (local exnref)
          (loop $again
            (block $caught (result exnref exnref)
              (try_table (catch_ref $t $caught) (throw $t (local.get 0)))
              (unreachable))
            (local.set 0) (drop) (br $again)))""",
}


@pytest.mark.parametrize("what", OBJECTS)
def test_objects_count_and_the_store_stays_usable(store: Store, what: str) -> None:
    store.set_limits(total_memory=MIB)
    e = exports(store, f"(module {OBJECTS[what]})")
    for _ in range(2):
        with pytest.raises(Trap, match="allocation too large"):
            e.f()
    store.gc()
    assert exports(store, '(module (memory 12) (func (export "f") (result i32) (i32.const 5)))').f() == 5


THROWS = """
    (module (import "" "host" (func $host)) (tag $t (export "t") (param i32))
      (func $throw (if (i32.const 1) (then (throw $t (i32.const 1)))))
      (func $tail (nop) (return_call $throw))
      (func $tail_host (nop) (return_call $host))
      (func (export "uncaught") (throw $t (i32.const 1)))
      (func (export "caught") (block $h (try_table (catch_all $h) (call $tail))))
      (func (export "referred")
        (block $h (result exnref) (try_table (catch_all_ref $h) (call $throw)) (return)) (drop))
      (func (export "of a host")
        (block $h (result exnref) (try_table (catch_all_ref $h) (call $host)) (return)) (drop))
      (func (export "at a tail") (block $h (try_table (catch_all $h) (call $tail_host)))))"""


@pytest.mark.parametrize("hot", [AT_ONCE, 1000])
@pytest.mark.parametrize("lane", LANES)
def test_exceptions_count_where_they_are_thrown(lane: str, hot: int) -> None:
    def host() -> None:
        raise WasmException(e["t"], [1])

    store = Store(Engine(configured(lane)))
    store.set_limits(total_memory=0)
    places = {}
    with hot_after(hot):
        e = exports(store, THROWS, {"": {"host": host}})
        for name in ("uncaught", "caught", "referred", "of a host", "at a tail"):
            with pytest.raises(Trap, match="allocation too large") as caught:
                e[name]()
            places[name] = [(frame.func_index, frame.func_offset) for frame in caught.value.frames]
    assert places == {
        "uncaught": [(4, 2)],
        "caught": [(1, 6), (5, 7)],
        "referred": [(1, 6), (6, 7)],
        "of a host": [(7, 7)],
        "at a tail": [(3, 1), (8, 7)],
    }


def test_what_is_freed_does_not_count(store: Store) -> None:
    store.set_limits(total_memory=MIB)
    e = exports(
        store,
        """
        (module
          (type $t (struct (field (mut (ref null $t)))))
          (func (export "f") (param i32) (result i32) (local (ref null $t))
            (loop
              (local.set 1 (struct.new_default $t))
              (struct.set $t 0 (local.get 1) (local.get 1))
              (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (local.get 0)))""",
    )
    assert e.f(100_000) == 0


def test_a_deadline_ends_a_loop_and_is_taken_away(store: Store) -> None:
    e = exports(
        store,
        """(module
        (func (export "f") (loop (br 0)))
        (func (export "g") (result i32) (i32.const 1)))""",
    )
    start = time.monotonic()
    store.set_deadline(0.05)
    with pytest.raises(Interrupted):
        e.f()
    assert time.monotonic() - start < 5
    with pytest.raises(Interrupted):
        e.g()
    store.set_deadline(None)
    assert e.g() == 1


# Ways round that are as short as they come, with local 0 at 1.
SHORT_LOOPS = {
    "a branch": "(loop (br 0))",
    "a condition": "(loop (br_if 0 (local.get 0)))",
    "a comparison": "(loop (br_if 0 (i32.lt_u (local.get 1) (local.get 0))))",
    "a counter": """(loop (local.set 0 (i32.add (local.get 0) (i32.const 2)))
      (br_if 0 (i32.ne (local.get 0) (i32.const 0))))""",
    "a table": "(loop (br_table 0 0 (local.get 0)))",
    "a tail call": "(return_call $f (local.get 0))",
    "an exception": "(loop (block (try_table (catch $e 0) (throw $e))) (br 0))",
}


@pytest.mark.parametrize("name", SHORT_LOOPS)
def test_a_deadline_ends_the_shortest_loops(store: Store, name: str) -> None:
    body = SHORT_LOOPS[name]
    e = exports(store, f"""(module (tag $e) (func $f (export "f") (param i32) (local i32) {body}))""")
    store.set_deadline(0.05)
    with pytest.raises(Interrupted):
        e.f(1)


def test_a_deadline_holds_where_handlers_have_many_clauses(store: Store) -> None:
    """So few rounds that but for the clauses nobody would look at the clock."""
    e = exports(
        store,
        f"""(module (tag $e) (tag $other)
          (func (export "f") (param i32) (local exnref)
            (block $thrown (result exnref)
              (try_table (catch_all_ref $thrown) (throw $e))
              (unreachable))
            (local.set 1)
            (loop $again
              (block $other
                (block $here
                  (try_table {"(catch $other $other)" * 20_000} (catch_all $here) (throw_ref (local.get 1))))
                (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))))""",
    )
    e.f(1)
    store.set_deadline(0.01)
    with pytest.raises(Interrupted):
        e.f(4000)


CTRL_C = """
import os, signal, sys, threading, time
import tinywasm

store = tinywasm.Store(tinywasm.Engine(tinywasm.Config(engine=sys.argv[1])))
exports = tinywasm.instantiate('''
    (module (memory (export "m") 1)
      (func (export "spin") (loop (i32.store8 (i32.const 0) (i32.const 1)) (br 0)))
      (func (export "one") (result i32) (i32.const 1)))''',
    store=store).exports
sent = []
def press():
    while not exports.m[0]:
        time.sleep(0.001)
    sent.append(time.process_time())
    os.kill(os.getpid(), signal.SIGINT)
def spin(ended):
    try:
        exports.spin()
    except tinywasm.Interrupted:
        ended.set()
threading.Thread(target=press).start()
if sys.argv[2] == "main":
    try:
        exports.spin()
    except KeyboardInterrupt:
        taken = time.process_time() - sent[0]
else:
    ended = threading.Event()
    thread = threading.Thread(target=spin, args=[ended])
    try:
        # Once it spins the key may be pressed.
        thread.start()
        ended.wait()
    except KeyboardInterrupt:
        store.interrupt()
        assert ended.wait(30)
        taken = time.process_time() - sent[0]
    thread.join()
print(exports.one(), taken)
"""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("thread", ["main", "other"])
def test_ctrl_c_ends_an_endless_loop(engine: str, thread: str) -> None:
    """Python hands Ctrl-C to the main thread, which interrupts the store where another thread runs it."""
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C, engine, thread], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    result, taken = done.stdout.split()
    # Of processor time, which the loop takes until it ends; 0.1 s where nothing else runs.
    assert result == "1" and float(taken) < 2


@needs_native
def test_two_threads_run_their_stores_at_the_same_time() -> None:
    """Each waits for what the other one writes while it runs: they end only if both get on."""
    e = Engine(Config(engine="native"))
    stores = [Store(e), Store(e)]
    text = """
        (module (memory (export "m") 1)
          (func (export "f") (loop (br_if 0 (i32.eqz (i32.load (i32.const 0)))))))"""
    both = [exports(store, text) for store in stores]
    threads = [threading.Thread(target=each.f, daemon=True) for each in both]
    for thread in threads:
        thread.start()
    # This thread is the third one that gets on.
    for store, each, thread in zip(stores, both, threads, strict=True):
        each.m.data_ptr(store)[0] = 1
        thread.join(60)
        assert not thread.is_alive()


def test_one_store_in_two_threads_is_an_error(store: Store) -> None:
    running, release = threading.Event(), threading.Event()

    def wait() -> None:
        running.set()
        release.wait(60)

    e = exports(
        store,
        """(module (import "h" "wait" (func $wait))
             (func (export "f") (call $wait)) (func (export "g") (result i32) (i32.const 1)))""",
        {"h": {"wait": wait}},
    )
    thread = threading.Thread(target=e.f)
    thread.start()
    assert running.wait(60)
    with pytest.raises(WasmError, match="the store is in use by another thread"):
        e.g()
    release.set()
    thread.join(60)
    assert e.g() == 1


def test_a_spinning_store_refuses_a_second_thread(store: Store) -> None:
    e = exports(store, '(module (func (export "f") (loop (br 0))) (func (export "g")))')
    ended: list[BaseException] = []

    def spin() -> None:
        try:
            e.f()
        except Interrupted as interrupted:
            ended.append(interrupted)

    thread = threading.Thread(target=spin)
    thread.start()
    for _ in range(1000):
        try:
            e.g()
        except WasmError as error:
            assert "in use by another thread" in str(error)
            break
        time.sleep(0.001)
    else:
        pytest.fail("the second thread was never refused")
    store.interrupt()
    thread.join(60)
    assert len(ended) == 1


def test_a_serialized_module_runs_on_either_engine(store: Store) -> None:
    made = Module(Engine(Config(engine="python")), '(module (func (export "f") (result i32) (i32.const 42)))')
    module = Module.deserialize(store.engine, made.serialize())
    assert tinywasm.Instance(store, module, []).exports(store)["f"](store) == 42


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "was changed or cut off"),
        (lambda data: data[:-5], "was changed or cut off"),
        (lambda data: data.replace(data.split(b"\n")[1], b"0.0.0", 1), "for another tinywasm version"),
        (lambda data: b"", "not a serialized module"),
        (lambda data: data[20:], "not a serialized module"),
    ],
)
def test_a_serialized_module_that_does_not_fit_is_refused(change: Any, message: str) -> None:
    engine = Engine()
    data = Module(engine, "(module (memory 1))").serialize()
    with pytest.raises(WasmError, match=message):
        Module.deserialize(engine, change(data))


def test_the_environment_chooses_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYWASM_ENGINE", "python")
    assert Config().engine == "python"
    monkeypatch.setenv("TINYWASM_ENGINE", "")
    assert Config().engine == "auto"
    monkeypatch.setenv("TINYWASM_ENGINE", "fastest")
    with pytest.raises(ValueError, match='unknown engine "fastest": use "auto", "native" or "python"'):
        tinywasm.instantiate("(module)")


def test_a_native_engine_that_is_not_there_is_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(IMPLEMENTATIONS["native"], missing="the extension was not built (no compiler)")
    monkeypatch.setitem(IMPLEMENTATIONS, "native", missing)
    with pytest.raises(ValueError, match=r"the native engine is not available: the extension was not built"):
        tinywasm.instantiate("(module)", store=Store(Engine(Config(engine="native"))))
    assert exports(Store(Engine(Config(engine="auto"))), '(module (func (export "f")))').f() is None
