"""The bulk instructions of the python engine, and the constructors of aggregates: as `steps`.

Their work is as large as an operand says. It is paid for when everything else has been checked, and done
in pieces, so that an interruption need not wait for the end of it; an interrupted instruction leaves behind
what its first pieces wrote.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from tinywasm.engine.python.module_instance import PythonModuleInstance
from tinywasm.errors import Trap, TrapCode
from tinywasm.numerics.floats import f32_from_bits
from tinywasm.runtime.heap import ArrayInstance, StructInstance, check_array_length
from tinywasm.runtime.memory import MemoryInstance
from tinywasm.runtime.store import Store
from tinywasm.runtime.table import TableInstance
from tinywasm.types import F32, F64, I32, I64, V128, DefinedType, PackedType, StorageType

if TYPE_CHECKING:
    from tinywasm.engine.python.backend import PythonBackend

Stack = list[Any]

# Bytes of a memory, and elements of a list, in a piece: a millisecond or so.
_BYTES = 1 << 20
_ELEMENTS = 1 << 14
_REFERENCE = 8


def storage_size(storage: StorageType) -> int:
    """The bytes that an array's element counts for."""
    if isinstance(storage, PackedType):
        return storage.value // 8
    return {I32: 4, F32: 4, V128: 16}.get(storage, 8)  # type: ignore[call-overload, no-any-return]


def _pieces(store: Store, count: int, piece: int) -> Iterator[tuple[int, int]]:
    """Start and end of each piece of `count`. Raises `Interrupted` between two."""
    backend = cast("PythonBackend", store.backend)
    for start in range(0, count, piece):
        if start and backend.poll_wanted:
            backend.poll()
        yield start, min(start + piece, count)


def _move(store: Store, to: Any, at: int, source: Any, start: int, count: int, piece: int) -> None:
    """Copy between two sequences that may be the same: what lies in the way of the target is read first."""
    backward = at > start
    for first, end in _pieces(store, count, piece):
        low, high = (count - end, count - first) if backward else (first, end)
        to[at + low : at + high] = source[start + low : start + high]


def _fill(store: Store, to: list[Any], at: int, value: Any, count: int) -> None:
    for start, end in _pieces(store, count, _ELEMENTS):
        to[at + start : at + end] = [value] * (end - start)


def _inside(start: int, count: int, sequence: Any, code: TrapCode) -> None:
    if start + count > len(sequence):
        raise Trap(code)


# Memories


def memory_fill(stack: Stack, imm: tuple[Store, MemoryInstance]) -> None:
    store, memory = imm
    count, value, target = stack.pop(), stack.pop(), stack.pop()
    memory.check(target, count)
    store.pay(count)
    byte = bytes([value & 0xFF])
    for start, end in _pieces(store, count, _BYTES):
        memory.data[target + start : target + end] = byte * (end - start)


def memory_copy(stack: Stack, imm: tuple[Store, MemoryInstance, MemoryInstance]) -> None:
    store, to, memory = imm
    count, source, target = stack.pop(), stack.pop(), stack.pop()
    to.check(target, count)
    memory.check(source, count)
    store.pay(count)
    _move(store, to.data, target, memory.data, source, count, _BYTES)


def memory_init(stack: Stack, imm: tuple[PythonModuleInstance, int, MemoryInstance]) -> None:
    instance, segment, memory = imm
    count, source, target = stack.pop(), stack.pop(), stack.pop()
    data = instance.datas[segment]
    memory.check(target, count)
    _inside(source, count, data, TrapCode.MEMORY_OUT_OF_BOUNDS)
    instance.store.pay(count)
    _move(instance.store, memory.data, target, data, source, count, _BYTES)


# Tables


