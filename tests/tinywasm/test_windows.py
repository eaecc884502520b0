"""Functions with more operands than the native engine's words can name: the same as on the other."""

from __future__ import annotations

from typing import Any

import pytest

import tinywasm
from tests.tinywasm.agreement import agreed
from tinywasm import Config, Engine, Interrupted, StackExhausted, Store, Trap, WasmException, binary, text
from tinywasm.engine import native_available
from tinywasm.types import I64, Limits, MemoryType

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not native_available, reason="the native engine is not built"),
]

# What `(call $many)` pushes: 1,000 operands in 1,300 slots.
MANY = "i64 " * 400 + "v128 " * 300 + "externref " * 300
PRELUDE = f"""
    (type $many (func (result {MANY})))
    (func $many (type $many)
      {"(i64.const 1)" * 400} {"(v128.const i64x2 2 3)" * 300} {"(ref.null extern)" * 300})
    (func $ones (result {"i64 " * 1000}) {"(i64.const 1)" * 1000})
"""
# Thousands of operands: up to the end of the first window, beyond it, and several windows.
DEPTHS = [38, 46, 120]


def deep(body: str, depth: int, signature: str = "(result i64)", others: str = "") -> str:
    """A module whose function `f` runs `body` above `depth` thousand operands and returns what it leaves."""
    return f"""
        (module {PRELUDE} {others}
          (func $f (export "f") {signature}
            {"(call $many)" * depth} {body} (return)))"""


def vector(low: int, high: int) -> bytes:
    return low.to_bytes(8, "little") + high.to_bytes(8, "little")


@pytest.mark.parametrize("depth", [*range(36, 50), 120])
def test_locals_and_numbers_at_any_depth(depth: int) -> None:
    body = """
        (local.set 1 (i64.mul (local.get 0) (i64.const 3)))
        (local.set $v (i64x2.splat (local.tee $t (i64.add (local.get 0) (local.get 1)))))
        (local.get 0) (local.get 1) (local.set 0 (i64.const 100)) (i64.sub)
        (i64.add (local.get 0)) (local.get $t) (i64x2.extract_lane 1 (local.get $v))
        (i8x16.shuffle 0 1 2 3 4 5 6 7 24 25 26 27 28 29 30 31 (local.get $v) (v128.const i64x2 5 6))
        (select (f64.const 1.5) (f64.const 2.5) (i64.eq (local.get 0) (i64.const 100)))
        (select (result v128) (local.get $v) (v128.const i64x2 1 1) (i64.eqz (local.get 0)))"""
    signature = "(param i64) (result i64 i64 i64 v128 f64 v128) (local i64) (local $t i64) (local $v v128)"
    found = agreed(deep(body, depth, signature), "f", 7)
    assert found == [86, 28, 28, vector(28, 6), 1.5, vector(1, 1)]


def test_each_operand_of_a_deep_stack_is_found_again() -> None:
    source = f"""
        (module {PRELUDE}
          (func (export "f") (param i64) (result i64 i64) (local i64)
            {"(call $ones) (i64.add (local.get 0))" * 130} {"(i64.add)" * 129_999}
            (local.tee 1) (local.get 1)))"""
    assert agreed(source, "f", 5) == [130_000 + 130 * 5] * 2


# Control


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    ("branch", "expected"),
    [
        ("(br $out)", 21),
        ("(br $far)", 21),
        ("(br_if $out (local.get $yes)) (unreachable)", 21),
        ("(br_if $out (i32.eqz (local.get $yes))) (drop) (drop) (i64.const 8) (v128.const i64x2 9 9)", 8),
        ("(br_table $far $out $far (local.get $yes))", 21),
        ("(br_table $inner $far $out (i32.const 7))", 21),
        ("(br_table $inner $far $out (i32.const 0))", 21),
        ("(if (local.get $yes) (then (br $out (i64.const 4) (v128.const i64x2 5 6)))) (unreachable)", 4),
    ],
)
def test_branches_carry_values_out_of_deep_places(depth: int, branch: str, expected: int) -> None:
    source = f"""
        (module {PRELUDE}
          (func (export "f") (param $yes i32) (param $x i64) (result i64 i64 v128) (local $v v128)
            (i64.const 33)
            (block $far (result i64 v128)
              (i32.const 0)
              (block $out (result i64 v128)
                {"(call $many)" * depth}
                (block $inner (result i64 v128)
                  (local.get $x) (v128.const i64x2 3 4)
                  {branch})
                (br $out))
              (local.set $v) (br $far (local.get $v)))))"""
    assert agreed(source, "f", 1, 21)[:2] == [33, expected]


