"""Archives that the kernel unpacks as its first file system (initramfs buffer format).

The format is in the kernel's documentation, driver-api/early-userspace/buffer-format.rst. No command writes
the archives, because owners and devices would then need privileges.
"""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_TRAILER = "TRAILER!!!"
_ALIGNMENT = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive; `mode` has its type, and the content of a symbolic link is where it leads."""

    name: str
    mode: int
    content: bytes = b""
    owner: int = 0
    device: tuple[int, int] = (0, 0)


def entries(folder: Path) -> Iterator[Entry]:
    """What is in a folder, in an order of its own: the same files give the same archive."""
    for path in sorted(folder.rglob("*")):
        name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
        if stat.S_ISLNK(mode):
            yield Entry(name, stat.S_IFLNK | 0o777, str(path.readlink()).encode())
        elif stat.S_ISDIR(mode):
            yield Entry(name, stat.S_IFDIR | 0o755)
        else:
            yield Entry(name, stat.S_IFREG | (0o755 if mode & stat.S_IXUSR else 0o644), path.read_bytes())


def write(path: Path, files: Iterable[Entry]) -> None:
    """Write a compressed archive, which another one may follow in the same file."""
    # Neither its name nor the time is in it.
    with path.open("wb") as file, gzip.GzipFile("", "wb", 1, file, mtime=0) as archive:
        for number, entry in enumerate(files, start=1):
            archive.write(_archived(entry, number))
        archive.write(_archived(Entry(_TRAILER, 0), 0))


def _archived(entry: Entry, number: int) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        *(number, entry.mode, entry.owner, entry.owner, links, 0, len(entry.content)),
        *(0, 0, *entry.device, len(name), 0),
    )
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return _padded(head) + _padded(entry.content)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _ALIGNMENT)
