"""Objects of all sizes come and go, and those that are needed stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

import tinywasm
from tests.engines import ENGINES
from tinywasm import Config, Engine, Store

pytestmark = pytest.mark.skipif("native" not in ENGINES, reason="the python engine leaves it to Python")

# In each slot of the table an array; all its elements are the same.
TEXT = """
(module
  (type $bytes (array (mut i8)))
  (type $pair (struct (field (ref null $bytes)) (field (ref null $bytes))))
  (table $slots 64 (ref null $bytes))
  (func (export "make") (param $slot i32) (param $length i32) (param $value i32)
    (local $made (ref null $bytes))
    (local.set $made (array.new $bytes (local.get $value) (local.get $length)))
    (drop (struct.new $pair (local.get $made) (ref.null $bytes)))
    (drop (array.new $bytes (i32.const -1) (local.get $length)))
    (table.set $slots (local.get $slot) (local.get $made)))
  (func (export "hold") (result (ref $pair))
    (struct.new $pair (array.new $bytes (i32.const 77) (i32.const 30)) (ref.null $bytes)))
  (func (export "held") (param (ref $pair)) (result i32)
    (array.get_u $bytes (struct.get $pair 0 (local.get 0)) (i32.const 29)))
  (func (export "drop") (param $slot i32) (table.set $slots (local.get $slot) (ref.null $bytes)))
  (func (export "check") (param $slot i32) (param $length i32) (param $value i32) (result i32)
    (local $array (ref null $bytes))
    (local.set $array (table.get $slots (local.get $slot)))
    (if (i32.ne (array.len (local.get $array)) (local.get $length)) (then (return (i32.const 0))))
    (loop $more
      (if (i32.eqz (local.get $length)) (then (return (i32.const 1))))
      (local.set $length (i32.sub (local.get $length) (i32.const 1)))
      (br_if $more
        (i32.eq (array.get_u $bytes (local.get $array) (local.get $length)) (local.get $value))))
    (i32.const 0)))
"""


@pytest.fixture(params=[0, 1 << 10, 1 << 16])
def threshold(request: pytest.FixtureRequest) -> Iterator[None]:
    """After how many bytes stores collect."""
    from tinywasm.engine.native._loop import collect_first_at

    collect_first_at(request.param)
    yield
    collect_first_at(16 << 20)


@pytest.mark.parametrize("held", [False, True])
def test_what_is_needed_stays_as_it_is(threshold: None, held: bool) -> None:
    rng = Random("heap")
    store = Store(Engine(Config(engine="native")))
    wasm: Any = tinywasm.instantiate(TEXT, store=store).exports
    pair = wasm.hold() if held else None
    there: dict[int, tuple[int, int]] = {}
    for _ in range(3_000):
        slot = rng.randrange(64)
        if rng.random() < 0.6:
            longest = rng.choice((1, 24, 100, 300, 40_000)) if rng.random() < 0.1 else 230
            there[slot] = rng.randrange(longest), rng.randrange(256)
            wasm.make(slot, *there[slot])
        else:
            there.pop(slot, None)
            wasm.drop(slot)
        slot = rng.randrange(64)
        if slot in there:
            assert wasm.check(slot, *there[slot])
        if rng.random() < 0.01:
            store.gc()
    assert all(wasm.check(slot, *each) for slot, each in there.items())
    assert not held or wasm.held(pair) == 77


def test_objects_of_one_size_make_room_for_those_of_another() -> None:
    """Under a limit, which each size reaches in turn."""
    store = Store(Engine(Config(engine="native")))
    store.set_limits(total_memory=1 << 20)
    text = """
    (module
      (type $list (struct (field (ref null $list))))
      (type $wide (struct (field (ref null $wide)) (field i64 i64 i64 i64 i64 i64 i64 i64)))
      (func (export "narrow") (result i32) (local $list (ref null $list)) (local $count i32)
        (loop $more
          (local.set $list (struct.new $list (local.get $list)))
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $count) (i32.const 20000))))
        (local.get $count))
      (func (export "wide") (result i32) (local $list (ref null $wide)) (local $count i32)
        (loop $more
          (local.set $list (struct.new $wide (local.get $list) (i64.const 1) (i64.const 2) (i64.const 3)
            (i64.const 4) (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8)))
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $count) (i32.const 9000))))
        (local.get $count)))
    """
    wasm: Any = tinywasm.instantiate(text, store=store).exports
    for _ in range(5):
        assert wasm.narrow() == 20_000
        assert wasm.wide() == 9_000
