"""`tinywasm run`: programs, limits, profiles and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engines import ENGINES
from tests.tinywasm.test_cli import ENVIRONMENT
from tinywasm.cli import main
from tinywasm.cli.main import TRAPPED
from tinywasm.engine import IMPLEMENTATIONS

DEBUG_PROGRAM = Path(__file__).parent / "debug_programs" / "average_dwarf5.wasm"

# Prints its arguments and variables, each behind a line, and exits with the number of arguments.
ECHO = """(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $env (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func $print (param $size i32)
    (i32.store (i32.const 16) (i32.const 4096))
    (i32.store (i32.const 20) (local.get $size))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24))))
  (func (export "_start")
    (drop (call $args_sizes (i32.const 0) (i32.const 4)))
    (drop (call $args (i32.const 1024) (i32.const 4096)))
    (call $print (i32.load (i32.const 4)))
    (drop (call $env_sizes (i32.const 8) (i32.const 12)))
    (drop (call $env (i32.const 1024) (i32.const 4096)))
    (call $print (i32.load (i32.const 12)))
    (call $exit (i32.load (i32.const 0)))))
"""
# Exits with the error number of opening a file below descriptor 3.
OPEN = """(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "data.txt")
  (func (export "_start")
    (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 8)
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 200)))))
"""
READ = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 4) (i32.const 8))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 12)))))
"""
SPIN = '(module (func $spin (export "_start") (loop (br 0))))'
FIB = """(module (func $fib (export "fib") (param i32) (result i32)
  (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
    (then (local.get 0))
    (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                   (call $fib (i32.sub (local.get 0) (i32.const 2))))))))
"""
OTHERS = {
    "start.wat": '(module (func $boom (export "_start") unreachable))',
    "odd.wat": '(module (func (export "_start") (param i32)))',
    "throw.wat": '(module (tag $t (param i32 f64)) (func (export "_start")'
    " (throw $t (i32.const -1) (f64.const 0.5))))",
    "deep.wat": '(module (func $f (export "_start") (call $f) (nop)))',
    "reactor.wat": '(module (global $g (mut i32) (i32.const 0)) (func (export "_initialize")'
    ' (global.set $g (i32.const 7))) (func (export "get") (result i32) (global.get $g)))',
    "types.wat": '(module (func (export "id") (param i32 i64 f32 f64 v128 externref)'
    " (result i32 i64 f32 f64 v128 externref) (local.get 0) (local.get 1) (local.get 2) (local.get 3)"
    " (local.get 4) (local.get 5)))",
    "grow.wat": '(module (memory 1) (func (export "grow") (param i32) (result i32)'
    " (memory.grow (local.get 0))))",
    "evil.wat": '(module (func $"\\1b[2J" (export "_start") unreachable))',
    "wide.wat": '(module (func (export "f") (param i64 i64) (result i64 i64)'
    " (i64.mul_wide_s (local.get 0) (local.get 1))))",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    texts = {"echo.wat": ECHO, "open.wat": OPEN, "read.wat": READ, "spin.wat": SPIN, "fib.wat": FIB, **OTHERS}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own: a program writes to the process's descriptors, not to `sys.stdout`."""
    command = [sys.executable, "-m", "tinywasm", "run", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_program_gets_arguments_and_variables_and_gives_its_status(engine: str) -> None:
    done = run("--engine", engine, "--env", "A=1=2", "--env=B=", "echo.wat", "one", "--two", "-3")
    assert done.stdout.split("\0") == ["echo.wat", "one", "--two", "-3", "A=1=2", "B=", ""]
    assert (done.returncode, done.stderr) == (4, "")


def test_a_variable_without_value_is_that_of_the_process() -> None:
    done = run("--env", "PATH", "echo.wat")
    assert done.stdout.split("\0")[1] == f"PATH={ENVIRONMENT['PATH']}"
    done = run("--env", "NO_SUCH_VARIABLE", "echo.wat")
    assert done.returncode == 1 and "no such variable" in done.stderr
    assert run("--env", "=x", "echo.wat").returncode == 1


def test_options_stand_before_the_file_or_directly_behind_it() -> None:
    assert run("echo.wat", "--env", "A=1", "x", "--env", "B=2").stdout.split("\0") == [
        "echo.wat", "x", "--env", "B=2", "A=1", "",
    ]  # fmt: skip
    assert run("echo.wat", "--", "--env", "A=1").stdout.split("\0") == ["echo.wat", "--env", "A=1", ""]
    assert run("echo.wat", "--help").stdout.split("\0") == ["echo.wat", "--help", ""]
    assert run("--", "echo.wat", "--env").stdout.split("\0") == ["echo.wat", "--env", ""]


def test_the_name_of_the_program_tells_no_path(folder: Path) -> None:
    assert run(str(folder / "echo.wat")).stdout.split("\0")[0] == "echo.wat"


def test_directories(folder: Path) -> None:
    (folder / "files").mkdir()
    (folder / "files" / "data.txt").write_text("x")
    assert run("--dir", "files", "open.wat").returncode == 0
    assert run("--dir", "files::/guest", "open.wat").returncode == 0
    assert run("--dir", ".", "open.wat").returncode == 44  # NOENT
    assert run("open.wat").returncode == 8  # BADF
    done = run("--dir", "missing", "open.wat")
    assert done.returncode == 1
    assert done.stderr.startswith("tinywasm: missing: ") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_trap_has_its_own_status_and_a_backtrace(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--engine", engine, "start.wat"]) == TRAPPED == 134
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["tinywasm: trap: unreachable", "  <module>!boom at offset 0x0 (line 1)"]
    assert main(["run", "--engine", engine, str(DEBUG_PROGRAM), "--invoke", "average_of", "0"]) == TRAPPED
    assert "(average.c:11)" in capsys.readouterr().err


def test_a_long_backtrace_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "deep.wat"]) == TRAPPED
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "tinywasm: trap: call stack exhausted"
    assert len(lines) == 1 + 20 + 1 + 5 and lines[21].startswith("  ... ")


def test_an_uncaught_exception_is_a_trap(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "throw.wat"]) == TRAPPED
    assert capsys.readouterr().err == "tinywasm: trap: uncaught exception: -1 : i32, 0.5 : f64\n"


