"""Floating-point instructions (section 4.3.3) and the bit patterns of floats.

An f64 is a Python float, every bit of a NaN included. An f32 is a Python float whose value single
precision represents exactly. A NaN of f32 is carried as the NaN of f64 with the same sign and with
the 23 significand bits moved to the top of the 52: the quiet bits coincide, so a signalling NaN
stays signalling. `struct` and C would make it quiet, hence the detour through integers in
`f32_from_bits` and `f32_to_bits`.

An operator that computes a NaN returns the positive canonical NaN, whatever its operands. The
specification allows that (section 4.3.3, "NaN propagation"), its deterministic profile asks for it,
and results are the same on every machine. `neg`, `abs` and `copysign` are not arithmetic: they
change the sign bit and keep the rest.

Sum, difference, product, quotient and square root of f32 are computed in double precision, then
rounded. Rounding twice does no harm to them, since 53 >= 2 * 24 + 2 bits.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from math import copysign, inf
from struct import Struct

Unary = Callable[[float], float]
Binary = Callable[[float, float], float]

_F32 = Struct("<f")
_F64 = Struct("<d")
_U32 = Struct("<I")
_U64 = Struct("<Q")
_pack_f32, _unpack_f32 = _F32.pack, _F32.unpack


def f64_from_bits(bits: int) -> float:
    value: float = _F64.unpack(_U64.pack(bits))[0]
    return value


def f64_to_bits(value: float) -> int:
    bits: int = _U64.unpack(_F64.pack(value))[0]
    return bits


def f32_from_bits(bits: int) -> float:
    if bits & 0x7FFFFFFF > 0x7F800000:
        sign, significand = bits >> 31, bits & 0x7FFFFF
        return f64_from_bits(sign << 63 | 0x7FF << 52 | significand << 29)
    value: float = _unpack_f32(_U32.pack(bits))[0]
    return value


def f32_to_bits(value: float) -> int:
    if value != value:
        wide = f64_to_bits(value)
        return wide >> 32 & 0x80000000 | 0x7F800000 | wide >> 29 & 0x7FFFFF
    bits: int = _U32.unpack(_pack_f32(value))[0]
    return bits


CANONICAL_NAN = f64_from_bits(0x7FF8000000000000)


def f32_round(value: float) -> float:
    """The nearest f32, ties to even; the canonical NaN for any NaN."""
    if value != value:
        return CANONICAL_NAN
    try:
        rounded: float = _unpack_f32(_pack_f32(value))[0]
    except OverflowError:
        return copysign(inf, value)
    return rounded


# Comparisons: of every two values, whatever their width.


def f64_eq(a: float, b: float) -> int:
    return 1 if a == b else 0


def f64_ne(a: float, b: float) -> int:
    return 1 if a != b else 0


def f64_lt(a: float, b: float) -> int:
    return 1 if a < b else 0


def f64_gt(a: float, b: float) -> int:
    return 1 if a > b else 0


def f64_le(a: float, b: float) -> int:
    return 1 if a <= b else 0


def f64_ge(a: float, b: float) -> int:
    return 1 if a >= b else 0


f32_eq = f64_eq
f32_ne = f64_ne
f32_lt = f64_lt
f32_gt = f64_gt
f32_le = f64_le
f32_ge = f64_ge


# Sign: the same for both widths, since both carry it in the same bit.

f64_neg: Unary = operator.neg
f64_abs: Unary = math.fabs
f64_copysign: Binary = math.copysign
f32_neg = f64_neg
f32_abs = f64_abs
f32_copysign = f64_copysign


# Rounding to an integral value: exact, hence the same for both widths.

_ALL_INTEGRAL = 2.0**52


def _to_integral(to_int: Callable[[float], int]) -> Unary:
    def round_to_integral(a: float) -> float:
        if -_ALL_INTEGRAL < a < _ALL_INTEGRAL:
            return copysign(to_int(a), a)  # -0.5 becomes -0.0
        return a if a == a else CANONICAL_NAN

    return round_to_integral


f64_ceil = _to_integral(math.ceil)
f64_floor = _to_integral(math.floor)
f64_trunc = _to_integral(math.trunc)
f64_nearest = _to_integral(round)
f32_ceil = f64_ceil
f32_floor = f64_floor
f32_trunc = f64_trunc
f32_nearest = f64_nearest


# Minimum and maximum: -0.0 is less than 0.0, and a NaN operand wins.


def f64_min(a: float, b: float) -> float:
    if a < b:
        return a
    if b < a:
        return b
    if a == b:
        return a if copysign(1.0, a) < 0.0 else b
    return CANONICAL_NAN


def f64_max(a: float, b: float) -> float:
    if a > b:
        return a
    if b > a:
        return b
    if a == b:
        return b if copysign(1.0, a) < 0.0 else a
    return CANONICAL_NAN


f32_min = f64_min
f32_max = f64_max


# Arithmetic.


def f64_add(a: float, b: float) -> float:
    result = a + b
    return result if result == result else CANONICAL_NAN


def f64_sub(a: float, b: float) -> float:
    result = a - b
    return result if result == result else CANONICAL_NAN


def f64_mul(a: float, b: float) -> float:
    result = a * b
    return result if result == result else CANONICAL_NAN


def f64_div(a: float, b: float) -> float:
    try:
        result = a / b
    except ZeroDivisionError:
        # Python raises whatever the dividend; 0 and NaN give NaN.
        return copysign(inf, a) * copysign(1.0, b) if a < 0.0 or a > 0.0 else CANONICAL_NAN
    return result if result == result else CANONICAL_NAN


def f64_sqrt(a: float) -> float:
    return math.sqrt(a) if a >= 0.0 else CANONICAL_NAN


def f32_add(a: float, b: float) -> float:
    return f32_round(a + b)


def f32_sub(a: float, b: float) -> float:
    return f32_round(a - b)


def f32_mul(a: float, b: float) -> float:
    return f32_round(a * b)


def f32_div(a: float, b: float) -> float:
    return f32_round(f64_div(a, b))


def f32_sqrt(a: float) -> float:
    return f32_round(f64_sqrt(a))
