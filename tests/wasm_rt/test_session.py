"""One session: linked modules, buffers, files, commands, and receipts of it all."""

from __future__ import annotations

import pytest

from schannel.errors import ReceiptError
from schannel.handshake import identity_key
from schannel.messages import (
    CallRequest,
    CallResult,
    DeployRequest,
    DeployResult,
    ErrorCode,
    ErrorReply,
    GetRequest,
    GetResult,
    PutRequest,
    PutResult,
    ReadRequest,
    ReadResult,
    ReceiptRequest,
    ReceiptResult,
    Reply,
    Request,
    RunRequest,
    RunResult,
    Value,
    WriteRequest,
    WriteResult,
)
from schannel.receipts import Receipt, message_digest, verify_receipt
from wasm_rt.application import Application
from wasm_rt.configuration import Configuration

KEY = identity_key(b"\x05" * 32)
LIBRARY = b"""(module
  (memory (export "memory") 1)
  (global $count (mut i32) (i32.const 0))
  (func (export "next") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1))) global.get $count))"""
USER = b"""(module
  (import "library" "next" (func $next (result i32)))
  (import "library" "memory" (memory 1))
  (func (export "twice") (result i32) (drop (call $next)) (call $next))
  (func (export "first") (result i32) (i32.load8_u (i32.const 0)))
  (func (export "trap") unreachable))"""
# Copies standard input to standard output, 1,024 bytes at a time.
CAT = b"""(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $more
      (i32.store (i32.const 0) (i32.const 64))
      (i32.store (i32.const 4) (i32.const 1024))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.load (i32.const 8))
        (then
          (i32.store (i32.const 4) (i32.load (i32.const 8)))
          (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (br $more))))
    (call $exit (i32.const 7))))"""


@pytest.fixture
def application() -> Application:
    made = Application(Configuration(max_file_bytes=100_000), None, KEY)
    made.begin(b"\x09" * 32)
    return made


def code(reply: Reply) -> ErrorCode:
    assert isinstance(reply, ErrorReply), reply
    return reply.code


def receipt(application: Application, number: int = 0) -> Receipt:
    reply = application.handle(ReceiptRequest(number))
    assert isinstance(reply, ReceiptResult)
    return verify_receipt(reply.receipt, KEY.public)


def test_modules_link_by_name(application: Application) -> None:
    assert code(application.handle(DeployRequest("user", USER))) is ErrorCode.LINK_FAILED
    application.handle(DeployRequest("library", LIBRARY))
    assert isinstance(application.handle(DeployRequest("user", USER)), DeployResult)
    twice = application.handle(CallRequest("user", "twice"))
    again = application.handle(CallRequest("library", "next"))
    assert isinstance(twice, CallResult) and twice.values == (Value.i32(2),)
    assert isinstance(again, CallResult) and again.values == (Value.i32(3),)


def test_memory_is_written_and_read(application: Application) -> None:
    application.handle(DeployRequest("library", LIBRARY))
    application.handle(DeployRequest("user", USER))
    assert application.handle(WriteRequest("library", 0, b"*text")) == WriteResult()
    assert application.handle(ReadRequest("library", 1, 4, "memory")) == ReadResult(b"text")
    first = application.handle(CallRequest("user", "first"))
    assert isinstance(first, CallResult) and first.values == (Value.i32(ord("*")),)
    for request, expected in (
        (WriteRequest("library", 65533, b"text"), ErrorCode.BAD_ARGUMENTS),
        (WriteRequest("library", 2**64 - 1, b""), ErrorCode.BAD_ARGUMENTS),
        (ReadRequest("library", 2**63, 1), ErrorCode.BAD_ARGUMENTS),
        (ReadRequest("library", 0, 2**32 - 1), ErrorCode.TOO_LARGE),
        (ReadRequest("library", 0, 1, "x"), ErrorCode.NOT_FOUND),
        (ReadRequest("user", 0, 1), ErrorCode.NOT_FOUND),
        (ReadRequest("nobody", 0, 1), ErrorCode.NOT_DEPLOYED),
    ):
        assert code(application.handle(request)) is expected


