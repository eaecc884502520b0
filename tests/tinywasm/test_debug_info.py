"""Backtraces with source lines: DWARF of a C program, and the lines of the text format."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinywasm
from tests.engines import ENGINES
from tinywasm import Config, Engine, Store, Trap, binary
from tinywasm.binary.sections import Section
from tinywasm.dwarf import line_table
from tinywasm.syntax import CustomSection

PROGRAMS = Path(__file__).parent / "debug_programs"
VERSIONS = (4, 5)


def trap_of(source: str | bytes | Path, name: str, *args: int, **config: object) -> Trap:
    store = Store(Engine(Config(**config)))  # type: ignore[arg-type]
    exports = tinywasm.instantiate(source, store=store).exports
    with pytest.raises(Trap) as caught:
        exports[name](*args)
    return caught.value


def program(version: int) -> Path:
    return PROGRAMS / f"average_dwarf{version}.wasm"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("version", VERSIONS)
def test_frames_of_a_c_program_name_its_lines(engine: str, version: int) -> None:
    trap = trap_of(program(version), "average_of", 0, engine=engine, debug_info=True)
    source = (PROGRAMS / "average.c").read_text().splitlines()
    assert [(frame.func_name, frame.file) for frame in trap.frames] == [
        ("divide", "average.c"),
        ("average", "average.c"),
        ("average_of", "average.c"),
    ]
    lines = [source[frame.line - 1].strip() for frame in trap.frames if frame.line]
    assert lines == [
        "return total / count;",
        "return divide(total, count);",
        "return average(numbers, count);",
    ]
    assert "(average.c:11)" in str(trap)


def test_without_debug_info_there_are_no_lines() -> None:
    trap = trap_of(program(5), "average_of", 0)
    assert {(frame.file, frame.line) for frame in trap.frames} == {(None, None)}


@pytest.mark.parametrize("engine", ENGINES)
def test_text_modules_have_lines_and_no_file(engine: str) -> None:
    text = '(module (func (export "f")\n  (nop)\n  (call 1))\n(func\n  nop\n\n  unreachable))'
    trap = trap_of(text, "f", engine=engine, debug_info=True)
    assert [(frame.file, frame.line) for frame in trap.frames] == [(None, 7), (None, 3)]
    assert str(trap.frames[0]).endswith(" (line 7)")


def test_a_binary_without_line_tables_has_no_lines() -> None:
    module = binary.encode(tinywasm.text.parse_module('(func (export "f") unreachable)'))
    assert trap_of(module, "f", debug_info=True).frames[0].line is None


def sections_of(version: int) -> dict[str, bytes]:
    module = binary.decode(program(version).read_bytes())
    return {custom.name: custom.payload for custom in module.customs}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_address_has_the_line_that_pyelftools_reads(version: int) -> None:
    pytest.importorskip("elftools")
    from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo

    sections = sections_of(version)

    def section(name: str) -> Any:
        import io

        data = sections.get(name)
        return data and DebugSectionDescriptor(io.BytesIO(data), name, 0, len(data), 0)

    names = {name: None for name in DWARFInfo.__init__.__code__.co_varnames if name.endswith("_sec")}
    found = {name: section("." + name.removesuffix("_sec")) for name in names}
    info = DWARFInfo(
        config=DwarfConfig(little_endian=True, machine_arch="x86", default_address_size=4), **found
    )
    table = line_table(sections)
    checked = 0
    for unit in info.iter_CUs():
        program = info.line_program_for_CU(unit)
        assert program is not None
        states = [entry.state for entry in program.get_entries() if entry.state]
        for state, following in itertools.pairwise(states):
            if not state.end_sequence and following.address > state.address:
                place = table.find(state.address)
                assert (place and place[1]) == (state.line or None)
                checked += 1
    assert checked > 10


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_line_tables_only_lose_lines(version: int, data: st.DataObject) -> None:
    sections = sections_of(version)
    line = bytearray(sections[".debug_line"])
    for _ in range(data.draw(st.integers(1, 4))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(line)))
    table = line_table({**sections, ".debug_line": bytes(line[:cut])})
    for address in (0, 1, 0x60, 1 << 40):
        table.find(address)


def test_random_bytes_are_no_line_table() -> None:
    for junk in (b"", b"\xff" * 40, bytes(40), b"\x04\0\0\0\x09\0\0\0"):
        assert line_table({".debug_line": junk}).find(1) is None


def test_a_damaged_section_leaves_the_backtrace_as_it_was() -> None:
    module = binary.decode(program(5).read_bytes())
    module.customs = [
        CustomSection(each.name, b"\1" * 9 if each.name == ".debug_line" else each.payload, each.after)
        for each in module.customs
    ]
    trap = trap_of(binary.encode(module), "average_of", 0, debug_info=True)
    assert [frame.line for frame in trap.frames] == [None, None, None]


def test_extents_cover_the_module() -> None:
    data = program(4).read_bytes()
    extents = list(binary.section_extents(data))
    assert [extents[0].start, *(each.end for each in extents)] == [
        8,
        *(each.start for each in extents[1:]),
        len(data),
    ]
    names = [each.name for each in extents if each.id is Section.CUSTOM]
    assert {".debug_line", "name"} <= set(names)
