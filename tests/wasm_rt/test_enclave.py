"""The request loop of one enclave, in a child process, with a client's session at the other end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from schannel.ed25519_sha3 import ED25519_SHA3, SigningKey
from schannel.endings import CloseReason, Ending
from schannel.errors import ChannelTimeout, PolicyError, ProtocolError, RemoteError, Truncated
from schannel.evidence import Isolation
from schannel.handshake import identity_key
from schannel.messages import (
    CallRequest,
    CallResult,
    DeployRequest,
    ErrorCode,
    ErrorReply,
    InfoRequest,
    PutRequest,
    PutResult,
    SealRequest,
    Value,
)
from schannel.monitor_keys import Monitor
from schannel.policy import Policy
from schannel.session import ClientSession
from schannel.transport import ClientConnection
from wasm_rt import enclave, monitor_link
from wasm_rt.application import Application
from wasm_rt.configuration import Configuration
from wasm_rt.monitor_link import MonitorLink
from wasm_rt.storage_link import StorageLink

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux features"),
]

MEASUREMENT = b"\1" * 64
MONITOR = Monitor.boot(ED25519_SHA3.key_from_seed(bytes(32)), b"\2" * 64)
POLICY = Policy(
    enclave_measurements=frozenset({MEASUREMENT}),
    monitor_measurements=frozenset({MONITOR.monitor_hash}),
    real_devices=frozenset({MONITOR.device_public_key}),
)
IDENTITY = identity_key(b"\x05" * 32)
SPIN = b'(module (func (export "spin") (loop br 0)) (func (export "one") (result i32) i32.const 1))'


@dataclass
class Child:
    """An enclave process; `channel` is the client's end, `said` what it asked the monitor to log."""

    pid: int
    channel: socket.socket
    said: list[str]
    monitor: threading.Thread

    def wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        self.monitor.join(10)
        return os.waitstatus_to_exitcode(status)


@contextmanager
def enclave_process(configuration: Configuration, *, answer: bool = True) -> Iterator[Child]:
    ours, theirs = socket.socketpair()
    monitor, link = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    storage = StorageLink(socket.socketpair()[0])
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = enclave.run(theirs, MonitorLink(link), storage, configuration, Isolation.NAMESPACES, "")
        finally:
            os._exit(status)
    theirs.close()
    link.close()
    said: list[str] = []
    thread = threading.Thread(target=_serve_monitor, args=(monitor, said, answer), daemon=True)
    thread.start()
    ours.settimeout(20)
    try:
        yield Child(pid, ours, said, thread)
    finally:
        ours.close()
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def _serve_monitor(connection: socket.socket, said: list[str], answer: bool) -> None:
    with connection:
        while received := monitor_link.receive_request(connection):
            request = monitor_link.Request.parse(received)
            if request.operation is monitor_link.Operation.LOG:
                said.append(request.argument.decode())
            elif answer:
                connection.send(monitor_link.answer_request(MONITOR, MEASUREMENT, request))
            else:
                return


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    enclave.warm_up(Configuration())


def test_serves_and_ends_in_order() -> None:
    with enclave_process(Configuration()) as child:
        with ClientConnection(child.channel, ClientSession(POLICY)) as connection:
            verified = connection.handshake()
            assert "seccomp" in verified.isolation and "namespaces" in verified.isolation
            assert verified.configuration_digest == Configuration().digest()
            connection.request(DeployRequest("main", SPIN))
            called = connection.request(CallRequest("main", "one"))
            assert isinstance(called, CallResult) and called.values == (Value.i32(1),)
            assert connection.request(PutRequest("a", b"b")) == PutResult(1)
            refused = connection.request(SealRequest("label", SPIN))
            assert isinstance(refused, ErrorReply) and refused.code is ErrorCode.NOT_ALLOWED
        assert child.wait() == Ending.DONE
        assert child.said == []


def test_reply_that_is_too_large_becomes_an_error() -> None:
    # Exports are told with their types, so the answer to "info" is longer than the program.
    parameters = "i64 " * 50
    program = f"(module (func $f (param {parameters}))"
    program += "".join(f'(export "{number}" (func $f))' for number in range(100)) + ")"
    with enclave_process(Configuration(max_message=10_000)) as child:
        with ClientConnection(child.channel, ClientSession(POLICY)) as connection:
            connection.handshake()
            deployed = connection.request(DeployRequest("main", program.encode()))
            assert not isinstance(deployed, ErrorReply)
            reply = connection.request(InfoRequest("main"))
            assert isinstance(reply, ErrorReply) and reply.code is ErrorCode.TOO_LARGE
        assert child.wait() == Ending.DONE


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n\r\n", bytes(64), b"TWSC\1\1\0\0\0\0", b"\xff" * 200])
def test_junk_ends_it_without_a_word(junk: bytes) -> None:
    with enclave_process(Configuration()) as child:
        child.channel.sendall(junk)
        assert child.channel.recv(100) == b""
        assert child.wait() == Ending.BROKEN
        assert child.said and child.said[0].startswith("what came from the client is not valid: ")


