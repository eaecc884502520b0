"""Float instructions and conversions against exact rational arithmetic."""

from __future__ import annotations

import math
import operator
import struct
from fractions import Fraction
from math import inf, isinf, isqrt, nan

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tinywasm.errors import Trap, TrapCode
from tinywasm.numerics.floats import (
    CANONICAL_NAN,
    f32_from_bits,
    f32_round,
    f32_to_bits,
    f64_from_bits,
    f64_to_bits,
)
from tinywasm.numerics.operators import OPERATORS

WIDTHS = pytest.mark.parametrize("bits", [32, 64])
INFINITY = {32: 0x7F800000, 64: 0x7FF0000000000000}
SIGN = {32: 1 << 31, 64: 1 << 63}
QUIET_NAN = {32: 0x7FC00000, 64: 0x7FF8000000000000}
FROM_BITS = {32: f32_from_bits, 64: f64_from_bits}
TO_BITS = {32: f32_to_bits, 64: f64_to_bits}
OVERFLOW = {32: Fraction(2) ** 128, 64: Fraction(2) ** 1024}

SPECIAL = [0, 1, 2, 0x7FFFFF, 0x800000, 0x3F800000, 0x4B000000, 0x7F7FFFFF, 0x7F800000]
NANS = [0x7F800001, 0x7FA00000, 0x7FBFFFFF, 0x7FC00000, 0x7FC00001, 0x7FFFFFFF]

nan32s = st.one_of(st.sampled_from(NANS), st.integers(0x7F800001, 0x7FFFFFFF)).flatmap(
    lambda bits: st.sampled_from([bits, bits | SIGN[32]])
)
nan64s = st.integers(INFINITY[64] + 1, SIGN[64] - 1).flatmap(
    lambda bits: st.sampled_from([bits, bits | SIGN[64]])
)
number32s = st.one_of(
    st.floats(width=32, allow_nan=False),
    st.sampled_from([f32_from_bits(bits | sign) for bits in SPECIAL for sign in (0, SIGN[32])]),
)
number64s = st.floats(allow_nan=False)
NUMBERS = {32: number32s, 64: number64s}
NAN_BITS = {32: nan32s, 64: nan64s}


def value_of(bits: int, width: int) -> Fraction:
    code, size = ("f", 4) if width == 32 else ("d", 8)
    return Fraction(struct.unpack(f"<{code}", bits.to_bytes(size, "little"))[0])


def nearest(exact: Fraction, width: int) -> float:
    """The float nearest to an exact value, ties to even, found by bisection over the bit patterns."""
    magnitude, low, high = abs(exact), 0, INFINITY[width]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if value_of(middle, width) <= magnitude else (low, middle)
    above = OVERFLOW[width] if high == INFINITY[width] else value_of(high, width)
    to_low, to_high = magnitude - value_of(low, width), above - magnitude
    chosen = low if to_low < to_high or (to_low == to_high and low % 2 == 0) else high
    return FROM_BITS[width](chosen | (SIGN[width] if exact < 0 else 0))


def same(a: float, b: float) -> bool:
    return f64_to_bits(a) == f64_to_bits(b)


@given(st.one_of(st.integers(0, 2**32 - 1), nan32s))
def test_every_f32_pattern_survives_being_carried(bits: int) -> None:
    value = OPERATORS["f32_reinterpret_i32"](bits)
    assert OPERATORS["i32_reinterpret_f32"](value) == bits
    quiet = bits & 0x400000
    assert (value != value) == (bits % SIGN[32] > INFINITY[32])
    if value != value:
        assert bool(f64_to_bits(value) >> 51 & 1) == bool(quiet)


@given(st.one_of(st.integers(0, 2**64 - 1), nan64s))
def test_every_f64_pattern_survives_being_carried(bits: int) -> None:
    assert OPERATORS["i64_reinterpret_f64"](OPERATORS["f64_reinterpret_i64"](bits)) == bits


@WIDTHS
@given(data=st.data())
def test_arithmetic_rounds_the_exact_result_once(bits: int, data: st.DataObject) -> None:
    a, b = data.draw(NUMBERS[bits]), data.draw(NUMBERS[bits])
    assume(not isinf(a) and not isinf(b))
    x, y = Fraction(a), Fraction(b)
    assert OPERATORS[f"f{bits}_add"](a, b) == nearest(x + y, bits)
    assert OPERATORS[f"f{bits}_sub"](a, b) == nearest(x - y, bits)
    assert OPERATORS[f"f{bits}_mul"](a, b) == nearest(x * y, bits)
    if b:
        assert OPERATORS[f"f{bits}_div"](a, b) == nearest(x / y, bits)


@WIDTHS
@given(data=st.data())
def test_square_root_rounds_once(bits: int, data: st.DataObject) -> None:
    a = abs(data.draw(NUMBERS[bits]))
    assume(not isinf(a))
    scaled = int(Fraction(a) * 4**1200)
    root = isqrt(scaled)
    # A trace of the part that isqrt cuts off decides ties.
    exact = Fraction(2 * root + (root * root != scaled), 2**1201)
    assert OPERATORS[f"f{bits}_sqrt"](a) == nearest(exact, bits)


