"""Codecs for the fields of byte layouts, and `Layout`, which puts named fields together.

A general parser library took twelve times as long for the same layouts, which was most of a call's round
trip. What it has to guarantee is little: no declared length or count is believed before the bytes behind it
are there, every byte is accounted for, and there is one encoding of each value.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

from .errors import LocalError, MessageError

Buffer = bytes | bytearray | memoryview
"""Bytes that are read; views of large messages pass without being copied."""

Unpack = Callable[[Buffer, int], tuple[Any, int]]

_Enum = TypeVar("_Enum", bound=IntEnum)

_BAD_INPUT = (ValueError, IndexError, struct.error)
_BAD_FIELD = (ValueError, KeyError, OverflowError, struct.error)


@dataclass(frozen=True, slots=True)
class Codec:
    """How one kind of field is written and read.

    `unpack` takes the input and a position and returns the value and the next position. They raise one of
    `_BAD_INPUT` or `_BAD_FIELD` for what cannot be, and `pack` TypeError for a value of another type. `shown`
    is the kind as the documentation names it.
    """

    pack: Callable[[Any], bytes]
    unpack: Unpack
    shown: str
    form: str = ""
    """Format in the module `struct` of a number, or of the count before bytes; empty for other fields."""


def _take(data: Buffer, pos: int, size: int) -> Buffer:
    if size > len(data) - pos:
        raise ValueError("too short")
    return data[pos : pos + size]


def number(form: str, shown: str) -> Codec:
    """A number in a format of the module `struct`, byte order included."""
    packed = struct.Struct(form)
    size = packed.size

    def unpack(data: Buffer, pos: int) -> tuple[Any, int]:
        return packed.unpack_from(data, pos)[0], pos + size

    return Codec(packed.pack, unpack, shown, form)


U8 = number(">B", "u8")
U16 = number(">H", "u16")
U32 = number(">I", "u32")
U64 = number(">Q", "u64")


def fixed(size: int) -> Codec:
    """Exactly `size` bytes."""

    def pack(value: bytes) -> bytes:
        if len(value) != size:
            raise ValueError("wrong size")
        return bytes(value)

    return Codec(pack, lambda data, pos: (bytes(_take(data, pos, size)), pos + size), f"{size} bytes")


DIGEST = fixed(32)
"""A SHA-256 digest."""


def constant(value: bytes) -> Codec:
    """Bytes that are always the same; built whatever is given, so that the field may be left out."""

    def unpack(data: Buffer, pos: int) -> tuple[bytes, int]:
        if _take(data, pos, len(value)) != value:
            raise ValueError("not the constant")
        return value, pos + len(value)

    return Codec(lambda _: value, unpack, f"constant {value.hex()}")


def prefixed(size: Codec) -> Codec:
    """Bytes after their count."""

    def unpack(data: Buffer, pos: int) -> tuple[bytes, int]:
        count, pos = size.unpack(data, pos)
        return bytes(_take(data, pos, count)), pos + count

    return Codec(lambda value: size.pack(len(value)) + value, unpack, f"{size.shown} count, bytes")


def _text() -> Codec:
    def pack(value: str) -> bytes:
        if not isinstance(value, str):
            raise TypeError(f"text expected, not {type(value).__name__}")
        raw = value.encode()
        return U16.pack(len(raw)) + raw

    def unpack(data: Buffer, pos: int) -> tuple[str, int]:
        count, pos = U16.unpack(data, pos)
        return str(_take(data, pos, count), "utf-8"), pos + count

    return Codec(pack, unpack, "text: u16 count, UTF-8")


TEXT = _text()

REST = Codec(lambda value: value, lambda data, pos: (data[pos:], len(data)), "the remaining bytes")
"""Everything up to the end, as a view where the input is one."""


def _payload(size: Codec) -> Codec:
    def unpack(data: Buffer, pos: int) -> tuple[Buffer, int]:
        count, pos = size.unpack(data, pos)
        return _take(data, pos, count), pos + count

    pack = size.pack
    return Codec(lambda value: pack(len(value)) + value, unpack, f"{size.shown} count, bytes", size.form)


SMALL_PAYLOAD = _payload(U16)
"""Bytes after their count, as a view where the input is one."""

PAYLOAD = _payload(U32)
"""A message's large last field: neither reading it from a view nor `Layout.parts` copies it."""


def _plain(value: Buffer) -> Buffer:
    """Bytes that can be cut and joined, without a copy where they are that already."""
    if not isinstance(value, Buffer):
        raise TypeError(f"bytes expected, not {type(value).__name__}")
    if isinstance(value, memoryview) and not (value.c_contiguous and value.shape == (value.nbytes,)):
        return value.tobytes()
    return value


def array(count: Codec, item: Codec) -> Codec:
    """Items after their count, as a tuple."""

    def pack(values: Sequence[Any]) -> bytes:
        return count.pack(len(values)) + b"".join(map(item.pack, values))

    def unpack(data: Buffer, pos: int) -> tuple[tuple[Any, ...], int]:
        left, pos = count.unpack(data, pos)
        # No item is empty: a count beyond the bytes that are left is a lie, refused before any work.
        if left > len(data) - pos:
            raise ValueError("too short")
        values = []
        for _ in range(left):
            value, pos = item.unpack(data, pos)
            values.append(value)
        return tuple(values), pos

    return Codec(pack, unpack, f"{count.shown} count, each: {item.shown}")


