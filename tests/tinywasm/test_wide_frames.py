"""Functions with more locals than the native engine's words can name: the same as on the other."""

from __future__ import annotations

from typing import Any

import pytest

import tinywasm
from tests.tinywasm.agreement import agreed
from tinywasm import Config, Engine, Interrupted, Store, Trap, WasmException
from tinywasm.engine import native_available

pytestmark = pytest.mark.skipif(not native_available, reason="the native engine is not built")

MANY = "i64 " * 70_000


def test_far_locals_of_every_width() -> None:
    text = f"""
        (module (func (export "f") (param i32 v128 i64) (result i64 i64 i64 v128 f64 i32)
          (local {MANY} v128 f64 i32 f32 externref)
          (local.set 70000 (i64.add (i64.const 5) (local.get 2)))
          (local.set 70003 (local.get 1))
          (local.set 70004 (local.tee 70004 (f64.const 2.5)))
          (local.set 0 (local.tee 70005 (i32.const -9)))
          (local.set 3 (i64.extend_i32_u (local.get 70005)))
          (local.set 70006 (f32.const nan:0x200000))
          (local.get 70000) (local.get 3)
          (i64.add (local.get 65000) (i64.extend_i32_u (ref.is_null (local.get 70007))))
          (local.get 70003) (local.get 70004) (i32.reinterpret_f32 (local.get 70006))))"""
    result = agreed(text, "f", 1, bytes(range(16)), 7)
    assert result == [12, 0xFFFF_FFF7, 1, bytes(range(16)), 2.5, 0x7FA00000]


def test_an_operand_keeps_the_value_that_a_far_local_had() -> None:
    text = f"""
        (module (func (export "f") (param i64) (result i64 i64 i64) (local {MANY})
          (local.set 60000 (local.get 0))
          (local.get 60000)
          (local.set 60000 (i64.mul (local.get 60000) (i64.const 3)))
          (local.tee 60001 (local.get 0))
          (local.set 0 (i64.const 100))
          (local.get 60000)))"""
    assert agreed(text, "f", 7) == [7, 7, 21]


def test_far_locals_begin_as_zeros_however_often_the_function_runs() -> None:
    text = f"""
        (module
          (func $f (param i64) (result i64) (local {MANY})
            (local.get 1) (local.get 69000)
            (local.set 1 (local.get 0)) (local.set 69000 (local.get 0))
            (i64.add))
          (func (export "f") (result i64)
            (i64.add (call $f (i64.const 3)) (call $f (i64.const 5)))))"""
    assert agreed(text) == 0


@pytest.mark.parametrize("count", [29_990, 29_999, 30_000, 30_001, 65_536])
def test_around_the_border_of_near_locals(count: int) -> None:
    text = f"""
        (module
          (func $callee (param i64 i32) (result i64) (local {"i64 " * count} v128 i32)
            (local.set {count + 1} (local.get 0))
            (local.set {count + 3} (i32.add (local.get {count + 3}) (local.get 1)))
            (i64.sub (local.get {count + 1}) (i64.extend_i32_u (local.get {count + 3}))))
          (func (export "f") (param i64) (result i64) (local i64)
            (local.set 1 (i64.const 1))
            (i64.add (call $callee (local.get 0) (i32.const 2)) (local.get 1))))"""
    assert agreed(text, "f", 50) == 49


def test_a_thousand_wide_parameters_and_results() -> None:
    params, results = "v128 " * 1000, "v128 " * 1000
    given = "".join(f"(v128.const i64x2 {n} {n})" for n in range(1000))
    text = f"""
        (module
          (func $f (param {params}) (result {results}) (local {MANY})
            (local.set 1000 (i64.const 1))
            {"".join(f"(local.get {999 - n})" for n in range(1000))})
          (func (export "f") (result i64) (local v128)
            {given} (call $f) {"(drop)" * 999} (i64x2.extract_lane 0)))"""
    assert agreed(text) == 999


