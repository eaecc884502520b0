"""The command line: from its words to the exit status."""

from __future__ import annotations

import argparse
import atexit
import gc
import io
import os
import sys
from collections.abc import Sequence

from tinywasm.cli.failures import failure
from tinywasm.cli.grammar import COMMANDS, grammar
from tinywasm.errors import Trap, WasmError, WasmException

# What a shell reports of a process that `abort` ended, and what wasmtime's command line answers to a trap.
TRAPPED = 134


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` default to those of the process. Returns the exit status.

    A program's own for `run`. Otherwise 1 after an error and 134 after a trap, both told on the standard
    error stream, 2 for wrong usage, 130 after Ctrl-C.
    """
    try:
        _open_streams()
        if arguments is None:
            # The process ends with this command: the collector need not look through everything again.
            atexit.register(gc.freeze)
        try:
            options = _parse(sys.argv[1:] if arguments is None else list(arguments))
        finally:
            # Help and the version leave here, and may not fit either.
            sys.stdout.flush()
        status: int = options.command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read our output has left.
        _flush_or_drop()
        return 1
    except (WasmError, OSError, ValueError, OverflowError, MemoryError) as error:
        print("\n".join(failure(error)), file=sys.stderr)
        _flush_or_drop()
        return TRAPPED if isinstance(error, Trap | WasmException) else 1
    except KeyboardInterrupt:
        return 130


def _open_streams() -> None:
    """Streams that this process was started without: input has ended, and output cannot be written.

    Messages lead nowhere, since nobody can be told.
    What a stream's encoding lacks is escaped: a module's names are no reason to fail.
    """
    streams = (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY))
    for name, mode, access in streams:
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, access), mode))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush_or_drop() -> None:
    """What cannot be written goes nowhere: Python tries once more at exit, and would show its own error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(words: list[str]) -> argparse.Namespace:
    command = words[0] if words else ""
    parser, commands = grammar([command] if command in COMMANDS else COMMANDS)
    if command != "run":
        return parser.parse_args(words)
    from tinywasm.cli.run import split_words

    ours, program = split_words(commands.choices["run"], words[1:])
    options = parser.parse_args(["run", *ours])
    options.arguments = program
    return options
