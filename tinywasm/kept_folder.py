"""The folder of `Config(cache=)`: files of what was made of modules, which are believed when they are read.

So nobody but this user may have written them: the folder and each file belong to the user, and neither the
group nor others may write there. Whoever reads a file has it open: it may be replaced or removed meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader

LARGEST = 1 << 30
"""Bytes of all files together; the one that was not used for the longest time goes first."""
# How names of our files begin: with a digest of so many hexadecimal digits, behind which comes a dot.
_DIGITS = 64


@contextmanager
def _opened(folder: str) -> Iterator[int]:
    """The folder's descriptor. Raises `ValueError` where there is none, or where others may write to it."""
    if not hasattr(os, "geteuid"):
        raise ValueError("cache: nothing tells on this system whose a folder is")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ValueError(f"cache: {folder} is not a folder that can be used: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise ValueError(f"cache: {folder} belongs to another user: take another folder")
        if not _is_ours(found):
            raise ValueError(f"cache: others may write to {folder}: chmod go-w {folder}")
        yield descriptor
    finally:
        os.close(descriptor)


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def find(folder: str, name: str) -> BufferedReader | None:
    """The file of that name, open, or None where there is none that is ours. Raises as `_opened`."""
    with _opened(folder) as there, suppress(OSError):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=there)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_size and _is_ours(found):
            with suppress(OSError):
                os.utime(descriptor)
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
    return None


def keep(folder: str, name: str, content: bytes) -> None:
    """Put a file there, in one step, and make room for it.

    Nothing is kept where the system refuses that, nor where others may write to the folder by now.
    """
    if len(content) > LARGEST:
        return
    with suppress(OSError, ValueError), _opened(folder) as there:
        _make_room(there, len(content))
        beside = f"{name}.{os.getpid()}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(beside, flags, 0o600, dir_fd=there), "wb") as file:
                file.write(content)
            os.replace(beside, name, src_dir_fd=there, dst_dir_fd=there)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside, dir_fd=there)
            raise


def _is_named_as_ours(name: str) -> bool:
    digest, dot, _ = name.partition(".")
    return bool(dot) and len(digest) == _DIGITS and set(digest) <= set("0123456789abcdef")


def _make_room(there: int, size: int) -> None:
    files: list[tuple[float, int, str]] = []
    # Whoever names a folder in which something else lies keeps that.
    for name in filter(_is_named_as_ours, os.listdir(there)):
        with suppress(OSError):
            found = os.stat(name, dir_fd=there, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                files.append((found.st_mtime, found.st_size, name))
    taken = size + sum(each for _, each, _ in files)
    for _, each, name in sorted(files):
        if taken <= LARGEST:
            return
        with suppress(OSError):
            os.unlink(name, dir_fd=there)
            taken -= each
