"""The channel beside a plain TLS 1.3 echo server, in one run: ``python -m benchmarks.channel [--json FILE]``.

Both servers are processes on this machine, both clients are this process. Compared are a round trip of a
small message, here a call of `add`, and connecting until the first answer, here with attestation, deployment
and the first call; besides, what an upload carries. A figure is the median of its samples, which are taken in
turn, so that both meet the same machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from schannel.primitives import PROVIDER
from schannel.simulation import simulation_policy
from wasm_client import Policy, Session, connect
from wasm_client.demo import running_host

CERTIFICATE = Path(__file__).parent / "channel-test.pem"
"""A self-signed certificate for ``localhost`` with its key: it protects nothing."""

PROGRAM = b"""(module (func (export "add") (param i32 i32) (result i32)
  local.get 0 local.get 1 i32.add))"""
TARGETS = {"round trip": 2.5, "connect": 10.0}
"""How many times the echo server's time ours may take."""

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
    port, server = start_echo()
    try:
        with running_host() as address:
            return _measure(address, simulation_policy(), port, rounds)
    finally:
        server.terminate()
        server.join()


def _measure(address: str, policy: Policy, port: int, rounds: int) -> dict[str, float]:
    samples: dict[str, list[float]] = {}

    def sample(name: str, seconds: float) -> None:
        samples.setdefault(name, []).append(seconds)

    with echo_connection(port) as echo, connect(address, policy) as session:
        session.deploy(PROGRAM)
        time.sleep(_SETTLED)
        for _ in range(rounds):
            sample("echo round trip", _timed(lambda: _echo(echo), _BATCH))
            sample("round trip", _timed(lambda: session.call("add", 1, 2), _BATCH))
        for _ in range(rounds):
            sample("echo connect", _timed(lambda: _connect_and_echo(port)))
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
    with echo_connection(port) as connection:
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


def start_echo() -> tuple[int, multiprocessing.Process]:
    """A TLS 1.3 echo server in a process of its own, and its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = multiprocessing.Process(target=_serve_echo, args=(listener,), daemon=True)
    server.start()
    port: int = listener.getsockname()[1]
    listener.close()
    return port, server


def _serve_echo(listener: socket.socket) -> None:
    import threading

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(CERTIFICATE)
    while True:
        plain, _ = listener.accept()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_answer_echo, args=(context, plain), daemon=True).start()


def _answer_echo(context: ssl.SSLContext, plain: socket.socket) -> None:
    with context.wrap_socket(plain, server_side=True) as connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def echo_connection(port: int) -> ssl.SSLSocket:
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
    for name, most in TARGETS.items():
        ours, theirs = figures[name], figures[f"echo {name}"]
        good = ours <= most * theirs
        met = met and good
        print(
            f"{name}: {ours * 1e3:.3f} ms, TLS echo {theirs * 1e3:.3f} ms, {ours / theirs:.2f} times "
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
