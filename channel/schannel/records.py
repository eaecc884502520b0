"""Transport records: padded plaintexts, encrypted, counted, and rekeyed in step at both ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from . import layouts
from .errors import LocalError, MessageError
from .framing import LENGTH_SIZE
from .noise import CipherState
from .wire import Buffer

PADDING = 256
"""Every plaintext is filled with zeros to a multiple of this, so that small messages look alike."""

MAX_PLAINTEXT = 255 * PADDING
"""Largest plaintext in bytes that, with its tag, fits a record."""

_HEAD = layouts.RECORD.head()
HEADER_SIZE = _HEAD.size
"""Bytes of a plaintext before its body: kind and body length."""

MAX_BODY = MAX_PLAINTEXT - HEADER_SIZE
CHUNK_HEAD = layouts.CHUNK.head()
CHUNK_HEADER_SIZE = CHUNK_HEAD.size
MAX_CHUNK = MAX_BODY - CHUNK_HEADER_SIZE
"""Bytes of a message that one record carries at most."""


class RecordKind(IntEnum):
    """The first byte of a plaintext."""

    MESSAGE = 1
    CREDIT = 2
    CLOSE = 3
    EVIDENCE = 4
    IDENTITY = 5


_KINDS = {int(kind): kind for kind in RecordKind}


@dataclass(frozen=True, slots=True)
class RekeyInterval:
    """How many records, or bytes of plaintext, one key encrypts. Part of the protocol: equal at both ends."""

    records: int = 1 << 10
    plaintext: int = 1 << 24


DEFAULT_REKEY = RekeyInterval()


def padded_size(body_size: int) -> int:
    """Bytes of the plaintext that carries a body of that size; also what it costs in flow control."""
    return (HEADER_SIZE + body_size + PADDING - 1) & -PADDING


class _Direction:
    """A cipher, and when to replace its key."""

    def __init__(self, cipher: CipherState, rekey: RekeyInterval) -> None:
        self._cipher = cipher
        self._rekey = rekey
        self._records = 0
        self._plaintext = 0

    def _replace_key(self) -> None:
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
        size = len(body)
        if size > MAX_BODY:
            raise LocalError(f"a record carries at most {MAX_BODY} bytes, not {size}")
        content = _HEAD.pack(kind, size) + body
        return self.encrypt(content.ljust(padded_size(size), b"\0"))

    def encrypt(self, plaintext: bytes) -> bytes:
        """The next record, from a plaintext that has heads and padding."""
        size = len(plaintext)
        record = self._cipher.encrypt_with_ad(b"", plaintext)
        self._records += 1
        self._plaintext += size
        if self._records >= self._rekey.records or self._plaintext >= self._rekey.plaintext:
            self._replace_key()
        return len(record).to_bytes(LENGTH_SIZE, "big") + record


class RecordReader(_Direction):
    """Opens the records of one direction, in order."""

    def __init__(self, cipher: CipherState, rekey: RekeyInterval = DEFAULT_REKEY) -> None:
        super().__init__(cipher, rekey)

    def decrypt(self, record: bytes) -> bytes:
        """The plaintext of the next record, given without its length prefix.

        Raises:
            DecryptError: it is not the next record that the peer sent.
        """
        plaintext = self._cipher.decrypt_with_ad(b"", record)
        size = len(plaintext)
        self._records += 1
        self._plaintext += size
        if self._records >= self._rekey.records or self._plaintext >= self._rekey.plaintext:
            self._replace_key()
        return plaintext


def split(plaintext: bytes) -> tuple[RecordKind, Buffer]:
    """The kind and the body of a plaintext; a large body is a view.

    Raises:
        MessageError: it is not of a known kind, or not padded as all are.
    """
    size = len(plaintext)
    if size < HEADER_SIZE:
        raise MessageError("a record is not padded as it must be")
    number, body_size = _HEAD.unpack_from(plaintext)
    end = HEADER_SIZE + body_size
    if size != (end + PADDING - 1) & -PADDING or plaintext.count(0, end) != size - end:
        raise MessageError("a record is not padded as it must be")
    kind = _KINDS.get(number)
    if kind is None:
        raise MessageError("a record is of an unknown kind")
    if size == PADDING:
        return kind, plaintext[HEADER_SIZE:end]
    return kind, memoryview(plaintext)[HEADER_SIZE:end]
