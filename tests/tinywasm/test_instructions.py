from collections import Counter

import pytest

from tinywasm.code import READ, WRITE
from tinywasm.instructions import AT, BY_CODE, BY_NAME, TABLE, Feature, Instruction
from tinywasm.types import NumType, RefType

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
