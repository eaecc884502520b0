"""Real files, directories and streams: `files` on descriptors of the host (POSIX)."""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys
from collections.abc import Callable

from tinywasm.wasi.abi import Errno, FdFlags, FileStat, FileType, OFlags, WasiError
from tinywasm.wasi.files import Directory, Entry, File, Handle, OpenMode, Times

# A directory that may be searched but not read can be entered all the same where O_PATH exists.
_SEARCH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW

_TYPES = {
    stat.S_IFBLK: FileType.BLOCK_DEVICE,
    stat.S_IFCHR: FileType.CHARACTER_DEVICE,
    stat.S_IFDIR: FileType.DIRECTORY,
    stat.S_IFREG: FileType.REGULAR_FILE,
    stat.S_IFSOCK: FileType.SOCKET_STREAM,
    stat.S_IFLNK: FileType.SYMBOLIC_LINK,
}
_HOST_FLAGS = {
    FdFlags.APPEND: os.O_APPEND,
    FdFlags.DSYNC: os.O_DSYNC,
    FdFlags.NONBLOCK: os.O_NONBLOCK,
    FdFlags.RSYNC: getattr(os, "O_RSYNC", os.O_SYNC),
    FdFlags.SYNC: os.O_SYNC,
}
_HOST_OFLAGS = {
    OFlags.CREAT: os.O_CREAT,
    OFlags.DIRECTORY: os.O_DIRECTORY,
    OFlags.EXCL: os.O_EXCL,
    OFlags.TRUNC: os.O_TRUNC,
}


def _file_type(mode: int) -> FileType:
    return _TYPES.get(stat.S_IFMT(mode), FileType.UNKNOWN)


