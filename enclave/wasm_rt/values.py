"""Values and types between the channel's form and tinywasm's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from schannel.layouts import MAX_TEXT
from schannel.messages import ExportInfo, ExternKind, Value, ValueType
from tinywasm.instance import Module
from tinywasm.module import Export
from tinywasm.numerics.floats import f32_from_bits, f32_to_bits, f64_from_bits, f64_to_bits
from tinywasm.types import F32, F64, I32, I64, V128, DefinedType, FuncType, ValType

_TO_RAW: dict[ValueType, Callable[[int], Any]] = {
    ValueType.I32: lambda bits: bits,
    ValueType.I64: lambda bits: bits,
    ValueType.F32: f32_from_bits,
    ValueType.F64: f64_from_bits,
    ValueType.V128: lambda bits: bits.to_bytes(16, "little"),
}
_TO_BITS: dict[ValType, tuple[ValueType, Callable[[Any], int]]] = {
    I32: (ValueType.I32, lambda raw: raw),
    I64: (ValueType.I64, lambda raw: raw),
    F32: (ValueType.F32, f32_to_bits),
    F64: (ValueType.F64, f64_to_bits),
    V128: (ValueType.V128, lambda raw: int.from_bytes(raw, "little")),
}


def accepts(signature: FuncType, arguments: Sequence[Value]) -> bool:
    """Whether a function of that type takes these arguments."""
    expected = [_TO_BITS.get(param, (None,))[0] for param in signature.params]
    return expected == [argument.type for argument in arguments]


def unshowable_result(signature: FuncType) -> ValType | None:
    """The first result type of which no value can leave the enclave: references mean nothing outside."""
    return next((result for result in signature.results if result not in _TO_BITS), None)


def to_raw(arguments: Sequence[Value]) -> list[Any]:
    """Arguments as the engine takes them."""
    return [_TO_RAW[argument.type](argument.bits) for argument in arguments]


def from_raw(signature: FuncType, results: Sequence[Any]) -> tuple[Value, ...]:
    """Results as they travel."""
    values = []
    for kind, raw in zip(signature.results, results, strict=True):
        value_type, to_bits = _TO_BITS[kind]
        values.append(Value(value_type, to_bits(raw)))
    return tuple(values)


def function_type(signature: FuncType) -> str:
    """A function type in the text format, for example ``(func (param i32 i32) (result i32))``."""
    parts = ["func"]
    for keyword, types in (("param", signature.params), ("result", signature.results)):
        if types:
            parts.append(f"({keyword} {' '.join(map(str, types))})")
    return f"({' '.join(parts)})"


def export_infos(module: Module) -> tuple[ExportInfo, ...]:
    """What a module exports, with the types that it declares."""
    return tuple(_export_info(module, export) for export in module.syntax.exports)


def _export_info(module: Module, export: Export) -> ExportInfo:
    context = module.context
    spaces: dict[str, Sequence[Any]] = {
        "func": context.funcs,
        "table": context.tables,
        "memory": context.memories,
        "global": context.globals,
        "tag": context.tags,
    }
    declared = spaces[export.kind][export.index]
    if isinstance(declared, DefinedType) and isinstance(declared.composite, FuncType):
        shown = function_type(declared.composite)
    else:
        shown = str(declared)
    return ExportInfo(export.name, ExternKind[export.kind.upper()], shown[:MAX_TEXT])
