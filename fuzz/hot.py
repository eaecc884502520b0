"""Lets functions of the python engine become Python functions sooner than they do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from tinywasm.engine.python import bind

# Before the first call.
AT_ONCE = -1


@contextmanager
def hot_after(times: int) -> Iterator[None]:
    """While it lasts, functions that are made ready are hot after so many calls and turns of their loops."""
    with patch.object(bind, "HOT", times):
        yield