def test_names_of_a_module_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "evil.wat"]) == TRAPPED
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--timeout=0", "'0' is not a time: write seconds, such as 2 or 0.5"),
        ("--timeout=nan", "'nan' is not a time"),
        ("--timeout=soon", "'soon' is not a time"),
        ("--fuel=1e6", "'1e6' is not an amount of fuel: write digits, as in 1_000_000"),
        ("--fuel=-1", "'-1' is not an amount of fuel"),
    ],
)
def test_amounts_that_are_none_are_told_how_to_write_one(
    option: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run", option, "spin.wat"])
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("engine", ENGINES)
def test_fuel(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--engine", engine, "--fuel", "1_000", "spin.wat"]) == TRAPPED
    assert capsys.readouterr().err.startswith("tinywasm: trap: all fuel consumed\n")
    assert main(["run", "--engine", engine, "--fuel", "1000", "fib.wat", "--invoke", "fib", "3"]) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_time_limit_ends_a_loop(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGALRM)
    assert main(["run", "--engine", engine, "--timeout", "0.2", "spin.wat"]) == TRAPPED
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "tinywasm: trap: interrupted: the time limit of 0.2 seconds is over"
    assert lines[1].startswith("  <module>!spin at offset")
    assert signal.getsignal(signal.SIGALRM) is before


@pytest.mark.parametrize("engine", ENGINES)
def test_a_time_limit_ends_waiting_for_input(engine: str) -> None:
    done = subprocess.Popen(
        [sys.executable, "-m", "tinywasm", "run", "--engine", engine, "--timeout", "0.3", "read.wat"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        assert done.wait(30) == TRAPPED
        assert done.stderr is not None and "time limit" in done.stderr.read()
    finally:
        done.kill()
        done.communicate()


def test_a_time_limit_ends_waiting_for_the_module(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wasm")
    done = run("--timeout", "0.3", str(tmp_path / "pipe.wasm"))
    assert done.returncode == TRAPPED and "time limit" in done.stderr


def test_a_time_limit_needs_the_main_thread(capsys: pytest.CaptureFixture[str]) -> None:
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(main(["run", "--timeout", "1", "spin.wat"])))
    thread.start()
    thread.join(30)
    assert statuses == [1]
    assert "--timeout needs" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ENGINES)
def test_the_most_memory(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--engine", engine, "--max-memory", "2M", "grow.wat", "--invoke", "grow"]
    assert main([*command, "31"]) == 0
    assert main([*command, "32"]) == 0
    assert capsys.readouterr().out == "1\n-1\n"
    assert main(["run", "--engine", engine, "--max-memory", "100", "grow.wat"]) == TRAPPED
    assert "allocation too large" in capsys.readouterr().err


TWO_MEMORIES = """(module
  (memory $one 1) (memory $two 1) (table $t 0 funcref) (type $a (array (mut i64)))
  (func (export "one") (param i32) (result i32) (memory.grow $one (local.get 0)))
  (func (export "two") (param i32) (result i32) (memory.grow $two (local.get 0)))
  (func (export "table") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0)))
  (func (export "array") (param i32) (drop (array.new_default $a (local.get 0)))))"""


@pytest.mark.parametrize("engine", ENGINES)
def test_the_most_memory_is_of_everything_together(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "two.wat"
    file.write_text(TWO_MEMORIES)
    command = ["run", "--engine", engine, "--max-memory", "256K", str(file), "--invoke"]
    for words in ("one 2", "one 3", "two 2", "two 3", "table 10000", "table 20000"):
        assert main([*command, *words.split()]) == 0
    assert capsys.readouterr().out.split() == ["1", "-1", "1", "-1", "0", "-1"]
    assert main([*command, "array", "10000"]) == 0
    assert main([*command, "array", "20000"]) == TRAPPED
    assert "allocation too large" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--dir", "."], "--dir"),
        (["--env", "A=b"], "--env"),
        (["--dir", ".", "--env", "A=b"], "--dir and --env"),
    ],
)
def test_what_a_module_without_wasi_cannot_see_is_said(
    options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *options, "grow.wat", "--invoke", "grow", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "1\n"
    note = f"tinywasm: note: the module imports nothing of WASI and sees nothing of {named}\n"
    assert printed.err == note


def test_results_can_be_typed_again(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-5", "0x7f", "0.1", "-inf", "i32x4:1,2,3,4", "null"]
    assert main(["run", "types.wat", "--invoke", "id", *words]) == 0
    printed = capsys.readouterr().out.split()
    assert printed == ["-5", "127", "0.1", "-inf", "0x00000004000000030000000200000001", "null"]
    assert main(["run", "types.wat", "--invoke", "id", *printed]) == 0
    assert capsys.readouterr().out.split() == printed


def test_results_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--json", "types.wat", "--invoke", "id", "1", "2", "3", "nan", "0x0", "null"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [each["value"] for each in results] == [1, 2, 3.0, "nan", "0x" + "0" * 32, None]
    assert [each["type"] for each in results] == ["i32", "i64", "f32", "f64", "v128", "externref"]


def test_a_reactor_is_initialised_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "reactor.wat", "--invoke", "get"]) == 0
    assert capsys.readouterr().out == "7\n"
    assert main(["run", "reactor.wat", "--invoke", "_initialize"]) == 0


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('(func (export "f")) (func (export "g"))', "call one of its functions with --invoke NAME: f, g"),
        ("(func)", "no _start; nor any other function"),
        ('(func $s (export "f")) (start $s)', ""),
    ],
)
def test_a_module_that_is_no_command_says_what_can_be_called(
    folder: Path, text: str, note: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "idle.wat").write_text(text)
    assert main(["run", "idle.wat"]) == 0
    output, error = capsys.readouterr()
    assert output == "" and note in error and bool(error) == bool(note)


def test_a_start_function_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "odd.wat"]) == 1
    assert "the function takes 1 argument, not 0" in capsys.readouterr().err