def _file_stat(found: os.stat_result) -> FileStat:
    return FileStat(
        found.st_dev,
        found.st_ino,
        _file_type(found.st_mode),
        found.st_nlink,
        found.st_size,
        found.st_atime_ns,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


class _HostHandle(Handle):
    """Owns a descriptor of the host, and closes it at the latest when it is collected."""

    def __init__(self, fd: int, *, owned: bool = True) -> None:
        self.fd = fd
        self._owned = owned

    def stat(self) -> FileStat:
        return _file_stat(os.fstat(self.fd))

    def set_times(self, times: Times) -> None:
        os.utime(self.fd, ns=_both(times, self.stat))

    def sync(self, *, data_only: bool) -> None:
        sync = getattr(os, "fdatasync", os.fsync) if data_only else os.fsync
        sync(self.fd)

    def close(self) -> None:
        if self._owned:
            self._owned = False
            os.close(self.fd)

    def __del__(self) -> None:
        self.close()


def _both(times: Times, now: Callable[[], FileStat]) -> tuple[int, int]:
    """Both times for utime, which takes no half; an omitted one stays what it is."""
    if times.accessed is not None and times.modified is not None:
        return times.accessed, times.modified
    present = now()
    accessed = present.accessed if times.accessed is None else times.accessed
    return accessed, present.modified if times.modified is None else times.modified


class HostFile(_HostHandle, File):
    """A file, stream or device. One that is not `owned` stays open when the guest closes it.

    One that is `deaf` never waits in the host, whatever its flags say: who uses it waits for it.
    """

    def __init__(self, fd: int, *, owned: bool = True, deaf: bool = False) -> None:
        super().__init__(fd, owned=owned)
        self._deaf = deaf
        self.filetype = _file_type(os.fstat(fd).st_mode)
        present = fcntl.fcntl(fd, fcntl.F_GETFL)
        for flag, number in _HOST_FLAGS.items():
            # O_SYNC contains O_DSYNC's bit, so a flag is there only with all of its bits.
            if present & number == number:
                self.flags |= flag
        if deaf:
            fcntl.fcntl(fd, fcntl.F_SETFL, present | os.O_NONBLOCK)

    @classmethod
    def open(cls, path: str | os.PathLike[str], flags: int) -> HostFile:
        """Open a path of the host's, for a standard stream."""
        return cls(os.open(path, flags | os.O_NOCTTY, 0o666))

    def fileno(self) -> int | None:
        return None if self.filetype is FileType.REGULAR_FILE else self.fd

    def set_flags(self, flags: FdFlags) -> None:
        present = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        for flag in (FdFlags.APPEND, FdFlags.NONBLOCK):
            present = present & ~_HOST_FLAGS[flag] | (_HOST_FLAGS[flag] if flag in flags else 0)
        if self._deaf:
            present |= os.O_NONBLOCK
        fcntl.fcntl(self.fd, fcntl.F_SETFL, present)
        self.flags = flags

    def read(self, size: int) -> bytes:
        return os.read(self.fd, size)

    def write(self, data: bytes | memoryview) -> int:
        if self.filetype is not FileType.REGULAR_FILE:
            _flush_before(self.fd)
            # What poll(2) calls writable takes so much without blocking, and no more for sure.
            data = data[: select.PIPE_BUF]
        return os.write(self.fd, data)

    def pread(self, size: int, offset: int) -> bytes:
        return os.pread(self.fd, size, offset)

    def pwrite(self, data: bytes, offset: int) -> int:
        return os.pwrite(self.fd, data, offset)

    def seek(self, offset: int, whence: int) -> int:
        return os.lseek(self.fd, offset, whence)

    def set_size(self, size: int) -> None:
        os.ftruncate(self.fd, size)

    def allocate(self, offset: int, length: int) -> None:
        os.posix_fallocate(self.fd, offset, length)

    def advise(self, offset: int, length: int, advice: int) -> None:
        # Preview 1 numbers the kinds of advice as POSIX_FADV_NORMAL to NOREUSE, in another order.
        kinds = ("NORMAL", "SEQUENTIAL", "RANDOM", "WILLNEED", "DONTNEED", "NOREUSE")
        number = getattr(os, f"POSIX_FADV_{kinds[advice]}", None)
        if number is not None:
            os.posix_fadvise(self.fd, offset, length, number)


def _flush_before(fd: int) -> None:
    """Let what Python printed so far come before what the guest writes to the same stream."""
    for fileno, stream in ((1, sys.stdout), (2, sys.stderr)):
        if fd == fileno and stream is not None and not stream.closed:
            stream.flush()


class HostDirectory(_HostHandle, Directory):
    """A directory on the disk."""

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> HostDirectory:
        """Open a path of the host's, for preopening. Raises `OSError`."""
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY))

    def reopen(self) -> Directory:
        return HostDirectory(os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.fd))

    def enter(self, name: bytes) -> Directory:
        return HostDirectory(os.open(name, _SEARCH, dir_fd=self.fd))

    def open(self, name: bytes, mode: OpenMode) -> Handle:
        # A named pipe would wait for its other end, and a device for whatever it likes: past every
        # interruption. `path_open` waits for a pipe's reader, and `fd_read` for its writer.
        fd = os.open(name, _open_flags(mode) | os.O_NONBLOCK, 0o666, dir_fd=self.fd)
        kind = os.fstat(fd).st_mode
        if stat.S_ISDIR(kind):
            return HostDirectory(fd)
        if FdFlags.NONBLOCK not in mode.fdflags:
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
        return HostFile(fd, deaf=stat.S_ISFIFO(kind))

    def entries(self) -> list[Entry]:
        # A descriptor made by O_PATH cannot be read, and one that was read stands at its end.
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.fd)
        try:
            with os.scandir(fd) as found:
                return sorted(_entry(item) for item in found)
        finally:
            os.close(fd)

    def stat_entry(self, name: bytes) -> FileStat:
        return _file_stat(os.stat(name, dir_fd=self.fd, follow_symlinks=False))

    def set_entry_times(self, name: bytes, times: Times) -> None:
        both = _both(times, lambda: self.stat_entry(name))
        os.utime(name, ns=both, dir_fd=self.fd, follow_symlinks=False)

    def read_link(self, name: bytes) -> bytes:
        return os.readlink(name, dir_fd=self.fd)

    def make_directory(self, name: bytes) -> None:
        os.mkdir(name, dir_fd=self.fd)

    def remove_directory(self, name: bytes) -> None:
        os.rmdir(name, dir_fd=self.fd)

    def remove_file(self, name: bytes) -> None:
        os.unlink(name, dir_fd=self.fd)

    def make_symlink(self, target: bytes, name: bytes) -> None:
        os.symlink(target, name, dir_fd=self.fd)

    def link(self, name: bytes, other: Directory, new_name: bytes) -> None:
        os.link(name, new_name, src_dir_fd=self.fd, dst_dir_fd=_host(other), follow_symlinks=False)

    def rename(self, name: bytes, other: Directory, new_name: bytes) -> None:
        os.rename(name, new_name, src_dir_fd=self.fd, dst_dir_fd=_host(other))


def _host(directory: Directory) -> int:
    if not isinstance(directory, HostDirectory):
        raise WasiError(Errno.XDEV)
    return directory.fd


def _open_flags(mode: OpenMode) -> int:
    access = os.O_RDWR if mode.read and mode.write else os.O_WRONLY if mode.write else os.O_RDONLY
    flags = access | os.O_NOFOLLOW | os.O_NOCTTY
    for oflag, number in _HOST_OFLAGS.items():
        flags |= number if oflag in mode.oflags else 0
    for fdflag, number in _HOST_FLAGS.items():
        flags |= number if fdflag in mode.fdflags else 0
    return flags


def _entry(item: os.DirEntry[str]) -> Entry:
    kind = FileType.UNKNOWN
    if item.is_symlink():
        kind = FileType.SYMBOLIC_LINK
    elif item.is_dir(follow_symlinks=False):
        kind = FileType.DIRECTORY
    elif item.is_file(follow_symlinks=False):
        kind = FileType.REGULAR_FILE
    return Entry(os.fsencode(item.name), item.inode(), kind)
