"""Aggregates and other heap values (sections 4.2.15 and 4.2.16), and the type of a reference.

Objects are ordinary Python objects, so Python's collector frees them, cycles included.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinywasm import matching
from tinywasm.errors import Trap, TrapCode
from tinywasm.records import record
from tinywasm.runtime.limits import Lease
from tinywasm.types import AbstractHeap, DefinedType, HeapType, RefType, TagType
from tinywasm.unique import Unique

# A single array holds at most this many elements; Python's lists take 8 bytes for each.
MAX_ARRAY_LENGTH = 1 << 26


@record(frozen=True)
class I31:
    """An unboxed scalar; `value` is unsigned, 31 bits."""

    heap: ClassVar = AbstractHeap.I31
    value: int


class StructInstance(Unique):
    heap = AbstractHeap.STRUCT
    __slots__ = ("fields", "lease", "type")

    def __init__(self, type: DefinedType, fields: list[Any], lease: Lease | None = None) -> None:
        self.lease = lease
        self.type = type
        self.fields = fields


class ArrayInstance(Unique):
    heap = AbstractHeap.ARRAY
    __slots__ = ("elements", "lease", "type")

    def __init__(self, type: DefinedType, elements: list[Any], lease: Lease | None = None) -> None:
        self.lease = lease
        self.type = type
        self.elements = elements

    def check(self, index: int, count: int) -> None:
        """Raises `Trap` unless `count` elements from `index` lie inside."""
        if index + count > len(self.elements):
            raise Trap(TrapCode.ARRAY_OUT_OF_BOUNDS)


class TagInstance:
    """A tag; its identity is what `try_table` compares. `type.type` is a canonical definition."""

    kind = "tag"
    __slots__ = ("type",)

    def __init__(self, type: TagType) -> None:
        self.type = type


class ExceptionInstance(Unique):
    """A caught exception as `exnref` holds it."""

    heap = AbstractHeap.EXN
    __slots__ = ("lease", "tag", "values")

    def __init__(self, tag: TagInstance, values: tuple[Any, ...], lease: Lease | None = None) -> None:
        self.lease = lease
        self.tag = tag
        self.values = values


def check_array_length(count: int) -> None:
    """Raises `Trap` where an array of `count` elements is more than we allocate."""
    if count > MAX_ARRAY_LENGTH:
        raise Trap(TrapCode.ALLOCATION_TOO_LARGE, f"allocation too large: array of {count} elements")


def reference_kind(value: Any) -> AbstractHeap:
    """FUNC, STRUCT, ARRAY, EXN, I31, or EXTERN for a host's: a non-null reference of either engine."""
    kind = getattr(type(value), "heap", None)
    if kind is None:
        return AbstractHeap.EXTERN
    if not isinstance(kind, AbstractHeap):
        # The native engine's references tell it one by one; a host's object may have any attribute.
        kind = value.heap
    return kind if isinstance(kind, AbstractHeap) else AbstractHeap.EXTERN


def heap_type_of(value: Any, hierarchy: AbstractHeap) -> HeapType:
    """The most specific heap type of a non-null reference in the hierarchy of `hierarchy`.

    `extern.convert_any` and `any.convert_extern` change no representation, so what an external
    reference is depends on the side it is looked at from (section 4.5.1).
    """
    kind = reference_kind(value)
    typed = _TYPED_IN.get(hierarchy, ())
    if kind in typed:
        definition: DefinedType = value.type
        return definition
    if hierarchy is AbstractHeap.ANY and kind is AbstractHeap.I31:
        return kind
    return hierarchy


# The kinds of references that carry a definition, in each hierarchy that has some.
_TYPED_IN = {
    AbstractHeap.ANY: (AbstractHeap.STRUCT, AbstractHeap.ARRAY),
    AbstractHeap.FUNC: (AbstractHeap.FUNC,),
}


def is_instance(value: Any, wanted: RefType) -> bool:
    """Whether a reference has the closed type `wanted` (section 4.5.1), as casts ask."""
    if value is None:
        return wanted.nullable
    return matching.matches_heap(heap_type_of(value, matching.top_heap(wanted.heap)), wanted.heap)
