"""What ends a session, and what the host makes of it: only an enclave that fails counts as a failure."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace

import pytest

from schannel.ed25519_sha3 import ED25519
from schannel.endings import Ending
from schannel.errors import PolicyError
from schannel.framing import Refusal, encode_refusal
from schannel.session import ClientSession
from schannel.transport import ClientConnection
from schannel.transport_aio import AsyncClientConnection
from tests.processes import Host, environment, host, signal_process, wait_until
from wasm_client import ArgumentError, ClientError, NotVerified, RequestFailed, connect, connect_async

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes"),
]

KEY = ED25519.key_from_seed(b"\x07" * 32)
IMPORTING = b'(module (import "env" "f" (func)) (func (export "g")))'
SPIN = b'(module (func (export "spin") (loop br 0)) (func (export "trap") unreachable))'
HANDSHAKE = 3.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("mistakes")
    configuration = folder / "enclave.toml"
    configuration.write_text(f"handshake_ms = {int(HANDSHAKE * 1000)}\n")
    options = ("--log-format", "json", "--metrics", "127.0.0.1:0", "--max-wait", "2")
    with host(folder / "state", *options, "--configuration", str(configuration)) as started:
        yield started


@pytest.fixture(scope="module")
def metrics(running: Host) -> Callable[[str, str], float]:
    """The value of a counter that has one label with that value."""
    assert running.process.stdout is not None
    shown = running.process.stdout.readline()
    address = shown.removeprefix("wasm-host: metrics at http://").partition("/")[0]

    def value(name: str, label: str) -> float:
        with closing(http.client.HTTPConnection(address, timeout=20)) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        found = re.search(rf'^wasm_host_{name}{{[a-z]+="{label}"}} (\S+)$', text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    return value


def _requests(running: Host, program: bytes, function: str = "", *, kept: str = "") -> None:
    """As a person's program does it: what the enclave answers with an error ends the block."""
    with connect(running.address, running.policy, key=KEY) as session:
        if kept:
            session.restore(kept)
        session.deploy(program)
        session.call(function)


async def _asynchronously(running: Host) -> None:
    async with await connect_async(running.address, running.policy) as session:
        await session.deploy(b"(module")


def _refuse(running: Host) -> None:
    connect(running.address, replace(running.policy, enclave_measurements=frozenset({b"\1" * 64})))


async def _refuse_asynchronously(running: Host) -> None:
    policy = replace(running.policy, monitor_measurements=frozenset({b"\1" * 64}))
    await AsyncClientConnection.connect(running.target, ClientSession(policy), 20)


def _command(running: Host, *arguments: str) -> None:
    module = running.state / "malformed.wasm"
    module.write_bytes(b"\0asm\1\0\0\0\xff")
    done = subprocess.run(
        [sys.executable, "-m", "wasm_client", "-c", running.address, "-p", str(module), *arguments],
        input="", capture_output=True, text=True, timeout=60, env=environment(running.state),
    )  # fmt: skip
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    raise ClientError(done.stderr)


def _leave(running: Host) -> None:
    connect(running.address, running.policy).abort()


def _send(running: Host, *after: bytes) -> None:
    """A key, and then no record that the client has to have the keys for."""
    with socket.create_connection(running.target, 20) as connection:
        connection.sendall(ClientSession(running.policy).data_to_send())
        connection.settimeout(20)
        for piece in after:
            connection.sendall(piece)
        with suppress(OSError):
            while connection.recv(4096):
                pass


def _interrupted(running: Host) -> None:
    connection = ClientConnection.connect(running.target, ClientSession(running.policy))
    with pytest.raises(KeyboardInterrupt), connection:
        raise KeyboardInterrupt


def _killed(running: Host) -> None:
    with suppress(ClientError), connect(running.address, running.policy) as session:
        process = [json.loads(line) for line in running.log.read_text().splitlines()][-1]["message"]
        signal_process(int(process.rpartition(" ")[2]), signal.SIGKILL)
        session.deploy(SPIN)


