"""Bounds of time and memory where programs ask for much, each measured in a process of its own.

The limits leave room for slow machines; what they are to catch costs ten times as much or more.
"""

from __future__ import annotations

import pytest

from tests.engines import ENGINES
from tests.tinywasm.bounded import run

pytestmark = pytest.mark.slow

MIB = 1 << 20


# Two structures a turn, one of them in a cycle with itself and with the other.
CYCLES = """
(module
  (rec
    (type $node (struct (field $self (mut (ref null $node))) (field $pair (mut (ref null $pair)))))
    (type $pair (struct (field (ref $node)) (field (mut i64)))))
  (func (export "run") (param $turns i32) (local $node (ref null $node))
    (loop $again
      (local.set $node (struct.new_default $node))
      (struct.set $node $self (local.get $node) (local.get $node))
      (struct.set $node $pair (local.get $node)
        (struct.new $pair (ref.as_non_null (local.get $node)) (i64.const 1)))
      (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))
"""
# A ring of arrays that grows by one and loses one each turn.
ARRAYS = """
(module
  (type $array (array (mut anyref)))
  (table $ring 64 anyref)
  (func (export "run") (param $turns i32) (local $array (ref null $array))
    (loop $again
      (local.set $array (array.new_default $array (i32.const 100)))
      (array.set $array (local.get $array) (i32.const 0) (local.get $array))
      (array.set $array (local.get $array) (i32.const 1)
        (table.get $ring (i32.and (i32.sub (local.get $turns) (i32.const 1)) (i32.const 63))))
      (table.set $ring (i32.and (local.get $turns) (i32.const 63)) (local.get $array))
      (if (i32.eqz (i32.and (local.get $turns) (i32.const 63)))
        (then (table.fill $ring (i32.const 0) (ref.null any) (i32.const 64))))
      (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))
"""
EXCEPTIONS = """
(module
  (tag $tag (param i32))
  (func (export "run") (param $turns i32) (local $exception exnref)
    (loop $again
      (block $caught (result i32 exnref)
        (try_table (catch_ref $tag $caught) (throw $tag (local.get $turns)))
        (unreachable))
      (local.set $exception)
      (drop)
      (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))))
"""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("source", "turns"), [(CYCLES, 500_000), (ARRAYS, 100_000), (EXCEPTIONS, 100_000)])
def test_what_nothing_refers_to_is_freed(source: str, turns: int, engine: str) -> None:
    usage = run(source, "run", turns, warm_up=(1000,), engine=engine)
    assert usage.ending == "done"
    assert usage.memory < 64 * MIB
    assert usage.seconds < 20


TAIL_CALLS = {
    "return_call": "(return_call $run {})",
    "return_call_indirect": "(return_call_indirect (type $run) {} (i32.const 0))",
    "return_call_ref": "(return_call_ref $run {} (ref.func $run))",
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("instruction", TAIL_CALLS)
def test_a_million_tail_calls_grow_no_stack(instruction: str, engine: str) -> None:
    call = TAIL_CALLS[instruction].format("(i32.sub (local.get 0) (i32.const 1))")
    source = f"""
    (module
      (type $run (func (param i32) (result i32)))
      (table funcref (elem $run))
      (func $run (export "run") (type $run)
        (if (result i32) (local.get 0) (then {call}) (else (i32.const 42)))))"""
    usage = run(source, "run", 1_000_000, warm_up=(1000,), engine=engine)
    assert (usage.ending, usage.result) == ("done", 42)
    assert usage.memory < 8 * MIB
    assert usage.seconds < 10


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [1000, 20_000, 1_000_000])
def test_a_recursion_with_many_locals_exhausts_the_stack_not_the_memory(count: int, engine: str) -> None:
    source = f'(module (func $run (export "run") (local {"i64 " * count}) (call $run)))'
    usage = run(source, "run", engine=engine)
    assert usage.ending == "StackExhausted: call stack exhausted"
    assert usage.memory < 300 * MIB
    assert usage.seconds < 10


@pytest.mark.parametrize("engine", ENGINES)
def test_a_recursion_with_many_operands_exhausts_the_stack_not_the_memory(engine: str) -> None:
    source = f"""
    (module
      (func $many (result {"i64 " * 1000}) {"(i64.const 1)" * 1000})
      (func $run (export "run") {"(call $many)" * 40} (call $run) (unreachable)))"""
    usage = run(source, "run", engine=engine)
    assert usage.ending == "StackExhausted: call stack exhausted"
    assert usage.memory < 300 * MIB


@pytest.mark.parametrize("engine", ENGINES)
def test_a_table_of_many_branches(engine: str) -> None:
    source = f"""
    (module (func (export "run") (param i32) (result i32)
      (block (block (br_table {"0 1 " * 8074} 0 (local.get 0))) (return (i32.const 1)))
      (i32.const 2)))"""
    usage = run(source, "run", 16_147, engine=engine)
    assert (usage.ending, usage.result) == ("done", 2)
    assert usage.memory < 50 * MIB
    assert usage.seconds < 2


