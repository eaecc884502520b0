"""The run for every change has all its lanes, says when one fails, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import ROOT, alive, wait_until

SCRIPT = ROOT / ".ci" / "run"
LANES = ["wasm-rt", "lint", "riscv-test", "test", "uncompiled"]
MAKE = """#!/bin/sh
echo "$@" >>made
echo "did $*"
case " $* " in *" $FAILS "*) exit 3;; *" $WAITS "*) echo $$ >pid; exec sleep 1000;; esac
"""

pytestmark = pytest.mark.skipif(
    not SCRIPT.exists() or shutil.which("bash") is None, reason="there is no checkout here, or no bash"
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """With programs that say what they were to do, on the PATH."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci")
    (tmp_path / "bin").mkdir()
    for name, text in (
        ("make", MAKE),
        ("python3", '#!/bin/sh\necho "$MISSING"\n'),
        ("apt-get", "#!/bin/sh\n"),
    ):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def run(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"
    chosen = {"FAILS": "nothing", "WAITS": "nothing", "MISSING": "", **variables}
    return subprocess.run(
        ["bash", checkout / ".ci" / "run"],
        env={**os.environ, "PATH": path, **chosen},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def lanes(checkout: Path) -> list[str]:
    return [lane for line in (checkout / "made").read_text().splitlines() for lane in line.split()]


def test_every_lane_is_run_and_heard(checkout: Path) -> None:
    done = run(checkout)
    assert done.returncode == 0, done.stdout
    assert sorted(lanes(checkout)) == sorted([".venv/test", *LANES])
    for lane in ("wasm-rt", "lint", "riscv-test", "test uncompiled"):
        assert f"did {lane}\n" in done.stdout


@pytest.mark.parametrize("lane", LANES)
def test_a_lane_that_fails_fails_the_run(checkout: Path, lane: str) -> None:
    done = run(checkout, FAILS=lane)
    assert done.returncode != 0
    assert f"did {'test uncompiled' if lane in ('test', 'uncompiled') else lane}\n" in done.stdout


def test_what_is_left_out_is_said(checkout: Path) -> None:
    done = run(checkout, MISSING="some-package")
    assert done.returncode == 0, done.stdout
    assert sorted(lanes(checkout)) == sorted([".venv/test", "lint", "test", "uncompiled"])
    assert "ITS TESTS ARE SKIPPED: packages are not installed here: some-package" in done.stdout
    assert "NOTHING WAS TESTED ON A RISC-V MACHINE" in done.stdout


def test_what_went_on_beside_it_ends_with_it(checkout: Path) -> None:
    done = run(checkout, FAILS="lint", WAITS="wasm-rt")
    assert done.returncode == 3
    # It may not have begun yet.
    wait_until(
        lambda: not (checkout / "pid").exists() or not alive({int((checkout / "pid").read_text())}),
        20,
        "its end",
    )
