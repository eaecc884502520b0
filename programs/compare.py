"""Runs a program on both runtimes, and says where they differ."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from programs.catalogue import Program

ROOT = Path(__file__).resolve().parent.parent
RUNTIMES = ("tinywasm", "wasmtime")
# Seconds: wasmtime compiles a large program before it runs it.
_LIMIT = 1800


@dataclass(frozen=True)
class Outcome:
    """What a run did: `files` are those in its folder afterwards."""

    stdout: bytes
    status: int
    files: dict[str, bytes]
    stderr: bytes
    seconds: float


def outcomes(program: Program, folder: Path, engine: str = "auto") -> dict[str, Outcome]:
    """Of the program on each runtime, in a folder of its own. Raises `Absent`."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = program.prepare(folder)
    return {runtime: _run(runtime, program, arguments, folder / runtime, engine) for runtime in RUNTIMES}


def _run(runtime: str, program: Program, arguments: Sequence[str], folder: Path, engine: str) -> Outcome:
    folder.mkdir()
    for name, text in program.files.items():
        (folder / name).write_text(text)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TINYWASM_ENGINE": engine,
        "YOWASP_CACHE_DIR": str(folder.parent / f"cache of {runtime}"),
    }
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "programs.launch", runtime, *arguments],
        cwd=folder, env=environment, input=program.stdin.encode(), capture_output=True, timeout=_LIMIT,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return Outcome(done.stdout, done.returncode, files, done.stderr, seconds)


def differences(ours: Outcome, theirs: Outcome) -> list[str]:
    """What of two outcomes is not the same, time aside."""
    found = [name for name in ("stdout", "stderr", "status") if getattr(ours, name) != getattr(theirs, name)]
    names = sorted(ours.files.keys() | theirs.files.keys())
    return found + [f"file {name}" for name in names if ours.files.get(name) != theirs.files.get(name)]
