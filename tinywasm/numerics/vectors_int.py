"""Integer vectors (sections 4.3.2 and 4.3.5); a v128 is a `bytes`, see `vectors`.

Most instructions apply a built-in function to the lanes. Addition and subtraction work on all lanes
at once, inside one int of 128 bits, because a modular result would otherwise be cut lane by lane.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence

from tinywasm.numerics.vectors import (
    I8X16,
    I16X8,
    I32X4,
    I64X2,
    U8X16,
    U16X8,
    U32X4,
    U64X2,
    ZERO,
    Binary,
    Lanes,
    Unary,
    from_bytes,
    lanewise_binary,
    lanewise_comparison,
    lanewise_unary,
    repeat_lane,
)

Shift = Callable[[bytes, int], bytes]
Test = Callable[[bytes], int]


# Modular arithmetic.


def _add(bits: int) -> Binary:
    top = repeat_lane(1 << bits - 1, bits)
    rest = repeat_lane((1 << bits - 1) - 1, bits)

    def add(a: bytes, b: bytes) -> bytes:
        # Without the top bits no sum carries into the next lane; a top bit is then the exclusive
        # or of both operands' and the carry that arrived there.
        x, y = from_bytes(a, "little"), from_bytes(b, "little")
        return ((x & rest) + (y & rest) ^ (x ^ y) & top).to_bytes(16, "little")

    return add


def _sub(bits: int) -> Binary:
    top = repeat_lane(1 << bits - 1, bits)
    rest = repeat_lane((1 << bits - 1) - 1, bits)

    def sub(a: bytes, b: bytes) -> bytes:
        # As in `_add`: a top bit lent to each lane of the minuend keeps borrows inside it.
        x, y = from_bytes(a, "little"), from_bytes(b, "little")
        return ((x | top) - (y & rest) ^ (x ^ y ^ top) & top).to_bytes(16, "little")

    return sub


def _neg(sub: Binary) -> Unary:
    return lambda a: sub(ZERO, a)


def _mul(lanes: Lanes) -> Binary:
    unpack, pack, mask = lanes.unpack, lanes.pack, (1 << lanes.bits) - 1
    return lambda a, b: pack(*[x & mask for x in map(operator.mul, unpack(a), unpack(b))])


i8x16_add = _add(8)
i16x8_add = _add(16)
i32x4_add = _add(32)
i64x2_add = _add(64)
i8x16_sub = _sub(8)
i16x8_sub = _sub(16)
i32x4_sub = _sub(32)
i64x2_sub = _sub(64)
i8x16_neg = _neg(i8x16_sub)
i16x8_neg = _neg(i16x8_sub)
i32x4_neg = _neg(i32x4_sub)
i64x2_neg = _neg(i64x2_sub)
i16x8_mul = _mul(U16X8)
i32x4_mul = _mul(U32X4)
i64x2_mul = _mul(U64X2)

# The magnitude of the least integer does not fit a signed lane.
i8x16_abs = lanewise_unary(I8X16, abs, U8X16)
i16x8_abs = lanewise_unary(I16X8, abs, U16X8)
i32x4_abs = lanewise_unary(I32X4, abs, U32X4)
i64x2_abs = lanewise_unary(I64X2, abs, U64X2)


# Shifts.


def _shl(lanes: Lanes) -> Shift:
    unpack, pack, mask, modulus = lanes.unpack, lanes.pack, (1 << lanes.bits) - 1, lanes.bits

    def shl(a: bytes, count: int) -> bytes:
        count %= modulus
        return pack(*[x << count & mask for x in unpack(a)])

    return shl


def _shr(lanes: Lanes) -> Shift:
    unpack, pack, modulus = lanes.unpack, lanes.pack, lanes.bits

    def shr(a: bytes, count: int) -> bytes:
        count %= modulus
        return pack(*[x >> count for x in unpack(a)])

    return shr


i8x16_shl = _shl(U8X16)
i16x8_shl = _shl(U16X8)
i32x4_shl = _shl(U32X4)
i64x2_shl = _shl(U64X2)
i8x16_shr_s = _shr(I8X16)
i16x8_shr_s = _shr(I16X8)
i32x4_shr_s = _shr(I32X4)
i64x2_shr_s = _shr(I64X2)
i8x16_shr_u = _shr(U8X16)
i16x8_shr_u = _shr(U16X8)
i32x4_shr_u = _shr(U32X4)
i64x2_shr_u = _shr(U64X2)


# Saturating and rounding arithmetic.


def _saturating_pack(lanes: Lanes) -> Callable[[Iterable[int]], bytes]:
    pack, signed = lanes.pack, lanes in (I8X16, I16X8)
    lowest = -1 << lanes.bits - 1 if signed else 0
    highest = lowest + (1 << lanes.bits) - 1
    return lambda values: pack(*[lowest if x < lowest else highest if x > highest else x for x in values])


def _saturating(lanes: Lanes, operator: Callable[[int, int], int]) -> Binary:
    unpack, pack = lanes.unpack, _saturating_pack(lanes)
    return lambda a, b: pack(map(operator, unpack(a), unpack(b)))


def _rounding_average(x: int, y: int) -> int:
    return x + y + 1 >> 1


def _q15_rounding_product(x: int, y: int) -> int:
    return x * y + 0x4000 >> 15


i8x16_add_sat_s = _saturating(I8X16, operator.add)
i8x16_add_sat_u = _saturating(U8X16, operator.add)
i8x16_sub_sat_s = _saturating(I8X16, operator.sub)
i8x16_sub_sat_u = _saturating(U8X16, operator.sub)
i16x8_add_sat_s = _saturating(I16X8, operator.add)
i16x8_add_sat_u = _saturating(U16X8, operator.add)
i16x8_sub_sat_s = _saturating(I16X8, operator.sub)
i16x8_sub_sat_u = _saturating(U16X8, operator.sub)
i16x8_q15mulr_sat_s = _saturating(I16X8, _q15_rounding_product)
i8x16_avgr_u = lanewise_binary(U8X16, _rounding_average)
i16x8_avgr_u = lanewise_binary(U16X8, _rounding_average)


# Minimum, maximum, population count. The built-in functions take twice the time.


def _min(lanes: Lanes) -> Binary:
    unpack, pack = lanes.unpack, lanes.pack
    return lambda a, b: pack(*[x if x < y else y for x, y in zip(unpack(a), unpack(b), strict=True)])


def _max(lanes: Lanes) -> Binary:
    unpack, pack = lanes.unpack, lanes.pack
    return lambda a, b: pack(*[x if x > y else y for x, y in zip(unpack(a), unpack(b), strict=True)])


i8x16_min_s = _min(I8X16)
i8x16_min_u = _min(U8X16)
i8x16_max_s = _max(I8X16)
i8x16_max_u = _max(U8X16)
i16x8_min_s = _min(I16X8)
i16x8_min_u = _min(U16X8)
i16x8_max_s = _max(I16X8)
i16x8_max_u = _max(U16X8)
i32x4_min_s = _min(I32X4)
i32x4_min_u = _min(U32X4)
i32x4_max_s = _max(I32X4)
i32x4_max_u = _max(U32X4)

_POPULATION_COUNTS = bytes(byte.bit_count() for byte in range(256))


def i8x16_popcnt(a: bytes) -> bytes:
    return a.translate(_POPULATION_COUNTS)


# Comparisons.

i8x16_eq = lanewise_comparison(I8X16, operator.eq, I8X16)
i8x16_ne = lanewise_comparison(I8X16, operator.ne, I8X16)
i8x16_lt_s = lanewise_comparison(I8X16, operator.lt, I8X16)
i8x16_lt_u = lanewise_comparison(U8X16, operator.lt, I8X16)
i8x16_gt_s = lanewise_comparison(I8X16, operator.gt, I8X16)
i8x16_gt_u = lanewise_comparison(U8X16, operator.gt, I8X16)
i8x16_le_s = lanewise_comparison(I8X16, operator.le, I8X16)
i8x16_le_u = lanewise_comparison(U8X16, operator.le, I8X16)
i8x16_ge_s = lanewise_comparison(I8X16, operator.ge, I8X16)
i8x16_ge_u = lanewise_comparison(U8X16, operator.ge, I8X16)
i16x8_eq = lanewise_comparison(I16X8, operator.eq, I16X8)
i16x8_ne = lanewise_comparison(I16X8, operator.ne, I16X8)
i16x8_lt_s = lanewise_comparison(I16X8, operator.lt, I16X8)
i16x8_lt_u = lanewise_comparison(U16X8, operator.lt, I16X8)
i16x8_gt_s = lanewise_comparison(I16X8, operator.gt, I16X8)
i16x8_gt_u = lanewise_comparison(U16X8, operator.gt, I16X8)
i16x8_le_s = lanewise_comparison(I16X8, operator.le, I16X8)
i16x8_le_u = lanewise_comparison(U16X8, operator.le, I16X8)
i16x8_ge_s = lanewise_comparison(I16X8, operator.ge, I16X8)
i16x8_ge_u = lanewise_comparison(U16X8, operator.ge, I16X8)
i32x4_eq = lanewise_comparison(I32X4, operator.eq, I32X4)
i32x4_ne = lanewise_comparison(I32X4, operator.ne, I32X4)
i32x4_lt_s = lanewise_comparison(I32X4, operator.lt, I32X4)
i32x4_lt_u = lanewise_comparison(U32X4, operator.lt, I32X4)
i32x4_gt_s = lanewise_comparison(I32X4, operator.gt, I32X4)
i32x4_gt_u = lanewise_comparison(U32X4, operator.gt, I32X4)
i32x4_le_s = lanewise_comparison(I32X4, operator.le, I32X4)
i32x4_le_u = lanewise_comparison(U32X4, operator.le, I32X4)
i32x4_ge_s = lanewise_comparison(I32X4, operator.ge, I32X4)
i32x4_ge_u = lanewise_comparison(U32X4, operator.ge, I32X4)
i64x2_eq = lanewise_comparison(I64X2, operator.eq, I64X2)
i64x2_ne = lanewise_comparison(I64X2, operator.ne, I64X2)
i64x2_lt_s = lanewise_comparison(I64X2, operator.lt, I64X2)
i64x2_gt_s = lanewise_comparison(I64X2, operator.gt, I64X2)
i64x2_le_s = lanewise_comparison(I64X2, operator.le, I64X2)
i64x2_ge_s = lanewise_comparison(I64X2, operator.ge, I64X2)


# Tests.


def _all_true(lanes: Lanes) -> Test:
    unpack = lanes.unpack
    return lambda a: 1 if all(unpack(a)) else 0


def _bitmask(lanes: Lanes) -> Test:
    unpack = lanes.unpack
    return lambda a: sum(1 << lane for lane, x in enumerate(unpack(a)) if x < 0)


i8x16_all_true = _all_true(I8X16)
i16x8_all_true = _all_true(I16X8)
i32x4_all_true = _all_true(I32X4)
i64x2_all_true = _all_true(I64X2)
i8x16_bitmask = _bitmask(I8X16)
i16x8_bitmask = _bitmask(I16X8)
i32x4_bitmask = _bitmask(I32X4)
i64x2_bitmask = _bitmask(I64X2)


# Between widths.


def _narrow(wide: Lanes, narrow: Lanes) -> Binary:
    unpack, pack = wide.unpack, _saturating_pack(narrow)
    return lambda a, b: pack(unpack(a) + unpack(b))


def _half(wide: Lanes, *, high: bool) -> slice:
    return slice(wide.count, None) if high else slice(wide.count)


def _extend(narrow: Lanes, wide: Lanes, *, high: bool) -> Unary:
    unpack, pack, half = narrow.unpack, wide.pack, _half(wide, high=high)
    return lambda a: pack(*unpack(a)[half])


def _extmul(narrow: Lanes, wide: Lanes, *, high: bool) -> Binary:
    unpack, pack, half = narrow.unpack, wide.pack, _half(wide, high=high)
    return lambda a, b: pack(*map(operator.mul, unpack(a)[half], unpack(b)[half]))


def pairwise_sums(values: Sequence[int]) -> list[int]:
    """The sum of each two neighbours."""
    return list(map(operator.add, values[0::2], values[1::2]))


def _extadd_pairwise(narrow: Lanes, wide: Lanes) -> Unary:
    unpack, pack = narrow.unpack, wide.pack
    return lambda a: pack(*pairwise_sums(unpack(a)))


def i32x4_dot_i16x8_s(a: bytes, b: bytes) -> bytes:
    products = list(map(operator.mul, I16X8.unpack(a), I16X8.unpack(b)))
    # Only 2 * (-2^15)^2 = 2^31 leaves the range of i32, and as an unsigned lane it is right.
    return U32X4.pack(*[x & 0xFFFFFFFF for x in pairwise_sums(products)])


i8x16_narrow_i16x8_s = _narrow(I16X8, I8X16)
i8x16_narrow_i16x8_u = _narrow(I16X8, U8X16)
i16x8_narrow_i32x4_s = _narrow(I32X4, I16X8)
i16x8_narrow_i32x4_u = _narrow(I32X4, U16X8)

i16x8_extend_low_i8x16_s = _extend(I8X16, I16X8, high=False)
i16x8_extend_high_i8x16_s = _extend(I8X16, I16X8, high=True)
i16x8_extend_low_i8x16_u = _extend(U8X16, U16X8, high=False)
i16x8_extend_high_i8x16_u = _extend(U8X16, U16X8, high=True)
i32x4_extend_low_i16x8_s = _extend(I16X8, I32X4, high=False)
i32x4_extend_high_i16x8_s = _extend(I16X8, I32X4, high=True)
i32x4_extend_low_i16x8_u = _extend(U16X8, U32X4, high=False)
i32x4_extend_high_i16x8_u = _extend(U16X8, U32X4, high=True)
i64x2_extend_low_i32x4_s = _extend(I32X4, I64X2, high=False)
i64x2_extend_high_i32x4_s = _extend(I32X4, I64X2, high=True)
i64x2_extend_low_i32x4_u = _extend(U32X4, U64X2, high=False)
i64x2_extend_high_i32x4_u = _extend(U32X4, U64X2, high=True)

i16x8_extmul_low_i8x16_s = _extmul(I8X16, I16X8, high=False)
i16x8_extmul_high_i8x16_s = _extmul(I8X16, I16X8, high=True)
i16x8_extmul_low_i8x16_u = _extmul(U8X16, U16X8, high=False)
i16x8_extmul_high_i8x16_u = _extmul(U8X16, U16X8, high=True)
i32x4_extmul_low_i16x8_s = _extmul(I16X8, I32X4, high=False)
i32x4_extmul_high_i16x8_s = _extmul(I16X8, I32X4, high=True)
i32x4_extmul_low_i16x8_u = _extmul(U16X8, U32X4, high=False)
i32x4_extmul_high_i16x8_u = _extmul(U16X8, U32X4, high=True)
i64x2_extmul_low_i32x4_s = _extmul(I32X4, I64X2, high=False)
i64x2_extmul_high_i32x4_s = _extmul(I32X4, I64X2, high=True)
i64x2_extmul_low_i32x4_u = _extmul(U32X4, U64X2, high=False)
i64x2_extmul_high_i32x4_u = _extmul(U32X4, U64X2, high=True)

i16x8_extadd_pairwise_i8x16_s = _extadd_pairwise(I8X16, I16X8)
i16x8_extadd_pairwise_i8x16_u = _extadd_pairwise(U8X16, U16X8)
i32x4_extadd_pairwise_i16x8_s = _extadd_pairwise(I16X8, I32X4)
i32x4_extadd_pairwise_i16x8_u = _extadd_pairwise(U16X8, U32X4)
