"""The fast path of small calls: it gives what the general path gives, or declines."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schannel import fast
from schannel.errors import LocalError, MessageError, ProtocolError
from schannel.events import ReplyReceived, RequestReceived
from schannel.flow import Dropped, Inbox, Limits
from schannel.messages import (
    CallRequest,
    CallResult,
    InfoRequest,
    Message,
    Value,
    ValueType,
    decode,
    encode,
)
from schannel.records import CHUNK_HEAD, PADDING, RecordKind, split

built = pytest.mark.skipif(not fast.available, reason="the channel's fast path is not built")

NUMBERS = st.one_of(
    st.builds(Value, st.sampled_from([ValueType.I32, ValueType.F32]), st.integers(0, 2**32 - 1)),
    st.builds(Value, st.sampled_from([ValueType.I64, ValueType.F64]), st.integers(0, 2**64 - 1)),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
REQUESTS = st.builds(
    CallRequest,
    NAMES,
    NAMES,
    st.lists(NUMBERS, max_size=30).map(tuple),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
)
RESULTS = st.builds(CallResult, st.lists(NUMBERS, max_size=30).map(tuple), st.integers(0, 2**64 - 1))
REQUEST_NUMBERS = st.integers(0, 2**32 - 1)


def _plaintext(number: int, message: Message) -> bytes:
    """The one record of a message, as the layouts give it, without its limit of size."""
    chunk = CHUNK_HEAD.pack(message.type_byte, 1, number) + b"".join(encode(message))
    content = bytes([RecordKind.MESSAGE]) + len(chunk).to_bytes(2, "big") + chunk
    return content + bytes(-len(content) % PADDING)


def _by_the_layouts(plaintext: bytes) -> tuple[int, Message] | None:
    """A plaintext's number and whole message by the general path; None where that refuses, or it is none."""
    try:
        kind, chunk = split(plaintext)
        if kind is not RecordKind.MESSAGE or (whole := Inbox(Limits()).receive_chunk(chunk)) is None:
            return None
        assert not isinstance(whole.body, Dropped)
        return whole.number, decode(whole.type, whole.body)
    except ProtocolError:
        return None


def test_the_fast_path_is_there_where_it_is_built() -> None:
    assert fast.available == (importlib.util.find_spec("schannel._fast") is not None)


@built
@given(REQUEST_NUMBERS, REQUESTS | RESULTS)
def test_it_writes_and_reads_what_the_layouts_do(number: int, message: CallRequest | CallResult) -> None:
    plaintext = _plaintext(number, message)
    assert fast.body(message) == b"".join(encode(message))
    if len(plaintext) == PADDING:
        assert fast.write(number, message) == plaintext
        event = RequestReceived if isinstance(message, CallRequest) else ReplyReceived
        read = fast.read(plaintext)
        assert (type(read), read) == (event, event(number, message))  # type: ignore[arg-type]
    else:
        assert fast.write(number, message) is None
        assert fast.read(plaintext) is None


