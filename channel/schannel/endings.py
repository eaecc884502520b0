"""What an enclave tells its host of how its session ended: the exit status of its process, and no more."""

from __future__ import annotations

from enum import IntEnum


class Ending(IntEnum):
    """How a session ended; only FAILED is the enclave's fault.

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
