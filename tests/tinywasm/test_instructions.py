import itertools
import struct
from collections import Counter
from typing import Any

import pytest

from tinywasm.codec import READ, WRITE
from tinywasm.errors import Trap, TrapCode
from tinywasm.instructions import AT, BY_CODE, BY_NAME, TABLE, Arity, Feature, Instruction, Role
from tinywasm.numerics.operators import OPERATORS
from tinywasm.types import F32, F64, I32, I64, V128, NumType, RefType, ValType

STANDARD = [row for row in TABLE if row.feature is None]


def test_the_standard_has_499_instructions() -> None:
    # Index of instructions of the WebAssembly 3.0 specification, by opcode prefix.
    assert Counter(row.prefix for row in STANDARD) == {None: 194, 0xFB: 31, 0xFC: 18, 0xFD: 256}
    assert len(STANDARD) == 499


def test_the_proposals_add_the_wide_arithmetic() -> None:
    added = [(row.feature, row.name) for row in TABLE if row.feature]
    assert added == [
        (Feature.WIDE_ARITHMETIC, name)
        for name in ("i64.add128", "i64.sub128", "i64.mul_wide_s", "i64.mul_wide_u")
    ]


def test_opcodes_are_unique_and_ordinals_are_positions() -> None:
    assert len(BY_CODE) == len(TABLE)
    assert [row.ordinal for row in TABLE] == list(range(len(TABLE)))


def test_only_three_mnemonics_own_two_opcodes() -> None:
    assert {name for name, rows in BY_NAME.items() if len(rows) > 1} == {"select", "ref.test", "ref.cast"}
    assert sum(len(rows) for rows in BY_NAME.values()) == len(TABLE)


def test_most_instructions_have_a_closed_signature() -> None:
    closed = [row for row in STANDARD if not row.rule]
    assert len(closed) == 432
    assert sum(AT in row.params + row.results for row in closed) == 50


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_rows_are_consistent(row: Instruction) -> None:
    assert all(kind in READ and kind in WRITE for kind in row.immediates)
    assert not row.rule or (row.params, row.results) == ((), ())
    assert all(t is AT or isinstance(t, NumType | RefType) for t in row.params + row.results)
    if not row.rule:
        assert (row.takes, row.leaves) == (Arity(len(row.params), None), Arity(len(row.results), None))
    if row.operator:
        assert row.operator.isidentifier()
        assert not row.rule
        assert AT not in row.params


def test_the_constant_instructions() -> None:
    # Section 3.4.14, with extended constant expressions.
    assert {row.name for row in TABLE if row.const} == {
        *("i32.const", "i64.const", "f32.const", "f64.const", "v128.const"),
        *("i32.add", "i32.sub", "i32.mul", "i64.add", "i64.sub", "i64.mul"),
        *("ref.null", "ref.func", "ref.i31", "global.get", "end"),
        *("struct.new", "struct.new_default", "array.new", "array.new_default", "array.new_fixed"),
        *("any.convert_extern", "extern.convert_any"),
    }


def test_blocks_open_and_close_by_their_roles() -> None:
    assert {row.name for row in TABLE if row.role is Role.OPENS} == {
        row.name for row in TABLE if "block" in row.immediates
    }
    assert [row.name for row in TABLE if row.role in (Role.DIVIDES, Role.CLOSES)] == ["else", "end"]


SAMPLES: dict[ValType, list[Any]] = {
    I32: [0, 1, 2, 7, 31, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF],
    I64: [0, 1, 2, 7, 63, 0x7FFFFFFFFFFFFFFF, 1 << 63, (1 << 64) - 1],
    F32: [0.0, -0.0, 1.5, -3.25, 1e38, float("inf"), float("-inf"), float("nan")],
    F64: [0.0, -0.0, 1.5, -3.25, 1e300, float("inf"), float("-inf"), float("nan")],
    V128: [
        bytes(16),
        bytes(range(16)),
        b"\xff" * 16,
        struct.pack("<2d", float("nan"), -0.0),
        b"\x80\x7f" * 8,
    ],
}
NUMERIC = [row for row in TABLE if row.operator and not row.immediates]


def outcome(row: Instruction, *operands: Any) -> Any:
    try:
        result = OPERATORS[row.operator or ""](*operands)
    except Trap as trap:
        return trap.code
    return struct.pack("<d", result) if isinstance(result, float) else result


@pytest.mark.parametrize("row", NUMERIC, ids=str)
def test_numeric_traits_are_true(row: Instruction) -> None:
    found = [
        (operands, outcome(row, *operands))
        for operands in itertools.product(*(SAMPLES[t] for t in row.params))
    ]
    assert ("traps" in row.traits) == any(isinstance(each, TrapCode) for _, each in found)
    if "compares" in row.traits:
        assert {each for _, each in found} == {0, 1}
    if len(row.params) == 2 and row.params[0] == row.params[1] and "relaxed" not in row.name:
        commutes = all(each == outcome(row, *operands[::-1]) for operands, each in found)
        assert commutes == ("commutes" in row.traits)
