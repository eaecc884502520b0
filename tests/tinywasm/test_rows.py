"""Branches, calls and whatever else takes many values along take them in a row, and cost little each."""

from __future__ import annotations

from typing import Any

import pytest

import tinywasm
from tests.tinywasm.agreement import agreed
from tests.tinywasm.bounded import run
from tests.tinywasm.test_ir import forms
from tinywasm import Config, Engine, Store, Trap, TrapCode, binary, native_available
from tinywasm.engine.ir import form
from tinywasm.engine.ir.check import check
from tinywasm.instructions import Feature

MIB = 1 << 20
NARROW, MIXED = ("i32",), ("i64", "v128", "i32", "f64")
_VALUES = {
    "i32": "(i32.const {0})",
    "i64": "(i64.const {0})",
    "f64": "(f64.const {0})",
    "v128": "(v128.const i64x2 {0} 7)",
}
VALUES = "(call $make)"
CONDITION = "(local.get 0)"
KINDS = {
    "br_if": (f"(i32.const 7) {VALUES}", f"(br_if 0 {CONDITION})", "return"),
    "br_if of constants": ("(i32.const 7) $CONSTANTS", f"(br_if 0 {CONDITION})", "return"),
    "br_if in place": (VALUES, f"(br_if 0 {CONDITION})", "return"),
    "br_if out of a block": (
        f"(block (type $many) (i32.const 7) {VALUES}",
        f"(br_if 0 {CONDITION})",
        "return) return",
    ),
    "br_table": (
        "",
        "(block (type $many) (i32.const 0)",
        f"(i32.const 7) {VALUES} (br_table $DEPTHS {CONDITION}) $RETURNS return",
    ),
    "br_on_null": (f"(i32.const 7) {VALUES} (ref.null func)", "(br_on_null 0)", "drop return"),
    "br_on_non_null": (
        f"(block (type $referring) (i32.const 7) {VALUES}",
        "(ref.null func) (br_on_non_null 0)",
        "(ref.func $make) br 0) drop return",
    ),
    "br_on_cast": (
        f"(block (type $converted) (i32.const 7) {VALUES} (ref.i31 {CONDITION})",
        "(br_on_cast 0 anyref (ref i31))",
        "(br_on_cast_fail 0 anyref (ref i31)) br 0) drop return",
    ),
    "br": ("(block (type $many)" * 2, f"(block (type $many) {VALUES} br 1)", "return) return) return"),
    "return": (VALUES, f"(if {CONDITION} (then (i32.const 5) {VALUES} return))", "return"),
    "if": (VALUES, f"{CONDITION} (if (type $through) (then (i32.const 3) $CONSTANTS br 0))", "return"),
    "if and else": (
        VALUES,
        f"{CONDITION} (if (type $through) (then) (else drop $LAST))",
        "return",
    ),
    "constants below an if": (
        "(i32.const 9)",
        f"(if {CONDITION} (then (block (type $many) {VALUES} (br_if 0 {CONDITION})) $DROPS))",
        f"drop {VALUES} return",
    ),
    "loop": (VALUES, "(loop (type $through) (br_if 0 (i32.const 0)))", "return"),
    "loop again": (
        VALUES,
        f"(loop (type $through) {CONDITION} (local.set 0 (i32.const 0))"
        f" (if (then (i32.const 4) {VALUES} br 1)))",
        "return",
    ),
    "block": (VALUES, "(block (type $through))", "return"),
    "call": (VALUES, "(call $pass)", "return"),
    "call at heights": (VALUES, "(i32.const 3) drop (call $pass) (local.set 1) (local.get 1)", "return"),
    "call_indirect": (VALUES, f"(call_indirect (type $through) {CONDITION})", "return"),
    "call_ref": (VALUES, "(call_ref $through (ref.func $pass))", "return"),
    "return_call": (VALUES, f"(if {CONDITION} (then (i32.const 5) {VALUES} return_call $pass))", "return"),
    "return_call_indirect": (
        VALUES,
        f"(if {CONDITION} (then (i32.const 5) {VALUES} (i32.const 0) return_call_indirect (type $through)))",
        "return",
    ),
    "catch": (
        "(block (type $many)",
        f"(try_table (catch $tag 0) (if {CONDITION} (then $THROW)))",
        f"{VALUES}) return",
    ),
    "clauses": (
        "(block (type $many) (try_table",
        "(catch $tag 0)",
        f"(if {CONDITION} (then $THROW))) {VALUES}) return",
    ),
    "throw": (VALUES, f"(if {CONDITION} (then (i32.const 5) {VALUES} throw $tag))", "return"),
    "struct.new": (VALUES, f"{VALUES} (local.set 2 (struct.new $structure))", "return"),
    "array.new_fixed": (VALUES, f"{VALUES} (local.set 2 (array.new_fixed $array $PART)) $REST", "return"),
}  # fmt: skip


