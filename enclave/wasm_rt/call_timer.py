"""The time limit of calls, with the process's one timer.

Setting the timer takes longer than a short call does. So it is left running when a call ends, and set anew
only where it would come too late; coming too early, it is set for what is left.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

available = True
"""Whether there is a timer: without one, calls end by their fuel alone."""


class _Timer:
    """When the timer comes, what runs, and when that has to end; times as `time.monotonic` gives them."""

    def __init__(self) -> None:
        self.due = math.inf
        self.deadline = math.inf
        self.interrupt: Callable[[], None] | None = None


_timer = _Timer()


def start(interrupt: Callable[[], None], seconds: float) -> None:
    """Have `interrupt` called, as signal handlers are, after so long, unless `stop` comes first."""
    if not available:
        return
    _timer.deadline = time.monotonic() + seconds
    _timer.interrupt = interrupt
    if _timer.deadline < _timer.due:
        _set(seconds)


def stop() -> None:
    """The call has ended."""
    _timer.interrupt = None


def _set(seconds: float) -> None:
    signal.signal(signal.SIGALRM, _expire)
    _timer.due = _timer.deadline
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _expire(_signal: int, _frame: FrameType | None) -> None:
    _timer.due = math.inf
    if _timer.interrupt is None:
        return
    left = _timer.deadline - time.monotonic()
    if left > 0:
        _set(left)
    else:
        _timer.interrupt()


# A child inherits what is noted here, but no timer.
os.register_at_fork(after_in_child=_timer.__init__)  # type: ignore[misc]
