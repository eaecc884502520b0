"""Copies of packages whose extensions were built from something else than what lies beside them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def package(name: str, place: Path, *changed: str) -> Path:
    """A copy of a package in the folder `place`, with these of its files changed; the copy."""
    made = place / Path(name).name
    shutil.copytree(ROOT / name, made, copy_function=os.symlink, ignore=shutil.ignore_patterns("__pycache__"))
    for each in changed:
        content = (made / each).read_text()
        (made / each).unlink()
        (made / each).write_text(content + "\n")
    return made


def run(program: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Run a program with the packages of that folder before ours."""
    path = [place, *(ROOT / each for each in (".", "channel", "enclave", "host", "client"))]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=environment
    )
