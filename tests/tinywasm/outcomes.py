"""What comes of a call, for tests that compare tiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinywasm import Trap, WasmException


def outcome(call: Callable[[], Any]) -> Any:
    """What comes of a call, with the functions of a trap's backtrace and where they were."""
    try:
        return call()
    except Trap as trap:
        return trap.code, trap.message, [(frame.func_index, frame.func_offset) for frame in trap.frames]
    except WasmException as thrown:
        return list(thrown.values)
