"""Runs `python -m MODULE ARGUMENT...` with a native engine that collects garbage at every allocation.

python -m fuzz.stress tinywasm wast spec-tests/testsuite/core/gc
python -m fuzz.stress pytest fuzz/test_engines_agree.py
"""

from __future__ import annotations

import runpy
import sys

from tinywasm.engine.native import _loop


def main() -> None:
    """Take the module's name off the command line and run it."""
    _loop.collect_first_at(0)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
