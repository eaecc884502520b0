"""Validation of modules: what is declared around function bodies."""

from __future__ import annotations

import pytest

from tinywasm.errors import ValidationError
from tinywasm.instructions import Feature
from tinywasm.matching import define
from tinywasm.syntax import DecodedModule, FuncImport, Import, Table
from tinywasm.text import parse_module
from tinywasm.types import (
    FUNCREF,
    I32,
    I64,
    AbstractHeap,
    FieldType,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    RecGroup,
    RefType,
    StructType,
    SubType,
    TableType,
)
from tinywasm.validation import Context, validate

ALL = frozenset(Feature)


def context_of(source: str) -> Context:
    return validate(parse_module(f"(module {source})"), ALL)


def test_the_context_holds_the_index_spaces_closed() -> None:
    context = context_of(
        """
        (type $s (struct))
        (type $f (func (param (ref $s))))
        (import "m" "f" (func (type $f)))
        (import "m" "g" (global (ref null $s)))
        (import "m" "t" (table i64 1 (ref null $f)))
        (memory i64 1 2)
        (tag (param i32))
        (global (mut i32) (i32.const 1))
        (func $g (result i32) (i32.const 0))
        (elem declare func $g)
        (data "x")
        """
    )
    struct, func = context.types[:2]
    assert context.funcs == [func, define(FuncType([], [I32]))]
    assert context.globals == [GlobalType(RefType(True, struct)), GlobalType(I32, True)]
    assert context.tables == [TableType(RefType(True, func), Limits(1), I64)]
    assert context.memories == [MemoryType(Limits(1, 2), I64)]
    assert context.tags == [define(FuncType([I32]))]
    assert context.elems == [RefType(False, AbstractHeap.FUNC)]
    assert (context.datas, context.refs) == (1, {1})
    assert (context.imported_funcs, context.imported_globals, context.imported_tables) == (1, 1, 1)
    assert (context.imported_memories, context.imported_tags) == (0, 0)


VALID = [
    "(global $a i32 (i32.const 1)) (global i32 (i32.add (global.get $a) (i32.const 2)))",
    '(import "m" "g" (global $a i64)) (global i64 (i64.mul (global.get $a) (i64.const 2)))',
    "(func $f) (global funcref (ref.func $f)) (func (drop (ref.func $f)))",
    '(func $f (export "f") (drop (ref.func $f)))',
    "(table 1 (ref i31) (ref.i31 (i32.const 0)))",
    "(type $s (struct (field i32))) (global (ref $s) (struct.new $s (i32.const 0)))",
    "(type $a (array i8)) (global (ref $a) (array.new_fixed $a 2 (i32.const 0) (i32.const 1)))",
    "(memory i64 1) (data (i64.const 0))",
    "(table i64 1 funcref) (elem (i64.const 0) func)",
    "(memory 65536 65536)",
    "(memory i64 0x1_0000_0000_0000)",
    "(memory 0xffff_ffff (pagesize 1))",
    "(memory i64 0xffff_ffff_ffff_ffff (pagesize 1))",
    "(table i64 0xffff_ffff_ffff_ffff funcref)",
    "(func $f) (start $f)",
    "(rec (type $a (sub (struct (field (ref null $b))))) (type $b (sub $a (struct (field (ref null $b))))))",
]


@pytest.mark.parametrize("source", VALID)
def test_valid_modules(source: str) -> None:
    context_of(source)


