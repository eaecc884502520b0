"""What a slash, a dot or two behind a name mean to each path call: as to Linux's own calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tinywasm.wasi.wasi_calls import ALL_RIGHTS, BUFFER, OTHER_PATH, RESULT, ROOT, TinywasmCalls
from tinywasm.wasi import MemoryTree, WasiConfig
from tinywasm.wasi.abi import Errno, OFlags, Rights, from_host

LINKS = {"lf": "f", "ld": "d", "ln": "none", "lds": "d/", "lfs": "f/"}
PATHS = [
    name + end
    for name in ("f", "d", "full", "missing", *LINKS)
    for end in ("", "/", "//", "/.", "/..", "/x", "/x/")
]
SECOND = ("new", "new/", "f", "f/", "d", "d/")
READING = ALL_RIGHTS & ~Rights.FD_WRITE & ~Rights.FD_ALLOCATE & ~Rights.FD_FILESTAT_SET_SIZE
FLAGS = {OFlags.CREAT: os.O_CREAT, OFlags.EXCL: os.O_EXCL, OFlags.DIRECTORY: os.O_DIRECTORY}
OPENINGS = [
    (OFlags(0), True),
    (OFlags(0), False),
    (OFlags.CREAT, True),
    (OFlags.CREAT | OFlags.EXCL, True),
    (OFlags.DIRECTORY, True),
]


class System:
    """Linux's own calls."""

    def __init__(self, directory: int) -> None:
        self.fd = directory

    def mkdir(self, path: str) -> None:
        os.mkdir(path, dir_fd=self.fd)

    def rmdir(self, path: str) -> None:
        os.rmdir(path, dir_fd=self.fd)

    def unlink(self, path: str) -> None:
        os.unlink(path, dir_fd=self.fd)

    def readlink(self, path: str) -> None:
        os.readlink(path, dir_fd=self.fd)

    def stat(self, path: str, follow: bool) -> None:
        os.stat(path, dir_fd=self.fd, follow_symlinks=follow)

    def touch(self, path: str, follow: bool) -> None:
        os.utime(path, (1, 1), dir_fd=self.fd, follow_symlinks=follow)

    def open(self, path: str, oflags: OFlags, follow: bool) -> None:
        flags = os.O_RDWR if OFlags.CREAT in oflags else os.O_RDONLY
        flags |= sum(number for flag, number in FLAGS.items() if flag in oflags)
        os.close(os.open(path, flags | (0 if follow else os.O_NOFOLLOW), 0o644, dir_fd=self.fd))

    def symlink(self, path: str) -> None:
        os.symlink("target", path, dir_fd=self.fd)

    def rename(self, path: str, new: str) -> None:
        os.rename(path, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def link(self, path: str, new: str, follow: bool) -> None:
        os.link(path, new, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=follow)


class Guest:
    """The same calls by a program."""

    def __init__(self, calls: TinywasmCalls) -> None:
        self.calls = calls

    def _one(self, name: str, path: str, *more: int) -> int:
        return int(self.calls.raw(name, ROOT, *self.calls.path(path), *more))

    def _looking(self, name: str, path: str, follow: bool, *more: int) -> int:
        return int(self.calls.raw(name, ROOT, int(follow), *self.calls.path(path), *more))

    def mkdir(self, path: str) -> int:
        return self._one("path_create_directory", path)

    def rmdir(self, path: str) -> int:
        return self._one("path_remove_directory", path)

    def unlink(self, path: str) -> int:
        return self._one("path_unlink_file", path)

    def readlink(self, path: str) -> int:
        return self._one("path_readlink", path, BUFFER, 100, RESULT)

    def stat(self, path: str, follow: bool) -> int:
        return self._looking("path_filestat_get", path, follow, BUFFER)

    def touch(self, path: str, follow: bool) -> int:
        return self._looking("path_filestat_set_times", path, follow, 1, 1, 5)

    def open(self, path: str, oflags: OFlags, follow: bool) -> int:
        rights = int(ALL_RIGHTS if OFlags.CREAT in oflags else READING)
        errno = self._looking("path_open", path, follow, int(oflags), rights, ALL_RIGHTS, 0, RESULT)
        if errno == Errno.SUCCESS:
            self.calls.raw("fd_close", self.calls.u32())
        return errno

    def symlink(self, path: str) -> int:
        target, name = self.calls.path("target"), self.calls.path(path, OTHER_PATH)
        return int(self.calls.raw("path_symlink", *target, ROOT, *name))

    def rename(self, path: str, new: str) -> int:
        return self._one("path_rename", path, ROOT, *self.calls.path(new, OTHER_PATH))

    def link(self, path: str, new: str, follow: bool) -> int:
        return self._looking("path_link", path, follow, ROOT, *self.calls.path(new, OTHER_PATH))


Attempt = tuple[str, tuple[object, ...]]


def _attempts(kind: str) -> Iterator[Attempt]:
    for path in PATHS:
        if kind == "open":
            yield from ((kind, (path, oflags, follow)) for oflags, follow in OPENINGS)
        elif kind in ("stat", "touch"):
            yield from ((kind, (path, follow)) for follow in (True, False))
        elif kind == "rename":
            yield from ((kind, pair) for new in SECOND for pair in ((path, new), (new, path)))
        elif kind == "link":
            yield from ((kind, (path, new, follow)) for new in SECOND for follow in (True, False))
            yield from ((kind, (new, path, False)) for new in ("f", "new", "d/"))
        else:
            yield kind, (path,)


def _as_wasmtime(kind: str, args: tuple[object, ...], system: Errno) -> Errno:
    """What is right where wasmtime answers otherwise than Linux, and we as wasmtime."""
    last = str([arg for arg in args if isinstance(arg, str)][-1])
    if kind == "rmdir" and system is Errno.NOTEMPTY and last.endswith(".."):
        return Errno.INVAL
    # A name that is to be made, and is that of a file with a slash behind it.
    if kind in ("symlink", "link") and system is Errno.EXIST and last in ("f/", "f//"):
        return Errno.NOTDIR
    return system


def _fill(place: Path) -> None:
    (place / "d").mkdir(parents=True)
    (place / "full" / "in").mkdir(parents=True)
    (place / "f").write_bytes(b"x")
    for name, target in LINKS.items():
        (place / name).symlink_to(target)


def _fill_tree(guest: TinywasmCalls) -> None:
    for name in ("d", "full", "full/in"):
        assert guest.raw("path_create_directory", ROOT, *guest.path(name)) == 0
    guest.raw("fd_close", guest.create("f", b"x"))
    for name, target in LINKS.items():
        assert guest.raw("path_symlink", *guest.path(target), ROOT, *guest.path(name, OTHER_PATH)) == 0


def _system_answer(place: Path, attempt: Attempt) -> Errno:
    _fill(place)
    directory = os.open(place, os.O_RDONLY)
    try:
        getattr(System(directory), attempt[0])(*attempt[1])
    except OSError as error:
        return from_host(error.errno or 0)
    finally:
        os.close(directory)
    return Errno.SUCCESS


def _guest_answer(attempt: Attempt, preopen: Callable[[WasiConfig], None], fill: bool) -> Errno:
    config = WasiConfig()
    preopen(config)
    calls = TinywasmCalls(config)
    with calls.wasi:
        if fill:
            _fill_tree(calls)
        return Errno(getattr(Guest(calls), attempt[0])(*attempt[1]))


@pytest.mark.parametrize(
    "kind",
    ["mkdir", "rmdir", "unlink", "readlink", "stat", "touch", "open", "symlink", "rename", "link"],
)
def test_slashes_and_dots_mean_what_they_mean_to_linux(kind: str, tmp_path: Path) -> None:
    wrong = []
    for number, attempt in enumerate(_attempts(kind)):
        wanted = _as_wasmtime(*attempt, _system_answer(tmp_path / f"system{number}", attempt))
        place = tmp_path / f"guest{number}"
        _fill(place)

        def disk(config: WasiConfig, place: Path = place) -> None:
            config.preopen_dir(place, "/")

        def tree(config: WasiConfig) -> None:
            config.preopen_tree(MemoryTree(limit=1 << 20), "/")

        for name, preopen in (("disk", disk), ("tree", tree)):
            answer = _guest_answer(attempt, preopen, fill=preopen is tree)
            if answer is not wanted:
                wrong.append((attempt, name, answer.name, wanted.name))
    assert not wrong
