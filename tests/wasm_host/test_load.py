"""The host under load and attack: limits, each with a word to the one who hits it, draining, the pool."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import mmap
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from schannel.framing import MAGIC, Refusal, encode_record, encode_refusal
from tests.wasm_host.fakes import HELLO, FakeMonitor, exchange, run, running_server, serving
from wasm_host import memory
from wasm_host.admission import Admission, TurnedAway
from wasm_host.limits import ServerLimits
from wasm_host.logs import LimitedLog
from wasm_host.memory import MemoryWatch, process_memory
from wasm_host.metrics import Metrics
from wasm_host.monitor import MonitorError, Stop
from wasm_host.server import Server
from wasm_host.storage import SealedStore, StoreLimits

pytestmark = pytest.mark.slow


@contextlib.asynccontextmanager
async def client(
    address: tuple[str, int], sent: bytes = HELLO, *, source: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address, local_addr=(source, 0))
    writer.write(sent)
    if sent == HELLO:
        assert await asyncio.wait_for(reader.readexactly(len(HELLO)), 20) == HELLO
    try:
        yield reader, writer
    finally:
        writer.close()


async def hear(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(), 20)


@pytest.mark.parametrize(
    ("limits", "refusal"),
    [
        (ServerLimits(connections=2, pool=0), Refusal.CONNECTIONS),
        (ServerLimits(per_address=2, pool=0), Refusal.ADDRESS),
    ],
)
def test_too_many_connections(limits: ServerLimits, refusal: Refusal) -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        async with serving(monitor, limits) as address, client(address):
            async with client(address, b""), client(address, b"") as (reader, _):
                assert await hear(reader) == encode_refusal(refusal)
                assert len(monitor.tasks) == 1, "who says nothing costs no enclave"
            await asyncio.sleep(0.1)
            assert await exchange(address, b"x") == HELLO + b"x", "those who left make room"

    run(main())


@pytest.mark.parametrize(
    ("address", "other", "one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_what_counts_as_one_address(address: str, other: str, one: bool) -> None:
    admission = Admission(ServerLimits(per_address=1), Metrics())
    with admission.connection(address):
        try:
            with admission.connection(other):
                assert not one
        except TurnedAway as turned:
            assert one and turned.refusal is Refusal.ADDRESS


def test_one_address_takes_no_more_than_its_share() -> None:
    """Of the enclaves by default a quarter; its other clients wait, and not in the way of others."""

    async def main() -> None:
        monitor = FakeMonitor()
        limits = ServerLimits(enclaves=8, wait=0.5, pool=0)
        async with (
            running_server(monitor, limits) as (_, address, metrics),
            contextlib.AsyncExitStack() as stack,
        ):
            for _ in range(2):
                await stack.enter_async_context(client(address))
            waiting = [await stack.enter_async_context(client(address, HELLO + b"?")) for _ in range(10)]
            await until(lambda: metrics.waiting == 10)
            assert metrics.sessions == 2
            for number in range(2, 5):
                async with client(address, source=f"127.0.0.{number}"):
                    # Another address is served at once; the one before it is seen to leave a little later.
                    await until(lambda: metrics.sessions == 3)
                    assert metrics.waiting == 10
            for reader, _ in waiting:
                assert await hear(reader) == encode_refusal(Refusal.ADDRESS)
            assert metrics.refused["address"] == 10

    run(main())


def test_many_addresses_share_the_rest() -> None:
    async def main() -> None:
        limits = ServerLimits(enclaves=8, wait=0.3, pool=0)
        async with (
            running_server(FakeMonitor(), limits) as (_, address, metrics),
            contextlib.AsyncExitStack() as stack,
        ):
            for number in range(8):
                source = f"127.0.1.{1 + number // 2}"
                await stack.enter_async_context(client(address, source=source))
            assert metrics.sessions == 8
            async with client(address, HELLO + b"?", source="127.0.1.9") as (reader, _):
                assert await hear(reader) == encode_refusal(Refusal.BUSY)

    run(main())


@pytest.mark.parametrize("ending", ["closed", "reset", "half closed", "after early bytes"])
def test_client_that_leaves_while_it_waits(ending: str) -> None:
    """It gives its place in the queue back at once, and takes no enclave later."""

    async def main() -> None:
        monitor = FakeMonitor()
        limits = ServerLimits(enclaves=1, waiting=1, wait=20, pool=0)
        async with (
            running_server(monitor, limits) as (_, address, metrics),
            client(address) as (_, served),
            client(address, HELLO + b"?") as (_, leaving),
        ):
            await asyncio.wait_for(until(lambda: metrics.waiting == 1), 20)
            if ending == "after early bytes":
                leaving.write(b"?" * 1000)
                await leaving.drain()
            if ending == "half closed":
                leaving.write_eof()
            elif ending == "reset":
                leaving.transport.abort()
            else:
                leaving.close()
            await asyncio.wait_for(until(lambda: metrics.waiting == 0), 20)
            assert metrics.refused == {"left": 1}
            late = asyncio.create_task(exchange(address, b"late"))
            await asyncio.wait_for(until(lambda: metrics.waiting == 1), 20)
            served.close()
            assert await late == HELLO + b"late"
            assert len(monitor.tasks) == 2

    run(main())


@pytest.mark.parametrize("ending", ["client", "host"])
def test_nobody_waits_for_a_monitor_that_hangs(ending: str) -> None:
    """A client that leaves meanwhile gives its place back, and the host can stop."""

    async def main() -> None:
        monitor = FakeMonitor()
        monitor.hanging.set()
        async with (
            running_server(monitor, ServerLimits(pool=0)) as (server, address, metrics),
            client(address, HELLO + b"?") as (reader, writer),
        ):
            await asyncio.wait_for(until(lambda: metrics.sessions == 1), 20)
            if ending == "client":
                writer.close()
            else:
                await asyncio.wait_for(server.drain(), 20)
                assert await hear(reader) == encode_refusal(Refusal.STOPPING)
            await asyncio.wait_for(until(lambda: metrics.sessions == 0), 20)

    run(main())


def test_what_comes_early_is_passed_on() -> None:
    """In order, however much, although the host looks at it while its client waits."""
    sent = bytes(range(256)) * 1000

    async def main() -> None:
        limits = ServerLimits(enclaves=1, wait=20, pool=0)
        async with running_server(FakeMonitor(), limits) as (_, address, metrics):
            async with client(address):
                late = asyncio.create_task(exchange(address, sent))
                await asyncio.wait_for(until(lambda: metrics.waiting == 1), 20)
                await asyncio.sleep(0.05)
            assert await late == HELLO + sent

    run(main())


def test_share_that_is_given_back_is_taken() -> None:
    async def main() -> None:
        limits = ServerLimits(enclaves=4, wait=20, pool=0)
        async with running_server(FakeMonitor(), limits) as (_, address, metrics):
            async with client(address):
                late = asyncio.create_task(exchange(address, b"late"))
                await until(lambda: metrics.waiting == 1)
            assert await late == HELLO + b"late"
            await until(lambda: metrics.open_connections == 0)

    run(main())


@pytest.mark.parametrize(("enclaves", "named", "share"), [(16, 0, 4), (1, 0, 1), (5, 0, 2), (16, 3, 3)])
def test_share_of_one_address(enclaves: int, named: int, share: int) -> None:
    assert ServerLimits(enclaves=enclaves, enclaves_per_address=named).share == share


@pytest.mark.parametrize("sent", [b"", MAGIC, HELLO[:-1], MAGIC + bytes(4) + b"\x04\x00" + bytes(1000)])
def test_slow_first_message(sent: bytes) -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        async with (
            serving(monitor, ServerLimits(handshake=0.2, pool=0)) as address,
            client(address, sent) as (reader, writer),
        ):
            with contextlib.suppress(OSError):
                for _ in range(3):
                    await asyncio.sleep(0.05)
                    writer.write(b"")
            assert await hear(reader) == encode_refusal(Refusal.SLOW)
            assert not monitor.tasks

    run(main())


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n",
        bytes(100),
        MAGIC + bytes(4) + b"\0\0",
        MAGIC + bytes(4) + encode_record(bytes(1025)),
    ],
)
def test_another_protocol(sent: bytes) -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        async with running_server(monitor) as (_, address, metrics), client(address, sent) as (reader, _):
            with contextlib.suppress(ConnectionError):
                assert await hear(reader) == b""
            assert not monitor.tasks
            assert metrics.refused == {"foreign": 1}

    run(main())


@pytest.mark.parametrize("sent", [b"", HELLO[:10]])
def test_client_that_leaves_at_once(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Whether it hangs up in order or resets the connection, before or after it was accepted."""

    async def main() -> None:
        async with running_server(FakeMonitor()) as (server, address, metrics):
            for reset in (False, True) * 3:
                with socket.create_connection(address) as leaving:
                    leaving.sendall(sent)
                    if reset:
                        leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await until(lambda: metrics.refused["left"] == 6)
            assert not server._connections and not metrics.open_connections

    run(main())
    assert not [record for record in caplog.records if record.name == "asyncio"], caplog.text


