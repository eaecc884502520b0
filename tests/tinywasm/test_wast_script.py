"""The script parser: whatever comes in, commands come out and nothing is raised."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tinywasm.config import Config
from tinywasm.wast.commands import Unreadable
from tinywasm.wast.runner import run_script
from tinywasm.wast.script import parse_script

SCRIPT = b"""(module $m (func (export "f") (result v128 f32) unreachable))
(register "m" $m)
(assert_return (invoke $m "f" (i32.const 1) (ref.extern 1) (v128.const f32x4 1 2 3 nan))
  (v128.const f32x4 1 2 3 nan:canonical) (either (f32.const nan:arithmetic) (f32.const 1)) (ref.null))
(assert_trap (get "g") "x") (assert_exhaustion (invoke "f") "x") (assert_exception (invoke "f"))
(assert_malformed (module quote "(") "x") (assert_invalid (module binary "\\00") "x")
(module definition $d) (module instance $i $d) (assert_unlinkable (module) "x")
"""
WORDS = sorted(
    {*SCRIPT.decode().replace("(", " ( ").replace(")", " ) ").split(), "(", ")", "(@a)", "(;", ";;"}
)


def test_the_sample_is_understood() -> None:
    assert not [command for command in parse_script(SCRIPT) if isinstance(command.body, Unreadable)]


@given(st.integers(0, len(SCRIPT)), st.integers(0, len(SCRIPT)))
def test_scripts_with_a_piece_cut_out(start: int, end: int) -> None:
    report = run_script(SCRIPT[:start] + SCRIPT[end:], "cut.wast", Config())
    assert report.commands == report.passed + report.failed


@given(st.lists(st.sampled_from(WORDS), max_size=40))
def test_scripts_of_random_words(words: list[str]) -> None:
    report = run_script(" ".join(words).encode(), "words.wast", Config())
    assert report.commands == report.passed + report.failed


@given(st.binary(max_size=40))
def test_scripts_of_random_bytes(data: bytes) -> None:
    report = run_script(data, "bytes.wast", Config())
    assert report.commands == report.passed + report.failed


def test_deep_nesting_is_an_error_of_one_command() -> None:
    deep = b'(assert_return (invoke "f") ' + b"(either " * 100_000 + b")" * 100_000 + b")(module)"
    report = run_script(deep, "deep.wast", Config())
    assert (report.passed, report.failed) == (1, 1)
