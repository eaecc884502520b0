"""A random user of the embedding API: no crash, no hang, our errors, right values; see `api_user`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.api_junk import public_api
from fuzz.api_user import User
from fuzz.api_weather import DIMENSIONS
from fuzz.profiles import user_runs, user_steps
from tinywasm.engine import native_available

ROOT = Path(__file__).resolve().parent.parent
_SECONDS = 1800
# Every night others; `FUZZ_SEED` gives those of a night again.
_NIGHTLY = os.environ.get("FUZZ_PROFILE") == "nightly"
_FIRST = int(os.environ.get("FUZZ_SEED", os.getpid() if _NIGHTLY else 0))


def _without() -> list[str]:
    """The kinds of weather that are left out, by `FUZZ_WITHOUT`; a wrong name is an error of the run."""
    return [name for name in os.environ.get("FUZZ_WITHOUT", "").split(",") if name]


def _run(engine: str, seed: int, place: Path) -> set[str]:
    """One run, in a process of its own; what it reached."""
    options = [part for name in _without() for part in ("--without", name)]
    command = [sys.executable, "-m", "fuzz.api_user", engine, str(seed), str(user_steps), *options]
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
    done = subprocess.run(
        command, cwd=place, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        timeout=_SECONDS, stdin=subprocess.DEVNULL, errors="replace",
    )  # fmt: skip
    again = "python " + " ".join(command[1:])
    assert done.returncode == 0, f"{again} ended with status {done.returncode}:\n{done.stderr[-8000:]}"
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("engine", ["python", "native"])
def test_a_random_user_meets_no_crash_and_no_wrong_value(engine: str, tmp_path: Path) -> None:
    if engine == "native" and not native_available:
        pytest.skip("the native engine is not built")
    reached: set[str] = set()
    for seed in range(_FIRST, _FIRST + user_runs):
        reached |= _run(engine, seed, tmp_path)
    steps = {name for name in dir(User) if name.startswith("step_")}
    assert reached == public_api() | steps | set(DIMENSIONS) - set(_without())