def test_silent_client_is_given_up() -> None:
    with enclave_process(Configuration(handshake_ms=100)) as child:
        child.channel.settimeout(0.3)
        with pytest.raises(TimeoutError):
            child.channel.recv(100)
        # The time runs from the first byte: before it, an enclave waits in the host's pool.
        child.channel.send(b"T")
        child.channel.settimeout(20)
        assert child.channel.recv(100) == b""
        assert child.wait() == Ending.SILENT
        assert child.said == []


LARGEST = b"\xff\xff"


@pytest.mark.parametrize(
    ("whole", "trickle"),
    [(0, b"TWSC"), (8, b"\0\x20"), (20, b"k"), (42, b""), (42, LARGEST), (42, LARGEST + bytes(60_000))],
    ids=["prologue", "length", "key", "after the key", "a record's length", "a record"],
)
@pytest.mark.parametrize("pause", [0.0001, 0.05], ids=["always something to read", "now and then"])
def test_client_without_keys_is_given_up(whole: int, trickle: bytes, pause: float) -> None:
    """Whatever it sends, however slowly: the handshake's time is over when no authentic record has come."""
    with enclave_process(Configuration(handshake_ms=400)) as child:
        child.channel.sendall(ClientSession(POLICY).data_to_send()[:whole])
        started = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in trickle:
                child.channel.sendall(bytes([byte]))
                threading.Event().wait(pause)
        assert child.wait() == Ending.SILENT
        assert time.monotonic() - started < 10
        assert child.said == []


@pytest.mark.parametrize("junk", [b"\0\x20" + bytes(32), b"\1\x10" + bytes(272), b"\0\1x"])
def test_junk_after_the_key_ends_it_at_once(junk: bytes) -> None:
    with enclave_process(Configuration()) as child:
        child.channel.sendall(ClientSession(POLICY).data_to_send() + junk)
        assert child.wait() == Ending.BROKEN


def test_client_that_says_nothing_after_its_credit_is_served_later() -> None:
    """An anonymous client proves by granting credit that it has the keys: its person may take their time."""
    with enclave_process(Configuration(handshake_ms=300)) as child:
        with ClientConnection(child.channel, ClientSession(POLICY)) as connection:
            connection.handshake()
            threading.Event().wait(0.6)
            assert not isinstance(connection.request(DeployRequest("main", SPIN), 10), ErrorReply)
        assert child.wait() == Ending.DONE


RIGHTS: dict[str, Any] = {"deployers": (IDENTITY.public.hex(),), "callers": ("55" * 32,)}


@pytest.mark.parametrize("identity", [None, identity_key(b"\x04" * 32)], ids=["anonymous", "stranger"])
def test_client_that_may_do_nothing_does_not_stay(identity: SigningKey | None) -> None:
    """However busy it is: an enclave is held no longer than for a handshake."""
    with enclave_process(Configuration(handshake_ms=400, **RIGHTS)) as child:
        connection = ClientConnection(child.channel, ClientSession(POLICY, identity=identity))
        connection.handshake()
        started = time.monotonic()
        with pytest.raises(Truncated, match=r"time that the host gives a session is over|broke"):
            while time.monotonic() - started < 15:
                reply = connection.request(InfoRequest(), 10)
                assert isinstance(reply, ErrorReply) and reply.code is ErrorCode.NOT_ALLOWED
                threading.Event().wait(0.02)
        assert child.wait() == Ending.DONE


def test_client_with_rights_stays() -> None:
    with enclave_process(Configuration(handshake_ms=300, **RIGHTS)) as child:
        session = ClientSession(POLICY, identity=IDENTITY)
        with ClientConnection(child.channel, session) as connection:
            connection.handshake()
            threading.Event().wait(0.6)
            assert not isinstance(connection.request(DeployRequest("main", SPIN), 10), ErrorReply)
        assert child.wait() == Ending.DONE


def test_idle_client_is_told() -> None:
    with enclave_process(Configuration(idle_ms=100)) as child:
        connection = ClientConnection(child.channel, ClientSession(POLICY))
        connection.handshake()
        threading.Event().wait(0.5)
        with pytest.raises(Truncated):
            connection.request(DeployRequest("main", SPIN), 10)
        assert child.wait() == Ending.SILENT


