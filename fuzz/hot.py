"""Lets functions become Python functions, or machine code, sooner than they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from tinywasm.engine.ir.form import Form
from tinywasm.engine.python import heat

# Before the first call.
AT_ONCE = -1


@contextmanager
def hot_after(times: int, chosen: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """While it lasts, functions that are made ready are hot after so many calls and turns of their loops, if
    they are chosen."""
    usual = heat.calls

    def calls(code: Form) -> int:
        return usual(code) if chosen() else heat.NEVER

    with patch.multiple(heat, HOT=times, calls=calls):
        yield


@contextmanager
def compiled_after(looks: int, words: int, again: int | None = None) -> Iterator[None]:
    """While it lasts, functions that are made ready on the tier "auto" are compiled when so many looks have
    met them, in that moment and in that thread, and with more effort after `again` looks, or as many as
    usual; there is a look after so many words."""
    from tinywasm.engine.llvm import auto, background

    with (
        looking_after(words),
        patch.multiple(auto, HOT=looks, FIRST=0, LATE=0, HOT_AGAIN=again or auto.HOT_AGAIN),
        patch.object(background, "do", _at_once),
    ):
        yield


@contextmanager
def looking_after(words: int) -> Iterator[None]:
    """While it lasts, runs of the native engine have a look after so many words."""
    from tinywasm.engine.native import _loop

    _loop.look_after(words)
    try:
        yield
    finally:
        _loop.look_after(0)


def _at_once(method: Callable[[Any], None], argument: Any, *, urgent: bool = True) -> None:
    method(argument)
