"""`tinywasm inspect`: what a module consists of."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinywasm import binary
from tinywasm.binary.sections import Section
from tinywasm.cli.features import features
from tinywasm.cli.options import ALL_FEATURES, Subparsers, add_command, add_file, refusals_of
from tinywasm.cli.output import as_json, printable, table
from tinywasm.config import Engine
from tinywasm.engine.ir.build import build
from tinywasm.engine.ir.show import lines
from tinywasm.module import Module, import_types, is_binary, read_module
from tinywasm.syntax import DecodedModule
from tinywasm.types import (
    DefinedType,
    ExternType,
    FuncType,
    GlobalType,
    MemoryType,
    TableType,
    TagType,
)
from tinywasm.whole_files import read_whole

_KINDS: dict[type, str] = {
    DefinedType: "func",
    FuncType: "func",
    TableType: "table",
    MemoryType: "memory",
    GlobalType: "global",
    TagType: "tag",
}
_NAMED = (
    "functions", "locals", "labels", "types", "tables", "memories",
    "globals", "elems", "datas", "fields", "tags",
)  # fmt: skip


def add_parsers(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "inspect",
        "show what a module consists of",
        "Sections are those of the binary format, also for a module in the text format.",
    )
    add_file(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    form.add_argument("--ir", action="store_true", help="print the intermediate form of every function")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    with refusals_of(options.file):
        if options.ir:
            print("\n".join(printable(line) for line in intermediate_form(options.file)))
            return 0
        report = describe(options.file)
    if options.json:
        print(as_json(report))
    else:
        print("\n".join(_lines(report)))
    return 0


def intermediate_form(path: Path) -> Iterator[str]:
    """What the engines are given of each function, a line for each record.

    Raises as `describe` does, and `Trap` for a function that no engine holds.
    """
    syntax, _ = read_module(read_whole(path), ALL_FEATURES.features)
    module = Module.from_decoded(Engine(ALL_FEATURES), syntax)
    for index, function in enumerate(syntax.functions, module.context.imported_funcs):
        name = syntax.names.functions.get(index)
        yield f"func {index}" + (f" ${name}" if name is not None else "")
        yield from lines(build(module.context, index, function))


def describe(path: Path) -> dict[str, Any]:
    """The report, in values that JSON has.

    Raises `DecodeError`, `ParseError`, `ValidationError`, or `OSError` for a file that cannot be read.
    """
    data = read_whole(path)
    kind = "binary" if is_binary(data) else "text"
    # The text format has no sections; those that it stands for are shown.
    given, source = read_module(data, ALL_FEATURES.features)
    encoded = binary.encode(given) if source is None else source
    syntax = binary.decode(encoded, ALL_FEATURES.features) if source is None else given
    module = Module.from_decoded(Engine(ALL_FEATURES), syntax)
    return {
        "path": str(path),
        "format": kind,
        "size": len(encoded),
        "name": syntax.names.module,
        "sections": [_section(syntax, extent) for extent in binary.section_extents(encoded)],
        "imports": _imports(module),
        "exports": _exports(module),
        "memories": [_memory(each) for each in module.context.memories],
        "tables": [_table(each) for each in module.context.tables],
        "start": syntax.start,
        "features": features(syntax),
        "names": {field: _count_names(getattr(syntax.names, field)) for field in _NAMED},
    }


def _section(syntax: DecodedModule, extent: binary.SectionExtent) -> dict[str, Any]:
    counts: dict[Section, int] = {
        Section.TYPE: len(syntax.subtypes()),
        Section.IMPORT: len(syntax.imports),
        Section.FUNCTION: len(syntax.functions),
        Section.TABLE: len(syntax.tables),
        Section.MEMORY: len(syntax.memories),
        Section.TAG: len(syntax.tags),
        Section.GLOBAL: len(syntax.globals),
        Section.EXPORT: len(syntax.exports),
        Section.ELEMENT: len(syntax.elems),
        Section.CODE: len(syntax.functions),
        Section.DATA: len(syntax.datas),
    }
    return {
        "id": int(extent.id),
        "section": extent.id.name.lower().replace("_", " "),
        "name": extent.name,
        "offset": extent.start,
        "size": extent.end - extent.start,
        "count": counts.get(extent.id),
    }


def _imports(module: Module) -> list[dict[str, Any]]:
    return [
        {"module": imp.module, "name": imp.name, **_extern(type)}
        for imp, type in zip(module.syntax.imports, import_types(module), strict=True)
    ]


def _exports(module: Module) -> list[dict[str, Any]]:
    return [{"name": name, **_extern(type)} for name, type in _export_types(module)]


def _export_types(module: Module) -> Iterator[tuple[str, ExternType]]:
    """Name and type of each export."""
    context = module.context
    for export in module.syntax.exports:
        spaces: dict[str, Any] = {
            "func": context.funcs,
            "table": context.tables,
            "memory": context.memories,
            "global": context.globals,
            "tag": context.tags,
        }
        type = spaces[export.kind][export.index]
        yield export.name, TagType(type) if export.kind == "tag" else type


def export_lines(module: Module) -> list[str]:
    """A line for each export: kind, name and type."""
    return [_described(entry) for entry in _exports(module)]


def _extern(type: ExternType) -> dict[str, str]:
    defined = type.type if isinstance(type, TagType) else type
    return {"kind": _KINDS[type.__class__], "type": str(defined)}


def _memory(type: MemoryType) -> dict[str, Any]:
    limits = {"min": type.limits.min, "max": type.limits.max}
    return {**limits, "address": str(type.address), "page_size": type.page_size}


def _table(type: TableType) -> dict[str, Any]:
    limits = {"min": type.limits.min, "max": type.limits.max}
    return {**limits, "address": str(type.address), "element": str(type.element)}


def _count_names(names: dict[int, Any]) -> int:
    return sum(len(value) if isinstance(value, dict) else 1 for value in names.values())


def _lines(report: dict[str, Any]) -> Iterator[str]:
    name = f", named {printable(report['name'])}" if report["name"] else ""
    encoded = " once encoded" if report["format"] == "text" else ""
    yield f"{printable(report['path'])}: {report['format']} module{name}, {report['size']} bytes{encoded}"
    yield from _part("sections", table(("offset", "size", "items", "section"), _section_rows(report)))
    yield from _part(
        "imports", [f'"{_name(each, "module")}" {_described(each)}' for each in report["imports"]]
    )
    yield from _part("exports", map(_described, report["exports"]))
    yield from _part("memories", map(_memory_line, report["memories"]))
    yield from _part("tables", map(_table_line, report["tables"]))
    if report["start"] is not None:
        yield f"start: function {report['start']}"
    names = [f"{count} {field}" for field, count in report["names"].items() if count]
    yield f"names: {', '.join(names) or 'none'}"
    yield f"features beyond WebAssembly 1.0: {', '.join(report['features']) or 'none'}"


def _part(heading: str, lines: Any) -> Iterator[str]:
    found = list(lines)
    yield f"{heading}:" if found else f"{heading}: none"
    yield from (f"  {line}" for line in found)


def _section_rows(report: dict[str, Any]) -> list[list[str]]:
    return [
        [
            str(each["offset"]),
            str(each["size"]),
            "" if each["count"] is None else str(each["count"]),
            each["section"] if each["name"] is None else f'custom "{_name(each)}"',
        ]
        for each in report["sections"]
    ]


def _name(entry: dict[str, Any], key: str = "name") -> str:
    return printable(entry[key])


def _described(entry: dict[str, Any]) -> str:
    return f'{entry["kind"]} "{_name(entry)}": {entry["type"]}'


def _limits(entry: dict[str, Any]) -> str:
    top = "no maximum" if entry["max"] is None else f"at most {entry['max']}"
    return f"{entry['min']} at first, {top}, {entry['address']} addresses"


def _memory_line(entry: dict[str, Any]) -> str:
    return f"{_limits(entry)}, pages of {entry['page_size']} bytes"


def _table_line(entry: dict[str, Any]) -> str:
    return f"{entry['element']}: {_limits(entry)}"