def table_grow(stack: Stack, imm: tuple[Store, TableInstance]) -> None:
    store, table = imm
    count = stack.pop()
    old = len(table.elements)
    if table.refuses(count):
        stack[-1] = table.failure
        return
    store.pay(count * _REFERENCE)
    try:
        _fill(store, table.elements, old, stack[-1], count)
    except MemoryError:
        del table.elements[old:]
        stack[-1] = table.failure
        return
    except BaseException:
        del table.elements[old:]
        raise
    table.take(count)
    stack[-1] = old


def table_fill(stack: Stack, imm: tuple[Store, TableInstance]) -> None:
    store, table = imm
    count, value, target = stack.pop(), stack.pop(), stack.pop()
    table.check(target, count)
    store.pay(count * _REFERENCE)
    _fill(store, table.elements, target, value, count)


def table_copy(stack: Stack, imm: tuple[Store, TableInstance, TableInstance]) -> None:
    store, to, table = imm
    count, source, target = stack.pop(), stack.pop(), stack.pop()
    to.check(target, count)
    table.check(source, count)
    store.pay(count * _REFERENCE)
    _move(store, to.elements, target, table.elements, source, count, _ELEMENTS)


def table_init(stack: Stack, imm: tuple[PythonModuleInstance, int, TableInstance]) -> None:
    instance, segment, table = imm
    count, source, target = stack.pop(), stack.pop(), stack.pop()
    elem = instance.elems[segment]
    table.check(target, count)
    _inside(source, count, elem, TrapCode.TABLE_OUT_OF_BOUNDS)
    instance.store.pay(count * _REFERENCE)
    _move(instance.store, table.elements, target, elem, source, count, _ELEMENTS)


# Aggregates: a packed field holds its unsigned value


def storage_mask(storage: StorageType) -> int:
    """The mask that `storage` applies to a value, or 0 for none."""
    return (1 << storage.value) - 1 if isinstance(storage, PackedType) else 0


def struct_new(stack: Stack, imm: tuple[Store, DefinedType, int, tuple[int, ...]]) -> None:
    """The immediate has the bytes of the fields, and their masks, 0 for unpacked ones."""
    store, defined, size, masks = imm
    count = len(masks)
    store.pay(size)
    lease = store.limits.lease_object(count)
    fields = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    values = [v & m if m else v for v, m in zip(fields, masks, strict=True)]
    stack.append(StructInstance(defined, values, lease))


def struct_new_default(stack: Stack, imm: tuple[Store, DefinedType, int, tuple[Any, ...]]) -> None:
    store, defined, size, values = imm
    store.pay(size)
    stack.append(StructInstance(defined, list(values), store.limits.lease_object(len(values))))


def as_array(value: ArrayInstance | None) -> ArrayInstance:
    if value is None:
        raise Trap(TrapCode.NULL_REFERENCE, "null array reference")
    return value


def _new_array(store: Store, defined: DefinedType, count: int, size: int) -> ArrayInstance:
    """An array without its elements yet, of `size` bytes each."""
    check_array_length(count)
    store.pay(count * size)
    return ArrayInstance(defined, [], store.limits.lease_object(count))


def array_new(stack: Stack, imm: tuple[Store, DefinedType, StorageType]) -> None:
    store, defined, storage = imm
    count = stack.pop()
    array = _new_array(store, defined, count, storage_size(storage))
    mask = storage_mask(storage)
    _fill(store, array.elements, 0, stack[-1] & mask if mask else stack[-1], count)
    stack[-1] = array


def array_new_default(stack: Stack, imm: tuple[Store, DefinedType, int, Any]) -> None:
    """The immediate has the bytes of an element, and its value."""
    store, defined, size, value = imm
    count = stack[-1]
    array = _new_array(store, defined, count, size)
    _fill(store, array.elements, 0, value, count)
    stack[-1] = array


def array_new_fixed(stack: Stack, imm: tuple[Store, DefinedType, StorageType, int]) -> None:
    store, defined, storage, count = imm
    array = _new_array(store, defined, count, storage_size(storage))
    elements = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    mask = storage_mask(storage)
    array.elements = [v & mask for v in elements] if mask else elements
    stack.append(array)


