"""The process in which one runtime runs one module: `python -m benchmarks.worker LOADER FILE [TASK]`.

It reports on its standard output, a JSON object a line: first that the module is loaded, and what that
cost, then, for each line `FUNCTION CALLS ARGUMENT...` on its standard input, the time of a call and its
result. TASK is nothing or one of these: with `load` it ends after loading; with `warm`, whatever compiles
while it runs is warmed up before the first measured call of a function, until nothing more is compiled; with
`host` it is, too, and the module gets the functions that calls.wat imports; with `threads` a call is made in
one thread, then in two at a time, each with an instance of its own.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Any, TextIO

from benchmarks.runtimes import GROWING, LOADERS

KIB = 1024
# In seconds: for how long nothing may be compiled until a function is warm, and what a runtime has for that.
QUIET = 2.0
LONGEST_WARM_UP = 20.0


def _timed(function: Callable[..., Any], calls: int, arguments: list[int]) -> dict[str, Any]:
    """Processor and wall time of one call in seconds, the mean of `calls`, and the last result."""
    result = None
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in repeat(None, calls):
        result = function(*arguments)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu": cpu / calls, "wall": wall / calls, "result": result}


class _Memory:
    """What the process needs beyond what it has when this is made, in bytes."""

    def __init__(self) -> None:
        # proc(5): sets the peak back to what is resident now. Without it the peak would be that of the
        # imports, or of the parent before the program was loaded.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = self._status("VmRSS")

    def peak(self) -> int:
        return max(self._status("VmHWM") - self._before, 0) * KIB

    @staticmethod
    def _status(field: str) -> int:
        """A figure of proc(5) in KiB, or the peak of the whole life where there is no such file."""
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
        except OSError:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak // KIB if sys.platform == "darwin" else peak
        return next(int(line.split()[1]) for line in lines if line.startswith(field))


def _load(loader: str, data: bytes, task: str) -> tuple[dict[str, Any], Any]:
    # What importing the runtime costs is no part of loading a module with it.
    LOADERS[loader](b"\0asm\1\0\0\0", False)
    gc.collect()
    memory = _Memory()
    wall, cpu = time.perf_counter(), time.process_time()
    functions = LOADERS[loader](data, task == "host")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu": cpu, "wall": wall, "memory": memory.peak()}, functions


def warm_up(function: Callable[..., Any], arguments: Sequence[int], made: Callable[[], int | None]) -> None:
    """Call a function until `made` has told the same size for `QUIET` seconds, and never None."""
    start = since = time.perf_counter()
    size = made()
    while time.perf_counter() - since < QUIET and time.perf_counter() - start < LONGEST_WARM_UP:
        function(*arguments)
        now = made()
        if now is None or now != size:
            size, since = now, time.perf_counter()


def _requests(
    lines: TextIO, functions: Any, made: Callable[[], int | None] | None
) -> Iterator[dict[str, Any]]:
    warm = set()
    for line in lines:
        name, calls, *rest = line.split()
        function, arguments = functions(name), list(map(int, rest))
        if made and name not in warm:
            warm_up(function, arguments, made)
            warm.add(name)
        yield _timed(function, int(calls), arguments)


def _in_threads(functions: Sequence[Callable[..., Any]], arguments: list[int]) -> float:
    """Wall time in seconds of one call of each function, each in its own thread."""
    threads = [threading.Thread(target=function, args=arguments) for function in functions]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def _thread_requests(lines: TextIO, instances: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for line in lines:
        name, _, *rest = line.split()
        functions, arguments = [instance(name) for instance in instances], list(map(int, rest))
        yield {"one": _in_threads(functions[:1], arguments), "two": _in_threads(functions, arguments)}


def _answers(task: str, loader: str, data: bytes, functions: Any) -> Iterator[dict[str, Any]]:
    if task == "load":
        return iter(())
    if task == "threads":
        return _thread_requests(sys.stdin, [functions, LOADERS[loader](data, False)])
    return _requests(sys.stdin, functions, GROWING.get(loader) if task in ("warm", "host") else None)


def main() -> int:
    loader, file, task = (*sys.argv[1:], "")[:3]
    # Whatever the runtimes print must not get between the reports.
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        data = Path(file).read_bytes()
        loaded, functions = _load(loader, data, task)
        print(json.dumps(loaded), file=reports)
        for report in _answers(task, loader, data, functions):
            print(json.dumps(report), file=reports)
    except Exception as error:
        # Any failure of a runtime is a result to show, of whatever kind its authors made it.
        print(json.dumps({"error": f"{type(error).__name__}: {error}".removesuffix(": ")}), file=reports)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