@pytest.mark.parametrize("depth", DEPTHS)
def test_loops_take_values_back_from_deep_places(depth: int) -> None:
    source = f"""
        (module {PRELUDE}
          (func (export "f") (param $n i64) (result i64 v128) (local $v v128)
            {"(call $many)" * 20}
            (i64.const 0) (v128.const i64x2 0 0)
            (loop $again (param i64 v128) (result i64 v128)
              (local.set $v)
              {"(call $many)" * depth}
              (loop $inner
                (local.set $n (i64.sub (local.get $n) (i64.const 1)))
                (br_if $inner (i64.eq (local.get $n) (i64.const 5))))
              (i64.mul (local.get $n) (i64.const 2))
              (i64x2.add (local.get $v) (i64x2.splat (local.get $n)))
              (br_if $again (i64.ne (local.get $n) (i64.const 0)))
              (return))
            (unreachable)))"""
    total = 8 + 7 + 6 + 4 + 3 + 2 + 1
    assert agreed(source, "f", 9) == [0, vector(total, total)]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("choice", "expected"), [(0, 8), (1, 12)])
def test_if_and_else_at_depth(depth: int, choice: int, expected: int) -> None:
    body = f"""
        (i64.const 4)
        (if (param i64) (result i64) (local.get 0)
          (then {"(call $many)" * 30} (local.set 1 (i64.const 2)) (local.get 1)
            (br_if 0 (i32.const 1)) (unreachable))
          (else (i64.mul (i64.const 3)) (local.set 1) (call $many) (local.get 1) (br 0)))
        (if (result i64) (local.get 0)
          (then (i64.const 10))
          (else {"(call $many)" * 30} (return (i64.const 8))))
        (i64.add)
        (if (i32.eqz (local.get 0)) (then (unreachable)))"""
    assert agreed(deep(body, depth, "(param i32) (result i64) (local i64)"), "f", choice) == expected


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    ("branch", "expected"),
    [
        ("(br_on_null $out (local.get $null)) (unreachable)", 5),
        ("(drop (br_on_null $out (local.get $i31))) (br $out (i64.const 6))", 6),
        ("(br_on_non_null $ref (local.get $i31)) (unreachable)", 5 + 9),
        ("(br_on_non_null $ref (local.get $null)) (br $out)", 5),
        ("(br_on_cast $ref i31ref (ref i31) (local.get $i31)) (unreachable)", 5 + 9),
        ("(br_on_cast $ref i31ref (ref i31) (local.get $null)) (drop) (br $out)", 5),
        ("(br_on_cast_fail $any i31ref (ref i31) (local.get $null)) (unreachable)", 50),
        ("(br_on_cast_fail $any i31ref (ref i31) (local.get $i31)) (br $ref)", 5 + 9),
    ],
)
def test_branches_on_references_at_depth(depth: int, branch: str, expected: int) -> None:
    source = f"""
        (module {PRELUDE}
          (func (export "f") (result i64) (local $null i31ref) (local $i31 i31ref)
            (local.set $i31 (ref.i31 (i32.const 9)))
            (block $out (result i64)
              (block $ref (result i64 (ref i31))
                (block $any (result i64 i31ref)
                  {"(call $many)" * depth} (i64.const 5) {branch})
                (drop) (return (i64.mul (i64.const 10))))
              (i64.add (i64.extend_i32_u (i31.get_u))))))"""
    assert agreed(source) == expected


# Calls


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    ("call", "callee"),
    [
        ("call $to", ""),
        ("call_indirect (type $t)", "(i32.const 0)"),
        ("call_ref $t", "(ref.func $to)"),
    ],
)
def test_calls_at_depth(depth: int, call: str, callee: str) -> None:
    params = "i64 " * 998
    body = f"""
        {"(i64.const 2)" * 998} (v128.const i64x2 5 6) (local.get 0) {callee}
        ({call}) (i64.add) {"(i64.add)" * 998}"""
    others = f"""
        (table funcref (elem $to))
        (type $t (func (param {params} v128 i64) (result {params} i64 i64)))
        (func $to (type $t)
          {"".join(f"(local.get {n})" for n in range(998))}
          (i64x2.extract_lane 1 (local.get 998)) (local.get 999))"""
    assert agreed(deep(body, depth, "(param i64) (result i64)", others), "f", 30) == 998 * 2 + 6 + 30


