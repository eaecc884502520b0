"""The user's view: a program goes to an enclave in another process and is called there."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schannel.ed25519_sha3 import ED25519_SHA3
from schannel.endings import Ending
from schannel.measurement import canonical_archive, installed_image
from schannel.messages import InfoRequest, InfoResult
from schannel.monitor_keys import derive_monitor_key
from schannel.session import ClientSession
from schannel.simulation import SECRET_KEY_FILE, STATE_VARIABLES
from schannel.transport import ClientConnection
from tests.processes import (
    CALCULATOR,
    ROOT,
    Host,
    Proxy,
    alive,
    descendants,
    environment,
    host,
    read_line,
    signal_process,
    stop,
    wait_until,
)
from tinywasm.engine import native_available
from wasm_client import CannotConnect, ConnectionLost, NotVerified, Policy, RequestFailed, connect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes"),
]

TRANSCRIPT = [
    ("add 1 1", "output> 2"),
    ("sub 5 2", "output> 3"),
    ("mul 7 7", "output> 49"),
    ("div 5 2", "output> 2"),
    ("div 1 0", "error> trap: integer divide by zero"),
]
TYPES = [f"{name} (param i32 i32) (result i32)" for name in ("add", "sub", "mul", "div")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("state")) as started:
        yield started


def demo(state: Path, lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wasm_client.demo", str(CALCULATOR)],
        input=lines,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(state),
    )


class TestDemo:
    def test_script(self, tmp_path: Path) -> None:
        lines = "".join(f"{line}\n" for line, _ in TRANSCRIPT) + "q\nadd 1 1\n"
        done = demo(tmp_path, lines)
        assert [line.strip() for line in done.stdout.splitlines()] == [
            "functions:",
            *TYPES,
            *(answer for _, answer in TRANSCRIPT),
        ]
        assert done.returncode == 1, "an error in a script shows in the exit status"
        assert "simulated: it protects nothing from the owner" in done.stderr

    def test_end_of_input_ends_it(self, tmp_path: Path) -> None:
        done = demo(tmp_path, "add 1 1\n\nadd 2 2")
        assert done.stdout.splitlines()[-2:] == ["output> 2", "output> 4"]
        assert done.returncode == 0

    def test_ctrl_c_while_it_is_imported_is_no_traceback(self, tmp_path: Path) -> None:
        recipe = subprocess.run(
            ["make", "-n", "-o", ".venv/confidential", "run"], cwd=ROOT, capture_output=True
        )
        (code,) = re.findall(r'-c "(.*)"$', recipe.stdout.decode(), re.MULTILINE)
        package = tmp_path / "wasm_client"
        package.mkdir()
        (package / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
        ended = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            timeout=60,
            env={**environment(tmp_path), "PYTHONPATH": str(tmp_path)},
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, b"", b"")

    def test_port_taken(self, tmp_path: Path) -> None:
        blocker = socket.socket()
        blocker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            blocker.bind(("127.0.0.1", 3333))
            blocker.listen()
        except OSError:
            pass  # Somebody else has it, which serves as well.
        with blocker:
            done = demo(tmp_path, "add 1 1\n")
        assert "127.0.0.1:3333 is taken: another port is used" in done.stderr
        assert done.stdout.splitlines()[-1] == "output> 2"
        assert done.returncode == 0

    def test_terminal(self, tmp_path: Path) -> None:
        pexpect = pytest.importorskip("pexpect")
        child = pexpect.spawn(
            sys.executable,
            ["-m", "wasm_client.demo", str(CALCULATOR)],
            env=environment(tmp_path),
            encoding="utf-8",
            timeout=60,
            dimensions=(40, 120),
        )
        try:
            child.expect("protects nothing from the owner")
            child.expect_exact("input>")
            below = descendants(child.pid)
            for line, answer in TRANSCRIPT:
                child.send(line + "\r")
                child.expect_exact(answer)
                child.expect_exact("input>")
            child.send("half a line\x03")
            child.expect_exact("input>")
            child.send("q\r")
            child.expect(pexpect.EOF)
            child.wait()
        finally:
            child.close(force=True)
        assert child.exitstatus == 0, "a person saw the errors"
        assert len(below) >= 4, "host, monitor, zygote and enclave"
        wait_until(lambda: not alive(below), 10, "the end of every process")


def test_session_goes_on_after_every_error(running: Host) -> None:
    lines = [
        ("ad 1 1", "error> unknown function 'ad': did you mean 'add'?"),
        ("frobnicate", "error> unknown function 'frobnicate': the program's functions: add, sub, mul, div"),
        ("add 1", f"error> add takes 2 arguments, not 1: {TYPES[0]}"),
        ("add one 1", "error> 'one' is not a number: i32 expected"),
        ("add 1.5 1", "error> '1.5' is not an integer: i32 expected"),
        ("add 4294967296 1", "error> '4294967296' is out of range for i32 (-2147483648 to 4294967295)"),
        ("div -2147483648 -1", "error> trap: integer overflow"),
        ("add 4294967295 0x10", "output> 15"),
        ("div -7 2", "output> -3"),
    ]
    done = client(running, "".join(f"{line}\n" for line, _ in lines))
    assert done.stdout.splitlines()[-len(lines) :] == [answer for _, answer in lines]


def client(
    running: Host, lines: str, *options: str, program: Path = CALCULATOR
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "wasm_client", "-c", running.address, "-p", str(program)),
            *(options or ("--allow-simulation",)),
        ],
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(running.state),
    )


def test_printed_policy_is_what_the_client_needs(running: Host) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "wasm_host", "measure"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(running.state),
        check=True,
    )
    path = running.state / "policy.toml"
    path.write_text(printed.stdout)
    done = client(running, "add 20 22\n", "--policy", str(path), "--attestation")
    assert done.stdout.splitlines()[-1] == "output> 42"
    assert f"device: {next(iter(running.policy.simulated_devices)).hex()}" in done.stdout
    assert "isolation: rlimits, " in done.stdout


def test_library_in_a_dozen_lines(running: Host) -> None:
    with connect(running.address, running.policy) as session:
        session.deploy(CALCULATOR.read_bytes())
        assert [str(function) for function in session.functions()] == TYPES
        assert session.call("add", 1, 1) == 2
        with pytest.raises(RequestFailed, match="integer divide by zero") as caught:
            session.call("div", 1, 0)
        assert caught.value.backtrace[0].function_name == "div"
        assert session.call("mul", 7, -7) == -49


def test_host_in_between_sees_only_ciphertext(running: Host) -> None:
    secret = b"canary-in-a-custom-name-8c1f"
    program = (
        b"""(module (func (export "%s") (param i64) (result i64)
        local.get 0 i64.const 0x1122334455667788 i64.xor))"""
        % secret
    )
    known = [secret, program[:24], b"i64.xor"]
    numbers = [0x0102030405060708, 0x0102030405060708 ^ 0x1122334455667788]
    known += [number.to_bytes(8, order) for number in numbers for order in ("little", "big")]
    with Proxy(running.target) as proxy:
        with connect(proxy.address, running.policy) as session:
            session.deploy(program)
            assert session.call(secret.decode(), numbers[0]) == numbers[1]
        passed = bytes(proxy.seen["up"]) + bytes(proxy.seen["down"])
    assert len(passed) > 1000, "the session went through the proxy"
    for text in known:
        assert text not in passed
        assert text not in running.log.read_bytes()


OFFER, CLOSE = 8 + 2 + 32, 2 + 256 + 16
"""Bytes of the prologue with an ephemeral key, and of a record that closes."""


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("enclave.measurements", {"enclave_measurements": frozenset({b"\1" * 64})}),
        ("enclave.configurations", {"configurations": frozenset({b"\1" * 32})}),
        ("enclave.minimum_version", {"minimum_version": (99, 0, 0)}),
        ("monitor.measurements", {"monitor_measurements": frozenset({b"\1" * 64})}),
        ("devices", {"simulated_devices": frozenset({b"\1" * 32})}),
        ("devices.allow_simulated", {"allow_simulated": False}),
    ],
)
def test_client_refuses_before_it_sends_anything(
    running: Host, rule: str, changes: dict[str, object]
) -> None:
    """What it sends then is a close, which says that it refuses: see what the enclave makes of it."""
    policy = replace(running.policy, **changes)  # type: ignore[arg-type]
    before = running.log.read_text().count(Ending.REFUSED.shown)
    with Proxy(running.target) as proxy:
        with pytest.raises(NotVerified, match=rule) as caught:
            connect(proxy.address, policy)
        assert caught.value.rule == rule
        wait_until(
            lambda: running.log.read_text().count(Ending.REFUSED.shown) > before, 20, "the enclave's end"
        )
        assert len(proxy.seen["up"]) == OFFER + CLOSE


def test_no_policy_is_no_trust(running: Host) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wasm_client", "-c", running.address, "-p", str(CALCULATOR)],
        input="add 1 1\n",
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(running.state),
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no policy" in done.stderr and "--allow-simulation" in done.stderr


def test_several_clients_at_once(running: Host) -> None:
    results: dict[int, object] = {}

    def work(number: int) -> None:
        program = f'(module (global $n (mut i32) (i32.const {number})) (func (export "next") (result i32) '
        program += "(global.set $n (i32.add (global.get $n) (i32.const 100))) (global.get $n)))"
        with connect(running.address, running.policy) as session:
            session.deploy(program.encode())
            results[number] = [session.call("next") for _ in range(3)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {number: [number + 100, number + 200, number + 300] for number in range(6)}


def _enclave_pids(running: Host) -> list[int]:
    lines = [line for line in running.log.read_text().splitlines() if ", process " in line]
    return [int(line.rsplit(" ", 1)[1]) for line in lines]


def test_killed_enclave_hurts_only_its_client(running: Host) -> None:
    victim = connect(running.address, running.policy)
    victim.deploy(CALCULATOR.read_bytes())
    pid = _enclave_pids(running)[-1]
    with connect(running.address, running.policy) as bystander:
        bystander.deploy(CALCULATOR.read_bytes())
        signal_process(pid, signal.SIGKILL)
        with pytest.raises(ConnectionLost):
            victim.call("add", 1, 1)
        assert bystander.call("add", 1, 1) == 2
        running.wait_for_log("the enclave was ended by SIGKILL")
    with connect(running.address, running.policy) as later:
        later.deploy(CALCULATOR.read_bytes())
        assert later.call("add", 2, 2) == 4


def test_endless_program_ends_with_its_client(running: Host, tmp_path: Path) -> None:
    program = tmp_path / "spin.wat"
    program.write_text('(module (func (export "spin") (loop br 0)))')
    with connect(running.address, running.policy) as session:
        session.deploy(program.read_bytes())
        with pytest.raises(RequestFailed, match="interrupted: the time limit was reached"):
            session.call("spin", timeout_ms=200)
    started = len(_enclave_pids(running))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "wasm_client", "--allow-simulation"),
            *("-c", running.address, "-p", str(program)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(running.state),
    )
    try:
        assert read_line(process) == "functions:\n"
        assert process.stdin is not None
        process.stdin.write("spin\n")
        process.stdin.flush()
        pid = _enclave_pids(running)[started]
        process.kill()
        wait_until(lambda: not alive({pid}), 20, "the end of the enclave")
    finally:
        stop(process)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_host_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with host(tmp_path) as started:
        session = connect(started.address, started.policy)
        session.deploy(CALCULATOR.read_bytes())
        below = descendants(started.process.pid)
        assert len(below) == 3, "monitor, zygote and enclave"
        signal_process(started.process.pid, number)
        started.process.wait(20)
        wait_until(lambda: not alive(below), 10, "the end of every process")
        with pytest.raises(ConnectionLost):
            session.call("add", 1, 1)
    if number is not signal.SIGKILL:
        assert started.process.returncode == 0


def test_demo_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "wasm_client.demo", str(CALCULATOR)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(tmp_path),
    )
    try:
        assert read_line(process) == "functions:\n"
        below = descendants(process.pid)
        process.kill()
        process.wait(10)
        wait_until(lambda: not alive(below), 10, "the end of every process")
    finally:
        stop(process)


def test_what_runs_is_what_was_measured(tmp_path: Path) -> None:
    image = installed_image()
    entries = _entries(image.application)
    name = "wasm_rt/application.py"
    assert b"VERSION = (0, 1, 0)" in entries[name]
    entries[name] = entries[name].replace(b"VERSION = (0, 1, 0)", b"VERSION = (9, 9, 9)")
    changed = image._replace(application=canonical_archive(entries))
    options = []
    for option, content in (("-l", changed.loader), ("-r", changed.runtime), ("-e", changed.application)):
        path = tmp_path / f"file{option}"
        path.write_bytes(content)
        options += [option, str(path)]
    with host(tmp_path / "state", *options) as started:
        with pytest.raises(NotVerified) as caught:
            connect(started.address, started.policy)
        assert caught.value.rule == "enclave.measurements"
        policy = replace(started.policy, enclave_measurements=frozenset({changed.measurement()}))
        with connect(started.address, policy) as session:
            assert session.verified.version == (9, 9, 9), "the changed file runs, not the installed one"


@pytest.mark.parametrize("command", ["connect", "command line"])
def test_another_build_is_told_in_words(tmp_path: Path, command: str) -> None:
    """Of a host without compiled code, as the file in one piece has it, and with another Python's name."""
    image = installed_image(native=False, dependencies=["Crypto"])
    options = []
    for option, content in (("-l", image.loader), ("-r", image.runtime)):
        path = tmp_path / f"file{option}"
        path.write_bytes(content)
        options += [option, str(path)]
    with host(tmp_path / "state", *options) as started:
        if command == "connect":
            with pytest.raises(NotVerified) as caught:
                connect(started.address, started.policy)
            assert caught.value.rule == "enclave.measurements"
            said = str(caught.value)
        else:
            done = subprocess.run(
                [sys.executable, "-m", "wasm_client", "attest", "-c", started.address, "--allow-simulation"],
                capture_output=True,
                text=True,
                env=environment(started.state),
                timeout=60,
            )
            assert done.returncode == 1
            said = done.stderr
            assert said.count("\n") == 1
    expected = "the compiled modules of tinywasm: only here"
    if not any("tinywasm" in name and name.endswith(".so") for name in _entries(installed_image().runtime)):
        expected = "it is the release that is installed here"
    assert expected in said
    assert "which proves nothing" in said and "docs/confidential.md" in said
    assert not re.search("[0-9a-f]{17}", said), "nobody reads more digits than these"


