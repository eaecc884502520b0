"""Locks an enclave process down, before the first byte from outside.

Each layer is tried on its own: what the kernel does not offer is left out and reported, so that the evidence
names only what holds. After `lock_down` the process has the descriptors it had, memory, time and randomness.
Every module must be imported by then: a file that is opened later is refused.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from schannel.evidence import Isolation

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_SIGKILL = 9

_CLONE_FLAGS = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "network": 0x40000000,
}
_CLONE_NEWUSER = 0x10000000

_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""Number of file system rights since each ABI version (linux/landlock.h)."""
_LANDLOCK_NET_ABI, _LANDLOCK_NET_RIGHTS = 4, 0b11
_LANDLOCK_SCOPE_ABI, _LANDLOCK_SCOPES = 6, 0b11

_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1
_RET_KILL_PROCESS = 0x80000000
_RET_ERRNO = 0x00050000
_RET_ALLOW = 0x7FFF0000
_EPERM = 1
_PROT_EXEC = 4

_BPF_LD_W_ABS = 0x20
_BPF_JEQ = 0x15
_BPF_JGE = 0x35
_BPF_JSET = 0x45
_BPF_RET = 0x06
_DATA_NR, _DATA_ARCH, _DATA_ARG2 = 0, 4, 32
"""Offsets in struct seccomp_data; the low half of the third argument on a little-endian machine."""

_NO_TABLE = "there is no system call table for this architecture"


@dataclass(frozen=True, slots=True)
class _Machine:
    """System call numbers of one architecture (asm/unistd.h) and its audit value (linux/audit.h)."""

    audit: int
    landlock: tuple[int, int]
    seccomp: int
    allowed: dict[str, int]
    mapping: dict[str, int]
    refused: dict[str, int]
    foreign_abi: int | None = None
    """First number of a second calling convention to shut out: x32 on x86_64."""


_LANDLOCK_CALLS = (444, 446)

_X86_64 = _Machine(
    audit=0xC000003E,
    landlock=_LANDLOCK_CALLS,
    seccomp=317,
    foreign_abi=0x40000000,
    allowed={
        "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "munmap": 11, "brk": 12,
        "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25,
        "madvise": 28, "nanosleep": 35, "getitimer": 36, "setitimer": 38, "getpid": 39, "sendto": 44,
        "recvfrom": 45, "shutdown": 48, "exit": 60, "gettimeofday": 96, "sigaltstack": 131, "gettid": 186,
        "futex": 202, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
        "clock_nanosleep": 230, "exit_group": 231, "ppoll": 271, "getrandom": 318, "membarrier": 324,
        "rseq": 334,
    },
    mapping={"mmap": 9, "mprotect": 10},
    refused={
        "open": 2, "stat": 4, "lstat": 6, "ioctl": 16, "access": 21, "dup": 32, "uname": 63, "fcntl": 72,
        "getdents": 78, "getcwd": 79, "readlink": 89, "getrlimit": 97, "getrusage": 98, "sysinfo": 99,
        "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "sched_getaffinity": 204,
        "getdents64": 217, "openat": 257, "newfstatat": 262, "readlinkat": 267, "faccessat": 269,
        "prlimit64": 302, "statx": 332, "openat2": 437, "faccessat2": 439,
    },
)  # fmt: skip

_AARCH64 = _Machine(
    audit=0xC00000B7,
    landlock=_LANDLOCK_CALLS,
    seccomp=277,
    allowed={
        "close": 57, "lseek": 62, "read": 63, "write": 64, "ppoll": 73, "fstat": 80, "exit": 93,
        "exit_group": 94, "futex": 98, "nanosleep": 101, "getitimer": 102, "setitimer": 103,
        "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115, "sched_yield": 124,
        "restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
        "rt_sigreturn": 139, "gettimeofday": 169, "getpid": 172, "gettid": 178, "sendto": 206,
        "recvfrom": 207, "shutdown": 210, "brk": 214, "munmap": 215, "mremap": 216, "madvise": 233,
        "getrandom": 278, "membarrier": 283, "rseq": 293,
    },
    mapping={"mmap": 222, "mprotect": 226},
    refused={
        "getcwd": 17, "dup": 23, "fcntl": 25, "ioctl": 29, "faccessat": 48, "openat": 56, "getdents64": 61,
        "readlinkat": 78, "newfstatat": 79, "sched_getaffinity": 123, "uname": 160, "getrusage": 165,
        "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177, "sysinfo": 179, "prlimit64": 261,
        "statx": 291, "openat2": 437, "faccessat2": 439,
    },
)  # fmt: skip

