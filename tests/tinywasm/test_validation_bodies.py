"""The compiled look at function bodies: what it knows, where it stops, and that nothing hangs on it."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence

import pytest

from tinywasm.binary import decode
from tinywasm.codec import READ, write_vector
from tinywasm.errors import DecodeError, ValidationError
from tinywasm.instructions import TABLE, Feature
from tinywasm.leb128 import write_unsigned
from tinywasm.syntax import DataSegment, DecodedModule, Expr, Function, Functions
from tinywasm.types import I32, I64, FuncType, Limits, MemoryType, RecGroup, RefType, SubType, ValType
from tinywasm.validation import bodies, validate

pytestmark = pytest.mark.skipif(not bodies.available, reason="the extension is not built")

END = b"\x0b"
NOP = b"\x01"
UNREACHABLE = b"\x00"


def module(code: bytes, locals: Sequence[tuple[int, ValType]] = (), **parts: object) -> DecodedModule:
    function = Function(0, locals, Expr(code, 0, len(code)))
    made = DecodedModule(types=[RecGroup((SubType(FuncType()),))], functions=[function])
    for name, value in parts.items():
        setattr(made, name, value)
    return made


def accepted(module: DecodedModule, features: frozenset[Feature] = frozenset()) -> bool:
    """Whether the acceptor is certain of the module's first function."""
    plain = DecodedModule(types=module.types, memories=module.memories, datas=module.datas)
    context = validate(plain, features)
    context.funcs.append(context.types[0])
    function = module.functions[0]
    body = function.body
    look = bodies.acceptor(context, features, module.data_count is not None)
    return look.accepts(function.type, function.locals, body.code, body.start, body.end)


def test_it_knows_every_rule_and_every_immediate() -> None:
    from tinywasm.validation import _bodies

    assert set(_bodies.RULES) == {row.name.replace(".", "_") for row in TABLE if row.rule}
    assert set(_bodies.IMMEDIATES) == set(READ)


def test_every_row_has_a_place_of_its_own() -> None:
    from tinywasm.validation import _bodies

    rows = bodies.rows(frozenset(Feature))
    size = _bodies.ROW_SIZE
    used = [place for place in range(_bodies.ROWS) if any(rows[place * size : (place + 1) * size])]
    assert len(used) == len(TABLE)


def test_a_proposal_that_is_off_is_not_accepted() -> None:
    mul_wide = UNREACHABLE + b"\xfc\x15" + b"\x1a\x1a" + END
    assert accepted(module(mul_wide), frozenset({Feature.WIDE_ARITHMETIC}))
    assert not accepted(module(mul_wide))


def test_integers_have_the_specification_limits() -> None:
    longest, too_long = b"\xff\xff\xff\xff\x07", b"\xff\xff\xff\xff\x0f"
    drop = b"\x1a"
    assert accepted(module(b"\x41" + longest + drop + END))
    assert accepted(module(b"\x41" + b"\x80\x80\x80\x80\x78" + drop + END))
    assert accepted(module(b"\x41" + b"\xff\x00" + drop + END))
    assert accepted(module(b"\x41" + too_long[:4] + b"\x7f" + drop + END))
    assert not accepted(module(b"\x41" + too_long + drop + END))
    assert not accepted(module(b"\x41" + b"\x80\x80\x80\x80\x80\x00" + drop + END))
    assert not accepted(module(b"\x42" + b"\x80" * 9 + b"\x7e" + drop + END))
    assert accepted(module(b"\x42" + b"\x80" * 9 + b"\x7f" + drop + END))


@pytest.mark.parametrize("address, fits", [(I32, False), (I64, True)])
def test_an_offset_fits_the_address_type(address: ValType, fits: bool) -> None:
    memory = MemoryType(Limits(1), address)  # type: ignore[arg-type]
    code = UNREACHABLE + b"\x28\x02" + write_unsigned(1 << 32) + b"\x1a" + END
    assert accepted(module(code, memories=[memory])) is fits


def test_data_segments_need_their_count() -> None:
    drop = b"\xfc\x09\x00" + END
    datas = [DataSegment(b"")]
    assert accepted(module(drop, datas=datas, data_count=1))
    assert not accepted(module(drop, datas=datas))
    assert not accepted(module(b"\xfc\x09\x01" + END, datas=datas, data_count=1))


