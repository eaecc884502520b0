"""Enclaves on Keystone, on a double of its machine: created, loaded, run, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import signal
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schannel import edge, storage
from schannel.ed25519_sha3 import ED25519_SHA3
from schannel.edge import AnswerHead, Call, CallStatus, Event, Happening, Head
from schannel.endings import CloseReason
from schannel.errors import LocalError, PolicyFileError
from schannel.handshake import identity_key
from schannel.keystone_files import LARGEST_FILES, check_program
from schannel.measurement import measure
from schannel.messages import ErrorCode
from schannel.monitor_keys import Monitor
from schannel.policy import Policy
from tests.keystone import APPLICATION, DEVICE_KEY, ELF, LOADER, MONITOR, RUNTIME, Machine, Mapped
from tests.processes import CALCULATOR, ROOT
from tests.wasm_host.fakes import HELLO, run
from wasm_client import CannotConnect, ClientError, RequestFailed, connect
from wasm_client import cli as client_cli
from wasm_host import cli as host_cli
from wasm_host import keystone, keystone_device
from wasm_host.edge_calls import MAX_LINES, EdgeCalls, Ended
from wasm_host.keystone import KeystoneMonitor
from wasm_host.keystone_device import PAGE, SHARED_SIZE, Image, KeystoneEnclave, LinuxDriver, Request
from wasm_host.keystone_files import read_image
from wasm_host.limits import ServerLimits
from wasm_host.metrics import Metrics
from wasm_host.monitor import EnclaveFiles, MonitorError, NoRoom, Stop
from wasm_host.server import Server
from wasm_host.storage import SealedStore, StoreLimits

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the double's applications are Linux processes"
)

IMAGE = Image(LOADER, RUNTIME, APPLICATION, 1 << 20)
MEASUREMENT = measure(*IMAGE.files)
POLICY = Policy(
    enclave_measurements=frozenset({MEASUREMENT}),
    monitor_measurements=frozenset({MONITOR.monitor_hash}),
    real_devices=frozenset({DEVICE_KEY.public}),
)


def command(kind: str) -> list[str]:
    return [sys.executable, str(ROOT / "tests" / "edge_application.py"), kind]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % PAGE)


class TestLife:
    """One enclave, from its creation to its end."""

    @given(st.tuples(*[st.integers(1, 3 * PAGE)] * 3), st.integers(0, 5 * PAGE))
    def test_what_is_measured_is_what_was_given(self, sizes: tuple[int, int, int], free: int) -> None:
        machine = Machine()
        loader, runtime, application = (bytes([number + 1]) * size for number, size in enumerate(sizes))
        enclave = KeystoneEnclave(machine, Image(loader, runtime, application, free))
        enclave.load()
        (made,) = machine.alive
        whole = padded(loader) + padded(runtime) + padded(application)
        assert made.memory == whole.ljust(len(made.memory), b"\0")
        assert made.hash == measure(loader, runtime, application)
        assert len(made.memory) + SHARED_SIZE == enclave.size
        enclave.destroy()
        enclave.destroy()
        machine.assert_clean()

    @given(
        st.sampled_from([*Request, "open", "mmap"]),
        st.integers(0, 3),
        st.sampled_from([errno.ENOMEM, errno.EINVAL, errno.ENOSYS, errno.EIO]),
    )
    def test_wherever_it_fails_nothing_is_left(self, what: Request | str, time: int, number: int) -> None:
        machine = Machine(["/bin/true"], fail=(what, time, number))
        with contextlib.suppress(MonitorError):
            enclave = KeystoneEnclave(machine, IMAGE)
            try:
                enclave.load()
                assert enclave.run(lambda: None, lambda: True) == 0
            finally:
                enclave.destroy()
        machine.assert_clean()

    @pytest.mark.parametrize(
        ("fail", "kind", "words"),
        [
            (("open", 0, errno.ENOENT), MonitorError, "there is no /dev/keystone_enclave"),
            (("open", 0, errno.EACCES), MonitorError, "may not be opened by this user"),
            ((Request.CREATE, 0, errno.ENOMEM), NoRoom, "no 1108 KiB of contiguous memory now"),
            ((Request.CREATE, 0, errno.ENOSYS), MonitorError, "of another version"),
            ((Request.CREATE, 0, errno.ENOTTY), MonitorError, "of another version"),
            ((Request.UTM_INIT, 0, errno.ENOMEM), NoRoom, "no 256 KiB of contiguous memory now"),
            ((Request.FINALIZE, 0, errno.EINVAL), NoRoom, "takes no further enclave"),
            (("mmap", 2, errno.EAGAIN), MonitorError, "does not load an enclave: resource"),
            (("mmap", 5, errno.EAGAIN), MonitorError, "does not share a buffer: resource"),
        ],
    )
    def test_errors_in_words(self, fail: tuple[Any, int, int], kind: type[MonitorError], words: str) -> None:
        machine = Machine(fail=fail)
        with pytest.raises(MonitorError) as caught:
            enclave = KeystoneEnclave(machine, IMAGE)
            try:
                enclave.load()
            finally:
                enclave.destroy()
        assert type(caught.value) is kind and words in str(caught.value)
        machine.assert_clean()

    def test_nobody_waits_for_it_any_more(self) -> None:
        """Loading takes a while on a slow machine, and ends where it is."""
        machine, asked = Machine(), iter([True, True, False])
        enclave = KeystoneEnclave(machine, IMAGE)
        assert not enclave.load(lambda: next(asked))
        enclave.destroy()
        assert machine.done.count("mmap") == 2
        assert not machine.lost_numbers
        machine.assert_clean()

    @pytest.mark.parametrize("what", [(Request.UTM_INIT, 0), ("mmap", 0), ("mmap", 2), ("mmap", 5)])
    def test_failure_costs_the_driver_no_number(self, what: tuple[Any, int]) -> None:
        machine = Machine(fail=(*what, errno.ENOMEM))
        with pytest.raises(MonitorError):
            enclave = KeystoneEnclave(machine, IMAGE)
            try:
                enclave.load()
            finally:
                enclave.destroy()
        assert not machine.lost_numbers
        machine.assert_clean()

    def test_no_memory_for_any_buffer(self) -> None:
        fail = (Request.UTM_INIT, 0, errno.ENOMEM), (Request.UTM_INIT, 1, errno.ENOMEM)
        machine = Machine(fail=fail[0], then=fail[1])
        with pytest.raises(NoRoom, match="no 256 KiB of contiguous memory now"):
            KeystoneEnclave(machine, IMAGE)
        machine.assert_clean()

    def test_driver_that_gives_too_little(self) -> None:
        machine = Machine()
        create = machine._create

        def less(*arguments: Any) -> None:
            create(*arguments)
            struct.pack_into("<Q", arguments[2], 64, PAGE)

        machine._create = less  # type: ignore[method-assign,assignment]
        with pytest.raises(MonitorError, match="of another version"):
            KeystoneEnclave(machine, IMAGE)
        machine.assert_clean()

    def test_memory_that_is_not_there_is_not_asked_for(self) -> None:
        """The driver would free what it never had."""
        machine = Machine()
        machine.reserved = 8 << 20
        with pytest.raises(NoRoom, match="no 9300 KiB of contiguous memory now"):
            KeystoneEnclave(machine, replace(IMAGE, free=9 << 20))
        KeystoneEnclave(machine, replace(IMAGE, free=7 << 20)).destroy()
        assert machine.done.count(Request.CREATE) == 1
        machine.assert_clean()

    def test_what_the_driver_has_freed_is_not_closed(self) -> None:
        """Where nothing could take its place, it would be freed a second time."""
        machine = Machine(fail=(Request.FINALIZE, 0, errno.EINVAL), then=(Request.CREATE, 1, errno.ENOMEM))
        enclave = KeystoneEnclave(machine, IMAGE)
        with pytest.raises(NoRoom):
            enclave.load()
        enclave.destroy()
        enclave.destroy()
        (kept,) = machine.files
        assert machine.enclaves[machine.files.pop(kept)].freed
        machine.assert_clean()

    def test_kernel_that_sets_no_memory_aside(self) -> None:
        """The largest piece that every kernel has is all that may be asked for."""
        machine = Machine()
        machine.reserved = 0
        with pytest.raises(NoRoom, match="KiB of contiguous memory now"):
            KeystoneEnclave(machine, replace(IMAGE, free=2 << 20))
        KeystoneEnclave(machine, IMAGE).destroy()
        machine.assert_clean()

    def test_kernel_that_does_not_know_of_memory_set_aside(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Path, "read_text", lambda *_, **__: "MemTotal: 16 kB\n")
        assert LinuxDriver().contiguous() == 0
        monkeypatch.setattr(Path, "read_text", lambda *_, **__: "MemTotal: 16 kB\nCmaFree: 8 kB\n")
        assert LinuxDriver().contiguous() == 8192

    def test_memory_is_given_to_one_after_the_other(self) -> None:
        """There is as much as one needs: the driver is not asked for more by the other."""
        machine, together = Machine(), threading.Barrier(2)
        machine.reserved = 4 << 20
        ioctl = machine.ioctl

        def creating(descriptor: int, request: int, argument: bytearray) -> None:
            if request == Request.CREATE:
                with contextlib.suppress(threading.BrokenBarrierError):
                    together.wait(0.1)
                assert machine.reserved
                machine.reserved = 0
            ioctl(descriptor, request, argument)

        machine.ioctl = creating  # type: ignore[method-assign]
        made: list[KeystoneEnclave | MonitorError] = []

        def make() -> None:
            try:
                made.append(KeystoneEnclave(machine, replace(IMAGE, free=3 << 20)))
            except MonitorError as error:
                made.append(error)

        threads = [threading.Thread(target=make) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(isinstance(each, NoRoom) for each in made) == 1 and len(made) == 2
        for each in made:
            if isinstance(each, KeystoneEnclave):
                machine.ioctl = ioctl  # type: ignore[method-assign]
                each.load()
                each.destroy()
        machine.assert_clean()

    def test_error_of_the_monitor(self) -> None:
        machine = Machine()
        machine._go_on = lambda *_: (100_003, 0)  # type: ignore[method-assign]
        machine.command = ["/bin/true"]
        enclave = KeystoneEnclave(machine, IMAGE)
        enclave.load()
        with pytest.raises(MonitorError, match="does not run the enclave: error 100003"):
            enclave.run(lambda: None, lambda: True)
        enclave.destroy()
        machine.assert_clean()


class Shared:
    """A shared buffer that is no enclave's."""

    def __init__(self) -> None:
        self.memory = bytearray(SHARED_SIZE)

    def __getitem__(self, place: slice) -> bytes:
        return bytes(self.memory[place])

    def __setitem__(self, place: slice, content: bytes) -> None:
        assert len(self.memory[place]) == len(content)
        self.memory[place] = content

    def close(self) -> None:
        raise AssertionError("it is the enclave's")


