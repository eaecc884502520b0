"""The grammar of the command line: which module has which command, and what stands before all of them."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Iterable
from typing import Any

from tinywasm.cli.options import Subparsers
from tinywasm.engine import IMPLEMENTATIONS

# Commands, in the order of the help, and the module of `tinywasm.cli` whose `add_parsers` adds them.
COMMANDS = {
    "run": "run",
    "validate": "modules",
    "wat2wasm": "modules",
    "wasm2wat": "modules",
    "compile": "modules",
    "inspect": "inspection",
    "objdump": "objdump",
    "wast": "wast",
    "repl": "repl",
    "completion": "completion",
}


def grammar(wanted: Iterable[str] = COMMANDS) -> tuple[argparse.ArgumentParser, Subparsers]:
    """The parser of command lines, and its commands, where `wanted` names the ones to be in it.

    Only their modules are loaded: all of them together take longer than many a program runs.
    """
    parser: argparse.ArgumentParser = _Parser(prog="tinywasm", description="A WebAssembly runtime in Python.")
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in dict.fromkeys(COMMANDS[name] for name in wanted):
        importlib.import_module(f"tinywasm.cli.{module}").add_parsers(commands)
    return parser, commands


class _Parser(argparse.ArgumentParser):
    """Fails where its help cannot be written, which argparse passes over."""

    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)


class _Version(argparse._VersionAction):
    """Finds the version out when it is asked for: `importlib.metadata` takes long to load."""

    def __call__(self, *arguments: Any) -> None:
        # As it is: argparse would fill the lines.
        print(_version())
        arguments[0].exit()


def _version() -> str:
    import platform
    from importlib import metadata

    try:
        version = metadata.version("tinywasm")
    except metadata.PackageNotFoundError:
        version = "(not installed)"
    there = " and ".join(each.name for each in IMPLEMENTATIONS.values() if not each.missing)
    missing = [f", no {each.name} one: {each.missing}" for each in IMPLEMENTATIONS.values() if each.missing]
    engines = f"{there} engine{''.join(missing)}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    lines = [f"tinywasm {version} ({python}; {engines})"]
    lines += [_compiler(each.compiler) for each in IMPLEMENTATIONS.values() if each.compiler is not None]
    return "\n".join(lines)


def _compiler(found: Callable[[], str]) -> str:
    try:
        return f"machine code: {found()}"
    except ValueError as missing:
        return f"cannot make machine code: {missing}"
