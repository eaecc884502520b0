"""What a locked-down process cannot do any more, and that the same works without the lock."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from schannel.evidence import Isolation
from tinywasm.runtime.memory import MemoryInstance
from tinywasm.types import Limits, MemoryType
from wasm_rt import sandbox
from wasm_rt.system_calls import MACHINES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux features")

DATA_LIMIT = 4 << 30
PTRACE_TRACEME = 0
PTRACE_SEIZE = 0x4206
LIBC = ctypes.CDLL(None, use_errno=True)


PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
MAP_FIXED, MAP_GROWSDOWN, MAP_POPULATE = 0x10, 0x100, 0x8000
MREMAP_MAYMOVE, MREMAP_DONTUNMAP = 1, 4
MADV_SEQUENTIAL, MADV_POPULATE_WRITE = 2, 23
FUTEX_REQUEUE, FUTEX_LOCK_PI = 3, 6
FUTEX = MACHINES[os.uname().machine].allowed["futex"] if os.uname().machine in MACHINES else 0

PAIR: list[socket.socket] = []
DATAGRAMS: list[socket.socket] = []
"""What a process that is locked down has: two connected sockets, and two for datagrams, one of them bound."""


class _Importing:
    """Refuses imports: locked down, those fail as what is tested does."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        raise AssertionError(f"{name} is imported only now")


def attempt(action: Callable[[], object], *, locked: bool, data_limit: int = DATA_LIMIT) -> str:
    """Run `action` in a child process: ``done``, the exception's or the fatal signal's name."""
    receiver, sender = socket.socketpair()
    PAIR[:] = socket.socketpair()
    DATAGRAMS[:] = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    DATAGRAMS[0].bind(b"")
    pid = os.fork()
    if pid == 0:
        try:
            if locked:
                kept = [end.fileno() for end in (sender, *PAIR, *DATAGRAMS)]
                sandbox.lock_down(data_limit, kept)
                sys.meta_path[:] = [_Importing()]
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
    for end in (*PAIR, *DATAGRAMS):
        end.close()
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
    mmap.mmap(-1, 4096, PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _map(flags: int, place: int | None = None) -> int:
    LIBC.mmap.restype = ctypes.c_void_p
    size, prot = ctypes.c_size_t(4096), mmap.PROT_READ | mmap.PROT_WRITE
    found = LIBC.mmap(ctypes.c_void_p(place), size, prot, flags, -1, ctypes.c_long(0))
    if found == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise PermissionError(number, "mmap") if number == errno.EPERM else OSError(number, "mmap")
    return int(found)


def _call(function: str, *arguments: object) -> int:
    result: int = getattr(LIBC, function)(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise PermissionError(number, function) if number == errno.EPERM else OSError(number, function)
    return result


def _place() -> ctypes.c_void_p:
    return ctypes.c_void_p(_map(PRIVATE))


def _remap() -> None:
    LIBC.mremap.restype = ctypes.c_void_p
    size = ctypes.c_size_t(4096)
    flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP
    if LIBC.mremap(_place(), size, size, flags, ctypes.c_void_p(None)) == ctypes.c_void_p(-1).value:
        raise PermissionError(ctypes.get_errno(), "mremap")


def _futex(operation: int) -> None:
    word, other = ctypes.c_int(0), ctypes.c_int(0)
    _call("syscall", ctypes.c_long(FUTEX), ctypes.byref(word), operation, 1, None, ctypes.byref(other), 0)


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


def _send_elsewhere() -> None:
    receiver, sender = DATAGRAMS
    sender.sendto(b"x", receiver.getsockname())


def _receive_urgent() -> None:
    PAIR[1].send(b"x", socket.MSG_OOB)
    assert PAIR[0].recv(1, socket.MSG_OOB) == b"x"


def _peek() -> None:
    PAIR[1].send(b"x")
    assert PAIR[0].recv(1, socket.MSG_PEEK) == b"x"


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
    "shared memory": (lambda: _map(mmap.MAP_SHARED | mmap.MAP_ANONYMOUS), {"PermissionError"}),
    "shared memory, as Python maps it": (lambda: mmap.mmap(-1, 4096), {"PermissionError"}),
    "memory that grows like a stack": (lambda: _map(PRIVATE | MAP_GROWSDOWN), {"PermissionError"}),
    "memory at a place of its choice": (
        lambda: _map(PRIVATE | MAP_FIXED, place=_map(PRIVATE)),
        {"PermissionError"},
    ),
    "memory filled at once": (lambda: _map(PRIVATE | MAP_POPULATE), {"PermissionError"}),
    "memory made executable": (
        lambda: _call("mprotect", _place(), ctypes.c_size_t(4096), mmap.PROT_READ | mmap.PROT_EXEC),
        {"PermissionError"},
    ),
    "memory left behind": (_remap, {"PermissionError"}),
    "advice that is not needed": (
        lambda: _call("madvise", _place(), ctypes.c_size_t(4096), MADV_SEQUENTIAL),
        {"PermissionError"},
    ),
    "advice to load": (
        lambda: _call("madvise", _place(), ctypes.c_size_t(4096), MADV_POPULATE_WRITE),
        {"PermissionError"},
    ),
    "urgent data": (lambda: PAIR[0].send(b"x", socket.MSG_OOB), {"SIGSYS"}),
    "receiving urgent data": (_receive_urgent, {"SIGSYS"}),
    "looking at what is to be received": (_peek, {"SIGSYS"}),
    "sending elsewhere": (_send_elsewhere, {"SIGSYS"}),
    "a lock that inherits priority": (lambda: _futex(FUTEX_LOCK_PI), {"SIGSYS"}),
    "moving those who wait": (lambda: _futex(FUTEX_REQUEUE), {"SIGSYS"}),
    "another process's clock": (lambda: time.clock_gettime(~os.getppid() << 3 | 2), {"SIGSYS"}),
    "a pool of randomness": (lambda: os.getrandom(8, os.GRND_RANDOM), {"SIGSYS"}),
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
    "time": lambda: [call() for call in (time.time, time.monotonic, partial(time.sleep, 0.001))],
    "memory": lambda: bytearray(64 << 20),
    "mapped memory": lambda: mmap.mmap(-1, 16 << 20, PRIVATE).resize(32 << 20),
    "memory of the engines": lambda: MemoryInstance(MemoryType(Limits(0, 100))).grow(100),
    "memory that goes back": lambda: [bytearray(1 << size) for size in range(26)].clear(),
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
    assert [tuple(each) for each in missing] == [("landlock", "[Errno 38] Function not implemented")]


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
        assert attempt(lambda: socket.socket().connect(address), locked=False) == "done"
        assert attempt(lambda: socket.socket().connect(address), locked=True) == "PermissionError"
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
        assert attempt(lambda: os.close(number), locked=False) == "done"
        assert attempt(lambda: os.close(number), locked=True) == "OSError"


@pytest.mark.parametrize("first", [0, 1, 3])
def test_descriptors_that_are_kept_stay_open(first: int) -> None:
    """The lowest ones and neighbours as well, whatever lies below them."""
    receiver, sender = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            kept = [*range(first, first + 3), 9, 10]
            copy = fcntl.fcntl(sender, fcntl.F_DUPFD, 20)
            ends = [socket.socket(fileno=os.dup2(copy, number)) for number in kept]
            sandbox.lock_down(DATA_LIMIT, kept)
            for end in ends:
                end.send(bytes([end.fileno()]))
        finally:
            os._exit(0)
    sender.close()
    with receiver:
        assert [*receiver.makefile("rb").read()] == [*range(first, first + 3), 9, 10]
    os.waitpid(pid, 0)


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
