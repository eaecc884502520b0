"""The measurements: every peer in turn, round after round, in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.catalogue import BY_NAME, CALLS, Kernel
from benchmarks.figures import calls_for, rotate
from benchmarks.large_module import build
from benchmarks.peers import Package, Peer
from benchmarks.runtimes import GROWING
from benchmarks.sessions import LOAD_TIMEOUT, Failed, Sample, Session, Worker, first_line

# A fast engine's sample is of at least so many seconds.
LEAST_SAMPLE = 0.05
CALL_TIMEOUT = 60.0
LARGE_LOAD_TIMEOUT = 240.0
# Who has loaded for so many seconds needs no further measurement: the noise is small beside it.
ENOUGH_LOADING = 10.0
# What two threads are measured with: arithmetic in registers, so that they do not fight for a cache.
THREADS_KERNEL = "mandelbrot"

Say = Callable[[str], None]


@dataclass(slots=True)
class Series:
    """One peer on one kernel at one size: a sample a round, or the reason why there is none."""

    peer: str
    kernel: str
    size: int
    slow: bool
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    startup: float = 0.0
    result: int | None = None
    reason: str = ""


@dataclass(slots=True)
class CallCost:
    """Seconds of processor time for one call over the border, a value a round."""

    peer: str
    function: str
    cpu: list[float] = field(default_factory=list)
    reason: str = ""


@dataclass(slots=True)
class LoadCost:
    """Loading a generated module of `size` bytes: seconds and bytes, a value a round."""

    peer: str
    size: int
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    reason: str = ""


@dataclass(slots=True)
class ThreadGain:
    """What two threads with an instance each do in the time of one: 2 at best, a value a round."""

    peer: str
    gain: list[float] = field(default_factory=list)
    reason: str = ""


@dataclass(slots=True)
class Running:
    """A peer at work on a kernel. `spent` is the wall time of its samples so far."""

    session: Session
    series: Series
    calls: int = 1
    spent: float = 0.0

    def take(self, timeout: float) -> Sample | None:
        """One sample, or None after a failure, which becomes the series' reason."""
        try:
            sample = self.session.sample(self.series.size, self.calls, timeout)
        except Failed as failure:
            self.series.reason = str(failure)
            return None
        self.spent += sample.wall * self.calls
        return sample


def measure_kernel(
    kernel: Kernel, peers: Sequence[Peer], size: int, slow: bool, rounds: int, budget: float
) -> list[Series]:
    """All peers on one kernel at one size.

    The first call of each warms up and says how many calls make a sample. A peer that has used up
    `budget` seconds of wall time takes no part in further rounds.
    """
    every: list[Series] = []
    running: list[Running] = []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        for peer in peers:
            series = Series(peer.name, kernel.name, size, slow)
            every.append(series)
            try:
                session = stack.enter_context(peer.open(kernel, Path(scratch)))
            except Failed as failure:
                series.reason = str(failure)
                continue
            series.startup = getattr(session, "startup", 0.0)
            running.append(Running(session, series))
        running = [each for each in running if _warm_up(each, budget)]
        for number in range(rounds):
            for index in rotate(range(len(running)), number):
                _round(running[index], budget)
    _agree(every)
    return every


def _warm_up(running: Running, budget: float) -> bool:
    sample = running.take(CALL_TIMEOUT)
    if sample is None:
        return False
    running.series.result = sample.result
    if sample.wall > budget:
        # What warms up within the first milliseconds is nothing beside that.
        _record(running.series, sample)
    if sample.wall < LEAST_SAMPLE:
        # The first call also lowered or compiled the code: the second one says how long they take.
        again = running.take(CALL_TIMEOUT) or sample
        running.calls = calls_for(again.wall, LEAST_SAMPLE)
    return True


def _round(running: Running, budget: float) -> None:
    series = running.series
    if series.reason or (series.cpu and running.spent > budget):
        return
    sample = running.take(CALL_TIMEOUT)
    if sample is None:
        return
    _record(series, sample)
    if sample.result != series.result:
        series.reason = f"gave {series.result}, then {sample.result}"


def _record(series: Series, sample: Sample) -> None:
    series.cpu.append(sample.cpu)
    series.wall.append(sample.wall)


def _agree(every: Sequence[Series]) -> None:
    """Whoever computes something else than most has not run the kernel."""
    results = [series.result for series in every if series.result is not None]
    if not results:
        return
    right = max(results, key=results.count)
    for series in every:
        if series.result not in (None, right):
            series.reason = f"wrong result: {series.result} instead of {right}"


