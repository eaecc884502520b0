"""The intermediate form: what it says of a function, and that its checker finds what is wrong."""

from __future__ import annotations

from array import array
from dataclasses import replace
from random import Random

import pytest

from fuzz.generator import generate
from fuzz.generator_shapes import generate as generate_shapes
from tinywasm import binary, text
from tinywasm.engine.ir import form
from tinywasm.engine.ir.build import build
from tinywasm.engine.ir.check import Fault, check
from tinywasm.engine.ir.form import Form
from tinywasm.engine.ir.show import lines
from tinywasm.instructions import Feature
from tinywasm.syntax import DecodedModule
from tinywasm.types import FuncType
from tinywasm.validation import validate


def forms(module: DecodedModule) -> list[tuple[Form, int]]:
    """The form of each function, and how many locals it has."""
    context = validate(module, frozenset(Feature))
    found = []
    for index, function in enumerate(module.functions, context.imported_funcs):
        signature = context.funcs[index].composite
        assert isinstance(signature, FuncType)
        locals = len(signature.params) + sum(count for count, _ in function.locals)
        found.append((build(context, index, function), locals))
    return found


def shown(source: str) -> list[str]:
    ((code, locals),) = forms(binary.decode(binary.encode(text.parse_module(source))))
    check(code, locals)
    return [line.split(": ", 1)[-1] if line.startswith(" ") else line for line in lines(code)]


def test_operands_are_where_their_values_are() -> None:
    assert shown("""(module (func (param i32) (result i32)
        (i32.mul (i32.add (local.get 0) (i32.const 3)) (local.get 0))))""") == [
        "block 1: fuel 5",
        "t0 = i32.add l0 i32:0x3",
        "t0 = i32.mul t0 l0",
        "return t0",
    ]


def test_an_operand_that_stands_for_a_local_is_older_than_what_the_local_is_set_to() -> None:
    assert shown("""(module (func (param i32) (result i32)
        (local.get 0) (local.set 0 (i32.const 7)) (i32.sub (local.get 0))))""") == [
        "block 1: fuel 5",
        "t0 = move l0",
        "l0 = move i32:0x7",
        "t0 = i32.sub t0 l0",
        "return t0",
    ]


def test_a_local_is_moved_where_part_of_a_vector_was() -> None:
    assert shown("""(module (func (param v128 i32) (result i32)
        (local.get 0) (block) (v128.any_true) (local.get 1) (local.set 1 (i32.const 7)) (i32.add)))""") == [
        "block 1: fuel 7",
        "t0 = move l0",
        "t0 = v128.any_true t0",
        "t1 = move l1",
        "l1 = move i32:0x7",
        "t0 = i32.add t0 t1",
        "return t0",
    ]


def test_what_stands_below_a_condition_is_moved_before_the_condition_is_made() -> None:
    assert shown("""(module (memory 1) (func (param i32) (result i32)
        (local.get 0) (if (i32.load (local.get 0)) (then nop))))""")[:4] == [
        "block 1: fuel 4",
        "t0 = move l0",
        "t1 = i32.load l0 0",
        "branch_unless t1 -> block 3",
    ]


def test_a_condition_that_is_made_later_keeps_its_position_and_the_branch_has_its_own() -> None:
    data = binary.encode(
        text.parse_module("""(module (memory 1) (func (param i32) (result i32)
        (local.get 0) (if (i32.load (local.get 0)) (then nop))))""")
    )
    ((code, _),) = forms(binary.decode(data))
    found = [(form.NAMES[record.row], data[record.position]) for record in code.records()]
    assert found[2:4] == [("i32.load", 0x28), ("branch_unless", 0x04)]


def test_values_of_branches_are_moved_to_their_label() -> None:
    assert shown("""(module (func (param i32) (result i32)
        (i32.add (i32.const 1) (block (result i32) (br_if 0 (i32.const 5) (local.get 0))
          (drop) (local.get 0)))))""") == [
        "block 1: fuel 5",
        "branch_unless l0 -> block 3",
        "block 4:",
        "t1 = move i32:0x5",
        "jump -> block 2",
        "block 3: fuel 2",
        "t1 = move l0",
        "block 2: fuel 1",
        "t0 = i32.add i32:0x1 t1",
        "return t0",
    ]


NINE = "i32 " * 9
ROW = f"""(module (type $nine (func (param {NINE}) (result {NINE})))
    (func (param i32) (result {NINE})
      (i32.const 1) (block (result {NINE}) (i32.const 2) {"(local.get 0)" * 9} (call 1)
        (br_if 0 (local.get 0)) (br_if 1 (local.get 0)) (br 1)) (return))
    (func (type $nine) unreachable))"""


