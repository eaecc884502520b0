"""A client's connection over a socket: the one module of the package that does input and output.

`ClientConnection` blocks, `AsyncClientConnection` awaits; both drive a `ClientSession` and know nothing of
what passes. Every operation has one deadline, however slowly bytes trickle in.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Self

from . import fast
from .endings import CloseReason
from .errors import ChannelTimeout, LocalError, ProtocolError, Truncated
from .events import EnclaveVerified, Event, PeerClosed, ReplyReceived
from .messages import Reply, Request
from .session import ClientSession, State
from .wire import Buffer

RECEIVE_SIZE = 1 << 18
DEFAULT_TIMEOUT = 30.0
"""Seconds for connecting and for the handshake."""

_TICK = 1
"""Seconds for which the kernel waits for bytes without being asked again."""

_LEAVE = 2.0
"""Seconds for the enclave's own close where the caller has an error of its own to tell."""

_QUIET = 0.5
"""Seconds without a word from the enclave after which a request is sent only when it is still there."""

_OPEN = State.OPEN

Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""

Watch = Callable[[int], None]
"""Is told the number of bytes that are still to be sent."""


class _Driver:
    """What both kinds of connection share: the session, and replies that came before they were asked for."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._replies: dict[int, Reply] = {}
        self._close_reason: CloseReason | None = None
        self._heard = time.monotonic()
        self.verified: EnclaveVerified | None = None
        """What was verified, once `handshake` has returned."""

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, ReplyReceived):
                self._replies[event.number] = event.reply
            elif isinstance(event, EnclaveVerified):
                self.verified = event
            elif isinstance(event, PeerClosed):
                self._close_reason = event.reason

    def _receive(self, data: bytes) -> None:
        self._heard = time.monotonic()
        if data:
            self._take(self._session.receive_data(data))
        else:
            self._session.receive_eof()

    @property
    def is_open(self) -> bool:
        """Whether requests may be sent."""
        return self._session.state is State.OPEN

    @property
    def _can_close(self) -> bool:
        """Whether a close can go out now: behind a large message it would take as long as that."""
        return self.is_open and not self._session.unsent

    def _last_words(self) -> bytes:
        """What is still to be sent of a session that has failed: a client says when its policy refuses."""
        return self._session.data_to_send() if self._session.state is State.DEAD else b""

    def _was_quiet(self) -> bool:
        """Whether the enclave may have closed meanwhile: sending to it then would lose the reason."""
        return time.monotonic() - self._heard > _QUIET

    def _queue(self, request: Request) -> int:
        if self._close_reason is not None:
            self._check_open()
        return self._session.send_request(request)

    def _check_open(self) -> None:
        if self._session.state is not State.OPEN:
            reason = f": {self._close_reason.shown}" if self._close_reason else " before it answered"
            raise Truncated(f"the enclave closed the session{reason}")


class ClientConnection(_Driver):
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

    def handshake(self, timeout: float = DEFAULT_TIMEOUT) -> EnclaveVerified:
        """Exchange keys and verify the evidence; raises as `connect`."""
        deadline = time.monotonic() + timeout
        self._send(self._session.data_to_send(), deadline)
        while self.verified is None:
            self._exchange(deadline)
        return self.verified

    def request(self, request: Request, timeout: float | None = None) -> Reply:
        """Send a request and wait for its reply, at most `timeout` seconds (None: without limit).

        Raises:
            RemoteError: the channel failed; the connection is closed.
            LocalError: the request cannot be sent.
        """
        number = self.send(request, timeout)
        return self.wait(number, timeout)

    def send(self, request: Request, timeout: float | None = None) -> int:
        """Send a request, as far as the enclave's credit allows now, and return its number.

        Raises as `request`. The rest goes out while a reply is waited for.
        """
        now = time.monotonic()
        deadline = None if timeout is None else now + timeout
        if now - self._heard > _QUIET and self._reading.poll(0):
            self._exchange(deadline)
        number = self._queue(request)
        self._send(self._session.data_to_send(), deadline)
        return number

    def wait(self, number: int, timeout: float | None = None, watch: Watch | None = None) -> Reply:
        """Wait for the reply to a request; raises as `request`.

        The time limit counts from when the enclave last took some of what is to be sent. `watch` is told, now
        and then, how many bytes that still are.
        """
        unsent = -1
        while number not in self._replies:
            if self._session.state is not _OPEN:
                self._check_open()
            if (still := self._session.unsent) != unsent:
                unsent = still
                deadline = None if timeout is None else time.monotonic() + timeout
                if watch is not None:
                    watch(unsent)
            self._exchange(deadline)
        return self._replies.pop(number)

    def close(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Close in order: tell the enclave, wait for its own close, then close the socket.

        Raises:
            RemoteError: the enclave's close did not come.
        """
        deadline = time.monotonic() + timeout
        try:
            self._session.close()
            self._send(self._session.data_to_send(), deadline)
            while self._session.state is State.OPEN:
                self._exchange(deadline)
        finally:
            self.abort()

    def leave(self) -> None:
        """Close in order if that can be done at once; never raises: the caller has an error to tell."""
        if self._can_close:
            with suppress(ProtocolError):
                self.close(_LEAVE)
        self.abort()

    def abort(self) -> None:
        """Erase the keys and close the socket without a word."""
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

    def _exchange(self, deadline: float | None) -> None:
        """Receive once, then send what that released."""
        try:
            data = fast.receive(self._descriptor, self._buffer)
            self._receive(self._wait(deadline) if data is None else data)
        except BaseException as error:
            self._hang_up(error)
            raise
        if data := self._session.data_to_send():
            self._send(data, deadline)

    def _wait(self, deadline: float | None) -> bytes:
        """Wait for bytes; none of them at the end of the stream."""
        while True:
            if deadline is not None and deadline - time.monotonic() < _TICK:
                _await(self._reading, deadline)
            with suppress(BlockingIOError):
                return bytes(self._view[: self._socket.recv_into(self._view)])

    def _send(self, data: bytes, deadline: float | None) -> None:
        pending: Buffer = data
        try:
            while pending:
                try:
                    sent = self._socket.send(pending, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    _await(self._writing, deadline)
                else:
                    pending = memoryview(pending)[sent:] if sent < len(pending) else b""
        except BaseException as error:
            self._hang_up(error)
            raise

    def _hang_up(self, error: BaseException) -> None:
        """Whatever interrupts input or output leaves a stream that cannot go on."""
        if words := self._last_words():
            with suppress(OSError):
                self._socket.send(words, socket.MSG_DONTWAIT)
        self.abort()
        if isinstance(error, TimeoutError):
            raise ChannelTimeout("the enclave did not answer in time") from error
        if isinstance(error, OSError):
            raise Truncated("the connection broke") from error


class AsyncClientConnection(_Driver):
    """A connection to an enclave for asyncio; one request at a time, others wait for it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: ClientSession
    ) -> None:
        super().__init__(session)
        self._reader = reader
        self._writer = writer
        self._lock = asyncio.Lock()

    @classmethod
    async def connect(
        cls, address: Address, session: ClientSession, timeout: float = DEFAULT_TIMEOUT
    ) -> Self:
        """Connect and verify; raises as `ClientConnection.connect`."""
        connection = None
        try:
            async with asyncio.timeout(timeout):
                connection = cls(*await _open_streams(address), session)
                await connection.handshake()
        except BaseException as error:
            session.abort()
            if connection is not None:
                connection.abort()
            if isinstance(error, TimeoutError):
                raise ChannelTimeout("the enclave did not answer in time") from error
            raise
        return connection

    async def handshake(self) -> EnclaveVerified:
        """Exchange keys and verify the evidence."""
        async with self._guard():
            await self._send()
            while self.verified is None:
                await self._exchange()
        return self.verified

    async def request(self, request: Request) -> Reply:
        """Send a request and wait for its reply; `asyncio.timeout` around it sets a limit, and hangs up.

        Raises:
            RemoteError: the channel failed; the connection is closed.
            LocalError: the request cannot be sent.
        """
        return await self.wait(await self.send(request))

    async def send(self, request: Request) -> int:
        """Send a request, as far as the enclave's credit allows now, and return its number."""
        async with self._guard():
            if self._was_quiet():
                await self._hear()
            number = self._queue(request)
            await self._send()
            return number

    async def wait(self, number: int, watch: Watch | None = None) -> Reply:
        """Wait for the reply to a request; `watch` is told how many bytes are still to be sent."""
        async with self._guard():
            while number not in self._replies:
                self._check_open()
                if watch is not None:
                    watch(self._session.unsent)
                await self._exchange()
            return self._replies.pop(number)

    async def close(self) -> None:
        """Close in order, as `ClientConnection.close`."""
        try:
            async with self._guard():
                self._session.close()
                await self._send()
                while self._session.state is State.OPEN:
                    await self._exchange()
        finally:
            self.abort()

    async def leave(self) -> None:
        """As `ClientConnection.leave`."""
        if self._can_close:
            with suppress(ProtocolError, TimeoutError):
                async with asyncio.timeout(_LEAVE):
                    await self.close()
        self.abort()

    def abort(self) -> None:
        """Erase the keys and close the socket without a word."""
        if self._session.state is not State.CLOSED:
            self._session.abort()
        self._writer.close()

    @asynccontextmanager
    async def _guard(self) -> AsyncIterator[None]:
        """One operation at a time; whatever interrupts one, but for a mistake of the caller's, hangs up."""
        async with self._lock:
            try:
                yield
            except LocalError:
                raise
            except OSError as error:
                self.abort()
                raise Truncated("the connection broke") from error
            except BaseException:
                self._writer.write(self._last_words())
                self.abort()
                raise

    async def _hear(self) -> None:
        """Receive what is there already."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await self._exchange()

    async def _exchange(self) -> None:
        """Receive once, then send what that released."""
        self._receive(await self._reader.read(RECEIVE_SIZE))
        await self._send()

    async def _send(self) -> None:
        self._writer.write(self._session.data_to_send())
        await self._writer.drain()


async def _open_streams(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(address, str):
        return await asyncio.open_unix_connection(address)
    return await asyncio.open_connection(*address)


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


def _await(ready: select.poll, deadline: float | None) -> None:
    """Wait until a socket is ready; TimeoutError at the deadline."""
    remaining = _remaining(deadline)
    if not ready.poll(None if remaining is None else remaining * 1000):
        raise TimeoutError


def _remaining(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining
