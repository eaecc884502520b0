"""How numeric instructions read as Python expressions.

What is not here calls the operator of `numerics` by its name.
"""

from __future__ import annotations

from collections.abc import Callable

from tinywasm.engine.source.expressions import (
    M32,
    M64,
    MASKS,
    SMALL,
    Facts,
    Operator,
    Value,
    below,
    between,
    exact,
    integer,
    made,
    not_zero,
    other,
    signed,
    truth,
    twice,
)

# Beyond, an integer is masked at once, so that it does not grow from one expression to the next.
_LARGE = 1 << 100


def _kept(value: Value) -> Value:
    return value if value.low > -_LARGE and value.high < _LARGE else exact(value)


def _constant(value: Value) -> int | None:
    """Its signed interpretation where that is known."""
    if not value.known:
        return None
    sign = (MASKS[value.type] + 1) >> 1
    return ((value.low & MASKS[value.type]) ^ sign) - sign


def _add(a: Value, b: Value) -> Value:
    x, y = _constant(a), _constant(b)
    if x is not None and y is not None:
        return integer(a.type, (x + y) & MASKS[a.type])
    if x is not None:
        a, b, y = b, a, x
    if y == 0:
        return a
    if y is not None:
        term = a.text if a.simple and a.low == 0 and a.high == MASKS[a.type] else ""
        if a.term and abs(a.low + y) <= MASKS[a.type]:
            term, y = a.term, a.low + y
            a = a.but(text=term, low=0, high=MASKS[a.type], simple=True, term="")
        if not y:
            return a
        text = _plus(a.text, y)
        base = _plus(a.base, y >> a.shift) if a.base and not y & (1 << a.shift) - 1 else ""
        return _kept(made(text, a.type, a.low + y, a.high + y, a).but(term=term, base=base, shift=a.shift))
    return _kept(made(f"({a.text} + {b.text})", a.type, a.low + b.low, a.high + b.high, a, b))


def _plus(text: str, number: int) -> str:
    return f"({text} + {number})" if number >= 0 else f"({text} - {-number})"


def _sub(a: Value, b: Value) -> Value:
    y = _constant(b)
    if y is not None and y != -(MASKS[a.type] + 1) >> 1:
        return _add(a, integer(a.type, -y & MASKS[a.type]))
    return _kept(made(f"({a.text} - {b.text})", a.type, a.low - b.high, a.high - b.low, a, b))


def _mul(a: Value, b: Value) -> Value:
    x, y = _constant(a), _constant(b)
    if x is not None:
        a, b, y = b, a, x
    if y is not None:
        ends = (a.low * y, a.high * y)
        return _kept(made(f"({a.text} * {y})", a.type, min(ends), max(ends), a))
    ends4 = [one * two for one in (a.low, a.high) for two in (b.low, b.high)]
    return _kept(made(f"({a.text} * {b.text})", a.type, min(ends4), max(ends4), a, b))


def _span(*values: Value) -> int:
    """The least power of two that no absolute value exceeds."""
    return 1 << max(max(value.high, ~value.low).bit_length() for value in values)


def _and(a: Value, b: Value) -> Value:
    if a.low < 0 and b.low < 0:
        span = _span(a, b)
        return made(f"({a.text} & {b.text})", a.type, -span, span - 1, a, b)
    highs = [value.high for value in (a, b) if value.low >= 0]
    return made(f"({a.text} & {b.text})", a.type, 0, min(highs), a, b)


def _or(a: Value, b: Value, sign: str = "|") -> Value:
    span = _span(a, b)
    low = 0 if a.low >= 0 and b.low >= 0 else -span
    return made(f"({a.text} {sign} {b.text})", a.type, low, span - 1, a, b)


def _xor(a: Value, b: Value) -> Value:
    return _or(a, b, "^")


def _count(b: Value) -> str:
    bits = 31 if b.type == "i32" else 63
    return b.text if b.low >= 0 and b.high <= bits else f"({b.text} & {bits})"


def _shl(a: Value, b: Value) -> Value:
    y = _constant(b)
    if y is not None:
        y &= 31 if a.type == "i32" else 63
        value = made(f"({a.text} << {y})", a.type, a.low << y, a.high << y, a)
        return _kept(value.but(base=a.text, shift=y))
    most = 31 if a.type == "i32" else 63
    return _kept(
        made(
            f"({a.text} << {_count(b)})", a.type, min(a.low, a.low << most), max(a.high, a.high << most), a, b
        )
    )


