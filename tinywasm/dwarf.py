"""DWARF line tables: from a code address to the source line (DWARF 5 section 6.2; versions 2 to 5).

In WebAssembly an address counts bytes from the start of the code section's content ("DWARF for
WebAssembly"). Debugging information is a compiler's hint: what cannot be read is left out, and never
makes a module unusable.
"""

from __future__ import annotations

import posixpath
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tinywasm.errors import DecodeError
from tinywasm.leb128 import read_signed, read_unsigned

# Standard opcodes (section 6.2.5.2) that have a meaning here; others change columns and flags.
_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _CONST_ADD_PC, _FIXED_ADVANCE_PC = 1, 2, 3, 4, 8, 9
# Extended opcodes (section 6.2.5.3).
_END_SEQUENCE, _SET_ADDRESS = 1, 2
# Content types (section 6.2.4.1).
_PATH, _DIRECTORY_INDEX = 1, 2
# Linkers give code that they removed one of these addresses, and no instruction stands at 0.
_REMOVED = (0, 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFE, 0xFFFFFFFFFFFFFFFF)

# What a path or a directory may be long; hostile input could repeat a long one for every frame.
_MAX_PATH = 4096

_Row = tuple[int, int, int]

# A path: text, or the section and the offset where it stands. It is read when a frame needs it.
_Text = str | tuple[str, int]


@dataclass(slots=True)
class _Sequence:
    """Rows (address, file, line) by ascending address, up to the address `end`."""

    rows: list[_Row]
    end: int
    unit: _Unit


@dataclass(slots=True)
class LineTable:
    """The line tables of all compilation units of a module."""

    _sequences: list[_Sequence] = field(default_factory=list)

    def find(self, address: int) -> tuple[str, int] | None:
        """The source file and the line, from 1, of the instruction at `address`; None where unknown."""
        index = bisect_right(self._sequences, address, key=lambda sequence: sequence.rows[0][0])
        if index == 0 or address >= self._sequences[index - 1].end:
            return None
        sequence = self._sequences[index - 1]
        _, file, line = sequence.rows[bisect_right(sequence.rows, address, key=lambda row: row[0]) - 1]
        if line <= 0 or file >= len(sequence.unit.files):
            return None
        return sequence.unit.path(file), line

    def _add(self, rows: list[_Row], end: int, unit: _Unit) -> None:
        if rows and rows[0][0] not in _REMOVED:
            rows.sort(key=lambda row: row[0])
            self._sequences.append(_Sequence(rows, end, unit))


def line_table(sections: Mapping[str, bytes]) -> LineTable:
    """Read the custom sections of a module, by name; `.debug_line` and the strings that it refers to.

    Units that are malformed, or of a version that is not known, are left out.
    """
    table = LineTable()
    data = sections.get(".debug_line", b"")
    pos = 0
    while pos < len(data):
        try:
            cursor = _Cursor(data, pos, len(data))
            cursor.read_unit_length()
            pos = cursor.end
            _Unit(cursor, sections).run(table)
        except DecodeError:
            if pos <= cursor.start:
                break
    table._sequences.sort(key=lambda sequence: sequence.rows[0][0])
    return table


