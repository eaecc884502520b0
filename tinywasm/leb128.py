"""LEB128 integers (section 5.2.2)."""

from __future__ import annotations

from tinywasm.errors import DecodeError

_TOO_LONG = "integer representation too long"
_TOO_LARGE = "integer too large"
_END = "unexpected end of section or function"


def read_unsigned(data: bytes, pos: int, bits: int) -> tuple[int, int]:
    """The unsigned integer of at most `bits` bits at `pos`, and the position behind it.

    Raises `DecodeError` where the input ends, or the encoding is longer or larger than `bits` allows.
    """
    start, result, shift = pos, 0, 0
    try:
        while True:
            byte = data[pos]
            pos += 1
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                raise DecodeError(_TOO_LONG, start)
    except IndexError:
        raise DecodeError(_END, pos) from None
    if result >> bits:
        raise DecodeError(_TOO_LARGE, start)
    return result, pos


def read_signed(data: bytes, pos: int, bits: int) -> tuple[int, int]:
    """The signed integer of at most `bits` bits at `pos`, and the position behind it.

    Raises `DecodeError` as `read_unsigned`; unused bits of the last byte must extend the sign.
    """
    start, result, shift = pos, 0, 0
    try:
        while True:
            byte = data[pos]
            pos += 1
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                raise DecodeError(_TOO_LONG, start)
    except IndexError:
        raise DecodeError(_END, pos) from None
    if byte & 0x40:
        result -= 1 << shift
    if not -(1 << (bits - 1)) <= result < 1 << (bits - 1):
        raise DecodeError(_TOO_LARGE, start)
    return result, pos


def read_u32(data: bytes, pos: int) -> tuple[int, int]:
    """As `read_unsigned` with 32 bits; one byte, the usual case, takes the short way."""
    if pos < len(data) and data[pos] < 0x80:
        return data[pos], pos + 1
    return read_unsigned(data, pos, 32)


def write_unsigned(value: int) -> bytes:
    """The shortest encoding of `value` >= 0."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_signed(value: int) -> bytes:
    """The shortest encoding of `value`."""
    out = bytearray()
    while not -64 <= value < 64:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)
