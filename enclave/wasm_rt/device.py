"""The simulated device's secret: a file that only its owner may read, made at the first start."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from schannel.ed25519_sha3 import ED25519_SHA3, SEED_SIZE, SigningKey
from schannel.errors import LocalError
from schannel.regular_files import open_regular, read_hexadecimal
from schannel.simulation import PUBLIC_KEY_FILE, SECRET_KEY_FILE


def load_device_key(directory: Path) -> SigningKey:
    """The machine's simulated device key; a fresh one, public key beside it, where there is none.

    Raises:
        LocalError: the file is readable for others, or does not hold a key.
        OSError: the folder cannot be written, or the file is not a regular one.
    """
    path = directory / SECRET_KEY_FILE
    if not path.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create_once(path, os.urandom(SEED_SIZE).hex(), 0o600)
    key = ED25519_SHA3.key_from_seed(_read_seed(path))
    public = directory / PUBLIC_KEY_FILE
    if not public.exists():
        _create_once(public, key.public.hex(), 0o644)
    return key


def _read_seed(path: Path) -> bytes:
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise LocalError(f"{path} must be readable for its owner only (chmod 600)")
        try:
            return read_hexadecimal(file, SEED_SIZE)
        except ValueError as error:
            raise LocalError(f"{path} does not hold a device key") from error


def _create_once(path: Path, text: str, mode: int) -> None:
    """Write a file that appears complete or not at all; one that another process made first is kept."""
    draft = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
