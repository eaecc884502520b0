"""`tinywasm run`, `validate`, `wat2wasm` and `wasm2wat`: one module each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinywasm import binary, text
from tinywasm.api.func import BoundFunc
from tinywasm.config import Config, Engine
from tinywasm.embed import instantiate
from tinywasm.instance import Module
from tinywasm.types import F32, F64, I32, I64, ValType

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

# A conversion is no place to refuse a proposal's instructions.
_ALL_FEATURES = Config(wide_arithmetic=True, custom_page_sizes=True)


def add_parsers(commands: Subparsers) -> None:
    run = _add(commands, "run", "instantiate a module and call one of its functions")
    run.usage = "tinywasm run FILE [--invoke NAME] [ARG ...]"
    run.add_argument("--invoke", metavar="NAME", help="the exported function; by default _start, if any")
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARG", help="a number")
    run.set_defaults(command=_run)
    validate = _add(commands, "validate", "check a module")
    validate.set_defaults(command=_validate)
    to_binary = _add(commands, "wat2wasm", "convert the text format to the binary format")
    to_binary.add_argument("-o", "--output", type=Path, help="default: FILE with the suffix .wasm")
    to_binary.set_defaults(command=_wat2wasm)
    to_text = _add(commands, "wasm2wat", "convert the binary format to the text format")
    to_text.add_argument("-o", "--output", type=Path, help="default: the standard output")
    to_text.set_defaults(command=_wasm2wat)


def _add(commands: Subparsers, name: str, help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    parser.add_argument("file", metavar="FILE", type=Path, help="a module, text or binary")
    return parser


def _run(options: argparse.Namespace) -> int:
    name, arguments = options.invoke, options.arguments
    if name is None and arguments[:1] == ["--invoke"] and len(arguments) > 1:
        name, arguments = arguments[1], arguments[2:]
    instance = instantiate(options.file)
    if name is None and "_start" not in instance.exports:
        if arguments:
            raise ValueError("arguments need a function: --invoke NAME")
        return 0
    function = instance.exports.get(name or "_start")
    if not isinstance(function, BoundFunc):
        functions = [key for key, value in instance.exports.items() if isinstance(value, BoundFunc)]
        raise ValueError(f"no exported function {name!r}; there is {', '.join(functions) or 'none'}")
    _call(function, arguments)
    return 0


def _call(function: BoundFunc, arguments: Sequence[str]) -> None:
    """Call with arguments as typed on a command line and print each result on a line."""
    params = function.type.params
    if len(arguments) != len(params):
        raise ValueError(f"the function takes {len(params)} arguments, not {len(arguments)}: {function.type}")
    result = function(*map(_number, params, arguments))
    several = len(function.type.results) > 1
    for value in result if several else [result] if function.type.results else []:
        print(value)


def _number(type: ValType, word: str) -> int | float:
    try:
        if type is I32 or type is I64:
            return int(word, 0)
        if type is F32 or type is F64:
            return float.fromhex(word) if "0x" in word.lower() else float(word)
    except ValueError:
        raise ValueError(f"{word!r} is no {type}") from None
    raise ValueError(f"an argument of type {type} cannot be given on the command line")


def _validate(options: argparse.Namespace) -> int:
    Module.from_file(Engine(), options.file)
    return 0


def _wat2wasm(options: argparse.Namespace) -> int:
    module = text.parse_module(options.file.read_bytes())
    Module.from_decoded(Engine(_ALL_FEATURES), module)
    output: Path = options.output or options.file.with_suffix(".wasm")
    output.write_bytes(binary.encode(module))
    return 0


def _wasm2wat(options: argparse.Namespace) -> int:
    printed = text.print_module(binary.decode(options.file.read_bytes(), _ALL_FEATURES.features))
    if options.output:
        options.output.write_text(printed, encoding="utf-8")
    else:
        sys.stdout.write(printed)
    return 0