def test_strangers_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running_server(FakeMonitor()) as (_, address, metrics):
            for count in range(1, 101):
                with socket.create_connection(address) as leaving:
                    leaving.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    await until(lambda expected=count: metrics.refused["foreign"] == expected)

    caplog.set_level(logging.INFO)
    run(main())
    events = [getattr(record, "event", "") for record in caplog.records]
    assert events.count("not_served") == 60
    assert events[-1] == "left_out" and events.count("left_out") == 1


def test_log_goes_on_later(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("wasm_host.logs.time.monotonic", lambda: clock[0])
    log = LimitedLog(2, 10.0)
    for second in range(25):
        clock[0] = 100.0 + second
        log.event(logging.WARNING, "refused", f"at {second}")
    shown = [record.getMessage() for record in caplog.records]
    left_out = "more clients are not served than are logged: for 8 seconds they are only counted"
    assert shown == [
        *("at 0", "at 1", left_out),
        *("at 10", "at 11", left_out),
        *("at 20", "at 21", left_out),
    ]


def test_session_in_which_nothing_passes_is_closed() -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        async with (
            serving(monitor, ServerLimits(idle=0.3, pool=0)) as address,
            client(address) as (reader, writer),
        ):
            for _ in range(4):
                await asyncio.sleep(0.15)
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
            assert monitor.stopped == []
            assert await hear(reader) == b""
            assert monitor.stopped == [1], "its enclave closes the session in order"

    run(main())


def test_session_that_lasts_too_long_is_closed() -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        limits = ServerLimits(idle=20, session=0.5, pool=0)
        async with running_server(monitor, limits) as (_, address, metrics):
            async with client(address) as (reader, writer):
                while not monitor.stopped:
                    writer.write(b"x")
                    await asyncio.wait({asyncio.create_task(reader.read(1))}, timeout=0.05)
                    await asyncio.sleep(0.02)
                assert await hear(reader) == b""
            assert (monitor.reasons, metrics.closed) == ([Stop.TIME], {"time": 1})

    run(main())


def watching(
    watch: MemoryWatch, used: dict[int, int], number: int, kill: Callable[[], None]
) -> AbstractContextManager[asyncio.Event]:
    return watch.watching(f"process {number}", lambda: used[number], kill)


def fail() -> None:
    raise AssertionError("this enclave is not to be killed")


def test_enclave_that_goes_on_growing_is_killed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        used = {1: 90 << 20, 2: 20 << 20}
        killed = asyncio.Event()
        watch = MemoryWatch(100)
        with (
            watching(watch, used, 1, killed.set) as chosen,
            watching(watch, used, 2, fail),
        ):
            await asyncio.wait_for(chosen.wait(), 20)
            used[1] += 24 << 20
            await asyncio.sleep(0.6)
            assert not killed.is_set(), "what it was about to do may take more"
            used[1] += 2 << 20
            await asyncio.wait_for(killed.wait(), 20)

    run(main())
    assert "process 1 was asked to end, and has grown since" in caplog.text
    assert "memory_killed" in {record.__dict__.get("event") for record in caplog.records}


def test_enclave_beyond_its_own_limit_is_killed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        killed = asyncio.Event()
        used = {1: 1200 << 20, 2: 1100 << 20}
        watch = MemoryWatch(1 << 20, 1 << 30)
        with (
            watching(watch, used, 1, killed.set) as chosen,
            watching(watch, used, 2, fail),
        ):
            await asyncio.wait_for(killed.wait(), 20)
            assert not chosen.is_set(), "it is not asked"
            await asyncio.sleep(0.6)

    run(main())
    assert "process 1 has 1200 MiB, more than an enclave can have: killed" in caplog.text
    assert caplog.text.count("killed") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_page_tables_count() -> None:
    """Memory that is only read costs no more than its page tables: these are what is left to fill up."""
    before = process_memory(os.getpid())
    with mmap.mmap(-1, 8 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ) as space:
        if hasattr(space, "madvise"):
            space.madvise(15)  # no huge pages
        for offset in range(0, 8 << 30, 2 << 20):
            assert space[offset] == 0
        assert process_memory(os.getpid()) >= before + 4096 * 4000


def test_killed_enclave_ends_its_session() -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        listener = socket.create_server(("127.0.0.1", 0))
        store = SealedStore(Path("/nonexistent"), StoreLimits())
        limits = ServerLimits(pool=0, grace=30.0)
        server = Server(monitor, store, limits, data_limit=-(1 << 40))
        await server.listen(listener)
        async with client(listener.getsockname()) as (reader, _):
            assert await hear(reader) == b"", "without a word, and long before the time to end in"
        assert (monitor.killed, monitor.stopped) == ([1], [])
        await asyncio.wait_for(server.close(), 20)

    run(main())


def test_session_with_most_of_the_memory_makes_room(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        used = {1: 50 << 20, 2: 70 << 20, 3: 20 << 20}
        watch = MemoryWatch(100)
        with (
            watching(watch, used, 1, fail) as first,
            watching(watch, used, 3, fail) as third,
        ):
            with watching(watch, used, 2, fail) as second:
                await asyncio.wait_for(second.wait(), 20)
                used[2] = 60 << 20
                await asyncio.sleep(0.6)
                assert not first.is_set() and not third.is_set(), "one at a time, until it has ended"
            await asyncio.sleep(0.6)
            assert not first.is_set() and not third.is_set(), "there is room again"

    run(main())
    assert "enclaves have 140 MiB, more than 100: process 2" in caplog.text


def test_memory_of_a_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_CONTAINER_LIMIT", limit)
    machine = memory.machine_memory()
    assert machine > 100
    limit.write_text("max\n")
    assert memory.machine_memory() == machine
    limit.write_text(f"{100 << 20}\n")
    assert memory.machine_memory() == 100


def test_client_that_does_not_read_is_idle() -> None:
    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()

    async def main() -> None:
        monitor = FakeMonitor(flood)
        async with serving(monitor, ServerLimits(idle=0.5, grace=0.1, pool=0)) as address:
            _, writer = await asyncio.open_connection(*address, limit=1 << 16)
            writer.write(HELLO)
            await asyncio.wait_for(until(lambda: monitor.stopped == [1]), 20)
            writer.close()

    run(main())


async def until(condition: object) -> None:
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0.02)


def test_hung_enclave_costs_only_its_own_client() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read(1000)
        writer.write(data)
        while b"hang" not in data and data:
            data = await reader.read(1000)
            writer.write(data)
        while data:
            await asyncio.sleep(1)

    async def main() -> None:
        monitor = FakeMonitor(hang)
        async with serving(
            monitor, ServerLimits(enclaves=2, enclaves_per_address=2, grace=0.1, pool=0)
        ) as address:
            async with client(address) as (_, writer), client(address) as (reader, other):
                writer.write(b"hang")
                other.write(b"alive")
                assert await asyncio.wait_for(reader.readexactly(5), 20) == b"alive"
            await asyncio.wait_for(until(lambda: monitor.killed == [1]), 20)

    run(main())


def test_draining_lets_sessions_finish() -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        limits = ServerLimits(enclaves=1, drain=20, pool=0)
        async with (
            running_server(monitor, limits) as (server, address, _),
            client(address) as (reader, writer),
        ):
            async with client(address, HELLO[:-1]) as (late, _), client(address, HELLO + b"?") as (queued, _):
                await asyncio.sleep(0.1)
                draining = asyncio.create_task(server.drain())
                assert await hear(late) == await hear(queued) == encode_refusal(Refusal.STOPPING)
            assert not server.accepting
            with pytest.raises(OSError):
                await asyncio.open_connection(*address)
            writer.write(b"still")
            assert await reader.readexactly(5) == b"still"
            assert not draining.done()
            writer.close()
            await asyncio.wait_for(draining, 20)
            assert monitor.stopped == [] and monitor.killed == []

    run(main())


@pytest.mark.parametrize("ending", ["time", "hurry"])
def test_draining_has_an_end(ending: str) -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        limits = ServerLimits(drain=0.1 if ending == "time" else 60, pool=0)
        async with running_server(monitor, limits) as (server, address, _), client(address) as (reader, _):
            draining = asyncio.create_task(server.drain())
            if ending == "hurry":
                server.hurry()
            assert await hear(reader) == b""
            await asyncio.wait_for(draining, 20)
            assert monitor.stopped == [1]

    run(main())


def test_second_signal_waits_for_nobody() -> None:
    async def deaf(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    async def main() -> None:
        monitor = FakeMonitor(deaf)
        limits = ServerLimits(drain=60, grace=60, pool=0)
        monitor.stop_enclave = lambda enclave, why: None  # type: ignore[method-assign]
        async with running_server(monitor, limits) as (server, address, _), client(address):
            draining = asyncio.create_task(server.drain())
            await asyncio.sleep(0.1)
            server.abort()
            await asyncio.wait_for(draining, 10)
            assert monitor.killed == [1]

    run(main())


class TestPool:
    def test_enclaves_wait_for_clients(self) -> None:
        async def main() -> None:
            monitor = FakeMonitor()
            async with running_server(monitor, ServerLimits(pool=2)) as (server, address, metrics):
                await asyncio.wait_for(until(lambda: metrics.pool_ready == 2), 20)
                for sessions in range(1, 4):
                    assert await exchange(address, b"x") == HELLO + b"x"
                    await asyncio.wait_for(until(lambda: metrics.pool_ready == 2), 20)
                    assert len(monitor.tasks) == 2 + sessions, "each client gets one that served nobody"
                await server.drain()
                assert sorted(monitor.killed) == [4, 5]
                assert metrics.pool_ready == 0

        run(main())

    def test_one_that_ended_is_not_given_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wasm_host.pool._RETRY", 0.05)

        async def main() -> None:
            monitor = FakeMonitor()
            async with running_server(monitor, ServerLimits(pool=1)) as (_, address, metrics):
                await asyncio.wait_for(until(lambda: metrics.pool_ready == 1), 20)
                await asyncio.sleep(0.05)
                monitor.tasks[1].cancel()
                await asyncio.wait_for(until(lambda: len(monitor.tasks) == 2), 20)
                assert metrics.enclaves_ended == {"failed": 1}
                assert await exchange(address, b"x") == HELLO + b"x"

        run(main())

    @pytest.mark.parametrize(
        "error", [MonitorError("the security monitor is gone"), OSError(errno.EMFILE, "Too many open files")]
    )
    def test_failing_monitor_is_asked_again(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wasm_host.pool._RETRY", 0.05)

        async def main() -> None:
            monitor = FakeMonitor()
            monitor.broken = error
            async with running_server(monitor, ServerLimits(pool=1)) as (_, _address, metrics):
                await asyncio.sleep(0.1)
                assert metrics.pool_ready == 0
                monitor.broken = None
                await asyncio.wait_for(until(lambda: metrics.pool_ready == 1), 20)

        run(main())


def test_everything_is_counted() -> None:
    async def main() -> None:
        async with running_server(FakeMonitor(), ServerLimits(1, wait=0.1, pool=0)) as (_, address, metrics):
            async with client(address):
                assert metrics.sessions == metrics.open_connections == 1
                assert await exchange(address, b"") == encode_refusal(Refusal.BUSY)
            await asyncio.wait_for(until(lambda: metrics.open_connections == 0), 20)
            _assert_counts(metrics)

    run(main())


def _assert_counts(metrics: Metrics) -> None:
    assert metrics.connections == 2
    assert metrics.refused == {"busy": 1}
    assert metrics.sessions == metrics.waiting == 0
    assert metrics.enclaves_started == metrics.waits == 1
    assert metrics.enclaves_ended == {"done": 1}
    assert metrics.relayed == {"up": len(HELLO), "down": len(HELLO)}