def test_calls_end_in_time_in_a_process_forked_from_one_that_made_calls() -> None:
    application = Application(Configuration(max_call_ms=50))
    application.handle(DeployRequest("main", SPIN))
    assert isinstance(application.handle(CallRequest("main", "one")), CallResult)
    with enclave_process(Configuration(max_call_ms=100)) as child:
        connection = ClientConnection(child.channel, ClientSession(POLICY))
        connection.handshake()
        connection.request(DeployRequest("main", SPIN))
        reply = connection.request(CallRequest("main", "spin"), 10)
        assert isinstance(reply, ErrorReply) and reply.code is ErrorCode.INTERRUPTED


def test_client_that_does_not_read_is_given_up() -> None:
    parameters = "i64 " * 100
    program = f"(module (func $f (param {parameters}))"
    program += "".join(f'(export "{number}" (func $f))' for number in range(900)) + ")"
    with enclave_process(Configuration(idle_ms=300)) as child:
        session = ClientSession(POLICY)
        connection = ClientConnection(child.channel, session)
        connection.handshake()
        assert not isinstance(connection.request(DeployRequest("main", program.encode())), ErrorReply)
        for _ in range(4):
            session.send_request(InfoRequest("main"))
        child.channel.sendall(session.data_to_send())
        assert child.wait() == Ending.SILENT
        assert child.said == []


def test_cut_connection_is_no_close() -> None:
    with enclave_process(Configuration()) as child:
        connection = ClientConnection(child.channel, ClientSession(POLICY))
        connection.handshake()
        connection.abort()
        assert child.wait() == Ending.LEFT
        assert child.said == []


def test_client_whose_policy_refuses_says_so() -> None:
    policy = replace(POLICY, enclave_measurements=frozenset({b"\3" * 64}))
    with enclave_process(Configuration()) as child:
        with pytest.raises(PolicyError):
            ClientConnection(child.channel, ClientSession(policy)).handshake()
        assert child.wait() == Ending.REFUSED
        assert child.said == []


def test_client_with_an_error_of_its_own_closes_in_order() -> None:
    with enclave_process(Configuration()) as child:
        with (
            pytest.raises(KeyError),
            ClientConnection(child.channel, ClientSession(POLICY)) as connection,
        ):
            connection.handshake()
            raise KeyError
        assert child.wait() == Ending.DONE


def test_no_evidence_without_a_monitor() -> None:
    with enclave_process(Configuration(), answer=False) as child:
        with pytest.raises(RemoteError):
            ClientConnection(child.channel, ClientSession(POLICY)).handshake(10)
        assert child.wait() == Ending.FAILED


def _end_after(pid: int, seconds: float) -> None:
    """Ask a process to end once it has worked for so long."""

    def worked() -> int:
        # proc(5): in user mode, in clock ticks.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])

    wanted = worked() + seconds * os.sysconf("SC_CLK_TCK")
    while worked() < wanted:
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize("busy", [False, True])
def test_asked_to_end_it_closes_the_session(busy: bool) -> None:
    with enclave_process(Configuration()) as child:
        connection = ClientConnection(child.channel, ClientSession(POLICY))
        connection.handshake()
        connection.request(DeployRequest("main", SPIN))
        asking = threading.Thread(target=_end_after, args=(child.pid, 1 if busy else 0))
        asking.start()
        if busy:
            reply = connection.request(CallRequest("main", "spin"), 10)
            assert isinstance(reply, ErrorReply) and reply.code is ErrorCode.INTERRUPTED
        asking.join()
        with pytest.raises(ProtocolError) as caught:
            threading.Event().wait(0.3)
            connection.request(CallRequest("main", "one"), 10)
        assert not isinstance(caught.value, ChannelTimeout)
        assert child.wait() == Ending.DONE


def test_first_reason_to_end_is_the_one() -> None:
    with enclave_process(Configuration()) as child:
        connection = ClientConnection(child.channel, ClientSession(POLICY))
        connection.handshake()
        connection.request(DeployRequest("main", SPIN))
        # Both are there when it looks: Python takes the one with the lower number first.
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGUSR1, signal.SIGCONT):
            os.kill(child.pid, number)
        with pytest.raises(Truncated, match=CloseReason.TIME.shown):
            connection.request(CallRequest("main", "spin"), 10)
        assert child.wait() == Ending.DONE


def test_warm_up_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ErrorReply(ErrorCode.INTERNAL, "broken")
    monkeypatch.setattr("wasm_rt.application.Application.handle", lambda *_: broken)
    with pytest.raises(RuntimeError, match="does not work on this machine: broken"):
        enclave.warm_up(Configuration())
