"""A scripted hostile host between clients and a real one, and hostile clients of the real one."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schannel import layouts
from schannel.endings import Ending
from schannel.errors import RemoteError
from schannel.events import Event, EvidenceRequired
from schannel.evidence import Isolation
from schannel.framing import MAGIC, Refusal, encode_record, encode_refusal
from schannel.handshake import Suite, identity_key
from schannel.messages import (
    CallRequest,
    CallResult,
    DeployRequest,
    DeployResult,
    ErrorCode,
    ErrorReply,
    ReadRequest,
    SealRequest,
    SealResult,
    Value,
)
from schannel.primitives import X25519
from schannel.records import RecordKind
from schannel.session import ClientSession, EnclaveClaims, EnclaveSession
from schannel.transport import ClientConnection
from schannel.wire import Buffer
from tests.hostile import Hostile, Wire, hostile, pump, relay_handshake
from tests.processes import CALCULATOR, Host, Proxy, descendants, host, wait_until
from wasm_client import CannotConnect, ClientError, ConnectionLost, NotVerified, connect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes"),
]

HELLO = 8 + 2 + 32
"""What a client sends before it has verified: the prologue and an ephemeral key."""

FOUR_PAGES = b'(module (memory (export "memory") 4) (func (export "f")))'


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("state")) as started:
        yield started


class Thief(ClientSession):
    """A client that keeps the evidence that it was shown."""

    evidence = b""

    def _verify(self, kind: RecordKind, body: Buffer, events: list[Event]) -> None:
        self.evidence = bytes(body)
        super()._verify(kind, body, events)


def steal_evidence(running: Host) -> bytes:
    """Genuine evidence of a genuine enclave, made for the thief's own connection."""
    thief = Thief(running.policy)
    with ClientConnection.connect(running.target, thief):
        return thief.evidence


def pretend(victim: Wire, evidence: bytes) -> EnclaveSession:
    """Be the other end of the victim's channel, with somebody else's evidence."""
    session = EnclaveSession(EnclaveClaims(bytes(32), (0, 1, 0), Isolation(0), bytes(32)))
    (required,) = session.receive_data(victim.prologue() + victim.record())
    assert isinstance(required, EvidenceRequired)
    session.send_evidence(evidence)
    victim.send(session.data_to_send())
    return session


