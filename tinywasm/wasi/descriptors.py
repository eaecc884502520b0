"""`fd_*`: functions on open descriptors."""

from __future__ import annotations

import time

from tinywasm.wasi.abi import (
    DIRENT,
    FDSTAT,
    FILESTAT,
    PRESTAT,
    U32,
    U64,
    Errno,
    FdFlags,
    FileStat,
    FileType,
    FstFlags,
    Rights,
    WasiError,
    Whence,
)
from tinywasm.wasi.files import Directory, Entry, File, Times
from tinywasm.wasi.guest import READABLE, WRITABLE, Descriptor, Guest
from tinywasm.wasi.registry import flags, function, offset

_PREOPEN_DIRECTORY = 0
_ADVICE_KINDS = 6


@function("iIIi")
def fd_advise(guest: Guest, fd: int, start: int, length: int, advice: int) -> None:
    if advice >= _ADVICE_KINDS:
        raise WasiError(Errno.INVAL)
    guest.table[fd].file(Rights.FD_ADVISE).advise(offset(start), offset(length), advice)


@function("iII")
def fd_allocate(guest: Guest, fd: int, start: int, length: int) -> None:
    file = guest.table[fd].file(Rights.FD_ALLOCATE)
    if length == 0:
        raise WasiError(Errno.INVAL)
    if offset(start) + offset(length) > (1 << 63) - 1:
        raise WasiError(Errno.FBIG)
    file.allocate(start, length)


@function("i")
def fd_close(guest: Guest, fd: int) -> None:
    guest.table.remove(fd)


@function("i")
def fd_datasync(guest: Guest, fd: int) -> None:
    _sync(guest.table[fd], Rights.FD_DATASYNC, data_only=True)


@function("i")
def fd_sync(guest: Guest, fd: int) -> None:
    _sync(guest.table[fd], Rights.FD_SYNC, data_only=False)


def _sync(descriptor: Descriptor, right: Rights, *, data_only: bool) -> None:
    if descriptor.handle.filetype not in (FileType.REGULAR_FILE, FileType.DIRECTORY):
        raise WasiError(Errno.INVAL)
    descriptor.require(right)
    descriptor.handle.sync(data_only=data_only)


@function("ii")
def fd_fdstat_get(guest: Guest, fd: int, result: int) -> None:
    found = guest.table[fd]
    set_flags = found.handle.flags if isinstance(found.handle, File) else FdFlags(0)
    guest.memory.store(FDSTAT, result, found.handle.filetype, set_flags, found.rights, found.inheriting)


@function("ii")
def fd_fdstat_set_flags(guest: Guest, fd: int, fdflags: int) -> None:
    wanted = flags(FdFlags, fdflags)
    file = guest.table[fd].file(Rights.FD_FDSTAT_SET_FLAGS)
    # No host can change how an open file synchronises.
    if (wanted ^ file.flags) & (FdFlags.DSYNC | FdFlags.RSYNC | FdFlags.SYNC):
        raise WasiError(Errno.INVAL)
    file.set_flags(wanted)


@function("iII")
def fd_fdstat_set_rights(guest: Guest, fd: int, rights: int, inheriting: int) -> None:
    """Rights can be given up, never won."""
    found = guest.table[fd]
    if rights & ~int(found.rights) or inheriting & ~int(found.inheriting):
        raise WasiError(Errno.NOTCAPABLE)
    found.rights, found.inheriting = Rights(rights), Rights(inheriting)


def store_filestat(guest: Guest, result: int, found: FileStat) -> None:
    """Write a `filestat`."""
    times = (max(0, moment) for moment in (found.accessed, found.modified, found.changed))
    fields = (found.device, found.inode, found.filetype, found.links, found.size)
    guest.memory.store(FILESTAT, result, *fields, *times)


@function("ii")
def fd_filestat_get(guest: Guest, fd: int, result: int) -> None:
    found = guest.table[fd]
    found.require(Rights.FD_FILESTAT_GET)
    store_filestat(guest, result, found.handle.stat())


@function("iI")
def fd_filestat_set_size(guest: Guest, fd: int, size: int) -> None:
    guest.table[fd].file(Rights.FD_FILESTAT_SET_SIZE).set_size(offset(size))


def new_times(accessed: int, modified: int, fst_flags: int) -> Times:
    """The times that `fstflags` choose. Raises INVAL where it chooses one twice."""
    chosen = flags(FstFlags, fst_flags)
    now = time.time_ns()
    pairs = (
        (accessed, FstFlags.ATIM, FstFlags.ATIM_NOW),
        (modified, FstFlags.MTIM, FstFlags.MTIM_NOW),
    )
    times: list[int | None] = []
    for given, flag, flag_now in pairs:
        if flag | flag_now in chosen:
            raise WasiError(Errno.INVAL)
        times.append(offset(given) if flag in chosen else now if flag_now in chosen else None)
    return Times(*times)


@function("iIIi")
def fd_filestat_set_times(guest: Guest, fd: int, accessed: int, modified: int, fst_flags: int) -> None:
    found = guest.table[fd]
    times = new_times(accessed, modified, fst_flags)
    found.require(Rights.FD_FILESTAT_SET_TIMES)
    found.handle.set_times(times)


def read_into(guest: Guest, buffers: list[tuple[int, int]], data: bytes, result: int) -> None:
    """Hand out what was read, and its size."""
    guest.memory.scatter(buffers, data)
    guest.memory.store(U32, result, len(data))


