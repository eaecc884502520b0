"""Vectors in hot functions are as on the reference: bits of NaNs, rounding, traps and their places."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import pytest

from fuzz.hot import AT_ONCE, hot_after
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_source_tier import COLD, exports, store
from tinywasm.instructions import TABLE, Instruction
from tinywasm.types import F32, F64, I32, I64, V128, ValType

# The others are operators of `numerics` on either engine.
BINARY = [
    row
    for row in TABLE
    if row.params == (V128, V128)
    and row.results == (V128,)
    and row.name.startswith(("f32x4", "f64x2", "v128"))
]
# Quiet and signalling NaNs of both signs, infinities, zeros, subnormals, the largest, and what rounds.
LANES = (
    "nan", "-nan", "nan:0x1", "-nan:0x200000", "inf", "-inf", "0", "-0", "0x1p-149", "-0x1.fffffep-127",
    "0x1.fffffep127", "-0x1.fffffep127", "1", "-0x1.000002p0", "0x1.8p-126", "16777217",
)  # fmt: skip


def constants(shape: str) -> list[str]:
    count = int(shape[-1])
    return [
        f"(v128.const {shape} {' '.join(LANES[(at + step) % len(LANES)] for step in range(count))})"
        for at in range(len(LANES))
    ]


def on_both(text: str, arguments: list[tuple[Any, ...]], hot: int = AT_ONCE) -> list[list[Any]]:
    found = []
    for times in (COLD, hot):
        with hot_after(times):
            wasm = exports(text)
            found.append([outcome(partial(wasm["f"], *each)) for each in arguments])
    return found


@pytest.mark.parametrize("row", BINARY, ids=lambda row: row.name)
def test_binary(row: Instruction) -> None:
    shape = row.name.split(".")[0]
    values = constants("f32x4" if shape == "v128" else shape)
    cases = "".join(
        f"""(v128.store (i32.const {16 * number}) ({row.name} {a} {b}))
        (local.set $x {a}) (local.set $y {b})
        (v128.store (i32.const {8192 + 16 * number}) ({row.name} (local.get $x) (local.get $y)))
        (v128.store (i32.const {16384 + 16 * number}) ({row.name} (local.get $x) (local.get $x)))"""
        for number, (a, b) in enumerate(product(values, values))
    )
    func = f'(func (export "f") (local $x v128) (local $y v128) {cases})'
    text = f'(module (memory (export "m") 1) {func})'
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            wasm = exports(text)
            wasm.f()
            found.append(bytes(wasm.m))
    assert found[0] == found[1] and any(found[0])


ACCESSES = """(module (memory 1)
  (func (export "f") (param $at i32) (param $n i32) (result i32)
    (i32.store8 (i32.const 40) (i32.const 7))
    (v128.store (local.get $at) (v128.const f32x4 nan:0x1 1 2 -nan:0x3))
    (v128.store offset=5 (local.get $n) (v128.load (local.get $at)))
    (i32.add
      (i32x4.extract_lane 0 (v128.load offset=32 (local.get $n)))
      (i32x4.extract_lane 3 (v128.xor (v128.load offset=65500 (local.get $at)) (v128.load (local.get $n)))))))