MISTAKES: dict[str, tuple[Callable[[Host], None], type[Exception] | None, str | None, Ending]] = {
    "malformed module": (lambda at: _requests(at, b"(module"), RequestFailed, None, Ending.DONE),
    "malformed binary": (lambda at: _requests(at, b"\0asm\1\0\0\0\xff"), RequestFailed, None, Ending.DONE),
    "not text": (lambda at: _requests(at, b"\xff\xfe"), RequestFailed, "neither", Ending.DONE),
    "invalid module": (lambda at: _requests(at, b"(module (func (drop)))"), RequestFailed, None, Ending.DONE),
    "unknown import": (lambda at: _requests(at, IMPORTING), RequestFailed, "env", Ending.DONE),
    "unknown function": (lambda at: _requests(at, SPIN, "spun"), ArgumentError, "spin", Ending.DONE),
    "unknown kept name": (lambda at: _requests(at, SPIN, kept="x"), RequestFailed, "is kept", Ending.DONE),
    "trap": (lambda at: _requests(at, SPIN, "trap"), RequestFailed, "unreachable", Ending.DONE),
    "asynchronous": (lambda at: asyncio.run(_asynchronously(at)), RequestFailed, None, Ending.DONE),
    "command": (lambda at: _command(at, "--allow-simulation"), ClientError, None, Ending.DONE),
    "interrupted between requests": (_interrupted, None, None, Ending.DONE),
    "policy that refuses": (_refuse, NotVerified, "enclave.measurements", Ending.REFUSED),
    "asynchronous refusal": (
        lambda at: asyncio.run(_refuse_asynchronously(at)), PolicyError, "monitor", Ending.REFUSED,
    ),
    "leaving without a close": (_leave, None, None, Ending.LEFT),
    "junk in place of a record": (lambda at: _send(at, b"\0\x20" + bytes(32)), None, None, Ending.BROKEN),
    "silence after the key": (_send, None, None, Ending.SILENT),
    "half a record after the key": (lambda at: _send(at, b"\xff\xff", b"xyz"), None, None, Ending.SILENT),
    "an enclave that is killed": (_killed, None, None, Ending.FAILED),
}  # fmt: skip


def _endings(running: Host) -> list[dict[str, str]]:
    events = [json.loads(line) for line in running.log.read_text().splitlines()]
    return [event for event in events if event["event"] == "session_ended"]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_told_as_what_it_is(
    running: Host, metrics: Callable[[str, str], float], mistake: str
) -> None:
    make, error, match, ending = MISTAKES[mistake]
    before = len(_endings(running))
    counted = {each: metrics("enclaves_ended_total", each.name.lower()) for each in Ending}
    if error is None:
        make(running)
    else:
        with pytest.raises(error, match=match):
            make(running)
    wait_until(lambda: len(_endings(running)) > before, 20, "the end of the enclave")
    (event,) = _endings(running)[before:]
    failed = ending is Ending.FAILED
    assert event["how"] == ending.name.lower()
    assert event["level"] == ("warning" if failed else "info")
    shown = "the enclave was ended by SIGKILL" if failed else ending.shown
    assert re.fullmatch(rf"127\.0\.0\.1:\d+: enclave \d+ has ended: {re.escape(shown)}", event["message"])
    for each in Ending:
        now = metrics("enclaves_ended_total", each.name.lower())
        assert now - counted[each] == (1 if each is ending else 0), each


def test_one_address_does_not_take_every_enclave(running: Host) -> None:
    """Sixteen sockets send a key and no more: another address is served at once, and all are cut in time."""
    holding = []
    try:
        for _ in range(16):
            holding.append(socket.create_connection(running.target, 20))
            holding[-1].sendall(ClientSession(running.policy).data_to_send())
        other = socket.create_connection(running.target, 20, ("127.0.0.2", 0))
        with ClientConnection(other, ClientSession(running.policy)) as connection:
            connection.handshake(HANDSHAKE)
        heard = [_heard(one) for one in holding]
    finally:
        for one in holding:
            one.close()
    refused = encode_refusal(Refusal.ADDRESS)
    assert all(len(each) > 500 or each == refused for each in heard), "evidence and a close, or why not"
    assert any(len(each) > 500 for each in heard)


def _heard(connection: socket.socket) -> bytes:
    heard = b""
    while data := connection.recv(4096):
        heard += data
    return heard
