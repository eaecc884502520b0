"""The exception tree: one class a phase, each naming what was wrong and where.

Messages begin with the words of the specification's reference interpreter, so that the official
test suite can compare them; details follow after a colon.
"""

from __future__ import annotations

import copy
import copyreg
import enum
from collections.abc import Callable, Sequence
from typing import Any

from tinywasm.records import record


class WasmError(Exception):
    """Whatever is wrong with a module, its linking or its execution.

    `message` is the text without the position.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        # Python's own way calls the constructor with `args`, which are not what the constructors here take.
        make = copyreg.__newobj__  # type: ignore[attr-defined]
        return make, (type(self), *self.args), self.__dict__


class ParseError(WasmError):
    """Malformed text. `line` and `column` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column

    def __str__(self) -> str:
        return f"{self.message} (line {self.line}, column {self.column})"


class DecodeError(WasmError):
    """Malformed binary. `offset` is the byte offset in the module."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset

    def __str__(self) -> str:
        return f"{self.message} (at offset {self.offset:#x})"


class ValidationError(WasmError):
    """A well-formed module that breaks a rule of the specification's chapter 3.

    `where` names the place for people (for example `function 3 $add`); `offset` is the byte offset
    of the instruction in a binary module, and `line` the line in a text module, each where known.
    """

    def __init__(
        self, message: str, where: str = "", offset: int | None = None, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.where = where
        self.offset = offset
        self.line = line

    def __str__(self) -> str:
        place = [self.where] if self.where else []
        if self.line is not None:
            place.append(f"line {self.line}")
        elif self.offset is not None:
            place.append(f"at offset {self.offset:#x}")
        return f"{self.message} ({', '.join(place)})" if place else self.message


class LinkError(WasmError):
    """An import that is missing or has another type than the module asks for."""


class InternalError(WasmError):
    """A fault of this package that was noticed before it could do harm. Please report it, with the module."""


class TrapCode(enum.Enum):
    """Why execution trapped, by wasmtime-py's names; the value is the specification's wording."""

    UNREACHABLE = "unreachable"
    STACK_OVERFLOW = "call stack exhausted"
    MEMORY_OUT_OF_BOUNDS = "out of bounds memory access"
    TABLE_OUT_OF_BOUNDS = "out of bounds table access"
    INDIRECT_CALL_TO_NULL = "uninitialized element"
    BAD_SIGNATURE = "indirect call type mismatch"
    INTEGER_OVERFLOW = "integer overflow"
    INTEGER_DIVISION_BY_ZERO = "integer divide by zero"
    BAD_CONVERSION_TO_INTEGER = "invalid conversion to integer"
    NULL_REFERENCE = "null reference"
    CAST_FAILURE = "cast failure"
    ARRAY_OUT_OF_BOUNDS = "out of bounds array access"
    ALLOCATION_TOO_LARGE = "allocation too large"
    OUT_OF_FUEL = "all fuel consumed"
    INTERRUPT = "interrupted"
    EXIT = "program exited"


# Wordings of the specification's that tell apart what has one code.
FINER_WORDINGS = {
    "undefined element": TrapCode.TABLE_OUT_OF_BOUNDS,
    "null function reference": TrapCode.NULL_REFERENCE,
    "null structure reference": TrapCode.NULL_REFERENCE,
    "null array reference": TrapCode.NULL_REFERENCE,
    "null i31 reference": TrapCode.NULL_REFERENCE,
    "null exception reference": TrapCode.NULL_REFERENCE,
}


@record(frozen=True)
class Frame:
    """One activation in a trap's backtrace.

    `func_offset` is the byte offset of the instruction from the start of the function's body,
    `module_offset` from the start of the module (for text modules, of its encoded body).
    `file` and `line`, from 1, are the place in the source; None where it is not known, which is always
    so without `Config(debug_info=True)`. A module in the text format has lines and no file.
    """

    func_index: int
    func_name: str | None
    module_name: str | None
    func_offset: int
    module_offset: int
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        name = self.func_name or f"function {self.func_index}"
        place = f"{self.module_name or '<module>'}!{name} at offset {self.module_offset:#x}"
        if self.line is None:
            return place
        return f"{place} ({self.file}:{self.line})" if self.file else f"{place} (line {self.line})"


class Trap(WasmError):
    """Execution ended abnormally.

    `trap_code` tells why, None for a trap that a host function made of a message alone: `Trap("why")`.
    `frames` is the backtrace, innermost first.
    """

    def __init__(self, code: TrapCode | str, message: str | None = None) -> None:
        if not isinstance(code, TrapCode | str):
            raise TypeError(f"a Trap takes a TrapCode or a message, not {code!r}")
        super().__init__(message or (code if isinstance(code, str) else code.value))
        self.trap_code = None if isinstance(code, str) else code
        self._frames: Sequence[Frame] | Callable[[], Sequence[Frame]] = ()

    @property
    def frames(self) -> Sequence[Frame]:
        """The backtrace, innermost first. What makes one may be set too: it is called when one is wanted."""
        if callable(self._frames):
            self._frames = self._frames()
        return self._frames

    @frames.setter
    def frames(self, frames: Sequence[Frame] | Callable[[], Sequence[Frame]]) -> None:
        self._frames = frames

    def __reduce__(self) -> tuple[Any, ...]:
        self.frames = self.frames
        return super().__reduce__()

    @property
    def code(self) -> TrapCode | None:
        """The same as `trap_code`, but for `ExitTrap`."""
        return self.trap_code

    def __str__(self) -> str:
        lines = [self.message, *(f"  {frame}" for frame in self.frames)]
        return "\n".join(lines)


class StackExhausted(Trap):
    """The configured call depth was reached."""

    def __init__(self) -> None:
        super().__init__(TrapCode.STACK_OVERFLOW)


class OutOfFuel(Trap):
    """The store's fuel does not cover the next basic block."""

    def __init__(self) -> None:
        super().__init__(TrapCode.OUT_OF_FUEL)