@built
@settings(max_examples=500)
@given(
    REQUEST_NUMBERS,
    REQUESTS | RESULTS,
    st.lists(st.tuples(st.integers(0, PADDING - 1), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_whatever_it_reads_the_layouts_read(
    number: int, message: CallRequest | CallResult, changes: list[tuple[int, int]]
) -> None:
    changed = bytearray(_plaintext(number, message)[:PADDING])
    for at, byte in changes:
        changed[at] = byte
    read = fast.read(bytes(changed))
    general = _by_the_layouts(bytes(changed))
    if read is not None:
        assert read == general
    elif general is not None:
        # Only messages of other types, and vectors, are left to the layouts.
        plain = isinstance(general[1], CallRequest | CallResult)
        assert not plain or any(value.type is ValueType.V128 for value in _values(general[1]))


def _values(message: Any) -> tuple[Value, ...]:
    values: tuple[Value, ...] = message.arguments if isinstance(message, CallRequest) else message.values
    return values


@built
@given(st.binary(max_size=300))
def test_bytes_that_are_no_plaintext_are_declined(data: bytes) -> None:
    assert fast.read(data) is None or fast.read(data) == _by_the_layouts(data)


class _Number(int):
    """A number of a type of its own."""


@built
@pytest.mark.parametrize(
    "message",
    [
        InfoRequest("main"),
        CallRequest("main", "f", (Value.v128(bytes(16)),)),
        CallRequest("main", "\ud800"),
        CallRequest("main", "f", (), -1),
        CallRequest("main", "f", (), 2**64),
        CallRequest("main", "f", (), 0, 2**32),
        CallRequest("main", "f", [Value.i32(1)]),  # type: ignore[arg-type]
        CallRequest("main", "f", ((ValueType.I32, 1),)),  # type: ignore[arg-type]
        CallRequest("main", b"f"),  # type: ignore[arg-type]
        CallRequest("main", "f", (), "1"),  # type: ignore[arg-type]
        CallRequest("f" * 70_000, "f"),
        CallResult((), -1),
        CallResult(None, 0),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_plain_is_declined(message: Any) -> None:
    assert fast.write(1, message) is None
    assert fast.body(message) is None


@built
def test_numbers_of_other_types_count_as_numbers() -> None:
    request = CallRequest("main", "f", (), _Number(7), _Number(8))
    assert fast.write(1, request) == _plaintext(1, request)


@pytest.mark.parametrize("path", ["fast", "general"])
def test_both_paths_carry_the_same_conversation(
    make_pair: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    if path == "general":
        for name in ("write", "read", "body"):
            monkeypatch.setattr(fast, name, fast.decline)
    pair = make_pair()
    pair.open()
    for turn in range(1, 400):
        # Every third request, and every fifth result, is more than one small record.
        request = CallRequest("main", "f", (Value.i32(turn),) * (100 if turn % 3 == 0 else 2), turn, 5)
        reply = CallResult((Value.i64(turn),) * (100 if turn % 5 == 0 else 1), turn)
        assert pair.client.send_request(request) == turn
        assert pair.pump() == [RequestReceived(turn, request)]
        assert pair.enclave.buffered > 0
        pair.enclave.send_reply(turn, reply)
        assert pair.pump() == [ReplyReceived(turn, reply)]
        assert pair.enclave.buffered == pair.client.buffered == 0


@pytest.mark.parametrize("reader", ["fast", "general"])
@pytest.mark.parametrize("writer", ["fast", "general"])
def test_the_paths_understand_each_other(
    make_pair: Any, monkeypatch: pytest.MonkeyPatch, writer: str, reader: str
) -> None:
    pair = make_pair()
    pair.open()
    if writer == "general":
        monkeypatch.setattr(fast, "write", fast.decline)
    if reader == "general":
        monkeypatch.setattr(fast, "read", fast.decline)
    request = CallRequest("main", "add", (Value.i32(1), Value.i32(2)))
    pair.client.send_request(request)
    assert pair.pump() == [RequestReceived(1, request)]


@pytest.mark.parametrize("path", ["fast", "general"])
def test_a_call_out_of_turn_is_refused_on_both_paths(
    make_pair: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    if path == "general":
        for name in ("write", "read"):
            monkeypatch.setattr(fast, name, fast.decline)
    pair = make_pair()
    pair.open()
    pair.client._last_number = 4
    pair.client.send_request(CallRequest("main", "f"))
    with pytest.raises(MessageError, match="do not count up"):
        pair.enclave.receive_data(pair.client.data_to_send())


def test_a_message_in_progress_lets_no_small_one_in(make_pair: Any) -> None:
    pair = make_pair()
    pair.open()
    chunk = CHUNK_HEAD.pack(CallRequest.type_byte, 0, 1) + b"beginning"
    pair.client._seal(RecordKind.MESSAGE, chunk)
    pair.client.send_request(CallRequest("main", "f"))
    with pytest.raises(MessageError):
        pair.enclave.receive_data(pair.client.data_to_send())


INTEGERS = (ValueType.I32, ValueType.I64)
MAKE = {ValueType.I32: Value.i32, ValueType.I64: Value.i64}


@built
@given(st.lists(st.tuples(st.sampled_from(INTEGERS), st.integers(-(2**65), 2**65)), max_size=5))
def test_integers_become_values_and_back(pairs: list[tuple[ValueType, int]]) -> None:
    kinds, numbers = tuple(kind for kind, _ in pairs), tuple(number for _, number in pairs)
    try:
        expected = tuple(MAKE[kind](number) for kind, number in pairs)
    except LocalError:
        assert fast.values(kinds, numbers) is None
        return
    made = fast.values(kinds, numbers)
    assert made == fast.values(kinds, list(numbers)) == expected
    assert all(type(value) is Value for value in made or ())
    assert fast.bits(kinds, expected) == [value.bits for value in expected]
    assert fast.numbers(expected) == [value.to_python() for value in expected]


@built
def test_what_are_no_integers_is_left_to_python() -> None:
    one, half = Value.i32(1), Value.f64(0.5)
    for kinds, numbers in [
        ((ValueType.I32,), (True,)),
        ((ValueType.I32,), (1.0,)),
        ((ValueType.F64,), (1,)),
        ((None,), (1,)),
        ((ValueType.I32,), ()),
        ((), (1,)),
    ]:
        assert fast.values(kinds, numbers) is None
    assert fast.bits((ValueType.I64,), (one,)) is None
    assert fast.bits((), (one,)) is None
    assert fast.bits((ValueType.I32,), [one]) is None
    assert fast.bits((ValueType.I32,), ((ValueType.I32, 1),)) is None  # type: ignore[arg-type]
    assert fast.numbers((one, half)) is None
    assert fast.numbers([one]) is None