@WIDTHS
@pytest.mark.parametrize(
    ("name", "operands", "result"),
    [
        ("add", (-0.0, -0.0), -0.0),
        ("add", (-0.0, 0.0), 0.0),
        ("add", (1.0, -1.0), 0.0),
        ("sub", (-0.0, 0.0), -0.0),
        ("mul", (-0.0, 1.0), -0.0),
        ("mul", (-1.0, inf), -inf),
        ("div", (1.0, 0.0), inf),
        ("div", (1.0, -0.0), -inf),
        ("div", (-inf, -0.0), inf),
        ("div", (-0.0, 5.0), -0.0),
        ("div", (0.0, 0.0), nan),
        ("div", (-0.0, 0.0), nan),
        ("div", (inf, inf), nan),
        ("add", (inf, -inf), nan),
        ("sub", (inf, inf), nan),
        ("mul", (0.0, -inf), nan),
        ("sqrt", (-0.0,), -0.0),
        ("sqrt", (-1.0,), nan),
        ("sqrt", (-inf,), nan),
        ("sqrt", (inf,), inf),
        ("min", (0.0, -0.0), -0.0),
        ("min", (-0.0, 0.0), -0.0),
        ("max", (0.0, -0.0), 0.0),
        ("max", (-0.0, 0.0), 0.0),
        ("min", (-inf, 1.0), -inf),
        ("max", (-inf, 1.0), 1.0),
        ("ceil", (-0.5,), -0.0),
        ("floor", (0.5,), 0.0),
        ("trunc", (-0.9,), -0.0),
        ("nearest", (-0.5,), -0.0),
        ("nearest", (0.5,), 0.0),
        ("nearest", (2.5,), 2.0),
        ("nearest", (3.5,), 4.0),
        ("nearest", (-inf,), -inf),
    ],
)
def test_zeros_infinities_and_invalid_operations(
    bits: int, name: str, operands: tuple[float, ...], result: float
) -> None:
    expected = CANONICAL_NAN if result != result else result
    assert same(OPERATORS[f"f{bits}_{name}"](*operands), expected)


@WIDTHS
@given(data=st.data())
def test_minimum_and_maximum_are_an_operand(bits: int, data: st.DataObject) -> None:
    a, b = data.draw(NUMBERS[bits]), data.draw(NUMBERS[bits])
    assume(a != b)
    assert same(OPERATORS[f"f{bits}_min"](a, b), sorted([a, b])[0])
    assert same(OPERATORS[f"f{bits}_max"](a, b), sorted([a, b])[1])


@WIDTHS
@given(data=st.data())
def test_rounding_to_integral(bits: int, data: st.DataObject) -> None:
    magnitudes = st.floats(-(2.0**60), 2.0**60, width=32 if bits == 32 else 64)
    a = data.draw(st.one_of(magnitudes, st.integers(-999, 999).map(lambda half: half / 2)))
    exact = Fraction(a)
    integral = {
        "ceil": math.ceil(exact),
        "floor": math.floor(exact),
        "trunc": math.trunc(exact),
        "nearest": round(exact),
    }
    for name, expected in integral.items():
        result = OPERATORS[f"f{bits}_{name}"](a)
        assert Fraction(result) == expected
        assert math.copysign(1, result) == math.copysign(1, a)


ARITHMETIC = {
    "add": 2, "sub": 2, "mul": 2, "div": 2, "min": 2, "max": 2,
    "sqrt": 1, "ceil": 1, "floor": 1, "trunc": 1, "nearest": 1,
}  # fmt: skip


@WIDTHS
@given(data=st.data())
def test_arithmetic_on_nan_gives_the_canonical_nan(bits: int, data: st.DataObject) -> None:
    number = data.draw(NUMBERS[bits])
    not_a_number = FROM_BITS[bits](data.draw(NAN_BITS[bits]))
    for name, arity in ARITHMETIC.items():
        for operands in [(not_a_number, number)[:arity], (number, not_a_number)[-arity:]]:
            assert TO_BITS[bits](OPERATORS[f"f{bits}_{name}"](*operands)) == QUIET_NAN[bits]


@WIDTHS
@given(data=st.data())
def test_sign_operators_keep_the_other_bits(bits: int, data: st.DataObject) -> None:
    patterns = st.one_of(st.integers(0, 2**bits - 1), NAN_BITS[bits])
    a, b = data.draw(patterns), data.draw(patterns)
    x, y, sign = FROM_BITS[bits](a), FROM_BITS[bits](b), SIGN[bits]
    assert TO_BITS[bits](OPERATORS[f"f{bits}_neg"](x)) == a ^ sign
    assert TO_BITS[bits](OPERATORS[f"f{bits}_abs"](x)) == a & ~sign
    assert TO_BITS[bits](OPERATORS[f"f{bits}_copysign"](x, y)) == a & ~sign | b & sign


