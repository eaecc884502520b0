"""Tasks of this process in place of enclaves, for tests of the host alone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from schannel.framing import MAGIC, encode_record
from wasm_host.limits import ServerLimits
from wasm_host.metrics import Metrics
from wasm_host.monitor import Device, Enclave, Identity, Stop, end_with
from wasm_host.server import Server
from wasm_host.storage import SealedStore, StoreLimits

HELLO = MAGIC + bytes(4) + encode_record(b"key")
"""What a client begins with; before it, the host starts no enclave."""

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


class FakeMonitor:
    """Gives enclaves that are tasks of this process; counts what the server asks for."""

    device = Device.SIMULATED
    failed: asyncio.Future[None]
    ailment = ""

    def __init__(self, behaviour: Behaviour = echo) -> None:
        self._behaviour = behaviour
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.stopped: list[int] = []
        self.reasons: list[Stop] = []
        self.killed: list[int] = []
        self.broken: Exception | None = None
        self.hanging = asyncio.Event()

    async def ready(self) -> Identity:
        return Identity("")

    async def start_enclave(self) -> Enclave:
        if self.broken:
            raise self.broken
        while self.hanging.is_set():
            await asyncio.sleep(0.01)
        ours, theirs = socket.socketpair()
        number = len(self.tasks) + 1
        enclave = Enclave(number, f"process {1000 + number}", ours, socket.socketpair()[0], lambda: 0)
        self.tasks[number] = asyncio.create_task(self._run(enclave, theirs))
        return enclave

    async def _run(self, enclave: Enclave, channel: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=channel)
        try:
            await self._behaviour(reader, writer)
        finally:
            writer.close()
            if not enclave.ended.done():
                enclave.ended.set_result(end_with(0))

    def stop_enclave(self, enclave: Enclave, why: Stop) -> None:
        self.stopped.append(enclave.number)
        self.reasons.append(why)
        self.tasks[enclave.number].cancel()

    def kill_enclave(self, enclave: Enclave) -> None:
        self.killed.append(enclave.number)
        self.tasks[enclave.number].cancel()

    async def close(self) -> None:
        for task in self.tasks.values():
            task.cancel()


@asynccontextmanager
async def serving(monitor: FakeMonitor, limits: ServerLimits | None = None) -> AsyncIterator[tuple[str, int]]:
    async with running_server(monitor, limits) as (_, address, _):
        yield address


@asynccontextmanager
async def running_server(
    monitor: FakeMonitor, limits: ServerLimits | None = None
) -> AsyncIterator[tuple[Server, tuple[str, int], Metrics]]:
    listener = socket.create_server(("127.0.0.1", 0))
    metrics = Metrics()
    server = Server(
        monitor,
        SealedStore(Path("/nonexistent"), StoreLimits()),
        limits or ServerLimits(pool=0),
        metrics,
    )
    await server.listen(listener)
    try:
        yield server, listener.getsockname(), metrics
    finally:
        await asyncio.wait_for(server.close(), 20)


async def exchange(address: tuple[str, int], data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(HELLO + data)
    try:
        received = await asyncio.wait_for(reader.readexactly(len(HELLO + data)), 20)
    except asyncio.IncompleteReadError as error:
        received = error.partial
    # Only now: a client that ends its direction while it waits has left.
    if not reader.at_eof():
        writer.write_eof()
        received += await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return received


def run(main: Awaitable[None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(main, 60)

    asyncio.run(limited())
