"""`make programs`: each program that can be had here in every way, and a table of what came of it."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

from programs.catalogue import PROGRAMS, Absent
from programs.compare import WASMTIME, WAYS, differences, outcomes, ways


def main() -> int:
    """The exit status: 1 where a program does not do in every way what it does on wasmtime."""
    if importlib.util.find_spec("wasmtime") is None:
        print("wasmtime is not installed: there is nothing to compare with", file=sys.stderr)
        return 2
    print(f"{'program':18} {' '.join(f'{way:>10}' for way in WAYS)}  outcome")
    wrong, ran = 0, 0
    with tempfile.TemporaryDirectory(prefix="programs-") as folder:
        for number, program in enumerate(PROGRAMS):
            try:
                found = outcomes(program, Path(folder) / str(number), ways(program))
            except Absent as reason:
                print(f"{program.name:18} ABSENT: {reason}", flush=True)
                continue
            ran += 1
            theirs = found[WASMTIME]
            differ = [f"{way} {what}" for way in found for what in differences(found[way], theirs)]
            wrong += bool(differ)
            times = " ".join(f"{found[way].seconds:8.1f} s" if way in found else f"{'-':>10}" for way in WAYS)
            said = f"DIFFERENT: {', '.join(differ)}" if differ else f"the same, status {theirs.status}"
            print(f"{program.name:18} {times}  {said}", flush=True)
    print(f"{ran} of {len(PROGRAMS)} programs ran, {wrong} of them differently")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
