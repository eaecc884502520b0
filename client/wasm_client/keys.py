"""A client's own key."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from schannel.ed25519_sha3 import SEED_SIZE, SigningKey
from schannel.handshake import identity_key
from schannel.regular_files import read_hexadecimal

from .errors import ClientError
from .places import key_path


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
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ClientError(f"{path} must be readable for its owner only (chmod 600)")
            seed = read_hexadecimal(file, SEED_SIZE)
    except OSError as error:
        raise ClientError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise ClientError(f"{path} holds no client key") from error
    return identity_key(seed)


def chosen_key(path: Path | None) -> SigningKey | None:
    """The key in the file that somebody named, or in the usual one; None where neither is."""
    if path is None and not key_path().exists():
        return None
    return load_key(path or key_path())