class _Cursor:
    """Reads one unit. Every reader raises `DecodeError` at the unit's end."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self.data = data
        self.start = self.pos = start
        self.end = end
        self.offset_size = 4

    def read_unit_length(self) -> None:
        """The initial length, which also tells the size of offsets (section 7.4)."""
        length = self.fixed(4)
        if length == 0xFFFFFFFF:
            self.offset_size = 8
            length = self.fixed(8)
        if length > self.end - self.pos:
            raise DecodeError("unit runs over the end of .debug_line", self.pos)
        self.end = self.pos + length

    def fixed(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> bytes:
        if size > self.end - self.pos:
            raise DecodeError("unexpected end of .debug_line", self.pos)
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def unsigned(self) -> int:
        value, self.pos = read_unsigned(self.data, self.pos, 64)
        return value

    def signed(self) -> int:
        value, self.pos = read_signed(self.data, self.pos, 64)
        return value

    def string(self) -> str:
        length = self.data.find(b"\0", self.pos, self.end) - self.pos
        if length < 0:
            raise DecodeError("unterminated string in .debug_line", self.pos)
        return self.take(length + 1)[:-1].decode("utf-8", "replace")


class _Unit:
    """One unit's header (section 6.2.4), and its program."""

    def __init__(self, cursor: _Cursor, sections: Mapping[str, bytes]) -> None:
        self.cursor = cursor
        self.sections = sections
        version = cursor.fixed(2)
        if not 2 <= version <= 5:
            raise DecodeError("unknown version of .debug_line", cursor.pos)
        if version == 5:
            cursor.take(2)
        program = cursor.fixed(cursor.offset_size) + cursor.pos
        self.step = cursor.fixed(1)
        # Operations per instruction belong to VLIW machines.
        cursor.take(2 if version >= 4 else 1)
        self.line_base = int.from_bytes(cursor.take(1), "little", signed=True)
        self.line_range = cursor.fixed(1)
        self.opcode_base = cursor.fixed(1)
        self.operands = cursor.take(max(self.opcode_base - 1, 0))
        if not self.line_range or not self.opcode_base or program > cursor.end:
            raise DecodeError("malformed header in .debug_line", cursor.pos)
        self.directories: list[_Text] = []
        self.files: list[tuple[_Text, int]] = []
        if version == 5:
            self.directories = [path for path, _ in self._entries()]
            self.files = self._entries()
        else:
            self._read_files_before_5()
        cursor.pos = program

    def path(self, file: int) -> str:
        """The path of a source file, relative where the compiler wrote it so."""
        path, index = self.files[file]
        # Relative directories count from the first one, the compilation's.
        indices = [0, index] if index else [0]
        directories = [self.directories[each] for each in indices if each < len(self.directories)]
        return posixpath.normpath(posixpath.join("", *map(self._text, directories), self._text(path)))

    def _text(self, text: _Text) -> str:
        if isinstance(text, str):
            return text[:_MAX_PATH]
        section, offset = text
        raw = self.sections.get(section, b"")[offset : offset + _MAX_PATH]
        return raw.partition(b"\0")[0].decode("utf-8", "replace")

    def _entries(self) -> list[tuple[_Text, int]]:
        cursor = self.cursor
        formats = [(cursor.unsigned(), cursor.unsigned()) for _ in range(cursor.fixed(1))]
        count = cursor.unsigned()
        # An entry takes a byte at least, so that no count is believed beyond the bytes that are there.
        if not formats or count > cursor.end - cursor.pos:
            raise DecodeError("malformed file names in .debug_line", cursor.pos)
        entries: list[tuple[_Text, int]] = []
        for _ in range(count):
            path: _Text = ""
            directory = 0
            for content, form in formats:
                value = self._form(form)
                if content == _PATH and isinstance(value, str | tuple):
                    path = value
                elif content == _DIRECTORY_INDEX and isinstance(value, int):
                    directory = value
            entries.append((path, directory))
        return entries

    def _form(self, form: int) -> _Text | int | bytes:
        cursor = self.cursor
        read: dict[int, Callable[[], _Text | int | bytes]] = {
            0x05: lambda: cursor.fixed(2),
            0x06: lambda: cursor.fixed(4),
            0x07: lambda: cursor.fixed(8),
            0x08: cursor.string,
            0x09: lambda: cursor.take(cursor.unsigned()),
            0x0B: lambda: cursor.fixed(1),
            0x0E: lambda: (".debug_str", cursor.fixed(cursor.offset_size)),
            0x0F: cursor.unsigned,
            0x1E: lambda: cursor.take(16),
            0x1F: lambda: (".debug_line_str", cursor.fixed(cursor.offset_size)),
        }
        if form not in read:
            raise DecodeError("unknown form in .debug_line", cursor.pos)
        return read[form]()

    def _read_files_before_5(self) -> None:
        cursor = self.cursor
        # Directory 0 is the compilation's own, which stands elsewhere; files count from 1.
        self.directories.append("")
        while path := cursor.string():
            self.directories.append(path)
        self.files.append(("", 0))
        while path := cursor.string():
            directory = cursor.unsigned()
            cursor.unsigned()
            cursor.unsigned()
            self.files.append((path, directory))

    def run(self, table: LineTable) -> None:
        """The line number program (section 6.2.5)."""
        cursor = self.cursor
        address, file, line = 0, 1, 1
        rows: list[_Row] = []
        while cursor.pos < cursor.end:
            opcode = cursor.fixed(1)
            if opcode >= self.opcode_base:
                advance, forward = divmod(opcode - self.opcode_base, self.line_range)
                address += advance * self.step
                line += self.line_base + forward
                rows.append((address, file, line))
            elif opcode == 0:
                size = cursor.unsigned()
                following = cursor.pos + size
                kind = cursor.fixed(1) if size else 0
                if kind == _END_SEQUENCE:
                    table._add(rows, address, self)
                    address, file, line, rows = 0, 1, 1, []
                elif kind == _SET_ADDRESS and size <= 9:
                    address = cursor.fixed(size - 1)
                cursor.pos = following
            elif opcode == _COPY:
                rows.append((address, file, line))
            elif opcode == _ADVANCE_PC:
                address += cursor.unsigned() * self.step
            elif opcode == _ADVANCE_LINE:
                line += cursor.signed()
            elif opcode == _SET_FILE:
                file = cursor.unsigned()
            elif opcode == _CONST_ADD_PC:
                address += (255 - self.opcode_base) // self.line_range * self.step
            elif opcode == _FIXED_ADVANCE_PC:
                address += cursor.fixed(2)
            else:
                for _ in range(self.operands[opcode - 1]):
                    cursor.unsigned()
