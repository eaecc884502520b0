"""The relay between real sockets, with the extension and without it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
import threading
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.wasm_host.fakes import run
from wasm_host import relay
from wasm_host.relay import Relay, Traffic

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("either_relay")]

BUFFER = 1 << 16
FIRST = b"first"
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for a close that breaks the connection."""


@dataclass
class End:
    """What a client, or an enclave, has in its hands."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def take(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), 20)

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 20)

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()


@dataclass
class Session:
    client: End
    enclave: End
    relaying: asyncio.Task[None]
    traffic: Traffic = field(default_factory=Traffic)

    async def over(self) -> None:
        await asyncio.wait_for(self.relaying, 20)


@contextlib.asynccontextmanager
async def relaying() -> AsyncIterator[Relay]:
    relay = Relay(BUFFER)
    relay.start()
    try:
        yield relay
    finally:
        relay.close()


@contextlib.asynccontextmanager
async def session(relay: Relay) -> AsyncIterator[Session]:
    """A session whose enclave has taken what it began with."""
    accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Future()
    listener = await asyncio.start_server(lambda *streams: accepted.set_result(streams), "127.0.0.1")
    client = End(*await asyncio.open_connection(*listener.sockets[0].getsockname(), limit=BUFFER))
    streams = await accepted
    ours, theirs = socket.socketpair()
    enclave = End(*await asyncio.open_connection(sock=theirs, limit=BUFFER))
    traffic = Traffic()

    async def until_its_end() -> None:
        try:
            await relay.relay(streams, ours, FIRST, traffic)
        finally:
            streams[1].close()

    task = asyncio.create_task(until_its_end())
    try:
        assert await enclave.take(len(FIRST)) == FIRST
        yield Session(client, enclave, task, traffic)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        client.writer.close()
        enclave.writer.close()
        listener.close()


async def send_in_pieces(end: End, data: bytes, seed: int) -> None:
    sizes, at = random.Random(seed), 0
    while at < len(data):
        size = sizes.choice([1, 100, 4000, BUFFER, 300_000])
        await end.send(data[at : at + size])
        at += size


async def fill(end: End, data: bytes) -> asyncio.Task[None]:
    """Send until nobody in between takes any more; the task goes on when somebody does."""
    task = asyncio.create_task(end.send(data))
    transport, before = end.writer.transport, -1
    while before != (before := transport.get_write_buffer_size()):
        await asyncio.sleep(0.3)
    return task


def test_large_transfers_arrive_as_they_were_and_are_counted() -> None:
    async def main() -> None:
        up, down = os.urandom(6_000_001), os.urandom(5_000_003)
        async with relaying() as relay, session(relay) as one:
            sending = [
                asyncio.create_task(send_in_pieces(one.client, up, 1)),
                asyncio.create_task(send_in_pieces(one.enclave, down, 2)),
            ]
            got = await asyncio.gather(one.enclave.take(len(up)), one.client.take(len(down)))
            await asyncio.gather(*sending)
            assert list(got) == [up, down]
            assert one.traffic.relayed == {"up": len(FIRST + up), "down": len(down)}

    run(main())


def test_counters_are_fresh_while_the_session_lasts() -> None:
    async def main() -> None:
        async with relaying() as relay, session(relay) as one:
            before = one.traffic.last
            for passed in range(1, 50):
                await one.client.send(b"ab")
                assert await one.enclave.take(2) == b"ab"
                await one.enclave.send(b"c")
                assert await one.client.take(1) == b"c"
                # The relay counts after it has sent, and the other end may be faster.
                await until_counted(one.traffic, {"up": len(FIRST) + 2 * passed, "down": passed})
            assert one.traffic.last > before

    run(main())


async def until_counted(traffic: Traffic, counts: dict[str, int]) -> None:
    while traffic.relayed != counts:
        await asyncio.sleep(0)


def test_many_sessions_at_once() -> None:
    async def talk(relay: Relay, number: int) -> None:
        data = bytes([number]) * (1000 + 70_000 * (number % 3))
        async with session(relay) as one:
            for _ in range(20):
                sending = asyncio.create_task(one.client.send(data))
                assert await one.enclave.take(len(data)) == data
                await sending
                sending = asyncio.create_task(one.enclave.send(data))
                assert await one.client.take(len(data)) == data
                await sending

    async def main() -> None:
        async with relaying() as relay:
            # More than are asked for at a time, each with two descriptors; the second lot has the same ones.
            for lot in range(2):
                await asyncio.gather(*(talk(relay, number) for number in range(lot, 100 + lot)))

    run(main())


@pytest.mark.parametrize("slow", ["client", "enclave"])
def test_slow_reader_holds_back_its_own_sender_alone(slow: str) -> None:
    async def main() -> None:
        data = os.urandom(64 << 20)
        async with relaying() as relay, session(relay) as one, session(relay) as other:
            reading, sending = (one.client, one.enclave) if slow == "client" else (one.enclave, one.client)
            task = await fill(sending, data)
            assert not task.done(), "nobody in between collects what is not taken"
            await reading.send(b"the other way")
            assert await sending.take(13) == b"the other way"
            await other.client.send(b"somebody else")
            assert await other.enclave.take(13) == b"somebody else"
            assert await reading.take(len(data)) == data
            await task

    run(main())


def test_end_of_the_clients_stream_is_passed_on_and_answered() -> None:
    async def main() -> None:
        async with relaying() as relay, session(relay) as one:
            await one.client.send(b"last")
            one.client.writer.write_eof()
            assert await one.enclave.rest() == b"last"
            await one.enclave.send(b"answer")
            assert await one.client.take(6) == b"answer"
            one.enclave.writer.close()
            assert await one.client.rest() == b""
            await one.over()

    run(main())


def test_end_of_the_enclaves_stream_is_passed_on_after_what_came_before() -> None:
    async def main() -> None:
        data = os.urandom(64 << 20)
        async with relaying() as relay, session(relay) as one:
            task = await fill(one.enclave, data)
            one.enclave.writer.write_eof()
            assert await one.client.rest() == data
            await task
            await one.over()

    run(main())


def test_bytes_and_end_at_once() -> None:
    async def main() -> None:
        async with relaying() as relay:
            for _ in range(50):
                async with session(relay) as one:
                    one.enclave.writer.write(b"bye")
                    one.enclave.writer.close()
                    assert await one.client.rest() == b"bye"
                    await one.over()

    run(main())


@pytest.mark.parametrize("full", [False, True])
def test_client_that_breaks(full: bool) -> None:
    async def main() -> None:
        async with relaying() as relay, session(relay) as one:
            task = await fill(one.enclave, bytes((64 << 20) if full else 1))
            one.client.reset()
            with contextlib.suppress(ConnectionError):
                await task
                assert await one.enclave.rest() == b""
            one.enclave.writer.close()
            await one.over()

    run(main())


@pytest.mark.parametrize("full", [False, True])
def test_enclave_that_breaks(full: bool) -> None:
    async def main() -> None:
        async with relaying() as relay, session(relay) as one:
            task = await fill(one.client, bytes((64 << 20) if full else 1))
            # What it has not read breaks the connection.
            one.enclave.writer.transport.abort()
            await one.over()
            with contextlib.suppress(ConnectionError):
                await task
                assert await one.client.rest() == b""

    run(main())


def test_one_that_breaks_costs_nobody_else() -> None:
    async def main() -> None:
        async with relaying() as relay, session(relay) as lasting:
            for number in range(50):
                async with session(relay) as one:
                    message = b"%d" % number
                    await lasting.client.send(message)
                    await one.client.send(b"to somebody who is gone")
                    (one.client.reset if number % 2 else one.enclave.writer.transport.abort)()
                    await lasting.enclave.send(message)
                    assert await lasting.enclave.take(len(message)) == message
                    assert await lasting.client.take(len(message)) == message

    run(main())


def test_relay_that_closes_ends_its_sessions() -> None:
    async def main() -> None:
        async with relaying() as relay, session(relay) as one:
            relay.close()
            await one.over()
            assert await one.client.rest() == b""

    run(main())


def test_it_may_stop_before_it_is_woken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    running = relay.Relay(1024)
    running.start()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "relay")
    wake = os.eventfd_write

    def wake_late(descriptor: int, value: int) -> None:
        # As if it was awake when the order came: it has obeyed before it is woken.
        wake(descriptor, value)
        thread.join(20)
        wake(descriptor, value)

    monkeypatch.setattr(os, "eventfd_write", wake_late)
    running.close()
    assert not thread.is_alive()


def test_it_sleeps_when_nothing_comes() -> None:
    async def main() -> None:
        async with relaying() as relay, session(relay) as one:
            (thread,) = (thread for thread in threading.enumerate() if thread.name == "relay")
            state = Path(f"/proc/self/task/{thread.native_id}/stat")
            await one.client.send(b"x")
            await one.enclave.take(1)
            asleep = 0
            while asleep < 50:
                await asyncio.sleep(0.001)
                asleep = asleep + 1 if state.read_text().rpartition(")")[2].split()[0] == "S" else 0

    run(main())


class TestPump:
    """The extension refuses what it could do harm with."""

    @pytest.fixture(autouse=True)
    def needs_the_extension(self) -> None:
        if relay.pump_unavailable_because:
            pytest.skip(relay.pump_unavailable_because)

    @pytest.mark.parametrize("buffer", [b"read-only", bytearray(), memoryview(bytearray(8))[::2]])
    def test_buffer(self, buffer: memoryview) -> None:
        from wasm_host._pump import Pump

        with pytest.raises(ValueError, match="buffer"):
            Pump(0, buffer)

    @pytest.mark.parametrize(
        ("source", "target", "counts", "direction"),
        [
            (-1, 1, array("Q", [0] * 3), 0),
            (1, -1, array("Q", [0] * 3), 0),
            (0, 1, array("Q", [0] * 2), 0),
            (0, 1, array("d", [0] * 3), 0),
            (0, 1, array("Q", [0] * 3), 2),
            (0, 1, array("Q", [0] * 3), -1),
        ],
    )
    def test_ways(self, source: int, target: int, counts: array[int], direction: int) -> None:
        from wasm_host._pump import Pump

        with pytest.raises(ValueError, match=r"closed socket|counters"):
            Pump(0, memoryview(bytearray(8))).pass_on(source, target, counts, direction)

    def test_no_epoll(self) -> None:
        from wasm_host._pump import Pump

        with pytest.raises(OSError, match="Bad file descriptor"):
            Pump(-1, memoryview(bytearray(8))).poll()
