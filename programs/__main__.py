"""`make programs`: each program that can be had here on both runtimes, and a table of what came of it."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

from programs.catalogue import PROGRAMS, Absent
from programs.compare import RUNTIMES, differences, outcomes


def main() -> int:
    """The exit status: 1 where a program does not do the same on both."""
    if importlib.util.find_spec("wasmtime") is None:
        print("wasmtime is not installed: there is nothing to compare with", file=sys.stderr)
        return 2
    print(f"{'program':18} {'tinywasm':>10} {'wasmtime':>10}  outcome")
    wrong, ran = 0, 0
    with tempfile.TemporaryDirectory(prefix="programs-") as folder:
        for number, program in enumerate(PROGRAMS):
            try:
                found = outcomes(program, Path(folder) / str(number))
            except Absent as reason:
                print(f"{program.name:18} {'':10} {'':10}  ABSENT: {reason}", flush=True)
                continue
            ran += 1
            differ = differences(*(found[runtime] for runtime in RUNTIMES))
            wrong += bool(differ)
            times = " ".join(f"{found[runtime].seconds:8.1f} s" for runtime in RUNTIMES)
            said = (
                f"DIFFERENT: {', '.join(differ)}"
                if differ
                else f"the same, status {found['tinywasm'].status}"
            )
            print(f"{program.name:18} {times}  {said}", flush=True)
    print(f"{ran} of {len(PROGRAMS)} programs ran, {wrong} of them differently")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
