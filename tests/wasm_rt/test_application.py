"""Whatever a request holds, the application answers it."""

from __future__ import annotations

import configparser
import time
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinywasm
from schannel.errors import LocalError
from schannel.messages import (
    MESSAGES,
    CallRequest,
    CallResult,
    DeployRequest,
    DeployResult,
    ErrorCode,
    ErrorReply,
    InfoRequest,
    InfoResult,
    ReceiptRequest,
    Reply,
    Request,
    RunRequest,
    RunResult,
    SealRequest,
    Value,
    ValueType,
)
from schannel.types import FuncType, GlobalType, MemoryType, TableType, TagType
from tests.engines import needs_llvm
from tinywasm.runtime.func import FuncInstance
from tinywasm.wasi import MemoryTree
from wasm_rt import call_timer
from wasm_rt.answers import ANSWERS
from wasm_rt.application import VERSION, Application
from wasm_rt.configuration import Configuration
from wasm_rt.programs import Programs

PROGRAM = b"""(module $m
  (memory (export "memory") 1 200)
  (table (export "table") 1 funcref)
  (global (export "global") (mut i64) (i64.const 1))
  (tag (export "tag") (param i32))
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func $trap (export "trap") unreachable)
  (func (export "outer") call $trap)
  (func (export "spin") (loop br 0))
  (func $deep (export "deep") call $deep)
  (func (export "grow") (param i32) (result i32) local.get 0 memory.grow)
  (func (export "throw") i32.const 1 throw 0)
  (func (export "two") (result i32 i64) i32.const 1 i64.const -1)
  (func (export "reference") (result funcref) ref.null func)
  (func (export "takes reference") (param externref))
  (func (export "f32") (param f32) (result f32) local.get 0)
  (func (export "f64") (param f64) (result f64) local.get 0)
  (func (export "i32") (param i32) (result i32) local.get 0)
  (func (export "i64") (param i64) (result i64) local.get 0)
  (func (export "v128") (param v128) (result v128) local.get 0))"""


@pytest.fixture(scope="module")
def application() -> Application:
    application = Application(Configuration(max_call_depth=500, max_memory_pages=100, max_modules=3))
    assert isinstance(application.handle(DeployRequest("main", PROGRAM)), DeployResult)
    return application


def error(reply: Reply) -> ErrorReply:
    assert isinstance(reply, ErrorReply), reply
    return reply


def results(reply: Reply) -> list[object]:
    assert isinstance(reply, CallResult), reply
    return [value.to_python() for value in reply.values]


def test_call(application: Application) -> None:
    reply = application.handle(CallRequest("main", "add", (Value.i32(1), Value.i32(-3))))
    assert results(reply) == [-2]
    assert isinstance(reply, CallResult) and reply.fuel_used > 0
    assert results(application.handle(CallRequest("main", "two"))) == [1, -1]


def test_every_request_is_answered() -> None:
    assert set(ANSWERS) == {message for message in MESSAGES.values() if issubclass(message, Request)}


def test_info(application: Application) -> None:
    info = application.handle(InfoRequest("main"))
    assert isinstance(info, InfoResult)
    types = {export.name: export.type for export in info.exports}
    assert types["add"] == FuncType((ValueType.I32, ValueType.I32), (ValueType.I32,))
    assert types["trap"] == FuncType()
    assert isinstance(types["memory"], MemoryType)
    assert isinstance(types["table"], TableType)
    assert isinstance(types["global"], GlobalType)
    assert isinstance(types["tag"], TagType)
    assert "main" in info.modules
    overview = application.handle(InfoRequest())
    assert isinstance(overview, InfoResult) and overview.exports == ()


