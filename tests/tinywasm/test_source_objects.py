"""Structures, arrays and references in hot functions: values, traps, places, limits as on the reference."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import pytest

import tinywasm
from fuzz.hot import AT_ONCE, hot_after
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_source_tier import COLD, exports, store

TYPES = """
  (type $s (sub (struct (field $i (mut i32)) (field $b (mut i8)) (field $h (mut i16)) (field $l (mut i64))
    (field $f (mut f32)) (field $d (mut f64)) (field $v (mut v128)) (field $r (mut anyref)))))
  (type $t (sub $s (struct (field $i (mut i32)) (field $b (mut i8)) (field $h (mut i16)) (field $l (mut i64))
    (field $f (mut f32)) (field $d (mut f64)) (field $v (mut v128)) (field $r (mut anyref)) (field i32))))
  (type $two (struct (field i32) (field i32)))
  (type $bytes (array (mut i8))) (type $halves (array (mut i16))) (type $ints (array (mut i32)))
  (type $longs (array (mut i64))) (type $doubles (array (mut f64))) (type $refs (array (mut anyref)))
"""
NULL = "(ref.null none)"


def cast(type: str) -> str:
    return f"(ref.cast (ref null ${type}) (local.get $o))"


# What is read of an object, which may be null, with an index.
READS = {
    "struct.get": f"(struct.get $s $i {cast('s')})",
    "struct.get_s": f"(struct.get_s $s $b {cast('s')})",
    "struct.get_u": f"(struct.get_u $s $h {cast('s')})",
    "struct.get f32": f"(i32.reinterpret_f32 (struct.get $s $f {cast('s')}))",
    "array.get": f"(array.get $ints {cast('ints')} (local.get $n))",
    "array.get_s": f"(array.get_s $bytes {cast('bytes')} (local.get $n))",
    "array.get_u": f"(array.get_u $halves {cast('halves')} (local.get $n))",
    "array.len": "(array.len (ref.cast arrayref (local.get $o)))",
    "i31.get_s": "(i31.get_s (ref.cast i31ref (local.get $o)))",
    "i31.get_u": "(i31.get_u (ref.cast i31ref (local.get $o)))",
    "ref.as_non_null": "(drop (ref.as_non_null (local.get $o))) (i32.const 1)",
    "ref.cast": "(drop (ref.cast (ref $two) (local.get $o))) (i32.const 1)",
    "ref.test": "(ref.test (ref $s) (local.get $o))",
    "ref.test null": "(ref.test (ref null $t) (local.get $o))",
    "ref.test array": "(ref.test (ref $ints) (local.get $o))",
    "ref.test i31": "(ref.test i31ref (local.get $o))",
    "ref.is_null": "(ref.is_null (local.get $o))",
    "ref.eq": "(ref.eq (ref.cast eqref (local.get $o)) (ref.i31 (local.get $n)))",
    "br_on_cast": """(block $out (result anyref) (br_on_cast $out anyref (ref $t) (local.get $o))
      (drop) (return (i32.const 0))) (drop) (i32.const 1)""",
    "br_on_null": """(block $out
      (drop (br_on_null $out (local.get $o))) (return (i32.const 2))) (i32.const 1)""",
}
WRITES = {
    "struct.set": f"(struct.set $s $i {cast('s')} (local.get $n))",
    "struct.set i8": f"(struct.set $s $b {cast('s')} (local.get $n))",
    "struct.set i64": f"(struct.set $s $l {cast('s')} (i64.extend_i32_s (local.get $n)))",
    "struct.set f32": f"(struct.set $s $f {cast('s')} (f32.reinterpret_i32 (local.get $n)))",
    "struct.set self": f"(struct.set $s $r {cast('s')} (local.get $o))",
    **{
        f"array.set {type}": f"(array.set ${type} {cast(type)} (local.get $n) {value})"
        for type, value in (
            ("ints", "(local.get $n)"),
            ("bytes", "(i32.sub (local.get $n) (i32.const 300))"),
            ("halves", "(i32.const -3)"),
            ("doubles", "(f64.div (f64.const 0) (f64.convert_i32_u (local.get $n)))"),
        )
    },
}
S = """(struct.new $s (local.get $n) (local.get $n) (local.get $n) (i64.extend_i32_u (local.get $n))
  (f32.convert_i32_s (local.get $n)) (f64.convert_i32_u (local.get $n)) (v128.const i64x2 1 2)
  (ref.i31 (local.get $n)))"""
OBJECTS = {
    "null": NULL,
    "s": S,
    "t": "(struct.new_default $t)",
    "two": "(struct.new $two (i32.const 1) (local.get $n))",
    "bytes": "(array.new $bytes (local.get $n) (i32.const 3))",
    "halves": "(array.new $halves (local.get $n) (i32.const 3))",
    "ints": "(array.new_fixed $ints 2 (local.get $n) (i32.const -1))",
    "doubles": "(array.new_default $doubles (i32.const 5))",
    "i31": "(ref.i31 (local.get $n))",
}
NUMBERS = (0, 1, 2, 3, 127, 128, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, -1, -200)


def module() -> str:
    makes = "".join(
        f'(func (export "make {name}") (param $n i32) (result anyref) {text})'
        for name, text in OBJECTS.items()
    )
    reads = "".join(
        f'(func (export "{name}") (param $o anyref) (param $n i32) (result i32) {text})'
        for name, text in READS.items()
    )
    writes = "".join(
        f'(func (export "{name}") (param $o anyref) (param $n i32) {text})' for name, text in WRITES.items()
    )
    return f"(module {TYPES} {makes} {reads} {writes})"


def told(values: Any) -> str:
    """What can be compared of it."""
    return repr(values if isinstance(values, int | float | tuple | list | None) else type(values))


@pytest.fixture(scope="module")
def both() -> list[Any]:
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            wasm = exports(module())
            # Each is made ready, or becomes a Python function, with the limit that holds now.
            for name in OBJECTS:
                wasm[f"make {name}"](0)
            for name in (*READS, *WRITES):
                outcome(partial(wasm[name], None, 0))
            found.append(wasm)
    return found


@pytest.mark.parametrize("kind", OBJECTS)
def test_reads_and_writes(both: list[Any], kind: str) -> None:
    cold, hot = ([_seen(wasm, kind, number) for number in NUMBERS] for wasm in both)
    assert cold == hot


def _seen(wasm: Any, kind: str, number: int) -> list[tuple[str, ...]]:
    seen: list[tuple[str, ...]] = []
    for name in (*READS, *WRITES):
        made = wasm[f"make {kind}"](number)
        seen.append((name, told(outcome(partial(wasm[name], made, number)))))
        if name in WRITES:
            for read, index in product(READS, (0, 1, 2)):
                seen.append((name, read, told(outcome(partial(wasm[read], made, index)))))
    return seen


TRAPS = {
    "struct.get": b"\xfb\x82\x80\x00\x00\x00",
    "array.len": b"\xfb\x8f\x00",
    "i31.get_u": b"\xfb\x9e\x80\x80\x00",
}


@pytest.mark.parametrize("name", TRAPS)
def test_an_opcode_may_be_written_with_more_bytes(name: str) -> None:
    given = {"struct.get": "(ref null 0)", "array.len": "arrayref", "i31.get_u": "i31ref"}[name]
    immediates = " 0 0" if name == "struct.get" else ""
    func = f'(func (export "f") (param {given}) (result i32) local.get 0 {name}{immediates})'
    text = f"(module (type (struct (field i32))) {func})"
    plain = tinywasm.wat2wasm(text)
    short = {"struct.get": b"\xfb\x02\x00\x00", "array.len": b"\xfb\x0f", "i31.get_u": b"\xfb\x1e"}[name]
    assert plain.count(short + b"\x0b") == 1
    more = len(TRAPS[name]) - len(short)
    longer = plain.replace(short + b"\x0b", TRAPS[name] + b"\x0b")
    # The sizes of the code section and of its one body.
    at = longer.index(b"\x0a", longer.index(b"f\x00"))
    longer = longer[: at + 1] + bytes([longer[at + 1] + more, 1, longer[at + 3] + more]) + longer[at + 4 :]
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            found.append(outcome(partial(exports(longer)["f"], None)))
    assert found[0] == found[1] and found[0][1].startswith("null ")


ORDER = f"""
(module {TYPES}
  (global $n (mut i32) (i32.const 0))
  (func $next (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))
  (func (export "new") (result i32)
    (local $two (ref null $two))
    (local.set $two (struct.new $two (call $next) (call $next)))
    (i32.sub
      (i32.mul (struct.get $two 0 (local.get $two)) (i32.const 100))
      (struct.get $two 1 (local.get $two))))
  (func (export "old") (param $n i32) (result i32)
    (local $s (ref null $s))
    (local.set $s {S})
    (struct.get $s $i (local.get $s))
    (struct.set $s $i (local.get $s) (i32.const 5))
    (i32.add (i32.mul (i32.const 10) (struct.get $s $i (local.get $s)))))
  (func (export "kept") (param $n i32) (result i32)
    (struct.new $two (local.get $n) (local.get $n))
    (local.set $n (i32.const 77))
    (struct.get $two 1))
  (func (export "dropped") (param $n i32)
    (drop (struct.get $two 0 (if (result (ref null $two)) (local.get $n)
      (then (struct.new $two (i32.const 1) (i32.const 2))) (else (ref.null $two))))))
  (func (export "which") (param $n i32) (result i32)
    (array.get $ints (ref.null $ints) (i32.div_u (i32.const 1) (local.get $n))))
  (func (export "written") (param $n i32)
    (struct.set $s $i (ref.null $s) (i32.div_u (i32.const 1) (local.get $n))))
  (func (export "nested") (param $n i32) (result i32)
    (i31.get_s (ref.cast i31ref (struct.get $s $r (ref.cast (ref null $s) (struct.get $s $r
      (struct.new $s (i32.const 1) (i32.const 1) (i32.const 1) (i64.const 1) (f32.const 1) (f64.const 1)
        (v128.const i64x2 1 2) (if (result anyref) (local.get $n) (then {S}) (else (ref.null any)))))))))))
