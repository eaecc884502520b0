"""Where a session is, and where it goes by what passes: one table for each end.

What a table does not have may not pass. Whatever breaks the protocol leads to DEAD, from everywhere.
docs/protocol.md shows the tables as diagrams.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto


class State(IntEnum):
    """Where a session is; it only ever moves down this list."""

    PROLOGUE = auto()
    """The enclave waits for the client's first bytes."""

    HANDSHAKE = auto()
    """Each waits for the other's public keys."""

    EVIDENCE = auto()
    """There are keys; the enclave has to give evidence."""

    UNCONFIRMED = auto()
    """The enclave has given it; nothing shows yet that the client has the keys."""

    DISMISSED = auto()
    """The enclave has closed, and nothing shows yet that the client has the keys."""

    OPEN = auto()
    """Messages pass."""

    CLOSE_SENT = auto()
    """This end says nothing more."""

    CLOSE_RECEIVED = auto()
    """The other end says nothing more."""

    CLOSED = auto()
    """Both closed in order."""

    DEAD = auto()
    """It failed, or was aborted."""


class Passed(IntEnum):
    """What passes between the ends and matters to the state, as this end sees it."""

    PROLOGUE_RECEIVED = auto()
    KEYS_RECEIVED = auto()
    EVIDENCE_SENT = auto()
    EVIDENCE_RECEIVED = auto()
    IDENTITY_RECEIVED = auto()
    MESSAGE_RECEIVED = auto()
    CREDIT_RECEIVED = auto()
    CLOSE_SENT = auto()
    CLOSE_RECEIVED = auto()


Table = Mapping[State, Mapping[Passed, State]]

_OPEN: Table = {
    State.OPEN: {
        Passed.MESSAGE_RECEIVED: State.OPEN,
        Passed.CREDIT_RECEIVED: State.OPEN,
        Passed.CLOSE_SENT: State.CLOSE_SENT,
        Passed.CLOSE_RECEIVED: State.CLOSE_RECEIVED,
    },
    State.CLOSE_SENT: {
        Passed.MESSAGE_RECEIVED: State.CLOSE_SENT,
        Passed.CREDIT_RECEIVED: State.CLOSE_SENT,
        Passed.CLOSE_RECEIVED: State.CLOSED,
    },
    State.CLOSE_RECEIVED: {Passed.CLOSE_SENT: State.CLOSED},
    State.CLOSED: {},
    State.DEAD: {},
}

CLIENT: Table = {
    State.HANDSHAKE: {Passed.KEYS_RECEIVED: State.EVIDENCE},
    State.EVIDENCE: {Passed.EVIDENCE_RECEIVED: State.OPEN},
    **_OPEN,
}

ENCLAVE: Table = {
    State.PROLOGUE: {Passed.PROLOGUE_RECEIVED: State.HANDSHAKE},
    State.HANDSHAKE: {Passed.KEYS_RECEIVED: State.EVIDENCE},
    State.EVIDENCE: {Passed.EVIDENCE_SENT: State.UNCONFIRMED},
    State.UNCONFIRMED: {
        Passed.IDENTITY_RECEIVED: State.OPEN,
        Passed.MESSAGE_RECEIVED: State.OPEN,
        Passed.CREDIT_RECEIVED: State.OPEN,
        Passed.CLOSE_SENT: State.DISMISSED,
        Passed.CLOSE_RECEIVED: State.CLOSE_RECEIVED,
    },
    State.DISMISSED: {
        Passed.IDENTITY_RECEIVED: State.CLOSE_SENT,
        Passed.MESSAGE_RECEIVED: State.CLOSE_SENT,
        Passed.CREDIT_RECEIVED: State.CLOSE_SENT,
        Passed.CLOSE_RECEIVED: State.CLOSED,
    },
    **_OPEN,
}

SENDING = frozenset((State.UNCONFIRMED, State.OPEN, State.CLOSE_RECEIVED))
"""Where this end may still send messages, credit and its close."""
