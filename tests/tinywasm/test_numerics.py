"""The numeric functions and the table of instructions agree on names and operands."""

from __future__ import annotations

import inspect

import pytest

from tinywasm.instructions import TABLE, Instruction
from tinywasm.numerics.operators import OPERATORS
from tinywasm.types import F32, F64, I32, I64, V128, ValType

NUMERIC = [row for row in TABLE if row.operator is not None]
SAMPLES: dict[ValType, int | float | bytes] = {I32: 1, I64: 2, F32: 1.5, F64: 2.5, V128: bytes(range(16))}
RESULTS: dict[ValType, type] = {I32: int, I64: int, F32: float, F64: float, V128: bytes}


def test_every_numeric_instruction_has_its_function_and_none_is_left_over() -> None:
    assert {row.operator for row in NUMERIC} == OPERATORS.keys()


@pytest.mark.parametrize("row", NUMERIC, ids=lambda row: row.name)
def test_function_takes_the_operands_and_gives_the_results_of_the_signature(row: Instruction) -> None:
    assert row.operator is not None
    operands = [SAMPLES[kind] for kind in row.params]
    immediates = [bytes(range(16)) if row.name == "i8x16.shuffle" else 1 for _ in row.immediates]
    result = OPERATORS[row.operator](*operands, *immediates)
    results = result if isinstance(result, tuple) else (result,)
    assert [type(value) for value in results] == [RESULTS[kind] for kind in row.results]


def test_lane_immediates_come_last() -> None:
    for name, function in OPERATORS.items():
        if name.endswith(("extract_lane", "extract_lane_s", "extract_lane_u", "replace_lane")):
            assert list(inspect.signature(function).parameters)[-1] == "lane"
