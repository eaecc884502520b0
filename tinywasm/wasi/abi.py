"""Numbers and layouts of `wasi_snapshot_preview1`, as its interface description (witx) fixes them."""

from __future__ import annotations

import errno
from enum import IntEnum, IntFlag
from functools import reduce
from operator import or_
from struct import Struct

from tinywasm.records import record

MODULE = "wasi_snapshot_preview1"


class Errno(IntEnum):
    """`errno`: what every function but `proc_exit` returns."""

    SUCCESS = 0
    TOOBIG = 1
    ACCES = 2
    ADDRINUSE = 3
    ADDRNOTAVAIL = 4
    AFNOSUPPORT = 5
    AGAIN = 6
    ALREADY = 7
    BADF = 8
    BADMSG = 9
    BUSY = 10
    CANCELED = 11
    CHILD = 12
    CONNABORTED = 13
    CONNREFUSED = 14
    CONNRESET = 15
    DEADLK = 16
    DESTADDRREQ = 17
    DOM = 18
    DQUOT = 19
    EXIST = 20
    FAULT = 21
    FBIG = 22
    HOSTUNREACH = 23
    IDRM = 24
    ILSEQ = 25
    INPROGRESS = 26
    INTR = 27
    INVAL = 28
    IO = 29
    ISCONN = 30
    ISDIR = 31
    LOOP = 32
    MFILE = 33
    MLINK = 34
    MSGSIZE = 35
    MULTIHOP = 36
    NAMETOOLONG = 37
    NETDOWN = 38
    NETRESET = 39
    NETUNREACH = 40
    NFILE = 41
    NOBUFS = 42
    NODEV = 43
    NOENT = 44
    NOEXEC = 45
    NOLCK = 46
    NOLINK = 47
    NOMEM = 48
    NOMSG = 49
    NOPROTOOPT = 50
    NOSPC = 51
    NOSYS = 52
    NOTCONN = 53
    NOTDIR = 54
    NOTEMPTY = 55
    NOTRECOVERABLE = 56
    NOTSOCK = 57
    NOTSUP = 58
    NOTTY = 59
    NXIO = 60
    OVERFLOW = 61
    OWNERDEAD = 62
    PERM = 63
    PIPE = 64
    PROTO = 65
    PROTONOSUPPORT = 66
    PROTOTYPE = 67
    RANGE = 68
    ROFS = 69
    SPIPE = 70
    SRCH = 71
    STALE = 72
    TIMEDOUT = 73
    TXTBSY = 74
    XDEV = 75
    NOTCAPABLE = 76


class WasiError(Exception):
    """A function's failure on its way to the guest, which sees `errno` and nothing else."""

    def __init__(self, errno: Errno) -> None:
        super().__init__(errno.name)
        self.errno = errno

    def __reduce__(self) -> tuple[type[WasiError], tuple[Errno]]:
        return type(self), (self.errno,)


def _host_numbers() -> dict[int, Errno]:
    names = {Errno.TOOBIG: "E2BIG"}
    numbers = {getattr(errno, names.get(item, f"E{item.name}"), None): item for item in Errno}
    numbers[errno.EWOULDBLOCK] = Errno.AGAIN
    return {number: item for number, item in numbers.items() if number is not None}


_FROM_HOST = _host_numbers()


def from_host(number: int | None) -> Errno:
    """The number for one of the host's; IO for what preview 1 has no name for."""
    return Errno.IO if number is None else _FROM_HOST.get(number, Errno.IO)


class Rights(IntFlag):
    """`rights`: what may be done with a descriptor."""

    FD_DATASYNC = 1 << 0
    FD_READ = 1 << 1
    FD_SEEK = 1 << 2
    FD_FDSTAT_SET_FLAGS = 1 << 3
    FD_SYNC = 1 << 4
    FD_TELL = 1 << 5
    FD_WRITE = 1 << 6
    FD_ADVISE = 1 << 7
    FD_ALLOCATE = 1 << 8
    PATH_CREATE_DIRECTORY = 1 << 9
    PATH_CREATE_FILE = 1 << 10
    PATH_LINK_SOURCE = 1 << 11
    PATH_LINK_TARGET = 1 << 12
    PATH_OPEN = 1 << 13
    FD_READDIR = 1 << 14
    PATH_READLINK = 1 << 15
    PATH_RENAME_SOURCE = 1 << 16
    PATH_RENAME_TARGET = 1 << 17
    PATH_FILESTAT_GET = 1 << 18
    PATH_FILESTAT_SET_SIZE = 1 << 19
    PATH_FILESTAT_SET_TIMES = 1 << 20
    FD_FILESTAT_GET = 1 << 21
    FD_FILESTAT_SET_SIZE = 1 << 22
    FD_FILESTAT_SET_TIMES = 1 << 23
    PATH_SYMLINK = 1 << 24
    PATH_REMOVE_DIRECTORY = 1 << 25
    PATH_UNLINK_FILE = 1 << 26
    POLL_FD_READWRITE = 1 << 27
    SOCK_SHUTDOWN = 1 << 28
    SOCK_ACCEPT = 1 << 29


def _together(*rights: Rights) -> Rights:
    """All of these, without an object for each on the way."""
    return Rights(reduce(or_, map(int, rights)))


