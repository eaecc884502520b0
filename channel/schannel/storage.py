"""What an enclave and its host say about sealed programs: the host stores bytes under names, both opaque.

Over a stream socket of their own the enclave asks and the host answers, one at a time. Nothing here is
secret, and nothing that the host answers is believed: whoever opens a sealed program authenticates it.
"""

from __future__ import annotations

from enum import IntEnum

from .structs import U8, U32, U64, Structure, bounded, fixed, one_of, part

NAME_SIZE = 32
"""Bytes of a name."""

OWNER_SIZE = 16
"""Of these, the owner's: the same for all that one client has kept, so that a host can count it."""

MAX_PIECE = 1 << 20
"""Bytes that are stored or fetched at a time."""


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


class Request(Structure, shown="storage request"):
    """A request's head; for APPEND `size` bytes follow it."""

    operation: Operation = part(one_of(U8, Operation))
    name: bytes = part(fixed(NAME_SIZE))
    offset: int = part(U64)
    size: int = part(bounded(U32, MAX_PIECE))


class Answer(Structure, shown="storage answer"):
    """An answer's head: `total` is the size of what is stored, and `size` bytes follow."""

    status: Status = part(one_of(U8, Status))
    total: int = part(U64)
    size: int = part(bounded(U32, MAX_PIECE))
