"""The parsers of enclave, host and client as functions of bytes, with inputs that they take.

Each stands where somebody else's bytes come in: the host's for the enclave, the enclave's and anybody's for
the host, and for all three the files that people keep.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from fuzz.channel_inputs import (
    CLAIMS,
    DEVICE,
    DIGEST,
    HANDSHAKE_HASH,
    HASH,
    MONITOR,
    POLICY,
    RECEIPT_KEY,
)
from fuzz.channel_inputs import targets as channel_targets
from fuzz.target import Target
from schannel.errors import LocalError, MessageError
from schannel.measurement import (
    DEPENDENCIES_ENTRY,
    PYTHON_ENTRY,
    EnclaveImage,
    canonical_archive,
    python_tag,
)
from schannel.messages import (
    CallRequest,
    CallResult,
    ExportInfo,
    InfoResult,
    Value,
    ValueType,
    decode,
    encode,
)
from schannel.policy import verify_saved_evidence
from schannel.receipts import Receipt, message_digest
from schannel.simulation import PUBLIC_KEY_FILE, SECRET_KEY_FILE, read_public_key
from schannel.storage import Answer, Operation, Request, Status
from schannel.types import FuncType
from wasm_client.errors import ArgumentError, ClientError
from wasm_client.kept import Kept, KeptPrograms
from wasm_client.keys import load_key
from wasm_client.receipts import ReceiptFile, read_receipt
from wasm_client.values import FunctionType
from wasm_host.admission import TurnedAway
from wasm_host.exposition import Exposition
from wasm_host.limits import ServerLimits
from wasm_host.metrics import Metrics
from wasm_host.metrics_server import MetricsServer, _request
from wasm_host.server import NotOurs, first_message
from wasm_host.storage import SealedStore, StoreLimits, serve_storage
from wasm_rt import monitor_link
from wasm_rt.device import load_device_key
from wasm_rt.errors import RequestError
from wasm_rt.monitor import check_environment, read_settings
from wasm_rt.monitor_link import answer_request, parse_request
from wasm_rt.sealing import SEGMENT, Label, Sealing
from wasm_rt.storage_link import StorageLink
from wasm_rt.stored import StorageError

_FOLDER = tempfile.TemporaryDirectory(prefix="tinywasm-fuzz-")
_HERE = Path(_FOLDER.name)
_REPORT = MONITOR.attest(HASH, CLAIMS.for_handshake(HANDSHAKE_HASH))
_VERIFIED = verify_saved_evidence(_REPORT, POLICY)
_LABEL = Label(b"\x01" * 32, "label")
_LARGEST = 1 << 20
_LOOP = asyncio.new_event_loop()


class _Stored:
    """A host's storage that holds one thing."""

    largest = SEGMENT

    def __init__(self, content: bytes = b"") -> None:
        self.content = content

    def append(self, _name: bytes, offset: int, piece: bytes) -> None:
        self.content = self.content[:offset] + piece

    def keep(self, _name: bytes) -> None:
        return

    def fetch(self, _name: bytes, offset: int) -> tuple[bytes, int]:
        return self.content[offset : offset + SEGMENT], len(self.content)


def _sealing(stored: _Stored) -> Sealing:
    return Sealing(lambda: b"s" * 128, cast(StorageLink, stored), _LARGEST)


def _sealed(program: bytes) -> bytes:
    stored = _Stored()
    _sealing(stored).seal(_LABEL, program, 0)
    return stored.content


def _storage_link(data: bytes) -> object:
    """What the host answers to an enclave that fetches a piece."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        theirs.send(data)
        theirs.shutdown(socket.SHUT_WR)
        return StorageLink(ours).fetch(DIGEST, 0)


def _stream(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(loop=_LOOP)
    reader.feed_data(data)
    reader.feed_eof()
    return reader


class _Sink:
    """The writing end of a stream that nobody reads."""

    def write(self, _data: bytes) -> None:
        return

    def close(self) -> None:
        return

    async def drain(self) -> None:
        return


def _host_storage(data: bytes) -> object:
    """What an enclave asks of the host's storage."""
    with tempfile.TemporaryDirectory(dir=_HERE) as folder:
        store = SealedStore(Path(folder), StoreLimits(1 << 16))
        writer = cast(asyncio.StreamWriter, _Sink())
        return _LOOP.run_until_complete(serve_storage(_stream(data), writer, store))


def _first_message(data: bytes) -> object:
    return _LOOP.run_until_complete(first_message(_stream(data), 10))


def _metrics_request(data: bytes) -> object:
    exposition = Exposition(Metrics(), ServerLimits(), lambda: 0, lambda: 0)
    server = MetricsServer(exposition.page, lambda: "", "simulated")
    return server._answer(_LOOP.run_until_complete(_request(_stream(data))))


_NUMBERS = FuncType((ValueType.I32, ValueType.F64), (ValueType.V128,))
# What tells of one export, and the same up to its type.
_ADD = b"".join(encode(InfoResult("1", "native", (), (ExportInfo("f", _NUMBERS),))))
_INFO = _ADD[: _ADD.index(b"f\0") + 1]