def _entries(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_bad_programs_are_refused_and_the_session_goes_on(running: Host) -> None:
    with connect(running.address, running.policy) as session:
        for program, words in (
            (b"\0asm\1\0\0\0\xff", "section"),
            (b"(module (func (result i32)))", "type mismatch"),
            (b'(module (import "a" "b" (func)))', "unknown import"),
            (b"(module (func", "line 1"),
            (b"\xff\xfe", "neither the binary format nor UTF-8"),
            (b"(" * 200_000, "line 1"),
            (b"(module" + b"(memory 16384)" * 8 + b")", "memory"),
        ):
            with pytest.raises(RequestFailed, match=words):
                session.deploy(program)
        session.deploy(CALCULATOR.read_bytes())
        assert session.call("add", 1, 1) == 2


def test_large_program(running: Host) -> None:
    data = b"\\00" * (3 << 20)
    program = (
        b'(module (memory 64) (data (i32.const 0) "'
        + data
        + b'") (func (export "f") (result i32) i32.const 7))'
    )
    with connect(running.address, running.policy) as session:
        session.deploy(program)
        assert session.call("f") == 7


def test_reader_that_goes_away_is_no_traceback(running: Host) -> None:
    command = f"yes add 1 1 | {sys.executable} -m wasm_client -c {running.address} -p {CALCULATOR} "
    done = subprocess.run(
        ["bash", "-c", command + "--allow-simulation | head -n 6"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(running.state),
    )
    assert done.stdout.splitlines()[-1] == "output> 2"
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_input_that_is_no_text(running: Host) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "wasm_client", "-c", running.address, "-p", str(CALCULATOR)),
            "--allow-simulation",
        ],
        input=b"\xff\xfe\nadd 1 1\n",
        capture_output=True,
        timeout=60,
        env=environment(running.state),
    )
    assert done.stdout.splitlines()[-1] == b"output> 2"
    assert b"Traceback" not in done.stderr


