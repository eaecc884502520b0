"""Finds the official test suite: one place for `pytest spec-tests` and `report.py`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# A checkout that is not installed must do as well.
sys.path.insert(0, str(ROOT))

_FOLDERS = ("core", "custom", "legacy", "proposals")


@dataclass(frozen=True)
class Script:
    """A script of the suite. `name` is its path below the suite's root."""

    path: Path
    name: str

    @property
    def group(self) -> str:
        """The folder, of two levels at most: a feature."""
        return "/".join(Path(self.name).parts[:-1][:2])


def missing(suite: str | None = None) -> str:
    """What to say where `find_suite` finds nothing."""
    chosen = _chosen(suite)
    if chosen:
        return f"the official test suite is not in {chosen}: no script in {', '.join(_FOLDERS)} there"
    return (
        "the official test suite is not there: set TINYWASM_TESTSUITE to its folder, "
        "or run `git submodule update --init spec-tests/spec spec-tests/testsuite`"
    )


def find_suite(suite: str | None = None) -> Sequence[Script]:
    """All scripts of the suite in the folder `suite`, else at the first place that has them."""
    for folders in _places(suite):
        scripts = [
            Script(path, f"{name}/{path.relative_to(folder).as_posix()}")
            for name, folder in folders.items()
            for path in sorted(folder.rglob("*.wast"))
        ]
        if scripts:
            return scripts
    return []


def _chosen(suite: str | None) -> str | None:
    return suite or os.environ.get("TINYWASM_TESTSUITE")


def _places(suite: str | None) -> Sequence[dict[str, Path]]:
    chosen = _chosen(suite)
    if chosen:
        return [{name: Path(chosen) / name for name in _FOLDERS}]
    test = HERE / "spec" / "test"
    submodules = {name: test / name for name in _FOLDERS[:3]}
    submodules["proposals"] = HERE / "testsuite" / "proposals"
    shared = ROOT.parent / "shared" / "testsuite"
    return [submodules, {name: shared / name for name in _FOLDERS}]
