"""Values as scripts write them, and the patterns that an assertion compares results with.

A raw value says nothing of its type, hence `Value` pairs it with the declared one, as the reference
interpreter does: `(i32.const 1)` is no answer where an i64 is expected.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

from tinywasm.numerics.floats import f32_from_bits, f32_to_bits, f64_from_bits, f64_to_bits
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.heap import I31, reference_kind
from tinywasm.types import F32, F64, I32, I64, V128, AbstractHeap, NumType, RefType, ValType

WIDTHS: dict[ValType, int] = {I32: 32, I64: 64, F32: 32, F64: 64}


@dataclass(frozen=True, slots=True)
class HostReference:
    """What `(ref.extern n)` and `(ref.host n)` stand for: an object of the host, known by a number."""

    number: int


@dataclass(frozen=True, slots=True)
class Value:
    """A raw value and its declared type."""

    type: ValType
    raw: Any

    def __str__(self) -> str:
        if isinstance(self.type, RefType):
            return _reference_text(self.raw)
        if self.type is V128:
            lanes = struct.unpack("<4I", self.raw)
            return f"(v128.const i32x4 {' '.join(f'{lane:#010x}' for lane in lanes)})"
        return _number_text(self.type, to_bits(self.type, self.raw))


def to_bits(type: ValType, raw: Any) -> int:
    """The bit pattern of a raw number of `type`."""
    if type is F32:
        return f32_to_bits(raw)
    return f64_to_bits(raw) if type is F64 else int(raw)


def from_bits(type: ValType, bits: int) -> int | float:
    """The raw number of `type` with this bit pattern."""
    if type is F32:
        return f32_from_bits(bits)
    return f64_from_bits(bits) if type is F64 else bits


def _number_text(type: ValType, bits: int) -> str:
    if type is I32 or type is I64:
        return f"({type}.const {bits - ((bits >> (WIDTHS[type] - 1)) << WIDTHS[type])})"
    number = from_bits(type, bits)
    return f"({type}.const {number!r} = bits {bits:#0{WIDTHS[type] // 4 + 2}x})"


def _reference_text(raw: Any) -> str:
    if raw is None:
        return "(ref.null)"
    if isinstance(raw, HostReference):
        return f"(ref.extern {raw.number})"
    if isinstance(raw, I31):
        return f"(ref.i31 {raw.value})"
    if isinstance(raw, FuncInstance):
        return f"(ref.func {raw.index} ${raw.name})" if raw.name else f"(ref.func {raw.index})"
    return f"(ref.{reference_kind(raw)})"


@dataclass(frozen=True, slots=True)
class NumberPattern:
    """A number, bit for bit."""

    type: NumType
    bits: int

    def matches(self, value: Value) -> bool:
        return value.type is self.type and self.accepts(to_bits(self.type, value.raw))

    def accepts(self, bits: int) -> bool:
        return bits == self.bits

    def __str__(self) -> str:
        return _number_text(self.type, self.bits)


@dataclass(frozen=True, slots=True)
class NanPattern:
    """`nan:canonical`: only the quiet bit of the payload; `nan:arithmetic`: at least that. Any sign."""

    type: NumType
    canonical: bool

    def matches(self, value: Value) -> bool:
        return value.type is self.type and self.accepts(to_bits(self.type, value.raw))

    def accepts(self, bits: int) -> bool:
        quiet = 0x7FC00000 if self.type is F32 else 0x7FF8000000000000
        sign = 1 << (WIDTHS[self.type] - 1)
        return bits & ~sign == quiet if self.canonical else bits & quiet == quiet

    def __str__(self) -> str:
        return f"({self.type}.const nan:{'canonical' if self.canonical else 'arithmetic'})"


@dataclass(frozen=True, slots=True)
class VectorPattern:
    """A v128 as lanes of `width` bits, lowest first."""

    shape: str
    width: int
    lanes: Sequence[NumberPattern | NanPattern]

    def matches(self, value: Value) -> bool:
        if value.type is not V128:
            return False
        step = self.width // 8
        parts = (value.raw[start : start + step] for start in range(0, 16, step))
        pairs = zip(self.lanes, parts, strict=True)
        return all(lane.accepts(int.from_bytes(part, "little")) for lane, part in pairs)

    def __str__(self) -> str:
        words = (str(lane).split(".const ")[1].rstrip(")").split(" = ")[0] for lane in self.lanes)
        return f"(v128.const {self.shape} {' '.join(words)})"


@dataclass(frozen=True, slots=True)
class NullPattern:
    """A null reference; its type is not compared, as in the reference interpreter."""

    def matches(self, value: Value) -> bool:
        return isinstance(value.type, RefType) and value.raw is None

    def __str__(self) -> str:
        return "(ref.null)"


@dataclass(frozen=True, slots=True)
class HostPattern:
    """`(ref.extern n)` or `(ref.host n)`."""

    reference: HostReference

    def matches(self, value: Value) -> bool:
        return isinstance(value.type, RefType) and value.raw == self.reference

    def __str__(self) -> str:
        return f"(ref.extern {self.reference.number})"


# The kinds of references that each pattern takes; a host's reference is in `any` and in `extern`.
_KINDS: dict[AbstractHeap, tuple[AbstractHeap, ...]] = {
    AbstractHeap.ANY: (AbstractHeap.I31, AbstractHeap.STRUCT, AbstractHeap.ARRAY, AbstractHeap.EXTERN),
    AbstractHeap.EQ: (AbstractHeap.I31, AbstractHeap.STRUCT, AbstractHeap.ARRAY),
    AbstractHeap.EXTERN: tuple(AbstractHeap),
}


@dataclass(frozen=True, slots=True)
class ReferencePattern:
    """`(ref.struct)` and its like: any reference of that kind that is not null."""

    heap: AbstractHeap

    def matches(self, value: Value) -> bool:
        if not isinstance(value.type, RefType) or value.raw is None:
            return False
        return reference_kind(value.raw) in _KINDS.get(self.heap, (self.heap,))

    def __str__(self) -> str:
        return f"(ref.{self.heap})"


@dataclass(frozen=True, slots=True)
class FunctionPattern:
    """`(ref.func n)`: the function of that index in the instance that the action is about.

    `function` is that function, once the instance is known.
    """

    index: int
    function: FuncInstance | None = None

    def matches(self, value: Value) -> bool:
        return self.function is not None and value.raw is self.function

    def __str__(self) -> str:
        return f"(ref.func {self.index})"


@dataclass(frozen=True, slots=True)
class EitherPattern:
    """Whatever one of several patterns takes: relaxed instructions may differ between machines."""

    alternatives: Sequence[Pattern]

    def matches(self, value: Value) -> bool:
        return any(pattern.matches(value) for pattern in self.alternatives)

    def __str__(self) -> str:
        return f"(either {' '.join(map(str, self.alternatives))})"


Pattern = Union[  # noqa: UP007  (EitherPattern names it before it exists)
    NumberPattern,
    NanPattern,
    VectorPattern,
    NullPattern,
    HostPattern,
    ReferencePattern,
    FunctionPattern,
    EitherPattern,
]


def located(pattern: Pattern, functions: Sequence[FuncInstance]) -> Pattern:
    """The pattern with the functions that it names, of an instance's index space."""
    if isinstance(pattern, EitherPattern):
        return EitherPattern([located(each, functions) for each in pattern.alternatives])
    if isinstance(pattern, FunctionPattern) and pattern.index < len(functions):
        return FunctionPattern(pattern.index, functions[pattern.index])
    return pattern


def all_match(patterns: Sequence[Pattern], values: Sequence[Value]) -> bool:
    """Whether there are as many values as patterns, each of which takes its value."""
    if len(patterns) != len(values):
        return False
    return all(pattern.matches(value) for pattern, value in zip(patterns, values, strict=True))
