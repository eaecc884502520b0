"""Modules in the text format: abbreviations, implicit types, identifiers, and what is malformed."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tinywasm.codec import instructions
from tinywasm.errors import ParseError, ValidationError, WasmError
from tinywasm.instructions import TABLE
from tinywasm.syntax import (
    DataSegment,
    DecodedModule,
    ElementSegment,
    Export,
    FuncImport,
    Import,
)
from tinywasm.text import Cursor, module_at, parse_code, parse_module, parse_module_fields
from tinywasm.types import (
    F32,
    FUNCREF,
    I32,
    I64,
    AbstractHeap,
    ArrayType,
    FieldType,
    FuncType,
    Limits,
    MemoryType,
    PackedType,
    RecGroup,
    RefType,
    StructType,
    SubType,
    TableType,
)

FUNC = RefType(False, AbstractHeap.FUNC)


def listing(module: DecodedModule, function: int = 0) -> list[str]:
    """A function's instructions, immediates as their values."""
    body = module.functions[function].body
    rows = instructions(body.code, body.start, body.end)
    return [" ".join([row.name, *map(str, immediates)]) for _, row, immediates in rows]


def code(text: str, *, fields: str = "") -> list[str]:
    """The instructions of a function of that text, without the last `end`."""
    return listing(parse_module(f"(func {text}) {fields}"))[:-1]


def same(short: str, long: str) -> None:
    """Two texts of one module."""
    assert parse_module(short) == parse_module(long)


def malformed(source: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_module(source)
    assert caught.value.message.startswith(message)


# Abbreviations (section 6.6)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("(func)", "(module (func))"),
        ('(func (export "a") (export "b"))', '(func) (export "a" (func 0)) (export "b" (func 0))'),
        ('(func (import "a" "b") (param i32))', '(import "a" "b" (func (param i32)))'),
        ('(memory (export "m") (import "a" "b") 1)', '(import "a" "b" (memory 1)) (export "m" (memory 0))'),
        ('(global (import "a" "b") (mut i32))', '(import "a" "b" (global (mut i32)))'),
        ('(table (import "a" "b") 1 funcref)', '(import "a" "b" (table 1 funcref))'),
        ('(tag (import "a" "b") (param i32))', '(import "a" "b" (tag (param i32)))'),
        ("(memory i32 1)", "(memory 1)"),
        ('(memory (data "abc" "d"))', '(memory 1 1) (data (i32.const 0) "abcd")'),
        ('(memory i64 (data "abc"))', '(memory i64 1 1) (data (i64.const 0) "abc")'),
        ('(memory (pagesize 1) (data "abc"))', '(memory 3 3 (pagesize 1)) (data (i32.const 0) "abc")'),
        ("(memory (data))", '(memory 0 0) (data (i32.const 0) "")'),
        (
            "(func $f) (table funcref (elem $f 0))",
            "(func) (table 2 2 funcref) (elem (i32.const 0) funcref (ref.func 0) (item ref.func 0))",
        ),
        (
            "(table i64 funcref (elem (ref.null func)))",
            "(table i64 1 1 funcref) (elem (offset i64.const 0) funcref (item ref.null func))",
        ),
        ("(func (param i32 i64))", "(func (param i32) (param $x i64))"),
        ("(type (struct (field i32 i8) (field)))", "(type (struct (field i32) (field $x i8)))"),
        ("(type (func))", "(type (sub final (func)))"),
        ("(type (func))", "(rec (type (func)))"),
        ("(func (param (ref null func) anyref))", "(func (param funcref (ref null any)))"),
        (
            "(table 1 funcref) (elem (i32.const 0))",
            "(table 1 funcref) (elem (table 0) (offset i32.const 0) func)",
        ),
        ("(start $f) (func $f)", "(func) (start 0)"),
        ("(func i32.const 1 drop)", "(func (drop (i32.const 0x1)))"),
        ("(func (block nop))", "(func block nop end)"),
        ("(func (if (i32.const 1) (then nop)))", "(func i32.const 1 if nop end)"),
        ("(func (if (then) (else nop)))", "(func if $l else $l nop end $l)"),
        ("(func (loop (br 0)))", "(func loop $l br $l end)"),
        ("(memory 1) (func memory.size)", "(memory $m 1) (func memory.size $m)"),
        ("(memory 1) (func memory.copy)", "(memory $m 1) (func memory.copy $m 0)"),
        ("(memory 1) (func i32.load)", "(memory 1) (func i32.load 0 offset=0 align=4)"),
        ("(table 1 funcref) (func call_indirect)", "(table $t 1 funcref) (func call_indirect $t (type 0))"),
        ("(func (block (param) (result)))", "(func (block))"),
        ("(func select (result))", "(func (select (result) (result)))"),
    ],
)
def test_abbreviations(short: str, long: str) -> None:
    same(short, long)


