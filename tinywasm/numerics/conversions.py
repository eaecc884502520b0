"""Conversions between integers and floats, and between the two widths of floats (section 4.3.4).

The values are those of `ints` and `floats`. Since an f32 is carried as a Python float of the same
value, truncation does not ask for the width of its operand.
"""

from __future__ import annotations

from collections.abc import Callable

from tinywasm.errors import Trap, TrapCode
from tinywasm.numerics.floats import (
    CANONICAL_NAN,
    f32_from_bits,
    f32_round,
    f32_to_bits,
    f64_from_bits,
    f64_to_bits,
)
from tinywasm.numerics.ints import signed32, signed64

ToInt = Callable[[float], int]
FromInt = Callable[[int], float]


def _range(bits: int, signed: bool) -> tuple[int, int]:
    return (-1 << bits - 1, (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def _trunc(bits: int, *, signed: bool) -> ToInt:
    lowest, highest = _range(bits, signed)
    mask = (1 << bits) - 1

    def trunc(a: float) -> int:
        try:
            result = int(a)
        except ValueError:
            raise Trap(TrapCode.BAD_CONVERSION_TO_INTEGER) from None
        except OverflowError:
            raise Trap(TrapCode.INTEGER_OVERFLOW) from None
        if lowest <= result <= highest:
            return result & mask
        raise Trap(TrapCode.INTEGER_OVERFLOW)

    return trunc


def _trunc_sat(bits: int, *, signed: bool) -> ToInt:
    lowest, highest = _range(bits, signed)
    mask = (1 << bits) - 1

    def trunc_sat(a: float) -> int:
        if a != a:
            return 0
        if a <= lowest:
            return lowest & mask
        # An int and a float compare exactly in Python, whatever their size.
        return int(a) & mask if a < highest else highest

    return trunc_sat


i32_trunc_f64_s = _trunc(32, signed=True)
i32_trunc_f64_u = _trunc(32, signed=False)
i64_trunc_f64_s = _trunc(64, signed=True)
i64_trunc_f64_u = _trunc(64, signed=False)
i32_trunc_f32_s = i32_trunc_f64_s
i32_trunc_f32_u = i32_trunc_f64_u
i64_trunc_f32_s = i64_trunc_f64_s
i64_trunc_f32_u = i64_trunc_f64_u

i32_trunc_sat_f64_s = _trunc_sat(32, signed=True)
i32_trunc_sat_f64_u = _trunc_sat(32, signed=False)
i64_trunc_sat_f64_s = _trunc_sat(64, signed=True)
i64_trunc_sat_f64_u = _trunc_sat(64, signed=False)
i32_trunc_sat_f32_s = i32_trunc_sat_f64_s
i32_trunc_sat_f32_u = i32_trunc_sat_f64_u
i64_trunc_sat_f32_s = i64_trunc_sat_f64_s
i64_trunc_sat_f32_u = i64_trunc_sat_f64_u


# From integers. Python rounds an int of any size to the nearest float, ties to even.

f64_convert_i32_u: FromInt = float
f64_convert_i64_u: FromInt = float


def f64_convert_i32_s(a: int) -> float:
    return float(signed32(a))


def f64_convert_i64_s(a: int) -> float:
    return float(signed64(a))


def f32_convert_i32_u(a: int) -> float:
    return f32_round(float(a))


def f32_convert_i32_s(a: int) -> float:
    return f32_round(float(signed32(a)))


def _round_to_odd(value: int) -> int:
    # Clears the low 11 bits but keeps a trace of them in the last bit that stays, so that a double
    # holds the result exactly and rounding it to single precision decides as if nothing were lost.
    # A value below 2^53 in magnitude is exact in a double already.
    if -(1 << 53) < value < 1 << 53 or not value & 0x7FF:
        return value
    return value & ~0x7FF | 0x800


def f32_convert_i64_u(a: int) -> float:
    return f32_round(float(_round_to_odd(a)))


def f32_convert_i64_s(a: int) -> float:
    return f32_round(float(_round_to_odd(signed64(a))))


# Between floats.

f32_demote_f64 = f32_round


def f64_promote_f32(a: float) -> float:
    return a if a == a else CANONICAL_NAN


i32_reinterpret_f32 = f32_to_bits
f32_reinterpret_i32 = f32_from_bits
i64_reinterpret_f64 = f64_to_bits
f64_reinterpret_i64 = f64_from_bits
