"""What is known beforehand of hot functions leaves their results, traps and depth as they are."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import pytest

from fuzz.hot import AT_ONCE, hot_after
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_source_hosts import same_when_hot
from tests.tinywasm.test_source_tier import COLD, exports, store

# Addresses, of a parameter: multiples of a size or nearly, some of which wrap around.
ADDRESSES = [
    "(local.get $p)",
    "(i32.const 8)",
    "(i32.const 12)",
    "(i32.and (local.get $p) (i32.const -8))",
    "(i32.and (local.get $p) (i32.const -4))",
    "(i32.shl (local.get $p) (i32.const 1))",
    "(i32.shl (local.get $p) (i32.const 3))",
    "(i32.shl (local.get $p) (i32.const 35))",
    "(i32.shl (local.get $p) (local.get $p))",
    "(i32.add (i32.shl (local.get $p) (i32.const 3)) (i32.const -16))",
    "(i32.add (i32.shl (local.get $p) (i32.const 2)) (i32.const 6))",
    "(i32.sub (i32.const 64) (i32.shl (local.get $p) (i32.const 4)))",
    "(i32.mul (local.get $p) (i32.const 24))",
    "(i32.or (i32.shl (local.get $p) (i32.const 3)) (i32.const 4))",
    "(i32.xor (i32.shl (local.get $p) (i32.const 3)) (i32.const 8))",
    "(select (i32.const 16) (i32.const 20) (local.get $p))",
    "(i32.wrap_i64 (i64.shl (i64.extend_i32_s (local.get $p)) (i64.const 3)))",
    "(i32.shr_u (i32.shl (local.get $p) (i32.const 4)) (i32.const 1))",
    "(i32.add (i32.load8_u (local.get $p)) (i32.shl (local.get $p) (i32.const 3)))",
]
ACCESSES = {
    "i32.load": "i32.store",
    "i64.load": "i64.store",
    "f32.load": "f32.store",
    "f64.load": "f64.store",
    "i32.load16_s": "i32.store16",
    "i64.load32_u": "i64.store32",
    "i64.load8_s": "i64.store8",
}
MEMORY = '(memory 1) (data (i32.const 0) "{}")'.format(
    "".join(f"\\{byte * 37 % 256:02x}" for byte in range(160))
)


def _access(load: str, address: str, offset: int) -> str:
    """Copy what is read to where it was, negated or not, and what follows it."""
    type, store_ = load.split(".")[0], ACCESSES[load]
    turned = f"({type}.neg {{}})" if type[0] == "f" else f"({type}.xor {{}} ({type}.const -1))"
    value = turned.format(f"({load} offset={offset} {address})")
    return f"({store_} offset={offset} {address} {value})"


@pytest.mark.parametrize("load", ACCESSES)
def test_accesses_by_addresses_of_any_alignment(load: str) -> None:
    functions = ""
    for number, (address, offset) in enumerate(product(ADDRESSES, (0, 3, 8))):
        functions += f'(func (export "{number}") (param $p i32) {_access(load, address, offset)})'

    def found() -> list[Any]:
        wasm = exports(f'(module {MEMORY} (export "m" (memory 0)) {functions})')
        results = []
        for name in [name for name in wasm if name != "m"]:
            for value in (
                0,
                1,
                2,
                5,
                8,
                4096,
                8190,
                8191,
                65_528,
                65_536,
                -8,
                -2,
                1 << 29,
                (1 << 30) + 1,
                1 << 31,
            ):
                results.append((name, value, outcome(partial(wasm[name], value))))
        return [results, bytes(wasm.m[:200]), bytes(wasm.m[65_000:])]

    same_when_hot(found)


# A pointer that keeps its alignment, one that loses it in a turn, and a variable that is two things in turn.
POINTERS = """
(module {memory}
  (func (export "f") (param $n i32) (param $step i32) (result i64)
    (local $a i32) (local $b i32) (local $s i64)
    (local.set $a (i32.const 8))
    (loop $again
      (local.set $s (i64.add (local.get $s) (i64.load (local.get $a))))
      (local.set $s (i64.xor (local.get $s) (i64.load32_u offset=4 (local.get $b))))
      (local.set $a (i32.add (local.get $a) (i32.const 8)))
      (local.set $b (i32.add (local.get $b) (local.get $step)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.set $a (local.get $step))
    (i64.add (local.get $s) (i64.load (local.get $a)))))
"""


@pytest.mark.parametrize("step", [0, 1, 4, 8, -4])
def test_pointers_of_loops(step: int) -> None:
    for times in (COLD, 1, 4, AT_ONCE):
        with hot_after(times):
            wasm = exports(POINTERS.format(memory=MEMORY))
            found = [outcome(partial(wasm.f, count, step)) for count in (1, 2, 9)]
            if times == COLD:
                expected = found
            assert found == expected, times


EDGES = [1, 1 << 30, 1 << 31, -1, -(1 << 30), -(1 << 31)]
NUMBERS = sorted({(edge + more) % (1 << 32) for edge in EDGES for more in (-1, 0, 1)})
CLOSE = """
(func (export "{name}") (param $a i32) (param $b i32) (result i64) (local $r i64)
  (local.set $r (i64.extend_i32_u ({name} (local.get $a) (local.get $b))))
  (local.set $r (i64.xor (local.get $r) (i64.extend_i32_s ({name} (local.get $a) (i32.const {number})))))
  (if ({name} (i32.const {number}) (local.get $b))
    (then (local.set $r (i64.add (local.get $r) (i64.const 7)))))
  (if ({name} (local.get $b) (i32.const {number}))
    (then (local.set $r (i64.sub (local.get $r) (i64.const 9)))))
  (local.get $r))
"""


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_about_the_ends_of_digits_and_of_signs(number: int) -> None:
    names = [
        "i32.add",
        "i32.sub",
        *(f"i32.{order}_{sign}" for order in ("lt", "gt", "le", "ge") for sign in "su"),
    ]
    text = f"(module {''.join(CLOSE.format(name=name, number=number) for name in names)})"

    def found() -> list[Any]:
        wasm = exports(text)
        return [wasm[name](a, b) for name in names for a, b in product(NUMBERS, NUMBERS)]

    same_when_hot(found)


# Functions that call others, sooner or later, or none, each before and behind what traps; `at` says how deep
# they are entered.
DEPTH = """
(module {memory}
  (global $g (mut i32) (i32.const 0))
  (func $leaf (param i32) (result i32) (i32.div_u (i32.const 100) (local.get 0)))
  (func $turns (param i32) (result i32)
    (loop (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 5))))
    (local.get 0))
  (func $base (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 3))
      (then (i32.div_u (i32.const 9) (local.get 0)))
      (else (i32.add (call $base (i32.sub (local.get 0) (i32.const 1))) (call $leaf (local.get 0))))))
  (func $reads (param i32) (result i32)
    (if (result i32) (i32.load8_u offset=65530 (local.get 0))
      (then (call $leaf (local.get 0)))
      (else (global.set $g (local.get 0)) (call $turns (i32.const 2)))))
  (func $changes (param i32) (result i32)
    (local.set 0 (i32.add (local.get 0) (i32.const 1)))
    (if (result i32) (i32.gt_u (local.get 0) (i32.const 2))
      (then (call $leaf (local.get 0))) (else (local.get 0))))
  (func $writes (param i32) (result i32)
    (global.set $g (i32.add (global.get $g) (i32.const 1)))
    (if (result i32) (local.get 0) (then (call $leaf (local.get 0))) (else (global.get $g))))
  (func $again (param i32) (result i32)
    (loop (result i32)
      (if (result i32) (local.get 0)
        (then (drop (call $leaf (local.get 0))) (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br 1))
        (else (i32.const 4)))))
  (table funcref (elem $leaf $turns $base $reads $changes $writes $again))
  (func $at (export "at") (param $depth i32) (param $which i32) (param $x i32) (result i32)
    (if (result i32) (local.get $depth)
      (then (call $at (i32.sub (local.get $depth) (i32.const 1)) (local.get $which) (local.get $x)))
      (else (call_indirect (param i32) (result i32) (local.get $x) (local.get $which)))))
  (func (export "g") (result i32) (global.get $g)))
