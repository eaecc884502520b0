"""The wasm-host command: its options and its errors."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from schannel.control import Missing, Prepared, Ready
from schannel.evidence import Isolation
from schannel.policy import Policy
from tests.processes import CALCULATOR, alive, descendants, environment, host, signal_process, wait_until
from wasm_client import CannotConnect, RequestFailed, connect
from wasm_host import cli
from wasm_host.monitor import EnclaveFiles, MonitorError
from wasm_host.server import Server
from wasm_host.simulated import SimulatedMonitor, policy_text

pytestmark = pytest.mark.slow

COUNTING = b"""(module (global $n (mut i32) (i32.const 0))
  (func (export "next") (result i32)
    (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))"""


def wasm_host(
    state: Path, *options: str, files: tuple[int, int] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command; `files` limits, softly and hard, how many it may have open."""
    return subprocess.run(
        [sys.executable, "-m", "wasm_host", *options],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(state),
        preexec_fn=files and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, files)),
    )


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for option, words in (("-V", "wasm-host "), ("-h", "measure")):
        with pytest.raises(SystemExit) as caught:
            cli.main([option])
        assert caught.value.code == 0
        assert words in capsys.readouterr().out


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", ":-1"])
def test_bad_address(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["-a", address])
    assert caught.value.code == 2
    assert "is not HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["-l", "-r", "-e", "--configuration"])
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/nowhere", "there is no file /nowhere"),
        ("/", "/ is a directory"),
        ("/dev/null", "/dev/null is not a regular file"),
        ("/dev/null/x", "there is no file /dev/null/x"),
        ("/" + 300 * "x", "x cannot be used: file name too long"),
    ],
)
def test_missing_file(option: str, path: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([option, path])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_policy_text_is_a_policy() -> None:
    missing = (Missing("landlock", "not offered"),)
    prepared = Prepared(b"\4" * 32, 1 << 30, ("seccomp", "rlimits"), missing)
    text = policy_text(Ready(b"\1" * 64, b"\2" * 64, b"\3" * 32, prepared))
    policy = Policy.from_toml(text)
    assert policy.enclave_measurements == {b"\1" * 64}
    assert policy.monitor_measurements == {b"\2" * 64}
    assert policy.simulated_devices == {b"\3" * 32}
    assert policy.configurations == frozenset({b"\4" * 32})
    assert policy.required_isolation.names() == ("rlimits", "seccomp")
    assert policy.allow_simulated
    assert "# not available on this machine: landlock (not offered)" in text


def test_port_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = wasm_host(tmp_path, "-a", f"127.0.0.1:{port}")
    assert done.returncode == cli.EXIT_ADDRESS_IN_USE
    assert done.stderr == f"wasm-host: cannot listen on 127.0.0.1:{port}: address already in use\n"


@pytest.mark.parametrize("place", ["state", "state/sealed"])
def test_state_folder_that_is_a_file(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).touch()
    done = wasm_host(tmp_path / "state", "-a", "127.0.0.1:0")
    assert done.returncode == cli.EXIT_FAILED
    assert done.stderr.startswith(f"wasm-host: cannot use {tmp_path / place}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("hard", "options"), [(24, ["measure"]), (400, []), (600, ["--max-connections=800"])]
)
def test_too_few_files_may_be_open(tmp_path: Path, hard: int, options: list[str]) -> None:
    """It is told at the start, not by failures under load."""
    done = wasm_host(tmp_path, "-a", "127.0.0.1:0", *options, files=(hard, hard))
    assert done.returncode == cli.EXIT_FAILED
    assert re.fullmatch(rf"wasm-host: \d+ files .* no more than {hard} may be .*\n", done.stderr)


def test_few_files_may_be_open_unless_one_asks(tmp_path: Path) -> None:
    done = wasm_host(tmp_path, "measure", files=(24, 256))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["no.invalid", "no..invalid"])
def test_address_that_is_nowhere(name: str, tmp_path: Path) -> None:
    done = wasm_host(tmp_path, "-a", f"{name}:1")
    assert done.returncode == cli.EXIT_FAILED
    assert done.stderr.startswith(f"wasm-host: cannot listen on {name}:1: ")
    assert done.stderr.count("\n") == 1


