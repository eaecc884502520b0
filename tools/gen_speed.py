"""Writes what README and docs/performance.md have of speed, from the results; `--check` only compares."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import plot  # noqa: E402

README = ROOT / "README.md"
PAGE = ROOT / "docs" / "performance.md"
DRAWING = ROOT / "docs" / "speed.svg"
COLD_DRAWING = ROOT / "docs" / "cold.svg"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
COLD = ROOT / "benchmarks" / "COLD.md"

_ROW = re.compile(r"^\| speed, .*$", re.MULTILINE)
_TABLE, _COLD_TABLE = (
    re.compile(rf"(?<=<!-- generated: {name} -->\n\n).*?(?=\n\n<!-- end of generated: {name} -->)", re.DOTALL)
    for name in ("speed", "cold")
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
    "tinywasm native, auto": _FAST,
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
    auto = fast.get("tinywasm native, auto")
    try:
        ours = (
            f"{fast['tinywasm native']}; {fast['tinywasm native, compiled']} [compiled](docs/performance.md)"
            f"{f', {auto} with `auto`' if auto else ''}; {slow['tinywasm python']} in Python alone"
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
    means = {title: _cells(page, title, _MEANS) for title in (_FAST, _SLOW)}
    measured = {runtime: title for runtime, title in _RUNTIMES.items() if runtime in means[title]}
    lines = ["| | " + " | ".join(measured) + " |", "|---" * (len(measured) + 1) + "|"]
    for name, words in _KERNELS.items():
        rows = {title: _cells(page, title, name) for title in (_FAST, _SLOW)}
        figures = [rows[title].get(runtime, "-") for runtime, title in measured.items()]
        lines.append(f"| {words} | {' | '.join(figures)} |")
    for name, words in _BORDER.items():
        cells = _cells(page, _CALLS, name)
        lines.append(f"| {words} | {' | '.join(cells.get(runtime, '-') for runtime in measured)} |")
    return "\n".join(lines)


def drawing(page: str) -> str:
    """The means over the scalar kernels, of every runtime that has one.

    Raises:
        ValueError: the results have none.
    """
    means = {**_cells(page, _SLOW, _MEANS), **_cells(page, _FAST, _MEANS)}
    figures = {runtime: float(mean.replace(",", "")) for runtime, mean in means.items() if mean != "-"}
    return plot.rank(figures, "processor time of the scalar kernels, that of wasm3 0.9 is 1 (geometric mean)")


def cold(page: str) -> Cells:
    """The means over all kernels, by how much work they did.

    Raises:
        ValueError: a chapter has none.
    """
    titles = re.findall(r"^## (.* times the work)$", page, re.MULTILINE)
    return {title: _cells(page, title, "**geometric mean**") for title in titles}


def cold_table(means: Cells) -> str:
    """The second table of docs/performance.md."""
    runtimes = list(dict.fromkeys(runtime for cells in means.values() for runtime in cells))
    lines = ["| " + " | ".join(runtimes) + " |", "|---" * len(runtimes) + "|"]
    lines += [f"| {' | '.join(cells.values())} |" for cells in means.values()]
    return "\n".join(lines)


def cold_drawing(means: Cells) -> str:
    points = []
    for interpreted, *others in (list(cells.items()) for cells in means.values()):
        points += [(interpreted[1], runtime, float(ratio.replace(",", ""))) for runtime, ratio in others]
    return plot.draw(points, "from file to result, wall time; that of the interpreter, at the left, is 1")


def pages(results: str, started: str) -> dict[Path, str]:
    """What every file is to hold, from the results and from those of cold starts.

    Raises:
        ValueError: as above, and where a file has no place for it.
    """
    means = cold(started)
    readme = _placed(README, _text(README), _ROW, row(results))
    page = _placed(PAGE, _text(PAGE), _TABLE, table(results))
    return {
        README: readme,
        PAGE: _placed(PAGE, page, _COLD_TABLE, cold_table(means)),
        DRAWING: drawing(results),
        COLD_DRAWING: cold_drawing(means),
    }


def _placed(path: Path, text: str, place: re.Pattern[str], made: str) -> str:
    current, found = place.subn(lambda _: made, text, count=1)
    if not found:
        raise ValueError(f"{path.name} has no place for it")
    return current


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write them, or with `--check` return 1 where one of them is not what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not current")
    options = parser.parse_args(arguments)
    current = pages(_text(RESULTS), _text(COLD))
    stale = [path for path in current if _text(path) != current[path]]
    if stale and options.check:
        names = " and ".join(path.name for path in stale)
        print(f"{names}: not current, run `python tools/gen_speed.py`", file=sys.stderr)
        return 1
    for path in stale:
        path.write_text(current[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
