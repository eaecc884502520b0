"""Where the bytes of a transfer come from and go to: bytes, local files, open files."""

from __future__ import annotations

import contextlib
import io
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from schannel.wire import Buffer

from .errors import ArgumentError

Source = Buffer | BinaryIO | Path
"""What is sent: bytes, an open file from where it stands, or the path of one."""

Target = BinaryIO | Path | None
"""Where to: an open file, the path of one that is made anew, or None for bytes as the result."""


def opened(source: Source) -> AbstractContextManager[BinaryIO]:
    """An open file of what is to be sent; closed at the end if it was opened here.

    Raises OSError, and ArgumentError where it is none of these.
    """
    if isinstance(source, Path):
        return source.open("rb")
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source)
    if not hasattr(source, "read"):
        raise ArgumentError(f"what is sent is bytes, a Path or an open file, not {type(source).__name__}")
    return contextlib.nullcontext(source)


def written(target: Target) -> AbstractContextManager[BinaryIO]:
    """An open file for what comes; closed at the end if it was opened here.

    Raises OSError, and ArgumentError where it is none of these.
    """
    if isinstance(target, Path):
        return target.open("wb")
    if not (target is None or hasattr(target, "write")):
        raise ArgumentError(f"the target is a Path or an open file, not {type(target).__name__}")
    return contextlib.nullcontext(io.BytesIO() if target is None else target)


def size_of(file: BinaryIO) -> int:
    """Bytes from here to the end; 0 where that cannot be told."""
    if not file.seekable():
        return 0
    here = file.tell()
    size = file.seek(0, os.SEEK_END) - here
    file.seek(here)
    return size
