"""Each limit of a session, on a real host: who hits it is told which, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from schannel.endings import Ending
from schannel.measurement import canonical_archive, installed_image
from schannel.messages import ErrorCode
from tests.processes import Host, environment, host, signal_process, wait_until
from wasm_client import ClientError, ConnectionLost, RequestFailed, Session, connect, connect_async
from wasm_client.keys import generate_key
from wasm_rt.loader import unpacked

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes"),
]

PROGRAM = b"""(module
  (memory 1)
  (func (export "one") (result i32) i32.const 1)
  (func (export "spin") (loop br 0))
  (func (export "fill") (param $pages i32)
    (drop (memory.grow (local.get $pages)))
    (memory.fill (i32.const 0) (i32.const 1) (i32.mul (local.get $pages) (i32.const 65536)))))"""


LARGE = bytes(400 << 20)
SENT = LARGE[: 250 << 20]


def deployed(running: Host) -> Session:
    session = connect(running.address, running.policy)
    session.deploy(PROGRAM)
    return session


def lost(session: Session, message: str) -> None:
    """The session is over, and says why, the first time and later."""
    for _ in range(2):
        with pytest.raises(ConnectionLost, match=message):
            session.call("one")
    session.abort()


def answers(session: Session) -> bool:
    """Whether the session goes on."""
    try:
        return session.call("one") == 1
    except ConnectionLost:
        return False


def test_time_of_a_session(tmp_path: Path) -> None:
    with host(tmp_path, "--max-session", "5") as running:
        session = deployed(running)
        over = "the time that the host gives a session is over"
        with pytest.raises(RequestFailed, match=f"interrupted: {over}") as caught:
            session.call("spin")
        assert caught.value.code is ErrorCode.INTERRUPTED
        lost(session, f"the enclave closed the session: {over}")
        running.wait_for_log("it has lasted for as long as sessions may")
        assert deployed(running).call("one") == 1


def test_idle_session(tmp_path: Path) -> None:
    with host(tmp_path, "--max-idle", "2.5") as running:
        session = deployed(running)
        running.wait_for_log(Ending.DONE.shown)
        time.sleep(0.5)
        lost(session, "the enclave closed the session: nothing had passed for too long")


def test_idle_asynchronous_session(tmp_path: Path) -> None:
    async def main(running: Host) -> None:
        session = await connect_async(running.address, running.policy)
        await session.deploy(PROGRAM)
        await asyncio.sleep(4)
        for _ in range(2):
            with pytest.raises(ConnectionLost, match="nothing had passed for too long"):
                await session.call("one")

    with host(tmp_path, "--max-idle", "2.5") as running:
        asyncio.run(asyncio.wait_for(main(running), 60))


def test_memory_of_all_sessions(tmp_path: Path) -> None:
    with host(tmp_path, "--max-memory", "600") as running:
        small, large = deployed(running), deployed(running)
        small.call("fill", 100)
        # The host may notice before it is done.
        with contextlib.suppress(RequestFailed):
            large.call("fill", 9000)
        running.wait_for_log("with the most of it")
        # The log says that it has to end; until it hears of that, its calls are answered.
        wait_until(lambda: not answers(large), 20, "the end of the session")
        lost(large, "the host's memory is used up, and this session had the most of it")
        assert small.call("one") == 1
        small.close()


# What an enclave does that was taken over: it ignores being asked to end, and takes all that it can get.
_GREEDY = b"""
        import signal, time
        for asked in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(asked, signal.SIG_IGN)
        taken = []
        while True:
            taken.append(b"x" * (4 << 20))
            time.sleep(0.02)
