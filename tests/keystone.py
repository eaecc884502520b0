"""A double of a RISC-V machine with Keystone: Linux' driver, the monitor, and Eyrie around a process.

It holds whoever uses it to what the driver's sources say (``linux-keystone-driver``, commit 88c49ee): a
structure of another size, an address outside of the enclave, memory that is freed twice fail the test that
did it. The monitor measures what was written, page by page, and signs with a chain of keys like a device's.

An application is a process that speaks Eyrie's calls on descriptor 3: a question is four little-endian 64-bit
numbers (kind, number, bytes that follow, room for the answer), an answer two (status, bytes that follow).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NoReturn

from schannel.ed25519_sha3 import ED25519_SHA3
from schannel.measurement import measure
from schannel.monitor_keys import Monitor
from tests.edge_application import ATTEST, OCALL, SEALING_KEY
from tests.processes import FOLDERS
from wasm_host.keystone_device import DEVICE, PAGE, CreateArguments, Request, RunArguments, Stopped

DEVICE_KEY = ED25519_SHA3.key_from_seed(b"\5" * 32)
MONITOR = Monitor.boot(DEVICE_KEY, b"\6" * 64)

ELF = struct.pack(
    "<4s5B7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 2, 243, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0
)
"""Head of a static program for 64-bit RISC-V, with one segment."""

_SEGMENT = struct.pack("<2I6Q", 1, 5, 0, 0x10000, 0x10000, 120, 120, PAGE)
LOADER = b"\x13\0\0\0" * 1500
RUNTIME, APPLICATION = ELF + _SEGMENT + b"runtime" * 900, ELF + _SEGMENT + b"application" * 20

_QUESTION, _ANSWER, _HEAD = struct.Struct("<4Q"), struct.Struct("<qQ"), struct.Struct("<6Q")
_TICK_MS = 10
_DRAM = 0x8000_0000
_FIRST_EID = 0x1000
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, FOLDERS))}
_MAX_ORDER = 10


@dataclass
class Mapped:
    """A mapping, which shows when it was closed."""

    memory: bytearray
    start: int
    size: int
    machine: Machine

    def __getitem__(self, place: slice) -> bytes:
        return bytes(self.memory[self.start : self.start + self.size][place])

    def __setitem__(self, place: slice, content: bytes) -> None:
        first, last, step = place.indices(self.size)
        assert step == 1 and last - first == len(content), "what is written has the size of its place"
        self.memory[self.start + first : self.start + last] = content

    def close(self) -> None:
        self.machine.mappings.remove(id(self))


class Process:
    """An application that Eyrie runs."""

    def __init__(self, command: Sequence[str]) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)]
            self._pid = os.posix_spawn(command[0], [*command], _ENVIRONMENT, file_actions=actions)
        self._room = 0

    def asks(self) -> bool:
        """Whether there is a question, or an end, before the clock ticks."""
        return bool(select.select([self.socket], [], [], _TICK_MS / 1000)[0])

    def question(self) -> tuple[int, int, bytes] | None:
        """Kind, number and bytes; None at its end."""
        head = self._take(_QUESTION.size)
        if not head:
            return None
        kind, number, size, self._room = _QUESTION.unpack(head)
        return kind, number, self._take(size)

    def answer(self, status: int, content: bytes = b"") -> None:
        content = content[: self._room]
        self.socket.sendall(_ANSWER.pack(status, len(content)) + content)

    def end(self) -> int:
        """Wait for it; its exit status."""
        self.socket.close()
        pid, self._pid = self._pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def kill(self) -> None:
        """End it where it has not ended."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self.end()

    def _take(self, size: int) -> bytes:
        taken = b""
        while len(taken) < size and (data := self.socket.recv(size - len(taken))):
            taken += data
        return taken


@dataclass
class Created:
    """What the driver and the monitor know of an enclave."""

    address: int
    memory: bytearray
    shared: bytearray | None = None
    loading: bool = True
    freed: bool = False
    returned: bool = False
    """Whether its number is the driver's again."""

    hash: bytes = b""
    process: Process | None = None
    running: bool = False
    calling: bool = False
    calls: list[tuple[int, bytes]] = field(default_factory=list)
    """Number and request of every edge call."""


