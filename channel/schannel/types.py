"""WebAssembly's types, as an enclave tells a client what a program exports.

Numbers are those of the binary format (5.3 and 5.5.10 of the specification), and what `str` gives is the text
format.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from .declaration import Number64, struct
from .values import VALUE_TYPES, ValueType
from .wire import FLAG, TEXT, U32, U64, Buffer, Codec, array, optional, variant

_REF_NULL, _REF = 0x63, 0x64
_DEFINED = 0
"""In place of a heap type's number: its text follows."""


class HeapType(IntEnum):
    """What a reference can be to, where a program has not defined that itself."""

    EXN = 0x69
    ARRAY = 0x6A
    STRUCT = 0x6B
    I31 = 0x6C
    EQ = 0x6D
    ANY = 0x6E
    EXTERN = 0x6F
    FUNC = 0x70
    NONE = 0x71
    NOEXTERN = 0x72
    NOFUNC = 0x73
    NOEXN = 0x74

    def __str__(self) -> str:
        return self.name.lower()


_HEAP_TYPES = {int(heap): heap for heap in HeapType}
_BOTTOMS = {
    HeapType.NONE: "nullref",
    HeapType.NOEXTERN: "nullexternref",
    HeapType.NOFUNC: "nullfuncref",
    HeapType.NOEXN: "nullexnref",
}


@dataclass(frozen=True, slots=True)
class ReferenceType:
    """Type of a reference, which never leaves an enclave. `heap` is text where the program defines it."""

    nullable: bool
    heap: HeapType | str

    def __str__(self) -> str:
        if self.nullable and isinstance(self.heap, HeapType):
            return _BOTTOMS.get(self.heap, f"{self.heap}ref")
        return f"(ref {'null ' if self.nullable else ''}{self.heap})"


AnyType = ValueType | ReferenceType
"""The type of a parameter, a result or a global."""


def _packed(kind: AnyType) -> bytes:
    if isinstance(kind, ValueType):
        return bytes([kind])
    head = _REF_NULL if kind.nullable else _REF
    if isinstance(kind.heap, HeapType):
        return bytes([head, kind.heap])
    return bytes([head, _DEFINED]) + TEXT.pack(kind.heap)


def _unpacked(data: Buffer, pos: int) -> tuple[AnyType, int]:
    head = data[pos]
    if head in VALUE_TYPES:
        return VALUE_TYPES[head], pos + 1
    if head not in (_REF_NULL, _REF):
        raise ValueError("unknown type")
    nullable, heap = head == _REF_NULL, data[pos + 1]
    if heap != _DEFINED:
        return ReferenceType(nullable, HeapType(heap)), pos + 2
    text, pos = TEXT.unpack(data, pos + 2)
    return ReferenceType(nullable, text), pos


_ANY = Codec(_packed, _unpacked, "value type; or 63 (nullable) or 64, then a heap type, or 00 and text")
_ANY_TYPES = array(U32, _ANY)


def _group(keyword: str, types: tuple[AnyType, ...]) -> str:
    return f" ({keyword} {' '.join(map(str, types))})" if types else ""


@dataclass(frozen=True, slots=True)
class FuncType:
    """Of a function: what it takes and gives."""

    params: Annotated[tuple[AnyType, ...], _ANY_TYPES] = ()
    results: Annotated[tuple[AnyType, ...], _ANY_TYPES] = ()

    def __str__(self) -> str:
        return f"(func{_group('param', self.params)}{_group('result', self.results)})"


@dataclass(frozen=True, slots=True)
class _Sized:
    """Of a memory or a table: its bounds, and whether its addresses have 64 bits."""

    least: Number64
    most: Annotated[int | None, optional(U64)]
    is_64: Annotated[bool, FLAG]

    def __str__(self) -> str:
        most = "" if self.most is None else f" {self.most}"
        return f"{'i64' if self.is_64 else 'i32'} {self.least}{most}"


@dataclass(frozen=True, slots=True)
class MemoryType(_Sized):
    """Of a memory: bounds in pages, whether addresses have 64 bits, and the bytes of a page."""

    page_size: Annotated[int, U32] = 65536

    def __str__(self) -> str:
        pages = "" if self.page_size == 65536 else f" (pagesize {self.page_size})"
        return f"{_Sized.__str__(self)}{pages}"


@dataclass(frozen=True, slots=True)
class TableType(_Sized):
    """Of a table: bounds in elements, whether indices have 64 bits, and what its elements are."""

    element: Annotated[AnyType, _ANY]

    def __str__(self) -> str:
        return f"{_Sized.__str__(self)} {self.element}"


@dataclass(frozen=True, slots=True)
class GlobalType:
    """Of a global."""

    content: Annotated[AnyType, _ANY]
    mutable: Annotated[bool, FLAG]

    def __str__(self) -> str:
        return f"(mut {self.content})" if self.mutable else str(self.content)


@dataclass(frozen=True, slots=True)
class TagType:
    """Of an exception tag: what exceptions carry."""

    params: Annotated[tuple[AnyType, ...], _ANY_TYPES] = ()

    def __str__(self) -> str:
        return str(FuncType(self.params))


ExternType = FuncType | TableType | MemoryType | GlobalType | TagType
"""The type of an export."""

_KINDS = {FuncType: 0, TableType: 1, MemoryType: 2, GlobalType: 3, TagType: 4}

EXTERN_TYPE = variant(
    {number: struct(cls) for cls, number in _KINDS.items()}, lambda value: _KINDS[type(value)]
)
"""How it travels: its kind's number in the binary format, and then as that has it."""

_NAMES = {FuncType: "func", TableType: "table", MemoryType: "memory", GlobalType: "global", TagType: "tag"}


def kind_name(declared: ExternType) -> str:
    """What the text format calls things of that kind."""
    return _NAMES[type(declared)]
