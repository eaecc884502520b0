"""Writes what README and docs/performance.md say of speed, from the results; `--check` only compares."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"

_ROW = re.compile(r"^\| speed, .*$", re.MULTILINE)
_TABLE = re.compile(
    r"(?<=<!-- generated: speed -->\n\n).*?(?=\n\n<!-- end of generated: speed -->)", re.DOTALL
)
_MEANS = "**geometric mean, scalar**"
# What the page shows: the chapters and rows of the results, and in words what they are.
_FAST, _SLOW, _CALLS = "Large sizes", "Small sizes", "Calls over the border"
_KERNELS = {
    _MEANS: "scalar kernels, wasm3 0.9 = 1",
    "simd_dot": "`simd_dot`, wasmtime = 1",
    "gc_list": "`gc_list`, wasmtime = 1",
    "gc_tree": "`gc_tree`, wasmtime = 1",
}
_BORDER = {
    "from Python: `(i32, i32) -> i32`": "a call from Python",
    "to Python: `(i32, i32) -> i32`": "a call to Python",
}
# Each with the chapter that has it: runtimes in Python run small sizes only.
_RUNTIMES = {
    "tinywasm native": _FAST,
    "tinywasm native, compiled": _FAST,
    "tinywasm python": _SLOW,
    "wasmtime-py": _FAST,
    "pywasm3": _FAST,
    "pwasm": _SLOW,
}

Cells = dict[str, dict[str, str]]


def chapter(page: str, title: str) -> Cells:
    """The table of a chapter of the results, by its rows' names and its columns', without spreads.

    Raises:
        ValueError: there is none.
    """
    text = page.partition(f"\n## {title}")[2].split("\n## ")[0]
    found = re.search(r"(^\|.*\n)+", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{RESULTS.name} has no table in its chapter {title!r}")
    (_, *columns), _, *rows = (line.strip("|").split("|") for line in found[0].splitlines())
    names = [name.strip() for name in columns]
    return {first.strip(): dict(zip(names, map(_figure, cells), strict=True)) for first, *cells in rows}


def _figure(cell: str) -> str:
    """A cell without the spread, or over how many it is a mean."""
    return re.sub(r" ±.*| of \d+$", "", cell.strip()).strip("*")


def row(page: str) -> str:
    """README's row. Raises `ValueError` where the results lack a runtime that it names."""
    fast, slow = _cells(page, _FAST, _MEANS), _cells(page, _SLOW, _MEANS)
    try:
        ours = (
            f"{fast['tinywasm native']}; {fast['tinywasm native, compiled']} "
            f"[compiled](docs/performance.md); {slow['tinywasm python']} in Python alone"
        )
        theirs = f"pywasm {slow['pywasm']}, pwasm {slow['pwasm']} | 1 | {fast['wasmtime-py']}"
    except KeyError as missing:
        raise ValueError(f"{RESULTS.name} has no figure of {missing}") from None
    return f"| speed, [measured](benchmarks/RESULTS.md): the time of wasm3 0.9 is 1 | {ours} | {theirs} |"


def _cells(page: str, title: str, name: str) -> dict[str, str]:
    rows = chapter(page, title)
    if name not in rows:
        raise ValueError(f"{RESULTS.name} has no row {name!r} in its chapter {title!r}")
    return rows[name]


def table(page: str) -> str:
    """The table of docs/performance.md, where "-" is what a runtime cannot do.

    Raises:
        ValueError: the results lack a row of it.
    """
    lines = ["| | " + " | ".join(_RUNTIMES) + " |", "|---" * (len(_RUNTIMES) + 1) + "|"]
    for name, words in _KERNELS.items():
        rows = {title: _cells(page, title, name) for title in (_FAST, _SLOW)}
        figures = [rows[title].get(runtime, "-") for runtime, title in _RUNTIMES.items()]
        lines.append(f"| {words} | {' | '.join(figures)} |")
    for name, words in _BORDER.items():
        cells = _cells(page, _CALLS, name)
        lines.append(f"| {words} | {' | '.join(cells.get(runtime, '-') for runtime in _RUNTIMES)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write both, or with `--check` return 1 where one of them is not what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not current")
    options = parser.parse_args(arguments)
    results = RESULTS.read_text(encoding="utf-8")
    stale = []
    for path, place, made in ((README, _ROW, row(results)), (PAGE, _TABLE, table(results))):
        written = path.read_text(encoding="utf-8")
        current, found = place.subn(lambda _, made=made: made, written, count=1)  # type: ignore[misc]
        if not found:
            raise ValueError(f"{path.name} has no place for it")
        if written != current:
            stale.append(path.name)
            if not options.check:
                path.write_text(current, encoding="utf-8")
    if stale and options.check:
        print(f"{' and '.join(stale)}: not current, run `python tools/gen_speed.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
