"""The two messages of a call, each written and read in one go: they are what a round trip spends its time on.

`layouts.CALL` and `layouts.CALL_RESULT` say what the bytes are. What is not plain here (a vector, a text that
is too long, bytes that are no such message) is left to them, so that there is one place that refuses.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from .errors import LocalError
from .values import VALUE_TYPES, Value, ValueType, known_value
from .wire import TEXT

UNPLAIN = (ValueError, LookupError, TypeError, OverflowError, LocalError, struct.error)
"""What the functions below raise where the layouts have to decide."""

_BITS = {ValueType.I32: "I", ValueType.I64: "Q", ValueType.F32: "I", ValueType.F64: "Q"}
"""Formats of the numbers' bits in the module `struct`."""

_FORMS = {kind: struct.Struct(">" + bits) for kind, bits in _BITS.items()}
_NUMBERS = {int(kind): (kind, form.unpack_from, 1 + form.size) for kind, form in _FORMS.items()}
"""For each type's byte: the type, what reads its bits, and the bytes of both."""

_CALL_TAIL, _RESULT_TAIL = struct.Struct(">QI"), struct.Struct(">Q")


def pack_call(module: str, function: str, arguments: Sequence[Value], fuel: int, timeout_ms: int) -> bytes:
    """The body of a call request; raises one of `UNPLAIN`."""
    form = _form(bytes([kind for kind, _ in arguments]), "QI")
    flat = [part for value in arguments for part in value]
    return _names(module, function) + form.pack(len(arguments), *flat, fuel, timeout_ms)


def unpack_call(body: bytes) -> tuple[str, str, tuple[Value, ...], int, int]:
    """The inverse of `pack_call`; raises one of `UNPLAIN`."""
    module_end = 2 + (body[0] << 8 | body[1])
    names_end = module_end + 2 + (body[module_end] << 8 | body[module_end + 1])
    arguments, end = _unpack_values(body, names_end)
    fuel, timeout_ms = _CALL_TAIL.unpack(body[end:])
    return body[2:module_end].decode(), body[module_end + 2 : names_end].decode(), arguments, fuel, timeout_ms


def pack_result(values: Sequence[Value], fuel_used: int) -> bytes:
    """The body of a call's result; raises one of `UNPLAIN`."""
    form = _form(bytes([kind for kind, _ in values]), "Q")
    return form.pack(len(values), *[part for value in values for part in value], fuel_used)


def unpack_result(body: bytes) -> tuple[tuple[Value, ...], int]:
    """The inverse of `pack_result`; raises one of `UNPLAIN`."""
    values, end = _unpack_values(body, 0)
    return values, _RESULT_TAIL.unpack(body[end:])[0]


def _unpack_values(body: bytes, start: int) -> tuple[tuple[Value, ...], int]:
    position = start + 2
    values = []
    for _ in range(body[start] << 8 | body[start + 1]):
        kind, unpack_from, size = _NUMBERS[body[position]]
        values.append(known_value((kind, unpack_from(body, position + 1)[0])))
        position += size
    return tuple(values), position


@lru_cache(maxsize=64)
def _form(kinds: bytes, tail: str) -> struct.Struct:
    """How values of such types are laid out, after their count and before `tail`."""
    return struct.Struct(">H" + "".join("B" + _BITS[VALUE_TYPES[kind]] for kind in kinds) + tail)


@lru_cache(maxsize=64)
def _names(module: str, function: str) -> bytes:
    return TEXT.pack(module) + TEXT.pack(function)
