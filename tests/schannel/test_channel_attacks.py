"""A hostile network, a hostile relay and hostile ends: a typed error, a dead session, and nothing said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schannel import layouts
from schannel.endings import CloseReason
from schannel.errors import (
    DecryptError,
    EvidenceError,
    EvidenceReason,
    FlowControlError,
    HandshakeError,
    LocalError,
    MessageError,
    PolicyError,
    RemoteError,
    Truncated,
)
from schannel.events import PeerClosed
from schannel.flow import INITIAL_CREDIT
from schannel.framing import MAGIC, encode_record
from schannel.handshake import ClientHandshake, EnclaveHandshake, Suite, encode_prologue, identity_key
from schannel.messages import (
    CallRequest,
    ErrorCode,
    ErrorReply,
    GetRequest,
    GetResult,
    PutRequest,
    PutResult,
    encode,
)
from schannel.records import RecordKind
from schannel.session import State

CALL = CallRequest("m", "f")


def _fails(session: Any, stream: bytes, error: type[RemoteError] = RemoteError) -> RemoteError:
    """The stream, or its end, must kill the session without an event or an answer."""
    failure = _dies(session, stream, error)
    assert session.data_to_send() == b""
    return failure


def _dies(session: Any, stream: bytes, error: type[RemoteError]) -> RemoteError:
    with pytest.raises(error) as failure:
        assert session.receive_data(stream) == []
        session.receive_eof()
    assert session.state is State.DEAD
    with pytest.raises(LocalError):
        session.receive_data(b"")
    return failure.value


def _open(make_pair: Any, **options: Any) -> Any:
    pair = make_pair(**options)
    pair.open()
    return pair


def _three_records(pair: Any) -> list[bytes]:
    for name in "abc":
        pair.client.send_request(GetRequest(name))
    records: list[bytes] = pair.split(pair.client.data_to_send())
    assert len(records) == 3
    return records


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 7))
def test_any_flipped_bit(make_pair: Any, position: int, bit: int) -> None:
    pair = _open(make_pair)
    pair.client.send_request(CALL)
    record = bytearray(pair.client.data_to_send())
    record[position % len(record)] ^= 1 << bit
    _fails(pair.enclave, bytes(record))


@pytest.mark.parametrize(
    "change",
    [
        lambda a, b, c: [b, c],
        lambda a, b, c: [b, a, c],
        lambda a, b, c: [c],
        lambda a, b, c: [a[:-1]],
        lambda a, b, c: [a[:1]],
        lambda a, b, c: [a[:2] + a[3:] + b],
        lambda a, b, c: [a[:20] + b[20:]],
    ],
)
def test_records_dropped_reordered_cut_or_spliced(make_pair: Any, change: Callable[..., list[bytes]]) -> None:
    pair = _open(make_pair)
    _fails(pair.enclave, b"".join(change(*_three_records(pair))))


def test_a_repeated_record(make_pair: Any) -> None:
    pair = _open(make_pair)
    first, *_ = _three_records(pair)
    assert len(pair.enclave.receive_data(first)) == 1
    _fails(pair.enclave, first, DecryptError)


def test_truncation_between_records(make_pair: Any) -> None:
    pair = _open(make_pair)
    first, *_ = _three_records(pair)
    assert len(pair.enclave.receive_data(first)) == 1
    _fails(pair.enclave, b"", Truncated)


def test_half_a_message_is_never_shown(make_pair: Any) -> None:
    pair = _open(make_pair)
    pair.enclave.receive_data(b"")
    number = pair.client.send_request(GetRequest("f"))
    pair.pump()
    pair.enclave.send_reply(number, GetResult(200_000, bytes(200_000)))
    first, second, *_ = pair.split(pair.enclave.data_to_send())
    assert pair.client.receive_data(first + second) == []
    _fails(pair.client, b"", Truncated)


def test_records_reflected_or_from_another_session(make_pair: Any) -> None:
    pair = _open(make_pair)
    pair.client.send_request(CALL)
    _fails(pair.client, pair.client.data_to_send(), DecryptError)
    pair, other = _open(make_pair), _open(make_pair)
    other.client.send_request(CALL)
    _fails(pair.enclave, other.client.data_to_send(), DecryptError)


def test_sessions_swapped_by_the_host(make_pair: Any) -> None:
    first, second = _open(make_pair), _open(make_pair)
    for pair in (first, second):
        number = pair.client.send_request(CALL)
        pair.enclave.receive_data(pair.client.data_to_send())
        pair.enclave.send_reply(number, ErrorReply(ErrorCode.INTERNAL, "x"))
    _fails(first.client, second.enclave.data_to_send(), DecryptError)


@pytest.mark.parametrize("position", range(8))
def test_an_altered_prologue(make_pair: Any, position: int) -> None:
    pair = make_pair()
    stream = bytearray(pair.client.data_to_send())
    stream[position] ^= 3
    _fails(pair.enclave, bytes(stream), HandshakeError)


@pytest.mark.parametrize("suite", Suite)
def test_an_altered_handshake(make_pair: Any, suite: Suite) -> None:
    size = len(make_pair(suite=suite).client.data_to_send())
    for position in range(8, size, 5):
        pair = make_pair(suite=suite)
        stream = bytearray(pair.client.data_to_send())
        stream[position] ^= 1
        try:
            pair.answer(pair.enclave.receive_data(bytes(stream)))
        except RemoteError:
            assert pair.enclave.data_to_send() == b""
            continue
        _fails(pair.client, pair.enclave.data_to_send())


def test_an_altered_answer(make_pair: Any) -> None:
    pair = make_pair()
    size = len(pair.split(pair.offer())[0])
    for position in range(0, size, 3):
        pair = make_pair()
        stream = bytearray(pair.offer())
        stream[position] ^= 1
        _fails(pair.client, bytes(stream))


def test_the_suite_is_part_of_the_transcript() -> None:
    """Even an enclave that could be talked into reading another prologue gets another hash."""
    client = ClientHandshake(Suite.X25519_SHA256)
    first = client.start()[8 + 2 :]
    enclave = EnclaveHandshake(encode_prologue(Suite.X25519_SHA256))
    enclave._noise._symmetric.mix_hash(b"another prologue")
    answer, _ = enclave.respond(first)
    with pytest.raises(DecryptError):
        client.finish(answer[2:])


def test_a_suite_that_is_not_accepted() -> None:
    accepted = frozenset([Suite.P384_SHA384])
    with pytest.raises(HandshakeError, match="suite 1 is not accepted"):
        EnclaveHandshake(encode_prologue(Suite.X25519_SHA256), accepted)
    with pytest.raises(HandshakeError, match="version 9"):
        EnclaveHandshake(MAGIC + b"\x09\x01\0\0")


def test_a_handshake_payload_is_refused() -> None:
    client = ClientHandshake(Suite.X25519_SHA256)
    enclave = EnclaveHandshake(encode_prologue(Suite.X25519_SHA256))
    with pytest.raises(HandshakeError, match="payload"):
        enclave.respond(client._noise.write_message(b"early"))


def test_a_relay_that_terminates_the_channel(make_pair: Any) -> None:
    """Genuine evidence that the attacker fetched over a connection of their own names that connection."""
    genuine = make_pair()
    evidence = genuine.monitor.attest(
        b"\x02" * 64, genuine.enclave.receive_data(genuine.client.data_to_send())[0].data
    )
    victim = make_pair()
    victim.enclave.receive_data(victim.client.data_to_send())
    victim.enclave.send_evidence(evidence.to_compact())
    error = _fails(victim.client, victim.enclave.data_to_send(), EvidenceError)
    assert isinstance(error, EvidenceError)
    assert error.reason is EvidenceReason.HANDSHAKE


def test_evidence_of_another_enclave(make_pair: Any) -> None:
    pair = make_pair()
    (required,) = pair.enclave.receive_data(pair.client.data_to_send())
    pair.enclave.send_evidence(pair.monitor.attest(b"\x06" * 64, required.data).to_raw())
    error = _dies(pair.client, pair.enclave.data_to_send(), PolicyError)
    assert isinstance(error, PolicyError)
    assert error.rule == "enclave.measurements"
    # One record, which says that and nothing else.
    said = pair.client.data_to_send()
    assert len(pair.split(said)) == 1 and pair.client.data_to_send() == b""
    assert not pair.enclave.confirmed
    assert pair.enclave.receive_data(said) == [PeerClosed(CloseReason.REFUSED)]
    assert pair.enclave.confirmed


def test_evidence_that_never_comes(make_pair: Any) -> None:
    pair = make_pair()
    pair.enclave.receive_data(pair.client.data_to_send())
    assert pair.client.receive_data(pair.enclave.data_to_send()) == []
    pair.enclave._seal(RecordKind.CREDIT, layouts.CREDIT.build({"amount": 256}))
    _fails(pair.client, bytes(pair.enclave._out), MessageError)


def test_the_clients_own_first_message_reflected(make_pair: Any) -> None:
    pair = make_pair()
    stream = pair.client.data_to_send()
    _fails(pair.client, stream[8:], HandshakeError)


def test_a_client_that_does_not_wait_for_evidence(make_pair: Any) -> None:
    pair = make_pair()
    pair.enclave.receive_data(pair.client.data_to_send())
    pair.client.receive_data(pair.enclave.data_to_send())
    pair.client._seal(RecordKind.CREDIT, layouts.CREDIT.build({"amount": 256}))
    _fails(pair.enclave, bytes(pair.client._out), MessageError)


def test_identity_of_another_connection(make_pair: Any) -> None:
    key = identity_key(b"\x0b" * 32)
    first, second = make_pair(identity=key), make_pair()
    bodies = []
    first.client._seal = lambda kind, body: bodies.append((kind, body))
    first.client.receive_data(first.offer())
    second.client.receive_data(second.offer())
    second.client._out.clear()
    second.client._writer._cipher.n = 0
    second.client._seal(*bodies[0])
    _fails(second.enclave, bytes(second.client._out), HandshakeError)


def test_identity_comes_first_or_never(make_pair: Any) -> None:
    pair = _open(make_pair)
    pair.client._seal(RecordKind.IDENTITY, bytes(96))
    _fails(pair.enclave, bytes(pair.client._out), MessageError)


def _chunk(
    kind: int = GetRequest.type_byte, last: int = 1, request: int = 1, data: bytes = b"\0\x01f"
) -> bytes:
    return layouts.CHUNK.build({"type": kind, "last": last, "request": request, "data": data})


AUTHENTIC_NONSENSE = {
    "unknown kind": [(99, b"")],
    "evidence from a client": [(RecordKind.EVIDENCE, bytes(328))],
    "unknown message type": [(RecordKind.MESSAGE, _chunk(kind=77))],
    "unknown request type": [(RecordKind.MESSAGE, _chunk(kind=0))],
    "a reply": [(RecordKind.MESSAGE, _chunk(kind=GetResult.type_byte, data=bytes(4)))],
    "wrong number": [(RecordKind.MESSAGE, _chunk(request=2))],
    "number again": [(RecordKind.MESSAGE, _chunk()), (RecordKind.MESSAGE, _chunk())],
    "trailing bytes": [(RecordKind.MESSAGE, _chunk(data=b"\0\x01fx"))],
    "lying length": [(RecordKind.MESSAGE, _chunk(data=b"\xff\xfff"))],
    "odd last mark": [(RecordKind.MESSAGE, _chunk(last=2))],
    "short chunk": [(RecordKind.MESSAGE, b"\x06\x01")],
    "empty chunk": [(RecordKind.MESSAGE, _chunk(last=0, data=b""))],
    "empty last chunk": [
        (RecordKind.MESSAGE, _chunk(last=0)),
        (RecordKind.MESSAGE, _chunk(last=1, data=b"")),
    ],
    "interleaved": [(RecordKind.MESSAGE, _chunk(last=0)), (RecordKind.MESSAGE, _chunk(request=2))],
    "other type": [
        (RecordKind.MESSAGE, _chunk(last=0)),
        (RecordKind.MESSAGE, _chunk(kind=PutRequest.type_byte)),
    ],
    "credit of zero": [(RecordKind.CREDIT, bytes(4))],
    "credit beyond counting": [(RecordKind.CREDIT, b"\x7f\xff\xff\xff")],
    "short credit": [(RecordKind.CREDIT, b"\x01")],
    "unknown close reason": [(RecordKind.CLOSE, b"\x63")],
    "empty close": [(RecordKind.CLOSE, b"")],
    "after the close": [(RecordKind.CLOSE, b"\0"), (RecordKind.CREDIT, b"\0\0\1\0")],
}


@pytest.mark.parametrize("records", AUTHENTIC_NONSENSE.values(), ids=AUTHENTIC_NONSENSE.keys())
def test_authentic_nonsense_from_a_client(make_pair: Any, records: list[tuple[Any, bytes]]) -> None:
    pair = _open(make_pair)
    for kind, body in records:
        pair.client._out += pair.client._writer.seal(kind, body)
    with pytest.raises((MessageError, FlowControlError)):
        pair.enclave.receive_data(bytes(pair.client._out))
    assert pair.enclave.state is State.DEAD
    assert pair.enclave.data_to_send() == b""


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"\x02",
        b"\x02\0\x04\0\0\1\0",
        bytes([2, 0, 4, 0, 0, 1, 0]) + b"\1" * 249,
        bytes([2, 0, 4, 0, 0, 1, 0]) + bytes(505),
        b"\x02\xff\xff" + bytes(253),
    ],
)
def test_records_that_are_not_padded_as_all_are(make_pair: Any, plaintext: bytes) -> None:
    pair = _open(make_pair)
    record = encode_record(pair.client._writer._cipher.encrypt_with_ad(b"", plaintext))
    _fails(pair.enclave, record, MessageError)


def test_more_than_was_granted(make_pair: Any) -> None:
    pair = _open(make_pair)
    pair.enclave._inbox._credit = INITIAL_CREDIT
    pair.client.send_request(CALL)
    pair.enclave._inbox._credit = 255
    _fails(pair.enclave, pair.client.data_to_send(), FlowControlError)


@pytest.mark.parametrize(
    "chunk",
    [
        _chunk(kind=GetResult.type_byte, request=2, data=bytes(4)),
        _chunk(kind=PutResult.type_byte, data=b""),
        _chunk(kind=GetRequest.type_byte, data=b"".join(encode(GetRequest("f")))),
        _chunk(kind=GetResult.type_byte, data=bytes(5)),
    ],
    ids=["other request", "other type", "a request", "trailing bytes"],
)
def test_replies_are_bound_to_their_requests(make_pair: Any, chunk: bytes) -> None:
    pair = _open(make_pair)
    pair.client.send_request(GetRequest("f"))
    pair.pump()
    pair.enclave._seal(RecordKind.MESSAGE, chunk)
    _fails(pair.client, bytes(pair.enclave._out), MessageError)


def test_a_second_reply(make_pair: Any) -> None:
    pair = _open(make_pair)
    number = pair.client.send_request(GetRequest("f"))
    pair.pump()
    pair.enclave.send_reply(number, GetResult(0, b""))
    pair.pump()
    pair.enclave._seal(RecordKind.MESSAGE, _chunk(kind=GetResult.type_byte, data=bytes(4)))
    _fails(pair.client, bytes(pair.enclave._out), MessageError)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_to_a_fresh_enclave(make_pair: Any, data: bytes) -> None:
    _fails(make_pair().enclave, data)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_after_a_good_prologue(make_pair: Any, data: bytes) -> None:
    pair = make_pair()
    try:
        assert len(pair.enclave.receive_data(encode_prologue(Suite.X25519_SHA256) + data)) <= 1
        pair.enclave.receive_eof()
    except RemoteError:
        assert pair.enclave.data_to_send() == b""


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_to_a_client(make_pair: Any, data: bytes) -> None:
    _fails(make_pair().client, data)


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_random_bytes_on_an_open_channel(make_pair: Any, data: bytes) -> None:
    _fails(_open(make_pair).client, data)


def test_no_error_repeats_what_came(make_pair: Any) -> None:
    canary = b"CANARY-7261"
    pair = _open(make_pair)
    seal = pair.client._writer.seal
    pair.client._writer.seal = lambda kind, chunk: seal(kind, bytes([PutRequest.type_byte]) + chunk[1:])
    pair.client.send_request(GetRequest(canary.decode()))
    error = _fails(pair.enclave, pair.client.data_to_send(), MessageError)
    while error is not None:
        assert "CANARY" not in str(error)
        error = error.__cause__  # type: ignore[assignment]
