"""A runtime at work on one module, behind one interface: a Python process, a command, native code."""

from __future__ import annotations

import json
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.catalogue import ROOT

LOAD_TIMEOUT = 60.0
_STARTUPS = 3


class Failed(Exception):
    """The runtime cannot do it; the message is the reason, one line, for the table."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One call: processor and wall time in seconds, and the result as an unsigned 32-bit number."""

    cpu: float
    wall: float
    result: int


class Session(ABC):
    """One module, loaded, as a context manager. Entering it raises `Failed` where loading fails."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    @abstractmethod
    def sample(self, size: int, calls: int, timeout: float) -> Sample:
        """`run(size)`, `calls` times where each is too short to time. Raises `Failed`."""


def first_line(message: str, limit: int = 100) -> str:
    """A foreign error message, fit for a table."""
    line = next((line.strip() for line in message.splitlines() if line.strip()), "no message")
    line = line.replace("|", "/").replace(str(ROOT) + "/", "")
    return line if len(line) <= limit else line[: limit - 3] + "..."


class Worker:
    """A process of worker.py. The context manager ends it, whatever it is doing."""

    def __init__(
        self, loader: str, file: Path, task: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = [
            sys.executable,
            "-m",
            "benchmarks.worker",
            loader,
            str(file),
            *([task] if task else []),
        ]
        self._environment = {**(environment or os.environ), "PYTHONPATH": str(ROOT)}

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def report(self, timeout: float) -> dict[str, Any]:
        """The next report, within `timeout` seconds. Raises `Failed`."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        if not ready:
            raise Failed(f"took more than {timeout:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"crashed with status {self._process.wait()}")
        report: dict[str, Any] = json.loads(line)
        if "error" in report:
            raise Failed(first_line(report["error"]))
        return report

    def request(self, function: str, calls: int, arguments: Sequence[int], timeout: float) -> dict[str, Any]:
        """Call a function of the module `calls` times. Raises `Failed`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(" ".join(map(str, [function, calls, *arguments])).encode() + b"\n")
        except BrokenPipeError:
            raise Failed(f"crashed with status {self._process.wait()}") from None
        return self.report(timeout)


class WorkerSession(Worker, Session):
    """An in-process runtime: the call alone is timed."""

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.report(LOAD_TIMEOUT)
        except BaseException:
            self.__exit__()
            raise
        return self

    def sample(self, size: int, calls: int, timeout: float) -> Sample:
        report = self.request("run", calls, [size], timeout)
        return Sample(report["cpu"], report["wall"], report["result"] & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that has ended: its times in seconds and its whole output."""

    cpu: float
    wall: float
    output: str


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_command(command: Sequence[str], timeout: float) -> Finished:
    """Run a command to its end. Raises `Failed` for a time-out or a status that is not 0."""
    # The children's resource usage counts only those waited for: the difference is this one's.
    before, start = _children(), time.perf_counter()
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"took more than {timeout:.0f} s") from None
    wall, cpu = time.perf_counter() - start, _children() - before
    if done.returncode:
        raise Failed(first_line(done.stderr or done.stdout))
    return Finished(cpu, wall, done.stdout + done.stderr)


class CommandSession(Session):
    """A runtime's command: each call is a process, and what `run(0)` takes is subtracted as start-up.

    `pattern` finds the result in the output.
    """

    def __init__(self, command: Sequence[str], pattern: str) -> None:
        self._command = command
        self._pattern = re.compile(pattern, re.MULTILINE)
        self.startup = 0.0
        self._wall = 0.0

    def __enter__(self) -> Self:
        idle = [run_command([*self._command, "0"], LOAD_TIMEOUT) for _ in range(_STARTUPS)]
        self.startup = min(finished.cpu for finished in idle)
        self._wall = min(finished.wall for finished in idle)
        return self

    def sample(self, size: int, calls: int, timeout: float) -> Sample:
        done = run_command([*self._command, str(size)], timeout)
        match = self._pattern.search(done.output)
        if not match:
            raise Failed(f"no result in the output: {first_line(done.output)}")
        result = int(match[1], 0) & 0xFFFFFFFF
        return Sample(max(done.cpu - self.startup, 0.0), max(done.wall - self._wall, 0.0), result)


class SelfTimedSession(Session):
    """A program that times itself, as native.c does."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    def sample(self, size: int, calls: int, timeout: float) -> Sample:
        done = run_command([*self._command, str(size), str(calls)], timeout)
        result, nanoseconds = map(int, done.output.split())
        seconds = nanoseconds / 1e9 / calls
        return Sample(seconds, seconds, result)
