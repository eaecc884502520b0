"""Finds the official test suite: one place for `pytest spec-tests` and `report.py`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# A checkout that is not installed must do as well.
sys.path.insert(0, str(ROOT))

CORE = "core"
_FOLDERS = (CORE, "custom", "legacy", "proposals")
# What we support of the suite: without one of these a run is not a whole one.
NEEDED = (CORE, "custom", "proposals/custom-page-sizes", "proposals/wide-arithmetic")


@dataclass(frozen=True)
class Script:
    """A script of the suite. `name` is its path below the suite's root, where `core` is a folder."""

    path: Path
    name: str

    @property
    def group(self) -> str:
        """The folder, of two levels at most: a feature."""
        return "/".join(Path(self.name).parts[:-1][:2])


@dataclass(frozen=True)
class Suite:
    """The scripts that were found, if any; `place` says to people where."""

    place: str
    scripts: Sequence[Script]

    @property
    def absent(self) -> Sequence[str]:
        """The parts that are needed and have no script."""
        names = [script.name for script in self.scripts]
        return [part for part in NEEDED if not any(name.startswith(f"{part}/") for name in names)]

    @property
    def missing(self) -> str | None:
        """What to say of a suite that is not whole."""
        if not self.scripts:
            return f"The official test suite is not {self.place}."
        if not self.absent:
            return None
        core = "THE CORE IS MISSING. " if CORE in self.absent else ""
        return f"{core}The official test suite {self.place} has no script in {', '.join(self.absent)}."


def find_suite(chosen: str | None = None) -> Suite:
    """The suite in the folder `chosen`, else in TINYWASM_TESTSUITE, else at the first place that has one.

    In a folder it lies as in the folder `test` of the specification's repository, as at that
    repository's root, or as in the published mirror, whose root has the core's scripts.
    """
    chosen = chosen or os.environ.get("TINYWASM_TESTSUITE")
    if chosen:
        return Suite(f"in {chosen}", _scripts(Path(chosen)))
    for suite in (_submodules(), Suite("in ../shared/testsuite", _scripts(ROOT.parent / "shared/testsuite"))):
        if suite.scripts:
            return suite
    return Suite("here: run `make suite`, or set TINYWASM_TESTSUITE to its folder", ())


def _submodules() -> Suite:
    # The folder `proposals` of the specification's repository has documents only.
    mirrored = [script for script in _scripts(HERE / "testsuite") if script.name.startswith("proposals/")]
    return Suite("in spec-tests/spec and spec-tests/testsuite", [*_scripts(HERE / "spec"), *mirrored])


def _scripts(root: Path) -> list[Script]:
    """The scripts of the suite in the folder `root`, whichever way they lie there."""
    if (root / "test" / CORE).is_dir():
        root = root / "test"
    found = [script for name in _FOLDERS for script in _named(name, root / name)]
    if any(root.glob("*.wast")):
        apart = {path for name in _FOLDERS for path in (root / name).rglob("*.wast")}
        found += [script for script in _named(CORE, root) if script.path not in apart]
    return found


def _named(name: str, folder: Path) -> Iterator[Script]:
    for path in sorted(folder.rglob("*.wast")):
        yield Script(path, f"{name}/{path.relative_to(folder).as_posix()}")
