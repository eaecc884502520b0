"""What a client keeps on its own disk: its key, and which programs enclaves keep for it."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schannel.ed25519_sha3 import SEED_SIZE, SigningKey
from schannel.events import EnclaveVerified
from schannel.handshake import identity_key
from schannel.layouts import DIGEST_SIZE

from .errors import ClientError


def generate_key(path: Path) -> SigningKey:
    """Make a client key: a file that only its owner may read, holding the 32-byte seed in hexadecimal.

    Raises:
        ClientError: there is a file already, or it cannot be written.
    """
    seed = os.urandom(SEED_SIZE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(seed.hex() + "\n")
    except OSError as error:
        raise ClientError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
    return identity_key(seed)


def load_key(path: Path) -> SigningKey:
    """A client key from its file.

    Raises:
        ClientError: it cannot be read, others may read it too, or it holds no key.
    """
    try:
        with path.open(encoding="ascii") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ClientError(f"{path} must be readable for its owner only (chmod 600)")
            seed = bytes.fromhex(file.read())
    except OSError as error:
        raise ClientError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise ClientError(f"{path} holds no client key") from error
    if len(seed) != SEED_SIZE:
        raise ClientError(f"{path} holds no client key")
    return identity_key(seed)


@dataclass(frozen=True, slots=True)
class Kept:
    """A program that an enclave keeps: its label, the highest counter seen, and the program's SHA-256."""

    label: str
    counter: int
    digest: bytes


class KeptPrograms:
    """What enclaves of one measurement keep for one client key, in a file.

    The counters in it are all that stands against a host that puts an old version back: whoever loses the
    file accepts any version that this client ever had kept.
    """

    def __init__(self, path: Path, client: bytes, verified: EnclaveVerified) -> None:
        self._path = path
        self._key = f"{client.hex()} {verified.enclave_measurement.hex()}"

    def list(self) -> list[Kept]:
        """In the order in which they were kept; ClientError if the file holds something else."""
        return list(self._entries(self._read()))

    def counter(self, label: str) -> int:
        """The highest counter seen for a label, 0 for none."""
        return next((kept.counter for kept in self.list() if kept.label == label), 0)

    def add(self, kept: Kept) -> None:
        """Remember; ClientError if the file cannot be written, or holds something else."""
        top = self._read()
        known = {entry.label: entry for entry in self._entries(top)} | {kept.label: kept}
        top[self._key] = {
            label: {"counter": entry.counter, "digest": entry.digest.hex()} for label, entry in known.items()
        }
        draft = self._path.with_suffix(".draft")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_text(json.dumps(top, indent=1), encoding="utf-8")
            draft.replace(self._path)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ClientError(f"cannot write {self._path}: {reason}") from error

    def _entries(self, top: dict[str, Any]) -> tuple[Kept, ...]:
        try:
            return tuple(_parse_kept(label, entry) for label, entry in top.get(self._key, {}).items())
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            raise ClientError(f"{self._path} does not list kept programs") from error

    def _read(self) -> dict[str, Any]:
        try:
            top = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise ClientError(f"{self._path} does not list kept programs") from error
        if not isinstance(top, dict):
            raise ClientError(f"{self._path} does not list kept programs")
        return top


def _parse_kept(label: str, entry: Any) -> Kept:
    """One entry of the file; ValueError, TypeError or KeyError if it is none."""
    counter, digest = entry["counter"], bytes.fromhex(entry["digest"])
    # A counter that is no count would let the host put an old version back.
    if type(counter) is not int or not 0 < counter < 1 << 64 or len(digest) != DIGEST_SIZE:
        raise ValueError("no counter, or no digest")
    return Kept(label, counter, digest)