MACHINES = {"x86_64": _X86_64, "aarch64": _AARCH64}


@dataclass(frozen=True, slots=True)
class Isolated:
    """What `lock_down` or `enter_namespaces` achieved, and for each missing layer the reason."""

    active: Isolation
    missing: tuple[tuple[str, str], ...]


_Layer = tuple[Isolation, Callable[[], None]]

_PROBE_DATA_LIMIT = 1 << 30


class _LayerUnavailable(Exception):
    """The kernel or the machine does not offer a layer; the text says why."""


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def enter_namespaces() -> Isolated:
    """Leave the machine's network, mounts, host names, IPC objects and users behind, in so far as allowed.

    For the process that enclaves are forked from: namespaces are inherited, and making them costs time.
    """
    return _try_layers([(Isolation.NAMESPACES, _unshare_namespaces)])


def lock_down(data_limit: int, descriptors: Iterable[int]) -> Isolated:
    """Take every right from this process that an enclave does not need. There is no way back.

    Args:
        data_limit: private writable memory in bytes that the process may have.
        descriptors: what stays open; everything else is closed.
    """
    keep = frozenset(descriptors)
    _close_others(keep)
    return _try_layers(_layers(data_limit, keep))


def _layers(data_limit: int, keep: frozenset[int]) -> list[_Layer]:
    """The layers of a process, in the order in which they are entered."""
    return [
        (Isolation.PARENT_DEATH_SIGNAL, _die_with_parent),
        (Isolation.RLIMITS, lambda: _limit_resources(data_limit, max(keep, default=-1) + 1)),
        (Isolation.NOT_DUMPABLE, lambda: _prctl(_PR_SET_DUMPABLE, 0)),
        (Isolation.NO_NEW_PRIVILEGES, lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1)),
        (Isolation.LANDLOCK, _restrict_with_landlock),
        # Last: nothing above would be allowed any more.
        (Isolation.SECCOMP, _filter_system_calls),
    ]


def probe_layers() -> dict[str, str]:
    """Try each layer alone, in a process of its own: its name and why it is not to be had, empty if it is."""
    layers = [(Isolation.NAMESPACES, _unshare_namespaces), *_layers(_PROBE_DATA_LIMIT, frozenset({0, 1, 2}))]
    return {layer.names()[0]: _probe_layer(layer, enter) for layer, enter in layers}


