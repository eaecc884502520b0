"""The machine from its start to its end, as docs/riscv.md has it (`make riscv-test`)."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import make_demo
import pytest

from riscv import needs
from riscv.cache import ROOT
from riscv.machine import START_TIMEOUT
from schannel.measurement import measure
from schannel.policy import Policy
from tests.keystone import APPLICATION, DEVICE_KEY, LOADER, MONITOR, RUNTIME
from tests.processes import CALCULATOR, alive, descendants, wait_until
from wasm_client import NotVerified, connect

sys.path.insert(0, str(ROOT / "spec-tests"))
from locate import find_suite

pexpect: Any = importlib.import_module("pexpect")
"""It has no types."""

PAGE = (ROOT / "docs" / "riscv.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
SUITE = "spec-tests/spec/test"
SAMPLE = (
    "f32",
    "f64",
    "conversions",
    "float_exprs",
    "i64",
    "call_indirect",
    "simd/simd_i8x16_arith2",
    "gc/struct",
)
"""Scripts of the core: numbers, of which processors differ most, calls, vectors and objects."""

BUILD_TIMEOUT = 1800.0


@dataclass
class Running:
    """A machine that was started: the terminal at which it prompts, and what it said of ways in."""

    terminal: Any
    ssh: str
    client: str

    @property
    def address(self) -> str:
        return self.client.split()[2]

    def shell(self, commands: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run commands as the page has them."""
        commands = commands.replace("127.0.0.1:3333", self.address)
        commands = commands.replace(".venv/bin/wasm-client", f"{shlex.quote(sys.executable)} -m wasm_client")
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=START_TIMEOUT,
        )  # fmt: skip

    def log_in(self, command: str) -> subprocess.CompletedProcess[str]:
        return self.shell(f"{self.ssh} {shlex.quote(command)}")


@pytest.fixture(scope="module")
def machine() -> Iterator[Running]:
    """The machine; at the end it is powered off, and nothing may be left of it."""
    needs.check()
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "riscv"],
        cwd=str(ROOT),
        encoding="utf-8",
        env={**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "dumb"},
        timeout=START_TIMEOUT,
        dimensions=(40, 200),
    )
    log = (ROOT / "build" / "riscv" / "terminal.log").open("w")
    terminal.logfile_read = log
    below: set[int] = set()
    try:
        terminal.expect(["Starting a RISC-V machine", pexpect.EOF], timeout=BUILD_TIMEOUT)
        terminal.expect([r"From another terminal:\r\n  ([^\r]*)\r\n  ([^\r]*)\r\n", pexpect.EOF])
        assert terminal.match is not pexpect.EOF, terminal.before
        running = Running(terminal, *map(str, terminal.match.groups()))
        terminal.expect_exact("input> ")
        below = descendants(terminal.pid)
        assert below
        yield running
        # The machine may be off before ssh has its answer, which is its status 255.
        assert running.log_in("poweroff").returncode in (0, 255)
        wait_until(lambda: not alive(below), START_TIMEOUT, "the machine to power itself off")
        terminal.sendline("add 1 1")
        terminal.expect(pexpect.EOF)
        assert "wasm-client: " in terminal.before
        assert "riscv: the machine has ended by itself: see " in terminal.before
    finally:
        terminal.close(force=True)
        log.close()
        wait_until(lambda: not alive(below), 60, "the end of the machine")
    assert terminal.exitstatus == 1


def test_transcript(machine: Running) -> None:
    (transcript,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    lines = transcript.splitlines()
    assert lines
    for line in lines:
        kind, text = line.split("> ")
        if kind == "input":
            machine.terminal.sendline(text)
        else:
            machine.terminal.expect_exact(line)
    machine.terminal.expect_exact("input> ")


def test_evidence_is_verified_outside(machine: Running) -> None:
    policy = Policy.from_file(ROOT / "build" / "riscv" / "policy.toml")
    with connect(machine.address, policy) as session:
        verified = session.verified
        assert verified.simulated
        assert verified.enclave_measurement in policy.enclave_measurements
        assert {"seccomp", "landlock", "namespaces"} <= {*verified.isolation}
    (measurement,) = policy.enclave_measurements
    other = replace(policy, enclave_measurements=frozenset({bytes([measurement[0] ^ 1]) + measurement[1:]}))
    with pytest.raises(NotVerified, match=r"enclave\.measurements"), connect(machine.address, other):
        pass


def test_another_client(machine: Running) -> None:
    (command,) = (block for block in BLOCKS if "wasm-client" in block)
    done = machine.shell(command, "add 20 22\nq\n")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "output> 42"), done.stderr
    assert machine.client.split()[3:] == command.split()[3:]