@pytest.mark.parametrize("locals", [1, 40_000])
@pytest.mark.parametrize(
    ("call", "callee"),
    [
        ("return_call $to", ""),
        ("return_call_indirect (type $t)", "(i32.const 0)"),
        ("return_call_ref $t", "(ref.func $to)"),
        ("return_call $host", ""),
    ],
)
def test_tail_calls_at_depth(call: str, callee: str, locals: int) -> None:
    source = f"""
        (module
          (type $t (func (param i64 v128 i64) (result i64 i64)))
          (import "h" "host" (func $host (param i64 v128 i64) (result i64 i64)))
          {PRELUDE}
          (table funcref (elem $to))
          (func $to (type $t)
            (if (i64.eqz (local.get 2)) (then (return (i64.const 9) (local.get 0))))
            (return_call $f
              (i64.add (local.get 0) (i64x2.extract_lane 0 (local.get 1)))
              (local.get 1) (i64.sub (local.get 2) (i64.const 1))))
          (func $f (type $t) (local {"i64 " * locals})
            {"(call $many)" * 60}
            (i64.add (local.get 0) (i64.const 1)) (local.get 1) (local.get 2) {callee} ({call}))
          (func (export "f") (result i64 i64 i64)
            (i64.const 11) (call $f (i64.const 0) (v128.const i64x2 10 20) (i64.const 12))))"""
    found = agreed(source, imports=lambda: {"h": {"host": lambda a, b, c: (9, a + 12 * 11)}})
    assert found == [11, 9, 133]


def test_recursion_with_deep_frames() -> None:
    source = f"""
        (module {PRELUDE}
          (func $f (export "f") (param i64) (result i64)
            (if (i64.eqz (local.get 0)) (then (return (i64.const 0))))
            {"(call $ones)" * 70}
            (i64.add (call $f (i64.sub (local.get 0) (i64.const 1)))) (return)))"""
    assert agreed(source, "f", 20) == 20


def test_recursion_without_end_is_exhaustion() -> None:
    source = f"""(module {PRELUDE} (func $f (export "f") {"(call $many)" * 70} (call $f) (return)))"""
    exports = tinywasm.instantiate(source, store=Store(Engine(Config(engine="native")))).exports
    with pytest.raises(StackExhausted):
        exports.f()


def test_the_host_calls_back_from_a_deep_frame() -> None:
    source = f"""
        (module (import "h" "back" (func $back (param i64 externref) (result i64))) {PRELUDE}
          (func $f (export "f") (param i64) (result i64)
            (if (i64.eqz (local.get 0)) (then (return (i64.const 1))))
            {"(call $ones)" * 75}
            (call $back (i64.sub (local.get 0) (i64.const 1)) (ref.null extern))
            {"(i64.add)" * 1000} (return)))"""

    def imports() -> dict[str, Any]:
        made: dict[str, Any] = {}
        made["h"] = {"back": lambda n, _: made["exports"]["it"].f(n)}
        return made

    assert agreed(source, "f", 3, imports=imports) == 3001


# Exceptions


@pytest.mark.parametrize("depth", [20, 46])
@pytest.mark.parametrize("inside", [0, 50])
@pytest.mark.parametrize("throw", ["throw $t", "call $throw", "call $host"])
@pytest.mark.parametrize(
    ("clause", "expected"),
    [("catch $t $caught", 12), ("catch_ref $t $with_ref", 12), ("catch_all $all", 107)],
)
def test_exceptions_at_depth(depth: int, inside: int, throw: str, clause: str, expected: int) -> None:
    source = f"""
        (module
          (import "h" "host" (func $host (param i64 v128)))
          {PRELUDE}
          (tag $t (export "t") (param i64 v128)) (tag $other)
          (func $throw (param i64 v128) (throw $t (local.get 0) (local.get 1)))
          (func (export "f") (param $x i64) (result i64) (local $v v128)
            {"(call $many)" * (depth // 2)}
            (block $all
              (block $caught (result i64 v128)
                (block $with_ref (result i64 v128 exnref)
                  {"(call $many)" * (depth - depth // 2)}
                  (i64.const 1000)
                  (try_table ({clause})
                    {"(call $many)" * inside}
                    (try_table (catch $other $all)
                      (i64.const 1) (local.get $x) (v128.const i64x2 5 6) ({throw}) (unreachable))
                    (unreachable))
                  (unreachable))
                (drop))
              (local.set $v) (local.set $x)
              (return (i64.add (local.get $x) (i64x2.extract_lane 0 (local.get $v)))))
            (return (i64.add (local.get $x) (i64.const 100)))))"""

    def imports() -> dict[str, Any]:
        made: dict[str, Any] = {}

        def host(x: int, v: bytes) -> None:
            raise WasmException(made["exports"]["it"].t, [x, v])

        made["h"] = {"host": host}
        return made

    assert agreed(source, "f", 7, imports=imports) == expected


