"""Addresses and accesses to memories in the bodies of `shape_bodies`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz.shape_types import Memory, op, unsigned
from tinywasm.codec import MemArg
from tinywasm.instructions import Instruction
from tinywasm.types import I32, I64, ValType

if TYPE_CHECKING:
    from fuzz.shape_bodies import Body

_TEE = op("local.tee")


def pick_memory(b: Body) -> Memory:
    return b.memories[0] if b.random() < 0.7 else b.pick(b.memories)


def address(b: Body, type: ValType, limit: int) -> None:
    """An address that is mostly within bounds."""
    if type is I64:
        wide_address(b)
        return
    number = b.random()
    pointer = b.pick(b.pointers)
    small = int(b.random() * 300)
    if number < 0.12:
        b.number(I32, small if b.random() < 0.95 else limit - 8)
    elif number < 0.24:
        b.get(pointer)
    elif number < 0.54:
        # A constant is added on either side to one of several things; a local may keep the sum.
        left = b.random() < 0.5
        if left:
            b.number(I32, small)
        choice = b.random()
        if choice < 0.4:
            b.get(pointer)
        elif choice < 0.8:
            small_load(b)
        else:
            b.get(pointer)
            b.code += _TEE + unsigned(b.by_type[I32][1])
        if not left:
            b.number(I32, small)
        b.instruction("i32.add", 2, I32)
        choice = b.random()
        if choice < 0.3:
            b.code += _TEE + unsigned(b.pick(b.pointers))
        elif choice < 0.45:
            kept = b.pick(b.pointers)
            b.set(kept)
            if b.random() < 0.3:
                b.between()
            b.get(kept)
    elif number < 0.62:
        b.get(pointer)
        b.assign(pointer)
    elif number < 0.72:
        small_load(b)
    elif number < 0.76:
        b.get(pointer)
        b.number(I32, 1)
        b.instruction("i32.shl", 2, I32)
        if b.random() < 0.5:
            b.get(pointer)
            b.instruction("i32.add", 2, I32)
    elif number < 0.78:
        b.operand(I32)
    else:
        b.depth += 1
        b.operand(I32)
        b.depth -= 1
        b.number(I32, b.pick((63, 255, 252)))
        b.instruction("i32.and", 2, I32)
        if b.random() < 0.2:
            b.code += _TEE + unsigned(pointer)


def wide_address(b: Body) -> None:
    number = b.random()
    if number < 0.2:
        b.number(I64, b.pick((0, 8, 100, 65_528, -1, 1 << 40)) if b.random() < 0.2 else 16)
    elif number < 0.4:
        b.operand(I64)
        b.number(I64, 255)
        b.instruction("i64.and", 2, I64)
    else:
        address(b, I32, 1 << 16)
        b.instruction("i64.extend_i32_u", 1, I64)
        if b.random() < 0.3:
            # Now and then beyond what 32 bits reach.
            b.number(I64, b.pick((24, 24, 24, 1 << 32)))
            b.instruction("i64.add", 2, I64)
    if b.random() < 0.2:
        b.code += _TEE + unsigned(b.local_of(I64))


def small_load(b: Body, pointer: int | None = None) -> None:
    """A load of a number that is an address, from an address that nobody else makes."""
    memory = b.memories[0]
    if memory.address is I64:
        b.get(b.local_of(I64))
        b.number(I64, 60)
        b.instruction("i64.and", 2, I64)
    else:
        b.get(b.pick(b.pointers) if pointer is None else pointer)
    b.code += op(b.pick(("i32.load8_u", "i32.load8_u", "i32.load16_u", "i32.load"))) + b"\0"
    b.code += unsigned(int(b.random() * 8) * 4)
    b.pop(1)
    b.stack.append(I32)


def moving_load(b: Body, below: int = 0) -> None:
    """A load whose address is a local that has just moved, above operands that stand for that as well."""
    pointer = b.pick(b.pointers)
    if b.memories[0].address is I64:
        for _ in range(below):
            b.get(pointer)
        small_load(b)
        return
    b.get(pointer)
    if b.random() < 0.2:
        b.between()
    b.number(I32, b.pick((1, 4, 8, -4)))
    b.instruction("i32.add", 2, I32)
    if below:
        b.code += _TEE + unsigned(pointer)
        for _ in range(below):
            b.get(pointer)
    elif b.random() < 0.5:
        b.code += _TEE + unsigned(pointer)
    else:
        b.set(pointer)
        b.get(pointer)
    b.code += op(b.pick(("i32.load", "i32.load8_u", "i32.load16_s"))) + b"\0\4"


def _memarg(b: Body, row: Instruction, memory: Memory) -> MemArg:
    number = b.random()
    if number < 0.5:
        offset = 0
    elif number < (0.9 if memory.address is I64 else 0.97):
        offset = int(b.random() * 64)
    elif memory.address is I64:
        offset = b.pick((65_530, (1 << 32) - 1, 1 << 32, 1 << 48, 1 << 56, (1 << 64) - 1))
    else:
        offset = b.pick((65_530, 65_536, (1 << 32) - 1))
    size = int(row.immediates[0][6:])
    return MemArg(b.pick((0, size.bit_length() - 1)), memory.index, offset)


def immediates(b: Body, row: Instruction, memory: Memory) -> list[object]:
    """Of an access to a memory."""
    return [_memarg(b, row, memory), *map(b.lane, row.immediates[1:])]


def access(b: Body, row: Instruction) -> None:
    memory = pick_memory(b)
    address(b, memory.address, memory.size)
    if len(row.params) == 2:
        b.between()
        if b.random() < 0.3:
            b.constant(row.params[1])
        else:
            b.operand(row.params[1])
    b.emit_row(row, *immediates(b, row, memory))
    b.pop(len(row.params))
    b.stack += row.results
