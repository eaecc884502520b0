"""Selection for the rarer instructions of the table: one function for each kind of word."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from tinywasm.engine.ir.form import CONSTANT, Record
from tinywasm.engine.native.frame import FAR_MEMORY, SCRATCH
from tinywasm.engine.native.opcodes import OPCODES
from tinywasm.engine.native.patterns import ANY_MEMORY, WORDS
from tinywasm.instructions import TABLE, Role
from tinywasm.types import V128, PackedType, StructType

_LANE_OFFSETS = (1 << 48) - 1
_M64 = (1 << 64) - 1
_WIDE_MEMORY, _WIDE_LEAVE, _REF_TEST = OPCODES["wide_memory"], OPCODES["wide_leave"], OPCODES["ref_test"]


def _load_lane(b: Any, record: Record) -> None:
    """The word changes a vector in place, so that goes where the result will be."""
    memory = record.second & 0xFFFFFFFF
    # Behind the scratch slots of a result that is out of reach.
    scratch = b.here + SCRATCH + 2 - b.base
    b.move(scratch, record.a)
    result = b.target(record.result)
    b.move(result, record.b)
    _lane(b, record, result, scratch, memory)


def _store_lane(b: Any, record: Record) -> None:
    x, y = b.slot(record.a, 0), b.slot(record.b, 1)
    _lane(b, record, x, y, record.second & 0xFFFFFFFF)


def _lane(b: Any, record: Record, x: int, y: int, memory: int) -> None:
    """An access to a lane, which is the uppermost byte of the immediate."""
    short = memory == 0 and not b.large(0)
    word = (WORDS if short else ANY_MEMORY)[record.row]
    # No memory reaches an offset that does not fit beside the lane.
    offset = min(record.immediate & _M64, _LANE_OFFSETS) | (record.second >> 32) << 56
    if memory >= FAR_MEMORY:
        b.emit(_WIDE_MEMORY, 0, 0, 0, memory)
    b.emit(word, x, y, min(memory, FAR_MEMORY), offset)


def _two_results(b: Any, record: Record) -> None:
    slots = [b.slot(b.lists[record.a + each], each) for each in range(record.b)]
    upper = slots[2] | slots[3] << 16 if len(slots) == 4 else 0
    b.emit(WORDS[record.row], b.target(record.result), slots[0], slots[1], upper)


def _select(b: Any, record: Record) -> None:
    x, y, z = b.slot(record.a, 0), b.slot(record.b, 1), b.slot(record.c, 2)
    wide = record.result & 4
    b.emit(OPCODES["select128" if wide else "select"], b.target(record.result), x, y, z)


def _global_set(b: Any, record: Record) -> None:
    word = OPCODES["global_set128" if record.a & 4 else "global_set"]
    b.emit(word, b.slot(record.a, 0), 0, 0, record.immediate)


def _unreachable(b: Any, record: Record) -> None:
    b.emit(OPCODES["unreachable"], 0, 0, 0, 0)
    b.ended = True


def _throw_ref(b: Any, record: Record) -> None:
    b.emit(OPCODES["throw_ref"], b.slot(record.a, 0), 0, 0, 0)
    b.ended = True


def _ref_test(b: Any, record: Record) -> None:
    concrete, bits = b.cast(b.form.objects[record.immediate])
    b.emit(_REF_TEST, b.target(record.result), b.slot(record.a, 0), concrete, bits)


def _ref_cast(b: Any, record: Record) -> None:
    concrete, bits = b.cast(b.form.objects[record.immediate])
    b.emit(OPCODES["ref_cast"], b.slot(record.a, 0), 0, concrete, bits)


def _as_non_null(b: Any, record: Record) -> None:
    b.emit(OPCODES["ref_as_non_null"], b.slot(record.a, 0), 0, 0, 0)


def field(b: Any, record: Record) -> tuple[int, Any]:
    """The slot and the storage type of a field."""
    composite = b.context.types[record.immediate].composite
    assert isinstance(composite, StructType)
    slots = b.field_slots.get(record.immediate)
    if slots is None:
        # Once for each type: it may have thousands of fields.
        slots = [0, *accumulate(2 if each.storage is V128 else 1 for each in composite.fields)]
        b.field_slots[record.immediate] = slots
    return slots[record.second], composite.fields[record.second].storage


def _struct_get(b: Any, record: Record) -> None:
    slot, storage = field(b, record)
    slot |= record.immediate << 32
    source = b.slot(record.a, 0)
    if TABLE[record.row].name == "struct.get_s":
        assert isinstance(storage, PackedType)
        b.emit(OPCODES["struct_get_s"], b.target(record.result), source, storage.value, slot)
    else:
        word = OPCODES["struct_get128" if storage is V128 else "struct_get"]
        b.emit(word, b.target(record.result), source, 0, slot)


def _struct_set(b: Any, record: Record) -> None:
    slot, storage = field(b, record)
    slot |= record.immediate << 32
    x, y = b.slot(record.a, 0), b.slot(record.b, 1)
    if isinstance(storage, PackedType):
        b.emit(OPCODES["struct_set_packed"], x, y, storage.value, slot)
    else:
        b.emit(OPCODES["struct_set128" if storage is V128 else "struct_set"], x, y, 0, slot)


def _array_get(b: Any, record: Record) -> None:
    x, y = b.slot(record.a, 0), b.slot(record.b, 1)
    word = OPCODES["array_get_s" if TABLE[record.row].name == "array.get_s" else "array_get"]
    b.emit(word, b.target(record.result), x, y, record.immediate)


def _array_set(b: Any, record: Record) -> None:
    x, y, z = b.slot(record.a, 0), b.slot(record.b, 1), b.slot(record.c, 2)
    b.emit(OPCODES["array_set"], x, y, z, record.immediate)


def _call(b: Any, record: Record) -> None:
    """A call; the arguments are the callee's first slots, and the operand that names it is behind them."""
    instruction = TABLE[record.row]
    behind = b.behind(record.a, record.b)
    tail = instruction.role is Role.LEAVES
    far = b.locals.far + b.base
    named = instruction.takes.fixed == 1
    callee = 0
    if named:
        callee = b.seen(record.c)
        if record.c & 3 == CONSTANT or not 0 <= callee <= 0xFFFF or (tail and far):
            callee = behind - b.base
            b.move(callee, record.c)
    slot = b.row(record.a, record.b)
    if tail and far:
        # What replaces the frame begins where that does.
        b.emit(_WIDE_LEAVE, slot, behind - b.here + named, 0, far)
        slot, callee = 0, behind - b.here
    table = record.second & 0xFFFFFFFF
    b.emit(OPCODES[instruction.name], slot, callee if named else 0, 0, record.immediate | table << 32)
    b.ended = tail


RARE: dict[str, Callable[[Any, Record], None]] = {
    **dict.fromkeys(
        ("v128.load8_lane", "v128.load16_lane", "v128.load32_lane", "v128.load64_lane"), _load_lane
    ),
    **dict.fromkeys(
        ("v128.store8_lane", "v128.store16_lane", "v128.store32_lane", "v128.store64_lane"), _store_lane
    ),
    **dict.fromkeys(("i64.add128", "i64.sub128", "i64.mul_wide_s", "i64.mul_wide_u"), _two_results),
    **dict.fromkeys(("call", "call_indirect", "call_ref"), _call),
    **dict.fromkeys(("return_call", "return_call_indirect", "return_call_ref"), _call),
    **dict.fromkeys(("struct.get", "struct.get_s", "struct.get_u"), _struct_get),
    **dict.fromkeys(("array.get", "array.get_s", "array.get_u"), _array_get),
    "unreachable": _unreachable,
    "throw_ref": _throw_ref,
    "select": _select,
    "global.set": _global_set,
    "ref.test": _ref_test,
    "ref.cast": _ref_cast,
    "ref.as_non_null": _as_non_null,
    "struct.set": _struct_set,
    "array.set": _array_set,
}
