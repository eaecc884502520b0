"""Runs `python -m MODULE ARGUMENT...` with every function lowered through small windows on the native engine.

python -m fuzz.small_windows tinywasm wast spec-tests/testsuite/core
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from tinywasm.engine.native import frame

# Windows of this many slots change within nearly every function.
SMALL = 12


@contextmanager
def small_windows(slots: int = SMALL) -> Iterator[None]:
    """Until it ends, the native engine lowers functions through windows of about so many slots."""
    with (
        patch.object(frame, "MAX_SLOTS", -1),
        patch.object(frame, "WINDOW", slots),
        patch.object(frame, "REACH", 3 * slots),
    ):
        yield


def main() -> None:
    """Take the module's name off the command line and run it."""
    del sys.argv[0]
    with small_windows():
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
