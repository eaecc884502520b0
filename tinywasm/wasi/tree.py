"""A file tree in memory: `MemoryTree`, and its side of `files`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from typing import TypeVar

from tinywasm.wasi.abi import Errno, FdFlags, FileStat, FileType, OFlags, WasiError, Whence
from tinywasm.wasi.files import Directory, Entry, File, Handle, OpenMode, Times

MAX_NAME = 255
"""Bytes in a component; Linux's NAME_MAX."""
NODE_COST = 256
"""Bytes that a name in a directory counts for, so that empty files are not free."""
MAX_OFFSET = (1 << 63) - 1


class _Node:
    """What names refer to: a file, a directory or a symbolic link."""

    filetype = FileType.UNKNOWN

    def __init__(self, tree: MemoryTree) -> None:
        self.tree = tree
        self.inode = next(tree.inodes)
        self.links = 0
        self.accessed = self.modified = self.changed = time.time_ns()

    @property
    def size(self) -> int:
        return 0

    def stat(self) -> FileStat:
        times = (self.accessed, self.modified, self.changed)
        return FileStat(0, self.inode, self.filetype, self.links, self.size, *times)

    def set_times(self, times: Times) -> None:
        self.accessed = self.accessed if times.accessed is None else times.accessed
        self.modified = self.modified if times.modified is None else times.modified
        self.changed = time.time_ns()

    def touch(self) -> None:
        self.modified = self.changed = time.time_ns()

    def release(self) -> None:
        """Give back the bytes once nothing leads here any more."""


class _FileNode(_Node):
    filetype = FileType.REGULAR_FILE

    def __init__(self, tree: MemoryTree, data: bytes | memoryview = b"") -> None:
        super().__init__(tree)
        self.data = bytearray()
        self.handles = 0
        self.write(data, 0)

    @property
    def size(self) -> int:
        return len(self.data)

    def resize(self, size: int) -> None:
        if size > self.tree.limit:
            raise WasiError(Errno.FBIG)
        self.tree.charge(size - len(self.data))
        if size < len(self.data):
            del self.data[size:]
        else:
            self.data.extend(bytes(size - len(self.data)))
        self.touch()

    def write(self, data: bytes | memoryview, offset: int) -> None:
        end = offset + len(data)
        if offset == len(self.data):
            # Without zeros first: files are written from their beginning to their end.
            self.tree.charge(len(data))
            self.data += data
        else:
            if data and end > len(self.data):
                self.resize(end)
            self.data[offset:end] = data
        self.touch()

    def release(self) -> None:
        if self.links == 0 and self.handles == 0:
            self.tree.charge(-len(self.data))
            self.data = bytearray()


class _LinkNode(_Node):
    filetype = FileType.SYMBOLIC_LINK

    def __init__(self, tree: MemoryTree, target: bytes) -> None:
        super().__init__(tree)
        tree.charge(len(target))
        self.target = target

    @property
    def size(self) -> int:
        return len(self.target)

    def release(self) -> None:
        if self.links == 0:
            self.tree.charge(-len(self.target))


class _DirectoryNode(_Node):
    filetype = FileType.DIRECTORY

    def __init__(self, tree: MemoryTree, parent: _DirectoryNode | None = None) -> None:
        super().__init__(tree)
        self.parent = parent
        self.names: dict[bytes, _Node] = {}
        self.removed = False
        self.links = 2

    def get(self, name: bytes) -> _Node:
        if len(name) > MAX_NAME:
            raise WasiError(Errno.NAMETOOLONG)
        if name not in self.names:
            raise WasiError(Errno.NOENT)
        return self.names[name]

    def check_free(self, name: bytes) -> None:
        if len(name) > MAX_NAME:
            raise WasiError(Errno.NAMETOOLONG)
        if name in self.names:
            raise WasiError(Errno.EXIST)
        if self.removed:
            raise WasiError(Errno.NOENT)

    def add(self, name: bytes, node: _Node) -> None:
        try:
            self.tree.charge(NODE_COST + len(name))
        except WasiError:
            node.release()
            raise
        self.names[name] = node
        if isinstance(node, _DirectoryNode):
            node.parent = self
            self.links += 1
        else:
            node.links += 1
        self.touch()

    def drop(self, name: bytes) -> None:
        node = self.names.pop(name)
        self.tree.charge(-NODE_COST - len(name))
        if isinstance(node, _DirectoryNode):
            self.links -= 1
        else:
            node.links -= 1
        node.release()
        node.changed = time.time_ns()
        self.touch()

    def lies_in(self, other: _Node) -> bool:
        """Whether this is `other` or below it."""
        node: _DirectoryNode | None = self
        while node is not None:
            if node is other:
                return True
            node = node.parent
        return False