def _probe_layer(layer: Isolation, enter: Callable[[], None]) -> str:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Without privileges, the kernel lets only a process restrict itself that can gain none.
        needed = layer in (Isolation.LANDLOCK, Isolation.SECCOMP)
        before = [(Isolation.NO_NEW_PRIVILEGES, lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1))] if needed else []
        tried = _try_layers([*before, (layer, enter)])
        os.write(writing, (tried.missing[-1][1] if tried.missing else "").encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return said.decode(errors="replace") if status == 0 else "a process does not survive it"


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends; raises OSError if it cannot."""
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def _try_layers(layers: Iterable[_Layer]) -> Isolated:
    active = Isolation(0)
    missing = []
    for layer, enter in layers:
        try:
            enter()
            active |= layer
        except (OSError, ValueError, _LayerUnavailable) as error:
            missing.append((layer.names()[0], str(error)))
    return Isolated(active, tuple(missing))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _syscall(number: int, *arguments: object) -> int:
    return _check(_libc.syscall(ctypes.c_long(number), *arguments))


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(item) for item in (value, 0, 0, 0))))


def _die_with_parent() -> None:
    parent = os.getppid()
    die_with_parent()
    if parent == 1 or os.getppid() != parent:
        raise _LayerUnavailable("the parent process has ended already")


def _close_others(keep: frozenset[int]) -> None:
    start = 0
    for descriptor in sorted(keep):
        os.closerange(start, descriptor)
        start = descriptor + 1
    # Python would not mind closed standard streams, but a later descriptor must not become one of them.
    for descriptor in range(3):
        if descriptor not in keep:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
    os.closerange(max(start, 3), _descriptor_limit())


def _descriptor_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(soft, 1 << 20)


def _limit_resources(data_limit: int, descriptors: int) -> None:
    # A lower limit leaves open descriptors usable and refuses new ones.
    for what, limit in (
        (resource.RLIMIT_NOFILE, descriptors),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, data_limit),
    ):
        resource.setrlimit(what, (limit, limit))


def _unshare_namespaces() -> None:
    flags = sum(_CLONE_FLAGS.values())
    # With a user namespace of its own, the process also loses every capability outside of it.
    if _libc.unshare(ctypes.c_int(flags | _CLONE_NEWUSER)) < 0:
        _check(_libc.unshare(ctypes.c_int(flags)))


def _machine() -> _Machine:
    machine = MACHINES.get(os.uname().machine)
    if machine is None or sys.byteorder != "little" or sys.maxsize < 1 << 32:
        raise _LayerUnavailable(_NO_TABLE)
    return machine


def _restrict_with_landlock() -> None:
    create, restrict = _machine().landlock
    abi = _syscall(create, None, ctypes.c_size_t(0), ctypes.c_uint(_LANDLOCK_CREATE_RULESET_VERSION))
    rights = max(count for since, count in _LANDLOCK_FS_RIGHTS.items() if since <= abi)
    # struct landlock_ruleset_attr grew with the ABI: everything is handled, nothing is allowed.
    fields = [(1 << rights) - 1]
    if abi >= _LANDLOCK_NET_ABI:
        fields.append(_LANDLOCK_NET_RIGHTS)
    if abi >= _LANDLOCK_SCOPE_ABI:
        fields.append(_LANDLOCK_SCOPES)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _syscall(create, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    try:
        _syscall(restrict, ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)


class _Program(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter_system_calls() -> None:
    machine = _machine()
    instructions = filter_program(machine)
    program = _Program(len(instructions) // 8, instructions)
    # TSYNC: threads that a library may have started are under the filter as well.
    failed_thread = _syscall(
        machine.seccomp,
        ctypes.c_uint(_SECCOMP_SET_MODE_FILTER),
        ctypes.c_uint(_SECCOMP_FILTER_FLAG_TSYNC),
        ctypes.byref(program),
    )
    if failed_thread:
        raise _LayerUnavailable("a thread could not be put under the filter")


def filter_program(machine: _Machine) -> bytes:
    """The seccomp filter, as an array of struct sock_filter.

    Allowed calls pass; those that Python's own machinery may try are refused with EPERM, as is memory that
    is executable; anything else kills the process, as does another architecture's calling convention.
    """
    kill = _statement(_BPF_RET, _RET_KILL_PROCESS)
    refuse = _statement(_BPF_RET, _RET_ERRNO | _EPERM)
    allow = _statement(_BPF_RET, _RET_ALLOW)
    program = [_statement(_BPF_LD_W_ABS, _DATA_ARCH), _jump(_BPF_JEQ, machine.audit, 1, 0), kill]
    program.append(_statement(_BPF_LD_W_ABS, _DATA_NR))
    if machine.foreign_abi is not None:
        program += [_jump(_BPF_JGE, machine.foreign_abi, 0, 1), kill]
    for number in sorted(machine.allowed.values()):
        program += [_jump(_BPF_JEQ, number, 0, 1), allow]
    for number in sorted(machine.refused.values()):
        program += [_jump(_BPF_JEQ, number, 0, 1), refuse]
    for number in sorted(machine.mapping.values()):
        program += [
            _jump(_BPF_JEQ, number, 0, 4),
            _statement(_BPF_LD_W_ABS, _DATA_ARG2),
            _jump(_BPF_JSET, _PROT_EXEC, 0, 1),
            refuse,
            allow,
        ]
    return b"".join([*program, kill])


def _statement(code: int, operand: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, operand)


def _jump(code: int, operand: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)
