"""Input that is nested, or repeats itself, as deep or as often as a case may hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.limits import Examiner
from fuzz.profiles import nested_cases
from tinywasm.leb128 import write_unsigned

DEEP = 50_000
# Half a second of work in the slowest case, on a slow machine more: longer openers come less often.
_MAX_TEXT = 500_000
_MAX_OPENERS = 100_000


def _module(body: str) -> str:
    return f"(module (func {body}))"


def _folded(count: int) -> str:
    return _module("(drop " + "(i32.eqz " * count + "(i32.const 0)" + ")" * count + ")")


def _else_chain(count: int) -> str:
    link, close = "(if (i32.const 0) (then) (else ", "))"
    count = min(count, _MAX_TEXT // len(link + close))
    return _module(link * count + close * count)


def _rec_groups(count: int) -> str:
    return "(module (rec " + "(type (sub (struct (field (ref null 0)))))" * (count // 10) + "))"


def _supertypes(count: int) -> str:
    chain = "".join(f"(type (sub {i} (func)))" for i in range(count // 10))
    return f"(module (type (sub (func))){chain})"


# Pieces of text that open something, and what closes it.
OPENERS = {
    "(": ")",
    "(module ": ")",
    "(module (func ": "))",
    "(; ": ";)",
    "(@a ": ")",
    "(@custom ": ")",
    "(block ": ")",
    "(block $a ": ")",
    "(block (result i32) ": ")",
    "block $x loop ": "end end ",
    "(loop (type 0) ": ")",
    "(try_table (catch_all 0) ": ")",
    "if ": "end ",
    "if else ": "end ",
    "(if (i32.const 1) (then ": "))",
    "(if ": "(then))",
    "(i32.add (i32.const 1) ": ")",
    "(call 0 ": ")",
    "(select (result i32) ": ")",
    "(rec ": ")",
    "(type (sub ": "))",
    "(type (func (param ": ")))",
    "(struct (field (ref ": ")))",
    "(ref null ": ")",
    "(offset ": ")",
    "(item ": ")",
    "(import ": ")",
    "(global i32 (i32.add ": "))",
}
TEXTS: dict[str, Callable[[int], str]] = {
    "folded": _folded,
    "if chain": _else_chain,
    "flat blocks": lambda count: _module("block " * count + "end " * count),
    "folded blocks": lambda count: _module("(block " * count + ")" * count),
    "named blocks": lambda count: _module("(block $a " * (count // 2) + "br $a" + ")" * (count // 2)),
    "nested comments": lambda count: "(;" * count + ";)" * count + "(module)",
    "open comments": lambda count: "(;" * count,
    "closed comments": lambda count: "(;;)" * count,
    "nested annotations": lambda count: "(module (@a " + "(" * count + ")" * count + "))",
    "parentheses": lambda count: "(" * count,
    "closing parentheses": lambda count: "(module" + ")" * count,
    "rec group": _rec_groups,
    "supertypes": _supertypes,
    "br_table": lambda count: _module("(br_table " + "0 " * count + "(i32.const 0))"),
    "params": lambda count: _module("(param " + "i32 " * count + ")"),
    "locals": lambda count: _module("(local " + "i32 " * count + ")"),
    "one string": lambda count: '(module (memory 1) (data "' + "\\00" * count + '"))',
    "strings": lambda count: "(module (memory 1) (data " + '"" ' * count + "))",
    "one word": lambda count: "(module " + "a" * count + ")",
    "one integer": lambda count: _module("(drop (i64.const " + "9" * count + "))"),
    "one hexadecimal": lambda count: _module("(drop (i64.const 0x" + "0" * count + "1))"),
    "one float": lambda count: _module("(drop (f64.const 0." + "1" * count + "))"),
    "one hexadecimal float": lambda count: _module("(drop (f32.const 0x1." + "1" * count + "p-5))"),
    "one exponent": lambda count: _module("(drop (f64.const 1e" + "9" * count + "))"),
    "one binary exponent": lambda count: _module("(drop (f64.const 0x1p" + "9" * count + "))"),
    "one name": lambda count: '(module (memory (export "' + "\u00e9" * count + '") 1))',
    "one identifier": lambda count: '(module (memory $"' + "\\u{e9}" * count + '" 1))',
}


def _vector(count: int, item: bytes) -> bytes:
    return write_unsigned(count) + item * count


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + write_unsigned(len(content)) + content


def _binary(code: bytes, local_runs: bytes = b"\0", types: bytes = b"\1\x60\0\0") -> bytes:
    body = local_runs + code + b"\x0b"
    functions = write_unsigned(1) + write_unsigned(len(body)) + body
    return b"\0asm\1\0\0\0" + _section(1, types) + _section(3, b"\1\0") + _section(10, functions)


BINARIES: dict[str, Callable[[int], bytes]] = {
    "blocks": lambda count: _binary(b"\x02\x40" * count + b"\x0b" * count),
    "open blocks": lambda count: _binary(b"\x02\x40" * count),
    "loops and ifs": lambda count: _binary(b"\x03\x40\x41\0\x04\x40" * (count // 2) + b"\x0b" * count),
    "try_tables": lambda count: _binary(b"\x1f\x40\1\2\0" * count + b"\x0b" * count),
    "ends": lambda count: _binary(b"\x0b" * count),
    "br_table": lambda count: _binary(b"\x41\0\x0e" + _vector(count, b"\0") + b"\0"),
    "many locals": lambda count: _binary(b"", _vector(count, b"\xff\xff\x03\x7f")),
    "2^32 locals": lambda count: _binary(b"", b"\2\xff\xff\xff\xff\x0f\x7f\1\x7e"),
    "2^32-1 locals": lambda count: _binary(b"\x20\0\x1a", b"\1\xff\xff\xff\xff\x0f\x7f"),
    "drops": lambda count: _binary(b"\0" + b"\x1a" * count),
    "types": lambda count: b"\0asm\1\0\0\0" + _section(1, _vector(count // 4, b"\x60\0\0")),
    "constant blocks": lambda count: b"\0asm\1\0\0\0" + _section(6, b"\1\x7f\0" + b"\x02\x40" * count),
    "constant additions": lambda count: (
        b"\0asm\1\0\0\0" + _section(6, b"\1\x7f\0" + b"\x41\1" * (count + 1) + b"\x6a" * count + b"\x0b")
    ),
    "growing operands": lambda count: _binary(b"\x10\0" * count, types=b"\1\x60\0" + _vector(1000, b"\x7f")),
    "wide tail calls": lambda count: _binary(
        b"\0" + b"\x12\0" * (count // 2),
        types=b"\1\x60" + _vector(1000, b"\x7f") * 2,
    ),
    "wide labels": lambda count: _binary(
        b"\x02\0\0\x41\0\x0e" + _vector(count, b"\0") + b"\0\x0b\0",
        types=b"\1\x60\0" + _vector(1000, b"\x7f"),
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(examiner: Examiner, name: str) -> None:
    examiner.check(TEXTS[name](DEEP))


@pytest.mark.parametrize("name", BINARIES)
def test_binary(examiner: Examiner, name: str) -> None:
    examiner.check(BINARIES[name](DEEP))


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("around", ["", "(module (func ", "(module (type $t (func)) "])
def test_opener(examiner: Examiner, around: str, opener: str) -> None:
    count = min(DEEP, _MAX_OPENERS // len(opener))
    examiner.check(around + opener * count + OPENERS[opener] * count + ")" * around.count("("))
    examiner.check(around + opener * count)


@nested_cases
@given(
    st.sampled_from(["", "(module ", "(module (func ", "(module (table 1 funcref) (elem "]),
    st.lists(st.tuples(st.sampled_from(sorted(OPENERS)), st.integers(1, DEEP // 4)), min_size=1, max_size=3),
    st.booleans(),
)
def test_openers_in_each_other(
    examiner: Examiner, around: str, layers: list[tuple[str, int]], closed: bool
) -> None:
    layers = [(opener, min(count, _MAX_OPENERS // len(opener))) for opener, count in layers]
    text = around + "".join(opener * count for opener, count in layers)
    if closed:
        text += "".join(OPENERS[opener] * count for opener, count in reversed(layers)) + ")" * around.count(
            "("
        )
    examiner.check(text)
