"""Names (section 5.2.4), and the two custom sections that are understood: names and branch hints."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tinywasm.codec import Reader, read_byte, read_bytes, read_count, read_vector, write_vector
from tinywasm.errors import DecodeError
from tinywasm.leb128 import read_u32, write_unsigned
from tinywasm.syntax import Names

NAME = "name"
BRANCH_HINTS = "metadata.code.branch_hint"

NameMap = dict[int, str]
BranchHints = dict[int, list[tuple[int, int]]]


def read_name(data: bytes, pos: int) -> tuple[str, int]:
    """A name (section 5.2.4). Raises `DecodeError` where it is cut off or not UTF-8."""
    size, after = read_count(data, pos)
    raw, after = read_bytes(data, after, size)
    try:
        return raw.decode("utf-8"), after
    except UnicodeDecodeError:
        raise DecodeError("malformed UTF-8 encoding", pos) from None


def write_name(name: str) -> bytes:
    """A name (section 5.2.4)."""
    raw = name.encode("utf-8")
    return write_unsigned(len(raw)) + raw


def understood_names(payload: bytes) -> Names:
    """As `read_names`, but nothing is named where that raises.

    Section 5.5.3: errors in a custom section never invalidate the module.
    """
    try:
        return read_names(payload)
    except DecodeError:
        return Names()


def read_names(payload: bytes) -> Names:
    """The name section's content (appendix 7.7.1); unknown subsections are skipped.

    Raises `DecodeError` where a subsection is malformed, out of order or names something twice.
    """
    names, pos, last = Names(), 0, -1
    while pos < len(payload):
        subsection, after = read_byte(payload, pos)
        size, start = read_count(payload, after)
        if subsection <= last:
            raise DecodeError("unexpected subsection", pos)
        last, pos = subsection, start + size
        if subsection in _SUBSECTIONS:
            field, read, _ = _SUBSECTIONS[subsection]
            value, end = read(payload, start)
            if end != pos:
                raise DecodeError("section size mismatch", start)
            setattr(names, field, value)
    return names


def write_names(names: Names) -> bytes:
    """The name section's content, without the subsections that are empty."""
    parts = []
    for subsection, (field, _, write) in _SUBSECTIONS.items():
        value = getattr(names, field)
        if value:
            content = write(value)
            parts.append(bytes([subsection]) + write_unsigned(len(content)) + content)
    return b"".join(parts)


def read_branch_hints(payload: bytes) -> BranchHints:
    """The branch hint section's content: a function's (offset, hint) pairs.

    Raises `DecodeError` where it is malformed.
    """
    hints, end = _read_map(partial(read_vector, _read_hint), payload, 0)
    if end != len(payload):
        raise DecodeError("section size mismatch", 0)
    return {function: list(pairs) for function, pairs in hints.items()}


def write_branch_hints(hints: BranchHints) -> bytes:
    """The branch hint section's content."""
    return _write_map(partial(write_vector, _write_hint), hints)


def _read_hint(data: bytes, pos: int) -> tuple[tuple[int, int], int]:
    offset, pos = read_u32(data, pos)
    raw, after = read_bytes(data, pos, 2)
    if raw not in (b"\1\0", b"\1\1"):
        raise DecodeError("malformed branch hint", pos)
    return (offset, raw[1]), after


def _write_hint(hint: tuple[int, int]) -> bytes:
    offset, taken = hint
    return write_unsigned(offset) + bytes([1, taken])


def _read_map(read: Reader, data: bytes, pos: int) -> tuple[dict[int, Any], int]:
    def read_pair(data: bytes, pos: int) -> tuple[tuple[int, Any], int]:
        index, pos = read_u32(data, pos)
        value, pos = read(data, pos)
        return (index, value), pos

    pairs, end = read_vector(read_pair, data, pos)
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise DecodeError("duplicate index", pos)
    return entries, end


def _write_map(write: Callable[[Any], bytes], entries: dict[int, Any]) -> bytes:
    return write_vector(lambda pair: write_unsigned(pair[0]) + write(pair[1]), sorted(entries.items()))


_read_name_map = partial(_read_map, read_name)
_write_name_map = partial(_write_map, write_name)
_read_indirect = partial(_read_map, _read_name_map)
_write_indirect = partial(_write_map, _write_name_map)

_DIRECT = (_read_name_map, _write_name_map)
_INDIRECT = (_read_indirect, _write_indirect)

# Ascending ids: the order of the subsections.
_SUBSECTIONS: dict[int, tuple[str, Reader, Callable[[Any], bytes]]] = {
    0: ("module", read_name, write_name),
    1: ("functions", *_DIRECT),
    2: ("locals", *_INDIRECT),
    3: ("labels", *_INDIRECT),
    4: ("types", *_DIRECT),
    5: ("tables", *_DIRECT),
    6: ("memories", *_DIRECT),
    7: ("globals", *_DIRECT),
    8: ("elems", *_DIRECT),
    9: ("datas", *_DIRECT),
    10: ("fields", *_INDIRECT),
    11: ("tags", *_DIRECT),
}
