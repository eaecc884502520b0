"""From a file to its result, cold: `python -m benchmarks.cold KERNEL ...`, or `FILE.wasm ARGUMENT ...`.

Each sample is a new process. Of kernels it takes the loading and one call, at three sizes; a file is a WASI
program, of which all of the process counts. The runtimes take turns; the table has the medians of wall time,
of processor time (without that of the process in which LLVM works), and of the ratio to the interpreter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.catalogue import BY_NAME, KERNELS, Kernel
from benchmarks.figures import seconds
from benchmarks.sessions import Failed, Finished, Worker, first_line, run_command

RUNTIMES = ("tinywasm", "tinywasm+auto", "tinywasm+compiled", "wasmtime-py")
TIMEOUT = 600.0
WASMTIME = "import sys; from benchmarks.cold import run_wasmtime; run_wasmtime(*sys.argv[1:])"


def run_wasmtime(file: str, *arguments: str) -> None:
    """Run a WASI program, as `tinywasm run` does."""
    wasmtime: Any = import_module("wasmtime")
    engine = wasmtime.Engine()
    linker, store, wasi = wasmtime.Linker(engine), wasmtime.Store(engine), wasmtime.WasiConfig()
    wasi.argv = [file, *arguments]
    wasi.inherit_stdout()
    wasi.preopen_dir(".", "/")
    store.set_wasi(wasi)
    linker.define_wasi()
    instance = linker.instantiate(store, wasmtime.Module(engine, Path(file).read_bytes()))
    try:
        instance.exports(store)["_start"](store)
    except wasmtime.ExitTrap as ended:
        sys.exit(ended.code)


def kernel_sample(kernel: Kernel, size: int, runtime: str) -> Finished:
    with Worker(runtime, kernel.wasm) as worker:
        loaded = worker.report(TIMEOUT)
        called = worker.request("run", 1, [size], TIMEOUT)
    cpu, wall = (loaded[each] + called[each] for each in ("cpu", "wall"))
    return Finished(cpu, wall, str(called["result"] & 0xFFFFFFFF))


def program_sample(words: Sequence[str], runtime: str) -> Finished:
    if runtime == "wasmtime-py":
        return run_command([sys.executable, "-c", WASMTIME, *words], TIMEOUT)
    tier = runtime.partition("+")[2] or "interpreter"
    run = "-m", "tinywasm", "run", "--tier", tier, "--dir", "."
    return run_command([sys.executable, *run, *words], TIMEOUT)


def measure(title: str, sample: Callable[[str], Finished], runtimes: Sequence[str], rounds: int) -> None:
    """Print the lines of one program."""
    found: dict[str, list[Finished]] = {each: [] for each in runtimes}
    failed = {}
    for _ in range(rounds):
        for each in runtimes:
            try:
                found[each].append(sample(each))
            except Failed as failure:
                failed[each] = first_line(str(failure))
    reference = found[runtimes[0]]
    for each in runtimes:
        if each in failed or not reference:
            print(f"{title:24} {each:18} {failed.get(each, '-')}", flush=True)
            continue
        wall, cpu = median(one.wall for one in found[each]), median(one.cpu for one in found[each])
        ratio = median(a.wall / b.wall for a, b in zip(found[each], reference, strict=True))
        same = "" if {one.output for one in found[each]} == {one.output for one in reference} else "  DIFFERS"
        print(f"{title:24} {each:18} {seconds(wall):>9} {seconds(cpu):>9} {ratio:7.3f}{same}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runtime", action="append", choices=RUNTIMES, help="these alone")
    parser.add_argument("--times", type=float, action="append", help="of the large size of kernels")
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="KERNEL or FILE")
    options = parser.parse_args(arguments)
    runtimes = options.runtime or RUNTIMES
    if any(each.endswith(".wasm") for each in options.program[:1]):
        measure(
            Path(options.program[0]).name, partial(program_sample, options.program), runtimes, options.rounds
        )
        return 0
    for kernel in [BY_NAME[each] for each in options.program] or KERNELS:
        for times in options.times or (0.1, 1.0, 10.0):
            size = max(int(kernel.large * times), 1)
            sample = partial(kernel_sample, kernel, size)
            measure(f"{kernel.name} {size}", sample, runtimes, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
