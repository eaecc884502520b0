"""The channel beside a plain TLS 1.3 echo server, in one run: ``python -m benchmarks.channel [--json FILE]``.

All servers are processes on this machine, all clients are this process. Compared are a round trip of a small
message, here a call of `add`, and connecting until the first answer, here with attestation, deployment and
the first call; besides, what an upload carries. A figure is the median of its samples, which are taken in
turn, so that all meet the same machine.

There are two echo servers: one in asyncio, as a server for many clients is written, and one that blocks in a
thread for each connection, the quickest there is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from schannel.primitives import PROVIDER
from schannel.simulation import simulation_policy
from wasm_client import Policy, Session, connect
from wasm_client.demo import running_host

CERTIFICATE = Path(__file__).parent / "channel-test.pem"
"""A self-signed certificate for ``localhost`` with its key: it protects nothing."""

PROGRAM = b"""(module (func (export "add") (param i32 i32) (result i32)
  local.get 0 local.get 1 i32.add))"""
TARGETS = (
    ("round trip", "asyncio echo round trip", 2.5),
    ("round trip", "blocking echo round trip", 2.5),
    ("connect", "blocking echo connect", 10.0),
)
"""A figure, an echo's, and how many times that one's time it may take."""

UPLOAD_TARGET = 100.0
"""MB/s, at least."""

_MESSAGE = bytes(64)
_UPLOAD = 100_000_000
_BATCH = 100
_SETTLED = 0.3
"""Seconds after a connection until the host has another enclave ready: nothing runs beside what is timed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.channel", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="samples of each figure (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as state:
        os.environ["TINYWASM_STATE_DIR"] = state
        figures = measure(options.rounds)
    met = report(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if met else 1


def measure(rounds: int) -> dict[str, float]:
    """All figures: times in seconds, the upload in MB/s."""
    with (
        _echoing(_serve_in_threads) as port,
        _echoing(_serve_in_asyncio) as asyncio_port,
        running_host() as address,
    ):
        return _measure(address, simulation_policy(), port, asyncio_port, rounds)


def _measure(address: str, policy: Policy, port: int, asyncio_port: int, rounds: int) -> dict[str, float]:
    samples: dict[str, list[float]] = {}

    def sample(name: str, seconds: float) -> None:
        samples.setdefault(name, []).append(seconds)

    with ExitStack() as stack:
        blocking, in_asyncio = (stack.enter_context(_echo_connection(each)) for each in (port, asyncio_port))
        session = stack.enter_context(connect(address, policy))
        session.deploy(PROGRAM)
        time.sleep(_SETTLED)
        for _ in range(rounds):
            sample("blocking echo round trip", _timed(lambda: _echo(blocking), _BATCH))
            sample("round trip", _timed(lambda: session.call("add", 1, 2), _BATCH))
            sample("asyncio echo round trip", _timed(lambda: _echo(in_asyncio), _BATCH))
        for _ in range(rounds):
            sample("blocking echo connect", _timed(lambda: _connect_and_echo(port)))
            sample("connect", _timed(lambda: _connect_and_call(address, policy)))
            time.sleep(_SETTLED)
        for _ in range(3):
            sample("upload", _timed(lambda: _upload(session)))
    figures = {name: statistics.median(values) for name, values in samples.items()}
    figures["upload"] = _UPLOAD / figures["upload"] / 1e6
    return figures


def _timed(action: Callable[[], object], count: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(count):
        action()
    return (time.perf_counter() - start) / count


def _echo(connection: ssl.SSLSocket) -> None:
    connection.sendall(_MESSAGE)
    received = 0
    while received < len(_MESSAGE):
        received += len(connection.recv(len(_MESSAGE)))


def _connect_and_echo(port: int) -> None:
    with _echo_connection(port) as connection:
        _echo(connection)


def _connect_and_call(address: str, policy: Policy) -> None:
    session = connect(address, policy)
    session.deploy(PROGRAM)
    if session.call("add", 1, 2) != 3:
        raise AssertionError("1 + 2 is 3")
    session.abort()


def _upload(session: Session) -> None:
    if session.put("upload", bytes(_UPLOAD)) != _UPLOAD:
        raise AssertionError("the upload is incomplete")


@contextmanager
def _echoing(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TLS 1.3 echo server in a process of its own: its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = multiprocessing.Process(target=serve, args=(listener,), daemon=True)
        server.start()
        port: int = listener.getsockname()[1]
    try:
        yield port
    finally:
        server.terminate()
        server.join()


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(CERTIFICATE)
    return context


def _serve_in_asyncio(listener: socket.socket) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async def serve() -> None:
        await (await asyncio.start_server(answer, sock=listener, ssl=_server_context())).serve_forever()

    asyncio.run(serve())


def _serve_in_threads(listener: socket.socket) -> None:
    context = _server_context()
    while True:
        plain, _ = listener.accept()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_answer_echo, args=(context, plain), daemon=True).start()


def _answer_echo(context: ssl.SSLContext, plain: socket.socket) -> None:
    with context.wrap_socket(plain, server_side=True) as connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def _echo_connection(port: int) -> ssl.SSLSocket:
    """A verified connection to the echo server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(CERTIFICATE)
    plain = socket.create_connection(("127.0.0.1", port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname="localhost")


def report(figures: dict[str, float]) -> bool:
    """Print the figures and whether each target is met; returns whether all are."""
    met = True
    print(f"cryptography from {PROVIDER}")
    for name, echo, most in TARGETS:
        ours, theirs = figures[name], figures[echo]
        good = ours <= most * theirs
        met = met and good
        print(
            f"{name}: {ours * 1e3:.3f} ms, {echo}: {theirs * 1e3:.3f} ms, {ours / theirs:.2f} times "
            f"(target: at most {most:g}; {'met' if good else 'missed'})"
        )
    good = figures["upload"] >= UPLOAD_TARGET
    print(
        f"upload: {figures['upload']:.0f} MB/s "
        f"(target: at least {UPLOAD_TARGET:g}; {'met' if good else 'missed'})"
    )
    return met and good


if __name__ == "__main__":
    sys.exit(main())
