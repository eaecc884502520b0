"""The wasm-host command: its options and its errors."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from processes import descendants, environment, host, signal_process, wait_until

from schannel.policy import Policy
from wasm_host import cli
from wasm_host.monitor import EnclaveFiles, Identity, MonitorError, MonitorProcess


def wasm_host(state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wasm_host", *options],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(state),
    )


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for option, words in (("-V", "wasm-host "), ("-h", "--print-policy")):
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


@pytest.mark.parametrize("option", ["-l", "-r", "-e"])
def test_missing_file(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([option, "/nowhere"])
    assert "there is no file /nowhere" in capsys.readouterr().err


def test_policy_text_is_a_policy() -> None:
    identity = Identity(
        "01" * 64, "02" * 64, "03" * 32, "04" * 32, ("seccomp", "rlimits"), (("landlock", "not offered"),)
    )
    text = cli.policy_text(identity)
    policy = Policy.from_toml(text)
    assert policy.enclave_measurements == {b"\1" * 64}
    assert policy.monitor_measurements == {b"\2" * 64}
    assert policy.simulated_devices == {b"\3" * 32}
    assert policy.configurations == {b"\4" * 32}
    assert policy.required_isolation.names() == ("rlimits", "seccomp")
    assert policy.allow_simulated
    assert "# not available on this machine: landlock (not offered)" in text


def test_port_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = wasm_host(tmp_path, "-a", f"127.0.0.1:{port}")
    assert done.returncode == cli.EXIT_ADDRESS_IN_USE
    assert done.stderr == f"wasm-host: cannot listen on 127.0.0.1:{port}: address already in use\n"


def test_files_of_something_else(tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    done = wasm_host(tmp_path, "--print-policy", "-r", str(junk))
    assert done.returncode == cli.EXIT_FAILED
    assert done.stderr == "wasm-host: the runtime file is not one that this release makes\n"


def test_host_ends_when_the_monitor_does(tmp_path: Path) -> None:
    with host(tmp_path) as started:
        below = descendants(started.process.pid)
        signal_process(min(below), signal.SIGKILL)
        assert started.process.wait(20) == cli.EXIT_FAILED
        wait_until(lambda: not descendants(started.process.pid), 10, "the end of every process")
        assert "wasm-host: the security monitor has ended" in started.log.read_text()


def test_monitor_process_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports come from the monitor itself: the host's socket cannot ask for one."""
    monkeypatch.setenv("TINYWASM_STATE_DIR", str(tmp_path))

    async def main() -> None:
        monitor = MonitorProcess.start(EnclaveFiles())
        try:
            identity = await monitor.ready()
            assert len(bytes.fromhex(identity.device)) == 32
            enclave = await monitor.start_enclave()
            monitor.kill_enclave(enclave)
            assert await asyncio.wait_for(enclave.ended, 20) == signal.SIGKILL
            enclave.channel.close()
            signal_process(monitor.pid, signal.SIGKILL)
            with pytest.raises(MonitorError, match="has ended"):
                await asyncio.wait_for(asyncio.shield(monitor.failed), 20)
            with pytest.raises(MonitorError, match="gone"):
                await monitor.start_enclave()
        finally:
            await monitor.close()

    asyncio.run(main())
