"""QEMU's process, with a script in its place: what is said when it fails, and that nothing of it is left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from riscv import __main__ as command_line
from riscv import machine, needs
from riscv.errors import RiscvError
from riscv.image import Image
from riscv.machine import Machine, free_port, running
from riscv.processes import run, run_together
from schannel.policy import Policy
from tests.processes import ROOT, alive, descendants, wait_until
from tests.riscv.conftest import Command
from wasm_client import ClientError

# The console's file is what `-serial file:` names.
FIND_CONSOLE = 'for each; do case "$each" in file:*) console="${each#file:}";; esac; done\n'
READY = FIND_CONSOLE + 'echo "wasm-host: listening on 0.0.0.0:3333" >>"$console"; sleep 1000 & wait'


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path / "kernel", tmp_path / "initrd", tmp_path / "policy.toml", tmp_path)


def ignore(line: str) -> None:
    """What is said is not looked at."""


def started(image: Image, folder: Path) -> Machine:
    with running(image, folder, 3333, 2222, ignore) as found:
        found.wait_until_ready(ignore)
        assert found.process.poll() is None
    return found


def test_a_machine_that_is_ready_and_ended(command: Command, image: Image, tmp_path: Path) -> None:
    command("qemu-system-riscv64", READY)
    with running(image, tmp_path, 3333, 2222, ignore) as found:
        found.wait_until_ready(ignore)
        wait_until(lambda: len(descendants(found.process.pid)) == 1, 20, "what the machine started")
        below = {found.process.pid, *descendants(found.process.pid)}
        assert alive(below) == below
    # Who is not our own child is signalled with it, and takes a moment.
    wait_until(lambda: not alive(below), 20, "the end of what the machine started")


def test_one_that_does_not_listen_to_signals(
    command: Command, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("riscv.processes._STOP_TIMEOUT", 0.1)
    command("qemu-system-riscv64", "trap '' TERM\n" + READY)
    assert started(image, tmp_path).process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo 'Could not set up host forwarding rule' >&2; exit 1",
            "QEMU does not start: Could not set up host forwarding rule ({folder}/qemu.log has all of it)",
        ),
        (
            FIND_CONSOLE + 'echo "wasm-host: no memory" >"$console"; echo "Power down" >>"$console"',
            "the machine ended while it started: wasm-host: no memory ({folder}/console.log has all of it)",
        ),
        (
            FIND_CONSOLE + 'echo "[ 1.0] Kernel panic - not syncing: no init" >"$console"',
            "the machine ended while it started: Kernel panic - not syncing: no init "
            "({folder}/console.log has all of it)",
        ),
        (
            FIND_CONSOLE + 'echo "OpenSBI" >"$console"',
            "the machine ended while it started: it does not say why ({folder}/console.log has all of it)",
        ),
    ],
    ids=["port", "host", "panic", "silent"],
)
def test_one_that_ends_at_once(
    command: Command, image: Image, tmp_path: Path, script: str, said: str
) -> None:
    command("qemu-system-riscv64", script)
    with pytest.raises(RiscvError) as raised:
        started(image, tmp_path)
    assert str(raised.value) == said.format(folder=tmp_path)


def test_one_that_does_not_get_ready(
    command: Command, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "START_TIMEOUT", 0.5)
    monkeypatch.setattr(machine, "_PULSE", 0.1)
    command("qemu-system-riscv64", "exec sleep 1000")
    said: list[str] = []
    with (
        pytest.raises(RiscvError, match=r"does not answer after 0 s: .*/console\.log says how far it got"),
        running(image, tmp_path, 3333, 2222, ignore) as found,
    ):
        found.wait_until_ready(said.append)
    assert found.process.returncode == -signal.SIGTERM
    assert said and said[0].startswith("  still starting (")


def test_too_little_memory(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MEMORY", 1 << 40)
    with pytest.raises(RiscvError, match=r"the machine needs \d+ MiB of memory, and \d+ MiB are available"):
        started(image, tmp_path)


def test_a_second_machine_is_refused_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("riscv.needs.check", lambda **_: None)
    monkeypatch.setattr("riscv.needs.FOLDER", tmp_path)
    monkeypatch.setattr(command_line, "FOLDER", tmp_path)
    monkeypatch.setattr(command_line, "prepare", lambda _: pytest.fail("it was built"))
    with needs.alone(tmp_path):
        assert (needs.main([]), command_line.main([])) == (1, 1)
    line = "riscv: the machine runs already, in another terminal: it ends with the prompt there\n"
    assert capsys.readouterr().err == 2 * line
    assert needs.main([]) == 0


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr("riscv.needs.check", lambda **_: None)
    for module in (needs, command_line):
        monkeypatch.setattr(module, "FOLDER", file)
        assert module.main([]) == 1
        assert capsys.readouterr().err == f"riscv: {file}: file exists\n"


def test_a_port_that_is_taken(command: Command, image: Image, tmp_path: Path) -> None:
    command("qemu-system-riscv64", READY)
    said: list[str] = []
    free = free_port(2222)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        with running(image, tmp_path, taken, free, said.append) as found:
            assert found.port not in (0, taken)
            assert (found.address, found.ssh_port) == (f"127.0.0.1:{found.port}", free)
    assert said == [f"127.0.0.1:{taken} is taken: {found.port} is used"]


def test_nothing_is_left_when_we_are_killed(command: Command, tmp_path: Path) -> None:
    command("qemu-system-riscv64", FIND_CONSOLE + 'echo $$ >"$console"; exec sleep 1000')
    code = f"""