@pytest.mark.parametrize("cut", range(1, 6))
def test_reading_stays_inside_the_body(cut: int) -> None:
    code = b"\x44\0\0\0\0\0\0\0\0\x1a" + END
    made = module(code)
    made.functions[0].body.end -= cut
    assert not accepted(made)


@pytest.mark.parametrize("start, end", [(0, 99), (5, 2), (3, 4)])
def test_a_body_outside_its_bytes_is_not_read(start: int, end: int) -> None:
    made = module(NOP + END)
    made.functions[0].body = Expr(NOP + END, start, end)
    assert not accepted(made)


def test_locals_are_not_expanded() -> None:
    runs = [(2**31, I32), (2**31 - 1, I64)]
    last_of_first, first_of_second = write_unsigned(2**31 - 1), write_unsigned(2**31)
    assert accepted(module(b"\x20" + last_of_first + b"\x45\x1a" + END, runs))
    assert accepted(module(b"\x20" + first_of_second + b"\x50\x1a" + END, runs))
    assert not accepted(module(b"\x20" + first_of_second + b"\x45\x1a" + END, runs))
    assert not accepted(module(b"\x20" + write_unsigned(2**32 - 1) + b"\x1a" + END, runs))


def test_a_type_that_is_not_there_is_left_to_the_validator() -> None:
    made = module(END, [(1, RefType(True, 7))])
    assert not accepted(made)
    with pytest.raises(ValidationError, match="unknown type 7"):
        validate(made)


@pytest.mark.parametrize(
    "code",
    [
        b"\x02\x40" * 20_000 + END * 20_001,
        b"\x41\x00" * 70_000 + b"\x0f" + END,
    ],
    ids=["nested", "high"],
)
def test_what_is_too_large_is_left_to_the_validator(code: bytes) -> None:
    made = module(code)
    assert not accepted(made)
    validate(made)


def test_verdict_and_words_are_the_same_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = module(b"\x41\x00" + END)
    malformed = module(b"\xff" + END)
    for available in (True, False):
        monkeypatch.setattr(bodies, "available", available)
        validate(module(NOP + END))
        with pytest.raises(ValidationError, match=r"type mismatch.*at offset 0x2"):
            validate(wrong)
        with pytest.raises(DecodeError, match="illegal opcode ff"):
            validate(malformed)


ENTRY = bytes.fromhex("01 01 7f 20 00 41 e4 00 6a 22 01 1a 02 40 20 01 0d 00 20 00 21 01 0b 20 01 10 00 0b")
USUAL = [
    "20 00 28 02 04 1a 20 00 20 00 36 02 80 80 80 80 0f",
    "23 00 24 00 41 01 24 80 80 80 80 00",
    "20 00 20 01 20 00 1b 1a 42 00 42 80 80 80 80 80 80 80 01 20 00 1b 1a",
    "43 00 00 00 00 1a 44 00 00 00 00 00 00 00 00 1a",
    "41 80 80 80 80 78 1a 41 ff ff ff ff 07 1a 42 80 80 80 80 80 80 80 80 80 7f 1a",
    "20 80 80 80 80 00 10 80 80 80 80 00",
    "02 40 03 40 20 00 0d 00 0c 01 0b 0b 20 00 04 40 20 00 21 01 05 0c 00 0b",
]
WRONG = [
    ("20 02 1a", "unknown local 2"),
    ("42 00 22 00 1a", "type mismatch"),
    ("6a 1a", "type mismatch"),
    ("20 00 42 00 6a 1a", "type mismatch"),
    ("02 40 20 00 0b 1a", "type mismatch"),
    ("20 00 02 40 1a 0b", "type mismatch"),
    ("0d 00", "type mismatch"),
    ("20 00 0d 02", "unknown label 2"),
    ("04 40 0b", "type mismatch"),
    ("10 ff ff 03", "unknown function 65535"),
    ("20 00 24 01", "unknown global 1"),
    ("23 01 1a", "unknown global 1"),
    ("42 00 24 00", "type mismatch"),
    ("24 00", "type mismatch"),
    ("20 00 20 00 42 00 1b 1a", "type mismatch"),
    ("20 00 28 42 01 00 1a", "unknown memory 1"),
    ("20 00 28 03 00 1a", "alignment must not be larger than natural"),
    ("20 00 28 02 ff ff ff ff 1f 1a", "offset out of range"),
    ("42 00 28 02 00 1a", "type mismatch"),
    ("28 02 00 1a", "type mismatch"),
    ("20 00 42 00 36 02 00", "type mismatch"),
    ("20 00 36 02 00", "type mismatch"),
    ("1a", "type mismatch"),
    ("20 00 20 00 1b 1a", "type mismatch"),
    ("41 80 80 80 80 08 1a", "integer too large"),
    ("20 80 80 80 80 10 1a", "integer too large"),
    ("20 80 80 80 80 80 00 1a", "integer representation too long"),
    ("42 80 80 80 80 80 80 80 80 80 02 1a", "integer too large"),
    ("42 00 10 00", "type mismatch"),
    ("42 00 04 40 0b", "type mismatch"),
    ("41 ff ff ff ff 0f 1a", "integer too large"),
    ("0b", "ends before its size"),
]


