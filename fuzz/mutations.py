"""Strategies that damage a module: its bytes, its text, or its parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from fuzz.corpus import binaries, texts
from tinywasm.instructions import BY_NAME
from tinywasm.leb128 import write_unsigned

_BYTES = st.integers(0, 255) | st.sampled_from(
    [*b"\0\1\x0b\x40\x60\x63\x64\x6f\x70\x7b\x7f\x80\xfb\xfc\xfd\xff", 0x4E, 0x4F, 0x50, 0x5E, 0x5F]
)
_LIES = st.sampled_from([0, 1, 127, 128, 2**14, 2**31, 2**32 - 1, 2**32, 2**64 - 1]).map(write_unsigned)
_MAX_EDITS = 4

_Edit = Callable[[st.DrawFn, bytes], bytes]


def _place(draw: st.DrawFn, data: Sequence[Any]) -> int:
    return draw(st.integers(0, len(data)))


def _flip(draw: st.DrawFn, data: bytes) -> bytes:
    at = _place(draw, data)
    return (
        data[:at] + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[at : at + 1]) + data[at + 1 :]
    )


def _overwrite(draw: st.DrawFn, data: bytes) -> bytes:
    at = _place(draw, data)
    return data[:at] + bytes([draw(_BYTES)]) + data[at + 1 :]


def _lie(draw: st.DrawFn, data: bytes) -> bytes:
    """Put another number where perhaps a length is."""
    at = _place(draw, data)
    return data[:at] + draw(_LIES) + data[at + 1 :]


def _insert(draw: st.DrawFn, data: bytes) -> bytes:
    at = _place(draw, data)
    return data[:at] + bytes(draw(st.lists(_BYTES, min_size=1, max_size=8))) + data[at:]


def _delete(draw: st.DrawFn, data: bytes) -> bytes:
    at = _place(draw, data)
    return data[:at] + data[at + draw(st.integers(1, 16)) :]


def _repeat(draw: st.DrawFn, data: bytes) -> bytes:
    at = _place(draw, data)
    return data[:at] + data[at : at + draw(st.integers(1, 16))] * draw(st.integers(2, 100)) + data[at:]


def _truncate(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: _place(draw, data)]


def _splice(draw: st.DrawFn, data: bytes) -> bytes:
    other = draw(binaries())
    return data[: _place(draw, data)] + other[_place(draw, other) :]


_EDITS: list[_Edit] = [_flip, _overwrite, _lie, _insert, _delete, _repeat, _truncate, _splice]


@st.composite
def damaged_binaries(draw: st.DrawFn) -> bytes:
    """A module with up to four edits of its bytes."""
    return damaged(draw, draw(binaries()))


def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with up to four edits."""
    for edit in draw(st.lists(st.sampled_from(_EDITS), min_size=1, max_size=_MAX_EDITS)):
        data = edit(draw, data)
    return data


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[()]|;;[^\n]*|[^\s()";]+|\s+|.', re.DOTALL)
_SAMPLES = """( ) (; ;) ;; (@ (@x $ $x $"x" "" "\\u{110000}" "\\ff" " 0 1 -1 0x 0x1p 1_000_ 4294967295
4294967296 18446744073709551616 nan:0x0 nan inf -nan:canonical 1e999 0x1p99999999 1e99999999 offset= align=0
align=3 offset=99999999999999999999
module func param result local type rec sub final struct array field mut ref
null i8 i16 i32 i64 f32 f64 v128 anyref funcref externref exnref (ref (type (param (result (local (then
(else then else if block loop end try_table catch catch_all_ref br br_if br_table br_on_cast call
call_indirect return_call select drop unreachable table memory global elem data tag import export start
declare item pagesize i64x2 i8x16 i8x16.shuffle v128.const i32.const f32.const i64.load8_s struct.new
array.new_fixed ref.null ref.func memory.init table.copy \x00 \x7f \u00e9 \ud800 \U0001f600"""
_WORDS = st.sampled_from(_SAMPLES.split()) | st.sampled_from(sorted(BY_NAME)) | st.text(max_size=4)


def _change_tokens(draw: st.DrawFn, tokens: list[str]) -> None:
    at = _place(draw, tokens)
    size = draw(st.integers(0, 6))
    kind = draw(st.sampled_from(["replace", "insert", "delete", "repeat", "move"]))
    if kind == "replace":
        tokens[at : at + 1] = [draw(_WORDS)]
    elif kind == "insert":
        tokens[at:at] = [" ", draw(_WORDS), " "]
    elif kind == "delete":
        del tokens[at : at + size]
    elif kind == "repeat":
        tokens[at:at] = tokens[at : at + size] * draw(st.integers(1, 100))
    else:
        moved = tokens[at : at + size]
        del tokens[at : at + size]
        to = _place(draw, tokens)
        tokens[to:to] = moved


def _change_characters(draw: st.DrawFn, text: str) -> str:
    at = _place(draw, text)
    return text[:at] + draw(st.text(max_size=3)) + text[at + draw(st.integers(0, 3)) :]


@st.composite
def damaged_texts(draw: st.DrawFn) -> str:
    """A source text with up to four edits, of tokens or characters."""
    text = draw(texts())
    for by_token in draw(st.lists(st.booleans(), min_size=1, max_size=_MAX_EDITS)):
        if by_token:
            tokens = _TOKEN.findall(text)
            _change_tokens(draw, tokens)
            text = "".join(tokens)
        else:
            text = _change_characters(draw, text)
    return text