"""


CHANGED = """(block (local.set $n (i32.const 1)) (local.set $o (ref.null any)))"""


@pytest.mark.parametrize("name", READS)
def test_what_was_read_stays_when_its_locals_change(name: str) -> None:
    # What is read is an operand below, and the locals change before it is taken.
    makes = "".join(
        f'(func (export "make {name}") (param $n i32) (result anyref) {text})'
        for name, text in OBJECTS.items()
    )
    read = READS[name]
    text = f"""(module {TYPES} {makes}
      (func (export "f") (param $o anyref) (param $n i32) (result i32)
        {read} {CHANGED} (i32.add (local.get $n))))"""
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            wasm = exports(text)
            found.append(
                [
                    outcome(partial(wasm["f"], wasm[f"make {kind}"](5), index))
                    for kind, index in product(OBJECTS, (0, 1, 4))
                ]
            )
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["new", "old", "kept", "dropped", "which", "written", "nested"])
def test_what_acts_has_its_turn(name: str) -> None:
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            call = exports(ORDER)[name]
            arguments: list[tuple[int, ...]] = [()] if name == "new" else [(0,), (1,), (7,)]
            found.append([outcome(partial(call, *each)) for each in arguments])
    assert found[0] == found[1]


LIST = """
(module
  (type $node (struct (field i64) (field (ref null $node))))
  (type $wide (struct (field v128) (field v128) (field v128) (field v128) (field i32)))
  (global $list (mut (ref null $node)) (ref.null $node))
  (func (export "node") (param $n i32)
    (loop $more
      (global.set $list (struct.new $node (i64.const 1) (global.get $list)))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "wide") (param $n i32)
    (loop $more
      (drop (struct.new_default $wide))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "free") (global.set $list (ref.null $node))))
"""


def test_objects_count_against_the_limit_of_the_store() -> None:
    found = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            within = store()
            within.set_limits(total_memory=20_000)
            wasm = exports(LIST, within=within)
            trapped = outcome(partial(wasm.node, 100_000))
            wasm.free()
            wasm.node(200)
            found.append(trapped)
    assert found[0] == found[1] and "the store may take 20000 bytes" in found[0][1]


@pytest.mark.parametrize("name", ["node", "wide"])
def test_fuel_for_objects(name: str) -> None:
    left = []
    for times in (COLD, AT_ONCE):
        with hot_after(times):
            within = store(consume_fuel=True)
            within.set_fuel(10_000)
            exports(LIST, within=within)[name](50)
            left.append(within.get_fuel())
    assert left[0] == left[1]


def test_an_error_of_a_host_function_is_no_trap() -> None:
    def host() -> None:
        None.nothing  # type: ignore[attr-defined]  # noqa: B018

    text = '(module (import "m" "f" (func $f)) (func (export "g") (call $f)))'
    with pytest.raises(AttributeError, match="nothing"):
        exports(text, {"m": {"f": host}}).g()
