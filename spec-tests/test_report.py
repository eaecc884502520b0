"""The report on the whole suite: it finds the scripts, counts them and tells failures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import report as reporting
from locate import NEEDED, Script
from tinywasm.engine import native_available
from tinywasm.wast.report import FileReport

GOOD = '(module (func (export "f")))\n(assert_return (invoke "f"))'
BAD = '(module (func (export "f")))\n(assert_return (invoke "g"))'


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite of four scripts; results are written beside it."""
    for name, text in {
        "core/good.wast": GOOD,
        "core/simd/bad.wast": BAD,
        "proposals/threads/good.wast": GOOD,
        "legacy/exceptions/core/good.wast": GOOD,
        "elsewhere/good.wast": GOOD,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(reporting, "HERE", tmp_path)
    return tmp_path


def test_a_whole_run(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reporting.main(["--suite", str(suite), "--jobs", "1"]) == 1
    output = capsys.readouterr().out
    assert 'core/simd/bad.wast:2: assert_return (invoke "g"): expected an exported function "g"' in output
    assert "core: counted 2 files, the suite has 258" in output
    assert "\n3 passed, 1 failed, 4 skipped\n" in output
    assert output.splitlines()[-1].endswith(f" has no script in {', '.join(NEEDED[1:])}.")
    page = (suite / "RESULTS.md").read_text()
    assert "**4 commands, 2 of them assertions, in 2 files: 3 passed, 1 failed, 0 skipped.** 2 more" in page
    assert f"tinywasm's {'native' if native_available else 'python'} engine.\n" in page
    assert "core/simd | 1 | 2 | 1 | 1 | 1 | 0 | 0 |\n" in page
    assert "proposals/threads | 1 | 2 | 1 | 0 | 0 | 2 | 0 | the proposal threads is not implemented\n" in page
    assert "core/good.wast | 2 | 1 | 2 | 0 | 0 | 0\n" in page


def test_the_known_counts_are_right_only_when_all_are_there() -> None:
    wide = "proposals/wide-arithmetic"
    assert not any(
        sentence.startswith(wide)
        for sentence in reporting.wrong_counts([FileReport(f"{wide}/a.wast", 109, 107)])
    )
    wrong = reporting.wrong_counts([FileReport(f"{wide}/a.wast", 109, 106)])
    assert f"{wide}: counted 106 assertions, the suite has 107" in wrong
    assert "core: counted 0 commands, the suite has 65,294" in wrong


def test_a_process_that_dies_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "good.wast"
    path.write_text(GOOD)
    scripts = [Script(path, "core/good.wast"), _Deadly(tmp_path / "deadly.wast", "core/deadly.wast")]
    reports = {report.path: report for report in reporting.run_all(scripts, 2)}
    assert reports["core/good.wast"].passed == 2
    assert reports["core/deadly.wast"].failures[0].got == "the end of the process that ran it"


class _Deadly(Script):
    """A script that ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return _end, ()


def _end() -> None:
    os._exit(1)
