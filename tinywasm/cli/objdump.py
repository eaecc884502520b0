"""`tinywasm objdump`: sections, code and segments of a module, each with its place in it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise

from tinywasm import binary
from tinywasm.binary.names import NAME, read_name
from tinywasm.binary.sections import Section
from tinywasm.cli.options import ALL_FEATURES, InFile, Subparsers, add_command, add_file, refusals_of
from tinywasm.cli.output import HEX_LINE, hex_line, printable
from tinywasm.codec import read_instruction
from tinywasm.errors import DecodeError
from tinywasm.module import is_binary, read_module
from tinywasm.syntax import DataSegment, DecodedModule, ElementSegment
from tinywasm.text import Disassembly
from tinywasm.text.disassembly import Listed
from tinywasm.whole_files import read_whole

# Bytes of an instruction that stand in one line.
_CODE_BYTES = 8
_TEXT_NOTE = """
Offsets of code count from the start of the function's body, as in the traps of a module in the text format.
All others are those of the module once encoded."""


def add_parsers(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "objdump",
        "show sections, code and segments with their offsets",
        "The offsets are those in traps and in errors. The module need not be valid.",
    )
    add_file(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    data = read_whole(options.file)
    with refusals_of(options.file):
        try:
            module, source = read_module(data, ALL_FEATURES.features)
        except DecodeError:
            # What is in order in front of the error helps to find it.
            if is_binary(data):
                _print(_heading(str(options.file), data), _section_lines(data))
            raise
    encoded = binary.encode(module) if source is None else source
    _print(_heading(str(options.file), encoded), _section_lines(encoded))
    if source is None:
        print(_TEXT_NOTE)
    disassembly = Disassembly(module)
    with refusals_of(options.file):
        wrong = _print_code(disassembly)
        for extent in binary.section_extents(encoded):
            _print(_content_lines(disassembly, module, encoded, extent))
    if wrong is not None:
        raise InFile(options.file, wrong)
    return 0


def _print(*parts: Iterator[str]) -> None:
    for part in parts:
        for line in part:
            print(line)


def _heading(path: str, encoded: bytes) -> Iterator[str]:
    yield f"{printable(path)}: {len(encoded)} bytes"


def _section_lines(encoded: bytes) -> Iterator[str]:
    yield "\nsections:"
    yield "  offset      content     size        section"
    try:
        for extent in binary.section_extents(encoded):
            places = (extent.start, extent.content, extent.end - extent.content)
            yield f"  {'  '.join(f'{place:#010x}' for place in places)}  {_title(extent)}"
    except DecodeError:
        yield "  what follows is malformed"


def _title(extent: binary.SectionExtent) -> str:
    if extent.name is not None:
        return f'custom "{printable(extent.name)}"'
    return extent.id.name.lower().replace("_", " ")


def _print_code(disassembly: Disassembly) -> DecodeError | None:
    """Print all functions; the first error in one of them, which the others are printed in spite of."""
    wrong: DecodeError | None = None
    for listed in disassembly.functions():
        print(f"\n{listed.function.body.start:#010x} {listed.heading}:")
        for line in listed.locals:
            print(f"{'':10}  {line}")
        try:
            _print(_instruction_lines(listed))
        except DecodeError as error:
            print(f"{error.offset:#010x}  {error.message}")
            wrong = wrong or error
    return wrong


def _instruction_lines(listed: Listed) -> Iterator[str]:
    code = listed.function.body.code
    for position, text in listed.instructions():
        raw = bytes(code[position : read_instruction(code, position)[2]])
        yield f"{position:#010x}  {raw[:_CODE_BYTES].hex(' '):{3 * _CODE_BYTES}} {text}"
        for start in range(_CODE_BYTES, len(raw), _CODE_BYTES):
            yield f"{position + start:#010x}  {raw[start : start + _CODE_BYTES].hex(' ')}"


def _content_lines(
    disassembly: Disassembly, module: DecodedModule, encoded: bytes, extent: binary.SectionExtent
) -> Iterator[str]:
    if extent.id is Section.ELEMENT:
        starts = pairwise(binary.segment_starts(encoded, extent))
        for index, ((start, _), element) in enumerate(zip(starts, module.elems, strict=True)):
            yield f"\n{start:#010x} elem {index}: {_element_head(disassembly, element)}"
            yield from (f"  [{number}] {item}" for number, item in enumerate(disassembly.elements(element)))
    elif extent.id is Section.DATA:
        starts = pairwise(binary.segment_starts(encoded, extent))
        for index, ((start, end), data) in enumerate(zip(starts, module.datas, strict=True)):
            yield f"\n{start:#010x} data {index}: {_data_head(disassembly, data)}"
            yield from _byte_lines(encoded, end - len(data.init), end)
    elif extent.id is Section.CUSTOM and extent.name != NAME:
        yield f"\n{extent.start:#010x} {_title(extent)}:"
        yield from _byte_lines(encoded, read_name(encoded, extent.content)[1], extent.end)


def _element_head(disassembly: Disassembly, element: ElementSegment) -> str:
    items = f"{element.type}, {len(element.init)} items"
    if element.offset is None:
        return f"{element.mode}, {items}"
    return f"table {element.table}, at {disassembly.expression(element.offset)}, {items}"


def _data_head(disassembly: Disassembly, data: DataSegment) -> str:
    if data.offset is None:
        return f"passive, {len(data.init)} bytes"
    return f"memory {data.memory}, at {disassembly.expression(data.offset)}, {len(data.init)} bytes"


def _byte_lines(data: bytes, start: int, end: int) -> Iterator[str]:
    for place in range(start, end, HEX_LINE):
        yield hex_line(place, data[place : min(place + HEX_LINE, end)], prefix="0x")
