"""Locks for which a fork waits, and the one that is held while what is not always wanted is loaded."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

_waited_for: list[threading.RLock] = []
# Those that a fork has acquired, by the thread that forks.
_acquired: dict[int, tuple[threading.RLock, ...]] = {}


def waited_for(lock: threading.RLock) -> threading.RLock:
    """Have each fork hold a lock meanwhile: in the child, nobody would release what another thread held."""
    _waited_for.append(lock)
    return lock


def _acquire() -> None:
    locks: tuple[threading.RLock, ...] = ()
    # While this waits for one, another thread may come with a further one.
    while len(locks) < len(_waited_for):
        _release(locks)
        locks = tuple(_waited_for)
        # The youngest first, as `os.register_at_fork` has it.
        for lock in reversed(locks):
            lock.acquire()
    _acquired[threading.get_ident()] = locks


def _release(locks: Iterable[threading.RLock]) -> None:
    for lock in locks:
        lock.release()


def _after() -> None:
    _release(_acquired.pop(threading.get_ident(), ()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_acquire, after_in_parent=_after, after_in_child=_after)

# Held while something is loaded: in the child of a fork, a module that another thread was loading would never
# be there, and whoever wants it would wait for ever.
loading = waited_for(threading.RLock())