def test_element_segments() -> None:
    module = parse_module(
        """(func $f) (table $t 1 funcref) (table $u i64 1 funcref)
        (elem func $f $f) (elem funcref (ref.func $f) (item ref.null func)) (elem declare func)
        (elem (table $u) (i64.const 0) (ref func)) (elem (offset (i32.const 1)) 0)"""
    )
    init, exprs = module.elems[0], module.elems[1]
    assert init == ElementSegment(FUNC, (0, 0), "passive")
    assert exprs.type == FUNCREF
    assert [expr.bytes for expr in exprs.init if not isinstance(expr, int)] == [
        b"\xd2\0\x0b",
        b"\xd0\x70\x0b",
    ]
    assert module.elems[2] == ElementSegment(FUNC, (), "declarative")
    assert (module.elems[3].table, module.elems[3].mode) == (1, "active")
    assert module.elems[4].init == (0,) and module.elems[4].offset


def test_types() -> None:
    module = parse_module(
        """(rec (type $a (sub (struct (field $x (mut i8)) (field (ref null $b)))))
                (type $b (sub $a (struct (field $x (mut i8)) (field (ref null $b)) (field i32)))))
           (type (array (mut f32))) (type $f (sub final $f (func (param $p i32) (result (ref $a) i64))))"""
    )
    first = FieldType(PackedType.I8, True)
    second = FieldType(RefType(True, 1))
    assert module.types == [
        RecGroup(
            (
                SubType(StructType((first, second)), (), False),
                SubType(StructType((first, second, FieldType(I32))), (0,), False),
            )
        ),
        RecGroup((SubType(ArrayType(FieldType(F32, True))),)),
        RecGroup((SubType(FuncType([I32], [RefType(False, 0), I64]), (3,)),)),
    ]
    assert module.names.types == {0: "a", 1: "b", 3: "f"}
    assert module.names.fields == {0: {0: "x"}, 1: {0: "x"}}


def test_memories_and_tables() -> None:
    module = parse_module("(memory i64 1 2 (pagesize 1)) (table i64 0x1_0 (ref func) (ref.func 0)) (func)")
    assert module.memories == [MemoryType(Limits(1, 2), I64, 1)]
    assert module.tables[0].type == TableType(FUNC, Limits(16), I64)
    assert module.tables[0].init and module.tables[0].init.bytes == b"\xd2\0\x0b"


def test_imports_exports_and_data() -> None:
    module = parse_module(
        """(import "a" "\\u{3bb}" (func $f)) (memory $m 1) (export "e" (memory $m)) (export "" (func $f))
           (data "\\00" "a") (data (memory $m) (offset i32.const 1) "x")"""
    )
    assert module.imports == [Import("a", "λ", FuncImport(0))]
    assert module.exports == [Export("e", "memory", 0), Export("", "func", 0)]
    assert module.datas[0] == DataSegment(b"\0a")
    assert module.datas[1].offset and module.datas[1].offset.bytes == b"\x41\x01\x0b"


# Implicit types (section 6.4.15)


