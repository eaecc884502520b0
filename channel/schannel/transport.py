"""Sockets that block: a client's connection, and how either end waits for bytes."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType, TracebackType
from typing import Any, Self, TypeVar

from .connection import DEFAULT_TIMEOUT, Address, Connection
from .extensions import usable
from .session import ClientSession, State
from .steps import NOW, Blocking, Steps
from .wire import Buffer

RECEIVE_SIZE = 1 << 18

_TICK = 1
"""Seconds for which the kernel waits for bytes without being asked again."""

_DEAD = State.DEAD
_T = TypeVar("_T")


def _extension() -> ModuleType | None:
    """The extension, if it is built, and from these sources."""
    if not usable("schannel._transport"):
        return None
    try:
        from . import _transport
    except ImportError:
        return None
    return _transport


def _not_soon(_descriptor: int, _buffer: bytearray) -> None:
    """Without the extension nobody waits awake."""


_compiled = _extension()

receive_soon: Callable[[int, bytearray], bytes | None] = _compiled.receive_soon if _compiled else _not_soon
"""What arrives soon at a socket of that descriptor, by way of a buffer: no bytes at the end of the stream.

None where nothing does, and where something is wrong, which a call that blocks tells.

Soon is within 0.3 milliseconds, which are spent awake: to wake up takes as long as a small call.
"""


class ClientConnection(Connection, Blocking):
    """A blocking connection to an enclave."""

    def __init__(self, sock: socket.socket, session: ClientSession) -> None:
        super().__init__(session)
        # Sending never blocks. Receiving does, a tick at a time, until less than that is left of a limit:
        # to wait and to receive are one system call then, and no limit has to be set for each.
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _TICK, 0))
        self._socket = sock
        self._descriptor = sock.fileno()
        self._buffer = bytearray(RECEIVE_SIZE)
        self._view = memoryview(self._buffer)
        self._reading = select.poll()
        self._reading.register(sock, select.POLLIN)
        self._writing = select.poll()
        self._writing.register(sock, select.POLLOUT)

    @classmethod
    def connect(cls, address: Address, session: ClientSession, timeout: float = DEFAULT_TIMEOUT) -> Self:
        """Connect and verify; `timeout` in seconds is for both together.

        Raises:
            OSError: there is no connection.
            RemoteError: whoever answers is not an enclave that the policy accepts, or did not answer in time.
        """
        deadline = time.monotonic() + timeout
        connection = cls(_open_socket(address, timeout), session)
        try:
            connection.handshake(deadline - time.monotonic())
        except BaseException:
            connection.abort()
            raise
        return connection

    def drive(self, steps: Steps[_T]) -> _T:
        """Take the steps; returns what they return.

        Raises what they raise. Where that, or what interrupts a step, ends the session, the socket is closed.
        """
        answer: Any = None
        take = steps.send
        try:
            while True:
                data, deadline, receives = take(answer)
                try:
                    take = steps.send
                    if data and not self._send(data, deadline):
                        answer = None
                    else:
                        answer = self._receive(deadline) if receives else b""
                except BaseException as error:
                    answer, take = self._broken(error), steps.throw
        except StopIteration as end:
            result: _T = end.value
            return result
        finally:
            if self._session.state is _DEAD:
                self.abort()

    def abort(self) -> None:
        """Erase the keys and close the socket without a word."""
        if words := self._last_words():
            with suppress(OSError):
                self._socket.send(words, socket.MSG_DONTWAIT)
        if self._session.state is not State.CLOSED:
            self._session.abort()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.leave()

    def _receive(self, deadline: float | None) -> bytes | None:
        if deadline == NOW and not self._reading.poll(0):
            return None
        if (data := receive_soon(self._descriptor, self._buffer)) is not None:
            return data
        while True:
            if (
                deadline is not None
                and (left := deadline - time.monotonic()) < _TICK
                and not self._reading.poll(max(left, 0) * 1000)
            ):
                return None
            with suppress(BlockingIOError):
                return bytes(self._view[: self._socket.recv_into(self._view)])

    def _send(self, data: bytes, deadline: float | None) -> bool:
        pending: Buffer = data
        while pending:
            try:
                sent = self._socket.send(pending, socket.MSG_DONTWAIT)
            except BlockingIOError:
                left = None if deadline is None else max(deadline - time.monotonic(), 0) * 1000
                if not self._writing.poll(left):
                    return False
            else:
                pending = memoryview(pending)[sent:] if sent < len(pending) else b""
        return True


def _open_socket(address: Address, timeout: float) -> socket.socket:
    if not isinstance(address, str):
        sock = socket.create_connection(address, timeout)
        # A credit record before a request must not hold the request back for a delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
