"""Types of what instances share (section 3.2): those that a module declares, and a program's own."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from tinywasm.errors import ValidationError
from tinywasm.instructions import Feature
from tinywasm.types import (
    F32,
    F64,
    I32,
    I64,
    V128,
    AbstractHeap,
    DefinedType,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    RefType,
    TableType,
    TagType,
    ValType,
)

FLAGS = {
    Feature.WIDE_ARITHMETIC: "Config.wide_arithmetic",
    Feature.CUSTOM_PAGE_SIZES: "Config.custom_page_sizes",
}
# Section 7.3 allows such limits; these are the JavaScript embedding's. Without them two bytes of code
# could stand for any number of operands.
MAX_PARAMS: Final = 1000
MAX_RESULTS: Final = 1000

_PAGE: Final = 65536
_NUMBERS: Final = (I32, I64, F32, F64, V128)


def check_table_limits(table: TableType) -> None:
    """Raises `ValidationError` where a table cannot have these limits."""
    limit = (1 << 32) - 1 if table.address is I32 else (1 << 64) - 1
    _check_limits(table.limits, limit, f"table size must be at most {limit}")


def check_memory(memory: MemoryType, features: Collection[Feature]) -> None:
    """Raises `ValidationError` where there can be no such memory."""
    if memory.page_size not in (1, _PAGE):
        raise ValidationError(f"invalid custom page size {memory.page_size}, must be 1 or {_PAGE}")
    if memory.page_size != _PAGE and Feature.CUSTOM_PAGE_SIZES not in features:
        raise ValidationError(
            f"invalid custom page size {memory.page_size}: the custom-page-sizes proposal is off,"
            f" {FLAGS[Feature.CUSTOM_PAGE_SIZES]} switches it on"
        )
    bits = 32 if memory.address is I32 else 64
    limit = min((1 << bits) // memory.page_size, (1 << bits) - 1)
    shown = "65536 pages (4GiB)" if limit == _PAGE else f"{limit} pages"
    _check_limits(memory.limits, limit, f"memory size must be at most {shown}")


def _check_limits(limits: Limits, most: int, message: str) -> None:
    if limits.min < 0 or (limits.max is not None and limits.max < 0):
        raise ValidationError("size must not be negative")
    if limits.min > most or (limits.max is not None and limits.max > most):
        raise ValidationError(message)
    if limits.max is not None and limits.min > limits.max:
        raise ValidationError("size minimum must not be greater than maximum")


def check_arity(functype: FuncType) -> None:
    """Raises `ValidationError` for more parameters or results than we take."""
    counts = ((functype.params, MAX_PARAMS, "parameters"), (functype.results, MAX_RESULTS, "results"))
    for values, most, what in counts:
        if len(values) > most:
            raise ValidationError(f"type has {len(values)} {what}, more than the limit of {most}")


def check_own_type(type: Any, kind: type[Any], features: Collection[Feature]) -> None:
    """Check what a program gives as a `kind`, as validation checks a module's, before anything is made of it.

    Raises `TypeError` for another class, `ValidationError` for a type that no module could declare.
    """
    if not isinstance(type, kind):
        raise TypeError(f"expected a {kind.__name__}, not {type!r}")
    if isinstance(type, MemoryType):
        check_memory(type, features)
    elif isinstance(type, TableType):
        check_table_limits(type)
        _check_value(type.element)
    elif isinstance(type, GlobalType):
        _check_value(type.content)
    elif isinstance(type, TagType):
        if type.functype.results:
            raise ValidationError("non-empty tag result type")
        _check_function(type.functype)
    else:
        _check_function(type)


def _check_function(functype: FuncType) -> None:
    check_arity(functype)
    for value in (*functype.params, *functype.results):
        _check_value(value)


def _check_value(value: ValType) -> None:
    """Raises `ValidationError` for a value type that is not one of the specification's, or not closed."""
    if isinstance(value, RefType):
        heap = value.heap
        if isinstance(heap, int):
            raise ValidationError(f"unknown type {heap}")
        if isinstance(heap, AbstractHeap) or (isinstance(heap, DefinedType) and heap in _group(heap)):
            return
    elif any(value is number for number in _NUMBERS):
        return
    raise ValidationError(f"there is no value type {value!r}")


def _group(heap: DefinedType) -> tuple[DefinedType, ...]:
    """The group that a definition is of: empty for one that nothing has defined."""
    group: tuple[DefinedType, ...] = getattr(heap, "group", ())
    return group