def test_an_exception_goes_back_to_a_loop_in_another_window() -> None:
    source = f"""
        (module {PRELUDE}
          (tag $t (param i64))
          (func (export "f") (param $n i64) (result i64) (local $sum i64)
            {"(call $many)" * 30}
            (i64.const 0)
            (loop $again (param i64)
              (local.set $sum (i64.add (local.get $sum)))
              (if (i64.eqz (local.get $n)) (then (return (local.get $sum))))
              {"(call $many)" * 70}
              (try_table (catch $t $again)
                (local.set $n (i64.sub (local.get $n) (i64.const 1)))
                {"(call $many)" * 40}
                (throw $t (local.get $n)))
              (unreachable))
            (unreachable)))"""
    assert agreed(source, "f", 5) == 10


def test_exceptions_leave_deep_frames_and_return_from_them() -> None:
    source = f"""
        (module {PRELUDE}
          (tag $t (param i64))
          (func $throw {"(call $many)" * 60} (throw $t (i64.const 3)))
          (func (export "f") (result i64)
            (try_table (catch $t 0) {"(call $many)" * 60} (call $throw) (unreachable))
            (unreachable))
          (func (export "g") {"(call $many)" * 60} (call $throw) (unreachable)))"""
    assert agreed(source) == 3
    assert agreed(source, "g") == (WasmException, (3,))


# Memories, tables, objects


@pytest.mark.parametrize("depth", DEPTHS)
def test_memories_and_tables_at_depth(depth: int) -> None:
    body = """
        (i32.store (i32.const 8) (i32.const 0x01020304))
        (i64.store $big offset=70000 (i64.const 3) (local.get 0))
        (local.set $a (i32.const 40))
        (memory.fill (local.get $a) (i32.const 7) (i32.const 9))
        (memory.copy (i32.const 100) (i32.const 8) (i32.const 4))
        (memory.copy $big 0 (i64.const 0) (i32.const 100) (i32.const 4))
        (memory.init $data (i32.const 104) (i32.const 1) (i32.const 3))
        (v128.store8_lane 3 (i32.const 50) (v128.load (i32.const 36)))
        (table.set $t (i32.const 3) (ref.func $many))
        (table.copy $t $t (i32.const 6) (i32.const 3) (i32.const 1))
        (table.fill $t (i32.const 7) (ref.func $many) (i32.const 2))
        (table.init $t $elem (i32.const 0) (i32.const 0) (i32.const 1))
        (i64.extend_i32_u (memory.grow (i32.const 1)))
        (i64.add (i64.extend_i32_u (table.grow $t (ref.null func) (i32.const 2))))
        (i64.add (i64.extend_i32_u (table.size $t)))
        (i64.add (memory.size $big))
        (i64.add (i64.load $big offset=70000 (i64.const 3)))
        (i64.extend_i32_u (ref.is_null (table.get $t (i32.const 6))))
        (i64.load (i32.const 100))
        (v128.load8_lane 5 (local.get $a) (v128.load (i32.const 40)))
        (global.set $g (i64.const 5)) (global.get $g)"""
    others = """
        (memory 1) (memory $big i64 2) (table $t 10 20 funcref)
        (data $data "\\05\\06\\07\\08") (elem $elem func $many) (global $g (mut i64) (i64.const 0))"""
    signature = "(param i64) (result i64 i64 i64 v128 i64) (local $a i32)"
    found = agreed(deep(body, depth, signature, others), "f", 100)
    copied = int.from_bytes([4, 3, 2, 1, 6, 7, 8, 0], "little")
    assert found == [1 + 10 + 12 + 2 + 100, 0, copied, bytes([*[7] * 9, *[0] * 7]), 5]


