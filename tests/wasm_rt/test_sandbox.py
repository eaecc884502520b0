"""What a locked-down process cannot do any more, and that the same works without the lock."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from schannel.evidence import Isolation
from wasm_rt import sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux features")

DATA_LIMIT = 4 << 30
PTRACE_TRACEME = 0
PTRACE_SEIZE = 0x4206
LIBC = ctypes.CDLL(None, use_errno=True)


def attempt(action: Callable[[], object], *, locked: bool, data_limit: int = DATA_LIMIT) -> str:
    """Run `action` in a child process: ``done``, the exception's or the fatal signal's name."""
    receiver, sender = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            if locked:
                sandbox.lock_down(data_limit, [sender.fileno()])
            try:
                action()
                sender.send(b"done")
            except BaseException as error:
                sender.send(type(error).__name__.encode())
        finally:
            os._exit(0)
    sender.close()
    with receiver:
        said = receiver.recv(100).decode()
    _, status = os.waitpid(pid, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else said


def _write() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"written")


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _ptrace() -> None:
    if LIBC.ptrace(PTRACE_TRACEME, 0, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def _execute() -> None:
    # Only if it is refused does this child say anything but "done".
    if os.fork() == 0:
        os.execv("/bin/true", ["true"])
    os.wait()


def _executable_memory() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _trace_parent() -> None:
    if LIBC.ptrace(PTRACE_SEIZE, os.getppid(), None, None) < 0:
        raise PermissionError(ctypes.get_errno(), "ptrace")


def _read_memory(pid: int, address: int, size: int) -> bytes:
    """Another process's memory, by process_vm_readv: both ends are struct iovec."""
    copy = ctypes.create_string_buffer(size)
    ours = (ctypes.c_uint64 * 2)(ctypes.addressof(copy), size)
    theirs = (ctypes.c_uint64 * 2)(address, size)
    if LIBC.process_vm_readv(pid, ours, ctypes.c_ulong(1), theirs, ctypes.c_ulong(1), ctypes.c_ulong(0)) < 0:
        raise PermissionError(ctypes.get_errno(), "process_vm_readv")
    return copy.raw


REFUSED: dict[str, tuple[Callable[[], object], set[str]]] = {
    "read a file": (Path("/etc/hostname").read_text, {"PermissionError"}),
    "list a folder": (lambda: os.listdir("/"), {"PermissionError"}),
    "write a file": (_write, {"PermissionError", "FileNotFoundError"}),
    "look at a file": (lambda: os.stat("/etc/passwd"), {"PermissionError"}),
    "duplicate a descriptor": (lambda: os.dup(0), {"PermissionError"}),
    "executable memory": (_executable_memory, {"PermissionError"}),
    "socket": (lambda: socket.socket().close(), {"SIGSYS"}),
    "socket pair": (lambda: socket.socketpair(), {"SIGSYS"}),
    "pipe": (os.pipe, {"SIGSYS"}),
    "fork": (_fork, {"SIGSYS"}),
    "exec": (_execute, {"SIGSYS"}),
    "kill": (lambda: os.kill(os.getppid(), 0), {"SIGSYS"}),
    "ptrace": (_ptrace, {"SIGSYS"}),
    "new session": (lambda: LIBC.umask(0), {"SIGSYS"}),
    "anonymous file": (lambda: os.memfd_create("x"), {"SIGSYS"}),
}


@pytest.fixture(autouse=True)
def complete() -> None:
    if _probe()[1]:
        pytest.skip("this machine does not offer every layer")


def _probe() -> tuple[Isolation, list[tuple[str, str]]]:
    receiver, sender = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        isolated = sandbox.lock_down(DATA_LIMIT, [sender.fileno()])
        sender.send(json.dumps([int(isolated.active), isolated.missing]).encode())
        os._exit(0)
    sender.close()
    with receiver:
        active, missing = json.loads(receiver.recv(10_000))
    os.waitpid(pid, 0)
    return Isolation(active), missing