def test_implicit_types_are_added_in_order_and_reused() -> None:
    module = parse_module(
        """(func (result i64) (block (param i32) (result i32)) (call_indirect (result f32)))
           (func (param i32))
           (type $t (func (param i32)))
           (func (result i64))
           (tag (param f32))"""
    )
    composites = [subtype.composite for subtype in module.subtypes()]
    assert composites == [
        FuncType([I32]),
        FuncType([], [I64]),
        FuncType([I32], [I32]),
        FuncType([], [F32]),
        FuncType([F32]),
    ]
    assert [function.type for function in module.functions] == [1, 0, 1]
    assert listing(module)[0] == "block 2"


@pytest.mark.parametrize(
    "types", ["(type (sub (func)))", "(rec (type (func)) (type (func)))", "(type (sub final 0 (func)))"]
)
def test_only_a_lone_final_type_is_reused(types: str) -> None:
    module = parse_module(f"{types} (func)")
    assert module.functions[0].type == len(module.subtypes()) - 1 > 0


def test_inline_types_must_agree() -> None:
    parse_module("(type $t (func (param i32))) (func (type $t) (param i32))")
    malformed("(type $t (func (param i32))) (func (type $t) (result i32))", "inline function type")
    malformed("(func (type 0) (param i32))", "unknown type")
    malformed("(type (struct)) (func (type 0) (param i32))", "inline function type")


def test_locals() -> None:
    module = parse_module(
        "(type $t (func (param i32 i32))) (func (type $t) (local i32 i32) (local.get 0))"
        + "(func (type $t) (local) (local $x i32) (local i32 i64) (local $y i32) local.get $x local.get $y)"
    )
    assert [function.locals for function in module.functions] == [((2, I32),), ((2, I32), (1, I64), (1, I32))]
    assert listing(module, 1)[:2] == ["local.get 2", "local.get 5"]
    assert module.names.locals == {1: {2: "x", 5: "y"}}