def _shr_u(a: Value, b: Value) -> Value:
    return _shifted(exact(a), b)


def _shr_s(a: Value, b: Value) -> Value:
    return _shifted(signed(a), b)


def _shifted(a: Value, b: Value) -> Value:
    """The integer `a` shifted to the right."""
    y = _constant(b)
    if y is not None:
        y &= 31 if a.type == "i32" else 63
        return made(f"({a.text} >> {y})", a.type, a.low >> y, a.high >> y, a)
    return made(f"({a.text} >> {_count(b)})", a.type, min(a.low, 0), max(a.high, 0), a, b)


def _rotl(a: Value, b: Value) -> Value:
    bits = 32 if a.type == "i32" else 64
    y = _constant(b)
    if y is None:
        return other(f"{a.type}_rotl({exact(a).text}, {exact(b).text})", a.type, a, b)
    y %= bits
    a = exact(a)
    first, again = twice(a)
    return _kept(made(f"({first} << {y} | {again} >> {bits - y})", a.type, 0, a.high << y | M64, a))


def _rotr(a: Value, b: Value) -> Value:
    bits = 32 if a.type == "i32" else 64
    y = _constant(b)
    if y is None:
        return other(f"{a.type}_rotr({exact(a).text}, {exact(b).text})", a.type, a, b)
    return _rotl(a, integer(a.type, -y % bits))


def _clz(a: Value) -> Value:
    bits = 32 if a.type == "i32" else 64
    return made(f"({bits} - {_called(exact(a))}.bit_length())", a.type, 0, bits, a)


def _popcnt(a: Value) -> Value:
    bits = 32 if a.type == "i32" else 64
    return made(f"{_called(exact(a))}.bit_count()", a.type, 0, bits, a)


def _called(a: Value) -> str:
    """Something that a method can be called of."""
    return f"({a.text})" if a.known else a.text


def _eqz(a: Value) -> Value:
    if a.condition:
        return truth(f"not ({a.condition})", a, holds=a.fails, fails=a.holds)
    mask = MASKS[a.type]
    fails, holds = not_zero(exact(a))
    text = a.text if -mask <= a.low and a.high <= mask else exact(a).text
    return truth(f"not {text}", a, holds=holds, fails=fails)


def _same(sign: str) -> Operator:
    def compare(a: Value, b: Value) -> Value:
        size = MASKS[a.type]
        equal, other_ = _equal(exact(a), exact(b))
        facts = {"holds": equal, "fails": other_} if sign == "==" else {"holds": other_, "fails": equal}
        if max(a.high, b.high) - min(a.low, b.low) <= size:
            return truth(f"{a.text} {sign} {b.text}", a, b, **facts)
        half = (size + 1) >> 1
        for one, two in ((a, b), (b, a)):
            # A constant is as well compared in the other interpretation.
            if one.known and -half <= two.low and two.high < half:
                return truth(f"{two.text} {sign} {signed(one).text}", a, b, **facts)
        return truth(f"{exact(a).text} {sign} {exact(b).text}", a, b, **facts)

    return compare


def _equal(a: Value, b: Value) -> tuple[Facts, Facts]:
    """What is known where two exact values are equal, and where they are not."""
    low, high = max(a.low, b.low), min(a.high, b.high)
    if b.known:
        other_ = between(a, a.low + (a.low == b.low), a.high - (a.high == b.low))
    elif a.known:
        other_ = between(b, b.low + (b.low == a.low), b.high - (b.high == a.low))
    else:
        other_ = ()
    return between(a, low, high) + between(b, low, high), other_


def _unsigned(sign: str) -> Operator:
    return lambda a, b: _ordered(exact(a), sign, exact(b))


def _ordered(a: Value, sign: str, b: Value) -> Value:
    """Compares values as Python does."""
    less, more = (a, b) if sign in ("<", "<=") else (b, a)
    least = sign in ("<", ">")
    holds = between(less, less.low, more.high - least) + between(more, less.low + least, more.high)
    least = not least
    fails = between(more, more.low, less.high - least) + between(less, more.low + least, less.high)
    return truth(f"{a.text} {sign} {b.text}", a, b, holds=holds, fails=fails)


