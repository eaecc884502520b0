"""The way out of long work on what a stranger wrote: reading, validating, linking and lowering modules.

A limit of time is a flag, which a timer's thread or a signal handler sets, and which whoever works long has
to look at. `obeying` says what to look at, for all that this thread does meanwhile, so that it need not be
handed through every reader and rule.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

_T = TypeVar("_T")

# Small pieces of work, of microseconds each, between two looks; a power of two.
STEPS: Final = 256


class _Here(threading.local):
    look: Callable[[], None] | None = None


_here = _Here()


@contextmanager
def obeying(look: Callable[[], None]) -> Iterator[None]:
    """While this lasts, long work of this thread calls `look` now and then; what that raises ends it."""
    before, _here.look = _here.look, look
    try:
        yield
    finally:
        _here.look = before


def look() -> None:
    """Raises whatever is to end long work of this thread."""
    if _here.look is not None:
        _here.look()


def watched(items: Iterable[_T]) -> Iterator[_T]:
    """The items, with a look before each of `STEPS`."""
    for index, item in enumerate(items):
        if index % STEPS == 0:
            look()
        yield item
