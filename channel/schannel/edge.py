"""Edge calls: what an application in a Keystone enclave asks of its host, as both lay it out.

Head, numbers and rules are in ``docs/keystone.md``. Keystone's own layouts, and the wrapping that is the Rust
SDK's, are little-endian without padding; what is wrapped is ours.
"""

from __future__ import annotations

from enum import IntEnum

from .endings import CloseReason
from .structs import REST, U8, U32_LITTLE, U64_LITTLE, Structure, fixed, one_of, part

ENTROPY_SIZE = 64
"""Random bytes of the host's that come with the settings."""

MAX_LINE = 1024
"""Bytes of a line for the host's log."""

LINUX_CALL = 11
"""EDGECALL_SYSCALL: how Eyrie hands a system call of Linux to the host."""


class Call(IntEnum):
    """The numbers of our calls, among those that Keystone leaves to applications."""

    RECEIVE = 1
    SEND = 2
    BEGIN = 3
    STORE = 4
    LOG = 5


class CallStatus(IntEnum):
    """CALL_STATUS of ``sdk/include/edge/edge_common.h``."""

    OK = 0
    BAD_CALL_ID = 1
    BAD_OFFSET = 2
    BAD_PTR = 3
    ERROR = 4
    SYSCALL_FAILED = 5


class Head(Structure, shown="head of an edge call"):
    """struct edge_call, at the beginning of the shared buffer; offsets count from there."""

    number: int = part(U64_LITTLE)
    offset: int = part(U64_LITTLE)
    size: int = part(U64_LITTLE)
    status: int = part(U64_LITTLE)
    answer_offset: int = part(U64_LITTLE)
    answer_size: int = part(U64_LITTLE)


class Request(Structure, shown="request of an edge call"):
    """What the application takes at most, an `AnswerHead` included; and what the call takes."""

    room: int = part(U64_LITTLE)
    content: bytes = part(REST)


class AnswerHead(Structure, shown="answer to an edge call"):
    """The head of an answer, and how many bytes follow it."""

    status: CallStatus = part(one_of(U32_LITTLE, CallStatus))
    size: int = part(U64_LITTLE)


class Happening(IntEnum):
    """What RECEIVE gives: DATA of the client's, the END of its stream, or that the session is to CLOSE."""

    DATA = 0
    END = 1
    CLOSE = 2


class Event(Structure, shown="event"):
    """What RECEIVE gives; the content is the client's bytes, nothing, or a `Closing`."""

    kind: Happening = part(one_of(U8, Happening))
    content: bytes = part(REST)


class Closing(Structure, shown="reason to close"):
    """With which reason the session is to be closed."""

    reason: CloseReason = part(one_of(U8, CloseReason))


class Beginning(Structure, shown="beginning"):
    """What BEGIN gives: random bytes that the host knows, and the settings, a JSON object."""

    entropy: bytes = part(fixed(ENTROPY_SIZE))
    settings: bytes = part(REST)
