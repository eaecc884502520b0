"""Values as they are typed and printed on the command line."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinywasm.cli.value_text import json_value, parse, parse_arguments, written
from tinywasm.numerics.floats import f32_from_bits, f32_to_bits, f64_from_bits, f64_to_bits
from tinywasm.types import (
    EXTERNREF,
    F32,
    F64,
    FUNCREF,
    I32,
    I64,
    V128,
    AbstractHeap,
    FuncType,
    RefType,
    ValType,
)


@pytest.mark.parametrize(
    ("type", "word", "raw"),
    [
        (I32, "7", 7),
        (I32, "-1", 0xFFFFFFFF),
        (I32, "+5", 5),
        (I32, "0xffff_ffff", 0xFFFFFFFF),
        (I64, "-9223372036854775808", 1 << 63),
        (F32, "0.1", f32_from_bits(0x3DCCCCCD)),
        (F64, "1e3", 1000.0),
        (F64, ".5", 0.5),
        (F64, "-.5", -0.5),
        (F64, "0x1.8p1", 3.0),
        (F64, "inf", math.inf),
        (F32, "-inf", -math.inf),
        (V128, "0x1", b"\1" + bytes(15)),
        (V128, "0x" + "f" * 32, b"\xff" * 16),
        (V128, "i32x4:1,2,-1,0x10", bytes([1, 0, 0, 0, 2, 0, 0, 0, 255, 255, 255, 255, 16, 0, 0, 0])),
        (V128, "i8x16:" + ",".join(map(str, range(16))), bytes(range(16))),
        (FUNCREF, "null", None),
    ],
)
def test_words(type: ValType, word: str, raw: Any) -> None:
    assert parse(type, word) == raw


def test_a_nan_has_a_payload() -> None:
    assert f32_to_bits(parse(F32, "nan:0x200001")) == 0x7FA00001
    assert f64_to_bits(parse(F64, "-nan")) == 0xFFF8000000000000


@pytest.mark.parametrize(
    ("type", "word", "message"),
    [
        (I32, "", "'' cannot be read as i32"),
        (I32, "1.5", "'1.5' cannot be read as i32"),
        (I32, "x" * 1000, "x...' cannot be read as i32"),
        (I32, "9" * 10_000, "is out of range for i32"),
        (I64, "0x1_0000_0000_0000_0000", "is out of range for i64"),
        (F32, "1e39", "'1e39' is out of range for f32"),
        (F64, "one", "'one' cannot be read as f64"),
        (F64, "nan:0x0", "is out of range for f64"),
        (V128, "1", "'1' cannot be read as v128"),
        (V128, "0x" + "f" * 33, "cannot be read as v128"),
        (V128, "i32x4:1,2,3", "cannot be read as v128"),
        (V128, "i32x4:1,2,3,x", "cannot be read as v128"),
        (V128, "i32x5:1,2,3,4,5", "cannot be read as v128"),
        (V128, "i8x16:" + ",".join(["256"] * 16), "is out of range for v128"),
        (
            EXTERNREF,
            "1",
            "an argument of type externref cannot be given on the command line, other than null",
        ),
        (RefType(False, AbstractHeap.FUNC), "null", "cannot be given on the command line"),
    ],
)
def test_words_that_are_none(type: ValType, word: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(type, word)
    assert message in str(caught.value)


@given(st.sampled_from([I32, I64, F32, F64, V128]), st.integers(0, (1 << 128) - 1))
def test_what_is_printed_can_be_typed(type: ValType, bits: int) -> None:
    raw: Any
    if type is V128:
        raw = bits.to_bytes(16, "little")
    elif type is F32:
        raw = f32_from_bits(bits & 0xFFFFFFFF)
    elif type is F64:
        raw = f64_from_bits(bits & 0xFFFFFFFFFFFFFFFF)
    else:
        raw = bits & (0xFFFFFFFF if type is I32 else 0xFFFFFFFFFFFFFFFF)
    again = parse(type, written(type, raw))
    if type in (F32, F64):
        assert f64_to_bits(again) == f64_to_bits(raw)
    else:
        assert again == raw


def test_printing() -> None:
    assert written(F32, 1.0) == "1.0"
    assert written(F32, f32_from_bits(0x3DCCCCCD)) == "0.1"
    assert written(F64, 2.0) == "2.0"
    assert written(I32, 0xFFFFFFFF) == "-1"
    assert written(EXTERNREF, None) == "null"
    assert written(EXTERNREF, object()).startswith("(ref.")


def test_json_values_are_numbers_where_json_has_them() -> None:
    assert json_value(I64, (1 << 64) - 1) == {"type": "i64", "value": -1}
    assert json_value(F32, 0.5) == {"type": "f32", "value": 0.5}
    assert json_value(F64, math.inf) == {"type": "f64", "value": "inf"}
    assert json_value(V128, bytes(16)) == {"type": "v128", "value": "0x" + "0" * 32}
    assert json_value(EXTERNREF, None) == {"type": "externref", "value": None}


def test_the_number_of_arguments_is_checked() -> None:
    with pytest.raises(ValueError, match="the function takes 1 argument, not 0"):
        parse_arguments(FuncType((I32,), ()), [])
