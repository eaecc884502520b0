"""One build at a time, which ends with all that it started."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1


def run(work: Callable[[], None], folder: Path) -> int:
    """Do the work in a process group of its own, while nobody else does any in `folder`.

    Where this process is told to end, or is killed, everything in that group ends: compilers would go on.
    Signals that are ignored, as `nohup` has it, stay so. Returns the status to exit with.
    """
    ending = [each for each in _ENDING if signal.getsignal(each) is not signal.SIG_IGN]
    awaited = (*ending, signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if not child:
        for each in ending:
            signal.signal(each, _end)
        _work(work, folder)
    told = 0
    while (number := signal.sigwait(awaited)) != signal.SIGCHLD:
        told = number
        os.kill(child, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 + told if told else status if status >= 0 else 128 - status


def _work(work: Callable[[], None], folder: Path) -> None:
    """The child's part, which does not return."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_ENDING, signal.SIGCHLD))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "build.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another build is under way in {folder}: this one waits for its end", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        work()
    sys.exit()


def _end(number: int, frame: FrameType | None) -> None:
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    raise SystemExit("interrupted")
