"""Generates docs/instructions.md from the instruction table; `--check` only compares."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tinywasm import instructions  # noqa: E402
from tinywasm.instructions import TABLE, Instruction  # noqa: E402

PAGE = ROOT / "docs" / "instructions.md"

_INTRODUCTION = """\
# Instructions

Generated from `tinywasm/instructions.py` by `tools/gen_docs.py`. Section numbers are those of the
WebAssembly 3.0 specification. `at` stands for the address type of the memory or table; a type of "rule"
depends on more than the instruction, as its section of the specification says. "const" marks the
instructions of constant expressions.
"""
_HEADER = "| opcode | instruction | immediates | type | const |\n|---|---|---|---|---|\n"


def page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for title, rows in _chapters():
        feature = rows[0].feature
        note = f"Off by default: needs the {feature.value} feature.\n\n" if feature else ""
        parts.append(f"\n## {title}\n\n{note}{_HEADER}" + "".join(map(_row, rows)))
    return "".join(parts)


def _chapters() -> Iterator[tuple[str, Sequence[Instruction]]]:
    """The table's groups under the comments that head them in its source."""
    source = Path(instructions.__file__).read_text(encoding="utf-8")
    rows = iter(TABLE)
    # A chapter may have several groups.
    _, *chapters = re.split(r"^# (.+)\n(?=with group\()", source, flags=re.MULTILINE)
    for title, body in zip(chapters[::2], chapters[1::2], strict=True):
        yield title, [next(rows) for _ in re.findall(r"^    op\(", body, re.MULTILINE)]
    assert next(rows, None) is None


def _row(row: Instruction) -> str:
    const = "const" if row.const else ""
    cells = (_opcode(row), f"`{row.name}`", " ".join(row.immediates), _type(row), const)
    return f"| {' | '.join(cells)} |\n"


def _opcode(row: Instruction) -> str:
    return f"{row.code:02X}" if row.prefix is None else f"{row.prefix:02X} {row.code:02X}"


def _type(row: Instruction) -> str:
    if row.rule:
        return "rule"
    params, results = (" ".join(map(str, types)) for types in (row.params, row.results))
    return f"[{params}] → [{results}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or with `--check` return 1 where the file is not what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not current")
    options = parser.parse_args(arguments)
    if not options.check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE.relative_to(ROOT)} is not current: run `python tools/gen_docs.py`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
