"""What happens around a program that uses the API: threads, signals, forks, greenlets."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import greenlet

from tinywasm import Interrupted, WasmError

if TYPE_CHECKING:
    from fuzz.api_user import User

_PATIENCE = 30


class Alarm(Exception):
    """Raised by the handler of a signal."""


def threads(user: User) -> None:
    """Another thread finds the store in use while a host function runs, has it after, and interrupts it."""
    answers: list[Any] = []

    def other() -> None:
        attempts: list[Callable[[], Any]] = [
            lambda: user.exports.load(0),
            lambda: user.glob.value(user.store),
        ]
        for attempt in attempts:
            try:
                answers.append(attempt())
            except WasmError as error:
                answers.append(error)
        # What the garbage of a thread holds goes with it.
        user.junk.step()

    def run() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(_PATIENCE)
        assert not thread.is_alive(), "a thread waits for ever"

    def host(number: int) -> int:
        run()
        return number

    user.in_host = host
    try:
        user.exports.call(5)
    finally:
        user.in_host = lambda number: number
    assert len(answers) == 2 and all(isinstance(answer, WasmError) for answer in answers)
    answers.clear()
    run()
    if user.store in user.running:
        assert len(answers) == 2 and all(isinstance(answer, WasmError) for answer in answers)
    else:
        assert answers == [user.bytes[0], user.number]
    stopper = threading.Timer(0.002, user.store.interrupt)
    stopper.start()
    try:
        user.exports.spin()
    except Interrupted:
        stopper.join(_PATIENCE)
        return
    raise AssertionError("an endless loop ended")


def signals(user: User) -> None:
    """A handler that raises ends a call, and one that calls into the store does not disturb it."""
    calls = 0

    def handler(number: int, frame: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Alarm
        assert user.exports.gget() == user.number

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        user.exports.spin()
    except Alarm:
        return
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    raise AssertionError("an endless loop ended")


def forks(user: User) -> None:
    """The child goes on where the parent was, also inside of a host function."""

    def fork() -> None:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                user.store.set_deadline(_PATIENCE)
                assert user.exports.load(0) == user.bytes[0]
                user.exports.gset(77)
                assert user.exports.gget() == 77
                status = 0
            finally:
                os._exit(status)
        end = time.monotonic() + _PATIENCE
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise AssertionError("a forked process hangs")
            time.sleep(0.001)
        assert os.waitstatus_to_exitcode(status) == 0

    def host(number: int) -> int:
        fork()
        return number

    if user.rng.random() < 0.5:
        fork()
        return
    user.in_host = host
    try:
        assert user.exports.call(6) == 7
    finally:
        user.in_host = lambda number: number


def greenlets(user: User) -> None:
    """Calls of several greenlets, which come and go in any order; those out of turn end with an error."""
    main = greenlet.getcurrent()
    ends: list[Any] = []

    def host(number: int) -> int:
        main.switch()
        return number

    def work(number: int) -> None:
        try:
            ends.append(user.exports.call(number) == number + 1)
        except WasmError as error:
            ends.append(error)

    user.in_host = host
    workers = [greenlet.greenlet(work) for _ in range(user.rng.randrange(1, 5))]
    try:
        for number, worker in enumerate(workers):
            worker.switch(number)
        user.rng.shuffle(workers)
        for worker in workers:
            worker.switch()
    finally:
        user.in_host = lambda number: number
    assert len(ends) == len(workers) and all(end is True or isinstance(end, WasmError) for end in ends)


DIMENSIONS: dict[str, Callable[[User], None]] = {
    "threads": threads,
    "signals": signals,
    "forks": forks,
    "greenlets": greenlets,
}