class MemoryTree:
    """Files and directories in memory, for guests that must not touch a disk.

    `files` maps paths (`"data/input.txt"`; directories are made as needed) to contents. The tree holds
    at most `limit` bytes, names included: a guest that asks for more gets NOSPC.
    """

    def __init__(self, files: Mapping[str, bytes] | None = None, *, limit: int = 64 << 20) -> None:
        self.limit = limit
        self.used = 0
        self.inodes = itertools.count(1)
        self.root = _DirectoryNode(self)
        for path, data in (files or {}).items():
            self.write(path, data)

    def charge(self, size: int) -> None:
        """Account for `size` bytes more (or less, where negative). Raises NOSPC beyond the limit."""
        if size > 0 and self.used + size > self.limit:
            raise WasiError(Errno.NOSPC)
        self.used += size

    def open(self) -> Directory:
        """A handle of the root directory, for preopening."""
        return MemoryDirectory(self.root)

    def read(self, path: str) -> bytes:
        """A file's contents. Raises `FileNotFoundError`, also for a path that is not a file."""
        return bytes(self._find(path).data)

    def _find(self, path: str) -> _FileNode:
        node: _Node | None = self.root
        for name in _components(path):
            node = node.names.get(name) if isinstance(node, _DirectoryNode) else None
        if not isinstance(node, _FileNode):
            raise FileNotFoundError(path)
        return node

    def open_file(self, path: str) -> MemoryFile:
        """A handle of a file, for pieces of it. Raises as `read`."""
        return MemoryFile(self._find(path), FdFlags(0))

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Make or replace a file, and the directories above it.

        Raises `NotADirectoryError` or `IsADirectoryError` where something else has the name, and
        `OSError` where the tree is full.
        """
        *parents, name = _components(path) or [b""]
        directory = self._make_directories(path, parents)
        old = directory.names.get(name)
        if not name or isinstance(old, _DirectoryNode):
            raise IsADirectoryError(path)
        try:
            node = _FileNode(self, data)
            if old is not None:
                directory.drop(name)
            directory.add(name, node)
        except WasiError:
            raise OSError(f"{path}: the tree holds at most {self.limit} bytes") from None

    def make_directory(self, path: str) -> None:
        """Make a directory and those above it, where they are missing. Raises `NotADirectoryError`."""
        self._make_directories(path, _components(path))

    def _make_directories(self, path: str, names: list[bytes]) -> _DirectoryNode:
        directory = self.root
        for name in names:
            if name not in directory.names:
                directory.add(name, _DirectoryNode(self))
            below = directory.names[name]
            if not isinstance(below, _DirectoryNode):
                raise NotADirectoryError(path)
            directory = below
        return directory

    def files(self) -> dict[str, bytes]:
        """Path and contents of every file, sorted by path."""
        return dict(sorted(_walk("", self.root)))


def _components(path: str) -> list[bytes]:
    return [part.encode() for part in path.split("/") if part not in ("", ".")]


def _walk(prefix: str, top: _DirectoryNode) -> Iterator[tuple[str, bytes]]:
    todo = [(prefix, top)]
    while todo:
        prefix, directory = todo.pop()
        for name, node in directory.names.items():
            path = prefix + name.decode()
            if isinstance(node, _DirectoryNode):
                todo.append((f"{path}/", node))
            elif isinstance(node, _FileNode):
                yield path, bytes(node.data)


class MemoryFile(File):
    """An open file of a tree."""

    filetype = FileType.REGULAR_FILE

    def __init__(self, node: _FileNode, flags: FdFlags) -> None:
        self.node = node
        self.flags = flags
        self.position = 0
        node.handles += 1
        self._open = True

    def stat(self) -> FileStat:
        return self.node.stat()

    def set_times(self, times: Times) -> None:
        self.node.set_times(times)

    def sync(self, *, data_only: bool) -> None:
        """Nothing is pending in memory."""

    def close(self) -> None:
        if self._open:
            self._open = False
            self.node.handles -= 1
            self.node.release()

    def __del__(self) -> None:
        self.close()

    def read(self, size: int) -> bytes:
        data = self.pread(size, self.position)
        self.position += len(data)
        return data

    def write(self, data: bytes | memoryview) -> int:
        if FdFlags.APPEND in self.flags:
            self.position = self.node.size
        count = self.pwrite(bytes(data), self.position)
        self.position += count
        return count

    def pread(self, size: int, offset: int) -> bytes:
        self.node.accessed = time.time_ns()
        return bytes(self.node.data[offset : offset + size])

    def pwrite(self, data: bytes | memoryview, offset: int) -> int:
        self.node.write(data, offset)
        return len(data)

    def seek(self, offset: int, whence: int) -> int:
        base = {Whence.SET: 0, Whence.CUR: self.position, Whence.END: self.node.size}[Whence(whence)]
        if not 0 <= base + offset <= MAX_OFFSET:
            raise WasiError(Errno.INVAL)
        self.position = base + offset
        return self.position

    def set_size(self, size: int) -> None:
        self.node.resize(size)

    def allocate(self, offset: int, length: int) -> None:
        if offset + length > self.node.size:
            self.node.resize(offset + length)

    def advise(self, offset: int, length: int, advice: int) -> None:
        """Memory needs no advice."""


class MemoryDirectory(Directory):
    """An open directory of a tree."""

    def __init__(self, node: _DirectoryNode) -> None:
        self.node = node

    def stat(self) -> FileStat:
        return self.node.stat()

    def set_times(self, times: Times) -> None:
        self.node.set_times(times)

    def sync(self, *, data_only: bool) -> None:
        """Nothing is pending in memory."""

    def close(self) -> None:
        """A directory's handle holds nothing."""

    def reopen(self) -> Directory:
        return MemoryDirectory(self.node)

    def enter(self, name: bytes) -> Directory:
        return MemoryDirectory(_expect(self.node.get(name), _DirectoryNode, Errno.NOTDIR))

    def open(self, name: bytes, mode: OpenMode) -> Handle:
        node = self.node.names.get(name)
        if node is None and OFlags.CREAT in mode.oflags:
            self.node.check_free(name)
            node = _FileNode(self.node.tree)
            self.node.add(name, node)
        elif OFlags.CREAT | OFlags.EXCL in mode.oflags:
            raise WasiError(Errno.EXIST)
        return _open_node(node or self.node.get(name), mode)

    def entries(self) -> list[Entry]:
        self.node.accessed = time.time_ns()
        return sorted(Entry(name, node.inode, node.filetype) for name, node in self.node.names.items())

    def stat_entry(self, name: bytes) -> FileStat:
        return self.node.get(name).stat()

    def set_entry_times(self, name: bytes, times: Times) -> None:
        self.node.get(name).set_times(times)

    def read_link(self, name: bytes) -> bytes:
        return _expect(self.node.get(name), _LinkNode, Errno.INVAL).target

    def make_directory(self, name: bytes) -> None:
        self.node.check_free(name)
        self.node.add(name, _DirectoryNode(self.node.tree))

    def remove_directory(self, name: bytes) -> None:
        node = _expect(self.node.get(name), _DirectoryNode, Errno.NOTDIR)
        if node.names:
            raise WasiError(Errno.NOTEMPTY)
        node.removed = True
        self.node.drop(name)

    def remove_file(self, name: bytes) -> None:
        if isinstance(self.node.get(name), _DirectoryNode):
            raise WasiError(Errno.ISDIR)
        self.node.drop(name)

    def make_symlink(self, target: bytes, name: bytes) -> None:
        self.node.check_free(name)
        self.node.add(name, _LinkNode(self.node.tree, target))

    def link(self, name: bytes, other: Directory, new_name: bytes) -> None:
        target = self._same_tree(other)
        node = self.node.get(name)
        target.check_free(new_name)
        if isinstance(node, _DirectoryNode):
            raise WasiError(Errno.PERM)
        target.add(new_name, node)
        node.changed = time.time_ns()

    def rename(self, name: bytes, other: Directory, new_name: bytes) -> None:
        target = self._same_tree(other)
        node = self.node.get(name)
        old = target.names.get(new_name)
        if isinstance(node, _DirectoryNode) and target.lies_in(node):
            raise WasiError(Errno.INVAL)
        if old is node:
            return
        if old is None:
            target.check_free(new_name)
        else:
            _check_replaceable(node, old)
            MemoryDirectory(target)._replace(new_name, old)
        target.add(new_name, node)
        self.node.drop(name)

    def _replace(self, name: bytes, old: _Node) -> None:
        if isinstance(old, _DirectoryNode):
            self.remove_directory(name)
        else:
            self.remove_file(name)

    def _same_tree(self, other: Directory) -> _DirectoryNode:
        if not isinstance(other, MemoryDirectory) or other.node.tree is not self.node.tree:
            raise WasiError(Errno.XDEV)
        return other.node