def test_files_in_pieces(application: Application) -> None:
    assert application.handle(PutRequest("a/b", b"one")) == PutResult(3)
    assert application.handle(PutRequest("a/b", b"two", 3)) == PutResult(6)
    assert application.handle(GetRequest("a/b")) == GetResult(6, b"onetwo")
    assert application.handle(GetRequest("a/b", 2, 2)) == GetResult(6, b"et")
    assert application.handle(GetRequest("a/b", 2**63, 2)) == GetResult(6, b"")
    assert application.handle(PutRequest("a/b", b"new")) == PutResult(3)
    for request, expected in (
        (PutRequest("a/b", b"x", 9), ErrorCode.BAD_REQUEST),
        (PutRequest("a/b/c", b"x"), ErrorCode.BAD_REQUEST),
        (PutRequest("a", b"x"), ErrorCode.BAD_REQUEST),
        (PutRequest("c", bytes(200_000)), ErrorCode.LIMIT_EXCEEDED),
        (PutRequest("c", b"x", 1), ErrorCode.NOT_FOUND),
        (GetRequest("a"), ErrorCode.NOT_FOUND),
        (GetRequest("../a/b"), ErrorCode.NOT_FOUND),
    ):
        assert code(application.handle(request)) is expected
    assert application.handle(GetRequest("a/b")) == GetResult(3, b"new")


def test_a_command_runs_to_its_end(application: Application) -> None:
    application.handle(DeployRequest("cat", CAT))
    data = bytes(range(256)) * 20
    for _ in range(8):
        result = application.handle(RunRequest("cat", ("-n",), (("A", "b"),), data))
        assert isinstance(result, RunResult)
        assert (result.exit_code, bytes(result.stdout), result.stderr) == (7, data, b"")
        assert result.fuel_used > 100
    assert code(application.handle(RunRequest("cat", fuel=10))) is ErrorCode.OUT_OF_FUEL
    assert code(application.handle(RunRequest("cat", environment=(("", "x"),)))) is ErrorCode.BAD_ARGUMENTS


def test_a_receipt_says_what_happened(application: Application) -> None:
    application.handle(DeployRequest("library", LIBRARY))
    call = CallRequest("library", "next")
    first, second = application.handle(call, 2), application.handle(call, 3)
    assert isinstance(first, CallResult)
    receipts = [receipt(application, 2), receipt(application, 3)]
    assert receipt(application) == receipts[1]
    assert [item.counter for item in receipts] == [1, 2]
    assert receipts[0].session == b"\x09" * 32
    assert (receipts[0].kind, receipts[0].function) == (CallRequest.type_byte, "next")
    assert receipts[0].request_digest == message_digest(call)
    assert [item.reply_digest for item in receipts] == [message_digest(first), message_digest(second)]
    assert receipts[0].fuel_used == first.fuel_used
    assert receipts[0].history != receipts[1].history
    assert code(application.handle(ReceiptRequest(99))) is ErrorCode.NOT_FOUND


def test_when_a_receipt_is_asked_for_does_not_change_it() -> None:
    """What it says is worked out for many calls together, or when it is wanted."""
    said = []
    for asked in (range(1, 200), (70, 199)):
        made = Application(Configuration(), None, KEY)
        made.handle(DeployRequest("library", LIBRARY))
        receipts = {}
        for number in range(1, 200):
            call = PutRequest("f", b"1") if number % 50 == 0 else CallRequest("library", "next")
            made.handle(call, number)
            if number in asked and isinstance(call, CallRequest):
                receipts[number] = receipt(made, number)
        said.append([receipts[70], receipts[199], receipt(made, 1), receipt(made, 64), receipt(made, 65)])
    assert said[0] == said[1]


def test_equal_sessions_have_equal_histories() -> None:
    requests: list[Request] = [
        DeployRequest("library", LIBRARY),
        DeployRequest("user", USER),
        PutRequest("f", b"1"),
        WriteRequest("library", 0, b"1"),
        CallRequest("user", "trap"),
        CallRequest("user", "twice"),
    ]
    ends = []
    for left_out in (None, None, 2, 3, 4):
        made = Application(Configuration(), None, KEY)
        for index, request in enumerate(requests):
            if index != left_out:
                made.handle(request)
        ends.append(receipt(made).history)
    assert ends[0] == ends[1]
    assert len(set(ends)) == 4


