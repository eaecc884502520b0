"""The harness: its arithmetic, its tables, its sessions and its care for whatever goes wrong."""

import configparser
import json
import re
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import cold, measure, plot, report, run, worker
from benchmarks.catalogue import BY_NAME, Kernel
from benchmarks.figures import calls_for, geometric_mean, number, paired_ratios, rotate, seconds, spread
from benchmarks.measure import CallCost, LoadCost, Series, ThreadGain
from benchmarks.peers import _PACKAGES, Command, Crate, Found, Package, Peer, find_peers
from benchmarks.report import Results
from benchmarks.runtimes import GROWING, LOADERS
from benchmarks.sessions import CommandSession, Failed, Sample, Session, Worker, WorkerSession, first_line
from fuzz.hot import compiled_after
from tests.engines import needs_llvm

pytestmark = pytest.mark.slow

PYTHON = Package("tinywasm python", "0", True, "tinywasm", "python")


def test_packages_to_compare_with_are_an_extra_and_what_make_installs() -> None:
    root = Path(__file__).resolve().parents[2]
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    extras = config["options.extras_require"]
    named = {line.split()[0] for line in extras["bench"].split("\n") if line}
    assert named == {package for package, *_ in _PACKAGES}
    tested = {line.split()[0] for line in extras["test"].split("\n") if line}
    installed = re.search(r"for peer in (.*?); do", (root / "Makefile").read_text())
    assert installed and set(installed[1].split()) == named - tested


def test_figures() -> None:
    assert spread([1.0, 2.0, 3.0]) == 1.0
    assert spread([2.0]) == 0.0
    assert geometric_mean([]) is None
    assert geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)
    with pytest.raises(ValueError):
        geometric_mean([0.0])
    assert paired_ratios([1.0, 4.0, 9.0], [2.0, 2.0]) == [0.5, 2.0]
    assert paired_ratios([1.0, 0.0], [0.0, 1.0]) == []
    assert calls_for(0.02, 0.05) == 3
    assert calls_for(1.0, 0.05) == 1
    assert calls_for(0.0, 1e-6) == 1
    assert rotate([1, 2, 3], 4) == [2, 3, 1]
    assert rotate([], 4) == []


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234.5, "1,234"), (12.34, "12.3"), (0.98765, "0.988"), (0.0123, "0.0123")]
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(2.5, "2.50 s"), (0.1, "100 ms"), (2e-6, "2.00 µs"), (5e-9, "5.00 ns")]
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


def series(peer: str, *cpu: float, kernel: str = "fib", slow: bool = False, reason: str = "") -> Series:
    return Series(peer, kernel, 1, slow, list(cpu), list(cpu), result=1, reason=reason)


def test_ratios_are_paired_with_wasm3() -> None:
    ours, theirs = series("tinywasm native", 1.0, 3.0, 2.0), series("pywasm3", 2.0, 4.0, 4.0)
    reference = report.reference_of([ours, theirs])
    assert reference is theirs
    found = report.ratio(ours, reference)
    assert found == report.Ratio(0.5, 0.5, "pywasm3")
    assert report.ratio(series("other", 1.0, reason="wrong result"), reference) is None
    assert report.ratio(ours, None) is None


def test_reference_where_wasm3_fails() -> None:
    every = [series("pywasm3", reason="no SIMD"), series("wasmtime-py", 1.0), series("wasmi", 2.0)]
    reference = report.reference_of(every)
    assert reference is every[1]


def results(*kernels: Series) -> Results:
    return Results({"date": "today"}, {"pywasm3": "0.5"}, {"iwasm": "no iwasm on the PATH"}, list(kernels))