@pytest.mark.parametrize(
    "call",
    [
        "return_call $to {0}",
        "return_call_indirect (type $t) {0} {1}",
        "return_call_ref $t {0} (ref.func $to)",
    ],
)
@pytest.mark.parametrize("wide_callee", [False, True])
def test_tail_calls_from_wide_frames(call: str, wide_callee: bool) -> None:
    call = call.format("(i64.sub (local.get 0) (i64.const 1)) (local.get 60000)", "(local.get 1)")
    text = f"""
        (module
          (type $t (func (param i64 i64) (result i64 i64)))
          (table funcref (elem $to))
          (func $f (type $t) (local i32 {MANY})
            (local.set 60000 (i64.add (local.get 1) (i64.const 2)))
            (if (i64.eqz (local.get 0)) (then (return (local.get 1) (local.get 60000))))
            ({call.replace("(local.get 1)", "(local.get 2)")}))
          (func $to (type $t) (local {MANY if wide_callee else "i64"})
            (return_call $f (local.get 0) (i64.add (local.get 1) (local.get 2))))
          (func (export "f") (param i64) (result i64) (local i64)
            (local.set 1 (i64.const 1000000))
            (call $f (local.get 0) (i64.const 0))
            (i64.add) (i64.add (local.get 1))))"""
    assert agreed(text, "f", 200) == 1_000_000 + 2 * 400 + 2


def test_a_tail_call_from_a_wide_frame_to_the_host() -> None:
    text = f"""
        (module
          (import "h" "f" (func $host (param i64) (result i64 i64)))
          (func $f (param i64) (result i64 i64) (local {MANY})
            (local.set 60000 (local.get 0)) (return_call $host (local.get 60000)))
          (func (export "f") (param i64) (result i64)
            (call $f (i64.add (local.get 0) (i64.const 1))) (i64.sub)))"""

    def host() -> dict[str, Any]:
        return {"h": {"f": lambda n: (n * 10, 1)}}

    assert agreed(text, "f", 3, imports=host) == 39


def test_exceptions_leave_wide_frames_and_come_into_them() -> None:
    text = f"""
        (module
          (tag $t (param i64))
          (func $throw (param i64) (local {MANY})
            (local.set 60000 (local.get 0)) (throw $t (local.get 60000)))
          (func $f (param i64) (result i64) (local {MANY})
            (local.set 60000 (i64.const 5))
            (block $caught (result i64)
              (try_table (catch $t $caught) (call $throw (local.get 0)))
              (unreachable))
            (i64.add (local.get 60000)))
          (func $direct (param i64) (result i64) (local {MANY})
            (try_table (catch $t 0) (call $throw (local.get 0))) (i64.const 1))
          (func (export "f") (result i64)
            (i64.add (call $f (i64.const 7)) (call $direct (i64.const 100))))
          (func (export "g") (call $throw (i64.const 4))))"""
    assert agreed(text) == 112
    assert agreed(text, "g")[0] is WasmException


def test_a_trap_in_a_wide_frame_says_where() -> None:
    text = f"""
        (module
          (func $inner (local {MANY}) (drop (i32.div_u (i32.const 1) (i32.const 0))))
          (func (export "f") (local {MANY}) (call $inner)))"""
    kind, message, frames = agreed(text)
    assert (kind, message.splitlines()[0]) == (Trap, "integer divide by zero")
    assert [index for index, _ in frames] == [0, 1]


def test_objects_that_only_far_locals_hold_survive_a_collection() -> None:
    text = f"""
        (module
          (type $box (struct (field i64)))
          (import "h" "collect" (func $collect))
          (func (export "f") (result i64) (local {MANY} (ref null $box))
            (local.set 70000 (struct.new $box (i64.const 42)))
            (call $collect)
            (struct.get $box 0 (local.get 70000))))"""

    def imports() -> dict[str, Any]:
        made: dict[str, Any] = {}
        made["h"] = {"collect": lambda: made["store"]["it"].gc()}
        return made

    assert agreed(text, imports=imports) == 42


def test_a_wide_frame_is_left_on_an_interruption() -> None:
    store = Store(Engine(Config(engine="native")))
    exports = tinywasm.instantiate(
        f"""(module
          (func (export "f") (local {MANY}) (loop (br 0)))
          (func (export "g") (result i32) (i32.const 1)))""",
        store=store,
    ).exports
    store.set_deadline(0.05)
    with pytest.raises(Interrupted):
        exports.f()
    store.set_deadline(None)
    assert exports.g() == 1


@pytest.mark.parametrize("engine", ["python", "native"])
def test_the_most_locals_and_one_more(engine: str) -> None:
    store = Store(Engine(Config(engine=engine)))
    text = """
        (module
          (func (export "most") (result i32) (local {most}) (local.get 999999))
          (func $beyond (local {most} i32))
          (func (export "beyond") (call $beyond)))"""
    exports = tinywasm.instantiate(text.format(most="i32 " * 1_000_000), store=store).exports
    assert exports.most() == 0
    with pytest.raises(Trap, match="function 1 has more than 1,000,000 locals"):
        exports.beyond()
    assert exports.most() == 0