class TestMiddle:
    """Whoever stands between, the client says nothing but its ephemeral key."""

    def test_evidence_of_another_connection(self, running: Host) -> None:
        """The channel ends at the attacker, who forwards what a genuine enclave attested a moment ago."""

        def script(middle: Hostile) -> None:
            victim = middle.victim()
            pretend(victim, steal_evidence(running))
            victim.drain()

        with hostile(script) as middle:
            with pytest.raises(NotVerified, match="made for another connection") as caught:
                connect(middle.address, running.policy)
            assert caught.value.rule == "handshake"
            assert middle.heard == [HELLO]

    def test_stale_evidence(self, running: Host) -> None:
        stale = steal_evidence(running)

        def script(middle: Hostile) -> None:
            victim = middle.victim()
            pretend(victim, stale)
            victim.drain()

        with hostile(script) as middle:
            with pytest.raises(NotVerified, match="made for another connection"):
                connect(middle.address, running.policy)
            assert middle.heard == [HELLO]

    @pytest.mark.parametrize("whose", ["client", "enclave"])
    def test_swapped_ephemeral_key(self, running: Host, whose: str) -> None:
        other = X25519.generate().public

        def script(middle: Hostile) -> None:
            victim, enclave = middle.victim(), middle.genuine()
            prologue, key = victim.prologue(), victim.record()
            enclave.send(prologue, encode_record(other) if whose == "client" else key)
            answer = enclave.record()
            if whose == "enclave":
                answer = answer[:2] + other + answer[34:]
            victim.send(answer, enclave.record())
            victim.drain()

        with hostile(script, running.target) as middle:
            with pytest.raises(CannotConnect):
                connect(middle.address, running.policy)
            assert middle.heard == [HELLO]

    @pytest.mark.parametrize("suite", Suite)
    @pytest.mark.parametrize(
        ("position", "value"), [(4, 0), (4, 2), (5, 1), (5, 2), (5, 0), (6, 1), (0, 0x20)]
    )
    def test_downgrade(self, running: Host, suite: Suite, position: int, value: int) -> None:
        def script(middle: Hostile) -> None:
            victim, enclave = middle.victim(), middle.genuine()
            prologue = bytearray(victim.prologue())
            prologue[position] = value if prologue[position] != value else 0xFF
            enclave.send(bytes(prologue), victim.record())
            victim.send(enclave.record(), enclave.record())
            victim.end()
            victim.drain()

        with hostile(script, running.target) as middle:
            with pytest.raises(RemoteError):
                ClientConnection.connect(
                    _target(middle.address), ClientSession(running.policy, suite=suite), 10
                )
            assert middle.heard == [HELLO if suite is Suite.X25519_SHA256 else 8 + 2 + 97]

    def test_recorded_session_is_replayed_to_a_client(self, running: Host) -> None:
        with Proxy(running.target) as proxy:
            with connect(proxy.address, running.policy) as session:
                session.deploy(CALCULATOR.read_bytes())
                assert session.call("add", 1, 1) == 2
            recorded = bytes(proxy.seen["down"])

        def script(middle: Hostile) -> None:
            victim = middle.victim()
            victim.send(recorded)
            victim.drain()

        with hostile(script) as middle:
            with pytest.raises(CannotConnect):
                connect(middle.address, running.policy)
            assert middle.heard == [HELLO]

    def test_recorded_session_is_replayed_to_an_enclave(self, running: Host) -> None:
        with Proxy(running.target) as proxy:
            with connect(proxy.address, running.policy) as session:
                session.deploy(CALCULATOR.read_bytes())
                session.call("add", 1, 1)
            recorded = bytes(proxy.seen["up"])
        with socket.create_connection(running.target, 10) as replaying:
            peer = "{}:{}".format(*replaying.getsockname())
            replaying.sendall(recorded)
            wire = Wire(replaying)
            wire.drain()
        ending = re.compile(rf"{peer}: enclave \d+ has ended: (.*)")
        wait_until(lambda: ending.search(running.log.read_text()) is not None, 20, "the end of the enclave")
        assert ending.findall(running.log.read_text()) == [Ending.BROKEN.shown]
        assert len(wire.received) < 2000, "a key and evidence, and no reply"

    def test_reflection(self, running: Host) -> None:
        """What the client sent comes back to it; the first record of a connection, and a later one."""

        def at_once(middle: Hostile) -> None:
            victim = middle.victim()
            victim.prologue()
            victim.send(victim.record())
            victim.drain()

        def later(middle: Hostile) -> None:
            victim, enclave = middle.victim(), middle.genuine()
            relay_handshake(victim, enclave)
            victim.send(victim.record())
            victim.drain()

        with hostile(at_once) as middle, pytest.raises(CannotConnect):
            connect(middle.address, running.policy)
        with hostile(later, running.target) as middle:
            session = connect(middle.address, running.policy)
            with pytest.raises(ConnectionLost):
                session.deploy(CALCULATOR.read_bytes())

    @pytest.mark.parametrize("refusal", Refusal)
    def test_false_refusal_in_a_session(self, running: Host, refusal: Refusal) -> None:
        """While connecting, a host may say that it is busy; later, this ends the session like any junk."""

        def script(middle: Hostile) -> None:
            victim, enclave = middle.victim(), middle.genuine()
            relay_handshake(victim, enclave)
            victim.record()
            victim.send(encode_refusal(refusal))
            victim.drain()

        with hostile(script, running.target) as middle:
            session = connect(middle.address, running.policy)
            with pytest.raises(ConnectionLost, match="zero bytes"):
                session.deploy(CALCULATOR.read_bytes())


def _target(address: str) -> tuple[str, int]:
    name, _, port = address.rpartition(":")
    return name, int(port)


def _endings(running: Host) -> list[str]:
    return re.findall(r"enclave \d+ has ended: (.*)", running.log.read_text())


