"""Runs `python -m MODULE ARGUMENT...` with the source of the modules that are compiled as they are.

python -m fuzz.uncompiled tinywasm wast spec-tests/testsuite/core
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from fuzz.limits import ROOT

SOURCES = {
    f"tinywasm.engine.{path.parent.name}.{path.stem}": path.with_suffix(".py")
    for path in (ROOT / "tinywasm" / "engine").glob("*/*.pxd")
}


class _Sources(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in SOURCES:
            return None
        return importlib.util.spec_from_file_location(fullname, SOURCES[fullname])


def main() -> None:
    """Take the module's name off the command line and run it."""
    sys.meta_path.insert(0, _Sources())
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
