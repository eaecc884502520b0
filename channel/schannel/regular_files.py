"""Opens files of a folder in which others may have put something else: pipes, devices, links, folders."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading; what is not a regular file is neither waited for nor followed.

    Raises:
        OSError: it cannot be opened, or is something else.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _not_regular(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(path)
    return open(descriptor, "rb")


def read_hexadecimal(file: BinaryIO, size: int) -> bytes:
    """The bytes that a file holds in hexadecimal, with white space around them.

    Raises:
        ValueError: it holds something else, or more or less than `size` bytes.
    """
    content = bytes.fromhex(file.read(4 * size).decode("ascii").strip())
    if len(content) != size or file.read(1):
        raise ValueError("not of that size")
    return content


def _not_regular(path: str | Path) -> OSError:
    return OSError(errno.EINVAL, "Not a regular file", str(path))