def test_many_values_lie_in_a_row_which_is_moved_at_once() -> None:
    (code, locals), _ = forms(text.parse_module(ROW))
    check(code, locals)
    found = [line.split(": ", 1)[-1] if line.startswith(" ") else line for line in lines(code)]
    nine = [f"t{n}" for n in range(2, 11)]
    assert found == [
        "block 1: fuel 15",
        *(f"{place} = move l0" for place in reversed(nine)),
        "t1 = move i32:0x2",
        f"{', '.join(nine)} = call {' '.join(nine)} 1",
        "branch_unless l0 -> block 3",
        "block 4:",
        "t1 = move_row t2 9",
        "jump -> block 2",
        "block 3: fuel 2",
        "branch_unless l0 -> block 5",
        "block 6:",
        "t0 = move_row t2 9",
        "jump -> block 0",
        "block 5: fuel 1",
        "t0 = move_row t2 9",
        "jump -> block 0",
        "block 2: fuel 1",
        "t0 = move i32:0x1",
        "t0 = move_row t1 9",
        "jump -> block 0",
        "block 0:",
        "return " + " ".join(f"t{n}" for n in range(9)),
    ]


@pytest.mark.parametrize(
    "field,value,message",
    [
        (form.A, 3 << 3, "moves t11, which is not there"),
        (form.A, 1 << 3, "moves a row from t1 to t1"),
        (form.RESULT, 2 << 3, "moves a row from t2 to t2"),
        (form.IMMEDIATE, 10, "moves t11, which is not there"),
        (form.IMMEDIATE, 8, "moves t9, which is not there|reads t8"),
    ],
)
def test_the_checker_finds_damage_in_a_row(field: int, value: int, message: str) -> None:
    (code, locals), _ = forms(text.parse_module(ROW))
    integers = array("q", code.code)
    for number, record in enumerate(code.records()):
        if record.row == form.MOVE_ROW and record.a == 2 << 3:
            integers[number * form.STRIDE + field] = value
    with pytest.raises(Fault, match=message):
        check(replace(code, code=integers), locals)


def test_dead_code_leaves_nothing() -> None:
    assert shown("""(module (func (result i32) (return (i32.const 1))
        (block (result i32) (loop (br 0)) (i32.const 2)) (if (then unreachable)) unreachable))""") == [
        "block 1: fuel 2",
        "return i32:0x1",
    ]


def test_a_region_has_the_clauses_of_its_try_table() -> None:
    ((code, _),) = forms(
        text.parse_module("""(module (tag $t (param i64))
        (func (result i64) (block $caught (result i64)
          (try_table (catch $t $caught) (throw $t (i64.const 9))) (i64.const 1))))""")
    )
    assert [region.clauses for region in code.regions] == [
        (form.Clause(tag=0, reference=False, block=2, height=0, widths=(1,)),)
    ]


@pytest.mark.parametrize("seed", range(40))
def test_the_forms_of_generated_modules_hold(seed: int) -> None:
    for code, locals in forms(binary.decode(generate(seed).data, frozenset(Feature))):
        check(code, locals)


@pytest.mark.parametrize("seed", range(2))
def test_the_forms_of_all_shapes_hold(seed: int) -> None:
    for code, locals in forms(generate_shapes(seed).module):
        check(code, locals)


# What is changed in a record, and what the checker has to say of it.
DAMAGE = [
    ("i32.add", form.A, 9 << 3, "reads t9"),
    ("i32.add", form.A, 0 << 3 | form.WIDE, "reads t0"),
    ("i32.add", form.B, 5 << 3 | form.LOCAL, "reads local 5"),
    ("i32.add", form.B, 5 << 3 | form.CONSTANT, "reads constant 5"),
    ("i32.add", form.BASE, 1, "reads t0 as the operand at height 1"),
    ("return", form.BASE, 1, "reads t0 as the operand at height 1"),
    ("i32.mul", form.BASE, 1, "has operands above the frame"),
    ("i32.add", form.RESULT, 9 << 3, "writes t9"),
    ("i32.add", form.RESULT, 1 << 3, "reads t0"),
    ("jump", form.IMMEDIATE, 99, "block 99, which is not there"),
    ("return", form.ROW, form.MOVE, "is not the end of a block"),
]


@pytest.mark.parametrize("name,field,value,message", DAMAGE)
def test_the_checker_finds_damage(name: str, field: int, value: int, message: str) -> None:
    ((code, locals),) = forms(
        text.parse_module("""(module (func (param i32) (result i32)
            (block (result i32) (br 0 (i32.add (i32.mul (local.get 0) (local.get 0)) (i32.const 1))))))""")
    )
    check(code, locals)
    integers = array("q", code.code)
    start = next(n for n, record in enumerate(code.records()) if form.NAMES[record.row] == name) * form.STRIDE
    integers[start + field] = value
    with pytest.raises(Fault, match=message):
        check(replace(code, code=integers), locals)


def test_most_exchanged_places_are_found() -> None:
    """An operand in another temporary's place is a fault, wherever it is."""
    rng, found, tried = Random(1), 0, 0
    for code, locals in forms(binary.decode(generate(3).data, frozenset(Feature))):
        for number, record in enumerate(code.records()):
            if record.row < form.BLOCK and not form.LISTED[record.row] and record.a & 3 == form.TEMPORARY:
                integers = array("q", code.code)
                integers[number * form.STRIDE + form.A] += (1 + rng.randrange(9)) << form.NUMBER
                tried += 1
                try:
                    check(replace(code, code=integers), locals)
                except Fault:
                    found += 1
    assert tried > 20 and found > tried / 2