@function("iiiIi")
def fd_pread(guest: Guest, fd: int, iovs: int, count: int, start: int, result: int) -> None:
    file = guest.table[fd].file(Rights.FD_READ)
    _require_seekable(guest.table[fd], Rights.FD_SEEK)
    buffers = guest.memory.buffers(iovs, count)
    data = file.pread(sum(size for _, size in buffers), offset(start))
    read_into(guest, buffers, data, result)


@function("iiiIi")
def fd_pwrite(guest: Guest, fd: int, iovs: int, count: int, start: int, result: int) -> None:
    file = guest.table[fd].file(Rights.FD_WRITE)
    _require_seekable(guest.table[fd], Rights.FD_SEEK)
    data = guest.memory.gather(guest.memory.buffers(iovs, count))
    guest.memory.store(U32, result, file.pwrite(data, offset(start)))


@function("iiii")
def fd_read(guest: Guest, fd: int, iovs: int, count: int, result: int) -> None:
    file = guest.table[fd].file(Rights.FD_READ)
    buffers = guest.memory.buffers(iovs, count)
    size = sum(size for _, size in buffers)
    read_into(guest, buffers, _read(guest, file, size), result)


def _read(guest: Guest, file: File, size: int) -> bytes:
    while True:
        if size:
            guest.wait_for(file, READABLE)
        try:
            return file.read(size)
        except BlockingIOError:
            # Somebody else has read it meanwhile.
            if FdFlags.NONBLOCK in file.flags:
                raise


@function("iiii")
def fd_write(guest: Guest, fd: int, iovs: int, count: int, result: int) -> None:
    file = guest.table[fd].file(Rights.FD_WRITE)
    data = guest.memory.gather(guest.memory.buffers(iovs, count))
    guest.memory.store(U32, result, write_all(guest, file, data))


def write_all(guest: Guest, file: File, data: bytes) -> int:
    """Write to the end, as a blocking write(2) does, but without being deaf to an interruption."""
    if file.fileno() is None or FdFlags.NONBLOCK in file.flags:
        return file.write(data)
    left = memoryview(data)
    while left:
        guest.wait_for(file, WRITABLE)
        try:
            left = left[file.write(left) :]
        except BlockingIOError:
            # Somebody else has filled it meanwhile.
            continue
    return len(data)


def _require_seekable(descriptor: Descriptor, right: Rights) -> None:
    """A stream, which cannot have the right, is told SPIPE rather than that it lacks it."""
    if descriptor.handle.filetype not in (FileType.REGULAR_FILE, FileType.BLOCK_DEVICE):
        raise WasiError(Errno.SPIPE)
    descriptor.require(right)


@function("iIii")
def fd_seek(guest: Guest, fd: int, distance: int, whence: int, result: int) -> None:
    file = guest.table[fd].file(Rights(0))
    if whence > Whence.END:
        raise WasiError(Errno.INVAL)
    signed = distance - (1 << 64) if distance >> 63 else distance
    # Asking for the position takes no more than the right to be told it (witx, `fd_tell`).
    asks = whence == Whence.CUR and signed == 0
    _require_seekable(guest.table[fd], Rights.FD_TELL if asks else Rights.FD_SEEK)
    guest.memory.store(U64, result, file.seek(signed, whence))


@function("ii")
def fd_tell(guest: Guest, fd: int, result: int) -> None:
    file = guest.table[fd].file(Rights(0))
    _require_seekable(guest.table[fd], Rights.FD_TELL)
    guest.memory.store(U64, result, file.seek(0, Whence.CUR))


@function("ii")
def fd_renumber(guest: Guest, fd: int, to: int) -> None:
    guest.table.renumber(fd, to)


def _preopened(guest: Guest, fd: int) -> bytes:
    name = guest.table[fd].preopened_as
    if name is None:
        raise WasiError(Errno.BADF)
    return name


@function("ii")
def fd_prestat_get(guest: Guest, fd: int, result: int) -> None:
    guest.memory.store(PRESTAT, result, _PREOPEN_DIRECTORY, len(_preopened(guest, fd)))


@function("iii")
def fd_prestat_dir_name(guest: Guest, fd: int, buffer: int, size: int) -> None:
    name = _preopened(guest, fd)
    if len(name) > size:
        raise WasiError(Errno.NAMETOOLONG)
    guest.memory.write(buffer, name)


@function("iiiIi")
def fd_readdir(guest: Guest, fd: int, buffer: int, size: int, cookie: int, result: int) -> None:
    found = guest.table[fd]
    if not isinstance(found.handle, Directory):
        raise WasiError(Errno.BADF)
    directory = found.directory(Rights.FD_READDIR)
    guest.memory.check(buffer, size)
    if cookie == 0 or found.listing is None:
        guest.table.keep_listing(found, _listing(directory))
    assert found.listing is not None
    used = 0
    for index in range(min(cookie, len(found.listing)), len(found.listing)):
        # A record that does not fit is cut off: a full buffer tells the guest that there is more.
        record = _dirent(found.listing[index], index + 1)[: size - used]
        guest.memory.write(buffer + used, record)
        used += len(record)
        if used == size:
            break
    guest.memory.store(U32, result, used)


def _listing(directory: Directory) -> list[Entry]:
    inode = directory.stat().inode
    # What lies above a preopened directory is none of the guest's business, its number included.
    dots = [Entry(b".", inode, FileType.DIRECTORY), Entry(b"..", 0, FileType.DIRECTORY)]
    return dots + directory.entries()


def _dirent(entry: Entry, next: int) -> bytes:
    return DIRENT.fields.pack(next, entry.inode, len(entry.name), entry.filetype) + entry.name
