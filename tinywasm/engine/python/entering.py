"""Where the reference goes over to Python functions: at calls, and at the heads of loops that run.

What makes those functions is loaded when the first one is hot.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

from tinywasm.engine.python import heat
from tinywasm.engine.recursion import ROOM_SHIFT, SMALL_FRAME, STACK_SLOTS
from tinywasm.loading import loading
from tinywasm.runtime.calls import Call
from tinywasm.runtime.func import FuncInstance

if TYPE_CHECKING:
    from tinywasm.engine.python.backend import PythonBackend
    from tinywasm.engine.python.bind import Block, Code
    from tinywasm.engine.source.tier import Tier

# Where fewer Python functions can be under way, none is worth it.
_LEAST = 16
# Beyond, slots would not be counted in so few bits.
MOST = (1 << ROOM_SHIFT) // SMALL_FRAME
# Where more are left than this, frames are not counted that were counted before.
MANY = 40
# So many turns are waited for one of a loop for which a Python function is there.
_MOST_WAITING = 1_000
# A name that the global names have of what calls a host function for Python functions, for their engine.
HOST_CALL = "calls a host function"
# The frames of Python's stack between what `levels` sees and the first Python function, in pairs.
BETWEEN = 2


def levels(backend: PythonBackend, call: Call) -> int:
    """How many Python functions the call may have under way: each may take two frames of Python's stack, and
    all together no more than half of it, so that host functions have theirs."""
    own = _own[call.depth > 0]
    try:
        frame = sys._getframe(own)
    except ValueError:
        return _searched(call)
    if frame.f_globals.get(HOST_CALL) is backend:
        # As many activations as Python functions were possible when the host function was called, or fewer.
        left = backend.hot[1] - call.depth - own // 2 - BETWEEN
        return left if left >= MANY else _searched(call)
    return _left(call, own) if frame.f_back is None else _searched(call)


# How many frames were between `levels` and where it saw how many are left: for calls that nest, and for all
# others. Most often they are as many again, and need not be counted.
_own = [0, 0]


def _searched(call: Call) -> int:
    own, frame = 0, sys._getframe(1)
    while frame.f_back is not None:
        if HOST_CALL in frame.f_globals:
            left = _left_there(frame, own)
            if left >= MANY:
                _own[call.depth > 0] = own
                return left
        own, frame = own + 1, frame.f_back
    _own[call.depth > 0] = own
    return _left(call, own)


def _left_there(frame: FrameType, own: int) -> int:
    """What is left of what a Python function had left that called a host function so many frames ago."""
    place: int = frame.f_locals["p"]
    return (place >> ROOM_SHIFT) - own // 2 - BETWEEN


def _left(call: Call, own: int) -> int:
    if not call.python_stack:
        call.python_stack = (sys.getrecursionlimit() + own) // 2
    return max(0, (call.python_stack - own) // 2)


def room(backend: PythonBackend, most: int, depth: int, start: int) -> int:
    """How many Python functions may be under way, the first as activation `depth`, its frame at `start`; 0
    where so few may that the reference is to run the function."""
    deep = backend.config.max_call_depth - depth
    if deep < most:
        most = deep
    if most > MOST or start + most * SMALL_FRAME > STACK_SLOTS:
        most = min(MOST, (STACK_SLOTS - start) // SMALL_FRAME)
    return most if most >= _LEAST else 0


@cache
def _source() -> tuple[ModuleType, ModuleType]:
    with loading:
        from tinywasm.engine.source import running, tier
    return running, tier


def _kept(func: FuncInstance) -> Tier | None:
    """The tier of a function's instance, where a folder has something for that."""
    instance = func.module
    assert instance is not None
    kept = instance.context.compiled.get("source, kept")
    if kept is None or not kept.folder.packed or instance.store.profile is not None:
        return None
    found: Tier = _source()[1].of(func)
    return found


def kept(func: FuncInstance) -> Code | None:
    """What stands for the code of a function whose Python function another process made."""
    tier = _kept(func)
    return tier.kept_code(func) if tier else None


def expect(func: FuncInstance, code: Code) -> None:
    """Have loops entered at once for which another process made Python functions."""
    tier = _kept(func)
    if tier is not None and tier.has_loop(func):
        code.left = code.turns = -1
        code.wait = _MOST_WAITING


def _share(head: Block) -> int:
    share: int = head.steps[0][-1]
    return share


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
    """The results of a hot function; as `way`."""
    rest = way(backend, call, func, code, args, depth, start, most)
    return None if rest is None else rest()


def way(
    backend: PythonBackend,
    call: Call,
    func: FuncInstance,
    code: Code,
    args: list[Any],
    depth: int,
    start: int,
    most: int,
) -> Callable[[], list[Any]] | None:
    """What runs a hot function, called as activation `depth` with its frame at slot `start`, where at most
    `most` Python functions may be under way.

    None where the reference is to run it.
    """
    under_way = room(backend, most, depth, start)
    if not under_way:
        return None
    running, tier = _source()
    fast = code.fast or tier.of(func).heat(func, code)
    if fast is None:
        return None
    return lambda: running.enter(backend, call, func, fast, args, depth, start, under_way)


def loop(
    backend: PythonBackend, call: Call, block: Block, frame: list[Any], depth: int, start: int, most: int
) -> Callable[[], list[Any]] | None:
    """What runs the rest of a function whose loop is hot, from its head `block` on; as `function`."""
    func: Any = block.func
    code: Code = func.code
    under_way = room(backend, most, depth, start)
    if not under_way:
        # The head is asked again at a later turn, not at this one, which counts once more.
        code.left = heat.LATER + _share(block)
        return None
    running, tier = _source()
    own = tier.of(func)
    if code.wait and not own.has(func, block.number):
        code.wait -= 1
        code.left = _share(block)
        return None
    made = own.loop(func, code, block.number)
    if made is None:
        return None
    fast, takes = made
    places = {"l": code.locals, "t": 0}
    args = [frame[places[name[0]] + int(name[1:])] for name in takes]
    return lambda: running.enter(backend, call, func, fast, args, depth, start, under_way)
