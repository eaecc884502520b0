"""Messages: every type goes there and back, values keep their bits, and nothing else is a message."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schannel import messages
from schannel.errors import FlowControlError, LocalError, MessageError
from schannel.flow import INITIAL_CREDIT, MAX_CREDIT, Inbox, Limits, Outbox
from schannel.messages import (
    MESSAGES,
    CallRequest,
    CallResult,
    DeployRequest,
    DeployResult,
    ErrorCode,
    ErrorReply,
    ExportInfo,
    ForgetRequest,
    ForgetResult,
    GetRequest,
    GetResult,
    InfoRequest,
    InfoResult,
    Message,
    PutRequest,
    PutResult,
    ReadRequest,
    ReadResult,
    ReceiptRequest,
    ReceiptResult,
    RestoreRequest,
    RestoreResult,
    RunRequest,
    RunResult,
    SealRequest,
    SealResult,
    TraceFrame,
    Value,
    ValueType,
    WriteRequest,
    WriteResult,
    decode,
    unsupported,
)
from schannel.types import (
    FuncType,
    GlobalType,
    HeapType,
    MemoryType,
    ReferenceType,
    TableType,
    TagType,
)


def encode(message: Message) -> bytes:
    return b"".join(messages.encode(message))


VALUES = (Value.i32(-1), Value.i64(2**63), Value.f32(1.5), Value.f64(-0.0), Value.v128(bytes(range(16))))
OWN = ReferenceType(False, "(func (param i32))")
EXPORTS = (
    ExportInfo("f", FuncType((ValueType.I32, OWN), (ValueType.V128, ReferenceType(True, HeapType.EXTERN)))),
    ExportInfo("t", TableType(1, None, False, ReferenceType(True, HeapType.FUNC))),
    ExportInfo("m", MemoryType(1, 2**48, True, 1)),
    ExportInfo("g", GlobalType(ValueType.F32, True)),
    ExportInfo("e", TagType((ValueType.F64,))),
)
EXAMPLES: list[Message] = [
    DeployRequest("calculator", b"\0asm"),
    DeployResult(b"\x01" * 32),
    CallRequest("calculator", "addé", VALUES, fuel=2**64 - 1, timeout_ms=1000),
    CallResult(VALUES, 7),
    InfoRequest(),
    InfoResult("1.0", "python", ("a", "b"), EXPORTS),
    RunRequest("m", ("a", ""), (("KEY", "value"), ("", "")), b"in", 1, 2),
    RunResult(2**32 - 1, b"out", b"err", 3),
    PutRequest("path", b"content"),
    PutResult(7),
    GetRequest("path", 1, 2),
    GetResult(2, b""),
    WriteRequest("m", 2**63, b"content", "memory"),
    WriteResult(),
    ReadRequest("m", 2**63, 5, "memory"),
    ReadResult(b"content"),
    ReceiptRequest(5),
    ReceiptResult(b"receipt"),
    SealRequest("label", b"module", 6),
    SealResult(b"\x01" * 32, 7),
    RestoreRequest("label", "m", 6, b"\x02" * 32),
    RestoreResult(b"\x01" * 32, 7),
    ForgetRequest("label"),
    ForgetResult(),
    ErrorReply(ErrorCode.TRAP, "unreachable", (TraceFrame("m", 3, "f", 99),)),
    ErrorReply(ErrorCode.TRAP, "unreachable", (), b"out", b"err"),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_there_and_back(message: Message) -> None:
    body = encode(message)
    assert decode(message.type_byte, body) == message
    with pytest.raises(MessageError):
        decode(message.type_byte, body + b"\0")
    for size in range(len(body)):
        with pytest.raises(MessageError):
            decode(message.type_byte, body[:size])


NUMBERS = st.one_of(
    st.integers(-(2**31), 2**32 - 1).map(Value.i32),
    st.integers(-(2**63), 2**64 - 1).map(Value.i64),
    st.floats(width=32).map(Value.f32),
    st.floats().map(Value.f64),
    st.binary(min_size=16, max_size=16).map(Value.v128),
)
CALLS = st.one_of(
    st.builds(
        CallRequest,
        st.text(max_size=9),
        st.text(max_size=9),
        st.lists(NUMBERS, max_size=4).map(tuple),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**32 - 1),
    ),
    st.builds(CallResult, st.lists(NUMBERS, max_size=4).map(tuple), st.integers(0, 2**64 - 1)),
)


@settings(deadline=None)
@given(CALLS, st.data())
def test_a_damaged_call_is_another_call_or_none(
    message: CallRequest | CallResult, data: st.DataObject
) -> None:
    body = encode(message)
    assert decode(message.type_byte, body) == message
    damaged = bytearray(body)
    damaged[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(body)))] + data.draw(st.binary(max_size=2)))
    for other in (bytes(damaged), cut):
        try:
            read = decode(message.type_byte, other)
        except MessageError:
            continue
        assert (type(read), encode(read)) == (type(message), other)


def test_every_type_has_an_example() -> None:
    assert {message.type_byte for message in EXAMPLES} == set(MESSAGES)


@settings(deadline=None)
@given(st.sampled_from(sorted(MESSAGES)), st.binary(max_size=200))
def test_random_bytes_give_only_our_error(kind: int, body: bytes) -> None:
    try:
        message = decode(kind, body)
    except MessageError:
        return
    assert encode(message) == body or kind == ErrorReply.type_byte


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (DeployRequest.type_byte, b"\0\0\xff\xff\xff\xff" + b"x" * 10),
        (DeployRequest.type_byte, b"\0\0\x80\0\0\0" + b"x" * 10),
        (CallRequest.type_byte, b"\0\0\0\0\xff\xff" + b"\x7f\0\0\0\0" * 3),
        (InfoResult.type_byte, b"\0\0\0\0\0\0\xff\xff\xff\xff" + bytes(50)),
    ],
)
def test_lying_lengths_allocate_nothing(kind: int, body: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(MessageError):
        decode(kind, body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (CallResult.type_byte, b"\0\x01\x70\0\0\0\0" + bytes(8)),
        (ErrorReply.type_byte, b"\0\0\0\0\0"),
        (GetRequest.type_byte, b"\0\x01\xff"),
        (InfoResult.type_byte, b"\0\0\0\0\0\0\0\0\0\x01\0\0\x09\0\0"),
    ],
)
def test_unknown_numbers_and_bad_text(kind: int, body: bytes) -> None:
    with pytest.raises(MessageError):
        decode(kind, body)


@pytest.mark.parametrize(
    "message", [GetRequest("x" * 65536), GetRequest("\ud800"), DeployResult(b""), ReceiptRequest(-1)]
)
def test_fields_that_do_not_fit(message: Message) -> None:
    with pytest.raises(LocalError):
        encode(message)


def test_errors_are_cut_to_what_can_be_sent() -> None:
    frame = TraceFrame("é" * 10000, 0, "f" * 10000, 0)
    reply = decode(
        ErrorReply.type_byte, encode(ErrorReply(ErrorCode.TRAP, "\ud800" + "é" * 10000, (frame,) * 1000))
    )
    assert isinstance(reply, ErrorReply)
    assert len(reply.backtrace) == 128
    assert len(reply.message.encode()) <= 4096
    assert reply.backtrace[0].function_name == "f" * 4096


def test_unsupported() -> None:
    reply = unsupported(SealRequest("l", b""))
    assert reply.code is ErrorCode.UNSUPPORTED
    assert "seal" in reply.message


def test_values_as_python_shows_them() -> None:
    assert [value.to_python() for value in VALUES] == [-1, -(2**63), 1.5, -0.0, bytes(range(16))]
    assert math.copysign(1, VALUES[3].to_python()) == -1  # type: ignore[arg-type]
    assert Value.i32(2**32 - 1) == Value.i32(-1)
    assert Value.f32(1e300).to_python() == math.inf
    assert Value.f32(-1e300).to_python() == -math.inf
    signalling = Value(ValueType.F32, 0x7FA00001)
    assert decode(CallResult.type_byte, encode(CallResult((signalling,)))) == CallResult((signalling,))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Value.i32(2**32),
        lambda: Value.i32(-(2**31) - 1),
        lambda: Value.v128(bytes(15)),
        lambda: Value(ValueType.F64, -1),
        lambda: Value(ValueType.F32, 2**32),
    ],
)
def test_values_out_of_range(make: Any) -> None:
    with pytest.raises(LocalError):
        make()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=2000), max_size=5), st.lists(st.integers(1, 5000), max_size=20))
def test_chunks_arrive_whole_under_any_credit(bodies: list[bytes], grants: list[int]) -> None:
    outbox, inbox, seen = Outbox(), Inbox(Limits()), []
    for number, body in enumerate(bodies, 1):
        outbox.put(DeployRequest.type_byte, number, [body[:7], body[7:]])
    outbox._credit = 0
    while outbox.queue:
        outbox.add_credit(grants.pop() if grants else 5000)
        while (chunk := outbox.next_chunk()) is not None:
            message = inbox.receive_chunk(chunk)
            if message is not None:
                seen.append(message.body)
                inbox.held -= message.size
            inbox.grant()
        assert 0 <= outbox._credit < 256 or not outbox.queue
    assert seen == bodies
    assert inbox.buffered == 0


def test_limits_and_grants() -> None:
    for window in (INITIAL_CREDIT - 1, MAX_CREDIT + 1):
        with pytest.raises(LocalError):
            Limits(window=window)
    with pytest.raises(LocalError):
        Limits(max_message=0)
    for amount in (0, MAX_CREDIT):
        with pytest.raises(FlowControlError):
            Outbox().add_credit(amount)


def test_types_are_shown_as_text() -> None:
    assert [str(export.type) for export in EXPORTS] == [
        "(func (param i32 (ref (func (param i32)))) (result v128 externref))",
        "i32 1 funcref",
        "i64 1 281474976710656 (pagesize 1)",
        "(mut f32)",
        "(func (param f64))",
    ]
    assert str(ReferenceType(True, HeapType.NONE)) == "nullref"
    assert str(ReferenceType(False, HeapType.ANY)) == "(ref any)"
    assert str(FuncType()) == "(func)"
