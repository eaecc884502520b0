"""One Keystone enclave over the driver of Linux: created, loaded, run, destroyed.

Requests and structures are those of Keystone's ``linux-keystone-driver`` (commit 88c49ee). Nothing here waits
for anything but the driver; a `KeystoneEnclave` belongs to one thread.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from schannel.structs import U64_LITTLE, Structure, part

from .monitor import MonitorError, NoRoom

DEVICE = "/dev/keystone_enclave"
PAGE = 4096
SHARED_SIZE = 1 << 18
"""Bytes of the buffer that host and enclave share: a power of two, as Linux gives pages."""

LARGEST_PIECE = 2 << 20
"""Bytes of contiguous memory that every kernel has in one piece, without setting any aside for that."""

EXTRA_PAGES = 16
"""Pages beside those of the files, for page tables, as in Keystone's SDK (``Enclave.cpp``)."""

_LEAST_PAGES = 2
"""The driver takes the logarithm of one page less, for an enclave and for a buffer."""

_creating = threading.Lock()
"""Held while an enclave gets its memory, so that none takes what another one was found to have room in."""


class Request(IntEnum):
    """The driver's requests (``keystone_user.h``): direction, size of the structure, magic 0xa4, number."""

    CREATE = 0x8050A400
    DESTROY = 0x4050A401
    RUN = 0x8018A404
    RESUME = 0x8018A405
    FINALIZE = 0x8050A406
    UTM_INIT = 0x8050A407


_UNKNOWN = 0x8018A4FF
"""A request with Keystone's magic that no version has."""


class Stopped(IntEnum):
    """Why an enclave stands still (``sm_err.h``)."""

    DONE = 0
    INTERRUPTED = 100002
    EDGE_CALL = 100011


class CreateArguments(Structure, shown="structure to create an enclave"):
    """struct keystone_ioctl_create_enclave."""

    eid: int = part(U64_LITTLE)
    min_pages: int = part(U64_LITTLE)
    utm_size: int = part(U64_LITTLE)
    runtime_paddr: int = part(U64_LITTLE)
    user_paddr: int = part(U64_LITTLE)
    free_paddr: int = part(U64_LITTLE)
    free_requested: int = part(U64_LITTLE)
    epm_paddr: int = part(U64_LITTLE)
    epm_size: int = part(U64_LITTLE)
    utm_paddr: int = part(U64_LITTLE)


class RunArguments(Structure, shown="structure to run an enclave"):
    """struct keystone_ioctl_run_enclave."""

    eid: int = part(U64_LITTLE)
    error: int = part(U64_LITTLE)
    value: int = part(U64_LITTLE)


_ERROR = slice(8, 16)
_INTERRUPTED = Stopped.INTERRUPTED.to_bytes(8, "little")
"""The error in those bytes of that structure that comes so often."""


class Mapping(Protocol):
    """Memory of the enclave's, or shared with it, as `mmap.mmap` has it."""

    def __getitem__(self, place: slice, /) -> bytes: ...

    def __setitem__(self, place: slice, content: bytes, /) -> None: ...

    def close(self) -> None: ...


class Driver(Protocol):
    """The system calls that reach the driver; each raises OSError where it fails."""

    def open(self, path: str) -> int:
        """The descriptor of a device."""

    def ioctl(self, descriptor: int, request: int, argument: bytearray) -> None:
        """Hand the driver a structure, which it changes."""

    def mmap(self, descriptor: int, size: int, offset: int) -> Mapping:
        """Map what the driver gives, to read and to write."""

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""

    def contiguous(self) -> int:
        """Bytes that Linux can give in pieces larger than `LARGEST_PIECE`; 0 where it sets none aside."""


class LinuxDriver:
    """The driver of this machine."""

    def open(self, path: str) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def ioctl(self, descriptor: int, request: int, argument: bytearray) -> None:
        # Only Linux has it; the interpreter lock is free meanwhile.
        import fcntl

        fcntl.ioctl(descriptor, request, argument, True)

    def mmap(self, descriptor: int, size: int, offset: int) -> Mapping:
        return mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def contiguous(self) -> int:
        with contextlib.suppress(OSError):
            for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
                if line.startswith("CmaFree:"):
                    return int(line.split()[1]) << 10
        return 0


