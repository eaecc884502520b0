"""Memory for Python functions: views of it as items, and what serves addresses that no item has."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from tinywasm.engine.python import bulk, steps
from tinywasm.errors import Trap, TrapCode
from tinywasm.numerics.floats import f32_from_bits, f32_to_bits
from tinywasm.runtime.memory import MemoryInstance
from tinywasm.runtime.store import Store

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


def view(data: memoryview, kind: str) -> memoryview[Any]:
    """A memory's bytes as items, as many as are whole. An index beyond raises `IndexError`."""
    form: Any = _VIEWS[kind]
    return data[: len(data) & -struct.calcsize(form)].cast(form)


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


# Bytes that are written at once: what is more, or metered, is the reference's.
_AT_ONCE = 1 << 16


def filler(store: Store, memory: MemoryInstance) -> Callable[[int, int, int], None]:
    """`memory.fill`, of target, value and count."""
    few = store.fuel is None
    bytes_of = [bytes([value]) for value in range(256)]

    def fill(target: int, value: int, count: int) -> None:
        data = memory.data
        if few and count <= _AT_ONCE and target + count <= len(data):
            data[target : target + count] = bytes_of[value & 255] * count
        else:
            bulk.memory_fill([target, value, count], (store, memory))

    return fill


def copier(store: Store, to: MemoryInstance, memory: MemoryInstance) -> Callable[[int, int, int], None]:
    """`memory.copy`, of target, source and count."""
    few = store.fuel is None

    def copy(target: int, source: int, count: int) -> None:
        data, read = to.data, memory.data
        if few and count <= _AT_ONCE and target + count <= len(data) and source + count <= len(read):
            data[target : target + count] = read[source : source + count]
        else:
            bulk.memory_copy([target, source, count], (store, to, memory))

    return copy