def wrong(every: Sequence[Series]) -> list[Series]:
    """The series whose results differ from the others' or from round to round."""
    return [
        series
        for series in every
        if series.result is not None and series.reason.startswith(("wrong", "gave"))
    ]


# Function, arguments, and whether its argument is the number of calls that it makes itself.
BORDER_CALLS = (
    ("empty", "from Python: `() -> ()`", False),
    ("add", "from Python: `(i32, i32) -> i32`", False),
    ("call_nothing", "to Python: `() -> ()`", True),
    ("call_add", "to Python: `(i32, i32) -> i32`", True),
)
_FIRST_CALLS = 1000


def measure_calls(peers: Sequence[Peer], rounds: int) -> list[CallCost]:
    """One call from Python, and one to Python, with each package."""
    packages = [peer for peer in peers if isinstance(peer, Package)]
    every = {(p.name, name): CallCost(p.name, name) for p in packages for name, _, _ in BORDER_CALLS}
    with ExitStack() as stack:
        workers: list[tuple[str, Worker]] = []
        for peer in packages:
            worker = Worker(peer.loader, CALLS.wasm, "host", peer.environment)
            try:
                stack.enter_context(worker).report(LOAD_TIMEOUT)
            except Failed as failure:
                for name, _, _ in BORDER_CALLS:
                    every[peer.name, name].reason = str(failure)
                continue
            workers.append((peer.name, worker))
        for name, _, inside in BORDER_CALLS:
            counts: dict[str, int] = {}
            for number in range(rounds + 1):
                for index in rotate(range(len(workers)), number):
                    peer_name, worker = workers[index]
                    _border_round(every[peer_name, name], worker, inside, counts)
    return list(every.values())


def _border_round(cost: CallCost, worker: Worker, inside: bool, counts: dict[str, int]) -> None:
    """The first round of a worker only finds out how many calls make a sample."""
    if cost.reason:
        return
    first = cost.peer not in counts
    count = counts.setdefault(cost.peer, _FIRST_CALLS)
    arguments = [count] if inside else [1, 2] if cost.function == "add" else []
    try:
        report = worker.request(cost.function, 1 if inside else count, arguments, CALL_TIMEOUT)
    except Failed as failure:
        cost.reason = str(failure)
        return
    each = report["cpu"] / (count if inside else 1)
    if first:
        counts[cost.peer] = calls_for(each, LEAST_SAMPLE)
    else:
        cost.cpu.append(each)


def measure_loads(peers: Sequence[Peer], sizes: Sequence[int], rounds: int, say: Say) -> list[LoadCost]:
    """Load a generated module of each size with each package, every time in a new process."""
    packages = [peer for peer in peers if isinstance(peer, Package)]
    every = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            file = Path(scratch) / "large.wasm"
            file.write_bytes(build(size))
            costs = [LoadCost(package.name, file.stat().st_size) for package in packages]
            every += costs
            for number in range(rounds):
                for index in rotate(range(len(packages)), number):
                    say(f"load {size // 1_000_000} MB: {packages[index].name}")
                    _load_round(packages[index], costs[index], file)
    return every


def _load_round(package: Package, cost: LoadCost, file: Path) -> None:
    if cost.reason or sum(cost.wall) > ENOUGH_LOADING:
        return
    try:
        with Worker(package.loader, file, "load", package.environment) as worker:
            report = worker.report(LARGE_LOAD_TIMEOUT)
    except Failed as failure:
        cost.reason = first_line(str(failure))
        return
    cost.cpu.append(report["cpu"])
    cost.wall.append(report["wall"])
    cost.memory.append(report["memory"])


def measure_threads(peers: Sequence[Peer], rounds: int) -> list[ThreadGain]:
    """Two threads against one, wall time, with each package that is no Python interpreter itself."""
    fast = [peer for peer in peers if isinstance(peer, Package) and not peer.slow]
    # Two threads that compile while they run would be measured as they compile.
    packages = [peer for peer in fast if peer.loader not in GROWING]
    kernel = BY_NAME[THREADS_KERNEL]
    every = []
    for package in packages:
        gain = ThreadGain(package.name)
        every.append(gain)
        try:
            with Worker(package.loader, kernel.wasm, "threads", package.environment) as worker:
                worker.report(LOAD_TIMEOUT)
                for _ in range(rounds):
                    report = worker.request("run", 1, [kernel.large], CALL_TIMEOUT)
                    gain.gain.append(2 * report["one"] / report["two"])
        except Failed as failure:
            gain.reason = str(failure)
    return every
