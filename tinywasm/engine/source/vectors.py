"""Vectors in Python: they are bytes, which `struct` takes apart and puts together.

What is not here calls the operator of `numerics` by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Any

from tinywasm.engine.ir.form import Record
from tinywasm.engine.source.expressions import M64, Value, exact, other
from tinywasm.instructions import TABLE

if TYPE_CHECKING:
    from tinywasm.engine.source.blocks import Block

_VECTOR, _F32X4, _F64X2 = Struct("16s"), Struct("4f"), Struct("2d")
# Names for all functions. In native order, little-endian wherever functions are made, an f32 is rounded to
# nearest when it is packed, to an infinity where it is too large.
NAMES: dict[str, Any] = {
    "V16": _VECTOR.unpack_from,
    "W16": _VECTOR.pack_into,
    "U4": _F32X4.unpack,
    "P4": _F32X4.pack,
    "U2": _F64X2.unpack,
    "P2": _F64X2.pack,
    "from_bytes": int.from_bytes,
}


def _address(block: Block, value: Value, record: Record) -> Value:
    address = exact(block.calm(value))
    offset = record.immediate & M64
    return address.but(text=f"{address.text} + {offset}") if offset else address


def _load(block: Block, record: Record) -> None:
    address = _address(block, block.read(record.a, "i32"), record)
    view = block.memory(record.second, "U8")
    block.put(record.result, block.acting(other(f"V16({view}, {address.text})[0]", "ref", address)))


def _store(block: Block, record: Record) -> None:
    address, value = block.read(record.a, "i32"), block.read(record.b)
    address = _address(block, address, record)
    value = block.calm(value)
    block.act(f"W16({block.memory(record.second, 'U8')}, {address.text}, {value.text})")


def _lanes(block: Block, value: Value, count: int) -> list[str]:
    names = block.variables(count)
    block.say(f"{', '.join(names)} = U{count}({value.text})")
    return names


def _arithmetic(sign: str, count: int, block: Block, record: Record) -> None:
    first, second = block.read(record.a), block.read(record.b)
    first, second = block.named(first), block.named(second)
    left = _lanes(block, first, count)
    right = left if second.text == first.text else _lanes(block, second, count)
    made = block.variables(count)
    for name, a, b in zip(made, left, right, strict=True):
        block.say(f"{name} = {a} {sign} {b}")
    # A NaN is to be the canonical one.
    numbers = " and ".join(f"{name} == {name}" for name in made)
    operator = block.use(str(TABLE[record.row].operator), "operator")
    text = f"(P{count}({', '.join(made)}) if {numbers} else {operator}({first.text}, {second.text}))"
    block.put(record.result, other(text, "ref", first, second))


def _bitwise(sign: str, block: Block, record: Record) -> None:
    # Both are read before one has its turn, or the younger one would be the first.
    first, second = block.read(record.a), block.read(record.b)
    first, second = block.calm(first), block.calm(second)
    left, right = (f"from_bytes({value.text}, 'little')" for value in (first, second))
    block.put(record.result, other(f"({left} {sign} {right}).to_bytes(16, 'little')", "ref", first, second))


NAMED: dict[str, Callable[[Block, Record], None]] = {
    "v128.load": _load,
    "v128.store": _store,
    **{
        f"{shape}.{name}": partial(_arithmetic, sign, count)
        for shape, count in (("f32x4", 4), ("f64x2", 2))
        for name, sign in (("add", "+"), ("sub", "-"), ("mul", "*"))
    },
    **{f"v128.{name}": partial(_bitwise, sign) for name, sign in (("and", "&"), ("or", "|"), ("xor", "^"))},
}
