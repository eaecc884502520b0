"""From a file to its result, cold: `python -m benchmarks.cold KERNEL ...`, or `FILE.wasm ARGUMENT ...`.

Each sample is a new process. Of kernels it takes the loading and one call, at three sizes; a file is a WASI
program, of which all of the process counts. The runtimes take turns; a line has the medians of wall time,
of processor time (without that of the process in which LLVM works), and of the ratio to the interpreter.
A run over all kernels writes COLD.md beside this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.catalogue import BY_NAME, HERE, KERNELS, Kernel
from benchmarks.figures import geometric_mean, number, seconds
from benchmarks.report import table
from benchmarks.run import facts_of
from benchmarks.sessions import Failed, Finished, Worker, first_line, run_command
from tinywasm.engine import native_available

RUNTIMES = ("tinywasm", "tinywasm+auto", "tinywasm+compiled", "wasmtime-py")
COLUMNS = ("tinywasm native", "tinywasm native, auto", "tinywasm native, compiled", "wasmtime-py")
TIMEOUT = 600.0
PAGE = HERE / "COLD.md"
MEAN = "**geometric mean**"
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


@dataclass(frozen=True, slots=True)
class Cold:
    """What one runtime took for one program: medians, in seconds, and of the ratio to the first runtime's."""

    program: str
    runtime: str
    wall: float
    cpu: float
    ratio: float
    note: str = ""


def measure(
    title: str, sample: Callable[[str], Finished], runtimes: Sequence[str], rounds: int
) -> Iterator[Cold]:
    """One for each runtime that could do it; its line is printed, or why it could not."""
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
        yield (one := _cold(title, each, found[each], reference))
        print(
            f"{title:24} {each:18} {seconds(one.wall):>9} {seconds(one.cpu):>9} {one.ratio:7.3f}{one.note}",
            flush=True,
        )


def _cold(title: str, runtime: str, found: Sequence[Finished], reference: Sequence[Finished]) -> Cold:
    ratio = median(a.wall / b.wall for a, b in zip(found, reference, strict=True))
    same = {one.output for one in found} == {one.output for one in reference}
    wall, cpu = median(one.wall for one in found), median(one.cpu for one in found)
    return Cold(title, runtime, wall, cpu, ratio, "" if same else "  DIFFERS")


def page(every: Mapping[float, Sequence[Cold]], facts: Mapping[str, str]) -> str:
    """The whole of COLD.md, from what was measured of kernels, by how many times the work of "large"."""
    parts = ["# From a file to its result", "\n".join(f"- {name}: {value}" for name, value in facts.items())]
    parts.append(
        "Wall time of loading a kernel and calling it once, in a new process where the runtime is imported "
        "already, relative to the interpreter's, which is in seconds: medians."
    )
    for times, found in every.items():
        parts += [f"## {times:g} times the work", table(["kernel", *COLUMNS], _rows(found))]
    return "\n\n".join(parts) + "\n"


def _rows(found: Sequence[Cold]) -> Iterator[list[str]]:
    for program in dict.fromkeys(one.program for one in found):
        mine = {one.runtime: one for one in found if one.program == program}
        cells = [number(mine[each].ratio) if each in mine else "-" for each in RUNTIMES[1:]]
        yield [program, seconds(mine[RUNTIMES[0]].wall), *cells]
    walls = [one.wall for one in found if one.runtime == RUNTIMES[0]]
    means = (geometric_mean(one.ratio for one in found if one.runtime == each) for each in RUNTIMES[1:])
    yield [MEAN, seconds(geometric_mean(walls) or 0), *(number(mean) if mean else "-" for mean in means)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runtime", action="append", choices=RUNTIMES, help="these alone")
    parser.add_argument("--times", type=float, action="append", help="the work of the large size")
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="KERNEL or FILE")
    options = parser.parse_args(arguments)
    if not native_available:
        print("the native engine is not built: python setup.py build_ext --inplace", file=sys.stderr)
        return 2
    runtimes = options.runtime or RUNTIMES
    if any(each.endswith(".wasm") for each in options.program[:1]):
        sample = partial(program_sample, options.program)
        list(measure(Path(options.program[0]).name, sample, runtimes, options.rounds))
        return 0
    facts = facts_of("full")
    every: dict[float, list[Cold]] = {}
    for times in options.times or (0.1, 1.0, 10.0):
        for kernel in [BY_NAME[each] for each in options.program] or KERNELS:
            size = kernel.times(times)
            sample = partial(kernel_sample, kernel, size)
            found = measure(f"{kernel.name} {size}", sample, runtimes, options.rounds)
            every.setdefault(times, []).extend(found)
    if not (options.program or options.runtime or options.times):
        PAGE.write_text(page(every, facts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
