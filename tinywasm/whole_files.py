"""Reads modules and scripts from files of which nobody knows how long they are, or whether they end; and
writes files that others may be reading."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from os import PathLike, fspath, fstat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from mmap import mmap

LARGEST = 1 << 30
"""Bytes of a module, as in browsers (WebAssembly JavaScript Interface, section 9, implementation limits)."""

PAGE = 4096
"""Where machine code in a file begins: at a multiple of this."""

_PIECE = 1 << 20


def read_whole(path: str | PathLike[str]) -> bytes:
    """A file's content. Raises `OSError` where it cannot be read, or has more than `LARGEST` bytes."""
    pieces = []
    with open(fspath(path), "rb", buffering=0) as file:
        size = fstat(file.fileno()).st_size
        left = LARGEST if size <= LARGEST else -1
        while left >= 0 and (piece := file.read(min(max(size, _PIECE), left) + 1)):
            pieces.append(piece)
            left -= len(piece)
    if left < 0:
        raise OSError(errno.EFBIG, f"Larger than {LARGEST:,} bytes", fspath(path))
    return b"".join(pieces)


def write_whole(path: str | PathLike[str], content: bytes) -> None:
    """Put a file in the place of what is there, in one step: whoever has that open keeps it as it was.

    Raises `OSError`, and then leaves nothing behind.
    """
    place = os.path.realpath(path)
    if os.path.exists(place) and not os.path.isfile(place):
        # A device or a pipe is written to.
        with open(place, "wb") as file:
            file.write(content)
        return
    beside = f"{place}.{os.getpid()}.new"
    try:
        with open(beside, "xb") as file:
            file.write(content)
        os.replace(beside, place)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(beside)
        if isinstance(error, OSError):
            error.filename, error.filename2 = fspath(path), None
        raise


def runnable(file: BinaryIO, at: int, content: memoryview) -> memoryview | mmap:
    """Machine code that an open file has from there on to its end: as processes share it, if that can be."""
    try:
        from mmap import MAP_PRIVATE, PROT_EXEC, PROT_READ, mmap

        runs = PROT_READ | PROT_EXEC
        return mmap(file.fileno(), len(content), flags=MAP_PRIVATE, prot=runs, offset=at)
    except (ImportError, OSError):
        # The system has no such maps, or the file system is mounted so that nothing runs from there.
        return content
