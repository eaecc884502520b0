"""Bytes and characters that nobody wrote as a module."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fuzz.limits import Examiner
from fuzz.profiles import cases

_HEADER = b"\0asm\1\0\0\0"
_SECTIONS = st.lists(
    st.tuples(st.integers(0, 14), st.binary(max_size=40)).map(
        lambda section: bytes([section[0], len(section[1])]) + section[1]
    ),
    max_size=6,
).map(b"".join)


@cases
@given(st.binary(max_size=4096))
def test_random_bytes(examiner: Examiner, data: bytes) -> None:
    examiner.check(data)


@cases
@given(st.binary(max_size=4096) | _SECTIONS)
def test_random_bytes_behind_a_header(examiner: Examiner, data: bytes) -> None:
    examiner.check(_HEADER + data)


@cases
@given(st.text(max_size=1000) | st.text('()@;"$ \\nab01', max_size=1000))
def test_random_text(examiner: Examiner, text: str) -> None:
    examiner.check(text)