@WIDTHS
@given(data=st.data())
def test_comparisons(bits: int, data: st.DataObject) -> None:
    a, b = data.draw(NUMBERS[bits]), data.draw(NUMBERS[bits])
    not_a_number = FROM_BITS[bits](data.draw(NAN_BITS[bits]))
    for name in ("eq", "ne", "lt", "gt", "le", "ge"):
        compare = OPERATORS[f"f{bits}_{name}"]
        assert compare(a, b) is int(getattr(operator, name)(a, b))
        assert compare(a, not_a_number) is compare(not_a_number, not_a_number) is int(name == "ne")


# Conversions.

RANGES = {
    f"i{bits}_{{}}_f{width}_{sign}": (bits, width, -1 << bits - 1 if sign == "s" else 0)
    for bits in (32, 64)
    for width in (32, 64)
    for sign in "su"
}


def clamp(value: int, lowest: int, bits: int) -> int:
    return max(lowest, min(lowest + (1 << bits) - 1, value))


@pytest.mark.parametrize("pattern", RANGES)
@given(data=st.data())
def test_truncation_traps_or_saturates_outside_the_exact_bounds(pattern: str, data: st.DataObject) -> None:
    bits, width, lowest = RANGES[pattern]
    bounds = [lowest - 1, lowest, lowest + 2**bits - 1, lowest + 2**bits]
    close = st.sampled_from([nearest(Fraction(bound), width) for bound in bounds]).flatmap(
        lambda bound: st.sampled_from([math.nextafter(bound, -inf), bound, math.nextafter(bound, inf)])
    )
    a = data.draw(st.one_of(NUMBERS[width], st.floats(-3e9, 3e9, width=32), close))
    a = f32_round(a) if width == 32 else a
    exact = lowest - 1 if a == -inf else lowest + 2**bits if a == inf else math.trunc(Fraction(a))
    clamped = clamp(exact, lowest, bits)
    assert OPERATORS[pattern.format("trunc_sat")](a) == clamped % 2**bits
    if clamped == exact:
        assert OPERATORS[pattern.format("trunc")](a) == exact % 2**bits
        return
    with pytest.raises(Trap) as trap:
        OPERATORS[pattern.format("trunc")](a)
    assert trap.value.code is TrapCode.INTEGER_OVERFLOW


@pytest.mark.parametrize("pattern", RANGES)
def test_truncation_of_nan(pattern: str) -> None:
    assert OPERATORS[pattern.format("trunc_sat")](CANONICAL_NAN) == 0
    with pytest.raises(Trap) as trap:
        OPERATORS[pattern.format("trunc")](CANONICAL_NAN)
    assert trap.value.code is TrapCode.BAD_CONVERSION_TO_INTEGER


TIES = [2**53 + 1, 2**53 + 2**29, 2**63 + 2**39, 2**63 + 2**39 + 1, 2**63 + 2**39 - 1, 2**64 - 1]


@pytest.mark.parametrize("source", [32, 64])
@WIDTHS
@given(data=st.data())
def test_conversion_from_an_integer_rounds_once(source: int, bits: int, data: st.DataObject) -> None:
    ties = st.sampled_from(TIES).map(lambda tie: tie % 2**source)
    a = data.draw(st.one_of(st.integers(0, 2**source - 1), ties))
    signed = a - 2**source if a >> source - 1 else a
    assert OPERATORS[f"f{bits}_convert_i{source}_u"](a) == nearest(Fraction(a), bits)
    assert OPERATORS[f"f{bits}_convert_i{source}_s"](a) == nearest(Fraction(signed), bits)


@given(number64s)
def test_demotion_rounds_to_nearest(a: float) -> None:
    expected = a if isinf(a) else nearest(Fraction(a), 32)
    assert OPERATORS["f32_demote_f64"](a) == expected
    assert math.copysign(1, OPERATORS["f32_demote_f64"](a)) == math.copysign(1, a)


def test_demotion_overflows_at_half_a_unit_past_the_greatest_f32() -> None:
    boundary, greatest = 2.0**128 - 2.0**103, 2.0**128 - 2.0**104
    assert OPERATORS["f32_demote_f64"](boundary) == inf
    assert OPERATORS["f32_demote_f64"](-boundary) == -inf
    assert OPERATORS["f32_demote_f64"](math.nextafter(boundary, 0.0)) == greatest


@given(nan32s, nan64s, number32s)
def test_promotion_and_nan_across_widths(narrow: int, wide: int, number: float) -> None:
    assert same(OPERATORS["f64_promote_f32"](number), number)
    assert same(OPERATORS["f64_promote_f32"](f32_from_bits(narrow)), CANONICAL_NAN)
    assert same(OPERATORS["f32_demote_f64"](f64_from_bits(wide)), CANONICAL_NAN)