def _signed(sign: str) -> Operator:
    def compare(a: Value, b: Value) -> Value:
        half = (MASKS[a.type] + 1) >> 1

        def plain(value: Value) -> bool:
            return value.known or (-half <= value.low and value.high < half)

        if not (plain(a) and plain(b)):
            for value, other_, way in ((a, b, sign), (b, a, _MIRRORED[sign])):
                number = _constant(other_)
                if number is not None and number != half - 1:
                    return _against(value, way, number)
        return _ordered(signed(a), sign, signed(b))

    return compare


_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _against(value: Value, sign: str, number: int) -> Value:
    """Compares a value of any sign with a number, neither of the least nor of the greatest."""
    turn = MASKS[value.type] + 1
    half, number = turn >> 1, number + (sign in ("<=", ">"))
    whole = exact(value)
    first, again = twice(whole)
    # Those that are less are from one half's beginning on, or the others are.
    if number > 0:
        text = (
            f"{first} < {number} or ({again} > {SMALL} and {again} >= {half})",
            f"{first} >= {number} and ({below(again, again, half)})",
        )
        facts: tuple[Facts, Facts] = (), between(whole, number, half - 1)
    elif number < 0:
        number += turn
        text = (
            f"{first} > {SMALL} and {half} <= {again} < {number}",
            f"{below(first, again, half)} or {again} >= {number}",
        )
        facts = between(whole, half, number - 1), ()
    else:
        text = f"{first} > {SMALL} and {again} >= {half}", below(first, again, half)
        facts = between(whole, half, turn - 1), between(whole, 0, half - 1)
    less = sign in ("<", "<=")
    holds, fails = facts if less else facts[::-1]
    return truth(text[0] if less else text[1], value, holds=holds, fails=fails)


def _div_u(a: Value, b: Value) -> Value:
    a, b = exact(a), exact(b)
    return made(f"({a.text} // {b.text})", a.type, 0, a.high, a, b, acts=not b.low)


def _rem_u(a: Value, b: Value) -> Value:
    a, b = exact(a), exact(b)
    return made(f"({a.text} % {b.text})", a.type, 0, min(a.high, max(b.high - 1, 0)), a, b, acts=not b.low)


def _signed_division(name: str, sign: str) -> Operator:
    def divide(a: Value, b: Value) -> Value:
        half = (MASKS[a.type] + 1) >> 1
        if a.low >= 0 and a.high < half and b.low >= 0 and b.high < half:
            return _div_u(a, b) if sign == "//" else _rem_u(a, b)
        number = _constant(b)
        if number is not None and number > 0:
            a = exact(a)
            first, again = twice(a)
            # The quotient is rounded towards zero, and the remainder has the dividend's sign.
            negative = f"-(({2 * half} - {again}) {sign} {number})"
            text = f"({again} {sign} {number} if {first} < {half} else {negative})"
            most = half // number if sign == "//" else number - 1
            return made(text, a.type, -most, most, a)
        known = number not in (None, 0, -1)
        return other(f"{a.type}_{name}({exact(a).text}, {exact(b).text})", a.type, a, b, acts=not known)

    return divide


def _extend(bits: int) -> Operator:
    def extend(a: Value) -> Value:
        sign = 1 << bits >> 1
        if -sign <= a.low and a.high < sign:
            return a
        part = a if a.low >= 0 and a.high < 2 * sign else _and(a, integer(a.type, 2 * sign - 1))
        first, again = twice(part)
        return made(f"({again} if {first} < {sign} else {again} - {2 * sign})", a.type, -sign, sign - 1, a)

    return extend


def _as(type: str, change: Callable[[Value], Value]) -> Operator:
    def convert(a: Value) -> Value:
        a = change(a)
        return Value(a.text, type, a.low, a.high, a.reads, a.acts, a.simple)

    return convert


def _wrapped(a: Value) -> Value:
    """Congruent modulo 2 ** 64, so modulo 2 ** 32."""
    return integer("i32", a.low & M32) if a.known else a


