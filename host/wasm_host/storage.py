"""Stores sealed programs for enclaves: ciphertext under names that mean nothing here."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from schannel.errors import MessageError
from schannel.storage import (
    REQUEST_SIZE,
    Operation,
    Status,
    decode_request,
    encode_answer,
)

DEFAULT_CAPACITY = 4 << 30
"""Bytes of all sealed programs together."""

BLOCK = 4096
"""Bytes of disk that even an empty file costs: files are counted in whole blocks."""


class SealedStore:
    """A folder of sealed programs, one file each.

    Args:
        folder: made when something is stored.
        capacity: bytes of all files together, each rounded up to blocks; more is refused.
    """

    def __init__(self, folder: Path, capacity: int = DEFAULT_CAPACITY) -> None:
        self._folder = folder
        self._capacity = capacity
        self._used = 0
        with contextlib.suppress(FileNotFoundError):
            for path in folder.glob("*.draft"):
                path.unlink()
            self._used = sum(map(_occupied, folder.iterdir()))

    def fetch(self, name: bytes, offset: int, size: int) -> tuple[Status, int, bytes]:
        """A piece of what is stored under a name, and the size of the whole."""
        try:
            with self._path(name).open("rb") as file:
                total = os.fstat(file.fileno()).st_size
                file.seek(min(offset, total))
                return Status.DONE, total, file.read(size)
        except OSError:
            return Status.MISSING, 0, b""

    def append(self, draft: Path, offset: int, piece: bytes) -> Status:
        """Add to a draft, which must end at `offset`."""
        before = _occupied(draft)
        if self._used - before + _blocks(offset + len(piece)) > self._capacity:
            return Status.REFUSED
        status = self._write(draft, offset, piece)
        # A write that failed may have left a part.
        self._used += _occupied(draft) - before
        return status

    def _write(self, draft: Path, offset: int, piece: bytes) -> Status:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("ab") as file:
                if offset != file.tell():
                    return Status.REFUSED
                file.write(piece)
        except OSError:
            return Status.REFUSED
        return Status.DONE

    def keep(self, draft: Path, name: bytes) -> Status:
        """Let a draft take the place of what is stored."""
        try:
            old = _occupied(self._path(name))
            draft.replace(self._path(name))
        except OSError:
            return Status.REFUSED
        self._used -= old
        return Status.DONE

    def drop(self, draft: Path) -> None:
        """Forget a draft."""
        self._used -= _occupied(draft)
        draft.unlink(missing_ok=True)

    def draft(self, number: int) -> Path:
        """Where one enclave's draft is."""
        return self._folder / f"{number}.draft"

    def _path(self, name: bytes) -> Path:
        return self._folder / f"{name.hex()}.sealed"


def _occupied(path: Path) -> int:
    return _blocks(path.stat().st_size) if path.exists() else 0


def _blocks(size: int) -> int:
    return max(1, -(-size // BLOCK)) * BLOCK


async def serve_storage(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, store: SealedStore, number: int
) -> None:
    """Answer one enclave's requests until it hangs up, or asks for what cannot be."""
    draft = store.draft(number)
    try:
        while True:
            operation, name, offset, size = decode_request(await reader.readexactly(REQUEST_SIZE))
            total, content = 0, b""
            if operation is Operation.FETCH:
                status, total, content = await asyncio.to_thread(store.fetch, name, offset, size)
            elif operation is Operation.APPEND:
                piece = await reader.readexactly(size)
                if offset == 0:
                    store.drop(draft)
                status = await asyncio.to_thread(store.append, draft, offset, piece)
            else:
                status = store.keep(draft, name)
            writer.write(encode_answer(status, total, len(content)) + content)
            await writer.drain()
    except (asyncio.IncompleteReadError, MessageError, OSError):
        pass
    finally:
        store.drop(draft)
        writer.close()