def group(*items: Codec) -> Codec:
    """Fields without names, one after the other, as a tuple."""

    def pack(values: Sequence[Any]) -> bytes:
        return b"".join(item.pack(value) for item, value in zip(items, values, strict=True))

    def unpack(data: Buffer, pos: int) -> tuple[tuple[Any, ...], int]:
        values = []
        for item in items:
            value, pos = item.unpack(data, pos)
            values.append(value)
        return tuple(values), pos

    return Codec(pack, unpack, ", ".join(item.shown for item in items))


def variant(kinds: Mapping[int, Codec], kind_of: Callable[[Any], int]) -> Codec:
    """A byte that says which of these codecs has the rest."""

    def pack(value: Any) -> bytes:
        kind = kind_of(value)
        return U8.pack(kind) + kinds[kind].pack(value)

    def unpack(data: Buffer, pos: int) -> tuple[Any, int]:
        codec = kinds.get(data[pos])
        if codec is None:
            raise ValueError("unknown kind")
        return codec.unpack(data, pos + 1)

    return Codec(
        pack, unpack, "u8 and " + ", or ".join(f"{kind}: {codec.shown}" for kind, codec in kinds.items())
    )


def enumerated(cls: type[_Enum]) -> Codec:
    """A byte that is the number of a member."""
    return converted(U8, int, cls)


def struct_of(cls: type[Any], fields: Mapping[str, Codec], shown: str) -> Codec:
    """An object of a class by its fields, one after the other."""
    codecs = tuple(fields.items())

    def pack(value: object) -> bytes:
        if not isinstance(value, cls):
            raise TypeError(f"{cls.__name__} expected, not {type(value).__name__}")
        return b"".join(codec.pack(getattr(value, name)) for name, codec in codecs)

    def unpack(data: Buffer, pos: int) -> tuple[Any, int]:
        values = []
        for _, codec in codecs:
            value, pos = codec.unpack(data, pos)
            values.append(value)
        return cls(*values), pos

    return Codec(pack, unpack, shown)


def converted(codec: Codec, to_plain: Callable[[Any], Any], from_plain: Callable[[Any], Any]) -> Codec:
    """Another codec's field in another form in memory."""

    def unpack(data: Buffer, pos: int) -> tuple[Any, int]:
        value, pos = codec.unpack(data, pos)
        return from_plain(value), pos

    return Codec(lambda value: codec.pack(to_plain(value)), unpack, codec.shown)


def _flag() -> Codec:
    def check(number: int) -> bool:
        if number > 1:
            raise ValueError("neither 0 nor 1")
        return number == 1

    return converted(U8, int, check)


FLAG = _flag()
"""A byte: 1 for true, 0 for false."""


def optional(codec: Codec) -> Codec:
    """A byte 1 and the value, or a byte 0 for None."""

    def unpack(data: Buffer, pos: int) -> tuple[Any, int]:
        given, pos = FLAG.unpack(data, pos)
        return codec.unpack(data, pos) if given else (None, pos)

    def pack(value: Any) -> bytes:
        return FLAG.pack(0) if value is None else FLAG.pack(1) + codec.pack(value)

    return Codec(pack, unpack, f"u8: 0, or 1 and {codec.shown}")


class Layout:
    """One byte layout: its name for error messages, and its fields in order."""

    def __init__(self, name: str, /, **fields: Codec) -> None:
        self.name = name
        self.fields = fields
        self._packers = [(field, codec.pack) for field, codec in fields.items()]
        self._unpackers = [(field, codec.unpack) for field, codec in fields.items()]

    def head(self) -> struct.Struct:
        """The numbers that a big-endian layout begins with, in one piece: for records, where it matters.

        A count of bytes is the last of them.
        """
        form = ">"
        for codec in self.fields.values():
            form += codec.form.removeprefix(">")
            if codec.form == "" or codec in (SMALL_PAYLOAD, PAYLOAD):
                break
        return struct.Struct(form)

    def parse(self, data: Buffer) -> dict[str, Any]:
        """Take `data` apart, all of it.

        Raises:
            MessageError: too short, too long, or a field that the layout does not allow.
        """
        parsed: dict[str, Any] = {}
        pos = 0
        try:
            for field, unpack in self._unpackers:
                parsed[field], pos = unpack(data, pos)
        except _BAD_INPUT as error:
            raise MessageError(f"malformed {self.name}") from error
        if pos != len(data):
            raise MessageError(f"malformed {self.name}")
        return parsed

    def build(self, fields: Mapping[str, Any]) -> bytes:
        """Put `fields` together; constants may be left out.

        Raises:
            LocalError: a field does not fit.
        """
        try:
            return b"".join(self.parts(fields))
        except TypeError as error:
            raise LocalError(f"a field of {self.name} does not fit its layout") from error

    def parts(self, fields: Mapping[str, Any]) -> list[Buffer]:
        """As `build`, the pieces still apart: a payload is the last of them, as it was given."""
        parts: list[Buffer] = []
        try:
            for field, pack in self._packers:
                if self.fields[field] is PAYLOAD:
                    content = _plain(fields[field])
                    parts += (U32.pack(len(content)), content)
                else:
                    parts.append(pack(fields.get(field)))
        except (*_BAD_FIELD, TypeError) as error:
            reason = str(error) if isinstance(error, TypeError) else "out of range, too long, or not UTF-8"
            raise LocalError(f"the {field} of a {self.name} does not fit its layout: {reason}") from error
        return parts