def test_page() -> None:
    found = results(
        series("tinywasm native", 1.0, 1.0),
        series("tinywasm native, fuel", 1.1, 1.1),
        series("pywasm3", 2.0, 2.0),
        series("tinywasm native", 1.0, kernel="gc_list"),
        series("tinywasm native, fuel", 1.0, kernel="gc_list"),
        series("pywasm3", kernel="gc_list", reason="malformed"),
        series("tinywasm python", 50.0, slow=True),
        series("pywasm3", 1.0, slow=True),
    )
    found.calls = [CallCost("pywasm3", name, [1e-7]) for name, _, _ in measure.BORDER_CALLS]
    found.loads = [
        LoadCost("pywasm3", 10**6, [0.1], [0.2], [4 * 10**6]),
        LoadCost("pywasm", 10**6, reason="slow"),
    ]
    found.threads = [ThreadGain("tinywasm native", [1.9, 1.9]), ThreadGain("pywasm3", reason="crashed")]
    text = report.page(found, "drawing.svg")
    assert "| fib | 0.500 ±0% | 0.550 ±0% | 1 |" in text
    assert "| gc_list | 1 | 1.00 ±0% | - |" in text
    assert "- pywasm3, gc_list: malformed" in text
    assert "| **geometric mean, scalar** | **0.500** of 1 | **0.550** of 1 | **1.00** of 1 |" in text
    assert "Metering fuel costs +10.0%" in text
    assert "| fib | 50.0 ±0% | 1 |" in text
    assert "- not here: iwasm (no iwasm on the PATH)" in text
    assert "| pywasm3 | 1.0 MB | 100 ms ±0% | 200 ms | 10.0 | 4.00 MB | 4.00 |  |" in text
    assert "| pywasm | 1.0 MB | - | - | - | - | - | slow |" in text
    assert "| tinywasm native | 1.90 ±0% |  |" in text
    assert "(drawing.svg)" in text
    assert "(drawing.svg)" not in report.page(found)


def test_page_of_nothing() -> None:
    assert "# Results" in report.page(Results({}, {}, {}))


def test_plot() -> None:
    every = [series("a<b", 2.0), series("pywasm3", 1.0), series("tinywasm python", 90.0, slow=True)]
    every.append(series("pywasm3", 1.0, slow=True))
    found = list(report.points(every))
    assert found == [("fib", "a<b", 2.0), ("fib", "pywasm3", 1.0), ("fib", "tinywasm python", 90.0)]
    drawing = ElementTree.fromstring(plot.draw(found, "ratios"))
    titles = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}title")]
    assert "fib, tinywasm python: 90" in titles
    assert ElementTree.fromstring(plot.draw([], "")) is not None


def test_page_of_cold_starts_has_ratios_and_their_mean() -> None:
    every = [cold.Cold("fib 3", runtime, 0.25, 0.25, 1.0) for runtime in cold.RUNTIMES[:1]]
    every.append(cold.Cold("fib 3", "tinywasm+auto", 0.5, 0.5, 2.0))
    lines = cold.page({0.5: every}, {"commit": "1234567"}).splitlines()
    assert "- commit: 1234567" in lines
    rows = lines[lines.index("## 0.5 times the work") + 4 :]
    assert rows == ["| fib 3 | 250 ms | 2.00 | - | - |", "| **geometric mean** | 250 ms | 2.00 | - | - |"]


@pytest.mark.parametrize(
    ("name", "larger"), [("fib", (29, 34, 39)), ("matmul", (119, 256, 552)), ("sieve", (200, 2000, 20_000))]
)
def test_sizes_for_more_work(name: str, larger: tuple[int, ...]) -> None:
    assert tuple(BY_NAME[name].times(factor) for factor in (0.1, 1, 10)) == larger


def test_python_engine_in_its_process() -> None:
    kernel = BY_NAME["fib"]
    with WorkerSession("tinywasm", kernel.wasm, environment=PYTHON.environment) as session:
        sample = session.sample(kernel.tiny, 2, 60)
    assert sample.result == kernel.expected
    assert 0 < sample.cpu < 60


