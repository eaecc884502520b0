"""What builds the application for Keystone: a build that was interrupted does no harm to the next one."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or importlib.util.find_spec("distutils") is None,
    reason="it is built on Linux, with a Python that has distutils",
)

COMPILE = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "enclave" / "keystone")!r})
import build
build.BUILD = Path(sys.argv[1])
print(build.compile_object(build.NATIVE, build.BUILD / "one.c", []).read_text(), end="")
"""

COMPILER = """\
#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = -o ] && made=$2; shift; done
printf half >"$made"
[ -n "$KILLED" ] && kill -9 $PPID && exit
printf whole >"$made"
"""


def compiled(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILE, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": str(folder), **variables},
    )


def test_half_an_object_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "one.c").write_text("int one;\n")
    (tmp_path / "gcc").write_text(COMPILER)
    (tmp_path / "gcc").chmod(0o755)
    assert compiled(tmp_path, KILLED="yes").returncode == -signal.SIGKILL
    done = compiled(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole", "")
    assert compiled(tmp_path, KILLED="yes").stdout == "whole", "it is compiled once"


def test_missing_packages_are_named(tmp_path: Path) -> None:
    script = ROOT / "enclave" / "keystone" / "build.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, "riscv64"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": str(tmp_path)},
    )
    command = "sudo apt-get install dpkg-dev gcc make gcc-riscv64-unknown-elf"
    assert done.returncode == 1
    assert done.stderr == f"packages are missing: {command.replace('install', 'install apt')}\n"
    assert f"    {command}\n" in (ROOT / "docs" / "keystone.md").read_text()
