"""`tinywasm repl`: a dialogue that calls the functions of a module."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tinywasm.cli.failures import failure
from tinywasm.cli.inspection import export_lines
from tinywasm.cli.launch import Launch, add_instance_options
from tinywasm.cli.lines import last_word, reader
from tinywasm.cli.options import Subparsers, add_command, add_file
from tinywasm.cli.output import HEX_LINE, hex_line
from tinywasm.cli.value_text import parse_arguments, written
from tinywasm.errors import WasmError
from tinywasm.raw import invoke

PROMPT = "> "
_MOST_BYTES = 1 << 16


class _Quit(Exception):
    """The dialogue is over."""


def add_parsers(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "repl",
        "call functions of a module in a dialogue",
        "A line is the name of a function and its arguments; :help tells the rest.",
    )
    add_file(parser)
    add_instance_options(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    with Session(options) as session:
        read = reader(PROMPT, session)
        while True:
            try:
                session.answer(read())
            except (EOFError, _Quit):
                return 0
            except KeyboardInterrupt:
                print("interrupted", file=sys.stderr)
            # Whatever a line did wrong, the next one may be right.
            except (WasmError, ValueError, OSError, MemoryError) as error:
                print("\n".join(failure(error)), file=sys.stderr)
            sys.stdout.flush()


class Session:
    """The instance at hand, and the commands."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._launch = Launch(options, options.file)
        self._commands: dict[str, tuple[str, str, Callable[[Sequence[str]], None]]] = {
            ":exports": ("", "list what the module exports, with types", self._exports),
            ":help": ("", "show this", self._help),
            ":load": ("FILE", "go on with another module, or the same one anew", self._load),
            ":memory": (
                "ADDR LEN [NAME]",
                "show bytes of a memory, the first one or an export",
                self._memory,
            ),
            ":quit": ("", "end the dialogue, as the end of input does", self._quit),
        }

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self._launch.close()

    def answer(self, line: str) -> None:
        """Do what a line says, and print the answer. Raises `ValueError` and what a call raises."""
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise ValueError(f"the line cannot be read: {str(error).lower()}") from None
        if not words:
            return
        name, arguments = words[0], words[1:]
        if name.startswith(":") and name not in self._launch.instance.exports:
            if name not in self._commands:
                raise ValueError(f"no command {name}; the commands are {', '.join(self._commands)}")
            self._commands[name][2](arguments)
        else:
            self._evaluate(name, arguments)

    def _evaluate(self, name: str, words: Sequence[str]) -> None:
        export: Any = self._launch.instance.exports.get(name)
        if export is not None and export.kind == "global":
            if words:
                raise ValueError(f"{name} is a global and takes no arguments")
            content = export.type.content
            print(f"{written(content, export.value)} : {content}")
            return
        functions = self._launch.functions()
        if name not in functions:
            raise ValueError(
                f"no exported function or global {name!r}; :exports lists them, :help the commands"
            )
        type = functions[name].signature
        raw = invoke(self._launch.store, functions[name], parse_arguments(type, words))
        for result, value in zip(type.results, raw, strict=True):
            print(f"{written(result, value)} : {result}")

    # Commands

    def _help(self, words: Sequence[str]) -> None:
        print("NAME ARG ...             call an exported function, or show an exported global")
        for name, (arguments, about, _) in self._commands.items():
            print(f"{f'{name} {arguments}':<24} {about}")
        print("Numbers are decimal or 0x hexadecimal, floats also inf and nan; a v128 is 0x and 32 digits,")
        print("or lanes as in i32x4:1,2,3,4; a null reference is null. Names with blanks go into quotes.")

    def _exports(self, words: Sequence[str]) -> None:
        for line in export_lines(self._launch.module):
            print(line)

    def _load(self, words: Sequence[str]) -> None:
        if len(words) != 1:
            raise ValueError("usage: :load FILE")
        launch = Launch(self._options, Path(words[0]))
        self._launch.close()
        self._launch = launch

    def _memory(self, words: Sequence[str]) -> None:
        if not 2 <= len(words) <= 3:
            raise ValueError("usage: :memory ADDR LEN [NAME]")
        try:
            address, length = (int(word, 0) for word in words[:2])
        except ValueError:
            raise ValueError("an address and a length are decimal or 0x hexadecimal numbers") from None
        data = self._bytes_of(words[2:])
        if not 0 <= length <= _MOST_BYTES:
            raise ValueError(f"a length is at most {_MOST_BYTES}")
        if not 0 <= address <= len(data) - length:
            raise ValueError(
                f"{address:#x} and {length} bytes are outside of the memory of {len(data)} bytes"
            )
        for start in range(address, address + length, HEX_LINE):
            print(hex_line(start, bytes(data[start : min(start + HEX_LINE, address + length)])))

    def _bytes_of(self, name: Sequence[str]) -> memoryview | bytearray:
        instance = self._launch.instance
        memory: Any = instance.exports.get(name[0]) if name else next(iter(instance.memories), None)
        if memory is None or memory.kind != "memory":
            raise ValueError(f"no exported memory {name[0]!r}" if name else "the module has no memory")
        data: memoryview | bytearray = memory.data
        return data

    def _quit(self, words: Sequence[str]) -> None:
        raise _Quit

    # What helps who types (see `lines.Guide`)

    def completions(self, before: str) -> list[tuple[str, str]]:
        word = last_word(before)
        if before.strip() != word or (before and not word):
            return []
        exports = [(shlex.quote(name), about) for name, about in self._callable()]
        commands = [(name, about) for name, (_, about, _) in self._commands.items()]
        return [(name, about) for name, about in [*exports, *commands] if name.startswith(word)]

    def hint(self, line: str) -> str:
        name = (line.split() or [""])[0]
        if name in self._commands:
            arguments, about, _ = self._commands[name]
            return f"{name} {arguments}: {about}"
        return dict(self._callable()).get(name, ":help tells what can be typed here")

    def _callable(self) -> list[tuple[str, str]]:
        found = []
        for name, export in self._launch.instance.exports.items():
            if export.kind in ("func", "global"):
                type = export.type
                found.append((name, str(getattr(type, "composite", type))))
        return found