@dataclass(frozen=True, slots=True)
class Image:
    """The three files, and how many bytes the enclave has beside them (Keystone's free memory)."""

    loader: bytes
    runtime: bytes
    application: bytes
    free: int

    @property
    def files(self) -> tuple[bytes, bytes, bytes]:
        """In the order in which they are loaded and measured."""
        return self.loader, self.runtime, self.application

    @property
    def pages(self) -> int:
        """What the driver is asked for."""
        return sum(map(_pages, self.files)) + EXTRA_PAGES + -(-self.free // PAGE)


def _pages(content: bytes) -> int:
    return -(-len(content) // PAGE)


def open_device(driver: Driver) -> int:
    """Open the device; MonitorError says what is missing, or that it is something else."""
    try:
        descriptor = driver.open(DEVICE)
    except FileNotFoundError as error:
        raise MonitorError(
            f"there is no {DEVICE}: this is no machine with Keystone, or its driver is not loaded"
        ) from error
    except PermissionError as error:
        raise MonitorError(f"{DEVICE} may not be opened by this user") from error
    except OSError as error:
        raise MonitorError(f"{DEVICE} cannot be opened: {_words(error)}") from error
    if not _is_keystone(driver, descriptor):
        driver.close(descriptor)
        raise MonitorError(f"{DEVICE} is not the device of Keystone's driver: load the driver anew")
    return descriptor


def _is_keystone(driver: Driver, descriptor: int) -> bool:
    """Whether the driver behind a descriptor refuses as Keystone's does what it does not know.

    Files have no requests, and other drivers answer to unknown ones with ENOTTY.
    """
    try:
        driver.ioctl(descriptor, _UNKNOWN, bytearray(RunArguments.sizeof()))
    except OSError as error:
        return error.errno == errno.ENOSYS
    return False


class NoNumbers(MonitorError):
    """The driver has no number left for an enclave, and memory that it gives all the same is lost."""


class KeystoneEnclave:
    """An enclave that has its memory, and once it is loaded, its measurement.

    `destroy` has to be called whatever happens, and leaves nothing behind.
    """

    def __init__(self, driver: Driver, image: Image) -> None:
        """Have memory set aside.

        Raises:
            NoRoom: there is not so much contiguous memory now.
            NoNumbers: the driver has used up its numbers.
            MonitorError: there is no driver, or another than is known here.
        """
        self._driver = driver
        self._image = image
        self._eid = 0
        self._whole = self._sharing = self._finalized = False
        """Whether it has its memory, a buffer, and the monitor's knowledge."""

        self._freed = False
        """Whether the driver has freed what the file still names: then it must not be closed."""

        self._shared: Mapping | None = None
        self._descriptor = open_device(driver)
        try:
            self._create()
        except BaseException:
            self.destroy()
            raise

    @property
    def size(self) -> int:
        """Bytes that it takes of the machine's memory."""
        return self._epm_size + SHARED_SIZE

    @property
    def shared(self) -> Mapping:
        """The buffer that is shared with it, `SHARED_SIZE` bytes; only of one that is loaded."""
        assert self._shared is not None
        return self._shared

    def load(self, go_on: Callable[[], bool] = lambda: True) -> bool:
        """Write the files and have the monitor measure them; False where `go_on`, asked meanwhile, was.

        Then they are not written to their end, but measured all the same: only what the monitor knows gives
        back all that it has of the driver's.

        Raises:
            NoRoom: the monitor takes no further enclave.
            MonitorError: the driver does not do it.
        """
        pages = (
            content[start : start + PAGE]
            for content in self._image.files
            for start in range(0, len(content), PAGE)
        )
        wanted = True
        for number, content in enumerate(pages):
            wanted = go_on()
            if not wanted:
                break
            self._write(number, content)
        self._finalize()
        if not wanted:
            return False
        self._shared = self._do("share a buffer", self._driver.mmap, self._descriptor, SHARED_SIZE, 0)
        return True

    def run(self, edge_call: Callable[[], None], go_on: Callable[[], bool]) -> int | None:
        """Run it to its end, which is its value; None where `go_on` said that it is enough.

        `edge_call` deals with what is in the shared buffer; `go_on` is asked when the enclave stands still.

        Raises:
            MonitorError: the security monitor does not run it.
        """
        request, arguments = Request.RUN, bytearray(RunArguments(self._eid, 0, 0).build())
        while True:
            self._do("run an enclave", self._driver.ioctl, self._descriptor, request, arguments)
            request = Request.RESUME
            # Linux interrupts it hundreds of times a second: what is done then, a slow machine takes from it.
            if arguments[_ERROR] != _INTERRUPTED:
                answer = RunArguments.parse(bytes(arguments))
                if answer.error == Stopped.DONE:
                    return answer.value
                if answer.error != Stopped.EDGE_CALL:
                    raise MonitorError(f"the security monitor does not run the enclave: error {answer.error}")
                edge_call()
            if not go_on():
                return None

    def destroy(self) -> None:
        """End it and give its memory back; nothing where that was done before."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None
        descriptor = self._descriptor
        if descriptor < 0:
            return
        try:
            if self._eid and not self._finalized:
                self._give_up(descriptor)
            if self._finalized:
                self._ioctl(descriptor, Request.DESTROY, _arguments(eid=self._eid))
        except OSError as error:
            raise MonitorError(f"an enclave cannot be destroyed: {_words(error)}") from error
        finally:
            self._finalized, self._descriptor = False, -1
            if not self._freed:
                self._driver.close(descriptor)

    def _create(self) -> None:
        pages = self._image.pages
        with _creating:
            # Where there is not enough, the driver frees what it never had (``keystone-enclave.c``).
            if pages * PAGE > max(self._driver.contiguous(), LARGEST_PIECE):
                raise _no_memory(pages * PAGE)
            try:
                made = self._ioctl(self._descriptor, Request.CREATE, _arguments(min_pages=pages))
            except OSError as error:
                raise _refusal(error, pages * PAGE) from error
        self._eid, self._epm_address, self._epm_size = made.eid, made.epm_paddr, made.epm_size
        if not made.eid and made.epm_paddr:
            raise NoNumbers(
                "Keystone's driver has no number left for an enclave: end the host and load it again"
            )
        if not made.eid or not made.epm_paddr or made.epm_size < pages * PAGE:
            raise MonitorError("Keystone's driver gave less than an enclave: it is of another version")
        self._whole = True
        self._share(SHARED_SIZE)

    def _share(self, size: int) -> None:
        """Have a buffer made that enclave and host share."""
        try:
            self._ioctl(self._descriptor, Request.UTM_INIT, _arguments(eid=self._eid, utm_size=size))
        except OSError as error:
            raise _refusal(error, size) from error
        self._sharing = True

    def _write(self, page: int, content: bytes) -> None:
        memory = self._do("load an enclave", self._driver.mmap, self._descriptor, PAGE, page * PAGE)
        try:
            memory[:] = content.ljust(PAGE, b"\0")
        finally:
            memory.close()

    def _finalize(self) -> None:
        ends = accumulate(map(_pages, self._image.files))
        runtime, user, free = (self._epm_address + end * PAGE for end in ends)
        arguments = _arguments(
            eid=self._eid,
            runtime_paddr=runtime,
            user_paddr=user,
            free_paddr=free,
            free_requested=self._image.free,
        )
        try:
            self._ioctl(self._descriptor, Request.FINALIZE, arguments)
        except OSError as error:
            self._forget(self._descriptor)
            raise NoRoom(
                "the security monitor takes no further enclave: it has as many as it can keep apart, or its "
                f"log says why (the driver says: {_words(error)})"
            ) from error
        self._finalized = True

    def _give_up(self, descriptor: int) -> None:
        """Finalize an enclave that could not be loaded, so that it can be destroyed.

        The driver refuses to destroy what the monitor does not know (``keystone-ioctl.c`` compares an
        unsigned number with zero). Where it cannot be finalized at all, as without addresses, it is freed,
        but its number is lost.
        """
        if self._whole:
            with contextlib.suppress(MonitorError):
                if not self._sharing:
                    # The monitor takes none without a buffer. The least one is mostly to be had.
                    self._share(_LEAST_PAGES * PAGE)
                self._finalize()
                return
        if not self._eid:
            return
        with contextlib.suppress(OSError):
            self._ioctl(descriptor, Request.FINALIZE, _arguments(eid=self._eid))
        self._forget(descriptor)

    def _forget(self, descriptor: int) -> None:
        """Have the file name another enclave than the one that the driver has freed.

        It would free it a second time when the file is closed (``keystone-ioctl.c``, error_destroy_enclave).
        What takes its place is the least that there can be, and is not given back before Linux starts anew.
        Where there is not even that, the file stays open for as long as this process lives.
        """
        self._eid = 0
        self._freed = True
        with contextlib.suppress(OSError), _creating:
            self._ioctl(descriptor, Request.CREATE, _arguments(min_pages=_LEAST_PAGES))
            self._freed = False

    def _ioctl(self, descriptor: int, request: Request, arguments: CreateArguments) -> CreateArguments:
        buffer = bytearray(arguments.build())
        self._driver.ioctl(descriptor, request, buffer)
        return CreateArguments.parse(bytes(buffer))

    def _do(self, what: str, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except OSError as error:
            raise MonitorError(f"Keystone's driver does not {what}: {_words(error)}") from error


def _arguments(**fields: int) -> CreateArguments:
    return CreateArguments(**dict.fromkeys(CreateArguments.names(), 0) | fields)


def _refusal(error: OSError, size: int) -> MonitorError:
    if error.errno == errno.ENOMEM:
        return _no_memory(size)
    if error.errno in (errno.ENOSYS, errno.ENOTTY):
        return MonitorError("Keystone's driver does not know this request: it is of another version")
    return MonitorError(f"Keystone's driver makes no enclave: {_words(error)}")


def _no_memory(size: int) -> NoRoom:
    return NoRoom(
        f"Linux has no {size >> 10} KiB of contiguous memory now: run fewer enclaves, give each less "
        "(--free-memory), or have Linux reserve more (cma=)"
    )


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
