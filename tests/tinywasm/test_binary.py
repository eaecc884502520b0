"""The binary format as a whole: round trips, custom sections, and input that nobody chose."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinywasm.module_strategies import branch_hints, customs, module_names, modules
from tinywasm import Engine, Instance, Module, Store
from tinywasm.binary import decode, encode
from tinywasm.binary.names import (
    BRANCH_HINTS,
    NAME,
    read_branch_hints,
    read_names,
    write_branch_hints,
    write_names,
)
from tinywasm.errors import DecodeError
from tinywasm.instructions import Feature
from tinywasm.syntax import CustomSection, DecodedModule, Names

HEADER = b"\0asm\1\0\0\0"
PAGES = frozenset([Feature.CUSTOM_PAGE_SIZES])


@given(modules())
def test_a_module_decodes_as_it_was_encoded(module: DecodedModule) -> None:
    data = encode(module)
    decoded = decode(data)
    assert decoded == module
    assert encode(decoded) == data


@given(modules(custom_page_sizes=True))
@settings(max_examples=30)
def test_custom_page_sizes_round_trip(module: DecodedModule) -> None:
    assert decode(encode(module), PAGES) == module


@given(modules(), customs)
def test_custom_sections_keep_their_places(module: DecodedModule, sections: list[CustomSection]) -> None:
    module.customs = sections
    decoded = decode(encode(module))
    assert sorted((c.name, c.payload) for c in decoded.customs) == sorted(
        (c.name, c.payload) for c in sections
    )
    assert decode(encode(decoded)) == decoded
    assert encode(decode(encode(decoded))) == encode(decoded)


def test_a_section_without_items_is_no_place() -> None:
    empty_types, custom = b"\1\1\0", b"\0\2\1x"
    (section,) = decode(HEADER + empty_types + custom).customs
    assert section == CustomSection("x", b"", 0)


@given(modules(), module_names, branch_hints)
@settings(max_examples=30)
def test_names_and_hints_of_a_text_module_become_sections(
    module: DecodedModule, names: Names, hints: dict[int, list[tuple[int, int]]]
) -> None:
    module.names, module.branch_hints = names, hints
    decoded = decode(encode(module))
    assert (decoded.names, decoded.branch_hints) == (read_names(write_names(names)), hints)
    assert [custom.name for custom in decoded.customs] == [
        *([BRANCH_HINTS] if hints else []),
        *([NAME] if write_names(names) else []),
    ]
    # Once they are sections they are written as those, and not a second time.
    assert decode(encode(decoded)) == decoded


@given(module_names)
def test_names_round_trip(names: Names) -> None:
    assert read_names(write_names(names)) == names


@given(branch_hints)
def test_branch_hints_round_trip(hints: dict[int, list[tuple[int, int]]]) -> None:
    assert read_branch_hints(write_branch_hints(hints)) == hints


def _custom(name: str, payload: bytes) -> bytes:
    raw = name.encode()
    return bytes([0, len(raw) + len(payload) + 1, len(raw)]) + raw + payload


def test_the_name_section() -> None:
    payload = bytes.fromhex("00 02 01 6d  01 05 01 00 02 ce bb  0b 04 01 00 01 74  63 01 ff")
    names = decode(HEADER + _custom(NAME, payload)).names
    assert names == Names(module="m", functions={0: "λ"}, tags={0: "t"})


def test_names_are_read_when_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[bytes] = []

    def read(payload: bytes) -> Names:
        reads.append(payload)
        return Names("m")

    monkeypatch.setattr("tinywasm.binary.names.read_names", read)
    module = Module(Engine(), HEADER + _custom(NAME, b"\0\2\1m"))
    Instance(Store(module.engine), module, [])
    assert reads == []
    assert (module.syntax.names.module, module.syntax.names) == ("m", Names("m"))
    assert reads == [b"\0\2\1m"]


MALFORMED_NAMES = {
    "cut off": "01 05 01 00 02 ce",
    "not UTF-8": "00 02 01 ff",
    "out of order": "01 01 00 00 02 01 6d",
    "twice": "01 01 00 01 01 00",
    "size mismatch": "00 03 01 6d 00",
    "index twice": "01 07 02 00 01 61 00 01 62",
    "no size": "00",
}


@pytest.mark.parametrize("payload", MALFORMED_NAMES.values(), ids=MALFORMED_NAMES.keys())
def test_a_malformed_name_section_is_kept_and_not_understood(payload: str) -> None:
    raw = bytes.fromhex(payload)
    module = decode(HEADER + _custom(NAME, raw))
    assert module.names == Names()
    assert module.customs == [CustomSection(NAME, raw)]
    with pytest.raises(DecodeError):
        read_names(raw)


@pytest.mark.parametrize(
    "payload", ["01 00 01 05 02 00", "01 00 01 05 01 02", "02 00 00 00 00", "00 00", "01"]
)
def test_a_malformed_branch_hint_section_is_kept_and_not_understood(payload: str) -> None:
    raw = bytes.fromhex(payload)
    module = decode(HEADER + _custom(BRANCH_HINTS, raw))
    assert module.branch_hints == {}
    assert module.customs == [CustomSection(BRANCH_HINTS, raw)]


def test_the_first_name_section_counts() -> None:
    first, second = (_custom(NAME, b"\0\2\1" + letter) for letter in (b"a", b"b"))
    assert decode(HEADER + first + second).names.module == "a"


@given(modules(), st.data())
def test_mutated_modules_decode_or_are_refused(module: DecodedModule, data: st.DataObject) -> None:
    raw = bytearray(encode(module))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    _decode_or_refuse(bytes(raw))


@given(modules())
@settings(max_examples=20)
def test_truncated_modules_decode_or_are_refused(module: DecodedModule) -> None:
    raw = encode(module)
    for end in range(len(raw)):
        _decode_or_refuse(raw[:end])


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused(tail: bytes) -> None:
    _decode_or_refuse(tail)
    _decode_or_refuse(HEADER + tail)


def _decode_or_refuse(raw: bytes) -> None:
    try:
        module = decode(raw, PAGES)
    except DecodeError as error:
        assert 0 <= error.offset <= len(raw)
        assert str(error)
    else:
        assert decode(encode(module), PAGES) == module


HUGE = b"\xff\xff\xff\xff\x0f"
HUNGRY = {
    "section of 4 GiB": b"\1" + HUGE,
    "4 billion types": b"\1\x10" + HUGE + b"\x60\0\0" * 4,
    "4 billion parameters": b"\1\x10\1\x60" + HUGE + b"\x7f" * 10,
    "4 billion imports": b"\2\x10" + HUGE + b"\0" * 11,
    "data of 4 GiB": b"\x0b\x08\1\1" + HUGE + b"\0",
    "a name of 4 GiB": b"\0\x06" + HUGE + b"x",
}


@pytest.mark.parametrize("content", HUNGRY.values(), ids=HUNGRY.keys())
def test_no_memory_on_the_word_of_a_count(content: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(DecodeError):
        decode(HEADER + content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_four_billion_locals_stay_a_run() -> None:
    code = HEADER + b"\1\4\1\x60\0\0" + b"\3\2\1\0" + b"\x0a\x0a\1\x08\1" + HUGE + b"\x7f\x0b"
    (function,) = decode(code).functions
    assert [count for count, _ in function.locals] == [2**32 - 1]


def test_a_million_nested_blocks_are_counted_and_not_entered() -> None:
    blocks = b"\2\x40" * 500_000
    init = blocks + b"\x0b" * 500_001
    size = len(init) + 3
    leb = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    (item,) = decode(HEADER + b"\6" + leb + b"\1\x7f\0" + init).globals
    assert item.init.end - item.init.start == len(init)


def test_a_hundred_thousand_custom_sections_take_linear_time() -> None:
    sections = b"".join(b"\0\4\3" + f"{n % 1000:03}".encode() for n in range(100_000))
    module = decode(HEADER + sections)
    assert len(module.customs) == 100_000
    assert encode(module) == HEADER + sections


def test_shuffled_bytes_of_a_large_module() -> None:
    rng = random.Random(1)
    body = b"\x0a\x41\1\x0b" * 50
    types = b"\1\4\1\x60\0\0"
    good = (
        HEADER
        + types
        + b"\3\2\1\0"
        + b"\x0a"
        + bytes([0xCF, 1, 1, 0xCB, 1, 1, 1, 0x7F])
        + body[:199]
        + b"\x0b"
    )
    for _ in range(300):
        raw = bytearray(good)
        for _ in range(3):
            raw[rng.randrange(8, len(raw))] = rng.randrange(256)
        _decode_or_refuse(bytes(raw))
