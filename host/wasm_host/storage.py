"""Stores sealed programs for enclaves: ciphertext under names of which only the owner's part means anything.

Several hosts may share a folder: a draft belongs to whoever holds its lock, and what is stored is counted
anew from the disk when a program begins and when it is to be kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from schannel.errors import MessageError
from schannel.regular_files import open_regular
from schannel.storage import OWNER_SIZE, Answer, Operation, Request, Status

BLOCK = 4096
"""Bytes of disk that even an empty file costs: files are counted in whole blocks."""

_YOUNG = 60.0
"""Seconds for which a draft without a lock is left alone: its host may be about to lock it."""

_KEPT, _DRAFT = ".sealed", ".draft"


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What is kept: bytes of all programs and of one client's, and for how many seconds without use."""

    total: int = 4 << 30
    per_client: int = 1 << 30
    unused: float = 365 * 86_400.0


class Draft:
    """A program that is being stored: a file that is locked as long as it is open."""

    def __init__(self, folder: Path, name: bytes) -> None:
        self.name = name
        self.size = 0
        self.cost = BLOCK
        descriptor, path = tempfile.mkstemp(_DRAFT, f"{_owner(name)}-", folder)
        self.path = Path(path)
        # Unbuffered: what a full disk does not take is not to be tried again when the file is closed.
        self.file = open(descriptor, "wb", buffering=0)  # noqa: SIM115 - until it is kept or dropped
        _lock(self.file)

    def drop(self) -> None:
        """Forget it; nothing where it was kept."""
        self.file.close()
        self.path.unlink(missing_ok=True)


