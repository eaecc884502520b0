"""What is asked of it where there is one thread, and no further one."""

from __future__ import annotations

from _thread import TIMEOUT_MAX as TIMEOUT_MAX
from _thread import RLock as RLock
from _thread import _local as local
from _thread import get_ident
from types import SimpleNamespace
from typing import NoReturn

__all__ = ["TIMEOUT_MAX", "RLock", "Timer", "local", "main_thread"]


class Timer:
    """A thread that waits."""

    def __init__(self, *arguments: object) -> None:
        pass

    def start(self) -> NoReturn:
        """RuntimeError, as where the system has no thread left."""
        raise RuntimeError("can't start new thread")


def main_thread() -> SimpleNamespace:
    """The only one."""
    return SimpleNamespace(ident=get_ident())
