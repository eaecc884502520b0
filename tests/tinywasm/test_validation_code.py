"""Every row of the instruction table, and what function bodies may do to the validator."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinywasm.codec import MemArg, write_instruction
from tinywasm.errors import DecodeError, ValidationError, WasmError
from tinywasm.instructions import AT, BY_NAME, TABLE, Feature, Instruction
from tinywasm.syntax import DataSegment, DecodedModule, ElementSegment, Expr, Function, Table
from tinywasm.types import (
    ARRAYREF,
    EQREF,
    F32,
    F64,
    FUNCREF,
    I31REF,
    I32,
    I64,
    V128,
    AbstractHeap,
    ArrayType,
    FieldType,
    FuncType,
    Limits,
    MemoryType,
    NumType,
    RecGroup,
    RefType,
    StructType,
    SubType,
    TableType,
    ValType,
)
from tinywasm.validation import validate
from tinywasm.validation.code import CHECK
from tinywasm.validation.rules import RULES

ALL = frozenset(Feature)
CLOSED = [row for row in TABLE if not row.rule]


def code(*instructions: Any) -> bytes:
    """Instructions as a mnemonic, a (mnemonic, immediates...) tuple, or bytes; `end` is added."""
    parts = []
    for instruction in (*instructions, "end"):
        if isinstance(instruction, bytes):
            parts.append(instruction)
            continue
        name, *immediates = (instruction,) if isinstance(instruction, str) else instruction
        row = next(row for row in BY_NAME[name] if len(row.immediates) == len(immediates))
        parts.append(write_instruction(row, tuple(immediates)))
    return b"".join(parts)


def module_of(
    body: bytes,
    params: Sequence[ValType] = (),
    results: Sequence[ValType] = (),
    locals: Sequence[tuple[int, ValType]] = (),
    address: NumType = I32,
) -> DecodedModule:
    """A function of that body beside a memory, a table, and a segment of each kind."""
    return DecodedModule(
        types=[RecGroup((SubType(FuncType(params, results)),))],
        functions=[Function(0, locals, Expr(body, 0, len(body)))],
        memories=[MemoryType(Limits(1), address)],
        tables=[Table(TableType(FUNCREF, Limits(1), address))],
        elems=[ElementSegment(FUNCREF, [], "passive")],
        data_count=1,
        datas=[DataSegment(b"")],
    )


def check(*instructions: Any, **kwargs: Any) -> None:
    validate(module_of(code(*instructions), **kwargs), ALL)


def refuse(message: str, *instructions: Any, **kwargs: Any) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        check(*instructions, **kwargs)
    assert caught.value.message.startswith(message)
    return caught.value


PRODUCERS: dict[ValType, bytes] = {
    I32: code(("i32.const", 0))[:-1],
    I64: code(("i64.const", 0))[:-1],
    F32: code(("f32.const", 0))[:-1],
    F64: code(("f64.const", 0))[:-1],
    V128: code(("v128.const", bytes(16)))[:-1],
    EQREF: code(("ref.null", AbstractHeap.EQ))[:-1],
    I31REF: code(("ref.null", AbstractHeap.I31))[:-1],
    ARRAYREF: code(("ref.null", AbstractHeap.ARRAY))[:-1],
}
SAMPLES = {"f32": 0, "f64": 0, "i32": 0, "i64": 0, "v128": bytes(16), "shuffle": bytes(16)}


def immediates_of(row: Instruction) -> tuple[Any, ...]:
    return tuple(
        MemArg(0, 0, 0) if kind.startswith("memarg") else SAMPLES.get(kind, 0) for kind in row.immediates
    )


def operands_of(row: Instruction, address: NumType) -> list[ValType]:
    return [address if value is AT else value for value in row.params]


def body_with(row: Instruction, operands: Sequence[ValType], immediates: tuple[Any, ...]) -> bytes:
    pushes = b"".join(PRODUCERS[value] for value in operands)
    drops = ["drop"] * len(row.results)
    return code(pushes, write_instruction(row, immediates), *drops)


class TestClosedSignatures:
    @pytest.mark.parametrize("address", [I32, I64])
    @pytest.mark.parametrize("row", CLOSED, ids=repr)
    def test_right_operands_are_accepted(self, row: Instruction, address: NumType) -> None:
        body = body_with(row, operands_of(row, address), immediates_of(row))
        validate(module_of(body, address=address), ALL)

    @pytest.mark.parametrize("row", CLOSED, ids=repr)
    def test_each_wrong_operand_is_refused(self, row: Instruction) -> None:
        right = operands_of(row, I32)
        for place, value in enumerate(right):
            wrong = [*right]
            wrong[place] = I64 if value is I32 else I32
            with pytest.raises(ValidationError, match="type mismatch"):
                validate(module_of(body_with(row, wrong, immediates_of(row))), ALL)

    @pytest.mark.parametrize("row", [row for row in CLOSED if row.params], ids=repr)
    def test_a_missing_operand_is_refused(self, row: Instruction) -> None:
        body = body_with(row, operands_of(row, I32)[1:], immediates_of(row))
        with pytest.raises(ValidationError, match="type mismatch"):
            validate(module_of(body), ALL)

    @pytest.mark.parametrize("row", CLOSED, ids=repr)
    def test_unreachable_code_gives_any_operand_and_still_has_results(self, row: Instruction) -> None:
        body = code("unreachable", write_instruction(row, immediates_of(row)), *["drop"] * len(row.results))
        validate(module_of(body), ALL)
        surplus = code("unreachable", write_instruction(row, immediates_of(row)))
        if row.results:
            with pytest.raises(ValidationError, match="type mismatch"):
                validate(module_of(surplus), ALL)

    @pytest.mark.parametrize("row", [row for row in CLOSED if row.immediates], ids=repr)
    def test_each_checked_immediate_has_a_bound(self, row: Instruction) -> None:
        large: dict[str, Any] = {"shuffle": bytes([32] * 16)}
        for place, kind in enumerate(row.immediates):
            if kind not in CHECK:
                continue
            immediates = [*immediates_of(row)]
            immediates[place] = MemArg(0, 1, 0) if kind.startswith("memarg") else large.get(kind, 16)
            with pytest.raises(ValidationError, match=r"^(unknown|invalid lane index)"):
                validate(module_of(body_with(row, operands_of(row, I32), tuple(immediates))), ALL)

    @pytest.mark.parametrize("row", [row for row in TABLE if row.feature], ids=repr)
    def test_a_proposal_s_instruction_names_its_switch(self, row: Instruction) -> None:
        body = body_with(row, operands_of(row, I32), immediates_of(row))
        with pytest.raises(ValidationError, match=r"^illegal opcode.*proposal, which Config\."):
            validate(module_of(body), frozenset())


def test_rules_are_exactly_the_rows_without_a_closed_signature() -> None:
    assert set(RULES) == {row.name for row in TABLE if row.rule}


MEMORY_ROWS = [row for row in CLOSED if row.immediates and row.immediates[0].startswith("memarg")]


@pytest.mark.parametrize("row", MEMORY_ROWS, ids=repr)
def test_alignment_and_offset_of_memory_accesses(row: Instruction) -> None:
    natural = int(row.immediates[0].removeprefix("memarg")).bit_length() - 1
    rest = immediates_of(row)[1:]

    def access(align: int, offset: int, address: NumType) -> None:
        body = body_with(row, operands_of(row, address), (MemArg(align, 0, offset), *rest))
        validate(module_of(body, address=address), ALL)

    access(natural, 2**32 - 1, I32)
    access(natural, 2**64 - 1, I64)
    with pytest.raises(ValidationError, match=r"^alignment must not be larger than natural"):
        access(natural + 1, 0, I32)
    with pytest.raises(ValidationError, match=r"^offset out of range"):
        access(natural, 2**32, I32)


class TestMalformedBodies:
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"", "unexpected end of section or function"),
            (b"\x01", "unexpected end of section or function"),
            (b"\x02\x40\x0b", "unexpected end of section or function"),
            (b"\x0b\x0b", "section size mismatch"),
            (b"\x0b\x01", "section size mismatch"),
            (b"\xff\x0b", "illegal opcode ff"),
            (b"\xfc\x7f\x0b", "illegal opcode fc 7f"),
            (b"\x41", "unexpected end"),
            (b"\x05\x0b", "END opcode expected"),
            (b"\x02\x40\x05\x0b\x0b", "END opcode expected"),
            (b"\x41\x00\x04\x40\x05\x05\x0b\x0b", "END opcode expected"),
        ],
    )
    def test_malformed_code_is_a_decode_error(self, body: bytes, message: str) -> None:
        with pytest.raises(DecodeError) as caught:
            validate(module_of(body))
        assert caught.value.message.startswith(message)

    def test_code_that_runs_over_its_end(self) -> None:
        data = code(("i32.const", 0), "drop")
        module = module_of(data)
        module.functions[0].body = Expr(data, 0, 1)
        with pytest.raises(DecodeError, match="END opcode expected"):
            validate(module)
        module.functions[0].body = Expr(data, 0, len(data) - 1)
        with pytest.raises(DecodeError, match="section size mismatch"):
            validate(module)

    @pytest.mark.parametrize("name", ["memory.init", "data.drop"])
    def test_segments_of_data_need_their_count(self, name: str) -> None:
        row = BY_NAME[name][0]
        module = module_of(body_with(row, operands_of(row, I32), immediates_of(row)))
        module.data_count = None
        with pytest.raises(DecodeError, match="data count section required"):
            validate(module)

    @given(st.binary(max_size=40))
    def test_any_bytes_end_in_an_error_of_ours_or_are_valid(self, data: bytes) -> None:
        for body in (data, data + b"\x0b", b"\x00" + data + b"\x0b"):
            try:
                validate(module_of(body, locals=[(3, I32), (1, RefType(False, AbstractHeap.ANY))]), ALL)
            except WasmError as error:
                assert error.message

    @given(
        st.lists(st.sampled_from([row for row in TABLE if not row.immediates]), max_size=12), st.booleans()
    )
    def test_any_instructions_without_immediates(self, rows: list[Instruction], reachable: bool) -> None:
        start = b"" if reachable else code("unreachable")[:-1]
        body = start + b"".join(write_instruction(row) for row in rows)
        try:
            validate(module_of(body + b"\x0b"), ALL)
        except (ValidationError, DecodeError) as error:
            assert error.message


class TestErrors:
    def test_what_was_required_and_what_was_there(self) -> None:
        error = refuse("type mismatch", ("i64.const", 0), ("i32.const", 0), "i32.add", "drop")
        assert error.message == "type mismatch: instruction requires [i32 i32] but stack has [i64 i32]"

    def test_place_in_a_binary_module(self) -> None:
        body = code("nop", "nop", ("local.get", 4))
        data = bytes(100) + body
        module = module_of(body)
        module.functions[0].body = Expr(data, 100, len(data))
        module.names.functions[0] = "add"
        with pytest.raises(ValidationError) as caught:
            validate(module)
        assert str(caught.value) == "unknown local 4 (function 0 $add, at offset 0x66)"

    def test_place_in_a_text_module(self) -> None:
        body = code("nop", "nop", ("local.get", 4))
        module = module_of(body)
        module.functions[0].body = Expr(body, 0, len(body), [(0, 7), (2, 9)])
        with pytest.raises(ValidationError) as caught:
            validate(module)
        assert str(caught.value) == "unknown local 4 (function 0, line 9)"

    def test_long_stacks_are_not_shown_in_full(self) -> None:
        error = refuse("type mismatch: block requires [] but stack has [... i32", *[("i32.const", 0)] * 1000)
        assert len(error.message) < 200


class TestHostileBodies:
    """Time and memory stay in proportion to the input."""

    def test_declared_locals_are_not_expanded(self) -> None:
        ref = RefType(False, AbstractHeap.ANY)
        runs = [(2**31, I32), (2**30, ref), (2**30 - 1, I64)]
        check(("local.get", 2**31 - 1), "drop", ("local.get", 2**32 - 2), "drop", locals=runs)
        refuse("uninitialized local", ("local.get", 2**31), locals=runs)
        refuse("unknown local", ("local.get", 2**32 - 1), locals=runs)

    def test_an_array_of_any_length(self) -> None:
        def array(*before: str) -> bytes:
            return code(*before, ("array.new_fixed", 1, 2**32 - 1), "drop")

        module = module_of(array())
        module.types.append(RecGroup((SubType(ArrayType(FieldType(I32))),)))
        with pytest.raises(ValidationError, match="type mismatch: instruction requires 4294967295 operands"):
            validate(module)
        body = array("unreachable")
        module.functions[0].body = Expr(body, 0, len(body))
        validate(module)

    def test_nesting_needs_no_recursion(self) -> None:
        depth = 100_000
        body = code(b"\x02\x40" * depth, b"\x0b" * depth)
        validate(module_of(body))

    def test_the_operand_stack_has_a_limit(self) -> None:
        results = [I32] * 1000
        started = time.process_time()
        refuse("operand stack is higher", *[("call", 0)] * 100_000, results=results)
        assert time.process_time() - started < 10

    def test_long_structures_are_looked_through_once(self) -> None:
        module = module_of(code(*[("struct.new_default", 1), "drop"] * 20_000))
        module.types.append(RecGroup((SubType(StructType((FieldType(I32),) * 10_000)),)))
        started = time.process_time()
        validate(module)
        assert time.process_time() - started < 10

    def test_long_branch_tables(self) -> None:
        labels = tuple([0] * 200_000)
        check(("i32.const", 0), ("br_table", (labels, 0)))
