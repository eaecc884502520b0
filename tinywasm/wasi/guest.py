"""The guest's side: its linear memory, its descriptors, and waiting without becoming deaf."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable, Sequence
from typing import Any

from tinywasm.errors import LinkError, Trap, TrapCode
from tinywasm.records import record
from tinywasm.runtime.store import Store
from tinywasm.wasi.abi import (
    IOVEC,
    RIGHTS_OF_TYPE,
    STREAM_RIGHTS,
    Errno,
    FdFlags,
    Layout,
    Rights,
    WasiError,
)
from tinywasm.wasi.files import Directory, Entry, File, Handle

MAX_DESCRIPTORS = 1024
"""Open descriptors of one program; more are refused with MFILE."""
MAX_LISTINGS = 16
"""Directories whose names are kept between two calls of `fd_readdir`; they cost memory of the host's."""
MAX_TRANSFER = 1 << 26
"""Bytes in one read or write; a longer one ends early, as it may under any kernel."""
MAX_VECTORS = 1024
"""Buffers of one read or write that are looked at; Linux's IOV_MAX."""
READABLE, WRITABLE, HANGUP, BAD = 1, 4, 8 | 16, 32
"""The bits of poll(2), the same on every POSIX system; elsewhere `select` does not have them."""
_SLICE = 0.05
"""Seconds that we wait at a time before we look whether the call shall end."""


