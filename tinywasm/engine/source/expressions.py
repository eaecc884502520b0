"""Python expressions for values, with what is known of them.

An i32 or i64 is any Python int that is congruent to it: sums and products need no mask, and one is applied
where the exact value matters, unless the known range shows that it would change nothing. An f32 or f64 is a
float; a loose one was computed, so a NaN that it may be has any sign, and is made canonical where its bits
can be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinywasm.types import F32, F64, I32, I64, PackedType

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
# Python compares integers of one digit at a third of the price, and most are no larger.
SMALL = (1 << 30) - 1
MASKS = {"i32": M32, "i64": M64}
_TYPES: dict[object, str] = {
    **{I32: "i32", I64: "i64", F32: "f32", F64: "f64"},
    **dict.fromkeys(PackedType, "i32"),
}
_NOTHING: frozenset[str] = frozenset()
# Variables, each with the least and the greatest value that it has.
Facts = tuple[tuple[str, int, int], ...]


def type_name(type: object) -> str:
    """The type of values of a value type or a storage type, as `Value` has it."""
    return _TYPES.get(type, "ref")


class Value:
    """An expression of Wasm type `type`, or "ref" for any reference. It never changes.

    `low` and `high` bound an integer. `reads` are the variables in it. `acts` says that it reads what
    others write, or may trap, so that its turn matters. `simple` says that it costs nothing to write it
    twice; `condition` is the same as a truth value, where that is shorter. A loose float may be a NaN that
    is not canonical. A sum of a constant and of a variable that may have any value has that as its `term`.
    `holds` and `fails` are what is known of variables where a condition does. An integer is congruent to
    `base` shifted to the left by `shift`, if there is a base.
    """

    # Not a tuple with names, which takes twice the time to read and to change.
    __slots__ = (
        "acts", "base", "condition", "fails", "high", "holds", "loose", "low", "reads", "shift", "simple",
        "term", "text", "type",
    )  # fmt: skip

    def __init__(
        self,
        text: str,
        type: str,
        low: int = 0,
        high: int = 0,
        reads: frozenset[str] = _NOTHING,
        acts: bool = False,
        simple: bool = False,
        condition: str = "",
        loose: bool = False,
        term: str = "",
        holds: Facts = (),
        fails: Facts = (),
        base: str = "",
        shift: int = 0,
    ) -> None:
        self.text, self.type, self.low, self.high, self.reads = text, type, low, high, reads
        self.acts, self.simple, self.condition, self.loose, self.term = acts, simple, condition, loose, term
        self.holds, self.fails, self.base, self.shift = holds, fails, base, shift

    def but(self, **changes: Any) -> Value:
        """The same with some changes."""
        made = Value(
            self.text, self.type, self.low, self.high, self.reads, self.acts, self.simple, self.condition,
            self.loose, self.term, self.holds, self.fails, self.base, self.shift,
        )  # fmt: skip
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    @property
    def known(self) -> bool:
        """Whether it is `low`, and nothing has to be done to know that."""
        return self.low == self.high and not self.acts


def variable(name: str, type: str, loose: bool = False) -> Value:
    return Value(name, type, 0, MASKS.get(type, 0), frozenset((name,)), False, True, "", loose)


def integer(type: str, value: int) -> Value:
    """A constant, `value` being exact."""
    return Value(str(value), type, value, value, simple=True)


def made(text: str, type: str, low: int, high: int, *parts: Value, acts: bool = False) -> Value:
    """An integer made from others."""
    for part in parts:
        acts = acts or part.acts
    return Value(text, type, low, high, _reads(parts), acts)


def literal(value: bytes) -> str:
    """Bytes as a Python expression in which nothing looks like a name or a comment."""
    return "b'" + "".join(f"\\x{byte:02x}" for byte in value) + "'"


def other(text: str, type: str, *parts: Value, acts: bool = False, loose: bool = False) -> Value:
    """A value made from others: an exact integer, or none."""
    for part in parts:
        acts = acts or part.acts
    return Value(text, type, 0, MASKS.get(type, 0), _reads(parts), acts, False, "", loose)


def truth(condition: str, *parts: Value, holds: Facts = (), fails: Facts = ()) -> Value:
    """The i32 that says whether a condition holds."""
    value = made(f"(1 if {condition} else 0)", "i32", 0, 1, *parts)
    return value.but(condition=condition, holds=holds, fails=fails)


def between(value: Value, low: int, high: int) -> Facts:
    """What is known where a value is from `low` to `high`."""
    low, high = max(low, value.low), min(high, value.high)
    return ((value.text, low, high),) if value.text in value.reads and 0 <= low <= high else ()


def not_zero(value: Value) -> tuple[Facts, Facts]:
    """What is known where an exact value is not zero, and where it is."""
    return between(value, 1, value.high), between(value, 0, 0)


def _reads(parts: tuple[Value, ...]) -> frozenset[str]:
    found = _NOTHING
    for part in parts:
        found = found | part.reads if found else part.reads
    return found


def exact(value: Value) -> Value:
    """The same value as others may see it."""
    if value.type in MASKS:
        mask = MASKS[value.type]
        if value.low >= 0 and value.high <= mask:
            return value
        if value.known:
            return value.but(text=str(value.low & mask), low=value.low & mask, high=value.low & mask)
        text = _reduced(value, mask)
        return value.but(text=text, low=0, high=mask, simple=False, condition="", term="")
    if value.loose:
        if value.simple:
            text = f"({value.text} if {value.text} == {value.text} else NAN)"
        else:
            text = f"(z if (z := {value.text}) == z else NAN)"
        return value.but(text=text, loose=False, simple=False)
    return value


def _reduced(value: Value, mask: int) -> str:
    """The residue. Comparing takes half the time of masking, but serves only where one turn is too many."""
    turn = mask + 1
    if value.low >= 0 and value.high < 2 * turn:
        if value.term:
            name, number = value.term, value.high - mask
            small = below(name, name, turn - number)
            return f"({name} + {number} if {small} else {name} - {turn - number})"
        return f"(z if {below(f'(z := {value.text})', 'z', turn)} else z - {turn})"
    if value.low >= -turn and value.high <= mask:
        if value.term:
            name, number = value.term, -value.low
            return f"({name} - {number} if {name} >= {number} else {name} + {turn - number})"
        return f"(z if (z := {value.text}) >= 0 else z + {turn})"
    return f"({value.text} & {mask})"


def signed(value: Value) -> Value:
    """Its signed interpretation, as a Python int."""
    mask = MASKS[value.type]
    sign = (mask + 1) >> 1
    if -sign <= value.low and value.high < sign:
        return value
    whole = exact(value)
    if whole.known:
        number = (whole.low ^ sign) - sign
        return whole.but(text=str(number), low=number, high=number)
    if whole.high < sign:
        return whole
    first, again = twice(whole)
    text = f"({again} if {below(first, again, sign)} else {again} - {mask + 1})"
    return whole.but(text=text, low=-sign, high=sign - 1, simple=False)


def below(first: str, again: str, limit: int) -> str:
    """Whether a value, not negative, is less than a large number."""
    return f"{first} <= {SMALL} or {again} < {limit}"


def twice(value: Value) -> tuple[str, str]:
    """What to write where it is used first, and where it is used again."""
    return (value.text, value.text) if value.simple else (f"(z := {value.text})", "z")


def condition(value: Value) -> str:
    """Whether it is not zero."""
    if value.condition:
        return value.condition
    mask = MASKS[value.type]
    return value.text if -mask <= value.low and value.high <= mask else exact(value).text


def negated(text: str) -> str:
    return text[4:] if text.startswith("not ") and _whole(text[4:]) else f"not ({text})"


def _whole(text: str) -> bool:
    """Whether it is one operand, in parentheses or a name."""
    if text.isidentifier():
        return True
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return char == ")" and place == len(text) - 1
    return False


Operator = Callable[..., Value]
