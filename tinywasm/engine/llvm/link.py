"""From object files of LLVM's, in ELF for x86-64, to bytes that run wherever they lie.

All that machine code refers to by name is in these files, at a distance that is known once their sections
have their places, one behind the other. Everything else it finds by way of the instance.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tinywasm.errors import InternalError

_PROGBITS, _SYMTAB, _RELA = 1, 2, 4
_ALLOCATED = 2
_R_X86_64_PC32, _R_X86_64_PLT32 = 2, 4
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_DISTANCE = struct.Struct("<i")


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


def linked(objects: Sequence[bytes]) -> tuple[bytes, dict[str, int]]:
    """The bytes, and where in them each function begins; what an object does not define, another one does.

    Raises `InternalError` for what cannot be linked.
    """
    image = bytearray()
    named: dict[str, int] = {}
    placed = [_place(image, named, data) for data in objects]
    for data, sections, places, symbols in placed:
        known = [(name, named.get(name) if at is None else at) for name, at in symbols]
        for section in sections:
            if section.kind == _RELA and section.info in places:
                _relocate(image, places[section.info], data, section, known)
    return bytes(image), named


class _Placed(NamedTuple):
    """An object whose sections have their places in the image, and its symbols those that are known."""

    data: bytes
    sections: list[_Section]
    places: dict[int, int]
    symbols: list[tuple[str, int | None]]


def _place(image: bytearray, named: dict[str, int], data: bytes) -> _Placed:
    sections = _sections(data)
    places: dict[int, int] = {}
    for number, section in enumerate(sections):
        if section.kind == _PROGBITS and section.flags & _ALLOCATED:
            image += bytes(-len(image) % max(section.alignment, 1))
            places[number] = len(image)
            image += data[section.offset : section.offset + section.size]
    table = next(section for section in sections if section.kind == _SYMTAB)
    strings = sections[table.link].offset
    symbols: list[tuple[str, int | None]] = []
    for at in _entries(table):
        name, _, _, home, value, _ = _SYMBOL.unpack_from(data, at)
        text = data[strings + name : data.index(0, strings + name)].decode()
        symbols.append((text, places[home] + value if home in places else None))
    named |= {name: at for name, at in symbols if at is not None}
    return _Placed(data, sections, places, symbols)


def _sections(data: bytes) -> list[_Section]:
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    return [_Section(*_SECTION.unpack_from(data, start + number * size)) for number in range(count)]


def _entries(section: _Section) -> Iterator[int]:
    return iter(range(section.offset, section.offset + section.size, section.entry_size))


def _relocate(
    image: bytearray, start: int, data: bytes, section: _Section, symbols: list[tuple[str, int | None]]
) -> None:
    for at in _entries(section):
        offset, info, addend = _RELOCATION.unpack_from(data, at)
        name, target = symbols[info >> 32]
        if info & 0xFFFFFFFF not in (_R_X86_64_PC32, _R_X86_64_PLT32) or target is None:
            raise InternalError(
                f"machine code that is not by itself: a relocation of kind {info & 0xFFFFFFFF} to {name!r}"
            )
        place = start + offset
        _DISTANCE.pack_into(image, place, target + addend - place)
