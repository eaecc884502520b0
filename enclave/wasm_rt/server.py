"""What every enclave does: the loop between a session's state machine and the application.

How bytes come and go, how long to wait for them and what is kept for the channel when memory is short differs
between `enclave`, a process with sockets, and `keystone`, an application on Keystone.
"""

from __future__ import annotations

import contextlib
import mmap
from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

from schannel.ed25519_sha3 import SEED_SIZE
from schannel.endings import CloseReason, Ending
from schannel.errors import EvidenceError, LocalError, RemoteError, Truncated
from schannel.events import ClientIdentified, Event, EvidenceRequired, PeerClosed, RequestReceived
from schannel.evidence import Isolation
from schannel.flow import Limits
from schannel.handshake import identity_key
from schannel.messages import (
    NO_MEMORY,
    DeployRequest,
    ErrorCode,
    ErrorReply,
    PutRequest,
    Reply,
    Request,
    RestoreRequest,
)
from schannel.monitor_keys import SealingKey
from schannel.primitives import random_bytes
from schannel.session import EnclaveClaims, EnclaveSession

from .application import VERSION, Application
from .configuration import Configuration
from .errors import MonitorRefused
from .sealing import IDENTIFIER, Sealing
from .stored import Storage

_MAKES_ROOM = frozenset((DeployRequest, RestoreRequest, PutRequest))
"""Requests that replace what takes much, and have small replies: the least reserve is kept from them."""

_UNSHARED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class Monitor(Protocol):
    """What an enclave asks of the security monitor, and tells its host."""

    def attest(self, data: bytes) -> bytes:
        """The monitor's report with `data` in it, raw or compact; raises MonitorRefused."""

    def sealing_key(self, identifier: bytes) -> SealingKey:
        """The key that only enclaves of the same identity get; raises MonitorRefused."""

    def log(self, text: str) -> None:
        """Have a line without secrets logged; it may be lost."""


class Stop(Exception):
    """The session is to end now, in order."""

    def __init__(self, reason: CloseReason) -> None:
        super().__init__(reason.shown)
        self.reason = reason

    def __reduce__(self) -> tuple[type[Stop], tuple[CloseReason]]:
        return type(self), (self.reason,)


class Silent(TimeoutError):
    """The client has sent nothing for too long."""


class Server(ABC):
    """The request loop between the channel's session and the application."""

    reserves: ClassVar[range]
    """Bytes that are kept from a request for the channel: the first of these that is to be had."""

    def __init__(
        self,
        monitor: Monitor,
        storage: Storage,
        configuration: Configuration,
        isolation: Isolation,
        build: str,
    ) -> None:
        self._monitor = monitor
        receipt_key = identity_key(random_bytes(SEED_SIZE))
        sealing = Sealing(lambda: monitor.sealing_key(IDENTIFIER).key, storage, configuration.max_message)
        self._application = Application(configuration, sealing, receipt_key)
        claims = EnclaveClaims(configuration.digest(), VERSION, isolation, receipt_key.public, build)
        self._session = EnclaveSession(claims, limits=Limits(max_message=configuration.max_message))
        self._refused = False
        self._admitted = False
        """Whether the client has the keys and may do something."""

    def serve(self) -> Ending:
        """Answer requests until the session is over; returns how it ended.

        Raises:
            MonitorRefused: there is no evidence to show.
            LocalError, OSError: a mistake or failure of the enclave's own.
        """
        try:
            while not self._receive():
                pass
        except Stop as stop:
            self._close(stop.reason)
        except Silent:
            self._close(CloseReason.IDLE)
            return Ending.SILENT
        except TimeoutError:
            # It does not read: it would not read a close either.
            return Ending.SILENT
        except (Truncated, ConnectionError):
            return Ending.LEFT
        except RemoteError as error:
            self._monitor.log(f"what came from the client is not valid: {error}")
            return Ending.BROKEN
        return Ending.REFUSED if self._refused else Ending.DONE

    def _receive(self) -> bool:
        """Wait for bytes and deal with them; whether the session is over."""
        data = self._wait_for_data()
        if not data:
            self._session.receive_eof()
            return True
        events = self._session.receive_data(data)
        if self._session.peer_closed:
            self._refused = PeerClosed(CloseReason.REFUSED) in events
            # A client that has closed waits for no reply any more, and may not wait for our close either.
            with contextlib.suppress(OSError):
                self._flush()
            return True
        for event in events:
            self._handle(event)
        self._admitted = self._admitted or (self._session.confirmed and self._application.is_of_use)
        self._flush()
        return False

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            number, request = event
            reply = self._answer(request, number)
            try:
                self._session.send_reply(number, reply)
            except LocalError as error:
                self._session.send_reply(number, ErrorReply(ErrorCode.TOO_LARGE, str(error)))
            self._flush()
            self._application.settle()
        elif isinstance(event, EvidenceRequired):
            report = self._monitor.attest(event.data)
            try:
                self._session.send_evidence(report)
            except EvidenceError as error:
                raise MonitorRefused(f"the security monitor's report is malformed: {error}") from error
            self._application.begin(self._session.handshake_hash)
        elif isinstance(event, ClientIdentified):
            self._application.identify(event.public_key)

    def _answer(self, request: Request, number: int) -> Reply:
        reserve = _reserve(self.reserves[-1:] if type(request) in _MAKES_ROOM else self.reserves)
        if reserve is None:
            return NO_MEMORY
        try:
            return self._application.handle(request, number)
        finally:
            reserve.close()

    @abstractmethod
    def _wait_for_data(self) -> bytes:
        """Bytes from the client, none at the end of its stream; raises `Stop` or `Silent`."""

    @abstractmethod
    def _flush(self) -> None:
        """Send what the session has to say; raises TimeoutError where the client does not read."""

    def _close(self, reason: CloseReason) -> None:
        with contextlib.suppress(LocalError, OSError):
            self._session.close(reason)
            self._flush()


def _reserve(sizes: range) -> mmap.mmap | None:
    """Memory that a request cannot take, so that the channel has it for the next; None if there is none left.

    It has the first of `sizes` that is to be had. It is never written to: in a process it counts towards the
    limit only. What a program keeps may leave a part of it, which has to do then, so that the program can be
    made to let go, or replaced.
    """
    # Every call waits for this: no context managers, and flags that are worked out once.
    for size in sizes:
        try:
            return mmap.mmap(-1, size, _UNSHARED)
        except OSError:
            continue
    return None
