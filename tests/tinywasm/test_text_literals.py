"""Number literals against exact rational arithmetic."""

from __future__ import annotations

import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinywasm.text import literals
from tinywasm.text.literals import LiteralError, parse_f32, parse_f64, parse_i32, parse_i64


def nearest(value: Fraction, fraction_bits: int, largest_exponent: int) -> int | None:
    """The bits of the nearest even positive float; None where it is infinite. By the book, slowly."""
    smallest = 1 - largest_exponent
    exponent = smallest
    while value >= Fraction(2) ** (exponent + 1):
        exponent += 1
    unit = Fraction(2) ** (exponent - fraction_bits)
    # Python rounds fractions to even.
    significand = round(value / unit)
    if significand == 2 << fraction_bits:
        significand, exponent = 1 << fraction_bits, exponent + 1
    if exponent > largest_exponent:
        return None
    if significand < 1 << fraction_bits:
        return significand
    return ((exponent - smallest + 1) << fraction_bits) + significand - (1 << fraction_bits)


def check(text: str, value: Fraction) -> None:
    for parse, shape in ((parse_f32, (23, 127)), (parse_f64, (52, 1023))):
        expected = nearest(value, *shape)
        if expected is None:
            with pytest.raises(LiteralError, match="constant out of range"):
                parse(text)
        else:
            assert parse(text) == expected


@given(st.integers(0, 10**12), st.integers(0, 10**12 - 1), st.integers(-60, 45))
def test_decimal_floats_round_once(whole: int, fraction: int, exponent: int) -> None:
    text = f"{whole}.{fraction:012}e{exponent}"
    check(text, (whole + Fraction(fraction, 10**12)) * Fraction(10) ** exponent)


@given(st.integers(0, 2**80), st.integers(0, 16), st.integers(-200, 120))
def test_hexadecimal_floats_round_once(digits: int, point: int, exponent: int) -> None:
    text = f"{digits:032x}"
    value = Fraction(digits, 16**point) * Fraction(2) ** exponent
    check(f"0x{text[: 32 - point]}.{text[32 - point :]}p{exponent}", value)


@given(st.integers(0, 2**31 - 2**24), st.sampled_from([-1, 0, 1]))
def test_half_way_of_two_singles(bits: int, side: int) -> None:
    low, high = (Fraction(*struct.unpack("<f", struct.pack("<I", bits + step))) for step in (0, 1))
    # Every such value has fewer than 400 decimal places, so this is exact.
    digits = ((low + high) / 2 + side * Fraction(1, 10**400)) * 10**400
    assert digits.denominator == 1
    check(f"{digits.numerator}e-400", digits / 10**400)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("0", 0),
        ("-0.", 0x80000000),
        ("1_0.2_5e0_1", 0x42CD0000),
        ("0x1_0.8_0p+0_1", 0x42040000),
        ("0xA", 0x41200000),
        ("inf", 0x7F800000),
        ("-inf", 0xFF800000),
        ("nan", 0x7FC00000),
        ("-nan", 0xFFC00000),
        ("nan:0x1", 0x7F800001),
        ("-nan:0x7f_ffff", 0xFFFFFFFF),
        # Half-way of two singles, and a little above.
        ("1.000000059604644775390625", 0x3F800000),
        ("1.000000059604644775390625" + "0" * 5000 + "1", 0x3F800001),
        ("0x1.000001", 0x3F800000),
        ("0x1.000001" + "0" * 5000 + "1", 0x3F800001),
        ("0x0." + "0" * 1000 + "1p4004", 0x3F800000),
        # The largest finite value, and what still rounds to it.
        ("0x1.fffffep127", 0x7F7FFFFF),
        ("0x1.fffffefffffffffffffp127", 0x7F7FFFFF),
        ("340282356779733661637539395458142568447.9", 0x7F7FFFFF),
        # Underflow.
        ("0x1p-150", 0),
        ("0x1.8p-150", 1),
        ("1e-9999999999999999999999", 0),
        ("0x0p999999999999999999999999", 0),
        ("1" * 5000 + "e-4999", 0x3F8E38E4),
    ],
)
def test_f32(text: str, bits: int) -> None:
    assert parse_f32(text) == bits


@pytest.mark.parametrize(
    "text",
    [
        *(
            "0x1.ffffffp127",
            "340282356779733661637539395458142568448",
            "1e39",
            "1e400",
            "0x1p128",
            "0x1p1024",
        ),
        *("0x1p99999999999999999999", "nan:0x0", "nan:0x800000", "1" * 5000, "nan:0x" + "1" * 5000),
    ],
)
def test_f32_out_of_range(text: str) -> None:
    with pytest.raises(LiteralError, match="constant out of range"):
        parse_f32(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "-",
            "_1",
            "1_",
            "1__0",
            "0x",
            "0x_1",
            "1e",
            "1e+",
            "0x1p",
            ".5",
            "0x.5",
            "1._0",
            "1._",
            "+-1",
            "1f",
        ),
        *("nan:1", "nan:0x", "nan:0x_1", "infinity", "NaN", "0X1", "1e1.5", "0x1p1f", "nan:canonical", "i32"),
    ],
)
def test_not_a_number(text: str) -> None:
    assert parse_f32(text) is None
    assert parse_f64(text) is None
    assert parse_i32(text) is None
    assert literals.parse_unsigned(text, 32) is None
    assert not literals.is_number(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        ("1_000", 1000),
        ("0x8000_0000", -(2**31)),
        ("4294967295", -1),
        ("-2147483648", -(2**31)),
        ("-0x80000000", -(2**31)),
        ("0" * 5000 + "7", 7),
    ],
)
def test_i32(text: str, value: int) -> None:
    assert parse_i32(text) == value


@pytest.mark.parametrize("text", ["4294967296", "-2147483649", "0x1_0000_0000", "1" * 5000, "-" + "9" * 21])
def test_i32_out_of_range(text: str) -> None:
    with pytest.raises(LiteralError, match=r"^constant out of range"):
        parse_i32(text)


@given(st.integers(-(2**63), 2**64 - 1))
def test_i64(value: int) -> None:
    expected = value - 2**64 if value >= 2**63 else value
    assert parse_i64(str(value)) == expected
    sign = "-" if value < 0 else ""
    assert parse_i64(f"{sign}{abs(value):#x}") == expected


def test_unsigned_names_its_width() -> None:
    assert literals.parse_unsigned("0xff", 8) == 255
    assert literals.parse_unsigned("-1", 8) is None
    with pytest.raises(LiteralError, match=r"^i8 constant out of range"):
        literals.parse_unsigned("256", 8)


@pytest.mark.parametrize(
    ("token", "lane", "data"),
    [
        ("-1", "i8", b"\xff"),
        ("0x8000", "i16", b"\x00\x80"),
        ("1", "i64", b"\x01" + bytes(7)),
        ("-1", "f32", b"\x00\x00\x80\xbf"),
        ("nan:0x1", "f64", b"\x01\0\0\0\0\0\xf0\x7f"),
        ("1.5", "i32", None),
    ],
)
def test_lanes(token: str, lane: str, data: bytes | None) -> None:
    assert literals.parse_lane(token, lane) == data