INVALID = [
    ("(type (func (param (ref 1))))", "unknown type 1", "type 0"),
    ("(type $a (func)) (type (sub $a (func)))", "sub type 1 does not match super type 0", "type 1"),
    ("(type $a (sub (struct (field i32)))) (type (sub $a (struct)))", "sub type 1 does not", "type 1"),
    ('(import "m" "f" (func (type 0)))', "unknown type 0", "import 0 'm' 'f'"),
    ("(func) (func (type 7))", "unknown type 7", "function 1"),
    ('(import "m" "t" (tag (result i32)))', "non-empty tag result type", "import 0 'm' 't'"),
    ("(tag (result i32))", "non-empty tag result type", "tag 0"),
    ("(memory 2 1)", "size minimum must not be greater than maximum", "memory 0"),
    ("(memory $m 65537)", "memory size must be at most 65536 pages (4GiB)", "memory 0 $m"),
    ("(memory i64 0x1_0000_0000_0001)", "memory size must be at most", "memory 0"),
    ("(memory 1 (pagesize 2))", "invalid custom page size 2", "memory 0"),
    ("(table 2 1 funcref)", "size minimum must not be greater than maximum", "table 0"),
    ("(table 0x1_0000_0000 funcref)", "table size must be at most 4294967295", "table 0"),
    ("(table 1 (ref func))", "type mismatch: (ref func) has no default value", "table 0"),
    ("(table 1 funcref (ref.null any))", "type mismatch", "table 0"),
    (
        "(global $g i32 (i32.const 0)) (table 1 (ref i31) (ref.i31 (global.get 0)))",
        "unknown global 0",
        "table 0",
    ),
    ("(global i32 (i64.const 0))", "type mismatch", "global 0"),
    ("(global i32 (i32.const 0) (i32.const 0))", "type mismatch", "global 0"),
    ("(global i32)", "type mismatch", "global 0"),
    ("(global i32 (i32.ctz (i32.const 0)))", "constant expression required", "global 0"),
    ("(global i32 (global.get 0))", "unknown global 0", "global 0"),
    ("(global funcref (ref.func 3))", "unknown function 3", "global 0"),
    (
        "(global (mut i32) (i32.const 0)) (global i32 (global.get 0))",
        "constant expression required",
        "global 1",
    ),
    ("(elem (i32.const 0) func)", "unknown table 0", "element segment 0"),
    ("(table i64 1 funcref) (elem (i32.const 0) func)", "type mismatch", "element segment 0"),
    ("(table 1 externref) (func $f) (elem (i32.const 0) func $f)", "type mismatch", "element segment 0"),
    ("(elem func 4)", "unknown function 4", "element segment 0"),
    ("(elem $e anyref (ref.null func))", "type mismatch", "element segment 0 $e"),
    ("(elem anyref (nop))", "constant expression required", "element segment 0"),
    ("(data (i32.const 0))", "unknown memory 0", "data segment 0"),
    ("(memory i64 1) (data $d (i32.const 0))", "type mismatch", "data segment 0 $d"),
    ('(export "a" (func 0))', "unknown function 0", "export 'a'"),
    ('(export "a" (table 0))', "unknown table 0", "export 'a'"),
    ('(export "a" (memory 0))', "unknown memory 0", "export 'a'"),
    ('(export "a" (global 0))', "unknown global 0", "export 'a'"),
    ('(export "a" (tag 0))', "unknown tag 0", "export 'a'"),
    ('(func (export "a")) (memory (export "a") 1)', "duplicate export name", "export 'a'"),
    ("(start 0)", "unknown function 0", "start"),
    ("(func $f (param i32)) (start $f)", "start function 0", "start"),
    ("(func $f (local (ref 5)))", "unknown type 5", "function 0 $f"),
]


@pytest.mark.parametrize(("source", "message", "where"), INVALID)
def test_invalid_modules(source: str, message: str, where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        context_of(source)
    assert caught.value.message.startswith(message)
    assert caught.value.where == where


def test_a_function_of_no_function_type() -> None:
    struct = RecGroup((SubType(StructType()),))
    module = DecodedModule(types=[struct], imports=[Import("m", "f", FuncImport(0))])
    with pytest.raises(ValidationError, match=r"^non-function type 0"):
        validate(module)


def test_page_sizes_are_of_a_proposal() -> None:
    module = DecodedModule(memories=[MemoryType(Limits(1), I32, 1)])
    validate(module, ALL)
    with pytest.raises(ValidationError, match=r"^invalid custom page size 1.*Config\.custom_page_sizes"):
        validate(module)


@pytest.mark.parametrize(
    "composite",
    [FuncType([I32] * 1001), FuncType([], [I32] * 1001), StructType((FieldType(I32),) * 10_001)],
)
def test_limits_of_types(composite: FuncType | StructType) -> None:
    with pytest.raises(ValidationError, match="more than the limit of"):
        validate(DecodedModule(types=[RecGroup((SubType(composite),))]))


def test_more_than_one_super_type() -> None:
    root = RecGroup((SubType(StructType(), (), False),))
    both = RecGroup((SubType(StructType(), (0, 0)),))
    with pytest.raises(ValidationError, match=r"^sub type 1 has more than one super type"):
        validate(DecodedModule(types=[root, both]))


def test_declared_sizes_are_not_allocated() -> None:
    huge = Table(TableType(FUNCREF, Limits(2**32 - 1)))
    validate(DecodedModule(tables=[huge] * 100, memories=[MemoryType(Limits(65536))] * 100))
