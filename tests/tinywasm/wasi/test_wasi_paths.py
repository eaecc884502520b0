"""`path_*`: what succeeds and what fails with which number, on the disk and in memory alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tinywasm.wasi.wasi_calls import ALL_RIGHTS, OTHER_PATH, PATH, RESULT, ROOT, TinywasmCalls, World
from tinywasm.wasi import MemoryTree, WasiConfig
from tinywasm.wasi.abi import Errno, FdFlags, FileType, FstFlags, OFlags, Rights
from tinywasm.wasi.paths import MAX_DEPTH

LONG_NAME = "n" * 256
LONG_PATH = "d/" * 2100


@pytest.fixture
def tree(guest: TinywasmCalls) -> TinywasmCalls:
    """Files, directories and links to try things on."""
    assert guest.raw("fd_close", guest.create("file", b"0123456789")) == Errno.SUCCESS
    for name in ("dir", "dir/nested", "empty"):
        assert guest.mkdir(name) == Errno.SUCCESS
    assert guest.raw("fd_close", guest.create("dir/nested/file", b"abc")) == Errno.SUCCESS
    links = {"link": "file", "dlink": "dir", "loop": "loop", "dangling": "nowhere", "up": ".."}
    for name, target in (links | {"far": "dir/../.."}).items():
        assert guest.symlink(target, name) == Errno.SUCCESS
    return guest


# Each path with what resolving it fails with, whatever is then asked.
UNRESOLVED = [
    ("", Errno.NOENT),
    ("/", Errno.PERM),
    ("/file", Errno.PERM),
    ("../x", Errno.PERM),
    ("dir/../../x", Errno.PERM),
    ("up/x", Errno.PERM),
    ("far/x", Errno.PERM),
    ("dlink/../../x", Errno.PERM),
    ("a\0b", Errno.INVAL),
    (b"\xff", Errno.ILSEQ),
    (LONG_PATH, Errno.NAMETOOLONG),
    ("missing/x", Errno.NOENT),
    ("file/x", Errno.NOTDIR),
    ("link/x", Errno.NOTDIR),
    ("loop/x", Errno.LOOP),
    ("dangling/x", Errno.NOENT),
]


@pytest.mark.parametrize(("path", "errno"), UNRESOLVED)
def test_paths_that_lead_nowhere(tree: TinywasmCalls, path: str | bytes, errno: Errno) -> None:
    where, other = tree.path(path), tree.path("file", OTHER_PATH)
    assert tree.open(path)[0] == errno
    assert tree.stat(path)[0] == errno
    assert tree.mkdir(path) == errno
    assert tree.rmdir(path) == errno
    assert tree.unlink(path) == errno
    assert tree.readlink(path)[0] == errno
    assert tree.symlink("x", path) == errno
    assert tree.raw("path_filestat_set_times", ROOT, 0, *tree.path(path), 0, 0, 0) == errno
    for name in ("path_rename", "path_link"):
        middle = (ROOT,) if name == "path_rename" else (ROOT, 0)
        # The calls before have written other paths there.
        tree.path(path)
        tree.path("file", OTHER_PATH)
        assert tree.raw(name, *middle, *where, ROOT, *other) == errno
        assert tree.raw(name, *middle, *other, ROOT, *where) == errno


@pytest.mark.parametrize("fd", [1, 99])
def test_paths_need_a_directory(tree: TinywasmCalls, fd: int) -> None:
    errno = Errno.NOTDIR if fd == 1 else Errno.BADF
    where, other = tree.path("file"), tree.path("other", OTHER_PATH)
    assert tree.open("file", fd=fd)[0] == errno
    assert tree.stat("file", fd=fd)[0] == errno
    assert tree.mkdir("file", fd=fd) == errno
    assert tree.rmdir("file", fd=fd) == errno
    assert tree.unlink("file", fd=fd) == errno
    assert tree.readlink("file", fd=fd)[0] == errno
    assert tree.symlink("x", "file", fd=fd) == errno
    assert tree.raw("path_filestat_set_times", fd, 0, *where, 0, 0, 0) == errno
    assert tree.raw("path_rename", fd, *where, ROOT, *other) == errno
    assert tree.raw("path_rename", ROOT, *where, fd, *other) == errno
    assert tree.raw("path_link", fd, 0, *where, ROOT, *other) == errno
    assert tree.raw("path_link", ROOT, 0, *where, fd, *other) == errno


def test_every_operation_needs_its_right(tree: TinywasmCalls) -> None:
    poor = tree.open(".", OFlags.DIRECTORY, rights=Rights.FD_READDIR)[1]
    assert tree.open("file", fd=poor)[0] == Errno.NOTCAPABLE
    assert tree.stat("file", fd=poor)[0] == Errno.NOTCAPABLE
    assert tree.mkdir("new", fd=poor) == Errno.NOTCAPABLE
    assert tree.rmdir("empty", fd=poor) == Errno.NOTCAPABLE
    assert tree.unlink("file", fd=poor) == Errno.NOTCAPABLE
    assert tree.readlink("link", fd=poor)[0] == Errno.NOTCAPABLE
    assert tree.symlink("x", "new", fd=poor) == Errno.NOTCAPABLE
    assert tree.rename("file", "new", fd=poor) == Errno.NOTCAPABLE
    assert tree.rename("file", "new", new_fd=poor) == Errno.NOTCAPABLE
    assert tree.link("file", "new", fd=poor) == Errno.NOTCAPABLE
    assert tree.link("file", "new", new_fd=poor) == Errno.NOTCAPABLE
    times = tree.raw("path_filestat_set_times", poor, 0, *tree.path("file"), 0, 0, 0)
    assert times == Errno.NOTCAPABLE


class TestOpen:
    @pytest.mark.parametrize(
        "path",
        ["file", "./file", "dir/../file", "dir//nested/../../file", "link", "dlink/./nested/file"],
    )
    def test_finds(self, tree: TinywasmCalls, path: str) -> None:
        errno, fd = tree.open(path)
        assert errno == Errno.SUCCESS
        assert tree.read(fd, 3)[1] in (b"012", b"abc")

    @pytest.mark.parametrize("path", [".", "dir", "dir/", "dir/.", "dlink", "dlink/", "dir/nested/.."])
    def test_opens_directories(self, tree: TinywasmCalls, path: str) -> None:
        for oflags in (0, OFlags.DIRECTORY):
            errno, fd = tree.open(path, oflags)
            assert errno == Errno.SUCCESS
            assert tree.fdstat(fd)[1][0] == FileType.DIRECTORY

    @pytest.mark.parametrize(
        ("path", "oflags", "errno"),
        [
            ("missing", 0, Errno.NOENT),
            ("dangling", 0, Errno.NOENT),
            ("loop", 0, Errno.LOOP),
            ("up", 0, Errno.PERM),
            ("..", 0, Errno.PERM),
            ("file/", 0, Errno.NOTDIR),
            ("file/.", 0, Errno.NOTDIR),
            ("file", OFlags.DIRECTORY, Errno.NOTDIR),
            ("file", OFlags.CREAT | OFlags.EXCL, Errno.EXIST),
            ("dangling", OFlags.CREAT | OFlags.EXCL, Errno.EXIST),
            (".", OFlags.CREAT | OFlags.EXCL, Errno.EXIST),
            ("dir", OFlags.CREAT, Errno.ISDIR),
            (".", OFlags.CREAT, Errno.ISDIR),
            ("new/", OFlags.CREAT, Errno.ISDIR),
            ("new", OFlags.CREAT | OFlags.DIRECTORY, Errno.INVAL),
            ("missing/new", OFlags.CREAT, Errno.NOENT),
            ("dir", OFlags.TRUNC, Errno.ISDIR),
            (LONG_NAME, 0, Errno.NAMETOOLONG),
            (LONG_NAME, OFlags.CREAT, Errno.NAMETOOLONG),
            ("file", 16, Errno.INVAL),
            ("file", 1 << 16, Errno.INVAL),
        ],
    )
    def test_refuses(self, tree: TinywasmCalls, path: str, oflags: int, errno: Errno) -> None:
        assert tree.open(path, oflags)[0] == errno

    def test_links_are_not_followed_unless_asked(self, tree: TinywasmCalls) -> None:
        for name in ("link", "dlink", "dangling", "up"):
            assert tree.open(name, follow=False)[0] == Errno.LOOP
            assert tree.open(name, OFlags.DIRECTORY, follow=False)[0] == Errno.LOOP
        assert tree.open("dlink/", follow=False)[0] == Errno.SUCCESS

    def test_creates_and_truncates(self, tree: TinywasmCalls) -> None:
        assert tree.open("new", OFlags.CREAT | OFlags.EXCL)[0] == Errno.SUCCESS
        assert tree.stat("new")[1].size == 0
        assert tree.open("file", OFlags.TRUNC, rights=ALL_RIGHTS)[0] == Errno.SUCCESS
        assert tree.stat("file")[1].size == 0
        assert tree.open("dangling", OFlags.CREAT)[0] == Errno.SUCCESS
        assert tree.stat("nowhere")[1].filetype is FileType.REGULAR_FILE

    def test_a_directory_cannot_be_written(self, tree: TinywasmCalls) -> None:
        assert tree.open("dir", rights=ALL_RIGHTS)[0] == Errno.ISDIR
        assert tree.open(".", rights=ALL_RIGHTS)[0] == Errno.ISDIR

    @pytest.mark.parametrize("fdflags", [FdFlags.SYNC, FdFlags.DSYNC, FdFlags.RSYNC | FdFlags.SYNC])
    def test_synchronised(self, tree: TinywasmCalls, fdflags: FdFlags) -> None:
        fd = tree.create("new", b"x", fdflags=fdflags)
        assert tree.fdstat(fd)[1][1] & fdflags == fdflags

    def test_wrong_flags(self, tree: TinywasmCalls) -> None:
        assert tree.open("file", fdflags=32)[0] == Errno.INVAL
        assert tree.raw("path_open", ROOT, 2, *tree.path("file"), 0, 0, 0, 0, RESULT) == Errno.INVAL

    def test_creating_and_truncating_need_rights(self, tree: TinywasmCalls) -> None:
        poor = tree.open(".", OFlags.DIRECTORY, rights=Rights.PATH_OPEN)[1]
        assert tree.open("file", fd=poor)[0] == Errno.SUCCESS
        assert tree.open("new", OFlags.CREAT, fd=poor)[0] == Errno.NOTCAPABLE
        assert tree.open("file", OFlags.TRUNC, fd=poor)[0] == Errno.NOTCAPABLE

    def test_what_a_directory_does_not_inherit_nobody_gets(self, tree: TinywasmCalls) -> None:
        parent = tree.open(".", OFlags.DIRECTORY, inheriting=Rights.FD_READ | Rights.PATH_OPEN)[1]
        assert tree.open("file", fd=parent, rights=Rights.FD_WRITE)[0] == Errno.NOTCAPABLE
        errno, fd = tree.open("file", fd=parent)
        assert (errno, tree.fdstat(fd)[1][2]) == (Errno.SUCCESS, Rights.FD_READ)
        below = tree.open("dir", OFlags.DIRECTORY, fd=parent)[1]
        assert tree.fdstat(below)[1][2:] == (Rights.PATH_OPEN, Rights.FD_READ | Rights.PATH_OPEN)

    def test_depth_is_bounded(self, guest: TinywasmCalls) -> None:
        fd = ROOT
        for _ in range(20):
            path = "/".join("d" * 20)
            for length in range(1, 21):
                assert guest.mkdir(path[: length * 2 - 1], fd=fd) == Errno.SUCCESS
            fd = guest.open(path, OFlags.DIRECTORY, fd=fd)[1]
        assert guest.stat("/".join("d" * (MAX_DEPTH - 1)))[0] == Errno.SUCCESS
        assert guest.stat("/".join("d" * (MAX_DEPTH + 5)))[0] == Errno.NAMETOOLONG


class TestStat:
    def test_follows_or_not(self, tree: TinywasmCalls) -> None:
        assert tree.stat("link")[1].filetype is FileType.REGULAR_FILE
        errno, found = tree.stat("link", follow=False)
        assert (errno, found.filetype, found.size) == (0, FileType.SYMBOLIC_LINK, 4)
        assert tree.stat("dlink/", follow=False)[1].filetype is FileType.DIRECTORY
        assert tree.stat("dir/.")[1].filetype is FileType.DIRECTORY
        assert tree.stat(".")[1].filetype is FileType.DIRECTORY

    @pytest.mark.parametrize(
        ("path", "errno"),
        [
            ("missing", Errno.NOENT),
            ("dangling", Errno.NOENT),
            ("loop", Errno.LOOP),
            ("far", Errno.PERM),
            ("file/", Errno.NOTDIR),
            ("dir/nested/file/.", Errno.NOTDIR),
            (LONG_NAME, Errno.NAMETOOLONG),
        ],
    )
    def test_refuses(self, tree: TinywasmCalls, path: str, errno: Errno) -> None:
        assert tree.stat(path)[0] == errno

    def test_wrong_flags(self, tree: TinywasmCalls) -> None:
        assert tree.raw("path_filestat_get", ROOT, 2, *tree.path("file"), RESULT) == Errno.INVAL

    def _set(self, tree: TinywasmCalls, path: str, follow: int, time: int) -> Errno:
        where = tree.path(path)
        return Errno(tree.raw("path_filestat_set_times", ROOT, follow, *where, 0, time, FstFlags.MTIM))

    def test_set_times(self, tree: TinywasmCalls) -> None:
        assert self._set(tree, "link", 0, 3_000_000_000) == Errno.SUCCESS
        assert tree.stat("link", follow=False)[1].modified == 3_000_000_000
        assert tree.stat("file")[1].modified > 10**18
        assert self._set(tree, "link", 1, 4_000_000_000) == Errno.SUCCESS
        assert tree.stat("file")[1].modified == 4_000_000_000
        assert self._set(tree, "dir/nested/..", 0, 5_000_000_000) == Errno.SUCCESS
        assert tree.stat("dir")[1].modified == 5_000_000_000

    def test_set_times_refuses(self, tree: TinywasmCalls) -> None:
        assert self._set(tree, "missing", 0, 1) == Errno.NOENT
        assert self._set(tree, "dangling", 1, 1) == Errno.NOENT
        assert self._set(tree, "file/", 0, 1) == Errno.NOTDIR
        assert self._set(tree, "file", 2, 1) == Errno.INVAL
        assert self._set(tree, "file", 0, 1 << 63) == Errno.INVAL
        where = tree.path("file")
        assert tree.raw("path_filestat_set_times", ROOT, 0, *where, 0, 0, 3) == Errno.INVAL


class TestDirectories:
    def test_make_and_remove(self, tree: TinywasmCalls) -> None:
        assert tree.mkdir("new") == Errno.SUCCESS
        assert tree.mkdir("new/below/") == Errno.SUCCESS
        assert tree.rmdir("new") == Errno.NOTEMPTY
        assert tree.rmdir("new/below/") == Errno.SUCCESS
        assert tree.rmdir("new") == Errno.SUCCESS
        assert tree.stat("new")[0] == Errno.NOENT

    @pytest.mark.parametrize(
        ("path", "errno"),
        [
            ("dir", Errno.EXIST),
            ("file", Errno.EXIST),
            ("dangling", Errno.EXIST),
            ("dangling/", Errno.EXIST),
            (".", Errno.EXIST),
            ("dir/.", Errno.EXIST),
            ("new/.", Errno.NOENT),
            ("new/./", Errno.NOENT),
            ("missing/new", Errno.NOENT),
            (LONG_NAME, Errno.NAMETOOLONG),
        ],
    )
    def test_make_refuses(self, tree: TinywasmCalls, path: str, errno: Errno) -> None:
        assert tree.mkdir(path) == errno

    @pytest.mark.parametrize(
        ("path", "errno"),
        [
            ("file", Errno.NOTDIR),
            ("dlink", Errno.NOTDIR),
            ("dir", Errno.NOTEMPTY),
            ("missing", Errno.NOENT),
            (".", Errno.INVAL),
            ("empty/.", Errno.INVAL),
            ("..", Errno.PERM),
            (LONG_NAME, Errno.NAMETOOLONG),
        ],
    )
    def test_remove_refuses(self, tree: TinywasmCalls, path: str, errno: Errno) -> None:
        assert tree.rmdir(path) == errno

    def test_nothing_is_made_in_a_directory_that_is_gone(self, tree: TinywasmCalls) -> None:
        fd = tree.open("empty", OFlags.DIRECTORY)[1]
        assert tree.rmdir("empty") == Errno.SUCCESS
        assert tree.mkdir("new", fd=fd) == Errno.NOENT
        assert tree.open("new", OFlags.CREAT, fd=fd)[0] == Errno.NOENT
        assert tree.rename("file", "new", new_fd=fd) == Errno.NOENT
        assert tree.fd_stat(fd)[0] == Errno.SUCCESS


class TestUnlink:
    def test_file_and_link(self, tree: TinywasmCalls) -> None:
        assert tree.unlink("link") == Errno.SUCCESS
        assert tree.stat("file")[0] == Errno.SUCCESS
        assert tree.unlink("dlink") == Errno.SUCCESS
        assert tree.unlink("file") == Errno.SUCCESS
        assert tree.unlink("file") == Errno.NOENT

    @pytest.mark.parametrize(
        ("path", "errno"),
        [
            ("dir", Errno.ISDIR),
            ("dir/", Errno.ISDIR),
            (".", Errno.ISDIR),
            ("file/", Errno.NOTDIR),
            ("dlink/", Errno.NOTDIR),
            ("missing", Errno.NOENT),
            (LONG_NAME, Errno.NAMETOOLONG),
        ],
    )
    def test_refuses(self, tree: TinywasmCalls, path: str, errno: Errno) -> None:
        assert tree.unlink(path) == errno


class TestSymlink:
    def test_read(self, tree: TinywasmCalls) -> None:
        assert tree.readlink("link") == (Errno.SUCCESS, b"file")
        assert tree.readlink("link", 2) == (Errno.SUCCESS, b"fi")
        assert tree.readlink("link", 0) == (Errno.SUCCESS, b"")

    @pytest.mark.parametrize(
        ("path", "errno"),
        [("file", Errno.INVAL), ("dir", Errno.INVAL), (".", Errno.INVAL), ("missing", Errno.NOENT)],
    )
    def test_read_refuses(self, tree: TinywasmCalls, path: str, errno: Errno) -> None:
        assert tree.readlink(path)[0] == errno

    @pytest.mark.parametrize(
        ("target", "path", "errno"),
        [
            ("x", "file", Errno.EXIST),
            ("x", "dir", Errno.EXIST),
            ("x", "dir/", Errno.EXIST),
            ("x", "file/", Errno.NOTDIR),
            ("x", "new/", Errno.NOENT),
            ("x", ".", Errno.EXIST),
            ("", "new", Errno.NOENT),
            ("/etc", "new", Errno.PERM),
            ("a\0b", "new", Errno.INVAL),
            (b"\xff", "new", Errno.ILSEQ),
            (LONG_PATH, "new", Errno.NAMETOOLONG),
        ],
    )
    def test_make_refuses(self, tree: TinywasmCalls, target: str | bytes, path: str, errno: Errno) -> None:
        assert tree.symlink(target, path) == errno

    def test_a_chain_may_be_forty_long(self, guest: TinywasmCalls) -> None:
        guest.raw("fd_close", guest.create("0"))
        for number in range(41):
            assert guest.symlink(str(number), str(number + 1)) == Errno.SUCCESS
        assert guest.stat("40")[0] == Errno.SUCCESS
        assert guest.stat("41")[0] == Errno.LOOP


class TestLink:
    def test_two_names_for_one_file(self, tree: TinywasmCalls) -> None:
        assert tree.link("file", "dir/new") == Errno.SUCCESS
        old, new = tree.stat("file")[1], tree.stat("dir/new")[1]
        assert (old.inode, old.links) == (new.inode, 2)
        assert tree.unlink("file") == Errno.SUCCESS
        assert tree.stat("dir/new")[1].links == 1

    def test_of_a_link(self, tree: TinywasmCalls) -> None:
        assert tree.link("link", "itself") == Errno.SUCCESS
        assert tree.readlink("itself") == (Errno.SUCCESS, b"file")
        assert tree.link("link", "target", follow=True) == Errno.SUCCESS
        assert tree.stat("target", follow=False)[1].filetype is FileType.REGULAR_FILE

    @pytest.mark.parametrize(
        ("old", "new", "errno"),
        [
            ("missing", "new", Errno.NOENT),
            ("dir", "new", Errno.PERM),
            (".", "new", Errno.PERM),
            ("file/", "new", Errno.NOTDIR),
            ("file", "dir", Errno.EXIST),
            ("file", "link", Errno.EXIST),
            ("file", ".", Errno.EXIST),
            ("file", "new/", Errno.NOENT),
            ("file", "dir/", Errno.EXIST),
            ("file", "../new", Errno.PERM),
            ("file", LONG_NAME, Errno.NAMETOOLONG),
        ],
    )
    def test_refuses(self, tree: TinywasmCalls, old: str, new: str, errno: Errno) -> None:
        assert tree.link(old, new) == errno

    def test_wrong_flags(self, tree: TinywasmCalls) -> None:
        other = tree.path("new", OTHER_PATH)
        assert tree.raw("path_link", ROOT, 2, *tree.path("file"), ROOT, *other) == Errno.INVAL


class TestRename:
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("file", "new"),
            ("file", "dir/new"),
            ("file", "link"),
            ("dir", "new"),
            ("dir/", "new/"),
            ("dir", "empty"),
            ("dir/nested", "nested"),
            ("link", "new"),
            ("dlink", "new"),
        ],
    )
    def test_moves(self, tree: TinywasmCalls, old: str, new: str) -> None:
        before = tree.stat(old.rstrip("/"), follow=False)[1]
        assert tree.rename(old, new) == Errno.SUCCESS
        assert tree.stat(old, follow=False)[0] == Errno.NOENT
        after = tree.stat(new.rstrip("/"), follow=False)[1]
        assert (after.inode, after.filetype) == (before.inode, before.filetype)

    @pytest.mark.parametrize(
        ("old", "new", "errno"),
        [
            ("missing", "new", Errno.NOENT),
            ("file", "dir", Errno.ISDIR),
            ("dir", "file", Errno.NOTDIR),
            ("empty", "dir", Errno.NOTEMPTY),
            ("dir", "dir/nested/new", Errno.INVAL),
            (".", "new", Errno.BUSY),
            ("file", ".", Errno.BUSY),
            ("file/", "new", Errno.NOTDIR),
            ("file", "new/", Errno.NOTDIR),
            ("file", "../new", Errno.PERM),
            ("file", LONG_NAME, Errno.NAMETOOLONG),
        ],
    )
    def test_refuses(self, tree: TinywasmCalls, old: str, new: str, errno: Errno) -> None:
        assert tree.rename(old, new) == errno

    def test_to_itself_and_to_another_name_of_it(self, tree: TinywasmCalls) -> None:
        assert tree.rename("file", "file") == Errno.SUCCESS
        assert tree.link("file", "same") == Errno.SUCCESS
        assert tree.rename("file", "same") == Errno.SUCCESS
        assert tree.stat("file")[0] == Errno.SUCCESS

    def test_a_moved_directory_knows_its_new_place(self, tree: TinywasmCalls) -> None:
        fd = tree.open("dir/nested", OFlags.DIRECTORY)[1]
        assert tree.rename("dir/nested", "empty/nested") == Errno.SUCCESS
        assert tree.stat("file", fd=fd)[0] == Errno.SUCCESS
        assert tree.rename("empty", "empty/nested/below") == Errno.INVAL
        assert tree.stat("empty")[1].links == 3
        assert tree.stat("dir")[1].links == 2

    def test_between_preopened_directories(self, world: World) -> None:
        config = WasiConfig()
        world.preopen(config, "/a")
        world.preopen(config, "/b")
        guest = world.guest(config)
        guest.raw("fd_close", guest.create("file", b"x"))
        errno = guest.rename("file", "moved", fd=3, new_fd=4)
        assert errno == (Errno.SUCCESS if world.kind == "directory" else Errno.XDEV)
        assert guest.stat("moved", fd=4)[0] == (Errno.SUCCESS if errno == 0 else Errno.NOENT)


def test_disk_and_memory_are_different_devices(engine: str, tmp_path: Path) -> None:
    config = WasiConfig()
    config.preopen_dir(tmp_path, "/disk")
    config.preopen_tree(MemoryTree({"file": b""}), "/memory")
    guest = TinywasmCalls(config, engine)
    (tmp_path / "real").write_bytes(b"")
    for old, fd, new_fd in (("file", 4, 3), ("real", 3, 4)):
        assert guest.rename(old, "new", fd=fd, new_fd=new_fd) == Errno.XDEV
        assert guest.link(old, "new", fd=fd, new_fd=new_fd) == Errno.XDEV


def test_a_path_may_end_where_memory_ends(guest: TinywasmCalls) -> None:
    end = len(guest.memory.data)
    guest.poke(end - 3, b"new")
    assert guest.raw("path_create_directory", ROOT, end - 3, 3) == Errno.SUCCESS
    assert guest.stat("new")[0] == Errno.SUCCESS
    assert guest.raw("path_create_directory", ROOT, PATH, 0) == Errno.NOENT
