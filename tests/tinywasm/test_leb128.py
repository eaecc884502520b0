import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinywasm.errors import DecodeError
from tinywasm.leb128 import read_signed, read_u32, read_unsigned, write_signed, write_unsigned

UNSIGNED = [
    (0, "00"),
    (1, "01"),
    (127, "7f"),
    (128, "80 01"),
    (624485, "e5 8e 26"),
    (2**32 - 1, "ff ff ff ff 0f"),
    (2**64 - 1, "ff ff ff ff ff ff ff ff ff 01"),
]
SIGNED = [
    (0, "00"),
    (63, "3f"),
    (64, "c0 00"),
    (-1, "7f"),
    (-64, "40"),
    (-65, "bf 7f"),
    (-123456, "c0 bb 78"),
    (2**31 - 1, "ff ff ff ff 07"),
    (-(2**31), "80 80 80 80 78"),
    (-(2**63), "80 80 80 80 80 80 80 80 80 7f"),
]


@pytest.mark.parametrize(("value", "encoded"), UNSIGNED)
def test_unsigned_examples(value: int, encoded: str) -> None:
    raw = bytes.fromhex(encoded)
    assert write_unsigned(value) == raw
    assert read_unsigned(b"?" + raw + b"?", 1, 64) == (value, 1 + len(raw))


@pytest.mark.parametrize(("value", "encoded"), SIGNED)
def test_signed_examples(value: int, encoded: str) -> None:
    raw = bytes.fromhex(encoded)
    assert write_signed(value) == raw
    assert read_signed(b"?" + raw + b"?", 1, 64) == (value, 1 + len(raw))


@given(st.integers(0, 2**32 - 1))
def test_u32_round_trip(value: int) -> None:
    raw = write_unsigned(value)
    assert read_u32(raw, 0) == read_unsigned(raw, 0, 32) == (value, len(raw))


@given(st.sampled_from([7, 32, 33, 64]).flatmap(lambda bits: st.tuples(st.just(bits), _integers(bits))))
def test_signed_round_trip(case: tuple[int, int]) -> None:
    bits, value = case
    raw = write_signed(value)
    assert read_signed(raw, 0, bits) == (value, len(raw))


def _integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)


def test_padded_encodings_are_read() -> None:
    assert read_unsigned(bytes.fromhex("80 80 80 80 00"), 0, 32) == (0, 5)
    assert read_signed(bytes.fromhex("ff ff ff ff 7f"), 0, 32) == (-1, 5)


TOO_LONG, TOO_LARGE = "integer representation too long", "integer too large"
END = "unexpected end of section or function"


@pytest.mark.parametrize(
    ("encoded", "bits", "message", "offset"),
    [
        ("80 80 80 80 80 00", 32, TOO_LONG, 1),
        ("ff ff ff ff 10", 32, TOO_LARGE, 1),
        ("80 80 80 80 80 80 80 80 80 02", 64, TOO_LARGE, 1),
        ("80 80", 32, END, 3),
        ("", 32, END, 1),
    ],
)
def test_malformed_unsigned(encoded: str, bits: int, message: str, offset: int) -> None:
    with pytest.raises(DecodeError) as caught:
        read_unsigned(b"?" + bytes.fromhex(encoded), 1, bits)
    assert (caught.value.message, caught.value.offset) == (message, offset)


@pytest.mark.parametrize(
    ("encoded", "bits", "message", "offset"),
    [
        ("80 80 80 80 80 00", 32, TOO_LONG, 1),
        ("ff ff ff ff 0f", 32, TOO_LARGE, 1),
        ("80 80 80 80 70", 32, TOO_LARGE, 1),
        ("80 80 80 80 80 80 80 80 80 7e", 64, TOO_LARGE, 1),
        ("ff", 64, END, 2),
    ],
)
def test_malformed_signed(encoded: str, bits: int, message: str, offset: int) -> None:
    with pytest.raises(DecodeError) as caught:
        read_signed(b"?" + bytes.fromhex(encoded), 1, bits)
    assert (caught.value.message, caught.value.offset) == (message, offset)


@given(st.binary(max_size=12), st.sampled_from([7, 32, 33, 64]))
def test_any_bytes_are_an_integer_in_range_or_an_error(raw: bytes, bits: int) -> None:
    try:
        value, pos = read_signed(raw, 0, bits)
    except DecodeError as error:
        assert 0 <= error.offset <= len(raw)
    else:
        assert -(1 << bits - 1) <= value < 1 << bits - 1
        assert pos <= (bits + 6) // 7