def test_every_layer_of_isolation(machine: Running) -> None:
    (command,) = (block for block in BLOCKS if "--check" in block)
    done = machine.shell(command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " riscv64, " in done.stdout
    assert done.stdout.splitlines()[-1] == "enclaves run here with every layer of isolation"
    assert machine.ssh in command


def test_known_hosts_are_left_alone(machine: Running) -> None:
    done = machine.log_in("true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


GUEST_DEMO = "/tmp/demo"
DEMO_PORT = 3334


def test_session_with_the_one_file_for_keystone(machine: Running, tmp_path: Path) -> None:
    """On a double of Keystone's driver and monitor, which this machine does not have: takes some minutes."""
    enclave = {"loader.bin": LOADER, "eyrie-rt": RUNTIME, "wasm-rt": APPLICATION}
    for name, content in enclave.items():
        (tmp_path / name).write_bytes(content)
    make_demo.build(tmp_path / "wasm-demo.ke", {name: tmp_path / name for name in enclave})
    needed = [f"tests/{name}.py" for name in ("demo_double", "edge_application", "keystone", "processes")]
    copied = machine.shell(
        f"tar -cf - {shlex.join(needed)} -C {shlex.quote(str(tmp_path))} wasm-demo.ke | "
        f"{machine.ssh} 'mkdir {GUEST_DEMO} && tar -C {GUEST_DEMO} -xf -'"
    )
    assert copied.returncode == 0, copied.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    program, *options = shlex.split(machine.ssh)
    command = (
        f"cd {GUEST_DEMO} && TINYWASM_STATE_DIR=state "
        f"python3 tests/demo_double.py wasm-demo.ke -a 127.0.0.1:{DEMO_PORT}"
    )
    host = pexpect.spawn(
        program, ["-L", f"{port}:127.0.0.1:{DEMO_PORT}", *options, command],
        cwd=str(ROOT), encoding="utf-8", timeout=START_TIMEOUT,
    )  # fmt: skip
    try:
        host.expect([f"listening on 127.0.0.1:{DEMO_PORT}", pexpect.EOF])
        assert host.match is not pexpect.EOF, host.before
        policy = Policy(
            enclave_measurements=frozenset({measure(LOADER, RUNTIME, APPLICATION)}),
            monitor_measurements=frozenset({MONITOR.monitor_hash}),
            real_devices=frozenset({DEVICE_KEY.public}),
        )
        with connect(f"127.0.0.1:{port}", policy, START_TIMEOUT) as session:
            session.deploy(CALCULATOR.read_bytes())
            assert session.call("add", 20, 22) == 42
            receipt, _ = session.receipt().verify(policy)
            assert receipt.function == "add"
    finally:
        host.close(force=True)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with some scripts of the suite."""
    suite = find_suite()
    if not suite.scripts:
        pytest.skip(str(suite.missing))
    folder = tmp_path_factory.mktemp("suite")
    for script in suite.scripts:
        if script.name in {f"core/{name}.wast" for name in SAMPLE}:
            (folder / script.name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(script.path, folder / script.name)
    return folder


@pytest.mark.parametrize("way", ["ssh", "qemu-riscv64-static"])
def test_official_suite(machine: Running, sample: Path, way: str) -> None:
    assert "native and python engine" in machine.log_in("tinywasm --version").stdout
    (commands,) = (block for block in BLOCKS if SUITE in block and way in block)
    commands = commands.replace(SUITE, str(sample)).replace(needs.EMULATORS[0], needs.emulator())
    done = machine.shell(commands)
    assert done.returncode == 0, done.stdout + done.stderr
    files, counts = done.stdout.splitlines()[-2:]
    assert files.startswith(f"{len(SAMPLE)} files, ")
    passed = re.fullmatch(r"(\d+) passed, 0 failed, 0 skipped", counts)
    assert passed and int(passed[1]) > 7000, counts