class Machine:
    """What `wasm_host.keystone_device.Driver` asks for.

    Args:
        command: the application's process.
        pages: contiguous memory.
        enclaves: what the monitor can keep apart.
        numbers: how many the driver has for enclaves (``keystone-enclave.c``, enclave_idr_alloc).
        fail: a request, or ``"open"`` or ``"mmap"``, with which time of it fails (from 0), and how.
        then: another one.
    """

    def __init__(
        self,
        command: Sequence[str] = (),
        pages: int = 1 << 16,
        enclaves: int = 4,
        numbers: int = 0xEFFF,
        fail: tuple[Request | str, int, int] | None = None,
        then: tuple[Request | str, int, int] | None = None,
    ) -> None:
        self.command = command
        self.monitor = MONITOR
        self.reserved = pages * PAGE
        self.files: dict[int, int] = {}
        self.enclaves: dict[int, Created] = {}
        self.mappings: list[int] = []
        self.done: list[Request | str] = []
        self._free = pages
        self._places = enclaves
        self._numbers = numbers
        self._fail = [each for each in (fail, then) if each is not None]
        self._lock = threading.RLock()
        self._next_file, self._next_eid, self._next_address = 100, _FIRST_EID, _DRAM

    @property
    def alive(self) -> list[Created]:
        """Enclaves that have memory, but for those that took the place of what the driver has freed."""
        return [
            enclave
            for enclave in self.enclaves.values()
            if not enclave.freed and (len(enclave.memory) > 2 * PAGE or not enclave.loading)
        ]

    @property
    def lost_numbers(self) -> int:
        """Those of enclaves that are gone, or of what took their places."""
        return sum(not each.returned and each not in self.alive for each in self.enclaves.values())

    def assert_clean(self) -> None:
        """Nothing is left behind."""
        assert not self.alive and not self.files and not self.mappings

    def open(self, path: str) -> int:
        with self._lock:
            assert path == DEVICE
            self._note("open")
            self._next_file += 1
            self.files[self._next_file] = 0
            return self._next_file

    def close(self, descriptor: int) -> None:
        with self._lock:
            eid = self.files.pop(descriptor)
            if eid:
                assert not self.enclaves[eid].freed, "closing the file frees memory a second time"
                with contextlib.suppress(OSError):
                    self._destroy(eid)

    def contiguous(self) -> int:
        return self.reserved

    def mmap(self, descriptor: int, size: int, offset: int) -> Mapped:
        with self._lock:
            self._note("mmap")
            enclave = self.enclaves[self.files[descriptor]]
            assert not enclave.freed
            if enclave.loading:
                assert size == PAGE and offset % PAGE == 0 and offset + size <= len(enclave.memory)
                mapped = Mapped(enclave.memory, offset, size, self)
            else:
                assert enclave.shared is not None and offset == 0 and size <= len(enclave.shared)
                mapped = Mapped(enclave.shared, 0, size, self)
            self.mappings.append(id(mapped))
            return mapped

    def ioctl(self, descriptor: int, request: int, argument: bytearray) -> None:
        if request not in set(Request):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        known = Request(request)
        if known in (Request.RUN, Request.RESUME):
            self._run(descriptor, known, argument)
            return
        with self._lock:
            assert len(argument) == 80 == (known >> 16) & 0x3FFF
            given = CreateArguments.parse(bytes(argument))
            self._note(known)
            match known:
                case Request.CREATE:
                    self._create(descriptor, given, argument)
                case Request.UTM_INIT:
                    self._share(descriptor, given)
                case Request.FINALIZE:
                    self._finalize(descriptor, given)
                case Request.DESTROY:
                    self._check_only(given, eid=given.eid)
                    self._destroy(given.eid)
                    self.files[descriptor] = 0

    def answer_report(self, enclave_hash: bytes, data: bytes) -> bytes:
        """The report as the monitor writes it."""
        return self.monitor.attest(enclave_hash, data).to_raw()

    def _note(self, what: Request | str) -> None:
        count = self.done.count(what)
        self.done.append(what)
        for failing, time, number in self._fail:
            if (failing, time) == (what, count) and what is not Request.FINALIZE:
                raise OSError(number, os.strerror(number))

    def _check_only(self, given: CreateArguments, **allowed: int) -> None:
        assert vars(given) == dict.fromkeys(vars(given), 0) | allowed, "what has no meaning here is zero"

    def _take_pages(self, wanted: int) -> int:
        order = (wanted - 1).bit_length()
        pages = 1 << order if order <= _MAX_ORDER else wanted
        if pages > self._free:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        self._free -= pages
        return pages

    def _create(self, descriptor: int, given: CreateArguments, argument: bytearray) -> None:
        self._check_only(given, min_pages=given.min_pages)
        assert given.min_pages >= 2, "the driver takes the logarithm of one less"
        memory = bytearray(self._take_pages(given.min_pages) * PAGE)
        if sum(not each.returned for each in self.enclaves.values()) >= self._numbers:
            # It does not notice, and nothing gives the memory back.
            lost = {"epm_paddr": self._next_address, "epm_size": len(memory)}
            argument[:] = CreateArguments(**vars(given) | lost).build()
            return
        eid, self._next_eid = self._next_eid, self._next_eid + 1
        self.enclaves[eid] = Created(self._next_address, memory)
        self.files[descriptor] = eid
        changes = {"eid": eid, "epm_paddr": self._next_address, "epm_size": len(memory)}
        self._next_address += len(memory)
        argument[:] = CreateArguments(**vars(given) | changes).build()

    def _share(self, descriptor: int, given: CreateArguments) -> None:
        self._check_only(given, eid=self.files[descriptor], utm_size=given.utm_size)
        enclave = self.enclaves[given.eid]
        assert enclave.shared is None and enclave.loading
        pages = given.utm_size // PAGE
        assert pages >= 2 and pages & (pages - 1) == 0 and pages * PAGE == given.utm_size
        enclave.shared = bytearray(self._take_pages(pages) * PAGE)

    def _finalize(self, descriptor: int, given: CreateArguments) -> None:
        enclave = self.enclaves[given.eid]
        assert given.eid == self.files[descriptor] and not enclave.freed
        if given == CreateArguments(**dict.fromkeys(vars(given), 0) | {"eid": given.eid}):
            # Not what the monitor takes.
            self._refuse(enclave)
        assert enclave.shared is not None
        start, end = enclave.address, enclave.address + len(enclave.memory)
        places = [start, given.runtime_paddr, given.user_paddr, given.free_paddr]
        assert places == sorted(places) and given.free_paddr <= end
        assert all(place % PAGE == 0 for place in places)
        assert given.free_requested <= end - given.free_paddr
        enclave.loading = False
        failing = any(each[0] is Request.FINALIZE for each in self._fail)
        others = [other for other in self.alive if other is not enclave and other.hash]
        if failing or len(others) >= self._places:
            self._refuse(enclave)
        loader, runtime, application = (
            bytes(enclave.memory[first - start : last - start]) for first, last in pairwise(places)
        )
        enclave.hash = measure(loader, runtime, application)

    def _refuse(self, enclave: Created) -> NoReturn:
        """As the driver does it: freed, but still in the file."""
        self._free_memory(enclave)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def _destroy(self, eid: int) -> None:
        enclave = self.enclaves[eid]
        assert not enclave.freed, "memory is freed a second time"
        if enclave.loading:
            # The monitor does not know it: the driver gives up.
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        assert not enclave.running, "the monitor destroys what stands still"
        if enclave.process is not None:
            enclave.process.kill()
        self._free_memory(enclave)
        enclave.returned = True

    def _free_memory(self, enclave: Created) -> None:
        enclave.freed = True
        self._free += (len(enclave.memory) + len(enclave.shared or b"")) // PAGE

    def _run(self, descriptor: int, request: Request, argument: bytearray) -> None:
        assert len(argument) == 24 == (request >> 16) & 0x3FFF
        with self._lock:
            self._note(request)
            enclave = self.enclaves[RunArguments.parse(bytes(argument)).eid]
            assert self.files[descriptor] in self.enclaves and enclave.hash and not enclave.freed
            assert (request is Request.RUN) == (enclave.process is None), "run once, then resumed"
            process = enclave.process = enclave.process or Process(self.command)
            enclave.running = True
        try:
            error, value = self._go_on(enclave, process)
        finally:
            enclave.running = False
        given = RunArguments.parse(bytes(argument))
        argument[:] = RunArguments(given.eid, error, value).build()

    def _go_on(self, enclave: Created, process: Process) -> tuple[int, int]:
        assert enclave.shared is not None
        if enclave.calling:
            self._return(enclave, process)
        while process.asks():
            asked = process.question()
            if asked is None:
                return Stopped.DONE, process.end() % (1 << 64)
            kind, number, content = asked
            if kind == ATTEST:
                # Eyrie copies what else is in its buffer.
                process.answer(0, self.answer_report(enclave.hash, content).ljust(2048, b"\xa5"))
            elif kind == SEALING_KEY:
                sealing = self.monitor.sealing_key(enclave.hash, content)
                process.answer(0, sealing.key + sealing.signature)
            elif kind != OCALL or len(content) > len(enclave.shared) - _HEAD.size:
                process.answer(1)
            else:
                self._call(enclave, number, content)
                return Stopped.EDGE_CALL, 0
        return Stopped.INTERRUPTED, 0

    def _call(self, enclave: Created, number: int, content: bytes) -> None:
        """As ``runtime/call/syscall.c`` does it."""
        assert enclave.shared is not None
        enclave.calling = True
        enclave.calls.append((number, content))
        enclave.shared[_HEAD.size : _HEAD.size + len(content)] = content
        enclave.shared[: _HEAD.size] = _HEAD.pack(number, _HEAD.size, len(content), 0, 0, 0)

    def _return(self, enclave: Created, process: Process) -> None:
        assert enclave.shared is not None
        *_, status, offset, size = _HEAD.unpack(enclave.shared[: _HEAD.size])
        assert _HEAD.size <= offset <= len(enclave.shared) and size <= len(enclave.shared) - offset
        enclave.calling = False
        if status:
            process.answer(1)
        else:
            process.answer(0, bytes(enclave.shared[offset : offset + size]))
