"""Operands that tell much of the numeric instructions, and what their Python operators make of them."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tinywasm.errors import Trap, TrapCode
from tinywasm.instructions import TABLE, Instruction
from tinywasm.numerics.floats import f32_from_bits, f32_to_bits, f64_from_bits, f64_to_bits
from tinywasm.numerics.operators import OPERATORS

ROWS = [row for row in TABLE if row.operator]
# An operand, an immediate or a result takes 16 bytes, whatever its type.
CELL = 16

# Values. Each is carried as its bits: an int, or for a vector and for the lanes of a shuffle 16 bytes.

WIDTHS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "f32": 32, "f64": 64}
INFINITIES = {"f32": 0x7F800000, "f64": 0x7FF0000000000000}
POWERS = [0, 1, 2, 4, 5, 7, 8, 15, 16, 23, 24, 25, 31, 32, 33, 52, 53, 54, 62, 63]


def integer_core(bits: int) -> list[int]:
    least = 1 << bits - 1
    return [0, 1, 2, least - 1, least, least + 1, 2 * least - 1]


def integer_edges(bits: int) -> list[int]:
    """The neighbours of powers of two, and of numbers halfway between two floats, of both signs."""
    powers = [1 << power for power in POWERS if power < bits]
    halves = [
        (1 << top) + (1 << top - width) for top in (bits - 1, bits - 2) for width in (24, 53) if top >= width
    ]
    edges = [sign * value + d for value in powers + halves for d in (-1, 0, 1) for sign in (1, -1)]
    return sorted({edge & (1 << bits) - 1 for edge in edges})


def both_signs(bits: int, magnitudes: Iterable[int]) -> list[int]:
    return [sign << bits - 1 | magnitude for magnitude in magnitudes for sign in (0, 1)]


def float_core(bits: int, infinity: int) -> list[int]:
    """Zero, subnormal, one, infinity, a signalling NaN, the canonical one and another quiet one."""
    quiet = infinity | infinity >> 1 & ~(infinity << 1)
    return both_signs(bits, [0, 1, infinity >> 1, infinity, infinity + 5, quiet, quiet + 3])


def float_edges(bits: int, infinity: int) -> list[int]:
    """The neighbours of powers of two, halves, and the bounds of normal and subnormal numbers."""
    unit = infinity & -infinity
    bias = infinity // unit >> 1
    powers = [(bias + power) * unit for power in (-1, *POWERS, 64, 127)]
    halves = [(bias + power) * unit + (3 * unit >> power + 1) for power in (1, 2, 3)]
    magnitudes = [power + d for power in powers for d in (-1, 0, 1)]
    return both_signs(bits, [*magnitudes, *halves, unit - 1, unit, infinity - 1])


CORE = {
    kind: float_core(bits, INFINITIES[kind]) if kind in INFINITIES else integer_core(bits)
    for kind, bits in WIDTHS.items()
}
EDGES = {
    kind: float_edges(bits, INFINITIES[kind]) if kind in INFINITIES else integer_edges(bits)
    for kind, bits in WIDTHS.items()
}


def random_lane(kind: str, source: random.Random) -> int:
    pick, bits = source.random(), WIDTHS[kind]
    if pick < 0.5:
        return source.choice(CORE[kind] if pick < 0.25 else EDGES[kind])
    value = source.getrandbits(bits)
    # Integers of every magnitude; floats have every exponent already.
    return value >> source.randrange(bits) if kind not in INFINITIES and pick < 0.75 else value


def vector(lanes: Iterable[int], shape: str) -> bytes:
    return b"".join(lane.to_bytes(WIDTHS[shape] // 8, "little") for lane in lanes)


def core(kind: str, shape: str) -> Iterable[Any]:
    """The most telling values: of a vector, those with all lanes equal."""
    if kind == "v128":
        return [vector([lane] * (128 // WIDTHS[shape]), shape) for lane in CORE[shape]]
    if kind == "shuffle":
        return [bytes(range(16)), bytes(range(31, 15, -1))]
    return range(int(kind.removeprefix("lane"))) if kind.startswith("lane") else CORE[kind]


def random_value(kind: str, shape: str, source: random.Random) -> Any:
    if kind == "v128":
        return vector([random_lane(shape, source) for _ in range(128 // WIDTHS[shape])], shape)
    if kind == "shuffle":
        return bytes(source.randrange(32) for _ in range(16))
    if kind.startswith("lane"):
        return source.randrange(int(kind.removeprefix("lane")))
    return random_lane(kind, source)


def kinds(row: Instruction) -> list[str]:
    """What a case has: operands, then immediates."""
    return [*map(repr, row.params), *row.immediates]


def cases(row: Instruction) -> list[tuple[Any, ...]]:
    """Edge values with each other, then random ones: always the same for one instruction."""
    source = random.Random(row.name)
    shapes = re.findall(r"([if](?:8|16|32|64))x", row.name) or ["i8"]
    chosen = [
        case
        for shape in dict.fromkeys(shapes)
        for case in itertools.product(*(core(kind, shape) for kind in kinds(row)))
    ]
    if all(kind in EDGES for kind in kinds(row)):
        columns = [source.sample(EDGES[kind] * 3, 3 * len(EDGES[kind])) for kind in kinds(row)]
        chosen += zip(*columns, strict=False)
    # A vector is made of lanes of a kind that the instruction names, most often.
    for _ in range(200):
        shape = source.choice(shapes * 4 + list(WIDTHS))
        chosen.append(tuple(random_value(kind, shape, source) for kind in kinds(row)))
    return chosen


def cell(value: Any) -> bytes:
    return value if isinstance(value, bytes) else value.to_bytes(CELL, "little")


TO_PYTHON: dict[str, Callable[[int], float]] = {"f32": f32_from_bits, "f64": f64_from_bits}
FROM_PYTHON: dict[str, Callable[[float], int]] = {"f32": f32_to_bits, "f64": f64_to_bits}


def python_results(row: Instruction, operands: Sequence[tuple[Any, ...]]) -> Iterator[bytes]:
    function, no_trap = OPERATORS[str(row.operator)], bytes(CELL)
    decoders = [TO_PYTHON.get(kind) for kind in kinds(row)]
    encoders = [FROM_PYTHON.get(repr(kind)) for kind in row.results]
    for values in operands:
        pairs = zip(decoders, values, strict=True)
        try:
            result = function(*[decode(value) if decode else value for decode, value in pairs])
        except Trap as trap:
            # A code of trap.h is the position of its twin, counted from one.
            yield bytes(CELL) + cell([*TrapCode].index(TrapCode(trap.code)) + 1)
            continue
        results = result if isinstance(result, tuple) else (result,)
        outputs = zip(encoders, results, strict=True)
        yield b"".join(cell(encode(value) if encode else value) for encode, value in outputs) + no_trap
