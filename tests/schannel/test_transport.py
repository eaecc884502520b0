"""The client's connection over real sockets, against an enclave in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schannel.errors import ChannelTimeout, LocalError, PolicyError, RemoteError, Truncated
from schannel.events import RequestReceived
from schannel.messages import CallRequest, DeployRequest, DeployResult, ErrorCode, ErrorReply
from schannel.policy import Policy
from schannel.session import ClientSession, State
from schannel.transport import ClientConnection, receive_soon
from schannel.transport_aio import AsyncClientConnection

MODULE = bytes(3_000_000)


def _serve(sock: socket.socket, pair: Any, replies: int) -> None:
    """Run the pair's enclave on a socket; hang up after so many replies."""
    with sock, contextlib.suppress(OSError):
        while data := sock.recv(65536):
            try:
                events = pair.enclave.receive_data(data)
            except RemoteError:
                return
            pair.answer(events)
            for event in events:
                if isinstance(event, RequestReceived):
                    if replies == 0:
                        return
                    replies -= 1
                    deployed = isinstance(event.request, DeployRequest)
                    reply = DeployResult(bytes(32)) if deployed else ErrorReply(ErrorCode.NOT_FOUND, "no")
                    pair.enclave.send_reply(event.number, reply)
            sock.sendall(pair.enclave.data_to_send())


Start = Callable[..., str]


@pytest.fixture
def start(make_pair: Any, tmp_path: Path) -> Iterator[Start]:
    """Starts an enclave behind a Unix socket; gives its path."""
    threads: list[threading.Thread] = []
    path = str(tmp_path / "s")

    def run(server: Callable[[socket.socket], None] | None = None, replies: int = 10) -> str:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen()

        def accept() -> None:
            with listener:
                sock, _ = listener.accept()
            (server or (lambda s: _serve(s, make_pair(), replies)))(sock)

        threads.append(threading.Thread(target=accept, daemon=True))
        threads[-1].start()
        return path

    yield run
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_blocking(start: Start, policy: Policy) -> None:
    session = ClientSession(policy)
    with ClientConnection.connect(start(), session, timeout=5) as connection:
        assert connection.verified is not None
        assert connection.verified.simulated
        assert connection.request(DeployRequest("m", MODULE), timeout=5) == DeployResult(bytes(32))
        assert connection.request(CallRequest("m", "f")) == ErrorReply(ErrorCode.NOT_FOUND, "no")
        with pytest.raises(LocalError):
            connection.request(CallRequest("m", "f" * 65536))
    assert session.state is State.CLOSED


def test_tcp(make_pair: Any, policy: Policy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: _serve(listener.accept()[0], make_pair(), 1), daemon=True)
        thread.start()
        connection = ClientConnection.connect(listener.getsockname()[:2], ClientSession(policy), timeout=5)
        assert connection.request(DeployRequest("m", b""), timeout=5) == DeployResult(bytes(32))
        connection.close(timeout=5)
        thread.join(5)


def test_refused_evidence(start: Start) -> None:
    session = ClientSession(Policy())
    with pytest.raises(PolicyError):
        ClientConnection.connect(start(), session, timeout=5)
    assert session.state is State.DEAD


def test_an_enclave_that_vanishes(start: Start, policy: Policy) -> None:
    connection = ClientConnection.connect(start(replies=0), ClientSession(policy), timeout=5)
    with pytest.raises(Truncated):
        connection.request(CallRequest("m", "f"), timeout=5)
    with pytest.raises(LocalError):
        connection.request(CallRequest("m", "f"), timeout=5)


def _trickle(sock: socket.socket) -> None:
    """One byte of a long record now and then, as a slow-loris does."""
    with sock:
        try:
            sock.sendall(b"\xff\xff")
            for _ in range(40):
                time.sleep(0.05)
                sock.sendall(b"x")
        except OSError:
            return


def test_one_deadline_however_slowly_bytes_come(start: Start, policy: Policy) -> None:
    begun = time.monotonic()
    with pytest.raises(ChannelTimeout):
        ClientConnection.connect(start(_trickle), ClientSession(policy), timeout=0.3)
    assert time.monotonic() - begun < 1.5


def test_an_error_inside_the_block_closes_in_order(start: Start, policy: Policy) -> None:
    session = ClientSession(policy)
    with pytest.raises(ZeroDivisionError), ClientConnection.connect(start(), session, timeout=5):
        raise ZeroDivisionError
    assert session.state is State.CLOSED


def test_an_error_with_much_left_to_send_hangs_up(start: Start, policy: Policy) -> None:
    session = ClientSession(policy)
    with pytest.raises(ZeroDivisionError), ClientConnection.connect(start(), session, timeout=5):
        session.send_request(DeployRequest("m", bytes(8 << 20)))
        raise ZeroDivisionError
    assert session.state is State.DEAD


