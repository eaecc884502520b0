"""What the commands print: text of others made harmless, JSON, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Bytes in a line of `hex_line`.
HEX_LINE = 16


def printable(text: str) -> str:
    """Text that a module chose, without what could steer a terminal or pass for another line."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def as_json(value: Any) -> str:
    """One line of JSON."""
    import json

    return json.dumps(value, allow_nan=False)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns: the headings, then the rows; no lines for no rows. Numbers are set to the right."""
    if not rows:
        return []
    columns = list(zip(headings, *rows, strict=True))
    numeric = [all(cell.isdecimal() for cell in column[1:]) for column in columns]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in [headings, *rows]
    ]


def hex_line(address: int, data: bytes | memoryview, prefix: str = "") -> str:
    """At most HEX_LINE bytes: their address, their digits, and what of them is printable ASCII."""
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
    return f"{prefix}{address:08x}  {bytes(data).hex(' '):<{3 * HEX_LINE - 1}}  {text}"
