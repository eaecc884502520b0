"""Native code in a serialized module: of all functions whose code, without fuel, is found closed.

Code from here is held to the verifier's rules like any other, when its function is first called, and to
what `closed.c` says besides: it takes slots for no references but exceptions that it caught, and reads none
that it has not written. What is refused is made anew from the body. So a forged file can make functions
give wrong values, as other Wasm code in it could, and no more. Code with fuel is not kept: nothing tells
that it pays for what it does.
"""

from __future__ import annotations

import os
import struct
from array import array
from bisect import bisect_right
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import source_hash
from itertools import pairwise
from typing import Any

from tinywasm.engine.native import _loop
from tinywasm.engine.native.digest import DIGEST
from tinywasm.engine.native.frame import RegisterCode
from tinywasm.errors import InternalError, Trap, TrapCode
from tinywasm.loading import loading
from tinywasm.syntax import DecodedModule
from tinywasm.validation import Context

# What decides what code is made of a body.
_SOURCES = (
    *(("tinywasm.engine.ir", f"{name}.py") for name in ("build", "form", "operands", "rare", "rows")),
    *(("tinywasm.engine.native", f"{name}.py") for name in ("frame", "patterns", "rare", "select")),
)
_OFFSET = struct.Struct("<Q")
# Words, the frame's sizes, handlers, windows.
_HEAD = struct.Struct("<8I")
_HANDLER = struct.Struct("<3I")
_CLAUSE = struct.Struct("<i4I")
_WINDOW = struct.Struct("<2I")


@cache
def maker() -> str:
    """Names the lowering that is here: code of another one is not taken."""
    parts = [f"{DIGEST} {_loop.INTERFACE}".encode()]
    for package, name in _SOURCES:
        # Without sources, the version that stands in the file has to do.
        with suppress(OSError):
            parts.append(read(package, name))
    return source_hash(b"\0".join(parts)).hex()


def read(package: str, name: str) -> bytes:
    """A file of a package, as `pkgutil` reads it; nothing where its loader has no files. Raises `OSError`."""
    found = import_module(package)
    read = getattr(found.__loader__, "get_data", None)
    if read is None or found.__file__ is None:
        return b""
    data: bytes = read(os.path.join(os.path.dirname(found.__file__), name))
    return data


def pack(context: Context, syntax: DecodedModule) -> bytes:
    """The code of the module's functions: where that of each begins, 0 for one without, then one by one."""
    with loading:
        from tinywasm.engine.native.select import lower
    scope = _loop.NativeScope(context)
    offsets = array("Q", bytes(8 * len(syntax.functions)))
    parts: list[bytes] = []
    end = len(offsets) * 8
    for number, function in enumerate(syntax.functions):
        index = context.imported_funcs + number
        try:
            code = lower(context, index, function, metered=False)
        except Trap as trap:
            if trap.code is not TrapCode.ALLOCATION_TOO_LARGE:
                raise
            # No engine holds it.
            continue
        if _loop.NativeCode(code, scope, context.funcs[index], f"function {index}").closed(scope):
            offsets[number] = end
            parts.append(_packed(code))
            end += len(parts[-1])
    return b"".join([b"".join(map(_OFFSET.pack, offsets)), *parts])


def _packed(code: RegisterCode) -> bytes:
    count = len(code.words) // 16
    sizes = (code.frame_slots, code.near_slots, code.param_slots, code.zeros, code.result_slots)
    parts = [_HEAD.pack(count, *sizes, len(code.handlers), len(code.windows))]
    parts += [code.words, struct.pack(f"<{count}I", *code.positions)]
    for start, end, clauses in code.handlers:
        parts.append(_HANDLER.pack(start, end, len(clauses)))
        parts += [_CLAUSE.pack(*clause) for clause in clauses]
    parts += [_WINDOW.pack(*window) for window in code.windows]
    return b"".join(parts)


def unpack(context: Context, packed: memoryview) -> None:
    """Have the module take its code from what `pack` gave, or what somebody forged.

    None of it where the places are out of order: a small file could name one large record for every function.
    """
    count = len(context.funcs) - context.imported_funcs
    if len(packed) < count * _OFFSET.size:
        return
    starts = array("Q", filter(None, packed[: count * _OFFSET.size].cast("Q")))
    if all(start < following for start, following in pairwise(starts)):
        shared(context).kept = packed, starts


def shared(context: Context) -> Any:
    """What the instances of a module share, made for the first."""
    made = context.compiled.get("native")
    if made is None:
        # In one step: another thread may have made one meanwhile.
        made = context.compiled.setdefault("native", _loop.NativeModule(context))
    return made


def taken(context: Context, index: int) -> Any:
    """The `_loop.NativeCode` of a function of the module, where good code is kept, else None."""
    module = shared(context)
    if module.kept is None:
        return None
    packed, starts = module.kept
    (start,) = _OFFSET.unpack_from(packed, (index - context.imported_funcs) * _OFFSET.size)
    if start == 0:
        return None
    after = bisect_right(starts, start)
    # No record reaches into the next.
    end = starts[after] if after < len(starts) else len(packed)
    try:
        code = _unpacked(packed[:end], start)
        made = _loop.NativeCode(code, module.scope, context.funcs[index], f"function {index}")
    except (struct.error, OverflowError, ValueError, InternalError):
        return None
    return made if made.closed(module.scope) else None


def _unpacked(packed: memoryview, pos: int) -> RegisterCode:
    """Raises `struct.error` or `ValueError` where there is less than it says."""
    count, frame, near, params, zeros, results, handler_count, window_count = _HEAD.unpack_from(packed, pos)
    pos += _HEAD.size
    positions = pos + count * 16
    end = positions + count * 4
    if end > len(packed):
        raise ValueError("code that is cut off")
    handlers: list[list[Any]] = []
    windows: list[tuple[int, int]] = []
    code = RegisterCode(
        bytes(packed[pos:positions]),
        packed[positions:end].cast("I"),
        *(frame, near, params, zeros, results),
        handlers,
        windows,
    )
    pos = end
    for _ in range(handler_count):
        start, last, clause_count = _HANDLER.unpack_from(packed, pos)
        clauses = []
        pos += _HANDLER.size
        for _ in range(clause_count):
            clauses.append(list(_CLAUSE.unpack_from(packed, pos)))
            pos += _CLAUSE.size
        handlers.append([start, last, clauses])
    for _ in range(window_count):
        windows.append(_WINDOW.unpack_from(packed, pos))
        pos += _WINDOW.size
    return code
