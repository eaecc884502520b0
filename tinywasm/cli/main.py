"""The command line: its grammar, and what becomes of errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from tinywasm.cli import modules, wast
from tinywasm.errors import Trap, WasmError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` default to those of the process. Returns the exit status.

    1 after an error, which is a line on the standard error stream, 2 for wrong usage, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read our output has left. Python flushes once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Trap as trap:
        return _fail(f"trap: {trap}")
    except (WasmError, ValueError, OverflowError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130


def _fail(message: str) -> int:
    print(f"tinywasm: {message}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tinywasm", description="A WebAssembly runtime in Python.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    wast.add_parser(commands)
    modules.add_parsers(commands)
    return parser
