"""The short profile of the soak: the long one is run by make."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT, environment

pytestmark = pytest.mark.slow


@pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes")
def test_short_profile() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "soak", "--short"],
        cwd=ROOT,
        env=environment(ROOT),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 4
