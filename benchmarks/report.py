"""The results as a page: tables in Markdown, each figure with its spread, each gap with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.catalogue import KERNELS
from benchmarks.figures import geometric_mean, number, paired_ratios, seconds, spread
from benchmarks.measure import BORDER_CALLS, CallCost, LoadCost, Series, ThreadGain

# What the ratios are relative to: the first of them that ran the kernel.
REFERENCES = (
    "wasm3 0.9",
    "pywasm3",
    "wasm3",
    "wasmtime-py",
    "wasmtime",
    "tinywasm native",
    "tinywasm python",
)
PLAIN, METERED = "tinywasm native", "tinywasm native, fuel"
MEAN = "**geometric mean, scalar**"
SCALAR = frozenset(kernel.name for kernel in KERNELS if kernel.scalar)


@dataclass(slots=True)
class Results:
    """Everything that one run measured. `facts` are the machine's and the run's, name and value."""

    facts: dict[str, str]
    versions: dict[str, str]
    missing: dict[str, str]
    kernels: list[Series] = field(default_factory=list)
    calls: list[CallCost] = field(default_factory=list)
    loads: list[LoadCost] = field(default_factory=list)
    threads: list[ThreadGain] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Processor time relative to the reference: the median over the rounds, and the spread."""

    middle: float
    spread: float
    reference: str


def reference_of(every: Iterable[Series]) -> Series | None:
    """The series that the others of the same kernel and size are compared with."""
    measured = {series.peer: series for series in every if series.cpu and not series.reason}
    return next((measured[name] for name in REFERENCES if name in measured), None)


def ratio(series: Series, reference: Series | None) -> Ratio | None:
    """None where one of the two has no valid samples."""
    if reference is None or series.reason:
        return None
    ratios = paired_ratios(series.cpu, reference.cpu)
    return Ratio(median(ratios), spread(ratios), reference.peer) if ratios else None