def test_silent_connections_do_not_hurt(running: Host) -> None:
    with contextlib.ExitStack() as stack:
        for sent in (b"", b"TWSC", b"TWSC\x01\x01\x00\x00\xff\xff"):
            silent = stack.enter_context(socket.create_connection(running.target, 10))
            silent.sendall(sent)
        session = stack.enter_context(connect(running.address, running.policy))
        session.deploy(CALCULATOR.read_bytes())
        assert session.call("add", 1, 1) == 2


def test_engine_in_the_enclave_is_the_installed_one(running: Host) -> None:
    with ClientConnection.connect(running.target, ClientSession(running.policy)) as connection:
        info = connection.request(InfoRequest())
    assert isinstance(info, InfoResult)
    assert info.engine == ("native" if native_available else "python")


def test_junk_connections_do_not_hurt(running: Host) -> None:
    for junk in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\xff" * 70_000):
        with socket.create_connection(running.target, 10) as raw:
            raw.sendall(junk)
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(20)
            with contextlib.suppress(ConnectionError):
                assert raw.recv(100) == b""
    with connect(running.address, running.policy) as session:
        session.deploy(CALCULATOR.read_bytes())
        assert session.call("add", 1, 1) == 2


def _memory(pid: int) -> Iterator[bytes]:
    """The readable, writable memory of a process."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, end = (int(bound, 16) for bound in bounds.split("-"))
                with contextlib.suppress(OSError, OverflowError):
                    memory.seek(start)
                    yield memory.read(end - start)


def _holds(pid: int, secret: bytes) -> bool:
    return any(secret in region for region in _memory(pid))


def test_who_has_what_in_memory(tmp_path: Path) -> None:
    """The host never has plaintext, and what enclaves are forked from never had the device's key."""
    with host(tmp_path / "state") as started:
        canary = b"canary-%s" % os.urandom(8).hex().encode()
        program = b'(module (func (export "%s")))' % canary
        with connect(started.address, started.policy) as session:
            session.deploy(program)
            enclave = _enclave_pids(started)[-1]
            monitor, zygote = sorted(descendants(started.process.pid) - {enclave})
            secrets = _monitor_secrets(started)
            assert not any(_holds(started.process.pid, secret) for secret in (canary, *secrets))
            try:
                assert any(_holds(monitor, secret) for secret in secrets), "a search finds what is there"
            except PermissionError:
                pytest.skip("this user may not read the memory of other processes")
            assert not any(_holds(zygote, secret) for secret in secrets)
            for pid in (started.process.pid, monitor, zygote):
                assert not _holds(pid, canary)
                assert canary not in Path(f"/proc/{pid}/cmdline").read_bytes()
            if os.geteuid() == 0:
                assert _holds(enclave, canary)
                assert not any(_holds(enclave, secret) for secret in secrets)
        environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in (monitor, zygote)]
        assert environments[1] == b""
        names = {item.partition(b"=")[0].decode() for item in environments[0].split(b"\0") if item}
        assert names <= set(STATE_VARIABLES)


def test_no_process_leaves_an_image_of_its_memory(running: Host) -> None:
    with connect(running.address, running.policy):
        below = descendants(running.process.pid)
        assert len(below) == 3, "a monitor, a zygote and an enclave"
        for pid in below:
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max core file size +0 +0 ", limits), limits


def _monitor_secrets(started: Host) -> list[bytes]:
    seed = bytes.fromhex((started.state / SECRET_KEY_FILE).read_text())
    device = ED25519_SHA3.key_from_seed(seed)
    (measurement,) = started.policy.monitor_measurements
    monitor = derive_monitor_key(device.secret, measurement)
    return [seed, device.secret[:32], monitor.secret[:32]]


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(CannotConnect, match=f"cannot connect to 127.0.0.1:{port}: connection refused"):
        connect(f"127.0.0.1:{port}", Policy())
