"""Values and types between the channel's form and tinywasm's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from schannel import fast
from schannel.layouts import MAX_TEXT
from schannel.messages import ExportInfo, ExternKind
from schannel.values import Value, ValueType, known_value
from tinywasm import ExportType, FuncType, GlobalType, MemoryType, Module, TableType, TagType, ValType
from tinywasm.interruption import look
from tinywasm.raw import f32_from_bits, f32_to_bits, f64_from_bits, f64_to_bits

_TO_RAW: dict[ValueType, Callable[[int], Any]] = {
    ValueType.I32: lambda bits: bits,
    ValueType.I64: lambda bits: bits,
    ValueType.F32: f32_from_bits,
    ValueType.F64: f64_from_bits,
    ValueType.V128: lambda bits: bits.to_bytes(16, "little"),
}
_TO_BITS: dict[ValType, tuple[ValueType, Callable[[Any], int]]] = {
    ValType.i32(): (ValueType.I32, lambda raw: raw),
    ValType.i64(): (ValueType.I64, lambda raw: raw),
    ValType.f32(): (ValueType.F32, f32_to_bits),
    ValType.f64(): (ValueType.F64, f64_to_bits),
    ValType.v128(): (ValueType.V128, lambda raw: int.from_bytes(raw, "little")),
}


_INTEGERS = (ValType.i32(), ValType.i64())
"""Types whose bits are what the engine takes and gives."""


class Signature:
    """How arguments go into functions of one type, and how their results come out."""

    def __init__(self, function_type: FuncType) -> None:
        params, results = function_type.params, function_type.results
        self._params = tuple(_TO_BITS.get(param, (None,))[0] for param in params)
        self._to_raw = [_TO_RAW[kind] for kind in self._params if kind is not None]
        self._integers_in = all(param in _INTEGERS for param in params)
        self._results = tuple(_TO_BITS[result][0] for result in results if result in _TO_BITS)
        self._to_bits = [_TO_BITS[result][1] for result in results if result in _TO_BITS]
        self._integers_out = all(result in _INTEGERS for result in results)
        self.unshowable = next((item for item in results if item not in _TO_BITS), None)
        """The first result type of which no value can leave the enclave: references mean nothing outside."""

    def to_raw(self, arguments: Sequence[Value]) -> list[Any] | None:
        """Arguments as the engine takes them; None where they do not fit this type."""
        if self._integers_in and (raw := fast.bits(self._params, arguments)) is not None:
            return raw
        if self._params != tuple([kind for kind, _ in arguments]):
            return None
        return [convert(bits) for convert, (_, bits) in zip(self._to_raw, arguments, strict=True)]

    def from_raw(self, results: Sequence[Any]) -> tuple[Value, ...]:
        """Results as they travel."""
        if self._integers_out and (values := fast.values(self._results, results)) is not None:
            return values
        if not self._integers_out:
            results = [convert(raw) for convert, raw in zip(self._to_bits, results, strict=True)]
        return tuple(map(known_value, zip(self._results, results, strict=True)))


def function_type(signature: FuncType) -> str:
    """A function type in the text format, for example ``(func (param i32 i32) (result i32))``."""
    parts = ["func"]
    for keyword, types in (("param", signature.params), ("result", signature.results)):
        if types:
            parts.append(f"({keyword} {' '.join(map(str, types))})")
    return f"({' '.join(parts)})"


def export_infos(module: Module) -> tuple[ExportInfo, ...]:
    """What a module exports, with the types that it declares."""
    infos = []
    for export in module.exports:
        look()
        infos.append(_export_info(export))
    return tuple(infos)


_KINDS = {
    FuncType: ExternKind.FUNC,
    TableType: ExternKind.TABLE,
    MemoryType: ExternKind.MEMORY,
    GlobalType: ExternKind.GLOBAL,
    TagType: ExternKind.TAG,
}


def _export_info(export: ExportType) -> ExportInfo:
    declared = export.type
    signature = declared.functype if isinstance(declared, TagType) else declared
    shown = function_type(signature) if isinstance(signature, FuncType) else str(declared)
    return ExportInfo(export.name, _KINDS[type(declared)], shown[:MAX_TEXT])
