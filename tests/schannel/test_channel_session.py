"""Sessions between honest ends: order of events, any split, flow control, rekeying, closing, erasing."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schannel.endings import CloseReason
from schannel.errors import DecryptError, LocalError, MessageError, NonceExhausted, Truncated
from schannel.events import (
    ClientIdentified,
    EnclaveVerified,
    Event,
    EvidenceRequired,
    PeerClosed,
    ReplyReceived,
    RequestReceived,
)
from schannel.evidence import Isolation
from schannel.flow import INITIAL_CREDIT, Limits
from schannel.handshake import Suite, identity_key
from schannel.messages import (
    CallRequest,
    CallResult,
    DeployRequest,
    DeployResult,
    ErrorCode,
    ErrorReply,
    GetRequest,
    GetResult,
    Request,
    Value,
)
from schannel.noise import MAX_NONCE
from schannel.records import PADDING, RekeyInterval
from schannel.session import ClientSession, EnclaveClaims, State

CALL = CallRequest("m", "add", (Value.i32(1), Value.i32(2)))
RESULT = CallResult((Value.i32(3),), 4)


@pytest.mark.parametrize("suite", Suite)
def test_a_whole_conversation(make_pair: Any, suite: Suite) -> None:
    key = identity_key(b"\x0b" * 32)
    pair = make_pair(identity=key, suite=suite)
    assert pair.client.state is State.HANDSHAKE
    (verified,) = pair.client.receive_data(pair.offer())
    assert isinstance(verified, EnclaveVerified)
    assert (verified.simulated, verified.version) == (True, (1, 2, 3))
    assert verified.isolation == ("rlimits", "seccomp")
    assert pair.client.handshake_hash == pair.enclave.handshake_hash != b""
    assert pair.enclave.receive_data(pair.client.data_to_send()) == [ClientIdentified(key.public)]
    number = pair.client.send_request(CALL)
    assert pair.pump() == [RequestReceived(number, CALL)]
    pair.enclave.send_reply(number, RESULT)
    assert pair.pump() == [ReplyReceived(number, RESULT)]
    error = ErrorReply(ErrorCode.TRAP, "unreachable")
    number = pair.client.send_request(CALL)
    pair.pump()
    pair.enclave.send_reply(number, error)
    assert pair.pump() == [ReplyReceived(number, error)]
    pair.client.close()
    assert pair.pump() == [PeerClosed(CloseReason.DONE), PeerClosed(CloseReason.DONE)]
    assert pair.client.state is pair.enclave.state is State.CLOSED
    pair.client.receive_eof()
    pair.enclave.receive_eof()


def test_the_client_is_silent_until_it_has_verified(make_pair: Any) -> None:
    pair = make_pair(identity=identity_key(b"\x0b" * 32))
    offer = pair.offer()
    handshake, evidence, *_ = pair.split(offer)
    assert pair.client.receive_data(handshake) == []
    assert pair.client.state is State.EVIDENCE
    assert pair.client.data_to_send() == b""
    with pytest.raises(LocalError):
        pair.client.send_request(CALL)
    pair.client.receive_data(evidence)
    assert pair.client.data_to_send() != b""


def test_an_anonymous_client(make_pair: Any) -> None:
    pair = make_pair()
    pair.open()
    pair.client.send_request(CALL)
    assert pair.pump() == [RequestReceived(1, CALL)]


def test_requests_may_be_answered_in_any_order(make_pair: Any) -> None:
    pair = make_pair()
    pair.open()
    numbers = [pair.client.send_request(GetRequest(str(i))) for i in range(5)]
    assert len(pair.pump()) == 5
    for number in reversed(numbers):
        pair.enclave.send_reply(number, GetResult(1, str(number).encode()))
    replies = pair.pump()
    assert replies == [ReplyReceived(n, GetResult(1, str(n).encode())) for n in reversed(numbers)]


def _feed(session: Any, stream: bytes, cuts: list[int]) -> list[Any]:
    events = []
    edges = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    for start, end in itertools.pairwise(edges):
        events += session.receive_data(stream[start:end])
    return events


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 1 << 20), max_size=12))
def test_any_split_gives_the_same_events(make_pair: Any, cuts: list[int]) -> None:
    pair = make_pair(identity=identity_key(b"\x0b" * 32))
    (required,) = _feed(pair.enclave, pair.client.data_to_send(), cuts)
    assert isinstance(required, EvidenceRequired)
    pair.answer([required])
    (verified,) = _feed(pair.client, pair.enclave.data_to_send(), cuts)
    assert isinstance(verified, EnclaveVerified)
    requests: list[Request] = [DeployRequest("m", bytes(70000)), CALL]
    for request in requests:
        pair.client.send_request(request)
    identified, *received = _feed(pair.enclave, pair.client.data_to_send(), cuts)
    assert isinstance(identified, ClientIdentified)
    pair.enclave.data_to_send()
    assert received == [] or received[0] == RequestReceived(1, requests[0])


def test_one_byte_at_a_time(make_pair: Any) -> None:
    pair = make_pair()
    (required,) = _feed(pair.enclave, pair.client.data_to_send(), list(range(60)))
    pair.answer([required])
    stream = pair.enclave.data_to_send()
    assert len(_feed(pair.client, stream, list(range(len(stream))))) == 1
    pair.client.send_request(CALL)
    stream = pair.client.data_to_send()
    assert _feed(pair.enclave, stream, list(range(len(stream)))) == [RequestReceived(1, CALL)]


def test_big_messages_both_ways_in_bounded_pieces(make_pair: Any) -> None:
    limits = Limits(max_message=4 << 20, window=INITIAL_CREDIT)
    pair = make_pair(limits=limits)
    pair.open()
    module = bytes(range(256)) * 8192
    number = pair.client.send_request(DeployRequest("m", module))
    largest = 0
    events: list[Event] = []
    while not events:
        up = pair.client.data_to_send()
        largest = max(largest, len(up))
        events += pair.enclave.receive_data(up)
        assert pair.enclave.buffered <= limits.max_message
        pair.client.receive_data(pair.enclave.data_to_send())
    assert events == [RequestReceived(number, DeployRequest("m", module))]
    assert largest < 2 * INITIAL_CREDIT
    assert pair.enclave.buffered > len(module)
    pair.enclave.send_reply(number, DeployResult(bytes(32)))
    assert pair.enclave.buffered == 0
    pair.pump()
    number = pair.client.send_request(GetRequest("f"))
    pair.pump()
    pair.enclave.send_reply(number, GetResult(len(module), module))
    assert pair.pump() == [ReplyReceived(number, GetResult(len(module), module))]


def test_a_slow_receiver_is_not_filled(make_pair: Any) -> None:
    """Requests that nobody answers use up the credit; answers bring it back."""
    limits = Limits(max_message=1000, window=INITIAL_CREDIT)
    pair = make_pair(limits=limits)
    pair.open()
    total = 2 * INITIAL_CREDIT // PADDING
    for index in range(total):
        pair.client.send_request(GetRequest(str(index)))
    received = pair.pump()
    assert len(received) < total * 3 // 4
    assert pair.enclave.buffered <= limits.max_message + limits.window
    answered = 0
    while received:
        for event in received:
            if isinstance(event, RequestReceived):
                pair.enclave.send_reply(event.number, GetResult(0, b""))
                answered += 1
        received = [event for event in pair.pump() if isinstance(event, RequestReceived)]
    assert answered == total


def test_message_limit(make_pair: Any) -> None:
    pair = make_pair(limits=Limits(max_message=1000))
    pair.open()
    with pytest.raises(LocalError, match="1000"):
        pair.client.send_request(DeployRequest("m", bytes(1000)))
    pair.client._limits = Limits()
    number = pair.client.send_request(DeployRequest("m", bytes(3 * INITIAL_CREDIT)))
    (event,) = pair.pump()
    assert event.number == number and event.reply.code is ErrorCode.TOO_LARGE
    assert "1000 bytes" in event.reply.message
    assert pair.enclave.buffered == 0, "nothing is held of what is not wanted"
    number = pair.client.send_request(CALL)
    assert pair.pump() == [RequestReceived(number, CALL)], "and the session goes on"
    pair.enclave._limits = Limits()
    pair.enclave.send_reply(number, ErrorReply(ErrorCode.TRAP, "x" * 2000))
    with pytest.raises(MessageError, match="a reply is longer than the limit"):
        pair.pump()
    assert pair.client.state is State.DEAD


@pytest.mark.parametrize(
    "rekey", [RekeyInterval(records=3), RekeyInterval(records=1), RekeyInterval(plaintext=700)]
)
def test_rekeying_in_step(make_pair: Any, rekey: RekeyInterval) -> None:
    pair = make_pair(rekey=rekey)
    pair.open()
    first = bytes(pair.client._writer._cipher._key)
    for _ in range(10):
        number = pair.client.send_request(CALL)
        pair.pump()
        pair.enclave.send_reply(number, RESULT)
        assert pair.pump() == [ReplyReceived(number, RESULT)]
    assert bytes(pair.client._writer._cipher._key) != first
    assert pair.client._writer._cipher._key == pair.enclave._reader._cipher._key
    assert pair.client._writer._cipher._key != pair.client._reader._cipher._key
    pair.client.send_request(DeployRequest("m", bytes(500_000)))
    assert len(pair.pump()) == 1


def test_ends_that_rekey_differently_notice(make_pair: Any) -> None:
    pair = make_pair(rekey=RekeyInterval(records=4))
    pair.open()
    pair.enclave._reader._rekey = RekeyInterval(records=5)
    for _ in range(10):
        pair.client.send_request(CALL)
    with pytest.raises(DecryptError):
        pair.pump()


def test_the_counters_end(make_pair: Any) -> None:
    pair = make_pair()
    pair.open()
    pair.client._writer._cipher.n = MAX_NONCE
    with pytest.raises(NonceExhausted):
        pair.client.send_request(CALL)
    assert pair.client.state is State.DEAD
    assert pair.client.data_to_send() == b""


def _keys(pair: Any) -> list[bytearray]:
    return [
        direction._cipher._key
        for end in (pair.client, pair.enclave)
        for direction in (end._writer, end._reader)
    ]


def test_keys_are_erased_at_close(make_pair: Any) -> None:
    pair = make_pair()
    pair.open()
    keys = _keys(pair)
    assert all(any(key) for key in keys)
    chaining = pair.client._handshake._noise._symmetric._ck
    assert not any(chaining)
    pair.enclave.close(CloseReason.SHUTDOWN)
    assert PeerClosed(CloseReason.SHUTDOWN) in pair.pump()
    assert not any(any(key) for key in keys)


def test_keys_are_erased_at_failure(make_pair: Any) -> None:
    pair = make_pair()
    pair.open()
    keys = _keys(pair)
    pair.client.abort()
    with pytest.raises(Truncated):
        pair.enclave.receive_eof()
    assert not any(any(key) for key in keys)
    pair.enclave.receive_eof()


@pytest.mark.parametrize("stage", range(4))
def test_an_end_without_close_is_truncation(make_pair: Any, stage: int) -> None:
    pair = make_pair()
    if stage == 1:
        pair.offer()
    elif stage > 1:
        pair.open()
    if stage == 3:
        pair.client.close()
        pair.client.data_to_send()
    for end in (pair.client, pair.enclave):
        with pytest.raises(Truncated):
            end.receive_eof()
        assert end.state is State.DEAD
        assert end.data_to_send() == b""


def test_closing_waits_for_what_is_queued(make_pair: Any) -> None:
    pair = make_pair(limits=Limits(window=INITIAL_CREDIT))
    pair.open()
    request = DeployRequest("m", bytes(300_000))
    pair.client.send_request(request)
    pair.client.close()
    with pytest.raises(LocalError):
        pair.client.send_request(CALL)
    events = pair.pump()
    assert events[0] == RequestReceived(1, request)
    assert pair.client.state is pair.enclave.state is State.CLOSED
    with pytest.raises(LocalError):
        pair.enclave.send_reply(1, DeployResult(bytes(32)))


def test_requests_that_cross_the_enclaves_close_are_dropped(make_pair: Any) -> None:
    pair = make_pair()
    pair.open()
    pair.client.send_request(CALL)
    pair.enclave.close(CloseReason.IDLE)
    assert pair.pump() == [PeerClosed(CloseReason.IDLE), PeerClosed(CloseReason.DONE)]


def test_closing_before_it_is_open_says_nothing(make_pair: Any) -> None:
    pair = make_pair()
    pair.client.close()
    assert pair.client.state is State.DEAD
    assert pair.client.data_to_send() == b""
    with pytest.raises(LocalError):
        pair.client.receive_data(b"x")


def test_local_mistakes_leave_the_session_alive(make_pair: Any) -> None:
    pair = make_pair()
    with pytest.raises(LocalError):
        pair.enclave.send_evidence(b"")
    pair.open()
    with pytest.raises(LocalError):
        pair.enclave.send_evidence(b"")
    with pytest.raises(LocalError):
        pair.enclave.send_reply(1, RESULT)
    number = pair.client.send_request(CALL)
    pair.pump()
    with pytest.raises(LocalError, match="GetResult does not answer a call request"):
        pair.enclave.send_reply(number, GetResult(0, b""))
    pair.enclave.send_reply(number, RESULT)
    with pytest.raises(LocalError):
        pair.enclave.send_reply(number, RESULT)
    pair.client._last_number = 2**32 - 1
    with pytest.raises(LocalError, match="numbers"):
        pair.client.send_request(CALL)
    assert pair.pump() == [ReplyReceived(number, RESULT)]


def test_small_messages_look_alike(make_pair: Any) -> None:
    pair = make_pair()
    pair.open()
    sizes = set()
    for name in ("a", "a much longer name of a function"):
        pair.client.send_request(GetRequest(name))
        sizes.add(len(pair.client.data_to_send()))
    assert len(sizes) == 1


def test_no_two_sessions_share_a_hash(make_pair: Any, policy: Any) -> None:
    hashes = set()
    for _ in range(3):
        pair = make_pair()
        pair.open()
        hashes.add(pair.client.handshake_hash)
    assert len(hashes) == 3
    assert ClientSession(policy).handshake_hash == b""


@pytest.mark.parametrize(("digest", "version"), [(b"", (1, 0, 0)), (bytes(32), (65536, 0, 0))])
def test_claims_that_do_not_fit(digest: bytes, version: tuple[int, int, int]) -> None:
    with pytest.raises(LocalError):
        EnclaveClaims(digest, version, Isolation(0), bytes(32))
