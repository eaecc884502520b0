"""The prompt: one line calls one function, ``q`` or the end of input ends it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator

from schannel.messages import ErrorCode

from .errors import ArgumentError, RequestFailed
from .session import Session
from .values import FunctionType, format_value, printable

PROMPT = "input> "
_QUIT = "q"
_TRAPS = (ErrorCode.TRAP, ErrorCode.STACK_EXHAUSTED, ErrorCode.OUT_OF_FUEL, ErrorCode.INTERRUPTED)


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
        cells = (printable(function.name), " ".join(function.params), " ".join(function.results))
        table.add_row(*map(Text, cells))
    Console().print(table)


def run(session: Session, *, verbose: bool = False) -> int:
    """Read lines and answer them until ``q`` or the end of input; returns the number of errors.

    Raises:
        ConnectionLost: the session is over.
    """
    lines = _typed_lines(session) if interactive() else _piped_lines()
    errors = 0
    for line in lines:
        try:
            output = _evaluate(session, line)
        except ArgumentError as error:
            _print_error(str(error))
        except RequestFailed as error:
            _print_failure(error, verbose)
        else:
            if output is not None:
                print(f"output> {output}".rstrip(), flush=True)
            continue
        errors += 1
    return errors


def _piped_lines() -> Iterator[str]:
    for line in sys.stdin:
        if line.strip() == _QUIT:
            return
        yield line


def _typed_lines(session: Session) -> Iterator[str]:
    read = _terminal_reader([function.name for function in session.functions()])
    while True:
        try:
            line = read()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if line.strip() == _QUIT:
            return
        yield line


def _terminal_reader(names: list[str]) -> Callable[[], str]:
    # As above: slow to import, and of use to nobody but a person.
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    completer = WordCompleter([*names, _QUIT], sentence=True)
    prompt: PromptSession[str] = PromptSession(PROMPT, completer=completer, complete_while_typing=False)
    return prompt.prompt


def _evaluate(session: Session, line: str) -> str | None:
    """The results of the call in a line; None for an empty line."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ArgumentError(f"the line cannot be read: {str(error).lower()}") from error
    if not words:
        return None
    function = session.function(words[0])
    arguments = function.arguments_from_text(words[1:])
    return " ".join(map(format_value, session.call_values(function.name, arguments)))


def _print_error(text: str) -> None:
    print(f"error> {printable(text)}", flush=True)


def _print_failure(error: RequestFailed, verbose: bool) -> None:
    _print_error(f"trap: {error}" if error.code in _TRAPS else str(error))
    for frame in error.backtrace if verbose else ():
        name = frame.function_name or f"function {frame.function_index}"
        place = printable(f"{frame.module or '<module>'}!{name} at offset {frame.offset:#x}")
        print(f"  {place}", flush=True)
