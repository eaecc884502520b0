"""The steps of the python engine: what it does for one record of the intermediate form.

A step is a function of these and, in one tuple with it, the immediate that `bind` made, which names the
places of operands and results in the frame. The function takes the activation's frame and that tuple. The
rarer instructions are functions over a stack that has nothing but their operands, as the specification has
them, and an immediate; `with_result` and `without_result` run those.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinywasm.engine.python.bulk import as_array
from tinywasm.engine.python.module_instance import PythonModuleInstance
from tinywasm.errors import Trap, TrapCode, WasmException
from tinywasm.numerics.floats import f32_from_bits, f32_to_bits
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.globals import GlobalInstance
from tinywasm.runtime.heap import (
    I31,
    ExceptionInstance,
    StructInstance,
    TagInstance,
    is_instance,
)
from tinywasm.runtime.limits import ResourceLimits
from tinywasm.runtime.memory import MemoryInstance
from tinywasm.runtime.profile import Profile, Record
from tinywasm.runtime.store import Store
from tinywasm.runtime.table import TableInstance
from tinywasm.types import DefinedType, RefType

if TYPE_CHECKING:
    from tinywasm.engine.python.backend import PythonBackend
    from tinywasm.engine.python.bind import Code

Frame = list[Any]
Stack = list[Any]
Step = Callable[[list[Any], Any], None]

_M32 = 0xFFFFFFFF
_M64 = 0xFFFFFFFFFFFFFFFF


# Bookkeeping


def charge(frame: Frame, imm: tuple[Step, Store, int]) -> None:
    imm[1].charge(imm[2])


def enter(frame: Frame, imm: tuple[Step, Profile, Record]) -> None:
    imm[1].enter(imm[2])


def count(frame: Frame, imm: tuple[Step, Profile, Record, int]) -> None:
    imm[1].count(imm[2], imm[3])


def poll(frame: Frame, imm: tuple[Step, PythonBackend]) -> None:
    if imm[1].poll_wanted:
        imm[1].poll()


class HotLoop(Exception):
    """The loop that begins here is worth a Python function."""


def loop(frame: Frame, imm: tuple[Step, PythonBackend, Code, int]) -> None:
    """The head of a loop, a turn of which counts for some calls."""
    _, backend, code, share = imm
    if backend.poll_wanted:
        backend.poll()
    code.left -= share
    if code.left < 0:
        code.turns -= share
        if code.turns < 0:
            raise HotLoop


# Instructions on a stack of their own


def with_result(frame: Frame, imm: tuple[Step, Step, Any, list[int], int]) -> None:
    _, step, bound, operands, result = imm
    stack = [frame[place] for place in operands]
    step(stack, bound)
    frame[result] = stack[-1]


def without_result(frame: Frame, imm: tuple[Step, Step, Any, list[int]]) -> None:
    _, step, bound, operands = imm
    step([frame[place] for place in operands], bound)


# Parametric, variable


def unreachable(stack: Stack, imm: None) -> None:
    raise Trap(TrapCode.UNREACHABLE)


def put(frame: Frame, imm: tuple[Step, int, Any]) -> None:
    frame[imm[1]] = imm[2]


def move(frame: Frame, imm: tuple[Step, int, int]) -> None:
    frame[imm[1]] = frame[imm[2]]


def move_row(frame: Frame, imm: tuple[Step, int, int, int]) -> None:
    """To the first place, from the second on, so many."""
    _, to, first, count = imm
    frame[to : to + count] = frame[first : first + count]


def select(frame: Frame, imm: tuple[Step, int, int, int, int]) -> None:
    _, result, first, second, condition = imm
    frame[result] = frame[first] if frame[condition] else frame[second]


def global_get(frame: Frame, imm: tuple[Step, int, GlobalInstance]) -> None:
    frame[imm[1]] = imm[2].value


def global_set(frame: Frame, imm: tuple[Step, GlobalInstance, int]) -> None:
    imm[1].value = frame[imm[2]]


# Numeric: the operator is that of `numerics`, the places those of the result and the operands


def unary(frame: Frame, imm: tuple[Step, Callable[[Any], Any], int, int]) -> None:
    _, operator, result, operand = imm
    frame[result] = operator(frame[operand])


def binary(frame: Frame, imm: tuple[Step, Callable[[Any, Any], Any], int, int, int]) -> None:
    _, operator, result, first, second = imm
    frame[result] = operator(frame[first], frame[second])


def ternary(frame: Frame, imm: tuple[Step, Callable[[Any, Any, Any], Any], int, int, int, int]) -> None:
    _, operator, result, first, second, third = imm
    frame[result] = operator(frame[first], frame[second], frame[third])


def several(frame: Frame, imm: tuple[Step, Callable[..., Any], int, list[int]]) -> None:
    """An operator with several results, which follow each other in the frame."""
    _, operator, result, operands = imm
    results = operator(*[frame[place] for place in operands])
    frame[result : result + len(results)] = results


def unary_lane(frame: Frame, imm: tuple[Step, Callable[[Any, Any], Any], int, int, Any]) -> None:
    _, operator, result, operand, lane = imm
    frame[result] = operator(frame[operand], lane)


def binary_lane(frame: Frame, imm: tuple[Step, Callable[[Any, Any, Any], Any], int, int, int, Any]) -> None:
    _, operator, result, first, second, lane = imm
    frame[result] = operator(frame[first], frame[second], lane)


# Memory: the immediate is the memory, the static offset, the lane where there is one, and the places of
# the result and of the operands

Load = tuple[Step, MemoryInstance, int, int, int]
StoreTo = tuple[Step, MemoryInstance, int, int, int]
# An address beyond what the machine can index: pack_into raises IndexError.
NO_ACCESS = (struct.error, OverflowError, IndexError)


def _load(form: str, mask: int = 0) -> Step:
    """A load through a struct format; `mask` brings a sign-extended integer into unsigned form."""
    unpack = struct.Struct("<" + form).unpack_from

    def load(frame: Frame, imm: Load) -> None:
        _, memory, offset, result, address = imm
        try:
            (frame[result],) = unpack(memory.data, frame[address] + offset)
        except NO_ACCESS:
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS) from None

    def load_signed(frame: Frame, imm: Load) -> None:
        _, memory, offset, result, address = imm
        try:
            frame[result] = unpack(memory.data, frame[address] + offset)[0] & mask
        except NO_ACCESS:
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS) from None

    return load_signed if mask else load


def _store(form: str, mask: int = 0) -> Step:
    """A store through a struct format; `mask` wraps an integer to the width stored."""
    pack = struct.Struct("<" + form).pack_into

    def store(frame: Frame, imm: StoreTo) -> None:
        _, memory, offset, address, value = imm
        try:
            pack(memory.data, frame[address] + offset, frame[value])
        except NO_ACCESS:
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS) from None

    def store_wrapped(frame: Frame, imm: StoreTo) -> None:
        _, memory, offset, address, value = imm
        try:
            pack(memory.data, frame[address] + offset, frame[value] & mask)
        except NO_ACCESS:
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS) from None

    return store_wrapped if mask else store


def read(memory: MemoryInstance, address: int, size: int) -> bytes:
    memory.check(address, size)
    return bytes(memory.data[address : address + size])


def write(memory: MemoryInstance, address: int, raw: bytes) -> None:
    memory.check(address, len(raw))
    memory.data[address : address + len(raw)] = raw


def _load_raw(size: int, made: Callable[[bytes], Any]) -> Step:
    """A load of so many bytes, of which `made` makes the value."""

    def load(frame: Frame, imm: Load) -> None:
        _, memory, offset, result, address = imm
        frame[result] = made(read(memory, frame[address] + offset, size))

    return load


def f32_load() -> Step:
    # Not through struct's "f": it would quiet a signalling NaN.
    return _load_raw(4, lambda raw: f32_from_bits(int.from_bytes(raw, "little")))


def f32_store(frame: Frame, imm: StoreTo) -> None:
    _, memory, offset, address, value = imm
    write(memory, frame[address] + offset, f32_to_bits(frame[value]).to_bytes(4, "little"))


def v128_store(frame: Frame, imm: StoreTo) -> None:
    _, memory, offset, address, value = imm
    write(memory, frame[address] + offset, frame[value])


def _load_extend(source: str, target: str) -> Step:
    """`v128.loadNxM`: lanes of format `source` widened to format `target`."""
    unpack, pack = struct.Struct("<" + source).unpack, struct.Struct("<" + target).pack
    return _load_raw(8, lambda raw: pack(*unpack(raw)))


def _load_splat(size: int) -> Step:
    return _load_raw(size, lambda raw: raw * (16 // size))


def _load_zero(size: int) -> Step:
    return _load_raw(size, lambda raw: raw + bytes(16 - size))


def _load_lane(size: int) -> Step:
    def load(frame: Frame, imm: tuple[Step, MemoryInstance, int, int, int, int, int]) -> None:
        _, memory, offset, lane, result, address, operand = imm
        vector = frame[operand]
        lane_bytes = read(memory, frame[address] + offset, size)
        frame[result] = vector[: lane * size] + lane_bytes + vector[(lane + 1) * size :]

    return load


def _store_lane(size: int) -> Step:
    def store(frame: Frame, imm: tuple[Step, MemoryInstance, int, int, int, int]) -> None:
        _, memory, offset, lane, address, operand = imm
        write(memory, frame[address] + offset, frame[operand][lane * size : (lane + 1) * size])

    return store


LOADS_AND_STORES: dict[str, Step] = {
    "i32.load": _load("I"),
    "i64.load": _load("Q"),
    "f32.load": f32_load(),
    "f64.load": _load("d"),
    "i32.load8_s": _load("b", _M32),
    "i32.load8_u": _load("B"),
    "i32.load16_s": _load("h", _M32),
    "i32.load16_u": _load("H"),
    "i64.load8_s": _load("b", _M64),
    "i64.load8_u": _load("B"),
    "i64.load16_s": _load("h", _M64),
    "i64.load16_u": _load("H"),
    "i64.load32_s": _load("i", _M64),
    "i64.load32_u": _load("I"),
    "i32.store": _store("I"),
    "i64.store": _store("Q"),
    "f32.store": f32_store,
    "f64.store": _store("d"),
    "i32.store8": _store("B", 0xFF),
    "i32.store16": _store("H", 0xFFFF),
    "i64.store8": _store("B", 0xFF),
    "i64.store16": _store("H", 0xFFFF),
    "i64.store32": _store("I", _M32),
    "v128.load": _load_raw(16, bytes),
    "v128.store": v128_store,
    "v128.load8x8_s": _load_extend("8b", "8h"),
    "v128.load8x8_u": _load_extend("8B", "8H"),
    "v128.load16x4_s": _load_extend("4h", "4i"),
    "v128.load16x4_u": _load_extend("4H", "4I"),
    "v128.load32x2_s": _load_extend("2i", "2q"),
    "v128.load32x2_u": _load_extend("2I", "2Q"),
    "v128.load8_splat": _load_splat(1),
    "v128.load16_splat": _load_splat(2),
    "v128.load32_splat": _load_splat(4),
    "v128.load64_splat": _load_splat(8),
    "v128.load32_zero": _load_zero(4),
    "v128.load64_zero": _load_zero(8),
    "v128.load8_lane": _load_lane(1),
    "v128.load16_lane": _load_lane(2),
    "v128.load32_lane": _load_lane(4),
    "v128.load64_lane": _load_lane(8),
    "v128.store8_lane": _store_lane(1),
    "v128.store16_lane": _store_lane(2),
    "v128.store32_lane": _store_lane(4),
    "v128.store64_lane": _store_lane(8),
}


def memory_size(stack: Stack, memory: MemoryInstance) -> None:
    stack.append(memory.pages)


def memory_grow(stack: Stack, memory: MemoryInstance) -> None:
    old = memory.grow(stack[-1])
    stack[-1] = memory.failure if old < 0 else old


def data_drop(stack: Stack, imm: tuple[PythonModuleInstance, int]) -> None:
    imm[0].drop_data(imm[1])


# Tables


def table_get(frame: Frame, imm: tuple[Step, TableInstance, int, int]) -> None:
    _, table, result, index = imm
    frame[result] = table.get(frame[index])


def table_set(frame: Frame, imm: tuple[Step, TableInstance, int, int]) -> None:
    _, table, index, value = imm
    table.set(frame[index], frame[value])


def table_size(stack: Stack, table: TableInstance) -> None:
    stack.append(len(table.elements))


def elem_drop(stack: Stack, imm: tuple[PythonModuleInstance, int]) -> None:
    imm[0].drop_elem(imm[1])


def fetch_indirect(frame: Frame, imm: tuple[Step, TableInstance, DefinedType, int, int]) -> None:
    """Put the function that `call_indirect` calls to a place, by the index at another one."""
    _, table, expected, place, result = imm
    index = frame[place]
    if index >= len(table.elements):
        raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS, "undefined element")
    func: FuncInstance | None = table.elements[index]
    if func is None:
        message = f"{TrapCode.INDIRECT_CALL_TO_NULL.value} {index}"
        raise Trap(TrapCode.INDIRECT_CALL_TO_NULL, message)
    actual = func.type
    if actual is not expected and expected not in actual.ancestors:
        raise Trap(TrapCode.BAD_SIGNATURE)
    frame[result] = func


# References


def ref_is_null(frame: Frame, imm: tuple[Step, None, int, int]) -> None:
    _, _, result, reference = imm
    frame[result] = 1 if frame[reference] is None else 0


def ref_as_non_null(frame: Frame, imm: tuple[Step, None, int]) -> None:
    if frame[imm[2]] is None:
        raise Trap(TrapCode.NULL_REFERENCE)


def ref_eq(frame: Frame, imm: tuple[Step, None, int, int, int]) -> None:
    _, _, result, first_place, second_place = imm
    first, second = frame[first_place], frame[second_place]
    frame[result] = 1 if first is second or (isinstance(first, I31) and first == second) else 0


def test_null(frame: Frame, imm: tuple[Step, int, int]) -> None:
    """For branches on whether a reference is null."""
    frame[imm[1]] = frame[imm[2]] is None


def test_cast(frame: Frame, imm: tuple[Step, int, int, RefType]) -> None:
    """For branches on whether a reference is of a type."""
    frame[imm[1]] = is_instance(frame[imm[2]], imm[3])


def ref_test(frame: Frame, imm: tuple[Step, RefType, int, int]) -> None:
    _, wanted, result, reference = imm
    frame[result] = 1 if is_instance(frame[reference], wanted) else 0


def ref_cast(frame: Frame, imm: tuple[Step, RefType, int]) -> None:
    if not is_instance(frame[imm[2]], imm[1]):
        raise Trap(TrapCode.CAST_FAILURE)


def ref_i31(frame: Frame, imm: tuple[Step, None, int, int]) -> None:
    _, _, result, operand = imm
    frame[result] = I31(frame[operand] & 0x7FFFFFFF)


def i31_get_u(frame: Frame, imm: tuple[Step, None, int, int]) -> None:
    _, _, result, reference = imm
    if frame[reference] is None:
        raise Trap(TrapCode.NULL_REFERENCE, "null i31 reference")
    frame[result] = frame[reference].value


def i31_get_s(frame: Frame, imm: tuple[Step, None, int, int]) -> None:
    i31_get_u(frame, imm)
    frame[imm[2]] |= (frame[imm[2]] & 0x40000000) << 1


# Aggregates: a packed field holds its unsigned value


def _struct(value: StructInstance | None) -> StructInstance:
    if value is None:
        raise Trap(TrapCode.NULL_REFERENCE, "null structure reference")
    return value


def struct_get(frame: Frame, imm: tuple[Step, tuple[int, int], int, int]) -> None:
    _, (field, _), result, reference = imm
    frame[result] = _struct(frame[reference]).fields[field]


def struct_get_s(frame: Frame, imm: tuple[Step, tuple[int, int], int, int]) -> None:
    _, (field, width), result, reference = imm
    frame[result] = _sign_extend(_struct(frame[reference]).fields[field], width)


def struct_set(frame: Frame, imm: tuple[Step, tuple[int, int], int, int]) -> None:
    _, (field, mask), reference, place = imm
    value = frame[place]
    _struct(frame[reference]).fields[field] = value & mask if mask else value


def _sign_extend(value: int, width: int) -> int:
    return value | (_M32 << width & _M32) if value >> (width - 1) else value


def array_get(frame: Frame, imm: tuple[Step, int, int, int, int]) -> None:
    _, _, result, reference, place = imm
    array, index = as_array(frame[reference]), frame[place]
    array.check(index, 1)
    frame[result] = array.elements[index]


def array_get_s(frame: Frame, imm: tuple[Step, int, int, int, int]) -> None:
    array_get(frame, imm)
    frame[imm[2]] = _sign_extend(frame[imm[2]], imm[1])


def array_set(frame: Frame, imm: tuple[Step, int, int, int, int]) -> None:
    _, mask, reference, place, operand = imm
    array, index, value = as_array(frame[reference]), frame[place], frame[operand]
    array.check(index, 1)
    array.elements[index] = value & mask if mask else value


def array_len(frame: Frame, imm: tuple[Step, None, int, int]) -> None:
    _, _, result, reference = imm
    frame[result] = len(as_array(frame[reference]).elements)


# Exceptions


def throw(stack: Stack, imm: tuple[ResourceLimits, TagInstance, int]) -> None:
    limits, tag, count = imm
    values = tuple(stack[len(stack) - count :])
    # It is allocated here, whoever catches it.
    limits.lease_object(count)
    raise WasmException(tag, values)


def throw_ref(stack: Stack, limits: ResourceLimits) -> None:
    exception: ExceptionInstance | None = stack.pop()
    if exception is None:
        raise Trap(TrapCode.NULL_REFERENCE, "null exception reference")
    limits.lease_object(len(exception.values))
    raise WasmException(exception.tag, exception.values)


def brought(store: Store, thrown: WasmException, tag: Any, with_ref: bool) -> list[Any]:
    """The values that a clause brings which takes an exception: `tag` is None where it takes all.

    The store has what a reference takes: that was checked where the exception was thrown.
    """
    values = [] if tag is None else list(thrown.values)
    if with_ref:
        lease = store.limits.lease_object(len(thrown.values))
        values.append(ExceptionInstance(thrown.tag, thrown.values, lease))
    return values
