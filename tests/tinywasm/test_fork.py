"""What a forked process finds of the stores, threads, timers and locks of its parent."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.engines import LANES

# Children end by themselves if they hang, and report what they saw by their exit status.
PRELUDE = """
import multiprocessing, os, signal, sys, threading, time
import tinywasm
from tinywasm import Config, Engine, Interrupted, Store, WasmError

TEXT = '''
(module
  (import "h" "wait" (func $wait))
  (memory (export "m") 1) (data (i32.const 0) "bytes")
  (global (export "g") (mut i32) (i32.const 7))
  (func $spin (export "spin") (loop (i32.store8 (i32.const 100) (i32.const 1)) (br 0)))
  (func (export "wait") (result i32) (call $wait) (i32.const 1))
  (func (export "wait_and_spin") (call $wait) (call $spin))
  (func (export "one") (result i32) (i32.const 1)))'''

def make(wait=lambda: None):
    engine, _, tier = sys.argv[1].partition(", ")
    store = Store(Engine(Config(engine=engine, tier=tier)))
    return store, tinywasm.instantiate(TEXT, {"h": {"wait": wait}}, store=store).exports

def child(work):
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid

def ended_well(pid):
    status = os.waitpid(pid, 0)[1]
    assert status == 0, status

def message(call, *args):
    try:
        return f"gave {call(*args)}"
    except WasmError as error:
        return error.message

def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread

def until(condition):
    while not condition():
        time.sleep(0.001)
"""


def run(script: str, *args: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + script, *args],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


REFUSED = """
store, e = make()
spinning = in_thread(lambda: message(e.spin))
until(lambda: "in use by another thread" in message(e.one))

def work():
    refused = "the store was in use by another thread when this process was forked"
    assert message(e.one) == refused, message(e.one)
    assert bytes(e.m[0:5]) == b"bytes"
    # A new thread may be given the identifier of the one that was left behind.
    seen, identifiers = [], []
    for _ in range(5):
        in_thread(lambda: (seen.append(message(e.one)), identifiers.append(threading.get_ident()))).join()
    assert seen == [refused] * 5, seen
    assert message(e.g.value, store) == message(store.set_limits) == refused
    other_store, other = make()
    assert other.one() == 1
    done = []
    in_thread(lambda: done.append(other.one())).join()
    assert done == [1]
    # And so on, in a child of the child.
    def again():
        assert message(e.one) == refused
        assert other.one() == 1
    ended_well(child(again))

ended_well(child(work))
assert message(e.one) == "the store is in use by another thread"
store.interrupt()
spinning.join()
assert e.one() == 1
"""


@pytest.mark.parametrize("lane", LANES)
def test_a_store_that_another_thread_was_using_is_refused_for_good(lane: str) -> None:
    run(REFUSED, lane)


DEADLINES = """
store, e = make()
late, e_late = make()
idle, e_idle = make()
store.set_deadline(0.3)
late.set_deadline(600)
idle.set_deadline(0)
idle.set_deadline(None)

def work():
    assert message(e.spin) == message(e.one) == "interrupted"
    store.set_deadline(None)
    assert e.one() == e_late.one() == e_idle.one() == 1
    late.set_deadline(0.1)
    assert message(e_late.spin) == "interrupted"

pids = [child(work), child(work)]
work()
for pid in pids:
    ended_well(pid)
"""


@pytest.mark.parametrize("lane", LANES)
def test_a_deadline_holds_on_both_sides(lane: str) -> None:
    run(DEADLINES, lane)


MID_CALL = """
pids, here = [], []
def fork_here():
    pid = os.fork()
    pids.append(pid)
    if not pid:
        signal.alarm(30)
        here.append(threading.get_ident())

store, e = make(fork_here)
store.set_deadline(1)

def work():
    global status
    assert e.wait() == 1
    if not pids[-1]:
        # This thread's call went on; it is the only thread now.
        status = 2
        assert e.one() == 1
        assert message(e.spin) == "interrupted"
        os._exit(3)

if sys.argv[2] == "main":
    work()
else:
    in_thread(work).join()
assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 3
"""


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("thread", ["main", "other"])
def test_a_call_that_forks_goes_on_in_both(lane: str, thread: str) -> None:
    run(MID_CALL, lane, thread)


CTRL_C = """
def press():
    # In a memory of the child's, which no other process writes to.
    until(lambda: e.m[100])
    os.kill(os.getpid(), signal.SIGINT)

def interrupted(spin):
    in_thread(press)
    try:
        spin()
    except KeyboardInterrupt:
        return
    raise AssertionError("not interrupted")

def fork_here():
    pids.append(os.fork())
    if not pids[-1]:
        signal.alarm(30)
        in_thread(press)

pids = []
store, e = make(fork_here)

def before_the_call():
    pids.append(child(lambda: interrupted(e.spin)))

def within_the_call():
    store.set_deadline(60)
    try:
        e.wait_and_spin()
    except KeyboardInterrupt:
        os._exit(0 if not pids[-1] else 1)
    except Interrupted:
        pass

thread = in_thread(before_the_call if sys.argv[2] == "before" else within_the_call)
until(lambda: pids)
ended_well(pids[0])
store.interrupt()
thread.join()
"""


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("when", ["before", "within"])
def test_ctrl_c_ends_a_call_where_another_thread_forked(lane: str, when: str) -> None:
    run(CTRL_C, lane, when)


LOCKS = """
# Threads that hold our locks as often as they can.
from tinywasm import FuncType, ValType, matching
from tinywasm.types import StructType

stop = threading.Event()
engine = Engine(Config(epoch_interruption=True))

def define():
    kinds = [ValType.i32(), ValType.i64(), ValType.f32(), ValType.f64()]
    number = 0
    while not stop.is_set():
        number += 1
        matching.define(FuncType([kinds[number >> 2 * place & 3] for place in range(12)], ()))

def count():
    stores = [Store(engine) for _ in range(20)]
    while not stop.is_set():
        engine.increment_epoch()

def time_out():
    store = Store()
    while not stop.is_set():
        store.set_deadline(60)

def work():
    store, e = make()
    store.set_deadline(60)
    matching.define(FuncType([ValType.v128()] * 5, ()))
    engine.increment_epoch()
    Store(engine).set_epoch_deadline(1)
    done = []
    in_thread(lambda: done.append(e.one())).join()
    assert done == [1]

threads = [in_thread(each) for each in (define, count, time_out)]
sys.setswitchinterval(1e-5)
for _ in range(60):
    ended_well(child(work))
stop.set()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
@pytest.mark.parametrize("lane", LANES)
def test_a_fork_finds_none_of_our_locks_held(lane: str) -> None:
    run(LOCKS, lane)


POOL = """
store, e = make()
busy_store, busy = make()

def call(number):
    return e.one() + number, message(busy.one)

if __name__ == "__main__":
    thread = in_thread(lambda: message(busy.spin))
    until(lambda: "in use by another thread" in message(busy.one))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.map_async(call, range(8)).get(60)
    refused = "the store was in use by another thread when this process was forked"
    assert results == [(1 + number, refused) for number in range(8)], results
    busy_store.interrupt()
    thread.join()
"""


@pytest.mark.parametrize("lane", LANES)
def test_a_pool_of_forked_processes(lane: str) -> None:
    run(POOL, lane)


COMING = """
import os
from tinywasm.loading import waited_for

class Lock:
    def __init__(self, comes=None):
        self.held, self.comes, self.times = 0, comes, 0
    def acquire(self):
        self.held += 1
        self.times += 1
        if self.comes:
            # As when another thread, for which this one waits, loads what has a lock.
            waited_for(self.comes)
            self.comes = None
    def release(self):
        self.held -= 1

late = Lock()
first = waited_for(Lock(late))
pid = os.fork()
if not pid:
    os._exit(first.held + late.held)
print(os.waitpid(pid, 0)[1], first.held, late.held, late.times)
"""


def test_a_lock_that_comes_while_a_fork_begins_is_held_as_well() -> None:
    done = subprocess.run([sys.executable, "-c", COMING], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0 0 0 1\n", "")
