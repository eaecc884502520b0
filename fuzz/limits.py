"""Runs cases in a process of their own that sees to the limits of time and memory."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
MAX_SECONDS = 1.0
MAX_BYTES = 200 << 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case.

    `ending` is `accepted`, the class of an error of ours, or `crashed`; `detail` the error's text or a
    traceback. `seconds` is processor time, `memory` how many bytes the process grew.
    """

    ending: str
    detail: str
    seconds: float
    memory: int


def address_space() -> int:
    """How many bytes of it this process has. On Linux only."""
    with open("/proc/self/statm", encoding="ascii") as pages:
        return int(pages.read().split()[0]) * resource.getpagesize()


class Examiner:
    """Gives cases to a worker process; see `worker` for what happens to them there."""

    def __enter__(self) -> Examiner:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()

    def examine(self, case: bytes | str) -> Outcome:
        """Read the case as binary or text and validate it."""
        assert self._process.stdin and self._process.stdout
        kind = b"T" if isinstance(case, str) else b"B"
        data = case.encode(errors="surrogatepass") if isinstance(case, str) else case
        self._process.stdin.write(kind + struct.pack("<I", len(data)) + data)
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))

    def check(self, case: bytes | str) -> Outcome:
        """As `examine`. Raises `AssertionError` unless the case ends well and within the limits."""
        outcome = self.examine(case)
        # Even processor time depends on who else uses the processor: once in time is enough.
        for _ in range(2):
            if outcome.seconds > MAX_SECONDS:
                outcome = self.examine(case)
        assert outcome.ending != "crashed", outcome.detail
        assert outcome.seconds <= MAX_SECONDS, outcome
        assert outcome.memory <= MAX_BYTES, outcome
        return outcome