def test_a_trap_has_a_receipt_too(application: Application) -> None:
    application.handle(DeployRequest("library", LIBRARY))
    application.handle(DeployRequest("user", USER))
    trap = application.handle(CallRequest("user", "trap"))
    assert isinstance(trap, ErrorReply) and trap.backtrace
    said = (receipt(application).outcome, receipt(application).reply_digest)
    assert said == (ErrorCode.TRAP, message_digest(trap))


def test_a_changed_receipt_is_no_receipt(application: Application) -> None:
    application.handle(DeployRequest("library", LIBRARY))
    application.handle(CallRequest("library", "next"))
    reply = application.handle(ReceiptRequest())
    assert isinstance(reply, ReceiptResult)
    signed = reply.receipt
    for position in range(len(signed)):
        changed = bytearray(signed)
        changed[position] ^= 1
        with pytest.raises(ReceiptError):
            verify_receipt(bytes(changed), KEY.public)
    for other in (signed[:-1], signed + b"\0", b""):
        with pytest.raises(ReceiptError):
            verify_receipt(other, KEY.public)
    with pytest.raises(ReceiptError):
        verify_receipt(signed, identity_key(b"\x06" * 32).public)


COUNTER = b"""(module
  (global $count (mut i32) (i32.const 0))
  (func (export "next") (global.set $count (i32.add (global.get $count) (i32.const 1))))
  (func (export "count") (result i32) (global.get $count)))"""
# Made when it is first used, and its start function counts.
COMMAND = b"""(module
  (import "library" "next" (func $next))
  (memory (export "memory") 1)
  (start $next)
  (func (export "_start"))
  (func (export "takes") (param i32)))"""


@pytest.mark.parametrize(
    "request_",
    [
        ReadRequest("command", 0, 1),
        ReadRequest("command", 1 << 40, 1),
        WriteRequest("command", 0, b"x"),
        WriteRequest("command", 1 << 40, b"x"),
        CallRequest("command", "missing"),
        CallRequest("command", "takes"),
        CallRequest("command", "takes", (Value.i32(1),)),
        RunRequest("command"),
    ],
    ids=lambda request_: f"{type(request_).__name__}-{request_[:2] if isinstance(request_, tuple) else ''}",
)
def test_no_change_is_left_out_of_the_history(request_: Request) -> None:
    """Whatever makes an instance runs a start function, also where the request then fails."""
    counts, histories = [], []
    for requests in ((), (request_,)):
        made = Application(Configuration(), None, KEY)
        for each in (DeployRequest("library", COUNTER), DeployRequest("command", COMMAND), *requests):
            made.handle(each)
        reply = made.handle(CallRequest("library", "count"))
        assert isinstance(reply, CallResult)
        counts.append(reply.values[0].bits)
        histories.append(receipt(made).history)
    assert counts == [0, 1]
    assert histories[0] != histories[1]


def test_what_was_made_before_is_not_in_the_history_again() -> None:
    """Reading, and calls that cannot be made, change nothing of an instance that is there."""
    histories = []
    between: list[tuple[Request, ...]] = [
        (),
        (ReadRequest("library", 0, 1), CallRequest("library", "missing")),
    ]
    for requests in between:
        made = Application(Configuration(), None, KEY)
        for each in (DeployRequest("library", LIBRARY), *requests, CallRequest("library", "next")):
            made.handle(each)
        histories.append(receipt(made).history)
    assert histories[0] == histories[1]


def test_files_that_do_not_fit_are_in_the_history(application: Application) -> None:
    """Their folders are there all the same."""
    application.handle(DeployRequest("library", LIBRARY))
    application.handle(CallRequest("library", "next"))
    before = receipt(application).history
    assert code(application.handle(PutRequest("folder/file", bytes(200_000)))) is ErrorCode.LIMIT_EXCEEDED
    assert code(application.handle(PutRequest("folder", b""))) is ErrorCode.BAD_REQUEST, "it is a folder"
    other = Application(Configuration(), None, KEY)
    other.handle(DeployRequest("library", LIBRARY))
    for _ in range(2):
        other.handle(CallRequest("library", "next"))
    application.handle(CallRequest("library", "next"))
    assert receipt(application).history not in (before, receipt(other).history)
