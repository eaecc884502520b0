"""How the printer spells strings, identifiers, numbers and types (sections 6.3 and 6.4)."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from tinywasm.types import (
    ArrayType,
    CompositeType,
    FieldType,
    FuncType,
    GlobalType,
    HeapType,
    MemoryType,
    RefType,
    StorageType,
    StructType,
    TableType,
    ValType,
    heap_name,
)

_ID_CHARACTERS = re.compile(r"[0-9A-Za-z!#$%&'*+\-./:<=>?@\\^_`|~]+")
# Characters that a string may hold as they are: no control characters, and nothing that makes text
# look like other text.
_ESCAPED = re.compile(r"[^ !#-\[\]-~\xa1-\xac\xae-\u024f\u0370-\u03ff\u0400-\u04ff]")


_BYTES = {byte: f"\\{byte:02x}" for byte in range(256) if not 0x20 <= byte < 0x7F or byte in b'"\\'}


def string(data: bytes) -> str:
    """A string token for any bytes."""
    return f'"{data.decode("latin-1").translate(_BYTES)}"'


def name(text: str) -> str:
    """A string token for a name, its letters kept readable."""
    return '"' + _ESCAPED.sub(lambda match: string(match[0].encode())[1:-1], text) + '"'


def identifier(text: str) -> str:
    """An identifier token, quoted where needed; `text` must not be empty."""
    return f"${text}" if _ID_CHARACTERS.fullmatch(text) else f"${name(text)}"


def unique_identifiers(names: Mapping[int, str]) -> dict[int, str]:
    """Identifier tokens for those names that are not empty and not taken by a smaller index."""
    identifiers: dict[int, str] = {}
    seen: set[str] = set()
    for index, text in sorted(names.items()):
        if text and text not in seen:
            seen.add(text)
            identifiers[index] = identifier(text)
    return identifiers


def f32(bits: int) -> str:
    """An `f32` literal with exactly these bits, as short as it goes."""
    special = _special_float(bits, 32, 23)
    if special:
        return special
    packed = struct.pack("<I", bits)
    (value,) = struct.unpack("<f", packed)
    for precision in range(6, 9):
        text = f"{value:.{precision}g}"
        if abs(float(text)) < 3.4e38 and struct.pack("<f", float(text)) == packed:
            return text
    return f"{value:.9g}"


def f64(bits: int) -> str:
    """An `f64` literal with exactly these bits, as short as it goes."""
    (value,) = struct.unpack("<d", struct.pack("<Q", bits))
    return _special_float(bits, 64, 52) or repr(value)


def _special_float(bits: int, width: int, fraction_bits: int) -> str:
    sign = "-" if bits >> (width - 1) else ""
    fraction = bits & ((1 << fraction_bits) - 1)
    exponent = (1 << (width - 1 - fraction_bits)) - 1
    if (bits >> fraction_bits) & exponent != exponent:
        return ""
    if fraction == 0:
        return f"{sign}inf"
    return f"{sign}nan" if fraction == 1 << (fraction_bits - 1) else f"{sign}nan:{fraction:#x}"


def v128(data: bytes) -> str:
    """The shape and lanes of a `v128.const`."""
    return "i32x4 " + " ".join(f"0x{lane:08x}" for lane in struct.unpack("<4I", data))


class TypeSpelling:
    """Spells types, with the identifiers of the module's type definitions."""

    def __init__(self, identifiers: Mapping[int, str]) -> None:
        self.identifiers = identifiers

    def index(self, index: int) -> str:
        return self.identifiers.get(index, str(index))

    def heap(self, heap: HeapType) -> str:
        return self.index(heap) if isinstance(heap, int) else heap_name(heap)

    def storage(self, storage: StorageType) -> str:
        """A value type or a packed type."""
        if isinstance(storage, RefType) and isinstance(storage.heap, int):
            return f"(ref {'null ' if storage.nullable else ''}{self.heap(storage.heap)})"
        return str(storage)

    def field(self, field: FieldType) -> str:
        storage = self.storage(field.storage)
        return f"(mut {storage})" if field.mutable else storage

    def params(self, types: tuple[ValType, ...], names: Mapping[int, str]) -> list[str]:
        """`(param ...)` forms; `names` are the texts that bind a parameter."""
        if not any(index in names for index in range(len(types))):
            return [f"(param {' '.join(map(self.storage, types))})"] if types else []
        return [
            f"(param {names[index]} {self.storage(valtype)})"
            if index in names
            else f"(param {self.storage(valtype)})"
            for index, valtype in enumerate(types)
        ]

    def results(self, types: tuple[ValType, ...]) -> list[str]:
        return [f"(result {' '.join(map(self.storage, types))})"] if types else []

    def signature(self, functype: FuncType, names: Mapping[int, str]) -> list[str]:
        return self.params(tuple(functype.params), names) + self.results(tuple(functype.results))

    def composite(self, composite: CompositeType, fields: Mapping[int, str]) -> str:
        """A composite type; `fields` are the texts that bind a field."""
        if isinstance(composite, FuncType):
            return f"({' '.join(['func', *self.signature(composite, {})])})"
        if isinstance(composite, ArrayType):
            return f"(array {self.field(composite.field)})"
        return f"({' '.join(['struct', *self._fields(composite, fields)])})"

    def _fields(self, struct_type: StructType, names: Mapping[int, str]) -> list[str]:
        return [
            f"(field {names[index]} {self.field(field)})"
            if index in names
            else f"(field {self.field(field)})"
            for index, field in enumerate(struct_type.fields)
        ]

    def global_type(self, globaltype: GlobalType) -> str:
        return self.field(FieldType(globaltype.content, globaltype.mutable))

    def table_type(self, tabletype: TableType) -> str:
        return f"{_address(tabletype)}{tabletype.limits} {self.storage(tabletype.element)}"

    def memory_type(self, memorytype: MemoryType) -> str:
        default = MemoryType(memorytype.limits).page_size
        size = "" if memorytype.page_size == default else f" (pagesize {memorytype.page_size})"
        return f"{_address(memorytype)}{memorytype.limits}{size}"


def _address(type_: TableType | MemoryType) -> str:
    return "i64 " if str(type_.address) == "i64" else ""