"""


def test_accesses() -> None:
    places = (0, 1, 8, 15, 65500, 65520, 65521, 65535, 65536, -1, -16)
    cold, hot = on_both(ACCESSES, list(product(places, places)))
    assert cold == hot
    assert {type(each) for each in cold} == {int, tuple}


def test_addresses_of_64_bits() -> None:
    text = """(module (memory i64 1)
      (func (export "f") (param $at i64) (result i32)
        (v128.store (i64.const 8) (v128.load offset=18446744073709551600 (local.get $at)))
        (v128.store (local.get $at) (v128.const i64x2 1 2))
        (i32x4.extract_lane 0 (v128.load offset=16 (local.get $at)))))"""
    cold, hot = on_both(text, [(each,) for each in (0, 1, 16, 17, 32, 65_536, 1 << 31, 1 << 62, -1, -16)])
    assert cold == hot


def test_a_memory_that_grows() -> None:
    text = """(module (memory 1)
      (func (export "f") (param $n i32) (result i32)
        (if (local.get $n) (then (drop (memory.grow (i32.const 1)))))
        (v128.store (i32.const 65528) (v128.const i32x4 1 2 3 4))
        (i32x4.extract_lane 3 (v128.load (i32.const 65528)))))"""
    cold, hot = on_both(text, [(0,), (1,), (0,)])
    assert cold == hot and cold[1:] == [4, 4]


def test_a_local_keeps_its_lanes_until_they_are_used() -> None:
    text = """(module
      (func (export "f") (param $n i32) (result i32) (local $x v128) (local $y v128)
        (local.set $x (f32x4.splat (f32.convert_i32_s (local.get $n))))
        (f32x4.mul (local.get $x) (local.get $x))
        (local.set $x (v128.const f32x4 nan nan nan nan))
        (local.set $y)
        (i32x4.extract_lane 0 (f32x4.sub (local.get $y) (f32x4.add (local.get $y) (local.get $x))))
        (i32.add (i32x4.extract_lane 1 (local.get $y)))))"""
    cold, hot = on_both(text, [(each,) for each in (0, 1, -3, 1 << 30)])
    assert cold == hot


# What would mean something in the source that is made: variables, calls, positions, the ends of literals.
WORDS = [
    "l0 l1 t0 t1 t42",
    "\t42 \tl9 (l7)",
    "#12\n#x",
    "abs(t9)",
    "'t3' \"l8\"",
    "\\t33 \\'",
    "POLL t9.",
    "if x:",
]


@pytest.mark.parametrize("hot", [AT_ONCE, 0, 3])
@pytest.mark.parametrize("word", WORDS)
def test_constants_that_spell_source_are_constants(word: str, hot: int) -> None:
    bits = int.from_bytes(word.encode().ljust(16, b" "), "little")
    constant = f"(v128.const i64x2 {bits & (1 << 64) - 1} {bits >> 64})"
    lanes = " ".join(str(byte % 32) for byte in word.encode().ljust(16, b" "))
    text = f"""(module (memory 1) (func (export "f") (param $n i32) (result i64)
      (local $sum v128) (local $i i32)
      (loop $again
        (local.set $sum (i64x2.add (local.get $sum) {constant}))
        (v128.store (local.get $i) (i8x16.shuffle {lanes} {constant} (local.get $sum)))
        (local.set $sum (i64x2.sub (local.get $sum) (v128.load (i32.mul (local.get $i) (local.get $i)))))
        (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (local.get $n))))
      (i64.add (i64x2.extract_lane 0 (local.get $sum)) (i64x2.extract_lane 1 (local.get $sum)))))"""
    reference, made = on_both(text, [(16,), (160,), (1 << 20,)], hot)
    assert reference == made


# Of each type an operand that acts, and whose source reads a temporary above where it lies itself.
OPERANDS: dict[ValType, str] = {
    I32: "(i32.add (global.get $i32) (array.get $i32s {new} (i32.const 1)))",
    I64: "(i64.add (global.get $i64) (array.get $i64s {new} (i32.const 1)))",
    F32: "(f32.copysign (global.get $f32) (array.get $f32s {new} (i32.const 1)))",
    F64: "(f64.copysign (global.get $f64) (array.get $f64s {new} (i32.const 1)))",
    V128: "(i8x16.avgr_u (global.get $v128) (array.get $v128s {new} (i32.const 1)))",
}
SEVERAL = [
    row
    for row in TABLE
    if row.operator is not None
    and len(row.params) > 1
    and set(row.params) <= {*OPERANDS}
    and not row.immediates
]
GLOBALS = """
  (global $i32 (mut i32) (i32.const 0x7fffff35)) (global $i64 (mut i64) (i64.const -3))
  (global $f32 (mut f32) (f32.const 2.5)) (global $f64 (mut f64) (f64.const -7.25))
  (global $v128 (mut v128) (v128.const i32x4 1 -2 0x40490fdb 4))
"""


@pytest.mark.parametrize("row", SEVERAL, ids=lambda row: row.name)
def test_operands_that_act_are_what_they_were_in_their_turn(row: Instruction) -> None:
    kinds = " ".join(map(str, OPERANDS))
    types = "".join(f"(type ${kind}s (array (mut {kind})))" for kind in kinds.split())
    funcs = ""
    for rich in product((False, True), repeat=len(row.params)):
        operands = [
            OPERANDS[type].format(new=f"(array.new ${type}s (global.get ${type}) (i32.const 3))")
            if acts
            else f"(global.get ${type})"
            for type, acts in zip(row.params, rich, strict=True)
        ]
        result = " ".join(map(str, row.results))
        funcs += f"""(func (export "{rich}") (result {result})
          (f64.const 1) (v128.const i64x2 3 4) {" ".join(operands)} {row.name}
          {"" if len(row.results) > 1 else f"(global.set ${result}) (drop) (drop) (global.get ${result})"}
          {"(return)" if len(row.results) > 1 else ""})"""
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            wasm = exports(f"(module {types} {GLOBALS} {funcs})", within=store(wide_arithmetic=True))
            found.append([repr(outcome(wasm[name])) for name in wasm])
    assert found[0] == found[1]
