"""The way out of long work on what a stranger wrote: reading, validating, linking and lowering modules.

A limit of time is a flag, which a timer's thread or a signal handler sets, and which whoever works long has
to look at. `obeying` says what to look at, for all that this thread does meanwhile, so that it need not be
handed through every reader and rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

_T = TypeVar("_T")

# Small pieces of work, of microseconds each, between two looks; a power of two.
STEPS: Final = 256


# Each greenlet has one of its own, so that those which take turns leave nothing behind for each other.
_looking: ContextVar[Callable[[], None] | None] = ContextVar("looking", default=None)


@contextmanager
def obeying(look: Callable[[], None]) -> Iterator[None]:
    """While this lasts, long work of this thread calls `look` now and then; what that raises ends it."""
    before = _looking.get()
    _looking.set(look)
    try:
        yield
    finally:
        _looking.set(before)


def look() -> None:
    """Raises whatever is to end long work of this thread."""
    if (ask := _looking.get()) is not None:
        ask()


def watched(items: Iterable[_T]) -> Iterator[_T]:
    """The items, with a look before each of `STEPS`."""
    for index, item in enumerate(items):
        if index % STEPS == 0:
            look()
        yield item
