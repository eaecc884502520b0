"""Bulk instructions: what they write where they are done in pieces, and the fuel that they take."""

from __future__ import annotations

import pytest

import tinywasm
from tests.engines import ENGINES
from tests.tinywasm.agreement import agreed, outcome
from tinywasm import Config, Engine, OutOfFuel, Store, Trap
from tinywasm.engine import native_available

PLENTY = 100_000_000

TYPES = """(type $b (array (mut i8))) (type $f (array (mut f32))) (type $v (array (mut v128)))
  (type $r (array (mut funcref))) (type $s (struct (field i8) (field v128) (field i64)))
  (type $w (struct (field i64) (field i64) (field i64) (field i64) (field i64) (field i64) (field i64)
    (field v128)))"""
MODULE = f"""(module {TYPES} (func $g) (memory 32) (table 4000 funcref)
  (data $d "{"x" * 3000}") (elem $e func {"$g " * 300})
  (func (export "f") {{}}))"""

# (code, instructions in it, units for what it writes)
COSTS = {
    "memory.fill of less than a unit": (
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 63))", 4, 0
    ),
    "memory.fill": ("(memory.fill (i32.const 0) (i32.const 1) (i32.const 1000))", 4, 15),
    "memory.copy": ("(memory.copy (i32.const 1) (i32.const 0) (i32.const 2000000))", 4, 31250),
    "memory.init": ("(memory.init $d (i32.const 1) (i32.const 1) (i32.const 2999))", 4, 46),
    "memory.grow": ("(drop (memory.grow (i32.const 1)))", 3, 0),
    "table.grow": ("(drop (table.grow (ref.null func) (i32.const 100)))", 4, 12),
    "table.fill": ("(table.fill (i32.const 0) (ref.null func) (i32.const 4000))", 4, 500),
    "table.copy": ("(table.copy (i32.const 0) (i32.const 9) (i32.const 15))", 4, 1),
    "table.init": ("(table.init $e (i32.const 0) (i32.const 0) (i32.const 300))", 4, 37),
    "array.new": ("(drop (array.new $b (i32.const 1) (i32.const 640)))", 4, 10),
    "array.new of vectors": ("(drop (array.new $v (v128.const i64x2 1 2) (i32.const 9)))", 4, 2),
    "array.new_default": ("(drop (array.new_default $f (i32.const 16)))", 3, 1),
    "array.new_fixed": (f"(drop (array.new_fixed $b 64 {'(i32.const 1) ' * 64}))", 66, 1),
    "array.new_data": ("(drop (array.new_data $f $d (i32.const 0) (i32.const 31)))", 4, 1),
    "array.new_elem": ("(drop (array.new_elem $r $e (i32.const 0) (i32.const 300)))", 4, 37),
    "array.fill": (
        "(array.fill $f (array.new_default $f (i32.const 99)) (i32.const 0) (f32.const 1) (i32.const 99))",
        6, 6 + 6,
    ),
    "array.copy": (
        "(array.copy $b $b (array.new_default $b (i32.const 99)) (i32.const 0)"
        " (array.new_default $b (i32.const 64)) (i32.const 0) (i32.const 64))",
        8, 1 + 1 + 1,
    ),
    "array.init_data": (
        "(array.init_data $f $d (array.new_default $f (i32.const 99)) (i32.const 0) (i32.const 1)"
        " (i32.const 99))",
        6, 6 + 6,
    ),
    "array.init_elem": (
        "(array.init_elem $r $e (array.new_default $r (i32.const 99)) (i32.const 0) (i32.const 1)"
        " (i32.const 99))",
        6, 12 + 12,
    ),
    "struct.new of little": ("(drop (struct.new_default $s))", 2, 0),
    "struct.new_default": ("(drop (struct.new_default $w))", 2, 1),
    "struct.new": (
        f"(drop (struct.new $w {'(i64.const 1) ' * 7} (v128.const i64x2 1 2)))", 10, 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", COSTS)
def test_a_bulk_instruction_pays_for_what_it_writes(name: str, engine: str) -> None:
    code, instructions, units = COSTS[name]
    source = MODULE.replace("{}", code)
    result, left = outcome(engine, source.encode(), "f", (), None, PLENTY)
    assert result is None
    assert PLENTY - left == instructions + units


@pytest.mark.skipif(not native_available, reason="compares the engines")
@pytest.mark.parametrize("name", COSTS)
def test_the_engines_run_out_of_fuel_in_the_same_place(name: str) -> None:
    code, instructions, units = COSTS[name]
    source = tinywasm.wat2wasm(MODULE.replace("{}", code))
    kind, *_ = agreed(source, fuel=instructions + units - 1)
    assert kind is OutOfFuel


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_written_that_is_not_paid_for(engine: str) -> None:
    store = Store(Engine(Config(engine=engine, consume_fuel=True)))
    store.set_fuel(PLENTY)
    exports = tinywasm.instantiate(
        """(module (memory (export "m") 16) (func (export "f") (param i32)
            (memory.fill (i32.const 0) (i32.const 7) (local.get 0))))""",
        store=store,
    ).exports
    store.set_fuel(4 + 15)
    with pytest.raises(OutOfFuel):
        exports.f(16 * 64)
    assert store.get_fuel() == 15
    assert exports.m[:64] == bytes(64)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "code",
    [
        "(memory.fill (i32.const 1) (i32.const 7) (i32.const 0x7fffffff))",
        "(memory.copy (i32.const 0) (i32.const 1) (i32.const 2097152))",
        "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 3001))",
        "(table.fill (i32.const 1) (ref.null func) (i32.const 0x7fffffff))",
        "(table.copy (i32.const 1) (i32.const 0) (i32.const 4000))",
        "(table.init $e (i32.const 0) (i32.const 0) (i32.const 301))",
        "(drop (array.new_data $f $d (i32.const 0) (i32.const 751)))",
        "(drop (array.new_elem $r $e (i32.const 0) (i32.const 301)))",
        "(drop (array.new $b (i32.const 0) (i32.const 0x7fffffff)))",
        "(array.fill $b (array.new_default $b (i32.const 9)) (i32.const 0) (i32.const 1) (i32.const -1))",
    ],
)
def test_an_instruction_that_traps_pays_nothing_for_bytes(code: str, engine: str) -> None:
    result, left = outcome(engine, MODULE.replace("{}", code).encode(), "f", (), None, PLENTY)
    assert issubclass(result[0], Trap) and result[0] is not OutOfFuel
    assert PLENTY - left < 10


