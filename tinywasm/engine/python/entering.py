"""Where the reference goes over to Python functions: at calls, and at the heads of loops that run.

What makes those functions is loaded when the first one is hot.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tinywasm.engine.python import bind
from tinywasm.engine.recursion import ROOM_SHIFT, SMALL_FRAME, STACK_SLOTS
from tinywasm.loading import loading
from tinywasm.runtime.calls import Call
from tinywasm.runtime.func import FuncInstance

if TYPE_CHECKING:
    from tinywasm.engine.python.backend import PythonBackend
    from tinywasm.engine.python.bind import Block, Code

# Where fewer Python functions can be under way, none is worth it.
_LEAST = 16


def levels(call: Call) -> int:
    """How many Python functions the call may have under way: each may take two frames of Python's stack, and
    all together no more than half of it, so that host functions have theirs."""
    own, frame = 0, sys._getframe()
    while frame.f_back is not None:
        own, frame = own + 1, frame.f_back
    if not call.python_stack:
        call.python_stack = (sys.getrecursionlimit() + own) // 2
    return max(0, (call.python_stack - own) // 2)


def _room(backend: PythonBackend, most: int, depth: int, start: int) -> int:
    """How many Python functions may be under way, the first as activation `depth`, its frame at `start`."""
    slots = min(STACK_SLOTS - start, 1 << ROOM_SHIFT)
    room = min(most, backend.config.max_call_depth - depth, slots // SMALL_FRAME)
    return room if room >= _LEAST else 0


@cache
def _source() -> tuple[ModuleType, ModuleType]:
    with loading:
        from tinywasm.engine.source import running, tier
    return running, tier


def function(
    backend: PythonBackend,
    call: Call,
    func: FuncInstance,
    code: Code,
    args: list[Any],
    depth: int,
    start: int,
    most: int,
) -> list[Any] | None:
    """The results of a hot function, called as activation `depth` with its frame at slot `start`, where at
    most `most` Python functions may be under way.

    None where the reference is to run it.
    """
    room = _room(backend, most, depth, start)
    if not room:
        return None
    running, tier = _source()
    fast = code.fast or tier.of(func).heat(func, code)
    if fast is None:
        return None
    results: list[Any] = running.enter(backend, call, func, fast, args, depth, start, room)
    return results


def loop(
    backend: PythonBackend, call: Call, block: Block, frame: list[Any], depth: int, start: int, most: int
) -> Callable[[], list[Any]] | None:
    """What runs the rest of a function whose loop is hot, from its head `block` on; as `function`."""
    func: Any = block.func
    code: Code = func.code
    room = _room(backend, most, depth, start)
    if not room:
        # The head is asked again at a later turn.
        code.left = bind.LATER
        return None
    running, tier = _source()
    made = tier.of(func).loop(func, code, block.number)
    if made is None:
        return None
    fast, takes = made
    places = {"l": code.locals, "t": 0}
    args = [frame[places[name[0]] + int(name[1:])] for name in takes]
    return lambda: running.enter(backend, call, func, fast, args, depth, start, room)
