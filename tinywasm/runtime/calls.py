"""Whose a store is: one thread's at a time, and its calls end in the reverse order of their beginning.

The native engine keeps to the same in C.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from tinywasm.errors import WasmError


class _Thread:
    """Stands for a thread, as no other object ever will: identifiers are given again after a thread's end.

    `forks` is that of the process in which the thread was last seen alive.
    """

    def __init__(self) -> None:
        self.forks = forks


class _Here(threading.local):
    def __init__(self) -> None:
        self.thread = _Thread()


# How often this process has become a child.
forks = 0
here = _Here()


def _forked() -> None:
    """The thread that forked is the only one in the child."""
    global forks
    forks += 1
    here.thread.forks = forks


os.register_at_fork(after_in_child=_forked)


def in_use(before_fork: bool) -> WasmError:
    """The refusal of a store that another thread uses, or used when the process was forked."""
    if before_fork:
        return WasmError("the store was in use by another thread when this process was forked")
    return WasmError("the store is in use by another thread")


def out_of_order() -> WasmError:
    """The refusal to go on with a call before a later one has ended."""
    return WasmError("a call that began later in this store has not ended: give each greenlet its own store")


class Call:
    """A call from Python, of this thread.

    `depth` counts the activations of Wasm functions below what it calls next, `top` the slots that they take,
    as `engine.recursion` has it; `caller` is the instance whose code calls the host function under way.
    `python_stack` is how deep Python's stack may be while engines call Python functions that they made, 0
    where nobody asked yet. `roomy` says that a call from a host function of this one found enough of the
    thread's stack left. Setting `over` ends it, whatever happens next. One that does not `run` code only
    keeps other threads out.
    """

    __slots__ = ("caller", "depth", "over", "python_stack", "roomy", "run", "thread", "top")

    def __init__(self, run: bool = True) -> None:
        self.thread = here.thread
        self.run = run
        self.depth = 0
        self.top = 0
        self.python_stack = 0
        self.roomy = False
        self.caller: Any = None
        self.over = False


class Calls:
    """The calls of one store under way, the latest first.

    A signal handler may run between any two steps here, and may raise: a call that could not be taken out
    of the list is over all the same, and the next one tidies up.
    """

    def __init__(self) -> None:
        # Has the key "thread" while a thread has calls here; `setdefault` claims the store in one step.
        self._owner: dict[str, _Thread] = {}
        self.open: list[Call] = []

    def guard(self) -> None:
        """Raises `WasmError` while another thread has calls here."""
        owner = self._owner.get("thread")
        if owner is not None and owner is not here.thread:
            raise in_use(owner.forks != forks)

    def begin(self, call: Call) -> Call | None:
        """Claim the store for the call's thread; the call of which a host function makes this one.

        Raises `WasmError` where another thread has the store. Either way the call is to be ended.
        """
        below, thread = None, call.thread
        # As `latest`: every call goes through here.
        for each in self.open:
            if each.thread is thread and not each.over:
                below = each
                break
        # First, or a signal handler's call might give the store away at its end.
        self.open.insert(0, call)
        owner = self._owner.setdefault("thread", thread)
        if owner is not thread:
            raise in_use(owner.forks != forks)
        if below is not None:
            call.depth, call.top = below.depth, below.top
            call.python_stack = below.python_stack
        return below

    def end(self, call: Call) -> None:
        """Take out a call that is over."""
        calls = self.open
        if calls and calls[0] is call:
            # If a signal handler's call is before it by now, that one is over.
            del calls[0]
        else:
            self._remove(call)
        if calls:
            if (calls[0].thread is call.thread and not calls[0].over) or self.latest(call.thread) is not None:
                return
            for each in [each for each in self.open if each.over]:
                self._remove(each)
        if self._owner.get("thread") is call.thread:
            self._owner.clear()

    def _remove(self, call: Call) -> None:
        try:
            self.open.remove(call)
        except ValueError:
            # A call that a signal handler made was faster.
            return

    def latest(self, thread: _Thread | None = None) -> Call | None:
        """The latest call of a thread, by default this one, that is not over."""
        thread = thread or here.thread
        for call in self.open:
            if call.thread is thread and not call.over:
                return call
        return None

    def in_order(self, call: Call) -> None:
        """Raises `WasmError` unless the call is the thread's latest."""
        if self.latest(call.thread) is not call:
            raise out_of_order()

    def running(self) -> int:
        """How many calls that run code are under way."""
        return sum(call.run and not call.over for call in self.open)
