"""The wasm-client command and the prompt: options, policies, and one clear line for each error."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from schannel.framing import Refusal, encode_refusal
from schannel.messages import (
    CallRequest,
    CallResult,
    ErrorCode,
    ErrorReply,
    ExportInfo,
    InfoRequest,
    InfoResult,
    Reply,
    Request,
    TraceFrame,
    Value,
    ValueType,
)
from schannel.types import FuncType
from tests.processes import CALCULATOR
from tests.wasm_client.fakes import answering, answering_later
from wasm_client import (
    ArgumentError,
    CannotConnect,
    Policy,
    cli,
    connect,
    prompt,
)
from wasm_client.session import Session
from wasm_client.values import FunctionType

POLICY = Policy()


@contextmanager
def server(behaviour: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something that listens; each connection is given to `behaviour`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            behaviour(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield "{}:{}".format(*listener.getsockname())
    finally:
        listener.close()
        thread.join(10)


def _answer(text: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(text)

    return behave


def _stay_silent(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (_answer(encode_refusal(Refusal.BUSY)), "is busy: no enclave is free"),
        (_answer(encode_refusal(Refusal.ADDRESS)), "refused: there are too many connections"),
        (_answer(encode_refusal(Refusal.STOPPING)), "is shutting down"),
        (_answer(b"\0\0\x63"), "does not answer as a wasm-host"),
        (_answer(b""), "closed the connection before an enclave answered"),
        (_answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "closed the connection before an enclave answered"),
        (_answer(b"\0\x05hello"), "does not answer as a wasm-host: something else listens there"),
        (_answer(b"\0\x60" + bytes(0x60)), "does not answer as a wasm-host"),
        (
            lambda connection: connection.recv(1000) and connection.recv(1000),
            "did not answer within 0.5 seconds",
        ),
    ],
)
def test_whoever_answers(behaviour: Callable[[socket.socket], None], message: str) -> None:
    with server(behaviour) as address, pytest.raises(CannotConnect, match=message) as caught:
        connect(address, POLICY, timeout=0.5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("", "not HOST:PORT"),
        ("localhost", "not HOST:PORT"),
        ("127.0.0.1:x", "not HOST:PORT"),
        ("127.0.0.1:-1", "not HOST:PORT"),
        ("127.0.0.1:0", "a port is 1 to 65535"),
        ("127.0.0.1:99999999", "a port is 1 to 65535"),
        ("127.0.0.1:" + "9" * 5000, "a port is 1 to 65535"),
        ("no..invalid:1", "that is not a host name"),
        ("no.invalid:1", ""),
    ],
)
def test_no_such_address(address: str, why: str) -> None:
    with pytest.raises(CannotConnect, match=f"cannot connect to {address}: {why}"):
        connect(address, POLICY, timeout=5)


@pytest.mark.parametrize("command", [["attest"], ["-p", "{program}"], ["-s", "main"], ["forget", "main"]])
def test_how_long_an_enclave_is_waited_for(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow machine an enclave takes longer to begin than is usual."""
    monkeypatch.setattr("wasm_client.commands._seconds", lambda text: float(text) / 100)
    policy, key, program = tmp_path / "policy.toml", tmp_path / "key", tmp_path / "program.wasm"
    policy.write_text("")
    program.write_bytes(b"\0asm")
    assert cli.main(["keygen", str(key)]) == 0
    capsys.readouterr()
    keyed = [] if command == ["attest"] else ["-k", str(key)]
    with server(_stay_silent) as address:
        options = ["-c", address, "--policy", str(policy), "--timeout", "7", *keyed]
        said = run_cli(capsys, *[word.format(program=program) for word in command], *options)
    assert said == f"{address} did not answer within 0.07 seconds"


@pytest.mark.parametrize("text", ["0", "-1", "1e3", "x", "1000001", ""])
def test_no_number_of_seconds(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["attest", f"--timeout={text}"])
    assert f"{text!r} is not a number of seconds from 1 to 1000000" in capsys.readouterr().err


