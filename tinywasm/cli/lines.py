"""Where the lines of a dialogue come from: prompt_toolkit, readline, or any stream."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prompt_toolkit.completion import CompleteEvent, Completion
    from prompt_toolkit.document import Document


class Guide(Protocol):
    """What helps who types."""

    def completions(self, before: str) -> list[tuple[str, str]]:
        """What the word at the end of `before` may become, each with a few words about it."""

    def hint(self, line: str) -> str:
        """A line about what is being typed."""


def reader(prompt: str, guide: Guide) -> Callable[[], str]:
    """A function that reads a line. It raises `EOFError` at the end, and `KeyboardInterrupt` on Ctrl-C."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _plain
    try:
        return _with_prompt_toolkit(prompt, guide)
    except ImportError:
        return _with_readline(prompt, guide)


def _plain() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def last_word(before: str) -> str:
    """What stands behind the last blank."""
    return before.rpartition(" ")[2]


def _with_prompt_toolkit(prompt: str, guide: Guide) -> Callable[[], str]:
    # Not needed, and slow to import.
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import get_app
    from prompt_toolkit.completion import Completer, Completion

    class Words(Completer):
        def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
            before = document.text_before_cursor
            for text, about in guide.completions(before):
                yield Completion(text, -len(last_word(before)), display_meta=about)

    def toolbar() -> str:
        return guide.hint(get_app().current_buffer.text)

    session: PromptSession[str] = PromptSession(prompt, completer=Words(), bottom_toolbar=toolbar)
    return session.prompt


def _with_readline(prompt: str, guide: Guide) -> Callable[[], str]:
    try:
        import readline
    except ImportError:
        return lambda: input(prompt)

    found: list[str] = []

    def complete(text: str, state: int) -> str | None:
        if state == 0:
            before = readline.get_line_buffer()[: readline.get_endidx()]
            found[:] = [word for word, _ in guide.completions(before)]
        return found[state] if state < len(found) else None

    readline.set_completer_delims(" ")
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
    return lambda: input(prompt)