# Instructions (section 6.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(i32.add (i32.const 1) (i32.const -1))", ["i32.const 1", "i32.const -1", "i32.add"]),
        (
            "(block $a (loop $b (br $a) (br $b) (br 5)))",
            ["block None", "loop None", "br 1", "br 0", "br 5", "end", "end"],
        ),
        ("block $a block $a br $a end br $a end", ["block None", "block None", "br 0", "end", "br 0", "end"]),
        ("(block $a (br_table 3 $a 7))", ["block None", "br_table ((3, 0), 7)", "end"]),
        ("(if (result i32) (then) (else))", ["if i32", "else", "end"]),
        ("(if $l (br_if $o) (then (br $l))) end", None),
        (
            "(block $l (try_table $t (catch 0 $l) (catch_ref 0 0) (catch_all 0) (catch_all_ref 0) (br $t)))",
            [
                "block None",
                "try_table None (Catch(tag=0, ref=False, label=0), Catch(tag=0, ref=True, label=0), "
                "Catch(tag=None, ref=False, label=0), Catch(tag=None, ref=True, label=0))",
                "br 0",
                "end",
                "end",
            ],
        ),
        ("select (select (result i32 i64))", ["select", "select (i32, i64)"]),
        ("ref.test (ref null 0) ref.test (ref any)", ["ref.test (ref null 0)", "ref.test (ref any)"]),
        ("ref.null func ref.null 3", ["ref.null func", "ref.null 3"]),
        (
            "br_on_cast 1 anyref (ref eq)",
            ["br_on_cast Cast(label=1, source=anyref, target=(ref eq))"],
        ),
        ("memory.init 3 memory.init 1 3", ["memory.init 3 0", "memory.init 3 1"]),
        ("table.init 3 table.init 1 3", ["table.init 3 0", "table.init 3 1"]),
        ("table.copy 1 2 table.get table.get 1", ["table.copy 1 2", "table.get 0", "table.get 1"]),
        ("call_indirect 2 (type 1)", ["call_indirect 1 2"]),
        ("i32.load8_u 1 offset=0x10 align=1", ["i32.load8_u MemArg(align=0, memory=1, offset=16)"]),
        ("i64.load align=2", ["i64.load MemArg(align=1, memory=0, offset=0)"]),
        ("v128.load8_lane 1", ["v128.load8_lane MemArg(align=0, memory=0, offset=0) 1"]),
        ("v128.load8_lane 1 2", ["v128.load8_lane MemArg(align=0, memory=1, offset=0) 2"]),
        ("v128.load8_lane 1 align=1 2", ["v128.load8_lane MemArg(align=0, memory=1, offset=0) 2"]),
        (
            "v128.const i32x4 1 -1 0xffffffff 0",
            [f"v128.const {bytes.fromhex('01000000ffffffffffffffff00000000')!r}"],
        ),
        ("array.new_fixed 1 2 array.copy 1 2", ["array.new_fixed 1 2", "array.copy 1 2"]),
        ("f32.const nan:0x1 f64.const -0", ["f32.const 2139095041", "f64.const 9223372036854775808"]),
    ],
)
def test_instructions(text: str, expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(ParseError, match="unknown label"):
            code(text)
    else:
        assert code(text) == expected


def test_struct_fields_by_name() -> None:
    fields = "(type $a (struct (field $x i32))) (type $b (struct (field i32) (field $x i32)))"
    assert code("struct.get $a $x struct.set $b $x struct.get 1 0", fields=fields) == [
        "struct.get 0 0",
        "struct.set 1 1",
        "struct.get 1 0",
    ]
    malformed(f"{fields} (func struct.get $a $y)", "unknown field $y")
    malformed("(func struct.get 0 $y)", "unknown field $y")


def test_every_instruction_is_parsed_by_one_way() -> None:
    ways: list[Any] = [parse_code._NO_IMMEDIATE, parse_code._SPECIAL, parse_code._PLANS]
    for row in TABLE:
        found = sum(row.name in way for way in ways) + (row.name in parse_code._BLOCKS)
        assert found == (row.name not in ("end", "else")), row.name


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("(func memory.init 0)", 2),
        ("(func data.drop 1)", 2),
        ("(func array.new_data 0 0)", 2),
        ("(func array.init_data 0 0)", 2),
        ("(func table.init 0)", None),
    ],
)
def test_the_data_count_is_set_where_an_instruction_needs_it(text: str, count: int | None) -> None:
    assert parse_module(f'{text} (data "a") (data "b")').data_count == count


def test_lines_of_instructions() -> None:
    body = parse_module("(func\n nop\n (i32.add\n  (i32.const 1)\n (i32.const 2)) drop\n)").functions[0].body
    assert body.lines == [(0, 2), (1, 4), (3, 5), (5, 3), (6, 5)]


# Identifiers


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("(func call $f)", "unknown func $f"),
        ("(func local.get $x)", "unknown local $x"),
        ("(func global.get $x)", "unknown global $x"),
        ("(func table.get $x)", "unknown table $x"),
        ("(func memory.size $x)", "unknown memory $x"),
        ("(func throw $x)", "unknown tag $x"),
        ("(func elem.drop $x)", "unknown elem segment $x"),
        ("(func data.drop $x)", "unknown data segment $x"),
        ("(func (type $x))", "unknown type $x"),
        ("(func br $x)", "unknown label $x"),
        ("(func (block $x) br $x)", "unknown label $x"),
        ("(func (try_table $x (catch_all $x)))", "unknown label $x"),
        ("(func $f) (func $f)", "duplicate func $f"),
        ('(import "" "" (func $f)) (func $f)', "duplicate func $f"),
        ("(func (param $x i32) (local $x i32))", "duplicate local $x"),
        ("(type $t (func)) (rec (type $t (func)))", "duplicate type $t"),
        ("(global $x i32) (global $x i32)", "duplicate global $x"),
        ("(table $x 1 funcref) (table $x 1 funcref)", "duplicate table $x"),
        ("(memory $x 1) (memory $x 1)", "duplicate memory $x"),
        ("(tag $x) (tag $x)", "duplicate tag $x"),
        ("(elem $x func) (elem $x func)", "duplicate elem segment $x"),
        ("(data $x) (data $x)", "duplicate data segment $x"),
        ("(type (struct (field $x i32) (field $x i32)))", "duplicate field $x"),
        ("(func block $a end $b)", "mismatching label $b"),
        ("(func if $a else $b end)", "mismatching label $b"),
        ("(func block end $b)", "mismatching label $b"),
    ],
)
def test_identifiers(source: str, message: str) -> None:
    malformed(source, message)


