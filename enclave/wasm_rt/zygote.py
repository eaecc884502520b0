"""The warmed-up process that enclaves are forked from: a connection does not wait for Python to start.

It holds no key and no client's data, so neither does an enclave when it begins. The datagrams are those of
`schannel.control`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
from collections.abc import Mapping
from typing import NoReturn

from schannel.builds import describe
from schannel.control import (
    MAX_DATAGRAM,
    Control,
    Ended,
    Failed,
    Kill,
    Missing,
    Ping,
    Pong,
    Prepared,
    Start,
    Started,
    Stop,
    decode,
    encode,
)
from schannel.endings import Ending
from schannel.evidence import Isolation
from schannel.process import die_with_parent, leave_no_core

from . import enclave, sandbox
from .configuration import Configuration
from .monitor_link import MonitorLink
from .storage_link import StorageLink

_DESCRIPTORS = 3
"""What comes with a request to start an enclave: channel, storage, monitor link."""


def serve(control: socket.socket, settings: bytes, loader: bytes, files: Mapping[str, bytes]) -> None:
    """Fork enclaves on request until the monitor hangs up; then they end with this process.

    `settings` is a JSON object of what differs from the configuration's defaults, `loader` the first measured
    file, and `files` those in the two others.
    """
    die_with_parent()
    leave_no_core()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configuration = Configuration.from_mapping(json.loads(settings))
    build = describe(loader, files)
    enclave.warm_up(configuration)
    namespaces = sandbox.enter_namespaces()
    probe = _probe(configuration)
    # What is alive now is shared with every enclave: the collector must not touch, hence copy, these pages.
    gc.collect()
    gc.freeze()
    gc.enable()
    report = Prepared(
        configuration.digest(),
        configuration.data_limit,
        (namespaces.active | probe.active).names(),
        tuple(Missing(*layer) for layer in (*namespaces.missing, *probe.missing)),
    )
    # Stopped while it starts, the monitor takes no answer any more.
    with contextlib.suppress(ConnectionError):
        control.send(encode(report))
        Zygote(control, configuration, namespaces.active, build).run()


def _probe(configuration: Configuration) -> sandbox.Isolated:
    """Have a child lock itself down and tell which layers hold here."""
    receiver, sender = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        isolated = sandbox.lock_down(configuration.data_limit, [sender.fileno()])
        sender.sendall(json.dumps([int(isolated.active), isolated.missing]).encode())
        os._exit(0)
    sender.close()
    with receiver:
        text = receiver.recv(MAX_DATAGRAM)
    os.waitpid(pid, 0)
    if not text:
        raise RuntimeError("an enclave process does not survive its own sandbox on this machine")
    active, missing = json.loads(text)
    return sandbox.Isolated(Isolation(active), tuple((name, reason) for name, reason in missing))


class Zygote:
    """Starts, stops and reaps enclaves; each is known by the number that the monitor gave it."""

    def __init__(
        self, control: socket.socket, configuration: Configuration, inherited: Isolation, build: str
    ) -> None:
        self._control = control
        self._configuration = configuration
        self._inherited = inherited
        self._build = build
        self._children: dict[int, int] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until the end of the control socket."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._control:
                    self._reap(key.fd, key.data)
                elif not self._serve_control():
                    return

    def _serve_control(self) -> bool:
        received, descriptors, _, _ = socket.recv_fds(self._control, MAX_DATAGRAM, _DESCRIPTORS)
        if not received:
            return False
        match decode(received):
            case Start(number):
                self._start(number, descriptors)
            case Ping(number):
                self._send(Pong(number))
            case Stop(number, reason) if number in self._children:
                os.kill(self._children[number], enclave.STOP_SIGNALS[reason])
            case Kill(number) if number in self._children:
                os.kill(self._children[number], signal.SIGKILL)
        return True

    def _start(self, number: int, descriptors: list[int]) -> None:
        try:
            if len(descriptors) != _DESCRIPTORS:
                raise OSError("some were lost on the way, where no more files may be open")
            pid = os.fork()
            if pid == 0:
                self._become_enclave(*descriptors)
        except OSError:
            self._send(Failed(number))
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._children[number] = pid
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, number)
        self._send(Started(number, pid))

    def _become_enclave(self, channel: int, storage: int, link: int) -> NoReturn:
        status = Ending.FAILED
        try:
            status = enclave.run(
                socket.socket(fileno=channel),
                MonitorLink(socket.socket(fileno=link)),
                StorageLink(socket.socket(fileno=storage)),
                self._configuration,
                self._inherited,
                self._build,
            )
        finally:
            os._exit(status)

    def _reap(self, pidfd: int, number: int) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(self._children.pop(number), 0)
        self._send(Ended(number, status))

    def _send(self, answer: Control) -> None:
        self._control.send(encode(answer))
