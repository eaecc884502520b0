"""The way from Python functions to host functions: a function for each that is called, with no loop in it.

Numbers are converted where they are passed, and checked where they come back, if they are what is usual.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any

from tinywasm.engine.python.backend import PythonBackend
from tinywasm.engine.python.entering import HOST_CALL
from tinywasm.engine.recursion import ROOM_SHIFT
from tinywasm.errors import WasmException
from tinywasm.runtime.calls import Call
from tinywasm.runtime.func import DirectHost, FuncInstance
from tinywasm.runtime.module_instance import ModuleInstance
from tinywasm.types import F32, F64, I32, I64, ValType

_SLOT = (1 << ROOM_SHIFT) - 1
# An interruption may come between the end of a call from the host function and the restoring of `hot`, so
# that is done once more.
_CALL = f"""
def call({{params}}p):
    running, deepest, first = before = B.hot
    running.depth = deepest - (p >> {ROOM_SHIFT})
    {{place}}
    try:
        {{work}}
    except (RecursionError, WasmException) as error:
        thrown(running, error)
        raise
    finally:
        running.caller = None
    if OPEN[0] is not running or B.poll_wanted:
        B.returned(running)
    B.hot = before
    return {{found}}
"""
# Where its own calls begin and whose code calls it: as is known, or as the Python function says that calls.
_KNOWN = f"running.top, running.caller = first + (p & {_SLOT}), CALLER"
_ASKED = f"""frame = getframe(1)
    caller, source = frame.f_globals["TIER"].codes[frame.f_code]
    running.top, running.caller = first + (frame.f_locals["p"] & {_SLOT}) + source.slots, caller.module"""
# Numbers as Python sees them.
SHOWN: dict[ValType, str] = {
    I32: f"a{{0}} if a{{0}} < {1 << 31} else a{{0}} - {1 << 32}",
    I64: f"a{{0}} if a{{0}} < {1 << 63} else a{{0}} - {1 << 64}",
    F32: "a{0}",
    F64: "a{0}",
}
# What is a number of Wasm's as it is, or nearly; all else is converted.
_TAKEN: dict[ValType, str] = {
    I32: f"found & {(1 << 32) - 1} if type(found) is int and {-1 << 31} <= found < {1 << 32}",
    I64: f"found & {(1 << 64) - 1} if type(found) is int and {-1 << 63} <= found < {1 << 64}",
    F64: "found if type(found) is float",
}


def to_host(
    backend: PythonBackend, func: FuncInstance, caller: ModuleInstance | None = None
) -> Callable[..., Any]:
    """What Python functions call for a host function: those of one instance, or all."""
    signature, direct = func.signature, func.direct
    params, results = tuple(signature.params), tuple(signature.results)
    if direct is not None and not (len(results) < 2 and {*params, *results} <= SHOWN.keys()):
        direct = None
    names: dict[str, Any] = {
        HOST_CALL: backend,
        "B": backend,
        "OPEN": backend.calls.open,
        "CALLER": caller,
        "HOST": func.host if direct is None else direct.func,
        "WasmException": WasmException,
        "thrown": backend.thrown,
        "getframe": sys._getframe,
    }
    if direct is not None:
        names |= {"raw_results": direct.raw_results, "thrown": _thrown(backend, direct)}
    exec(_compiled(params, results, direct is not None, caller is not None), names)
    call: Callable[..., Any] = names.pop("call")
    return call


@lru_cache(256)
def _compiled(
    params: tuple[ValType, ...], results: tuple[ValType, ...], direct: bool, known: bool
) -> CodeType:
    names = [f"a{number}" for number in range(len(params))]
    args = [SHOWN[type].format(number) for number, type in enumerate(params)] if direct else names
    call = f"HOST({', '.join(args)})"
    if not results:
        work = f"found = {call}; found = None if found is None else raw_results(found)" if direct else call
    elif not direct:
        work = f"(found,) = {call}" if len(results) == 1 else f"found = tuple({call})"
    else:
        taken = f"{_TAKEN[results[0]]} else " if results[0] in _TAKEN else ""
        work = f"found = {call}; found = {taken}raw_results(found)[0]"
    text = _CALL.format(
        params="".join(f"{name}, " for name in names),
        place=_KNOWN if known else _ASKED,
        work=work,
        found="found" if results or direct else "None",
    )
    return compile(text, "<host function>", "exec")


def _thrown(
    backend: PythonBackend, direct: DirectHost
) -> Callable[[Call, RecursionError | WasmException], None]:
    """As `PythonBackend.thrown`, for exceptions as Python sees them."""

    def thrown(call: Call, error: RecursionError | WasmException) -> None:
        if isinstance(error, RecursionError):
            backend.thrown(call, error)
        else:
            raw = direct.hidden(error)
            backend.thrown(call, raw)
            raise raw from None

    return thrown
