"""Stored floats have the bits that the loop gives them, whatever sees these: of blocks that store several,
machine code has a version that checks them later than they are stored."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

import tinywasm
from tests.engines import COMPILED, configured, needs_llvm
from tests.tinywasm.outcomes import outcome
from tinywasm import Engine, Store


@pytest.fixture(params=range(3), ids=["quick", "light", "full"])
def effort(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever effort LLVM makes."""
    with patch("tinywasm.engine.llvm.machine.effort_for", lambda records: request.param):
        yield


pytestmark = [needs_llvm, pytest.mark.usefixtures("effort")]

PAGE = 1 << 16
# Two floats, numbers and NaNs, and some of these that are two f32 as well.
BITS = (
    *(0x3FF8000000000000, 0x7FF0000000000000, 0xFFF0000000000000, 0x8000000000000000, 0x4000000040000000),
    *(0x7FF0000000000001, 0xFFF8000000000000, 0x7FF4000000000000, 0xFFFFFFFFFFFFFFFF, 0x7FC000017F800001),
)


def compared(text: str, calls: list[tuple[int, int]], seed: int = 0) -> None:
    """Calls of `f` end as the loop has them end, with the same bytes in memory."""
    rng = Random(seed)
    found = []
    for lane in ("native", COMPILED):
        store = Store(Engine(configured(lane)))
        wasm = tinywasm.instantiate(text, {}, store=store).exports
        ends: list[tuple[Any, bytes]] = []
        for number, call in enumerate(calls):
            rng.seed(f"{seed} {number}")
            fill = struct.pack("<512Q", *(rng.choice(BITS) for _ in range(512)))
            for start in (0, PAGE - len(fill)):
                wasm.m.write(store, fill, start)
            ends.append((outcome(partial(wasm.f, *call)), bytes(wasm.m.read(store))))
        found.append(ends)
    assert found[0] == found[1]


def sums(at: str, count: int = 4) -> str:
    """Sums of floats from `at` on, each of which is stored in place of its first addend."""
    last = f"(f64.load offset={8 * count} {at})"
    return "".join(
        f"(f64.store offset={8 * each} {at} (f64.sub (f64.load offset={8 * each} {at}) {last}))"
        for each in range(count)
    )


P, Q = "(local.get $p)", "(local.get $q)"
# Between or behind sums: what sees them.
SEEN = {
    "when it returns": "",
    "by a load of an integer": f"(local.set $h (i64.load offset=8 {Q}))",
    "by a load of a byte": f"(local.set $h (i64.load8_u offset=7 {Q}))",
    "by a float that is kept": f"(local.set $x (f64.load {Q}))",
    "by a float that is turned": f"(f64.store offset=100 {Q} (f64.neg (f64.load {Q})))",
    "by a copy": f"(f64.store offset=8 {P} (f64.load {Q}))",
    "by a sum": sums(Q),
    "by floats of half the size": f"(f32.store offset=8 {Q} (f32.load {Q}))",
    "by vectors": f"(v128.store offset=8 {Q} (v128.load {Q}))",
    "by an integer in its place": f"(i64.store offset=8 {Q} (i64.const -1))",
    "by a constant in its place": f"(f64.store offset=8 {Q} (f64.const nan:0x12345))",
    "by the next turn": f"(local.set $p (i32.add {P} {Q}))",
    "by another local": f"(local.set $q (i32.add {P} (i32.const 8)))",
    "at distances": sums(f"(i32.add {Q} (i32.const -8))"),
    "by a call": f"(local.set $h (call $look {Q}))",
    "by a trap": f"(local.set $h (i64.div_u (local.get $h) (i64.extend_i32_u {Q})))",
    "by a trap of an access": f"(f64.store (i32.mul {Q} (i32.const 16)) (f64.const 0))",
    "by a branch": f"(br_if 1 (i32.eq {P} {Q}))",
    "at an address": sums("(i32.const 64)"),
}
TEXT = """
(module (memory (export "m") 1)
  (func $look (param i32) (result i64) (i64.load (local.get 0)))
  (func (export "f") (param $p i32) (param $q i32) (result i64)
    (local $h i64) (local $n i32) (local $f64 f64) (local $f32 f32) (local $s {float}) (local $x f64)
    (block (loop
      {body}
      (local.set $h (i64.rotl (i64.xor (local.get $h) {kept}) (i64.const 7)))
      (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 3)))))
    (local.get $h)))
"""
PLACES = (0, 4, 8, 64, 68, 72, 96, 97, PAGE - 40, PAGE - 36, PAGE - 32, PAGE, -8, -4)


@pytest.mark.parametrize("seen", SEEN)
def test_floats_are_canonical_when_they_are_seen(seen: str) -> None:
    body = sums(P) + SEEN[seen] + sums(P, 2)
    text = TEXT.format(body=body, kept="(i64.reinterpret_f64 (local.get $x))", float="f64")
    compared(text, [(p, q) for p in (64, 68, PAGE - 40) for q in PLACES])


class Body:
    """A body at random of accesses near two locals."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.float = self.rng.choice(("f64", "f64", "f32"))

    def address(self) -> str:
        rng = self.rng
        local, step = rng.choice((P, P, Q)), rng.choice((8, 8, 8, 4, 1))
        distance = step * rng.randrange(-3, 4)
        kinds = (local, local, f"(i32.add {local} (i32.const {distance}))", f"(i32.const {96 + distance})")
        return f"offset={step * rng.randrange(4)} {rng.choice(kinds)}"

    def operand(self) -> str:
        type, constant = self.float, self.rng.choice((0, "inf", -1))
        load = f"({type}.load {self.address()})"
        return self.rng.choice((load, load, f"(local.get ${type})", f"({type}.const {constant})"))

    def store(self) -> str:
        type, operator = self.float, self.rng.choice(("add", "sub", "mul", "min"))
        return f"({type}.store {self.address()} ({type}.{operator} {self.operand()} {self.operand()}))"

    def other(self) -> str:
        rng, type = self.rng, self.float
        return rng.choice(
            (
                f"({type}.store {self.address()} {self.operand()})",
                f"({type}.store {self.address()} ({type}.neg {self.operand()}))",
                f"({type}.store {self.address()} (local.get $s))",
                f"(f32.store {self.address()} (f32.mul (f32.load {self.address()}) (f32.const 3)))",
                f"(i64.store {self.address()} (i64.const {rng.choice(BITS)}))",
                f"(local.set ${type} ({type}.load {self.address()}))",
                f"(local.set $s ({type}.add (local.get $s) {self.operand()}))",
                f"(local.set $h (i64.xor (local.get $h) (i64.load {self.address()})))",
                f"(local.set $h (i64.add (local.get $h) (i64.load8_u {self.address()})))",
                f"(local.set $p (i32.add {P} (i32.const {8 * rng.randrange(-2, 3)})))",
                f"(local.set $q {P})",
            )
        )

    def text(self) -> str:
        parts = [
            self.store() if self.rng.random() < 0.7 else self.other()
            for _ in range(self.rng.randrange(4, 16))
        ]
        kept = "(i64.reinterpret_f64 (local.get $f64))"
        if self.float == "f32":
            kept = "(i64.extend_i32_u (i32.reinterpret_f32 (local.get $f32)))"
        return TEXT.format(body=" ".join(parts), kept=kept, float=self.float)


@pytest.mark.parametrize("seed", range(10))
def test_floats_are_canonical_in_blocks_at_random(seed: int) -> None:
    calls = [(p, q) for p in (64, 68) for q in PLACES] + [(q, 64) for q in PLACES]
    compared(Body(seed).text(), calls, seed)