def _function_type(data: bytes) -> object:
    """The type that an enclave says that an export has, shown and used."""
    told = decode(InfoResult.type_byte, _INFO + data)
    assert isinstance(told, InfoResult)
    (declared,) = told.exports
    if not isinstance(declared.type, FuncType):
        return str(declared.type)
    function = FunctionType(declared.name, declared.type.params, declared.type.results)
    return str(function), function.arguments_from_text(["1"] * len(function.params))


def _file(name: str, parse: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A parser of a file, which only its owner may read."""
    path = _HERE / name

    def parse_file(data: bytes) -> object:
        path.parent.mkdir(exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        return parse(path)

    return parse_file


def _kept(path: Path) -> object:
    """List what is kept, and note another program."""
    kept = KeptPrograms(path, RECEIPT_KEY.public, _VERIFIED)
    listed = kept.list()
    kept.add(Kept("other", 2, DIGEST))
    return listed


def _verified_receipt(path: Path) -> object:
    file = read_receipt(path)
    file.verify(POLICY)
    return file.describe()


def _receipt_file() -> bytes:
    request, reply = CallRequest("main", "add", (Value.i32(1), Value.i32(2))), CallResult((Value.i32(3),), 5)
    receipt = Receipt(
        HANDSHAKE_HASH, 1, CallRequest.type_byte, DIGEST, "add",
        message_digest(request), message_digest(reply), 0, 5, DIGEST,
    )  # fmt: skip
    return ReceiptFile(receipt.sign(RECEIPT_KEY), _REPORT.to_compact(), request, reply).to_json().encode()


def _kept_file() -> bytes:
    path = _HERE / "kept-seed.json"
    KeptPrograms(path, RECEIPT_KEY.public, _VERIFIED).add(Kept("label", 3, DIGEST))
    return path.read_bytes()


_SETTINGS = f"""max_message = 1048576
max_call_ms = 0x1000
deployers = ["{DIGEST.hex()}"]
callers = ["0404040404040404040404040404040404040404040404040404040404040404"]
""".encode()


def every_target() -> Iterator[Target]:
    """Every parser of the channel's, the enclave's, the host's and the client's of bytes from outside."""
    yield from channel_targets()
    yield from _enclave_targets()
    yield from _host_targets()
    yield from _file_targets()


def _enclave_targets() -> Iterator[Target]:
    answers = (Answer(Status.DONE, 9, 9).build() + b"a" * 9, Answer(Status.MISSING, 0, 0).build())
    yield Target("fetched piece", _storage_link, answers, (StorageError,))
    yield Target(
        "sealed program",
        lambda data: _sealing(_Stored(data)).open(_LABEL, 1),
        (_sealed(b"\0asm\1\0\0\0"), _sealed(bytes(SEGMENT + 9))),
        (RequestError,),
    )
    yield Target(
        "monitor request",
        lambda data: answer_request(MONITOR, HASH, parse_request(data)),
        (
            monitor_link.Request(monitor_link.Operation.ATTEST, CLAIMS.for_handshake(HANDSHAKE_HASH)).build(),
            monitor_link.Request(monitor_link.Operation.SEALING_KEY, b"identifier").build(),
        ),
        (),
    )


def _host_targets() -> Iterator[Target]:
    first = b"TWSC\1\1\0\0" + (32).to_bytes(2, "big") + bytes(32)
    yield Target("first message", _first_message, (first,), (NotOurs, TurnedAway))
    requests = (
        Request(Operation.APPEND, DIGEST, 0, 9).build() + b"a" * 9,
        Request(Operation.KEEP, DIGEST, 0, 0).build(),
        Request(Operation.FETCH, DIGEST, 0, 9).build(),
    )
    yield Target("storage requests", _host_storage, (*requests, b"".join(requests)), ())
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\r\n"
    yield Target("metrics request", _metrics_request, (request,), ())
    yield Target("function type", _function_type, (_ADD.removeprefix(_INFO),), (ArgumentError, MessageError))


def _file_targets() -> Iterator[Target]:
    seed, ours = b"07" * 32 + b"\n", (ClientError,)
    yield Target("client key", _file("client.key", load_key), (seed,), ours)
    yield Target("kept programs", _file("kept.json", _kept), (_kept_file(), b"{}"), ours)
    yield Target("receipt file", _file("receipt.json", _verified_receipt), (_receipt_file(),), ours)
    yield Target("settings", _file("settings.toml", read_settings), (_SETTINGS,), (LocalError,))
    public = _file(f"public/{PUBLIC_KEY_FILE}", lambda path: read_public_key(path.parent))
    yield Target("device's public key", public, (DEVICE.public.hex().encode() + b"\n",), (LocalError,))
    secret = _file(f"secret/{SECRET_KEY_FILE}", lambda path: load_device_key(path.parent))
    yield Target("device's key", secret, (seed,), (LocalError,))
    application = canonical_archive({DEPENDENCIES_ENTRY: b""})
    yield Target(
        "measured file",
        lambda data: check_environment(
            EnclaveImage(b"", data, application), EnclaveImage(b"", b"", application)
        ),
        (canonical_archive({PYTHON_ENTRY: python_tag().encode(), "module.py": b"pass"}),),
        (LocalError,),
    )
