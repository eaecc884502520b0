"""A client's connection without its socket: what is sent and received, when, and how long that may take.

`transport.ClientConnection` blocks, `transport_aio.AsyncClientConnection` awaits; both only do what the steps
of the methods here say. Every operation has one deadline, however slowly bytes trickle in.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, cast

from .endings import CloseReason
from .errors import ChannelTimeout, ProtocolError, Truncated
from .events import EnclaveVerified, PeerClosed, ReplyReceived
from .messages import ErrorReply, Reply, Request, RequestFor, Result
from .session import ClientSession, State
from .steps import NOW, Steps, driven

DEFAULT_TIMEOUT = 30.0
"""Seconds for connecting and for the handshake."""

_LEAVE = 2.0
"""Seconds for the enclave's own close where the caller has an error of its own to tell."""

_QUIET = 0.5
"""Seconds without a word from the enclave after which a request is sent only when it is still there."""

_OPEN = State.OPEN

Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""

Watch = Callable[[int], None]
"""Is told the number of bytes that are still to be sent."""

_Result = TypeVar("_Result", bound=Result)


class Connection:
    """What both kinds of connection share: the session, and replies that came before they were asked for."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._replies: dict[int, Reply] = {}
        self._close_reason: CloseReason | None = None
        self._heard = time.monotonic()
        self.verified: EnclaveVerified | None = None
        """What was verified, once `handshake` has returned."""

    @property
    def is_open(self) -> bool:
        """Whether requests may be sent."""
        return self._session.state is _OPEN

    @abstractmethod
    def abort(self) -> None:
        """Erase the keys and close the socket without a word."""

    @driven
    def handshake(self, timeout: float = DEFAULT_TIMEOUT) -> Steps[EnclaveVerified]:
        """Exchange keys and verify the evidence, in at most `timeout` seconds.

        Raises:
            RemoteError: whoever answers is not an enclave that the policy accepts, or did not answer in time.
        """
        deadline = time.monotonic() + timeout
        while self.verified is None:
            yield from self._exchange(deadline)
        yield from self._flush(deadline)
        return self.verified

    @driven
    def request(
        self, request: RequestFor[_Result], timeout: float | None = None
    ) -> Steps[_Result | ErrorReply]:
        """Send a request and wait for its reply, at most `timeout` seconds (None: without limit).

        Raises:
            RemoteError: the channel failed; the connection is closed.
            LocalError: the request cannot be sent.
        """
        _, reply = yield from self.asking(request, timeout)
        # The session has compared the reply's type with the request's.
        return cast("_Result | ErrorReply", reply)

    def asking(
        self, request: Request, timeout: float | None = None, watch: Watch | None = None
    ) -> Steps[tuple[int, Reply]]:
        """Send a request and wait for its reply, as `sending` and `waiting`; returns its number, too."""
        if time.monotonic() - self._heard > _QUIET:
            yield from self._catch_up(timeout)
        number = self._queue(request)
        return number, (yield from self.waiting(number, timeout, watch))

    def sending(self, request: Request, timeout: float | None = None) -> Steps[int]:
        """Send a request, as far as the enclave's credit allows now, and return its number.

        Raises as `request`. The rest goes out while a reply is waited for.
        """
        if time.monotonic() - self._heard > _QUIET:
            yield from self._catch_up(timeout)
        number = self._queue(request)
        yield from self._flush(None if timeout is None else time.monotonic() + timeout)
        return number

    send = driven(sending)

    def waiting(self, number: int, timeout: float | None = None, watch: Watch | None = None) -> Steps[Reply]:
        """Wait for the reply to a request; raises as `request`.

        The time limit counts from when the enclave last took some of what is to be sent. `watch` is told, now
        and then, how many bytes that still are.
        """
        session, unsent, deadline = self._session, -1, None
        while number not in self._replies:
            if session.state is not _OPEN:
                self._check_open()
            data = session.data_to_send()
            if (still := session.unsent) != unsent:
                unsent = still
                deadline = None if timeout is None else time.monotonic() + timeout
                if watch is not None:
                    watch(unsent)
            # As `_exchange`, without a generator of its own: every call takes this way.
            self._take((yield data, deadline, True))
        if data := session.data_to_send():
            yield from self._sent(data, deadline)
        return self._replies.pop(number)

    wait = driven(waiting)

    def closing(self, timeout: float = DEFAULT_TIMEOUT) -> Steps[None]:
        """Close in order: tell the enclave, wait for its own close, then close the socket.

        Raises:
            RemoteError: the enclave's close did not come.
        """
        deadline = time.monotonic() + timeout
        try:
            self._session.close()
            yield from self._flush(deadline)
            while self._session.state < State.CLOSED:
                yield from self._exchange(deadline)
        finally:
            self.abort()

    close = driven(closing)

    @driven
    def leave(self) -> Steps[None]:
        """Close in order if that can be done at once; never raises: the caller has an error to tell."""
        # Behind a large message a close would take as long as that.
        if self.is_open and not self._session.unsent:
            with suppress(ProtocolError):
                yield from self.closing(_LEAVE)
        self.abort()

    def _exchange(self, deadline: float | None) -> Steps[None]:
        """Send what is there to send, then receive once."""
        self._take((yield self._session.data_to_send(), deadline, True))

    def _flush(self, deadline: float | None) -> Steps[None]:
        """Send what is there to send."""
        if data := self._session.data_to_send():
            yield from self._sent(data, deadline)

    def _sent(self, data: bytes, deadline: float | None) -> Steps[None]:
        if (yield data, deadline, False) is None:
            raise self._broken(TimeoutError())

    def _catch_up(self, timeout: float | None) -> Steps[None]:
        """Receive what is there: the enclave may have closed, and sending to it would lose the reason."""
        if (data := (yield b"", NOW, True)) is not None:
            self._take(data)
            yield from self._flush(None if timeout is None else time.monotonic() + timeout)

    def _queue(self, request: Request) -> int:
        if self._close_reason is not None:
            self._check_open()
        return self._session.send_request(request)

    def _take(self, data: bytes | None) -> None:
        if data is None:
            raise self._broken(TimeoutError())
        self._heard = time.monotonic()
        if not data:
            self._session.receive_eof()
            return
        for event in self._session.receive_data(data):
            if isinstance(event, ReplyReceived):
                self._replies[event[0]] = event[1]
            elif isinstance(event, EnclaveVerified):
                self.verified = event
            elif isinstance(event, PeerClosed):
                self._close_reason = event.reason

    def _check_open(self) -> None:
        if self._session.state is not _OPEN:
            reason = f": {self._close_reason.shown}" if self._close_reason else " before it answered"
            raise Truncated(f"the enclave closed the session{reason}")

    def _last_words(self) -> bytes:
        """What is still to be sent of a session that has failed: a client says when its policy refuses."""
        return self._session.data_to_send() if self._session.state is State.DEAD else b""

    def _broken(self, error: BaseException) -> BaseException:
        """What it means that input or output was interrupted: it leaves a stream that cannot go on."""
        self._session.abort()
        meant: BaseException = error
        if isinstance(error, TimeoutError):
            meant = ChannelTimeout("the enclave did not answer in time")
        elif isinstance(error, OSError):
            meant = Truncated("the connection broke")
        if meant is not error:
            meant.__cause__ = error
        return meant
