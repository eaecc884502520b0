"""References in machine code: the collector finds those that are needed, and frees what no others lead to.

What each instruction does is in the official suite, which `spec-tests/` compiles as well.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

import tinywasm
from tests.engines import COMPILED, configured, needs_llvm
from tests.tinywasm.outcomes import outcome
from tinywasm import Engine, Module, Store

pytestmark = needs_llvm

BOTH = ("native", COMPILED)


def exports(text: str, lane: str, imports: Any = None, **options: Any) -> Any:
    return tinywasm.instantiate(text, imports or {}, store=Store(Engine(configured(lane, **options)))).exports


@pytest.fixture
def collecting() -> Iterator[None]:
    """Stores collect at every allocation."""
    from tinywasm.engine.native._loop import collect_first_at

    collect_first_at(0)
    yield
    collect_first_at(16 << 20)


# Each keeps references over allocations, where only its frame has them.
KEPT = """
(module
  (type $box (sub (struct (field $n (mut i32)) (field $next (mut (ref null $box))))))
  (type $boxes (array (mut (ref null $box))))
  (type $make (func (param i32) (result (ref $box))))
  (tag $t (param (ref $box)))
  (table $table 1 1 (ref null $box))
  (elem declare func $box)
  (func $box (type $make) (struct.new $box (local.get 0) (ref.null $box)))
  (func $n (param (ref null $box)) (result i32) (struct.get $box $n (local.get 0)))
  (func $litter (drop (call $box (i32.const -1))) (drop (struct.new_default $box)))

  (func (export "param") (param i32) (result i32) (call $param (call $box (local.get 0))))
  (func $param (param $p (ref $box)) (result i32) (call $litter) (call $n (local.get $p)))
  (func (export "local") (param i32) (result i32) (local $a (ref null $box)) (local $b (ref null $box))
    (local.set $a (call $box (local.get 0)))
    (local.set $b (call $box (i32.const 5)))
    (call $litter)
    (i32.add (call $n (local.get $b)) (call $n (local.get $a))))
  (func (export "operand") (param i32) (result i32)
    (call $box (local.get 0)) (call $box (i32.const 7)) (call $litter)
    (drop (array.new_default $boxes (i32.const 3)))
    (call $n) (i32.mul (i32.const 10)) (local.set 0) (call $n) (i32.add (local.get 0)))
  (func (export "chosen") (param i32) (result i32)
    (if (result (ref $box)) (i32.and (local.get 0) (i32.const 1))
      (then (call $box (local.get 0)))
      (else (call_ref $make (i32.const 8) (ref.func $box))))
    (call $litter)
    (call $n))
  (func (export "loop") (param i32) (result i32) (local $list (ref null $box)) (local $sum i32)
    (loop $more
      (local.set $list (struct.new $box (local.get 0) (local.get $list)))
      (br_if $more (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (loop $more
      (call $litter)
      (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 3)) (call $n (local.get $list))))
      (br_if $more (i32.eqz (ref.is_null (local.tee $list (struct.get $box $next (local.get $list)))))))
    (local.get $sum))
  (func (export "array") (param i32) (result i32) (local $array (ref null $boxes))
    (local.set $array (array.new $boxes (call $box (local.get 0)) (i32.const 3)))
    (array.set $boxes (local.get $array) (i32.const 1) (call $box (i32.const 20)))
    (call $litter)
    (i32.add
      (call $n (array.get $boxes (local.get $array) (i32.const 1)))
      (call $n (array.get $boxes (local.get $array) (i32.const 2)))))
  (func (export "fixed") (param i32) (result i32) (local $array (ref null $boxes))
    (call $box (local.get 0)) (call $box (i32.const 3)) (call $box (i32.const 4))
    (array.new_fixed $boxes 3)
    (call $litter)
    (local.tee $array)
    (array.get $boxes (i32.const 0)) (call $n)
    (i32.add (call $n (array.get $boxes (local.get $array) (i32.const 2)))))
  (func (export "table") (param i32) (result i32)
    (table.set $table (i32.const 0) (call $box (local.get 0)))
    (call $litter)
    (call $n (table.get $table (i32.const 0))))
  (func (export "deep") (param i32) (result i32)
    (call $n (call $deep (local.get 0) (call $box (local.get 0)))))
  (func $deep (param i32) (param $box (ref $box)) (result (ref $box)) (local $made (ref null $box))
    (if (i32.eqz (local.get 0)) (then (return (local.get $box))))
    (local.set $made (call $box (local.get 0)))
    (struct.set $box $n (local.get $box) (i32.add (call $n (local.get $box)) (call $n (local.get $made))))
    (call $deep (i32.sub (local.get 0) (i32.const 1)) (local.get $box))
    (struct.set $box $next (local.get $made) (local.get $box))))
"""


@pytest.mark.parametrize("name", sorted(each.name for each in Module(Engine(), KEPT).exports))
def test_the_collector_finds_what_is_needed(name: str, collecting: None) -> None:
    lanes = [exports(KEPT, lane)[name] for lane in BOTH]
    for number in (1, 2, 30):
        found = [outcome(partial(each, number)) for each in lanes]
        assert found[0] == found[1]


class Thing:
    """What a host reference refers to."""


DROPPED = """
(module
  (import "h" "make" (func $make (result externref)))
  (import "h" "left" (func $left (result i32)))
  (func (export "local") (result i32) (local $a externref) (local $b externref) (local $sum i32)
    (local.set $a (call $make))
    (local.set $b (call $make))
    (local.set $sum (call $left))
    (drop (ref.is_null (local.get $b)))
    (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 10)) (call $left)))
    (local.get $sum) (ref.is_null (local.get $a)) (i32.add))
  (func (export "operand") (result i32) (local $sum i32)
    (call $make) (call $make) (call $make)
    (local.set $sum (call $left))
    (drop) (drop)
    (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 10)) (call $left)))
    (drop)
    (i32.add (i32.mul (local.get $sum) (i32.const 10)) (call $left))))
"""


@pytest.mark.parametrize(("name", "left"), [("local", 21), ("operand", 310)])
def test_what_is_not_needed_is_freed(name: str, left: int) -> None:
    """As soon as nothing reads it any more, which is sooner than the loop can tell."""
    store = Store(Engine(configured(COMPILED)))
    things: weakref.WeakSet[Thing] = weakref.WeakSet()

    def make() -> Thing:
        things.add(thing := Thing())
        return thing

    def count() -> int:
        store.gc()
        return len(things)

    wasm: Any = tinywasm.instantiate(DROPPED, {"h": {"make": make, "left": count}}, store=store).exports
    assert wasm[name]() == left