def _from_signed(type: str) -> Operator:
    # The sum rounds once, to nearest, as conversion does.
    return lambda a: other(f"({signed(a).text} + 0.0)", type, a)


def _from_unsigned(type: str) -> Operator:
    return lambda a: other(f"({exact(a).text} + 0.0)", type, a)


def _float(sign: str) -> Operator:
    return lambda a, b: other(f"({a.text} {sign} {b.text})", "f64", a, b, loose=True)


def _relation(sign: str) -> Operator:
    return lambda a, b: truth(f"{a.text} {sign} {b.text}", a, b)


def _call(name: str, type: str) -> Operator:
    """A function that takes floats as they are, and gives no NaN but the canonical one."""
    return lambda *parts: other(f"{name}({', '.join(part.text for part in parts)})", type, *parts)


def _sign(name: str, type: str) -> Operator:
    """An instruction that sees the bits of a NaN."""

    def change(*parts: Value) -> Value:
        parts = tuple(exact(part) for part in parts)
        if name == "-":
            return other(f"(-{parts[0].text})", type, *parts)
        return other(f"{name}({', '.join(part.text for part in parts)})", type, *parts)

    return change


_INTEGER: dict[str, Operator] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "and": _and,
    "or": _or,
    "xor": _xor,
    "shl": _shl,
    "shr_u": _shr_u,
    "shr_s": _shr_s,
    "rotl": _rotl,
    "rotr": _rotr,
    "clz": _clz,
    "popcnt": _popcnt,
    "eqz": _eqz,
    "eq": _same("=="),
    "ne": _same("!="),
    "div_u": _div_u,
    "rem_u": _rem_u,
    "div_s": _signed_division("div_s", "//"),
    "rem_s": _signed_division("rem_s", "%"),
    "extend8_s": _extend(8),
    "extend16_s": _extend(16),
    **{
        f"{name}_{kind}": make(sign)
        for name, sign in (("lt", "<"), ("gt", ">"), ("le", "<="), ("ge", ">="))
        for kind, make in (("u", _unsigned), ("s", _signed))
    },
}
_RELATIONS = {"eq": "==", "ne": "!=", "lt": "<", "gt": ">", "le": "<=", "ge": ">="}

OPERATORS: dict[str, Operator] = {
    **{f"{type}.{name}": make for type in MASKS for name, make in _INTEGER.items()},
    **{f"{type}.{name}": _relation(sign) for type in ("f32", "f64") for name, sign in _RELATIONS.items()},
    "i64.extend32_s": _extend(32),
    "i64.extend_i32_s": _as("i64", signed),
    "i64.extend_i32_u": _as("i64", exact),
    "i32.wrap_i64": _as("i32", _wrapped),
    "f64.convert_i32_s": _from_signed("f64"),
    "f64.convert_i64_s": _from_signed("f64"),
    "f64.convert_i32_u": _from_unsigned("f64"),
    "f64.convert_i64_u": _from_unsigned("f64"),
    "f64.promote_f32": lambda a: Value(
        a.text, "f64", reads=a.reads, acts=a.acts, simple=a.simple, loose=True
    ),
    "f64.add": _float("+"),
    "f64.sub": _float("-"),
    "f64.mul": _float("*"),
    **{
        f"{type}.{name}": _call(f"{type}_{name}", type)
        for type in ("f32", "f64")
        for name in ("min", "max", "ceil", "floor", "trunc", "nearest")
    },
    "f64.sqrt": _call("f64_sqrt", "f64"),
    **{
        f"{type}.{name}": _sign(way, type)
        for type in ("f32", "f64")
        for name, way in (("neg", "-"), ("abs", "fabs"), ("copysign", "copysign"))
    },
}

# f32 arithmetic: computed in double precision, then rounded by a store to a cell (see `numerics.floats`).
ROUNDED: dict[str, Operator] = {
    **{f"f32.{name}": _float(sign) for name, sign in (("add", "+"), ("sub", "-"), ("mul", "*"))},
    "f32.sqrt": _call("f64_sqrt", "f64"),
    "f32.demote_f64": lambda a: a,
    "f32.convert_i32_s": _from_signed("f64"),
    "f32.convert_i32_u": _from_unsigned("f64"),
}
assert M32 < M64