from contextlib import nullcontext
from pathlib import Path
from riscv.image import Image
from riscv.machine import running
here = Path({str(tmp_path)!r})
with running(Image(here, here, here, here), here, 3333, 2222, print) as machine:
    machine.wait_until_ready(print)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    console = tmp_path / "console.log"
    try:
        wait_until(lambda: console.exists() and console.read_text().endswith("\n"), 60, "the machine")
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not alive({int(console.read_text())}), 20, "its end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_what_a_command_started_ends_with_us(number: signal.Signals, tmp_path: Path) -> None:
    started = tmp_path / "started"
    # As a compiler's driver starts the compiler, and make the driver.
    script = f"sh -c 'echo $$ >{started}; exec sleep 1000' & wait"
    code = f"""
from pathlib import Path
from riscv.processes import run
run("compiling", ["sh", "-c", {script!r}], Path({str(tmp_path / "log")!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        wait_until(lambda: started.exists() and started.read_text().endswith("\n"), 60, "the compiler")
    finally:
        process.send_signal(number)
        process.wait()
    wait_until(lambda: not alive({int(started.read_text())}), 20, "its end")


def test_a_command_that_fails_says_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(RiscvError) as raised:
        run("trying", ["sh", "-c", "echo first; echo last >&2; echo; exit 3"], tmp_path / "log")
    assert str(raised.value) == f"trying failed: last ({tmp_path / 'log'} has all of it)"


def test_other_commands_end_with_one_that_fails(tmp_path: Path) -> None:
    commands = [["sh", "-c", "exit 1"], ["sleep", "1000"]]
    began = time.monotonic()
    with pytest.raises(RiscvError, match="trying failed: it said nothing"):
        run_together("trying", commands, tmp_path / "log", at_once=2)
    assert time.monotonic() - began < 100
    assert not descendants(os.getpid())


def test_long_work_is_told_to_go_on(tmp_path: Path) -> None:
    said, told = [], tmp_path / "told"

    def say(line: str) -> None:
        said.append(line)
        told.touch()

    waits = ["sh", "-c", 'until [ -e "$0" ]; do sleep 0.01; done', str(told)]
    run_together("trying", [waits, ["true"]], tmp_path / "log", say=say, pulse=0.05)
    assert said[0] == "  still trying (0 s)"


@pytest.mark.parametrize(
    ("failure", "said", "status"),
    [
        (RiscvError("packages are missing: one"), "riscv: packages are missing: one\n", 1),
        (OSError(28, "No space left on device", "/x"), "riscv: /x: no space left on device\n", 1),
        (OSError(28, "No space left on device"), "riscv: no space left on device\n", 1),
        (
            shutil.Error([("a", "b", "[Errno 28] No space left on device")]),
            "riscv: b: [Errno 28] No space left on device\n",
            1,
        ),
        (KeyboardInterrupt(), "riscv: interrupted\n", 130),
    ],
    ids=["ours", "file", "device", "folder", "interrupted"],
)
def test_failures_are_a_line(
    failure: BaseException,
    said: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(**_: bool) -> None:
        raise failure

    monkeypatch.setattr("riscv.needs.check", fail)
    assert command_line.main([]) == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("ends", "lost", "status"),
    [(True, True, 1), (True, False, 1), (False, True, 1), (False, False, 0)],
    ids=["under a call", "before the prompt's end", "no end, a call that fails", "no end"],
)
def test_a_machine_that_ends_by_itself(
    command: Command,
    image: Image,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ends: bool,
    lost: bool,
    status: int,
) -> None:
    def use(found: Machine, _: Image) -> int:
        if ends:
            os.killpg(found.process.pid, signal.SIGKILL)
        if lost:
            raise ClientError("the connection to the enclave is lost")
        if ends:
            found.process.wait()
        return 0

    command("qemu-system-riscv64", READY)
    monkeypatch.setattr("riscv.needs.check", lambda **_: None)
    for name, value in {"FOLDER": tmp_path, "prepare": lambda _: image, "_use": use}.items():
        monkeypatch.setattr(command_line, name, value)
    monkeypatch.setattr(command_line, "_END_TIMEOUT", 30.0 if ends else 0.1)
    assert command_line.main([]) == status
    files = f"{tmp_path}/console.log and {tmp_path}/qemu.log"
    assert capsys.readouterr().err.splitlines() == [
        *(["wasm-client: the connection to the enclave is lost"] if lost else []),
        *([f"riscv: the machine has ended by itself: see {files}"] if ends else []),
    ]


def test_the_prompt_waits_for_its_enclave_as_the_first_client_did(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_line, "_PATIENCE", 0.01)
    monkeypatch.setattr(command_line, "connect", lambda *_, **__: nullcontext())
    monkeypatch.setattr(command_line, "read_policy", lambda _: Policy())
    monkeypatch.setattr(command_line, "show_ways_in", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = Machine(subprocess.Popen(["true"]), silent.getsockname()[1], 22, tmp_path, tmp_path)
        found.process.wait()
        with pytest.raises(ClientError, match=r"did not answer within 0\.01 seconds"):
            command_line._use(found, image)
