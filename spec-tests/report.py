"""Runs the whole official suite on all cores and writes RESULTS.md (`make spec`).

`--found` only says whether the suite is there: with status 0 where it is whole, 1 where parts are missing,
2 where there is none.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from locate import CORE, HERE, Script, Suite, find_suite
from tinywasm.engine import native_available
from tinywasm.wast.report import Failure, FileReport
from tinywasm.wast.runner import count_commands, run_script
from tinywasm.wast.suite import config_for, unsupported

# What the suite has: files, commands, assertions. A runner that counts otherwise has lost some.
KNOWN: dict[str, tuple[int, int, int]] = {
    "core": (258, 65_294, 62_598),
    "custom": (3, 28, 20),
    "proposals/custom-page-sizes": (5, 207, 164),
    "proposals/wide-arithmetic": (1, 109, 107),
}
# The published mirror has all scripts of the core in one folder, and so one of two called memory_grow.wast.
MIRRORED_CORE = (257, 65_184, 62_498)
# Seconds that a script may take; the slowest needs a small part of that.
_LIMIT = 600.0
# These take most of the time, so they start first.
_LONGEST = ("return_call", "memory_grow", "memory_copy", "memory_fill")


@dataclass
class Totals:
    """Sums over the reports of one group."""

    files: int = 0
    commands: int = 0
    assertions: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    mismatches: int = 0
    reasons: set[str] = field(default_factory=set)

    def add(self, report: FileReport) -> None:
        self.files += 1
        for name in ("commands", "assertions", "passed", "failed", "skipped"):
            setattr(self, name, getattr(self, name) + getattr(report, name))
        self.mismatches += len(report.mismatches)
        if report.skip_reason:
            self.reasons.add(report.skip_reason)

    @property
    def reason(self) -> str:
        """Why commands were skipped."""
        return "; ".join(sorted(self.reasons))

    def row(self) -> str:
        numbers = (self.files, self.commands, self.assertions, self.passed, self.failed, self.skipped)
        return " | ".join(f"{number:,}" for number in (*numbers, self.mismatches))


def run_one(script: Script) -> FileReport:
    """The report of one script; all of an unsupported one is skipped."""
    text = script.path.read_bytes()
    reason = unsupported(script.path)
    if reason:
        return count_commands(text, script.name, reason)
    return run_script(text, script.name, config_for(script.path), timeout=_LIMIT)


def run_all(scripts: Sequence[Script], processes: int) -> Iterator[FileReport]:
    """Reports as they come, the longest scripts first."""
    order = sorted(scripts, key=lambda script: (not script.path.name.startswith(_LONGEST), script.name))
    left = {script.name: script for script in order}
    with _pool(processes) as pool:
        for future in as_completed([pool.submit(run_one, script) for script in order]):
            # A process that died takes the others' scripts along; they are run again below.
            with suppress(BrokenProcessPool):
                report = future.result()
                del left[report.path]
                yield report
    yield from map(_run_alone, left.values())


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))


def _run_alone(script: Script) -> FileReport:
    """The report of a script in a process of its own, whose death is the script's failure."""
    try:
        with _pool(1) as pool:
            return pool.submit(run_one, script).result()
    except BrokenProcessPool:
        failure = Failure(1, "script", "an outcome", "the end of the process that ran it")
        return FileReport(script.name, commands=1, failed=1, failures=[failure])


def totals_of(reports: Iterable[tuple[str, FileReport]]) -> dict[str, Totals]:
    """Sums by group name, in order of the names."""
    totals: dict[str, Totals] = {}
    for group, report in reports:
        totals.setdefault(group, Totals()).add(report)
    return dict(sorted(totals.items()))


def wrong_counts(reports: Sequence[FileReport]) -> list[str]:
    """What was counted otherwise than `KNOWN` says, a sentence each."""
    found = []
    for group, known in KNOWN.items():
        total = Totals()
        for report in reports:
            if report.path.startswith(f"{group}/"):
                total.add(report)
        counted = (total.files, total.commands, total.assertions)
        if group == CORE and counted == MIRRORED_CORE:
            continue
        for name, have, want in zip(("files", "commands", "assertions"), counted, known, strict=True):
            if have != want:
                found.append(f"{group}: counted {have:,} {name}, the suite has {want:,}")
    return found


