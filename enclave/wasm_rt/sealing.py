"""Programs kept for later connections: sealed here, stored by the host, opened by the same enclave only.

Each is encrypted in segments with AES-256-GCM under a key of its own, derived from the monitor's sealing key
(hence from device, monitor and enclave), from the owner's key, the label and a random salt. A segment's nonce
holds its position and whether it is the last, so that none can be left out, moved or cut off, and the header
with version, counter and name is authenticated with each. The host sees sizes, and names that it cannot
relate to clients or labels; which are of the same client it can tell, so that it can limit what each has.

Against an old version that the host puts back there is the counter, which the owner remembers and sends
along: the enclave itself keeps nothing between connections that the host could not put back as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from schannel.errors import DecryptError, MessageError
from schannel.messages import ErrorCode
from schannel.primitives import TAG_SIZE, Aead, digest, hkdf, hmac_digest, random_bytes
from schannel.storage import NAME_SIZE, OWNER_SIZE
from schannel.structs import U64, Structure, fixed, part
from schannel.wire import Buffer

from .errors import RequestError
from .stored import Storage, StorageError

IDENTIFIER = b"wasm_rt: sealed programs"
"""What the enclave asks the monitor's sealing key for."""

SEGMENT = (1 << 16) - TAG_SIZE
"""Bytes of a program in one segment."""

_SALT_SIZE = 32
_KEY_SIZE = 32


class SealedHeader(Structure, shown="sealed program", begins=b"TWSEALED\1"):
    """Head of a sealed program, authenticated with each of its segments."""

    counter: int = part(U64)
    name: bytes = part(fixed(32))
    salt: bytes = part(fixed(32))
    size: int = part(U64)


_HEADER_SIZE = SealedHeader.sizeof()


@dataclass(frozen=True, slots=True)
class Label:
    """What a sealed program is called, and whose it is: a client's public key."""

    owner: bytes
    text: str

    def encode(self) -> bytes:
        """In one way only: the owner's key has a fixed size."""
        return self.owner + self.text.encode()


