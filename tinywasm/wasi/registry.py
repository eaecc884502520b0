"""The table of functions: each one's type, and its way from raw values to an error number."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import TypeVar

from tinywasm.records import record
from tinywasm.types import I32, I64, FuncType
from tinywasm.wasi.abi import Errno, WasiError, from_host
from tinywasm.wasi.guest import Guest

Function = Callable[..., None]
_TYPES = {"i": I32, "I": I64}


@record(frozen=True)
class Definition:
    """A function of preview 1: its Wasm type and what runs."""

    type: FuncType
    function: Function

    def host(self, guest: Guest) -> Callable[..., list[int]]:
        """The raw host function for a guest."""

        def with_errno(*args: int) -> list[int]:
            return [_errno(self.function, guest, args)]

        def without(*args: int) -> list[int]:
            self.function(guest, *args)
            return []

        return with_errno if self.type.results else without


def _errno(function: Function, guest: Guest, args: tuple[int, ...]) -> int:
    try:
        function(guest, *args)
    except WasiError as error:
        return error.errno
    except OSError as error:
        return from_host(error.errno)
    except MemoryError:
        return Errno.NOMEM
    return Errno.SUCCESS


FUNCTIONS: dict[str, Definition] = {}
"""Filled by `function` when the modules that define them are imported."""


def function(params: str, *, returns: bool = True) -> Callable[[Function], Function]:
    """Enter a function under its own name; `params` has `i` for an i32 and `I` for an i64."""

    def enter(wanted: Function) -> Function:
        type = FuncType(tuple(_TYPES[letter] for letter in params), (I32,) if returns else ())
        FUNCTIONS[wanted.__name__] = Definition(type, wanted)
        return wanted

    return enter


_Enum = TypeVar("_Enum", bound=IntEnum)
_Flags = TypeVar("_Flags", bound=IntFlag)


def enum(kind: type[_Enum], value: int) -> _Enum:
    """A value of an enumeration. Raises INVAL for one that it does not have."""
    try:
        return kind(value)
    except ValueError:
        raise WasiError(Errno.INVAL) from None


def flags(kind: type[_Flags], value: int) -> _Flags:
    """Flags. Raises INVAL where an unknown one is set."""
    # The complement of a flag knows only known flags, so the arithmetic is on integers.
    if value & ~sum(kind):
        raise WasiError(Errno.INVAL)
    return kind(value)


def bit(known: int, value: int) -> bool:
    """Whether the only flag of its kind is set. Raises INVAL where another one is."""
    if value & ~known:
        raise WasiError(Errno.INVAL)
    return bool(value)


def offset(value: int) -> int:
    """A position in a file. Raises INVAL beyond what a host's offset can be."""
    if value > (1 << 63) - 1:
        raise WasiError(Errno.INVAL)
    return value
