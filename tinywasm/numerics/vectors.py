"""Vectors as a whole (section 4.3.5): interpretations as lanes, bitwise operators, lane access.

A v128 is a `bytes` of length 16, little-endian, lane 0 first: what lies in memory, immutable, and
a lane is a slice. A `Lanes` says how to read it. Bitwise operators go through one int of 128 bits.

A lane immediate is the last parameter, after the operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any

from tinywasm.numerics.floats import f32_from_bits, f32_to_bits, f64_from_bits, f64_to_bits

Unary = Callable[[bytes], bytes]
Binary = Callable[[bytes, bytes], bytes]
Splat = Callable[[int], bytes]
ExtractLane = Callable[[bytes, int], int]
ReplaceLane = Callable[[bytes, int, int], bytes]

ZERO = bytes(16)
from_bytes = int.from_bytes
_ALL_ONES = (1 << 128) - 1


class Lanes:
    """One interpretation of a vector: `count` lanes of `bits` bits, with values `code` of `struct`."""

    def __init__(self, code: str) -> None:
        self.bits = 8 * Struct("<" + code).size
        self.count = 128 // self.bits
        vector = Struct(f"<{self.count}{code}")
        self.unpack: Callable[[bytes], tuple[Any, ...]] = vector.unpack
        self.pack: Callable[..., bytes] = vector.pack


I8X16, U8X16 = Lanes("b"), Lanes("B")
I16X8, U16X8 = Lanes("h"), Lanes("H")
I32X4, U32X4 = Lanes("i"), Lanes("I")
I64X2, U64X2 = Lanes("q"), Lanes("Q")
F32X4, F64X2 = Lanes("f"), Lanes("d")


def lanewise_unary(operand: Lanes, operator: Callable[[Any], Any], result: Lanes | None = None) -> Unary:
    """The vector instruction that applies an operator to each lane."""
    unpack, pack = operand.unpack, (result or operand).pack
    return lambda a: pack(*map(operator, unpack(a)))


def lanewise_binary(lanes: Lanes, operator: Callable[[Any, Any], Any]) -> Binary:
    """The vector instruction that applies an operator to each pair of lanes."""
    unpack, pack = lanes.unpack, lanes.pack
    return lambda a, b: pack(*map(operator, unpack(a), unpack(b)))


def lanewise_comparison(lanes: Lanes, relation: Callable[[Any, Any], bool], result: Lanes) -> Binary:
    """The vector instruction that fills a lane with ones where a relation holds; `result` is signed."""
    unpack, pack = lanes.unpack, result.pack

    def compare(a: bytes, b: bytes) -> bytes:
        return pack(*[-1 if holds else 0 for holds in map(relation, unpack(a), unpack(b))])

    return compare


def repeat_lane(value: int, bits: int) -> int:
    """The 128-bit integer with `value` in each lane."""
    return sum(value << position for position in range(0, 128, bits))


# Bitwise operators.


def v128_not(a: bytes) -> bytes:
    return (from_bytes(a, "little") ^ _ALL_ONES).to_bytes(16, "little")


def v128_and(a: bytes, b: bytes) -> bytes:
    return (from_bytes(a, "little") & from_bytes(b, "little")).to_bytes(16, "little")


def v128_andnot(a: bytes, b: bytes) -> bytes:
    return (from_bytes(a, "little") & ~from_bytes(b, "little")).to_bytes(16, "little")


def v128_or(a: bytes, b: bytes) -> bytes:
    return (from_bytes(a, "little") | from_bytes(b, "little")).to_bytes(16, "little")


def v128_xor(a: bytes, b: bytes) -> bytes:
    return (from_bytes(a, "little") ^ from_bytes(b, "little")).to_bytes(16, "little")


def v128_bitselect(a: bytes, b: bytes, mask: bytes) -> bytes:
    ones, zeros = from_bytes(a, "little"), from_bytes(b, "little")
    return (zeros ^ (ones ^ zeros) & from_bytes(mask, "little")).to_bytes(16, "little")


def v128_any_true(a: bytes) -> int:
    return 1 if a != ZERO else 0


# Lane access.


def _splat(bits: int) -> Splat:
    mask, size, count = (1 << bits) - 1, bits // 8, 128 // bits
    return lambda x: (x & mask).to_bytes(size, "little") * count


def _extract_lane(lanes: Lanes) -> ExtractLane:
    unpack = lanes.unpack
    # Lanes narrower than i32 are extended to it; no signed lane is extended to i64.
    mask = (1 << max(lanes.bits, 32)) - 1

    def extract_lane(a: bytes, lane: int) -> int:
        value: int = unpack(a)[lane]
        return value & mask

    return extract_lane


def _replace_lane(bits: int) -> ReplaceLane:
    mask, size = (1 << bits) - 1, bits // 8

    def replace_lane(a: bytes, x: int, lane: int) -> bytes:
        start = lane * size
        return a[:start] + (x & mask).to_bytes(size, "little") + a[start + size :]

    return replace_lane


i8x16_splat = _splat(8)
i16x8_splat = _splat(16)
i32x4_splat = _splat(32)
i64x2_splat = _splat(64)

i8x16_extract_lane_s = _extract_lane(I8X16)
i8x16_extract_lane_u = _extract_lane(U8X16)
i16x8_extract_lane_s = _extract_lane(I16X8)
i16x8_extract_lane_u = _extract_lane(U16X8)
i32x4_extract_lane = _extract_lane(U32X4)
i64x2_extract_lane = _extract_lane(U64X2)

i8x16_replace_lane = _replace_lane(8)
i16x8_replace_lane = _replace_lane(16)
i32x4_replace_lane = _replace_lane(32)
i64x2_replace_lane = _replace_lane(64)


def f32x4_splat(x: float) -> bytes:
    return i32x4_splat(f32_to_bits(x))


def f64x2_splat(x: float) -> bytes:
    return i64x2_splat(f64_to_bits(x))


def f32x4_extract_lane(a: bytes, lane: int) -> float:
    return f32_from_bits(i32x4_extract_lane(a, lane))


def f64x2_extract_lane(a: bytes, lane: int) -> float:
    return f64_from_bits(i64x2_extract_lane(a, lane))


def f32x4_replace_lane(a: bytes, x: float, lane: int) -> bytes:
    return i32x4_replace_lane(a, f32_to_bits(x), lane)


def f64x2_replace_lane(a: bytes, x: float, lane: int) -> bytes:
    return i64x2_replace_lane(a, f64_to_bits(x), lane)


# Both select bytes by their index, as `bytes.translate` does with a table of 256.
_PAST_ONE, _PAST_TWO = bytes(256 - 16), bytes(256 - 32)


def i8x16_shuffle(a: bytes, b: bytes, lanes: Sequence[int]) -> bytes:
    return bytes(lanes).translate(a + b + _PAST_TWO)


def i8x16_swizzle(a: bytes, indices: bytes) -> bytes:
    return indices.translate(a + _PAST_ONE)
