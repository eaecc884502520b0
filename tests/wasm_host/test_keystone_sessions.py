"""Sessions with enclaves on a double of Keystone's machine, some of which misbehave."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schannel.ed25519_sha3 import ED25519_SHA3
from schannel.handshake import identity_key
from schannel.messages import ErrorCode
from schannel.monitor_keys import Monitor
from tests.keystone import MONITOR, Machine, Mapped
from tests.processes import CALCULATOR
from tests.wasm_host.fakes import HELLO, run
from tests.wasm_host.keystone_host import (
    IMAGE,
    MEASUREMENT,
    POLICY,
    command,
    in_thread,
    serving,
    slow_to_measure,
    until,
)
from wasm_client import CannotConnect, ClientError, RequestFailed, connect
from wasm_host import keystone
from wasm_host.keystone import KeystoneMonitor
from wasm_host.keystone_device import Request
from wasm_host.monitor import MonitorError, NoRoom, Stop

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the double's applications are Linux processes"
)

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
            machine = Machine(command("echo"))
            monitor = KeystoneMonitor(IMAGE, b"{}", 60.0, machine)
            other = await monitor.start_enclave()
            measured = slow_to_measure(machine)
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