_COLUMNS = "Files | Commands | Assertions | Passed | Failed | Skipped | Other words"


def results_page(groups: dict[str, Totals], reports: Sequence[FileReport], wrong: Sequence[str]) -> str:
    """RESULTS.md: totals, groups, files."""
    engine = "native" if native_available else "python"
    supported, all_skipped = Totals(), Totals()
    for report in reports:
        (all_skipped if unsupported(Path(report.path)) else supported).add(report)
    lines = [
        "# Results of the official test suite",
        "",
        "Written by `make spec`. A command passes when it does what the script says; for assert_invalid",
        "and assert_malformed, when the module is refused in the right phase. Where the message then began",
        'otherwise than the reference interpreter\'s, the command counts under "other words" as well.',
        "",
        f"Python {platform.python_version()} ({platform.python_implementation()}),"
        f" tinywasm's {engine} engine.",
        "",
        f"**{supported.commands:,} commands, {supported.assertions:,} of them assertions, in"
        f" {supported.files:,} files: {supported.passed:,} passed, {supported.failed:,} failed,"
        f" {supported.skipped:,} skipped.** {all_skipped.files} more files, with {all_skipped.commands:,}"
        " commands, belong to what we do not support; they were not run.",
        "",
        "Counts differ from the suite's: " + "; ".join(wrong) + "."
        if wrong
        else "The counts are the suite's own.",
        "",
        "## Folders",
        "",
        f"Folder | {_COLUMNS} | Not run because",
        "--- |" + " ---: |" * 7 + " ---",
        *(f"{name} | {total.row()} | {total.reason}".rstrip() for name, total in groups.items()),
        "",
        "## Files",
        "",
        f"File | {_COLUMNS.removeprefix('Files | ')}",
        "--- |" + " ---: |" * 6,
        *map(_file_row, reports),
    ]
    return "\n".join(lines) + "\n"


def _file_row(report: FileReport) -> str:
    total = Totals()
    total.add(report)
    return f"{report.path} | {total.row().partition(' | ')[2]}"


def print_summary(groups: dict[str, Totals], reports: Sequence[FileReport], wrong: Sequence[str]) -> None:
    for report in reports:
        for failure in report.failures[:10]:
            print(f"{report.path}:{failure.line}: {failure}")
        if len(report.failures) > 10:
            print(f"{report.path}: and {len(report.failures) - 10} more failures")
    width = max(map(len, groups))
    print(f"\n{'folder':{width}} | {_COLUMNS.lower()}")
    for name, total in groups.items():
        print(f"{name:{width}} | {total.row()}")
    print("\nslowest files:")
    for report in sorted(reports, key=lambda report: -report.seconds)[:10]:
        print(f"{report.seconds:8.1f} s  {report.path}")
    for sentence in wrong:
        print(sentence)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", help="folder of the official test suite")
    parser.add_argument("--found", action="store_true", help="only say whether the suite is there")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Scripts have names in all alphabets.
        sys.stdout.reconfigure(errors="backslashreplace")
    suite = find_suite(options.suite)
    if suite.missing:
        print(suite.missing, file=sys.stderr)
    if not suite.scripts:
        return 2
    if options.found:
        return 1 if suite.missing else 0
    return report_on(suite, options.jobs)


def report_on(suite: Suite, processes: int) -> int:
    """Run the suite, show progress and the outcome, write RESULTS.md. The exit status."""
    scripts = suite.scripts
    start, reports = time.perf_counter(), []
    for report in run_all(scripts, processes):
        reports.append(report)
        failed = f", {report.failed} failed" if report.failed else ""
        print(f"[{len(reports)}/{len(scripts)}] {report.path} ({report.seconds:.1f} s{failed})", flush=True)
    reports.sort(key=lambda report: report.path)
    names = {script.name: script.group for script in scripts}
    groups = totals_of((names[report.path], report) for report in reports)
    wrong = wrong_counts(reports)
    print_summary(groups, reports, wrong)
    (HERE / "RESULTS.md").write_text(results_page(groups, reports, wrong), encoding="utf-8")
    total = Totals()
    for report in reports:
        total.add(report)
    print(f"\n{time.perf_counter() - start:.0f} s on {processes} processes")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    if suite.missing:
        print(suite.missing)
    return 1 if total.failed or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
