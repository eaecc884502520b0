"""Operands that share a slot, and words that change a local: the order in which they are read and written.

Every case has the value that the specification demands; both engines must give it.
"""

from __future__ import annotations

import itertools

import pytest

from tests.tinywasm.agreement import agreed
from tinywasm import Trap

pytestmark = pytest.mark.slow

# A store: the operand that loads its base, its value, the load that reads it back, and what that gives.
STORES = [
    ("i32.store", "(i32.const 77)", "(i32.load (i32.const 300))", 77),
    ("i32.store8", "(i32.const 77)", "(i32.load8_u (i32.const 300))", 77),
    ("i32.store16", "(i32.const 777)", "(i32.load16_u (i32.const 300))", 777),
    ("i64.store", "(i64.const 77)", "(i32.wrap_i64 (i64.load (i32.const 300)))", 77),
    ("i64.store8", "(i64.const 77)", "(i32.load8_u (i32.const 300))", 77),
    ("i64.store16", "(i64.const 777)", "(i32.load16_u (i32.const 300))", 777),
    ("i64.store32", "(i64.const 77)", "(i32.load (i32.const 300))", 77),
    ("f32.store", "(f32.const 77)", "(i32.trunc_f32_s (f32.load (i32.const 300)))", 77),
    ("f64.store", "(f64.const 77)", "(i32.trunc_f64_s (f64.load (i32.const 300)))", 77),
    ("v128.store", "(v128.const i32x4 77 1 2 3)", "(i32.load (i32.const 300))", 77),
]
# Addresses that are 300 where memory is zero, made of a constant and of a value in a slot of its own.
ADDRESSES = [
    "(i32.add (i32.const 300) {zero})",
    "(i32.add {zero} (i32.const 300))",
    "(local.tee 0 (i32.add (i32.const 300) {zero}))",
    "(local.tee 0 (i32.add {zero} (i32.const 300)))",
    "(i32.add (i32.const 100) (i32.add (i32.const 200) {zero}))",
    "(i32.shl (i32.add (i32.const 75) {zero}) (i32.const 2))",
]
ZEROS = ["(i32.load (local.get 0))", "(i32.mul (local.get 0) (local.get 0))", "(local.get 0)"]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("name,value,back,expected", STORES, ids=[store[0] for store in STORES])
def test_a_stored_constant_does_not_take_the_place_of_its_address(
    name: str, value: str, back: str, expected: int, address: str
) -> None:
    for zero, below in itertools.product(ZEROS, range(3)):
        source = f"""
            (module (memory 1) (func (export "f") (param i32) (result i32 {"i32 " * below})
              {"(i32.const 5)" * below} ({name} {address.format(zero=zero)} {value}) {back}))"""
        found = agreed(source, "f", 0)
        assert found == ([5] * below + [expected] if below else expected)


def test_operands_below_a_condition_are_older_than_the_local_it_moves() -> None:
    source = r"""
        (module (memory 1) (data (i32.const 0) "\00\00\00\00\08\00\00\00\07\00\00\00\09")
          (func (export "f") (param i32) (result i32)
            (local.set 0 (i32.add (local.get 0) (i32.const 4)))
            (local.get 0)
            (if (i32.load (local.get 0)) (then)))
          (func (export "arms") (param i32) (result i32 i32)
            (local.set 0 (i32.add (local.get 0) (i32.const 4)))
            (local.get 0)
            (if (result i32) (i32.load8_u offset=4 (local.get 0))
              (then (i32.load (local.get 0))) (else (i32.const 5))))
          (func (export "pair") (param i32) (result i32 i32)
            (local.set 0 (i32.add (local.get 0) (i32.const 4)))
            (local.get 0) (local.get 0)
            (if (i32.eqz (i32.load (local.get 0))) (then unreachable)))
          (func (export "branch") (param i32) (result i32)
            (local.set 0 (i32.add (local.get 0) (i32.const 4)))
            (block (result i32)
              (local.get 0)
              (br_if 0 (i32.load (local.get 0))) (drop) (i32.const 1))))"""
    assert agreed(source, "f", 0) == 4
    assert agreed(source, "arms", 0) == [4, 8]
    assert agreed(source, "pair", 0) == [4, 4]
    assert agreed(source, "branch", 0) == 4


# The first index of a memory that does not fit beside an access.
FAR = 65_536


@pytest.mark.parametrize(
    "condition", ["(i32.load $far (local.get 0))", "(i32.eqz (i32.load8_s $far (local.get 0)))"]
)
def test_an_access_keeps_its_far_memory_where_operands_go_home(condition: str) -> None:
    source = f"""
        (module {"(memory 0 0)" * FAR} (memory $far 1 1)
          (func (export "f") (param i32) (result i64)
            (i64.const 0x123456789ab) (if {condition} (then nop))))"""
    assert agreed(source, "f", 0) == 0x123456789AB
    assert agreed(source, "f", 65_536)[0] is Trap