class Interrupted(Trap):
    """`Store.interrupt()`, a deadline, or an epoch ended the call."""

    def __init__(self) -> None:
        super().__init__(TrapCode.INTERRUPT)


class ExitTrap(Trap):
    """A WASI program asked to exit. `exit_code` is the status it gave."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(TrapCode.EXIT, f"program exited with status {exit_code}")
        self.exit_code = exit_code

    @property
    def code(self) -> int:  # type: ignore[override]  # what wasmtime-py calls the exit status
        """The same as `exit_code`."""
        return self.exit_code


class WasmException(WasmError):
    """A `throw` that no `try_table` caught; a host function raises it to throw into Wasm.

    `tag` is the `Tag`, `values` the exception's arguments. Pickled, it loses what belongs to a store of
    this process: `tag` comes back as None, and so does each value that is neither a number nor bytes.
    """

    def __init__(self, tag: Any, values: Sequence[Any]) -> None:
        super().__init__("uncaught exception")
        self.tag = tag
        self.values = tuple(values)

    def __copy__(self) -> WasmException:
        return self._with(dict(self.__dict__))

    def __deepcopy__(self, memo: dict[int, Any]) -> WasmException:
        # A tag is an identity, and its copy would be no tag of the store.
        kept = {"tag": self.tag, "values": self.values}
        return self._with({**copy.deepcopy({**self.__dict__, **dict.fromkeys(kept)}, memo), **kept})

    def __reduce__(self) -> tuple[Any, ...]:
        make, args, state = super().__reduce__()
        values = tuple(value if isinstance(value, int | float | bytes) else None for value in self.values)
        return make, args, {**state, "tag": None, "values": values}

    def _with(self, state: dict[str, Any]) -> WasmException:
        same = type(self).__new__(type(self), *self.args)
        same.__dict__.update(state)
        return same
