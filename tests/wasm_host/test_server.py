"""The host's accepting and relaying, with echoing threads in place of enclaves."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schannel.endings import Ending
from schannel.extensions import STALE
from schannel.framing import Refusal, encode_refusal
from tests import tampered
from tests.processes import ROOT, environment
from tests.wasm_host.fakes import HELLO, FakeMonitor, exchange, run, serving
from wasm_host import relay
from wasm_host.limits import ServerLimits
from wasm_host.monitor import End, MonitorError
from wasm_host.simulated import end_of

BUSY, STOPPING = encode_refusal(Refusal.BUSY), encode_refusal(Refusal.STOPPING)


@pytest.mark.usefixtures("either_relay")
def test_relays_both_ways() -> None:
    async def main() -> None:
        data = os.urandom(3 << 20)
        async with serving(FakeMonitor()) as address:
            assert await exchange(address, data) == HELLO + data

    run(main())


@pytest.mark.usefixtures("either_relay")
def test_slow_reader_holds_the_sender_back() -> None:
    sent = 0

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < 1 << 30:
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    async def main() -> None:
        async with serving(FakeMonitor(flood), ServerLimits(pool=0, grace=0.2)) as address:
            reader, writer = await asyncio.open_connection(*address, limit=1 << 16)
            writer.write(HELLO)
            await reader.read(1)
            previous = -1
            while previous != sent:
                previous = sent
                await asyncio.sleep(0.3)
            assert sent < 64 << 20, "nobody in between collects what the client does not take"
            writer.close()

    run(main())


@pytest.mark.usefixtures("either_relay")
def test_enclave_that_hangs_up_while_its_client_sends() -> None:
    async def curt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(HELLO)))

    async def main() -> None:
        async with serving(FakeMonitor(curt), ServerLimits(pool=0, enclaves=1)) as address:
            for _ in range(2):
                reader, writer = await asyncio.open_connection(*address)
                writer.write(HELLO)
                assert await reader.readexactly(len(HELLO)) == HELLO
                with contextlib.suppress(ConnectionError):
                    while not reader.at_eof():
                        writer.write(bytes(1 << 16))
                        await writer.drain()
                writer.close()

    run(main())


def test_one_more_waits_and_is_served() -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        async with serving(monitor, ServerLimits(pool=0, enclaves=1, wait=20)) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(HELLO)
            assert await reader.readexactly(len(HELLO)) == HELLO
            second = asyncio.create_task(exchange(address, b"second"))
            await asyncio.sleep(0.2)
            assert len(monitor.tasks) == 1 and not second.done()
            writer.close()
            assert await second == HELLO + b"second"

    run(main())


@pytest.mark.parametrize(
    "limits", [ServerLimits(1, wait=0.1, pool=0), ServerLimits(1, waiting=0, wait=20, pool=0)]
)
def test_no_enclave_free(limits: ServerLimits) -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        async with serving(monitor, limits) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(HELLO)
            assert await reader.readexactly(len(HELLO)) == HELLO
            assert await exchange(address, b"second") == BUSY
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
        async with serving(monitor, ServerLimits(pool=0, enclaves=1, grace=0.1)) as address:
            assert await exchange(address, b"") == b""
            assert await exchange(address, b"") == b"", "the place is free again"
            await asyncio.sleep(0.3)
            assert monitor.killed == [1, 2]

    run(main())


def test_close_ends_those_that_serve_and_those_that_wait() -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        async with serving(monitor, ServerLimits(pool=0, enclaves=1, wait=60)) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(HELLO)
            await reader.readexactly(len(HELLO))
            waiting = asyncio.create_task(exchange(address, b"second"))
            await asyncio.sleep(0.1)
        assert monitor.stopped == [1]
        assert await reader.read() == b""
        assert await waiting == STOPPING
        writer.close()

    run(main())


def test_monitor_that_is_gone_costs_a_connection() -> None:
    async def main() -> None:
        monitor = FakeMonitor()
        monitor.broken = MonitorError("gone")
        async with serving(monitor) as address:
            assert await exchange(address, b"x") == b""
            monitor.broken = None
            assert await exchange(address, b"x") == HELLO + b"x"

    run(main())


def test_only_failures_of_enclaves_count_as_failures() -> None:
    ends = {ending: end_of(ending << 8) for ending in Ending}
    assert {ending: end.how for ending, end in ends.items()} == {
        Ending.DONE: "done",
        Ending.FAILED: "failed",
        Ending.LEFT: "left",
        Ending.REFUSED: "refused",
        Ending.SILENT: "silent",
        Ending.BROKEN: "broken",
    }
    assert all(end.shown == ending.shown for ending, end in ends.items())
    assert end_of(99 << 8) == End("failed", "the enclave failed with status 99")
    assert end_of(signal.SIGKILL) == End("failed", "the enclave was ended by SIGKILL")


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
    assert ours == {
        "schannel",
        *(
            f"schannel.{name}"
            for name in (
                "command_line",
                "control",
                "edge",
                "framing",
                "storage",
                "structs",
                "errors",
                "endings",
                "extensions",
                "extra",
                "keystone_files",
                "packages",
                "regular_files",
                "release",
                "whole_files",
            )
        ),
    }
    assert not {name for name in loaded if name.partition(".")[0] in ("Crypto", "cryptography")}


def test_extension_that_was_built_is_used() -> None:
    if importlib.util.find_spec("wasm_host._pump") is None:
        pytest.skip("the extension was not built")
    assert relay.pump_unavailable_because == ""


def test_extension_of_other_sources_is_not_used(tmp_path: Path) -> None:
    if importlib.util.find_spec("wasm_host._pump") is None:
        pytest.skip("the extension was not built")
    tampered.package("host/wasm_host", tmp_path, "_pump.pyx")
    code = "from wasm_host import relay; print(relay.pump_unavailable_because); relay.Relay(1)"
    done = tampered.run(code, tmp_path)
    assert (done.stdout, done.stderr) == (f"{STALE}\n", "")