def page(results: Results, plot: str | None = None) -> str:
    """The whole of RESULTS.md; `plot` is the name of the drawing's file beside it."""
    parts = ["# Results", _facts(results)]
    if plot:
        parts.append(f"![ratios]({plot})")
    for slow, title in ((False, "Large sizes"), (True, "Small sizes, with the engines written in Python")):
        series = [each for each in results.kernels if each.slow is slow]
        if series:
            parts += [f"## {title}", _ratio_table(series), _fuel(series), _reasons(series)]
    if results.calls:
        parts += ["## Calls over the border", _call_table(results.calls)]
    if results.loads:
        parts += ["## Loading", _load_table(results.loads)]
    if results.threads:
        parts += ["## Two threads", _thread_table(results.threads)]
    if results.kernels:
        parts += ["## Times", _time_table(results.kernels)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown; all columns but the first are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _facts(results: Results) -> str:
    facts = [f"- {name}: {value}" for name, value in results.facts.items()]
    versions = [f"- {name}: {value}" for name, value in results.versions.items()]
    missing = [f"- not here: {name} ({reason})" for name, reason in results.missing.items()]
    return "\n".join([*facts, *versions, *missing])


def _peers(every: Iterable[Series]) -> list[str]:
    return list(dict.fromkeys(series.peer for series in every))


def _groups(every: Iterable[Series]) -> dict[str, dict[str, Series]]:
    """By kernel, then by peer, in the order of measurement."""
    groups: dict[str, dict[str, Series]] = {}
    for series in every:
        groups.setdefault(series.kernel, {})[series.peer] = series
    return groups


def _ratio_table(every: Sequence[Series]) -> str:
    peers = _peers(every)
    rows = []
    collected: dict[str, list[float]] = {peer: [] for peer in peers}
    for kernel, group in _groups(every).items():
        reference = reference_of(group.values())
        row = [kernel]
        for peer in peers:
            found = ratio(group[peer], reference) if peer in group else None
            row.append(_ratio_cell(found, peer))
            if found and kernel in SCALAR and found.reference in REFERENCES[:2]:
                collected[peer].append(found.middle)
        rows.append(row)
    rows.append([MEAN, *(_mean_cell(collected[peer]) for peer in peers)])
    return (
        "Processor time relative to wasm3's (less is faster): the median of the rounds' ratios ± half their "
        "spread. Where wasm3 cannot run the kernel, the column with 1 is the reference.\n\n"
        + table(["kernel", *peers], rows)
    )


def _ratio_cell(found: Ratio | None, peer: str) -> str:
    if found is None:
        return "-"
    if found.reference == peer:
        return "1"
    return f"{number(found.middle)} ±{found.spread / 2:.0%}"


def _mean_cell(ratios: Sequence[float]) -> str:
    mean = geometric_mean(ratios)
    return f"**{number(mean)}** of {len(ratios)}" if mean else "-"


def fuel_cost(every: Sequence[Series]) -> float | None:
    """The geometric mean over the scalar kernels of the metered run relative to the plain one."""
    ratios = []
    for kernel, group in _groups(every).items():
        found = ratio(group[METERED], group.get(PLAIN)) if METERED in group else None
        if found and kernel in SCALAR:
            ratios.append(found.middle)
    return geometric_mean(ratios)


def _fuel(every: Sequence[Series]) -> str:
    cost = fuel_cost(every)
    return f"Metering fuel costs {cost - 1:+.1%} (geometric mean over the scalar kernels)." if cost else ""


def _reasons(every: Sequence[Series]) -> str:
    """Why there is a "-", the kernels with the same reason together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for series in every:
        if series.reason:
            groups.setdefault((series.peer, series.reason), []).append(series.kernel)
    return "\n".join(
        f"- {peer}, {', '.join(kernels)}: {reason}" for (peer, reason), kernels in groups.items()
    )


def _call_table(every: Sequence[CallCost]) -> str:
    peers = list(dict.fromkeys(cost.peer for cost in every))
    found = {(cost.peer, cost.function): cost for cost in every}
    rows = [
        [title, *(_cost_cell(found[peer, name].cpu) for peer in peers)] for name, title, _ in BORDER_CALLS
    ]
    reasons = {f"- {cost.peer}: {cost.reason}" for cost in every if cost.reason}
    header = ["one call, processor time", *peers]
    return "\n".join([table(header, rows), *(["", *sorted(reasons)] if reasons else [])])


def _cost_cell(values: Sequence[float]) -> str:
    return f"{seconds(median(values))} ±{spread(values) / 2:.0%}" if values else "-"


def _thread_table(every: Sequence[ThreadGain]) -> str:
    rows = [
        [
            gain.peer,
            f"{number(median(gain.gain))} ±{spread(gain.gain) / 2:.0%}" if gain.gain else "-",
            gain.reason,
        ]
        for gain in every
    ]
    return (
        "The throughput of two threads, each with an instance of its own, relative to one thread's; wall "
        "time, so it needs two idle cores.\n\n" + table(["runtime", "gain", "note"], rows)
    )


def _load_table(every: Sequence[LoadCost]) -> str:
    header = ["runtime", "module", "processor time", "wall time", "MB/s", "peak memory", "over size", "note"]
    return (
        "Decode, validate (where the runtime does) and instantiate, in a new process each time. MB/s are of "
        "processor time; the memory is what the process needed beyond what it had before, the module's own "
        "bytes left out.\n\n" + table(header, map(_load_row, every))
    )


def _load_row(cost: LoadCost) -> list[str]:
    start = [cost.peer, f"{cost.size / 1e6:.1f} MB"]
    if not cost.cpu:
        return [*start, "-", "-", "-", "-", "-", cost.reason]
    cpu, memory = median(cost.cpu), median(cost.memory)
    return [
        *start,
        _cost_cell(cost.cpu),
        seconds(median(cost.wall)),
        number(cost.size / 1e6 / cpu),
        f"{number(memory / 1e6)} MB",
        number(memory / cost.size),
        cost.reason,
    ]


def _time_table(every: Sequence[Series]) -> str:
    header = ["kernel", "size", "runtime", "median", "least", "spread", "wall, median", "start-up", "rounds"]
    rows = (_time_row(series) for series in every if series.cpu)
    return (
        "Of one call: processor time, but for the wall time. The start-up of a command is subtracted.\n\n"
        + table(header, rows)
    )


def _time_row(series: Series) -> list[str]:
    return [
        series.kernel,
        str(series.size),
        series.peer,
        seconds(median(series.cpu)),
        seconds(min(series.cpu)),
        f"{spread(series.cpu):.0%}",
        seconds(median(series.wall)),
        seconds(series.startup) if series.startup else "",
        str(len(series.cpu)),
    ]


def points(every: Sequence[Series]) -> Iterator[tuple[str, str, float]]:
    """Kernel, peer and ratio for the plot: large sizes, and small ones for the peers that run only those."""
    for slow in (False, True):
        shown = [series for series in every if series.slow is slow]
        fast = {series.peer for series in every if not series.slow}
        for kernel, group in _groups(shown).items():
            reference = reference_of(group.values())
            for peer, series in group.items():
                found = ratio(series, reference)
                if found and not (slow and peer in fast):
                    yield kernel, peer, found.middle