"""


def test_enclave_that_takes_memory_and_does_not_end(tmp_path: Path) -> None:
    image = installed_image()
    entries = unpacked(image.application)
    begin = b"        self._session = session\n"
    assert begin in entries["wasm_rt/application.py"]
    entries["wasm_rt/application.py"] = entries["wasm_rt/application.py"].replace(begin, begin + _GREEDY)
    changed = image._replace(application=canonical_archive(entries))
    path = tmp_path / "application"
    path.write_bytes(changed.application)
    with host(tmp_path / "state", "--max-memory", "400", "-e", str(path)) as running:
        policy = replace(running.policy, enclave_measurements=frozenset({changed.measurement()}))
        with pytest.raises(ClientError):
            connect(running.address, policy, timeout=30)
        log = running.wait_for_log("the enclave was ended by SIGKILL")
        assert "with the most of it" in log
        assert "was asked to end, and has grown since" in log


def test_host_that_stops(tmp_path: Path) -> None:
    with host(tmp_path, "--max-drain", "0") as running:
        session = deployed(running)
        signal_process(running.process.pid, signal.SIGTERM)
        running.process.wait(20)
        time.sleep(0.5)
        lost(session, "the enclave closed the session: the host is shutting down")


@pytest.mark.parametrize(
    ("setting", "exceed", "code", "message"),
    [
        ("max_message = 100000", lambda s: s.deploy(bytes(200_000)), ErrorCode.TOO_LARGE, "100000 bytes"),
        ("max_call_ms = 200", lambda s: s.call("spin"), ErrorCode.INTERRUPTED, "the time limit was reached"),
        ("max_fuel = 1000000", lambda s: s.call("spin"), ErrorCode.OUT_OF_FUEL, "fuel"),
        ("max_memory_pages = 10", lambda s: s.call("fill", 100), ErrorCode.TRAP, "out of bounds"),
        ("data_limit = 300000000", lambda s: s.put("f", LARGE), ErrorCode.LIMIT_EXCEEDED, "memory"),
        ("data_limit = 300000000", lambda s: s.deploy(SENT), ErrorCode.LIMIT_EXCEEDED, "memory"),
        ("max_file_bytes = 10000", lambda s: s.put("f", bytes(20_000)), ErrorCode.LIMIT_EXCEEDED, "full"),
        ("max_modules = 1", lambda s: s.deploy(PROGRAM, "b"), ErrorCode.LIMIT_EXCEEDED, "at most 1 modules"),
    ],
)  # fmt: skip
def test_limits_of_a_client(
    tmp_path: Path, setting: str, exceed: Callable[[Session], object], code: ErrorCode, message: str
) -> None:
    configuration = tmp_path / "configuration.toml"
    configuration.write_text(setting)
    options = ("--configuration", str(configuration))
    with host(tmp_path / "state", *options) as running, deployed(running) as session:
        with pytest.raises(RequestFailed, match=message) as caught:
            exceed(session)
        assert caught.value.code is code
        assert session.call("one") == 1, "the session goes on"


def test_program_above_the_limit_is_refused_while_it_is_sent(tmp_path: Path) -> None:
    configuration = tmp_path / "configuration.toml"
    configuration.write_text("max_message = 100000")
    program = tmp_path / "large.wasm"
    with program.open("wb") as file:
        file.truncate(50 << 20)
    with host(tmp_path / "state", "--configuration", str(configuration)) as running:
        done = subprocess.run(
            [sys.executable, "-m", "wasm_client", "-c", running.address, "--allow-simulation", "-p", program],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            env=environment(running.state),
        )  # fmt: skip
    assert done.returncode == 1
    assert re.search(rf"^wasm-client: {program}: .*100000 bytes", done.stderr, re.M), done.stderr


def test_fuel_of_a_session(tmp_path: Path) -> None:
    configuration = tmp_path / "configuration.toml"
    configuration.write_text("max_session_fuel = 1000000\n")
    with host(tmp_path / "state", "--configuration", str(configuration)) as running:
        with deployed(running) as session:
            with pytest.raises(RequestFailed, match="fuel") as caught:
                session.call("spin", fuel=1000)
            assert "this session" not in str(caught.value)
            with pytest.raises(RequestFailed, match="this session has used all that it may"):
                session.call("spin")
            begun = time.monotonic()
            with pytest.raises(RequestFailed, match="this session has used"):
                while time.monotonic() < begun + 20:
                    session.call("one")
        with deployed(running) as session:
            assert session.call("one") == 1, "the next client has its own"


HOARD = b"""(module
  (type $bytes (array (mut i8)))
  (type $node (struct (field (ref null $node)) (field (ref $bytes))))
  (global $all (mut (ref null $node)) (ref.null $node))
  (func (export "hoard") (param $size i32)
    (loop
      (global.set $all (struct.new $node
        (global.get $all) (array.new_default $bytes (local.get $size))))
      (br 0)))
  (func (export "free") (global.set $all (ref.null $node))))"""


@pytest.mark.parametrize("size", [4096, 1 << 20])
def test_memory_that_a_program_keeps(tmp_path: Path, size: int) -> None:
    """A program that keeps all that it can have does not end the session, and can be made to let go."""
    (tmp_path / "limits").write_text("data_limit = 300_000_000\n")
    with host(tmp_path, "--configuration", str(tmp_path / "limits")) as running:
        session = connect(running.address, running.policy)
        session.deploy(HOARD)
        for times in (2, 10):
            for number in range(times):
                with pytest.raises(RequestFailed):
                    session.call("hoard", size)
                # What files free it takes as well, if it is let again and again.
                with contextlib.suppress(*[RequestFailed] if number > 1 else []):
                    assert session.put("file", bytes(1 << 20)) == 1 << 20
            if times == 2:
                session.call("free")
        session.close()
        assert Ending.FAILED.shown not in running.wait_for_log(Ending.DONE.shown)


LARGE_COMMAND = b"""(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (memory (export "memory") 1600)
  (func (export "_start")
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 104857600))
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (if (i32.gt_u (i32.load (i32.const 0)) (i32.const 1)) (then unreachable))))"""
GREEDY = b"""(module
  (memory (export "memory") 1)
  (func (export "grow") (loop (br_if 0 (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))))))"""


def test_memory_of_programs_that_are_gone(tmp_path: Path) -> None:
    """What has ended or was replaced takes nothing from what comes; there is room for one at a time."""
    (tmp_path / "limits").write_text("data_limit = 300_000_000\n")
    key = generate_key(tmp_path / "key")
    with host(tmp_path, "--configuration", str(tmp_path / "limits")) as running:
        with connect(running.address, running.policy, key=key) as session:
            session.deploy(LARGE_COMMAND, "command")
            for _ in range(3):
                assert session.run(module="command").exit_code == 0
                with pytest.raises(RequestFailed, match="unreachable"):
                    session.run(["trap"], module="command")
            session.seal(LARGE_COMMAND, "kept")
            for _ in range(2):
                session.deploy(GREEDY)
                session.call("grow")
                session.deploy(PROGRAM)
                assert session.put("file", bytes(1 << 20)) == 1 << 20
                session.restore("kept", "command")
                assert session.run(module="command").exit_code == 0
            assert session.call("one") == 1

        async def main() -> None:
            async with await connect_async(running.address, running.policy) as asynchronous:
                await asynchronous.deploy(LARGE_COMMAND)
                for _ in range(3):
                    assert (await asynchronous.run()).exit_code == 0

        asyncio.run(asyncio.wait_for(main(), 120))


def test_files_leave_no_holes(tmp_path: Path) -> None:
    """Files are in memory once, whatever an enclave, or what it was forked from, freed before."""
    content = bytes(range(256)) * (43 << 12)
    sizes = [7 << 20, 7 << 20, 7 << 20, len(content)]
    with host(tmp_path) as running:
        session = connect(running.address, running.policy)
        pid = int(re.findall(r"started, process (\d+)", running.log.read_text())[-1])
        before = _status(pid, "VmRSS")
        for number, size in enumerate(sizes):
            session.put(f"file{number}", content[:size])
        assert _status(pid, "VmHWM") - before <= sum(sizes) + (8 << 20)
        session.close()


def _status(pid: int, name: str) -> int:
    """A figure of proc(5), in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10
