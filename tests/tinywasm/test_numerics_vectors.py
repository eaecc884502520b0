"""Vector instructions against a lane-by-lane reading of the specification."""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinywasm.numerics.floats import f32_from_bits, f32_to_bits, f64_from_bits, f64_to_bits
from tinywasm.numerics.operators import OPERATORS

SHAPES = {"i8x16": 8, "i16x8": 16, "i32x4": 32, "i64x2": 64}
FLOAT_SHAPES = {"f32x4": (32, f32_from_bits, f32_to_bits), "f64x2": (64, f64_from_bits, f64_to_bits)}
INTEGERS = pytest.mark.parametrize("shape", SHAPES)
FLOATS = pytest.mark.parametrize("shape", FLOAT_SHAPES)

# Uniform bytes seldom meet the bounds of a lane; these do in every width.
edges = st.sampled_from([b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xfe", b"\xc0", b"\x3f"])
edge_vectors = st.lists(edges, min_size=16, max_size=16).map(b"".join)
repeated = st.sampled_from([b"\x00" * 7 + b"\x80", b"\xff" * 7 + b"\x7f", b"\x00\x00\x00\x80"]).map(
    lambda lane: lane * (16 // len(lane))
)
vectors = st.one_of(st.binary(min_size=16, max_size=16), edge_vectors, repeated)

Lanewise = Callable[[int, int], int]


def lanes(vector: bytes, bits: int, *, signed: bool = False) -> list[int]:
    size = bits // 8
    return [int.from_bytes(vector[i : i + size], "little", signed=signed) for i in range(0, 16, size)]


def join(values: Sequence[int], bits: int) -> bytes:
    assert len(values) * bits == 128
    return b"".join((value % 2**bits).to_bytes(bits // 8, "little") for value in values)


def clamp(value: int, bits: int, *, signed: bool) -> int:
    lowest = -1 << bits - 1 if signed else 0
    return max(lowest, min(lowest + (1 << bits) - 1, value))


def is_signed(name: str) -> bool:
    return not name.endswith("_u")


MODULAR: dict[str, Lanewise] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "min_s": min,
    "min_u": min,
    "max_s": max,
    "max_u": max,
    "avgr_u": lambda x, y: (x + y + 1) // 2,
}
SATURATING: dict[str, Lanewise] = {
    "add_sat_s": operator.add,
    "add_sat_u": operator.add,
    "sub_sat_s": operator.sub,
    "sub_sat_u": operator.sub,
    "q15mulr_sat_s": lambda x, y: (x * y + 2**14) // 2**15,
    "relaxed_q15mulr_s": lambda x, y: (x * y + 2**14) // 2**15,
}


@INTEGERS
@given(a=vectors, b=vectors)
def test_modular_arithmetic(shape: str, a: bytes, b: bytes) -> None:
    bits = SHAPES[shape]
    for name, exact in MODULAR.items():
        if function := OPERATORS.get(f"{shape}_{name}"):
            signed = is_signed(name)
            results = map(exact, lanes(a, bits, signed=signed), lanes(b, bits, signed=signed))
            assert function(a, b) == join(list(results), bits), name


@pytest.mark.parametrize("shape", ["i8x16", "i16x8"])
@given(a=vectors, b=vectors)
def test_saturating_arithmetic(shape: str, a: bytes, b: bytes) -> None:
    bits = SHAPES[shape]
    for name, exact in SATURATING.items():
        if function := OPERATORS.get(f"{shape}_{name}"):
            signed = is_signed(name)
            results = map(exact, lanes(a, bits, signed=signed), lanes(b, bits, signed=signed))
            expected = [clamp(result, bits, signed=signed) for result in results]
            assert function(a, b) == join(expected, bits), name


@INTEGERS
@given(a=vectors, b=vectors)
def test_comparisons_fill_lanes(shape: str, a: bytes, b: bytes) -> None:
    bits = SHAPES[shape]
    for name in ("eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"):
        if shape == "i64x2" and name.endswith("_u"):
            continue
        relation, signed = getattr(operator, name[:2]), is_signed(name)
        truths = map(relation, lanes(a, bits, signed=signed), lanes(b, bits, signed=signed))
        assert OPERATORS[f"{shape}_{name}"](a, b) == join([-int(truth) for truth in truths], bits)
        assert OPERATORS[f"{shape}_{name}"](a, a) == join([-int(relation(0, 0))] * (128 // bits), bits)


@INTEGERS
@given(a=vectors, count=st.integers(0, 2**32 - 1))
def test_shifts_take_the_count_modulo_the_lane(shape: str, a: bytes, count: int) -> None:
    bits = SHAPES[shape]
    power = 2 ** (count % bits)
    assert OPERATORS[f"{shape}_shl"](a, count) == join([x * power for x in lanes(a, bits)], bits)
    assert OPERATORS[f"{shape}_shr_u"](a, count) == join([x // power for x in lanes(a, bits)], bits)
    signed = lanes(a, bits, signed=True)
    assert OPERATORS[f"{shape}_shr_s"](a, count) == join([x // power for x in signed], bits)


@INTEGERS
@given(a=vectors)
def test_unary_operators_and_tests(shape: str, a: bytes) -> None:
    bits = SHAPES[shape]
    signed = lanes(a, bits, signed=True)
    assert OPERATORS[f"{shape}_neg"](a) == join([-x for x in signed], bits)
    assert OPERATORS[f"{shape}_abs"](a) == join([abs(x) for x in signed], bits)
    assert OPERATORS[f"{shape}_all_true"](a) is int(0 not in signed)
    mask = OPERATORS[f"{shape}_bitmask"](a)
    assert [mask >> lane & 1 for lane in range(32)] == [int(x < 0) for x in signed] + [0] * (32 - len(signed))
    assert OPERATORS["i8x16_popcnt"](a) == bytes(format(byte, "b").count("1") for byte in a)


@given(a=vectors, b=vectors, mask=vectors)
def test_bitwise_operators(a: bytes, b: bytes, mask: bytes) -> None:
    triples = list(zip(a, b, mask, strict=True))
    assert OPERATORS["v128_not"](a) == bytes(255 - x for x in a)
    assert OPERATORS["v128_and"](a, b) == bytes(x & y for x, y, _ in triples)
    assert OPERATORS["v128_andnot"](a, b) == bytes(x & 255 - y for x, y, _ in triples)
    assert OPERATORS["v128_or"](a, b) == bytes(x | y for x, y, _ in triples)
    assert OPERATORS["v128_xor"](a, b) == bytes(x ^ y for x, y, _ in triples)
    selected = bytes(x & m | y & 255 - m for x, y, m in triples)
    for name in ("v128_bitselect", *(f"{shape}_relaxed_laneselect" for shape in SHAPES)):
        assert OPERATORS[name](a, b, mask) == selected
    assert OPERATORS["v128_any_true"](a) is int(any(a))


@INTEGERS
@given(a=vectors, data=st.data())
def test_integer_lanes(shape: str, a: bytes, data: st.DataObject) -> None:
    bits = SHAPES[shape]
    operand_bits = max(bits, 32)
    x = data.draw(st.integers(0, 2**operand_bits - 1))
    lane = data.draw(st.integers(0, 128 // bits - 1))
    assert OPERATORS[f"{shape}_splat"](x) == join([x] * (128 // bits), bits)
    replaced = lanes(a, bits)
    replaced[lane] = x
    assert OPERATORS[f"{shape}_replace_lane"](a, x, lane) == join(replaced, bits)
    for suffix, signed in {"_s": True, "_u": False}.items() if bits < 32 else {"": False}.items():
        expected = lanes(a, bits, signed=signed)[lane] % 2**operand_bits
        assert OPERATORS[f"{shape}_extract_lane{suffix}"](a, lane) == expected


@FLOATS
@given(a=vectors, data=st.data())
def test_float_lanes_keep_every_bit(shape: str, a: bytes, data: st.DataObject) -> None:
    bits, from_bits, to_bits = FLOAT_SHAPES[shape]
    pattern = data.draw(st.integers(0, 2**bits - 1))
    lane = data.draw(st.integers(0, 128 // bits - 1))
    assert OPERATORS[f"{shape}_splat"](from_bits(pattern)) == join([pattern] * (128 // bits), bits)
    replaced = lanes(a, bits)
    replaced[lane] = pattern
    assert OPERATORS[f"{shape}_replace_lane"](a, from_bits(pattern), lane) == join(replaced, bits)
    assert to_bits(OPERATORS[f"{shape}_extract_lane"](a, lane)) == lanes(a, bits)[lane]


@given(a=vectors, b=vectors, indices=st.lists(st.integers(0, 31), min_size=16, max_size=16))
def test_shuffle_and_swizzle(a: bytes, b: bytes, indices: list[int]) -> None:
    assert OPERATORS["i8x16_shuffle"](a, b, indices) == bytes([*a, *b][index] for index in indices)
    assert OPERATORS["i8x16_shuffle"](a, b, range(16, 32)) == b
    for name in ("i8x16_swizzle", "i8x16_relaxed_swizzle"):
        assert OPERATORS[name](a, bytes(indices)) == bytes(a[i] if i < 16 else 0 for i in indices)
        assert OPERATORS[name](a, b"\xff" * 16) == bytes(16)


WIDENING = [("i16x8", "i8x16"), ("i32x4", "i16x8"), ("i64x2", "i32x4")]


@pytest.mark.parametrize(("wide", "narrow"), WIDENING)
@pytest.mark.parametrize("sign", ["s", "u"])
@given(a=vectors, b=vectors)
def test_widening(wide: str, narrow: str, sign: str, a: bytes, b: bytes) -> None:
    bits, signed = SHAPES[wide], sign == "s"
    xs, ys = lanes(a, bits // 2, signed=signed), lanes(b, bits // 2, signed=signed)
    middle = len(xs) // 2
    for half, part in {"low": slice(middle), "high": slice(middle, None)}.items():
        assert OPERATORS[f"{wide}_extend_{half}_{narrow}_{sign}"](a) == join(xs[part], bits)
        products = [x * y for x, y in zip(xs[part], ys[part], strict=True)]
        assert OPERATORS[f"{wide}_extmul_{half}_{narrow}_{sign}"](a, b) == join(products, bits)
    if wide != "i64x2":
        sums = [xs[i] + xs[i + 1] for i in range(0, len(xs), 2)]
        assert OPERATORS[f"{wide}_extadd_pairwise_{narrow}_{sign}"](a) == join(sums, bits)


@pytest.mark.parametrize(("wide", "narrow"), WIDENING[:2])
@pytest.mark.parametrize("sign", ["s", "u"])
@given(a=vectors, b=vectors)
def test_narrowing_saturates_the_signed_lanes(wide: str, narrow: str, sign: str, a: bytes, b: bytes) -> None:
    bits, half = SHAPES[wide], SHAPES[narrow]
    values = lanes(a, bits, signed=True) + lanes(b, bits, signed=True)
    expected = [clamp(value, half, signed=sign == "s") for value in values]
    assert OPERATORS[f"{narrow}_narrow_{wide}_{sign}"](a, b) == join(expected, half)


@given(a=vectors, b=vectors, c=vectors)
def test_dot_products(a: bytes, b: bytes, c: bytes) -> None:
    def dot(bits: int) -> list[int]:
        xs, ys = lanes(a, bits, signed=True), lanes(b, bits, signed=True)
        return [xs[i] * ys[i] + xs[i + 1] * ys[i + 1] for i in range(0, len(xs), 2)]

    assert OPERATORS["i32x4_dot_i16x8_s"](a, b) == join(dot(16), 32)
    sums = [clamp(value, 16, signed=True) for value in dot(8)]
    assert OPERATORS["i16x8_relaxed_dot_i8x16_i7x16_s"](a, b) == join(sums, 16)
    accumulated = [sums[2 * i] + sums[2 * i + 1] + x for i, x in enumerate(lanes(c, 32))]
    assert OPERATORS["i32x4_relaxed_dot_i8x16_i7x16_add_s"](a, b, c) == join(accumulated, 32)


def test_dot_products_of_the_least_integers() -> None:
    least = bytes([0x80] * 16)
    assert OPERATORS["i16x8_relaxed_dot_i8x16_i7x16_s"](least, least) == join([0x7FFF] * 8, 16)
    least = join([0x8000] * 8, 16)
    assert OPERATORS["i32x4_dot_i16x8_s"](least, least) == join([0x80000000] * 4, 32)


# Float vectors: the scalar instructions, tested on their own, lane by lane.


def float_lanes(vector: bytes, shape: str) -> list[float]:
    bits, from_bits, _ = FLOAT_SHAPES[shape]
    return [from_bits(pattern) for pattern in lanes(vector, bits)]


def join_floats(values: Sequence[float], shape: str) -> bytes:
    bits, _, to_bits = FLOAT_SHAPES[shape]
    return join([to_bits(value) for value in values], bits)


numbers32 = st.lists(st.floats(width=32), min_size=4, max_size=4).map(lambda xs: struct.pack("<4f", *xs))
numbers64 = st.lists(st.floats(), min_size=2, max_size=2).map(lambda xs: struct.pack("<2d", *xs))
float_vectors = st.one_of(vectors, numbers32, numbers64)


@FLOATS
@given(a=float_vectors, b=float_vectors)
def test_float_arithmetic(shape: str, a: bytes, b: bytes) -> None:
    scalar = shape[:3]
    xs, ys = float_lanes(a, shape), float_lanes(b, shape)
    for name in ("add", "sub", "mul", "div", "min", "max", "relaxed_min", "relaxed_max"):
        exact = OPERATORS[f"{scalar}_{name.removeprefix('relaxed_')}"]
        assert OPERATORS[f"{shape}_{name}"](a, b) == join_floats(list(map(exact, xs, ys)), shape)
    for name in ("sqrt", "ceil", "floor", "trunc", "nearest", "neg", "abs"):
        exact = OPERATORS[f"{scalar}_{name}"]
        assert OPERATORS[f"{shape}_{name}"](a) == join_floats(list(map(exact, xs)), shape)


@FLOATS
@given(a=float_vectors, b=float_vectors)
def test_float_comparisons_and_pseudo_minimum(shape: str, a: bytes, b: bytes) -> None:
    bits = FLOAT_SHAPES[shape][0]
    xs, ys = float_lanes(a, shape), float_lanes(b, shape)
    for name in ("eq", "ne", "lt", "gt", "le", "ge"):
        truths = map(getattr(operator, name), xs, ys)
        assert OPERATORS[f"{shape}_{name}"](a, b) == join([-int(truth) for truth in truths], bits)
    pairs = list(zip(xs, ys, strict=True))
    pmin = join_floats([y if y < x else x for x, y in pairs], shape)
    pmax = join_floats([y if x < y else x for x, y in pairs], shape)
    assert OPERATORS[f"{shape}_pmin"](a, b) == pmin
    assert OPERATORS[f"{shape}_pmax"](a, b) == pmax


@FLOATS
@given(a=float_vectors, b=float_vectors, c=float_vectors)
def test_relaxed_multiply_add_rounds_twice(shape: str, a: bytes, b: bytes, c: bytes) -> None:
    mul, add, neg = (OPERATORS[f"{shape[:3]}_{name}"] for name in ("mul", "add", "neg"))
    triples = list(zip(*(float_lanes(vector, shape) for vector in (a, b, c)), strict=True))
    madd = join_floats([add(mul(x, y), z) for x, y, z in triples], shape)
    nmadd = join_floats([add(neg(mul(x, y)), z) for x, y, z in triples], shape)
    assert OPERATORS[f"{shape}_relaxed_madd"](a, b, c) == madd
    assert OPERATORS[f"{shape}_relaxed_nmadd"](a, b, c) == nmadd


@pytest.mark.parametrize("sign", ["s", "u"])
@given(a=float_vectors)
def test_conversions(sign: str, a: bytes) -> None:
    def each(name: str, values: Sequence[int | float]) -> list[int | float]:
        return [OPERATORS[f"{name}_{sign}"](value) for value in values]

    words, singles, doubles = lanes(a, 32), float_lanes(a, "f32x4"), float_lanes(a, "f64x2")
    truncated32 = struct.pack("<4I", *each("i32_trunc_sat_f32", singles))
    truncated64 = struct.pack("<4I", *each("i32_trunc_sat_f64", doubles), 0, 0)
    for kind in ("trunc_sat", "relaxed_trunc"):
        assert OPERATORS[f"i32x4_{kind}_f32x4_{sign}"](a) == truncated32
        assert OPERATORS[f"i32x4_{kind}_f64x2_{sign}_zero"](a) == truncated64
    converted = each("f32_convert_i32", words)
    assert OPERATORS[f"f32x4_convert_i32x4_{sign}"](a) == join_floats(converted, "f32x4")
    converted = each("f64_convert_i32", words[:2])
    assert OPERATORS[f"f64x2_convert_low_i32x4_{sign}"](a) == join_floats(converted, "f64x2")


@given(a=float_vectors)
def test_promotion_and_demotion(a: bytes) -> None:
    promoted = [OPERATORS["f64_promote_f32"](x) for x in float_lanes(a, "f32x4")[:2]]
    assert OPERATORS["f64x2_promote_low_f32x4"](a) == join_floats(promoted, "f64x2")
    demoted = [OPERATORS["f32_demote_f64"](x) for x in float_lanes(a, "f64x2")]
    assert OPERATORS["f32x4_demote_f64x2_zero"](a) == join_floats([*demoted, 0.0, 0.0], "f32x4")
