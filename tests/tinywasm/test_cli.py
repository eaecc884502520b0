"""The command line: output, exit status, and errors in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinywasm import binary
from tinywasm.cli import main
from tinywasm.engine import native_available
from tinywasm.text import parse_module

CALCULATOR = """(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "sqrt") (param f64) (result f64) (f64.sqrt (local.get 0)))
  (func (export "divmod") (param i64 i64) (result i64 i64)
    (i64.div_s (local.get 0) (local.get 1)) (i64.rem_s (local.get 0) (local.get 1)))
  (func (export "nothing"))
  (func (export "ref") (param externref))
  (memory (export "memory") 1))
"""
GOOD = '(module (func (export "f") (result i32) (i32.const 1)))\n(assert_return (invoke "f") (i32.const 1))'
BAD = '(module (func (export "f") (result i32) (i32.const 1)))\n(assert_return (invoke "f") (i32.const 2))'
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.defpath}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "calculator.wat": CALCULATOR,
        "start.wat": '(module (func (export "_start") unreachable))',
        "import.wat": '(module (import "env" "f" (func)))',
        "invalid.wat": "(module (func (result i32)))",
        "malformed.wat": "(module (func)",
        "wide.wat": "(module (func (param i64 i64) (result i64 i64)"
        " (i64.mul_wide_s (local.get 0) (local.get 1))))",
        "good.wast": GOOD,
        "bad.wast": BAD,
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "garbage.wat").write_bytes(b"(module) \xff")
    (tmp_path / "noise.wasm").write_bytes(b"\x7fELF\xff(")
    (tmp_path / "calculator.wasm").write_bytes(b"\0asm\1\0\0\0")
    (tmp_path / "nothing.wasm").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(10 << 30)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("run calculator.wat --invoke add 1 2", "3\n"),
        ("run --invoke add calculator.wat 1 -2", "-1\n"),
        ("run calculator.wat --invoke add 0xffffffff -0x1", "-2\n"),
        ("run calculator.wat --invoke sqrt 0x1p2", "2.0\n"),
        ("run calculator.wat --invoke sqrt -inf", "nan\n"),
        ("run calculator.wat --invoke divmod -7 2", "-3\n-1\n"),
        ("run calculator.wat --invoke nothing", ""),
        ("validate calculator.wat", ""),
    ],
)
@pytest.mark.usefixtures("folder")
def test_modules(command: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 0
    assert capsys.readouterr() == (output, "")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run calculator.wat --invoke add 1", "the function takes 2 arguments, not 1: [i32 i32] -> [i32]"),
        ("run calculator.wat --invoke add 1 x", "'x' cannot be read as i32"),
        ("run calculator.wat --invoke add 1 0x100000000", "'0x100000000' is out of range for i32"),
        ("run calculator.wat --invoke ref 1", "an argument of type externref cannot be given"),
        ("run calculator.wat --invoke no", "no exported function 'no'; the module exports add, sqrt, divmod"),
        ("run calculator.wat --invoke memory", "no exported function 'memory'"),
        ("run calculator.wat 1 2", "arguments need a function: --invoke NAME"),
        ("run import.wat", "import.wat: unknown import"),
        ("run import.wat", "only WASI's functions (wasi_snapshot_preview1) can be imported here"),
        ("run garbage.wat", "garbage.wat: malformed UTF-8 encoding (line 1, column 10)"),
        ("run noise.wasm", "noise.wasm: malformed UTF-8 encoding: neither text nor a binary module"),
        ("wat2wasm garbage.wat", "malformed UTF-8 encoding"),
        ("wasm2wat malformed.wat", "malformed.wat: unexpected token"),
        ("run missing.wat", "missing.wat: No such file or directory"),
        ("run .", ".: Is a directory"),
        ("inspect malformed.wat", "malformed.wat: unexpected token"),
        ("inspect missing.wat", "missing.wat: No such file or directory"),
        ("repl invalid.wat", "invalid.wat: type mismatch"),
        ("validate invalid.wat", "invalid.wat: type mismatch"),
        ("validate malformed.wat", "malformed.wat: unexpected token"),
        ("validate wide.wat", "i64.mul_wide_s"),
        ("wat2wasm malformed.wat", "unexpected token"),
        ("wat2wasm invalid.wat", "type mismatch"),
        ("wat2wasm calculator.wat -o missing/a.wasm", "missing/a.wasm: No such file or directory"),
        ("wast missing.wast", "missing.wast: no such file"),
        ("wast empty", "no .wast files in empty"),
        ("run - --invoke add 1 2", "-: No such file or directory"),
        ("run huge", "huge: Larger than 1,073,741,824 bytes"),
        ("validate huge", "huge: Larger than 1,073,741,824 bytes"),
        ("inspect huge", "huge: Larger than 1,073,741,824 bytes"),
        ("objdump huge", "huge: Larger than 1,073,741,824 bytes"),
        ("wat2wasm huge", "huge: Larger than 1,073,741,824 bytes"),
        ("wasm2wat huge", "huge: Larger than 1,073,741,824 bytes"),
        ("wast huge", "huge: Larger than 1,073,741,824 bytes"),
        ("wat2wasm calculator.wasm", "calculator.wasm: is in the binary format already"),
        ("wat2wasm calculator.wat -o /dev/full", "tinywasm: No space left on device"),
        ("inspect nothing.wasm", "nothing.wasm: unexpected end"),
        ("run nothing.wasm", "nothing.wasm: unexpected end"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_errors_are_one_line(command: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 1
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith("tinywasm: ")
    assert message in error
    assert len(error.splitlines()) == 1


def test_conversions_agree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wat2wasm", "calculator.wat"]) == 0
    binary = (folder / "calculator.wasm").read_bytes()
    assert binary.startswith(b"\0asm\1\0\0\0")
    assert main(["run", "calculator.wasm", "--invoke", "add", "1", "2"]) == 0
    assert capsys.readouterr().out == "3\n"
    assert main(["wasm2wat", "calculator.wasm", "-o", "again.wat"]) == 0
    assert main(["wat2wasm", "again.wat", "-o", "again.wasm"]) == 0
    assert (folder / "again.wasm").read_bytes() == binary


def test_wasm2wat_takes_text_as_every_command_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wat2wasm", "calculator.wat"]) == 0
    assert main(["wasm2wat", "calculator.wasm"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("(module")
    assert main(["wasm2wat", "calculator.wat"]) == 0
    assert capsys.readouterr().out == printed


COMMANDS_WITH_A_MODULE = ("run {} --invoke f", "validate {}", "inspect {}", "wasm2wat {}", "wat2wasm {}")


@pytest.mark.parametrize("command", COMMANDS_WITH_A_MODULE)
@pytest.mark.parametrize("form", ["binary", "quote"])
def test_every_command_takes_modules_as_scripts_give_them(folder: Path, form: str, command: str) -> None:
    text = '(module (func (export "f")))'
    content = binary.encode(parse_module(text)) if form == "binary" else text.encode()
    quoted = "".join(f"\\{byte:02x}" for byte in content)
    (folder / "given.wat").write_text(f';; a module\n(module $m {form} "{quoted[:30]}" "{quoted[30:]}")\n')
    assert main(command.format("given.wat").split()) == 0
    if command.startswith("wat2wasm"):
        assert (folder / "given.wasm").read_bytes() == binary.encode(parse_module(text))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (r'(module binary "\00asm\01\00\00\00\0e\00")', "malformed section id (at offset 0x8)"),
        (r'(module quote "(func)\0a(funk)")', "unknown operator funk (line 2, column 2)"),
        (r'(module binary "\00asm") (module)', "unexpected token"),
        ("(module binary (func))", "unexpected token"),
        (r'(module quote "(module quote \22\22)")', "unexpected token"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS_WITH_A_MODULE)
def test_malformed_modules_as_scripts_give_them(
    folder: Path, command: str, source: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "given.wat").write_text(source)
    assert main(command.format("given.wat").split()) == 1
    output, error = capsys.readouterr()
    assert output == "" and error.startswith("tinywasm: given.wat: ") and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    "command",
    [
        "inspect names.wat",
        "validate größe…",
        "run names.wat",
        "run exports.wat --invoke x",
        "wasm2wat names.wat",
    ],
)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_print_whatever_the_terminals_encoding(folder: Path, command: str, encoding: str) -> None:
    (folder / "names.wat").write_text('(module (import "größe" "寸" (func)) (memory (export "λ…") 1))')
    (folder / "exports.wat").write_text('(module (func (export "λ…")))')
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-m", "tinywasm", *command.split()],
        cwd=folder,
        env={**ENVIRONMENT, "PYTHONIOENCODING": encoding, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        timeout=60,
    )
    told = (done.stdout + done.stderr).decode("utf-8" if command.startswith("wasm2wat") else encoding)
    assert "codec" not in told and "Traceback" not in told
    names = [name for name in ("größe", "寸", "λ…") if name in told]
    escaped = [name for name in (r"gr\xf6\xdfe", r"\u5bf8", r"\u03bb\u2026") if name in told]
    assert names or escaped
    assert done.returncode == (0 if command.split()[0] in ("inspect", "wasm2wat") else 1)


@pytest.mark.usefixtures("folder")
def test_wast_counts_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wast", "good.wast", "bad.wast"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        'bad.wast:2: assert_return (invoke "f"): expected (i32.const 2), got (i32.const 1)',
        "2 files, 4 commands, 2 of them assertions, 0 message mismatches",
        "3 passed, 1 failed, 0 skipped",
    ]
    assert main(["wast", "good.wast"]) == 0


def test_wast_takes_folders_and_shows_more(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "good.wast").write_text(
        '(module (import "spectest" "print_i32" (func $p (param i32)))'
        " (start $s) (func $s (call $p (i32.const 7))))"
        '(assert_invalid (module (func (result i32))) "unknown label")'
    )
    main(["wast", ".", "--verbose"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("bad.wast:2: ")
    assert lines[2] == "(i32.const 7)"
    assert lines[3].startswith("good.wast:1: other words: assert_invalid (module): expected ValidationError")
    assert lines[-2:] == [
        "2 files, 4 commands, 2 of them assertions, 1 message mismatches",
        "3 passed, 1 failed, 0 skipped",
    ]


def test_wast_skips_what_is_not_supported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = folder / "proposals" / "threads"
    threads.mkdir(parents=True)
    (threads / "good.wast").write_text(GOOD)
    assert main(["wast", "proposals"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("good.wast: skipped 2 commands: the proposal threads is not implemented")
    assert lines[-1] == "0 passed, 0 failed, 2 skipped"


def test_wast_features(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "wide.wast").write_text((folder / "wide.wat").read_text())
    assert main(["wast", "wide.wast"]) == 1
    assert main(["wast", "wide.wast", "--feature", "wide-arithmetic"]) == 0
    assert capsys.readouterr().out.endswith("1 passed, 0 failed, 0 skipped\n")


@pytest.mark.usefixtures("folder")
def test_wast_reports_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wast", "--json", "bad.wast"]) == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["path"], report["passed"], report["failed"]) == ("bad.wast", 1, 1)
    assert report["failures"][0]["line"] == 2


@pytest.mark.usefixtures("folder")
def test_wast_time_limit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "spin.wast").write_text('(module (func (export "f") (loop (br 0)))) (invoke "f") (invoke "f")')
    assert main(["wast", "spin.wast", "--timeout", "0.1"]) == 1
    assert capsys.readouterr().out.endswith("1 passed, 1 failed, 1 skipped\n")


def test_the_package_runs_as_a_program(folder: Path) -> None:
    words = ["-m", "tinywasm", "run", "calculator.wat", "--invoke", "add", "1", "2"]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=30, cwd=folder, env=ENVIRONMENT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")


def test_a_reader_that_leaves_early_gets_no_traceback(folder: Path) -> None:
    command = f"{sys.executable} -m tinywasm wast {' '.join(['bad.wast'] * 2000)} | head -n 1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=60, cwd=folder, env=ENVIRONMENT
    )
    assert done.stdout.startswith("bad.wast:2: ")
    assert done.stderr == ""


@pytest.mark.parametrize("buffered", [(), ("-u",)], ids=["buffered", "at once"])
@pytest.mark.parametrize("command", ["--help", "--version", "run --help", "inspect calculator.wat"])
def test_output_that_does_not_fit_is_told(folder: Path, command: str, buffered: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, *buffered, "-m", "tinywasm", *command.split()],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, cwd=folder, env=ENVIRONMENT,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "tinywasm: No space left on device\n")


@pytest.mark.parametrize("command", ["--help", "--version", "run calculator.wat --invoke add 1 2"])
def test_output_that_has_nowhere_to_go_is_told(folder: Path, command: str) -> None:
    done = subprocess.run(
        f"{sys.executable} -m tinywasm {command} >&-",
        shell=True, stderr=subprocess.PIPE, text=True, timeout=60, cwd=folder, env=ENVIRONMENT,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "tinywasm: Bad file descriptor\n")


@pytest.mark.parametrize(
    ("arguments", "status"), [("add 1 2", 0), ("divmod 1 0", 134), ("nosuch", 1)], ids=["good", "trap", "bad"]
)
def test_closed_streams_get_no_traceback(folder: Path, arguments: str, status: int) -> None:
    command = f"{sys.executable} -m tinywasm run calculator.wat --invoke {arguments}"
    for closed, silent in ((">&-", "stdout"), ("2>&-", "stderr"), ("<&- >&- 2>&-", "stdout")):
        done = subprocess.run(
            f"{command} {closed}",
            shell=True,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=folder,
            env=ENVIRONMENT,
        )
        assert done.returncode == (1 if status == 0 and ">&-" in closed.split() else status)
        assert getattr(done, silent) == ""
        assert "Traceback" not in done.stdout + done.stderr
        assert "trap" not in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "",
        "frobnicate",
        "wast",
        "wast a.wast --engine quick",
        "wast a.wast --timeout 0",
        "run",
        "run --frob calculator.wat",
        "run --fuel many calculator.wat",
        "run --fuel -1 calculator.wat",
        "run --timeout -1 calculator.wat",
        "run --timeout nan calculator.wat",
        "run --max-memory much calculator.wat",
        "run --max-memory 1X calculator.wat",
        "run --engine quick calculator.wat",
        "run --invoke",
        "validate",
        "validate calculator.wat --feature gc",
        "inspect",
        "repl",
        "completion",
        "completion tcsh",
    ],
)
def test_wrong_usage_has_status_2(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("tinywasm")


def test_the_version_tells_which_engines_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    line, *more = capsys.readouterr().out.splitlines()
    assert line.startswith("tinywasm ") and "python engine" in line
    assert len(more) == native_available
    assert all("machine code: LLVM" in each or 'pip install "tinywasm[llvm]"' in each for each in more)


@pytest.mark.usefixtures("folder")
def test_validate_takes_several_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "calculator.wat", "invalid.wat", "malformed.wat"]) == 1
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == [
        "invalid.wat",
        "malformed.wat",
    ]
    assert main(["validate", "missing.wat", ".", "calculator.wat", "invalid.wat"]) == 1
    missing, folder, invalid = capsys.readouterr().err.splitlines()
    assert missing == "tinywasm: missing.wat: No such file or directory"
    assert folder == "tinywasm: .: Is a directory"
    assert invalid.startswith("tinywasm: invalid.wat: type mismatch")
    assert main(["validate", "wide.wat", "--feature", "wide-arithmetic"]) == 0


@pytest.mark.usefixtures("folder")
def test_validate_reports_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--json", "calculator.wat", "invalid.wat", "malformed.wat"]) == 1
    good, invalid, malformed = json.loads(capsys.readouterr().out)
    assert good == {"path": "calculator.wat", "valid": True, "error": None}
    assert invalid["error"]["phase"] == "invalid" and invalid["error"]["where"] == "function 0"
    assert malformed["error"]["phase"] == "malformed" and malformed["error"]["line"] == 1
    assert main(["validate", "--json", "missing.wat", "calculator.wat"]) == 1
    missing, good = json.loads(capsys.readouterr().out)
    assert missing == {
        "path": "missing.wat",
        "valid": False,
        "error": {
            "phase": "unreadable",
            "message": "No such file or directory",
            "text": "No such file or directory",
            "where": None,
            "line": None,
            "column": None,
            "offset": None,
        },
    }
    assert good["valid"]


@pytest.mark.usefixtures("folder")
def test_wast_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wast", "good.wast", "--engine", "python"]) == 0
    assert capsys.readouterr().out.endswith("2 passed, 0 failed, 0 skipped\n")


def test_errors_cannot_steer_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "evil.wat").write_text('(module (import "\\1b[2J\\n" "x" (func)))')
    assert main(["run", "evil.wat"]) == 1
    error = capsys.readouterr().err
    assert "\x1b" not in error and len(error.splitlines()) == 1
