"""Greenlets share a thread's identity, and may leave a store in another order than they entered it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from greenlet import GreenletExit, getcurrent, greenlet

import tinywasm
from tests.engines import ENGINES
from tinywasm import (
    Config,
    Engine,
    Func,
    FuncType,
    Store,
    Tag,
    TagType,
    Trap,
    ValType,
    WasmError,
    WasmException,
)
from tinywasm.raw import Profile

REFUSED = "a call that began later in this store has not ended"

# Counts down in Wasm frames, waits in the host below them, and adds up on the way back, so that a frame
# that another greenlet overwrote gives another sum. Each has an object of its own, and garbage.
TEXT = """
(module
  (import "h" "wait" (func $wait (param i32) (result i32)))
  (type $s (struct (field i32)))
  (func $down (export "down") (param $depth i32) (param $tag i32) (result i32) (local $mine (ref null $s))
    (local.set $mine (struct.new $s (i32.mul (local.get $tag) (local.get $depth))))
    (i32.add
      (if (result i32) (local.get $depth)
        (then (call $down (i32.sub (local.get $depth) (i32.const 1)) (local.get $tag)))
        (else (call $wait (local.get $tag))))
      (block (result i32)
        (drop (struct.new $s (i32.const -1)))
        (struct.get $s 0 (local.get $mine)))))
  (func (export "one") (result i32) (i32.const 1)))"""
DEPTH = 20


def total(tag: int, waited: int = 0) -> int:
    return tag * DEPTH * (DEPTH + 1) // 2 + waited


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "native":
        from tinywasm.engine.native._loop import collect_first_at

        collect_first_at(0)
        yield Store(Engine(Config(engine="native", consume_fuel=True)))
        collect_first_at(16 << 20)
    else:
        yield Store(Engine(Config(engine="python", consume_fuel=True)))


def exports(store: Store, wait: Callable[[int], Any], text: str = TEXT) -> tinywasm.Exports:
    store.set_fuel(1_000_000)
    return tinywasm.instantiate(text, {"h": {"wait": wait}}, store=store).exports


class Walkers:
    """Greenlets that each make one call and stop in its host function; `go` lets one run on."""

    def __init__(self, store: Store) -> None:
        self.exports = exports(store, self._wait)
        self.outcome: dict[int, Any] = {}
        self._greenlets: dict[int, greenlet] = {}

    def _wait(self, tag: int) -> int:
        sent = getcurrent().parent.switch(tag)
        if isinstance(sent, Exception):
            raise sent
        return int(sent)

    def _walk(self, tag: int) -> None:
        try:
            self.outcome[tag] = self.exports.down(DEPTH, tag)
        except Exception as error:
            self.outcome[tag] = error

    def start(self, tag: int) -> None:
        self._greenlets[tag] = greenlet(self._walk)
        assert self._greenlets[tag].switch(tag) == tag

    def go(self, tag: int, value: Any = 5) -> Any:
        self._greenlets[tag].switch(value)
        return self.outcome[tag]

    def kill(self, tag: int) -> None:
        self._greenlets[tag].throw(GreenletExit)


def refused(outcome: Any) -> bool:
    return type(outcome) is WasmError and REFUSED in outcome.message


def is_free(store: Store, call: Callable[[], Any]) -> bool:
    """Whether another thread may use the store."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join(60)
    return results == [1]


def test_last_in_first_out_is_served(store: Store) -> None:
    walkers = Walkers(store)
    for tag in (1, 2, 3):
        walkers.start(tag)
    for tag in (3, 2, 1):
        assert walkers.go(tag) == total(tag, 5)
    assert is_free(store, walkers.exports.one)


@pytest.mark.parametrize("order", [(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2)])
def test_any_other_order_is_refused_where_it_begins(store: Store, order: tuple[int, ...]) -> None:
    walkers = Walkers(store)
    for tag in (1, 2, 3):
        walkers.start(tag)
    open_calls = [1, 2, 3]
    for tag in order:
        outcome = walkers.go(tag)
        assert outcome == total(tag, 5) if tag == max(open_calls) else refused(outcome)
        open_calls.remove(tag)
        # Nobody is disturbed by it, whoever is still there.
        assert walkers.exports.one() == 1
    assert is_free(store, walkers.exports.one)


