"""No way out of a preopened directory: random trees, random calls, and a race."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinywasm.wasi.wasi_calls import ALL_RIGHTS, ROOT, Calls, TinywasmCalls, WasmtimeCalls
from tinywasm.wasi import MemoryTree, WasiConfig
from tinywasm.wasi.abi import Errno, FileType, OFlags, Rights

SECRET = b"the secret outside"
READING = ALL_RIGHTS & ~(Rights.FD_WRITE | Rights.FD_ALLOCATE | Rights.FD_FILESTAT_SET_SIZE)

_NAMES = st.sampled_from(["a", "b", "c", "secret", "outside", "link", "up"])
_COMPONENTS = st.one_of(_NAMES, st.sampled_from(["..", "..", ".", ""]))
_PATHS = st.builds(
    lambda parts, absolute, slash: "/" * absolute + "/".join(parts) + "/" * slash,
    st.lists(_COMPONENTS, min_size=1, max_size=6),
    st.integers(0, 9).map(lambda number: number == 0),
    st.booleans(),
)
_SETUP = st.lists(
    st.one_of(
        st.tuples(st.just("mkdir"), _PATHS, st.just("")),
        st.tuples(st.just("file"), _PATHS, st.just("")),
        st.tuples(st.just("symlink"), _PATHS, _PATHS),
    ),
    max_size=10,
)
_CALLS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "open",
                "create",
                "mkdir",
                "rmdir",
                "unlink",
                "symlink",
                "rename",
                "link",
                "stat",
                "readlink",
                "times",
            ]
        ),
        _PATHS,
        _PATHS,
        st.booleans(),
    ),
    max_size=12,
)


def build(inside: Path, steps: list[tuple[str, str, str]]) -> None:
    """A tree with links wherever they lead, also out: it is made by someone who may."""
    for kind, path, target in steps:
        # Names are taken as they are below `inside`, so that the making itself does not leave it.
        place = inside / "/".join(part for part in path.split("/") if part not in ("", ".", ".."))
        try:
            if kind == "mkdir":
                place.mkdir(parents=True)
            elif kind == "file":
                place.write_bytes(b"inside")
            elif target:
                place.symlink_to(target)
        except OSError:
            continue


def call(guest: TinywasmCalls, kind: str, path: str, other: str, follow: bool) -> None:
    """One attempt. Whatever is opened is read, written and listed."""
    if kind in ("open", "create"):
        oflags = OFlags.CREAT if kind == "create" else 0
        for rights in (ALL_RIGHTS, READING):
            errno, fd = guest.open(path, oflags, rights=rights, follow=follow)
            if errno == Errno.SUCCESS:
                assert SECRET not in guest.read(fd, 100)[1]
                assert b"witness" not in guest.readdir(fd)[1]
                guest.write(fd, b"written")
                guest.open("../secret", fd=fd)
                guest.raw("fd_close", fd)
    elif kind in ("mkdir", "rmdir", "unlink"):
        getattr(guest, kind)(path)
    elif kind == "symlink":
        guest.symlink(other, path)
    elif kind == "rename":
        guest.rename(path, other)
    elif kind == "link":
        guest.link(path, other, follow=follow)
    elif kind == "stat":
        errno, found = guest.stat(path, follow=follow)
        assert errno != Errno.SUCCESS or found.size != len(SECRET)
    elif kind == "readlink":
        guest.readlink(path)
    else:
        guest.raw("path_filestat_set_times", ROOT, int(follow), *guest.path(path), 1, 1, 5)


def snapshot(place: Path) -> list[tuple[str, int, float, bytes]]:
    """Everything outside of the sandbox: names, types, times, contents."""
    found = []
    for folder, folders, files in os.walk(place):
        folders[:] = sorted(name for name in folders if name != "inside")
        info = os.lstat(folder)
        found.append((folder, info.st_mode, 0.0, b""))
        for name in sorted(files):
            file = Path(folder, name)
            info = os.lstat(file)
            content = os.readlink(file).encode() if file.is_symlink() else file.read_bytes()
            found.append((name, info.st_mode, info.st_mtime, content))
    return found


@settings(max_examples=150)
@given(_SETUP, _CALLS)
def test_nothing_outside_is_opened_made_or_removed(
    setup: list[tuple[str, str, str]], calls: list[tuple[str, str, str, bool]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name, "outside")
        inside = outer / "inside"
        inside.mkdir(parents=True)
        for folder in (Path(name), outer):
            (folder / "secret").write_bytes(SECRET)
            (folder / "witness").write_bytes(b"witness")
            (folder / "a").mkdir()
        build(inside, setup)
        before = snapshot(Path(name))
        config = WasiConfig()
        config.preopen_dir(inside, "/")
        guest = TinywasmCalls(config)
        with guest.wasi:
            for attempt in calls:
                call(guest, *attempt)
        assert snapshot(Path(name)) == before


@settings(max_examples=100)
@given(_CALLS)
def test_directory_and_tree_answer_alike(calls: list[tuple[str, str, str, bool]]) -> None:
    """The same calls on the disk and in memory end with the same numbers and the same files."""
    with tempfile.TemporaryDirectory() as name:
        tree = MemoryTree()
        on_disk, in_memory = WasiConfig(), WasiConfig()
        on_disk.preopen_dir(name, "/")
        in_memory.preopen_tree(tree, "/")
        disk, memory = TinywasmCalls(on_disk), TinywasmCalls(in_memory)
        with disk.wasi, memory.wasi:
            for attempt in calls:
                assert _answer(disk, *attempt) == _answer(memory, *attempt)
            assert disk.names() == memory.names()
        assert regular_files(Path(name)) == tree.files()


@settings(max_examples=100)
@given(_CALLS)
def test_wasmtime_answers_alike(calls: list[tuple[str, str, str, bool]]) -> None:
    """The same calls under wasmtime, but for what it does not do: see `_same_for_wasmtime`."""
    pytest.importorskip("wasmtime", reason="wasmtime is not installed: nothing to compare with")
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        config = WasiConfig()
        config.preopen_dir(ours, "/")
        tinywasm, wasmtime = TinywasmCalls(config), WasmtimeCalls(Path(theirs))
        with tinywasm.wasi:
            for attempt in filter(_same_for_wasmtime, calls):
                ours_is, theirs_is = _answer(tinywasm, *attempt), _answer(wasmtime, *attempt)
                # With two paths there may be two reasons to refuse, and either may be told.
                two_paths = attempt[0] in ("link", "rename", "symlink")
                assert ours_is == theirs_is or (two_paths and ours_is and theirs_is)
        assert regular_files(Path(ours)) == regular_files(Path(theirs))


def _same_for_wasmtime(attempt: tuple[str, str, str, bool]) -> bool:
    """Its `path_link` follows no links, and it refuses to remove a name with a slash behind it."""
    kind, path, _, follow = attempt
    return not (kind == "link" and follow) and not (kind in ("rmdir", "unlink") and path.endswith("/"))


def regular_files(place: Path) -> dict[str, bytes]:
    found = (file for file in place.rglob("*") if file.is_file() and not file.is_symlink())
    return {str(file.relative_to(place)): file.read_bytes() for file in found}


def _answer(guest: Calls, kind: str, path: str, other: str, follow: bool) -> object:
    if kind in ("open", "create"):
        oflags = OFlags.CREAT if kind == "create" else 0
        errno, fd = guest.open(
            path, oflags, rights=ALL_RIGHTS if kind == "create" else READING, follow=follow
        )
        if errno != Errno.SUCCESS:
            return errno
        answer: tuple[object, ...] = (guest.read(fd, 50), guest.fdstat(fd)[1][0])
        if kind == "create":
            answer += (guest.write(fd, b"written"), guest.tell(fd))
        guest.raw("fd_close", fd)
        return answer
    if kind in ("mkdir", "rmdir", "unlink"):
        return getattr(guest, kind)(path)
    if kind == "symlink":
        return guest.symlink(other, path)
    if kind == "rename":
        return guest.rename(path, other)
    if kind == "link":
        return guest.link(path, other, follow=follow)
    if kind == "stat":
        errno, found = guest.stat(path, follow=follow)
        is_directory = found.filetype is FileType.DIRECTORY
        return errno, found.filetype, 0 if is_directory else found.size, found.links
    if kind == "readlink":
        return guest.readlink(path)
    return guest.raw("path_filestat_set_times", ROOT, int(follow), *guest.path(path), 1, 1, 5)


def test_no_escape_while_a_directory_and_a_link_change_places(tmp_path: Path) -> None:
    """Somebody exchanges `swap`, a directory, and a link that leads out, all the time."""
    inside = tmp_path / "inside"
    (inside / "swap").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(SECRET)
    (inside / "swap" / "secret").write_bytes(b"harmless")
    (inside / "out").symlink_to("..")
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            for old, new in (("swap", "kept"), ("out", "swap"), ("swap", "out"), ("kept", "swap")):
                os.rename(inside / old, inside / new)

    swapper = threading.Thread(target=exchange)
    config = WasiConfig()
    config.preopen_dir(inside, "/")
    guest = TinywasmCalls(config)
    swapper.start()
    read = refused = 0
    try:
        for _ in range(1500):
            errno, fd = guest.open("swap/secret")
            if errno == Errno.SUCCESS:
                assert guest.read(fd, 100) == (Errno.SUCCESS, b"harmless")
                guest.raw("fd_close", fd)
                read += 1
            else:
                refused += 1
            guest.unlink("swap/witness")
            guest.mkdir("swap/made")
            guest.rmdir("swap/made")
    finally:
        stop.set()
        swapper.join()
        guest.wasi.close()
    assert read and refused
    assert sorted(os.listdir(tmp_path)) == ["inside", "secret"]
    assert (tmp_path / "secret").read_bytes() == SECRET


def test_a_directory_moved_away_takes_no_guest_with_it(tmp_path: Path) -> None:
    """`..` goes back to where the path came from, whatever stands above by then."""
    (tmp_path / "inside" / "below").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(SECRET)
    config = WasiConfig()
    config.preopen_dir(tmp_path / "inside", "/")
    guest = TinywasmCalls(config)
    below = guest.open("below", OFlags.DIRECTORY)[1]
    shutil.move(tmp_path / "inside" / "below", tmp_path / "below")
    assert guest.open("../secret", fd=below)[0] == Errno.PERM
    assert guest.open("..", fd=below)[0] == Errno.PERM
    assert guest.mkdir("../made", fd=below) == Errno.PERM
    guest.wasi.close()


def test_where_an_absolute_link_leads_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "directory").symlink_to("/etc")
    config = WasiConfig()
    config.preopen_dir(tmp_path, "/")
    guest = TinywasmCalls(config)
    assert guest.readlink("link")[0] == Errno.PERM
    assert guest.open("link")[0] == Errno.PERM
    assert guest.open("directory/passwd")[0] == Errno.PERM
    assert guest.open("link", follow=False)[0] == Errno.LOOP
    assert guest.stat("link", follow=False)[0] == Errno.SUCCESS
    assert guest.unlink("link") == Errno.SUCCESS
    guest.wasi.close()
