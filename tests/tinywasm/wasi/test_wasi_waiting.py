"""`poll_oneoff`, pipes, sockets, and how a wait ends when the store is interrupted."""

from __future__ import annotations

import gc
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tinywasm.wasi.wasi_calls import BUFFER, IOVEC, PATH, RESULT, TinywasmCalls
from tinywasm import Interrupted
from tinywasm.wasi import WasiConfig
from tinywasm.wasi.abi import Errno, EventType, FdFlags, FileType, OFlags, Rights
from tinywasm.wasi.host import HostFile

Plain = Callable[[WasiConfig], TinywasmCalls]
MILLISECOND = 1_000_000
FOREVER = (1 << 64) - 1


def clock(userdata: int, timeout: int, id: int = 1, flags: int = 0) -> bytes:
    return struct.pack("<QB7xI4xQQH6x", userdata, EventType.CLOCK, id, timeout, 0, flags)


def stream(userdata: int, kind: EventType, fd: int) -> bytes:
    return struct.pack("<QB7xI28x", userdata, kind, fd)


def poll(guest: TinywasmCalls, *subscriptions: bytes) -> tuple[int, list[tuple[int, ...]]]:
    """The errno and (userdata, error, type, bytes, flags) of each event."""
    guest.poke(PATH, b"".join(subscriptions))
    errno = guest.raw("poll_oneoff", PATH, BUFFER, len(subscriptions), RESULT)
    if errno:
        return errno, []
    return errno, [struct.unpack("<QHB5xQH6x", guest.peek(BUFFER + 32 * i, 32)) for i in range(guest.u32())]


class TestClocks:
    def test_waits_as_long_as_asked(self, plain: Plain) -> None:
        start = time.monotonic()
        assert poll(plain(WasiConfig()), clock(7, 30 * MILLISECOND)) == (0, [(7, 0, EventType.CLOCK, 0, 0)])
        assert time.monotonic() - start >= 0.03

    def test_the_first_is_told(self, plain: Plain) -> None:
        errno, events = poll(plain(WasiConfig()), clock(1, FOREVER), clock(2, MILLISECOND), clock(3, 0))
        assert errno == Errno.SUCCESS
        assert (3, 0, EventType.CLOCK, 0, 0) in events and all(event[0] != 1 for event in events)

    @pytest.mark.parametrize("id", [0, 1, 2, 3])
    def test_a_moment_that_has_passed(self, plain: Plain, id: int) -> None:
        assert poll(plain(WasiConfig()), clock(1, 1, id, flags=1))[1] == [(1, 0, EventType.CLOCK, 0, 0)]

    def test_a_moment_to_come(self, plain: Plain) -> None:
        when = time.time_ns() + 20 * MILLISECOND
        poll(plain(WasiConfig()), clock(1, when, 0, flags=1))
        assert time.time_ns() >= when

    def test_wrong_ones(self, plain: Plain) -> None:
        guest = plain(WasiConfig())
        assert poll(guest, clock(1, 0, id=4))[1] == [(1, Errno.INVAL, EventType.CLOCK, 0, 0)]
        assert poll(guest, clock(1, 0, flags=2))[1] == [(1, Errno.INVAL, EventType.CLOCK, 0, 0)]


