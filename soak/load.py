"""What is done to the host, and what must hold; an AssertionError says what did not."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable

from schannel.errors import RemoteError
from schannel.messages import DeployRequest
from schannel.session import ClientSession
from schannel.transport import ClientConnection
from wasm_client import ClientError, connect

from .host import ROOT, RunningHost, Usage

CALCULATOR = (ROOT / "examples" / "calculator.wat").read_bytes()
_TIMEOUT = 180.0
_BYSTANDERS = 4
_SETTLING = 20.0
_MEMORY_SLACK, _DESCRIPTOR_SLACK = 8 << 10, 8
"""KiB and descriptors that host, monitor and zygote may have more after all connections than after a few."""


def at_once(host: RunningHost, clients: int, calls: int) -> str:
    """So many clients at the same time, each so many calls: every answer is right."""
    right = [0] * clients
    errors: list[str] = []

    def client(number: int) -> None:
        chooser = random.Random(number)
        try:
            with connect(host.address, host.policy, timeout=_TIMEOUT) as session:
                session.deploy(CALCULATOR)
                for _ in range(calls):
                    one, other = chooser.randrange(1 << 30), chooser.randrange(1 << 30)
                    assert session.call("add", one, other) == one + other, "a wrong answer"
                    right[number] += 1
        except (ClientError, AssertionError) as error:
            errors.append(f"client {number}: {error}")

    started = time.monotonic()
    _together([lambda number=number: client(number) for number in range(clients)])  # type: ignore[misc]
    assert not errors, errors[0]
    assert sum(right) == clients * calls, "some calls were not made"
    return f"{sum(right)} right answers, {sum(right) / (time.monotonic() - started):.0f} a second"


def one_after_another(host: RunningHost, connections: int) -> str:
    """So many connections, of which nothing stays behind."""
    warm = max(connections // 10, 10)
    before = Usage(0, 0, 0)
    started = time.monotonic()
    for number in range(connections):
        if number == warm:
            before = _settled(host)
        with connect(host.address, host.policy, timeout=_TIMEOUT) as session:
            if number % 10 == 0:
                session.deploy(CALCULATOR)
                assert session.call("add", number, 1) == number + 1, "a wrong answer"
    seconds = time.monotonic() - started
    after = _settled(host)
    assert after.memory <= before.memory + _MEMORY_SLACK, f"memory grew from {before} to {after}"
    assert after.descriptors <= before.descriptors + _DESCRIPTOR_SLACK, f"{before} became {after}"
    assert after.processes <= before.processes, f"processes: {before} became {after}"
    return (
        f"{connections / seconds:.0f} a second; memory {before.memory} -> {after.memory} KiB, descriptors "
        f"{before.descriptors} -> {after.descriptors}, processes {before.processes} -> {after.processes}"
    )


def killing(host: RunningHost, count: int) -> str:
    """Kill the enclaves of victims at random times, while bystanders call without a pause."""
    stop = threading.Event()
    calls = [0] * _BYSTANDERS
    errors: list[str] = []

    def bystander(number: int) -> None:
        try:
            with connect(host.address, host.policy, timeout=_TIMEOUT) as session:
                session.deploy(CALCULATOR)
                ready.wait(_TIMEOUT)
                while not stop.is_set():
                    assert session.call("mul", calls[number] % 1000, 3) == calls[number] % 1000 * 3, "wrong"
                    calls[number] += 1
        except (ClientError, AssertionError, threading.BrokenBarrierError) as error:
            errors.append(f"bystander {number}: {error}")

    ready = threading.Barrier(_BYSTANDERS + 1)
    threads = [threading.Thread(target=bystander, args=(number,)) for number in range(_BYSTANDERS)]
    for thread in threads:
        thread.start()
    try:
        ready.wait(_TIMEOUT)
        for _ in range(count):
            _kill_one(host)
    finally:
        stop.set()
        for thread in threads:
            thread.join(_TIMEOUT)
    assert not errors, errors[0]
    return f"{sum(calls)} calls of {_BYSTANDERS} bystanders, none disturbed"


def _kill_one(host: RunningHost) -> None:
    """Kill the enclave of a client that keeps it busy: the client is told that its session is lost."""
    with socket.create_connection(_target(host.address), _TIMEOUT) as plain:
        victim = ClientConnection(plain, ClientSession(host.policy))
        victim.handshake(_TIMEOUT)
        enclave = host.enclave_of(plain.getsockname()[1])
        killer = threading.Timer(random.uniform(0, 0.05), os.kill, (enclave, signal.SIGKILL))
        killer.start()
        with contextlib.suppress(RemoteError):
            while True:
                victim.request(DeployRequest("main", CALCULATOR), _TIMEOUT)
        killer.join()


def _target(address: str) -> tuple[str, int]:
    name, _, port = address.rpartition(":")
    return name, int(port)


def _settled(host: RunningHost) -> Usage:
    """What is used once no enclave has a client; those in waiting stay."""
    deadline = time.monotonic() + _SETTLING
    seen = [host.usage()]
    while len(seen) < 5 and time.monotonic() < deadline:
        time.sleep(0.3)
        now = host.usage()
        seen = [*seen, now] if now.processes == seen[-1].processes else [now]
    return seen[-1]


def _together(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
