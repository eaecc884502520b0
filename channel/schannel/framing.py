"""How a byte stream is cut into records: all of the protocol that a relay can see or may import.

A stream is one prologue of `PROLOGUE_SIZE` bytes, sent by the client only, then records in both directions:
a 2-byte big-endian length and that many bytes (Noise, section 13). Nothing here knows cryptography.
"""

from __future__ import annotations

from enum import IntEnum

from .errors import FramingError, LocalError, Truncated

MAGIC = b"TWSC"
"""The first bytes that a client sends."""

PROLOGUE_SIZE = 8
"""Bytes of the client's prologue, before its first record."""

LENGTH_SIZE = 2
"""Bytes of a record's length prefix."""

MAX_RECORD = 65535
"""Largest record in bytes, its prefix not counted: the largest Noise message."""


class Refusal(IntEnum):
    """Why a relay does not serve a client: the byte after a length prefix of zero.

    A relay sends it in plain in place of an answer. No end of a channel ever sends a record of no bytes, so
    it cannot be mistaken. Nobody signs it: a client believes it only while it connects, when a lie does no
    more than a relay can do anyway.
    """

    BUSY = 1
    CONNECTIONS = 2
    ADDRESS = 3
    SLOW = 4
    STOPPING = 5

    @property
    def shown(self) -> str:
        """The reason, for people: what is said about the host."""
        return _REFUSALS[self]


_REFUSALS = {
    Refusal.BUSY: "is busy: no enclave is free, try again later",
    Refusal.CONNECTIONS: "is busy: it has as many connections as it takes, try again later",
    Refusal.ADDRESS: "refused: there are too many connections from this address",
    Refusal.SLOW: "refused: the first message did not come in time",
    Refusal.STOPPING: "is shutting down",
}


class Refused(FramingError):
    """The stream is a relay's refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"the host {refusal.shown}")
        self.refusal = refusal


def encode_refusal(refusal: Refusal) -> bytes:
    """What a relay sends to a client that it does not serve."""
    return bytes([*bytes(LENGTH_SIZE), refusal])


def encode_record(body: bytes) -> bytes:
    """Put the length prefix before one record.

    Raises:
        LocalError: `body` is empty or longer than `MAX_RECORD` bytes.
    """
    if not 0 < len(body) <= MAX_RECORD:
        raise LocalError(f"a record holds 1 to {MAX_RECORD} bytes, not {len(body)}")
    return len(body).to_bytes(LENGTH_SIZE, "big") + body


class StreamParser:
    """Cuts a byte stream into fixed-size pieces and records, however it was split on the way.

    It buffers what it was given and has not yet handed out; with the records taken after each
    `receive_data`, that is less than one record. `refusable` says whether a refusal may come: only to a
    client, and only in place of the first record.
    """

    def __init__(self, *, refusable: bool = False) -> None:
        # Received bytes as they came, mostly whole records; put together only when a piece was cut.
        self._data: bytes | bytearray = b""
        self._position = 0
        self.refusable = refusable

    def receive_data(self, data: bytes) -> None:
        """Append received bytes."""
        if self._position == len(self._data):
            self._data = data
        elif self._position == 0 and isinstance(self._data, bytearray):
            self._data += data
            return
        else:
            with memoryview(self._data) as view:
                self._data = bytearray(view[self._position :])
            self._data += data
        self._position = 0

    def only_record(self, data: bytes) -> bytes | None:
        """The record that received bytes are, all of them and with none before; else None, and none is taken.

        For a record by itself it does what `receive_data` and `next_record` do.
        """
        size = len(data) - LENGTH_SIZE
        if self._position < len(self._data) or size <= 0 or data[0] << 8 | data[1] != size:
            return None
        return data[LENGTH_SIZE:]

    def take(self, size: int) -> bytes | None:
        """Return the next `size` bytes, or None until they are all there."""
        end = self._position + size
        if end > len(self._data):
            return None
        taken = bytes(self._data[self._position : end])
        self._position = end
        return taken

    def next_record(self) -> bytes | None:
        """Return the next record without its prefix, or None until it is complete.

        Raises:
            Refused: it is a relay's refusal.
            FramingError: the prefix announces an empty record.
        """
        data, start = self._data, self._position + LENGTH_SIZE
        if start > len(data):
            return None
        end = start + (data[start - 2] << 8 | data[start - 1])
        if end == start:
            self._refuse(bytes(data[start : start + 1]))
            return None
        if end > len(data):
            return None
        self._position = end
        return bytes(data[start:end])

    def _refuse(self, reason: bytes) -> None:
        """Raise what an empty record means, once that is known."""
        if self.refusable and not reason:
            return
        if self.refusable and reason[0] in Refusal.__members__.values():
            raise Refused(Refusal(reason[0]))
        raise FramingError("a record of zero bytes was announced")

    def receive_eof(self) -> None:
        """Note the end of the stream.

        Raises:
            Truncated: it came in the middle of a piece.
        """
        if self._position < len(self._data):
            raise Truncated("the stream ended in the middle of a record")
