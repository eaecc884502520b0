"""Enclaves on Keystone, on a double of its machine: created, loaded, run, and nothing left behind."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schannel import edge, storage
from schannel.edge import AnswerHead, Call, CallStatus, Event, Happening, Head
from schannel.endings import CloseReason
from schannel.measurement import measure
from tests.keystone import Machine
from tests.wasm_host.keystone_host import (
    IMAGE,
    padded,
)
from wasm_host.edge_calls import MAX_LINES, EdgeCalls, Ended
from wasm_host.keystone_device import PAGE, SHARED_SIZE, Image, KeystoneEnclave, LinuxDriver, Request
from wasm_host.monitor import MonitorError, NoRoom

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the double's applications are Linux processes"
)


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