def run_cli(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line on standard error of a command that fails."""
    assert cli.main(options) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.startswith("wasm-client: ")
    return captured.err.removeprefix("wasm-client: ").strip()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TINYWASM_STATE_DIR", str(tmp_path / "state"))


class TestCommand:
    def test_no_program(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_cli(capsys) == "no program: give a .wasm or .wat file with --program"

    def test_options_before_a_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        line = run_cli(capsys, "-c", "127.0.0.1:1", "forget", "main")
        assert line == "forget comes first, options later: wasm-client forget ..."

    def test_skip(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        policy = tmp_path / "policy.toml"
        policy.write_text("")
        with server(_answer(encode_refusal(Refusal.BUSY))) as address:
            assert "is busy" in run_cli(capsys, "-s", "-c", address, "--policy", str(policy))
        assert "arguments are for a program that is run" in run_cli(capsys, "-s", "--", "x")

    def test_no_policy(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        line = run_cli(capsys, "-p", str(CALCULATOR))
        assert line.startswith(
            f"no policy, so no enclave can be trusted: write {tmp_path}/config/wasm-client/"
        )
        assert "wasm-host measure" in line and "--policy" in line and "--allow-simulation" in line

    def test_named_policy_that_is_not_there(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        line = run_cli(capsys, "-p", str(CALCULATOR), "--policy", str(tmp_path / "x.toml"))
        assert line == f"cannot read {tmp_path}/x.toml: no such file or directory"

    def test_policy_with_an_unknown_key(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = tmp_path / "policy.toml"
        path.write_text("[enclave]\nmeasurments = []\n")
        line = run_cli(capsys, "-p", str(CALCULATOR), "--policy", str(path))
        assert line == f"{path}: unknown key in the policy: enclave.measurments"

    def test_default_policy_is_used(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = tmp_path / "config" / "wasm-client" / "policy.toml"
        path.parent.mkdir(parents=True)
        path.write_text("")
        with server(_answer(encode_refusal(Refusal.BUSY))) as address:
            assert "is busy" in run_cli(capsys, "-c", address, "-p", str(CALCULATOR))

    def test_no_simulated_device_yet(self, capsys: pytest.CaptureFixture[str]) -> None:
        line = run_cli(capsys, "-p", str(CALCULATOR), "--allow-simulation")
        assert "wasm-host makes it at its first start" in line

    def test_program_that_cannot_be_read(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = tmp_path / "policy.toml"
        path.write_text("")
        line = run_cli(capsys, "-p", "/nowhere.wat", "--policy", str(path))
        assert line == "cannot read /nowhere.wat: no such file"
        long = "/" + 300 * "x"
        assert run_cli(capsys, "-p", long, "--policy", str(path)) == f"cannot read {long}: file name too long"

    @pytest.mark.parametrize(
        ("command", "most"),
        [
            ("verify-receipt x --policy FILE", "4,194,304"),
            ("verify FILE", "4,194,304"),
            ("verify-receipt FILE", "1,073,741,824"),
        ],
    )
    def test_files_without_end(
        self, command: str, most: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        huge, policy = tmp_path / "huge", tmp_path / "policy.toml"
        with huge.open("wb") as file:
            file.truncate(10 << 30)
        policy.touch()
        options = [] if "--policy" in command else ["--policy", str(policy)]
        for path in (huge, *([Path("/dev/zero")] if most == "4,194,304" else [])):
            line = run_cli(capsys, *command.replace("FILE", str(path)).split(), *options)
            assert line == f"cannot read {path}: larger than {most} bytes"

    @pytest.mark.parametrize("name", ["empty.wat", "."])
    def test_program_that_is_none(
        self, name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        (tmp_path / "empty.wat").touch()
        (tmp_path / "policy.toml").touch()
        line = run_cli(capsys, "-p", str(tmp_path / name), "--policy", str(tmp_path / "policy.toml"))
        assert line in (
            f"the program {tmp_path}/empty.wat is empty",
            f"cannot read {tmp_path}: not a file",
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--get", "x="), "'x=' is not NAME[=FILE]: the file is missing"),
            (("--get", "=x"), "'=x' is not NAME[=FILE]: the name is missing"),
            (("--get", "/"), "'/' is not NAME[=FILE]: the file is missing"),
            (("--put", "x="), "'x=' is not FILE[=NAME]: the name is missing"),
            (("--put", ""), "'' is not FILE[=NAME]: the file is missing"),
            (("-p", "=x"), "'=x' is not [NAME=]FILE: the name is missing"),
            (("-p", ""), "'' is not [NAME=]FILE: the file is missing"),
            (("--env", "=x"), "'=x' is not NAME=VALUE: the name is missing"),
            (("--env", "x=\udcff"), "'\\udcff' is not UTF-8"),
            (("-s", "\udcff"), "'\\udcff' is not UTF-8"),
            (("-p", "x", "--run", "--", "\udcff"), "'\\udcff' is not UTF-8"),
        ],
    )
    def test_wrong_usage(
        self, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as caught:
            cli.main(options)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err

    def test_interrupted(self, capsys: pytest.CaptureFixture[str]) -> None:
        def interrupt() -> int:
            raise KeyboardInterrupt

        assert cli.guarded(interrupt) == 130
        assert capsys.readouterr().err == "wasm-client: interrupted\n"

    def test_policy_and_simulation_exclude_each_other(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            cli.main(["--policy", "x", "--allow-simulation"])
        assert "not allowed with" in capsys.readouterr().err

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            cli.main(["-V"])
        assert capsys.readouterr().out.startswith("wasm-client ")


def no_reply(request: Request) -> Reply:
    raise AssertionError(f"a {request.title} was sent")


@pytest.mark.parametrize("arguments", ["one two", b"one", "x" * 10_000])
def test_arguments_of_a_command_are_no_text(arguments: Any) -> None:
    session, later = answering(no_reply), answering_later(no_reply)
    for run in (session.run, lambda words: asyncio.run(later.run(words))):
        with pytest.raises(ArgumentError, match=r"a sequence of strings, not one: write \[b?'") as caught:
            run(arguments)
        assert len(str(caught.value)) < 200


I32 = ValueType.I32
FUNCTIONS = {
    "echo": FuncType((I32,), (I32,)),
    "nothing": FuncType(),
    "two words": FuncType((), (I32, I32)),
    "fail": FuncType(),
}


def fake_session(functions: Mapping[str, FuncType] = FUNCTIONS) -> Session:
    """Answers without an enclave, which would have a program with these functions."""

    def reply(request: Request) -> Reply:
        if isinstance(request, InfoRequest):
            exports = (ExportInfo(name, type) for name, type in functions.items())
            return InfoResult("1.0.0", "native", ("main",), tuple(exports))
        assert isinstance(request, CallRequest)
        if request.function == "fail":
            return ErrorReply(ErrorCode.TRAP, "unreachable", (TraceFrame("m", 3, "", 0x20),))
        results = {"nothing": (), "two words": (Value.i32(1), Value.i32(2))}
        return CallResult(results.get(request.function, request.arguments))

    return answering(reply)


def answer(
    lines: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, verbose: bool = False
) -> tuple[int, list[str]]:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    errors = prompt.run(fake_session(), verbose=verbose)
    return errors, capsys.readouterr().out.splitlines()


class TestPrompt:
    def test_answers(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        lines = "echo 7\n\n   \nnothing\n'two words'\n  echo   0x10  \n q \necho 1\n"
        errors, out = answer(lines, monkeypatch, capsys)
        assert errors == 0
        assert out == ["output> 7", "output>", "output> 1 2", "output> 16"]

    def test_errors_are_counted(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        errors, out = answer("fail\n'open\necho\nquit\necho 1", monkeypatch, capsys)
        assert errors == 4
        assert out == [
            "error> trap: unreachable",
            "error> the line cannot be read: no closing quotation",
            "error> echo takes 1 argument, not 0: echo (param i32) (result i32)",
            "error> unknown function 'quit': the program's functions: echo, nothing, two words, fail",
            "output> 1",
        ]

    def test_what_is_no_file_is_not_read(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = ":load /dev/zero\n:write 0 @/tmp\n:load /nowhere\necho &@/dev/zero\n"
        errors, out = answer(lines, monkeypatch, capsys)
        assert errors == 4
        assert out == [
            "error> cannot read /dev/zero: not a file",
            "error> cannot read /tmp: not a file",
            "error> cannot read /nowhere: no such file or directory",
            "error> cannot read /dev/zero: not a file",
        ]

    def test_long_names_and_lists_are_cut(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        session = fake_session({f"f{number}{'-' * 100}": FuncType() for number in range(1000)})
        monkeypatch.setattr("sys.stdin", io.StringIO("x" * 100_000 + "\n"))
        assert prompt.run(session) == 1
        line = capsys.readouterr().out
        assert line.startswith(f"error> unknown function '{'x' * 64}...': ")
        assert line.endswith(", and 980 more\n") and len(line) < 2000

    def test_backtrace_when_verbose(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        _, out = answer("fail\n", monkeypatch, capsys, verbose=True)
        assert out == ["error> trap: unreachable", "  m!function 3 at offset 0x20"]

    def test_text_from_a_program_cannot_steer_the_terminal(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        evil = FunctionType("\x1b[2J\noutput> 2", (I32,), ())
        assert str(evil) == "\\x1b[2J\\noutput> 2 (param i32)"
        session = fake_session({evil.name: FuncType((I32,))})
        monkeypatch.setattr("sys.stdin", io.StringIO("x\n'\x1b[2J'\n"))
        assert prompt.run(session) == 2
        assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())

    def test_no_functions(self, capsys: pytest.CaptureFixture[str]) -> None:
        prompt.list_functions([])
        assert capsys.readouterr().out == "the program exports no functions\n"
