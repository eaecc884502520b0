"""The enclave's end of the socket to its host's storage."""

from __future__ import annotations

import select
import socket

from schannel.errors import MessageError
from schannel.storage import Answer, Operation, Request, Status
from schannel.wire import Buffer

from .stored import Storage, StorageError

_PATIENCE_MS = 10_000
"""How long the host may take for a piece: it can withhold a program, but not hang the enclave for ever."""


class StorageLink(Storage):
    """The socket's end."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection

    def fileno(self) -> int:
        """The socket's descriptor, to keep it open."""
        return self._connection.fileno()

    def exchange(
        self, operation: Operation, name: bytes, offset: int, size: int, piece: bytes = b""
    ) -> tuple[Status, int, bytes]:
        """Ask over the socket."""
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
