"""`tinywasm run`: a WASI command, or one function of a module."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from tinywasm.cli.launch import Launch, TimeLimit, add_instance_options
from tinywasm.cli.options import Subparsers, actions_of, add_command, add_file, fuel, seconds
from tinywasm.cli.output import as_json, printable, table
from tinywasm.engine import backend
from tinywasm.errors import ExitTrap
from tinywasm.raw import FuncInstance, Profile, Record, invoke

_START = "_start"
# A module that is no command may export this; it must run before anything else (the WASI application ABI).
_INITIALIZE = "_initialize"


def add_parsers(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "run",
        "run a program, or call a function of a module",
        "Without --invoke the function _start is called, as WASI commands export it, and the status is the"
        " program's. Options stand before FILE or directly behind it; what follows them is the program's,"
        " or the arguments of the function. -- ends the options.",
    )
    parser.usage = "tinywasm run [OPTION ...] FILE [OPTION ...] [ARG ...]"
    parser.allow_abbrev = False
    add_file(parser)
    parser.add_argument("--invoke", metavar="NAME", help="the exported function to call")
    add_instance_options(parser)
    parser.add_argument("--fuel", type=fuel, metavar="N", help="trap after this many instructions")
    parser.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="trap after this much time, loading included"
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="show calls and instructions of each function on the standard error stream at the end",
    )
    parser.add_argument(
        "--stats",
        action="store_true",
        help="show on the standard error stream at the end what was compiled, and what was not and why",
    )
    parser.add_argument("--json", action="store_true", help="print results, and the profile, as JSON")
    parser.set_defaults(command=run, arguments=[])


def split_words(parser: argparse.ArgumentParser, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command line behind `run`, split into what `parser` takes and what is the program's.

    argparse cannot tell the program's options from ours.
    """
    takes_value = {
        name: action.nargs != 0
        for action in actions_of(parser)
        for name in action.option_strings
        if name[:2] == "--"
    }
    ours: list[str] = []
    found, rest = False, list(words)
    while rest:
        word = rest[0]
        name, equals, _ = word.partition("=")
        if word == "--":
            rest.pop(0)
            return (ours, rest) if found else (ours + rest[:1], rest[1:])
        if name in takes_value and not (found and name == "--help"):
            rest.pop(0)
            joined = takes_value[name] and not equals and rest
            # A value that begins with a hyphen is one.
            ours.append(f"{word}={rest.pop(0)}" if joined else word)
        elif found:
            break
        else:
            # A hyphen alone is no option: argparse takes it for FILE.
            found = not word.startswith("-") or word == "-"
            ours.append(rest.pop(0))
    return ours, rest


def run(options: argparse.Namespace) -> int:
    profile = Profile() if options.profile else None
    try:
        with TimeLimit(options.timeout) as limit:
            return _run(options, profile, limit)
    except ExitTrap as exit:
        # The system keeps 8 bits, and a failure must not become success.
        return min(exit.exit_code, 255)
    finally:
        if profile is not None:
            sys.stdout.flush()
            print("\n".join(_profile_lines(profile, options.json)), file=sys.stderr)


def _run(options: argparse.Namespace, profile: Profile | None, limit: TimeLimit) -> int:
    arguments: list[str] = options.arguments
    program = [] if options.invoke else arguments
    with Launch(options, options.file, program, limit=limit, fuel=options.fuel, profile=profile) as launch:
        try:
            return _start(options, launch)
        finally:
            if options.stats:
                sys.stdout.flush()
                print("\n".join(backend(launch.store).statistics()), file=sys.stderr)


def _start(options: argparse.Namespace, launch: Launch) -> int:
    arguments: list[str] = options.arguments
    functions = launch.functions()
    if options.invoke is None and _START in functions:
        _call(launch, functions[_START], [])
        return 0
    if options.invoke is None and arguments:
        raise ValueError("arguments need a function: --invoke NAME")
    if _INITIALIZE in functions and options.invoke != _INITIALIZE:
        invoke(launch.store, functions[_INITIALIZE], [])
    if options.invoke is not None:
        _invoke(launch, find(functions, options.invoke), arguments, options.json)
    elif launch.module.syntax.start is None:
        _note_idle(functions)
    return 0


def _note_idle(functions: dict[str, FuncInstance]) -> None:
    names = ", ".join(map(printable, functions))
    how = f"call one of its functions with --invoke NAME: {names}" if names else "nor any other function"
    print(f"tinywasm: note: the module exports no {_START}; {how}", file=sys.stderr)


def find(functions: dict[str, FuncInstance], name: str) -> FuncInstance:
    """The function `name`. Raises `ValueError` with the names that there are."""
    if name not in functions:
        names = ", ".join(map(printable, functions))
        raise ValueError(f"no exported function {name!r}; the module exports {names or 'no functions'}")
    return functions[name]


def _call(launch: Launch, function: FuncInstance, words: Sequence[str]) -> list[Any]:
    """The raw results."""
    type = function.signature
    # Reading values takes the text format, and programs begin without any.
    if not words and not type.params:
        return invoke(launch.store, function, [])
    from tinywasm.cli.value_text import parse_arguments

    return invoke(launch.store, function, parse_arguments(type, words))


def _invoke(launch: Launch, function: FuncInstance, words: Sequence[str], json: bool) -> None:
    from tinywasm.cli.value_text import json_value, written

    pairs = list(zip(function.signature.results, _call(launch, function, words), strict=True))
    if json:
        print(as_json([json_value(*pair) for pair in pairs]))
    else:
        for pair in pairs:
            print(written(*pair))


def _profile_lines(profile: Profile, json: bool) -> list[str]:
    records = profile.records()
    if json:
        return [as_json([_entry(record) for record in records])]
    executed = sum(record.own for record in records) or 1
    rows = [
        [
            str(record.calls),
            str(record.own),
            f"{100 * record.own / executed:.1f}%",
            "" if record.total is None else str(record.total),
            printable(_title(record)),
        ]
        for record in records
    ]
    return table(("calls", "instructions", "share", "and callees", "function"), rows)


def _title(record: Record) -> str:
    return record.func.name or f"function {record.func.index}"


def _entry(record: Record) -> dict[str, object]:
    return {
        "function": record.func.name,
        "index": record.func.index,
        "calls": record.calls,
        "self": record.own,
        "total": record.total,
    }