def test_growth_that_is_refused_costs_nothing() -> None:
    for engine in ENGINES:
        code = "(drop (table.grow (ref.null func) (i32.const 0x7fffffff)))"
        assert outcome(engine, MODULE.replace("{}", code).encode(), "f", (), None, PLENTY)[1] == PLENTY - 4


@pytest.mark.parametrize("engine", ENGINES)
def test_constants_cost_no_fuel(engine: str) -> None:
    store = Store(Engine(Config(engine=engine, consume_fuel=True)))
    store.set_fuel(10)
    globals = "(global (ref $b) (array.new $b (i32.const 1) (i32.const 6400)))"
    globals += "(global (ref $w) (struct.new_default $w))"
    tinywasm.instantiate(f"(module {TYPES} {globals})", store=store)
    assert store.get_fuel() == 10


# Larger than several pieces of either engine, and no multiple of one.
COUNT = 3_000_001


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("distance", [-300_001, -1, 1, 300_001])
def test_overlapping_memory_is_copied_right_across_pieces(distance: int, engine: str) -> None:
    store = Store(Engine(Config(engine=engine)))
    exports = tinywasm.instantiate(
        """(module (memory (export "m") 60) (func (export "f") (param i32 i32 i32)
            (memory.copy (local.get 0) (local.get 1) (local.get 2))))""",
        store=store,
    ).exports
    pattern = bytes(range(251)) * (60 * 65536 // 251 + 1)
    content = bytearray(pattern[: 60 * 65536])
    exports.m[:] = content
    exports.f(400_000 + distance, 400_000, COUNT)
    content[400_000 + distance : 400_000 + distance + COUNT] = content[400_000 : 400_000 + COUNT]
    assert exports.m[:] == content


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("distance", [-70_001, -1, 1, 70_001])
@pytest.mark.parametrize("kind", ["array", "table"])
def test_overlapping_elements_are_copied_right_across_pieces(kind: str, distance: int, engine: str) -> None:
    source = """(module (type $a (array (mut i32))) (type $r (array (mut i31ref)))
      (table $t 400000 i31ref)
      (func $make (result (ref $a)) (local $i i32) (local $a (ref $a))
        (local.set $a (array.new_default $a (i32.const 400000)))
        (loop
          (array.set $a (local.get $a) (local.get $i) (local.get $i))
          (table.set $t (local.get $i) (ref.i31 (local.get $i)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if 0 (i32.lt_u (local.get $i) (i32.const 400000))))
        (local.get $a))
      (func (export "array") (param i32 i32 i32) (result i32) (local $i i32) (local $a (ref $a))
        (local.set $a (call $make))
        (array.copy $a $a (local.get $a) (local.get 0) (local.get $a) (local.get 1) (local.get 2))
        (loop
          (if (i32.ne (array.get $a (local.get $a) (i32.add (local.get 0) (local.get $i)))
                      (i32.add (local.get 1) (local.get $i)))
            (then (return (local.get $i))))
          (local.set $i (i32.add (local.get $i) (i32.const 997)))
          (br_if 0 (i32.lt_u (local.get $i) (local.get 2))))
        (i32.const -1))
      (func (export "table") (param i32 i32 i32) (result i32) (local $i i32)
        (drop (call $make))
        (table.copy (local.get 0) (local.get 1) (local.get 2))
        (loop
          (if (i32.ne (i31.get_u (table.get $t (i32.add (local.get 0) (local.get $i))))
                      (i32.add (local.get 1) (local.get $i)))
            (then (return (local.get $i))))
          (local.set $i (i32.add (local.get $i) (i32.const 997)))
          (br_if 0 (i32.lt_u (local.get $i) (local.get 2))))
        (i32.const -1)))"""
    exports = tinywasm.instantiate(source, store=Store(Engine(Config(engine=engine)))).exports
    assert exports[kind](80_000 + distance, 80_000, 200_001) == -1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("type", ["i8", "i16", "i32", "i64", "f32", "f64", "v128", "i31ref"])
def test_elements_are_filled_across_pieces(type: str, engine: str) -> None:
    values = {"f32": "(f32.const 1)", "f64": "(f64.const 1)", "v128": "(v128.const i64x2 1 2)"}
    values |= {"i31ref": "(ref.i31 (i32.const 1))", "i64": "(i64.const 1)"}
    value = values.get(type, "(i32.const 1)")
    get = "array.get_u" if type in ("i8", "i16") else "array.get"
    one = {"f32": "i32.trunc_f32_u", "f64": "i32.trunc_f64_u", "v128": "i32x4.extract_lane 0"}
    one |= {"i31ref": "i31.get_u", "i64": "i32.wrap_i64"}
    read = f"({one[type]} %s)" if type in one else "%s"
    sums = " ".join(
        f"(i32.add {read % f'({get} $a (local.get $a) (i32.const {at}))'})"
        for at in (1, 65_537, 300_000, 999_999)
    )
    source = f"""(module (type $a (array (mut {type}))) (func (export "f") (result i32) (local $a (ref $a))
      (local.set $a (array.new_default $a (i32.const 1000001)))
      (array.fill $a (local.get $a) (i32.const 1) {value} (i32.const 999999))
      (i32.const 0) {sums}))"""
    assert tinywasm.instantiate(source, store=Store(Engine(Config(engine=engine)))).exports.f() == 4


@pytest.mark.parametrize("engine", ENGINES)
def test_growth_that_is_interrupted_leaves_the_table_as_it_was(engine: str) -> None:
    store = Store(Engine(Config(engine=engine, max_table_elements=1 << 23)))
    exports = tinywasm.instantiate(
        """(module (table (export "t") 1 funcref) (func (export "f") (result i32)
            (loop (br_if 0 (i32.lt_s (table.grow (ref.null func) (i32.const 0x7fffff)) (i32.const 0)))
              (br 0)) (unreachable)))""",
        store=store,
    ).exports
    store.set_deadline(0.05)
    with pytest.raises(tinywasm.Interrupted):
        exports.f()
    assert exports.t.size(store) in (1, 1 << 23)