class TestReplies:
    """A reply of several records, and what a host does to it."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda records: records[:2],
            lambda records: [records[1], records[0], *records[2:]],
            lambda records: [records[0], *records[2:]],
            lambda records: [records[0], records[0], *records[1:]],
            lambda records: [records[0], records[1][:-1]],
        ],
        ids=["cut between records", "reordered", "one left out", "one twice", "cut inside a record"],
    )
    def test_no_part_of_it_is_used(self, running: Host, change: Callable[[list[bytes]], list[bytes]]) -> None:
        def script(middle: Hostile) -> None:
            victim, enclave = middle.victim(), middle.genuine()
            relay_handshake(victim, enclave)
            pump(victim, enclave)
            large: list[bytes] = []
            while len(large) < 4:
                record = enclave.record()
                if len(record) > 1000:
                    large.append(record)
                else:
                    victim.send(record)
            victim.send(*change(large))

        with hostile(script, running.target) as middle:
            connection = ClientConnection.connect(_target(middle.address), ClientSession(running.policy))
            assert isinstance(connection.request(DeployRequest("m", FOUR_PAGES), 20), DeployResult)
            with pytest.raises(RemoteError):
                connection.request(ReadRequest("m", 0, 200_000), 20)


def test_swapped_sessions(running: Host) -> None:
    """The host leads two clients to each other's enclaves, once both are verified."""

    def script(middle: Hostile) -> None:
        pairs = []
        for _ in range(2):
            victim, enclave = middle.victim(), middle.genuine()
            relay_handshake(victim, enclave)
            pairs.append((victim, enclave))
        verified.wait(20)
        (one, ones), (other, others) = pairs
        for source, sink in ((one, others), (others, one), (other, ones), (ones, other)):
            pump(source, sink)
        while not done.wait(0.1):
            pass

    verified, done = threading.Event(), threading.Event()
    with hostile(script, running.target) as middle:
        sessions = [connect(middle.address, running.policy) for _ in range(2)]
        verified.set()
        for session in sessions:
            with pytest.raises(ConnectionLost):
                session.deploy(CALCULATOR.read_bytes())
        done.set()


def test_enclave_restarted_in_mid_session(running: Host) -> None:
    """The host begins again with a fresh enclave, to have the program forget what happened."""

    def script(middle: Hostile) -> None:
        victim, enclave = middle.victim(), middle.genuine()
        first = relay_handshake(victim, enclave)
        pump(enclave, victim)
        for _ in range(3):
            enclave.send(victim.record())
        fresh = middle.genuine()
        fresh.send(first)
        fresh.record()
        fresh.record()
        fresh.send(victim.record())
        victim.send(fresh.record())

    before = len(_endings(running))
    with hostile(script, running.target) as middle:
        connection = ClientConnection.connect(_target(middle.address), ClientSession(running.policy))
        connection.request(DeployRequest("m", FOUR_PAGES), 20)
        with pytest.raises(RemoteError):
            for _ in range(10):
                connection.request(CallRequest("m", "f"), 20)
    wait_until(lambda: len(_endings(running)) >= before + 2, 20, "the end of both enclaves")


@pytest.mark.parametrize(
    "piece",
    [b"\xff\xff", b"\xff\xff" + bytes(100), b"\0\x20", b"\0\0", b""],
    ids=["largest length", "and some of it", "small", "a refusal without a reason", "nothing"],
)
def test_answer_that_never_ends(running: Host, piece: bytes) -> None:
    def script(middle: Hostile) -> None:
        victim = middle.victim()
        victim.send(piece)
        while not done.wait(0.02):
            victim.send(b"\1" if len(piece) > 3 else b"")

    done = threading.Event()
    with hostile(script) as middle:
        started = time.monotonic()
        with pytest.raises(CannotConnect, match="did not answer within 1 seconds"):
            connect(middle.address, running.policy, timeout=1)
        assert time.monotonic() - started < 5
        done.set()


def test_message_above_the_limit(tmp_path: Path) -> None:
    """Within its credit it is refused; who goes on without regard to that loses the session."""
    configuration = tmp_path / "configuration.toml"
    configuration.write_text("max_message = 1000000\n")
    with host(tmp_path / "state", "--configuration", str(configuration)) as started:
        connection = ClientConnection.connect(started.target, ClientSession(started.policy))
        reply = connection.request(DeployRequest("m", bytes(3_000_000)), 20)
        assert isinstance(reply, ErrorReply) and reply.code is ErrorCode.TOO_LARGE
        connection.close()
        wait_until(lambda: _endings(started)[-1:] == [Ending.DONE.shown], 20, "the end of the enclave")
        before, after = _flood(started, ClientSession(started.policy))
        assert after - before < 8 << 20, "the enclave does not collect what it has granted no credit for"
        wait_until(lambda: len(_endings(started)) == 2, 20, "the end of the enclave")
        # Which of the two depends on whether the enclave kept up until the client hung up.
        assert _endings(started)[1] in (Ending.BROKEN.shown, Ending.LEFT.shown)