class Desk:
    """The host's end of edge calls, with both other ends in this test's hands."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.client, channel = socket.socketpair()
        self.store, stored = socket.socketpair()
        self.begun = 0
        self.calls = EdgeCalls(channel, stored, b"{}", self._begin, self.lines.append)
        self.shared = Shared()

    def _begin(self) -> None:
        self.begun += 1

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.calls.close()
        self.client.close()
        self.store.close()

    def call(self, number: int, request: bytes, offset: int = Head.sizeof(), size: int | None = None) -> Head:
        self.shared.memory[Head.sizeof() : Head.sizeof() + len(request)] = request
        given = len(request) if size is None else size
        self.shared[: Head.sizeof()] = Head(number, offset, given, 0, 0, 0).build()
        self.calls.serve(self.shared)
        return Head.parse(self.shared[: Head.sizeof()])

    def ask(self, call: Call, content: bytes = b"", room: int = 1000) -> tuple[CallStatus, bytes]:
        head = self.call(call, edge.Request(room, content).build())
        answer = self.shared[head.answer_offset : head.answer_offset + head.answer_size]
        inner = AnswerHead.parse(answer[: AnswerHead.sizeof()])
        assert inner.status == head.status and inner.size == len(answer) - AnswerHead.sizeof()
        return inner.status, answer[AnswerHead.sizeof() :]


NUMBERS = st.one_of(st.integers(0, 12), st.integers(0, (1 << 64) - 1))
PLACES = st.one_of(st.integers(0, 200), st.integers(SHARED_SIZE - 50, SHARED_SIZE + 50), NUMBERS)


class TestEdgeCalls:
    @given(NUMBERS, PLACES, PLACES, st.binary(max_size=200), st.booleans())
    def test_a_lying_application(
        self, number: int, offset: int, size: int, content: bytes, leaves: bool
    ) -> None:
        """Whatever stands in the buffer is answered within it, or refused; nothing else fails."""
        with Desk() as desk:
            # Nothing is to be waited for.
            desk.client.send(b"bytes")
            desk.store.close()
            if leaves:
                desk.client.close()
            head = desk.call(number, content, offset, size)
            assert (head.number, head.offset, head.size) == (number, offset, size)
            assert head.status in tuple(CallStatus)
            assert Head.sizeof() <= head.answer_offset <= SHARED_SIZE - head.answer_size
            outside = offset >= SHARED_SIZE or size > SHARED_SIZE - offset
            if outside:
                assert head.status == CallStatus.BAD_OFFSET
            elif number == edge.LINUX_CALL:
                assert head.status == CallStatus.SYSCALL_FAILED and "Linux" in desk.lines[0]
            elif number not in tuple(Call):
                assert head.status == CallStatus.BAD_CALL_ID

    def test_bytes_of_the_client(self) -> None:
        with Desk() as desk:
            desk.client.send(b"0123456789")
            status, answer = desk.ask(Call.RECEIVE, room=AnswerHead.sizeof() + 1 + 4)
            assert (status, Event.parse(answer)) == (CallStatus.OK, Event(Happening.DATA, b"0123"))
            assert Event.parse(desk.ask(Call.RECEIVE)[1]).content == b"456789"
            assert desk.ask(Call.SEND, b"for the client") == (CallStatus.OK, b"")
            assert desk.client.recv(100) == b"for the client"
            desk.client.close()
            for _ in range(2):
                assert Event.parse(desk.ask(Call.RECEIVE)[1]) == Event(Happening.END, b"")
            assert desk.ask(Call.SEND, b"for nobody") == (CallStatus.ERROR, b"")
            assert not desk.lines, "no fault of the application's"

    def test_wish_to_close(self) -> None:
        with Desk() as desk:
            desk.client.send(b"bytes")
            desk.calls.stop(CloseReason.IDLE)
            closing = Event(Happening.CLOSE, edge.Closing(CloseReason.IDLE).build())
            assert Event.parse(desk.ask(Call.RECEIVE)[1]) == closing
            assert Event.parse(desk.ask(Call.RECEIVE)[1]).content == b"bytes"

    def test_first_wish_to_close_is_the_reason(self) -> None:
        with Desk() as desk:
            desk.calls.stop(CloseReason.TIME)
            desk.calls.stop(CloseReason.SHUTDOWN)
            closing = Event(Happening.CLOSE, edge.Closing(CloseReason.TIME).build())
            assert Event.parse(desk.ask(Call.RECEIVE)[1]) == closing

    def test_wish_to_close_that_comes_as_the_client_leaves(self) -> None:
        """It is not lost, whenever in a call it comes."""

        class Leaving:
            def recv(self, _: int) -> bytes:
                desk.calls.stop(CloseReason.TIME)
                return b""

            def close(self) -> None: ...

        with Desk() as desk:
            desk.calls._channel.close()
            desk.calls._channel = Leaving()  # type: ignore[assignment]
            closing = Event(Happening.CLOSE, edge.Closing(CloseReason.TIME).build())
            assert Event.parse(desk.ask(Call.RECEIVE)[1]) == closing
            assert Event.parse(desk.ask(Call.RECEIVE)[1]) == Event(Happening.END, b"")

    @pytest.mark.parametrize("call", [Call.RECEIVE, Call.SEND, Call.STORE])
    def test_what_waits_ends_with_the_enclave(self, call: Call) -> None:
        with Desk() as desk:
            forget = storage.Request(storage.Operation.FORGET, bytes(32), 0, 0).build()
            content = {Call.RECEIVE: b"", Call.SEND: bytes(SHARED_SIZE // 2), Call.STORE: forget}[call]
            ending = threading.Timer(0.05, desk.calls.end)
            ending.start()
            with pytest.raises(Ended):
                while True:
                    desk.ask(call, content)
            ending.join()
            assert not desk.calls.going_on

    def test_beginning(self) -> None:
        with Desk() as desk:
            first, second = (edge.Beginning.parse(desk.ask(Call.BEGIN)[1]) for _ in range(2))
            assert first.settings == b"{}" and first.entropy != second.entropy
            assert desk.begun == 2
            assert desk.ask(Call.BEGIN, room=20) == (CallStatus.ERROR, b"")
            assert "no room" in desk.lines[0]

    def test_lines_are_few(self) -> None:
        with Desk() as desk:
            for number in range(100):
                desk.ask(Call.LOG, f"line {number}".encode())
            assert desk.lines[:-1] == [f"line {number}" for number in range(MAX_LINES)]
            assert "is heard no more" in desk.lines[-1]

    def test_calls_that_are_refused_end_in_the_end(self) -> None:
        with Desk() as desk:
            with pytest.raises(Ended):
                for _ in range(2000):
                    desk.call(99, b"")
            assert not desk.calls.going_on and len(desk.lines) == MAX_LINES + 1


@contextlib.asynccontextmanager
async def serving(
    kind: str, tmp_path: Path, machine: Machine | None = None, **limits: Any
) -> AsyncIterator[tuple[Server, str, Machine, Metrics]]:
    """A host whose enclaves run applications of that kind; at its end no enclave is left."""
    machine = machine or Machine()
    machine.command = command(kind)
    monitor = KeystoneMonitor(IMAGE, b"{}", 60.0, machine)
    listener = socket.create_server(("127.0.0.1", 0))
    store = SealedStore(tmp_path / "sealed", StoreLimits())
    metrics = Metrics()
    server = Server(monitor, store, ServerLimits(**{"pool": 0, "grace": 10.0} | limits), metrics)
    await server.listen(listener)
    try:
        yield server, "{}:{}".format(*listener.getsockname()), machine, metrics
    finally:
        await asyncio.wait_for(server.close(), 30)
        await asyncio.wait_for(monitor.close(), 30)
    machine.assert_clean()


def in_thread(work: Callable[[], Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(asyncio.to_thread(work))


CLOSED = "closed the connection before an enclave answered"


async def in_little_memory(client: Callable[[str], None], folder: Path) -> None:
    """A client with an enclave that has little memory, and that ends in order."""
    async with serving("cramped", folder) as (_, address, _, metrics):
        await in_thread(lambda: client(address))
        await until(lambda: metrics.enclaves_ended == {"done": 1})


class TestSessions:
    def test_a_whole_one(self, tmp_path: Path) -> None:
        key = identity_key(b"\7" * 32)

        def first(address: str) -> None:
            with connect(address, POLICY, key=key) as session:
                assert not session.verified.simulated
                assert session.verified.enclave_measurement == MEASUREMENT
                session.deploy(CALCULATOR.read_bytes())
                assert session.call("add", 1, 2) == 3
                session.put("file", bytes(1 << 20))
                assert session.get("file") == bytes(1 << 20)
                session.seal(CALCULATOR.read_bytes(), "kept")

        def second(address: str) -> None:
            with connect(address, POLICY, key=key) as session:
                session.restore("kept")
                assert session.call("add", 2, 2) == 4

        async def main() -> None:
            async with serving("serve", tmp_path) as (_, address, machine, metrics):
                await in_thread(lambda: first(address))
                await in_thread(lambda: second(address))
                await until(lambda: metrics.enclaves_ended == {"done": 2})
                assert [made.hash for made in machine.enclaves.values()] == [MEASUREMENT] * 2

        run(main())

    def test_client_that_leaves_in_the_middle(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with serving("serve", tmp_path) as (_, address, machine, metrics):
                for sent in (0, 1, 5000):
                    session = await in_thread(lambda: connect(address, POLICY))
                    if sent:
                        # A record that is never whole.
                        session._connection._socket.sendall((60_000).to_bytes(2, "big") + bytes(sent))
                    await in_thread(session.abort)
                await until(lambda: metrics.enclaves_ended == {"left": 3})
                assert not machine.alive

        run(main())

    def test_report_that_does_not_verify(self, tmp_path: Path) -> None:
        """A monitor with another key: the client says so, and the enclave is gone."""

        async def main() -> None:
            async with serving("serve", tmp_path) as (_, address, machine, metrics):
                machine.monitor = Monitor.boot(ED25519_SHA3.key_from_seed(b"\1" * 32), MONITOR.monitor_hash)
                with pytest.raises(ClientError, match=r"the device key .* is not trusted"):
                    await in_thread(lambda: connect(address, POLICY))
                other = replace(MONITOR, key=ED25519_SHA3.key_from_seed(b"\2" * 32))
                machine.monitor = other
                with pytest.raises(ClientError, match="did not sign"):
                    await in_thread(lambda: connect(address, POLICY))
                await until(lambda: metrics.enclaves_ended.total() == 2)
                assert not machine.alive

        run(main())

    def test_report_that_is_malformed(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """It is the device's fault, not the client's."""
        caplog.set_level("INFO")

        async def main() -> None:
            async with serving("serve", tmp_path) as (_, address, machine, metrics):
                whole = machine.answer_report
                machine.answer_report = lambda *given: whole(*given)[:64] + b"\xff" * 1288  # type: ignore[method-assign]
                with pytest.raises(CannotConnect):
                    await in_thread(lambda: connect(address, POLICY))
                await until(lambda: metrics.enclaves_ended == {"failed": 1})
                assert not machine.alive

        run(main())
        told = "enclave 1: the enclave failed: the security monitor's report is malformed"
        assert any(record.getMessage().startswith(told) for record in caplog.records)

    @pytest.mark.parametrize("kind", ["program", "file", "input"])
    def test_request_that_the_enclave_has_no_memory_for(self, kind: str, tmp_path: Path) -> None:
        """The client is told, and the session goes on."""
        large = bytes(160 << 20)

        def client(address: str) -> None:
            with connect(address, POLICY) as session:
                session.deploy(CALCULATOR.read_bytes())
                with pytest.raises(RequestFailed, match="the enclave's memory is exhausted") as caught:
                    if kind == "program":
                        session.deploy(large)
                    elif kind == "file":
                        session.put("file", large)
                    else:
                        session.run(stdin=large)
                assert caught.value.code is ErrorCode.LIMIT_EXCEEDED
                session.put("file", b"")
                assert session.call("add", 1, 2) == 3

        run(in_little_memory(client, tmp_path))

    def test_programs_that_take_all_memory(self, tmp_path: Path) -> None:
        """What is left is enough to say so, and to replace them."""
        # A command, since the store of other programs keeps all that was in it; and 8 MiB that nobody reads.
        command = bytes.fromhex(
            "0061736d01000000 010401600000 03020100 070a01065f73746172740000 0a040102000b"
        )
        large = command + bytes.fromhex("00 8280800401 78") + bytes(8 << 20)

        def client(address: str) -> None:
            with connect(address, POLICY) as session:
                sent = 0
                with pytest.raises(RequestFailed, match="the enclave's memory is exhausted"):
                    for sent in range(64):
                        session.deploy(large, str(sent))
                assert sent > 2
                for number in range(sent):
                    session.deploy(command, str(number))
                session.deploy(CALCULATOR.read_bytes())
                assert session.call("add", 1, 2) == 3

        run(in_little_memory(client, tmp_path))

    def test_host_that_stops_says_why(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("schannel.connection._QUIET", 0.0)

        async def main() -> None:
            async with serving("serve", tmp_path, drain=0.1) as (server, address, _, metrics):
                session = await in_thread(lambda: connect(address, POLICY))
                await server.drain()
                with pytest.raises(ClientError, match="the host is shutting down"):
                    await in_thread(lambda: session.call("add", 1, 1))
                assert metrics.enclaves_ended == {"done": 1}

        run(main())

    def test_application_that_does_not_end_is_destroyed(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with serving("deaf", tmp_path, grace=0.2) as (server, address, machine, metrics):
                host, port = address.split(":")
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(HELLO)
                await until(lambda: metrics.waits == 1)
                await server.close()
                assert metrics.enclaves_ended == {"killed": 1}
                assert not machine.alive
                writer.close()

        run(main())

    def test_no_room_for_another(self, tmp_path: Path) -> None:
        """The client is told that the host is busy, and is served when there is room again."""

        async def main() -> None:
            async with serving("serve", tmp_path, Machine(enclaves=1)) as (_, address, _, metrics):
                session = await in_thread(lambda: connect(address, POLICY))
                with pytest.raises(CannotConnect, match="busy: no enclave is free"):
                    await in_thread(lambda: connect(address, POLICY))
                await in_thread(session.close)
                await until(lambda: metrics.enclaves_ended.total() == 1)
                await in_thread(lambda: connect(address, POLICY).close())
                assert metrics.refused == {"busy": 1}

        run(main())

    @pytest.mark.parametrize(("places", "lost"), [(4, 0), (0, 2)])
    def test_clients_that_leave_while_their_enclaves_load(
        self, places: int, lost: int, tmp_path: Path
    ) -> None:
        """Anybody can do that: it must not use up the driver's numbers, even where the monitor is full."""

        async def main() -> None:
            machine = Machine(enclaves=places)
            async with serving("serve", tmp_path, machine) as (_, address, _, metrics):
                host, port = address.split(":")
                mmap, left = machine.mmap, threading.Event()

                def slow(*arguments: int) -> Mapped:
                    left.wait(30)
                    return mmap(*arguments)

                machine.mmap = slow  # type: ignore[method-assign,assignment]
                for number in range(20):
                    left.clear()
                    _, writer = await asyncio.open_connection(host, int(port))
                    writer.write(HELLO)
                    if number == 0 or places:
                        await until(lambda: bool(machine.alive))
                    writer.close()
                    await until(lambda: metrics.refused.total() > number)  # noqa: B023
                    left.set()
                    await until(lambda: not machine.files)
            assert machine.done.count(Request.FINALIZE) == (20 if places else 1)
            assert machine.lost_numbers == lost

        run(main())

    def test_full_monitor_is_not_asked_again(self, tmp_path: Path) -> None:
        """Each refusal costs the driver two numbers; when an enclave has ended, it is asked."""

        async def main() -> None:
            async with serving("serve", tmp_path, Machine(enclaves=1)) as (_, address, machine, metrics):
                session = await in_thread(lambda: connect(address, POLICY))
                for _ in range(20):
                    with pytest.raises(CannotConnect, match="busy: no enclave is free"):
                        await in_thread(lambda: connect(address, POLICY))
                assert machine.lost_numbers == 2
                await in_thread(session.close)
                await until(lambda: metrics.enclaves_ended.total() == 1)
                await in_thread(lambda: connect(address, POLICY).close())
                assert metrics.refused == {"busy": 20}

        run(main())

    def test_one_that_ends_while_another_is_refused_leaves_its_place(self) -> None:
        async def main() -> None:
            machine, gone = Machine(command("echo"), enclaves=2), threading.Event()
            monitor = KeystoneMonitor(IMAGE, b"{}", 60.0, machine)
            first, second = [await monitor.start_enclave() for _ in range(2)]
            first.ended.add_done_callback(lambda _: gone.set())
            loop, ioctl = asyncio.get_running_loop(), machine.ioctl

            def refusing(*arguments: Any) -> None:
                try:
                    ioctl(*arguments)
                except OSError:
                    if Request.FINALIZE in arguments:
                        loop.call_soon_threadsafe(first.hang_up)
                        gone.wait(30)
                    raise

            machine.ioctl = refusing  # type: ignore[method-assign,assignment]
            with pytest.raises(NoRoom):
                await monitor.start_enclave()
            third = await monitor.start_enclave()
            for enclave in (second, third):
                enclave.hang_up()
            await monitor.close()
            machine.assert_clean()

        run(main())

    def test_full_monitor_is_asked_after_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Others than this host may have had its places."""

        async def main() -> None:
            machine = Machine(command("echo"), enclaves=0)
            monitor = KeystoneMonitor(IMAGE, b"{}", 60.0, machine)
            monkeypatch.setattr(keystone, "_FULL_FOR", 0.0)
            for _ in range(2):
                with pytest.raises(NoRoom, match="takes no further enclave"):
                    await monitor.start_enclave()
            assert machine.lost_numbers == 4
            monkeypatch.undo()
            for _ in range(2):
                with pytest.raises(NoRoom, match="takes no further enclave"):
                    await monitor.start_enclave()
            assert machine.lost_numbers == 6
            await monitor.close()
            machine.assert_clean()

        run(main())

    def test_driver_without_numbers(self) -> None:
        """Every further try would lose an enclave's memory for good."""

        async def main() -> None:
            machine = Machine(command("echo"), numbers=0)
            monitor = KeystoneMonitor(IMAGE, b"{}", 60.0, machine)
            for _ in range(3):
                with pytest.raises(MonitorError, match=r"no number left .* load it again"):
                    await monitor.start_enclave()
                assert "no number left" in monitor.ailment
            assert machine.done.count(Request.CREATE) == 1
            await monitor.close()
            machine.assert_clean()

        run(main())

    @pytest.mark.parametrize(
        ("kind", "machine", "told", "logged"),
        [
            ("serve", {"fail": (Request.CREATE, 0, errno.ENOTTY)}, CLOSED, "of another version"),
            ("serve", {"pages": 100}, "busy: no enclave is free", "no 1108 KiB of contiguous memory now"),
            ("crash", {}, CLOSED, "is there enough memory for it (--free-memory)?"),
        ],
    )
    def test_enclave_that_cannot_be(
        self, tmp_path: Path, kind: str, machine: dict[str, Any], told: str, logged: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        """The client is told at once, the operator why, and nothing is left."""

        async def main() -> None:
            async with serving(kind, tmp_path, Machine(**machine)) as (_, address, made, _):
                with pytest.raises(CannotConnect, match=told):
                    await in_thread(lambda: connect(address, POLICY))
                await until(lambda: not made.alive)

        run(main())
        lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert sum(logged in line for line in lines) == 1

    def test_curious_application(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Linux' calls, and calls that there are not, are refused with a line each."""
        caplog.set_level("INFO")

        async def main() -> None:
            machine = Machine(command("curious"))
            monitor = KeystoneMonitor(IMAGE, b"{}", 60.0, machine)
            enclave = await monitor.start_enclave()
            enclave.channel.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(enclave.channel, b"echo")
            assert await loop.sock_recv(enclave.channel, 100) == b"echo"
            monitor.stop_enclave(enclave, Stop.MEMORY)
            assert await loop.sock_recv(enclave.channel, 100) == b"MEMORY"
            assert (await enclave.ended).how == "silent"
            enclave.hang_up()
            await monitor.close()
            machine.assert_clean()

        run(main())
        assert "enclave 1: was refused call 56 of Linux" in caplog.text
        for number in (0, 6, 10, 1 << 63):
            assert f"enclave 1: made a call that there is not: {number}" in caplog.text

    @pytest.mark.parametrize(
        ("kind", "patience", "words"),
        [
            ("crash", 60.0, "ended before its application began .*status 77.*of one build.*--free-memory"),
            ("silent", 0.3, "did not begin in 0.3 seconds: are loader, runtime and application of one build"),
        ],
    )
    def test_files_of_other_builds(self, kind: str, patience: float, words: str) -> None:
        async def main() -> None:
            machine = Machine(command(kind))
            monitor = KeystoneMonitor(IMAGE, b"{}", patience, machine)
            with pytest.raises(MonitorError, match=words):
                await monitor.start_enclave()
            assert monitor.ailment
            await monitor.close()
            machine.assert_clean()

        run(main())

    def test_monitor_that_takes_long_to_measure(self) -> None:
        """Whoever waits is told, the enclave is destroyed as soon as that is possible, and others go on."""

        async def main() -> None:
            machine, measured = Machine(command("echo")), threading.Event()
            monitor = KeystoneMonitor(IMAGE, b"{}", 60.0, machine)
            other = await monitor.start_enclave()
            ioctl = machine.ioctl

            def slow(descriptor: int, request: int, argument: bytearray) -> None:
                if request == Request.FINALIZE:
                    measured.wait(60)
                ioctl(descriptor, request, argument)

            machine.ioctl = slow  # type: ignore[method-assign]
            monitor._patience = 0.1
            with pytest.raises(MonitorError, match=r"not been measured in 0\.1 seconds: .*\(--max-start\)$"):
                await monitor.start_enclave()
            # As long again as a driver that hangs is given.
            await asyncio.sleep(0.3)
            assert not monitor.failed.done()
            assert len(machine.alive) == 2
            measured.set()
            await until(lambda: len(machine.alive) == 1)
            assert not machine.lost_numbers
            monitor._patience = 60.0
            other.hang_up()
            await monitor.close()
            machine.assert_clean()

        run(main())

    def test_application_that_goes_on_without_a_client(self) -> None:
        async def main() -> None:
            machine = Machine(command("deaf"))
            monitor = KeystoneMonitor(IMAGE, b"{}", 60.0, machine)
            start = monitor._start_run

            async def impatient() -> Any:
                run = await start()
                monitor._patience = 0.1
                return run

            monitor._start_run = impatient  # type: ignore[method-assign]
            with pytest.raises(MonitorError, match=r"did not end in 0\.1 seconds when its client had left"):
                await monitor.ready()
            monitor._patience = 60.0
            await monitor.close()
            machine.assert_clean()

        run(main())

    def test_no_more_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def main() -> None:
            machine = Machine(command("echo"))
            monitor = KeystoneMonitor(IMAGE, b"{}", 60.0, machine)
            before = len(os.listdir("/proc/self/fd"))

            def refuse(_: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")

            with monkeypatch.context() as patched:
                patched.setattr(threading.Thread, "start", refuse)
                with pytest.raises(MonitorError, match="no thread can be started for another enclave"):
                    await monitor.start_enclave()
            assert len(os.listdir("/proc/self/fd")) == before
            await asyncio.sleep(0)
            assert not monitor._runs
            await monitor.ready()
            await monitor.close()
            machine.assert_clean()

        run(main())

    def test_stubborn_application(self) -> None:
        async def main() -> None:
            machine = Machine(command("stubborn"))
            monitor = KeystoneMonitor(IMAGE, b"{}", 60.0, machine)
            enclave = await monitor.start_enclave()
            assert (await asyncio.wait_for(enclave.ended, 60)).how == "failed"
            enclave.hang_up()
            await monitor.close()
            machine.assert_clean()

        run(main())

    def test_driver_that_hangs(self) -> None:
        """Nobody waits without end: the monitor has failed."""

        async def main() -> None:
            machine, going_on = Machine(command("echo")), threading.Event()
            monitor = KeystoneMonitor(IMAGE, b"{}", 60.0, machine)
            enclave = await monitor.start_enclave()
            destroy = machine._destroy

            def hanging(eid: int) -> None:
                going_on.wait(60)
                destroy(eid)

            machine._destroy = hanging  # type: ignore[method-assign]
            monitor._patience = 0.1
            monitor.kill_enclave(enclave)
            assert "hangs" in (await enclave.ended).shown
            with pytest.raises(MonitorError, match="hangs"):
                await asyncio.shield(monitor.failed)
            going_on.set()
            await until(lambda: not machine.files)
            enclave.hang_up()
            await monitor.close()
            machine.assert_clean()

        run(main())

    def test_ready_says_what_is_missing(self) -> None:
        async def main() -> None:
            for machine, words in (
                (Machine(pages=100), "contiguous"),
                (Machine(command("crash")), "of one build"),
                (Machine(command("picky")), "the first enclave failed: the enclave failed: max_fuel is not"),
                (Machine(command("serve")), ""),
                (Machine(command("echo")), ""),
            ):
                monitor = KeystoneMonitor(IMAGE, b"{}", 60.0, machine)
                if words:
                    with pytest.raises(MonitorError, match=words):
                        await monitor.ready()
                else:
                    identity = await monitor.ready()
                    assert MEASUREMENT.hex() in identity.policy
                await monitor.close()
                machine.assert_clean()

        run(main())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def program(
    *segments: tuple[int, int, int],
    kind: int = 2,
    flags: int = 0,
    start: int = 64,
    count: int | None = None,
    size: int = 56,
) -> bytes:
    """A file of 1000 bytes with segments of these kinds, offsets and sizes in it."""
    headers = [struct.pack("<2I6Q", each, 0, offset, 0, 0, held, held, 1) for each, offset, held in segments]
    counts = struct.pack("<2H", size, len(segments) if count is None else count)
    places = struct.pack("<QQI", start, 0, flags)
    head = ELF[:16] + struct.pack("<H", kind) + ELF[18:32] + places + ELF[52:54] + counts + ELF[58:]
    return (head + b"".join(headers)).ljust(1000, b"\0")


WHOLE = program((1, 0, 500), (1, 500, 500), (1, 1 << 40, 0), (0x6474E551, 0, 0))
"""Up to the file's last byte; a segment of zeros has nothing in the file, wherever it says that is."""


def options(files: EnclaveFiles) -> list[str]:
    """The commands' options for these files."""
    paths = {"-l": files.loader, "-r": files.runtime, "-e": files.application}
    return [word for option, path in paths.items() if path is not None for word in (option, str(path))]


def both_refuse(files: EnclaveFiles, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which host and client refuse to measure these files."""
    assert client_cli.main(["measure", *options(files)]) == 1
    client = capsys.readouterr()
    assert host_cli.main(["measure", "--device", "keystone", *options(files)]) == 1
    host = capsys.readouterr()
    line = client.err.removeprefix("wasm-client: ")
    assert host.err == f"wasm-host: {line}" and line.count("\n") == 1
    assert client.out == host.out == ""
    return line.strip()


class TestFiles:
    @pytest.fixture
    def files(self, tmp_path: Path) -> EnclaveFiles:
        paths = {}
        for name, content in (("loader", LOADER), ("runtime", RUNTIME), ("application", APPLICATION)):
            paths[name] = tmp_path / name
            paths[name].write_bytes(content)
        return EnclaveFiles(**paths)

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("loader", b"", "the loader .* is empty"),
            ("loader", ELF, "is an ELF file: Keystone starts its raw code"),
            ("runtime", b"PK\3\4", "the runtime .* is no ELF file"),
            ("application", b"\x7fELF", "the application .* is no ELF file"),
            ("application", ELF[:18] + b"\x3e\0" + ELF[20:], "the application .* is not for 64-bit RISC-V"),
            ("runtime", ELF[:4] + b"\1" + ELF[5:], "the runtime .* is not for 64-bit RISC-V"),
            ("application", program((3, 0, 10)), "the application .* is linked dynamically"),
            ("application", b"", "the application .* is no ELF file"),
            ("runtime", WHOLE[:57], "the runtime .* is no ELF file"),
            ("runtime", WHOLE[:100], "the runtime .* is cut short: it ends before its program headers do"),
            ("application", WHOLE[:-1], "the application .* is cut short: it ends within a segment"),
            ("runtime", program((1, 2**64 - 1, 2)), "is cut short: it ends within a segment"),
            ("runtime", program(start=2**64 - 1, count=1), "is cut short: it ends before its program"),
            ("runtime", program((1, 0, 10), size=32), "has program headers of 32 bytes, not 56"),
            ("application", program(kind=1), "the application .* is an object file"),
            ("application", program((1, 0, 10), kind=3), "is a shared library, or position-independent"),
            ("application", program((1, 0, 10), (3, 0, 10), kind=3), "is linked dynamically"),
            (
                "runtime",
                program((1, 0, 10), kind=4),
                "the runtime .* is no program: its ELF type is 4, not 2",
            ),
            ("application", program((6, 0, 10)), "the application .* has no segment to load"),
            ("application", program((1, 0, 10), flags=0x9), "is for RISC-V with sixteen registers"),
        ],
    )
    def test_files_of_something_else(
        self, files: EnclaveFiles, name: str, content: bytes, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        getattr(files, name).write_bytes(content)
        with pytest.raises(MonitorError, match=words):
            read_image(files, 0)
        assert re.search(words, both_refuse(files, capsys))

    def test_whole_program(self, files: EnclaveFiles) -> None:
        assert files.application is not None
        files.application.write_bytes(WHOLE)
        assert read_image(files, 0).application == WHOLE

    @pytest.mark.parametrize("name", ["loader", "runtime", "application"])
    def test_file_that_no_enclave_could_hold(
        self, files: EnclaveFiles, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It is not read: there is not that much memory."""
        path = getattr(files, name)
        os.truncate(path, 40 << 30)
        line = both_refuse(files, capsys)
        assert line.startswith(
            f"{path} is too large: the three files of an enclave may have 512 MiB together"
        )

    def test_files_that_are_too_large_together(self, files: EnclaveFiles) -> None:
        for path in (files.loader, files.application):
            assert path is not None
            os.truncate(path, LARGEST_FILES // 2)
        with pytest.raises(MonitorError, match="application is too large"):
            read_image(files, 0)

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("/", "is a directory"),
            ("/dev/null", "not a regular file"),
            ("/dev/zero", "not a regular file"),
            ("/" + 300 * "x", "file name too long"),
        ],
    )
    def test_what_is_no_file(
        self, files: EnclaveFiles, path: str, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = replace(files, application=Path(path))
        with pytest.raises(MonitorError, match=f"^cannot read {path}: {words}$"):
            read_image(given, 0)
        assert client_cli.main(["measure", *options(given)]) == 1
        assert capsys.readouterr() == ("", f"wasm-client: cannot read {path}: {words}\n")

    def test_file_by_way_of_a_link(self, files: EnclaveFiles, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to("application")
        assert read_image(replace(files, application=link), 0).application == APPLICATION

    @given(st.binary(max_size=200))
    def test_heads_that_lie(self, tail: bytes) -> None:
        """Whatever the rest of a head says, it is looked at within the file."""
        with contextlib.suppress(LocalError):
            check_program(ELF[:20] + tail, "it")

    @pytest.mark.parametrize(
        ("missing", "words"),
        [
            (("runtime",), "not given: -r"),
            (("loader", "application"), "not given: -l, -e"),
            (("runtime", "application"), "not given: -r, -e"),
        ],
    )
    def test_files_that_are_not_given(
        self, files: EnclaveFiles, missing: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = replace(files, **dict.fromkeys(missing))
        with pytest.raises(MonitorError, match=f"{words}$"):
            read_image(given, 0)
        assert both_refuse(given, capsys).endswith(words)

    def test_both_ends_measure_the_same(
        self, files: EnclaveFiles, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = options(files)
        assert client_cli.main(["measure", *given]) == 0
        assert MEASUREMENT.hex() in capsys.readouterr().out
        assert host_cli.main(["measure", "--device", "keystone", *given]) == 0
        text = capsys.readouterr().out
        assert f'measurements = ["{MEASUREMENT.hex()}"]' in text
        with pytest.raises(PolicyFileError):
            Policy.from_toml(text)
        for size, byte in ((64, "06"), (32, "05")):
            text = text.replace(f"<{2 * size} hexadecimal digits>", byte * size)
        assert Policy.from_toml(text).enclave_measurements == {MEASUREMENT}

    @pytest.mark.parametrize("part", ["-l", "-r", "-e"])
    def test_files_without_the_name_of_the_device(
        self, files: EnclaveFiles, part: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        given = dict(zip(*[iter(options(files))] * 2, strict=True))
        assert host_cli.main(["measure", part, given[part]]) == 1
        told = capfd.readouterr()
        assert re.fullmatch(
            r"wasm-host: the \w+ file is not one that this release makes .*need --device keystone\)\n",
            told.err,
        )
        assert not told.out

    def test_command_without_a_device(self, files: EnclaveFiles, capsys: pytest.CaptureFixture[str]) -> None:
        given = options(files)
        for arguments, words in (
            (given, "there is no /dev/keystone_enclave"),
            ([], "not given: -l, -r, -e"),
            (["-l", str(files.runtime), *given[2:]], "is an ELF file"),
        ):
            assert host_cli.main(["--device", "keystone", "-a", "127.0.0.1:0", *arguments]) == 1
            told = capsys.readouterr()
            assert words in told.err and told.err.count("\n") == 1 and not told.out

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signal_while_the_host_starts(
        self, files: EnclaveFiles, number: signal.Signals, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        """It ends as one that serves does, and leaves no enclave."""
        machine = Machine(command("silent"))
        mmap = machine.mmap

        def signalling(descriptor: int, size: int, offset: int) -> Mapped:
            if offset == 0:
                os.kill(os.getpid(), number)
            return mmap(descriptor, size, offset)

        monkeypatch.setattr(machine, "mmap", signalling)
        monkeypatch.setattr(keystone, "LinuxDriver", lambda: machine)
        assert host_cli.main(["--device", "keystone", "-a", "127.0.0.1:0", *options(files)]) == 0
        assert capsys.readouterr() == ("", "")
        machine.assert_clean()

    def test_monitor_that_takes_longer_than_the_start_may(
        self, files: EnclaveFiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        machine, measured = Machine(command("echo")), threading.Event()
        ioctl = machine.ioctl

        def slow(descriptor: int, request: int, argument: bytearray) -> None:
            if request == Request.FINALIZE:
                measured.wait(60)
            ioctl(descriptor, request, argument)

        machine.ioctl = slow  # type: ignore[method-assign]
        monkeypatch.setattr(keystone, "LinuxDriver", lambda: machine)
        arguments = ["--device", "keystone", "-a", "127.0.0.1:0", "--max-start", "0.1", *options(files)]
        assert host_cli.main(arguments) == 1
        assert capsys.readouterr() == (
            "",
            "wasm-host: the enclave has not been measured in 0.1 seconds: on a slow machine, let it have "
            "more time (--max-start)\n",
        )
        (loading,) = (each for each in threading.enumerate() if each.name == "enclave 1")
        measured.set()
        loading.join(30)
        machine.assert_clean()

    def test_check_without_a_device(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert host_cli.main(["--check", "--device", "keystone"]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "device: keystone" and lines[-1] == "no enclave runs on Keystone here"
        assert any("MISSING: there is no /dev/keystone_enclave" in line for line in lines)

    @pytest.mark.parametrize("other", ["/dev/null", "/dev/zero", "/etc/passwd"])
    def test_something_else_under_the_name_of_the_device(
        self, files: EnclaveFiles, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        device = tmp_path / "keystone_enclave"
        device.symlink_to(other)
        monkeypatch.setattr(keystone_device, "DEVICE", str(device))
        said = f"{device} is not the device of Keystone's driver: load the driver anew"
        assert host_cli.main(["--check", "--device", "keystone"]) == 1
        assert said in capsys.readouterr().out
        assert host_cli.main(["--device", "keystone", "-a", "127.0.0.1:0", *options(files)]) == 1
        assert capsys.readouterr() == ("", f"wasm-host: {said}\n")

    def test_check_with_a_device(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        machine = Machine()
        monkeypatch.setattr(keystone, "LinuxDriver", lambda: machine)
        assert host_cli.main(["--check", "--device", "keystone"]) == 0
        assert "  /dev/keystone_enclave  offered" in capsys.readouterr().out.splitlines()
        machine.assert_clean()

    @pytest.mark.parametrize("text", ["a = ", "a = 1979-05-27"])
    def test_settings_that_are_none(self, tmp_path: Path, text: str) -> None:
        configuration = tmp_path / "settings.toml"
        configuration.write_text(text)
        with pytest.raises(MonitorError, match=r"the configuration .* cannot be used"):
            keystone._settings(configuration)