def test_what_compiles_while_it_runs_is_warm_when_nothing_more_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("benchmarks.worker.time.perf_counter", lambda: now)
    called: list[int] = []

    def call(second: int) -> None:
        nonlocal now
        now += second
        called.append(second)

    # At work, done, the same for as long as it takes, and one more for whoever asks too often.
    sizes = iter([0, None, 9, *[9] * 9])
    worker.warm_up(call, [1], lambda: next(sizes))
    assert called == [1] * (2 + int(worker.QUIET))
    called.clear()
    now = 0.0
    growing = iter(range(1000))
    worker.warm_up(call, [1], lambda: next(growing))
    assert now == worker.LONGEST_WARM_UP


@needs_llvm
def test_what_auto_has_made_is_known() -> None:
    kernel, made = BY_NAME["fib"], GROWING["tinywasm+auto"]
    with compiled_after(3, 100):
        run = LOADERS["tinywasm+auto"](kernel.wasm.read_bytes(), False)("run")
        before = made()
        assert run(kernel.tiny) == kernel.expected
        after = made()
    assert before is not None and after is not None and after > before


@needs_llvm
def test_while_auto_compiles_it_is_not_known_what_it_makes() -> None:
    from tinywasm.engine.llvm import background

    class Asking:
        def __init__(self) -> None:
            self.found: list[int | None] = []
            self.done = threading.Event()

        def ask(self, _: object) -> None:
            self.found.append(GROWING["tinywasm+auto"]())
            self.done.set()

    asking = Asking()
    background.do(asking.ask, None)
    assert asking.done.wait(60)
    assert asking.found == [None]


def test_worker_failures(tmp_path: Path) -> None:
    broken = tmp_path / "broken.wasm"
    broken.write_bytes(b"\0asm\1\0\0\0\xff")
    with pytest.raises(Failed, match="DecodeError"), WorkerSession("tinywasm", broken):
        pass
    with (
        WorkerSession("tinywasm", BY_NAME["fib"].wasm) as session,
        pytest.raises(Failed, match="took more than 0 s"),
    ):
        session.sample(40, 1, 0.3)
    with Worker("tinywasm", BY_NAME["fib"].wasm) as worker:
        worker.report(60)
        with pytest.raises(Failed, match="KeyError"):
            worker.request("nothing", 1, [], 60)
        with pytest.raises(Failed, match="crashed with status 1"):
            worker.request("run", 1, [1], 60)


def test_worker_tasks() -> None:
    with Worker("tinywasm", BY_NAME["fib"].wasm, "load") as worker:
        report_ = worker.report(60)
        assert report_["cpu"] > 0 and report_["memory"] >= 0
    with Worker("tinywasm", BY_NAME["fib"].wasm, "threads") as worker:
        worker.report(60)
        times = worker.request("run", 1, [10], 60)
        assert times["one"] > 0 and times["two"] > 0