@given(
    kind=st.sampled_from([ValueType.I32, ValueType.I64, ValueType.F32, ValueType.F64, ValueType.V128]),
    number=st.integers(0, 2**128 - 1),
)
def test_values_keep_every_bit(application: Application, kind: ValueType, number: int) -> None:
    width = {ValueType.I32: 32, ValueType.F32: 32, ValueType.V128: 128}.get(kind, 64)
    value = Value(kind, number % (1 << width))
    reply = application.handle(CallRequest("main", kind.name.lower(), (value,)))
    assert isinstance(reply, CallResult) and reply.values == (value,)


@pytest.mark.parametrize("bits", [0x7FC00001, 0x7F800001, 0xFFA00000, 0x80000000, 0x7F800000])
def test_single_keeps_its_payload(application: Application, bits: int) -> None:
    value = Value(ValueType.F32, bits)
    reply = application.handle(CallRequest("main", "f32", (value,)))
    assert isinstance(reply, CallResult) and reply.values == (value,)


def test_trap_has_its_backtrace(application: Application) -> None:
    reply = error(application.handle(CallRequest("main", "outer")))
    assert (reply.code, reply.message) == (ErrorCode.TRAP, "unreachable")
    assert [frame.function_name for frame in reply.backtrace] == ["trap", ""]
    assert {frame.module for frame in reply.backtrace} == {"m"}