@pytest.mark.parametrize("name", REFUSED)
def test_refused_inside_and_allowed_outside(name: str) -> None:
    action, refusals = REFUSED[name]
    assert attempt(action, locked=False) == "done"
    assert attempt(action, locked=True) in refusals


def test_parent_is_not_traced() -> None:
    if attempt(_trace_parent, locked=False) == "PermissionError":
        pytest.skip("this machine lets nobody trace a parent")
    assert attempt(_trace_parent, locked=True) == "SIGSYS"


SECRET = ctypes.create_string_buffer(b"what another enclave holds")


@pytest.mark.parametrize("way", ["process_vm_readv", "/proc"])
def test_memory_of_another_enclave_is_not_read(way: str) -> None:
    """A sibling has the secret at the same address; the same attempt finds it when neither is locked down."""
    address, size = ctypes.addressof(SECRET), len(SECRET)

    def steal() -> None:
        if way == "process_vm_readv":
            found = _read_memory(sibling, address, size)
        else:
            with open(f"/proc/{sibling}/mem", "rb", buffering=0) as memory:
                memory.seek(address)
                found = memory.read(size)
        assert found == SECRET.raw

    for locked, endings in ((False, {"done"}), (True, {"SIGSYS", "PermissionError"})):
        sibling = os.fork()
        if sibling == 0:
            if locked:
                sandbox.lock_down(DATA_LIMIT, [])
            time.sleep(60)
            os._exit(0)
        try:
            said = attempt(steal, locked=locked)
        finally:
            os.kill(sibling, signal.SIGKILL)
            os.waitpid(sibling, 0)
        if not locked and said == "PermissionError":
            pytest.skip("this machine lets nobody read another process's memory")
        assert said in endings


def test_exec_itself_is_refused() -> None:
    assert attempt(lambda: os.execv("/bin/true", ["true"]), locked=True) == "SIGSYS"


ALLOWED: dict[str, Callable[[], object]] = {
    "arithmetic": lambda: sum(range(1000)) ** 20,
    "randomness": lambda: os.urandom(32),
    "time": lambda: (time.time(), time.monotonic(), time.sleep(0.001)),
    "memory": lambda: bytearray(64 << 20),
    "mapped memory": lambda: mmap.mmap(-1, 16 << 20).resize(32 << 20),
    "signal handlers": lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN),
    "timers": lambda: signal.setitimer(signal.ITIMER_REAL, 10),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed_inside(name: str) -> None:
    assert attempt(ALLOWED[name], locked=True) == "done"


def test_each_layer_is_probed_alone() -> None:
    layers = sandbox.probe_layers()
    assert set(layers) == set(Isolation(0xFF & ~Isolation.MEMORY_LOCKED).names())
    assert not any(why for name, why in layers.items() if name != "namespaces")
    assert os.listdir("/"), "the process that asks is not locked down"


def test_layer_that_cannot_be_had_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MACHINES", {})
    layers = sandbox.probe_layers()
    assert {name for name, why in layers.items() if why and name != "namespaces"} == {"landlock", "seccomp"}


def test_each_layer_is_reported() -> None:
    active, missing = _probe()
    expected = (
        Isolation.PARENT_DEATH_SIGNAL
        | Isolation.RLIMITS
        | Isolation.NOT_DUMPABLE
        | Isolation.NO_NEW_PRIVILEGES
        | Isolation.LANDLOCK
        | Isolation.SECCOMP
    )
    assert active == expected
    assert missing == []


def test_layer_that_is_not_there_is_left_out_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(sandbox, "_restrict_with_landlock", unavailable)
    active, missing = _probe()
    assert Isolation.LANDLOCK not in active
    assert Isolation.SECCOMP in active, "the others are tried all the same"
    assert missing == [["landlock", "[Errno 38] Function not implemented"]]


def test_unknown_architecture_has_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MACHINES", {})
    active, missing = _probe()
    assert Isolation.SECCOMP not in active and Isolation.LANDLOCK not in active
    assert {name for name, _ in missing} == {"landlock", "seccomp"}


