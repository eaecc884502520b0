"""A scripted host that does what a host must not: a real socket, a script, and what its victims sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from schannel.framing import LENGTH_SIZE, PROLOGUE_SIZE

TIMEOUT = 20.0


class Wire:
    """One connection, read in the protocol's pieces. `received` is everything that came."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT)
        self._connection = connection
        self._reader = connection.makefile("rb")
        self.received = bytearray()

    def read(self, size: int) -> bytes:
        """As many bytes, or fewer at the end of the stream."""
        data = self._reader.read(size)
        self.received += data
        return data

    def prologue(self) -> bytes:
        """What a client sends first."""
        return self.read(PROLOGUE_SIZE)

    def record(self) -> bytes:
        """The next record with its length; empty at the end of the stream."""
        head = self.read(LENGTH_SIZE)
        return head + self.read(int.from_bytes(head, "big"))

    def send(self, *pieces: bytes) -> None:
        """Send all pieces."""
        self._connection.sendall(b"".join(pieces))

    def end(self) -> None:
        """End this direction in order, as a stream can end anywhere."""
        self._connection.shutdown(socket.SHUT_WR)

    def drain(self) -> None:
        """Read until the end of the stream."""
        while self.read(1 << 16):
            pass

    def close(self) -> None:
        """Close both directions."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.close()
        self._connection.close()


class Hostile:
    """What a script sees: `victim` gives the next client, `genuine` a connection to the real host."""

    def __init__(self, target: tuple[str, int] | None) -> None:
        self._target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(TIMEOUT)
        self.thread: threading.Thread | None = None
        self.wires: list[Wire] = []
        self.victims: list[Wire] = []

    @property
    def address(self) -> str:
        """Where victims connect to."""
        return "{}:{}".format(*self.listener.getsockname())

    @property
    def heard(self) -> list[int]:
        """How many bytes each victim has sent, after the script's end."""
        assert self.thread is not None
        self.thread.join(TIMEOUT)
        return [len(victim.received) for victim in self.victims]

    def victim(self) -> Wire:
        """The next client."""
        self.victims.append(self._add(self.listener.accept()[0]))
        return self.victims[-1]

    def genuine(self) -> Wire:
        """A connection to the real host."""
        assert self._target is not None
        return self._add(socket.create_connection(self._target, TIMEOUT))

    def _add(self, connection: socket.socket) -> Wire:
        self.wires.append(Wire(connection))
        return self.wires[-1]


Script = Callable[[Hostile], None]


@contextmanager
def hostile(script: Script, target: tuple[str, int] | None = None) -> Iterator[Hostile]:
    """Run a script in place of a host; a victim that hangs up ends it."""
    host = Hostile(target)

    def run() -> None:
        # A script that is read from when its victim's test is over is at its end, too.
        with suppress(OSError, ValueError):
            script(host)
        for wire in host.wires:
            with suppress(OSError):
                wire.end()

    def close() -> None:
        for wire in host.wires:
            wire.close()

    host.thread = threading.Thread(target=run, daemon=True)
    with ExitStack() as stack:
        stack.callback(host.listener.close)
        host.thread.start()
        stack.callback(host.thread.join, TIMEOUT)
        stack.callback(close)
        yield host


def relay_handshake(client: Wire, enclave: Wire) -> bytes:
    """Pass on prologue and keys, and the evidence; returns what the client sent."""
    first = client.prologue() + client.record()
    enclave.send(first)
    client.send(enclave.record(), enclave.record())
    return first


def pump(source: Wire, sink: Wire) -> None:
    """Pass records on, in the background, as long as there are any."""

    def run() -> None:
        with suppress(OSError, ValueError):
            while record := source.record():
                sink.send(record)
            sink.end()

    threading.Thread(target=run, daemon=True).start()
