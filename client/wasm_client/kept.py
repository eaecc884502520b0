"""Programs that enclaves keep for this client: what it remembers of them, using them, and forgetting them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from schannel.events import EnclaveVerified
from schannel.layouts import DIGEST_SIZE
from schannel.messages import ErrorCode
from schannel.whole_files import LARGEST, read_whole

from .errors import ClientError, RequestFailed
from .operations import DEFAULT_MODULE
from .session import Session

NO_KEY = "programs are kept for a client's key: make one with wasm-client keygen, or name it with --key"


@dataclass(frozen=True, slots=True)
class Kept:
    """A program that an enclave keeps: its label, the highest counter seen, and the program's SHA-256.

    One that was forgotten has no digest, but a counter that still refuses what a host puts back.
    """

    label: str
    counter: int
    digest: bytes | None


class KeptPrograms:
    """What enclaves of one measurement keep for the owner of one client key, in a file.

    The counters in it are all that stands against a host that puts an old version back: whoever loses the
    file accepts any version that this owner ever had kept.
    """

    def __init__(self, path: Path, owner: bytes, verified: EnclaveVerified) -> None:
        self._path = path
        self._verified = verified
        self._key = f"{owner.hex()} {verified.enclave_measurement.hex()}"

    def of(self, owner: bytes) -> KeptPrograms:
        """What is remembered, in the same file, of what the same enclaves keep for another client."""
        return KeptPrograms(self._path, owner, self._verified)

    def list(self) -> list[Kept]:
        """In the order in which they were kept; ClientError if the file holds something else."""
        return list(self._entries(self._read()))

    def counter(self, label: str) -> int:
        """The highest counter seen for a label, 0 for none."""
        return next((kept.counter for kept in self.list() if kept.label == label), 0)

    def forget(self, label: str) -> None:
        """Remember that a program is kept no more; as `add`."""
        counter = self.counter(label)
        if counter:
            self.add(Kept(label, counter + 1, None))

    def add(self, kept: Kept) -> None:
        """Remember; ClientError if the file cannot be written, or holds something else."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Another client that reads before this one has written would make it forget a counter.
            with self._path.with_suffix(".lock").open("w") as lock:
                _wait_for_lock(lock)
                self._replace(kept)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ClientError(f"cannot write {self._path}: {reason}") from error

    def _replace(self, kept: Kept) -> None:
        top = self._read()
        known = {entry.label: entry for entry in self._entries(top)}
        # Another client of this key may have seen a later one meanwhile.
        if kept.label in known and known[kept.label].counter > kept.counter:
            return
        known[kept.label] = kept
        top[self._key] = {
            label: {"counter": entry.counter, "digest": entry.digest.hex() if entry.digest else None}
            for label, entry in known.items()
        }
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(top, indent=1), encoding="utf-8")
        draft.replace(self._path)

    def _entries(self, top: dict[str, Any]) -> tuple[Kept, ...]:
        try:
            return tuple(_parse_kept(label, entry) for label, entry in top.get(self._key, {}).items())
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            raise ClientError(f"{self._path} does not list kept programs") from error

    def _read(self) -> dict[str, Any]:
        try:
            top = json.loads(read_whole(self._path, LARGEST).decode())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise ClientError(f"{self._path} does not list kept programs") from error
        if not isinstance(top, dict):
            raise ClientError(f"{self._path} does not list kept programs")
        return top


def _wait_for_lock(file: TextIO) -> None:
    # Systems without it have no such locks: there, it is for the person to run one client at a time.
    with contextlib.suppress(ImportError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def _parse_kept(label: str, entry: Any) -> Kept:
    """One entry of the file; ValueError, TypeError or KeyError if it is none."""
    counter = entry["counter"]
    digest = None if entry["digest"] is None else bytes.fromhex(entry["digest"])
    # A counter that is no count would let the host put an old version back.
    if (
        type(counter) is not int
        or not 0 < counter < 1 << 64
        or (digest is not None and len(digest) != DIGEST_SIZE)
    ):
        raise ValueError("no counter, or no digest")
    return Kept(label, counter, digest)


def restore(session: Session, known: KeptPrograms, labels: Sequence[str], owner: bytes) -> Sequence[str]:
    """Deploy kept programs, all that are known if none is named, and remember what the enclave says of them.

    Returns their names.

    `owner` is the key of the client that had them kept; empty for one's own.

    Raises:
        ClientError: there is none, or another than this client knows.
    """
    known = known.of(owner) if owner else known
    recorded = {kept.label: kept for kept in known.list()}
    # What has been seen of another client's programs is no list of them.
    every = [DEFAULT_MODULE] if owner else [label for label, kept in recorded.items() if kept.digest]
    wanted = labels or every
    if not wanted:
        raise ClientError("this enclave keeps no program for this client: send one with --program and --keep")
    for label in wanted:
        before = recorded.get(label, Kept(label, 0, None))
        restored = session.restore(label, label, before.counter, owner)
        now = Kept(label, restored.counter, restored.digest)
        if before.digest and now.counter == before.counter and now.digest != before.digest:
            raise ClientError(f"the program kept as {label} is not the one that this client knows")
        if now != before:
            known.add(now)
    return wanted


def forget(session: Session, known: KeptPrograms, label: str) -> None:
    """Have a kept program removed, and remember that it was."""
    try:
        session.forget(label)
    except RequestFailed as error:
        # Removed already, from another machine or by the host: then it is not to come back here either.
        if error.code is ErrorCode.NOT_FOUND:
            known.forget(label)
        raise
    known.forget(label)
