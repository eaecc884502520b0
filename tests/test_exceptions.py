"""Every exception of the project survives `copy` and `pickle`: process pools and queues depend on it."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

import schannel.errors as channel
import tinywasm
import wasm_client.errors as client
from schannel.edge import CallStatus
from schannel.endings import CloseReason
from schannel.framing import Refusal, Refused
from schannel.messages import ErrorCode, TraceFrame
from tinywasm import Frame, FuncType, Store, Tag, TagType, TrapCode, ValType, WasmException
from tinywasm.cli.options import InFile
from tinywasm.cli.repl import _Quit
from tinywasm.engine.ir.check import Fault
from tinywasm.engine.llvm import emit
from tinywasm.engine.llvm.background import _Ending
from tinywasm.engine.python.steps import HotLoop
from tinywasm.engine.source.graph import TooDeep
from tinywasm.engine.source.translate import Declined
from tinywasm.errors import InternalError
from tinywasm.text.literals import LiteralError
from tinywasm.wasi.abi import Errno, WasiError
from tinywasm.wast.runner import _Refuted
from wasm_client.prompt import _CannotUse
from wasm_client.receipts import NotGenuine
from wasm_host.admission import TurnedAway
from wasm_host.cli import _Stopped
from wasm_host.edge_calls import Ended, _Refused
from wasm_host.keystone_device import NoNumbers
from wasm_host.monitor import MonitorError, NoRoom
from wasm_host.server import NotOurs
from wasm_rt.errors import CommandFailed, MonitorRefused, RequestError
from wasm_rt.sandbox import _LayerUnavailable
from wasm_rt.server import Silent, Stop
from wasm_rt.stored import StorageError

PACKAGES = ("tinywasm", "schannel", "wasm_client", "wasm_host", "wasm_rt")
LINKED = ("schannel.provider_linked", "wasm_rt.keystone")
"""Modules for Keystone, which import what is linked in there; they have no exceptions of their own."""
# Never raised themselves.
ABSTRACT = {channel.ProtocolError}


def _trap() -> tinywasm.Trap:
    trap = tinywasm.Trap(TrapCode.UNREACHABLE, "for a reason")
    trap.frames = [Frame(3, "f", "m", 1, 2, "a.c", 7)]
    trap.add_note("a note")
    return trap


EXAMPLES: list[BaseException] = [
    tinywasm.WasmError("wrong"),
    tinywasm.ParseError("wrong", 3, 4),
    tinywasm.DecodeError("wrong", 0x1F),
    tinywasm.ValidationError("wrong", "function 3", 17, 4),
    tinywasm.LinkError("wrong"),
    InternalError("wrong"),
    _trap(),
    tinywasm.Trap("made by a host"),
    tinywasm.StackExhausted(),
    tinywasm.OutOfFuel(),
    tinywasm.Interrupted(),
    tinywasm.ExitTrap(3),
    tinywasm.WasmException(None, [1, 2.5, bytes(16), None]),
    WasiError(Errno.NOENT),
    InFile(Path("a.wasm"), tinywasm.DecodeError("wrong", 1)),
    LiteralError("wrong"),
    Fault("wrong"),
    _Quit(),
    _Refuted("this", "that"),
    channel.LocalError("wrong"),
    channel.NonceExhausted("wrong"),
    channel.PolicyFileError("wrong"),
    channel.RemoteError("wrong"),
    channel.FramingError("wrong"),
    Refused(Refusal.BUSY),
    channel.HandshakeError("wrong"),
    channel.InvalidKey("wrong"),
    channel.DecryptError("wrong"),
    channel.MessageError("wrong"),
    channel.FlowControlError("wrong"),
    channel.Truncated("wrong"),
    channel.ChannelTimeout("wrong"),
    channel.EvidenceError(channel.EvidenceReason.CLAIMS, "wrong"),
    channel.ReceiptError("wrong"),
    channel.PolicyError("enclave.measurements", "wrong"),
    client.ClientError("wrong"),
    client.CannotConnect("wrong"),
    client.NotVerified("rule", "wrong"),
    client.ConnectionLost("wrong"),
    client.ArgumentError("wrong"),
    client.RequestFailed(ErrorCode.TRAP, "wrong", [TraceFrame("m", 1, "f", 2)]),
    NotGenuine("wrong"),
    _CannotUse("wrong"),
    TurnedAway(Refusal.ADDRESS),
    MonitorError("wrong"),
    NoRoom("wrong"),
    NoNumbers("wrong"),
    _Stopped(),
    Ended(),
    _Refused(CallStatus.ERROR),
    NotOurs("reason", "wrong"),
    CommandFailed(b"out", b"err"),
    RequestError(ErrorCode.TRAP, "wrong"),
    MonitorRefused("wrong"),
    StorageError("wrong"),
    Stop(CloseReason.IDLE),
    Silent("wrong"),
    _LayerUnavailable("wrong"),
    HotLoop(),
    Declined("a reason"),
    emit.Declined("a reason"),
    TooDeep(),
    _Ending(),
]


def _pickled(protocol: int, error: BaseException) -> BaseException:
    copied: BaseException = pickle.loads(pickle.dumps(error, protocol))
    return copied


WAYS: dict[str, Callable[[BaseException], BaseException]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {protocol}": partial(_pickled, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
}


def _exceptions() -> Iterator[type[BaseException]]:
    for package in map(importlib.import_module, PACKAGES):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if found.name.endswith("__main__") or found.name in LINKED:
                continue
            module = importlib.import_module(found.name)
            for _, kind in inspect.getmembers(module, inspect.isclass):
                if issubclass(kind, BaseException) and kind.__module__ == module.__name__:
                    yield kind


def test_there_is_an_example_of_every_exception() -> None:
    assert {type(error) for error in EXAMPLES} == set(_exceptions()) - ABSTRACT


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_exceptions_survive(error: BaseException, way: str) -> None:
    again = WAYS[way](error)
    assert type(again) is type(error) and again is not error
    assert str(again) == str(error) and repr(again) == repr(error)
    _assert_same(vars(again), vars(error))


def _assert_same(again: dict[str, object], state: dict[str, object]) -> None:
    assert again.keys() == state.keys()
    for name, value in state.items():
        # An exception inside has no equality.
        if isinstance(value, BaseException):
            assert str(again[name]) == str(value) and type(again[name]) is type(value)
        else:
            assert again[name] == value


class _Own(WasmException):
    def __init__(self, tag: Tag, values: list[object], where: str) -> None:
        super().__init__(tag, values)
        self.where = where


def test_a_thrown_exception_keeps_its_tag_in_this_process_alone() -> None:
    store = Store()
    tag = Tag(store, TagType(FuncType([ValType.i32(), ValType.externref()])))
    error = _Own(tag, [5, object()], "here")
    for way in ("copy", "deepcopy"):
        again = WAYS[way](error)
        assert isinstance(again, _Own) and again.tag is tag and again.where == "here"
        assert again.values == error.values
    away = WAYS["pickle 4"](error)
    assert isinstance(away, _Own) and away.tag is None and away.values == (5, None) and away.where == "here"


def _raises(index: int) -> None:
    raise EXAMPLES[index]


def test_a_process_pool_brings_exceptions_home() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        for index, error in enumerate(EXAMPLES):
            if isinstance(error, Exception):
                caught = pool.submit(_raises, index).exception(timeout=60)
                assert type(caught) is type(error) and str(caught) == str(error)
