"""Reads whole files of which nobody knows how long they are, or whether they end."""

from __future__ import annotations

import errno
import os

LARGEST_TEXT = 4 << 20
"""Bytes of a file that people write, or could: a policy, a configuration, a saved report."""

LARGEST = 1 << 30
"""Bytes of a program (browsers take no larger ones), and of a receipt with the messages that it is about."""

_PIECE = 1 << 16


def read_whole(path: str | os.PathLike[str], most: int) -> bytes:
    """A file's content of at most `most` bytes; a pipe is read to its end.

    Raises:
        OSError: it cannot be read, or has more.
    """
    pieces = []
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        left = most if size <= most else -1
        while left >= 0 and (piece := file.read(min(max(size, _PIECE), left) + 1)):
            pieces.append(piece)
            left -= len(piece)
    if left < 0:
        raise OSError(errno.EFBIG, f"Larger than {most:,} bytes", os.fspath(path))
    return b"".join(pieces)
