"""Applications of an enclave, as processes that `tests.keystone.Machine` runs: ``edge_application.py KIND``.

They speak Eyrie's calls on descriptor 3. ``serve`` is a whole one; the others are what goes wrong.
"""

from __future__ import annotations

import contextlib
import mmap
import resource
import socket
import struct
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from schannel.edge import AnswerHead, Call, Closing, Event, Happening, Request
from schannel.endings import Ending
from schannel.evidence import RAW_SIZE

OCALL, ATTEST, SEALING_KEY = 1001, 1003, 1004
EYRIE = socket.socket(fileno=3) if __name__ == "__main__" else None
ROOM = 1 << 17


class Refused(Exception):
    """Eyrie returned something else than 0."""


def take(size: int) -> bytes:
    assert EYRIE is not None
    taken = b""
    while len(taken) < size:
        data = EYRIE.recv(size - len(taken))
        if not data:
            sys.exit(126)
        taken += data
    return taken


def ask(kind: int, number: int, content: bytes, room: int) -> bytes:
    assert EYRIE is not None
    EYRIE.sendall(struct.pack("<4Q", kind, number, len(content), room) + content)
    status, size = struct.unpack("<qQ", take(16))
    answer = take(size)
    if status:
        raise Refused(status)
    return answer


def call(number: int, content: bytes = b"", room: int = ROOM) -> bytes:
    answer = ask(OCALL, number, Request(room, content).build(), room)
    head = AnswerHead.parse(answer[: AnswerHead.sizeof()])
    return answer[AnswerHead.sizeof() : AnswerHead.sizeof() + head.size]


class Edge(ModuleType):
    """`_edge`, as it is linked into the application (``enclave/keystone/edge.c``)."""

    def ocall(self, number: int, request: bytes, room: int) -> bytes:
        return ask(OCALL, number, request, room).ljust(room, b"\0")

    def attest(self, data: bytes) -> bytes:
        return ask(ATTEST, 0, data, 2048)[:RAW_SIZE]

    def sealing_key(self, identifier: bytes) -> bytes:
        return ask(SEALING_KEY, 0, identifier, 192)

    def stir(self, data: bytes) -> None:
        """What is mixed into the randomness, which is the system's here."""


def serve() -> int:
    """The application itself."""
    sys.modules["_edge"] = Edge("_edge")
    from wasm_rt import keystone

    return keystone.main("")


def cramped() -> int:
    """The application itself, with 128 MiB of address space beside what it has when it begins."""
    from wasm_rt import application  # noqa: F401

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (taken + (128 << 20),) * 2)
    return serve()


def crash() -> int:
    return 77


def silent() -> NoReturn:
    while True:
        time.sleep(1)


def deaf() -> NoReturn:
    """Begins, then neither calls nor ends."""
    call(Call.BEGIN)
    silent()


def picky() -> int:
    """Begins, and does not like its settings."""
    call(Call.BEGIN)
    call(Call.LOG, b"the enclave failed: max_fuel is not a number from 1 to 10")
    return Ending.FAILED


def echo() -> int:
    """Returns what comes; tells how it was closed."""
    call(Call.BEGIN)
    while True:
        event = Event.parse(call(Call.RECEIVE))
        if event.kind is Happening.END:
            return Ending.DONE
        if event.kind is Happening.CLOSE:
            call(Call.SEND, Closing.parse(event.content).reason.name.encode())
            return Ending.SILENT
        call(Call.SEND, event.content)


def curious() -> int:
    """Wants of the host what it does not get, then echoes."""
    refused = 0
    openat = struct.pack("<Q", 56) + b"/etc/passwd\0"
    for number, content in ((11, openat), (0, b""), (6, b""), (10, b""), (1 << 63, b"")):
        try:
            ask(OCALL, number, content, 100)
        except Refused:
            refused += 1
    assert refused == 5
    return echo()


def stubborn() -> NoReturn:
    """Makes calls that there are not, without end."""
    call(Call.BEGIN)
    while True:
        with contextlib.suppress(Refused):
            ask(OCALL, 99, b"", 0)


if __name__ == "__main__":
    kinds = {
        made.__name__: made for made in (serve, cramped, crash, silent, deaf, picky, echo, curious, stubborn)
    }
    sys.exit(kinds[sys.argv[1]]())
