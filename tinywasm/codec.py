"""Instruction sequences in their binary form (section 5.4): reading and writing one instruction.

One entry for each immediate kind of the table in READ and WRITE. The decoder, the validator, the
lowering and the printer read with `read_instruction`; the encoder and the parser write with
`write_instruction`. Values of immediates:

    block             None, a ValType, or a type index
    label func type local global table mem tag data elem field count laneN   int
    labels            (labels, default)
    catches           tuple of Catch
    memargN           MemArg
    i32 i64           signed int
    f32 f64           the bit pattern, an unsigned int
    v128 shuffle      16 bytes
    heap              HeapType
    ref refnull       RefType
    types             tuple of ValType
    cast              Cast
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tinywasm import proposals
from tinywasm.errors import DecodeError
from tinywasm.instructions import BY_CODE, TABLE, Instruction
from tinywasm.interruption import STEPS, look
from tinywasm.leb128 import read_signed, read_u32, read_unsigned, write_signed, write_unsigned
from tinywasm.types import (
    F32,
    F64,
    I32,
    I64,
    V128,
    AbstractHeap,
    HeapType,
    NumType,
    PackedType,
    RefType,
    StorageType,
    ValType,
)


class MemArg(NamedTuple):
    """`align` is the exponent of two, `offset` in bytes."""

    align: int
    memory: int
    offset: int


class Catch(NamedTuple):
    """A clause of `try_table`; `tag` None catches all, `ref` hands the exception over as well."""

    tag: int | None
    ref: bool
    label: int


class Cast(NamedTuple):
    """The immediates of `br_on_cast` and `br_on_cast_fail`."""

    label: int
    source: RefType
    target: RefType


BlockType = ValType | int | None

NUMBER_CODES: dict[int, NumType] = {t.code: t for t in (I32, I64, F32, F64, V128)}
PACKED_CODES: dict[int, PackedType] = {0x78: PackedType.I8, 0x77: PackedType.I16}
HEAP_CODES: dict[int, AbstractHeap] = {
    0x74: AbstractHeap.NOEXN,
    0x73: AbstractHeap.NOFUNC,
    0x72: AbstractHeap.NOEXTERN,
    0x71: AbstractHeap.NONE,
    0x70: AbstractHeap.FUNC,
    0x6F: AbstractHeap.EXTERN,
    0x6E: AbstractHeap.ANY,
    0x6D: AbstractHeap.EQ,
    0x6C: AbstractHeap.I31,
    0x6B: AbstractHeap.STRUCT,
    0x6A: AbstractHeap.ARRAY,
    0x69: AbstractHeap.EXN,
}
_CODE_OF_HEAP = {heap: code for code, heap in HEAP_CODES.items()}
_CODE_OF_PACKED = {packed: code for code, packed in PACKED_CODES.items()}
# Table for the usual value types of one byte.
_VALTYPE_CODES: dict[int, ValType] = {
    **NUMBER_CODES,
    **{code: RefType(True, heap) for code, heap in HEAP_CODES.items()},
}
_REF_NULL, _REF = 0x63, 0x64
_EMPTY_BLOCK = 0x40

Reader = Callable[[bytes, int], tuple[Any, int]]


def read_byte(data: bytes, pos: int) -> tuple[int, int]:
    """The byte at `pos`. Raises `DecodeError` where the input ends."""
    if pos >= len(data):
        raise DecodeError("unexpected end of section or function", pos)
    return data[pos], pos + 1


def read_bytes(data: bytes, pos: int, count: int) -> tuple[bytes, int]:
    """`count` bytes at `pos`. Raises `DecodeError` where the input has fewer."""
    raw, after = read_slice(data, pos, count)
    return bytes(raw), after


def read_slice(data: bytes, pos: int, count: int) -> tuple[bytes, int]:
    """As `read_bytes`, but a view where the input is one: for what may be large."""
    if count > len(data) - pos:
        raise DecodeError("unexpected end of section or function", len(data))
    return data[pos : pos + count], pos + count


def read_heaptype(data: bytes, pos: int) -> tuple[HeapType, int]:
    """Section 5.3.3."""
    value, after = read_signed(data, pos, 33)
    if value >= 0:
        return value, after
    heap = HEAP_CODES.get(value & 0x7F)
    if heap is None or after != pos + 1:
        raise DecodeError(f"malformed heap type{proposals.of_type(data[pos])}", pos)
    return heap, after


def read_reftype(data: bytes, pos: int) -> tuple[RefType, int]:
    """Section 5.3.4."""
    byte, after = read_byte(data, pos)
    if byte in (_REF, _REF_NULL):
        heap, after = read_heaptype(data, after)
        return RefType(byte == _REF_NULL, heap), after
    if byte in HEAP_CODES:
        return RefType(True, HEAP_CODES[byte]), after
    raise DecodeError(f"malformed reference type{proposals.of_type(byte)}", pos)


def read_valtype(data: bytes, pos: int) -> tuple[ValType, int]:
    """Section 5.3.5."""
    byte, after = read_byte(data, pos)
    simple = _VALTYPE_CODES.get(byte)
    if simple is not None:
        return simple, after
    if byte in (_REF, _REF_NULL):
        return read_reftype(data, pos)
    raise DecodeError(f"malformed value type{proposals.of_type(byte)}", pos)


def read_storagetype(data: bytes, pos: int) -> tuple[StorageType, int]:
    """Section 5.3.8: a value type or a packed type."""
    packed = PACKED_CODES.get(data[pos]) if pos < len(data) else None
    return (packed, pos + 1) if packed else read_valtype(data, pos)


def _read_block(data: bytes, pos: int) -> tuple[BlockType, int]:
    byte, after = read_byte(data, pos)
    if byte == _EMPTY_BLOCK:
        return None, after
    if byte in _VALTYPE_CODES or byte in (_REF, _REF_NULL):
        return read_valtype(data, pos)
    index, after = read_signed(data, pos, 33)
    if index < 0:
        raise DecodeError(f"malformed block type{proposals.of_type(byte)}", pos)
    return index, after


def read_count(data: bytes, pos: int) -> tuple[int, int]:
    """A vector's length, refused where the rest of the input cannot hold one byte an element.

    The rest begins with the length itself: one element too many is an "unexpected end", as the
    reference interpreter counts.
    """
    count, after = read_u32(data, pos)
    if count > len(data) - pos:
        raise DecodeError("length out of bounds", pos)
    return count, after


def read_run(data: bytes, pos: int) -> tuple[bytes, int]:
    """A vector of bytes, as `read_slice` gives them."""
    count, start = read_u32(data, pos)
    after = start + count
    if after > len(data):
        count, start = read_count(data, pos)
        return read_slice(data, start, count)
    return data[start:after], after


def read_vector(read: Reader, data: bytes, pos: int) -> tuple[tuple[Any, ...], int]:
    """A vector of whatever `read` reads (section 5.1.3)."""
    count, pos = read_count(data, pos)
    items = []
    for index in range(count):
        if index % STEPS == STEPS - 1:
            look()
        item, pos = read(data, pos)
        items.append(item)
    return tuple(items), pos


def _read_labels(data: bytes, pos: int) -> tuple[tuple[tuple[int, ...], int], int]:
    labels, pos = read_vector(read_u32, data, pos)
    default, pos = read_u32(data, pos)
    return (labels, default), pos


_MEMORY_FLAG = 0x40


def _read_memarg(data: bytes, pos: int) -> tuple[MemArg, int]:
    flags, after = read_u32(data, pos)
    if flags >= 2 * _MEMORY_FLAG:
        raise DecodeError("malformed memop flags", pos)
    memory = 0
    if flags & _MEMORY_FLAG:
        memory, after = read_u32(data, after)
    offset, after = read_unsigned(data, after, 64)
    return MemArg(flags % _MEMORY_FLAG, memory, offset), after


def _read_catch(data: bytes, pos: int) -> tuple[Catch, int]:
    kind, after = read_byte(data, pos)
    if kind > 3:
        raise DecodeError("malformed catch clause", pos)
    tag = None
    if kind < 2:
        tag, after = read_u32(data, after)
    label, after = read_u32(data, after)
    return Catch(tag, kind in (1, 3), label), after


def _read_cast(data: bytes, pos: int) -> tuple[Cast, int]:
    flags, after = read_byte(data, pos)
    if flags > 3:
        raise DecodeError("malformed br_on_cast flags", pos)
    label, after = read_u32(data, after)
    source, after = read_heaptype(data, after)
    target, after = read_heaptype(data, after)
    return Cast(label, RefType(flags & 1 != 0, source), RefType(flags & 2 != 0, target)), after


def _read_bits(count: int) -> Reader:
    def read(data: bytes, pos: int) -> tuple[int, int]:
        raw, pos = read_bytes(data, pos, count)
        return int.from_bytes(raw, "little"), pos

    return read


def _read_ref(nullable: bool) -> Reader:
    def read(data: bytes, pos: int) -> tuple[RefType, int]:
        heap, pos = read_heaptype(data, pos)
        return RefType(nullable, heap), pos

    return read


_INDICES = (
    "label",
    "func",
    "type",
    "local",
    "global",
    "table",
    "mem",
    "tag",
    "data",
    "elem",
    "field",
    "count",
)
_LANES = ("lane2", "lane4", "lane8", "lane16")
_MEMARGS = ("memarg1", "memarg2", "memarg4", "memarg8", "memarg16")

READ: dict[str, Reader] = {
    **dict.fromkeys(_INDICES, read_u32),
    **dict.fromkeys(_LANES, read_byte),
    **dict.fromkeys(_MEMARGS, _read_memarg),
    "block": _read_block,
    "labels": _read_labels,
    "catches": lambda data, pos: read_vector(_read_catch, data, pos),
    "i32": lambda data, pos: read_signed(data, pos, 32),
    "i64": lambda data, pos: read_signed(data, pos, 64),
    "f32": _read_bits(4),
    "f64": _read_bits(8),
    "v128": lambda data, pos: read_bytes(data, pos, 16),
    "shuffle": lambda data, pos: read_bytes(data, pos, 16),
    "heap": read_heaptype,
    "ref": _read_ref(False),
    "refnull": _read_ref(True),
    "types": lambda data, pos: read_vector(read_valtype, data, pos),
    "cast": _read_cast,
}

_READERS: list[tuple[Reader, ...]] = [tuple(READ[kind] for kind in row.immediates) for row in TABLE]
_ONE_BYTE: list[Instruction | None] = [BY_CODE.get((None, code)) for code in range(256)]
_PREFIXES = {prefix for prefix, _ in BY_CODE if prefix is not None}


def read_instruction(data: bytes, pos: int) -> tuple[Instruction, tuple[Any, ...], int]:
    """The instruction at `pos`: its row, its immediates, and the position behind it.

    Raises `DecodeError` where the opcode is unknown, an immediate malformed, or the input ends.
    """
    if pos >= len(data):
        raise DecodeError("unexpected end of section or function", pos)
    row = _ONE_BYTE[data[pos]]
    if row is not None:
        pos += 1
    else:
        row, pos = _read_prefixed(data, pos)
    readers = _READERS[row.ordinal]
    if not readers:
        return row, (), pos
    if len(readers) == 1:
        value, pos = readers[0](data, pos)
        return row, (value,), pos
    values = []
    for read in readers:
        value, pos = read(data, pos)
        values.append(value)
    return row, tuple(values), pos


def _read_prefixed(data: bytes, pos: int) -> tuple[Instruction, int]:
    prefix = data[pos]
    if prefix not in _PREFIXES:
        raise DecodeError(f"illegal opcode {prefix:02x}{proposals.of_opcode(None, prefix)}", pos)
    code, after = read_u32(data, pos + 1)
    row = BY_CODE.get((prefix, code))
    if row is None:
        raise DecodeError(f"illegal opcode {prefix:02x} {code:02x}{proposals.of_opcode(prefix, code)}", pos)
    return row, after


def instructions(data: bytes, pos: int, end: int) -> Iterator[tuple[int, Instruction, tuple[Any, ...]]]:
    """All instructions of `data[pos:end]` with their positions. Raises `DecodeError` as above."""
    count = 0
    while pos < end:
        count += 1
        if count % STEPS == 0:
            look()
        row, immediates, after = read_instruction(data, pos)
        yield pos, row, immediates
        pos = after


def write_heaptype(heap: HeapType) -> bytes:
    """Section 5.3.3, of an abstract heap type or an index."""
    if isinstance(heap, AbstractHeap):
        return bytes([_CODE_OF_HEAP[heap]])
    assert isinstance(heap, int)
    return write_signed(heap)


def write_storagetype(storage: StorageType) -> bytes:
    """Sections 5.3.1 to 5.3.8, in the shortest form: number, vector, reference and packed types."""
    if isinstance(storage, NumType):
        return bytes([storage.code])
    if isinstance(storage, PackedType):
        return bytes([_CODE_OF_PACKED[storage]])
    assert isinstance(storage, RefType)
    if storage.nullable and isinstance(storage.heap, AbstractHeap):
        return write_heaptype(storage.heap)
    return bytes([_REF_NULL if storage.nullable else _REF]) + write_heaptype(storage.heap)


def _write_block(block: BlockType) -> bytes:
    if block is None:
        return bytes([_EMPTY_BLOCK])
    return write_signed(block) if isinstance(block, int) else write_storagetype(block)


def _write_memarg(arg: MemArg) -> bytes:
    if arg.memory:
        flags = write_unsigned(arg.align | _MEMORY_FLAG) + write_unsigned(arg.memory)
    else:
        flags = write_unsigned(arg.align)
    return flags + write_unsigned(arg.offset)


def _write_catch(catch: Catch) -> bytes:
    if catch.tag is None:
        return bytes([2 + catch.ref]) + write_unsigned(catch.label)
    return bytes([catch.ref]) + write_unsigned(catch.tag) + write_unsigned(catch.label)


def _write_cast(cast: Cast) -> bytes:
    flags = bytes([cast.source.nullable + 2 * cast.target.nullable])
    return (
        flags
        + write_unsigned(cast.label)
        + write_heaptype(cast.source.heap)
        + write_heaptype(cast.target.heap)
    )


def write_vector(write: Callable[[Any], bytes], items: Any) -> bytes:
    """A vector, each element written by `write` (section 5.1.3)."""
    return write_unsigned(len(items)) + b"".join(map(write, items))


WRITE: dict[str, Callable[[Any], bytes]] = {
    **dict.fromkeys(_INDICES, write_unsigned),
    **dict.fromkeys(_LANES, lambda lane: bytes([lane])),
    **dict.fromkeys(_MEMARGS, _write_memarg),
    "block": _write_block,
    "labels": lambda labels: write_vector(write_unsigned, labels[0]) + write_unsigned(labels[1]),
    "catches": lambda catches: write_vector(_write_catch, catches),
    "i32": write_signed,
    "i64": write_signed,
    "f32": struct.Struct("<I").pack,
    "f64": struct.Struct("<Q").pack,
    "v128": bytes,
    "shuffle": bytes,
    "heap": write_heaptype,
    "ref": lambda ref: write_heaptype(ref.heap),
    "refnull": lambda ref: write_heaptype(ref.heap),
    "types": lambda types: write_vector(write_storagetype, types),
    "cast": _write_cast,
}

_OPCODES = [
    bytes([row.code]) if row.prefix is None else bytes([row.prefix]) + write_unsigned(row.code)
    for row in TABLE
]
_WRITERS = [tuple(WRITE[kind] for kind in row.immediates) for row in TABLE]


def write_instruction(row: Instruction, immediates: tuple[Any, ...] = ()) -> bytes:
    """The instruction's bytes; `immediates` as `read_instruction` gives them."""
    parts = [_OPCODES[row.ordinal]]
    for write, value in zip(_WRITERS[row.ordinal], immediates, strict=True):
        parts.append(write(value))
    return b"".join(parts)
