"""`tinywasm wast`: scripts of the official test suite."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tinywasm.cli.options import Subparsers, add_command, add_engine, seconds
from tinywasm.instructions import Feature
from tinywasm.wast.report import FileReport
from tinywasm.wast.runner import count_commands, run_script
from tinywasm.wast.suite import config_for, scripts, unsupported
from tinywasm.whole_files import read_whole


def add_parsers(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "wast",
        "run .wast scripts",
        "The last line counts the commands passed, failed and skipped.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", type=Path, help="a script or a folder of them")
    parser.add_argument(
        "--feature",
        action="append",
        default=[],
        choices=[feature.value for feature in Feature],
        help="switch a proposal on (folders of that name do so by themselves)",
    )
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="limit for each script")
    add_engine(parser)
    parser.add_argument("--verbose", action="store_true", help="show what scripts print, and all counts")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON and nothing else")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    reports = []
    found = scripts(options.files)
    if not found:
        raise ValueError(f"no .wast files in {', '.join(map(str, options.files))}")
    for path in found:
        report = _run_one(path, options)
        reports.append(report)
        if not options.json:
            _show(report, options.verbose)
    if options.json:
        print(json.dumps([report.as_json() for report in reports], indent=1))
    else:
        print(summary(reports))
    return 1 if any(report.failed for report in reports) else 0


def _run_one(path: Path, options: argparse.Namespace) -> FileReport:
    text = read_whole(path)
    reason = unsupported(path)
    if reason:
        return count_commands(text, str(path), reason)
    config = config_for(path, [Feature(name) for name in options.feature])
    if options.engine:
        config.engine = options.engine
    if options.tier:
        config.tier = options.tier
    show = options.verbose and not options.json
    return run_script(text, str(path), config, print if show else lambda line: None, options.timeout)


def _show(report: FileReport, verbose: bool) -> None:
    for failure in report.failures:
        print(f"{report.path}:{failure.line}: {failure}")
    if report.skipped:
        print(f"{report.path}: skipped {report.skipped} commands: {report.skip_reason}")
    if verbose:
        for mismatch in report.mismatches:
            print(f"{report.path}:{mismatch.line}: other words: {mismatch}")
        print(f"{report.path}: {report.passed} of {report.commands} passed in {report.seconds:.1f} s")
    sys.stdout.flush()


def summary(reports: Sequence[FileReport]) -> str:
    """Two lines: what there was, and what came of it."""
    commands = sum(report.commands for report in reports)
    assertions = sum(report.assertions for report in reports)
    mismatches = sum(len(report.mismatches) for report in reports)
    outcomes = (sum(getattr(report, name) for report in reports) for name in ("passed", "failed", "skipped"))
    passed, failed, skipped = outcomes
    return (
        f"{len(reports)} files, {commands} commands, {assertions} of them assertions,"
        f" {mismatches} message mismatches\n"
        f"{passed} passed, {failed} failed, {skipped} skipped"
    )
