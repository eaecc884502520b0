"""Python values and raw values (see `runtime`): `Val`, and converters made once for each signature."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from operator import index
from typing import Any

from tinywasm.errors import WasmError
from tinywasm.matching import top_heap
from tinywasm.numerics.floats import f32_round
from tinywasm.runtime.heap import is_instance, reference_kind
from tinywasm.types import EXTERNREF, F32, F64, FUNCREF, I32, I64, V128, AbstractHeap, RefType, ValType

Converter = Callable[[Any], Any]


class Val:
    """A value together with its type, for those who want to be explicit: `Val.i64(5)`.

    Wherever a value is expected, the bare Python value will do as well.
    """

    __slots__ = ("_type", "_value")

    def __init__(self, type: ValType, value: Any) -> None:
        if not isinstance(type, ValType):
            raise TypeError(f"expected a ValType, not {type!r}")
        self._type = type
        self._value = value

    @classmethod
    def i32(cls, val: int) -> Val:
        """Raises `TypeError` for another type, `OverflowError` where it does not fit; so do the others."""
        return cls(I32, from_i32(to_i32(val)))

    @classmethod
    def i64(cls, val: int) -> Val:
        return cls(I64, from_i64(to_i64(val)))

    @classmethod
    def f32(cls, val: float) -> Val:
        return cls(F32, to_f32(val))

    @classmethod
    def f64(cls, val: float) -> Val:
        return cls(F64, to_f64(val))

    @classmethod
    def v128(cls, val: bytes) -> Val:
        """`val` is 16 bytes, little end first."""
        return cls(V128, to_v128(val))

    @classmethod
    def externref(cls, extern: Any) -> Val:
        """Any Python object; None is the null reference."""
        return cls(EXTERNREF, extern)

    @classmethod
    def funcref(cls, f: Any) -> Val:
        """A `Func`, or None for the null reference."""
        return cls(FUNCREF, f)

    @classmethod
    def ref_null(cls, ty: ValType) -> Val:
        """The null reference of a type. Raises `WasmError` for a type that has none."""
        if not isinstance(ty, RefType) or not ty.nullable:
            raise WasmError(f"{ty} has no null reference")
        return cls(ty, None)

    @property
    def type(self) -> ValType:
        return self._type

    @property
    def value(self) -> Any:
        """The Python value."""
        return self._value

    def _as(self, type: ValType) -> Any:
        return self._value if self._type == type else None

    def as_i32(self) -> int | None:
        """The value where it is of this type, else None; so do the others."""
        return self._as(I32)  # type: ignore[no-any-return]

    def as_i64(self) -> int | None:
        return self._as(I64)  # type: ignore[no-any-return]

    def as_f32(self) -> float | None:
        return self._as(F32)  # type: ignore[no-any-return]

    def as_f64(self) -> float | None:
        return self._as(F64)  # type: ignore[no-any-return]

    def as_externref(self) -> Any:
        return self._as(EXTERNREF)

    def as_funcref(self) -> Any:
        return self._as(FUNCREF)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Val):
            return self._type == other._type and bool(self._value == other._value)
        return bool(self._value == other)

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"Val({self._type}, {reprlib.repr(self._value)})"


def _content(type: ValType, value: Any, wanted: str) -> Any:
    """What a `Val` of the right type holds. Raises `TypeError` for anything else."""
    if isinstance(value, Val):
        if value.type != type:
            raise TypeError(f"expected {type}, not {value!r}")
        return value.value
    raise TypeError(f"{type} takes {wanted}, not {reprlib.repr(value)}")


def _integer(value: Any) -> int:
    """An `int` and no subclass, whose arithmetic may be anything."""
    return value if type(value) is int else int.__index__(index(value))


def to_i32(value: Any) -> int:
    """Integers may be given signed or unsigned, bool and NumPy's among them; so for i64."""
    if type(value) is int and -0x8000_0000 <= value <= 0xFFFF_FFFF:
        return value & 0xFFFF_FFFF
    try:
        number = _integer(value)
    except TypeError:
        return to_i32(_content(I32, value, "an integer"))
    if -0x8000_0000 <= number <= 0xFFFF_FFFF:
        return number & 0xFFFF_FFFF
    raise OverflowError(f"{reprlib.repr(number)} is out of range for i32")


