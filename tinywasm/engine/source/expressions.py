"""Python expressions for values, with what is known of them.

An i32 or i64 is any Python int that is congruent to it: sums and products need no mask, and one is applied
where the exact value matters, unless the known range shows that it would change nothing. An f32 or f64 is a
float; a loose one was computed, so a NaN that it may be has any sign, and is made canonical where its bits
can be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
MASKS = {"i32": M32, "i64": M64}
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An expression of Wasm type `type`, or "ref" for any reference.

    `low` and `high` bound an integer. `reads` are the variables in it. `acts` says that it reads what
    others write, or may trap, so that its turn matters. `simple` says that it costs nothing to write it
    twice; `condition` is the same as a truth value, where that is shorter. A loose float may be a NaN that
    is not canonical.
    """

    text: str
    type: str
    low: int = 0
    high: int = 0
    reads: frozenset[str] = _NOTHING
    acts: bool = False
    simple: bool = False
    condition: str = ""
    loose: bool = False

    @property
    def known(self) -> bool:
        """Whether it is `low`, and nothing has to be done to know that."""
        return self.low == self.high and not self.acts


def variable(name: str, type: str, loose: bool = False) -> Value:
    return Value(name, type, 0, MASKS.get(type, 0), frozenset((name,)), simple=True, loose=loose)


def integer(type: str, value: int) -> Value:
    """A constant, `value` being exact."""
    return Value(str(value), type, value, value, simple=True)


def made(text: str, type: str, low: int, high: int, *parts: Value, acts: bool = False) -> Value:
    """An integer made from others."""
    return Value(text, type, low, high, _reads(parts), acts or any(part.acts for part in parts))


def other(text: str, type: str, *parts: Value, acts: bool = False, loose: bool = False) -> Value:
    """A value made from others: an exact integer, or none."""
    return Value(
        text,
        type,
        0,
        MASKS.get(type, 0),
        _reads(parts),
        acts or any(part.acts for part in parts),
        loose=loose,
    )


def truth(condition: str, *parts: Value) -> Value:
    """The i32 that says whether a condition holds."""
    return replace(made(f"(1 if {condition} else 0)", "i32", 0, 1, *parts), condition=condition)


def _reads(parts: tuple[Value, ...]) -> frozenset[str]:
    if len(parts) == 1:
        return parts[0].reads
    return _NOTHING.union(*(part.reads for part in parts))


def exact(value: Value) -> Value:
    """The same value as others may see it."""
    if value.type in MASKS:
        mask = MASKS[value.type]
        if value.low >= 0 and value.high <= mask:
            return value
        if value.known:
            return replace(value, text=str(value.low & mask), low=value.low & mask, high=value.low & mask)
        return replace(value, text=f"({value.text} & {mask})", low=0, high=mask, simple=False, condition="")
    if value.loose:
        if value.simple:
            text = f"({value.text} if {value.text} == {value.text} else NAN)"
        else:
            text = f"(z if (z := {value.text}) == z else NAN)"
        return replace(value, text=text, loose=False, simple=False)
    return value


def signed(value: Value) -> Value:
    """Its signed interpretation, as a Python int."""
    sign = (MASKS[value.type] + 1) >> 1
    if -sign <= value.low and value.high < sign:
        return value
    whole = exact(value)
    if whole.known:
        number = (whole.low ^ sign) - sign
        return replace(whole, text=str(number), low=number, high=number)
    if whole.high < sign:
        return whole
    return replace(whole, text=f"(({whole.text} ^ {sign}) - {sign})", low=-sign, high=sign - 1, simple=False)


def flipped(value: Value) -> str:
    """Its signed interpretation plus 2 ** (N - 1), which compares in the same way and costs less."""
    sign = (MASKS[value.type] + 1) >> 1
    if -sign <= value.low and value.high < sign:
        if value.known:
            return str(value.low + sign)
        return f"{value.text} + {sign}"
    whole = exact(value)
    if whole.known:
        return str(whole.low ^ sign)
    return f"{whole.text} ^ {sign}" if whole.high >= sign else f"{whole.text} + {sign}"


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
