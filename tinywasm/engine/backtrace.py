"""Frames of a trap's backtrace, the same for all engines."""

from __future__ import annotations

from bisect import bisect_right

from tinywasm.binary import section_extents
from tinywasm.binary.sections import Section
from tinywasm.dwarf import LineTable, line_table
from tinywasm.errors import Frame
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.module_instance import ModuleInstance


def frame(func: FuncInstance, position: int) -> Frame:
    """The frame of a Wasm function that came to the instruction at `position` in its code.

    Source lines are looked up where the configuration asks for `debug_info`.
    """
    instance, definition = func.module, func.definition
    assert instance is not None and definition is not None
    body = definition.body
    source: tuple[str | None, int] | None = None
    if instance.store.engine.config.debug_info:
        if body.lines is None:
            source = _dwarf_line(instance, body.code, position)
        elif body.lines:
            source = None, body.lines[bisect_right(body.lines, position, key=lambda pair: pair[0]) - 1][1]
    file, line = source or (None, None)
    module = instance.syntax.names.module
    return Frame(func.index, func.name, module, position - body.start, position, file, line)


def _dwarf_line(instance: ModuleInstance, binary: bytes, position: int) -> tuple[str, int] | None:
    if instance.source_lines is None:
        instance.source_lines = _read_lines(instance, binary)
    start, table = instance.source_lines
    found: tuple[str, int] | None = table.find(position - start)
    return found


def _read_lines(instance: ModuleInstance, binary: bytes) -> tuple[int, LineTable]:
    """Where the code section's content starts, from which DWARF counts addresses, and the line table."""
    sections = {custom.name: custom.payload for custom in instance.syntax.customs}
    if ".debug_line" not in sections:
        return 0, LineTable()
    code = next(extent for extent in section_extents(binary) if extent.id is Section.CODE)
    return code.content, line_table(sections)
