"""What is said about an error."""

from __future__ import annotations

from collections.abc import Sequence

from tinywasm.cli.output import printable
from tinywasm.errors import ExitTrap, Frame, Trap, WasmException

# Frames of a backtrace that are shown: the innermost, and where it all began.
_INNER_FRAMES, _OUTER_FRAMES = 20, 5


def failure(error: Exception) -> list[str]:
    """What is said about an error: a line, and behind a trap's the backtrace, innermost first."""
    if isinstance(error, WasmException):
        from tinywasm.cli.value_text import written

        types = error.tag.type.type.composite.params
        values = [f"{written(type, raw)} : {type}" for type, raw in zip(types, error.values, strict=True)]
        return [f"tinywasm: trap: {error.message}{': ' if values else ''}{', '.join(values)}"]
    if isinstance(error, Trap) and not isinstance(error, ExitTrap):
        return [f"tinywasm: trap: {printable(error.message)}", *_backtrace(error.frames)]
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f"{error.filename}: "
        return [f"tinywasm: {printable(f'{place}{error.strerror}')}"]
    if isinstance(error, MemoryError):
        return ["tinywasm: out of memory"]
    message = error.message if isinstance(error, ExitTrap) else str(error)
    return [f"tinywasm: {printable(message)}"]


def _backtrace(frames: Sequence[Frame]) -> list[str]:
    lines = [f"  {printable(str(frame))}" for frame in frames[:_INNER_FRAMES]]
    hidden = len(frames) - _INNER_FRAMES - _OUTER_FRAMES
    if hidden > 0:
        lines.append(f"  ... {hidden} more ...")
    return lines + [
        f"  {printable(str(frame))}" for frame in frames[max(_INNER_FRAMES, len(frames) - _OUTER_FRAMES) :]
    ]
