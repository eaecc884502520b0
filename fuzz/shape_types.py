"""What all modules of `generator_shapes` declare: their types, functions to call, globals and tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinywasm.codec import write_instruction
from tinywasm.instructions import BY_NAME
from tinywasm.leb128 import write_unsigned
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
    ArrayType,
    FieldType,
    FuncType,
    PackedType,
    RecGroup,
    RefType,
    StorageType,
    StructType,
    SubType,
    ValType,
)

# Types of every module, before those of functions.
STRUCT, SUBSTRUCT = 0, 1
REF_STRUCT = RefType(True, STRUCT)
FIELDS: list[StorageType] = [I32, PackedType.I8, PackedType.I16, I64, F32, V128, F64, REF_STRUCT]
# Type index -> what its arrays hold.
ARRAYS: dict[int, StorageType] = {
    2: PackedType.I8,
    3: PackedType.I16,
    4: I32,
    5: I64,
    6: F32,
    7: F64,
    8: V128,
    9: REF_STRUCT,
}
REF_ARRAYS = {index: RefType(True, index) for index in ARRAYS}

PARAMS: tuple[ValType, ...] = (I32, I32, I64, F32, F64)
GLOBALS: list[ValType] = [I32, I64, F32, F64, V128, FUNCREF, REF_STRUCT, ANYREF, EXTERNREF, I32]
TAGS: list[tuple[ValType, ...]] = [(), (I32,), (I64, V128, F64), (REF_STRUCT, I32)]
NUMBERS: tuple[ValType, ...] = (I32, I64, F32, F64, V128)
REFERENCES: tuple[ValType, ...] = (
    FUNCREF,
    REF_STRUCT,
    ANYREF,
    EXTERNREF,
    EXNREF,
    REF_ARRAYS[4],
    REF_ARRAYS[8],
)

_OPCODES: dict[str, bytes] = {}
_SMALL = [bytes([n]) for n in range(128)]


def op(name: str) -> bytes:
    """The opcode of an instruction, without immediates; the first of those of a mnemonic."""
    found = _OPCODES.get(name)
    if found is None:
        row = BY_NAME[name][0]
        prefix = b"" if row.prefix is None else bytes([row.prefix])
        code = bytes([row.code]) if row.prefix is None else write_unsigned(row.code)
        found = _OPCODES[name] = prefix + code
    return found


def unsigned(number: int) -> bytes:
    return _SMALL[number] if number < 128 else write_unsigned(number)


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory that code uses: its index, the type of its addresses, and its size at first."""

    index: int
    address: ValType
    size: int


class Types:
    """The types of a module; those of functions and blocks are added as they are needed."""

    def __init__(self) -> None:
        fields = tuple(FieldType(storage, True) for storage in FIELDS)
        self.groups = [
            RecGroup((SubType(StructType(fields), final=False),)),
            RecGroup((SubType(StructType((*fields, FieldType(I64, True))), (STRUCT,)),)),
            *(RecGroup((SubType(ArrayType(FieldType(each, True))),)) for each in ARRAYS.values()),
        ]
        self.indices: dict[tuple[tuple[ValType, ...], tuple[ValType, ...]], int] = {}

    def function(self, params: Sequence[ValType], results: Sequence[ValType]) -> int:
        key = (tuple(params), tuple(results))
        found = self.indices.get(key)
        if found is None:
            found = self.indices[key] = len(self.groups)
            self.groups.append(RecGroup((SubType(FuncType(*key)),)))
        return found


@dataclass(frozen=True, slots=True)
class Callee:
    """A function that shapes call; number 1 and up, behind the imported one."""

    params: tuple[ValType, ...]
    results: tuple[ValType, ...]
    code: bytes


def _code(*parts: str) -> bytes:
    """From mnemonics with small immediates, `local.get:1`."""
    code = b""
    for part in parts:
        name, *numbers = part.split(":")
        code += op(name) + bytes(map(int, numbers))
    return code


_THROW_ODD = write_instruction(BY_NAME["if"][0], (None,))
CALLEES = [
    Callee((), (), _code("global.get:9", "i32.const:3", "i32.add", "global.set:9")),
    Callee((), (I32,), _code("i32.const:9")),
    Callee((I32,), (I32,), _code("local.get:0", "i32.const:5", "i32.xor")),
    Callee((I32, I64, F64), (I64,), _code("local.get:1", "local.get:0", "i64.extend_i32_u", "i64.add")),
    Callee((V128, I32), (V128,), _code("local.get:0", "local.get:1", "i32x4.splat", "i32x4.sub")),
    Callee((F64,), (I32, F64), _code("i32.const:7", "local.get:0", "f64.neg")),
    Callee((F32, F32), (F32,), _code("local.get:0", "local.get:1", "f32.sub")),
    Callee(
        (I32,),
        (I32,),
        _code("local.get:0", "i32.const:1", "i32.and")
        + _THROW_ODD
        + _code("local.get:0", "throw:1", "end", "local.get:0"),
    ),
    Callee((I64, V128), (V128, I64, I32), _code("local.get:1", "local.get:0", "local.get:0", "i32.wrap_i64")),
    Callee((REF_STRUCT, I32), (REF_STRUCT,), _code("local.get:0")),
]
