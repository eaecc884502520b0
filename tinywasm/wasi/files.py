"""What a file system is to us: open files and directories, each operation on one path component.

Two implement it: `host` on the disk and `tree` in memory. A directory never sees a path: `paths`
takes those apart, so that what stays inside a sandbox is decided in one place for both.

Every method raises `WasiError`, or `OSError`, whose number the guest gets translated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from tinywasm.records import record
from tinywasm.wasi.abi import Errno, FdFlags, FileStat, FileType, OFlags, WasiError


class Times(NamedTuple):
    """Times to set, in nanoseconds since 1970; None leaves one as it is."""

    accessed: int | None
    modified: int | None


class Entry(NamedTuple):
    """One name in a directory."""

    name: bytes
    inode: int
    filetype: FileType


@record(frozen=True)
class OpenMode:
    """How `path_open` opens: creation flags, descriptor flags and the access that was asked for."""

    oflags: OFlags
    fdflags: FdFlags
    read: bool
    write: bool


class Handle(ABC):
    """An open file or directory."""

    filetype: FileType

    @abstractmethod
    def stat(self) -> FileStat: ...

    @abstractmethod
    def set_times(self, times: Times) -> None: ...

    @abstractmethod
    def sync(self, *, data_only: bool) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def fileno(self) -> int | None:
        """The host's descriptor, for waiting; None where reading and writing never wait."""
        return None


class File(Handle):
    """An open file, stream or socket; the position is part of it.

    The methods that only some files have are refused here as the kernel refuses them for a pipe.
    """

    flags: FdFlags = FdFlags(0)

    @abstractmethod
    def read(self, size: int) -> bytes:
        """At most `size` bytes from the position on; none at the end."""

    @abstractmethod
    def write(self, data: bytes | memoryview) -> int:
        """How many bytes were written, at least one unless there were none."""

    def set_flags(self, flags: FdFlags) -> None:
        """Change `APPEND` and `NONBLOCK`."""
        self.flags = flags

    def sync(self, *, data_only: bool) -> None:
        raise WasiError(Errno.INVAL)

    def set_times(self, times: Times) -> None:
        raise WasiError(Errno.BADF)

    def pread(self, size: int, offset: int) -> bytes:
        raise WasiError(Errno.SPIPE)

    def pwrite(self, data: bytes, offset: int) -> int:
        raise WasiError(Errno.SPIPE)

    def seek(self, offset: int, whence: int) -> int:
        raise WasiError(Errno.SPIPE)

    def set_size(self, size: int) -> None:
        raise WasiError(Errno.INVAL)

    def allocate(self, offset: int, length: int) -> None:
        raise WasiError(Errno.SPIPE)

    def advise(self, offset: int, length: int, advice: int) -> None:
        raise WasiError(Errno.SPIPE)


class Socket(File):
    """A socket that the embedder handed in, or one that came from it."""

    @abstractmethod
    def accept(self) -> Socket:
        """The next connection."""

    @abstractmethod
    def receive(self, size: int, *, peek: bool) -> tuple[bytes, bool]:
        """What has come, and whether a datagram was cut off."""

    @abstractmethod
    def shutdown(self, *, read: bool, write: bool) -> None: ...


class Directory(Handle):
    """An open directory. Every `name` is one component, neither `.` nor `..`, and never followed."""

    filetype = FileType.DIRECTORY

    @abstractmethod
    def reopen(self) -> Directory:
        """Another handle of the same directory."""

    @abstractmethod
    def enter(self, name: bytes) -> Directory:
        """A subdirectory, to go on from. NOTDIR for anything else, symbolic links included."""

    @abstractmethod
    def open(self, name: bytes, mode: OpenMode) -> Handle:
        """Open or create a file, or open a directory. LOOP for a symbolic link."""

    @abstractmethod
    def entries(self) -> list[Entry]:
        """All names but `.` and `..`, sorted."""

    @abstractmethod
    def stat_entry(self, name: bytes) -> FileStat: ...

    @abstractmethod
    def set_entry_times(self, name: bytes, times: Times) -> None: ...

    @abstractmethod
    def read_link(self, name: bytes) -> bytes:
        """A symbolic link's target. INVAL for anything else."""

    @abstractmethod
    def make_directory(self, name: bytes) -> None: ...

    @abstractmethod
    def remove_directory(self, name: bytes) -> None: ...

    @abstractmethod
    def remove_file(self, name: bytes) -> None: ...

    @abstractmethod
    def make_symlink(self, target: bytes, name: bytes) -> None: ...

    @abstractmethod
    def link(self, name: bytes, other: Directory, new_name: bytes) -> None:
        """Another name, in `other`, for the file `name`. XDEV where `other` is of another kind."""

    @abstractmethod
    def rename(self, name: bytes, other: Directory, new_name: bytes) -> None:
        """Move `name` to `other`. XDEV where `other` is of another kind."""
