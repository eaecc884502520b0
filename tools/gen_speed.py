"""Writes README's row of speed from benchmarks/RESULTS.md; `--check` only compares."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"

_MEANS = "**geometric mean, scalar**"
_ROW = re.compile(r"^\| speed, .*$", re.MULTILINE)


def means(page: str, chapter: str) -> dict[str, str]:
    """The geometric mean of each runtime in the chapter's table, relative to wasm3's time.

    Raises:
        ValueError: the chapter or its row is not there.
    """
    _, found, rest = page.partition(f"\n## {chapter}")
    rows = [
        line.strip("|").split("|") for line in rest.split("\n## ")[0].splitlines() if line.startswith("|")
    ]
    cells = {first.strip(): [cell.strip() for cell in others] for first, *others in rows}
    if not found or _MEANS not in cells:
        raise ValueError(f"{RESULTS.name} has no row of means in its chapter {chapter!r}")
    values = (re.match(r"\*\*([^*]+)\*\*", cell) for cell in cells[_MEANS])
    return {name: value[1] for name, value in zip(cells["kernel"], values, strict=True) if value is not None}


def row(page: str) -> str:
    """README's row. Raises `ValueError` where the page lacks a runtime that it names."""
    fast, slow = means(page, "Large sizes"), means(page, "Small sizes")
    try:
        ours = (
            f"{fast['tinywasm native']}; {fast['tinywasm native, compiled']} as machine code; "
            f"{slow['tinywasm python']} in Python alone"
        )
        return _joined(ours, f"pywasm {slow['pywasm']}, pwasm {slow['pwasm']}", fast)
    except KeyError as missing:
        raise ValueError(f"{RESULTS.name} has no mean of {missing}") from None


def _joined(ours: str, interpreters: str, fast: Mapping[str, str]) -> str:
    name = "speed, [measured](benchmarks/RESULTS.md): the time of wasm3 0.9 is 1"
    return f"| {name} | {ours} | {interpreters} | 1 | {fast['wasmtime-py']} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the row, or with `--check` return 1 where README has another one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the row is not current")
    options = parser.parse_args(arguments)
    written = README.read_text(encoding="utf-8")
    current = _ROW.sub(row(RESULTS.read_text(encoding="utf-8")), written, count=1)
    if not options.check:
        README.write_text(current, encoding="utf-8")
    elif written != current:
        print("README.md is not current: run `python tools/gen_speed.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