@pytest.mark.parametrize("depth", [1, 46])
@pytest.mark.parametrize(
    ("type", "operand", "nine", "fifty", "get"),
    [
        ("i64", "i64", "(i64.const 9)", "(i64.const 50)", "(array.get $a {})"),
        ("i8", "i32", "(i32.const 9)", "(i32.const 50)", "(i64.extend_i32_u (array.get_u $a {}))"),
        (
            "v128",
            "v128",
            "(v128.const i64x2 0 9)",
            "(v128.const i64x2 0 50)",
            "(i64x2.extract_lane 1 (array.get $a {}))",
        ),
    ],
)
def test_an_array_of_a_long_row_of_operands(
    depth: int, type: str, operand: str, nine: str, fifty: str, get: str
) -> None:
    indices = (0, 39_999, 40_000, 40_001, 100_000, 100_001)
    elements = [get.format(f"(local.get $made) (i32.const {n})") for n in indices]
    body = f"""
        {"(call $nines)" * 40} {fifty} {"(call $nines)" * 60} {fifty}
        (array.new_fixed $a 100002) (local.set $made)
        {" ".join(elements)} (i64.extend_i32_u (array.len (local.get $made)))"""
    others = f"""
        (type $a (array {type}))
        (func $nines (result {f"{operand} " * 1000}) {nine * 1000})"""
    signature = f"(result {'i64 ' * 7}) (local $made (ref null $a))"
    assert agreed(deep(body, depth, signature, others)) == [9, 9, 50, 9, 9, 50, 100_002]


@pytest.mark.parametrize("depth", [30, 37, 46])
def test_structures_of_many_fields_at_depth(depth: int) -> None:
    count = 9_000
    body = f"""
        {"(local.get 0) (i32.const 300)" * (count // 2)} (v128.const i64x2 5 6)
        (struct.new $s) (local.set 1)
        (struct.get $s 0 (local.get 1)) (i64.extend_i32_u (struct.get_u $s {count - 1} (local.get 1)))
        (struct.get $s {count} (local.get 1))
        (struct.set $s 0 (local.get 1) (i64.const 4)) (struct.get $s 0 (local.get 1))"""
    signature = "(param i64) (result i64 i64 v128 i64) (local (ref null $s))"
    others = f"(type $s (struct {'(field (mut i64)) (field i8)' * (count // 2)} (field v128)))"
    found = agreed(deep(body, depth, signature, others), "f", 9)
    assert found == [9, 300 & 0xFF, vector(5, 6), 4]


def test_objects_that_only_deep_operands_hold_survive_a_collection() -> None:
    source = f"""
        (module (import "h" "collect" (func $collect)) {PRELUDE}
          (type $box (struct (field i64)))
          (type $boxes (array (ref $box)))
          (func (export "f") (result i64 i64 i64) (local (ref null $boxes)) (local $five (ref $box))
            (local.set $five (struct.new $box (i64.const 5)))
            (block $low (result (ref $box))
              (struct.new $box (i64.const 3))
              {"(call $many)" * 100}
              {"(local.get $five)" * 30_000} (struct.new $box (i64.const 6)) {"(local.get $five)" * 9_999}
              (local.set $five (struct.new $box (i64.const 8)))
              (call $collect)
              (local.set 0 (array.new_fixed $boxes 40000))
              (call $collect)
              (br $low (struct.new $box (i64.const 4))))
            (struct.get $box 0)
            (struct.get $box 0 (array.get $boxes (local.get 0) (i32.const 0)))
            (struct.get $box 0 (array.get $boxes (local.get 0) (i32.const 30000)))))"""

    def imports() -> dict[str, Any]:
        made: dict[str, Any] = {}
        made["h"] = {"collect": lambda: made["store"]["it"].gc()}
        return made

    assert agreed(source, imports=imports) == [4, 5, 6]


