"""Generates the layouts in docs/protocol.md from their declarations; `--check` only compares.

The page is written by people but for what stands between two marks: there, every declared layout is shown,
with its documentation, as a table of its fields.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import construct

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "channel"), str(ROOT / "enclave")]

from schannel import layouts  # noqa: E402
from schannel.declaration import STRUCTS  # noqa: E402
from schannel.endings import CloseReason  # noqa: E402
from schannel.evidence import Claims, Isolation, Report, SignedReport  # noqa: E402
from schannel.flow import INITIAL_CREDIT  # noqa: E402
from schannel.framing import MAGIC, MAX_RECORD, PROLOGUE_SIZE, Refusal  # noqa: E402
from schannel.handshake import PROTOCOL_VERSION, Suite  # noqa: E402
from schannel.messages import MESSAGES, ErrorCode, Message, Request  # noqa: E402
from schannel.receipts import Receipt, SignedReceipt  # noqa: E402
from schannel.records import DEFAULT_REKEY, MAX_PLAINTEXT, PADDING, RecordKind  # noqa: E402
from schannel.states import CLIENT, ENCLAVE, State, Table  # noqa: E402
from schannel.structs import TEXT  # noqa: E402
from schannel.types import HeapType  # noqa: E402
from schannel.values import ValueType  # noqa: E402
from schannel.wire import Layout  # noqa: E402
from wasm_rt.sealing import SealedHeader  # noqa: E402

PAGE = ROOT / "docs" / "protocol.md"
BEGIN, END = "<!-- generated: {} -->", "<!-- end of generated: {} -->"


def sections() -> dict[str, str]:
    """The generated parts of the page by name."""
    return {
        "constants": "".join(_constants()),
        "refusals": "".join(_refusals()),
        "codes": "".join(_codes()),
        "client": "".join(_diagram(CLIENT)),
        "enclave": "".join(_diagram(ENCLAVE)),
        "types": "".join(_types()),
        "messages": "".join(_messages()),
        "parts": "".join(_parts()),
        "layouts": "".join(_layouts()),
        "structures": "".join(_structures()),
    }


def _constants() -> Iterator[str]:
    yield "| constant | value |\n|---|---|\n"
    for name, value in (
        ("magic", f"`{MAGIC.decode()}`, hexadecimal `{MAGIC.hex()}`"),
        ("protocol version", PROTOCOL_VERSION),
        ("prologue", f"{PROLOGUE_SIZE} bytes"),
        ("largest record, prefix not counted", f"{MAX_RECORD} bytes"),
        ("plaintexts are padded to a multiple of", f"{PADDING} bytes"),
        ("largest plaintext", f"{MAX_PLAINTEXT} bytes"),
        ("credit that each end starts with", f"{INITIAL_CREDIT} bytes"),
        ("a key is replaced after", f"{DEFAULT_REKEY.records} records or {DEFAULT_REKEY.plaintext} bytes"),
        *((f"suite {suite.value}", f"`{suite.protocol_name}`") for suite in Suite),
    ):
        yield f"| {name} | {value} |\n"


def _refusals() -> Iterator[str]:
    yield "| reason | name | the host ... |\n|---|---|---|\n"
    yield from (f"| {item.value} | {item.name} | {item.shown} |\n" for item in Refusal)


def _codes() -> Iterator[str]:
    for title, kind in (
        ("Record kinds", RecordKind),
        ("Error codes", ErrorCode),
        ("Close reasons", CloseReason),
        ("Isolation (bits)", Isolation),
    ):
        yield f"**{title}**: {', '.join(f'{item.value} {item.name}' for item in kind)}.\n\n"
    for title, types in (("Value types", ValueType), ("Heap types", HeapType)):
        yield f"**{title} (hexadecimal)**: {', '.join(f'{item.value:x} {item}' for item in types)}.\n\n"


def _diagram(table: Table) -> Iterator[str]:
    """A table of states as a diagram, which GitHub draws."""
    yield "```mermaid\nstateDiagram-v2\n"
    yield f"    [*] --> {min(table).name}\n"
    for state, following in table.items():
        for target in dict.fromkeys(following.values()):
            passed = [each.name.replace("_", " ").lower() for each, to in following.items() if to is target]
            yield f"    {state.name} --> {target.name}: {', '.join(passed)}\n"
    yield f"    {State.CLOSED.name} --> [*]\n```\n"


def _types() -> Iterator[str]:
    yield "| request | type | answered with | type |\n|---|---|---|---|\n"
    for number, kind in sorted(MESSAGES.items()):
        if issubclass(kind, Request):
            yield f"| {kind.title} | {number} | {kind.result.title} | {kind.result.type_byte} |\n"
    others = [kind for kind in MESSAGES.values() if kind not in _paired()]
    yield from (f"| any | | {kind.title} | {kind.type_byte} |\n" for kind in others)


def _paired() -> set[type[Message]]:
    requests = [kind for kind in MESSAGES.values() if issubclass(kind, Request)]
    return {*requests, *(kind.result for kind in requests)}


def _messages() -> Iterator[str]:
    for number, kind in sorted(MESSAGES.items()):
        yield f"### {number}: {kind.title}\n\n{inspect.getdoc(kind)}\n\n{''.join(_fields(kind.layout))}\n"


def _parts() -> Iterator[str]:
    for cls, layout in STRUCTS.items():
        yield f"### {layout.name}\n\n{inspect.getdoc(cls)}\n\n{''.join(_fields(layout))}\n"


def _layouts() -> Iterator[str]:
    documentation = _documentation()
    for name, layout in vars(layouts).items():
        if isinstance(layout, Layout):
            yield f"### {name}: {layout.name}\n\n"
            if name in documentation:
                yield f"{documentation[name]}\n\n"
            yield "".join(_fields(layout)) + "\n"


def _fields(layout: Layout) -> Iterator[str]:
    if not layout.fields:
        yield "No bytes.\n"
        return
    yield "| field | form |\n|---|---|\n"
    yield from (f"| `{field}` | {codec.shown} |\n" for field, codec in layout.fields.items())


def _structures() -> Iterator[str]:
    for structure in (Claims, Report, SignedReport, Receipt, SignedReceipt, SealedHeader):
        yield f"### {structure.shown}\n\n{inspect.getdoc(structure)}\n\n| field | form |\n|---|---|\n"
        for item in structure.layout.subcons:
            yield f"| {f'`{item.name}`' if item.name else ''} | {_shown(item)} |\n"
        yield "\n"


def _shown(kind: Any) -> str:
    """How construct lays out a field, in words."""
    if kind is TEXT:
        return "text: u16 count, UTF-8"
    if isinstance(kind, construct.FormatField):
        bits = 8 * kind.sizeof()
        return f"u{bits} little-endian" if kind.fmtstr[0] == "<" else f"u{bits}"
    if isinstance(kind, construct.Bytes):
        return f"{kind.length} bytes"
    if isinstance(kind, construct.Const):
        return f"constant {kind.value.hex()}"
    if isinstance(kind, construct.Prefixed):
        return f"{_shown(kind.lengthfield)} count, bytes"
    if isinstance(kind, construct.Array):
        return ", ".join([_shown(kind.subcon)] * kind.count)
    return _shown(kind.subcon)


def _documentation() -> dict[str, str]:
    """What stands as text below each assignment in the module of the layouts."""
    body = ast.parse(inspect.getsource(layouts)).body
    found = {}
    for statement, following in itertools.pairwise(body):
        if (
            isinstance(statement, ast.Assign)
            and isinstance(statement.targets[0], ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            found[statement.targets[0].id] = inspect.cleandoc(str(following.value.value))
    return found


def page(written: str) -> str:
    """The page with its generated parts made anew.

    Raises:
        ValueError: it lacks the marks of one.
    """
    for name, text in sections().items():
        begin, end = BEGIN.format(name), END.format(name)
        before, found, rest = written.partition(begin)
        _, found_too, after = rest.partition(end)
        if not found or not found_too:
            raise ValueError(f"the marks {begin} and {end} are not there")
        written = f"{before}{begin}\n\n{text.rstrip()}\n\n{end}{after}"
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or with `--check` return 1 where the file is not what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not current")
    options = parser.parse_args(arguments)
    written = PAGE.read_text(encoding="utf-8")
    current = page(written)
    if not options.check:
        PAGE.write_text(current, encoding="utf-8")
    elif written != current:
        print(f"{PAGE.relative_to(ROOT)} is not current: run `python tools/gen_protocol.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
