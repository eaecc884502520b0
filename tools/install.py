"""Installs this checkout with pip, and says what it is at: compiling takes minutes.

What pip itself says goes to a log, whose end is shown where pip fails.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

# What begins with one of pip's lines, or of those that it passes on.
_STEPS = (
    (re.compile(r"\s*Collecting ([\w.-]+)"), "fetching {}"),
    (re.compile(r"\s*(?:\[\d+/\d+\] )?Cythonizing (\S+)"), "translating {} to C"),
    (re.compile(r"\s*building '(\S+)' extension"), "compiling {}"),
    (re.compile(r"()Installing collected packages"), "installing what was built and fetched"),
)
# Seconds after which a step that goes on is named again.
_PULSE = 15.0
_SHOWN_LINES = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Install; returns pip's exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirement", help="as pip takes it, such as .[confidential]")
    parser.add_argument("log", type=Path, help="the file that gets pip's output")
    options = parser.parse_args(arguments)
    print(f"Installing {options.requirement}; what is in C takes a minute or two to compile.", flush=True)
    # Without -v it says nothing of what it compiles.
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-v"]
    status = follow([*pip, "-e", options.requirement], options.log, lambda line: print(line, flush=True))
    if status:
        lines = options.log.read_text(encoding="utf-8").splitlines()
        print(
            *lines[-_SHOWN_LINES:],
            f"pip failed; all that it said is in {options.log}",
            sep="\n",
            file=sys.stderr,
        )
    return status


def follow(command: Sequence[str], log: Path, say: Callable[[str], None], pulse: float = _PULSE) -> int:
    """Run a command whose output goes to `log`; `say` gets a line for each step. Its exit status."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    lines: SimpleQueue[str | None] = SimpleQueue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    step, since = "preparing", time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        while True:
            try:
                line = lines.get(timeout=pulse)
            except Empty:
                say(f"  still {step} ({time.monotonic() - since:.0f} s)")
                continue
            if line is None:
                return process.wait()
            file.write(line)
            found = _step(line)
            if found and found != step:
                step, since = found, time.monotonic()
                say(f"  {step}")


def _read(process: subprocess.Popen[str], lines: SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _step(line: str) -> str | None:
    for pattern, words in _STEPS:
        match = pattern.match(line)
        if match:
            return words.format(match[1])
    return None


if __name__ == "__main__":
    sys.exit(main())
