"""How deep calls go: on every engine, the same program has as many frames.

A frame takes a slot for each of the function's locals, and for each of the operands that it has at the
same time at most; two where they are vectors. It begins with the arguments, which are the topmost operands of
the caller, so that what the caller has below them is what counts of it meanwhile; a tail call's begins where
the caller's did. A call that a host function makes begins behind the frame from which it was called or, where
that was by a tail call, behind its own arguments and results, whichever are more. All frames of a store end
within `STACK_SLOTS`; besides, they are no more than `Config.max_call_depth`.

Calls from Python that nest, by way of host functions, are no more than `Config.max_nested_calls`. They take
some of Python's stack and of the thread's, which may end sooner: Python's ends with `RecursionError`, and
before the thread's does no further call is taken.
"""

from __future__ import annotations

from types import TracebackType

from tinywasm.runtime.space import RESERVES

# Where all of a stack takes memory, a megabyte has to do.
STACK_SLOTS = 8 << 20 if RESERVES else 1 << 17
# Python functions have frames of no more slots, so that so many fit as the slots left say.
SMALL_FRAME = 800
# They count slots in so many bits, so that these and how many may be under way are a small number to Python.
ROOM_SHIFT = 20


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
