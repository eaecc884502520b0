"""WebAssembly values and function types as text: what a person types and reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from schannel import fast
from schannel.errors import LocalError
from schannel.messages import Value, ValueType

from .errors import ArgumentError

_GROUP = re.compile(r"\((param|result) ([^()]*)\)")
_INTEGER = re.compile(r"[+-]?(0x[0-9a-f]+(_[0-9a-f]+)*|[0-9]+(_[0-9]+)*)", re.IGNORECASE | re.ASCII)
_WIDTHS = {ValueType.I32: 32, ValueType.I64: 64, ValueType.V128: 128}
_MAX_DIGITS = 64
_SINGLE_DIGITS = 9
"""Significant decimal digits that tell any two singles apart."""


@dataclass(frozen=True, slots=True)
class FunctionType:
    """An exported function: its name, and its parameters' and results' types as in the text format."""

    name: str
    params: tuple[str, ...]
    results: tuple[str, ...]

    @classmethod
    def parse(cls, name: str, text: str) -> FunctionType:
        """From a type such as ``(func (param i32 i32) (result i32))``."""
        groups = {keyword: tuple(types.split()) for keyword, types in _GROUP.findall(text)}
        return cls(name, groups.get("param", ()), groups.get("result", ()))

    def __str__(self) -> str:
        parts = [printable(self.name)]
        for keyword, types in (("param", self.params), ("result", self.results)):
            if types:
                parts.append(printable(f"({keyword} {' '.join(types)})"))
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
        if (plain := fast.values(_kinds(self.params), arguments)) is not None:
            return plain
        parameters = _parameters(self.params)
        if len(parameters) != len(arguments):
            # Raises what is wrong with them.
            self._kinds(len(arguments))
        return tuple(map(_from_python, parameters, arguments))

    def _kinds(self, count: int) -> tuple[ValueType, ...]:
        kinds = tuple(kind for kind, _, _ in _parameters(self.params))
        if len(kinds) == count == len(self.params):
            return kinds
        if count != len(self.params):
            plural = "" if len(self.params) == 1 else "s"
            name = printable(self.name)
            raise ArgumentError(f"{name} takes {len(self.params)} argument{plural}, not {count}: {self}")
        raise ArgumentError(
            f"{printable(self.name)} takes a reference, which only a program can make: {self}"
        )


def printable(text: str) -> str:
    """Text that somebody else chose, without what could steer a terminal or pass for another line."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


class _Parameter(NamedTuple):
    """A parameter's type, what Python gives for it, and what makes a value of that."""

    kind: ValueType
    expected: tuple[type, ...]
    make: Callable[[Any], Value]


_PARAMETERS = {
    "i32": _Parameter(ValueType.I32, (int,), Value.i32),
    "i64": _Parameter(ValueType.I64, (int,), Value.i64),
    "f32": _Parameter(ValueType.F32, (int, float), lambda item: Value.f32(float(item))),
    "f64": _Parameter(ValueType.F64, (int, float), lambda item: Value.f64(float(item))),
    "v128": _Parameter(ValueType.V128, (bytes,), Value.v128),
}


@lru_cache(maxsize=256)
def _parameters(types: tuple[str, ...]) -> tuple[_Parameter, ...]:
    """Those for which a value can be sent, in order; references are left out."""
    return tuple(_PARAMETERS[name] for name in types if name in _PARAMETERS)


@lru_cache(maxsize=256)
def _kinds(types: tuple[str, ...]) -> tuple[ValueType | None, ...]:
    """Their types as values have them; None for references."""
    return tuple(_PARAMETERS[name].kind if name in _PARAMETERS else None for name in types)


def _from_python(parameter: _Parameter, item: int | float | bytes) -> Value:
    kind, expected, make = parameter
    if not isinstance(item, expected):
        raise ArgumentError(f"{item!r} is not of type {kind.name.lower()}")
    try:
        return make(item)
    except (LocalError, OverflowError) as error:
        raise ArgumentError(f"{item!r} is out of range for {kind.name.lower()}") from error


def parse_value(kind: ValueType, text: str) -> Value:
    """A value of a type from its text.

    Integers are decimal or ``0x`` hexadecimal, signed or unsigned; floats also ``inf``, ``nan`` and
    hexadecimal ones; a v128 is an unsigned integer of 128 bits.

    Raises:
        ArgumentError: no number, or out of the type's range.
    """
    if kind in (ValueType.F32, ValueType.F64):
        return _parse_float(kind, text)
    name = kind.name.lower()
    if not _INTEGER.fullmatch(text):
        what = "an integer" if _is_float(text) else "a number"
        raise ArgumentError(f"{_shown(text)} is not {what}: {name} expected")
    width = _WIDTHS[kind]
    lowest, limit = (0 if kind is ValueType.V128 else -(1 << (width - 1))), 1 << width
    # Longer ones are out of range for sure, and converting digits takes quadratic time.
    number = limit if len(text) > _MAX_DIGITS else int(text, 16 if "x" in text.lower() else 10)
    if not lowest <= number < limit:
        raise ArgumentError(f"{_shown(text)} is out of range for {name} ({lowest} to {limit - 1})")
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
        raise ArgumentError(f"{_shown(text)} is not a number: {kind.name.lower()} expected") from error
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
