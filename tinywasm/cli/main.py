"""The command line: its grammar, and what becomes of errors."""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata

from tinywasm.cli import completion, inspection, modules, objdump, repl, run, wast
from tinywasm.cli.failures import failure
from tinywasm.engine import IMPLEMENTATIONS
from tinywasm.errors import Trap, WasmError, WasmException

# What a shell reports of a process that `abort` ended, and what wasmtime's command line answers to a trap.
TRAPPED = 134


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` default to those of the process. Returns the exit status.

    A program's own for `run`. Otherwise 1 after an error and 134 after a trap, both told on the standard
    error stream, 2 for wrong usage, 130 after Ctrl-C.
    """
    _open_streams()
    options = _parse(sys.argv[1:] if arguments is None else list(arguments))
    try:
        status: int = options.command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read our output has left. Python flushes once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (WasmError, OSError, ValueError, OverflowError, MemoryError) as error:
        print("\n".join(failure(error)), file=sys.stderr)
        return TRAPPED if isinstance(error, Trap | WasmException) else 1
    except KeyboardInterrupt:
        return 130


def _open_streams() -> None:
    """Standard streams that this process was started without lead nowhere.

    What a stream's encoding lacks is escaped: a module's names are no reason to fail.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tinywasm", description="A WebAssembly runtime in Python.")
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run_parser = run.add_parser(commands)
    modules.add_parsers(commands)
    inspection.add_parser(commands)
    objdump.add_parser(commands)
    wast.add_parser(commands)
    repl.add_parser(commands)
    completion.add_parser(commands, parser)
    if words[:1] != ["run"]:
        return parser.parse_args(words)
    ours, program = run.split_words(run_parser, words[1:])
    options = parser.parse_args(["run", *ours])
    options.arguments = program
    return options


def _version() -> str:
    try:
        version = metadata.version("tinywasm")
    except metadata.PackageNotFoundError:
        version = "(not installed)"
    there = " and ".join(each.name for each in IMPLEMENTATIONS.values() if not each.missing)
    missing = [f", no {each.name} one: {each.missing}" for each in IMPLEMENTATIONS.values() if each.missing]
    engines = f"{there} engine{''.join(missing)}"
    return f"tinywasm {version} ({platform.python_implementation()} {platform.python_version()}; {engines})"
