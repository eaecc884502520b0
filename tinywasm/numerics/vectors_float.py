"""Float vectors (sections 4.3.3 and 4.3.5); a v128 is a `bytes`, see `vectors`.

Arithmetic applies the scalar instruction to each lane, so a computed NaN is the canonical one, and
it does not matter that reading a lane of f32 may turn a signalling NaN quiet. Instructions that keep
the bits of their operands (`neg`, `abs`, `pmin`, `pmax`) work on integer lanes instead.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from tinywasm.numerics import conversions, floats
from tinywasm.numerics.vectors import (
    F32X4,
    F64X2,
    I32X4,
    I64X2,
    U32X4,
    U64X2,
    Binary,
    Lanes,
    Unary,
    from_bytes,
    lanewise_binary,
    lanewise_comparison,
    lanewise_unary,
    repeat_lane,
)

f32x4_add = lanewise_binary(F32X4, floats.f32_add)
f32x4_sub = lanewise_binary(F32X4, floats.f32_sub)
f32x4_mul = lanewise_binary(F32X4, floats.f32_mul)
f32x4_div = lanewise_binary(F32X4, floats.f32_div)
f32x4_min = lanewise_binary(F32X4, floats.f32_min)
f32x4_max = lanewise_binary(F32X4, floats.f32_max)
f32x4_sqrt = lanewise_unary(F32X4, floats.f32_sqrt)
f32x4_ceil = lanewise_unary(F32X4, floats.f32_ceil)
f32x4_floor = lanewise_unary(F32X4, floats.f32_floor)
f32x4_trunc = lanewise_unary(F32X4, floats.f32_trunc)
f32x4_nearest = lanewise_unary(F32X4, floats.f32_nearest)

f64x2_add = lanewise_binary(F64X2, floats.f64_add)
f64x2_sub = lanewise_binary(F64X2, floats.f64_sub)
f64x2_mul = lanewise_binary(F64X2, floats.f64_mul)
f64x2_div = lanewise_binary(F64X2, floats.f64_div)
f64x2_min = lanewise_binary(F64X2, floats.f64_min)
f64x2_max = lanewise_binary(F64X2, floats.f64_max)
f64x2_sqrt = lanewise_unary(F64X2, floats.f64_sqrt)
f64x2_ceil = lanewise_unary(F64X2, floats.f64_ceil)
f64x2_floor = lanewise_unary(F64X2, floats.f64_floor)
f64x2_trunc = lanewise_unary(F64X2, floats.f64_trunc)
f64x2_nearest = lanewise_unary(F64X2, floats.f64_nearest)

f32x4_eq = lanewise_comparison(F32X4, operator.eq, I32X4)
f32x4_ne = lanewise_comparison(F32X4, operator.ne, I32X4)
f32x4_lt = lanewise_comparison(F32X4, operator.lt, I32X4)
f32x4_gt = lanewise_comparison(F32X4, operator.gt, I32X4)
f32x4_le = lanewise_comparison(F32X4, operator.le, I32X4)
f32x4_ge = lanewise_comparison(F32X4, operator.ge, I32X4)
f64x2_eq = lanewise_comparison(F64X2, operator.eq, I64X2)
f64x2_ne = lanewise_comparison(F64X2, operator.ne, I64X2)
f64x2_lt = lanewise_comparison(F64X2, operator.lt, I64X2)
f64x2_gt = lanewise_comparison(F64X2, operator.gt, I64X2)
f64x2_le = lanewise_comparison(F64X2, operator.le, I64X2)
f64x2_ge = lanewise_comparison(F64X2, operator.ge, I64X2)


# Instructions that keep bits.


def _neg(bits: int) -> Unary:
    signs = repeat_lane(1 << bits - 1, bits)
    return lambda a: (from_bytes(a, "little") ^ signs).to_bytes(16, "little")


def _abs(bits: int) -> Unary:
    magnitudes = repeat_lane((1 << bits - 1) - 1, bits)
    return lambda a: (from_bytes(a, "little") & magnitudes).to_bytes(16, "little")


def _pseudo_choice(values: Lanes, patterns: Lanes, second: Callable[[float, float], bool]) -> Binary:
    def choose(a: bytes, b: bytes) -> bytes:
        takes_second = map(second, values.unpack(a), values.unpack(b))
        triples = zip(takes_second, patterns.unpack(a), patterns.unpack(b), strict=True)
        return patterns.pack(*[y if other else x for other, x, y in triples])

    return choose


f32x4_neg = _neg(32)
f64x2_neg = _neg(64)
f32x4_abs = _abs(32)
f64x2_abs = _abs(64)
f32x4_pmin = _pseudo_choice(F32X4, U32X4, operator.gt)
f32x4_pmax = _pseudo_choice(F32X4, U32X4, operator.lt)
f64x2_pmin = _pseudo_choice(F64X2, U64X2, operator.gt)
f64x2_pmax = _pseudo_choice(F64X2, U64X2, operator.lt)


# Conversions.


def _low_half(operand: Lanes, convert: Callable[[int], float]) -> Unary:
    return lambda a: F64X2.pack(*map(convert, operand.unpack(a)[:2]))


def _zero_high_half(convert: Callable[[float], int | float], result: Lanes) -> Unary:
    return lambda a: result.pack(*map(convert, F64X2.unpack(a)), 0, 0)


i32x4_trunc_sat_f32x4_s = lanewise_unary(F32X4, conversions.i32_trunc_sat_f32_s, U32X4)
i32x4_trunc_sat_f32x4_u = lanewise_unary(F32X4, conversions.i32_trunc_sat_f32_u, U32X4)
i32x4_trunc_sat_f64x2_s_zero = _zero_high_half(conversions.i32_trunc_sat_f64_s, U32X4)
i32x4_trunc_sat_f64x2_u_zero = _zero_high_half(conversions.i32_trunc_sat_f64_u, U32X4)
f32x4_convert_i32x4_s = lanewise_unary(U32X4, conversions.f32_convert_i32_s, F32X4)
f32x4_convert_i32x4_u = lanewise_unary(U32X4, conversions.f32_convert_i32_u, F32X4)
f64x2_convert_low_i32x4_s = _low_half(I32X4, float)
f64x2_convert_low_i32x4_u = _low_half(U32X4, float)
f64x2_promote_low_f32x4 = _low_half(F32X4, conversions.f64_promote_f32)
f32x4_demote_f64x2_zero = _zero_high_half(conversions.f32_demote_f64, F32X4)