def test_landlock_alone_refuses_files_and_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers do not lean on each other."""
    monkeypatch.setattr(sandbox, "_filter_system_calls", lambda: None)
    # Without the limit of descriptors, nothing else is in the way.
    monkeypatch.setattr(sandbox, "_limit_resources", lambda *_: None)
    assert attempt(Path("/etc/hostname").read_text, locked=True) == "PermissionError"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert attempt(lambda: socket.create_connection(address), locked=False) == "done"
        assert attempt(lambda: socket.create_connection(address), locked=True) == "PermissionError"
    assert attempt(lambda: os.kill(os.getppid(), 0), locked=False) == "done"
    assert attempt(lambda: os.kill(os.getppid(), 0), locked=True) == "PermissionError"


def test_limits_alone_refuse_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_filter_system_calls", lambda: None)
    monkeypatch.setattr(sandbox, "_restrict_with_landlock", lambda: None)
    assert attempt(lambda: [os.dup(0) for _ in range(1000)], locked=False) == "done"
    assert attempt(lambda: [os.dup(0) for _ in range(1000)], locked=True) == "OSError"


def test_memory_is_limited() -> None:
    assert attempt(lambda: bytearray(1 << 30), locked=True) == "done"
    assert attempt(lambda: bytearray(1 << 30), locked=True, data_limit=256 << 20) == "MemoryError"


def test_descriptors_that_are_not_kept_are_closed() -> None:
    with Path("/etc/hostname").open() as file:
        number = file.fileno()
        assert attempt(lambda: os.read(number, 1), locked=False) == "done"
        assert attempt(lambda: os.read(number, 1), locked=True) == "OSError"


def test_namespaces() -> None:
    """Either they are entered, and the network is gone, or the reason is told."""

    def action() -> None:
        isolated = sandbox.enter_namespaces()
        if isolated.active:
            assert [name for _, name in socket.if_nameindex()] == ["lo"]
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", 1), 1)
        else:
            assert isolated.missing[0][0] == "namespaces"

    assert attempt(action, locked=False) == "done"


class Filter:
    """Runs a seccomp filter as the kernel does (Documentation/networking/filter.rst), as far as it needs."""

    def __init__(self, program: bytes) -> None:
        self._instructions = list(struct.iter_unpack("=HBBI", program))

    def decide(self, audit: int, number: int, third_argument: int = 0) -> int:
        data = struct.pack("=iIQ6Q", number, audit, 0, 0, 0, third_argument, 0, 0, 0)
        accumulator, position = 0, 0
        while True:
            code, if_true, if_false, operand = self._instructions[position]
            position += 1
            if code == 0x06:
                return int(operand)
            if code == 0x20:
                accumulator = int.from_bytes(data[operand : operand + 4], "little")
            else:
                holds = {
                    0x15: accumulator == operand,
                    0x35: accumulator >= operand,
                    0x45: bool(accumulator & operand),
                }[code]
                position += if_true if holds else if_false


ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000


@pytest.mark.parametrize("name", sandbox.MACHINES)
def test_filter_of_each_architecture(name: str) -> None:
    machine = sandbox.MACHINES[name]
    decide = Filter(sandbox.filter_program(machine)).decide
    expected = dict.fromkeys(machine.allowed.values(), ALLOW)
    expected |= dict.fromkeys(machine.refused.values(), REFUSE)
    expected |= dict.fromkeys(machine.mapping.values(), ALLOW)
    assert len(expected) == len(machine.allowed) + len(machine.refused) + len(machine.mapping)
    for number in range(600):
        assert decide(machine.audit, number) == expected.get(number, KILL), number
    for number in machine.mapping.values():
        assert decide(machine.audit, number, mmap.PROT_READ | mmap.PROT_WRITE) == ALLOW
        assert decide(machine.audit, number, mmap.PROT_READ | mmap.PROT_EXEC) == REFUSE
    other = next(item.audit for key, item in sandbox.MACHINES.items() if key != name)
    assert all(decide(other, number) == KILL for number in range(600))
    if machine.foreign_abi is not None:
        assert all(decide(machine.audit, machine.foreign_abi | number) == KILL for number in range(600))
