"""How sessions end: what one end tells the other, and how little an enclave tells its host."""

from __future__ import annotations

from enum import IntEnum


class Ending(IntEnum):
    """How a session ended: the enclave's exit status. Only FAILED is the enclave's fault.

    DONE: closed in order, by whichever end. LEFT: the client's stream ended without a close. REFUSED: the
    client's policy does not accept the enclave. SILENT: the client did not send, or did not read, for as long
    as the configuration allows. BROKEN: what came from the client breaks the protocol.
    """

    DONE = 0
    FAILED = 1
    LEFT = 2
    REFUSED = 3
    SILENT = 4
    BROKEN = 5

    @property
    def shown(self) -> str:
        """What became of the session, for people."""
        return _ENDINGS[self]


_ENDINGS = {
    Ending.DONE: "the session was closed in order",
    Ending.FAILED: "the enclave failed",
    Ending.LEFT: "the client left without closing the session",
    Ending.REFUSED: "the client's policy does not accept this enclave",
    Ending.SILENT: "the client was silent, or did not read, for too long",
    Ending.BROKEN: "what came from the client was not valid, or was changed on its way",
}


class CloseReason(IntEnum):
    """Why an end closed the channel."""

    DONE = 0
    SHUTDOWN = 1
    IDLE = 2
    TIME = 3
    MEMORY = 4
    REFUSED = 5

    @property
    def shown(self) -> str:
        """The reason, for people: why there is no session any more."""
        return _REASONS[self]


_REASONS = {
    CloseReason.DONE: "the enclave was done",
    CloseReason.SHUTDOWN: "the host is shutting down",
    CloseReason.IDLE: "nothing had passed for too long",
    CloseReason.TIME: "the time that the host gives a session is over",
    CloseReason.MEMORY: "the host's memory is used up, and this session had the most of it",
    CloseReason.REFUSED: "the client's policy does not accept the enclave",
}