class Sealing:
    """Seals programs into the host's storage and opens them again.

    Args:
        secret: gives the monitor's sealing key of this enclave for `IDENTIFIER`; asked once, when needed.
        storage: the host's storage.
        largest: bytes of the largest program that is opened.
    """

    def __init__(self, secret: Callable[[], bytes], storage: Storage, largest: int) -> None:
        self._ask_secret = secret
        self._secret = b""
        self._storage = storage
        self._largest = largest

    def seal(self, label: Label, program: Buffer, known_counter: int) -> int:
        """Keep a program under a counter higher than any seen; returns the counter.

        Raises:
            RequestError: the host does not store it.
        """
        counter = max(known_counter, self._stored_counter(label)) + 1
        if counter >= 1 << 64:
            raise RequestError(ErrorCode.BAD_REQUEST, "the counter cannot go any higher")
        name = self._name(label)
        header = SealedHeader(counter, name, random_bytes(_SALT_SIZE), len(program)).build()
        try:
            self._store(name, self._sealed(header, label, memoryview(program)))
        except StorageError as error:
            raise RequestError(ErrorCode.LIMIT_EXCEEDED, str(error)) from error
        return counter

    def open(self, label: Label, least_counter: int) -> tuple[bytearray, int]:
        """A program that was kept, and its counter.

        Raises:
            RequestError: there is none, it was altered or exchanged, or it is older than `least_counter`.
        """
        try:
            header, rest = self._header(label)
            if header.counter < least_counter:
                raise RequestError(
                    ErrorCode.BAD_SEAL,
                    f"the host gave version {header.counter} of the program, not {least_counter} or "
                    "later: it was rolled back",
                )
            program = bytearray()
            for segment in self._segments(label, rest):
                program += segment
        except (DecryptError, MessageError) as error:
            raise RequestError(
                ErrorCode.BAD_SEAL,
                "what the host stored is not what this enclave sealed: altered or exchanged",
            ) from error
        except StorageError as error:
            raise RequestError(ErrorCode.NOT_FOUND, str(error)) from error
        return program, header.counter

    def forget(self, label: Label) -> None:
        """Have the host remove a program; that it did cannot be known.

        Raises:
            RequestError: there is none, or the host refuses.
        """
        try:
            if not self._storage.forget(self._name(label)):
                raise _not_kept(label)
        except StorageError as error:
            raise RequestError(ErrorCode.LIMIT_EXCEEDED, str(error)) from error

    def _store(self, name: bytes, pieces: Iterator[bytes]) -> None:
        offset = 0
        for piece in pieces:
            self._storage.append(name, offset, piece)
            offset += len(piece)
        self._storage.keep(name)

    def _sealed(self, header: bytes, label: Label, program: memoryview) -> Iterator[bytes]:
        yield header
        aead = self._aead(header, label)
        batch: list[bytes] = []
        most = max(1, self._storage.largest // (SEGMENT + TAG_SIZE))
        for index, segment, last in _cut(program):
            batch.append(aead.encrypt(_nonce(index, last), segment, header))
            if last or len(batch) == most:
                yield b"".join(batch)
                batch.clear()

    def _stored_counter(self, label: Label) -> int:
        """The counter of what is stored, if that is genuine; else 0."""
        try:
            header, rest = self._header(label)
            next(self._segments(label, rest))
        except (DecryptError, MessageError, StorageError, RequestError):
            return 0
        return header.counter

    def _header(self, label: Label) -> tuple[SealedHeader, bytes]:
        """The header, not yet authenticated, and the bytes of the first piece."""
        name = self._name(label)
        piece, _ = self._storage.fetch(name, 0)
        if not piece:
            raise _not_kept(label)
        header = SealedHeader.parse(piece[:_HEADER_SIZE])
        if header.name != name or header.size > self._largest:
            raise MessageError("a sealed program has another's name, or an absurd size")
        return header, piece

    def _segments(self, label: Label, piece: bytes) -> Iterator[bytes]:
        header = piece[:_HEADER_SIZE]
        size = SealedHeader.parse(header).size
        aead = self._aead(header, label)
        sealed = bytearray(piece[_HEADER_SIZE:])
        fetched = len(piece)
        for index in range(max(1, -(-size // SEGMENT))):
            last = (index + 1) * SEGMENT >= size
            wanted = (size - index * SEGMENT if last else SEGMENT) + TAG_SIZE
            while len(sealed) < wanted:
                more, _ = self._storage.fetch(self._name(label), fetched)
                if not more:
                    raise MessageError("a sealed program is cut short")
                sealed += more
                fetched += len(more)
            try:
                segment = aead.decrypt(_nonce(index, last), bytes(sealed[:wanted]), header)
            except aead.INVALID as error:
                raise DecryptError("a sealed program failed authentication") from error
            yield segment
            del sealed[:wanted]
        if sealed or self._storage.fetch(self._name(label), fetched)[0]:
            raise MessageError("a sealed program has bytes behind its end")

    def _aead(self, header: bytes, label: Label) -> Aead:
        salt = SealedHeader.parse(header).salt
        info = b"tinywasm sealed program\0" + label.encode()
        return Aead(hkdf("SHA256", salt, self._sealing_secret(), info, _KEY_SIZE))

    def _name(self, label: Label) -> bytes:
        key = digest("SHA256", b"tinywasm sealed name\0", self._sealing_secret())
        owner = hmac_digest("SHA256", key, label.owner)
        return owner[:OWNER_SIZE] + hmac_digest("SHA256", key, label.encode())[: NAME_SIZE - OWNER_SIZE]

    def _sealing_secret(self) -> bytes:
        self._secret = self._secret or self._ask_secret()
        return self._secret


def _not_kept(label: Label) -> RequestError:
    return RequestError(ErrorCode.NOT_FOUND, f"no program is kept as {label.text!r}")


def _cut(program: memoryview) -> Iterator[tuple[int, memoryview, bool]]:
    count = max(1, -(-len(program) // SEGMENT))
    for index in range(count):
        yield index, program[index * SEGMENT : (index + 1) * SEGMENT], index == count - 1


def _nonce(index: int, last: bool) -> bytes:
    return bytes([0, 0, 0, last]) + index.to_bytes(8, "big")


def program_digest(program: Buffer) -> bytes:
    """SHA-256 of a program as it came."""
    return hashlib.sha256(program).digest()
