"""What a process asks of the kernel: to end with its parent, and to leave no image of its memory."""

from __future__ import annotations

import ctypes
import os
import resource

PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
_PR_SET_PDEATHSIG = 1
_SIGKILL = 9

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> int:
    """The result of a call of the C library; OSError if it is below 0."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option: int, value: int) -> None:
    """prctl(2); OSError where the kernel refuses."""
    check(libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(item) for item in (value, 0, 0, 0))))


def die_with_parent(number: int = _SIGKILL) -> None:
    """Have the kernel send this process a signal, SIGKILL if not said otherwise, when who started it ends.

    Raises:
        OSError: it cannot.
    """
    prctl(_PR_SET_PDEATHSIG, number)


def leave_no_core() -> None:
    """Have the kernel write no image of this process's memory, and let nobody else of its user read that.

    Raises:
        OSError: the kernel does not do it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl(PR_SET_DUMPABLE, 0)
