from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinywasm.module_strategies import (
    IMMEDIATES,
    immediates,
    reftypes,
    sequences,
    storagetypes,
    valtypes,
)
from tinywasm.codec import (
    READ,
    WRITE,
    Catch,
    MemArg,
    instructions,
    read_instruction,
    read_reftype,
    read_storagetype,
    read_valtype,
    write_heaptype,
    write_instruction,
    write_storagetype,
)
from tinywasm.errors import DecodeError
from tinywasm.instructions import BY_NAME, TABLE, Instruction
from tinywasm.types import AbstractHeap, RefType, ValType

END = "unexpected end of section or function"


def test_every_kind_of_immediate_is_generated_read_and_written() -> None:
    used = {kind for row in TABLE for kind in row.immediates}
    assert set(READ) == set(WRITE) == set(IMMEDIATES) == used


@pytest.mark.parametrize("row", TABLE, ids=str)
@settings(max_examples=8)
@given(data=st.data())
def test_each_instruction_reads_as_it_was_written(row: Instruction, data: st.DataObject) -> None:
    values = data.draw(immediates(row))
    code = write_instruction(row, values)
    assert read_instruction(b"\x0b" + code + b"\x0b", 1) == (row, values, 1 + len(code))
    for cut in range(len(code)):
        with pytest.raises(DecodeError):
            read_instruction(code[:cut], 0)


@given(sequences)
def test_a_sequence_is_read_to_its_end(code: bytes) -> None:
    written = [write_instruction(row, values) for _, row, values in instructions(code, 0, len(code))]
    assert b"".join(written) == code


@given(st.binary(max_size=30))
def test_any_bytes_are_instructions_or_an_error(code: bytes) -> None:
    try:
        for pos, _, _ in instructions(code, 0, len(code)):
            assert pos < len(code)
    except DecodeError as error:
        assert 0 <= error.offset <= len(code)


@given(valtypes, reftypes, storagetypes)
def test_types_round_trip(value: ValType, ref: RefType, storage: Any) -> None:
    for read, item in ((read_valtype, value), (read_reftype, ref), (read_storagetype, storage)):
        raw = write_storagetype(item)
        assert read(raw, 0) == (item, len(raw))


def test_short_forms_are_written_and_long_forms_are_read() -> None:
    func = RefType(True, AbstractHeap.FUNC)
    assert write_storagetype(func) == b"\x70"
    assert read_reftype(b"\x63\x70", 0) == (func, 2)
    assert write_heaptype(200) == b"\xc8\x01"


INSTRUCTIONS = [
    ("i32.const", (-1,), "41 7f"),
    ("i64.const", (2**63 - 1,), "42 ff ff ff ff ff ff ff ff ff 00"),
    ("f32.const", (0x7FA00000,), "43 00 00 a0 7f"),
    ("block", (None,), "02 40"),
    ("loop", (64,), "03 c0 00"),
    ("br_table", (((1, 2), 0),), "0e 02 01 02 00"),
    ("i32.load", (MemArg(2, 0, 8),), "28 02 08"),
    ("i32.load", (MemArg(2, 1, 8),), "28 42 01 08"),
    ("try_table", (None, (Catch(3, False, 0), Catch(None, True, 1))), "1f 40 02 00 03 00 03 01"),
    ("memory.copy", (1, 0), "fc 0a 01 00"),
    ("i32x4.relaxed_dot_i8x16_i7x16_add_s", (), "fd 93 02"),
    ("ref.null", (AbstractHeap.NONE,), "d0 71"),
]


@pytest.mark.parametrize(("name", "values", "encoded"), INSTRUCTIONS)
def test_instruction_examples(name: str, values: tuple[Any, ...], encoded: str) -> None:
    (row,) = BY_NAME[name]
    raw = bytes.fromhex(encoded)
    assert write_instruction(row, values) == raw
    assert read_instruction(raw, 0) == (row, values, len(raw))


def test_the_bits_of_a_cast_are_its_nullabilities() -> None:
    (row,) = BY_NAME["br_on_cast"]
    (cast,) = read_instruction(bytes.fromhex("fb 18 02 05 6e 6c"), 0)[1]
    assert (cast.source.nullable, cast.target.nullable) == (False, True)
    assert write_instruction(row, (cast,)) == bytes.fromhex("fb 18 02 05 6e 6c")


MALFORMED = [
    ("ff", "illegal opcode ff", 1),
    ("06", "illegal opcode 06: it is of the proposal legacy exception-handling, which is not supported", 1),
    ("fd ff 7f", "illegal opcode fd 3fff", 1),
    ("fc 80 80 80 80 80 00", "integer representation too long", 2),
    ("28 80 01 00", "malformed memop flags", 2),
    ("28 02 ff ff ff ff ff ff ff ff ff 02", "integer too large", 3),
    ("02 41", "malformed block type", 2),
    ("d0 40", "malformed heap type", 2),
    ("d0 f0 7f", "malformed heap type", 2),
    ("1c 01 40", "malformed value type", 3),
    ("1f 40 01 04 00", "malformed catch clause", 4),
    ("fb 18 04 00 6e 6e", "malformed br_on_cast flags", 3),
    ("0e 7f 00", "length out of bounds", 2),
    ("41 80 80 80 80 10", "integer too large", 2),
    ("43 00 00 00", END, 5),
    ("fd 0c 00", END, 4),
    ("41", END, 2),
    ("", END, 1),
]


@pytest.mark.parametrize(("encoded", "message", "offset"), MALFORMED)
def test_malformed_instructions(encoded: str, message: str, offset: int) -> None:
    with pytest.raises(DecodeError) as caught:
        read_instruction(b"?" + bytes.fromhex(encoded), 1)
    assert (caught.value.message, caught.value.offset) == (message, offset)
