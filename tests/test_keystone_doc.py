"""docs/keystone.md keeps its word: its commands run, and its numbers are the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from riscv.keystone_build import ENCLAVE, MACHINE
from schannel.edge import AnswerHead, Call, Happening, Head
from schannel.measurement import measure
from tests.keystone import APPLICATION, LOADER, RUNTIME
from tests.keystone_application import built
from tests.processes import ROOT, environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes")

TEXT = (ROOT / "docs" / "keystone.md").read_text()
COMMANDS = re.findall(r"^    (wasm-(?:host|client) .*)", TEXT, re.MULTILINE)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, content in (("loader.bin", LOADER), ("eyrie-rt", RUNTIME), ("wasm-rt", APPLICATION)):
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, files: Path) -> None:
    """Those that need no device do their work; the others come as far as saying that there is none."""
    program, *arguments = command.split()
    if "--device" in arguments and "measure" not in arguments and "--check" not in arguments:
        arguments += ["-a", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, "-m", program.replace("-", "_"), *arguments],
        cwd=files,
        env=environment(files),
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "measure" in arguments:
        assert done.returncode == 0, done.stderr
        assert measure(LOADER, RUNTIME, APPLICATION).hex() in done.stdout
    else:
        assert done.returncode == 1
        assert "there is no /dev/keystone_enclave" in done.stdout + done.stderr


def test_function_is_called_without_keystone() -> None:
    (command,) = re.findall(r"^    \.venv/bin/python (-m tests\..*)", TEXT, re.MULTILINE)
    arguments = command.split()
    built(arguments[2])
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_numbers_of_calls_and_events() -> None:
    table = re.findall(r"^\| (\d+) \| ([A-Z]+) \|", TEXT, re.MULTILINE)
    expected = [(str(int(member)), member.name) for kind in (Call, Happening) for member in kind]
    assert table == expected
    in_c = re.findall(r"\bCALL_(\w+) = (\d+)", (ROOT / "enclave/keystone/edge.h").read_text())
    assert in_c == [(Call.LOG.name, str(int(Call.LOG)))]


def test_sizes_of_heads() -> None:
    assert f"Eyrie writes requests at offset\n{Head.sizeof()};" in TEXT
    assert f"with its own head of {AnswerHead.sizeof()} bytes" in TEXT


def test_files_of_a_build() -> None:
    table = re.findall(r"^\| (`.*`) \| `([^`]*)` \|", TEXT, re.MULTILINE)
    assert table == [
        (", ".join(f"`{name}`" for name in names), place) for names, place in (*MACHINE, ENCLAVE)
    ]
