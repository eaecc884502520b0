"""Typed values as a person writes and reads them; what is printed can be typed again."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from tinywasm.cli.output import printable
from tinywasm.numerics.floats import f32_from_bits, f32_to_bits, f64_from_bits, f64_to_bits
from tinywasm.text import spelling
from tinywasm.text.literals import SHAPES, LiteralError, parse_lane
from tinywasm.types import F32, F64, I32, I64, V128, FuncType, RefType, ValType
from tinywasm.wast.result_patterns import Value

NULL = "null"
_VECTOR = re.compile("0x[0-9a-fA-F]{1,32}")


def parse_arguments(type: FuncType, words: Sequence[str]) -> list[Any]:
    """The raw arguments (see `runtime`) of a function. Raises `ValueError` for wrong number or form."""
    count = len(type.params)
    if len(words) != count:
        plural = "" if count == 1 else "s"
        raise ValueError(f"the function takes {count} argument{plural}, not {len(words)}: {type}")
    return [parse(param, word) for param, word in zip(type.params, words, strict=True)]


def parse(type: ValType, word: str) -> Any:
    """The raw value of `type` that `word` stands for.

    Integers are decimal or hexadecimal, signed or unsigned; floats decimal or hexadecimal, `inf`,
    `nan`, or `nan:0x` and a payload; a v128 is 128 bits in hexadecimal, or a shape and its lanes as
    in `i32x4:1,2,3,4`; a reference that may be null is `null`. Raises `ValueError`.
    """
    if isinstance(type, RefType):
        if type.nullable and word == NULL:
            return None
        possible = f", other than {NULL}" if type.nullable else ""
        raise ValueError(f"an argument of type {type} cannot be given on the command line{possible}")
    try:
        raw = _vector(word) if type is V128 else _number(type, word)
    except LiteralError:
        raise ValueError(f"{_quoted(word)} is out of range for {type}") from None
    if raw is None:
        raise ValueError(f"{_quoted(word)} cannot be read as {type}")
    return raw


def _number(type: ValType, word: str) -> int | float | None:
    # The text format wants a digit before the point; people do not.
    unsigned = word.lstrip("+-")
    if unsigned.startswith(".") and type in (F32, F64):
        word = f"{word[: len(word) - len(unsigned)]}0{unsigned}"
    raw = parse_lane(word, str(type))
    if raw is None:
        return None
    bits = int.from_bytes(raw, "little")
    if type is F32:
        return f32_from_bits(bits)
    return f64_from_bits(bits) if type is F64 else bits


def _vector(word: str) -> bytes | None:
    shape, colon, lanes = word.partition(":")
    if not colon:
        return int(word, 16).to_bytes(16, "little") if _VECTOR.fullmatch(word) else None
    count, lane = SHAPES.get(shape, (0, ""))
    words = lanes.split(",")
    if len(words) != count:
        return None
    parts = [parse_lane(each, lane) for each in words]
    return b"".join(part for part in parts if part is not None) if None not in parts else None


def _quoted(word: str) -> str:
    return repr(word if len(word) <= 60 else word[:60] + "...")


def written(type: ValType, raw: Any) -> str:
    """A raw value as text that `parse` takes, unless it is a reference that is not null."""
    if type is I32 or type is I64:
        return str(_signed(type, raw))
    if type is F32:
        return _with_point(spelling.f32(f32_to_bits(raw)))
    if type is F64:
        return spelling.f64(f64_to_bits(raw))
    if type is V128:
        return f"{int.from_bytes(raw, 'little'):#034x}"
    return NULL if raw is None else printable(str(Value(type, raw)))


def _with_point(text: str) -> str:
    return f"{text}.0" if text.lstrip("-").isdecimal() else text


def _signed(type: ValType, raw: int) -> int:
    bits = 32 if type is I32 else 64
    return raw - (1 << bits) if raw >> (bits - 1) else raw


def json_value(type: ValType, raw: Any) -> dict[str, Any]:
    """A result for programs: its type, and a JSON number where JSON has that number, else the text."""
    value: Any = written(type, raw)
    if type is I32 or type is I64:
        value = _signed(type, raw)
    elif type in (F32, F64) and math.isfinite(raw):
        value = float(value)
    elif raw is None:
        value = None
    return {"type": str(type), "value": value}