class TestDescriptors:
    def test_nothing_to_wait_for(self, plain: Plain) -> None:
        guest = plain(WasiConfig())
        assert guest.raw("poll_oneoff", PATH, BUFFER, 0, RESULT) == Errno.INVAL
        assert guest.raw("poll_oneoff", PATH, BUFFER, 1 << 20, RESULT) == Errno.INVAL
        assert poll(guest, struct.pack("<QB39x", 1, 3))[0] == Errno.INVAL

    def test_files_are_ready(self, guest: TinywasmCalls) -> None:
        file = guest.create("file", b"0123456789")
        guest.seek(file, 4)
        errno, events = poll(guest, stream(1, EventType.FD_READ, file), stream(2, EventType.FD_WRITE, file))
        assert errno == Errno.SUCCESS
        assert [(event[0], event[1], event[3]) for event in events] == [(1, 0, 6), (2, 0, 1)]

    def test_one_that_fails_is_an_event(self, guest: TinywasmCalls) -> None:
        directory = guest.open(".", OFlags.DIRECTORY)[1]
        assert poll(guest, stream(1, EventType.FD_READ, 99))[1] == [(1, Errno.BADF, 1, 0, 0)]
        assert poll(guest, stream(1, EventType.FD_READ, directory))[1] == [(1, Errno.BADF, 1, 0, 0)]
        assert poll(guest, stream(1, EventType.FD_WRITE, 0))[1] == [(1, Errno.NOTCAPABLE, 2, 0, 0)]
        file = guest.create("file")
        poor = guest.open("file", rights=Rights.FD_READ)[1]
        assert poll(guest, stream(1, EventType.FD_READ, poor))[1] == [(1, Errno.NOTCAPABLE, 1, 0, 0)]
        assert guest.raw("fd_close", file) == Errno.SUCCESS

    def test_streams_in_memory_are_ready(self, plain: Plain) -> None:
        both = (stream(1, EventType.FD_READ, 0), stream(2, EventType.FD_WRITE, 1))
        events = poll(plain(WasiConfig()), *both)[1]
        assert [event[:2] for event in events] == [(1, 0), (2, 0)]


