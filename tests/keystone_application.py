"""Sessions with `wasm-rt`, the application for Keystone, without Keystone: `make wasm-rt` builds it.

`python -m tests.keystone_application FILE PROGRAM FUNCTION ARGUMENT...` calls a function, with integers, in
an enclave that is the file of that name in `build/keystone`: `wasm-rt-native` or `wasm-rt-emulated`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from schannel.handshake import identity_key
from schannel.measurement import measure
from schannel.policy import Policy
from tests.keystone import APPLICATION, DEVICE_KEY, LOADER, MONITOR, RUNTIME, Machine
from tests.processes import ROOT
from wasm_client import connect
from wasm_host.keystone import KeystoneMonitor
from wasm_host.keystone_device import Image
from wasm_host.limits import ServerLimits
from wasm_host.metrics import Metrics
from wasm_host.server import Server
from wasm_host.storage import SealedStore, StoreLimits

BUILT = ROOT / "build" / "keystone"
IMAGE = Image(LOADER, RUNTIME, APPLICATION, 1 << 20)
POLICY = Policy(
    enclave_measurements=frozenset({measure(*IMAGE.files)}),
    monitor_measurements=frozenset({MONITOR.monitor_hash}),
    real_devices=frozenset({DEVICE_KEY.public}),
)
KEY = identity_key(b"\7" * 32)


def built(name: str) -> str:
    """A file of `make wasm-rt`'s."""
    if not (BUILT / name).exists():
        pytest.skip(f"build/keystone/{name} is not built: `make wasm-rt` does it, where the compilers are")
    return str(BUILT / name)


def emulator() -> str:
    """QEMU for programs of the application's processor."""
    found = shutil.which("qemu-riscv64-static") or shutil.which("qemu-riscv64")
    if found is None:
        pytest.skip("QEMU's user emulation of riscv64 is not installed")
    return found


@contextlib.asynccontextmanager
async def serving(command: list[str], folder: Path) -> AsyncIterator[tuple[str, Machine]]:
    """A host whose enclaves run that command: its address, and the double of the machine."""
    machine = Machine(command)
    monitor = KeystoneMonitor(IMAGE, b'{"max_call_depth": 1000}', 60.0, machine)
    listener = socket.create_server(("127.0.0.1", 0))
    store = SealedStore(folder / "sealed", StoreLimits())
    server = Server(monitor, store, ServerLimits(pool=0, grace=10.0), Metrics())
    await server.listen(listener)
    try:
        yield "{}:{}".format(*listener.getsockname()), machine
    finally:
        await asyncio.wait_for(server.close(), 30)
        await asyncio.wait_for(monitor.close(), 30)
    machine.assert_clean()


def run(command: list[str], folder: Path, *clients: Callable[[str], Any]) -> None:
    """Have clients, one after the other, use a host whose enclaves run that command."""

    async def main() -> None:
        async with serving(command, folder) as (address, _):
            for client in clients:
                await asyncio.to_thread(client, address)

    asyncio.run(main())


def main(name: str, program: str, function: str, *arguments: str) -> None:
    """Print what a function returns."""

    def client(address: str) -> None:
        with connect(address, POLICY) as session:
            session.deploy(Path(program).read_bytes())
            print(session.call(function, *map(int, arguments)))

    try:
        command = [emulator()] if name.endswith("-emulated") else []
        with tempfile.TemporaryDirectory() as folder:
            run([*command, built(name)], Path(folder), client)
    except pytest.skip.Exception as missing:
        sys.exit(str(missing))


if __name__ == "__main__":
    main(*sys.argv[1:])
