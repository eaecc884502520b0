"""What a generated module declares, and the choices that generated code makes from it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from tinywasm import matching
from tinywasm.syntax import DataSegment, ElementSegment
from tinywasm.types import (
    ANYREF,
    ARRAYREF,
    EQREF,
    EXNREF,
    EXTERNREF,
    F32,
    F64,
    FUNCREF,
    I31REF,
    I32,
    I64,
    STRUCTREF,
    V128,
    AbstractHeap,
    ArrayType,
    DefinedType,
    FieldType,
    FuncType,
    GlobalType,
    MemoryType,
    PackedType,
    RecGroup,
    RefType,
    StorageType,
    StructType,
    SubType,
    TableType,
    ValType,
)

T = TypeVar("T")

NUMBERS: list[ValType] = [I32, I64, F32, F64, V128]
# Nullable, so that there is always a value and a default.
ABSTRACT: list[ValType] = [
    ANYREF, EQREF, I31REF, STRUCTREF, ARRAYREF, FUNCREF, EXTERNREF, EXNREF,
]  # fmt: skip

_INTERESTING = [0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 65535, 65536]
_FLOATS = [
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, 3.7, 100.25, 2147483647.0, 2147483648.0, -2147483649.0,
    4294967295.0, 9223372036854775807.0, -9223372036854775808.0, 18446744073709551615.0, 1e-310, 5e-324,
    1.1754942e-38, 3.4028235e38, 1.7976931348623157e308, 8388607.5, 4503599627370495.5,
    float("inf"), float("-inf"),
]  # fmt: skip
_F32_BITS = [0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FA00000, 0xFFFFFFFF, 1, 0x807FFFFF]
_F64_BITS = [
    0x7FF8000000000000, 0xFFF8000000000000, 0x7FF0000000000001, 0x7FF4000000000000, 0xFFFFFFFFFFFFFFFF,
    1, 0x800FFFFFFFFFFFFF, 0x80000000, 0xF0000000,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class HostPlan:
    """A host function of the module: its type, what it does, and the seed of the values it returns.

    `behaviour` is `values`, `trap`, `throw` (the exported tag 0), `error` (a Python exception),
    `reenter` (calls the export "f0" and goes on), or `grow` (grows the exported memory 0 by a page).
    """

    type: int
    behaviour: str
    seed: int


@dataclass(slots=True)
class Env:
    """The index spaces of the module under construction; types are not closed."""

    rng: Random
    groups: list[RecGroup] = field(default_factory=list)
    types: list[SubType] = field(default_factory=list)
    defined: tuple[DefinedType, ...] = ()
    hosts: list[HostPlan] = field(default_factory=list)
    funcs: list[int] = field(default_factory=list)
    tables: list[TableType] = field(default_factory=list)
    memories: list[MemoryType] = field(default_factory=list)
    globals: list[GlobalType] = field(default_factory=list)
    tags: list[int] = field(default_factory=list)
    elems: list[ElementSegment] = field(default_factory=list)
    datas: list[DataSegment] = field(default_factory=list)
    # Table index -> slot -> type index of the function that an active segment put there.
    slots: dict[int, dict[int, int]] = field(default_factory=dict)
    budget: int = 0
    _matches: dict[tuple[ValType, ValType], bool] = field(default_factory=dict)

    # Types

    def close(self, types: list[RecGroup]) -> None:
        self.groups = types
        self.types = [sub for group in types for sub in group.subtypes]
        self.defined = matching.canonicalise(types)

    def of_kind(self, kind: type) -> list[int]:
        """Indices of the types whose composite is a `kind`."""
        return [index for index, sub in enumerate(self.types) if isinstance(sub.composite, kind)]

    def signature(self, index: int) -> FuncType:
        composite = self.types[index].composite
        assert isinstance(composite, FuncType)
        return composite

    def params(self, index: int) -> tuple[ValType, ...]:
        return tuple(self.signature(index).params)

    def results(self, index: int) -> tuple[ValType, ...]:
        return tuple(self.signature(index).results)

    def fields(self, index: int) -> tuple[FieldType, ...]:
        composite = self.types[index].composite
        assert isinstance(composite, StructType)
        return composite.fields

    def element(self, index: int) -> FieldType:
        composite = self.types[index].composite
        assert isinstance(composite, ArrayType)
        return composite.field

    def matches(self, actual: ValType, wanted: ValType) -> bool:
        if actual is wanted or not isinstance(actual, RefType) or not isinstance(wanted, RefType):
            return actual is wanted
        known = self._matches.get((actual, wanted))
        if known is None:
            closed = matching.close_ref(actual, self.defined), matching.close_ref(wanted, self.defined)
            known = self._matches[actual, wanted] = matching.matches_ref(*closed)
        return known

    def exact(self, actual: ValType, wanted: ValType) -> bool:
        """Whether the types are the same, perhaps by equal definitions."""
        return self.matches(actual, wanted) and self.matches(wanted, actual)

    def top(self, ref: RefType) -> AbstractHeap:
        return matching.top_heap(matching.close_heap(ref.heap, self.defined))

    def below(self, ref: RefType) -> list[RefType]:
        """Nullable references to heap types that match `ref`'s, but for those without values."""
        candidates = [RefType(True, heap) for heap in self.heaps()]
        return [each for each in candidates if self.matches(each, RefType(True, ref.heap))]

    def bottom(self, ref: RefType) -> AbstractHeap:
        return matching.bottom(matching.close_heap(ref.heap, self.defined))

    def heaps(self) -> list[AbstractHeap | int]:
        abstract = [ref.heap for ref in ABSTRACT if isinstance(ref, RefType)]
        return [*(heap for heap in abstract if isinstance(heap, AbstractHeap)), *range(len(self.types))]

    # Choices

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self.rng.random() * len(items))]

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def value_type(self) -> ValType:
        """A type of locals, parameters and the like: a number, or a nullable reference."""
        if self.chance(0.7):
            return self.pick(NUMBERS)
        if self.chance(0.5):
            return self.pick(ABSTRACT)
        return RefType(True, self.pick(range(len(self.types)))) if self.types else ANYREF

    def func_with(self, accept: Callable[[FuncType], bool], caller: int) -> int | None:
        """The index of some function whose type is accepted, mostly one that cannot call back."""
        found = [index for index, type in enumerate(self.funcs) if accept(self.signature(type))]
        forward = [index for index in found if index > caller or index < len(self.hosts)]
        return self.some(forward if forward and self.chance(0.9) else found)

    def some(self, found: Iterable[int]) -> int | None:
        items = list(found)
        return self.pick(items) if items else None

    # Constants

    def integer(self, bits: int) -> int:
        """A signed number, more often than not a peculiar one."""
        choice = self.rng.random()
        if choice < 0.45:
            number = self.pick(_INTERESTING)
        elif choice < 0.65:
            number = (1 << self.rng.randrange(bits)) - self.rng.randrange(2)
        else:
            number = self.rng.getrandbits(bits)
        number = (-number if self.chance(0.3) else number) & ((1 << bits) - 1)
        return number - (1 << bits) if number >> (bits - 1) else number

    def float_bits(self, bits: int) -> int:
        if self.chance(0.2):
            return self.pick(_F32_BITS if bits == 32 else _F64_BITS)
        if self.chance(0.1):
            return self.rng.getrandbits(bits)
        number = self.pick(_FLOATS) if self.chance(0.7) else self.rng.uniform(-1000, 1000)
        if bits == 64:
            return int.from_bytes(struct.pack("<d", number), "little")
        try:
            return int.from_bytes(struct.pack("<f", number), "little")
        except OverflowError:
            return 0x7F800000

    def vector(self) -> bytes:
        shape = self.rng.randrange(4)
        if shape == 0:
            return self.rng.randbytes(16)
        if shape == 1:
            return b"".join(struct.pack("<I", self.float_bits(32)) for _ in range(4))
        if shape == 2:
            return b"".join(struct.pack("<Q", self.float_bits(64)) for _ in range(2))
        return struct.pack("<4i", *(self.integer(32) for _ in range(4)))


def unpacked(storage: StorageType) -> ValType:
    """The type on the stack of a field's contents."""
    return I32 if isinstance(storage, PackedType) else storage


def defaultable(storage: StorageType) -> bool:
    return not isinstance(storage, RefType) or storage.nullable