@pytest.mark.parametrize(
    "definition",
    [
        "(memory i64 0x1_0000_0000_0000)",
        "(memory i64 0xffff_ffff_ffff_ffff (pagesize 1))",
        "(memory 0xffff_ffff (pagesize 1))",
        "(memory 65536 65536)",
        "(table i64 0xffff_ffff_ffff_ffff funcref)",
        "(table 0xffff_ffff funcref)",
        "(table i64 0xffff_ffff_ffff_ffff (ref func) (ref.func 0))",
        '(import "m" "t" (table i64 0xffff_ffff_ffff_ffff funcref))',
    ],
)
def test_a_definition_allocates_nothing(definition: str) -> None:
    usage = run(f"(module {definition} (func) (elem declare func 0))")
    assert usage.ending == "done"
    assert usage.memory < 4 * MIB
    assert usage.seconds < 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "definition", ["(memory i64 0x1_0000_0000_0000)", "(table i64 0xffff_ffff_ffff_ffff funcref)"]
)
def test_what_cannot_be_allocated_traps(definition: str, engine: str) -> None:
    usage = run(f'(module {definition} (func (export "run")))', "run", engine=engine)
    assert usage.ending.startswith("Trap: allocation too large")
    assert usage.memory < 8 * MIB


@pytest.mark.parametrize("engine", ENGINES)
def test_a_memory_of_small_pages_grows_page_by_page(engine: str) -> None:
    source = """
    (module (memory 0 (pagesize 1))
      (func (export "run") (param $turns i32) (result i32)
        (loop $again
          (drop (memory.grow (i32.const 1)))
          (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
        (memory.size)))"""
    usage = run(source, "run", 200_000, warm_up=(1000,), engine=engine)
    assert (usage.ending, usage.result) == ("done", 201_000)
    assert usage.memory < 8 * MIB
    assert usage.seconds < 5


@pytest.mark.parametrize("engine", ENGINES)
def test_instructions_over_many_operands_take_no_quadratic_time(engine: str) -> None:
    source = f"""
        (module (func (export "run") (param i32) (result i32)
          {"(local.get 0)" * 25_000}
          {"(local.set 0 (i32.const 1)) (block)" * 25_000}
          {"(i32.add)" * 24_999}))"""
    usage = run(source, "run", 3, engine=engine)
    assert (usage.ending, usage.result) == ("done", 75_000)
    assert usage.seconds < 20


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("inside", ["(block (br_if 0 (local.get 0)))", "(try_table)"])
def test_handlers_in_each_other_take_no_quadratic_time(inside: str, engine: str) -> None:
    source = f"""
        (module (func (export "run") (param i32) (result i32)
          {"try_table " * 20_000} {inside * 20_000} {"end " * 20_000} (local.get 0)))"""
    usage = run(source, "run", 3, engine=engine)
    assert (usage.ending, usage.result) == ("done", 3)
    assert usage.seconds < 10


@pytest.mark.parametrize("engine", ENGINES)
def test_many_looks_into_a_structure_of_many_fields_take_no_quadratic_time(engine: str) -> None:
    source = f"""
        (module (type $s (struct {"(field (mut i64))" * 10_000}))
          (func (export "run") (param i64) (result i64) (local $s (ref null $s))
            (local.set $s (struct.new_default $s))
            (struct.set $s 9999 (local.get $s) (local.get 0))
            {"(drop (struct.get $s 9999 (local.get $s)))" * 20_000}
            (struct.get $s 9999 (local.get $s))))"""
    usage = run(source, "run", 3, engine=engine)
    assert (usage.ending, usage.result) == ("done", 3)
    assert usage.seconds < 5


ONES = f"""(func $ones (result {"i64 " * 1000}) {"(i64.const 1)" * 1000})"""


@pytest.mark.parametrize("engine", ENGINES)
def test_blocks_at_the_border_of_a_window_take_no_quadratic_time(engine: str) -> None:
    # On the native engine a window ends at 50,000 slots.
    source = f"""
        (module {ONES} (func (export "run") (param i64) (result i64)
          {"(call $ones)" * 49} {"(local.get 0)" * 995}
          {f"(block {'(local.get 0)' * 9} {'(drop)' * 9})" * 10_000}
          (return)))"""
    usage = run(source, "run", 3, engine=engine)
    assert (usage.ending, usage.result) == ("done", 3)
    assert usage.seconds < 20


@pytest.mark.parametrize("engine", ENGINES)
def test_the_most_operands_that_a_function_may_have(engine: str) -> None:
    source = f"""
        (module {ONES} (func (export "run") (result i64)
          {"(call $ones)" * 999} {"(i64.const 5)" * 1000} (return)))"""
    usage = run(source, "run", engine=engine)
    assert (usage.ending, usage.result) == ("done", 5)
    assert usage.memory < 200 * MIB