def script(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_commands() -> None:
    echo = script("import sys; print('Result:', int(sys.argv[1]) - 1)")
    with CommandSession(echo, r"Result: (-?\d+)") as session:
        assert session.startup > 0
        assert session.sample(0, 1, 60).result == 0xFFFFFFFF
    with CommandSession(echo, r"never (\d)") as session, pytest.raises(Failed, match="no result"):
        session.sample(1, 1, 60)
    sleep = script("import sys, time; time.sleep(int(sys.argv[1]))")
    with CommandSession(sleep, "()") as session, pytest.raises(Failed, match="took more than"):
        session.sample(60, 1, 0.2)
    with (
        pytest.raises(Failed, match="no such thing"),
        CommandSession(script("raise SystemExit('no such thing')"), ""),
    ):
        pass


def test_first_line() -> None:
    assert first_line("\n  a | b\nsecond") == "a / b"
    assert first_line("") == "no message"
    assert len(first_line("x" * 500)) == 100


class Fixed(Session):
    """Gives the results it is told, one a call."""

    def __init__(self, *results: int) -> None:
        self._results = list(results)

    def sample(self, size: int, calls: int, timeout: float) -> Sample:
        return Sample(1.0, 1.0, self._results.pop(0) if len(self._results) > 1 else self._results[0])


class Fake(Peer):
    """A peer of `Fixed` sessions; its version tells the results."""

    def open(self, kernel: Kernel, scratch: Path) -> Session:
        if not self.version:
            raise Failed("not today")
        return Fixed(*map(int, self.version.split()))


def test_wrong_results_are_found() -> None:
    peers = [Fake("a", "5"), Fake("b", "5"), Fake("c", "6"), Fake("d", "5 5 7"), Fake("e", "")]
    every = measure.measure_kernel(BY_NAME["fib"], peers, 1, False, 3, 100.0)
    assert [each.reason for each in every] == [
        "",
        "",
        "wrong result: 6 instead of 5",
        "gave 5, then 7",
        "not today",
    ]
    assert [each.peer for each in measure.wrong(every)] == ["c", "d"]
    assert len(every[0].cpu) == 3


def test_budget_ends_a_series() -> None:
    (only,) = measure.measure_kernel(BY_NAME["fib"], [Fake("a", "5")], 1, False, 9, 2.5)
    assert len(only.cpu) == 2
    (only,) = measure.measure_kernel(BY_NAME["fib"], [Fake("a", "5")], 1, False, 9, 0.5)
    assert len(only.cpu) == 1


def test_border_calls_and_loading() -> None:
    costs = measure.measure_calls([PYTHON, Fake("a", "5")], 1)
    assert [cost.function for cost in costs] == [name for name, _, _ in measure.BORDER_CALLS]
    assert all(len(cost.cpu) == 1 and not cost.reason for cost in costs)
    said: list[str] = []
    (cost,) = measure.measure_loads([PYTHON], [30_000], 1, said.append)
    assert not cost.reason and cost.cpu[0] > 0 and said
    assert measure.measure_threads([PYTHON], 1) == []


def test_peers() -> None:
    found = find_peers()
    names = [peer.name for peer in found.peers]
    assert names[0] == "tinywasm python"
    assert not set(names) & set(found.missing)
    assert {"tinywasm native", "pywasm", "pwasm", "pywasm3", "wasmtime-py", "wasm3", "iwasm", "wasmi"} <= {
        *names,
        *found.missing,
    }
    assert all(Path(peer.program).is_absolute() for peer in found.peers if isinstance(peer, Command))


def test_crate_that_cannot_be_built(tmp_path: Path) -> None:
    cargo = tmp_path / "cargo"
    cargo.write_text("#!/bin/sh\necho error: no registry today >&2\nexit 1\n")
    cargo.chmod(0o755)
    peer = Crate("Silverfir-nano", "0.6", cargo=str(cargo), feature="silverfir")
    with pytest.raises(Failed, match="cannot be built: error: no registry today"):
        peer.open(BY_NAME["fib"], tmp_path)


def test_our_own_command_is_not_the_other_tinywasm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tmp_path / "tinywasm"
    ours.write_text("#!/usr/bin/env python3\n")
    ours.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_peers()
    assert found.missing["tinywasm-rs"] == "no tinywasm on the PATH"
    assert found.missing["native C"] == "no C compiler on the PATH"


def test_partial_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "find_peers", lambda: Found([PYTHON], {"wasm3": "no wasm3 on the PATH"}))
    file = tmp_path / "samples.json"
    assert run.main(["--quick", "--kernel", "fib", "--engine", "python", "--json", str(file)]) == 0
    assert "| fib | 1 |" in capsys.readouterr().out
    assert json.loads(file.read_text())["kernels"][0]["result"] == BY_NAME["fib"].expected


def test_unknown_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "find_peers", lambda: Found([PYTHON], {"wasm3": "no wasm3 on the PATH"}))
    with pytest.raises(SystemExit, match="no wasm3 on the PATH"):
        run.main(["--peer", "wasm3"])
    with pytest.raises(SystemExit, match="there is python"):
        run.main(["--engine", "nativ"])
