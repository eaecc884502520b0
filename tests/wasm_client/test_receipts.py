"""Stored receipts: nothing in one, and nothing that is shown of it, can be exchanged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from schannel.ed25519_sha3 import ED25519_SHA3
from schannel.errors import LocalError
from schannel.evidence import Claims, Isolation, Report
from schannel.handshake import identity_key
from schannel.messages import (
    CallRequest,
    CallResult,
    DeployRequest,
    ErrorReply,
    ReceiptRequest,
    ReceiptResult,
    RunRequest,
    RunResult,
    TraceFrame,
    Value,
)
from schannel.monitor_keys import Monitor
from schannel.policy import Policy, verify_saved_evidence
from wasm_client.errors import ClientError
from wasm_client.receipts import NotGenuine, ReceiptFile, replay
from wasm_rt.application import Application
from wasm_rt.configuration import Configuration

MEASUREMENT, SESSION = b"\1" * 64, b"\3" * 32
KEY = identity_key(b"\5" * 32)
MONITOR = Monitor.boot(ED25519_SHA3.key_from_seed(bytes(32)), b"\2" * 64)
POLICY = Policy(
    enclave_measurements=frozenset({MEASUREMENT}),
    monitor_measurements=frozenset({MONITOR.monitor_hash}),
    real_devices=frozenset({MONITOR.device_public_key}),
)
PROGRAM = b"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\02\\00\\00\\00ok")
  (func (export "double") (param i32) (result i32) (i32.add (local.get 0) (local.get 0)))
  (func $deep (export "fail") (param i32) (drop (i32.div_s (local.get 0) (i32.const 0))))
  (func (export "spin") (param i32) (loop br 0))
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 12)))))"""
REQUESTS: dict[str, CallRequest | RunRequest] = {
    "call": CallRequest("main", "double", (Value.i32(21),), 1000, 5000),
    "call without limits": CallRequest("main", "double", (Value.i32(21),)),
    "trap": CallRequest("main", "fail", (Value.i32(1),), 1000, 5000),
    "out of fuel": CallRequest("main", "spin", (Value.i32(1),), 1000, 5000),
    "run": RunRequest("main", ("argument",), (("NAME", "value"),), b"input", 10_000, 5000),
    "run out of fuel": RunRequest("main", ("argument",), (("NAME", "value"),), b"input", 1),
}


@cache
def stored(kind: str) -> ReceiptFile:
    """A receipt as a client keeps it."""
    application = Application(Configuration(), None, KEY)
    application.begin(SESSION)
    application.handle(DeployRequest("main", PROGRAM), 1)
    request = REQUESTS[kind]
    reply = application.handle(request, 2)
    signed = application.handle(ReceiptRequest(2))
    assert isinstance(signed, ReceiptResult)
    claims = Claims(SESSION, Configuration().digest(), (0, 1, 0), Isolation(0), KEY.public)
    evidence = MONITOR.attest(MEASUREMENT, claims.build())
    return ReceiptFile.from_json(ReceiptFile(signed.receipt, evidence.to_compact(), request, reply).to_json())


@pytest.fixture(autouse=True)
def _evidence_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its signatures take longest, and here it is mostly the same."""
    monkeypatch.setattr("wasm_client.receipts.verify_saved_evidence", cache(verify_saved_evidence))


def refused(file: ReceiptFile) -> bool:
    try:
        file.verify(POLICY)
    except (ClientError, LocalError):
        # LocalError: it is not even a message any more, and no file holds such a one.
        return True
    return False


def other(value: Any) -> Iterator[Any]:
    """Values that are like `value`, and are not it."""
    if isinstance(value, Enum):
        yield from (item for item in type(value) if item is not value)
    elif isinstance(value, int):
        yield from (value + 1, value ^ 1 << 20)
    elif isinstance(value, str):
        yield from (value + "x", "x" + value[1:] if value[:1] != "x" else "y")
    elif isinstance(value, bytes | memoryview):
        yield from (bytes(value) + b"x", b"\xff" + bytes(value[1:]))
    elif isinstance(value, Value):
        yield from (Value.i32(value.bits ^ 1), Value.i64(value.bits), Value.f32(1.0))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            for changed in other(getattr(value, field.name)):
                yield replace(value, **{field.name: changed})
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield value[:index] + value[index + 1 :]
            yield (*value[:index], item, *value[index:])
            for changed in other(item):
                yield (*value[:index], changed, *value[index + 1 :])


def changed_messages(message: Any) -> Iterator[tuple[str, Any]]:
    """The message with one field changed, for each field, and the field's name."""
    tuple_like = isinstance(message, CallRequest | CallResult)
    for name in message._fields if tuple_like else [field.name for field in fields(message)]:
        for changed in other(getattr(message, name)):
            again = message._replace(**{name: changed}) if tuple_like else replace(message, **{name: changed})
            yield name, again


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("part", ["request", "reply"])
def test_no_field_of_request_or_reply_can_be_exchanged(kind: str, part: str) -> None:
    file = stored(kind)
    receipt, verified = file.verify(POLICY)
    assert (receipt.session, verified.enclave_measurement) == (SESSION, MEASUREMENT)
    message = getattr(file, part)
    seen = set()
    for name, changed in changed_messages(message):
        assert refused(replace(file, **{part: changed})), (name, changed)
        seen.add(name)
    everything = set(getattr(message, "_fields", ())) or {field.name for field in fields(message)}
    empty = {name for name in everything if getattr(message, name) == ()}
    assert seen == everything - empty, "every field was changed"


