"""Memory for Python functions: views of it as items, and what serves addresses that no item has."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from tinywasm.engine.python import steps
from tinywasm.errors import Trap, TrapCode
from tinywasm.numerics.floats import f32_from_bits, f32_to_bits
from tinywasm.runtime.memory import MemoryInstance
from tinywasm.runtime.space import BELOW_ALL
from tinywasm.types import I32

# Views by their names, as formats of `struct`.
_VIEWS = {
    "U8": "B",
    "S8": "b",
    "U16": "H",
    "S16": "h",
    "U32": "I",
    "S32": "i",
    "U64": "Q",
    "D64": "d",
    "F32": "f",
}


def view(data: memoryview, kind: str) -> memoryview[Any] | int:
    """A memory's bytes as items, as many as are whole. An index beyond raises `IndexError`.

    For the kind "N", how many bytes there are.
    """
    if kind == "N":
        return len(data)
    form: Any = _VIEWS[kind]
    return data[: len(data) & -struct.calcsize(form)].cast(form)


def ends_early(memory: MemoryInstance) -> bool:
    """Whether addresses never reach the last 64 KiB of those that there are, however far the memory grows."""
    return memory.type.address is not I32 or min(memory.limit, len(memory.space)) <= BELOW_ALL


def loader(memory: MemoryInstance, kind: str) -> Callable[[int], Any]:
    """A load at any address. Raises `Trap`."""
    if kind == "F32":
        # Not through struct's "f": it would quiet a signalling NaN.
        return lambda address: f32_from_bits(int.from_bytes(steps.read(memory, address, 4), "little"))
    unpack = struct.Struct("<" + _VIEWS[kind]).unpack_from

    def load(address: int) -> Any:
        try:
            return unpack(memory.data, address)[0]
        except steps.NO_ACCESS:
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS) from None

    return load


def storer(memory: MemoryInstance, kind: str) -> Callable[[int, Any], None]:
    """A store at any address. Raises `Trap`."""
    if kind == "F32":
        return lambda address, value: steps.write(memory, address, f32_to_bits(value).to_bytes(4, "little"))
    pack = struct.Struct("<" + _VIEWS[kind]).pack_into

    def store(address: int, value: Any) -> None:
        try:
            pack(memory.data, address, value)
        except steps.NO_ACCESS:
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS) from None

    return store
