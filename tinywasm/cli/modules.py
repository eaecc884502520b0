"""`tinywasm validate`, `wat2wasm`, `wasm2wat` and `compile`: modules that are not run."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from tinywasm import binary, text
from tinywasm.artifact import SUFFIX
from tinywasm.binary.sections import MAGIC
from tinywasm.cli.options import (
    ALL_FEATURES,
    Subparsers,
    add_command,
    add_features,
    add_file,
    configuration,
    refusals_of,
)
from tinywasm.cli.output import as_json, printable
from tinywasm.config import Engine
from tinywasm.errors import DecodeError, ParseError, ValidationError, WasmError
from tinywasm.module import Module, read_module
from tinywasm.whole_files import read_whole, write_whole

_PLACES = ("line", "column", "offset")


def add_parsers(commands: Subparsers) -> None:
    validate = add_command(
        commands,
        "validate",
        "check modules",
        "Prints nothing where all are valid; otherwise the status is 1.",
    )
    validate.add_argument("files", nargs="+", metavar="FILE", type=Path, help="a module, text or binary")
    validate.add_argument("--json", action="store_true", help="print a JSON array, an object for each file")
    add_features(validate)
    validate.set_defaults(command=_validate)
    to_binary = add_command(commands, "wat2wasm", "convert the text format to the binary format")
    add_file(to_binary)
    to_binary.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="default: FILE with the suffix .wasm"
    )
    to_binary.set_defaults(command=_wat2wasm)
    to_text = add_command(commands, "wasm2wat", "convert the binary format to the text format")
    add_file(to_text)
    to_text.add_argument("-o", "--output", metavar="FILE", type=Path, help="default: the standard output")
    to_text.set_defaults(command=_wasm2wat)
    ahead = add_command(
        commands,
        "compile",
        "make machine code ahead of time",
        f"The module and its machine code go into a file whose name ends in {SUFFIX}, which `tinywasm run`"
        " takes like any module. Nothing can verify machine code: run such a file only if you trust whoever"
        " made it.",
    )
    add_file(ahead)
    ahead.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help=f"default: FILE with the suffix {SUFFIX}"
    )
    ahead.add_argument(
        "--cpu",
        default="host",
        help="for which processors: host (this one), x86-64 (any), or x86-64-v2, x86-64-v3 or x86-64-v4"
        " (default: host)",
    )
    add_features(ahead)
    ahead.set_defaults(command=_compile)


def _validate(options: argparse.Namespace) -> int:
    engine = Engine(configuration(options))
    reports = [_verdict(engine, path) for path in options.files]
    if options.json:
        print(as_json(reports))
    else:
        for report in reports:
            if not report["valid"]:
                message = f"{report['path']}: {report['error']['text']}"
                print(f"tinywasm: {printable(message)}", file=sys.stderr)
    return 0 if all(report["valid"] for report in reports) else 1


def _verdict(engine: Engine, path: Path) -> dict[str, Any]:
    """What `--json` shows for a file."""
    error: dict[str, Any] | None = None
    try:
        Module.from_file(engine, path)
    except (DecodeError, ParseError, ValidationError) as refusal:
        error = _refusal(refusal)
    except OSError as failure:
        error = _unreadable(failure)
    return {"path": str(path), "valid": error is None, "error": error}


def _unreadable(error: OSError) -> dict[str, Any]:
    message = error.strerror or str(error)
    return {"phase": "unreadable", "message": message, "text": message, **dict.fromkeys(("where", *_PLACES))}


def _refusal(error: WasmError) -> dict[str, Any]:
    phase = "invalid" if isinstance(error, ValidationError) else "malformed"
    places = {name: getattr(error, name, None) for name in _PLACES}
    where = getattr(error, "where", "") or None
    return {"phase": phase, "message": error.message, "text": str(error), "where": where, **places}


def _wat2wasm(options: argparse.Namespace) -> int:
    content = read_whole(options.file)
    if content.startswith(MAGIC):
        raise ValueError(f"{options.file}: is in the binary format already")
    with refusals_of(options.file):
        module, encoded = read_module(content, ALL_FEATURES.features)
        Module.from_decoded(Engine(ALL_FEATURES), module)
    output: Path = options.output or options.file.with_suffix(".wasm")
    output.write_bytes(binary.encode(module) if encoded is None else encoded)
    return 0


def _compile(options: argparse.Namespace) -> int:
    if options.output and options.output.suffix != SUFFIX:
        raise ValueError(f"{options.output}: the name of a file with machine code ends in {SUFFIX}")
    with refusals_of(options.file):
        module = Module.from_file(Engine(configuration(options)), options.file)
    output: Path = options.output or options.file.with_suffix(SUFFIX)
    write_whole(output, module.compile(options.cpu, processes=os.cpu_count() or 1))
    return 0


def _wasm2wat(options: argparse.Namespace) -> int:
    with refusals_of(options.file):
        module, _ = read_module(read_whole(options.file), ALL_FEATURES.features)
        printed = text.print_module(module)
    # The text format is UTF-8 wherever it goes.
    if options.output:
        options.output.write_text(printed, encoding="utf-8")
    else:
        sys.stdout.buffer.write(printed.encode())
    return 0
