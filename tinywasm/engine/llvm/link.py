"""From an object file of LLVM's, in ELF for x86-64, to bytes that run wherever they lie.

All that machine code refers to by name is in the same file, at a distance that is known once its sections
have their places, one behind the other. Everything else it finds by way of the instance.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
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


def linked(data: bytes) -> tuple[bytes, dict[str, int]]:
    """The bytes, and where in them each function begins. Raises `InternalError` for what cannot be linked."""
    sections = _sections(data)
    image = bytearray()
    places: dict[int, int] = {}
    for number, section in enumerate(sections):
        if section.kind == _PROGBITS and section.flags & _ALLOCATED:
            image += bytes(-len(image) % max(section.alignment, 1))
            places[number] = len(image)
            image += data[section.offset : section.offset + section.size]
    table = next(section for section in sections if section.kind == _SYMTAB)
    symbols = [_SYMBOL.unpack_from(data, at) for at in _entries(table)]
    addresses = [places[home] + value if home in places else None for _, _, _, home, value, _ in symbols]
    for section in sections:
        if section.kind == _RELA and section.info in places:
            _relocate(image, places[section.info], data, section, addresses)
    strings = sections[table.link].offset
    named: dict[str, int] = {}
    for (name, *_), address in zip(symbols, addresses, strict=True):
        if address is not None:
            named[data[strings + name : data.index(0, strings + name)].decode()] = address
    return bytes(image), named


def _sections(data: bytes) -> list[_Section]:
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    return [_Section(*_SECTION.unpack_from(data, start + number * size)) for number in range(count)]


def _entries(section: _Section) -> Iterator[int]:
    return iter(range(section.offset, section.offset + section.size, section.entry_size))


def _relocate(
    image: bytearray, start: int, data: bytes, section: _Section, addresses: list[int | None]
) -> None:
    for at in _entries(section):
        offset, info, addend = _RELOCATION.unpack_from(data, at)
        target = addresses[info >> 32]
        if info & 0xFFFFFFFF not in (_R_X86_64_PC32, _R_X86_64_PLT32) or target is None:
            raise InternalError(
                f"machine code that is not by itself: a relocation of kind {info & 0xFFFFFFFF}"
            )
        place = start + offset
        _DISTANCE.pack_into(image, place, target + addend - place)
