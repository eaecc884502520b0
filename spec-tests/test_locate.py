"""The official suite is found as people have it, and what is missing of it is said."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import locate
import report as reporting
from locate import CORE, NEEDED, Suite, find_suite
from tinywasm.wast.report import FileReport

SCRIPT = '(module (func (export "f")))\n(assert_return (invoke "f"))'
REST = (
    "custom/name/name_annot.wast",
    "legacy/exceptions/throw.wast",
    "proposals/custom-page-sizes/binary.wast",
    "proposals/threads/atomic.wast",
    "proposals/wide-arithmetic/wide-arithmetic.wast",
)
MIRROR = (
    "i32.wast",
    "simd_lane.wast",
    "custom/name_annot.wast",
    "legacy/throw.wast",
    *(name for name in REST if name.startswith("proposals/")),
)
Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Makes a folder with scripts; without one that is named, no suite is found."""
    monkeypatch.setattr(locate, "HERE", tmp_path / "checkout" / "spec-tests")
    monkeypatch.setattr(locate, "ROOT", tmp_path / "checkout")
    monkeypatch.delenv("TINYWASM_TESTSUITE", raising=False)

    def make(folder: str, *names: str) -> Path:
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(SCRIPT)
        return tmp_path / folder

    return make


def _names(suite: Suite) -> list[str]:
    return [script.name for script in suite.scripts]


def test_the_core_is_there(chosen_suite: Suite) -> None:
    if not chosen_suite.scripts:
        pytest.skip(chosen_suite.missing or "")
    assert CORE not in chosen_suite.absent, chosen_suite.missing


def test_what_is_needed_is_counted() -> None:
    assert tuple(reporting.KNOWN) == NEEDED


def test_a_folder_for_each_part(tree: Tree) -> None:
    suite = find_suite(str(tree("suite", "core/i32.wast", "core/simd/simd_lane.wast", *REST)))
    assert _names(suite) == ["core/i32.wast", "core/simd/simd_lane.wast", *REST]
    assert suite.missing is None


def test_the_published_mirror(tree: Tree) -> None:
    suite = find_suite(str(tree("mirror", *MIRROR)))
    rest = [name for name in MIRROR if "/" in name]
    assert _names(suite) == [*rest, "core/i32.wast", "core/simd_lane.wast"]
    assert suite.missing is None
    assert {script.group for script in suite.scripts} == {
        "core",
        "custom",
        "legacy",
        "proposals/custom-page-sizes",
        "proposals/threads",
        "proposals/wide-arithmetic",
    }


def test_the_root_of_the_specifications_repository(tree: Tree) -> None:
    names = ["core/i32.wast", "core/gc/array.wast", "custom/name/name_annot.wast"]
    root = tree("spec", *(f"test/{name}" for name in names), "spectec/test-interpreter/fib.wast")
    (root / "proposals" / "gc").mkdir(parents=True)
    for place in (root, root / "test"):
        suite = find_suite(str(place))
        assert sorted(_names(suite)) == sorted(names)
        assert suite.absent == ["proposals/custom-page-sizes", "proposals/wide-arithmetic"]


def test_the_core_alone(tree: Tree) -> None:
    suite = find_suite(str(tree("core", "i32.wast", "simd/simd_lane.wast")))
    assert _names(suite) == ["core/i32.wast", "core/simd/simd_lane.wast"]
    assert suite.absent == list(NEEDED[1:])


def test_without_the_core(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    root = tree("proposals only", *REST)
    suite = find_suite(str(root))
    assert suite.absent == [CORE]
    expected = f"THE CORE IS MISSING. The official test suite in {root} has no script in core."
    assert suite.missing == expected
    assert reporting.main(["--found", "--suite", str(root)]) == 1
    assert capsys.readouterr().err == f"{expected}\n"


def test_pytest_fails_without_the_core(tree: Tree) -> None:
    root = tree("proposals only", *REST)
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--suite", str(root)]
    names = [f"{here / 'test_locate.py'}::{test_the_core_is_there.__name__}", str(here / "test_spec.py")]
    run = subprocess.run([*command, *names], cwd=here.parent, capture_output=True, text=True)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "THE CORE IS MISSING" in run.stdout
    assert "1 failed" in run.stdout


def test_submodules_come_before_the_shared_folder(tree: Tree) -> None:
    assert not find_suite().scripts
    tree("shared/testsuite", "core/shared.wast", *REST)
    assert find_suite().missing is None
    tree("checkout/spec-tests/spec", "test/core/module.wast", "test/custom/name/name_annot.wast")
    suite = find_suite()
    assert suite.absent == ["proposals/custom-page-sizes", "proposals/wide-arithmetic"]
    tree("checkout/spec-tests/testsuite", *MIRROR)
    suite = find_suite()
    assert suite.missing is None
    # The core is the specification's own, which has more than the mirror.
    assert [name for name in _names(suite) if name.startswith("core/")] == ["core/module.wast"]


def test_the_variable_names_a_folder(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYWASM_TESTSUITE", str(tree("mirror", *MIRROR)))
    assert "core/simd_lane.wast" in _names(find_suite())
    assert _names(find_suite(str(tree("other", "core/x.wast")))) == ["core/x.wast"]


def test_no_suite(tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    assert reporting.main(["--found", "--suite", str(empty)]) == 2
    assert reporting.main(["--found"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"The official test suite is not in {empty}."
    assert "run `make suite`, or set TINYWASM_TESTSUITE" in second


def test_the_counts_of_the_mirror_are_right_as_well() -> None:
    def counted(files: int, commands: int, assertions: int) -> list[str]:
        rest = [FileReport(f"core/{index}.wast") for index in range(files - 1)]
        report = FileReport("core/x.wast", commands, assertions)
        wrong = reporting.wrong_counts([report, *rest])
        return [sentence for sentence in wrong if sentence.startswith("core:")]

    assert not counted(*reporting.KNOWN[CORE])
    assert not counted(*reporting.MIRRORED_CORE)
    files, commands, assertions = reporting.MIRRORED_CORE
    assert "core: counted 257 files, the suite has 258" in counted(files, commands - 1, assertions)
