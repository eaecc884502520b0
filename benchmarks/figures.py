"""The arithmetic of the tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median


def spread(values: Sequence[float]) -> float:
    """How far the values lie apart: the largest less the smallest, over the median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def geometric_mean(values: Iterable[float]) -> float | None:
    """None for no values at all. Raises `ValueError` for one that is not positive."""
    numbers = list(values)
    return math.exp(sum(map(math.log, numbers)) / len(numbers)) if numbers else None


def paired_ratios(values: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Round by round, as far as both go: what slows a whole round down is in both and cancels.

    Times too short to measure, which are 0, are left out.
    """
    return [value / other for value, other in zip(values, reference, strict=False) if value > 0 and other > 0]


def calls_for(seconds: float, least: float) -> int:
    """How many calls of `seconds` each make a sample of at least `least` seconds."""
    return max(1, math.ceil(least / max(seconds, 1e-6)))


def rotate(items: Sequence[int], by: int) -> list[int]:
    """The items from number `by` on, then those before it: no peer goes first in every round."""
    by %= max(len(items), 1)
    return [*items[by:], *items[:by]]


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def seconds(value: float) -> str:
    """A time with its unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{number(value / scale)} {unit}"
    return f"{number(value / 1e-9)} ns"
