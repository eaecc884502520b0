"""WebAssembly values and function types as text: what a person types and reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schannel import fast
from schannel.command_line import printable
from schannel.errors import LocalError
from schannel.types import AnyType
from schannel.values import Value, ValueType

from .errors import ArgumentError

_INTEGER = re.compile(r"[+-]?(0x[0-9a-f]+(_[0-9a-f]+)*|[0-9]+(_[0-9]+)*)", re.IGNORECASE | re.ASCII)
_WIDTHS = {ValueType.I32: 32, ValueType.I64: 64, ValueType.V128: 128}
_MAX_DIGITS = 64
_SINGLE_DIGITS = 9
"""Significant decimal digits that tell any two singles apart."""


@dataclass(frozen=True, slots=True)
class FunctionType:
    """An exported function: its name, and its parameters' and results' types, which `str` shows as text."""

    name: str
    params: tuple[AnyType, ...]
    results: tuple[AnyType, ...]

    def __str__(self) -> str:
        parts = [printable(self.name)]
        for keyword, types in (("param", self.params), ("result", self.results)):
            if types:
                parts.append(printable(f"({keyword} {' '.join(map(str, types))})"))
        return " ".join(parts)

    def arguments_from_text(self, words: list[str]) -> tuple[Value, ...]:
        """The arguments that somebody typed.

        Raises:
            ArgumentError: wrong number of them, or one that is not a number of its type.
        """
        return tuple(
            parse_value(kind, word) for kind, word in zip(self._kinds(len(words)), words, strict=True)
        )

    def arguments_from_python(self, arguments: tuple[int | float | bytes, ...]) -> tuple[Value, ...]:
        """The arguments given as Python values: int, float, or 16 bytes for a v128; raises ArgumentError."""
        if (plain := fast.values(self.params, arguments)) is not None:
            return plain
        return tuple(map(_from_python, self._kinds(len(arguments)), arguments))

    def _kinds(self, count: int) -> tuple[ValueType, ...]:
        """The parameters' types, for that many arguments that can be sent."""
        if count != len(self.params):
            plural = "" if len(self.params) == 1 else "s"
            name = printable(self.name)
            raise ArgumentError(f"{name} takes {len(self.params)} argument{plural}, not {count}: {self}")
        kinds = tuple(kind for kind in self.params if isinstance(kind, ValueType))
        if len(kinds) < count:
            raise ArgumentError(
                f"{printable(self.name)} takes a reference, which only a program can make: {self}"
            )
        return kinds


_FROM_PYTHON: dict[ValueType, tuple[tuple[type, ...], Callable[[Any], Value]]] = {
    ValueType.I32: ((int,), Value.i32),
    ValueType.I64: ((int,), Value.i64),
    ValueType.F32: ((int, float), lambda item: Value.f32(float(item))),
    ValueType.F64: ((int, float), lambda item: Value.f64(float(item))),
    ValueType.V128: ((bytes,), Value.v128),
}
"""What Python gives for a type, and what makes a value of that."""


def _from_python(kind: ValueType, item: int | float | bytes) -> Value:
    expected, make = _FROM_PYTHON[kind]
    if not isinstance(item, expected):
        raise ArgumentError(f"{item!r} is not of type {kind}")
    try:
        return make(item)
    except (LocalError, OverflowError) as error:
        raise ArgumentError(f"{item!r} is out of range for {kind}") from error


def parse_value(kind: ValueType, text: str) -> Value:
    """A value of a type from its text.

    Integers are decimal or ``0x`` hexadecimal, signed or unsigned; floats also ``inf``, ``nan`` and
    hexadecimal ones; a v128 is an unsigned integer of 128 bits.

    Raises:
        ArgumentError: no number, or out of the type's range.
    """
    if kind in (ValueType.F32, ValueType.F64):
        return _parse_float(kind, text)
    if not _INTEGER.fullmatch(text):
        what = "an integer" if _is_float(text) else "a number"
        raise ArgumentError(f"{_shown(text)} is not {what}: {kind} expected")
    width = _WIDTHS[kind]
    lowest, limit = (0 if kind is ValueType.V128 else -(1 << (width - 1))), 1 << width
    # Longer ones are out of range for sure, and converting digits takes quadratic time.
    number = limit if len(text) > _MAX_DIGITS else int(text, 16 if "x" in text.lower() else 10)
    if not lowest <= number < limit:
        raise ArgumentError(f"{_shown(text)} is out of range for {kind} ({lowest} to {limit - 1})")
    return Value(kind, number % limit)


def parse_address(text: str) -> int:
    """An address or a size, decimal or hexadecimal, of at most 64 bits; ArgumentError if it is none."""
    return parse_value(ValueType.I64, text).bits


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse_float(kind: ValueType, text: str) -> Value:
    try:
        number = float.fromhex(text) if "0x" in text.lower() else float(text)
    except (ValueError, OverflowError) as error:
        raise ArgumentError(f"{_shown(text)} is not a number: {kind} expected") from error
    return Value.f32(number) if kind is ValueType.F32 else Value.f64(number)


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _MAX_DIGITS else repr(text[:_MAX_DIGITS] + "...")


def format_value(value: Value) -> str:
    """The text of a value: integers signed, floats as short as tells them apart, a v128 in hexadecimal."""
    if value.type is ValueType.V128:
        return f"{value.bits:#034x}"
    number = value.to_python()
    if value.type is ValueType.F32 and isinstance(number, float):
        return repr(_shortest_single(number, value.bits))
    return str(number)


def _shortest_single(number: float, bits: int) -> float:
    for digits in range(1, _SINGLE_DIGITS):
        shorter = float(f"{number:.{digits}g}")
        if Value.f32(shorter).bits == bits:
            return shorter
    return float(f"{number:.{_SINGLE_DIGITS}g}")
