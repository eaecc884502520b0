"""What a host function's `RecursionError` means."""

from __future__ import annotations

from types import TracebackType


def used_up_by_nesting(error: RecursionError, nested: int) -> bool:
    """Whether Wasm and host functions that call each other used up Python's stack.

    They did where the host function that raised stands on fewer calls of its own than on `nested` calls
    into Wasm; otherwise it is its own recursion, and its own error.
    """
    own = 0
    trace: TracebackType | None = error.__traceback__
    while trace is not None and own < nested:
        own += 1
        trace = trace.tb_next
    return own < nested
