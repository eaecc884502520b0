"""Whether a program for 64-bit RISC-V uses floating-point registers: Keystone's monitor does not switch them.

Read from the program itself: its ABI, and each instruction.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_FLOAT_ABI = 0x0006
"""The header's flags that say in which registers floats are passed, 0 for none (RISC-V ELF psABI)."""

_NO_BITS, _EXECUTABLE = 8, 0x4

_OPCODES = frozenset({
    0b0000111, 0b0100111,  # LOAD-FP, STORE-FP: also vectors'
    0b1000011, 0b1000111, 0b1001011, 0b1001111,  # MADD, MSUB, NMSUB, NMADD
    0b1010011,  # OP-FP
    0b1010111,  # OP-V
})  # fmt: skip
"""Of the major opcodes (RISC-V unprivileged ISA, "RV32/64G Instruction Set Listings")."""

_SYSTEM, _FLOAT_REGISTERS = 0b1110011, range(1, 4)
"""Instructions on control registers, of which these are fflags, frm and fcsr."""

_COMPRESSED = frozenset({(0b00, 0b001), (0b00, 0b101), (0b10, 0b001), (0b10, 0b101)})
"""Quadrant and funct3 of C.FLD, C.FSD, C.FLDSP and C.FSDSP."""


def check(program: bytes) -> str | None:
    """What is wrong with a linked program; None where it uses no floating-point register."""
    *_, flags, _, _, _, section_size, count, _ = _HEADER.unpack_from(program)
    if flags & _FLOAT_ABI:
        return "it passes floats in registers: some of it was compiled for another ABI than lp64"
    code = list(_code(program))
    if section_size != _SECTION.size or not count or not any(size for _, size, _ in code):
        return "it has no sections of code that could be looked through"
    found = [each for section in code for each in _float_instructions(program, *section)]
    if found:
        address, instruction = found[0]
        return (
            f"floating-point registers are used by {len(found)} of its instructions, first at {address:#x} "
            f"({instruction:#x})"
        )
    return None


def _code(program: bytes) -> Iterator[tuple[int, int, int]]:
    """Offset, size and address of each section with instructions."""
    start, count = _HEADER.unpack_from(program)[6], _HEADER.unpack_from(program)[12]
    for number in range(count):
        place = start + number * _SECTION.size
        _, kind, flags, address, offset, size, *_ = _SECTION.unpack_from(program, place)
        if flags & _EXECUTABLE and kind != _NO_BITS:
            yield offset, size, address


def _float_instructions(program: bytes, offset: int, size: int, address: int) -> Iterator[tuple[int, int]]:
    """Address and bits of those in a section that use such registers, or have more than 32 bits."""
    at = 0
    while at + 2 <= size:
        half = int.from_bytes(program[offset + at : offset + at + 2], "little")
        if half & 0b11 != 0b11:
            if (half & 0b11, half >> 13) in _COMPRESSED:
                yield address + at, half
            at += 2
            continue
        word = int.from_bytes(program[offset + at : offset + at + 4], "little")
        opcode, function, register = word & 0x7F, word >> 12 & 0b111, word >> 20
        longer = word & 0b11111 == 0b11111
        on_register = opcode == _SYSTEM and function & 0b11 and register in _FLOAT_REGISTERS
        if longer or opcode in _OPCODES or on_register:
            yield address + at, word
        at += 4
