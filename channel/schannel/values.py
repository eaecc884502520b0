"""WebAssembly's numbers and vectors, as the two ends name them to each other."""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import NamedTuple, Self

from .errors import LocalError
from .wire import Buffer, Codec


class ValueType(IntEnum):
    """Type of a value; the numbers are those of the WebAssembly binary format."""

    I32 = 0x7F
    I64 = 0x7E
    F32 = 0x7D
    F64 = 0x7C
    V128 = 0x7B

    def __str__(self) -> str:
        return self.name.lower()


VALUE_TYPES = {int(kind): kind for kind in ValueType}
"""The types by their numbers."""

_I32, _I64 = ValueType.I32, ValueType.I64
_BITS = {ValueType.I32: 32, ValueType.I64: 64, ValueType.F32: 32, ValueType.F64: 64, ValueType.V128: 128}


class _ValueFields(NamedTuple):
    type: ValueType
    bits: int


class Value(_ValueFields):
    """A WebAssembly number or vector as its bit pattern, so that a NaN keeps its payload.

    `bits` is unsigned; bit 0 of a v128 is the lowest bit of lane 0.

    Raises:
        LocalError: `bits` does not fit the type.
    """

    __slots__ = ()

    def __new__(cls, type: ValueType, bits: int) -> Self:
        """See the class."""
        if not 0 <= bits < 1 << _BITS[type]:
            raise LocalError(f"value does not fit {type.name.lower()}")
        return tuple.__new__(cls, (type, bits))

    @classmethod
    def i32(cls, number: int) -> Value:
        """A 32-bit integer, given signed or unsigned."""
        if not -0x80000000 <= number <= 0xFFFFFFFF:
            raise LocalError(f"{number} does not fit i32")
        return known_value((_I32, number & 0xFFFFFFFF))

    @classmethod
    def i64(cls, number: int) -> Value:
        """A 64-bit integer, given signed or unsigned."""
        if not -0x8000000000000000 <= number <= 0xFFFFFFFFFFFFFFFF:
            raise LocalError(f"{number} does not fit i64")
        return known_value((_I64, number & 0xFFFFFFFFFFFFFFFF))

    @classmethod
    def f32(cls, number: float) -> Value:
        """A single, rounded from a Python float (overflow becomes an infinity)."""
        try:
            packed = struct.pack("<f", number)
        except OverflowError:
            packed = struct.pack("<f", float("inf") if number > 0 else float("-inf"))
        return cls(ValueType.F32, int.from_bytes(packed, "little"))

    @classmethod
    def f64(cls, number: float) -> Value:
        """A double."""
        return cls(ValueType.F64, int.from_bytes(struct.pack("<d", number), "little"))

    @classmethod
    def v128(cls, lanes: bytes) -> Value:
        """A vector from its 16 bytes in memory order."""
        if len(lanes) != 16:
            raise LocalError(f"a v128 has 16 bytes, not {len(lanes)}")
        return cls(ValueType.V128, int.from_bytes(lanes, "little"))

    def to_python(self) -> int | float | bytes:
        """The value as Python shows it: integers signed, v128 as its 16 bytes."""
        kind, bits = self
        if kind is _I32:
            return bits - (bits >> 31 << 32)
        if kind is _I64:
            return bits - (bits >> 63 << 64)
        width = _BITS[kind]
        raw = bits.to_bytes(width // 8, "little")
        if kind is ValueType.V128:
            return raw
        number: float = struct.unpack("<f" if kind is ValueType.F32 else "<d", raw)[0]
        return number


known_value: Callable[[tuple[ValueType, int]], Value] = partial(tuple.__new__, Value)
"""A value from a type and bits that are known to fit it."""

_LAYOUTS = {
    ValueType.I32: struct.Struct(">I"),
    ValueType.I64: struct.Struct(">Q"),
    ValueType.F32: struct.Struct(">I"),
    ValueType.F64: struct.Struct(">Q"),
    ValueType.V128: struct.Struct(">16s"),
}


def _packed(value: Value) -> bytes:
    kind, bits = value
    layout = _LAYOUTS[kind]
    return bytes([kind]) + layout.pack(bits.to_bytes(16, "big") if kind is ValueType.V128 else bits)


def _unpacked(data: Buffer, pos: int) -> tuple[Value, int]:
    # Of ValueType, as of `unpack_from`: what is raised for anything else says that the input is malformed.
    kind = ValueType(data[pos])
    layout = _LAYOUTS[kind]
    (bits,) = layout.unpack_from(data, pos + 1)
    number = int.from_bytes(bits, "big") if kind is ValueType.V128 else bits
    return known_value((kind, number)), pos + 1 + layout.size


VALUE = Codec(_packed, _unpacked, "type byte, its bits")
"""How a value travels."""
