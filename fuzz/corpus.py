"""Modules to start from: those of the official suite where it is found, and of snippets.wast always."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from tinywasm import binary
from tinywasm.errors import WasmError
from tinywasm.instructions import Feature
from tinywasm.text import Cursor
from tinywasm.wast.commands import AssertModule, DefineModule, ModuleSource
from tinywasm.wast.script import parse_script
from tinywasm.wast.suite import unsupported

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "spec-tests"))

from locate import find_suite  # noqa: E402  (spec-tests is no package)

FEATURES = frozenset(Feature)
# In pure Python no larger module is read within the second that a case may take.
MAX_TEXT = 64_000
_NOT_TEXT = ("binary", "quote", "instance", "definition")


def has_suite() -> bool:
    """Whether the official suite is there."""
    return bool(find_suite().scripts)


@cache
def _scripts() -> Sequence[Path]:
    suite = [script.path for script in find_suite().scripts if not unsupported(script.path)]
    return [HERE / "snippets.wast", *suite]


@cache
def _binaries(script: Path) -> Sequence[bytes]:
    """The encoded modules of a script that can be read, valid or not."""
    found = []
    for command in parse_script(script.read_bytes()):
        body = command.body
        source = body.source if isinstance(body, DefineModule) else None
        if isinstance(body, AssertModule) and isinstance(body.module, ModuleSource):
            source = body.module
        try:
            if source is not None:
                found.append(binary.encode(source.decode(FEATURES)))
        except WasmError:
            continue
    return found


@cache
def _texts(script: Path) -> Sequence[str]:
    """The source texts of a script's modules."""
    return list(_cut_modules(script.read_text(encoding="utf-8"))) if _is_text(script) else []


def _is_text(script: Path) -> bool:
    try:
        Cursor(script.read_bytes())
    except WasmError:
        return False
    return True


def _cut_modules(script: str) -> Iterator[str]:
    cursor = Cursor(script)
    offsets = cursor.stream.offsets
    while cursor.take("("):
        start = cursor.index - 1
        is_module = cursor.peek() == "module" and not {cursor.peek(1), cursor.peek(2)} & {*_NOT_TEXT}
        cursor.skip_form()
        text = script[offsets[start] : offsets[cursor.index - 1] + 1]
        if is_module and len(text) <= MAX_TEXT:
            yield text


@st.composite
def binaries(draw: st.DrawFn) -> bytes:
    """An encoded module."""
    found = _binaries(draw(st.sampled_from(_scripts())))
    return draw(st.sampled_from(found)) if found else b"\0asm\1\0\0\0"


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A module's source text."""
    found = _texts(draw(st.sampled_from(_scripts())))
    return draw(st.sampled_from(found)) if found else "(module)"
