"""One function for each plain instruction of the python engine.

A step takes the activation's stack and the immediate that lowering bound to it. The stack holds the
locals at its bottom and the operands above them, so a local is an index into it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinywasm.engine.bulk import as_array
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
from tinywasm.runtime.memory import MemoryInstance
from tinywasm.runtime.module import ModuleInstance
from tinywasm.runtime.profile import Profile, Record
from tinywasm.runtime.store import Store
from tinywasm.runtime.table import TableInstance
from tinywasm.types import DefinedType, RefType

if TYPE_CHECKING:
    from tinywasm.engine.python import PythonBackend

Stack = list[Any]
Step = Callable[[Stack, Any], None]

_M32 = 0xFFFFFFFF
_M64 = 0xFFFFFFFFFFFFFFFF


# Bookkeeping


def charge(stack: Stack, imm: tuple[Store, int]) -> None:
    imm[0].charge(imm[1])


def enter(stack: Stack, imm: tuple[Profile, Record]) -> None:
    imm[0].enter(imm[1])


def count(stack: Stack, imm: tuple[Profile, Record, int]) -> None:
    imm[0].count(imm[1], imm[2])


def poll(stack: Stack, backend: PythonBackend) -> None:
    if backend.poll_wanted:
        backend.poll()


# Parametric, variable


def unreachable(stack: Stack, imm: None) -> None:
    raise Trap(TrapCode.UNREACHABLE)


def drop(stack: Stack, imm: None) -> None:
    stack.pop()


def select(stack: Stack, imm: None) -> None:
    condition = stack.pop()
    second = stack.pop()
    if not condition:
        stack[-1] = second


def constant(stack: Stack, value: Any) -> None:
    stack.append(value)


def local_get(stack: Stack, index: int) -> None:
    stack.append(stack[index])


def local_set(stack: Stack, index: int) -> None:
    stack[index] = stack.pop()


def local_tee(stack: Stack, index: int) -> None:
    stack[index] = stack[-1]


def global_get(stack: Stack, instance: GlobalInstance) -> None:
    stack.append(instance.value)


def global_set(stack: Stack, instance: GlobalInstance) -> None:
    instance.value = stack.pop()


# Numeric: the immediate is the operator of `numerics`


def unary(stack: Stack, operator: Callable[[Any], Any]) -> None:
    stack[-1] = operator(stack[-1])


def binary(stack: Stack, operator: Callable[[Any, Any], Any]) -> None:
    second = stack.pop()
    stack[-1] = operator(stack[-1], second)


def ternary(stack: Stack, operator: Callable[[Any, Any, Any], Any]) -> None:
    third = stack.pop()
    second = stack.pop()
    stack[-1] = operator(stack[-1], second, third)


def several(stack: Stack, imm: tuple[Callable[..., Any], int]) -> None:
    """An operator with several results."""
    operator, arity = imm
    operands = stack[-arity:]
    del stack[-arity:]
    stack.extend(operator(*operands))


def unary_lane(stack: Stack, imm: tuple[Callable[[Any, Any], Any], Any]) -> None:
    stack[-1] = imm[0](stack[-1], imm[1])


def binary_lane(stack: Stack, imm: tuple[Callable[[Any, Any, Any], Any], Any]) -> None:
    second = stack.pop()
    stack[-1] = imm[0](stack[-1], second, imm[1])


# Memory: the immediate is the memory and the static offset

Place = tuple[MemoryInstance, int]
# An address beyond what the machine can index: pack_into raises IndexError.
_NO_ACCESS = (struct.error, OverflowError, IndexError)


def _load(form: str, mask: int = 0) -> Step:
    """A load through a struct format; `mask` brings a sign-extended integer into unsigned form."""
    unpack = struct.Struct("<" + form).unpack_from

    def load(stack: Stack, imm: Place) -> None:
        try:
            stack[-1] = unpack(imm[0].data, stack[-1] + imm[1])[0]
        except _NO_ACCESS:
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS) from None

    def load_signed(stack: Stack, imm: Place) -> None:
        try:
            stack[-1] = unpack(imm[0].data, stack[-1] + imm[1])[0] & mask
        except _NO_ACCESS:
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS) from None

    return load_signed if mask else load


def _store(form: str, mask: int = 0) -> Step:
    """A store through a struct format; `mask` wraps an integer to the width stored."""
    pack = struct.Struct("<" + form).pack_into

    def store(stack: Stack, imm: Place) -> None:
        value = stack.pop()
        try:
            pack(imm[0].data, stack.pop() + imm[1], value)
        except _NO_ACCESS:
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS) from None

    def store_wrapped(stack: Stack, imm: Place) -> None:
        value = stack.pop()
        try:
            pack(imm[0].data, stack.pop() + imm[1], value & mask)
        except _NO_ACCESS:
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS) from None

    return store_wrapped if mask else store


def _read(memory: MemoryInstance, address: int, size: int) -> bytes:
    memory.check(address, size)
    return bytes(memory.data[address : address + size])


def f32_load(stack: Stack, imm: Place) -> None:
    # Not through struct's "f": it would quiet a signalling NaN.
    stack[-1] = f32_from_bits(int.from_bytes(_read(imm[0], stack[-1] + imm[1], 4), "little"))


def f32_store(stack: Stack, imm: Place) -> None:
    value = f32_to_bits(stack.pop())
    address = stack.pop() + imm[1]
    imm[0].check(address, 4)
    imm[0].data[address : address + 4] = value.to_bytes(4, "little")


def v128_load(stack: Stack, imm: Place) -> None:
    stack[-1] = _read(imm[0], stack[-1] + imm[1], 16)


def v128_store(stack: Stack, imm: Place) -> None:
    value = stack.pop()
    address = stack.pop() + imm[1]
    imm[0].check(address, 16)
    imm[0].data[address : address + 16] = value


def _load_extend(source: str, target: str) -> Step:
    """`v128.loadNxM`: lanes of format `source` widened to format `target`."""
    unpack, pack = struct.Struct("<" + source).unpack, struct.Struct("<" + target).pack

    def load(stack: Stack, imm: Place) -> None:
        stack[-1] = pack(*unpack(_read(imm[0], stack[-1] + imm[1], 8)))

    return load


def _load_splat(size: int) -> Step:
    def load(stack: Stack, imm: Place) -> None:
        stack[-1] = _read(imm[0], stack[-1] + imm[1], size) * (16 // size)

    return load


def _load_zero(size: int) -> Step:
    def load(stack: Stack, imm: Place) -> None:
        stack[-1] = _read(imm[0], stack[-1] + imm[1], size) + bytes(16 - size)

    return load


def _load_lane(size: int) -> Step:
    def load(stack: Stack, imm: tuple[MemoryInstance, int, int]) -> None:
        memory, offset, lane = imm
        vector = stack.pop()
        lane_bytes = _read(memory, stack[-1] + offset, size)
        stack[-1] = vector[: lane * size] + lane_bytes + vector[(lane + 1) * size :]

    return load


def _store_lane(size: int) -> Step:
    def store(stack: Stack, imm: tuple[MemoryInstance, int, int]) -> None:
        memory, offset, lane = imm
        vector = stack.pop()
        address = stack.pop() + offset
        memory.check(address, size)
        memory.data[address : address + size] = vector[lane * size : (lane + 1) * size]

    return store


LOADS_AND_STORES: dict[str, Step] = {
    "i32.load": _load("I"),
    "i64.load": _load("Q"),
    "f32.load": f32_load,
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
    "v128.load": v128_load,
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


def data_drop(stack: Stack, imm: tuple[ModuleInstance, int]) -> None:
    imm[0].datas[imm[1]] = b""


# Tables


def table_get(stack: Stack, table: TableInstance) -> None:
    stack[-1] = table.get(stack[-1])


def table_set(stack: Stack, table: TableInstance) -> None:
    value = stack.pop()
    table.set(stack.pop(), value)


def table_size(stack: Stack, table: TableInstance) -> None:
    stack.append(len(table.elements))


def elem_drop(stack: Stack, imm: tuple[ModuleInstance, int]) -> None:
    imm[0].elems[imm[1]] = []


def fetch_indirect(stack: Stack, imm: tuple[TableInstance, DefinedType]) -> None:
    """Replace the table index on the stack by the function that `call_indirect` calls."""
    table, expected = imm
    index = stack[-1]
    if index >= len(table.elements):
        raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS, "undefined element")
    func: FuncInstance | None = table.elements[index]
    if func is None:
        message = f"{TrapCode.INDIRECT_CALL_TO_NULL.value} {index}"
        raise Trap(TrapCode.INDIRECT_CALL_TO_NULL, message)
    actual = func.type
    if actual is not expected and expected not in actual.ancestors:
        raise Trap(TrapCode.BAD_SIGNATURE)
    stack[-1] = func


# References


def ref_is_null(stack: Stack, imm: None) -> None:
    stack[-1] = 1 if stack[-1] is None else 0


def ref_as_non_null(stack: Stack, imm: None) -> None:
    if stack[-1] is None:
        raise Trap(TrapCode.NULL_REFERENCE)


def ref_eq(stack: Stack, imm: None) -> None:
    second = stack.pop()
    first = stack[-1]
    stack[-1] = 1 if first is second or (isinstance(first, I31) and first == second) else 0


def test_null(stack: Stack, imm: None) -> None:
    """For `br_on_null`: a null becomes 1, anything else stays with 0 above it."""
    if stack[-1] is None:
        stack[-1] = 1
    else:
        stack.append(0)


def test_non_null(stack: Stack, imm: None) -> None:
    """For `br_on_non_null`: a null becomes 0, anything else stays with 1 above it."""
    if stack[-1] is None:
        stack[-1] = 0
    else:
        stack.append(1)


def test_cast(stack: Stack, wanted: RefType) -> None:
    """For `br_on_cast`: the verdict goes above the reference."""
    stack.append(1 if is_instance(stack[-1], wanted) else 0)


def test_cast_fail(stack: Stack, wanted: RefType) -> None:
    """For `br_on_cast_fail`."""
    stack.append(0 if is_instance(stack[-1], wanted) else 1)


def ref_test(stack: Stack, wanted: RefType) -> None:
    stack[-1] = 1 if is_instance(stack[-1], wanted) else 0


def ref_cast(stack: Stack, wanted: RefType) -> None:
    if not is_instance(stack[-1], wanted):
        raise Trap(TrapCode.CAST_FAILURE)


def ref_i31(stack: Stack, imm: None) -> None:
    stack[-1] = I31(stack[-1] & 0x7FFFFFFF)


def i31_get_u(stack: Stack, imm: None) -> None:
    if stack[-1] is None:
        raise Trap(TrapCode.NULL_REFERENCE, "null i31 reference")
    stack[-1] = stack[-1].value


def i31_get_s(stack: Stack, imm: None) -> None:
    i31_get_u(stack, None)
    stack[-1] |= (stack[-1] & 0x40000000) << 1


# Aggregates: a packed field holds its unsigned value


def _struct(value: StructInstance | None) -> StructInstance:
    if value is None:
        raise Trap(TrapCode.NULL_REFERENCE, "null structure reference")
    return value


def struct_get(stack: Stack, imm: tuple[int, int]) -> None:
    stack[-1] = _struct(stack[-1]).fields[imm[0]]


def struct_get_s(stack: Stack, imm: tuple[int, int]) -> None:
    field, width = imm
    stack[-1] = _sign_extend(_struct(stack[-1]).fields[field], width)


def struct_set(stack: Stack, imm: tuple[int, int]) -> None:
    field, mask = imm
    value = stack.pop()
    _struct(stack.pop()).fields[field] = value & mask if mask else value


def _sign_extend(value: int, width: int) -> int:
    return value | (_M32 << width & _M32) if value >> (width - 1) else value


def array_get(stack: Stack, imm: int) -> None:
    index = stack.pop()
    array = as_array(stack[-1])
    array.check(index, 1)
    stack[-1] = array.elements[index]


def array_get_s(stack: Stack, width: int) -> None:
    array_get(stack, width)
    stack[-1] = _sign_extend(stack[-1], width)


def array_set(stack: Stack, mask: int) -> None:
    value, index = stack.pop(), stack.pop()
    array = as_array(stack.pop())
    array.check(index, 1)
    array.elements[index] = value & mask if mask else value


def array_len(stack: Stack, imm: None) -> None:
    stack[-1] = len(as_array(stack[-1]).elements)


# Exceptions


def throw(stack: Stack, imm: tuple[TagInstance, int]) -> None:
    tag, count = imm
    values = tuple(stack[len(stack) - count :])
    raise WasmException(tag, values)


def throw_ref(stack: Stack, imm: None) -> None:
    exception: ExceptionInstance | None = stack.pop()
    if exception is None:
        raise Trap(TrapCode.NULL_REFERENCE, "null exception reference")
    raise WasmException(exception.tag, exception.values)