class GuestMemory:
    """Checked access to a memory. Raises `Trap` outside of it and for a misaligned pointer.

    The interface description asks for a trap in both cases rather than for FAULT.
    """

    def __init__(self, memory: Any) -> None:
        self._memory = memory

    def __len__(self) -> int:
        return len(self._memory.data)

    def check(self, address: int, size: int) -> None:
        # A pointer to nothing is not looked through, and languages pass any number for it.
        if size and address + size > len(self):
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS)

    def read(self, address: int, size: int) -> bytes:
        self.check(address, size)
        return bytes(self._memory.data[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        if not data:
            return
        self.check(address, len(data))
        self._memory.data[address : address + len(data)] = data

    def _place(self, layout: Layout, address: int) -> None:
        if address % layout.alignment:
            reason = f"address {address:#x} is not a multiple of {layout.alignment}"
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS, f"misaligned pointer in a WASI call: {reason}")
        self.check(address, layout.size)

    def load(self, layout: Layout, address: int) -> tuple[Any, ...]:
        """The fields of the record at `address`."""
        self._place(layout, address)
        return layout.fields.unpack(self.read(address, layout.size))

    def store(self, layout: Layout, address: int, *fields: int) -> None:
        """Write a record, or a single number, to `address`."""
        self._place(layout, address)
        self.write(address, layout.fields.pack(*fields))

    def buffers(self, address: int, count: int) -> list[tuple[int, int]]:
        """The address and size of the buffers in an array of `count` iovecs, bounded and checked."""
        if count:
            self._place(IOVEC, address)
        self.check(address, count * IOVEC.size)
        found: list[tuple[int, int]] = []
        room = MAX_TRANSFER
        for index in range(min(count, MAX_VECTORS)):
            buffer, size = self.load(IOVEC, address + index * IOVEC.size)
            self.check(buffer, size)
            found.append((buffer, min(size, room)))
            room -= found[-1][1]
        return found

    def gather(self, buffers: Sequence[tuple[int, int]]) -> bytes:
        return b"".join(self.read(address, size) for address, size in buffers)

    def scatter(self, buffers: Sequence[tuple[int, int]], data: bytes) -> None:
        start = 0
        for address, size in buffers:
            self.write(address, data[start : start + size])
            start += size


@record(eq=False)
class Descriptor:
    """An entry of the table: an open file or directory and what may be done with it."""

    handle: Handle
    rights: Rights
    inheriting: Rights
    preopened_as: bytes | None = None
    listing: list[Entry] | None = None
    """What `fd_readdir` goes through, so that its cookies hold while the directory changes."""

    def require(self, rights: Rights) -> None:
        """Raises NOTCAPABLE unless all of `rights` are there."""
        if rights & ~self.rights:
            raise WasiError(Errno.NOTCAPABLE)

    def file(self, rights: Rights) -> File:
        """The file behind it. Raises BADF for a directory."""
        if not isinstance(self.handle, File):
            raise WasiError(Errno.BADF)
        self.require(rights)
        return self.handle

    def directory(self, rights: Rights) -> Directory:
        """The directory behind it. Raises NOTDIR for a file."""
        if not isinstance(self.handle, Directory):
            raise WasiError(Errno.NOTDIR)
        self.require(rights)
        return self.handle


def applicable(handle: Handle) -> Rights:
    """The rights that mean something for the type of a file."""
    return RIGHTS_OF_TYPE.get(handle.filetype, STREAM_RIGHTS)


class DescriptorTable:
    """The open descriptors of one program, by number."""

    def __init__(self) -> None:
        self._entries: dict[int, Descriptor] = {}
        self._listed: list[Descriptor] = []

    def __getitem__(self, fd: int) -> Descriptor:
        if fd not in self._entries:
            raise WasiError(Errno.BADF)
        return self._entries[fd]

    def check_room(self) -> None:
        """Raises MFILE where the table is full."""
        if len(self._entries) >= MAX_DESCRIPTORS:
            raise WasiError(Errno.MFILE)

    def add(self, descriptor: Descriptor) -> int:
        """Enter it under the lowest free number."""
        self.check_room()
        fd = next(number for number in range(MAX_DESCRIPTORS) if number not in self._entries)
        self._entries[fd] = descriptor
        return fd

    def remove(self, fd: int) -> None:
        descriptor = self[fd]
        # First, since closing may fail, and whatever it answers the descriptor is gone.
        del self._entries[fd]
        self._close(descriptor)

    def _close(self, descriptor: Descriptor) -> None:
        if descriptor.listing is not None:
            self._listed.remove(descriptor)
        descriptor.handle.close()

    def renumber(self, fd: int, to: int) -> None:
        """Move `fd` to the number `to`, which must be in use and is closed."""
        moved, replaced = self[fd], self[to]
        if replaced is not moved:
            self._entries[to] = moved
            del self._entries[fd]
            self._close(replaced)

    def keep_listing(self, descriptor: Descriptor, listing: list[Entry]) -> None:
        """Let a descriptor remember names, and the one that was listed the longest ago forget them."""
        if descriptor.listing is None:
            self._listed.append(descriptor)
        descriptor.listing = listing
        if len(self._listed) > MAX_LISTINGS:
            self._listed.pop(0).listing = None

    def close(self) -> None:
        """Close all, also after one that cannot be closed; raises what the first of those raised."""
        failures = []
        for fd in list(self._entries):
            try:
                self.remove(fd)
            except (WasiError, OSError) as error:
                failures.append(error)
        if failures:
            raise failures[0]


class Guest:
    """What the functions of one instance work on.

    The memory is the one that the instance exports as `memory`; it is known once the instance is.
    """

    def __init__(
        self, arguments: Sequence[bytes], environment: Sequence[bytes], table: DescriptorTable
    ) -> None:
        self.arguments = arguments
        self.environment = environment
        self.table = table
        self.started = time.monotonic_ns()
        self._memory: GuestMemory | None = None
        self._store: Store | None = None

    def bind(self, store: Store, memory: Any) -> None:
        """Give the guest its store and its memory: None where it exports no `memory`."""
        self._store = store
        self._memory = None if memory is None else GuestMemory(memory)

    @property
    def memory(self) -> GuestMemory:
        """Raises `LinkError` for a module without an exported memory."""
        if self._memory is None:
            raise LinkError(
                'a WASI function was called that needs the memory which the module exports as "memory": '
                "the module exports none"
            )
        return self._memory

    def poll(self) -> None:
        """Raises `Interrupted` where the store asks the call to end."""
        if self._store is not None:
            self._store.poll()

    def wait(self, wanted: Sequence[tuple[int, int]], seconds: float | None) -> list[tuple[int, int]]:
        """Wait for host descriptors, (number, poll bits) each; what became ready, if anything.

        None waits without end. An interruption of the store ends it at once.
        """
        ready = _poller(wanted)
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            self.poll()
            left = _SLICE if end is None else max(0.0, min(_SLICE, end - time.monotonic()))
            found = ready(left)
            if found or (end is not None and time.monotonic() >= end):
                return found

    def wait_for(self, file: File, bits: int) -> None:
        """Wait until a stream can be read or written, unless its flags say that it does not wait."""
        fd = file.fileno()
        if fd is not None and FdFlags.NONBLOCK not in file.flags:
            self.wait([(fd, bits)], None)


def _poller(wanted: Sequence[tuple[int, int]]) -> Callable[[float], list[tuple[int, int]]]:
    """Waits some seconds for any of the descriptors."""
    if not wanted:
        return _sleep
    poller = select.poll()
    bits: dict[int, int] = {}
    for fd, some in wanted:
        bits[fd] = bits.get(fd, 0) | some
    for fd, all in bits.items():
        poller.register(fd, all)
    # poll(2) counts milliseconds: rounding up keeps short waits from spinning.
    return lambda seconds: poller.poll(math.ceil(seconds * 1000))


def _sleep(seconds: float) -> list[tuple[int, int]]:
    time.sleep(seconds)
    return []
