"""Structures, arrays, unboxed scalars and references in Python.

An object lies in a variable before anything is asked of it. Python's own errors tell the traps: that None has
no fields, elements or value, and that a list has no such element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Record
from tinywasm.engine.source.expressions import Value, exact, integer, made, other, truth, type_name
from tinywasm.engine.source.formulas import OPERATORS
from tinywasm.instructions import TABLE
from tinywasm.runtime.heap import MAX_ARRAY_LENGTH
from tinywasm.runtime.store import BYTES_A_UNIT
from tinywasm.types import V128, ArrayType, PackedType, RefType, StorageType, StructType

if TYPE_CHECKING:
    from tinywasm.engine.source.blocks import Block

# Types


def _fields(block: Block, index: int) -> tuple[StorageType, ...]:
    struct = block.unit.context.types[index].composite
    assert isinstance(struct, StructType)
    return tuple(field.storage for field in struct.fields)


def _element(block: Block, index: int) -> StorageType:
    array = block.unit.context.types[index].composite
    assert isinstance(array, ArrayType)
    return array.field.storage


def _type(block: Block, index: int) -> str:
    return block.use(f"y{index}", "type", index)


def _named(block: Block, place: int) -> Value:
    return block.named(block.read(place))


def is_instance(block: Block, text: str, wanted: int) -> str:
    """Whether a variable or None is of a type, which `wanted` is the number of."""
    name = block.use(f"r{block.unit.index}_{wanted}", "cast", wanted)
    slow = f"is_instance({text}, {name})"
    type = block.unit.code.objects[wanted]
    assert isinstance(type, RefType)
    if not isinstance(type.heap, int):
        return slow
    composite = block.unit.context.types[type.heap].composite
    if not isinstance(composite, StructType | ArrayType):
        return slow
    kind = "Struct" if isinstance(composite, StructType) else "Array"
    defined = _type(block, type.heap)
    quick = f"(k := {text}.type) is {defined} or {defined} in k.ancestors"
    return f"(({quick}) if {text}.__class__ is {kind} else {slow})"


# Reading and writing


def _stored(value: Value, storage: StorageType) -> str:
    """What a field or an element holds of a value."""
    if not isinstance(storage, PackedType):
        return exact(value).text
    mask = (1 << storage.value) - 1
    if value.low >= 0 and value.high <= mask:
        return value.text
    return integer("i32", value.low & mask).text if value.known else f"{value.text} & {mask}"


def _put(block: Block, record: Record, storage: StorageType, text: str, *parts: Value) -> None:
    """Give the result what a field or an element holds."""
    if not isinstance(storage, PackedType):
        block.put(record.result, block.acting(other(text, type_name(storage), *parts)))
        return
    packed = made(text, "i32", 0, (1 << storage.value) - 1, *parts)
    if TABLE[record.row].name.endswith("_s"):
        extend = OPERATORS[f"i32.extend{storage.value}_s"]
        block.put(record.result, extend(block.calm(block.acting(packed))))
    else:
        block.put(record.result, block.acting(packed))


def _struct_get(block: Block, record: Record) -> None:
    struct, storage = _named(block, record.a), _fields(block, record.immediate)[record.second]
    _put(block, record, storage, f"{struct.text}.fields[{record.second}]", struct)


def _array_get(block: Block, record: Record) -> None:
    array, index = block.read(record.a), block.read(record.b, "i32")
    array, index = block.named(array), exact(block.calm(index))
    storage = _element(block, record.immediate)
    _put(block, record, storage, f"{array.text}.elements[{index.text}]", array, index)


def _struct_set(block: Block, record: Record) -> None:
    storage = _fields(block, record.immediate)[record.second]
    struct, value = block.read(record.a), block.read(record.b, type_name(storage))
    struct, value = block.named(struct), block.calm(value)
    block.act(f"{struct.text}.fields[{record.second}] = {_stored(value, storage)}")


def _array_set(block: Block, record: Record) -> None:
    storage = _element(block, record.immediate)
    array, index = block.read(record.a), block.read(record.b, "i32")
    value = block.read(record.c, type_name(storage))
    array, index, value = block.named(array), exact(block.calm(index)), block.calm(value)
    block.act(f"{array.text}.elements[{index.text}] = {_stored(value, storage)}")


def _array_len(block: Block, record: Record) -> None:
    array = _named(block, record.a)
    length = made(f"len({array.text}.elements)", "i32", 0, MAX_ARRAY_LENGTH, array)
    block.put(record.result, block.acting(length))


# Making


def _struct(block: Block, record: Record, fields: list[str], *parts: Value) -> None:
    text = f"Struct({_type(block, record.immediate)}, [{', '.join(fields)}], {_lease(len(fields))})"
    block.put(record.result, block.acting(other(text, "ref", *parts)))


def _lease(count: int) -> str:
    return f"LIMITS.lease_object({count}) if LIMITS.total_memory is not None else None"


def _paid(block: Block, storages: tuple[StorageType, ...]) -> bool:
    """Whether a structure costs fuel."""
    size = sum(16 if storage is V128 else 8 for storage in storages)
    return block.unit.metered and size >= BYTES_A_UNIT


def _struct_new(block: Block, record: Record) -> None:
    storages = _fields(block, record.immediate)
    if _paid(block, storages):
        block.generic(record)
        return
    places = form.operands(block.unit.code, record)
    types = [type_name(storage) for storage in storages]
    values = [block.read(place, type) for place, type in zip(places, types, strict=True)]
    values = [block.calm(value) for value in values]
    _struct(block, record, [_stored(*each) for each in zip(values, storages, strict=True)], *values)


def _struct_new_default(block: Block, record: Record) -> None:
    storages = _fields(block, record.immediate)
    if _paid(block, storages):
        block.generic(record)
        return
    defaults = {"i32": "0", "i64": "0", "f32": "0.0", "f64": "0.0"}
    zero = repr(bytes(16))
    _struct(
        block,
        record,
        [zero if each is V128 else defaults.get(type_name(each), "None") for each in storages],
    )


def _ref_i31(block: Block, record: Record) -> None:
    value = block.read(record.a, "i32")
    part = OPERATORS["i32.and"](value, integer("i32", 0x7FFFFFFF))
    block.put(record.result, other(f"I31({part.text})", "ref", value))


def _i31_get(block: Block, record: Record) -> None:
    reference = _named(block, record.a)
    value = block.acting(made(f"{reference.text}.value", "i32", 0, 0x7FFFFFFF, reference))
    if TABLE[record.row].name == "i31.get_s":
        value = block.calm(value)
        sign = OPERATORS["i32.and"](value, integer("i32", 0x40000000))
        value = OPERATORS["i32.or"](value, OPERATORS["i32.shl"](sign, integer("i32", 1)))
    block.put(record.result, value)


# Asking


def _ref_is_null(block: Block, record: Record) -> None:
    value = block.read(record.a)
    block.put(record.result, truth(f"{value.text} is None", value))


def _ref_eq(block: Block, record: Record) -> None:
    first, second = block.read(record.a), block.read(record.b)
    first, second = block.named(first), block.named(second)
    a, b = first.text, second.text
    block.put(record.result, truth(f"({a} is {b} or {a}.__class__ is I31 and {a} == {b})", first, second))


def _ref_test(block: Block, record: Record) -> None:
    value = block.named(block.read(record.a))
    block.put(record.result, truth(is_instance(block, value.text, record.immediate), value))


def _ref_cast(block: Block, record: Record) -> None:
    block.settle()
    block.act(f"{is_instance(block, block.read(record.a).text, record.immediate)} or cast_failure()")


def _ref_as_non_null(block: Block, record: Record) -> None:
    block.settle()
    block.act(f"{block.read(record.a).text} is not None or null_reference()")


NAMED: dict[str, Callable[[Block, Record], None]] = {
    "struct.new": _struct_new,
    "struct.new_default": _struct_new_default,
    "struct.get": _struct_get,
    "struct.get_s": _struct_get,
    "struct.get_u": _struct_get,
    "struct.set": _struct_set,
    "array.get": _array_get,
    "array.get_s": _array_get,
    "array.get_u": _array_get,
    "array.set": _array_set,
    "array.len": _array_len,
    "ref.i31": _ref_i31,
    "i31.get_s": _i31_get,
    "i31.get_u": _i31_get,
    "ref.is_null": _ref_is_null,
    "ref.eq": _ref_eq,
    "ref.test": _ref_test,
    "ref.cast": _ref_cast,
    "ref.as_non_null": _ref_as_non_null,
}