class SealedStore:
    """A folder of sealed programs, one file each.

    Args:
        folder: made when something is stored.
        limits: how much is kept, of one client and of all, and for how long.
    """

    def __init__(self, folder: Path, limits: StoreLimits) -> None:
        self._folder = folder
        self._limits = limits
        self._lock = threading.Lock()
        self._used = 0
        self._count()

    @property
    def used(self) -> int:
        """Bytes that are stored, as far as is known without looking."""
        return self._used

    def fetch(self, name: bytes, offset: int, size: int) -> tuple[Status, int, bytes]:
        """A piece of what is stored under a name, and the size of the whole."""
        try:
            with open_regular(self._path(name)) as file:
                if offset == 0:
                    # It can be read all the same where it lies on what nobody can write to.
                    with contextlib.suppress(OSError):
                        os.utime(file.fileno())
                total = os.fstat(file.fileno()).st_size
                file.seek(min(offset, total))
                return Status.DONE, total, file.read(size)
        except OSError:
            return Status.MISSING, 0, b""

    def begin(self, name: bytes) -> Draft | None:
        """A draft of what is to be stored under a name; None where nothing can be written."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = Draft(self._folder, name)
        except OSError:
            return None
        self._count()
        return draft

    def append(self, draft: Draft, piece: bytes) -> Status:
        """Add to a draft; where that fails it does not become whole any more."""
        cost = _blocks(draft.size + len(piece))
        if cost > self._limits.per_client:
            return Status.QUOTA
        with self._lock:
            if self._used + cost - draft.cost > self._limits.total:
                return Status.FULL
            self._used += cost - draft.cost
        draft.size, draft.cost = draft.size + len(piece), cost
        try:
            written = draft.file.write(piece)
        except OSError:
            return Status.REFUSED
        return Status.DONE if written == len(piece) else Status.REFUSED

    def keep(self, draft: Draft) -> Status:
        """Let a draft take the place of what is stored, if its owner may have that much."""
        owned = self._count()[_owner(draft.name)] - self._occupied(draft.name)
        if owned + draft.cost > self._limits.per_client:
            return Status.QUOTA
        try:
            os.fsync(draft.file.fileno())
            draft.path.replace(self._path(draft.name))
        except OSError:
            return Status.REFUSED
        draft.file.close()
        return Status.DONE

    def forget(self, name: bytes) -> Status:
        """Remove what is stored under a name."""
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            return Status.MISSING
        except OSError:
            return Status.REFUSED
        return Status.DONE

    def _count(self) -> Counter[str]:
        """Bytes that are kept, by owner; what nobody uses or writes any more is removed."""
        kept: Counter[str] = Counter()
        drafts = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.name.endswith(_DRAFT):
                        drafts += 0 if _removed_leftover(entry) else _blocks(_stat(entry).st_size)
                    elif entry.name.endswith(_KEPT) and not self._removed_unused(entry):
                        kept[entry.name[: 2 * OWNER_SIZE]] += _blocks(_stat(entry).st_size)
        with self._lock:
            self._used = kept.total() + drafts
        return kept

    def _removed_unused(self, entry: os.DirEntry[str]) -> bool:
        if _stat(entry).st_mtime > time.time() - self._limits.unused:
            return False
        os.unlink(entry)
        return True

    def _path(self, name: bytes) -> Path:
        return self._folder / f"{name.hex()}{_KEPT}"

    def _occupied(self, name: bytes) -> int:
        try:
            return _blocks(self._path(name).lstat().st_size)
        except OSError:
            return 0


def _blocks(size: int) -> int:
    return max(1, -(-size // BLOCK)) * BLOCK


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    """Of the entry itself, wherever it may point."""
    return entry.stat(follow_symlinks=False)


def _owner(name: bytes) -> str:
    return name[:OWNER_SIZE].hex()


def _lock(file: BinaryIO) -> None:
    """Lock a file until it is closed; BlockingIOError if somebody else has it."""
    # Only Linux has enclaves, as the command says elsewhere; an import at the top would not get that far.
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _removed_leftover(entry: os.DirEntry[str]) -> bool:
    """Remove a draft whose host has ended; whether it was one."""
    if _stat(entry).st_mtime > time.time() - _YOUNG:
        return False
    with open_regular(entry.path) as file:
        try:
            _lock(file)
        except BlockingIOError:
            return False
        os.unlink(entry)
    return True


class Allowance:
    """How much of the disk's time one enclave may have: so much at once, and so much in every second.

    What goes beyond waits. It is counted in bytes; a request counts as some of them, and one for which the
    folder is read, or the disk written to, as more.
    """

    AT_ONCE = 1 << 30
    EVERY_SECOND = 64 << 20
    REQUEST = 64 << 10
    WORK = 4 << 20

    def __init__(self, now: float) -> None:
        self._left = float(self.AT_ONCE)
        self._since = now

    def spend(self, request: Request, now: float) -> float:
        """Count a request at a time in seconds; returns for how many of them its answer has to wait."""
        works = request.operation in (Operation.KEEP, Operation.FORGET) or (
            request.operation is Operation.APPEND and request.offset == 0
        )
        self._left += (now - self._since) * self.EVERY_SECOND
        self._left = min(self._left, self.AT_ONCE) - request.size - self.REQUEST - works * self.WORK
        self._since = now
        return max(0.0, -self._left / self.EVERY_SECOND)


async def serve_storage(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    store: SealedStore,
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Answer one enclave's requests, one at a time, until it hangs up, or asks for what cannot be.

    `pause` waits for so many seconds.
    """
    desk = _Desk(store)
    allowance = Allowance(time.monotonic())
    try:
        while True:
            request = Request.parse(await reader.readexactly(Request.sizeof()))
            if wait := allowance.spend(request, time.monotonic()):
                await pause(wait)
            appends = request.operation is Operation.APPEND
            piece = await reader.readexactly(request.size) if appends else b""
            status, total, content = await asyncio.to_thread(desk.answer, request, piece)
            writer.write(Answer(status, total, len(content)).build() + content)
            await writer.drain()
    except (asyncio.IncompleteReadError, MessageError, OSError):
        pass
    finally:
        desk.clear()
        writer.close()


class _Desk:
    """What one enclave is doing with the store.

    An enclave has one client, so what it stores and removes has one owner: the first that it names.
    """

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._draft: Draft | None = None
        self._owner = ""

    def answer(self, request: Request, piece: bytes) -> tuple[Status, int, bytes]:
        name = request.name
        if request.operation is not Operation.FETCH:
            self._owner = self._owner or _owner(name)
            if _owner(name) != self._owner:
                return Status.REFUSED, 0, b""
        match request.operation:
            case Operation.FETCH:
                return self._store.fetch(name, request.offset, request.size)
            case Operation.APPEND:
                return self._append(name, request.offset, piece), 0, b""
            case Operation.KEEP:
                return self._keep(name), 0, b""
            case Operation.FORGET:
                return self._store.forget(name), 0, b""

    def clear(self) -> None:
        if self._draft is not None:
            self._draft.drop()
        self._draft = None

    def _append(self, name: bytes, offset: int, piece: bytes) -> Status:
        if offset == 0:
            self.clear()
            self._draft = self._store.begin(name)
        if self._draft is None or self._draft.name != name or self._draft.size != offset:
            return Status.REFUSED
        status = self._store.append(self._draft, piece)
        if status is not Status.DONE:
            # At once: where the disk is full, others need the room.
            self.clear()
        return status

    def _keep(self, name: bytes) -> Status:
        if self._draft is None or self._draft.name != name:
            return Status.REFUSED
        status = self._store.keep(self._draft)
        if status is not Status.DONE:
            self._draft.drop()
        self._draft = None
        return status
