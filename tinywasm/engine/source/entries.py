"""The way from host functions back into hot functions: one for each such function, with no loop in it.

It does what `PythonBackend.call` and `running.enter` do. It takes the arguments as Python sees them, in a
tuple, and converts numbers where they are passed. Whatever is not usual it leaves to those.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

from tinywasm.engine.python.backend import PythonBackend
from tinywasm.engine.python.entering import BETWEEN, HOST_CALL, MANY, MOST
from tinywasm.engine.recursion import ROOM_SHIFT, SMALL_FRAME, STACK_SLOTS
from tinywasm.engine.source.hosts import SHOWN
from tinywasm.engine.source.running import ENTRY, FAULTS, told
from tinywasm.runtime.calls import Call, here
from tinywasm.runtime.func import FuncInstance
from tinywasm.types import F64, I32, I64, ValType

# So many frames of Python's stack are looked at for what calls the host function.
_NEAR = 12
_ENTRY = f"""
def entry(args):
    if not OPEN:
        return NotImplemented
    try:
        {{params}}frame = getframe(OWN[0])
    except ValueError:
        return NotImplemented
    below = OPEN[0]
    before, depth, start = B.hot, below.depth, below.top
    left = before[1] - depth - OWN[0] // 2 - {BETWEEN}
    if left > {MOST}:
        left = {MOST}
    if not (
        {{usual}}below.roomy and not below.over and below.thread is HERE.thread
        and not B.poll_wanted and STORE.profile is None and len(OPEN) < CONFIG.max_nested_calls
        and {MANY} <= left <= CONFIG.max_call_depth - depth and start + left * {SMALL_FRAME} <= {STACK_SLOTS}
        and (frame.f_globals.get(HOST_CALL) is B or find(OWN))
    ):
        return NotImplemented
    call = new(Call)
    call.thread, call.python_stack = below.thread, below.python_stack
    call.depth, call.top = depth, start
    call.run, call.roomy, call.over, call.caller = True, False, False, None
    try:
        OPEN.insert(0, call)
        B.hot = call, depth + left, start
        {{found}}FAST({{args}}left << {ROOM_SHIFT})
    except FAULTS as error:
        trap = told(error)
        if trap is None or trap is error:
            raise
        raise trap from None
    finally:
        call.over = True
        B.hot = before
        if OPEN[0] is call:
            del OPEN[0]
        else:
            CALLS.end(call)
    return {{shown}}
"""
# Python's numbers that need no more than is done in `_RAW`.
_USUAL: dict[ValType, str] = {
    I32: f"type(a{{0}}) is int and {-1 << 31} <= a{{0}} < {1 << 32} and ",
    I64: f"type(a{{0}}) is int and {-1 << 63} <= a{{0}} < {1 << 64} and ",
    F64: "type(a{0}) is float and ",
}
_RAW: dict[ValType, str] = {
    I32: f"a{{0}} & {(1 << 32) - 1}, ",
    I64: f"a{{0}} & {(1 << 64) - 1}, ",
    F64: "a{0}, ",
}


def entry_of(backend: PythonBackend, func: FuncInstance) -> Callable[[tuple[Any, ...]], Any] | None:
    """The way into a hot function, None where it takes or gives what is not converted here.

    It returns `NotImplemented` where the call has to go the long way.
    """
    params, results = tuple(func.signature.params), tuple(func.signature.results)
    if not (_USUAL.keys() >= {*params} and SHOWN.keys() >= {*results} and len(results) < 2):
        return None
    store = backend.store
    names: dict[str, Any] = {
        "B": backend,
        "STORE": store,
        "CONFIG": backend.config,
        "CALLS": backend.calls,
        "OPEN": backend.calls.open,
        "HERE": here,
        "HOST_CALL": HOST_CALL,
        "FAST": func.fast,
        "FAULTS": FAULTS,
        "Call": Call,
        "new": Call.__new__,
        "OWN": [0],
        "getframe": sys._getframe,
        "find": _find,
        "told": told,
    }
    exec(_compiled(params, results), names)
    entry: Callable[[tuple[Any, ...]], Any] = names.pop("entry")
    return entry


@lru_cache(256)
def _compiled(params: tuple[ValType, ...], results: tuple[ValType, ...]) -> CodeType:
    count = len(params)
    text = _ENTRY.format(
        params="".join(f"a{number}, " for number in range(count)) + ("= args; " if count else "() = args; "),
        usual="".join(_USUAL[type].format(number) for number, type in enumerate(params)),
        args="".join(_RAW[type].format(number) for number, type in enumerate(params)),
        found=f"a{count} = " if results else "",
        shown=SHOWN[results[0]].format(count) if results else "None",
    )
    return compile(text, ENTRY, "exec")


def _find(own: list[int]) -> bool:
    """Look for what calls the host function, for another time; it may be as far from an entry then."""
    frame: FrameType | None = sys._getframe(1)
    for number in range(_NEAR):
        if frame is None:
            break
        if HOST_CALL in frame.f_globals:
            own[0] = number
            break
        frame = frame.f_back
    return False
