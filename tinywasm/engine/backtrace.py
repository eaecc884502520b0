"""Frames of a trap's backtrace, the same for all engines."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tinywasm.binary import section_extents
from tinywasm.binary.sections import Section
from tinywasm.errors import ExitTrap, Frame, Trap
from tinywasm.loading import loading
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.module_instance import ModuleInstance

if TYPE_CHECKING:
    from tinywasm.dwarf import LineTable


def add_frames(trap: Trap, places: Sequence[tuple[FuncInstance, int]]) -> None:
    """Let the backtrace go on with the activations of functions that came to these places."""
    made = partial(_extended, trap.frames, places)
    # A program that has ended is no failure, and hardly anybody asks where: names are not read for that.
    trap.frames = made if isinstance(trap, ExitTrap) else made()


def _extended(frames: Sequence[Frame], places: Sequence[tuple[FuncInstance, int]]) -> list[Frame]:
    return [*frames, *(_frame(func, position) for func, position in places)]


def _frame(func: FuncInstance, position: int) -> Frame:
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
        sections = {custom.name: custom.payload for custom in instance.syntax.customs}
        if ".debug_line" not in sections:
            return None
        instance.source_lines = _read_lines(sections, binary)
    start, table = instance.source_lines
    found: tuple[str, int] | None = table.find(position - start)
    return found


def _read_lines(sections: Mapping[str, bytes], binary: bytes) -> tuple[int, LineTable]:
    """Where the code section's content starts, from which DWARF counts addresses, and the line table."""
    with loading:
        from tinywasm.dwarf import line_table
    code = next(extent for extent in section_extents(binary) if extent.id is Section.CODE)
    return code.content, line_table(sections)