"""


@pytest.mark.parametrize("which", range(7))
def test_functions_that_ask_late_or_never_are_as_deep(which: int) -> None:
    def found() -> list[Any]:
        wasm = exports(DEPTH.format(memory=MEMORY), within=store(max_call_depth=24))
        calls = [
            partial(wasm.at, depth, which, x) for x in (0, 1, 2, 3, 6, 9) for depth in (0, 3, *range(18, 25))
        ]
        return [(outcome(call), wasm.g()) for call in calls]

    same_when_hot(found)


ZEROS = """
(module
  (func (export "f") (param $n i32) (result i32 i64 f32 f64 v128 funcref)
    (local $a i32) (local $b i64) (local $c f32) (local $d f64) (local $e v128) (local $f funcref)
    (local $i i32)
    (block $skip
      (br_if $skip (i32.eqz (local.get $n)))
      (local.set $a (i32.const 5)) (local.set $c (f32.const 1.5))
      (br_if $skip (i32.lt_u (local.get $n) (i32.const 2)))
      (local.set $b (i64.const 6)) (local.set $d (f64.const 2.5)) (local.set $e (v128.const i64x2 1 2))
      (loop $again
        (local.set $a (i32.add (local.get $a) (local.get $i)))
        (local.set $i (local.get $n))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (local.get $a) (local.get $b) (local.get $c) (local.get $d) (local.get $e) (local.get $f)))
"""


def test_locals_are_zero_where_nothing_was_written_to_them() -> None:
    same_when_hot(lambda: [exports(ZEROS).f(number) for number in range(5)])


# Recursion that ends at once on a condition of any kind, with a result of any kind.
ENDINGS = {
    "unsigned": ("(i32.lt_u (local.get $a) (i32.const 2))", "(local.get $a)"),
    "signed": ("(i32.le_s (local.get $a) (local.get $b))", "(i32.sub (local.get $b) (local.get $a))"),
    "not": ("(i32.eqz (i32.gt_s (local.get $a) (i32.const 1)))", "(i32.const -5)"),
    "both": (
        "(i32.or (i32.eqz (local.get $a)) (i32.gt_u (local.get $b) (local.get $a)))",
        "(select (local.get $a) (i32.add (local.get $b) (i32.const -1)) (local.get $b))",
    ),
    "memory": ("(i32.load8_u offset=65530 (local.get $a))", "(local.get $b)"),
    "trap": ("(i32.lt_u (local.get $a) (i32.const 3))", "(i32.div_u (i32.const 9) (local.get $a))"),
    "local": ("(i32.lt_u (local.get $a) (i32.const 3))", "(local.get $c)"),
}
ENDING = """
(func ${name} (export "{name}") (param $a i32) (param $b i32) (result i32) (local $c i32)
  (if (result i32) {condition} (then {result})
    (else
      (i32.xor
        (call ${name} (i32.sub (local.get $a) (i32.const 1)) (i32.shr_u (local.get $b) (i32.const 1)))
        (i32.mul (i32.const 3) (call ${name}
          (i32.sub (local.get $a) (i32.const 2))
          (call ${name} (i32.sub (local.get $a) (i32.const 5)) (local.get $b))))))))
(func (export "not {name}") (param $a i32) (param $b i32) (result i32) (local $c i32)
  (if (result i32) (i32.eqz {condition})
    (then (i32.add (call ${name} (local.get $b) (local.get $a)) (local.get $a)))
    (else {result})))
"""


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("fuel", [None, 200])
def test_recursion_that_ends_at_once(name: str, fuel: int | None) -> None:
    condition, result = ENDINGS[name]
    text = ENDING.format(name=name, condition=condition, result=result)

    def found() -> list[Any]:
        within = store(max_call_depth=24, consume_fuel=fuel is not None)
        wasm = exports(f"(module (memory 1) {text})", within=within)
        results = []
        for call, a, b in product((name, f"not {name}"), (0, 1, 2, 3, 5, 7, 40), (0, 1, 9, -1)):
            if fuel is not None:
                within.set_fuel(fuel)
            results.append(outcome(partial(wasm[call], a, b)))
        return results

    same_when_hot(found)


BULK = """
(module
  (memory $m (export "m") {address} 1 4) (memory $o 1)
  (data (memory $m) ({address}.const 0) "abcdefghijklmnopqrstuvwxyz")
  (func (export "fill") (param {address} i32 {address})
    (memory.fill $m (local.get 0) (local.get 1) (local.get 2)))
  (func (export "copy") (param {address} {address} {address})
    (memory.copy $m $m (local.get 0) (local.get 1) (local.get 2)))
  (func (export "there") (param {address} i32 i32)
    (memory.copy $m $o (local.get 0) (local.get 1) (local.get 2)))
  (func (export "back") (param i32 {address} i32)
    (memory.copy $o $m (local.get 0) (local.get 1) (local.get 2)))
  (func (export "few") (param $to {address}) (param $from {address})
    (memory.copy $m $m
      ({address}.and (local.get $to) ({address}.const 32767))
      ({address}.and (local.get $from) ({address}.const 32767))
      ({address}.and (local.get $from) ({address}.const 31)))
    (memory.fill $m
      ({address}.and (local.get $from) ({address}.const 65535))
      (i32.load8_u $m ({address}.const 7))
      ({address}.and (local.get $to) ({address}.const 1))))
  (func (export "grow") (result {address}) (memory.grow $m ({address}.const 1))))
"""


@pytest.mark.parametrize("address", ["i32", "i64"])
def test_bulk_operations_at_the_edges(address: str) -> None:
    def found() -> list[Any]:
        wasm = exports(BULK.format(address=address))
        results = []
        for _ in range(2):
            places = (0, 3, 65_530, 65_536, 65_537, -1)
            for name in ("fill", "copy", "there", "back"):
                for first, second, count in product(places, places, (0, 6, 65_537, -1)):
                    results.append(outcome(partial(wasm[name], first, second, count)))
            results += [
                outcome(partial(wasm.few, first, second)) for first, second in product(places, places)
            ]
            results += [bytes(wasm.m), wasm.grow()]
        return results

    same_when_hot(found)


@pytest.mark.parametrize("instruction", ["fill $m", "copy $m $m", "copy $m $o", "copy $o $m"])
def test_bulk_operands_of_which_the_upper_half_was_dropped(instruction: str) -> None:
    text = f"""(module
      (memory $m (export "m") 1) (memory $o (export "o") 1) (data $m (i32.const 8) "a few bytes")
      (func (export "f") (param i64 i64 i64) (memory.{instruction}
        (i32.wrap_i64 (local.get 0)) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2)))))"""

    def found() -> list[Any]:
        wasm = exports(text)
        results = []
        for high in product((0, 1 << 32, -1 << 32), repeat=3):
            places = (part + low for part, low in zip(high, (70, 9, 5), strict=True))
            results += [outcome(partial(wasm.f, *places)), bytes(wasm.m), bytes(wasm.o)]
        return results

    same_when_hot(found)


# Pointers in parameters and globals, most often multiples of four; `at` says how deep they are used.
WORDS = """
(module {memory}
  (global $stack (mut i32) (i32.const 96)) (global $fixed i32 (i32.const 16))
  (func $add (export "add") (param $p i32) (param $n i32) (result i32) (local $s i32) (local $q i32)
    (local.set $q (i32.sub (global.get $stack) (i32.const 32)))
    (i32.store offset=4 (local.get $q) (i32.const 7))
    (global.set $stack (i32.add (global.get $stack) (i32.const 2)))
    (loop $again
      (local.set $s (i32.add (local.get $s) (i32.load (local.get $p))))
      (i32.store (local.get $q) (i32.xor (local.get $s) (i32.load16_u offset=2 (local.get $q))))
      (local.set $p (i32.add (local.get $p) (i32.const 4)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (global.set $stack (i32.sub (global.get $stack) (i32.const 2)))
    (i32.add (local.get $s) (i32.load offset=8 (global.get $fixed))))
  (func $at (export "at") (param $p i32) (param $depth i32) (result i32)
    (if (result i32) (local.get $depth)
      (then (i32.add (call $at (local.get $p) (i32.sub (local.get $depth) (i32.const 1)))
        (i32.load (local.get $p))))
      (else (call $add (local.get $p) (i32.const 3)))))
  (func $odd (export "odd") (param $p i32) (param $q i32) (result i32)
    (i32.store (local.get $p) (i32.const 9))
    (i32.add (i32.load (i32.add (local.get $p) (local.get $q))) (i32.load16_s (local.get $q))))
  (func (export "stack") (param i32) (global.set $stack (local.get 0))))
"""


@pytest.mark.parametrize("fuel", [None, 60])
@pytest.mark.parametrize("times", [0, AT_ONCE])
def test_pointers_that_are_aligned_or_not(fuel: int | None, times: int) -> None:
    found: list[list[Any]] = []
    for hot in (COLD, times):
        with hot_after(hot):
            within = store(max_call_depth=24, consume_fuel=fuel is not None)
            wasm = exports(WORDS.format(memory=MEMORY), within=within)
            results = []
            for stack, pointer, more in product(
                (96, 98, 97, 4), (8, 9, 10, 65_532, 65_533), (1, 3, 21, 22, 24)
            ):
                for name in ("add", "at", "odd"):
                    if fuel is not None:
                        within.set_fuel(1000)
                    wasm.stack(stack)
                    if fuel is not None:
                        within.set_fuel(fuel + more)
                    results.append((name, stack, pointer, more, outcome(partial(wasm[name], pointer, more))))
            found.append(results)
    assert found[0] == found[1]


LAST = """
(module (memory {memory})
  (func (export "next") (param $p i32) (result i32)
    (drop (i32.load8_u (local.get $p)))
    (i32.add (local.get $p) (i32.const 1)))
  (func (export "far") (param $p i32) (result i32)
    (i32.store16 offset=2 (local.get $p) (i32.const 1))
    (i32.lt_u (i32.add (local.get $p) (i32.const 65540)) (i32.const 9)))
  (func (export "sum") (param $p i32) (result i32) (local $sum i32) (local $turns i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $p))))
      (local.set $p (i32.add (local.get $p) (i32.const 32768)))
      (br_if $again
        (i32.ne (local.tee $turns (i32.add (local.get $turns) (i32.const 1))) (i32.const 5))))
    (i32.add (local.get $p) (local.get $sum)))
  (func (export "wide") (param $p i64) (result i64)
    (drop (i32.load8_u (i32.wrap_i64 (local.get $p))))
    (i64.add (local.get $p) (i64.const 1))))
"""


@pytest.mark.parametrize("memory", ["65536", "65535 65536", "65535", "65535 65535"])
def test_addresses_that_were_accessed_are_followed_by_others_or_by_the_first(memory: str) -> None:
    found = []
    for hot in (COLD, AT_ONCE):
        with hot_after(hot):
            wasm = exports(LAST.format(memory=memory))
            calls = product(("next", "far", "sum", "wide"), (-1, -4, -32768, -65536, -65537, -65539, -131072))
            found.append([outcome(partial(wasm[name], address)) for name, address in calls])
            found[-1] += [outcome(partial(wasm.wide, address)) for address in (1 << 32, (1 << 63) - 1)]
    assert found[0] == found[1]
