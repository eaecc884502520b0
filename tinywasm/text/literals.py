"""Number literals (sections 6.3.1 and 6.3.2) to integers and bit patterns.

Every function takes a token and returns None where the token has another form, so that the caller
can say what it expected; a literal of the right form and too large raises `LiteralError`.
"""

from __future__ import annotations

import math
import re
import struct

_DIGITS, _HEX = r"[0-9]++(?:_[0-9]++)*+", r"[0-9A-Fa-f]++(?:_[0-9A-Fa-f]++)*+"
_INTEGER = re.compile(rf"([+-]?)(?:0x({_HEX})|({_DIGITS}))")
_FLOAT = re.compile(
    rf"([+-]?)(?:(0x{_HEX}(?:\.(?:{_HEX})?+)?+(?:[pP][+-]?{_DIGITS})?+)"
    rf"|({_DIGITS}(?:\.(?:{_DIGITS})?+)?+(?:[eE][+-]?{_DIGITS})?+)|(inf)|nan(?::0x({_HEX}))?+)"
)
_HEX_PARTS = re.compile(r"0x([0-9A-Fa-f]+)\.?([0-9A-Fa-f]*)(?:[pP]([+-]?[0-9]+))?")
# A value of 64 bits has at most 20 decimal digits, so longer ones need no conversion.
_MOST_DIGITS = 20

OUT_OF_RANGE = "constant out of range"


class LiteralError(ValueError):
    """A number that its type cannot hold."""


def is_number(token: str) -> bool:
    """Whether the token is an integer or a floating-point literal."""
    return bool(_FLOAT.fullmatch(token))


def _magnitude(hexadecimal: str | None, decimal: str) -> int | None:
    """The value, or None where it surely exceeds 64 bits."""
    digits = (hexadecimal or decimal).replace("_", "").lstrip("0") or "0"
    if len(digits) > _MOST_DIGITS:
        return None
    return int(digits, 16 if hexadecimal else 10)


def parse_unsigned(token: str, bits: int) -> int | None:
    """An unsigned integer without a sign, as indices, sizes and lanes are written."""
    match = _INTEGER.fullmatch(token)
    if not match or match[1]:
        return None
    value = _magnitude(match[2], match[3])
    if value is None or value >> bits:
        raise LiteralError(f"i{bits} {OUT_OF_RANGE}")
    return value


def parse_integer(token: str, bits: int) -> int | None:
    """An integer constant of `bits` bits, signed or unsigned in the text, as a signed integer."""
    match = _INTEGER.fullmatch(token)
    if not match:
        return None
    value = _magnitude(match[2], match[3])
    limit = 1 << (bits - 1)
    if value is None or value > (limit if match[1] == "-" else 2 * limit - 1):
        raise LiteralError(OUT_OF_RANGE)
    if match[1] == "-":
        return -value
    return value if value < limit else value - 2 * limit


def parse_i32(token: str) -> int | None:
    """An `i32` constant as a signed integer."""
    return parse_integer(token, 32)


def parse_i64(token: str) -> int | None:
    """An `i64` constant as a signed integer."""
    return parse_integer(token, 64)


def parse_f32(token: str) -> int | None:
    """An `f32` constant as its bit pattern, rounded once to the nearest even."""
    return _parse_float(token, 32, 23)


def parse_f64(token: str) -> int | None:
    """An `f64` constant as its bit pattern, rounded once to the nearest even."""
    return _parse_float(token, 64, 52)


def _parse_float(token: str, bits: int, fraction_bits: int) -> int | None:
    match = _FLOAT.fullmatch(token)
    if not match:
        return None
    sign, hexadecimal, decimal, infinity, payload = match.groups()
    sign_bit = (1 << (bits - 1)) if sign == "-" else 0
    exponent = ((1 << (bits - 1 - fraction_bits)) - 1) << fraction_bits
    if infinity:
        return sign_bit | exponent
    if not hexadecimal and not decimal:
        return sign_bit | exponent | _payload(payload, fraction_bits)
    text = (hexadecimal or decimal).replace("_", "")
    value = _to_double(text, bool(hexadecimal))
    return sign_bit | (_double_bits(value) if bits == 64 else _single_bits(value, text, bool(hexadecimal)))


def _payload(digits: str | None, fraction_bits: int) -> int:
    if digits is None:
        return 1 << (fraction_bits - 1)
    payload = int(digits.replace("_", ""), 16)
    if not 0 < payload < 1 << fraction_bits:
        raise LiteralError(OUT_OF_RANGE)
    return payload


def _to_double(text: str, hexadecimal: bool) -> float:
    try:
        value = float.fromhex(text) if hexadecimal else float(text)
    except OverflowError:
        raise LiteralError(OUT_OF_RANGE) from None
    if math.isinf(value):
        raise LiteralError(OUT_OF_RANGE)
    return value


def _double_bits(value: float) -> int:
    return int.from_bytes(struct.pack("<d", value), "little")


def _single_bits(value: float, text: str, hexadecimal: bool) -> int:
    """Round to single. `value` is `text` rounded to double, which misleads only half-way of two singles."""
    if _is_half_way(value):
        order = _compare_hexadecimal(text, value) if hexadecimal else _compare_decimal(text, value)
        if order:
            value = math.nextafter(value, math.inf if order > 0 else 0.0)
    try:
        return int.from_bytes(struct.pack("<f", value), "little")
    except OverflowError:
        raise LiteralError(OUT_OF_RANGE) from None


def _is_half_way(value: float) -> bool:
    if value == 0.0 or value >= 2.0**128:
        return False
    unit = 2.0 ** (max(math.frexp(value)[1], -125) - 24)
    return (value / unit) % 1.0 == 0.5


def _compare_decimal(text: str, value: float) -> int:
    # Few numbers are so near to the middle between two: whoever has none does without it.
    from decimal import Decimal

    exact, rounded = Decimal(text), Decimal(value)
    return (exact > rounded) - (exact < rounded)


def _compare_hexadecimal(text: str, value: float) -> int:
    match = _HEX_PARTS.fullmatch(text)
    assert match
    exact = int(match[1] + match[2], 16)
    exponent = int(match[3] or "0") - 4 * len(match[2])
    numerator, denominator = value.as_integer_ratio()
    left = (exact << max(exponent, 0)) * denominator
    right = numerator << max(-exponent, 0)
    return (left > right) - (left < right)


# Section 6.5.10: the shapes of `v128.const`, as number of lanes and lane type.
SHAPES: dict[str, tuple[int, str]] = {
    "i8x16": (16, "i8"),
    "i16x8": (8, "i16"),
    "i32x4": (4, "i32"),
    "i64x2": (2, "i64"),
    "f32x4": (4, "f32"),
    "f64x2": (2, "f64"),
}


def parse_lane(token: str, lane: str) -> bytes | None:
    """One lane of a vector constant, `lane` being its type, as little-endian bytes."""
    bits = int(lane[1:])
    if lane == "f32":
        value = parse_f32(token)
    elif lane == "f64":
        value = parse_f64(token)
    else:
        value = parse_integer(token, bits)
    return None if value is None else (value & ((1 << bits) - 1)).to_bytes(bits // 8, "little")
