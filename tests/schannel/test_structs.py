"""Declared byte layouts: what is written is read again, and anything else is an error in words."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schannel import control, storage
from schannel.endings import CloseReason
from schannel.errors import LocalError, MessageError
from schannel.structs import REST, TEXT, U8, U16, U32, Structure, array, bounded, nested, one_of, part


class Colour(IntEnum):
    RED = 1
    BLUE = 2


class Point(Structure, shown="point"):
    x: int = part(U8)
    label: str = part(TEXT)


class Drawing(Structure, shown="drawing"):
    colour: Colour = part(one_of(U8, Colour))
    size: int = part(bounded(U32, 100))
    points: tuple[Point, ...] = part(array(U16, nested(Point)))
    rest: bytes = part(REST)


DRAWING = Drawing(Colour.BLUE, 5, (Point(1, "é"), Point(2, "")), b"rest")
BYTES = bytes.fromhex("02 00000005 0002 01 0002 c3a9 02 0000") + b"rest"


def test_written_as_declared_and_read_again() -> None:
    assert DRAWING.build() == BYTES
    read = Drawing.parse(BYTES)
    assert read == DRAWING and read.colour is Colour.BLUE


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\3" + BYTES[1:],
        BYTES[:4] + b"\x65" + BYTES[5:],
        BYTES.replace(b"\xc3\xa9", b"\xff\xff"),
        BYTES[:9],
    ],
    ids=["nothing", "no member", "too large", "no UTF-8", "cut"],
)
def test_damaged(damaged: bytes) -> None:
    with pytest.raises(MessageError, match="malformed drawing"):
        Drawing.parse(damaged)


def test_nothing_may_follow() -> None:
    with pytest.raises(MessageError, match="malformed ping"):
        control.Ping.parse(control.Ping(1).build() + b"\0")


@pytest.mark.parametrize(
    "changed", [{"colour": 3}, {"size": 101}, {"points": (Point(256, ""),)}, {"rest": "text"}, {"points": 5}]
)
def test_what_does_not_fit(changed: dict[str, Any]) -> None:
    with pytest.raises(LocalError, match="what a drawing says does not fit its layout"):
        Drawing(**vars(DRAWING) | changed).build()


NUMBERS = st.integers(0, (1 << 32) - 1)
MESSAGES = st.one_of(
    st.builds(control.Start, NUMBERS),
    st.builds(control.Stop, NUMBERS, st.sampled_from(CloseReason)),
    st.builds(control.Ended, NUMBERS, NUMBERS),
    st.builds(control.Log, NUMBERS, st.text(max_size=100)),
    st.builds(
        control.Prepared,
        st.binary(min_size=32, max_size=32),
        st.integers(0, (1 << 64) - 1),
        st.lists(st.text(max_size=9), max_size=9).map(tuple),
        st.lists(st.builds(control.Missing, st.text(max_size=9), st.text(max_size=9)), max_size=9).map(tuple),
    ),
)


@given(MESSAGES)
def test_control_messages(message: control.Control) -> None:
    assert control.decode(control.encode(message)) == message


@given(MESSAGES, st.data())
def test_control_messages_that_are_cut(message: control.Control, data: st.DataObject) -> None:
    whole = control.encode(message)
    with pytest.raises(MessageError):
        control.decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@pytest.mark.parametrize("junk", [b"", b"\xff", bytes([12, 0, 0, 0, 1])])
def test_no_control_message(junk: bytes) -> None:
    with pytest.raises(MessageError):
        control.decode(junk)


def test_sizes_of_heads() -> None:
    assert (storage.Request.sizeof(), storage.Answer.sizeof()) == (45, 13)
