"""Relaxed vector instructions, with the one result that we give for each.

The specification lets an implementation choose among a few results, once and for all. We take those
of its deterministic profile, always the first of the alternatives (section 4.3.6), so that a program
computes the same everywhere: `madd` and `nmadd` round twice (product, then sum); `min`, `max`,
`swizzle`, `trunc` and `q15mulr` are the instructions without `relaxed`; `laneselect` is `bitselect`;
both factors of a dot product are signed, and its sums saturate to 16 bits.
"""

from __future__ import annotations

import operator

from tinywasm.numerics.vectors import I8X16, I16X8, i8x16_swizzle, v128_bitselect
from tinywasm.numerics.vectors_float import (
    f32x4_add,
    f32x4_max,
    f32x4_min,
    f32x4_mul,
    f32x4_neg,
    f64x2_add,
    f64x2_max,
    f64x2_min,
    f64x2_mul,
    f64x2_neg,
    i32x4_trunc_sat_f32x4_s,
    i32x4_trunc_sat_f32x4_u,
    i32x4_trunc_sat_f64x2_s_zero,
    i32x4_trunc_sat_f64x2_u_zero,
)
from tinywasm.numerics.vectors_int import (
    i16x8_q15mulr_sat_s,
    i32x4_add,
    i32x4_extadd_pairwise_i16x8_s,
    pairwise_sums,
)

i8x16_relaxed_swizzle = i8x16_swizzle
i8x16_relaxed_laneselect = v128_bitselect
i16x8_relaxed_laneselect = v128_bitselect
i32x4_relaxed_laneselect = v128_bitselect
i64x2_relaxed_laneselect = v128_bitselect
i16x8_relaxed_q15mulr_s = i16x8_q15mulr_sat_s
i32x4_relaxed_trunc_f32x4_s = i32x4_trunc_sat_f32x4_s
i32x4_relaxed_trunc_f32x4_u = i32x4_trunc_sat_f32x4_u
i32x4_relaxed_trunc_f64x2_s_zero = i32x4_trunc_sat_f64x2_s_zero
i32x4_relaxed_trunc_f64x2_u_zero = i32x4_trunc_sat_f64x2_u_zero
f32x4_relaxed_min = f32x4_min
f32x4_relaxed_max = f32x4_max
f64x2_relaxed_min = f64x2_min
f64x2_relaxed_max = f64x2_max


def f32x4_relaxed_madd(a: bytes, b: bytes, c: bytes) -> bytes:
    return f32x4_add(f32x4_mul(a, b), c)


def f32x4_relaxed_nmadd(a: bytes, b: bytes, c: bytes) -> bytes:
    return f32x4_add(f32x4_mul(f32x4_neg(a), b), c)


def f64x2_relaxed_madd(a: bytes, b: bytes, c: bytes) -> bytes:
    return f64x2_add(f64x2_mul(a, b), c)


def f64x2_relaxed_nmadd(a: bytes, b: bytes, c: bytes) -> bytes:
    return f64x2_add(f64x2_mul(f64x2_neg(a), b), c)


def i16x8_relaxed_dot_i8x16_i7x16_s(a: bytes, b: bytes) -> bytes:
    products = list(map(operator.mul, I8X16.unpack(a), I8X16.unpack(b)))
    # Only 2 * (-2^7)^2 = 2^15 leaves the range of i16.
    return I16X8.pack(*[min(x, 0x7FFF) for x in pairwise_sums(products)])


def i32x4_relaxed_dot_i8x16_i7x16_add_s(a: bytes, b: bytes, c: bytes) -> bytes:
    return i32x4_add(i32x4_extadd_pairwise_i16x8_s(i16x8_relaxed_dot_i8x16_i7x16_s(a, b)), c)