def test_names_are_collected() -> None:
    module = parse_module(
        """(module $m (func $f (param $p i32) (block (loop $l))) (table $t 1 funcref) (memory $x 1)
           (global $g i32) (elem $e func) (data $d) (tag $a) (func (@name "λ")) (func $h (@name "x y")))"""
    )
    names = module.names
    assert names.module == "m"
    assert names.functions == {0: "f", 1: "λ", 2: "x y"}
    assert names.locals == {0: {0: "p"}} and names.labels == {0: {1: "l"}}
    assert (names.tables, names.memories, names.globals) == ({0: "t"}, {0: "x"}, {0: "g"})
    assert (names.elems, names.datas, names.tags) == ({0: "e"}, {0: "d"}, {0: "a"})


# What is malformed


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("(module", "unexpected token: the input ends here"),
        ("(module))", "unexpected token )"),
        ("(module) (module)", "unexpected token ("),
        ("(func) nop", "unexpected token nop"),
        ("(get_local)", "unknown operator get_local"),
        ("(func (nop nop))", "unexpected token nop"),
        ("(func (drop nop))", "unexpected token nop"),
        ("(func block)", "unexpected token )"),
        ("(func end)", "unexpected token end"),
        ("(func else)", "unexpected token else"),
        ("(func block else end)", "unexpected token else"),
        ("(func if else else end)", "unexpected token else"),
        ("(func (block end))", "unexpected token end"),
        ("(func (if))", "unexpected token )"),
        ("(func (if nop (then)))", "unexpected token nop"),
        ("(func (if (then) nop))", "unexpected token nop"),
        ("(func (if (then) (nop)))", "unexpected token ("),
        ("(func (if (then) (else) (else)))", "unexpected token ("),
        ("(func (then))", "unexpected token then"),
        ("(func (catch_all))", "unexpected token catch_all"),
        ("(func (block (param $x i32)))", "unexpected token $x"),
        ("(func call_indirect (param $x i32))", "unexpected token $x"),
        ("(func (result i32) (param i32))", "unexpected token param"),
        ("(func (nop) (local i32))", "unexpected token local"),
        ("(func (param $x i32 i32))", "unexpected token i32"),
        ("(func br)", "unexpected token )"),
        ("(func br_table)", "unexpected token )"),
        ("(func i32.const)", "unexpected token )"),
        ("(func i32.const 1.0)", "unexpected token 1.0"),
        ("(func i32.const nan:canonical)", "unexpected token nan:canonical"),
        ("(func i32.const 0x)", "unknown operator 0x"),
        ("(func i32.const0)", "unknown operator i32.const0"),
        ("(func i32.const 0x1_0000_0000)", "constant out of range"),
        ("(func call 0x1_0000_0000)", "i32 constant out of range"),
        ("(func i32.load align=3)", "alignment must be a power of two"),
        ("(func i32.load align=0)", "alignment must be a power of two"),
        ("(func i32.load offset=)", "unknown operator offset="),
        ("(func i32.load offset=0x1_0000_0000_0000_0000)", "i64 constant out of range"),
        ("(func i32.load align=1 offset=1)", "unexpected token offset=1"),
        ("(func i8x16.extract_lane_s 256)", "i8 constant out of range"),
        ("(func i8x16.extract_lane_s -1)", "unexpected token -1"),
        ("(func i8x16.shuffle 0 1)", "invalid lane length"),
        ("(func i8x16.shuffle 0 -1)", "i8 constant out of range"),
        ("(func v128.const i32x4 0 0 0)", "wrong number of lane literals"),
        ("(func v128.const i32x4 0 0 0 0x)", "unknown operator 0x"),
        ("(func v128.const i32x4 0 0 0 1.0)", "unexpected token 1.0"),
        ("(func v128.const 0 0 0 0)", "unexpected token 0"),
        ("(memory 0x1_0000_0000_0000_0000)", "i64 constant out of range"),
        ("(memory 1 (pagesize 3))", "invalid custom page size"),
        ("(memory (pagesize 0) (data))", "invalid custom page size"),
        ("(start 0) (start 0)", "multiple start sections"),
        ('(func) (import "" "" (memory 1))', "import after function definition"),
        ('(memory 1) (func (import "" ""))', "import after memory definition"),
        ('(table 1 funcref) (import "" "" (func))', "import after table definition"),
        ('(global i32) (import "" "" (func))', "import after global definition"),
        ('(tag) (import "" "" (func))', "import after tag definition"),
        ('(import "" "" (export))', "unexpected token export"),
        ('(export "" (type 0))', "unexpected token type"),
        ('(export "\\ff" (func 0))', "malformed UTF-8 encoding"),
        ("(type (sub final final (func)))", "unexpected token final"),
        ("(type (func (result $x i32)))", "unexpected token $x"),
        ("(type (block))", "unexpected token block"),
        ("(rec (func))", "unexpected token func"),
        ("(elem (i32.const 0) nop)", "unexpected token nop"),
        ("(elem (offset i32.const 0) (table 0) func)", "unexpected token ("),
        ("(data (i32.const 0) (i32.const 0))", "unexpected token ("),
        ("(table 1)", "unexpected token )"),
        ("(func (type 7) (local $x i32))", "unknown type"),
    ],
)
def test_malformed(source: str, message: str) -> None:
    malformed(source, message)