_ANY_TYPE = _together(
    Rights.FD_FDSTAT_SET_FLAGS,
    Rights.FD_FILESTAT_GET,
    Rights.FD_FILESTAT_SET_TIMES,
    Rights.POLL_FD_READWRITE,
)
STREAM_RIGHTS = _together(_ANY_TYPE, Rights.FD_READ, Rights.FD_WRITE)
SOCKET_RIGHTS = _together(STREAM_RIGHTS, Rights.SOCK_SHUTDOWN, Rights.SOCK_ACCEPT)
FILE_RIGHTS = _together(
    STREAM_RIGHTS,
    Rights.FD_SEEK,
    Rights.FD_TELL,
    Rights.FD_SYNC,
    Rights.FD_DATASYNC,
    Rights.FD_ADVISE,
    Rights.FD_ALLOCATE,
    Rights.FD_FILESTAT_SET_SIZE,
)
READ_ONLY_DIRECTORY_RIGHTS = _together(
    Rights.FD_FDSTAT_SET_FLAGS,
    Rights.FD_FILESTAT_GET,
    Rights.POLL_FD_READWRITE,
    Rights.FD_SYNC,
    Rights.FD_DATASYNC,
    Rights.PATH_OPEN,
    Rights.FD_READDIR,
    Rights.PATH_READLINK,
    Rights.PATH_FILESTAT_GET,
)
DIRECTORY_RIGHTS = _together(
    READ_ONLY_DIRECTORY_RIGHTS,
    Rights.FD_FILESTAT_SET_TIMES,
    Rights.PATH_CREATE_DIRECTORY,
    Rights.PATH_CREATE_FILE,
    Rights.PATH_LINK_SOURCE,
    Rights.PATH_LINK_TARGET,
    Rights.PATH_RENAME_SOURCE,
    Rights.PATH_RENAME_TARGET,
    Rights.PATH_FILESTAT_SET_SIZE,
    Rights.PATH_FILESTAT_SET_TIMES,
    Rights.PATH_SYMLINK,
    Rights.PATH_REMOVE_DIRECTORY,
    Rights.PATH_UNLINK_FILE,
)
READ_ONLY_FILE_RIGHTS = _together(
    Rights.FD_READ,
    Rights.FD_SEEK,
    Rights.FD_TELL,
    Rights.FD_SYNC,
    Rights.FD_DATASYNC,
    Rights.FD_ADVISE,
    Rights.FD_FDSTAT_SET_FLAGS,
    Rights.FD_FILESTAT_GET,
    Rights.POLL_FD_READWRITE,
)


class FileType(IntEnum):
    """`filetype`."""

    UNKNOWN = 0
    BLOCK_DEVICE = 1
    CHARACTER_DEVICE = 2
    DIRECTORY = 3
    REGULAR_FILE = 4
    SOCKET_DGRAM = 5
    SOCKET_STREAM = 6
    SYMBOLIC_LINK = 7


RIGHTS_OF_TYPE = {
    FileType.DIRECTORY: DIRECTORY_RIGHTS,
    FileType.REGULAR_FILE: FILE_RIGHTS,
    FileType.BLOCK_DEVICE: FILE_RIGHTS,
    FileType.SOCKET_DGRAM: SOCKET_RIGHTS,
    FileType.SOCKET_STREAM: SOCKET_RIGHTS,
}
"""The rights that apply to a type of file; to every other type apply `STREAM_RIGHTS`."""


class FdFlags(IntFlag):
    """`fdflags`."""

    APPEND = 1
    DSYNC = 2
    NONBLOCK = 4
    RSYNC = 8
    SYNC = 16


class OFlags(IntFlag):
    """`oflags`."""

    CREAT = 1
    DIRECTORY = 2
    EXCL = 4
    TRUNC = 8


class FstFlags(IntFlag):
    """`fstflags`."""

    ATIM = 1
    ATIM_NOW = 2
    MTIM = 4
    MTIM_NOW = 8


class Whence(IntEnum):
    """`whence`."""

    SET = 0
    CUR = 1
    END = 2


class ClockId(IntEnum):
    """`clockid`."""

    REALTIME = 0
    MONOTONIC = 1
    PROCESS_CPUTIME = 2
    THREAD_CPUTIME = 3


class EventType(IntEnum):
    """`eventtype`."""

    CLOCK = 0
    FD_READ = 1
    FD_WRITE = 2


SYMLINK_FOLLOW = 1
"""The only one of `lookupflags`."""
CLOCK_ABSTIME = 1
"""The only one of `subclockflags`."""
READWRITE_HANGUP = 1
"""The only one of `eventrwflags`."""
RECV_PEEK, RECV_WAITALL = 1, 2
"""`riflags`."""
RECV_TRUNCATED = 1
"""The only one of `roflags`."""
SHUT_RD, SHUT_WR = 1, 2
"""`sdflags`."""


@record(frozen=True)
class Layout:
    """A record in linear memory: its fields, with padding, and its alignment in bytes."""

    fields: Struct
    alignment: int

    @property
    def size(self) -> int:
        return self.fields.size


U16 = Layout(Struct("<H"), 2)
U32 = Layout(Struct("<I"), 4)
U64 = Layout(Struct("<Q"), 8)
IOVEC = Layout(Struct("<II"), 4)
PRESTAT = Layout(Struct("<B3xI"), 4)
FDSTAT = Layout(Struct("<BxH4xQQ"), 8)
FILESTAT = Layout(Struct("<QQB7xQQQQQ"), 8)
DIRENT = Layout(Struct("<QQIB3x"), 8)
SUBSCRIPTION = Layout(Struct("<QB7x32s"), 8)
SUBSCRIPTION_CLOCK = Layout(Struct("<I4xQQH6x"), 8)
SUBSCRIPTION_FD = Layout(Struct("<I28x"), 4)
EVENT = Layout(Struct("<QHB5xQH6x"), 8)


@record(frozen=True)
class FileStat:
    """`filestat`: sizes in bytes, times in nanoseconds since 1970."""

    device: int
    inode: int
    filetype: FileType
    links: int
    size: int
    accessed: int
    modified: int
    changed: int