def entries(*codes: bytes) -> bytes:
    """A module of functions from an `i32` to nothing, with a memory and a global."""
    content = write_vector(lambda code: write_unsigned(len(code)) + code, codes)
    declared = write_vector(write_unsigned, [0] * len(codes))
    binary = b"\0asm\1\0\0\0" + b"\1\5\1\x60\1\x7f\0\3" + write_unsigned(len(declared)) + declared
    # A memory, and a global.
    binary += bytes.fromhex("05 03 01 00 01 06 06 01 7f 01 41 00 0b")
    return binary + b"\x0a" + write_unsigned(len(content)) + content


def usual(code: str) -> bytes:
    """An entry with a local that goes on behind what is wrong in it."""
    return bytes.fromhex("01 01 7f" + code) + bytes.fromhex("20 00 1a") * 8 + END


@pytest.mark.parametrize("available", [True, False])
@pytest.mark.parametrize(("code", "message"), WRONG)
@pytest.mark.parametrize("before", [0, 255, 256, 600])
def test_the_function_that_is_wrong_is_told(
    monkeypatch: pytest.MonkeyPatch, code: str, message: str, before: int, available: bool
) -> None:
    monkeypatch.setattr(bodies, "available", available)
    codes = [usual("")] * before
    validate(decode(entries(*codes, usual(""))))
    with pytest.raises((ValidationError, DecodeError), match=message) as caught:
        validate(decode(entries(*codes, usual(code), usual(""), usual("42"))))
    if isinstance(caught.value, ValidationError):
        assert caught.value.where == f"function {before}"


def test_what_is_usual_is_accepted_whole() -> None:
    made = decode(entries(*[ENTRY] * 250, *(usual(code) for code in USUAL), *[ENTRY] * (50 - len(USUAL))))
    assert isinstance(made.functions, Functions)
    context = validate(made)
    look = bodies.acceptor(context, frozenset(), False)
    functions = made.functions
    assert look.accepts_entries(functions.types, functions.code, functions.places, 0, 300) == 300
    assert look.accepts_entries(functions.types, functions.code, functions.places, 7, 5) == 7


@pytest.mark.parametrize("places", [[5, 2], [0, 99], [-1, 2], [3, 10**12]])
def test_an_entry_outside_its_bytes_is_not_read(places: list[int]) -> None:
    made = decode(entries(ENTRY))
    look = bodies.acceptor(validate(made), frozenset(), False)
    assert isinstance(made.functions, Functions)
    assert look.accepts_entries(made.functions.types, ENTRY, array("q", places), 0, 1) == 0


def test_each_instruction_is_judged_alike_in_short_code_and_in_long() -> None:
    """Near its end a body is read by other means: what stands before that changes nothing."""
    rng = random.Random(6)
    codes = [*USUAL, *USUAL, *(code for code, _ in WRONG)]
    pieces = [*map(bytes.fromhex, codes), ENTRY[3:-1], b"\x1a", b"\x0b", b"\x02\x40"]
    verdicts = set()
    for _ in range(3000):
        code = b"".join(rng.choice(pieces) for _ in range(rng.randint(1, 4)))
        code = bytes(byte if rng.random() < 0.97 else rng.choice(code) for byte in code)
        judged = []
        for tail in (END, NOP * 30 + END):
            made = decode(entries(b"\1\1\x7f" + code + tail))
            with pytest.MonkeyPatch.context() as patch:
                for available in (True, False):
                    patch.setattr(bodies, "available", available)
                    try:
                        validate(made)
                    except (ValidationError, DecodeError) as error:
                        judged.append(str(error))
                    else:
                        judged.append("")
        assert judged[0] == judged[1] and judged[2] == judged[3]
        verdicts.add(judged[2] == "")
    assert verdicts == {True, False}
