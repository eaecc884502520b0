"""Integer instructions against exact arithmetic and the definitions of section 4.3.2."""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from math import trunc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinywasm.errors import Trap, TrapCode
from tinywasm.numerics.operators import OPERATORS

WIDTHS = pytest.mark.parametrize("bits", [32, 64])
EDGES = [0, 1, 2, 31, 32, 63, 64, 0x7F, 0x80, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
EDGES64 = [1 << 63, (1 << 63) - 1, (1 << 64) - 1, 0xFFFFFFFF00000000]

i32s = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**32 - 1))
i64s = st.one_of(st.sampled_from(EDGES + EDGES64), st.integers(0, 2**64 - 1))


def operands(data: st.DataObject, bits: int) -> tuple[int, int]:
    values = i32s if bits == 32 else i64s
    return data.draw(values), data.draw(values)


def op(bits: int, name: str) -> Callable[..., int]:
    return OPERATORS[f"i{bits}_{name}"]


def signed(value: int, bits: int) -> int:
    return int.from_bytes(value.to_bytes(bits // 8, "big"), "big", signed=True)


def digits(value: int, bits: int) -> str:
    return format(value, f"0{bits}b")


@WIDTHS
@given(data=st.data())
def test_modular_arithmetic(bits: int, data: st.DataObject) -> None:
    a, b = operands(data, bits)
    for name, exact in {"add": operator.add, "sub": operator.sub, "mul": operator.mul}.items():
        assert op(bits, name)(a, b) == exact(a, b) % 2**bits


@WIDTHS
@given(data=st.data())
def test_division_truncates(bits: int, data: st.DataObject) -> None:
    a, b = operands(data, bits)
    if b == 0:
        return
    x, y = signed(a, bits), signed(b, bits)
    assert op(bits, "div_u")(a, b) == trunc(Fraction(a, b))
    assert op(bits, "rem_u")(a, b) == a - b * trunc(Fraction(a, b))
    assert signed(op(bits, "rem_s")(a, b), bits) == x - y * trunc(Fraction(x, y))
    if (x, y) != (-(1 << bits - 1), -1):
        assert signed(op(bits, "div_s")(a, b), bits) == trunc(Fraction(x, y))


@WIDTHS
@pytest.mark.parametrize("name", ["div_s", "div_u", "rem_s", "rem_u"])
def test_division_by_zero_traps(bits: int, name: str) -> None:
    with pytest.raises(Trap) as trap:
        op(bits, name)(1, 0)
    assert trap.value.code is TrapCode.INTEGER_DIVISION_BY_ZERO


@WIDTHS
def test_only_the_least_integer_by_minus_one_overflows(bits: int) -> None:
    least, minus_one = 1 << bits - 1, (1 << bits) - 1
    with pytest.raises(Trap) as trap:
        op(bits, "div_s")(least, minus_one)
    assert trap.value.code is TrapCode.INTEGER_OVERFLOW
    assert op(bits, "rem_s")(least, minus_one) == 0
    assert op(bits, "div_s")(least + 1, minus_one) == least - 1


@WIDTHS
@given(data=st.data())
def test_comparisons_give_zero_or_one(bits: int, data: st.DataObject) -> None:
    a, b = operands(data, bits)
    x, y = signed(a, bits), signed(b, bits)
    for name in ("lt", "gt", "le", "ge"):
        relation = getattr(operator, name)
        assert op(bits, name + "_u")(a, b) is int(relation(a, b))
        assert op(bits, name + "_s")(a, b) is int(relation(x, y))
    assert op(bits, "eq")(a, b) is int(a == b)
    assert op(bits, "ne")(a, b) is int(a != b)
    assert op(bits, "eqz")(a) is int(a == 0)


@WIDTHS
@given(data=st.data())
def test_bitwise_operators_and_counts(bits: int, data: st.DataObject) -> None:
    a, b = operands(data, bits)
    pairs = list(zip(digits(a, bits), digits(b, bits), strict=True))
    assert digits(op(bits, "and")(a, b), bits) == "".join(str(int(x == y == "1")) for x, y in pairs)
    assert digits(op(bits, "or")(a, b), bits) == "".join(str(int("1" in (x, y))) for x, y in pairs)
    assert digits(op(bits, "xor")(a, b), bits) == "".join(str(int(x != y)) for x, y in pairs)
    text = digits(a, bits)
    assert op(bits, "popcnt")(a) == text.count("1")
    assert op(bits, "clz")(a) == bits - len(text.lstrip("0"))
    assert op(bits, "ctz")(a) == bits - len(text.rstrip("0"))


@WIDTHS
@given(data=st.data())
def test_shifts_and_rotations_take_the_count_modulo_the_width(bits: int, data: st.DataObject) -> None:
    a, b = operands(data, bits)
    text, count = digits(a, bits), b % bits
    assert digits(op(bits, "shl")(a, b), bits) == text[count:] + "0" * count
    assert digits(op(bits, "shr_u")(a, b), bits) == "0" * count + text[: bits - count]
    assert digits(op(bits, "shr_s")(a, b), bits) == text[0] * count + text[: bits - count]
    assert digits(op(bits, "rotl")(a, b), bits) == text[count:] + text[:count]
    assert digits(op(bits, "rotr")(a, b), bits) == text[bits - count :] + text[: bits - count]


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("i32_extend8_s", 8, 32),
        ("i32_extend16_s", 16, 32),
        ("i64_extend8_s", 8, 64),
        ("i64_extend16_s", 16, 64),
        ("i64_extend32_s", 32, 64),
        ("i64_extend_i32_s", 32, 64),
    ],
)
@given(data=st.data())
def test_sign_extension(name: str, source: int, target: int, data: st.DataObject) -> None:
    a = data.draw(i32s if name == "i64_extend_i32_s" or target == 32 else i64s)
    assert signed(OPERATORS[name](a), target) == signed(a % 2**source, source)


@given(i32s, i64s)
def test_wrap_and_zero_extension(a: int, b: int) -> None:
    assert OPERATORS["i64_extend_i32_u"](a) == a
    assert OPERATORS["i32_wrap_i64"](b) == b % 2**32


@given(i64s, i64s, i64s, i64s)
def test_wide_arithmetic_is_exact_modulo_2_to_the_128(a: int, b: int, c: int, d: int) -> None:
    def join(halves: tuple[int, int]) -> int:
        assert all(0 <= half < 2**64 for half in halves)
        return halves[0] + halves[1] * 2**64

    x, y = join((a, b)), join((c, d))
    assert join(OPERATORS["i64_add128"](a, b, c, d)) == (x + y) % 2**128
    assert join(OPERATORS["i64_sub128"](a, b, c, d)) == (x - y) % 2**128
    assert join(OPERATORS["i64_mul_wide_u"](a, c)) == a * c
    assert join(OPERATORS["i64_mul_wide_s"](a, c)) == signed(a, 64) * signed(c, 64) % 2**128
