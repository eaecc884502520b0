"""What is printed parses back to the same module."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tinywasm.module_strategies import module_names, modules, u32, u64
from tinywasm.errors import ValidationError
from tinywasm.instructions import TABLE
from tinywasm.syntax import CustomSection, DecodedModule, Expr, Function, Names
from tinywasm.text import literals, parse_module, print_code, print_module, spelling
from tinywasm.types import I32, FuncType, RecGroup, SubType, ValType

EMPTY = Expr(b"\x0b", 0, 1)


def merged(runs: list[tuple[int, ValType]]) -> tuple[tuple[int, ValType], ...]:
    """Runs as the text format gives them: never empty, neighbours different, and few."""
    short = [(min(count, 3), valtype) for count, valtype in runs if count]
    groups = groupby(short, key=lambda run: run[1])
    return tuple((sum(count for count, _ in group), valtype) for valtype, group in groups)


def printable(module: DecodedModule) -> DecodedModule:
    """The module but for what text cannot say: split runs of locals, and no instruction at all (which
    is invalid) as a table's initial element."""
    for table in module.tables:
        table.init = None if table.init == EMPTY else table.init
    module.functions = [
        replace(function, locals=merged(list(function.locals))) for function in module.functions
    ]
    return module


def assert_round_trip(module: DecodedModule) -> DecodedModule:
    parsed = parse_module(print_module(module))
    assert replace(parsed, data_count=module.data_count) == module
    assert parsed.data_count in (None, len(module.datas))
    return parsed


@given(modules(custom_page_sizes=True), module_names)
@settings(deadline=None)
def test_any_module_survives(module: DecodedModule, names: Names) -> None:
    module.names = names
    assert_round_trip(printable(module))


def test_every_kind_of_immediate_is_printed() -> None:
    kinds = {kind for row in TABLE for kind in row.immediates if not kind.startswith("memarg")}
    handled = {kind for kinds_ in print_code._SPECIAL for kind in kinds_} | set(print_code._WORDS)
    assert kinds == handled | {"block", "catches"}


@given(u32)
def test_f32_keeps_its_bits(bits: int) -> None:
    assert literals.parse_f32(spelling.f32(bits)) == bits


@given(u64)
def test_f64_keeps_its_bits(bits: int) -> None:
    assert literals.parse_f64(spelling.f64(bits)) == bits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1.0, "1"),
        (-0.0, "-0"),
        (3.4028234663852886e38, "3.40282347e+38"),
        (1e-45, "1.4013e-45"),
    ],
)
def test_f32_is_short(value: float, text: str) -> None:
    assert spelling.f32(*struct.unpack("<I", struct.pack("<f", value))) == text


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("add", "$add"),
        ("a b", '$"a b"'),
        ('"\\', '$"\\22\\5c"'),
        ("λ", '$"λ"'),
        ("\n\u202e", '$"\\0a\\e2\\80\\ae"'),
    ],
)
def test_identifiers_are_quoted_where_needed(name: str, token: str) -> None:
    assert spelling.identifier(name) == token
    assert parse_module(f"(func {token})").names.functions == {0: name}


NAMED = """
(module $m
  (type $pair (struct (field $first i32) (field (mut i64))))
  (import "a" "b" (func $imported (param $unused i32)))
  (table $t 1 funcref)
  (memory $mem 1)
  (tag $e)
  (global $g i32 (i32.const 7))
  (elem $seg func $main)
  (data $bytes "x\\00\\"")
  (func $main (param $x i32) (result i32) (local $y i64) (local i64 $z i64)
    (block $out (result i32)
      (block $out (br_if $out (local.get $x)) (br 1 (i32.const 2)))
      (struct.get $pair $first (struct.new $pair (call $imported (i32.const 1)) (i64.const 2))))))
"""


def test_names_come_back() -> None:
    source = NAMED.replace("(local i64 $z i64)", "(local i64) (local $z i64)")
    module = parse_module(source)
    parsed = assert_round_trip(module)
    assert parsed.names == module.names
    text = print_module(module)
    assert "br_if $out" in text and "br 1" in text
    assert "struct.get $pair $first" in text


def test_a_name_that_is_taken_is_an_annotation() -> None:
    module = parse_module("(func $f) (func)")
    module.names.functions = {0: "f", 1: "f"}
    module.names.locals = {0: {0: ""}}
    text = print_module(module)
    assert '(func (;1;) (@name "f")' in text
    assert parse_module(text).names.functions == {0: "f", 1: "f"}


def test_custom_sections_keep_their_places() -> None:
    module = parse_module("(func) (memory 1)")
    module.customs = [
        CustomSection("first", b"", 0),
        CustomSection("λ", bytes(range(256)), 3),
        CustomSection("again", b"b", 3),
        CustomSection("last", b"c", 10),
    ]
    assert_round_trip(module)


def test_sections_that_the_text_says_otherwise_are_not_repeated() -> None:
    module = parse_module("(func $f)")
    module.customs = [CustomSection("name", b"abc", 10), CustomSection("metadata.code.branch_hint", b"d", 3)]
    assert parse_module(print_module(module)).customs == module.customs[1:]


def test_branch_hints_come_back() -> None:
    source = """(func (param i32) (local i32)
      (@metadata.code.branch_hint "\\01") (if (local.get 0) (then nop))
      block local.get 0 (@metadata.code.branch_hint "\\00") br_if 0 end)"""
    module = parse_module(source)
    assert module.branch_hints == {0: [(5, 1), (13, 0)]}
    assert assert_round_trip(module).branch_hints == module.branch_hints


def test_locals_are_not_spelled_out_without_limit() -> None:
    module = DecodedModule(types=[RecGroup((SubType(FuncType()),))])
    module.functions = [Function(0, ((2**32 - 1, I32),), EMPTY)]
    with pytest.raises(ValidationError, match="too many locals"):
        print_module(module)


@pytest.mark.parametrize("depth", [3, 20_000])
def test_deep_nesting_prints_in_reasonable_space(depth: int) -> None:
    module = parse_module("(func " + "(block $l (br $l) " * depth + ")" * depth + ")")
    text = print_module(module)
    assert len(text) < 300 * depth
    assert parse_module(text) == module


@given(st.binary(max_size=50))
def test_strings_keep_their_bytes(data: bytes) -> None:
    assert parse_module(f"(data {spelling.string(data)})").datas[0].init == data
