"""The script runner: what each command accepts, and above all what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tinywasm.config import Config
from tinywasm.wast.report import FileReport
from tinywasm.wast.runner import count_commands, run_script

MODULE = """(module $m
  (import "spectest" "print_i32" (func $print (param i32)))
  (tag $e (param i32))
  (type $s (struct)) (type $a (array i8))
  (global (export "g") i32 (i32.const 7))
  (global $x (mut i64) (i64.const 1))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "wide") (result i64) (i64.const 1))
  (func (export "swap") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0))
  (func (export "f32") (param f32) (result f32) (local.get 0))
  (func (export "f64") (param f64) (result f64) (local.get 0))
  (func (export "sqrt") (param f64) (result f64) (f64.sqrt (local.get 0)))
  (func (export "v128") (param v128) (result v128) (local.get 0))
  (func (export "extern") (param externref) (result externref) (local.get 0))
  (func (export "any") (param anyref) (result anyref) (local.get 0))
  (func (export "i31") (result anyref) (ref.i31 (i32.const 5)))
  (func (export "struct") (result anyref) (struct.new $s))
  (func (export "array") (result anyref) (array.new_default $a (i32.const 2)))
  (func $func (export "func") (result funcref) (ref.func $func))
  (func (export "exn") (result exnref)
    (block $b (result i32 exnref)
      (try_table (catch_ref $e $b) (throw $e (i32.const 1))) (unreachable))
    (return))
  (func (export "print") (call $print (i32.const 42)))
  (func (export "div") (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
  (func (export "throw") (throw $e (i32.const 3)))
  (func $loop (export "recurse") (call $loop))
  (func (export "spin") (loop (br 0)))
  (func (export "nothing"))
)
"""

PASSING = [
    '(invoke "nothing")',
    '(invoke $m "add" (i32.const 1) (i32.const 2))',
    '(assert_return (invoke "add" (i32.const 1) (i32.const -2)) (i32.const 0xffffffff))',
    '(assert_return (invoke "nothing"))',
    '(assert_return (invoke "func") (ref.func 13))',
    '(assert_return (invoke "func") (either (ref.null) (ref.func 13)))',
    '(assert_return (invoke "swap" (i32.const 1) (i64.const 2)) (i64.const 2) (i32.const 1))',
    '(assert_return (get "g") (i32.const 7))',
    '(assert_return (get $m "g") (i32.const 7))',
    '(assert_return (invoke "f32" (f32.const nan:0x200001)) (f32.const nan:0x200001))',
    '(assert_return (invoke "f32" (f32.const -nan)) (f32.const nan:canonical))',
    '(assert_return (invoke "f64" (f64.const nan:0xc000000000001)) (f64.const nan:arithmetic))',
    '(assert_return (invoke "f64" (f64.const -0)) (f64.const -0))',
    '(assert_return (invoke "f32" (f32.const 0.1)) (f32.const 0x1.99999ap-4))',
    '(assert_return (invoke "v128" (v128.const i32x4 1 2 3 -4)) (v128.const i64x2 0x200000001 -0x3fffffffd))',
    '(assert_return (invoke "v128" (v128.const f32x4 1 nan 3 4)) (v128.const f32x4 1 nan:canonical 3 4))',
    '(assert_return (invoke "v128" (v128.const i8x16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 255))'
    " (either (v128.const i64x2 0 0) (v128.const i8x16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 -1)))",
    '(assert_return (invoke "add" (i32.const 1) (i32.const 2)) (either (i32.const 4) (i32.const 3)))',
    '(assert_return (invoke "extern" (ref.extern 3)) (ref.extern 3))',
    '(assert_return (invoke "extern" (ref.extern 3)) (ref.extern))',
    '(assert_return (invoke "extern" (ref.null extern)) (ref.null extern))',
    '(assert_return (invoke "extern" (ref.null extern)) (ref.null))',
    '(assert_return (invoke "any" (ref.host 4)) (ref.host 4))',
    '(assert_return (invoke "any" (ref.host 4)) (ref.any))',
    '(assert_return (invoke "i31") (ref.i31))',
    '(assert_return (invoke "i31") (ref.eq))',
    '(assert_return (invoke "struct") (ref.struct))',
    '(assert_return (invoke "array") (ref.array))',
    '(assert_return (invoke "exn") (ref.exn))',
    '(assert_return (invoke "func") (ref.func))',
    '(assert_trap (invoke "div" (i32.const 0)) "integer divide by zero")',
    '(assert_trap (invoke "div" (i32.const 0)) "integer divide")',
    '(assert_trap (module (func unreachable) (start 0)) "unreachable")',
    '(assert_exhaustion (invoke "recurse") "call stack exhausted")',
    '(assert_exception (invoke "throw"))',
    '(assert_invalid (module (func (result i32))) "type mismatch")',
    '(assert_malformed (module quote "(func") "unexpected token")',
    '(assert_malformed (module quote "(func \\"\\ff\\")") "malformed UTF-8 encoding")',
    '(assert_malformed (module binary "\\00asm" "\\02\\00\\00\\00") "unknown binary version")',
    '(assert_malformed_custom (module quote "(@custom)") "@custom annotation: missing section name")',
    '(assert_unlinkable (module (import "spectest" "no" (func))) "unknown import")',
    '(assert_unlinkable (module (import "spectest" "memory" (func))) "incompatible import type")',
    "(module)",
    '(module binary "\\00asm" "\\01\\00\\00\\00")',
    '(module quote "(func)" "(memory 1)")',
    '(module quote "(module)")',
    '(register "m") (module (import "m" "g" (global i32)))',
    '(register "n" $m) (module (import "n" "add" (func (param i32 i32) (result i32))))',
    '(module definition $d (global (export "g") i32 (i32.const 1))) (module instance $i $d)'
    ' (assert_return (get $i "g") (i32.const 1)) (assert_return (get "g") (i32.const 1))',
    '(module definition $t (func unreachable) (start 0)) (assert_trap (module instance $j $t) "unreach")',
    '(module definition quote "(func unreachable) (start 0)") (assert_return (get "g") (i32.const 7))',
    '((@a) module (@b "x"))',
]

FAILING = [
    ('(assert_return (invoke "func") (ref.func 12))', "(ref.func 12)", "(ref.func 13 $func)"),
    ('(assert_return (invoke "func") (ref.func 99))', "(ref.func 99)", "(ref.func 13 $func)"),
    ('(assert_return (invoke "i31") (ref.func 13))', "(ref.func 13)", "(ref.i31 5)"),
    ('(invoke "div" (i32.const 0))', "success", "Trap: integer divide by zero"),
    ('(invoke "missing")', 'exported function "missing"', "no such export"),
    ('(invoke "g")', 'exported function "g"', "a global"),
    ('(get "add")', 'exported global "add"', "a func"),
    ('(invoke $other "add")', "instance", "no instance $other"),
    ('(invoke "add" (i32.const 1))', "arguments for [i32 i32] -> [i32]", "[i32]"),
    ('(invoke "add" (i32.const 1) (i64.const 1))', "arguments for [i32 i32] -> [i32]", "[i32 i64]"),
    (
        '(assert_return (invoke "add" (i32.const 1) (i32.const -2)) (i32.const 1))',
        "(i32.const 1)",
        "(i32.const -1)",
    ),
    ('(assert_return (invoke "wide") (i32.const 1))', "(i32.const 1)", "(i64.const 1)"),
    ('(assert_return (invoke "nothing") (i32.const 1))', "(i32.const 1)", "nothing"),
    ('(assert_return (invoke "wide"))', "nothing", "(i64.const 1)"),
    ('(assert_return (invoke "f64" (f64.const 0)) (f64.const -0))', "-0.0", "(f64.const 0.0"),
    ('(assert_return (invoke "f32" (f32.const nan:0x200001)) (f32.const nan))', "0x7fc00000", "0x7fa00001"),
    (
        '(assert_return (invoke "f32" (f32.const nan:0x400001)) (f32.const nan:canonical))',
        "nan:canonical",
        "0x7fc00001",
    ),
    (
        '(assert_return (invoke "f32" (f32.const nan:0x200001)) (f32.const nan:arithmetic))',
        "nan:arithmetic",
        "0x7fa00001",
    ),
    ('(assert_return (invoke "f64" (f64.const 1)) (f64.const nan:arithmetic))', "nan:arithmetic", "1.0"),
    (
        '(assert_return (invoke "v128" (v128.const i32x4 1 2 3 4)) (v128.const i32x4 1 2 3 5))',
        "i32x4 1 2 3 5",
        "0x00000004",
    ),
    (
        '(assert_return (invoke "add" (i32.const 1) (i32.const 2)) (either (i32.const 4) (i32.const 5)))',
        "(either",
        "(i32.const 3)",
    ),
    ('(assert_return (invoke "extern" (ref.extern 3)) (ref.extern 4))', "(ref.extern 4)", "(ref.extern 3)"),
    ('(assert_return (invoke "extern" (ref.null extern)) (ref.extern))', "(ref.extern)", "(ref.null)"),
    ('(assert_return (invoke "struct") (ref.array))', "(ref.array)", "(ref.struct)"),
    ('(assert_return (invoke "i31") (ref.struct))', "(ref.struct)", "(ref.i31 5)"),
    ('(assert_return (invoke "func") (ref.any))', "(ref.any)", "(ref.func"),
    ('(assert_return (invoke "struct") (ref.null))', "(ref.null)", "(ref.struct)"),
    ('(assert_return (invoke "struct") (i32.const 0))', "(i32.const 0)", "(ref.struct)"),
    ('(assert_return (invoke "div" (i32.const 0)) (i32.const 0))', "to hold", "integer divide by zero"),
    ('(assert_trap (invoke "wide") "unreachable")', 'Trap "unreachable"', "results (i64.const 1)"),
    ('(assert_trap (invoke "div" (i32.const 0)) "unreachable")', "unreachable", "integer divide by zero"),
    ('(assert_trap (invoke "throw") "unreachable")', "Trap", "WasmException"),
    ('(assert_trap (module (func) (start 0)) "unreachable")', "Trap", "no error"),
    ('(assert_exhaustion (invoke "div" (i32.const 0)) "call stack exhausted")', "StackExhausted", "Trap"),
    ('(assert_exception (invoke "wide"))', "WasmException", "(i64.const 1)"),
    ('(assert_exception (invoke "div" (i32.const 0)))', "WasmException", "Trap"),
    ('(assert_invalid (module (func)) "type mismatch")', "ValidationError", "no error"),
    ('(assert_invalid (module quote "(func") "type mismatch")', "ValidationError", "ParseError"),
    ('(assert_malformed (module quote "(func)") "unexpected")', "ParseError or DecodeError", "no error"),
    (
        '(assert_malformed (module quote "(func (result i32))") "unexpected")',
        "ParseError or DecodeError",
        "ValidationError: type mismatch",
    ),
    ('(assert_unlinkable (module) "unknown import")', "LinkError", "no error"),
    (
        '(assert_unlinkable (module (import "spectest" "no" (func))) "incompatible import type")',
        "incompatible",
        "unknown import",
    ),
    ('(module (import "no" "no" (func)))', "success", "LinkError: unknown import"),
    ("(module (func (result i32)))", "success", "ValidationError: type mismatch"),
    ("(module (nonsense))", "success", "ParseError: unknown operator nonsense"),
    ('(module binary "nonsense")', "success", "DecodeError: magic header not detected"),
    ('(register "x" $other)', "instance", "no instance $other"),
    ("(module instance $i $other)", "module", "no module $other"),
    ("(nonsense)", "success", "ParseError: unknown operator nonsense"),
    ('(input "file")', "success", "ParseError: the script command input is not supported"),
    ('(assert_return (invoke "wide") (i64.const x))', "success", "ParseError"),
    ('(assert_return (invoke "wide") (i64.const 1)) nonsense', "success", "ParseError"),
    ('(assert_return (invoke "wide") (ref.i64))', "success", "ParseError"),
    ('(assert_invalid (module instance) "type mismatch")', "success", "takes a module"),
    ('(assert_return (invoke "wide") (either (either (i64.const 1))))', "success", "unexpected token either"),
    ("(module", "success", "ParseError"),
    (")", "success", "ParseError: unexpected token )"),
    ('(invoke "unclosed)', "success", "ParseError: unclosed string"),
]


def run(script: str, **options: Any) -> FileReport:
    return run_script((MODULE + script).encode(), "test.wast", Config(max_call_depth=100), **options)


@pytest.mark.parametrize("script", PASSING)
def test_commands_that_pass(script: str) -> None:
    report = run(script)
    assert report.failures == []
    assert report.mismatches == []
    assert report.passed == report.commands > 1
    assert (report.failed, report.skipped) == (0, 0)


@pytest.mark.parametrize(("script", "expected", "got"), FAILING)
def test_commands_that_fail(script: str, expected: str, got: str) -> None:
    report = run(script)
    assert report.failed == 1
    (failure,) = report.failures
    assert expected in failure.expected
    assert got in failure.got
    assert report.passed + report.failed == report.commands


def test_a_failure_says_where_and_what() -> None:
    report = run_script(b'(module)\n\n(assert_return (invoke $m "f" (i32.const 1)))', "f.wast", Config())
    (failure,) = report.failures
    assert failure.line == 3
    assert failure.command == 'assert_return (invoke $m "f" (i32.const 1))'
    assert str(failure).startswith(
        'assert_return (invoke $m "f" (i32.const 1)): expected a module instance, got'
    )


def test_other_words_in_the_right_phase_pass_and_are_counted() -> None:
    report = run('(assert_invalid (module (func (result i32))) "unknown local")')
    assert (report.passed, report.failed) == (2, 0)
    (mismatch,) = report.mismatches
    assert "unknown local" in mismatch.expected
    assert "type mismatch" in mismatch.got


def test_what_follows_a_failed_command_still_runs() -> None:
    report = run('(nonsense) (module (func (result i32))) (assert_return (invoke "nothing"))')
    assert (report.commands, report.passed, report.failed) == (4, 2, 2)


def test_assertions_are_counted_apart_from_commands() -> None:
    report = run('(invoke "nothing") (assert_return (invoke "nothing"))')
    assert (report.commands, report.assertions) == (3, 1)


def test_a_bug_of_ours_is_a_failed_command_that_names_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr("tinywasm.wast.runner.invoke", broken)
    report = run('(assert_trap (invoke "nothing") "unreachable")')
    assert report.failed == 1
    assert "internal error KeyError: 'bug' (test_wast_runner.py:" in report.failures[0].got


def test_fields_without_a_module_are_one_command() -> None:
    report = run_script(b'(func (export "f")) (memory 1)', "test.wast", Config())
    assert (report.commands, report.passed) == (1, 1)


def test_an_empty_script_has_no_commands() -> None:
    assert run_script(b" ;; nothing\n", "test.wast", Config()).commands == 0


def test_what_is_no_text_is_one_failure() -> None:
    report = run_script(b"(module)\n\xff", "test.wast", Config())
    assert (report.commands, report.failed) == (1, 1)
    assert "malformed UTF-8 encoding (line 2" in report.failures[0].got


def test_prints_reach_the_output() -> None:
    lines: list[str] = []
    run_script((MODULE + '(invoke "print")').encode(), "test.wast", Config(), lines.append)
    assert lines == ["(i32.const 42)"]


def test_after_the_time_limit_commands_are_skipped() -> None:
    report = run('(invoke "spin") (assert_return (invoke "nothing"))', timeout=0.2)
    assert (report.passed, report.failed, report.skipped) == (1, 1, 1)
    assert "interrupted" in report.failures[0].got
    assert report.skip_reason == "time limit of 0.2 seconds"


def test_counting_runs_nothing() -> None:
    report = count_commands(b'(module (nonsense)) (assert_return (get "x"))', "legacy.wast", "too old")
    assert (report.commands, report.assertions, report.skipped) == (2, 1, 2)
    assert (report.passed, report.failed, report.skip_reason) == (0, 0, "too old")


def test_a_proposal_is_off_unless_asked_for() -> None:
    script = b"(module (memory 1 (pagesize 1)))"
    assert run_script(script, "test.wast", Config()).failed == 1
    assert run_script(script, "test.wast", Config(custom_page_sizes=True)).failed == 0


SPECTEST = """(module
  (import "spectest" "print" (func $print))
  (import "spectest" "print_i64" (func $i64 (param i64)))
  (import "spectest" "print_f32" (func $f32 (param f32)))
  (import "spectest" "print_f64" (func $f64 (param f64)))
  (import "spectest" "print_i32_f32" (func $i32_f32 (param i32 f32)))
  (import "spectest" "print_f64_f64" (func $f64_f64 (param f64 f64)))
  (import "spectest" "global_i32" (global $i32 i32))
  (import "spectest" "global_i64" (global $i64 i64))
  (import "spectest" "global_f32" (global $f32 f32))
  (import "spectest" "global_f64" (global $f64 f64))
  (import "spectest" "table" (table 10 20 funcref))
  (import "spectest" "table64" (table i64 10 20 funcref))
  (import "spectest" "memory" (memory 1 2))
  (export "i32" (global $i32)) (export "i64" (global $i64))
  (export "f32" (global $f32)) (export "f64" (global $f64))
  (func (export "all")
    (call $print) (call $i64 (i64.const 1)) (call $f32 (f32.const 2)) (call $f64 (f64.const 3))
    (call $i32_f32 (i32.const 4) (f32.const 5)) (call $f64_f64 (f64.const 6) (f64.const 7))))
(assert_return (get "i32") (i32.const 666)) (assert_return (get "i64") (i64.const 666))
(assert_return (get "f32") (f32.const 666.6)) (assert_return (get "f64") (f64.const 666.6))
(assert_return (invoke "all"))
"""


def test_spectest_offers_what_the_reference_interpreter_does() -> None:
    lines: list[str] = []
    report = run_script(SPECTEST.encode(), "test.wast", Config(), lines.append)
    assert report.failures == []
    assert [line.split(" ")[0] for line in lines] == [
        f"({type}.const" for type in ("i64", "f32", "f64", "i32", "f32", "f64", "f64")
    ]