def test_the_position_of_an_error() -> None:
    with pytest.raises(ParseError) as caught:
        parse_module('(module\n  (data "\\0a")\n  (func call $nowhere))')
    assert str(caught.value) == "unknown func $nowhere (line 3, column 14)"


# Annotations


def test_custom_sections() -> None:
    module = parse_module(
        """(@custom "end" "a" "b") (@custom "x" (before first)) (type (func)) (func)
           (@custom "y" (after type) "y") (@custom "z" (before code)) (@custom "w" (before table))
           (@custom "l" (after last)) (@custom "v" (after func))"""
    )
    found = [(custom.name, custom.payload, custom.after) for custom in module.customs]
    assert found == [
        ("x", b"", 0),
        ("y", b"y", 1),
        ("v", b"", 3),
        ("w", b"", 3),
        ("z", b"", 3),
        ("end", b"ab", 10),
        ("l", b"", 10),
    ]


def test_branch_hints() -> None:
    module = parse_module(
        """(func (param i32) (local i64)
             local.get 0 (@metadata.code.branch_hint "\\01") br_if 0
             (@metadata.code.branch_hint "\\00") (if (local.get 0) (then)))"""
    )
    assert module.branch_hints == {0: [(5, 1), (9, 0)]}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("(@custom)", "@custom annotation: missing section name"),
        ("(@custom x)", "@custom annotation: missing section name"),
        ('(@custom "\\ff")', "@custom annotation: malformed UTF-8 encoding"),
        ('(@custom "x" "\\u{d800}")', "@custom annotation: illegal escape"),
        ('(@custom "x" here)', "@custom annotation: unexpected token"),
        ('(@custom "x" (after))', "@custom annotation: malformed section kind"),
        ('(@custom "x" (type))', "@custom annotation: malformed placement"),
        ('(@custom "x" (before types))', "@custom annotation: malformed section kind"),
        ('(@custom "x" (before type type))', "@custom annotation: unexpected token"),
        ('(@custom "x" (', "unclosed annotation"),
        ('(func (@custom "x"))', "misplaced @custom annotation"),
        ('(@name "a") (@name "b")', "@name annotation: multiple module"),
        ('(func (@name "a") (@name "b"))', "@name annotation: multiple names"),
        ("(func (@name))", "@name annotation: string expected"),
        ('(func) (@name "b")', "misplaced @name annotation"),
        ('(start 0 (@name "b"))', "misplaced @name annotation"),
        ('(@metadata.code.branch_hint "\\00")', "@metadata.code.branch_hint annotation: not in a function"),
        (
            '(func (@metadata.code.branch_hint "\\02") if end)',
            "@metadata.code.branch_hint annotation: malformed",
        ),
        (
            '(func (@metadata.code.branch_hint "\\00")(@metadata.code.branch_hint "\\00") if end)',
            "@metadata.code.branch_hint annotation: duplicate annotation",
        ),
    ],
)
def test_malformed_annotations(source: str, message: str) -> None:
    malformed(source, message)


