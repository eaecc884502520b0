"""`fd_*`: what succeeds and what fails with which number, on the disk and in memory alike."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tinywasm.wasi.wasi_calls import ALL_RIGHTS, BUFFER, RESULT, ROOT, TinywasmCalls, World
from tinywasm.wasi import WasiConfig
from tinywasm.wasi.abi import Errno, FdFlags, FileType, FstFlags, OFlags, Rights, Whence
from tinywasm.wasi.guest import MAX_LISTINGS
from tinywasm.wasi.registry import FUNCTIONS

READ_ONLY = ALL_RIGHTS & ~(Rights.FD_WRITE | Rights.FD_ALLOCATE | Rights.FD_FILESTAT_SET_SIZE)
BEYOND = 1 << 63
NO_SUCH_FD = 99


@pytest.fixture
def file(guest: TinywasmCalls) -> int:
    return guest.create("file", b"0123456789")


@pytest.fixture
def directory(guest: TinywasmCalls) -> int:
    assert guest.mkdir("dir") == Errno.SUCCESS
    return guest.open("dir", OFlags.DIRECTORY)[1]


def test_all_functions_of_preview_1_are_there() -> None:
    assert len(FUNCTIONS) == 46


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("fd_advise", (NO_SUCH_FD, 0, 0, 0)),
        ("fd_allocate", (NO_SUCH_FD, 0, 1)),
        ("fd_close", (NO_SUCH_FD,)),
        ("fd_close", (0xFFFFFFFF,)),
        ("fd_datasync", (NO_SUCH_FD,)),
        ("fd_fdstat_get", (NO_SUCH_FD, RESULT)),
        ("fd_fdstat_set_flags", (NO_SUCH_FD, 0)),
        ("fd_fdstat_set_rights", (NO_SUCH_FD, 0, 0)),
        ("fd_filestat_get", (NO_SUCH_FD, RESULT)),
        ("fd_filestat_set_size", (NO_SUCH_FD, 0)),
        ("fd_filestat_set_times", (NO_SUCH_FD, 0, 0, 0)),
        ("fd_pread", (NO_SUCH_FD, 0, 0, 0, RESULT)),
        ("fd_prestat_get", (NO_SUCH_FD, RESULT)),
        ("fd_prestat_dir_name", (NO_SUCH_FD, BUFFER, 9)),
        ("fd_pwrite", (NO_SUCH_FD, 0, 0, 0, RESULT)),
        ("fd_read", (NO_SUCH_FD, 0, 0, RESULT)),
        ("fd_readdir", (NO_SUCH_FD, BUFFER, 9, 0, RESULT)),
        ("fd_renumber", (NO_SUCH_FD, ROOT)),
        ("fd_renumber", (ROOT, NO_SUCH_FD)),
        ("fd_seek", (NO_SUCH_FD, 0, 0, RESULT)),
        ("fd_sync", (NO_SUCH_FD,)),
        ("fd_tell", (NO_SUCH_FD, RESULT)),
        ("fd_write", (NO_SUCH_FD, 0, 0, RESULT)),
        ("sock_accept", (NO_SUCH_FD, 0, RESULT)),
        ("sock_recv", (NO_SUCH_FD, 0, 0, 0, RESULT, RESULT)),
        ("sock_send", (NO_SUCH_FD, 0, 0, 0, RESULT)),
        ("sock_shutdown", (NO_SUCH_FD, 1)),
    ],
)
def test_a_descriptor_that_is_not_open_is_bad(guest: TinywasmCalls, name: str, args: tuple[int, ...]) -> None:
    assert guest.raw(name, *args) == Errno.BADF


class TestReadAndWrite:
    def test_reads_into_several_buffers_and_moves_on(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.read(file, 2, 0, 3) == (Errno.SUCCESS, b"01234")
        assert guest.read(file, 100) == (Errno.SUCCESS, b"56789")
        assert guest.read(file, 100) == (Errno.SUCCESS, b"")

    def test_writes_several_buffers_and_moves_on(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.write(file, b"ab", b"", b"cde") == (Errno.SUCCESS, 5)
        assert guest.tell(file) == (Errno.SUCCESS, 5)
        assert guest.pread(file, 0, 10) == (Errno.SUCCESS, b"abcde56789")

    def test_without_buffers_nothing_happens(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.read(file) == (Errno.SUCCESS, b"")
        assert guest.write(file) == (Errno.SUCCESS, 0)

    def test_pread_and_pwrite_leave_the_position(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.pread(file, 7, 2, 9) == (Errno.SUCCESS, b"789")
        assert guest.pread(file, 70, 2) == (Errno.SUCCESS, b"")
        assert guest.pwrite(file, 12, b"x", b"y") == (Errno.SUCCESS, 2)
        assert guest.read(file, 20) == (Errno.SUCCESS, b"0123456789\0\0xy")

    def test_an_offset_beyond_what_files_have_is_invalid(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.pread(file, BEYOND, 1)[0] == Errno.INVAL
        assert guest.pwrite(file, BEYOND, b"x")[0] == Errno.INVAL

    def test_appending_goes_to_the_end(self, guest: TinywasmCalls, file: int) -> None:
        appending = guest.create("file", fdflags=FdFlags.APPEND)
        assert guest.write(appending, b"ab") == (Errno.SUCCESS, 2)
        assert guest.tell(appending) == (Errno.SUCCESS, 12)
        assert guest.pread(file, 9, 10) == (Errno.SUCCESS, b"9ab")

    def test_a_directory_is_no_file(self, guest: TinywasmCalls, directory: int) -> None:
        assert guest.read(directory, 1)[0] == Errno.BADF
        assert guest.write(directory, b"x")[0] == Errno.BADF
        assert guest.pread(directory, 0, 1)[0] == Errno.BADF
        assert guest.pwrite(directory, 0, b"x")[0] == Errno.BADF

    def test_what_was_not_asked_for_cannot_be_done(self, guest: TinywasmCalls, file: int) -> None:
        reading = guest.open("file", rights=READ_ONLY)[1]
        assert guest.write(reading, b"x")[0] == Errno.NOTCAPABLE
        assert guest.pwrite(reading, 0, b"x")[0] == Errno.NOTCAPABLE
        writing = guest.open("file", rights=Rights.FD_WRITE)[1]
        assert guest.read(writing, 1)[0] == Errno.NOTCAPABLE
        assert guest.pread(writing, 0, 1)[0] == Errno.NOTCAPABLE
        assert guest.pwrite(writing, 0, b"x")[0] == Errno.NOTCAPABLE, "pwrite needs the right to seek"
        assert guest.write(writing, b"x")[0] == Errno.SUCCESS

    def test_a_file_lives_on_after_its_name_is_gone(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.unlink("file") == Errno.SUCCESS
        assert guest.read(file, 3) == (Errno.SUCCESS, b"012")
        assert guest.fd_stat(file)[1].links == 0


class TestSeek:
    def test_from_each_origin(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.seek(file, 4) == (Errno.SUCCESS, 4)
        assert guest.seek(file, -1, Whence.CUR) == (Errno.SUCCESS, 3)
        assert guest.seek(file, -3, Whence.END) == (Errno.SUCCESS, 7)
        assert guest.seek(file, 1000) == (Errno.SUCCESS, 1000)
        assert guest.tell(file) == (Errno.SUCCESS, 1000)
        assert guest.read(file, 5) == (Errno.SUCCESS, b"")

    def test_before_the_beginning_or_from_nowhere(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.seek(file, -1)[0] == Errno.INVAL
        assert guest.seek(file, -11, Whence.END)[0] == Errno.INVAL
        assert guest.seek(file, 0, 3)[0] == Errno.INVAL
        assert guest.seek(file, 0, 256)[0] == Errno.INVAL
        assert guest.tell(file) == (Errno.SUCCESS, 0)

    def test_not_in_directories_and_streams(self, guest: TinywasmCalls, directory: int) -> None:
        assert guest.seek(directory, 0)[0] == Errno.BADF
        assert guest.tell(directory)[0] == Errno.BADF
        assert guest.seek(0, 0)[0] == Errno.SPIPE
        assert guest.tell(1)[0] == Errno.SPIPE
        assert guest.pread(0, 0, 1)[0] == Errno.SPIPE
        assert guest.pwrite(1, 0, b"x")[0] == Errno.SPIPE

    def test_rights(self, guest: TinywasmCalls, file: int) -> None:
        opened = guest.open("file", rights=Rights.FD_READ | Rights.FD_TELL)[1]
        assert guest.seek(opened, 1)[0] == Errno.NOTCAPABLE
        assert guest.seek(opened, 0, Whence.CUR) == (Errno.SUCCESS, 0)
        assert guest.tell(opened) == (Errno.SUCCESS, 0)
        opened = guest.open("file", rights=Rights.FD_READ)[1]
        assert guest.tell(opened)[0] == Errno.NOTCAPABLE


class TestSize:
    def test_shorter_and_longer(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.raw("fd_filestat_set_size", file, 3) == Errno.SUCCESS
        assert guest.raw("fd_filestat_set_size", file, 5) == Errno.SUCCESS
        assert guest.read(file, 10) == (Errno.SUCCESS, b"012\0\0")

    def test_failures(self, guest: TinywasmCalls, file: int, directory: int) -> None:
        assert guest.raw("fd_filestat_set_size", file, BEYOND) == Errno.INVAL
        assert guest.raw("fd_filestat_set_size", file, BEYOND - 1) == Errno.FBIG
        assert guest.raw("fd_filestat_set_size", directory, 0) == Errno.BADF
        reading = guest.open("file", rights=READ_ONLY)[1]
        assert guest.raw("fd_filestat_set_size", reading, 0) == Errno.NOTCAPABLE

    def test_allocate_grows_but_never_shrinks(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.raw("fd_allocate", file, 5, 20) == Errno.SUCCESS
        assert guest.fd_stat(file)[1].size == 25
        assert guest.raw("fd_allocate", file, 0, 1) == Errno.SUCCESS
        assert guest.read(file, 30) == (Errno.SUCCESS, b"0123456789" + bytes(15))

    def test_allocate_failures(self, guest: TinywasmCalls, file: int, directory: int) -> None:
        assert guest.raw("fd_allocate", file, 0, 0) == Errno.INVAL
        assert guest.raw("fd_allocate", file, BEYOND, 1) == Errno.INVAL
        assert guest.raw("fd_allocate", file, BEYOND - 1, 10) == Errno.FBIG
        assert guest.raw("fd_allocate", directory, 0, 1) == Errno.BADF
        reading = guest.open("file", rights=READ_ONLY)[1]
        assert guest.raw("fd_allocate", reading, 0, 1) == Errno.NOTCAPABLE

    def test_advise(self, guest: TinywasmCalls, file: int, directory: int) -> None:
        for advice in range(6):
            assert guest.raw("fd_advise", file, 0, 10, advice) == Errno.SUCCESS
        assert guest.raw("fd_advise", file, 0, 10, 6) == Errno.INVAL
        assert guest.raw("fd_advise", file, BEYOND, 10, 0) == Errno.INVAL
        assert guest.raw("fd_advise", directory, 0, 0, 0) == Errno.BADF
        opened = guest.open("file", rights=Rights.FD_READ)[1]
        assert guest.raw("fd_advise", opened, 0, 0, 0) == Errno.NOTCAPABLE

    def test_a_tree_in_memory_is_bounded(self, engine: str, tmp_path: Path) -> None:
        guest = World("tree", engine, tmp_path).guest()
        file = guest.create("file")
        assert guest.raw("fd_filestat_set_size", file, 1 << 40) == Errno.FBIG
        assert guest.pwrite(file, 1 << 40, b"x")[0] == Errno.FBIG
        assert guest.raw("fd_filestat_set_size", file, 1_000_000) == Errno.SUCCESS
        other = guest.create("other")
        assert guest.raw("fd_filestat_set_size", other, 100_000) == Errno.NOSPC
        assert guest.unlink("file") == Errno.SUCCESS
        assert guest.raw("fd_filestat_set_size", other, 100_000) == Errno.NOSPC, "it is still open"
        assert guest.raw("fd_close", file) == Errno.SUCCESS
        assert guest.raw("fd_filestat_set_size", other, 100_000) == Errno.SUCCESS


class TestStat:
    def test_of_file_directory_and_stream(self, guest: TinywasmCalls, file: int, directory: int) -> None:
        errno, found = guest.fd_stat(file)
        assert (errno, found.filetype, found.size, found.links) == (0, FileType.REGULAR_FILE, 10, 1)
        assert found.inode == guest.stat("file")[1].inode
        assert guest.fd_stat(directory)[1].filetype is FileType.DIRECTORY
        assert guest.fd_stat(directory)[1].links == 2
        assert guest.fd_stat(1)[1].filetype is FileType.UNKNOWN

    def test_needs_the_right(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.fd_stat(guest.open("file", rights=Rights.FD_READ)[1])[0] == Errno.NOTCAPABLE

    def test_set_times(self, guest: TinywasmCalls, file: int, directory: int) -> None:
        both = FstFlags.ATIM | FstFlags.MTIM
        assert guest.raw("fd_filestat_set_times", file, 5_000_000_000, 7_000_000_000, both) == Errno.SUCCESS
        assert guest.fd_stat(file)[1].accessed == 5_000_000_000
        assert guest.raw("fd_filestat_set_times", file, 1, 9_000_000_000, FstFlags.MTIM) == Errno.SUCCESS
        found = guest.fd_stat(file)[1]
        assert (found.accessed, found.modified) == (5_000_000_000, 9_000_000_000)
        assert guest.raw("fd_filestat_set_times", file, 0, 0, FstFlags.ATIM_NOW) == Errno.SUCCESS
        assert guest.fd_stat(file)[1].accessed > 10**18
        assert guest.raw("fd_filestat_set_times", directory, 0, 4_000_000_000, FstFlags.MTIM) == Errno.SUCCESS
        assert guest.fd_stat(directory)[1].modified == 4_000_000_000

    @pytest.mark.parametrize("flags", [3, 12, 16, 0x10000])
    def test_times_that_contradict(self, guest: TinywasmCalls, file: int, flags: int) -> None:
        assert guest.raw("fd_filestat_set_times", file, 0, 0, flags) == Errno.INVAL

    def test_set_times_failures(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.raw("fd_filestat_set_times", file, BEYOND, 0, FstFlags.ATIM) == Errno.INVAL
        reading = guest.open("file", rights=Rights.FD_READ)[1]
        assert guest.raw("fd_filestat_set_times", reading, 0, 0, 0) == Errno.NOTCAPABLE
        assert guest.raw("fd_filestat_set_times", 1, 0, 0, FstFlags.ATIM) == Errno.NOTCAPABLE


class TestFdstat:
    def test_types_flags_and_rights(self, guest: TinywasmCalls, directory: int) -> None:
        file = guest.create("file", fdflags=FdFlags.APPEND | FdFlags.NONBLOCK)
        errno, (filetype, flags, rights, inheriting) = guest.fdstat(file)
        assert (errno, filetype, flags) == (0, FileType.REGULAR_FILE, FdFlags.APPEND | FdFlags.NONBLOCK)
        assert rights & Rights.FD_READ and rights & Rights.FD_SEEK and not rights & Rights.PATH_OPEN
        assert inheriting == 0
        _, (filetype, _, rights, inheriting) = guest.fdstat(directory)
        assert filetype == FileType.DIRECTORY
        assert rights & Rights.PATH_OPEN and not rights & Rights.FD_SEEK and inheriting & Rights.FD_SEEK
        _, (filetype, _, rights, _) = guest.fdstat(0)
        assert filetype == FileType.UNKNOWN and rights & Rights.FD_READ and not rights & Rights.FD_WRITE

    def test_change_flags(self, guest: TinywasmCalls, file: int, directory: int) -> None:
        assert guest.raw("fd_fdstat_set_flags", file, FdFlags.APPEND) == Errno.SUCCESS
        assert guest.fdstat(file)[1][1] == FdFlags.APPEND
        assert guest.write(file, b"x") == (Errno.SUCCESS, 1)
        assert guest.tell(file) == (Errno.SUCCESS, 11)
        assert guest.raw("fd_fdstat_set_flags", file, 0) == Errno.SUCCESS
        assert guest.fdstat(file)[1][1] == 0
        assert guest.raw("fd_fdstat_set_flags", file, FdFlags.SYNC) == Errno.INVAL
        assert guest.raw("fd_fdstat_set_flags", file, 32) == Errno.INVAL
        assert guest.raw("fd_fdstat_set_flags", directory, 0) == Errno.BADF
        assert guest.raw("fd_fdstat_set_flags", 1, FdFlags.NONBLOCK) == Errno.NOTCAPABLE

    def test_rights_are_given_up_and_never_won(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.raw("fd_fdstat_set_rights", file, Rights.FD_READ, 0) == Errno.SUCCESS
        assert guest.read(file, 1) == (Errno.SUCCESS, b"0")
        assert guest.write(file, b"x")[0] == Errno.NOTCAPABLE
        for rights, inheriting in ((Rights.FD_WRITE, 0), (1 << 40, 0), (0, Rights.FD_READ)):
            assert guest.raw("fd_fdstat_set_rights", file, rights, inheriting) == Errno.NOTCAPABLE


class TestSync:
    @pytest.mark.parametrize("name", ["fd_sync", "fd_datasync"])
    def test_files_and_directories(self, guest: TinywasmCalls, file: int, directory: int, name: str) -> None:
        assert guest.raw(name, file) == Errno.SUCCESS
        assert guest.raw(name, directory) == Errno.SUCCESS
        assert guest.raw(name, 1) == Errno.INVAL
        assert guest.raw(name, guest.open("file", rights=Rights.FD_READ)[1]) == Errno.NOTCAPABLE


class TestCloseAndRenumber:
    def test_close(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.raw("fd_close", file) == Errno.SUCCESS
        assert guest.raw("fd_close", file) == Errno.BADF
        assert guest.read(file, 1)[0] == Errno.BADF
        assert guest.create("other") == file, "the lowest free number is taken again"

    def test_streams_and_preopened_directories_close_too(self, guest: TinywasmCalls) -> None:
        for fd in range(4):
            assert guest.raw("fd_close", fd) == Errno.SUCCESS
        assert guest.write(1, b"x")[0] == Errno.BADF
        assert guest.open("file")[0] == Errno.BADF

    def test_renumber_replaces(self, guest: TinywasmCalls, file: int, directory: int) -> None:
        assert guest.raw("fd_renumber", file, directory) == Errno.SUCCESS
        assert guest.read(directory, 3) == (Errno.SUCCESS, b"012")
        assert guest.read(file, 1)[0] == Errno.BADF

    def test_renumber_to_itself(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.raw("fd_renumber", file, file) == Errno.SUCCESS
        assert guest.read(file, 3) == (Errno.SUCCESS, b"012")

    def test_there_is_a_last_descriptor(self, guest: TinywasmCalls) -> None:
        errno = Errno.SUCCESS
        opened = 0
        while errno == Errno.SUCCESS and opened < 2000:
            errno = Errno(guest.open(".", OFlags.DIRECTORY)[0])
            opened += 1
        assert errno in (Errno.MFILE, Errno.NFILE) and opened > 500
        assert guest.raw("fd_close", 4) == Errno.SUCCESS
        assert guest.open(".", OFlags.DIRECTORY)[0] == Errno.SUCCESS


class TestPreopens:
    def test_names(self, world: World) -> None:
        config = WasiConfig()
        world.preopen(config, "/")
        world.preopen(config, "data/in")
        guest = world.guest(config)
        for fd, name in ((3, b"/"), (4, b"data/in")):
            assert guest.raw("fd_prestat_get", fd, RESULT) == Errno.SUCCESS
            assert struct.unpack("<B3xI", guest.peek(RESULT, 8)) == (0, len(name))
            assert guest.raw("fd_prestat_dir_name", fd, BUFFER, len(name)) == Errno.SUCCESS
            assert guest.peek(BUFFER, len(name)) == name
        assert guest.raw("fd_prestat_dir_name", 4, BUFFER, 6) == Errno.NAMETOOLONG
        assert guest.raw("fd_prestat_get", 5, RESULT) == Errno.BADF, "this is how libraries find the last one"

    def test_other_descriptors_have_none(self, guest: TinywasmCalls, file: int, directory: int) -> None:
        for fd in (0, file, directory):
            assert guest.raw("fd_prestat_get", fd, RESULT) == Errno.BADF
            assert guest.raw("fd_prestat_dir_name", fd, BUFFER, 10) == Errno.BADF

    def test_read_only(self, world: World) -> None:
        config = WasiConfig()
        world.preopen(config, "/", fs_mutable=False)
        guest = world.guest(config)
        assert guest.open("new", OFlags.CREAT)[0] == Errno.NOTCAPABLE
        assert guest.open(".", OFlags.DIRECTORY)[0] == Errno.SUCCESS
        assert guest.mkdir("new") == Errno.NOTCAPABLE
        assert guest.symlink("x", "new") == Errno.NOTCAPABLE
        assert guest.rename("a", "b") == Errno.NOTCAPABLE
        assert guest.link("a", "b") == Errno.NOTCAPABLE
        assert guest.unlink("a") == Errno.NOTCAPABLE
        assert guest.rmdir("a") == Errno.NOTCAPABLE
        assert guest.open("missing")[0] == Errno.NOENT
        assert guest.open("missing", rights=ALL_RIGHTS)[0] == Errno.NOTCAPABLE
        assert guest.open("missing", OFlags.TRUNC)[0] == Errno.NOTCAPABLE
        assert guest.raw("fd_filestat_set_times", ROOT, 0, 0, FstFlags.MTIM) == Errno.NOTCAPABLE


class TestReaddir:
    def test_names_and_types(self, guest: TinywasmCalls, file: int, directory: int) -> None:
        guest.symlink("file", "link")
        names = {".": FileType.DIRECTORY, "..": FileType.DIRECTORY, "dir": FileType.DIRECTORY}
        assert guest.names() == names | {"file": FileType.REGULAR_FILE, "link": FileType.SYMBOLIC_LINK}
        assert guest.names(directory) == {".": FileType.DIRECTORY, "..": FileType.DIRECTORY}

    def test_in_pieces(self, guest: TinywasmCalls) -> None:
        expected = {f"a-rather-long-name-{number}" for number in range(20)}
        for name in expected:
            guest.raw("fd_close", guest.create(name))
        found: set[str] = set()
        cookie, room = 0, 100
        while True:
            errno, data = guest.readdir(ROOT, room, cookie)
            assert errno == Errno.SUCCESS
            full = len(data) == room
            while len(data) >= 24:
                following, _, size, _ = struct.unpack_from("<QQIB3x", data)
                if len(data) < 24 + size:
                    break
                found.add(data[24 : 24 + size].decode())
                cookie = following
                data = data[24 + size :]
            # A buffer that is not full says that this was all.
            if not full:
                break
        assert found == expected | {".", ".."}

    def test_a_listing_stays_as_it_was_until_it_begins_anew(self, guest: TinywasmCalls) -> None:
        guest.raw("fd_close", guest.create("a"))
        guest.raw("fd_close", guest.create("b"))
        assert guest.readdir(ROOT, 60)[0] == Errno.SUCCESS
        assert guest.unlink("a") == Errno.SUCCESS
        assert b"a" in guest.readdir(ROOT, 400, 2)[1]
        assert set(guest.names()) == {".", "..", "b"}

    def test_many_directories_under_way(self, guest: TinywasmCalls) -> None:
        """Only the names of a few are kept; the others are read anew."""
        guest.raw("fd_close", guest.create("a"))
        opened = [guest.open(".", OFlags.DIRECTORY)[1] for _ in range(MAX_LISTINGS + 5)]
        for fd in opened:
            assert guest.readdir(fd, 30)[0] == Errno.SUCCESS
        assert guest.unlink("a") == Errno.SUCCESS
        for fd, kept in ((opened[0], False), (opened[-1], True)):
            assert (b"a" in guest.readdir(fd, 400, 2)[1]) == kept
        for fd in opened:
            assert guest.raw("fd_close", fd) == Errno.SUCCESS

    def test_edges(self, guest: TinywasmCalls, file: int) -> None:
        assert guest.readdir(ROOT, 0) == (Errno.SUCCESS, b"")
        assert guest.readdir(ROOT, 100, 1 << 63) == (Errno.SUCCESS, b"")
        assert guest.readdir(file)[0] == Errno.BADF
        opened = guest.open(".", OFlags.DIRECTORY, rights=Rights.PATH_OPEN)[1]
        assert guest.readdir(opened)[0] == Errno.NOTCAPABLE

    def test_the_parent_of_a_sandbox_is_not_told(self, guest: TinywasmCalls) -> None:
        data = guest.readdir(ROOT)[1]
        assert data[24:25] == b"." and data[49 : 51 + 24].endswith(b"..")
        assert struct.unpack_from("<QQ", data, 25)[1] == 0


def test_standard_streams(plain: Callable[[WasiConfig], TinywasmCalls]) -> None:
    config = WasiConfig()
    config.stdin_bytes = b"input"
    output, errors = config.capture_stdout(), config.capture_stderr(limit=4)
    guest = plain(config)
    assert guest.read(0, 3) == (Errno.SUCCESS, b"inp")
    assert guest.read(0, 3) == (Errno.SUCCESS, b"ut")
    assert guest.read(0, 3) == (Errno.SUCCESS, b"")
    assert guest.write(1, b"out", b"put") == (Errno.SUCCESS, 6)
    assert guest.write(2, b"abcdef") == (Errno.SUCCESS, 4)
    assert guest.write(2, b"ef")[0] == Errno.NOSPC
    assert bytes(output) == b"output" and bytes(errors) == b"abcd"
    assert guest.write(0, b"x")[0] == Errno.NOTCAPABLE
    assert guest.read(1, 1)[0] == Errno.NOTCAPABLE
    assert guest.raw("fd_filestat_set_size", 1, 0) == Errno.NOTCAPABLE
