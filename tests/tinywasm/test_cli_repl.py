"""`tinywasm repl`: piped lines, and a terminal with and without prompt_toolkit."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import time
from pathlib import Path

import pytest

from tests.tinywasm.test_cli import ENVIRONMENT
from tinywasm.cli import main
from tinywasm.cli.main import _parse
from tinywasm.cli.repl import Session

MODULE = """(module
  (memory (export "mem") 1)
  (data (i32.const 16) "hello")
  (global (export "counter") (mut i64) (i64.const -3))
  (global (export "pi") f32 (f32.const 3.25))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "pair") (result f64 v128) (f64.const 0.5) (v128.const i32x4 1 0 0 0))
  (func (export "with blank"))
  (func $crash (export "crash") unreachable)
  (func (export "spin") (loop (br 0))))
"""
EXIT = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (func (export "leave") (call $exit (i32.const 3))))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.wat").write_text(MODULE)
    (tmp_path / "exit.wat").write_text(EXIT)
    (tmp_path / "none.wat").write_text("(module)")
    (tmp_path / "broken.wat").write_text("(module")
    return tmp_path


def dialogue(
    lines: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: str = "demo.wat"
) -> tuple[list[str], list[str]]:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(["repl", file]) == 0
    output, error = capsys.readouterr()
    return output.splitlines(), error.splitlines()


@pytest.mark.parametrize(
    ("line", "output"),
    [
        ("add 1 -2", ["-1 : i32"]),
        ("pair", ["0.5 : f64", "0x00000000000000000000000000000001 : v128"]),
        ("'with blank'", []),
        ("counter", ["-3 : i64"]),
        ("pi", ["3.25 : f32"]),
        ("", []),
        (":memory 16 5", ["00000010  68 65 6c 6c 6f                                   hello"]),
        (":memory 0x10 0 mem", []),
        (":quit\nadd 1 2", []),
    ],
)
def test_answers(
    line: str, output: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dialogue(line + "\n", monkeypatch, capsys) == (output, [])


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("add 1", "tinywasm: the function takes 2 arguments, not 1: [i32 i32] -> [i32]"),
        ("add 1 x", "tinywasm: 'x' cannot be read as i32"),
        (
            "nothing",
            "tinywasm: no exported function or global 'nothing'; :exports lists them, :help the commands",
        ),
        ("mem", "tinywasm: no exported function or global 'mem'; :exports lists them, :help the commands"),
        ("counter 1", "tinywasm: counter is a global and takes no arguments"),
        ("'open", "tinywasm: the line cannot be read: no closing quotation"),
        (":frob", "tinywasm: no command :frob; the commands are :exports, :help, :load, :memory, :quit"),
        (":memory", "tinywasm: usage: :memory ADDR LEN [NAME]"),
        (":memory x 1", "tinywasm: an address and a length are decimal or 0x hexadecimal numbers"),
        (":memory 65530 10", "tinywasm: 0xfffa and 10 bytes are outside of the memory of 65536 bytes"),
        (":memory 0 100000", "tinywasm: a length is at most 65536"),
        (":memory -1 1", "tinywasm: -0x1 and 1 bytes are outside of the memory of 65536 bytes"),
        (":memory 0 1 add", "tinywasm: no exported memory 'add'"),
        (":load", "tinywasm: usage: :load FILE"),
        (":load missing.wat", "tinywasm: missing.wat: No such file or directory"),
        (":load broken.wat", "tinywasm: broken.wat: unexpected token"),
        ("crash", "tinywasm: trap: unreachable"),
    ],
)
def test_the_dialogue_goes_on_after_errors(
    line: str, error: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, errors = dialogue(f"{line}\nadd 1 2\n", monkeypatch, capsys)
    assert errors[0].startswith(error)
    assert len(errors) == (2 if line == "crash" else 1)
    assert output == ["3 : i32"]


def test_exports_and_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    output, _ = dialogue(":exports\n:help\n", monkeypatch, capsys)
    assert 'func "add": [i32 i32] -> [i32]' in output
    assert 'global "counter": (mut i64)' in output
    assert any(line.startswith(":memory ADDR LEN [NAME]") for line in output)


def test_another_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    output, errors = dialogue(":load none.wat\n:memory 0 1\n:load demo.wat\npi\n", monkeypatch, capsys)
    assert (output, errors) == (["3.25 : f32"], ["tinywasm: the module has no memory"])


def test_a_program_that_exits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _, errors = dialogue("leave\n:exports\n", monkeypatch, capsys, "exit.wat")
    assert errors[0] == "tinywasm: program exited with status 3"


def session() -> Session:
    return Session(_parse(["repl", "demo.wat"]))


def test_completions_come_with_types() -> None:
    with session() as guide:
        assert guide.completions("ad") == [("add", "[i32 i32] -> [i32]")]
        assert guide.completions("cou") == [("counter", "(mut i64)")]
        assert [name for name, _ in guide.completions(":")] == [
            ":exports",
            ":help",
            ":load",
            ":memory",
            ":quit",
        ]
        assert guide.completions("add ") == guide.completions("add 1") == []
        assert ("'with blank'", "[] -> []") in guide.completions("")
        assert guide.hint("add 1") == "[i32 i32] -> [i32]"
        assert guide.hint(":load x").startswith(":load FILE: ")
        assert guide.hint("") == guide.hint("unknown") == ":help tells what can be typed here"


TERMINALS = ["plain", "readline", *(["prompt_toolkit"] if importlib.util.find_spec("prompt_toolkit") else [])]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("kind", TERMINALS)
def test_at_a_terminal(kind: str) -> None:
    pexpect = pytest.importorskip("pexpect")
    hidden = {"plain": ["prompt_toolkit", "readline"], "readline": ["prompt_toolkit"]}.get(kind, [])
    hide = "".join(f"sys.modules[{name!r}] = None; " for name in hidden)
    code = f"import sys; {hide}from tinywasm.cli import main; sys.exit(main(['repl', 'demo.wat']))"
    environment = {**os.environ, **ENVIRONMENT, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    child = pexpect.spawn(sys.executable, ["-c", code], env=environment, timeout=30, encoding="utf-8")
    child.expect(">")
    child.send("ad")
    # The completions appear on their own.
    time.sleep(0.5)
    if kind != "plain":
        child.send("\t")
        time.sleep(0.5)
    child.send("d 20 22\r" if kind == "plain" else " 20 22\r")
    child.expect("42 : i32")
    child.expect(">")
    child.send("spin\r")
    child.expect("spin")
    # The call must have begun.
    time.sleep(0.5)
    child.sendintr()
    child.expect("interrupted")
    child.expect(">")
    child.send(":quit\r")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
