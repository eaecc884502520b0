"""Paths to directory and name, one component at a time, never out of the directory given.

Each step opens the next directory relative to the last one's handle and refuses symbolic links;
links are read and walked here, and `..` goes back to a handle that we hold. So no name that another
process exchanges meanwhile leads outside: what the kernel resolves is always a single component.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tinywasm.records import record
from tinywasm.wasi.abi import Errno, FileType, WasiError
from tinywasm.wasi.files import Directory

MAX_PATH = 4096
"""Bytes; Linux's PATH_MAX."""
MAX_LINKS = 40
"""Symbolic links in one resolution, as in Linux."""
MAX_DEPTH = 256
"""Directories below the root: each is an open descriptor of the host while a path is resolved."""


@record(frozen=True)
class Place:
    """Where a path ends: `name` in `directory`, or `directory` itself where `name` is None.

    `slash`: the path asks for a directory by a slash at its end.
    """

    directory: Directory
    name: bytes | None
    slash: bool

    def require(self, missing: Errno) -> bytes:
        """The name. Raises `missing` where the path leads to a directory that is already open."""
        if self.name is None:
            raise WasiError(missing)
        return self.name

    def has_entry(self) -> bool:
        """Whether there is something of that name."""
        try:
            self.check_entry()
        except (WasiError, OSError):
            return False
        return True

    def check_entry(self) -> None:
        """Raises NOENT where nothing is there, and as `check_slash`."""
        if self.name is not None:
            self.directory.stat_entry(self.name)
            self.check_slash()

    def check_slash(self) -> None:
        """Raises NOTDIR for a slash behind something that is not a directory."""
        if self.slash and self.name is not None:
            stat = self.directory.stat_entry(self.name)
            if stat.filetype is not FileType.DIRECTORY:
                raise WasiError(Errno.NOTDIR)


@contextmanager
def resolve(root: Directory, path: bytes, *, follow: bool, exact: bool = False) -> Iterator[Place]:
    """The place of `path` below `root`; its directory is open only inside the `with`.

    The last component need not exist; `follow` walks on where it is a symbolic link, and so does a
    slash behind it, unless what is asked for is `exact`: the name itself, to make or remove it.

    Raises PERM for an absolute path and for one that leaves `root`, LOOP after too many links, NOTDIR,
    NOENT, NAMETOOLONG, INVAL for a path with a zero and ILSEQ for one that is not UTF-8.
    """
    walk = _Walk(root, path)
    try:
        name = walk.run(follow, exact)
        yield Place(walk.directories[-1], name, walk.slash)
    finally:
        walk.close()


class _Walk:
    def __init__(self, root: Directory, path: bytes) -> None:
        self.directories = [root]
        self.todo: list[bytes] = []
        self.slash = False
        self.links = 0
        self._push(path)

    def _push(self, path: bytes) -> None:
        """Put a path's components in front of what is left to walk."""
        check_path(path)
        parts = [part for part in path.split(b"/") if part]
        if not self.todo:
            self.slash = self.slash or path.endswith(b"/")
        # A dot at the end counts: what stands before it must be a directory that is there.
        self.todo += reversed([part for part in parts[:-1] if part != b"."] + parts[-1:])

    def run(self, follow: bool, exact: bool) -> bytes | None:
        while self.todo:
            name = self.todo.pop()
            if name == b"..":
                self._leave()
            elif name == b".":
                continue
            elif self.todo:
                self._enter(name)
            elif exact or not ((follow or self.slash) and self._follow(name)):
                return name
        return None

    def _leave(self) -> None:
        if len(self.directories) == 1:
            raise WasiError(Errno.PERM)
        self.directories.pop().close()

    def _enter(self, name: bytes) -> None:
        if len(self.directories) > MAX_DEPTH:
            raise WasiError(Errno.NAMETOOLONG)
        try:
            self.directories.append(self.directories[-1].enter(name))
        except (WasiError, OSError):
            if not self._follow(name):
                raise

    def _follow(self, name: bytes) -> bool:
        """Walk on along a symbolic link; False where `name` is none."""
        target = read_link(self.directories[-1], name)
        if target is None:
            return False
        self.links += 1
        if self.links > MAX_LINKS:
            raise WasiError(Errno.LOOP)
        self._push(target)
        return True

    def close(self) -> None:
        for directory in self.directories[1:]:
            directory.close()


def read_link(directory: Directory, name: bytes) -> bytes | None:
    """The target of a symbolic link, None for anything else and for nothing."""
    try:
        return directory.read_link(name)
    except (WasiError, OSError):
        return None


def check_path(path: bytes) -> None:
    """Raises what is wrong with a path by itself, as `resolve` does."""
    if not path:
        raise WasiError(Errno.NOENT)
    if path.startswith(b"/"):
        raise WasiError(Errno.PERM)
    if b"\0" in path:
        raise WasiError(Errno.INVAL)
    if len(path) > MAX_PATH:
        raise WasiError(Errno.NAMETOOLONG)
    try:
        path.decode()
    except UnicodeDecodeError:
        raise WasiError(Errno.ILSEQ) from None
