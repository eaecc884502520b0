"""The monitor once it has started: serves the host, the zygote and the enclaves.

The datagrams are those of `schannel.control`.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schannel import control
from schannel.control import Control
from schannel.errors import MessageError
from schannel.monitor_keys import Monitor

from .monitor_link import Operation, answer_request, parse_request, receive_request

_DESCRIPTORS = 2
"""What comes from the host with a request to start an enclave: its ends of channel and storage."""

MAX_LINES, MAX_ANSWERS = 16, 16
"""Lines that an enclave may log, and reports and keys that it may have: one and two are what it needs."""

MAX_UNHEARD = 1000
"""Lines more that it may write: one that writes even more is hung up on."""


@dataclass(slots=True)
class _Link:
    """The monitor's end of an enclave's socket, and how much the enclave has had of it."""

    socket: socket.socket
    lines: int = 0
    answers: int = 0


class MonitorServer:
    """Serves the host, the zygote and the enclaves.

    An enclave that was taken over can write `MAX_LINES` lines into the host's log, and have `MAX_ANSWERS`
    questions answered, not more, and is hung up on when it does not stop: neither the log nor the monitor's
    time is its to use up.
    """

    def __init__(
        self,
        host: socket.socket,
        zygote: int,
        zygote_control: socket.socket,
        monitor: Monitor,
        enclave_hash: bytes,
    ) -> None:
        self._control = host
        self._zygote_control = zygote_control
        self._zygote = zygote
        self._monitor = monitor
        self._enclave_hash = enclave_hash
        self._links: dict[int, _Link] = {}
        self._selector = selectors.DefaultSelector()
        self._watch(host, self._serve_host)
        self._watch(zygote_control, self._serve_zygote)

    def run(self) -> None:
        """Serve until the host hangs up or the zygote ends."""
        serving = True
        while serving:
            for key, _ in self._selector.select():
                serve: Callable[[], bool] = key.data
                serving = serve() and serving

    def close(self) -> None:
        """End the zygote, and with it every enclave."""
        os.kill(self._zygote, signal.SIGKILL)
        os.waitpid(self._zygote, 0)

    def _watch(self, connection: socket.socket, serve: Callable[[], bool]) -> None:
        self._selector.register(connection, selectors.EVENT_READ, serve)

    def _serve_host(self) -> bool:
        received, descriptors = _receive(self._control)
        if not received:
            return False
        try:
            request = control.decode(received)
        except MessageError as error:
            send(self._control, control.Error(f"what the host asks of the security monitor is {error}"))
            return False
        if isinstance(request, control.Start):
            self._start(request, descriptors)
        else:
            send(self._zygote_control, request)
        return True

    def _start(self, request: control.Start, descriptors: Sequence[int]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            # Without the zygote there is no enclave, and its socket says so next.
            with contextlib.suppress(ConnectionError):
                sent = [*descriptors, theirs.fileno()]
                socket.send_fds(self._zygote_control, [control.encode(request)], sent)
        finally:
            theirs.close()
            for descriptor in descriptors:
                os.close(descriptor)
        link = self._links[request.number] = _Link(ours)
        self._watch(ours, lambda: self._serve_enclave(request.number, link))

    def _serve_zygote(self) -> bool:
        received, _ = _receive(self._zygote_control)
        if not received:
            send(self._control, control.Error("the process that enclaves are forked from has ended"))
            return False
        try:
            answer = control.decode(received)
        except MessageError as error:
            said = f"what the process says that enclaves are forked from is {error}"
            send(self._control, control.Error(said))
            return False
        match answer:
            case control.Prepared():
                answer = self._ready(answer)
            case control.Ended(number) | control.Failed(number):
                self._drop(number)
        send(self._control, answer)
        return True

    def _ready(self, prepared: control.Prepared) -> control.Ready:
        monitor = self._monitor
        return control.Ready(self._enclave_hash, monitor.monitor_hash, monitor.device_public_key, prepared)

    def _serve_enclave(self, number: int, link: _Link) -> bool:
        try:
            received = receive_request(link.socket)
            request = parse_request(received)
            if not received:
                self._drop(number)
            elif request and request.operation is Operation.LOG:
                self._log(number, link, request.argument.decode(errors="replace"))
            elif link.answers == MAX_ANSWERS:
                self._send_log(number, f"hung up on: it has asked {MAX_ANSWERS} questions, and asks more")
                self._drop(number)
            else:
                link.answers += 1
                link.socket.send(answer_request(self._monitor, self._enclave_hash, request))
        except OSError:
            # An enclave that ended meanwhile, or does not take its answers: it harms only itself.
            self._drop(number)
        return True

    def _log(self, number: int, link: _Link, text: str) -> None:
        link.lines += 1
        if link.lines <= MAX_LINES:
            self._send_log(number, text)
        elif link.lines == MAX_LINES + 1:
            self._send_log(number, f"is heard no more: it has logged {MAX_LINES} lines, and logs more")
        elif link.lines > MAX_LINES + MAX_UNHEARD:
            self._drop(number)

    def _send_log(self, number: int, text: str) -> None:
        send(self._control, control.Log(number, text))

    def _drop(self, number: int) -> None:
        link = self._links.pop(number, None)
        if link is not None:
            self._selector.unregister(link.socket)
            link.socket.close()


def send(connection: socket.socket, message: Control) -> None:
    """Send a datagram; nothing where the other end is gone."""
    with contextlib.suppress(ConnectionError):
        connection.send(control.encode(message))


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """A datagram and the descriptors with it; nothing when the other end is gone, however it went."""
    try:
        received, descriptors, _, _ = socket.recv_fds(connection, control.MAX_DATAGRAM, _DESCRIPTORS)
    except ConnectionError:
        # It was killed with something of ours unread.
        return b"", []
    return received, descriptors
