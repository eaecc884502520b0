"""`path_*`: functions on names below an open directory."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from tinywasm.wasi.abi import (
    SYMLINK_FOLLOW,
    U32,
    Errno,
    FdFlags,
    FileType,
    OFlags,
    Rights,
    WasiError,
)
from tinywasm.wasi.descriptors import new_times, store_filestat
from tinywasm.wasi.files import Directory, File, Handle, OpenMode
from tinywasm.wasi.guest import Descriptor, Guest, applicable
from tinywasm.wasi.paths import MAX_PATH, Place, check_path, read_link, resolve
from tinywasm.wasi.registry import bit, flags, function

_DATA = Rights.FD_READ | Rights.FD_WRITE


def _path(guest: Guest, address: int, size: int) -> bytes:
    guest.memory.check(address, size)
    if size > MAX_PATH:
        raise WasiError(Errno.NAMETOOLONG)
    return guest.memory.read(address, size)


@contextmanager
def _place(
    guest: Guest, fd: int, right: Rights, path: int, size: int, *, follow: bool = False, exact: bool = False
) -> Iterator[Place]:
    root = guest.table[fd].directory(right)
    with resolve(root, _path(guest, path, size), follow=follow, exact=exact) as place:
        yield place


@function("iii")
def path_create_directory(guest: Guest, fd: int, path: int, size: int) -> None:
    with _place(guest, fd, Rights.PATH_CREATE_DIRECTORY, path, size, exact=True) as place:
        place.directory.make_directory(place.require(Errno.EXIST))


@function("iiiii")
def path_filestat_get(guest: Guest, fd: int, lookup: int, path: int, size: int, result: int) -> None:
    follow = bit(SYMLINK_FOLLOW, lookup)
    with _place(guest, fd, Rights.PATH_FILESTAT_GET, path, size, follow=follow) as place:
        place.check_slash()
        found = place.directory.stat() if place.name is None else place.directory.stat_entry(place.name)
    store_filestat(guest, result, found)


@function("iiiiIIi")
def path_filestat_set_times(
    guest: Guest, fd: int, lookup: int, path: int, size: int, accessed: int, modified: int, fst_flags: int
) -> None:
    follow = bit(SYMLINK_FOLLOW, lookup)
    times = new_times(accessed, modified, fst_flags)
    with _place(guest, fd, Rights.PATH_FILESTAT_SET_TIMES, path, size, follow=follow) as place:
        place.check_slash()
        if place.name is None:
            # A directory that was entered may be open for searching only.
            with _reopened(place.directory) as directory:
                directory.set_times(times)
        else:
            place.directory.set_entry_times(place.name, times)


@contextmanager
def _reopened(directory: Directory) -> Iterator[Directory]:
    again = directory.reopen()
    try:
        yield again
    finally:
        again.close()


@function("iiiiiii")
def path_link(
    guest: Guest, old_fd: int, lookup: int, path: int, size: int, new_fd: int, new_path: int, new_size: int
) -> None:
    follow = bit(SYMLINK_FOLLOW, lookup)
    with _place(guest, old_fd, Rights.PATH_LINK_SOURCE, path, size, follow=follow) as old:
        # As Linux: the old name first, then the new one, and last whether it is one that can be linked.
        old.check_entry()
        with _place(guest, new_fd, Rights.PATH_LINK_TARGET, new_path, new_size, exact=True) as new:
            new_name = _new_name(new)
            if old.name is None:
                raise WasiError(Errno.EXIST if new.has_entry() else Errno.PERM)
            old.directory.link(old.name, new.directory, new_name)


def _new_name(place: Place) -> bytes:
    """The name of what is to be made, but is no directory, so that there can be nothing with a slash."""
    name = place.require(Errno.EXIST)
    if place.slash:
        if read_link(place.directory, name) is None:
            place.check_slash()
        raise WasiError(Errno.EXIST)
    return name


_TRY_AGAIN = 0.02
"""Seconds until the reader of a named pipe is looked for again."""


@function("iiiiiIIii")
def path_open(
    guest: Guest,
    fd: int,
    lookup: int,
    path: int,
    size: int,
    oflags: int,
    rights: int,
    inheriting: int,
    fdflags: int,
    result: int,
) -> None:
    follow = bit(SYMLINK_FOLLOW, lookup)
    mode = OpenMode(
        flags(OFlags, oflags),
        flags(FdFlags, fdflags),
        bool(rights & Rights.FD_READ),
        bool(rights & (Rights.FD_WRITE | Rights.FD_ALLOCATE | Rights.FD_FILESTAT_SET_SIZE)),
    )
    if OFlags.CREAT | OFlags.DIRECTORY in mode.oflags:
        raise WasiError(Errno.INVAL)
    parent = guest.table[fd]
    follow = follow and OFlags.CREAT | OFlags.EXCL not in mode.oflags
    with _place(guest, fd, _rights_to_open(mode), path, size, follow=follow) as place:
        _check_inherited(parent, mode, rights)
        guest.table.check_room()
        handle = _open_patiently(guest, place, mode)
    opened = _descriptor(parent, handle, rights, inheriting)
    guest.memory.store(U32, result, guest.table.add(opened))


def _rights_to_open(mode: OpenMode) -> Rights:
    needed = Rights.PATH_OPEN
    if OFlags.CREAT in mode.oflags:
        needed |= Rights.PATH_CREATE_FILE
    if OFlags.TRUNC in mode.oflags:
        needed |= Rights.PATH_FILESTAT_SET_SIZE
    return needed


def _check_inherited(parent: Descriptor, mode: OpenMode, rights: int) -> None:
    """Raises NOTCAPABLE where data may not be read or written below `parent` but shall be.

    The other rights that cannot be had are left out silently: libraries ask for all of them.
    """
    missing = Rights(rights) & _DATA & ~parent.inheriting
    if missing and OFlags.DIRECTORY not in mode.oflags:
        raise WasiError(Errno.NOTCAPABLE)


def _open_patiently(guest: Guest, place: Place, mode: OpenMode) -> Handle:
    """Open, and wait for the reader of a named pipe that is opened to write."""
    while True:
        try:
            return _open(place, mode)
        except OSError as error:
            if error.errno != errno.ENXIO or FdFlags.NONBLOCK in mode.fdflags or not _is_pipe(place):
                raise
        guest.wait((), _TRY_AGAIN)


def _is_pipe(place: Place) -> bool:
    # Of what can be opened, preview 1 has no name for pipes alone.
    return place.name is not None and place.directory.stat_entry(place.name).filetype is FileType.UNKNOWN


def _open(place: Place, mode: OpenMode) -> Handle:
    if place.name is None:
        if OFlags.CREAT | OFlags.EXCL in mode.oflags:
            raise WasiError(Errno.EXIST)
        if mode.write or mode.oflags & (OFlags.CREAT | OFlags.TRUNC):
            raise WasiError(Errno.ISDIR)
        return place.directory.reopen()
    if place.slash:
        if OFlags.CREAT in mode.oflags:
            raise WasiError(Errno.ISDIR)
        place.check_slash()
    try:
        return place.directory.open(place.name, mode)
    except (WasiError, NotADirectoryError):
        # A link that is not followed is LOOP, also to who wants a directory and hears NOTDIR.
        if OFlags.DIRECTORY in mode.oflags and read_link(place.directory, place.name) is not None:
            raise WasiError(Errno.LOOP) from None
        raise


def _descriptor(parent: Descriptor, handle: Handle, rights: int, inheriting: int) -> Descriptor:
    allowed = parent.inheriting & applicable(handle)
    if isinstance(handle, File):
        return Descriptor(handle, Rights(rights) & allowed, Rights(0))
    return Descriptor(handle, Rights(rights) & allowed, Rights(inheriting) & parent.inheriting)


@function("iiiiii")
def path_readlink(guest: Guest, fd: int, path: int, size: int, buffer: int, room: int, result: int) -> None:
    with _place(guest, fd, Rights.PATH_READLINK, path, size) as place:
        place.check_slash()
        target = place.directory.read_link(place.require(Errno.INVAL))
    if target.startswith(b"/"):
        # It could not be followed, and would tell how the host names its directories.
        raise WasiError(Errno.PERM)
    target = target[:room]
    guest.memory.write(buffer, target)
    guest.memory.store(U32, result, len(target))


@function("iii")
def path_remove_directory(guest: Guest, fd: int, path: int, size: int) -> None:
    with _place(guest, fd, Rights.PATH_REMOVE_DIRECTORY, path, size, exact=True) as place:
        place.directory.remove_directory(place.require(Errno.INVAL))


@function("iiiiii")
def path_rename(
    guest: Guest, fd: int, path: int, size: int, new_fd: int, new_path: int, new_size: int
) -> None:
    with (
        _place(guest, fd, Rights.PATH_RENAME_SOURCE, path, size, exact=True) as old,
        _place(guest, new_fd, Rights.PATH_RENAME_TARGET, new_path, new_size, exact=True) as new,
    ):
        name, new_name = old.require(Errno.BUSY), new.require(Errno.BUSY)
        if old.slash or new.slash:
            _require_directory(old.directory, name)
        old.directory.rename(name, new.directory, new_name)


def _require_directory(directory: Directory, name: bytes) -> None:
    if directory.stat_entry(name).filetype is not FileType.DIRECTORY:
        raise WasiError(Errno.NOTDIR)


@function("iiiii")
def path_symlink(guest: Guest, target: int, target_size: int, fd: int, path: int, size: int) -> None:
    text = _path(guest, target, target_size)
    # A link that leads out could not be followed here, but other programs would.
    check_path(text)
    with _place(guest, fd, Rights.PATH_SYMLINK, path, size, exact=True) as place:
        place.directory.make_symlink(text, _new_name(place))


@function("iii")
def path_unlink_file(guest: Guest, fd: int, path: int, size: int) -> None:
    with _place(guest, fd, Rights.PATH_UNLINK_FILE, path, size, exact=True) as place:
        name = place.require(Errno.ISDIR)
        place.check_slash()
        place.directory.remove_file(name)