class _Pipes:
    """A guest whose descriptor 0 reads from a pipe of ours, and 1 writes to another."""

    def __init__(self, plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
        reading, self.to_guest = os.pipe()
        self.from_guest, writing = os.pipe()
        config = WasiConfig()
        streams = (HostFile(reading), HostFile(writing), config.standard_streams()[2])
        monkeypatch.setattr(WasiConfig, "standard_streams", lambda config: streams)
        self.guest = plain(config)

    def close(self) -> None:
        for fd in (self.to_guest, self.from_guest):
            os.close(fd)


@pytest.fixture
def pipes(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> _Pipes:
    return _Pipes(plain, monkeypatch)


class TestPipes:
    def test_read_and_write(self, pipes: _Pipes) -> None:
        os.write(pipes.to_guest, b"hello")
        assert pipes.guest.read(0, 3) == (Errno.SUCCESS, b"hel")
        assert pipes.guest.write(1, b"answer") == (Errno.SUCCESS, 6)
        assert os.read(pipes.from_guest, 100) == b"answer"
        assert pipes.guest.fdstat(0)[1][0] == FileType.UNKNOWN
        pipes.close()

    def test_the_end(self, pipes: _Pipes) -> None:
        pipes.close()
        assert pipes.guest.read(0, 3) == (Errno.SUCCESS, b"")
        assert pipes.guest.write(1, b"x")[0] == Errno.PIPE
        assert poll(pipes.guest, stream(1, EventType.FD_READ, 0))[1] == [(1, 0, 1, 1, 1)]

    def test_poll(self, pipes: _Pipes) -> None:
        read = stream(1, EventType.FD_READ, 0)
        assert poll(pipes.guest, read, clock(2, MILLISECOND))[1] == [(2, 0, EventType.CLOCK, 0, 0)]
        assert [e[0] for e in poll(pipes.guest, read, stream(3, EventType.FD_WRITE, 1))[1]] == [3]
        threading.Timer(0.05, os.write, (pipes.to_guest, b"x")).start()
        assert poll(pipes.guest, read, clock(2, FOREVER))[1] == [(1, 0, EventType.FD_READ, 1, 0)]
        pipes.close()

    def test_more_than_a_pipe_holds(self, pipes: _Pipes) -> None:
        data = os.urandom(90_000)
        found = bytearray()

        def drain() -> None:
            while len(found) < len(data):
                found.extend(os.read(pipes.from_guest, 10_000))

        reader = threading.Thread(target=drain)
        reader.start()
        assert pipes.guest.write(1, data) == (Errno.SUCCESS, len(data))
        reader.join(10)
        assert found == data
        pipes.close()

    def test_a_read_that_waits_is_interrupted(self, pipes: _Pipes) -> None:
        threading.Timer(0.1, pipes.guest.store.interrupt).start()
        with pytest.raises(Interrupted):
            pipes.guest.read(0, 1)
        pipes.close()

    def test_a_write_that_waits_is_interrupted(self, pipes: _Pipes) -> None:
        threading.Timer(0.1, pipes.guest.store.interrupt).start()
        with pytest.raises(Interrupted):
            pipes.guest.write(1, bytes(90_000))
        pipes.close()

    def test_a_sleep_is_interrupted(self, pipes: _Pipes) -> None:
        threading.Timer(0.1, pipes.guest.store.interrupt).start()
        with pytest.raises(Interrupted):
            poll(pipes.guest, clock(1, FOREVER))
        pipes.close()


class TestNamedPipes:
    """Opening waits for nobody in the host, where an interruption would not be heard."""

    @pytest.fixture
    def pipe(self, engine: str, tmp_path: Path, plain: Plain) -> tuple[TinywasmCalls, Path]:
        os.mkfifo(tmp_path / "fifo")
        config = WasiConfig()
        config.preopen_dir(tmp_path, "/")
        return plain(config), tmp_path / "fifo"

    def test_a_read_without_a_writer_obeys_the_deadline(self, pipe: tuple[TinywasmCalls, Path]) -> None:
        guest, _ = pipe
        guest.store.set_deadline(0.1)
        with pytest.raises(Interrupted):
            errno, opened = guest.open("fifo")
            assert errno == Errno.SUCCESS
            guest.read(opened, 1)

    def test_opening_to_write_without_a_reader_obeys_the_deadline(
        self, pipe: tuple[TinywasmCalls, Path]
    ) -> None:
        guest, _ = pipe
        guest.store.set_deadline(0.1)
        with pytest.raises(Interrupted):
            guest.open("fifo", rights=Rights.FD_WRITE)

    def test_opening_to_write_waits_for_a_reader(self, pipe: tuple[TinywasmCalls, Path]) -> None:
        guest, path = pipe
        read: list[bytes] = []
        reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
        reader.start()
        errno, opened = guest.open("fifo", rights=Rights.FD_WRITE)
        assert errno == Errno.SUCCESS
        assert guest.write(opened, b"x" * 90_000) == (Errno.SUCCESS, 90_000)
        guest.raw("fd_close", opened)
        reader.join(10)
        assert read == [b"x" * 90_000]

    def test_reading_waits_for_a_writer_and_its_end(self, pipe: tuple[TinywasmCalls, Path]) -> None:
        guest, path = pipe
        errno, opened = guest.open("fifo")
        assert errno == Errno.SUCCESS
        writer = threading.Thread(target=lambda: path.write_bytes(b"hello"))
        writer.start()
        assert guest.read(opened, 10) == (Errno.SUCCESS, b"hello")
        writer.join(10)
        assert guest.read(opened, 10) == (Errno.SUCCESS, b"")

    def test_what_another_reader_took_is_waited_for(
        self, pipe: tuple[TinywasmCalls, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        guest, path = pipe
        _, opened = guest.open("fifo")
        holder = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        os.write(holder, b"x")
        real = HostFile.read

        def late(file: HostFile, size: int) -> bytes:
            monkeypatch.setattr(HostFile, "read", real)
            assert os.read(holder, 1) == b"x"
            return real(file, size)

        monkeypatch.setattr(HostFile, "read", late)
        guest.store.set_deadline(0.2)
        with pytest.raises(Interrupted):
            guest.read(opened, 1)
        os.close(holder)

    def test_a_guest_that_does_not_wait_is_told(self, pipe: tuple[TinywasmCalls, Path]) -> None:
        guest, path = pipe
        assert guest.open("fifo", rights=Rights.FD_WRITE, fdflags=FdFlags.NONBLOCK)[0] == Errno.NXIO
        holder = os.open(path, os.O_RDWR)
        errno, opened = guest.open("fifo", fdflags=FdFlags.NONBLOCK)
        assert errno == Errno.SUCCESS
        assert guest.read(opened, 1)[0] == Errno.AGAIN
        os.close(holder)

    def test_the_flags_of_a_pipe_are_those_that_were_asked_for(
        self, pipe: tuple[TinywasmCalls, Path]
    ) -> None:
        guest, path = pipe
        _, opened = guest.open("fifo")
        assert guest.raw("fd_fdstat_get", opened, RESULT) == Errno.SUCCESS
        assert int.from_bytes(guest.peek(RESULT + 2, 2), "little") == 0
        assert guest.raw("fd_fdstat_set_flags", opened, FdFlags.NONBLOCK) == Errno.SUCCESS
        holder = os.open(path, os.O_RDWR)
        assert guest.read(opened, 1)[0] == Errno.AGAIN
        assert guest.raw("fd_fdstat_set_flags", opened, 0) == Errno.SUCCESS
        guest.store.set_deadline(0.1)
        with pytest.raises(Interrupted):
            guest.read(opened, 1)
        os.close(holder)

    def test_sockets_and_devices_are_not_waited_for(
        self, pipe: tuple[TinywasmCalls, Path], tmp_path: Path
    ) -> None:
        guest, _ = pipe
        with socket.socket(socket.AF_UNIX) as listener:
            # A short name: the path of such a socket has 107 bytes at most.
            before = Path.cwd()
            os.chdir(tmp_path)
            try:
                listener.bind("s")
            finally:
                os.chdir(before)
            assert guest.open("s")[0] == Errno.NXIO
            assert guest.open("s", rights=Rights.FD_WRITE)[0] == Errno.NXIO


def test_named_pipes(engine: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    # With both ends open here, opening it there does not wait.
    fd = os.open(tmp_path / "fifo", os.O_RDWR)
    config = WasiConfig()
    config.preopen_dir(tmp_path, "/")
    guest = TinywasmCalls(config, engine)
    errno, opened = guest.open("fifo", fdflags=FdFlags.NONBLOCK)
    assert errno == Errno.SUCCESS
    assert guest.read(opened, 4)[0] == Errno.AGAIN
    os.write(fd, b"data")
    assert guest.read(opened, 4) == (Errno.SUCCESS, b"data")
    assert guest.seek(opened, 0)[0] == Errno.SPIPE
    assert guest.raw("fd_sync", opened) == Errno.INVAL
    os.close(fd)


class TestSockets:
    def _pair(self, plain: Plain, kind: int = socket.SOCK_STREAM) -> tuple[TinywasmCalls, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        config = WasiConfig()
        config.preopen_socket(theirs)
        guest = plain(config)
        theirs.close()
        ours.settimeout(10)
        return guest, ours

    def _receive(self, guest: TinywasmCalls, size: int, flags: int = 0) -> tuple[int, bytes, int]:
        errno = guest.raw("sock_recv", 3, *guest.iovecs([size]), flags, RESULT, RESULT + 4)
        truncated = int.from_bytes(guest.peek(RESULT + 4, 2), "little")
        return errno, guest.peek(BUFFER, guest.u32()) if errno == 0 else b"", truncated

    def _send(self, guest: TinywasmCalls, data: bytes, flags: int = 0) -> tuple[int, int]:
        guest.poke(BUFFER, data)
        return guest.raw("sock_send", 3, *guest.iovecs([len(data)]), flags, RESULT), guest.u32()

    def test_send_and_receive(self, plain: Plain) -> None:
        guest, ours = self._pair(plain)
        assert guest.fdstat(3)[1][0] == FileType.SOCKET_STREAM
        assert self._send(guest, b"hello") == (Errno.SUCCESS, 5)
        assert ours.recv(10) == b"hello"
        ours.sendall(b"answer")
        assert self._receive(guest, 3, 1) == (Errno.SUCCESS, b"ans", 0), "a peek takes nothing away"
        assert self._receive(guest, 3) == (Errno.SUCCESS, b"ans", 0)
        assert guest.read(3, 3) == (Errno.SUCCESS, b"wer")
        assert guest.write(3, b"bye") == (Errno.SUCCESS, 3)
        assert ours.recv(10) == b"bye"
        ours.close()

    def test_wait_for_all(self, plain: Plain) -> None:
        guest, ours = self._pair(plain)
        ours.sendall(b"first")
        threading.Timer(0.05, ours.sendall, (b" second",)).start()
        assert self._receive(guest, 12, 2) == (Errno.SUCCESS, b"first second", 0)
        ours.sendall(b"last")
        ours.close()
        assert self._receive(guest, 12, 2) == (Errno.SUCCESS, b"last", 0)
        assert self._receive(guest, 12) == (Errno.SUCCESS, b"", 0)

    def test_datagrams(self, plain: Plain) -> None:
        guest, ours = self._pair(plain, socket.SOCK_DGRAM)
        assert guest.fdstat(3)[1][0] == FileType.SOCKET_DGRAM
        ours.send(b"datagram")
        assert self._receive(guest, 4) == (Errno.SUCCESS, b"data", 1)
        big = os.urandom(20_000)
        assert self._send(guest, big) == (Errno.SUCCESS, len(big))
        assert ours.recv(30_000) == big
        ours.close()

    def test_shutdown(self, plain: Plain) -> None:
        guest, ours = self._pair(plain)
        assert guest.raw("sock_shutdown", 3, 2) == Errno.SUCCESS
        assert ours.recv(1) == b""
        assert self._send(guest, b"x")[0] == Errno.PIPE
        assert guest.raw("sock_shutdown", 3, 1) == Errno.SUCCESS
        assert self._receive(guest, 1) == (Errno.SUCCESS, b"", 0)
        assert guest.raw("sock_shutdown", 3, 3) == Errno.SUCCESS
        for how in (0, 4, 256):
            assert guest.raw("sock_shutdown", 3, how) == Errno.INVAL
        ours.close()

    def test_accept(self, plain: Plain) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = WasiConfig()
            config.preopen_socket(listener)
            guest = plain(config)
            with socket.create_connection(listener.getsockname()) as connection:
                connection.sendall(b"hi")
                assert guest.raw("sock_accept", 3, 0, RESULT) == Errno.SUCCESS
                accepted = guest.u32()
                assert guest.read(accepted, 2) == (Errno.SUCCESS, b"hi")
                guest.raw("fd_fdstat_set_flags", accepted, FdFlags.NONBLOCK)
                assert guest.read(accepted, 2)[0] == Errno.AGAIN
            guest.raw("fd_fdstat_set_flags", 3, FdFlags.NONBLOCK)
            assert guest.raw("sock_accept", 3, 0, RESULT) == Errno.AGAIN
            assert guest.raw("sock_accept", 3, FdFlags.APPEND, RESULT) == Errno.INVAL
            assert guest.raw("sock_accept", 3, 32, RESULT) == Errno.INVAL

    def test_accepting_is_no_use_without_listening(self, plain: Plain) -> None:
        guest, ours = self._pair(plain)
        ours.sendall(b"x")
        assert guest.raw("sock_accept", 3, 0, RESULT) == Errno.INVAL
        ours.close()

    def test_wrong_flags_and_rights(self, plain: Plain) -> None:
        guest, ours = self._pair(plain)
        assert self._receive(guest, 1, 4)[0] == Errno.INVAL
        assert self._send(guest, b"x", 1)[0] == Errno.INVAL
        assert guest.raw("fd_fdstat_set_rights", 3, 0, 0) == Errno.SUCCESS
        assert self._receive(guest, 1)[0] == Errno.NOTCAPABLE
        assert self._send(guest, b"x")[0] == Errno.NOTCAPABLE
        assert guest.raw("sock_shutdown", 3, 1) == Errno.NOTCAPABLE
        assert guest.raw("sock_accept", 3, 0, RESULT) == Errno.NOTCAPABLE
        ours.close()

    def test_what_is_no_socket(self, guest: TinywasmCalls) -> None:
        for fd in (1, 3, guest.create("file")):
            assert guest.raw("sock_accept", fd, 0, RESULT) == Errno.NOTSOCK
            assert guest.raw("sock_recv", fd, IOVEC, 0, 0, RESULT, RESULT) == Errno.NOTSOCK
            assert guest.raw("sock_send", fd, IOVEC, 0, 0, RESULT) == Errno.NOTSOCK
            assert guest.raw("sock_shutdown", fd, 1) == Errno.NOTSOCK


def test_closing_the_world_closes_every_descriptor(tmp_path: Path) -> None:
    config = WasiConfig()
    config.preopen_dir(tmp_path, "/")
    config.stdin_file = __file__
    # What earlier tests left behind would be closed in the middle.
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    guest = TinywasmCalls(config)
    guest.create("file")
    assert len(os.listdir("/proc/self/fd")) == len(before) + 3
    with guest.wasi:
        pass
    assert set(os.listdir("/proc/self/fd")) == before