def test_files_of_something_else(tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    done = wasm_host(tmp_path, "measure", "-r", str(junk))
    assert done.returncode == cli.EXIT_FAILED
    assert done.stderr.startswith("wasm-host: the runtime file is not one that this release makes (")


@pytest.mark.parametrize(("option", "most"), [("-r", "1,073,741,824"), ("--configuration", "4,194,304")])
def test_files_that_are_too_large(option: str, most: str, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(10 << 30)
    done = wasm_host(tmp_path, "measure", option, str(huge))
    assert done.returncode == cli.EXIT_FAILED
    assert f"arger than {most} bytes" in done.stderr and done.stderr.count("\n") == 1


def test_host_ends_when_the_monitor_does(tmp_path: Path) -> None:
    with host(tmp_path) as started:
        below = descendants(started.process.pid)
        signal_process(min(below), signal.SIGKILL)
        assert started.process.wait(20) == cli.EXIT_FAILED
        wait_until(lambda: not descendants(started.process.pid), 10, "the end of every process")
        assert "wasm-host: the security monitor has ended" in started.log.read_text()


@pytest.mark.parametrize("option", ["--max-enclaves=-1", "--pool=many", "--max-idle=nan", "--max-drain=-1"])
def test_bad_limit(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([option])
    assert "is not a number" in capsys.readouterr().err


def test_check(tmp_path: Path) -> None:
    done = wasm_host(tmp_path, "--check")
    assert not done.stderr
    assert done.stdout.startswith("device: simulated\n")
    missing = [line for line in done.stdout.splitlines() if "MISSING" in line]
    assert done.returncode == (1 if missing else 0)
    shown = {line.split()[0] for line in done.stdout.splitlines()[2:-1]}
    assert shown == {layer.name.lower() for layer in Isolation if layer.name} - {"memory_locked"}
    assert not list(tmp_path.iterdir()), "a check leaves nothing behind"


def _get(address: str, path: str) -> str:
    with contextlib.closing(http.client.HTTPConnection(address, timeout=20)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def test_metrics_logs_and_draining(tmp_path: Path) -> None:
    options = ("--metrics", "127.0.0.1:0", "--log-format", "json", "--pool", "1", "--max-drain", "60")
    with host(tmp_path, *options) as started:
        assert started.process.stdout is not None
        shown = started.process.stdout.readline()
        address = shown.removeprefix("wasm-host: metrics at http://").partition("/")[0]
        wait_until(lambda: "wasm_host_pool_ready 1" in _get(address, "/metrics"), 20, "an enclave in waiting")
        with connect(started.address, started.policy) as session:
            session.deploy(CALCULATOR.read_bytes())
            signal_process(started.process.pid, signal.SIGTERM)
            wait_until(lambda: _get(address, "/healthz").startswith("stopping\n"), 20, "the end of accepting")
            assert session.call("add", 1, 1) == 2
            with pytest.raises(CannotConnect):
                connect(started.address, started.policy)
        assert started.process.wait(20) == 0
        wait_until(lambda: not descendants(started.process.pid), 10, "the end of every process")
        events = [json.loads(line) for line in started.log.read_text().splitlines()]
        assert [event["event"] for event in events if event["event"].startswith("session_")] == [
            "session_started",
            "session_ended",
        ]


def test_host_says_that_its_enclaves_are_simulated(tmp_path: Path) -> None:
    with host(tmp_path) as started:
        log = started.log.read_text()
    assert "wasm-host: device: simulated: enclaves protect nothing from the owner of this machine\n" in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with host(tmp_path, "--max-drain", "600") as started:
        session = connect(started.address, started.policy)
        signal_process(started.process.pid, signal.SIGTERM)
        time.sleep(0.3)
        assert started.process.poll() is None
        signal_process(started.process.pid, number)
        assert started.process.wait(10) == 0
        session.abort()


def test_no_state_passes_from_one_client_to_the_next(tmp_path: Path) -> None:
    with host(tmp_path, "--pool", "1") as started:
        for _ in range(3):
            with connect(started.address, started.policy) as session:
                with pytest.raises(RequestFailed, match="no module 'main' is deployed"):
                    session.call("next")
                session.deploy(COUNTING)
                assert session.call("next") == 1
        log = started.log.read_text()
        identities = re.findall(r"started, process (\d+)", log)
        assert len(set(identities)) == 3, "an enclave for each"


def test_monitor_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it without end, and it may go on later."""
    monkeypatch.setenv("TINYWASM_STATE_DIR", str(tmp_path))

    async def main() -> None:
        monitor = SimulatedMonitor.start(EnclaveFiles())
        try:
            await monitor.ready()
            signal_process(monitor.pid, signal.SIGSTOP)
            with monkeypatch.context() as patched:
                patched.setattr("wasm_host.simulated._ENCLAVE_TIMEOUT", 0.1)
                with pytest.raises(MonitorError, match="hangs"):
                    await asyncio.wait_for(monitor.start_enclave(), 20)
            signal_process(monitor.pid, signal.SIGCONT)
            enclave = await monitor.start_enclave()
            assert enclave.number == 2
            # Zygote and this one: the first finds that nobody is there, and ends.
            while len(descendants(monitor.pid)) > 2:
                await asyncio.sleep(0.02)
            monitor.kill_enclave(enclave)
            assert (await asyncio.wait_for(enclave.ended, 20)).shown.endswith("SIGKILL")
            enclave.hang_up()
        finally:
            await monitor.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_start_that_takes_too_long(tmp_path: Path) -> None:
    """It can be given more time, and that is said; nothing is left behind."""
    for options, words in ((["measure"], "did not start in"), (["--check"], "could not be tried in")):
        done = wasm_host(tmp_path, *options, "--max-start", "0.01")
        assert done.returncode == cli.EXIT_FAILED
        assert f"{words} 0.01 seconds: on a slow machine, let it have more (--max-start)" in done.stderr
        assert done.stderr.count("\n") == 1


def test_monitor_that_says_what_is_no_message(tmp_path: Path) -> None:
    async def main(said: bytes) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process, theirs:
            monitor = SimulatedMonitor(process, ours, 20.0)
            theirs.send(said)
            with pytest.raises(MonitorError, match=r"what the security monitor says is (not|malformed)"):
                await monitor.ready()
            process.communicate()
            await monitor.close()

    for said in (b"\xff", b"\5junk", b"{}"):
        asyncio.run(asyncio.wait_for(main(said), 60))


@pytest.mark.parametrize("behind", [False, True], ids=["monitor", "zygote"])
def test_monitor_that_hangs_is_no_healthy_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    """Also while nobody wants an enclave; and it may go on later."""
    monkeypatch.setenv("TINYWASM_STATE_DIR", str(tmp_path))
    monkeypatch.setattr("wasm_host.simulated._BEAT", 0.1)
    accepting = cast(Server, SimpleNamespace(accepting=True))

    async def main() -> None:
        monitor = SimulatedMonitor.start(EnclaveFiles())
        try:
            await monitor.ready()
            stopped = min(descendants(monitor.pid)) if behind else monitor.pid
            for number, expected in (
                (signal.SIGSTOP, "the security monitor does not answer"),
                (signal.SIGCONT, ""),
            ):
                signal_process(stopped, number)
                while cli.ailment(accepting, monitor) != expected:
                    await asyncio.sleep(0.02)
        finally:
            await monitor.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_monitor_that_hangs_when_an_enclave_is_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has failed, as one has that ended: the host stops, and waits for none of its enclaves."""
    monkeypatch.setenv("TINYWASM_STATE_DIR", str(tmp_path))
    monkeypatch.setattr("wasm_host.simulated._KILL_TIMEOUT", 0.1, raising=False)
    monkeypatch.setattr("wasm_host.simulated._STOP_TIMEOUT", 0.1)

    async def main() -> None:
        monitor = SimulatedMonitor.start(EnclaveFiles())
        try:
            await monitor.ready()
            enclaves = [await monitor.start_enclave() for _ in range(2)]
            signal_process(monitor.pid, signal.SIGSTOP)
            monitor.kill_enclave(enclaves[0])
            for enclave in enclaves:
                await asyncio.wait_for(asyncio.shield(enclave.ended), 20)
                enclave.hang_up()
            with pytest.raises(MonitorError, match="hangs"):
                await asyncio.wait_for(asyncio.shield(monitor.failed), 20)
            signal_process(monitor.pid, signal.SIGCONT)
        finally:
            processes = descendants(monitor.pid)
            await monitor.close()
        wait_until(lambda: not alive(processes), 20, "the end of every enclave")

    asyncio.run(asyncio.wait_for(main(), 60))


def test_monitor_process_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports come from the monitor itself: the host's socket cannot ask for one."""
    monkeypatch.setenv("TINYWASM_STATE_DIR", str(tmp_path))

    async def main() -> None:
        monitor = SimulatedMonitor.start(EnclaveFiles())
        try:
            identity = await monitor.ready()
            assert Policy.from_toml(identity.policy).simulated_devices
            enclave = await monitor.start_enclave()
            monitor.kill_enclave(enclave)
            assert (await asyncio.wait_for(enclave.ended, 20)).shown.endswith("SIGKILL")
            enclave.channel.close()
            signal_process(monitor.pid, signal.SIGKILL)
            with pytest.raises(MonitorError, match="has ended"):
                await asyncio.wait_for(asyncio.shield(monitor.failed), 20)
            with pytest.raises(MonitorError, match="gone"):
                await monitor.start_enclave()
        finally:
            await monitor.close()

    asyncio.run(main())
