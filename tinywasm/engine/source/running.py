"""The way into Python functions, and the ways out: to the reference, and by traps.

A Python function takes, behind its arguments, its place: how many more may be under way at once, and in the
lowest bits the slot where its frame begins, counted from where the first one's does. What calls a host
function by its index says where its own frame ends instead. It returns nothing, the result, or a tuple of
results.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from types import CodeType, TracebackType
from typing import Any

from tinywasm.engine.backtrace import add_frames
from tinywasm.engine.python.backend import RUN, PythonBackend, Tail, host_slots, ready
from tinywasm.engine.recursion import ROOM_SHIFT
from tinywasm.engine.source.hosts import to_host
from tinywasm.errors import Trap, TrapCode
from tinywasm.instructions import TABLE
from tinywasm.leb128 import read_u32
from tinywasm.runtime.calls import Call
from tinywasm.runtime.func import FuncInstance

Fast = Callable[..., Any]
_SLOT = (1 << ROOM_SHIFT) - 1
# The prefixes of instructions on aggregates and on vectors, and what the former find where Python finds no
# attribute.
_AGGREGATE = 0xFB
_VECTOR = 0xFD
_NULL = {
    row.code: f"null {what} reference"
    for row in TABLE
    for kind, what in (("struct", "structure"), ("array", "array"), ("i31", "i31"))
    if row.prefix == _AGGREGATE and row.name.startswith(f"{kind}.")
}
# Their opcodes are one byte.
_CALL_INDIRECT = {row.code for row in TABLE if row.name in ("call_indirect", "return_call_indirect")}
# The file of the code of entries, by its name.
ENTRY = "<entry>"
# What Python functions raise where Wasm traps.
FAULTS = (Trap, AttributeError, IndexError, OverflowError, ZeroDivisionError, struct.error)
# The frames of Python's stack between a Python function and one that the reference calls below it, in pairs.
_BETWEEN = 4


def enter(
    backend: PythonBackend,
    call: Call,
    func: FuncInstance,
    fast: Fast,
    args: Sequence[Any],
    depth: int,
    start: int,
    room: int,
) -> list[Any]:
    """Call a Python function as activation `depth`, with its frame at slot `start`.

    As many as `room` may be under way at once.
    """
    before = backend.hot
    try:
        backend.hot = call, depth + room, start
        found = fast(*args, room << ROOM_SHIFT)
    except FAULTS as error:
        trap = told(error)
        if trap is None or trap is error:
            raise
        raise trap from None
    finally:
        backend.hot = before
    return list(found) if func.results > 1 else [found] if func.results else []


def _results(func: FuncInstance, values: Sequence[Any]) -> Any:
    """As a Python function returns them."""
    if func.results == 1:
        return values[0]
    return tuple(values) if values else None


# To the reference


def reference(backend: PythonBackend, func: FuncInstance, tails: bool = False) -> Fast:
    """Runs a function on the reference. With `tails` a call at its end may be left to do."""
    count = func.params

    def run(*args: Any) -> Any:
        _, deepest, first = backend.hot
        room, start = args[count] >> ROOM_SHIFT, first + (args[count] & _SLOT)
        most = max(0, room - _BETWEEN)
        results = backend.run(func, list(args[:count]), deepest - room, start, most, tails)
        if type(results) is Tail:
            target, values = results
            return Tail((target, (*values, args[count])))
        return _results(func, results)

    return run


def _stub(backend: PythonBackend, func: FuncInstance) -> Fast:
    """Runs a function on the reference until it has a Python function."""
    run = reference(backend, func)

    def call(*args: Any) -> Any:
        if func.body is None:
            func.code or ready(func)
        found = (func.body or run)(*args)
        # As `without_tails`, with no frame of its own.
        while type(found) is Tail:
            target, args = found
            found = target(*args)
        return found

    return call


def fast_of(backend: PythonBackend, func: FuncInstance) -> Fast:
    """What Python functions call for a function."""
    if func.fast is None:
        func.fast = to_host(backend, func) if func.host is not None else _stub(backend, func)
    fast: Fast = func.fast
    return fast


# Tail calls


def without_tails(body: Fast) -> Fast:
    """A function whose body leaves tail calls to do: what they come to."""

    def call(*args: Any) -> Any:
        found = body(*args)
        while type(found) is Tail:
            target, args = found
            found = target(*args)
        return found

    return call


def body_of(backend: PythonBackend, func: FuncInstance) -> Fast:
    """What a tail call calls: the body of a Wasm function, or what runs it as long as it has none."""
    if func.body is not None:
        body: Fast = func.body
        return body
    run = reference(backend, func, tails=True)

    def call(*args: Any) -> Any:
        if func.body is None:
            func.code or ready(func)
        return (func.body or run)(*args)

    return call


def host_at_tail(backend: PythonBackend, func: FuncInstance, caller: Any) -> Fast:
    """Calls a host function in place of the code that calls it at its tail, given the place of that."""
    call, deeper = to_host(backend, func, caller), (1 << ROOM_SHIFT) - host_slots(func)
    return lambda *args: call(*args[:-1], args[-1] - deeper)


# Traps


def check_callee(callee: FuncInstance | None, index: int, expected: Any) -> None:
    """Raises the `Trap` of an indirect call, where one is due."""
    if callee is None:
        raise Trap(TrapCode.INDIRECT_CALL_TO_NULL, f"{TrapCode.INDIRECT_CALL_TO_NULL.value} {index}")
    if callee.type is not expected and expected not in callee.type.ancestors:
        raise Trap(TrapCode.BAD_SIGNATURE)


def null_function() -> None:
    raise Trap(TrapCode.NULL_REFERENCE, "null function reference")


def null_reference() -> None:
    raise Trap(TrapCode.NULL_REFERENCE)


def cast_failure() -> None:
    raise Trap(TrapCode.CAST_FAILURE)


def _places(trace: TracebackType | None) -> list[tuple[FuncInstance, int]]:
    """Where Python functions were, innermost first, down to the next frame of the reference."""
    found = []
    trace = trace.tb_next if trace else None
    while trace is not None and not _ends(trace.tb_frame.f_code):
        tier = trace.tb_frame.f_globals.get("TIER")
        made = tier.codes.get(trace.tb_frame.f_code) if tier else None
        if made is not None:
            func, source = made
            position = source.position(trace.tb_lineno)
            if position is not None:
                found.append((func, position))
        trace = trace.tb_next
    return found[::-1]


def _ends(code: CodeType) -> bool:
    """Whether a traceback has frames of this code where Python functions did not call what is below."""
    return code is RUN or code is enter.__code__ or code.co_filename == ENTRY


def told(error: Exception) -> Trap | None:
    """The trap that one of `FAULTS` is where it leaves Python functions, with their places.

    None where it is not theirs.
    """
    if isinstance(error, Trap):
        add_frames(error, _places(error.__traceback__))
        return error
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or "TIER" not in trace.tb_frame.f_globals:
        return None
    places = _places(error.__traceback__)
    func, position = places[0]
    assert func.definition is not None
    trap = _meaning(error, func.definition.body.code, position)
    if trap is not None:
        add_frames(trap, places)
    return trap


def _meaning(error: Exception, code: bytes, position: int) -> Trap | None:
    """The trap of an instruction that Python tells by an error."""
    if isinstance(error, ZeroDivisionError):
        return Trap(TrapCode.INTEGER_DIVISION_BY_ZERO)
    if code[position] == _AGGREGATE:
        if isinstance(error, IndexError):
            return Trap(TrapCode.ARRAY_OUT_OF_BOUNDS)
        return Trap(TrapCode.NULL_REFERENCE, _NULL[read_u32(code, position + 1)[0]])
    if not isinstance(error, IndexError) and code[position] != _VECTOR:
        return None
    if code[position] in _CALL_INDIRECT:
        return Trap(TrapCode.TABLE_OUT_OF_BOUNDS, "undefined element")
    return Trap(TrapCode.MEMORY_OUT_OF_BOUNDS)