_FORMS = {
    PackedType.I8: "B",
    PackedType.I16: "H",
    I32: "I",
    I64: "Q",
    F64: "d",
}


def _decoded(raw: bytes | memoryview, storage: StorageType) -> list[Any]:
    """Array elements from the bytes of a data segment (section 4.6.9, array.new_data)."""
    size = storage_size(storage)
    count = len(raw) // size
    if storage is V128:
        return [bytes(raw[at : at + size]) for at in range(0, len(raw), size)]
    if storage is F32:
        return [f32_from_bits(bits) for bits in struct.unpack(f"<{count}I", raw)]
    return list(struct.unpack(f"<{count}{_FORMS[storage]}", raw))


def _decode(
    store: Store,
    to: list[Any],
    at: int,
    data: bytes | memoryview,
    source: int,
    count: int,
    storage: StorageType,
) -> None:
    size = storage_size(storage)
    for start, end in _pieces(store, count, _ELEMENTS):
        to[at + start : at + end] = _decoded(data[source + start * size : source + end * size], storage)


def array_new_data(stack: Stack, imm: tuple[PythonModuleInstance, DefinedType, StorageType, int]) -> None:
    instance, defined, storage, segment = imm
    count, source, size = stack.pop(), stack[-1], storage_size(storage)
    data = instance.datas[segment]
    _inside(source, count * size, data, TrapCode.MEMORY_OUT_OF_BOUNDS)
    array = _new_array(instance.store, defined, count, size)
    _decode(instance.store, array.elements, 0, data, source, count, storage)
    stack[-1] = array


def array_new_elem(stack: Stack, imm: tuple[PythonModuleInstance, DefinedType, int]) -> None:
    instance, defined, segment = imm
    count, source = stack.pop(), stack[-1]
    elem = instance.elems[segment]
    _inside(source, count, elem, TrapCode.TABLE_OUT_OF_BOUNDS)
    array = _new_array(instance.store, defined, count, _REFERENCE)
    _move(instance.store, array.elements, 0, elem, source, count, _ELEMENTS)
    stack[-1] = array


def array_fill(stack: Stack, imm: tuple[Store, StorageType]) -> None:
    store, storage = imm
    count, value, index = stack.pop(), stack.pop(), stack.pop()
    array = as_array(stack.pop())
    array.check(index, count)
    store.pay(count * storage_size(storage))
    mask = storage_mask(storage)
    _fill(store, array.elements, index, value & mask if mask else value, count)


def array_copy(stack: Stack, imm: tuple[Store, StorageType]) -> None:
    store, storage = imm
    count, source_index = stack.pop(), stack.pop()
    source = stack.pop()
    index = stack.pop()
    target = as_array(stack.pop())
    source = as_array(source)
    target.check(index, count)
    source.check(source_index, count)
    store.pay(count * storage_size(storage))
    _move(store, target.elements, index, source.elements, source_index, count, _ELEMENTS)


def array_init_data(stack: Stack, imm: tuple[PythonModuleInstance, StorageType, int]) -> None:
    instance, storage, segment = imm
    count, source, index = stack.pop(), stack.pop(), stack.pop()
    array = as_array(stack.pop())
    array.check(index, count)
    data, size = instance.datas[segment], storage_size(storage)
    _inside(source, count * size, data, TrapCode.MEMORY_OUT_OF_BOUNDS)
    instance.store.pay(count * size)
    _decode(instance.store, array.elements, index, data, source, count, storage)


def array_init_elem(stack: Stack, imm: tuple[PythonModuleInstance, int]) -> None:
    instance, segment = imm
    count, source, index = stack.pop(), stack.pop(), stack.pop()
    array = as_array(stack.pop())
    array.check(index, count)
    elem = instance.elems[segment]
    _inside(source, count, elem, TrapCode.TABLE_OUT_OF_BOUNDS)
    instance.store.pay(count * _REFERENCE)
    _move(instance.store, array.elements, index, elem, source, count, _ELEMENTS)
