"""Every way for a module to be malformed, with the byte that it is blamed on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tinywasm.binary import decode
from tinywasm.codec import write_vector
from tinywasm.errors import DecodeError
from tinywasm.instructions import Feature
from tinywasm.leb128 import read_signed, write_signed, write_unsigned
from tinywasm.syntax import DataSegment, ElementSegment, Expr, FuncImport, Table
from tinywasm.types import (
    F64,
    FUNCREF,
    I32,
    I64,
    AbstractHeap,
    ArrayType,
    FieldType,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    PackedType,
    RecGroup,
    RefType,
    StructType,
    SubType,
    TableType,
    TagType,
)

HEADER = bytes.fromhex("00 61 73 6d 01 00 00 00")
END = "unexpected end of section or function"
LENGTHS = "function and code section have inconsistent lengths"
DATA_LENGTHS = "data count and data section have inconsistent lengths"

HEADERS = [
    ("", "unexpected end: the module is empty", 0),
    ("00 61 73", END, 3),
    ("01 61 73 6d 01 00 00 00", "magic header not detected", 0),
    ("00 61 73 6d 01 00 00", END, 7),
    ("00 61 73 6d 02 00 00 00", "unknown binary version", 4),
    ("00 61 73 6d 0d 00 01 00", "unknown binary version: a component, not a core module", 4),
]

# After the header, hence offsets from 8.
# What is said of proposals that are not there.
STACKS = ": it is of the proposal stack-switching, which is not supported"
THREADS = ": it is of the proposal threads, which is not supported"
PAGE_SIZES = ": it is of the proposal custom-page-sizes, which is not switched on"

SECTIONS = [
    ("0e 01 00", "malformed section id", 8),
    ("80 01 00", "malformed section id", 8),
    ("01", END, 9),
    ("01 05 00", "length out of bounds", 9),
    ("01 01", END, 10),
    ("01 80 80 80 80 80 00", "integer representation too long", 9),
    ("01 80 80 80 80 10", "integer too large", 9),
    ("01 01 00 01 01 00", "unexpected content after last section: type section", 11),
    ("03 01 00 01 01 00", "unexpected content after last section: type section", 11),
    ("06 01 00 0d 01 00", "unexpected content after last section: tag section", 11),
    ("0a 01 00 0c 01 00", "unexpected content after last section: data count section", 11),
    ("01 02 00 00", "section size mismatch", 10),
    ("01 03 01 60 00 00", "section size mismatch", 10),
    ("00 00", END, 10),
    ("00 02 03 61 62 63", END, 12),
    ("00 02 01 ff", "malformed UTF-8 encoding", 10),
    ("00 04 03 ed a0 80", "malformed UTF-8 encoding", 10),
]

TYPES = [
    ("01 02 01 5d", "malformed definition type" + STACKS, 11),
    ("01 03 01 e0 7f", "integer representation too long", 11),
    ("01 03 01 60 7f", "length out of bounds", 12),
    ("01 05 01 60 01 5d 00", "malformed value type" + STACKS, 13),
    ("01 04 01 5e 78 02", "malformed mutability", 13),
    ("01 05 01 5f 01 7f 02", "malformed mutability", 14),
    ("01 03 01 50 00", END, 13),
    ("01 03 01 4e 7f", "length out of bounds", 12),
    ("01 04 01 60 01 64", END, 14),
    ("01 06 01 60 01 64 40 00", "malformed heap type", 14),
]

DEFINITIONS = [
    ("02 04 01 00 00 05", "malformed import kind", 13),
    ("02 05 01 01 ff 00 00", "malformed UTF-8 encoding", 11),
    ("02 05 01 00 01 ff 00", "malformed UTF-8 encoding", 12),
    ("02 05 01 00 00 04 01", "malformed tag attribute", 14),
    ("03 02 01 80", END, 12),
    ("04 04 01 7f 00 00", "malformed reference type", 11),
    ("04 04 01 70 02 00", "malformed limits flags" + THREADS, 12),
    ("04 04 01 70 08 00", "malformed limits flags", 12),
    ("04 06 01 40 01 70 00 00", "malformed reference type", 11),
    ("05 03 01 08 00", "malformed limits flags" + PAGE_SIZES, 11),
    ("05 03 01 02 00", "malformed limits flags" + THREADS, 11),
    ("05 0c 01 00 80 80 80 80 80 80 80 80 80 02", "integer too large", 12),
    ("0d 03 01 01 00", "malformed tag attribute", 11),
    ("06 06 01 7f 02 41 00 0b", "malformed mutability", 12),
    ("06 06 01 5d 00 41 00 0b", "malformed value type" + STACKS, 11),
    ("06 05 01 7f 00 41 00", END, 15),
    ("06 04 01 7f 00 ff", "illegal opcode ff", 13),
    ("07 04 01 00 05 00", "malformed export kind", 12),
    ("07 04 01 01 ff 00", "malformed UTF-8 encoding", 11),
    ("08 02 00 00", "section size mismatch", 10),
    ("09 02 01 08", "malformed elements segment kind", 11),
    ("09 04 01 01 01 00", "malformed element kind", 12),
    ("09 04 01 05 7f 00", "malformed reference type", 12),
    ("0b 02 01 03", "malformed data segment kind", 11),
    ("0b 06 01 01 7f 00 00 00", "length out of bounds", 12),
    ("0b 04 01 01 02 00", END, 14),
]

FUNCTION = "01 04 01 60 00 00 03 02 01 00 "  # 10 bytes: code sections begin at 18
CODE = [
    (FUNCTION, LENGTHS + ": 1 and 0", 18),
    ("0a 04 01 02 00 0b", LENGTHS + ": 0 and 1", 10),
    (FUNCTION + "0a 01 00", LENGTHS + ": 1 and 0", 20),
    ("0c 01 01", DATA_LENGTHS + ": 1 and 0", 11),
    ("0c 01 00 0b 03 01 01 00", DATA_LENGTHS + ": 0 and 1", 13),
    (FUNCTION + "0a 0e 01 0c 02 ff ff ff ff 0f 7f 01 7e 0b", "length out of bounds", 19),
    (FUNCTION + "0a 0c 01 0a 02 ff ff ff ff 0f 7f 01 7e 0b", "too many locals", 22),
    (FUNCTION + "0a 05 01 03 01 01 5d", "malformed value type" + STACKS, 24),
    (FUNCTION + "0a 04 01 05 00 0b", "length out of bounds", 21),
    (FUNCTION + "0a 04 01 03 00 0b", END, 24),
    (FUNCTION + "0a 03 01 01 00", END, 23),
    (FUNCTION + "0a 06 01 04 00 41 01 1a", END, 26),
    (FUNCTION + "0a 06 01 04 00 41 01 1a 0b 01 00", "section size mismatch", 26),
    (FUNCTION + "0a 06 01 04 00 41 01 1a 00 02 01 78", "END opcode expected", 26),
    (FUNCTION + "0a 06 01 04 00 ff 01 1a", "illegal opcode ff", 23),
    (FUNCTION + "0a 05 01 02 01 01 7f 0b", "section size mismatch", 22),
    (FUNCTION + "0a 05 01 02 00 0b 0b", "section size mismatch", 20),
]


@pytest.mark.parametrize(("encoded", "message", "offset"), HEADERS)
def test_malformed_headers(encoded: str, message: str, offset: int) -> None:
    _refused(bytes.fromhex(encoded), message, offset)


@pytest.mark.parametrize(("encoded", "message", "offset"), SECTIONS + TYPES + DEFINITIONS + CODE)
def test_malformed_sections(encoded: str, message: str, offset: int) -> None:
    _refused(HEADER + bytes.fromhex(encoded), message, offset)


def _refused(data: bytes, message: str, offset: int) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert (caught.value.message, caught.value.offset) == (message, offset)


def test_a_page_size_beyond_64_bits_is_malformed() -> None:
    pages = [Feature.CUSTOM_PAGE_SIZES]
    with pytest.raises(DecodeError, match="invalid custom page size") as caught:
        decode(HEADER + bytes.fromhex("05 04 01 08 00 41"), pages)
    assert caught.value.offset == 13
    (memory,) = decode(HEADER + bytes.fromhex("05 04 01 08 00 00"), pages).memories
    assert memory == MemoryType(Limits(0), I32, 1)


def _module(section: int, content: str) -> bytes:
    raw = bytes.fromhex(content)
    return HEADER + bytes([section, len(raw)]) + raw


def test_type_definitions() -> None:
    encoded = "03  4e 02 50 00 5f 02 78 01 7c 00 4f 01 00 5e 63 00 00  50 00 60 01 64 71 01 6e  60 00 00"
    byte, number = FieldType(PackedType.I8, True), FieldType(F64)
    struct = SubType(StructType((byte, number)), (), False)
    array = SubType(ArrayType(FieldType(RefType(True, 0))), (0,))
    none, any_ = RefType(False, AbstractHeap.NONE), RefType(True, AbstractHeap.ANY)
    assert decode(_module(1, encoded)).types == [
        RecGroup((struct, array)),
        RecGroup((SubType(FuncType((none,), (any_,)), (), False),)),
        RecGroup((SubType(FuncType()),)),
    ]


def test_imports() -> None:
    encoded = "05  00 01 66 00 07  00 00 01 70 01 01 02  00 00 02 04 05  00 00 03 7f 01  00 00 04 00 03"
    imports = decode(_module(2, encoded)).imports
    assert [item.desc for item in imports] == [
        FuncImport(7),
        TableType(FUNCREF, Limits(1, 2)),
        MemoryType(Limits(5), I64),
        GlobalType(I32, True),
        TagType(3),
    ]
    assert (imports[0].module, imports[0].name) == ("", "f")


def test_a_table_with_an_initial_element() -> None:
    data = _module(4, "01 40 00 64 70 00 01 d2 00 0b")
    element = RefType(False, AbstractHeap.FUNC)
    assert decode(data).tables == [Table(TableType(element, Limits(1)), Expr(data, 17, 20))]


INDICES = RefType(False, AbstractHeap.FUNC)
ZERO = Expr(b"\x41\x00\x0b", 0, 3)
NULL = Expr(b"\xd0\x70\x0b", 0, 3)
ELEMENTS = [
    ("00 41 00 0b 01 05", ElementSegment(INDICES, (5,), "active", 0, ZERO)),
    ("01 00 01 05", ElementSegment(INDICES, (5,), "passive")),
    ("02 03 41 00 0b 00 01 05", ElementSegment(INDICES, (5,), "active", 3, ZERO)),
    ("03 00 01 05", ElementSegment(INDICES, (5,), "declarative")),
    ("04 41 00 0b 01 d0 70 0b", ElementSegment(FUNCREF, (NULL,), "active", 0, ZERO)),
    ("05 70 01 d0 70 0b", ElementSegment(FUNCREF, (NULL,), "passive")),
    ("06 03 41 00 0b 70 01 d0 70 0b", ElementSegment(FUNCREF, (NULL,), "active", 3, ZERO)),
    ("07 70 01 d0 70 0b", ElementSegment(FUNCREF, (NULL,), "declarative")),
]


@pytest.mark.parametrize(("encoded", "segment"), ELEMENTS)
def test_the_eight_forms_of_element_segments(encoded: str, segment: ElementSegment) -> None:
    assert decode(_module(9, "01" + encoded)).elems == [segment]


DATAS = [
    ("00 41 00 0b 01 61", DataSegment(b"a", 0, ZERO)),
    ("01 01 61", DataSegment(b"a")),
    ("02 03 41 00 0b 01 61", DataSegment(b"a", 3, ZERO)),
]


@pytest.mark.parametrize(("encoded", "segment"), DATAS)
def test_the_three_forms_of_data_segments(encoded: str, segment: DataSegment) -> None:
    assert decode(_module(11, "01" + encoded)).datas == [segment]


# Where the encodings of offsets change their length, and beyond 28 bits.
OFFSETS = [0, 63, 64, 8191, 8192, (1 << 27) - 1, 1 << 27, (1 << 31) - 1, -1, -64, -65, -(1 << 27), -(1 << 31)]
LONG = [b"\x81\x80\x80\x00", b"\x81\x80\x80\x80\x00"]


@pytest.mark.parametrize(
    "encoded", [*map(write_signed, OFFSETS), b"\x81\x80\x80\x00", b"\x81\x80\x80\x80\x00"]
)
@pytest.mark.parametrize("size", (0, 127, 128, 20_000, 1 << 21))
def test_a_data_segment_has_an_offset_and_a_size_of_any_length(encoded: bytes, size: int) -> None:
    init = bytes(range(251)) * (size // 251 + 1)
    vector = write_unsigned(size) + init[:size]
    for data in (b"\0\x41" + encoded + b"\x0b" + vector, b"\2\0\x41" + encoded + b"\x0b" + vector):
        content = b"\1" + data
        binary = HEADER + b"\x0b" + write_unsigned(len(content)) + content
        (segment,) = decode(binary).datas
        assert segment.offset is not None and segment.offset.bytes == b"\x41" + encoded + b"\x0b"
        assert segment.offset.number == read_signed(encoded, 0, 32)[0] & 0xFFFF_FFFF
        assert (segment.init, segment.memory) == (init[:size], 0)


@pytest.mark.parametrize("number", (3, 600))
def test_data_segments_are_a_sequence_whatever_their_forms(number: int) -> None:
    encoded, segments = zip(*DATAS * number, strict=True)
    count = write_unsigned(len(segments))
    content = count + b"".join(bytes.fromhex(each) for each in encoded)
    datas = decode(HEADER + b"\x0b" + write_unsigned(len(content)) + content).datas
    assert len(datas) == len(segments) and datas == list(segments)
    assert (datas[0], datas[-1], datas[1:4]) == (segments[0], segments[-1], list(segments[1:4]))
    assert datas != list(segments[1:])
    with pytest.raises(IndexError):
        datas[len(datas)]


def test_functions_share_their_locals_and_no_others() -> None:
    runs = ["00", "01 02 7f", "01 02 7f", "02 02 7f 01 7e", "01 82 00 7f", "00"]
    bodies = [bytes.fromhex(run + "0b") for run in runs]
    code = bytes([len(bodies)]) + b"".join(bytes([len(body)]) + body for body in bodies)
    declared = f"01 04 01 60 00 00 03 {len(bodies) + 1:02x} {len(bodies):02x}" + " 00" * len(bodies)
    functions = decode(HEADER + bytes.fromhex(declared) + b"\x0a" + bytes([len(code)]) + code).functions
    found = [function.locals for function in functions]
    assert found == [(), ((2, I32),), ((2, I32),), ((2, I32), (1, I64)), ((2, I32),), ()]
    assert found[1] is found[2]


# Entries of the code section: usual locals, and those of long counts, of long types and of very many runs.
CODES = [
    ("00 0b", ()),
    ("01 02 7f 01 0b", ((2, I32),)),
    ("02 ff ff ff 7f 7e 01 70 0b", (((1 << 28) - 1, I64), (1, FUNCREF))),
    ("01 ff ff ff ff 0f 7f 0b", (((1 << 32) - 1, I32),)),
    ("01 82 80 80 80 00 7f 0b", ((2, I32),)),
    ("81 00 01 7f 0b", ((1, I32),)),
    ("01 01 63 70 0b", ((1, FUNCREF),)),
    ("02 01 64 6e 01 7e 0b", ((1, RefType(False, AbstractHeap.ANY)), (1, I64))),
    ("80 01" + "01 7f" * 128 + "0b", ((1, I32),) * 128),
    ("7f" + "01 7f" * 127 + "0b", ((1, I32),) * 127),
]


def _codes(entries: Sequence[bytes], types: Sequence[int]) -> bytes:
    declared = write_vector(write_unsigned, types)
    content = write_vector(lambda entry: write_unsigned(len(entry)) + entry, entries)
    before = HEADER + b"\1\4\1\x60\0\0\3" + write_unsigned(len(declared)) + declared
    return before + b"\x0a" + write_unsigned(len(content)) + content


@pytest.mark.parametrize("number", (1, 60))
def test_functions_are_a_sequence_whatever_their_locals(number: int) -> None:
    entries = [bytes.fromhex(encoded) for encoded, _ in CODES * number]
    types = [index * 1000 for index in range(len(entries))]
    data = _codes(entries, types)
    functions = decode(data).functions
    assert [(each.type, each.locals) for each in functions] == [
        (type, locals) for type, (_, locals) in zip(types, CODES * number, strict=True)
    ]
    assert all(entry.endswith(each.body.bytes) for entry, each in zip(entries, functions, strict=True))
    assert functions == list(functions) == decode(data).functions and functions != functions[1:]
    assert (functions[-1], functions[1:3]) == (list(functions)[-1], list(functions)[1:3])
    with pytest.raises(IndexError):
        functions[len(functions)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("", "malformed value type"),
        ("00", "END opcode expected"),
        ("00 01", "END opcode expected"),
        ("01 01 7f", "END opcode expected"),
        ("05 01 7f 0b", "malformed value type"),
        ("01 01 40 0b", "malformed value type"),
        ("02 ff ff ff ff 0f 7f 01 7f 0b", "too many locals"),
        ("11" + "ff ff ff 7f 7f" * 17 + "0b", "too many locals"),
        ("01 ff ff ff ff 1f 7f 0b", "integer too large"),
        ("01 ff ff ff ff ff 0f 7f 0b", "integer representation too long"),
    ],
)
@pytest.mark.parametrize("before", (0, 300))
def test_a_malformed_entry_is_told_of_wherever_it_stands(entry: str, message: str, before: int) -> None:
    entries = [b"\0\x0b"] * before + [bytes.fromhex(entry), *[b"\0\1\x0b"] * 3]
    with pytest.raises(DecodeError, match=message):
        decode(_codes(entries, [0] * len(entries)))


@pytest.mark.parametrize("last", (0, 127, 128, (1 << 28) - 1, 1 << 28, (1 << 32) - 1))
@pytest.mark.parametrize("number", (1, 256, 257))
def test_an_element_segment_names_functions_of_any_index(number: int, last: int) -> None:
    content = b"\1\1\0" + write_vector(write_unsigned, [*range(number - 1), last])
    (segment,) = decode(HEADER + b"\x09" + write_unsigned(len(content)) + content).elems
    assert segment == ElementSegment(INDICES, (*range(number - 1), last), "passive")


def test_bodies_are_slices_of_the_input() -> None:
    data = HEADER + bytes.fromhex(FUNCTION + "0a 09 01 07 01 02 7f 20 00 1a 0b")
    (function,) = decode(data).functions
    assert (function.type, function.locals) == (0, ((2, I32),))
    assert function.body.code is data
    assert (function.body.start, function.body.end) == (25, 29)