WRITING = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\03\\00\\00\\00\\13\\00\\00\\00\\03\\00\\00\\00outerr")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))
    (drop (call $write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 32)))
    {}))"""


@pytest.mark.parametrize(
    ("then", "code"),
    [
        ("unreachable", ErrorCode.TRAP),
        ("(loop (br 0))", ErrorCode.OUT_OF_FUEL),
        ("(call $f)) (func $f (call $f)", ErrorCode.STACK_EXHAUSTED),
    ],
)
def test_what_a_command_wrote_before_it_failed_comes_with_the_error(then: str, code: ErrorCode) -> None:
    application = Application(Configuration(max_fuel=10_000, max_call_depth=100))
    assert isinstance(application.handle(DeployRequest("main", WRITING.format(then).encode())), DeployResult)
    reply = error(application.handle(RunRequest("main")))
    assert (reply.code, bytes(reply.stdout), reply.stderr) == (code, b"out", b"err")


def test_unknown_function_names_the_nearest(application: Application) -> None:
    reply = error(application.handle(CallRequest("main", "ad")))
    assert reply.code is ErrorCode.NOT_FOUND
    assert reply.message == "no function 'ad' is exported: did you mean 'add'?"
    assert "did you mean" not in error(application.handle(CallRequest("main", "memory"))).message


@pytest.mark.parametrize(
    "arguments", [(), (Value.i32(1),), (Value.i32(1), Value.i64(1)), (Value.i32(1),) * 3]
)
def test_wrong_arguments_name_the_type(application: Application, arguments: tuple[Value, ...]) -> None:
    reply = error(application.handle(CallRequest("main", "add", arguments)))
    assert reply.code is ErrorCode.BAD_ARGUMENTS
    assert "(func (param i32 i32) (result i32))" in reply.message


def test_references_stay_inside(application: Application) -> None:
    assert error(application.handle(CallRequest("main", "reference"))).code is ErrorCode.UNSUPPORTED
    reply = error(application.handle(CallRequest("main", "takes reference", (Value.i32(1),))))
    assert reply.code is ErrorCode.BAD_ARGUMENTS


def test_call_of_what_is_not_deployed(application: Application) -> None:
    assert error(application.handle(CallRequest("other", "add"))).code is ErrorCode.NOT_DEPLOYED
    assert error(application.handle(InfoRequest("other"))).code is ErrorCode.NOT_DEPLOYED


def test_endless_loop_ends(application: Application) -> None:
    begun = time.monotonic()
    assert (
        error(application.handle(CallRequest("main", "spin", timeout_ms=100))).code is ErrorCode.INTERRUPTED
    )
    assert time.monotonic() - begun < 20
    assert error(application.handle(CallRequest("main", "spin", fuel=5000))).code is ErrorCode.OUT_OF_FUEL
    # An interruption that came too late must not hit the next call.
    application.interrupt("too late")
    assert results(application.handle(CallRequest("main", "i32", (Value.i32(1),)))) == [1]


def test_an_interruption_as_a_call_ends_hits_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(Configuration(), MemoryTree())
    programs.deploy("main", PROGRAM, b"")
    add = programs.instance("main").exports["add"]
    assert isinstance(add, FuncInstance) and add.module is not None
    store = add.module.store
    start, stop = call_timer.start, call_timer.stop

    def look_again(interrupt: Callable[[], None], seconds: float) -> None:
        # As anything does that the store is told of.
        store.set_deadline(None)
        start(interrupt, seconds)

    def late() -> None:
        programs.interrupt("it came as the call ended")
        stop()

    monkeypatch.setattr(call_timer, "start", look_again)
    monkeypatch.setattr(call_timer, "stop", late)
    for _ in range(3):
        assert programs.call(add, [1, 2], 0, 0) == [3]


def test_configuration_limits_time() -> None:
    # Deploying has the same limit, and takes a while where much else is done.
    application = Application(Configuration(max_call_ms=1000))
    application.handle(DeployRequest("main", PROGRAM))
    reply = error(application.handle(CallRequest("main", "spin", timeout_ms=1 << 31)))
    assert reply.code is ErrorCode.INTERRUPTED
    assert reply.message == "interrupted: the time limit was reached"


def test_each_call_has_the_time_that_it_was_given() -> None:
    """Whatever limits the calls before it had, whose timer may still be running."""
    application = Application(Configuration(max_call_ms=600_000))
    application.handle(DeployRequest("main", PROGRAM))
    one = (Value.i32(1),)
    for timeout_ms in (0, 20, 100, 20):
        assert results(application.handle(CallRequest("main", "i32", one, 0, timeout_ms))) == [1]
        begun = time.monotonic()
        assert error(application.handle(CallRequest("main", "spin", (), 0, 50))).code is ErrorCode.INTERRUPTED
        assert time.monotonic() - begun >= 0.05


def test_start_function_is_limited() -> None:
    application = Application(Configuration(max_call_ms=50))
    reply = error(application.handle(DeployRequest("main", b"(module (func $f (loop br 0)) (start $f))")))
    assert reply.code is ErrorCode.INTERRUPTED
    assert error(application.handle(InfoRequest("main"))).code is ErrorCode.NOT_DEPLOYED


def test_other_limits(application: Application) -> None:
    assert error(application.handle(CallRequest("main", "deep"))).code is ErrorCode.STACK_EXHAUSTED
    assert results(application.handle(CallRequest("main", "grow", (Value.i32(99),)))) == [1]
    assert results(application.handle(CallRequest("main", "grow", (Value.i32(1),)))) == [-1]
    assert error(application.handle(CallRequest("main", "throw"))).code is ErrorCode.WASM_EXCEPTION


@pytest.mark.parametrize(
    ("module", "code", "words"),
    [
        (b"", ErrorCode.MALFORMED_MODULE, "the program is empty"),
        (b" \n\t", ErrorCode.MALFORMED_MODULE, "the program is empty"),
        (b"\0asm", ErrorCode.MALFORMED_MODULE, "unexpected end"),
        (b"\0asm\2\0\0\0", ErrorCode.MALFORMED_MODULE, "unknown binary version"),
        (b"\xff\xff", ErrorCode.MALFORMED_MODULE, "the module is neither"),
        (b"(module (func $f", ErrorCode.MALFORMED_MODULE, None),
        (b"(module (func (result i32)))", ErrorCode.INVALID_MODULE, "type mismatch"),
        (b'(module (import "a" "b" (func)))', ErrorCode.LINK_FAILED, "unknown import"),
        (b"(module (func $f unreachable) (start $f))", ErrorCode.TRAP, "unreachable"),
        (b"(module (memory 1) (data (i32.const 65536) \"a\"))", ErrorCode.TRAP, "out of bounds"),
        (b"(" * 100_000, ErrorCode.MALFORMED_MODULE, None),
        (b"(module (func" + b"(block " * 50_000 + b")" * 50_000 + b"))", None, None),
    ],
)  # fmt: skip
def test_bad_modules(
    application: Application, module: bytes, code: ErrorCode | None, words: str | None
) -> None:
    reply = application.handle(DeployRequest("bad", module))
    if code is None:
        assert not isinstance(reply, ErrorReply) or reply.code is not ErrorCode.INTERNAL
        return
    assert error(reply).code is code
    assert words is None or error(reply).message.startswith(words)


PROGRAMS = sorted((Path(__file__).parents[1] / "wasi_programs").glob("*.wasm"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_compiled_programs_run_from_what_was_received(program: Path) -> None:
    # As the channel hands it over: a view, not bytes.
    received = memoryview(bytearray(program.read_bytes()))
    application = Application(Configuration())
    assert isinstance(application.handle(DeployRequest("main", received)), DeployResult)
    reply = application.handle(RunRequest("main"))
    assert isinstance(reply, RunResult), reply
    assert reply.fuel_used > 0


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(application: Application, junk: bytes) -> None:
    for module in (junk, b"\0asm\1\0\0\0" + junk):
        reply = application.handle(DeployRequest("junk", module))
        assert not isinstance(reply, ErrorReply) or reply.code is not ErrorCode.INTERNAL, reply


def test_number_and_names_of_modules_are_limited() -> None:
    application = Application(Configuration(max_modules=2))
    for name in ("a", "b", "a"):
        assert isinstance(application.handle(DeployRequest(name, b"(module)")), DeployResult)
    assert error(application.handle(DeployRequest("c", b"(module)"))).code is ErrorCode.LIMIT_EXCEEDED
    for name in ("", "x" * 257):
        assert error(application.handle(DeployRequest(name, b"(module)"))).code is ErrorCode.BAD_REQUEST


def test_deploying_again_replaces() -> None:
    application = Application(Configuration())
    for number in (1, 2):
        text = f'(module (func (export "f") (result i32) i32.const {number}))'
        application.handle(DeployRequest("main", text.encode()))
    assert results(application.handle(CallRequest("main", "f"))) == [2]


def test_what_is_not_offered(application: Application) -> None:
    assert error(application.handle(SealRequest("main", b""))).code is ErrorCode.NOT_ALLOWED
    assert error(application.handle(ReceiptRequest(99))).code is ErrorCode.NOT_FOUND
    application.identify(b"\1" * 32)
    assert error(application.handle(SealRequest("main", b"p"))).code is ErrorCode.UNSUPPORTED
    assert error(application.handle(SealRequest("main", b""))).message == "the program is empty"
    assert error(application.handle(RunRequest("main"))).code is ErrorCode.LINK_FAILED


def test_failure_of_ours_tells_its_kind_only(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr("wasm_rt.programs.Programs.call", fail)
    reply = error(application.handle(CallRequest("main", "two")))
    assert (reply.code, reply.message) == (ErrorCode.INTERNAL, "the enclave failed: KeyError")


def test_version_is_the_release() -> None:
    config = configparser.ConfigParser()
    config.read(Path(__file__).resolve().parents[2] / "setup.cfg")
    assert ".".join(map(str, VERSION)) == config["metadata"]["version"]


@pytest.mark.parametrize("value", [0, -1, 1 << 63, 1 << 20_000, True, 1.5, "1", [], {"a": 1}], ids=type)
def test_limits_are_positive_numbers(value: object) -> None:
    with pytest.raises(LocalError, match="max_call_ms is a positive number"):
        Configuration.from_mapping({"max_call_ms": value})


@pytest.mark.parametrize("name", ["deployers", "callers"])
def test_keys_of_clients(name: str) -> None:
    key = "ab" * 32
    assert getattr(Configuration.from_mapping({name: [key, key.upper()]}), name) == (key,)
    for wrong in ("ab " * 32, f" {key}", key[1:], key + "0", "xy" * 32, 3):
        with pytest.raises(LocalError, match=f"{name} is a list of client keys of 64 hexadecimal digits"):
            Configuration.from_mapping({name: [wrong]})
    # Whoever takes out the last key does not mean to let everybody in.
    with pytest.raises(LocalError, match=f"{name} lists no client key: leave it out to let everybody"):
        Configuration.from_mapping({name: []})


def test_configuration_digest_covers_every_limit() -> None:
    def changed_in(name: str) -> Configuration:
        change: dict[str, Any] = {name: 1}
        return replace(Configuration(), **change)

    changed = [changed_in(item.name) for item in fields(Configuration)]
    digests = {item.digest() for item in (Configuration(), *changed)}
    assert len(digests) == 1 + len(changed)
    assert all(len(digest) == 32 for digest in digests)


@needs_llvm
@pytest.mark.parametrize("readable", [False, True])
def test_machine_code_is_refused(readable: bool) -> None:
    """What was made ahead of time, which nothing can verify, whatever it looks like."""
    engine = tinywasm.Engine(tinywasm.Config(engine="native"))
    made = tinywasm.Module(engine, '(module (func (export "f")))').compile()
    source = bytes(min(byte, 127) for byte in made) if readable else made
    application = Application(Configuration())
    assert error(application.handle(DeployRequest("main", source))).code is ErrorCode.MALFORMED_MODULE
    assert isinstance(application.handle(CallRequest("main", "f")), ErrorReply)


def test_deploying_takes_no_longer_than_a_call_may() -> None:
    application = Application(Configuration(max_call_ms=100))
    large = "(module" + "(func (result i32) (i32.add (i32.const 1) (i32.const 2)))" * 100_000 + ")"
    for source in (large.encode(), tinywasm.wat2wasm("(module" + '(import "m" "f" (func))' * 200_000 + ")")):
        reply = error(application.handle(DeployRequest("large", source)))
        assert reply.code is ErrorCode.INTERRUPTED and "the time limit was reached" in reply.message
    assert isinstance(application.handle(DeployRequest("main", PROGRAM)), DeployResult)
    assert isinstance(application.handle(CallRequest("main", "two")), CallResult)


def exporting(names: Iterable[str], function: str = "func $f") -> bytes:
    exports = "".join(f'(export "{name}" (func $f))' for name in names)
    return f"(module ({function}){exports})".encode()


def test_what_is_told_of_exports_takes_no_longer_than_a_call_may() -> None:
    """A program chooses how many there are, and how long their types are."""
    program = exporting(map(str, range(10_000)), f"func $f (param {'i32 ' * 1000})")
    module = tinywasm.wat2wasm(program.decode())
    begun = time.monotonic()
    assert isinstance(Application(Configuration()).handle(DeployRequest("main", module)), DeployResult)
    # Deploying has to be done in time, on a busy machine as well; telling takes more than ten times as long.
    limit = max(100, round(3000 * (time.monotonic() - begun)))
    application = Application(Configuration(max_call_ms=limit))
    assert isinstance(application.handle(DeployRequest("main", module)), DeployResult)
    reply = error(application.handle(InfoRequest("main")))
    assert reply.code is ErrorCode.INTERRUPTED and "the time limit was reached" in reply.message


@pytest.mark.parametrize("length", [50, 150])
def test_a_function_that_is_missed_is_not_looked_for_long(length: int) -> None:
    application = Application(Configuration())
    application.handle(DeployRequest("main", exporting(f"{'a' * length}{number}" for number in range(5000))))
    begun = time.monotonic()
    reply = error(application.handle(CallRequest("main", "a" * length + "x")))
    assert reply.code is ErrorCode.NOT_FOUND
    assert ("did you mean" in reply.message) is (length == 50)
    assert time.monotonic() - begun < 3
