"""Applications of an enclave, as processes that `tests.keystone.Machine` runs: ``edge_application.py KIND``.

They speak Eyrie's calls on descriptor 3. ``serve`` is a whole one; the others are what goes wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import time
from typing import NoReturn

from schannel import storage
from schannel.edge import AnswerHead, Beginning, Call, Closing, Event, Happening, Request
from schannel.endings import CloseReason, Ending
from schannel.errors import RemoteError, Truncated
from schannel.events import ClientIdentified, EvidenceRequired, PeerClosed, RequestReceived
from schannel.evidence import Isolation, Report
from schannel.handshake import identity_key
from schannel.session import EnclaveClaims, EnclaveSession
from wasm_rt import monitor_link
from wasm_rt.application import VERSION, Application
from wasm_rt.configuration import Configuration
from wasm_rt.sealing import IDENTIFIER, Sealing

OCALL, ATTEST, SEALING_KEY = 1001, 1003, 1004
EYRIE = socket.socket(fileno=3) if __name__ == "__main__" else None
ROOM = 1 << 17


class Refused(Exception):
    """Eyrie returned something else than 0."""


def take(size: int) -> bytes:
    assert EYRIE is not None
    taken = b""
    while len(taken) < size:
        data = EYRIE.recv(size - len(taken))
        if not data:
            sys.exit(126)
        taken += data
    return taken


def ask(kind: int, number: int, content: bytes, room: int) -> bytes:
    assert EYRIE is not None
    EYRIE.sendall(struct.pack("<4Q", kind, number, len(content), room) + content)
    status, size = struct.unpack("<qQ", take(16))
    answer = take(size)
    if status:
        raise Refused(status)
    return answer


def call(number: int, content: bytes = b"", room: int = ROOM) -> bytes:
    answer = ask(OCALL, number, Request(room, content).build(), room)
    head = AnswerHead.parse(answer[: AnswerHead.sizeof()])
    return answer[AnswerHead.sizeof() : AnswerHead.sizeof() + head.size]


class Stored:
    """Kept programs, over STORE."""

    largest = ROOM // 2

    def append(self, name: bytes, offset: int, piece: bytes) -> None:
        for start in range(0, len(piece), self.largest):
            part = piece[start : start + self.largest]
            self._ask(storage.Operation.APPEND, name, offset + start, len(part), part)

    def keep(self, name: bytes) -> None:
        self._ask(storage.Operation.KEEP, name, 0, 0)

    def fetch(self, name: bytes, offset: int) -> tuple[bytes, int]:
        answer, piece = self._ask(storage.Operation.FETCH, name, offset, storage.MAX_PIECE)
        return piece, answer.total

    def _ask(
        self, operation: storage.Operation, name: bytes, offset: int, size: int, piece: bytes = b""
    ) -> tuple[storage.Answer, bytes]:
        given = call(Call.STORE, storage.Request(operation, name, offset, size).build() + piece)
        answer = storage.Answer.parse(given[: storage.Answer.sizeof()])
        return answer, given[storage.Answer.sizeof() :]


def sealing_key() -> bytes:
    answer = ask(SEALING_KEY, 0, IDENTIFIER, 192)
    return monitor_link.KeyResult.parse(answer).key


def serve() -> int:
    """A session from its beginning to its end."""
    begun = Beginning.parse(call(Call.BEGIN))
    configuration = Configuration.from_mapping(json.loads(begun.settings))
    receipt_key = identity_key(os.urandom(32))
    sealing = Sealing(sealing_key, Stored(), configuration.max_message)  # type: ignore[arg-type]
    application = Application(configuration, sealing, receipt_key)
    claims = EnclaveClaims(configuration.digest(), VERSION, Isolation(0), receipt_key.public, "")
    session = EnclaveSession(claims)
    call(Call.LOG, b"serves a client")
    while True:
        event = Event.parse(call(Call.RECEIVE))
        if event.kind is Happening.CLOSE:
            session.close(Closing.parse(event.content).reason)
            flush(session)
            return Ending.DONE
        try:
            if event.kind is Happening.END:
                session.receive_eof()
                return Ending.DONE
            for happened in session.receive_data(event.content):
                if happened == PeerClosed(CloseReason.REFUSED):
                    return Ending.REFUSED
                if isinstance(happened, EvidenceRequired):
                    raw = ask(ATTEST, 0, happened.data, 2048)[:1352]
                    session.send_evidence(Report.from_bytes(raw).to_compact())
                    application.begin(session.handshake_hash)
                elif isinstance(happened, ClientIdentified):
                    application.identify(happened.public_key)
                elif isinstance(happened, RequestReceived):
                    session.send_reply(happened.number, application.handle(happened.request, happened.number))
            flush(session)
            if session.peer_closed:
                return Ending.DONE
        except Truncated:
            return Ending.LEFT
        except RemoteError:
            return Ending.BROKEN


def flush(session: EnclaveSession) -> None:
    if pending := bytes(session.data_to_send()):
        for start in range(0, len(pending), ROOM):
            call(Call.SEND, pending[start : start + ROOM])


def crash() -> int:
    return 77


def silent() -> NoReturn:
    while True:
        time.sleep(1)


def deaf() -> NoReturn:
    """Begins, then neither calls nor ends."""
    call(Call.BEGIN)
    silent()


def picky() -> int:
    """Begins, and does not like its settings."""
    call(Call.BEGIN)
    call(Call.LOG, b"the enclave failed: max_fuel is not a number from 1 to 10")
    return Ending.FAILED


def echo() -> int:
    """Returns what comes; tells how it was closed."""
    call(Call.BEGIN)
    while True:
        event = Event.parse(call(Call.RECEIVE))
        if event.kind is Happening.END:
            return Ending.DONE
        if event.kind is Happening.CLOSE:
            call(Call.SEND, Closing.parse(event.content).reason.name.encode())
            return Ending.SILENT
        call(Call.SEND, event.content)


def curious() -> int:
    """Wants of the host what it does not get, then echoes."""
    refused = 0
    openat = struct.pack("<Q", 56) + b"/etc/passwd\0"
    for number, content in ((11, openat), (0, b""), (6, b""), (10, b""), (1 << 63, b"")):
        try:
            ask(OCALL, number, content, 100)
        except Refused:
            refused += 1
    assert refused == 5
    return echo()


def stubborn() -> NoReturn:
    """Makes calls that there are not, without end."""
    call(Call.BEGIN)
    while True:
        with contextlib.suppress(Refused):
            ask(OCALL, 99, b"", 0)


if __name__ == "__main__":
    kinds = {made.__name__: made for made in (serve, crash, silent, deaf, picky, echo, curious, stubborn)}
    sys.exit(kinds[sys.argv[1]]())
