"""The two ends of a channel as state machines: bytes in, events and bytes out, no sockets and no clock."""

from __future__ import annotations

from dataclasses import dataclass

from .events import CloseReason, Event
from .messages import Reply, Request

DEFAULT_MAX_MESSAGE = 256 << 20
DEFAULT_WINDOW = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What this end will hold in memory for its peer, in bytes.

    `max_message` bounds one request or reply, `window` what the peer may send ahead of being consumed.
    """

    max_message: int = DEFAULT_MAX_MESSAGE
    window: int = DEFAULT_WINDOW


class ClientSession:
    """The relying party: verifies the enclave before it sends anything but the handshake."""

    def receive_data(self, data: bytes) -> list[Event]:
        """Take received bytes, in whatever pieces they come."""
        raise NotImplementedError

    def receive_eof(self) -> None:
        """Note the end of the peer's stream; Truncated unless its authenticated close came first."""
        raise NotImplementedError

    def data_to_send(self) -> bytes:
        """Take the bytes that are ready to go out; empty after each call of any other method."""
        raise NotImplementedError

    def send_request(self, request: Request) -> int:
        """Queue a request; returns its number, which the reply carries."""
        raise NotImplementedError

    def close(self, reason: CloseReason = CloseReason.DONE) -> None:
        """Queue the authenticated close, after everything that is queued already."""
        raise NotImplementedError


class EnclaveSession:
    """The enclave: proves what it is, then answers requests."""

    def receive_data(self, data: bytes) -> list[Event]:
        """Take received bytes, in whatever pieces they come."""
        raise NotImplementedError

    def receive_eof(self) -> None:
        """Note the end of the peer's stream; Truncated unless its authenticated close came first."""
        raise NotImplementedError

    def data_to_send(self) -> bytes:
        """Take the bytes that are ready to go out; empty after each call of any other method."""
        raise NotImplementedError

    def send_evidence(self, report: bytes) -> None:
        """Answer `EvidenceRequired` with the monitor's report, raw or compact."""
        raise NotImplementedError

    def send_reply(self, number: int, reply: Reply) -> None:
        """Queue the reply to a request, and give the client credit for it again."""
        raise NotImplementedError

    def close(self, reason: CloseReason = CloseReason.DONE) -> None:
        """Queue the authenticated close, after everything that is queued already."""
        raise NotImplementedError