def _flood(running: Host, session: ClientSession) -> tuple[int, int]:
    """Send one message of 256 MB, with the keys but without regard to credit.

    Returns the enclave's memory before and after. One that keeps up passes over the message, which is far
    above the limit.
    """
    connection = ClientConnection.connect(running.target, session)
    enclave = int(re.findall(r"started, process (\d+)", running.log.read_text())[-1])
    before = _memory(enclave)
    # The end is where nobody takes any more for now: an OSError, as is a connection that was cut.
    connection._socket.setblocking(False)
    chunk = layouts.CHUNK.build(
        {"type": DeployRequest.type_byte, "last": 0, "request": 1, "data": bytes(60_000)}
    )
    sent = 0
    with contextlib.suppress(OSError):
        while sent < 256 << 20:
            session._seal(RecordKind.MESSAGE, chunk)
            connection._socket.sendall(session.data_to_send())
            sent += len(chunk)
    after = _memory(enclave)
    connection.abort()
    return before, after


def _memory(process: int) -> int:
    """Bytes of memory of its own that a process has; none when it has ended."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{process}/status").read_text()
        return sum(int(size) << 10 for size in re.findall(r"RssAnon:\s+(\d+)", status))
    return 0


def test_slow_peers(tmp_path: Path) -> None:
    """Ten clients send a byte now and then; others are served meanwhile, and the slow ones are told."""
    with host(tmp_path / "state", "--max-handshake", "1", "--max-enclaves", "2") as started:
        slow = [socket.create_connection(started.target, 10) for _ in range(10)]
        heard = [b""] * len(slow)
        first = (MAGIC + b"\1\1\0\0" + encode_record(bytes(32)))[:-1]
        for number, byte in enumerate(first[:8]):
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(bytes([byte]))
            if number == 2:
                with connect(started.address, started.policy, timeout=20) as session:
                    session.deploy(CALCULATOR.read_bytes())
                    assert session.call("add", 1, 1) == 2
            time.sleep(0.05)
        for number, connection in enumerate(slow):
            with connection:
                heard[number] = connection.recv(100)
        assert heard == [encode_refusal(Refusal.SLOW)] * len(slow)


def test_too_many_from_one_address(tmp_path: Path) -> None:
    with host(tmp_path / "state", "--max-per-address", "1") as started:
        with (
            connect(started.address, started.policy),
            pytest.raises(CannotConnect, match="too many connections from this address"),
        ):
            connect(started.address, started.policy)
        wait_until(lambda: _connects(started), 20, "room for another")


def _connects(started: Host) -> bool:
    with contextlib.suppress(ClientError), connect(started.address, started.policy):
        return True
    return False


def test_nothing_outside_holds_what_is_inside(tmp_path: Path) -> None:
    """Canaries in program, function, arguments and label: not in log, command lines, environments, files."""
    canary = b"canary%s" % os.urandom(8).hex().encode()
    number = int.from_bytes(os.urandom(8), "little") | 1 << 62
    program = b'(module (func (export "%s") (param i64) (result i64) local.get 0))' % canary
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with host(tmp_path / "state", "--log-format", "json", environ={"TMPDIR": str(temporary)}) as started:
        client = ClientSession(started.policy, identity=identity_key(os.urandom(32)))
        with ClientConnection.connect(started.target, client) as connection:
            connection.request(DeployRequest(canary.decode(), program), 20)
            call = CallRequest(canary.decode(), canary.decode(), (Value.i64(number),))
            result = connection.request(call, 20)
            assert isinstance(result, CallResult) and result.values == (Value.i64(number),)
            sealed = connection.request(SealRequest(canary.decode(), program), 20)
            assert isinstance(sealed, SealResult)
            below = {started.process.pid, *descendants(started.process.pid)}
            outside = b"".join(map(_visible, below))
        outside += started.log.read_bytes()
        files = [
            path for folder in (started.state, temporary) for path in folder.rglob("*") if path.is_file()
        ]
        assert any(path.suffix == ".sealed" for path in files), "a program was stored"
        for content in (outside, *(path.read_bytes() for path in files)):
            assert canary not in content
            assert canary.hex().encode() not in content
            assert number.to_bytes(8, "little") not in content
            assert str(number).encode() not in content


def _visible(pid: int) -> bytes:
    """What others may see of a process: command line and environment."""
    seen = b""
    for name in ("cmdline", "environ"):
        with contextlib.suppress(OSError):
            seen += Path(f"/proc/{pid}/{name}").read_bytes()
    return seen