def test_what_is_empty_stays_empty() -> None:
    call, trap, run = stored("call"), stored("out of fuel"), stored("run")
    assert isinstance(call.reply, CallResult) and isinstance(trap.reply, ErrorReply)
    frame = TraceFrame("main", 0, "double", 0)
    assert refused(replace(call, request=call.request._replace(arguments=())))  # type: ignore[union-attr]
    assert refused(replace(trap, reply=replace(trap.reply, backtrace=(frame,))))
    assert isinstance(run.request, RunRequest) and isinstance(run.reply, RunResult)
    for name in ("arguments", "environment"):
        emptied: dict[str, Any] = {name: ()}
        assert refused(replace(run, request=replace(run.request, **emptied)))


def test_the_cases_are_what_they_are_called() -> None:
    replies = {kind: stored(kind).reply for kind in REQUESTS}
    assert isinstance(replies["call"], CallResult) and isinstance(replies["run"], RunResult)
    trap = replies["trap"]
    assert isinstance(trap, ErrorReply) and trap.backtrace and trap.message == "integer divide by zero"
    assert isinstance(replies["out of fuel"], ErrorReply)


@dataclass
class Place:
    """A text somewhere in a JSON document: `put` exchanges it."""

    text: str
    put: Callable[[str], None]


def places(container: Any) -> Iterator[Place]:
    for key in container if isinstance(container, dict) else range(len(container)):
        value = container[key]
        if isinstance(value, str):
            yield Place(value, partial(container.__setitem__, key))
        elif isinstance(value, list):
            yield from places(value)


@pytest.mark.parametrize("kind", ["trap", "run"])
def test_no_byte_of_a_stored_receipt_can_be_changed(kind: str) -> None:
    top = json.loads(stored(kind).to_json())
    count = 0
    for place in places(top):
        step = 1 if set(place.text) <= set("0123456789abcdef") else len(place.text)
        for index in range(0, len(place.text), 2 if step == 1 else step):
            digit = f"{int(place.text[index], 16) ^ 1:x}" if step == 1 else "x"
            place.put(place.text[:index] + digit + place.text[index + 1 :])
            with pytest.raises(ClientError):
                ReceiptFile.from_json(json.dumps(top)).verify(POLICY)
            count += 1
        place.put(place.text)
    ReceiptFile.from_json(json.dumps(top)).verify(POLICY)
    assert count > 700


@pytest.mark.parametrize(
    "change",
    [
        {"error": "all is well"},
        {"format": "tinywasm receipt 4"},
        {"format": None},
        {"evidence": lambda text: text.upper()},
        {"receipt": lambda text: text + "00"},
        {"request": lambda pair: [*pair, "00"]},
        {"request": lambda pair: [2.0, pair[1]]},
        {"reply": lambda pair: [1, pair[1]]},
    ],
    # Not as functions are shown, which differs in every process that collects tests.
    ids=",".join,
)
def test_more_than_a_receipt_is_none(change: dict[str, Any]) -> None:
    top = json.loads(stored("call").to_json())
    for name, to in change.items():
        top[name] = to(top[name]) if callable(to) else to
    with pytest.raises(NotGenuine):
        ReceiptFile.from_json(json.dumps(top)).verify(POLICY)


def test_evidence_with_room_for_more_is_refused() -> None:
    """Keystone's raw form has bytes that nobody signed."""
    file = stored("call")
    raw = bytearray(Report.from_bytes(file.evidence).to_raw())
    raw[1000] ^= 1
    with pytest.raises(NotGenuine, match="compact"):
        replace(file, evidence=bytes(raw)).verify(POLICY)


@pytest.mark.parametrize("earlier", [1, 2])
def test_receipts_of_an_earlier_release_are_told_apart(earlier: int) -> None:
    top = json.loads(stored("call").to_json()) | {"format": f"tinywasm receipt {earlier}"}
    with pytest.raises(NotGenuine, match="earlier release"):
        ReceiptFile.from_json(json.dumps(top))


def test_what_is_shown_is_what_was_attested() -> None:
    shown = stored("trap").describe()
    assert shown["error"] == "integer divide by zero"
    assert (shown["function"], shown["arguments"], shown["session"]) == ("fail", ["1"], SESSION.hex())
    assert "/" not in str(Path(shown["module"])), "a digest, no path"


def test_nothing_beside_a_receipt_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gets a folder from a stranger verifies the receipts in it where they lie."""
    for name in ("wasm_rt/__init__.py", "tinywasm/__init__.py", "json.py", "hashlib.py"):
        planted = tmp_path / name
        planted.parent.mkdir(exist_ok=True)
        planted.write_text("open('was run', 'w').close()\nraise SystemExit(0)\n")
    monkeypatch.chdir(tmp_path)
    file = stored("call")
    receipt, _ = file.verify(POLICY)
    replay({"main": PROGRAM}, [file], [receipt])
    assert not Path("was run").exists()


def test_repeated_keys_are_refused() -> None:
    """Of two values for a key, other readers of JSON take the first."""
    text = stored("call").to_json()
    ReceiptFile.from_json(text)
    for key in json.loads(text):
        with pytest.raises(NotGenuine):
            ReceiptFile.from_json(text.replace("{", f'{{"{key}": "00",', 1))
