"""LLVM in several processes at a time, for modules that are compiled ahead of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import active_children, get_context

from tinywasm.engine.llvm import codegen
from tinywasm.engine.llvm.machine import Job, in_turn
from tinywasm.interruption import look


def in_processes(count: int, jobs: Iterator[Job]) -> Iterator[bytes]:
    """Object files, of which so many are made at a time. Raises `ChildProcessError` where a process ended."""
    first = list(islice(jobs, 2))
    if count < 2 or len(first) < 2:
        yield from in_turn(chain(first, jobs))
        return
    # What is forked of a process with threads may wait for ever.
    others = set(active_children())
    pool = ProcessPoolExecutor(count, get_context("spawn"))
    waiting: deque[Future[bytes]] = deque()
    try:
        for job in chain(first, jobs):
            look()
            waiting.append(pool.submit(codegen.object_code, *job))
            # What waits takes memory.
            if len(waiting) > 2 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise ChildProcessError("a process in which LLVM worked was ended") from None
    except BaseException:
        # LLVM would go on to the end of what it has begun.
        for process in set(active_children()) - others:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
