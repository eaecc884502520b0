"""What programs took is given back when they have ended or were replaced, while the session goes on."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schannel.messages import (
    CallRequest,
    DeployRequest,
    DeployResult,
    ErrorReply,
    ReadRequest,
    Reply,
    Request,
    RunRequest,
    RunResult,
)
from wasm_rt.application import Application
from wasm_rt.configuration import Configuration

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="proc(5) tells what a process has")

SIZE = 50 << 20
ROUNDS = 4

SMALL = b'(module (func (export "one") (result i32) i32.const 1))'
LIBRARY = b"""(module (global $count (mut i32) (i32.const 0))
  (func (export "count") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count)))"""


def program(*fields: bytes, before: bytes = b"") -> bytes:
    """A module that has 50 MiB of memory."""
    return b'(module %s (memory (export "memory") 800) %s)' % (before, b" ".join(fields))


COMMANDS = {
    "ends": program(b'(func (export "_start"))'),
    "exits": program(
        b'(func (export "_start") (call $exit (i32.const 3)))',
        before=b'(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))',
    ),
    "traps": program(b'(func $f unreachable) (func (export "_start") call $f)'),
    "throws": program(b'(tag $t (param i32)) (func (export "_start") i32.const 1 throw $t)'),
    "starts with a trap": program(b'(func $f unreachable) (start $f) (func (export "_start"))'),
    "never ends": program(b'(func (export "_start") (loop br 0))'),
    "asks WASI for nonsense": program(
        b"""(func (export "_start")
          (drop (call $write (i32.const 1) (i32.const -1) (i32.const 9) (i32.const 0))))""",
        before=b'(import "wasi_snapshot_preview1" "fd_write"'
        b" (func $write (param i32 i32 i32 i32) (result i32)))",
    ),
}


@pytest.fixture
def application() -> Iterator[Application]:
    """One that has run something, in a process where nothing is left of what was before."""
    gc.collect()
    # As in an enclave: collections do not look at what was there before.
    gc.freeze()
    application = Application(Configuration())
    answered(application, DeployRequest("main", COMMANDS["traps"]))
    answered(application, RunRequest("main"))
    yield application
    gc.unfreeze()


def answered(application: Application, request: Request) -> Reply:
    """The reply, and what follows when it is on its way."""
    reply = application.handle(request)
    application.settle()
    return reply


def taken() -> int:
    """Bytes that the limit of an enclave's memory counts."""
    found = re.search(r"^VmData:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def grown(repeat: Callable[[], object]) -> int:
    """By how much what the process has grows, once it has been done before."""
    repeat()
    before = taken()
    for _ in range(ROUNDS):
        repeat()
    return taken() - before


@pytest.mark.parametrize("source", COMMANDS.values(), ids=COMMANDS)
def test_runs_of_a_command(application: Application, source: bytes) -> None:
    answered(application, DeployRequest("library", LIBRARY))
    answered(application, DeployRequest("main", source))
    run = RunRequest("main", fuel=100_000)
    before = taken()
    kind = type(answered(application, run))
    assert taken() - before < SIZE
    assert grown(lambda: answered(application, run)) < SIZE
    assert type(answered(application, run)) is kind


REPLACED = {
    "unused": [],
    "called": [CallRequest("main", "one")],
    "trapped": [CallRequest("main", "trap")],
    "read": [ReadRequest("main", 0, 4)],
    "grown": [CallRequest("main", "grow")],
}
FUNCTIONS = b"""(func (export "one") (result i32) i32.const 1)
  (func (export "trap") unreachable)
  (func (export "grow") (result i32) (memory.grow (i32.const 100)))"""


@pytest.mark.parametrize("command", [b"", b'(func (export "_start"))'], ids=["module", "command"])
@pytest.mark.parametrize("requests", REPLACED.values(), ids=REPLACED)
@pytest.mark.parametrize("by", [SMALL, COMMANDS["ends"]], ids=["by a module", "by a command"])
def test_replaced_programs(
    application: Application, requests: list[Request], command: bytes, by: bytes
) -> None:
    before = taken()
    for _ in range(ROUNDS):
        for request in (DeployRequest("main", program(FUNCTIONS, command)), *requests):
            answered(application, request)
        assert isinstance(answered(application, DeployRequest("main", by)), DeployResult)
    assert taken() - before < SIZE


def test_programs_that_cannot_be_instantiated(application: Application) -> None:
    source = program(b"(func $f unreachable) (start $f)")
    assert grown(lambda: answered(application, DeployRequest("main", source))) < SIZE
    command = program(b'(func $f unreachable) (start $f) (func (export "_start")) (func (export "f"))')
    answered(application, DeployRequest("main", command))
    assert grown(lambda: answered(application, CallRequest("main", "f"))) < SIZE
    assert isinstance(answered(application, CallRequest("main", "f")), ErrorReply)


def test_what_is_linked_stays_linked(application: Application) -> None:
    """Runs and replacements of others change nothing about modules that are in use."""
    application = Application(Configuration())
    user = b"""(module (import "library" "count" (func $c (result i32)))
      (func (export "%s") (result i32) call $c))"""
    importing = b"""(module (import "library" "count" (func $c (result i32)))
      (func (export "_start") (drop (call $c))))"""
    answered(application, DeployRequest("library", LIBRARY))
    answered(application, DeployRequest("other", SMALL))
    answered(application, DeployRequest("user", user % b"f"))
    answered(application, DeployRequest("alone", COMMANDS["traps"]))
    answered(application, DeployRequest("command", importing))
    answered(application, DeployRequest("other", SMALL))
    said = []
    for request in (
        CallRequest("user", "f"),
        CallRequest("library", "count"),
        RunRequest("alone"),
        RunRequest("command"),
        CallRequest("user", "f"),
    ):
        reply = answered(application, request)
        if isinstance(reply, RunResult):
            assert reply.exit_code == 0
        elif not isinstance(reply, ErrorReply):
            said.append([value.to_python() for value in reply.values])  # type: ignore[attr-defined]
    assert said == [[1], [2], [4]]
    answered(application, DeployRequest("library", user % b"count"))
    reply = answered(application, CallRequest("library", "count"))
    assert [value.to_python() for value in reply.values] == [5], "the new one is linked with the old"  # type: ignore[attr-defined]
