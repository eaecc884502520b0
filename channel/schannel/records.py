"""Transport records: padded plaintexts, encrypted, counted, and rekeyed in step at both ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from . import layouts
from .errors import LocalError, MessageError
from .framing import encode_record
from .noise import CipherState

PADDING = 256
"""Every plaintext is filled with zeros to a multiple of this, so that small messages look alike."""

MAX_PLAINTEXT = 255 * PADDING
"""Largest plaintext in bytes that, with its tag, fits a record."""

HEADER_SIZE = layouts.RECORD.head().size
"""Bytes of a plaintext before its body: kind and body length."""

MAX_BODY = MAX_PLAINTEXT - HEADER_SIZE


class RecordKind(IntEnum):
    """The first byte of a plaintext."""

    MESSAGE = 1
    CREDIT = 2
    CLOSE = 3
    EVIDENCE = 4
    IDENTITY = 5


_KINDS = {int(kind): kind for kind in RecordKind}
_HEAD = layouts.RECORD.head()


@dataclass(frozen=True, slots=True)
class RekeyInterval:
    """How many records, or bytes of plaintext, one key encrypts. Part of the protocol: equal at both ends."""

    records: int = 1 << 10
    plaintext: int = 1 << 24


DEFAULT_REKEY = RekeyInterval()


def padded_size(body_size: int) -> int:
    """Bytes of the plaintext that carries a body of that size; also what it costs in flow control."""
    return -(-(HEADER_SIZE + body_size) // PADDING) * PADDING


class _Direction:
    """A cipher, and when to replace its key."""

    def __init__(self, cipher: CipherState, rekey: RekeyInterval) -> None:
        self._cipher = cipher
        self._rekey = rekey
        self._records = 0
        self._plaintext = 0

    def _count(self, size: int) -> None:
        self._records += 1
        self._plaintext += size
        if self._records >= self._rekey.records or self._plaintext >= self._rekey.plaintext:
            self._cipher.rekey()
            self._records = self._plaintext = 0

    def erase(self) -> None:
        """Overwrite the key; the direction cannot be used any more."""
        self._cipher.erase()


class RecordWriter(_Direction):
    """Seals bodies into records of one direction."""

    def __init__(self, cipher: CipherState, rekey: RekeyInterval = DEFAULT_REKEY) -> None:
        super().__init__(cipher, rekey)

    def seal(self, kind: RecordKind, body: bytes) -> bytes:
        """The next record with its length prefix, ready for the wire.

        Raises:
            LocalError: the body is longer than `MAX_BODY`.
        """
        if len(body) > MAX_BODY:
            raise LocalError(f"a record carries at most {MAX_BODY} bytes, not {len(body)}")
        padding = bytes(padded_size(len(body)) - HEADER_SIZE - len(body))
        plaintext = b"".join((_HEAD.pack(kind, len(body)), body, padding))
        record = encode_record(self._cipher.encrypt_with_ad(b"", plaintext))
        self._count(len(plaintext))
        return record


class RecordReader(_Direction):
    """Opens the records of one direction, in order."""

    def __init__(self, cipher: CipherState, rekey: RekeyInterval = DEFAULT_REKEY) -> None:
        super().__init__(cipher, rekey)

    def open(self, record: bytes) -> tuple[RecordKind, memoryview]:
        """The kind and a view of the body of the next record, given without its length prefix.

        Raises:
            DecryptError: it is not the next record that the peer sent.
            MessageError: it is, but not of a known kind or not padded as all are.
        """
        plaintext = self._cipher.decrypt_with_ad(b"", record)
        self._count(len(plaintext))
        if len(plaintext) < HEADER_SIZE:
            raise MessageError("a record is not padded as it must be")
        number, size = _HEAD.unpack_from(plaintext)
        end = HEADER_SIZE + size
        padding = len(plaintext) - end
        if len(plaintext) != padded_size(size) or plaintext.count(0, end) != padding:
            raise MessageError("a record is not padded as it must be")
        kind = _KINDS.get(number)
        if kind is None:
            raise MessageError("a record is of an unknown kind")
        return kind, memoryview(plaintext)[HEADER_SIZE:end]
