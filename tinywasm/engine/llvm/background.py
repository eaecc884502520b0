"""One thread for what can wait: it does one thing after the other.

When there has been nothing to do for a while it ends, and LLVM's process with it. It gives way while it holds
the interpreter's lock. A process that ends waits for the step at hand; where LLVM has no process of its own
that is LLVM's, which must not work on while its library is taken down. In the child of a fork the work begins
anew.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any
from weakref import WeakMethod

from tinywasm.interruption import obeying
from tinywasm.loading import waited_for

# For how many seconds the thread keeps the interpreter's lock, as far as it is asked to give way.
_PIECE = 0.001
# For how many seconds the thread waits for more to do.
LINGER = 10.0
# What is left to do; the first is being done.
_waiting: deque[tuple[WeakMethod[Callable[[Any], None]], Any, bool]] = deque()
_worker: threading.Thread | None = None
_ending = False
# Reentrant, since finalizers may come here.
_lock = waited_for(threading.RLock())
_more = threading.Condition(_lock)


class _Ending(BaseException):
    """The process is about to end."""


def do(method: Callable[[Any], None], argument: Any, *, urgent: bool = True) -> None:
    """Call a method of an object by and by, if there is still the object then; first what is urgent."""
    with _lock:
        # The first is being done.
        others = (place for place, each in enumerate(_waiting) if place and urgent and not each[2])
        _waiting.insert(next(others, len(_waiting)), (WeakMethod(method), argument, urgent))
        _more.notify()
        _start()


def busy() -> bool:
    """Whether something is left to do."""
    return bool(_waiting)


def _start() -> None:
    global _worker
    if _worker is None and _waiting and not _ending:
        thread = threading.Thread(target=_work, name="tinywasm, compiling", daemon=True)
        # Where there can be no further thread, the next call tries again.
        with suppress(RuntimeError):
            thread.start()
            _worker = thread


def _work() -> None:
    global _worker
    while True:
        with _lock:
            if not _waiting and not _ending:
                _more.wait(LINGER)
            if _ending or not _waiting:
                _worker = None
                break
            method, argument, _ = _waiting[0]
        work = method()
        if work is not None:
            with suppress(_Ending), obeying(_Way().give):
                work(argument)
        del work
        with _lock:
            _waiting.popleft()
    _llvm().rest()


def _llvm() -> ModuleType:
    """What has LLVM work, which is loaded late."""
    from tinywasm.engine.llvm import apart

    return apart


class _Way:
    """Gives way to other threads now and then."""

    def __init__(self) -> None:
        self.since = time.monotonic()

    def give(self) -> None:
        if _ending:
            raise _Ending
        if time.monotonic() - self.since > _PIECE:
            # As long as it takes whoever waits for the lock to wake up.
            time.sleep(_PIECE / 10)
            self.since = time.monotonic()


def _end() -> None:
    global _ending
    with _lock:
        _ending = True
        _more.notify()
    worker = _worker
    if worker is not None:
        _llvm().end()
        worker.join()


def _forked() -> None:
    global _worker, _more
    _worker, _more = None, threading.Condition(_lock)
    with _lock:
        _start()


atexit.register(_end)
os.register_at_fork(after_in_child=_forked)
