"""A host whose enclaves run on a double of Keystone's machine, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from schannel.measurement import measure
from schannel.policy import Policy
from tests.keystone import APPLICATION, DEVICE_KEY, LOADER, MONITOR, RUNTIME, Machine
from tests.processes import ROOT
from wasm_host.keystone import KeystoneMonitor
from wasm_host.keystone_device import PAGE, Image, Request
from wasm_host.limits import ServerLimits
from wasm_host.metrics import Metrics
from wasm_host.server import Server
from wasm_host.storage import SealedStore, StoreLimits

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


def slow_to_measure(machine: Machine) -> threading.Event:
    """Have its monitor measure no enclave from now on until the event is set."""
    going_on, ioctl = threading.Event(), machine.ioctl

    def slow(descriptor: int, request: int, argument: bytearray) -> None:
        if request == Request.FINALIZE:
            going_on.wait(60)
        ioctl(descriptor, request, argument)

    machine.ioctl = slow  # type: ignore[method-assign]
    return going_on


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


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)
