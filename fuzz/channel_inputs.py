"""The channel's parsers as functions of bytes, with inputs that they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fuzz.target import Target
from schannel import control, fast, layouts, storage
from schannel.ed25519_sha3 import ED25519_SHA3
from schannel.endings import CloseReason
from schannel.errors import PolicyFileError, ReceiptError
from schannel.evidence import Claims, Isolation, Report
from schannel.flow import Dropped, Inbox, Limits
from schannel.framing import Refusal, StreamParser, encode_record, encode_refusal
from schannel.handshake import Suite, decode_prologue, encode_prologue, identity_key, verify_identity
from schannel.messages import MESSAGES as MESSAGE_TYPES
from schannel.messages import (
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
    Request,
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
    encode,
)
from schannel.monitor_keys import Monitor
from schannel.policy import Policy, verify_evidence
from schannel.receipts import Receipt, verify_receipt
from schannel.records import PADDING, RecordKind, split
from schannel.session import ClientSession, EnclaveClaims, EnclaveSession, State
from schannel.types import FuncType, HeapType, ReferenceType

HASH, DIGEST = b"\x02" * 64, b"\x03" * 32
_PREPARED = control.Prepared(DIGEST, 1 << 32, ("seccomp", "rlimits"), (control.Missing("landlock", "old"),))
CONTROL: tuple[control.Control, ...] = (
    control.Stop(1, CloseReason.IDLE),
    _PREPARED,
    control.Ready(HASH, HASH, DIGEST, _PREPARED),
    control.Started(1, 4711),
    control.Log(1, "a line"),
    control.Error("it has ended"),
)
DEVICE = ED25519_SHA3.key_from_seed(b"\x07" * 32)
MONITOR = Monitor.boot(DEVICE, b"\x01" * 64)
RECEIPT_KEY = identity_key(b"\x09" * 32)
CLAIMS = EnclaveClaims(DIGEST, (1, 2, 3), Isolation.SECCOMP, RECEIPT_KEY.public)
POLICY = Policy(
    enclave_measurements=frozenset([HASH]),
    monitor_measurements=frozenset([MONITOR.monitor_hash]),
    simulated_devices=frozenset([DEVICE.public]),
    allow_simulated=True,
)
HANDSHAKE_HASH = b"\x05" * 32

ADD = FuncType((ValueType.I32, ReferenceType(False, HeapType.FUNC)), (ValueType.I64,))
MESSAGES: tuple[Message, ...] = (
    DeployRequest("main", b"\0asm\1\0\0\0" * 8),
    DeployResult(DIGEST),
    CallRequest("main", "add", (Value.i32(1), Value.i64(2), Value.v128(bytes(16))), 5, 6),
    CallResult((Value.f64(1.5), Value.f32(2.5)), 7),
    InfoRequest("main"),
    InfoResult("1", "native", ("main", "b"), (ExportInfo("add", ADD),)),
    RunRequest("main", ("a", "b"), (("K", "V"),), b"input"),
    RunResult(3, b"out", b"err", 9),
    PutRequest("file", b"content"),
    PutResult(7),
    GetRequest("file", 1, 2),
    GetResult(10, b"content"),
    WriteRequest("main", 0, b"text"),
    WriteResult(),
    ReadRequest("main", 0, 4),
    ReadResult(b"text"),
    ReceiptRequest(1),
    ReceiptResult(b"receipt"),
    SealRequest("label", b"\0asm\1\0\0\0", 3),
    SealResult(DIGEST, 3),
    RestoreRequest("label", "main", 3, b"\x08" * 32),
    RestoreResult(DIGEST, 3),
    ForgetRequest("label"),
    ForgetResult(),
    ErrorReply(ErrorCode.TRAP, "trap", (TraceFrame("main", 1, "f", 2),)),
)
REQUESTS: tuple[Request, ...] = tuple(item for item in MESSAGES if isinstance(item, Request))


def _message(data: bytes) -> object:
    kinds = sorted(MESSAGE_TYPES)
    return decode(kinds[data[0] % len(kinds)], memoryview(data)[1:]) if data else None


def _chunks(data: bytes) -> object:
    """Chunks of at most 64 bytes, as authentic records would carry them."""
    inbox = Inbox(Limits(max_message=1 << 20))
    return [inbox.receive_chunk(memoryview(data)[at : at + 64]) for at in range(0, len(data), 64)]


def _small(data: bytes) -> object:
    """A plaintext of the smallest size: what the fast path reads, the general one reads alike."""
    plaintext = data[:PADDING].ljust(PADDING, b"\0")
    read = fast.read(plaintext)
    if read is None:
        return None
    whole = Inbox(Limits()).receive_chunk(split(plaintext)[1])
    assert whole is not None
    assert not isinstance(whole.body, Dropped)
    assert read == (whole.number, decode(whole.type, whole.body))
    return read


def _fresh_enclave(data: bytes) -> object:
    session = EnclaveSession(CLAIMS)
    events = session.receive_data(data)
    session.receive_eof()
    return events


def _fresh_client(data: bytes) -> object:
    """The first byte chooses the suite, the rest is what the client receives."""
    session = ClientSession(POLICY, suite=list(Suite)[data[0] % len(Suite)] if data else Suite.X25519_SHA256)
    events = session.receive_data(data[1:])
    session.receive_eof()
    return events


def _answer_to(first: bytes) -> bytes:
    enclave = EnclaveSession(CLAIMS)
    enclave.receive_data(first)
    return enclave.data_to_send()


def _open_pair() -> tuple[ClientSession, EnclaveSession]:
    """Both ends of an open channel, without evidence: signatures would take nearly all of the time."""
    client, enclave = ClientSession(POLICY), EnclaveSession(CLAIMS)
    enclave.receive_data(client.data_to_send())
    client.receive_data(enclave.data_to_send())
    client.state, enclave.state = State.OPEN, State.UNCONFIRMED
    return client, enclave


def _to_enclave(data: bytes) -> object:
    """Records of any kind and body from a client that has the keys."""
    client, enclave = _open_pair()
    for kind, body in _records(data):
        client._seal(kind, body)
    return enclave.receive_data(client.data_to_send())


def _to_client(data: bytes) -> object:
    """Records of any kind and body from an enclave that was verified, to a client that waits for replies."""
    client, enclave = _open_pair()
    for request in REQUESTS:
        client.send_request(request)
    for kind, body in _records(data):
        enclave._seal(kind, body)
    return client.receive_data(enclave.data_to_send())


def _records(data: bytes) -> Iterator[tuple[RecordKind, bytes]]:
    """An input as records: the kind in one byte, the length in two, the body."""
    kinds = list(RecordKind)
    while data:
        size = int.from_bytes(data[1:3], "big")
        yield kinds[data[0] % len(kinds)], data[3 : 3 + size]
        data = data[3 + size :]


def _record(kind: RecordKind, body: bytes) -> bytes:
    return bytes([list(RecordKind).index(kind)]) + len(body).to_bytes(2, "big") + body


def _framing(data: bytes) -> object:
    """A stream to a client, which may be refused, in two pieces."""
    parser = StreamParser(refusable=True)
    records = []
    for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
        parser.receive_data(piece)
        while (record := parser.next_record()) is not None:
            parser.refusable = False
            records.append(record)
    parser.receive_eof()
    return records


def _report() -> Report:
    claims = Claims(HANDSHAKE_HASH, DIGEST, (1, 2, 3), Isolation.SECCOMP, RECEIPT_KEY.public)
    return MONITOR.attest(HASH, claims.build())


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode("utf-8", "surrogateescape"))


_POLICY_TEXT = f"""[enclave]
measurements = ["{HASH.hex()}"]
minimum_version = "1.0.0"
required_isolation = ["seccomp"]
[monitor]
measurements = ["{HASH.hex()}"]
[devices]
simulated = ["{DEVICE.public.hex()}"]
allow_simulated = true
""".encode()


def _chunk(message: Message, number: int = 1) -> bytes:
    data = b"".join(encode(message))
    return layouts.CHUNK.build({"type": message.type_byte, "last": 1, "request": number, "data": data})


def _written(message: Message) -> bytes:
    """The plaintext of a record that carries a message whole, without its padding."""
    chunk = _chunk(message)
    return bytes([RecordKind.MESSAGE]) + len(chunk).to_bytes(2, "big") + chunk


def _answer(reply: Message) -> bytes:
    """The chunk of a reply to the request among `REQUESTS` that it answers."""
    numbers: dict[type[Message], int] = {request.result: number for number, request in enumerate(REQUESTS, 1)}
    return _chunk(reply, numbers.get(type(reply), 1))


def targets() -> list[Target]:
    """Every parser of the channel's of bytes that come from outside."""
    assert {message.type_byte for message in MESSAGES} == set(MESSAGE_TYPES)
    report = _report()
    receipt = Receipt(HANDSHAKE_HASH, 1, 2, DIGEST, "add", DIGEST, DIGEST, 0, 9, DIGEST).sign(RECEIPT_KEY)
    messages = tuple(
        bytes([sorted(MESSAGE_TYPES).index(item.type_byte)]) + b"".join(encode(item)) for item in MESSAGES
    )
    requests = [_record(RecordKind.MESSAGE, _chunk(request)) for request in REQUESTS]
    replies = [_record(RecordKind.MESSAGE, _answer(reply)) for reply in MESSAGES if reply not in REQUESTS]
    credit = _record(RecordKind.CREDIT, bytes([0, 0, 1, 0]))
    others = [credit, _record(RecordKind.CLOSE, bytes([CloseReason.DONE]))]
    firsts = [ClientSession(POLICY, suite=suite).data_to_send() for suite in Suite]
    answers = [_answer_to(first) for first in firsts]
    return [
        Target("prologue", decode_prologue, (encode_prologue(Suite.X25519_SHA256),)),
        Target("framing", _framing, (encode_record(b"one") * 2, encode_refusal(Refusal.BUSY))),
        Target("enclave handshake", _fresh_enclave, (*firsts, firsts[0][:8], firsts[0] + answers[0])),
        Target(
            "client handshake",
            _fresh_client,
            tuple(bytes([number]) + answer for number, answer in enumerate((*answers, b"\0\0\1"))),
        ),
        Target("report", Report.from_bytes, (report.to_raw(), report.to_compact())),
        Target("report as JSON", _text(Report.from_json), (report.to_json().encode(),)),
        Target("claims", Claims.decode, (report.data,)),
        Target(
            "evidence",
            lambda data: verify_evidence(data, POLICY, HANDSHAKE_HASH),
            (report.to_raw(), report.to_compact()),
        ),
        Target("identity", lambda data: verify_identity(data, HANDSHAKE_HASH), (bytes(96),)),
        Target("policy", _text(Policy.from_toml), (_POLICY_TEXT,), (PolicyFileError,)),
        Target("receipt", lambda data: verify_receipt(data, RECEIPT_KEY.public), (receipt,), (ReceiptError,)),
        Target("messages", _message, messages),
        Target("small calls", _small, tuple(map(_written, (*REQUESTS, *MESSAGES)))),
        Target("chunks", _chunks, tuple(map(_chunk, MESSAGES))),
        Target("records to an enclave", _to_enclave, (*requests, *others, b"".join((credit, *requests)))),
        Target("records to a client", _to_client, (*replies, *others, b"".join((credit, *replies)))),
        Target(
            "storage request",
            storage.Request.parse,
            (storage.Request(storage.Operation.FETCH, DIGEST, 0, 9).build(),),
        ),
        Target("storage answer", storage.Answer.parse, (storage.Answer(storage.Status.DONE, 9, 9).build(),)),
        Target("control message", control.decode, tuple(map(control.encode, CONTROL))),
    ]
