"""References, objects, tables and bulk instructions in the bodies of `shape_bodies`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fuzz.shape_accesses import address, pick_memory
from fuzz.shape_types import ARRAYS, CALLEES, FIELDS, GLOBALS, REF_ARRAYS, REF_STRUCT, STRUCT, SUBSTRUCT, op
from tinywasm.instructions import BY_NAME
from tinywasm.leb128 import write_signed
from tinywasm.types import (
    ANYREF,
    EXNREF,
    EXTERNREF,
    F32,
    F64,
    FUNCREF,
    I32,
    I64,
    V128,
    AbstractHeap,
    HeapType,
    PackedType,
    RefType,
    StorageType,
    ValType,
)

if TYPE_CHECKING:
    from fuzz.shape_bodies import Body

# Table -> the type of its indices; what they hold.
_TABLES: list[tuple[ValType, RefType]] = [(I32, FUNCREF), (I64, FUNCREF), (I32, REF_STRUCT)]
# Passive segments: of bytes, of functions, of structures.
_DATAS, _FUNCTIONS, _OBJECTS = (0, 1), 2, 4
_TESTED: list[HeapType] = [STRUCT, SUBSTRUCT, AbstractHeap.I31, AbstractHeap.ARRAY]
_ARRAY_OF = {type: index for index, type in REF_ARRAYS.items()}


def _operand_type(storage: StorageType) -> ValType:
    return I32 if isinstance(storage, PackedType) else storage


def index(b: Body, type: ValType, below: int = 4, *, wild: float = 0.03) -> None:
    """An index that is mostly less than `below`, a power of two."""
    number = b.random()
    if number < 0.5:
        b.number(type, int(b.random() * below))
    elif number < 0.5 + wild:
        b.operand(type)
    else:
        b.operand(type)
        b.number(type, below - 1)
        b.instruction("i32.and" if type is I32 else "i64.and", 2, type)
        if b.random() < 0.3:
            b.code += op("local.tee") + bytes([b.tee_of(type)])


def reference(b: Body, type: RefType) -> None:
    """Leave a reference of the type, made in some way."""
    number = b.random()
    if number < 0.12:
        b.select(type)
    elif number < 0.3:
        b.structured((type,))
    elif number < 0.4 and type in GLOBALS:
        b.emit("global.get", GLOBALS.index(type))
        b.stack.append(type)
    elif number < 0.5:
        b.operand(type)
        b.emit("local.tee", b.local_of(type))
    else:
        _MAKERS.get(type, _array)(b, type)


def _function(b: Body, type: RefType) -> None:
    if b.random() < 0.5:
        b.emit("ref.func", int(b.random() * len(CALLEES)))
        b.stack.append(FUNCREF)
    else:
        _table_get(b, int(b.random() * 2))


def _table_get(b: Body, table: int) -> None:
    index(b, _TABLES[table][0], 8 if table < 2 else 4)
    b.emit("table.get", table)
    b.stack[-1] = _TABLES[table][1]


def _new_structure(b: Body) -> None:
    for field in FIELDS:
        b.operand(_operand_type(field))
        if b.random() < 0.1:
            b.between()
    sub = b.random() < 0.3
    if sub:
        b.operand(I64)
    b.emit("struct.new", SUBSTRUCT if sub else STRUCT)
    b.pop(len(FIELDS) + sub)
    b.stack.append(REF_STRUCT)


def _structure(b: Body, type: RefType) -> None:
    number = b.random()
    if number < 0.3:
        _new_structure(b)
    elif number < 0.5:
        b.emit("struct.new_default", SUBSTRUCT if b.random() < 0.5 else STRUCT)
        b.stack.append(REF_STRUCT)
    elif number < 0.7:
        _table_get(b, 2)
    elif number < 0.8:
        structure(b)
        b.emit("struct.get", STRUCT, FIELDS.index(REF_STRUCT))
    elif number < 0.9:
        b.call((REF_STRUCT,))
    else:
        structure(b)
        b.emit_row(BY_NAME["ref.cast"][1], REF_STRUCT)


def _any(b: Body, type: RefType) -> None:
    number = b.random()
    if number < 0.4:
        b.operand(I32)
        b.instruction("ref.i31", 1, ANYREF)
    elif number < 0.7:
        structure(b)
        b.stack[-1] = ANYREF
    elif number < 0.85:
        b.operand(EXTERNREF)
        b.instruction("any.convert_extern", 1, ANYREF)
    else:
        b.operand(ANYREF)


def _extern(b: Body, type: RefType) -> None:
    b.operand(ANYREF)
    b.instruction("extern.convert_any", 1, EXTERNREF)


def _exception(b: Body, type: RefType) -> None:
    b.operand(EXNREF)


def _array(b: Body, type: RefType) -> None:
    """An array of at least four elements, unless something else is asked for."""
    made = _ARRAY_OF[type]
    storage = ARRAYS[made]
    element = _operand_type(storage)
    number = b.random()
    if number < 0.3:
        b.operand(element)
        b.between()
        # Not so long that engines differ in whether they have the memory.
        index(b, I32, 8, wild=0)
        b.instruction("array.new", 2, type)
        b.code += bytes([made])
    elif number < 0.5:
        b.number(I32, 6)
        b.instruction("array.new_default", 1, type)
        b.code += bytes([made])
    elif number < 0.8:
        count = int(b.random() * 6)
        for _ in range(count):
            b.operand(element)
        b.emit("array.new_fixed", made, count)
        b.pop(count)
        b.stack.append(type)
    else:
        segment = _OBJECTS if isinstance(storage, RefType) else int(b.random() * 2)
        index(b, I32)
        index(b, I32, 2)
        b.emit("array.new_elem" if segment == _OBJECTS else "array.new_data", made, segment)
        b.pop(2)
        b.stack.append(type)


_MAKERS: dict[RefType, Callable[[Body, RefType], None]] = {
    FUNCREF: _function,
    REF_STRUCT: _structure,
    ANYREF: _any,
    EXTERNREF: _extern,
    EXNREF: _exception,
}


def structure(b: Body) -> None:
    """A structure, which is seldom null."""
    number = b.random()
    if number < 0.2 and b.left > 0:
        _new_structure(b)
    elif number < 0.5:
        b.emit("struct.new_default", STRUCT)
        b.stack.append(REF_STRUCT)
    elif number < 0.7:
        b.number(I32, 0)
        b.emit("table.get", 2)
        b.stack[-1] = REF_STRUCT
    elif number < 0.9:
        b.emit("struct.new_default", STRUCT)
        b.stack.append(REF_STRUCT)
        b.emit("local.tee", b.local_of(REF_STRUCT))
    else:
        b.operand(REF_STRUCT)
    if b.random() < 0.1:
        b.code += op("ref.as_non_null")


def array(b: Body, made: int) -> None:
    """An array of some type, mostly of some elements."""
    type = REF_ARRAYS[made]
    number = b.random()
    if number < 0.25:
        b.number(I32, 8)
        b.instruction("array.new_default", 1, type)
        b.code += bytes([made])
    elif number < 0.9 or type not in b.by_type:
        _array(b, type)
    else:
        b.operand(type)
    if type in b.by_type and b.random() < 0.3:
        b.emit("local.tee", b.local_of(type))


def element(b: Body, type: ValType) -> None:
    """A number that comes from an object, or says how large something is."""
    number = b.random()
    if number < 0.4:
        fitting = [n for n, field in enumerate(FIELDS) if _operand_type(field) is type]
        field = b.pick(fitting)
        structure(b)
        b.emit(_get("struct", b, FIELDS[field]), STRUCT, field)
        b.stack[-1] = type
    elif number < 0.7 or type not in (I32, I64):
        made = b.pick([each for each, storage in ARRAYS.items() if _operand_type(storage) is type])
        array(b, made)
        b.between()
        index(b, I32)
        b.emit(_get("array", b, ARRAYS[made]), made)
        b.pop(1)
        b.stack[-1] = type
    else:
        _size(b, type)


def _get(kind: str, b: Body, storage: StorageType) -> str:
    return f"{kind}.get" + (b.pick(("_s", "_u")) if isinstance(storage, PackedType) else "")


def _size(b: Body, type: ValType) -> None:
    number = b.random()
    if type is I32 and number < 0.25:
        array(b, b.pick(list(ARRAYS)))
        b.instruction("array.len", 1, I32)
    elif type is I32 and number < 0.5:
        b.operand(I32)
        b.code += op("ref.i31")
        if b.random() < 0.3:
            b.stack[-1] = ANYREF
            b.emit("local.tee", b.local_of(ANYREF))
            b.emit_row(BY_NAME["ref.cast"][0], RefType(False, AbstractHeap.I31))
        b.code += op(b.pick(("i31.get_s", "i31.get_u")))
        b.stack[-1] = I32
    elif number < 0.7:
        table = 1 if type is I64 else b.pick((0, 2))
        if b.random() < 0.5:
            b.emit("table.size", table)
            b.stack.append(type)
        else:
            b.operand(_TABLES[table][1])
            index(b, type, 2)
            b.emit("table.grow", table)
            b.pop(2)
            b.stack.append(type)
    else:
        fitting = [memory for memory in b.memories if memory.address is type]
        memory = b.pick(fitting) if fitting else b.memories[0]
        if b.random() < 0.7:
            b.emit("memory.size", memory.index)
            b.stack.append(memory.address)
        else:
            index(b, memory.address, 2)
            b.emit("memory.grow", memory.index)
        if memory.address is not type:
            b.instruction("i64.extend_i32_u" if type is I64 else "i32.wrap_i64", 1, type)


def test(b: Body) -> None:
    """An i32 that says something of a reference."""
    number = b.random()
    if number < 0.3:
        b.operand(b.pick((REF_STRUCT, ANYREF, FUNCREF, EXTERNREF)))
        b.instruction("ref.is_null", 1, I32)
    elif number < 0.6:
        structure(b)
        b.between()
        b.operand(REF_STRUCT)
        b.instruction("ref.eq", 2, I32)
    else:
        b.operand(ANYREF)
        target = b.pick(_TESTED)
        nullable = int(b.random() * 2)
        b.emit_row(BY_NAME["ref.test"][nullable], RefType(bool(nullable), target))
        b.stack[-1] = I32


# Statements


def _struct_set(b: Body) -> None:
    field = int(b.random() * len(FIELDS))
    structure(b)
    kept = b.local_of(REF_STRUCT) if b.random() < 0.4 else None
    if kept is not None:
        b.emit("local.tee", kept)
    b.between()
    b.operand(_operand_type(FIELDS[field]))
    b.emit("struct.set", STRUCT, field)
    b.pop(2)
    if kept is not None:
        # What the field holds of the operand.
        b.get(kept)
        b.emit(_get("struct", b, FIELDS[field]), STRUCT, field)
        b.stack[-1] = _operand_type(FIELDS[field])
        b.consume()


# What says of two operands of a type whether they differ; floats are compared by their bits.
_DIFFER: dict[ValType, tuple[str, ...]] = {
    I32: ("i32.ne",),
    I64: ("i64.ne",),
    F32: ("i32.ne",),
    F64: ("i64.ne",),
    V128: ("v128.xor", "v128.any_true"),
    REF_STRUCT: ("ref.eq", "i32.eqz"),
}
_BITS: dict[ValType, str] = {F32: "i32.reinterpret_f32", F64: "i64.reinterpret_f64"}


def set_field(b: Body, field: int) -> None:
    """A field of a structure in a global gets an operand, with a trap where it does not hold that then."""
    storage, structures = FIELDS[field], GLOBALS.index(REF_STRUCT)
    packed = isinstance(storage, PackedType)
    type = _operand_type(storage)
    value, bits = b.local_of(type), op(_BITS[type]) if type in _BITS else b""
    b.emit("struct.new_default", STRUCT)
    b.emit("global.set", structures)
    b.operand(type)
    if packed:
        # More than fits.
        b.code += op("i32.const") + write_signed(0x12345) + op("i32.or")
    elif type is V128:
        # Both halves, where the operand was zero.
        b.code += op("v128.not")
    b.emit("local.set", value)
    b.emit("global.get", structures)
    b.emit("local.get", value)
    b.emit("struct.set", STRUCT, field)
    b.emit("local.get", value)
    b.code += bits
    if isinstance(storage, PackedType):
        b.code += op("i32.const") + write_signed((1 << storage.value) - 1) + op("i32.and")
    b.emit("global.get", structures)
    b.emit("struct.get_u" if packed else "struct.get", STRUCT, field)
    b.code += bits
    for name in _DIFFER[type]:
        b.code += op(name)
    b.code += op("if") + b"\x40" + op("unreachable") + op("end")
    b.pop(1)


def _array_set(b: Body) -> None:
    made = b.pick(list(ARRAYS))
    array(b, made)
    b.between()
    index(b, I32)
    b.between()
    b.operand(_operand_type(ARRAYS[made]))
    b.emit("array.set", made)
    b.pop(3)


def _array_bulk(b: Body) -> None:
    made = b.pick(list(ARRAYS))
    storage = ARRAYS[made]
    array(b, made)
    index(b, I32)
    number = b.random()
    if number < 0.35:
        b.operand(_operand_type(storage))
        b.between()
        index(b, I32)
        b.emit("array.fill", made)
        b.pop(4)
    elif number < 0.7:
        array(b, made)
        index(b, I32)
        index(b, I32)
        b.emit("array.copy", made, made)
        b.pop(5)
    else:
        index(b, I32, 2)
        index(b, I32, 2)
        objects = isinstance(storage, RefType)
        b.emit("array.init_elem" if objects else "array.init_data", made, _OBJECTS if objects else 0)
        b.pop(4)


def _table_set(b: Body) -> None:
    # The first elements are called.
    table = int(b.random() * 3)
    address, element = _TABLES[table]
    if table < 2:
        b.number(address, 11)
    else:
        index(b, address)
    b.between()
    b.operand(element)
    b.emit("table.set", table)
    b.pop(2)


def _table_bulk(b: Body) -> None:
    number = b.random()
    if number < 0.4:
        b.number(I32, 4)
        b.operand(REF_STRUCT)
        index(b, I32, 2)
        b.emit("table.fill", 2)
    elif number < 0.7:
        b.number(I64, 11)
        b.number(I32, 1)
        index(b, I32, 2)
        b.emit("table.copy", 1, 0)
    elif number < 0.98:
        b.number(I64, 11)
        index(b, I32, 2)
        index(b, I32, 2)
        b.emit("table.init", _FUNCTIONS, 1)
    else:
        b.emit("elem.drop", _FUNCTIONS)
        return
    b.pop(3)


def _memory_bulk(b: Body) -> None:
    memory, other = pick_memory(b), pick_memory(b)
    number = b.random()
    address(b, memory.address, memory.size)
    b.between()
    if number < 0.35:
        b.operand(I32)
        index(b, memory.address, 16)
        b.emit("memory.fill", memory.index)
    elif number < 0.7:
        address(b, other.address, other.size)
        both = I64 if memory.address is other.address is I64 else I32
        index(b, both, 16)
        b.emit("memory.copy", memory.index, other.index)
    else:
        index(b, I32)
        index(b, I32)
        b.emit("memory.init", b.pick(_DATAS), memory.index)
    b.pop(3)
    if number > 0.995:
        b.emit("data.drop", 1)


STATEMENTS: list[Callable[[Body], None]] = [
    _struct_set, _array_set, _array_bulk, _table_set, _table_bulk, _memory_bulk, _memory_bulk,
]  # fmt: skip
