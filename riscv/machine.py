"""The machine itself: QEMU, from its start until the host in it answers, and its end."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import RiscvError
from .image import Image
from .needs import QEMU
from .processes import last_line, start, stop

LOOPBACK = "127.0.0.1"
MEMORY = 1024
"""Mebibytes of the guest."""

_HOST_PORT, _SSH_PORT = 3333, 22
"""Ports in the guest."""

_KEY_BLOCK = 0x801FF000
"""Where Keystone's firmware looks for its keys (``sm/plat/generic``)."""

_ENCLAVE_MEMORY = 256
"""Mebibytes that Linux keeps in one piece for Keystone's enclaves."""

_OVERHEAD = 256
"""Mebibytes that QEMU needs itself."""

_READY = "wasm-host: listening on "
START_TIMEOUT = 600.0
"""Seconds until the host answers: it takes thirty on an idle machine, and some are slow, or busy."""

_PULSE = 15.0
_LOOK = 0.1


@dataclass(frozen=True, slots=True)
class Machine:
    """A running machine.

    `port` and `ssh_port` are those of the loopback that lead to it. `console` is the file that gets what the
    machine writes to its console, `log` the one that gets what QEMU itself says.
    """

    process: subprocess.Popen[bytes]
    port: int
    ssh_port: int
    console: Path
    log: Path

    @property
    def address(self) -> str:
        """Where clients reach the host in the machine."""
        return f"{LOOPBACK}:{self.port}"

    def wait_until_ready(self, say: Callable[[str], None]) -> None:
        """Wait for the host in the machine to listen; `say` gets a line now and then.

        Raises:
            RiscvError: the machine ended before, or it takes too long.
        """
        began = told = time.monotonic()
        while _READY not in self._written():
            now = time.monotonic()
            if self.process.poll() is not None:
                raise RiscvError(self._ending())
            if now - began > START_TIMEOUT:
                late = f"the machine does not answer after {START_TIMEOUT:.0f} s"
                raise RiscvError(f"{late}: {self.console} says how far it got")
            if now - told > _PULSE:
                say(f"  still starting ({now - began:.0f} s)")
                told = now
            time.sleep(_LOOK)

    def check_end(self, patience: float) -> None:
        """RiscvError where it has ended already, or does so in so many seconds."""
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            return
        raise RiscvError(f"the machine has ended by itself: see {self.console} and {self.log}")

    def _written(self) -> str:
        return self.console.read_text(errors="replace")

    def _ending(self) -> str:
        """Why it ended, as far as it said so."""
        written = self._written()
        if not written:
            return f"QEMU does not start: {last_line(self.log)} ({self.log} has all of it)"
        # What the guest's scripts say begins as what is said here does: once is enough.
        said = re.findall(r"^wasm-host: .*|(?<=^riscv: ).*|Kernel panic.*", written, re.MULTILINE)
        reason = said[-1].strip() if said else "it does not say why"
        return f"the machine ended while it started: {reason} ({self.console} has all of it)"


@contextmanager
def running(
    image: Image, folder: Path, port: int, ssh_port: int, say: Callable[[str], None]
) -> Iterator[Machine]:
    """Start a machine whose host is reached at a port of the loopback; at the end nothing of it is left.

    Where one of the ports is taken, another one is used, and `say` gets a line.

    Raises:
        RiscvError: it does not start, or there is too little memory.
    """
    _check_memory()
    ports = _chosen_port(port, say), _chosen_port(ssh_port, say)
    with _qemu(image, folder, *ports) as machine:
        yield machine


@contextmanager
def _qemu(image: Image, folder: Path, port: int, ssh_port: int) -> Iterator[Machine]:
    console, log = folder / "console.log", folder / "qemu.log"
    pairs = ((port, _HOST_PORT), (ssh_port, _SSH_PORT))
    forwards = ",".join(f"hostfwd=tcp:{LOOPBACK}:{ours}-:{theirs}" for ours, theirs in pairs)
    command = [
        # One processor: two would wait for each other at each change of a page table, and emulated ones long.
        *(QEMU, "-machine", "virt", "-m", f"{MEMORY}M", "-smp", "1"),
        *("-display", "none", "-monitor", "none", "-no-reboot", "-serial", f"file:{console}"),
        *("-bios", str(image.firmware), "-kernel", str(image.kernel), "-initrd", str(image.initrd)),
        *_keystone(image.key_block),
        # The guest is reached, and reaches nobody.
        *("-netdev", f"user,id=net,restrict=on,{forwards}"),
        *("-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"),
    ]
    console.write_bytes(b"")
    with log.open("wb") as said:
        process = start(command, output=said, errors=said)
    try:
        yield Machine(process, port, ssh_port, console, log)
    finally:
        stop(process)


def _keystone(key_block: Path | None) -> list[str]:
    parameters = "console=ttyS0 quiet panic=-1"
    if key_block is None:
        return ["-append", parameters]
    loaded = f"loader,file={str(key_block).replace(',', ',,')},addr={_KEY_BLOCK:#x},force-raw=on"
    # The kernel is the user's: where it ends before it has its console, it says why all the same.
    parameters += f" earlycon cma={_ENCLAVE_MEMORY}M"
    # Keystone's monitor does not know the timer of Sstc: an enclave would never be interrupted.
    return [
        *("-cpu", "rv64,sstc=off", "-device", loaded),
        *("-append", parameters),
    ]


def _check_memory() -> None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text()
        available = int(text.partition("MemAvailable:")[2].split()[0]) >> 10
        if available < MEMORY + _OVERHEAD:
            needed = MEMORY + _OVERHEAD
            raise RiscvError(f"the machine needs {needed} MiB of memory, and {available} MiB are available")


def _chosen_port(preferred: int, say: Callable[[str], None]) -> int:
    port = free_port(preferred)
    if port != preferred:
        say(f"{LOOPBACK}:{preferred} is taken: {port} is used")
    return port


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of the loopback."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(preferred: int) -> int:
    """A free port of the loopback: the preferred one, or any other where that is taken."""
    if is_free(preferred):
        return preferred
    with socket.socket() as tried:
        tried.bind((LOOPBACK, 0))
        port: int = tried.getsockname()[1]
    return port
