"""Integer instructions (section 4.3.2), the conversions between integers, and wide arithmetic.

An i32 or i64 is a Python int in its unsigned interpretation, 0 to 2^N - 1, as the specification
defines iN: equality, unsigned comparison and the bitwise operators then need no work at all, and
only the signed operators reinterpret. A truth value is the int 0 or 1, never a bool.

One-line instructions are written out for each width, because a literal mask is what Python runs
fastest; longer ones come from one factory for both widths.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from tinywasm.errors import Trap, TrapCode

Unary = Callable[[int], int]
Binary = Callable[[int, int], int]

_MASK64 = (1 << 64) - 1
_MASK128 = (1 << 128) - 1


def signed32(value: int) -> int:
    """The signed interpretation of an i32."""
    return value if value < 0x80000000 else value - 0x100000000


def signed64(value: int) -> int:
    """The signed interpretation of an i64."""
    return value if value < 0x8000000000000000 else value - 0x10000000000000000


# Comparisons. Adding 2^(N-1) modulo 2^N, that is flipping the sign bit, maps the signed order to
# the unsigned one.


def i32_eqz(a: int) -> int:
    return 0 if a else 1


def i32_eq(a: int, b: int) -> int:
    return 1 if a == b else 0


def i32_ne(a: int, b: int) -> int:
    return 1 if a != b else 0


def i32_lt_u(a: int, b: int) -> int:
    return 1 if a < b else 0


def i32_gt_u(a: int, b: int) -> int:
    return 1 if a > b else 0


def i32_le_u(a: int, b: int) -> int:
    return 1 if a <= b else 0


def i32_ge_u(a: int, b: int) -> int:
    return 1 if a >= b else 0


i64_eqz = i32_eqz
i64_eq = i32_eq
i64_ne = i32_ne
i64_lt_u = i32_lt_u
i64_gt_u = i32_gt_u
i64_le_u = i32_le_u
i64_ge_u = i32_ge_u


def i32_lt_s(a: int, b: int) -> int:
    return 1 if a ^ 0x80000000 < b ^ 0x80000000 else 0


def i32_gt_s(a: int, b: int) -> int:
    return 1 if a ^ 0x80000000 > b ^ 0x80000000 else 0


def i32_le_s(a: int, b: int) -> int:
    return 1 if a ^ 0x80000000 <= b ^ 0x80000000 else 0


def i32_ge_s(a: int, b: int) -> int:
    return 1 if a ^ 0x80000000 >= b ^ 0x80000000 else 0


def i64_lt_s(a: int, b: int) -> int:
    return 1 if a ^ 0x8000000000000000 < b ^ 0x8000000000000000 else 0


def i64_gt_s(a: int, b: int) -> int:
    return 1 if a ^ 0x8000000000000000 > b ^ 0x8000000000000000 else 0


def i64_le_s(a: int, b: int) -> int:
    return 1 if a ^ 0x8000000000000000 <= b ^ 0x8000000000000000 else 0


def i64_ge_s(a: int, b: int) -> int:
    return 1 if a ^ 0x8000000000000000 >= b ^ 0x8000000000000000 else 0


# Bits.

i32_and: Binary = operator.and_
i32_or: Binary = operator.or_
i32_xor: Binary = operator.xor
i32_popcnt: Unary = int.bit_count
i64_and = i32_and
i64_or = i32_or
i64_xor = i32_xor
i64_popcnt = i32_popcnt


def i32_clz(a: int) -> int:
    return 32 - a.bit_length()


def i64_clz(a: int) -> int:
    return 64 - a.bit_length()


def i32_ctz(a: int) -> int:
    return (a & -a).bit_length() - 1 if a else 32


def i64_ctz(a: int) -> int:
    return (a & -a).bit_length() - 1 if a else 64


def i32_shl(a: int, b: int) -> int:
    return (a << (b & 31)) & 0xFFFFFFFF


def i64_shl(a: int, b: int) -> int:
    return (a << (b & 63)) & 0xFFFFFFFFFFFFFFFF


def i32_shr_u(a: int, b: int) -> int:
    return a >> (b & 31)


def i64_shr_u(a: int, b: int) -> int:
    return a >> (b & 63)


def i32_shr_s(a: int, b: int) -> int:
    return (a if a < 0x80000000 else a - 0x100000000) >> (b & 31) & 0xFFFFFFFF


def i64_shr_s(a: int, b: int) -> int:
    return (a if a < 0x8000000000000000 else a - 0x10000000000000000) >> (b & 63) & 0xFFFFFFFFFFFFFFFF


def i32_rotl(a: int, b: int) -> int:
    b &= 31
    return ((a << b) | (a >> (32 - b))) & 0xFFFFFFFF


def i64_rotl(a: int, b: int) -> int:
    b &= 63
    return ((a << b) | (a >> (64 - b))) & 0xFFFFFFFFFFFFFFFF


def i32_rotr(a: int, b: int) -> int:
    b &= 31
    return ((a >> b) | (a << (32 - b))) & 0xFFFFFFFF


def i64_rotr(a: int, b: int) -> int:
    b &= 63
    return ((a >> b) | (a << (64 - b))) & 0xFFFFFFFFFFFFFFFF


# Arithmetic.


def i32_add(a: int, b: int) -> int:
    return (a + b) & 0xFFFFFFFF


def i64_add(a: int, b: int) -> int:
    return (a + b) & 0xFFFFFFFFFFFFFFFF


def i32_sub(a: int, b: int) -> int:
    return (a - b) & 0xFFFFFFFF


def i64_sub(a: int, b: int) -> int:
    return (a - b) & 0xFFFFFFFFFFFFFFFF


def i32_mul(a: int, b: int) -> int:
    return (a * b) & 0xFFFFFFFF


def i64_mul(a: int, b: int) -> int:
    return (a * b) & 0xFFFFFFFFFFFFFFFF


def i32_div_u(a: int, b: int) -> int:
    if not b:
        raise Trap(TrapCode.INTEGER_DIVISION_BY_ZERO)
    return a // b


def i32_rem_u(a: int, b: int) -> int:
    if not b:
        raise Trap(TrapCode.INTEGER_DIVISION_BY_ZERO)
    return a % b


i64_div_u = i32_div_u
i64_rem_u = i32_rem_u


def _div_s(bits: int) -> Binary:
    sign, modulus, mask = 1 << bits - 1, 1 << bits, (1 << bits) - 1

    def div_s(a: int, b: int) -> int:
        if not b:
            raise Trap(TrapCode.INTEGER_DIVISION_BY_ZERO)
        if a == sign and b == mask:
            raise Trap(TrapCode.INTEGER_OVERFLOW)
        dividend = a if a < sign else a - modulus
        divisor = b if b < sign else b - modulus
        # Python rounds a quotient down, the specification towards zero.
        quotient = abs(dividend) // abs(divisor)
        return quotient if (dividend < 0) == (divisor < 0) else -quotient & mask

    return div_s


def _rem_s(bits: int) -> Binary:
    sign, modulus, mask = 1 << bits - 1, 1 << bits, (1 << bits) - 1

    def rem_s(a: int, b: int) -> int:
        if not b:
            raise Trap(TrapCode.INTEGER_DIVISION_BY_ZERO)
        dividend = a if a < sign else a - modulus
        divisor = b if b < sign else b - modulus
        # The remainder takes the sign of the dividend; Python gives it that of the divisor.
        remainder = abs(dividend) % abs(divisor)
        return -remainder & mask if dividend < 0 else remainder

    return rem_s


i32_div_s = _div_s(32)
i64_div_s = _div_s(64)
i32_rem_s = _rem_s(32)
i64_rem_s = _rem_s(64)


# Conversions between integers.


def _sign_extension(from_bits: int, to_bits: int) -> Unary:
    low, sign, mask = (1 << from_bits) - 1, 1 << from_bits - 1, (1 << to_bits) - 1

    def extend(a: int) -> int:
        return ((a & low ^ sign) - sign) & mask

    return extend


i32_extend8_s = _sign_extension(8, 32)
i32_extend16_s = _sign_extension(16, 32)
i64_extend8_s = _sign_extension(8, 64)
i64_extend16_s = _sign_extension(16, 64)
i64_extend32_s = _sign_extension(32, 64)
i64_extend_i32_s = _sign_extension(32, 64)


def i64_extend_i32_u(a: int) -> int:
    return a


def i32_wrap_i64(a: int) -> int:
    return a & 0xFFFFFFFF


# Wide arithmetic (proposal): a 128-bit integer is two i64, the low half first.


def _halves(value: int) -> tuple[int, int]:
    return value & _MASK64, (value & _MASK128) >> 64


def i64_add128(a_low: int, a_high: int, b_low: int, b_high: int) -> tuple[int, int]:
    return _halves((a_high << 64 | a_low) + (b_high << 64 | b_low))


def i64_sub128(a_low: int, a_high: int, b_low: int, b_high: int) -> tuple[int, int]:
    return _halves((a_high << 64 | a_low) - (b_high << 64 | b_low))


def i64_mul_wide_s(a: int, b: int) -> tuple[int, int]:
    return _halves(signed64(a) * signed64(b))


def i64_mul_wide_u(a: int, b: int) -> tuple[int, int]:
    return _halves(a * b)