def test_calls_that_come_and_go_beside_one_that_waits(store: Store) -> None:
    walkers = Walkers(store)
    walkers.start(1)
    for tag in range(2, 40, 2):
        walkers.start(tag)
        walkers.start(tag + 1)
        assert refused(walkers.go(tag))
        assert walkers.go(tag + 1) == total(tag + 1, 5)
    assert walkers.go(1) == total(1, 5)
    assert is_free(store, walkers.exports.one)


def test_an_exception_of_the_host_leaves_in_any_order(store: Store) -> None:
    walkers = Walkers(store)
    for tag in (1, 2, 3):
        walkers.start(tag)
    error, trap = KeyError("mine"), Trap("mine")
    assert walkers.go(1, error) is error
    assert walkers.go(2, trap) is trap
    assert [frame.func_name for frame in trap.frames] == ["down"] * (DEPTH + 1)
    assert walkers.go(3) == total(3, 5)
    assert is_free(store, walkers.exports.one)


def test_wasm_catches_nothing_where_it_is_not_its_turn(store: Store) -> None:
    tag = Tag(store, TagType(FuncType()))
    parent = getcurrent()

    def wait(value: int) -> int:
        parent.switch()
        raise WasmException(tag, [])

    text = """
    (module
      (import "h" "wait" (func $wait (param i32) (result i32)))
      (import "h" "tag" (tag $t))
      (func (export "catch") (result i32)
        (block $caught
          (try_table (catch $t $caught) (drop (call $wait (i32.const 0)))))
        (i32.const 1)))"""
    store.set_fuel(1_000_000)
    catch = tinywasm.instantiate(text, {"h": {"wait": wait, "tag": tag}}, store=store).exports["catch"]
    first, second = greenlet(catch), greenlet(catch)
    first.switch()
    second.switch()
    with pytest.raises(WasmError, match=REFUSED):
        first.switch()
    assert second.switch() == 1
    one = Func(store, FuncType((), (ValType.i32(),)), lambda: 1)
    assert is_free(store, lambda: one(store))


def test_a_greenlet_that_is_killed_makes_room(store: Store) -> None:
    walkers = Walkers(store)
    for tag in (1, 2, 3):
        walkers.start(tag)
    walkers.kill(2)
    assert walkers.go(3) == total(3, 5)
    assert walkers.go(1) == total(1, 5)
    assert is_free(store, walkers.exports.one)


def test_results_that_are_made_elsewhere(store: Store) -> None:
    """A host function's results may come from a generator, which switches as well as anything else."""
    parent = getcurrent()

    def wait(value: int) -> Iterator[int]:
        yield 2
        parent.switch()
        yield 3

    text = """
    (module (import "h" "wait" (func $wait (param i32) (result i32 i32)))
      (func (export "sum") (param i32) (result i32) (i32.add (call $wait (local.get 0)))))"""
    sum_of = exports(store, wait, text)["sum"]
    first, second = greenlet(sum_of), greenlet(sum_of)
    first.switch(0)
    second.switch(0)
    with pytest.raises(WasmError, match=REFUSED):
        first.switch()
    assert second.switch() == 5


def test_fuel_is_counted_for_all(store: Store) -> None:
    walkers = Walkers(store)
    walkers.start(1)
    used = [1_000_000 - store.get_fuel()]
    walkers.start(2)
    used.append(1_000_000 - store.get_fuel())
    assert used[1] == 2 * used[0]
    walkers.go(2)
    walkers.go(1)
    assert 1_000_000 - store.get_fuel() > used[1]


def test_a_profile_keeps_calls_apart() -> None:
    store = Store(Engine(Config(engine="python", consume_fuel=True)))
    store.profile = profile = Profile()
    walkers = Walkers(store)
    for tag in (1, 2, 3):
        walkers.start(tag)
    assert refused(walkers.go(1))
    assert walkers.go(3) == total(3, 5)
    assert walkers.go(2) == total(2, 5)
    (record,) = profile.records()
    assert record.calls == 3 * (DEPTH + 1) and record.active == 0
