"""All of them by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinywasm.numerics import (
    conversions,
    floats,
    ints,
    relaxed,
    vectors,
    vectors_float,
    vectors_int,
)

_TYPES = {"i32", "i64", "f32", "f64", "v128", "i8x16", "i16x8", "i32x4", "i64x2", "f32x4", "f64x2"}
_HELPERS = {"f32_from_bits", "f32_to_bits", "f32_round", "f64_from_bits", "f64_to_bits"}

OPERATORS: dict[str, Callable[..., Any]] = {
    name: function
    for module in (ints, floats, conversions, vectors, vectors_int, vectors_float, relaxed)
    for name, function in vars(module).items()
    if name.partition("_")[0] in _TYPES and name not in _HELPERS
}
