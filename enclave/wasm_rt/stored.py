"""What an enclave asks of its host's storage, whichever way the two speak."""

from __future__ import annotations

from abc import ABC, abstractmethod

from schannel.storage import MAX_PIECE, Operation, Status

_REFUSALS = {
    Status.QUOTA: "the host keeps no more for this client: forget what is not needed",
    Status.FULL: "the host has no room for more programs",
}


class StorageError(Exception):
    """The host does not store, or does not answer as it must."""


class Storage(ABC):
    """Stores and fetches bytes, in pieces of at most `largest`."""

    largest = MAX_PIECE

    def append(self, name: bytes, offset: int, piece: bytes) -> None:
        """Add to the draft of `name`; StorageError if the host refuses."""
        self._ask(Operation.APPEND, name, offset, len(piece), piece)

    def keep(self, name: bytes) -> None:
        """Let the draft take the place of what is stored; StorageError if the host refuses."""
        self._ask(Operation.KEEP, name, 0, 0)

    def fetch(self, name: bytes, offset: int) -> tuple[bytes, int]:
        """A piece and the size of all that is stored; nothing and 0 if there is none."""
        status, total, piece = self.exchange(Operation.FETCH, name, offset, self.largest)
        return (b"", 0) if status is Status.MISSING else (piece, total)

    def forget(self, name: bytes) -> bool:
        """Remove what is stored; whether there was anything. StorageError if the host refuses."""
        status, _, _ = self.exchange(Operation.FORGET, name, 0, 0)
        if status not in (Status.DONE, Status.MISSING):
            raise StorageError("the host cannot remove it")
        return status is Status.DONE

    def _ask(self, operation: Operation, name: bytes, offset: int, size: int, piece: bytes = b"") -> None:
        status, _, _ = self.exchange(operation, name, offset, size, piece)
        if status is not Status.DONE:
            raise StorageError(_REFUSALS.get(status, "the host cannot store it: its disk is full, or fails"))

    @abstractmethod
    def exchange(
        self, operation: Operation, name: bytes, offset: int, size: int, piece: bytes = b""
    ) -> tuple[Status, int, bytes]:
        """What the host answers: status, size of all that is stored, and a piece; raises StorageError."""
