"""Fuzzing guided by coverage runs where atheris is, and says so where it is not."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from fuzz.limits import ROOT

FOLDERS = [ROOT, *(ROOT / name for name in ("channel", "enclave", "host", "client"))]


def _guided(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    program = f"import sys\n{before}\nfrom fuzz.guided import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, FOLDERS))},
        timeout=300,
    )


def test_without_atheris_it_says_so() -> None:
    done = _guided(before="import importlib.util\nimportlib.util.find_spec = lambda name: None")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("coverage-guided fuzzing did not run: atheris is not installed")


def test_some_inputs() -> None:
    done = _guided("--runs", "200", "prologue")
    if importlib.util.find_spec("atheris") is None:
        assert done.returncode == 2
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[1].split()[:2] == ["prologue", "200"]
