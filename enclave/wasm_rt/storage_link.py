"""The enclave's end of the socket to its host's storage."""

from __future__ import annotations

import select
import socket

from schannel.errors import MessageError
from schannel.storage import MAX_PIECE, Answer, Operation, Request, Status
from schannel.wire import Buffer

_PATIENCE_MS = 10_000
"""How long the host may take for a piece: it can withhold a program, but not hang the enclave for ever."""


_REFUSALS = {
    Status.QUOTA: "the host keeps no more for this client: forget what is not needed",
    Status.FULL: "the host has no room for more programs",
}


class StorageError(Exception):
    """The host does not store, or does not answer as it must."""


class StorageLink:
    """Stores and fetches bytes, in pieces of at most `MAX_PIECE`."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection

    def fileno(self) -> int:
        """The socket's descriptor, to keep it open."""
        return self._connection.fileno()

    def append(self, name: bytes, offset: int, piece: bytes) -> None:
        """Add to the draft of `name`; StorageError if the host refuses."""
        self._ask(Operation.APPEND, name, offset, len(piece), piece)

    def keep(self, name: bytes) -> None:
        """Let the draft take the place of what is stored; StorageError if the host refuses."""
        self._ask(Operation.KEEP, name, 0, 0)

    def fetch(self, name: bytes, offset: int) -> tuple[bytes, int]:
        """A piece and the size of all that is stored; nothing and 0 if there is none."""
        status, total, piece = self._exchange(Operation.FETCH, name, offset, MAX_PIECE)
        return (b"", 0) if status is Status.MISSING else (piece, total)

    def forget(self, name: bytes) -> bool:
        """Remove what is stored; whether there was anything. StorageError if the host refuses."""
        status, _, _ = self._exchange(Operation.FORGET, name, 0, 0)
        if status not in (Status.DONE, Status.MISSING):
            raise StorageError("the host cannot remove it")
        return status is Status.DONE

    def _ask(self, operation: Operation, name: bytes, offset: int, size: int, piece: bytes = b"") -> None:
        status, _, _ = self._exchange(operation, name, offset, size, piece)
        if status is not Status.DONE:
            raise StorageError(_REFUSALS.get(status, "the host cannot store it: its disk is full, or fails"))

    def _exchange(
        self, operation: Operation, name: bytes, offset: int, size: int, piece: bytes = b""
    ) -> tuple[Status, int, bytes]:
        try:
            self._send(Request(operation, name, offset, size).build())
            self._send(piece)
            answer = Answer.parse(self._receive(Answer.sizeof()))
            return answer.status, answer.total, self._receive(answer.size)
        except (OSError, MessageError) as error:
            raise StorageError("the host's storage does not answer") from error

    def _send(self, data: Buffer) -> None:
        pending = memoryview(data)
        while pending:
            self._wait(select.POLLOUT)
            pending = pending[self._connection.send(pending) :]

    def _receive(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            self._wait(select.POLLIN)
            data = self._connection.recv(size - len(received))
            if not data:
                raise ConnectionError("the host closed its storage")
            received += data
        return bytes(received)

    def _wait(self, event: int) -> None:
        poller = select.poll()
        poller.register(self._connection, event)
        if not poller.poll(_PATIENCE_MS):
            raise TimeoutError("the host's storage is silent")