def test_nobody_there(policy: Policy, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        ClientConnection.connect(str(tmp_path / "nothing"), ClientSession(policy), timeout=1)


def test_asyncio(start: Start, policy: Policy) -> None:
    async def talk() -> None:
        session = ClientSession(policy)
        connection = await AsyncClientConnection.connect(start(), session, timeout=5)
        replies = await asyncio.gather(
            connection.request(DeployRequest("m", MODULE)), connection.request(CallRequest("m", "f"))
        )
        with pytest.raises(LocalError):
            await connection.request(CallRequest("m", "f" * 65536))
        assert list(replies) == [DeployResult(bytes(32)), ErrorReply(ErrorCode.NOT_FOUND, "no")]
        await connection.close()
        assert session.state is State.CLOSED

    asyncio.run(talk())


def test_asyncio_failures(start: Start, policy: Policy) -> None:
    async def slow() -> None:
        await AsyncClientConnection.connect(start(_trickle), ClientSession(policy), timeout=0.2)

    with pytest.raises(ChannelTimeout):
        asyncio.run(slow())


def test_asyncio_refused_and_vanished(start: Start, policy: Policy) -> None:
    async def vanish() -> None:
        connection = await AsyncClientConnection.connect(start(replies=0), ClientSession(policy), timeout=5)
        await connection.request(CallRequest("m", "f"))

    with pytest.raises(Truncated):
        asyncio.run(vanish())


def _reset(sock: socket.socket) -> None:
    """Break the connection instead of ending it."""
    sock.recv(65536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_connection_that_breaks(policy: Policy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(2):
            threading.Thread(target=lambda: _reset(listener.accept()[0]), daemon=True).start()
        address = listener.getsockname()[:2]
        with pytest.raises(Truncated):
            ClientConnection.connect(address, ClientSession(policy), timeout=5)
        with pytest.raises(Truncated):
            asyncio.run(_connect(address, policy))


async def _connect(address: Any, policy: Policy) -> None:
    await AsyncClientConnection.connect(address, ClientSession(policy), timeout=5)


def test_an_enclave_that_does_not_read(policy: Policy, make_pair: Any) -> None:
    ours, theirs = socket.socketpair()
    pair = make_pair()
    connection = ClientConnection(ours, pair.client)
    server = threading.Thread(target=lambda: _serve_handshake(theirs, pair), daemon=True)
    server.start()
    connection.handshake(timeout=5)
    server.join(5)
    with pytest.raises(ChannelTimeout):
        connection.request(DeployRequest("m", MODULE), timeout=0.2)
    assert pair.client.state is State.DEAD
    theirs.close()


def _serve_handshake(sock: socket.socket, pair: Any) -> None:
    pair.answer(pair.enclave.receive_data(sock.recv(65536)))
    sock.sendall(pair.enclave.data_to_send())
    pair.enclave.receive_data(sock.recv(65536))


def test_an_enclave_that_closes_instead_of_answering(policy: Policy, make_pair: Any) -> None:
    ours, theirs = socket.socketpair()
    pair = make_pair()
    connection = ClientConnection(ours, pair.client)

    def serve() -> None:
        _serve_handshake(theirs, pair)
        pair.enclave.close()
        theirs.sendall(pair.enclave.data_to_send())

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    connection.handshake(timeout=5)
    server.join(5)
    with pytest.raises(Truncated, match="before it answered"):
        connection.request(CallRequest("m", "f"), timeout=5)
    connection.close(timeout=5)
    theirs.close()


def test_asyncio_timeout_hangs_up(policy: Policy, make_pair: Any) -> None:
    async def wait() -> None:
        ours, theirs = socket.socketpair()
        pair = make_pair()
        server = threading.Thread(target=lambda: _serve_handshake(theirs, pair), daemon=True)
        server.start()
        connection = AsyncClientConnection(*await asyncio.open_connection(sock=ours), pair.client)
        await connection.handshake()
        server.join(5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.request(CallRequest("m", "f"))
        assert pair.client.state is State.DEAD
        theirs.close()

    asyncio.run(wait())


built = importlib.util.find_spec("schannel._transport") is not None


@pytest.mark.skipif(not built, reason="the extension is not built")
def test_receiving_soon() -> None:
    near, far = socket.socketpair()
    buffer = bytearray(100)
    with near, far:
        assert receive_soon(near.fileno(), buffer) is None
        far.send(bytes(range(150)))
        assert receive_soon(near.fileno(), buffer) == bytes(range(100))
        assert receive_soon(near.fileno(), buffer) == bytes(range(100, 150))
        far.close()
        assert receive_soon(near.fileno(), buffer) == b""
    assert receive_soon(-1, buffer) is None, "the blocking call says what is wrong"
