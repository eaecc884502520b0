"""Numbers as people type and read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schannel.messages import Value, ValueType
from schannel.types import AnyType, HeapType, ReferenceType
from wasm_client.errors import ArgumentError
from wasm_client.values import FunctionType, format_value, parse_value

I32, F64, EXTERN = ValueType.I32, ValueType.F64, ReferenceType(True, HeapType.EXTERN)
INTEGERS = {ValueType.I32: 32, ValueType.I64: 64}


@pytest.mark.parametrize("kind", INTEGERS)
@given(data=st.data())
def test_integers_come_back(kind: ValueType, data: st.DataObject) -> None:
    width = INTEGERS[kind]
    number = data.draw(st.integers(-(1 << (width - 1)), (1 << width) - 1))
    value = parse_value(kind, str(number))
    assert value.bits == number % (1 << width)
    assert parse_value(kind, format_value(value)) == value
    assert parse_value(kind, f"{number:#x}") == value
    assert parse_value(kind, f"+{number}" if number >= 0 else str(number)) == value


@given(st.integers(0, 2**32 - 1))
def test_singles_come_back(bits: int) -> None:
    value = Value(ValueType.F32, bits)
    again = parse_value(ValueType.F32, format_value(value))
    number = value.to_python()
    assert isinstance(number, float)
    assert again == value or math.isnan(number)


@given(st.floats())
def test_doubles_come_back(number: float) -> None:
    value = Value.f64(number)
    assert parse_value(ValueType.F64, format_value(value)) == value or math.isnan(number)
    assert math.isnan(number) or parse_value(ValueType.F64, number.hex()) == value


@given(st.integers(0, 2**128 - 1))
def test_vectors_come_back(bits: int) -> None:
    value = Value(ValueType.V128, bits)
    assert parse_value(ValueType.V128, format_value(value)) == value
    assert len(format_value(value)) == 2 + 32


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        (ValueType.I32, "4294967295", "-1"),
        (ValueType.I32, "0xffff_fffe", "-2"),
        (ValueType.I32, "007", "7"),
        (ValueType.I64, "1_000", "1000"),
        (ValueType.F32, "0.1", "0.1"),
        (ValueType.F32, "16777217", "16777216.0"),
        (ValueType.F32, "1e999", "inf"),
        (ValueType.F64, "-0", "-0.0"),
        (ValueType.F64, "0x1.8p1", "3.0"),
        (ValueType.F64, "NaN", "nan"),
        (ValueType.V128, "1", "0x" + "0" * 31 + "1"),
    ],
)
def test_forms(kind: ValueType, text: str, shown: str) -> None:
    assert format_value(parse_value(kind, text)) == shown


@pytest.mark.parametrize("kind", [*ValueType])
@pytest.mark.parametrize("text", ["", "x", "--1", "1 2", "0x", "1__0", "_1", "0x1g", "\u0967x", "\x00", "1e"])
def test_no_number(kind: ValueType, text: str) -> None:
    with pytest.raises(ArgumentError, match="is not a number"):
        parse_value(kind, text)


@given(kind=st.sampled_from([*ValueType]), text=st.text(max_size=80))
def test_any_text_is_a_number_or_an_error(kind: ValueType, text: str) -> None:
    try:
        parse_value(kind, text)
    except ArgumentError as error:
        assert len(str(error)) < 700


@pytest.mark.parametrize(
    ("kind", "text", "range_"),
    [
        (ValueType.I32, "4294967296", "i32 (-2147483648 to 4294967295)"),
        (ValueType.I32, "-2147483649", "i32 (-2147483648 to 4294967295)"),
        (ValueType.I64, str(1 << 64), "i64 (-9223372036854775808 to 18446744073709551615)"),
        (ValueType.V128, "-1", "v128 (0 to "),
        (ValueType.I32, "9" * 1_000_000, "i32 ("),
    ],
)
def test_out_of_range(kind: ValueType, text: str, range_: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse_value(kind, text)
    assert f"is out of range for {range_}" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_float_for_an_integer() -> None:
    with pytest.raises(ArgumentError, match=r"'1.5' is not an integer: i32 expected"):
        parse_value(ValueType.I32, "1.5")


@pytest.mark.parametrize(
    ("params", "results", "shown"),
    [
        ((), (), "f"),
        ((I32, ValueType.I64), (), "f (param i32 i64)"),
        ((), (ValueType.V128,), "f (result v128)"),
        ((ValueType.F32,), (F64, EXTERN), "f (param f32) (result f64 externref)"),
    ],
)
def test_function_type(params: tuple[AnyType, ...], results: tuple[AnyType, ...], shown: str) -> None:
    assert str(FunctionType("f", params, results)) == shown


class TestArguments:
    ADD = FunctionType("add", (I32, F64), ())

    def test_from_python(self) -> None:
        assert self.ADD.arguments_from_python((1, 2)) == (Value.i32(1), Value.f64(2.0))
        vector = FunctionType("v", (ValueType.V128,), ())
        assert vector.arguments_from_python((bytes(16),)) == (Value.v128(bytes(16)),)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((1,), "add takes 2 arguments, not 1: add \\(param i32 f64\\)"),
            ((1.0, 2.0), "1.0 is not of type i32"),
            ((1, "2"), "'2' is not of type f64"),
            ((1 << 32, 2.0), "4294967296 is out of range for i32"),
            ((1, 10**400), "is out of range for f64"),
        ],
    )
    def test_errors(self, arguments: tuple[int, ...], message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            self.ADD.arguments_from_python(arguments)

    def test_reference(self) -> None:
        with pytest.raises(ArgumentError, match="only a program can make"):
            FunctionType("f", (EXTERN,), ()).arguments_from_text(["1"])

    def test_one_argument_is_singular(self) -> None:
        with pytest.raises(ArgumentError, match="f takes 1 argument, not 0: f \\(param i32\\)"):
            FunctionType("f", (I32,), ()).arguments_from_text([])