def test_features(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["wide.wat", "--invoke", "f", "-1", "1"]
    assert main(["run", *words]) == 1
    assert main(["run", "--feature", "wide-arithmetic", *words]) == 0
    assert capsys.readouterr().out == "-1\n-1\n"


def test_an_engine_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = replace(IMPLEMENTATIONS["native"], missing="the extension was not built")
    monkeypatch.setitem(IMPLEMENTATIONS, "native", missing)
    assert main(["run", "--engine", "native", "fib.wat", "--invoke", "fib", "1"]) == 1
    assert "the native engine is not available: the extension was not built" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ENGINES)
def test_a_profile(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--engine", engine, "--profile", "fib.wat", "--invoke", "fib", "5"]) == 0
    output, error = capsys.readouterr()
    assert output == "5\n"
    heading, row = error.splitlines()
    assert heading.split() == ["calls", "instructions", "share", "and", "callees", "function"]
    assert row.split()[:3] == ["15", "131", "100.0%"] and row.split()[-1] == "fib"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_profile_as_json_also_after_a_trap(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--engine", engine, "--profile", "--json", "--fuel", "500", "spin.wat"]
    assert main(command) == TRAPPED
    profile, trap, *_ = capsys.readouterr().err.splitlines()
    (entry,) = json.loads(profile)
    assert (entry["function"], entry["index"], entry["calls"]) == ("spin", 0, 1)
    assert 490 <= entry["self"] <= 500
    assert trap == "tinywasm: trap: all fuel consumed"
