"""The host's end of edge calls: finds one in the shared buffer, does what it asks for, puts the answer there.

The enclave stands still meanwhile, so whatever has to wait waits here, in the enclave's own thread. Nothing
in the buffer is believed: offsets, sizes and contents are the application's.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable

from schannel import edge, storage
from schannel.edge import AnswerHead, Call, CallStatus, Happening, Head
from schannel.endings import CloseReason
from schannel.errors import MessageError

from .keystone_device import SHARED_SIZE, Mapping

MAX_LINES = 16
"""Lines that an application may have in the host's log, what is said about its calls included."""

MAX_REFUSED = 1000
"""Calls that are refused; an application that goes on is ended."""

_ANSWER_PLACE = Head.sizeof()
_ROOM = SHARED_SIZE - _ANSWER_PLACE


class Ended(Exception):
    """The enclave is to be destroyed, not to go on."""


class _Refused(Exception):
    """A call is not answered."""

    def __init__(self, status: CallStatus) -> None:
        super().__init__(status)
        self.status = status


class EdgeCalls:
    """Answers one enclave's calls.

    Args:
        channel: the end of a stream to the client.
        stored: the end of a stream to the host's storage.
        settings: what BEGIN gives.
        begun: called when the application has begun.
        log: called with a line.

    `stop` and `end` may be called from another thread; everything else is the enclave's thread's.
    """

    def __init__(
        self,
        channel: socket.socket,
        stored: socket.socket,
        settings: bytes,
        begun: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self._channel, self._stored = channel, stored
        for stream in (channel, stored):
            stream.setblocking(False)
        self._settings = settings
        self._begun = begun
        self._log_line = log
        self._lines, self._refused = 0, 0
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._reason: CloseReason | None = None
        self._told = False
        """Whether the application knows the reason."""

        self._ended = False

    @property
    def going_on(self) -> bool:
        """Whether the enclave is not to be destroyed."""
        return not self._ended

    def stop(self, reason: CloseReason) -> None:
        """Have the application close its session, at its next RECEIVE; the first reason is the one."""
        if self._reason is None:
            self._reason = reason
        self._ring()

    def end(self) -> None:
        """Have the enclave destroyed as soon as it stands still."""
        self._ended = True
        self._ring()

    def close(self) -> None:
        """Close both streams."""
        with self._lock:
            wake, self._wake = self._wake, -1
        os.close(wake)
        self._channel.close()
        self._stored.close()

    def serve(self, shared: Mapping) -> None:
        """Answer the call that is in the buffer.

        Raises:
            Ended: the enclave is to be destroyed.
        """
        head = Head.parse(bytes(shared[:_ANSWER_PLACE]))
        try:
            status, content = CallStatus.OK, self._answer(head, shared)
        except _Refused as refused:
            status, content = refused.status, b""
        answer = AnswerHead(status, len(content)).build() + content
        shared[_ANSWER_PLACE : _ANSWER_PLACE + len(answer)] = answer
        done = Head(head.number, head.offset, head.size, status, _ANSWER_PLACE, len(answer))
        shared[:_ANSWER_PLACE] = done.build()

    def _answer(self, head: Head, shared: Mapping) -> bytes:
        if head.offset >= SHARED_SIZE or head.size > SHARED_SIZE - head.offset:
            raise self._refusal(CallStatus.BAD_OFFSET, "made a call whose request is not in the buffer")
        given = bytes(shared[head.offset : head.offset + head.size])
        if head.number == edge.LINUX_CALL:
            number = int.from_bytes(given[:8], "little")
            raise self._refusal(CallStatus.SYSCALL_FAILED, f"was refused call {number} of Linux'")
        if head.number not in tuple(Call):
            raise self._refusal(CallStatus.BAD_CALL_ID, f"made a call that there is not: {head.number}")
        call = Call(head.number)
        try:
            request = edge.Request.parse(given)
            room = min(request.room, _ROOM) - AnswerHead.sizeof()
            answer = self._do(call, request.content, room)
            if len(answer) > room:
                raise MessageError("no room for the answer")
            return answer
        except MessageError as error:
            said = f"made a call that cannot be answered: {call.name}: {error}"
            raise self._refusal(CallStatus.ERROR, said) from error

    def _do(self, call: Call, content: bytes, room: int) -> bytes:
        match call:
            case Call.RECEIVE:
                return self._receive(room)
            case Call.SEND:
                self._send(content)
            case Call.BEGIN:
                self._begun()
                return edge.Beginning(os.urandom(edge.ENTROPY_SIZE), self._settings).build()
            case Call.STORE:
                return self._store(content, room)
            case Call.LOG:
                self._note(content[: edge.MAX_LINE].decode(errors="replace"))
        return b""

    def _receive(self, room: int) -> bytes:
        if room < 2:
            raise MessageError("no room for a byte")
        data: bytes | None = None
        while data is None and self._untold() is None:
            try:
                data = self._channel.recv(room - 1)
            except BlockingIOError:
                self._wait(self._channel, select.POLLIN)
            except OSError:
                data = b""
        # Asked again: it may have come as the client left.
        if not data and (reason := self._untold()) is not None:
            self._told = True
            return edge.Event(Happening.CLOSE, edge.Closing(reason).build()).build()
        return edge.Event(Happening.DATA if data else Happening.END, data or b"").build()

    def _untold(self) -> CloseReason | None:
        """Why the application is to close the session, as long as it does not know."""
        return None if self._told else self._reason

    def _send(self, content: bytes) -> None:
        if not content:
            raise MessageError("nothing to send")
        try:
            self._give(self._channel, content)
        except OSError as error:
            # The client is gone: no fault of the application's.
            raise _Refused(CallStatus.ERROR) from error

    def _store(self, content: bytes, room: int) -> bytes:
        size = storage.Request.sizeof()
        request, piece = storage.Request.parse(content[:size]), content[size:]
        if len(piece) != (request.size if request.operation is storage.Operation.APPEND else 0):
            raise MessageError("another piece than the request says")
        if request.operation is storage.Operation.FETCH:
            most = min(request.size, max(0, room - storage.Answer.sizeof()))
            request = storage.Request(request.operation, request.name, request.offset, most)
        try:
            self._give(self._stored, request.build() + piece)
            head = self._take(self._stored, storage.Answer.sizeof())
            return head + self._take(self._stored, storage.Answer.parse(head).size)
        except OSError as error:
            raise _Refused(CallStatus.ERROR) from error

    def _give(self, stream: socket.socket, content: bytes) -> None:
        pending = memoryview(content)
        while pending:
            try:
                pending = pending[stream.send(pending) :]
            except BlockingIOError:
                self._wait(stream, select.POLLOUT)

    def _take(self, stream: socket.socket, size: int) -> bytes:
        taken = bytearray()
        while len(taken) < size:
            try:
                data = stream.recv(size - len(taken))
            except BlockingIOError:
                self._wait(stream, select.POLLIN)
                continue
            if not data:
                raise ConnectionError("the host's storage is gone")
            taken += data
        return bytes(taken)

    def _wait(self, stream: socket.socket, event: int) -> None:
        """Until the stream is ready, or `stop` was called; Ended once `end` was."""
        if not self._ended:
            poller = select.poll()
            poller.register(stream, event)
            poller.register(self._wake, select.POLLIN)
            if self._wake in dict(poller.poll()):
                os.eventfd_read(self._wake)
        if self._ended:
            raise Ended

    def _ring(self) -> None:
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _refusal(self, status: CallStatus, said: str) -> _Refused:
        self._refused += 1
        if self._refused > MAX_REFUSED:
            self._ended = True
            raise Ended
        self._note(said)
        return _Refused(status)

    def _note(self, line: str) -> None:
        self._lines += 1
        if self._lines <= MAX_LINES:
            self._log_line(line)
        elif self._lines == MAX_LINES + 1:
            self._log_line(f"is heard no more: there are {MAX_LINES} lines of it, and it causes more")
