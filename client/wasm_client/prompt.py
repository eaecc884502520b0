"""The prompt: one line calls one function, ``q`` or the end of input ends it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from schannel.command_line import printable
from schannel.messages import ErrorCode, ExportInfo
from schannel.types import kind_name
from schannel.whole_files import LARGEST, read_whole

from .errors import ArgumentError, RequestFailed
from .kept import NO_KEY, KeptPrograms, forget
from .operations import DEFAULT_MODULE
from .places import history_path
from .session import Session
from .values import FunctionType, format_value, parse_address

PROMPT = "input> "
_QUIT = "q"
_TRAPS = (ErrorCode.TRAP, ErrorCode.STACK_EXHAUSTED, ErrorCode.OUT_OF_FUEL, ErrorCode.INTERRUPTED)
_HELP = """\
FUNCTION ARGUMENT ...     call a function; MODULE/FUNCTION for another module's
                          numbers: 42 -1 0xff 1.5 0x1p-3 inf nan
                          &TEXT, &@FILE: two arguments, address and size of bytes put into memory
:exports [MODULE]         what a module exports
:load FILE [MODULE]       send another program
:read ADDRESS SIZE        show bytes of memory
:write ADDRESS TEXT|@FILE put bytes into memory
:info                     versions, engine, modules
:receipt [FILE]           an attested receipt of the latest call, shown or saved
:forget NAME              have a program removed that is kept for this client
:help                     this
q                         end"""


def interactive() -> bool:
    """Whether a person sits at both ends of this process."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def list_functions(functions: list[FunctionType]) -> None:
    """Show what can be called."""
    if not functions:
        print("the program exports no functions")
    elif interactive():
        _print_table(functions)
    else:
        print("functions:", *(f"  {function}" for function in functions), sep="\n")


def _print_table(functions: list[FunctionType]) -> None:
    # Only people at a terminal wait for this import.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("function", "parameters", "results", box=None, pad_edge=False)
    for function in functions:
        params, results = (" ".join(map(str, types)) for types in (function.params, function.results))
        table.add_row(*(Text(printable(cell)) for cell in (function.name, params, results)))
    Console().print(table)


def run(
    session: Session,
    module: str = DEFAULT_MODULE,
    known: KeptPrograms | None = None,
    *,
    verbose: bool = False,
    as_json: bool = False,
) -> int:
    """Read lines and answer them until ``q`` or the end of input; returns the number of errors.

    `module` is meant where a line names none; `known` is what enclaves keep for this client, None where it
    has no key.

    Raises:
        ConnectionLost: the session is over.
    """
    lines = _typed_lines(session, module) if interactive() else _piped_lines()
    errors = 0
    for line in lines:
        try:
            answer = _Line(session, module, known, as_json).evaluate(line)
        except (ArgumentError, _CannotUse) as error:
            _print_error(str(error), as_json, {"error": {"message": str(error)}})
        except RequestFailed as error:
            _print_failure(error, verbose, as_json)
        else:
            if answer is not None:
                print(answer, flush=True)
            continue
        errors += 1
    return errors


class _CannotUse(Exception):
    """A file that a line names cannot be read or written."""


def _piped_lines() -> Iterator[str]:
    for line in sys.stdin:
        if line.strip() == _QUIT:
            return
        yield line


def _typed_lines(session: Session, module: str) -> Iterator[str]:
    read = _terminal_reader(session, module)
    print(":help lists the commands, q ends")
    while True:
        try:
            line = read()
        except KeyboardInterrupt:
            print(f"({_QUIT} ends)")
            continue
        except EOFError:
            return
        if line.strip() == _QUIT:
            return
        yield line


def _terminal_reader(session: Session, module: str) -> Callable[[], str]:
    # As above: slow to import, and of use to nobody but a person.
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    signatures = {printable(function.name): str(function) for function in session.functions(module)}
    commands = {
        line.split()[0]: " ".join(line.split()[1:]) for line in _HELP.splitlines() if line.startswith(":")
    }
    completer = WordCompleter(
        [*signatures, *commands, _QUIT], meta_dict={**signatures, **commands}, sentence=True
    )
    history: History = InMemoryHistory()
    try:
        history_path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        history_path().touch(mode=0o600)
        history = FileHistory(str(history_path()))
    except OSError as error:
        print(f"the history is not kept: {error.strerror}", file=sys.stderr)
    prompt: PromptSession[str] = PromptSession(
        PROMPT, completer=completer, complete_while_typing=False, history=history
    )
    return prompt.prompt