@pytest.mark.parametrize("target", ["nop", "(nop)", "(drop (nop))", "block end", ""])
def test_hints_are_for_conditional_branches(target: str) -> None:
    with pytest.raises(ValidationError, match="annotation: invalid target"):
        parse_module(f'(func (@metadata.code.branch_hint "\\00") {target})')


# Inside a script


def test_modules_inside_other_text() -> None:
    cursor = Cursor('(module $a (func)) (module (@name "b")) (func) (func) ) rest')
    cursor.expect_form("module")
    assert module_at(cursor).names.module == "a"
    cursor.expect_form("module")
    assert module_at(cursor).names.module == "b"
    assert len(parse_module_fields(cursor, "c").functions) == 2
    assert cursor.peek() == ")"


# Input that nobody wrote


@pytest.mark.parametrize(
    "source",
    [
        "(func " + "(drop " * 100_000,
        "(func " + "(drop " * 100_000 + ")" * 100_000 + ")",
        "(func " + "(block " * 100_000 + ")" * 100_000 + ")",
        "(func " + "block $l " * 100_000 + "br $l " + "end $l " * 100_000 + ")",
        "(func " + "(if (then " * 100_000 + "))" * 100_000 + ")",
        "(func " + "(if " * 100_000 + "(then))" * 100_000 + ")",
        "(" * 100_000,
        "(elem funcref " + "(item " * 100_000,
    ],
    ids=["open", "folded", "blocks", "flat", "then", "conditions", "parentheses", "items"],
)
def test_nesting_has_no_limit(source: str) -> None:
    try:
        parse_module(source)
    except ParseError as error:
        assert error.message.startswith("unexpected token")


WORDS = [
    "(",
    ")",
    '"a"',
    "$x",
    "0",
    "-1",
    "nan",
    "then",
    "else",
    "end",
    "param",
    "if",
    "block",
    "elem",
    "ref",
]
WORDS += ["try_table", "(@name", '(@custom "x")', '(@metadata.code.branch_hint "\\01")', "item", "br_table"]
SAMPLE = """( module $m ( rec ( type $a ( sub ( struct ( field $x i32 ) ) ) ) ) ( import "a" "b" ( func $f ) )
  ( table $t 1 funcref ) ( memory ( data "a" ) ) ( global $g ( mut i32 ) ( i32.const 0 ) ) ( elem func $f )
  ( func $h ( export "h" ) ( param $p i32 ) ( result i32 ) ( local i64 )
    ( if $l ( result i32 ) ( local.get $p ) ( then ( i32.load offset=1 ( i32.const 2 ) ) )
      ( else i32.const 1 ) )
    block $b ( br_table $b $b 0 ( i32.const 1 ) ) end ( v128.load8_lane 1 ) ( struct.get $a $x ) ) )"""


def test_damaged_modules_end_in_one_of_our_errors() -> None:
    chance = random.Random(1)
    for _ in range(3000):
        words = SAMPLE.split()
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(words))
            words[place : place + chance.randint(0, 2)] = chance.sample(WORDS, chance.randint(0, 2))
        try:
            parse_module(" ".join(words))
        except WasmError as error:
            assert error.message