def test_a_constant_expression_of_many_operands() -> None:
    count = 61_000
    source = f"""
        (module
          (type $a (array i64))
          (global $array (ref $a)
            {"(i64.const 7)" * count} {"(i64.add)" * (count // 2)} (array.new_fixed $a {count - count // 2}))
          (func (export "f") (result i64 i64)
            (array.get $a (global.get $array) (i32.const 0))
            (array.get $a (global.get $array) (i32.const {count - count // 2 - 1}))))"""
    assert agreed(source) == [7, 7 * (1 + count // 2)]


# Traps, fuel, limits


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("(i64.div_u (local.get 0) (i64.const 0))", "integer divide by zero"),
        ("(i64.load (i32.const -1))", "out of bounds memory access"),
        ("(array.get $a (ref.null $a) (i32.const 0))", "null array reference"),
        ("(call $trap)", "unreachable"),
        ("(return_call_ref $t (ref.null $t))", "null function reference"),
    ],
)
def test_a_trap_at_depth_says_where(body: str, message: str) -> None:
    others = """
        (memory 1) (type $a (array i64)) (type $t (func (result i64)))
        (func $trap (result i64) (unreachable))"""
    kind, found, frames = agreed(deep(body, 60, "(param i64) (result i64)", others), "f", 1)
    assert kind is Trap and message in found and frames


@pytest.mark.parametrize("fuel", [0, 1, 3, 10_000, 67_000, 67_004, 67_006, 67_010, 67_016, 67_030])
def test_fuel_runs_out_at_the_same_place(fuel: int) -> None:
    body = """
        (block (result i64) (i64.const 3) (br_if 0 (local.get 0)) (i64.const 4) (i64.add))
        (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (i64.const 4) (i64.add)"""
    source = deep(body, 67, "(param i32) (result i64)")
    agreed(source, "f", 3, fuel=fuel)


def test_a_loop_at_depth_is_interrupted() -> None:
    store = Store(Engine(Config(engine="native")))
    exports = tinywasm.instantiate(deep("(loop (br 0)) (unreachable)", 60), store=store).exports
    store.set_deadline(0.05)
    with pytest.raises(Interrupted):
        exports.f()


# Slots from 32,768 on need all 16 bits of a field, in a frame that is seen without windows and in the others.
@pytest.mark.parametrize("number", [32_766, 59_900, 80_000])
def test_two_moves_or_constants_in_a_row_to_high_slots(number: int) -> None:
    text = f"""
        (module (type $three (func (param i32 i32 i32) (result i32)))
          (func $sub (type $three)
            (i32.sub (local.get 0) (i32.sub (local.get 1) (local.get 2))))
          (func (export "f") (param i32 i32) (result i32)
            {"i32.const 1 " * number}
            (local.get 0) (local.get 1) (block) i32.sub
            (call $sub (i32.const 500) (i32.const 70) (local.get 1)) i32.add
            (i32.const 9) (i32.const 4) (block (param i32 i32) (result i32) i32.sub) i32.add
            {"i32.add " * number}))"""
    assert agreed(text, "f", 7, 3) == number + (7 - 3) + (500 - (70 - 3)) + (9 - 4)


def test_one_operand_too_many_is_told() -> None:
    assert "function 2 has more than 1,000,000 operands" in agreed(deep("(i64.const 5)" * 1001, 999))[1]


def test_more_memories_than_a_field_can_name() -> None:
    memories = (65_534, 65_535, 65_536, 65_600)
    stores = "".join(
        f"""
        (i64.store {memory} offset=4 (i64.const 8) (i64.const {memory}))
        (i32.store8 {memory} offset=16 (i64.const 9) (i32.const 200))
        (v128.store16_lane {memory} offset=30 2 (i64.const 0) (v128.const i64x2 -1 -1))"""
        for memory in memories
    )
    loads = "".join(
        f"""
        (i64.load {memory} offset=4 (i64.const 8))
        (v128.load16_lane {memory} offset=24 1 (i64.const 0) (v128.const i64x2 0 0))
        (i64.add (i64x2.extract_lane 0))"""
        for memory in memories
    )
    module = text.parse_module(f"""
        (module
          (func (export "f") (result i64 i64 i64 i64) {stores} {loads}))""")
    # As text, so many would take a while.
    module.memories = [MemoryType(Limits(0, 0), I64)] * memories[0]
    module.memories += [MemoryType(Limits(1, 1), I64)] * (memories[-1] + 1 - memories[0])
    source = binary.encode(module)
    assert agreed(source) == [memory + (200 << 24) for memory in memories]
