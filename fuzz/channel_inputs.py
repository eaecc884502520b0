"""Valid inputs of the channel's parsers, what damages them, and the parsers as functions of bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from schannel import layouts
from schannel.ed25519_sha3 import ED25519_SHA3
from schannel.events import EvidenceRequired
from schannel.evidence import Claims, Isolation, Report
from schannel.flow import Inbox, Limits
from schannel.handshake import Suite, decode_prologue, encode_prologue, identity_key, verify_identity
from schannel.messages import (
    CallRequest,
    CallResult,
    DeployRequest,
    DeployResult,
    ErrorCode,
    ErrorReply,
    ExportInfo,
    ExternKind,
    GetRequest,
    GetResult,
    InfoRequest,
    InfoResult,
    Message,
    MessageType,
    PutRequest,
    ReadRequest,
    RestoreRequest,
    RunRequest,
    RunResult,
    SealRequest,
    SealResult,
    TraceFrame,
    Value,
    WriteRequest,
    decode,
    encode,
    message_type,
)
from schannel.monitor_keys import Monitor
from schannel.policy import Policy, verify_evidence
from schannel.receipts import Receipt, verify_receipt
from schannel.records import RecordKind
from schannel.session import ClientSession, EnclaveClaims, EnclaveSession

HASH, DIGEST = b"\x02" * 64, b"\x03" * 32
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

MESSAGES: tuple[Message, ...] = (
    DeployRequest("main", b"\0asm\1\0\0\0" * 8),
    DeployResult(DIGEST),
    CallRequest("main", "add", (Value.i32(1), Value.i64(2), Value.v128(bytes(16))), 5, 6),
    CallResult((Value.f64(1.5), Value.f32(2.5)), 7),
    InfoRequest("main"),
    InfoResult("1", "native", ("main", "b"), (ExportInfo("add", ExternKind.FUNC, "(param i32)"),)),
    RunRequest("main", ("a", "b"), (("K", "V"),), b"input"),
    RunResult(3, b"out", b"err", 9),
    PutRequest("file", b"content"),
    GetRequest("file", 1, 2),
    GetResult(10, b"content"),
    WriteRequest("main", 0, b"text"),
    ReadRequest("main", 0, 4),
    SealRequest("label", b"\0asm\1\0\0\0", 3),
    SealResult(DIGEST, 3),
    RestoreRequest("label", "main", 3),
    ErrorReply(ErrorCode.TRAP, "trap", (TraceFrame("main", 1, "f", 2),)),
)


@dataclass(frozen=True)
class Target:
    """A parser, and inputs that it accepts."""

    name: str
    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def _message(data: bytes) -> object:
    kinds = list(MessageType)
    return decode(kinds[data[0] % len(kinds)], memoryview(data)[1:]) if data else None


def _chunks(data: bytes) -> object:
    """Chunks of at most 64 bytes, as authentic records would carry them."""
    inbox = Inbox(Limits(max_message=1 << 20))
    return [inbox.receive_chunk(memoryview(data)[at : at + 64]) for at in range(0, len(data), 64)]


def _fresh_enclave(data: bytes) -> object:
    session = EnclaveSession(CLAIMS)
    events = session.receive_data(data)
    session.receive_eof()
    return events


def _fresh_client(data: bytes) -> object:
    session = ClientSession(POLICY)
    events = session.receive_data(data)
    session.receive_eof()
    return events


def _open_pair() -> tuple[ClientSession, EnclaveSession]:
    client, enclave = ClientSession(POLICY), EnclaveSession(CLAIMS)
    (event,) = enclave.receive_data(client.data_to_send())
    assert isinstance(event, EvidenceRequired)
    enclave.send_evidence(MONITOR.attest(HASH, event.data).to_compact())
    client.receive_data(enclave.data_to_send())
    return client, enclave


def _authentic(data: bytes) -> object:
    """A record of any kind and body from a client that has the keys, to an enclave with an open channel."""
    client, enclave = _open_pair()
    kinds = list(RecordKind)
    client._seal(kinds[data[0] % len(kinds)] if data else RecordKind.CREDIT, data[1:])
    return enclave.receive_data(client.data_to_send())


def _report() -> Report:
    claims = Claims(HANDSHAKE_HASH, DIGEST, (1, 2, 3), Isolation.SECCOMP, RECEIPT_KEY.public)
    return MONITOR.attest(HASH, claims.encode())


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


def _chunk(message: Message) -> bytes:
    data = b"".join(encode(message))
    return layouts.CHUNK.build({"type": message_type(message), "last": 1, "request": 1, "data": data})


def targets() -> list[Target]:
    """Every parser of bytes that come from outside."""
    report = _report()
    receipt = Receipt(HANDSHAKE_HASH, 1, 2, DIGEST, "add", DIGEST, DIGEST, 0, 9, DIGEST).sign(RECEIPT_KEY)
    messages = tuple(
        bytes([list(MessageType).index(message_type(item))]) + b"".join(encode(item)) for item in MESSAGES
    )
    chunks = tuple(map(_chunk, MESSAGES))
    records = tuple(bytes([list(RecordKind).index(RecordKind.MESSAGE)]) + chunk for chunk in chunks)
    first = ClientSession(POLICY).data_to_send()
    enclave = EnclaveSession(CLAIMS)
    enclave.receive_data(first)
    answer = enclave.data_to_send()
    return [
        Target("prologue", decode_prologue, (encode_prologue(Suite.X25519_SHA256),)),
        Target("enclave handshake", _fresh_enclave, (first, first[:8], first + answer)),
        Target("client handshake", _fresh_client, (answer, b"\0\0\1", first)),
        Target("report", Report.from_bytes, (report.to_raw(), report.to_compact())),
        Target("report as JSON", _text(Report.from_json), (report.to_json().encode(),)),
        Target("claims", Claims.decode, (report.data,)),
        Target(
            "evidence",
            lambda data: verify_evidence(data, POLICY, HANDSHAKE_HASH),
            (report.to_raw(), report.to_compact()),
        ),
        Target("identity", lambda data: verify_identity(data, HANDSHAKE_HASH), (bytes(96),)),
        Target("policy", _text(Policy.from_toml), (_POLICY_TEXT,)),
        Target("receipt", lambda data: verify_receipt(data, RECEIPT_KEY.public), (receipt,)),
        Target("messages", _message, messages),
        Target("chunks", _chunks, chunks),
        Target("records", _authentic, records),
    ]


_EXTREMES = tuple(
    map(bytes.fromhex, ("00", "ff", "0000", "ffff", "7fffffff", "ffffffff", "ff" * 8, "80" + "00" * 7))
)
_MAX_EDITS = 4


def damage(chooser: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """One of the seeds with one to four edits."""
    data = chooser.choice(seeds)
    for _ in range(chooser.randint(1, _MAX_EDITS)):
        data = chooser.choice(_EDITS)(chooser, data, seeds)
    return data


_Edit = Callable[[random.Random, bytes, tuple[bytes, ...]], bytes]


def _flip(chooser: random.Random, data: bytes, _seeds: tuple[bytes, ...]) -> bytes:
    at = chooser.randrange(len(data) + 1)
    return data[:at] + bytes(byte ^ 1 << chooser.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]


def _extreme(chooser: random.Random, data: bytes, _seeds: tuple[bytes, ...]) -> bytes:
    at, value = chooser.randrange(len(data) + 1), chooser.choice(_EXTREMES)
    return data[:at] + value + data[at + len(value) :]


def _insert(chooser: random.Random, data: bytes, _seeds: tuple[bytes, ...]) -> bytes:
    at = chooser.randrange(len(data) + 1)
    return data[:at] + chooser.randbytes(chooser.randint(1, 8)) + data[at:]


def _delete(chooser: random.Random, data: bytes, _seeds: tuple[bytes, ...]) -> bytes:
    at = chooser.randrange(len(data) + 1)
    return data[:at] + data[at + chooser.randint(1, 32) :]


def _repeat(chooser: random.Random, data: bytes, _seeds: tuple[bytes, ...]) -> bytes:
    at, size = chooser.randrange(len(data) + 1), chooser.randint(1, 32)
    return data[:at] + data[at : at + size] * chooser.choice((2, 3, 100)) + data[at:]


def _cut(chooser: random.Random, data: bytes, _seeds: tuple[bytes, ...]) -> bytes:
    return data[: chooser.randrange(len(data) + 1)]


def _splice(chooser: random.Random, data: bytes, seeds: tuple[bytes, ...]) -> bytes:
    other = chooser.choice(seeds)
    return data[: chooser.randrange(len(data) + 1)] + other[chooser.randrange(len(other) + 1) :]


_EDITS: tuple[_Edit, ...] = (_flip, _flip, _extreme, _extreme, _insert, _delete, _repeat, _cut, _splice)
