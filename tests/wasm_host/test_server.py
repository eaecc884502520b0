"""The host's accepting and relaying, with echoing threads in place of enclaves."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from processes import ROOT, environment

from schannel.framing import REFUSAL
from wasm_host.monitor import Enclave, MonitorError, MonitorProcess
from wasm_host.server import Server, ServerLimits, describe_status
from wasm_host.storage import SealedStore

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


class FakeMonitor:
    """Gives enclaves that are tasks of this process; counts what the server asks for."""

    def __init__(self, behaviour: Behaviour = echo) -> None:
        self._behaviour = behaviour
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.stopped: list[int] = []
        self.killed: list[int] = []
        self.broken = False

    async def start_enclave(self) -> Enclave:
        if self.broken:
            raise MonitorError("the security monitor is gone")
        ours, theirs = socket.socketpair()
        number = len(self.tasks) + 1
        pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        pid.set_result(1000 + number)
        enclave = Enclave(number, ours, socket.socketpair()[0], pid)
        self.tasks[number] = asyncio.create_task(self._run(enclave, theirs))
        return enclave

    async def _run(self, enclave: Enclave, channel: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=channel)
        try:
            await self._behaviour(reader, writer)
        finally:
            writer.close()
            if not enclave.ended.done():
                enclave.ended.set_result(0)

    def stop_enclave(self, enclave: Enclave) -> None:
        self.stopped.append(enclave.number)
        self.tasks[enclave.number].cancel()

    def kill_enclave(self, enclave: Enclave) -> None:
        self.killed.append(enclave.number)
        self.tasks[enclave.number].cancel()


@asynccontextmanager
async def serving(monitor: FakeMonitor, limits: ServerLimits | None = None) -> AsyncIterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(cast(MonitorProcess, monitor), SealedStore(Path("/nonexistent")), limits)
    await server.listen(listener)
    try:
        yield listener.getsockname()
    finally:
        await asyncio.wait_for(server.close(), 20)


async def exchange(address: tuple[str, int], data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    writer.write_eof()
    received = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return received


def run(main: Awaitable[None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(main, 60)

    asyncio.run(limited())


def test_relays_both_ways() -> None:
    async def main() -> None:
        data = os.urandom(3 << 20)
        async with serving(FakeMonitor()) as address:
            assert await exchange(address, data) == data

    run(main())


def test_slow_reader_holds_the_sender_back() -> None:
    sent = 0

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < 1 << 30:
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    async def main() -> None:
        async with serving(FakeMonitor(flood), ServerLimits(grace=0.2)) as address:
            reader, writer = await asyncio.open_connection(*address, limit=1 << 16)
            await reader.read(1)
            previous = -1
            while previous != sent:
                previous = sent
                await asyncio.sleep(0.3)
            assert sent < 64 << 20, "nobody in between collects what the client does not take"
            writer.close()

    run(main())


def test_one_more_waits_and_is_served() -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        async with serving(monitor, ServerLimits(enclaves=1, wait=20)) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"first")
            assert await reader.read(5) == b"first"
            second = asyncio.create_task(exchange(address, b"second"))
            await asyncio.sleep(0.2)
            assert len(monitor.tasks) == 1 and not second.done()
            writer.close()
            assert await second == b"second"

    run(main())


@pytest.mark.parametrize("limits", [ServerLimits(1, wait=0.1), ServerLimits(1, waiting=0, wait=20)])
def test_no_enclave_free(limits: ServerLimits) -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        async with serving(monitor, limits) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"first")
            assert await reader.read(5) == b"first"
            assert await exchange(address, b"second") == REFUSAL
            assert len(monitor.tasks) == 1
            writer.close()
            await writer.wait_closed()

    run(main())


def test_enclave_goes_on_without_its_client() -> None:
    async def deaf(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        await asyncio.sleep(60)

    async def main() -> None:
        monitor = FakeMonitor(deaf)
        async with serving(monitor, ServerLimits(enclaves=1, grace=0.1)) as address:
            assert await exchange(address, b"") == b""
            assert await exchange(address, b"") == b"", "the place is free again"
            await asyncio.sleep(0.3)
            assert monitor.killed == [1, 2]

    run(main())


def test_close_ends_those_that_serve_and_those_that_wait() -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        async with serving(monitor, ServerLimits(enclaves=1, wait=60)) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"x")
            await reader.read(1)
            waiting = asyncio.create_task(exchange(address, b"second"))
            await asyncio.sleep(0.1)
        assert monitor.stopped == [1]
        assert await reader.read() == b""
        assert await waiting == REFUSAL
        writer.close()

    run(main())


def test_monitor_that_is_gone_costs_a_connection() -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        monitor.broken = True
        async with serving(monitor) as address:
            assert await exchange(address, b"x") == b""
            monitor.broken = False
            assert await exchange(address, b"x") == b"x"

    run(main())


def test_describe_status() -> None:
    assert describe_status(0) == "ended with status 0"
    assert describe_status(1 << 8) == "ended with status 1"
    assert describe_status(signal.SIGKILL) == "was ended by SIGKILL"


def test_host_loads_neither_runtime_nor_cryptography(tmp_path: object) -> None:
    code = "import sys, wasm_host.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=environment(ROOT / "tests"),
    ).stdout.split()
    ours = {name for name in loaded if name.partition(".")[0] in ("tinywasm", "schannel", "wasm_rt")}
    assert ours == {"schannel", "schannel.framing", "schannel.storage", "schannel.errors"}
    assert not {name for name in loaded if name.partition(".")[0] in ("Crypto", "cryptography")}
