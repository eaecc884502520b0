"""Commands that the build runs: what they say goes to a log, and none of them outlives us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from schannel.process import die_with_parent

from .errors import RiscvError

_STOP_TIMEOUT = 10.0

_GROUP = """trap 'trap "" TERM; kill 0; wait' TERM
"$@" & wait $!"""
"""Runs a command, and ends with all that it started when told to: a compiler's own processes would go on."""


def _say(line: str) -> None:
    print(line, flush=True)


def start(
    command: Sequence[str | Path],
    *,
    output: IO[bytes],
    errors: IO[bytes] | int,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    told: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a process that is told to end, by that signal, when this one ends; Ctrl-C is for us alone."""
    return subprocess.Popen(
        [*map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
        preexec_fn=lambda: die_with_parent(told),
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that `start` started, and those that it started; by force where it takes long."""
    if process.poll() is None:
        _send(process, signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            _send(process, signal.SIGKILL)
            process.wait()


def _send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def run(
    what: str,
    command: Sequence[str | Path],
    log: Path,
    *,
    output: Path | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command to its end; `what` names it in the error.

    `output` is a file that gets its standard output, which otherwise goes to `log` with its standard error.

    Raises:
        RiscvError: it failed.
    """
    run_together(what, [command], log, output=output, folder=folder, environment=environment)


def run_together(
    what: str,
    commands: Sequence[Sequence[str | Path]],
    log: Path,
    *,
    at_once: int = 1,
    output: Path | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    say: Callable[[str], object] = _say,
    pulse: float = 15.0,
) -> None:
    """`run` for several commands, so many of them at a time.

    `say` gets a line every `pulse` seconds, so that nobody takes long work for the end of it.
    """
    since = time.monotonic()
    waiting, running = list(commands), list[subprocess.Popen[bytes]]()
    with contextlib.ExitStack() as stack:
        said = stack.enter_context(log.open("ab"))
        written = said if output is None else stack.enter_context(output.open("wb"))
        while waiting or running:
            while waiting and len(running) < at_once:
                process = start(
                    ["sh", "-c", _GROUP, "sh", *waiting.pop(0)],
                    output=written,
                    errors=said,
                    folder=folder,
                    environment=environment,
                    told=signal.SIGTERM,
                )
                stack.callback(stop, process)
                running.append(process)
            if _wait(running.pop(0), what, since, say, pulse):
                raise RiscvError(f"{what} failed: {last_line(log)} ({log} has all of it)")


def _wait(
    process: subprocess.Popen[bytes], what: str, since: float, say: Callable[[str], object], pulse: float
) -> int:
    """A process's status at its end; `say` is told meanwhile that `what` goes on, since then."""
    while True:
        left = pulse - (time.monotonic() - since) % pulse
        try:
            return process.wait(left)
        except subprocess.TimeoutExpired:
            say(f"  still {what} ({time.monotonic() - since:.0f} s)")


def last_line(log: Path) -> str:
    """The last line of a log that says anything."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
