"""Builds of the application for Keystone: one at a time, and none leaves compilers behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is built on Linux")

BUILD = f"""
import subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "enclave" / "keystone")!r})
import one_build
sys.exit(one_build.run(lambda: subprocess.run(["sh", "-c", sys.argv[2]], check=True), Path(sys.argv[1])))
"""
# A compiler as make starts it; what reads the other end of its output waits for its end.
SLOW = "sh -c 'echo begun; exec sleep 600' & wait"


def start(folder: Path, command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, folder, command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_signal_ends_what_was_started(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path, SLOW) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        # All that have this pipe have ended.
        output, _ = process.communicate(timeout=60)
    assert output == ""
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)


def test_signal_that_is_ignored(tmp_path: Path) -> None:
    """As `nohup` has it: what was started goes on after the terminal has gone."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start(tmp_path, f"echo begun; read line < {fifo}; kill -HUP $$; echo done")
    finally:
        signal.signal(signal.SIGHUP, before)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGHUP)
        fifo.write_text("go on\n")
        assert process.communicate(timeout=60) == ("done\n", "")
    assert process.returncode == 0


def test_another_build_waits(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with start(tmp_path, f"echo begun; read line < {fifo}; echo first") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "begun\n"
        with start(tmp_path, "echo second") as second:
            assert second.stdout is not None
            assert second.stdout.readline() == (
                f"another build is under way in {tmp_path}: this one waits for its end\n"
            )
            fifo.write_text("go on\n")
            assert first.communicate(timeout=60)[0] == "first\n"
            assert second.communicate(timeout=60)[0] == "second\n"
    assert (first.returncode, second.returncode) == (0, 0)


@pytest.mark.parametrize(("command", "status"), [("true", 0), ("false", 1)])
def test_status(tmp_path: Path, command: str, status: int) -> None:
    with start(tmp_path, command) as process:
        process.communicate(timeout=60)
    assert process.returncode == status
