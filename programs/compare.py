"""Runs a program on every engine and tier of ours and on wasmtime, and says where they differ."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from programs.catalogue import Program
from tinywasm.engine import native_available

ROOT = Path(__file__).resolve().parent.parent
# Who runs a program, and what the environment says of engine and tier. The python engine gets no large ones.
WASMTIME = "wasmtime"
WAYS: dict[str, dict[str, str]] = {
    "native": {"TINYWASM_ENGINE": "native", "TINYWASM_TIER": "interpreter"},
    "auto": {"TINYWASM_ENGINE": "native", "TINYWASM_TIER": "auto"},
    "compiled": {"TINYWASM_ENGINE": "native", "TINYWASM_TIER": "compiled"},
    "python": {"TINYWASM_ENGINE": "python"},
    WASMTIME: {},
}
# Seconds: a large program is compiled before it runs.
_LIMIT = 3600


@dataclass(frozen=True)
class Outcome:
    """What a run did: `files` are those in its folder afterwards."""

    stdout: bytes
    status: int
    files: dict[str, bytes]
    stderr: bytes
    seconds: float


def ways(program: Program) -> list[str]:
    """Those that are there, and that the program does not take too long for."""
    found = [way for way in WAYS if WAYS[way].get("TINYWASM_ENGINE") != "native" or native_available]
    if importlib.util.find_spec("llvmlite") is None:
        found = [way for way in found if way not in ("auto", "compiled")]
    return [way for way in found if way != "python" or not program.large]


def outcomes(program: Program, folder: Path, ways: Sequence[str]) -> dict[str, Outcome]:
    """Of the program in each way, in a folder of its own. Raises `Absent`."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = program.prepare(folder)
    return {way: _run(way, program, arguments, folder / way) for way in ways}


def _run(way: str, program: Program, arguments: Sequence[str], folder: Path) -> Outcome:
    folder.mkdir()
    for name, text in program.files.items():
        (folder / name).write_text(text)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        **WAYS[way],
        "YOWASP_CACHE_DIR": str(folder.parent / f"cache of {way}"),
    }
    runtime = WASMTIME if way == WASMTIME else "tinywasm"
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
