"""What an enclave and its host say about sealed programs: the host stores bytes under names, both opaque.

Over a stream socket of their own the enclave asks and the host answers, one at a time. Nothing here is
secret, and nothing that the host answers is believed: whoever opens a sealed program authenticates it.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from .errors import MessageError

NAME_SIZE = 32
"""Bytes of a name."""

OWNER_SIZE = 16
"""Of these, the owner's: the same for all that one client has kept, so that a host can count it."""

MAX_PIECE = 1 << 20
"""Bytes that are stored or fetched at a time."""

_REQUEST = struct.Struct(">B32sQI")
_ANSWER = struct.Struct(">BQI")
REQUEST_SIZE = _REQUEST.size
ANSWER_SIZE = _ANSWER.size


class Operation(IntEnum):
    """FETCH a piece from an offset; APPEND one to a draft (offset 0 begins it); KEEP it; FORGET a name."""

    FETCH = 1
    APPEND = 2
    KEEP = 3
    FORGET = 4


class Status(IntEnum):
    """What became of a request.

    MISSING: nothing has that name. REFUSED: it cannot be written, or is out of order. QUOTA: the owner has as
    much as one may. FULL: the host has as much as it keeps.
    """

    DONE = 0
    MISSING = 1
    REFUSED = 2
    QUOTA = 3
    FULL = 4


def encode_request(operation: Operation, name: bytes, offset: int, size: int) -> bytes:
    """A request's head; for APPEND `size` bytes follow it."""
    return _REQUEST.pack(operation, name, offset, size)


def decode_request(head: bytes) -> tuple[Operation, bytes, int, int]:
    """Operation, name, offset and size; MessageError for what is no request."""
    if len(head) != REQUEST_SIZE:
        raise MessageError("not a storage request")
    number, name, offset, size = _REQUEST.unpack(head)
    if size > MAX_PIECE or number not in tuple(Operation):
        raise MessageError("not a storage request")
    return Operation(number), name, offset, size


def encode_answer(status: Status, total: int, size: int) -> bytes:
    """An answer's head: `total` is the size of what is stored, and `size` bytes follow."""
    return _ANSWER.pack(status, total, size)


def decode_answer(head: bytes) -> tuple[Status, int, int]:
    """Status, total and size; MessageError for what is no answer."""
    if len(head) != ANSWER_SIZE:
        raise MessageError("not a storage answer")
    number, total, size = _ANSWER.unpack(head)
    if size > MAX_PIECE or number not in tuple(Status):
        raise MessageError("not a storage answer")
    return Status(number), total, size