def to_i64(value: Any) -> int:
    if type(value) is int and -0x8000_0000_0000_0000 <= value <= 0xFFFF_FFFF_FFFF_FFFF:
        return value & 0xFFFF_FFFF_FFFF_FFFF
    try:
        number = _integer(value)
    except TypeError:
        return to_i64(_content(I64, value, "an integer"))
    if -0x8000_0000_0000_0000 <= number <= 0xFFFF_FFFF_FFFF_FFFF:
        return number & 0xFFFF_FFFF_FFFF_FFFF
    raise OverflowError(f"{reprlib.repr(number)} is out of range for i64")


def to_f64(value: Any) -> float:
    """Floats and integers, NumPy's among them."""
    if type(value) is float:
        return value
    # Not whatever `float` takes: that would read strings.
    if hasattr(value, "__float__") or hasattr(value, "__index__"):
        return float(value)
    return to_f64(_content(F64, value, "a number"))


def to_f32(value: Any) -> float:
    """As `to_f64`, rounded to single precision."""
    if isinstance(value, Val):
        value = _content(F32, value, "a number")
    if hasattr(value, "__float__") or hasattr(value, "__index__"):
        return f32_round(float(value))
    raise TypeError(f"{F32} takes a number, not {reprlib.repr(value)}")


def to_v128(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        # Not `len`, which counts a view's items, whatever their size.
        view = memoryview(value)
        if view.nbytes == 16:
            return view.tobytes()
    if isinstance(value, Val):
        return to_v128(_content(V128, value, "16 bytes"))
    raise TypeError(f"{V128} takes 16 bytes, not {reprlib.repr(value)}")


def from_i32(raw: int) -> int:
    return raw - 0x1_0000_0000 if raw & 0x8000_0000 else raw


def from_i64(raw: int) -> int:
    return raw - 0x1_0000_0000_0000_0000 if raw & 0x8000_0000_0000_0000 else raw


TO_RAW: dict[ValType, Converter] = {I32: to_i32, I64: to_i64, F32: to_f32, F64: to_f64, V128: to_v128}
FROM_RAW: dict[ValType, Converter] = {I32: from_i32, I64: from_i64}


# What can be a reference in each hierarchy; a host's object may have become one of any's.
_KINDS = {
    AbstractHeap.FUNC: {AbstractHeap.FUNC},
    AbstractHeap.EXN: {AbstractHeap.EXN},
    AbstractHeap.ANY: {AbstractHeap.STRUCT, AbstractHeap.ARRAY, AbstractHeap.I31, AbstractHeap.EXTERN},
    AbstractHeap.EXTERN: set(AbstractHeap),
}


def to_reference(type: RefType, raw_function: Converter) -> Converter:
    """A converter to references of `type`; `raw_function` is one from a `Func` to its instance."""

    kinds = _KINDS[top_heap(type.heap)]

    def convert(value: Any) -> Any:
        if isinstance(value, Val):
            value = _content(type, value, "a reference")
        raw = raw_function(value)
        if (raw is not None and reference_kind(raw) not in kinds) or not is_instance(raw, type):
            raise TypeError(f"{type} does not take {reprlib.repr(value)}")
        return raw

    def convert_extern(value: Any) -> Any:
        if isinstance(value, Val):
            value = _content(type, value, "a reference")
        if value is None and not type.nullable:
            raise TypeError(f"{type} does not take None")
        return value

    return convert_extern if type.heap is AbstractHeap.EXTERN else convert