_NodeKind = TypeVar("_NodeKind", bound=_Node)


def _expect(node: _Node, kind: type[_NodeKind], otherwise: Errno) -> _NodeKind:
    if not isinstance(node, kind):
        raise WasiError(otherwise)
    return node


def _open_node(node: _Node, mode: OpenMode) -> Handle:
    """The checks of open(2), in Linux's order."""
    if isinstance(node, _LinkNode):
        raise WasiError(Errno.NOTDIR if OFlags.DIRECTORY in mode.oflags else Errno.LOOP)
    if isinstance(node, _DirectoryNode):
        if mode.write or mode.oflags & (OFlags.CREAT | OFlags.TRUNC):
            raise WasiError(Errno.ISDIR)
        return MemoryDirectory(node)
    assert isinstance(node, _FileNode)
    if OFlags.DIRECTORY in mode.oflags:
        raise WasiError(Errno.NOTDIR)
    if OFlags.TRUNC in mode.oflags:
        node.resize(0)
    return MemoryFile(node, mode.fdflags)


def _check_replaceable(node: _Node, old: _Node) -> None:
    if isinstance(old, _DirectoryNode):
        if not isinstance(node, _DirectoryNode):
            raise WasiError(Errno.ISDIR)
        if old.names:
            raise WasiError(Errno.NOTEMPTY)
    elif isinstance(node, _DirectoryNode):
        raise WasiError(Errno.NOTDIR)
