"""Values and types between the channel's form and tinywasm's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from schannel import fast, types
from schannel.messages import ErrorCode, ExportInfo
from schannel.values import Value, ValueType, known_value
from tinywasm import FuncType, GlobalType, MemoryType, Module, TableType, TagType, ValType
from tinywasm.interruption import look
from tinywasm.raw import ExternSort, RefType, f32_from_bits, f32_to_bits, f64_from_bits, f64_to_bits

from .errors import RequestError

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


def function_type(signature: FuncType) -> types.FuncType:
    """A function type as a client is told it."""
    return types.FuncType(_any_types(signature.params), _any_types(signature.results))


def export_infos(module: Module, largest: int) -> tuple[ExportInfo, ...]:
    """What a module exports, with the types that it declares.

    Raises:
        RequestError: all of that has more than `largest` bytes.
    """
    infos, size = [], 0
    for export in module.exports:
        look()
        told = _extern_type(export.type)
        # How often a program exports a function of many parameters is its choice. Text is longer than a type.
        size += len(export.name) + len(str(told))
        if size > largest:
            raise RequestError(ErrorCode.TOO_LARGE, "the types of the module's exports are too long to tell")
        infos.append(ExportInfo(export.name, told))
    return tuple(infos)


def _extern_type(declared: ExternSort) -> types.ExternType:
    match declared:
        case FuncType():
            return _function_type(declared)
        case TagType():
            return types.TagType(_any_types(declared.functype.params))
        case GlobalType():
            return types.GlobalType(_any_type(declared.content), declared.mutable)
        case MemoryType():
            bounds = declared.limits
            return types.MemoryType(bounds.min, bounds.max, declared.is_64, declared.page_size)
        case TableType():
            bounds = declared.limits
            return types.TableType(
                bounds.min, bounds.max, declared.address is ValType.i64(), _any_type(declared.element)
            )


# Programs have many functions of one type, which may be long.
_function_type = lru_cache(maxsize=256)(function_type)


def _any_types(given: Sequence[ValType]) -> tuple[types.AnyType, ...]:
    return tuple(map(_any_type, given))


def _any_type(given: ValType) -> types.AnyType:
    if isinstance(given, RefType):
        heap = str(given.heap)
        return types.ReferenceType(given.nullable, _HEAP_TYPES.get(heap, heap[:_MAX_HEAP]))
    return _TO_BITS[given][0]


_HEAP_TYPES = {str(heap): heap for heap in types.HeapType}
_MAX_HEAP = 256
"""Characters of the text of a type that the program defines."""
