"""How a byte stream is cut into records: all of the protocol that a relay can see or may import.

A stream is one prologue of `PROLOGUE_SIZE` bytes, sent by the client only, then records in both directions:
a 2-byte big-endian length and that many bytes (Noise, section 13). Nothing here knows cryptography.
"""

from __future__ import annotations

from .errors import FramingError, LocalError, Truncated

MAGIC = b"TWSC"
"""The first bytes that a client sends."""

PROLOGUE_SIZE = 8
"""Bytes of the client's prologue, before its first record."""

LENGTH_SIZE = 2
"""Bytes of a record's length prefix."""

MAX_RECORD = 65535
"""Largest record in bytes, its prefix not counted: the largest Noise message."""

REFUSAL = bytes(LENGTH_SIZE)
"""What a relay without a free enclave sends in place of an answer, in plain: a record of no bytes.

No end of a channel ever sends one, so it cannot be mistaken. A client takes it as "busy" only while it
connects, and as a broken channel (`FramingError`) later.
"""


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
    `receive_data`, that is less than one record.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Append received bytes."""
        self._buffer += data

    def take(self, size: int) -> bytes | None:
        """Return the next `size` bytes, or None until they are all there."""
        if len(self._buffer) < size:
            return None
        with memoryview(self._buffer) as view:
            taken = bytes(view[:size])
        del self._buffer[:size]
        return taken

    def next_record(self) -> bytes | None:
        """Return the next record without its prefix, or None until it is complete.

        Raises:
            FramingError: the prefix announces an empty record.
        """
        if len(self._buffer) < LENGTH_SIZE:
            return None
        size = int.from_bytes(self._buffer[:LENGTH_SIZE], "big")
        if size == 0:
            raise FramingError("a record of zero bytes was announced")
        if len(self._buffer) < LENGTH_SIZE + size:
            return None
        del self._buffer[:LENGTH_SIZE]
        return self.take(size)

    def receive_eof(self) -> None:
        """Note the end of the stream.

        Raises:
            Truncated: it came in the middle of a piece.
        """
        if self._buffer:
            raise Truncated("the stream ended in the middle of a record")