def module(kind: str, count: int, places: int, types: tuple[str, ...]) -> str:
    """A module whose function `f` takes `count` values of these types along at so many places."""
    if kind == "array.new_fixed":
        types = types[1:2] or types
    row = [types[n % len(types)] for n in range(count)]
    constants = [_VALUES[type].format(n) for n, type in enumerate(row)]
    many, part = " ".join(row), count * 3 // 4
    first, each, last = KINDS[kind]
    body = f"{first} {each * places} {last}"
    for name, text in {
        "$CONSTANTS": " ".join(constants),
        "$DEPTHS": " ".join(map(str, range(places))),
        "$RETURNS": "return) " * places,
        "$DROPS": "drop " * count,
        "$LAST": _VALUES[row[-1]].format(99),
        "$THROW": f"(i32.const 5) {VALUES} throw $tag",
        "$PART": str(part),
        "$REST": "drop " * (count - part),
    }.items():
        body = body.replace(name, text)
    return f"""
        (module
          (type $many (func (result {many})))
          (type $referring (func (result {many} (ref func))))
          (type $converted (func (result {many} anyref)))
          (type $through (func (param {many}) (result {many})))
          (type $structure (struct {" ".join(f"(field {type})" for type in row)}))
          (type $array (array {row[0]}))
          (table funcref (elem $pass $pass))
          (elem declare func $make $pass)
          (tag $tag (param {many}))
          (func $make (type $many) {" ".join(constants)})
          (func $pass (type $through) {" ".join(f"(local.get {n})" for n in range(count))})
          (func (export "f") (param i32) (result {many}) (local {row[-1]} anyref) {body}))"""


@pytest.mark.skipif(not native_available, reason="the native engine is not built")
@pytest.mark.parametrize("types", [NARROW, MIXED], ids=["narrow", "mixed"])
@pytest.mark.parametrize("kind", KINDS)
def test_values_in_a_row_are_those_that_are_taken_one_by_one(
    kind: str, types: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (form.SINGLY + 1, 40):
        source = module(kind, count, 3, types)
        found = [agreed(source, "f", argument) for argument in (0, 1)]
        for singly in (1000, 1):
            monkeypatch.setattr(form, "SINGLY", singly)
            assert found == [agreed(source, "f", argument) for argument in (0, 1)]
        monkeypatch.undo()


@pytest.mark.parametrize("types", [NARROW, MIXED], ids=["narrow", "mixed"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_of_a_body_is_in_proportion_to_its_length(kind: str, types: tuple[str, ...]) -> None:
    lengths, sizes = [], []
    for places in (100, 200):
        source = tinywasm.wat2wasm(module(kind, 200, places, types))
        code, locals = forms(binary.decode(source, frozenset(Feature)))[-1]
        check(code, locals)
        lengths.append(len(source))
        sizes.append(len(code.code) // form.STRIDE + len(code.lists))
    assert sizes[1] - sizes[0] < (lengths[1] - lengths[0]) * form.SINGLY


@pytest.mark.parametrize("engine", ["python", "native"] if native_available else ["python"])
@pytest.mark.parametrize("kind", ["br_if of constants", "br_table", "return", "call", "clauses"])
def test_a_function_that_takes_many_values_along_takes_little_memory(kind: str, engine: str) -> None:
    usage = run(module(kind, 999, 2000, NARROW), "f", 0, engine=engine)
    assert usage.ending == "done"
    assert usage.memory < 100 * MIB


@pytest.mark.skipif(not native_available, reason="the native engine is not built")
@pytest.mark.parametrize("below", [0, 59_000, 61_000, 130_000])
def test_rows_in_frames_of_any_depth(below: int) -> None:
    thousands = f"(func $ones (result {'i64 ' * 1000}) {'(i64.const 1)' * 1000})"
    row = f"(result {'i64 v128 ' * 500})"
    values = "".join(f"(i64.const {n}) (v128.const i64x2 {n} 5)" for n in range(500))
    source = f"""
        (module {thousands} (type $many (func {row}))
          (func $make (type $many) {values})
          (func (export "f") (param i32) (result i64 i64)
            {"(call $ones)" * (below // 1000)}
            (block (type $many) {"(call $ones)" * 70} (call $make) (br_if 0 (local.get 0)) (unreachable))
            (local.set 0 (i32x4.extract_lane 0)) (drop) (drop)
            (i64.extend_i32_u (local.get 0)) (return)))"""
    assert agreed(source, "f", 1) == [498, 499]


@pytest.mark.parametrize("engine", ["python", "native"] if native_available else ["python"])
@pytest.mark.parametrize(
    "locals,operands,what", [(1_000_001, 0, "locals"), (0, 1001, "operands at the same time")]
)
def test_a_function_that_no_engine_holds_is_named(locals: int, operands: int, what: str, engine: str) -> None:
    store = Store(Engine(Config(engine=engine)))
    source = f"""
        (module (func $ones (result {"i64 " * 1000}) {"(i64.const 1)" * 1000})
          (func (export "f") (local {"i32 " * locals}) {"(call $ones)" * operands} return))"""
    exports: Any = tinywasm.instantiate(source, store=store).exports
    with pytest.raises(Trap) as caught:
        exports.f()
    assert caught.value.trap_code is TrapCode.ALLOCATION_TOO_LARGE
    assert caught.value.message == (
        f"allocation too large: function 1 has more than 1,000,000 {what}, the most that an engine holds"
    )