class _Line:
    """What one line asks for, and the answer as it is printed; None for an empty line."""

    def __init__(self, session: Session, module: str, known: KeptPrograms | None, as_json: bool) -> None:
        self._session = session
        self._module = module
        self._known = known
        self._as_json = as_json

    def evaluate(self, line: str) -> str | None:
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise ArgumentError(f"the line cannot be read: {str(error).lower()}") from error
        if not words:
            return None
        if words[0].startswith(":"):
            return self._command(words[0], words[1:])
        return self._call(words[0], words[1:])

    def _call(self, name: str, words: list[str]) -> str:
        module, function = self._find(name)
        expanded = [part for word in words for part in self._expand(module, word)]
        arguments = function.arguments_from_text(expanded)
        values = self._session.call_values(function.name, arguments, module)
        if not self._as_json:
            return f"output> {' '.join(map(format_value, values))}".rstrip()
        shown = [{"type": str(value.type), "value": format_value(value)} for value in values]
        return json.dumps({"function": function.name, "results": shown})

    def _find(self, name: str) -> tuple[str, FunctionType]:
        module, slash, function = name.partition("/")
        if slash and name not in {known.name for known in self._session.functions(self._module)}:
            return module, self._session.function(function, module)
        return self._module, self._session.function(name, self._module)

    def _expand(self, module: str, word: str) -> list[str]:
        """An argument; ``&`` stands for the address and size of a buffer."""
        if not word.startswith("&"):
            return [word]
        data = _data(word[1:])
        return [str(self._session.buffer(data, module)), str(len(data))]

    def _command(self, name: str, words: list[str]) -> str | None:
        commands: dict[str, tuple[Callable[..., str], int, int]] = {
            ":help": (lambda: _HELP, 0, 0),
            ":exports": (self._exports, 0, 1),
            ":load": (self._load, 1, 2),
            ":read": (self._read, 2, 2),
            ":write": (self._write, 2, 2),
            ":info": (self._info, 0, 0),
            ":receipt": (self._receipt, 0, 1),
            ":forget": (self._forget, 1, 1),
        }
        if name not in commands:
            raise ArgumentError(f"unknown command {name}: the commands are {', '.join(commands)}")
        command, least, most = commands[name]
        if not least <= len(words) <= most:
            raise ArgumentError(f"{name} takes {least} to {most} arguments, not {len(words)}")
        return command(*words)

    def _exports(self, module: str = "") -> str:
        exports = self._session.info(module or self._module).exports
        return self._shown(
            [{"name": item.name, "kind": kind_name(item.type), "type": str(item.type)} for item in exports],
            [f"{printable(item.name)}: {_export_type(item)}" for item in exports],
        )

    def _load(self, path: str, module: str = "") -> str:
        module = module or self._module
        digest = self._session.deploy(_read_file(path), module).hex()
        functions = self._session.functions(module)
        return self._shown({"module": module, "sha256": digest}, [f"{module}: {item}" for item in functions])

    def _read(self, address: str, size: str) -> str:
        data = self._session.read_memory(parse_address(address), parse_address(size), self._module)
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
        return self._shown({"bytes": data.hex()}, [f"output> {data.hex()} {shown}"])

    def _write(self, address: str, text: str) -> str:
        data = _data(text)
        self._session.write_memory(parse_address(address), data, self._module)
        return self._shown({"written": len(data)}, [f"output> {len(data)} bytes written"])

    def _info(self) -> str:
        info = self._session.info()
        shown = {"version": info.version, "engine": info.engine, "modules": list(info.modules)}
        return self._shown(
            shown, [printable(f"version {info.version}, engine {info.engine}"), _modules(info.modules)]
        )

    def _receipt(self, path: str = "") -> str:
        receipt = self._session.receipt()
        if path:
            try:
                Path(path).write_text(receipt.to_json() + "\n", encoding="utf-8")
            except OSError as error:
                raise _CannotUse(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
        shown = receipt.describe()
        lines = [
            f"{name.replace('_', ' '):>10}: {printable(_joined(value))}" for name, value in shown.items()
        ]
        return self._shown(shown, [f"saved to {path}"] if path else lines)

    def _forget(self, label: str) -> str:
        if self._known is None:
            raise ArgumentError(NO_KEY)
        forget(self._session, self._known, label)
        return self._shown({"forgotten": label}, [f"{label} is kept no more"])

    def _shown(self, fields: Any, lines: list[str]) -> str:
        return json.dumps(fields) if self._as_json else "\n".join(lines)


def _export_type(export: ExportInfo) -> str:
    kind, shown = kind_name(export.type), printable(str(export.type))
    # A function's type says itself what it is.
    return shown if shown.startswith(f"({kind}") else f"{kind} {shown}"


def _modules(names: tuple[str, ...]) -> str:
    return f"modules: {', '.join(map(printable, names)) or 'none'}"


def _joined(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _data(text: str) -> bytes:
    return _read_file(text[1:]) if text.startswith("@") else text.encode("utf-8", "surrogateescape")


def _read_file(path: str) -> bytes:
    try:
        if Path(path).exists() and not Path(path).is_file():
            # A device may have no end.
            raise _CannotUse(f"cannot read {path}: not a file")
        return read_whole(path, LARGEST)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise _CannotUse(f"cannot read {path}: {reason}") from error


def _print_error(text: str, as_json: bool, fields: dict[str, Any]) -> None:
    print(json.dumps(fields) if as_json else f"error> {printable(text)}", flush=True)


def _print_failure(error: RequestFailed, verbose: bool, as_json: bool) -> None:
    _print_error(told(error), as_json, error_fields(error))
    if verbose and not as_json:
        print(*backtrace_lines(error), sep="\n", flush=True)


def told(error: RequestFailed) -> str:
    """An error of the enclave's as people are told it."""
    return f"trap: {error}" if error.code in _TRAPS else str(error)


def error_fields(error: RequestFailed) -> dict[str, Any]:
    """An error of the enclave's as JSON shows it."""
    return {
        "error": {
            "code": error.code.name.lower(),
            "message": str(error),
            "backtrace": [line.strip() for line in backtrace_lines(error)],
        }
    }


def backtrace_lines(error: RequestFailed) -> list[str]:
    """A trap's backtrace, innermost frame first."""
    lines = []
    for frame in error.backtrace:
        name = frame.function_name or f"function {frame.function_index}"
        lines.append("  " + printable(f"{frame.module or '<module>'}!{name} at offset {frame.offset:#x}"))
    return lines
