"""The side-by-side run: `python -m benchmarks.run`, or `make bench`.

Every kernel on every engine of tinywasm and on every peer that is installed, in turn, round after round;
then calls over the border, two threads and loading. A whole run writes RESULTS.md and results.svg beside
this file, a quick or partial one prints its page.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import plot, report
from benchmarks.catalogue import HERE, KERNELS, ROOT, Kernel
from benchmarks.measure import measure_calls, measure_kernel, measure_loads, measure_threads, wrong
from benchmarks.peers import Found, Package, Peer, find_peers
from benchmarks.report import Results

MEGABYTE = 1_000_000
_TITLE = "processor time relative to wasm3 (the reference where wasm3 cannot run the kernel)"


@dataclass(frozen=True, slots=True)
class Profile:
    """`slow_size` is the size for engines written in Python; `budget` in seconds a peer, kernel and size."""

    rounds: int
    slow_size: str
    budget: float
    loads: tuple[int, ...]
    load_rounds: int


FULL = Profile(5, "small", 2.5, (MEGABYTE, 10 * MEGABYTE), 3)
QUICK = Profile(3, "tiny", 3.0, (MEGABYTE,), 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 where two peers computed different results, else 0."""
    options = _parser().parse_args(arguments)
    profile = QUICK if options.quick else FULL
    found = find_peers()
    peers = _chosen(found, options.peer, options.engine)
    kernels = [kernel for kernel in KERNELS if not options.kernel or kernel.name in options.kernel]
    results = Results(
        facts_of("quick: a look, no measurement" if options.quick else "full"),
        {peer.name: peer.version for peer in peers},
        found.missing,
    )
    _kernels(results, kernels, peers, profile)
    if not options.kernel:
        _say("calls over the border")
        results.calls = measure_calls(peers, profile.rounds)
        _say("two threads")
        results.threads = measure_threads(peers, profile.rounds)
        # Those load as the plain one does.
        loaders = [peer for peer in peers if not peer.name.endswith((", fuel", ", auto"))]
        results.loads = measure_loads(loaders, profile.loads, profile.load_rounds, _say)
    partial = options.quick or options.kernel or options.peer or options.engine
    _write(results, options.json, bool(partial))
    differing = wrong(results.kernels)
    for series in differing:
        print(f"{series.kernel}({series.size}) on {series.peer}: {series.reason}", file=sys.stderr)
    return 1 if differing else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    names = [kernel.name for kernel in KERNELS]
    parser.add_argument(
        "--quick", action="store_true", help="few rounds on small sizes: a look, no measurement"
    )
    parser.add_argument("--kernel", action="append", choices=names, help="only this kernel (may be repeated)")
    parser.add_argument(
        "--peer", action="append", metavar="NAME", help="only this peer, by its name in the table"
    )
    parser.add_argument("--engine", action="append", metavar="NAME", help="only this engine of tinywasm's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every sample, for other programs")
    return parser


def _chosen(found: Found, names: Sequence[str] | None, engines: Sequence[str] | None) -> list[Peer]:
    """The peers asked for. Exits with a message where a name is none of those found."""
    ours = {peer.engine for peer in found.peers if isinstance(peer, Package) and peer.engine}
    theirs = {peer.name for peer in found.peers if not (isinstance(peer, Package) and peer.engine)}
    for wanted, known in ((names, theirs), (engines, ours)):
        for name in wanted or ():
            if name not in known:
                reason = found.missing.get(name) or found.missing.get(
                    f"tinywasm {name}", f"there is {', '.join(sorted(filter(None, known)))}"
                )
                raise SystemExit(f"benchmarks: {name}: {reason}")
    return [peer for peer in found.peers if _wanted(peer, names, engines)]


def _wanted(peer: Peer, names: Sequence[str] | None, engines: Sequence[str] | None) -> bool:
    if isinstance(peer, Package) and peer.engine:
        return not engines or peer.engine in engines
    return not names or peer.name in names


def _kernels(results: Results, kernels: Sequence[Kernel], peers: Sequence[Peer], profile: Profile) -> None:
    fast = [peer for peer in peers if not peer.slow]
    # A command's start-up is too much of the time that a small size takes.
    everyone = [peer for peer in peers if isinstance(peer, Package)]
    for kernel in kernels:
        if fast:
            _say(f"{kernel.name}, large")
            results.kernels += measure_kernel(
                kernel, fast, kernel.large, False, profile.rounds, profile.budget
            )
        if any(peer.slow for peer in everyone):
            _say(f"{kernel.name}, {profile.slow_size}")
            size = kernel.size(profile.slow_size)
            results.kernels += measure_kernel(kernel, everyone, size, True, profile.rounds, profile.budget)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def facts_of(profile: str) -> dict[str, str]:
    """The machine's and the run's, name and value."""
    now = datetime.datetime.now(datetime.UTC)
    return {
        "date": f"{now:%Y-%m-%d %H:%M} UTC",
        "command": f"`python -m benchmarks.{Path(sys.argv[0]).stem} {shlex.join(sys.argv[1:])}`".replace(
            " `", "`"
        ),
        "profile": profile,
        "commit": _commit(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "load before the run": f"{os.getloadavg()[0]:.1f} processes",
        "Python": f"{platform.python_version()} ({platform.python_compiler()})",
    }


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
        )
        return done.stdout.strip()

    try:
        changed = " with changes" if git("status", "--porcelain", "--untracked-files=no", "tinywasm") else ""
        return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or "unknown processor")


def _write(results: Results, file: Path | None, partial: bool) -> None:
    """A quick run or one over a part is printed: the page in the repository is of whole runs."""
    if partial:
        print(report.page(results))
    else:
        drawing, text = HERE / "results.svg", HERE / "RESULTS.md"
        drawing.write_text(plot.draw(list(report.points(results.kernels)), _TITLE), encoding="utf-8")
        text.write_text(report.page(results, drawing.name), encoding="utf-8")
        _say(f"written: {text}")
    if file:
        file.write_text(json.dumps(asdict(results), indent=1), encoding="utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
