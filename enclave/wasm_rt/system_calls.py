"""What an enclave may ask of the kernel: a seccomp filter that looks at calls and at their arguments.

Allowed calls pass with the arguments that an enclave needs. Those that Python's own machinery may try are
refused with EPERM, as are kinds of memory that an enclave does not need. Anything else kills the process.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_RET_KILL_PROCESS = 0x80000000
_RET_ERRNO = 0x00050000
_RET_ALLOW = 0x7FFF0000
_EPERM = 1

_BPF_LD_W_ABS = 0x20
_BPF_JEQ = 0x15
_BPF_JGE = 0x35
_BPF_JSET = 0x45
_BPF_RET = 0x06
_DATA_NR, _DATA_ARCH, _DATA_ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data; of an argument, the low half comes first on a little-endian machine."""

_PROT_READ, _PROT_WRITE = 1, 2
_MAP_PRIVATE, _MAP_ANONYMOUS, _MAP_NORESERVE = 0x02, 0x20, 0x4000
_MREMAP_MAYMOVE = 1
_MADV_DONTNEED, _MADV_FREE = 4, 8
_MSG_DONTWAIT = 0x40
_FUTEX_WAIT, _FUTEX_WAKE, _FUTEX_WAIT_BITSET, _FUTEX_WAKE_BITSET = 0, 1, 9, 10
_FUTEX_PRIVATE, _FUTEX_CLOCK_REALTIME = 128, 256
_GRND_NONBLOCK = 1
_CLOCKS = 12
"""Clocks of the machine and of the process itself; those of other processes have other numbers."""

_Instructions = list[bytes]


@dataclass(frozen=True, slots=True)
class OneOf:
    """An argument has one of these values; only its low half, an int in C, is looked at."""

    argument: int
    values: Sequence[int]

    def instructions(self, otherwise: bytes) -> _Instructions:
        """Go on where it holds, else return `otherwise`."""
        jumps = [
            _jump(_BPF_JEQ, value, len(self.values) - position, 0)
            for position, value in enumerate(self.values)
        ]
        return [_load(self.argument), *jumps, otherwise]


@dataclass(frozen=True, slots=True)
class Bits:
    """An argument has no other bits set than these, and each of those that are needed; only its low half."""

    argument: int
    allowed: int
    needed: Sequence[int] = ()

    def instructions(self, otherwise: bytes) -> _Instructions:
        """Go on where it holds, else return `otherwise`."""
        others = ~self.allowed & 0xFFFFFFFF
        tests = [_jump(_BPF_JSET, bit, 1, 0) for bit in self.needed]
        needed = [instruction for test in tests for instruction in (test, otherwise)]
        return [_load(self.argument), _jump(_BPF_JSET, others, 0, 1), otherwise, *needed]


@dataclass(frozen=True, slots=True)
class Below:
    """An argument is lower than a limit, as an unsigned number; only its low half."""

    argument: int
    limit: int

    def instructions(self, otherwise: bytes) -> _Instructions:
        """Go on where it holds, else return `otherwise`."""
        return [_load(self.argument), _jump(_BPF_JGE, self.limit, 0, 1), otherwise]


@dataclass(frozen=True, slots=True)
class Null:
    """An argument is a null pointer, all of it."""

    argument: int

    def instructions(self, otherwise: bytes) -> _Instructions:
        """Go on where it holds, else return `otherwise`."""
        test = _jump(_BPF_JEQ, 0, 1, 0)
        return [_load(self.argument), test, otherwise, _load(self.argument, high=True), test, otherwise]


Condition = OneOf | Bits | Below | Null

MEMORY: Mapping[str, Sequence[Condition]] = {
    # Private memory without a file counts towards the limit of data; what is shared, or grows like a stack,
    # does not. No memory is executable.
    "mmap": (
        Bits(2, _PROT_READ | _PROT_WRITE),
        Bits(3, _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE, (_MAP_PRIVATE, _MAP_ANONYMOUS)),
    ),
    "mprotect": (Bits(2, _PROT_READ | _PROT_WRITE),),
    "mremap": (Bits(3, _MREMAP_MAYMOVE),),
    "madvise": (OneOf(2, (_MADV_DONTNEED, _MADV_FREE)),),
}
"""Conditions of calls that are refused without them: those who ask can do without."""

OTHERS: Mapping[str, Sequence[Condition]] = {
    "sendto": (OneOf(3, (0, _MSG_DONTWAIT)), Null(4)),
    "recvfrom": (OneOf(3, (0, _MSG_DONTWAIT)), Null(4)),
    "futex": (
        OneOf(
            1,
            [
                operation | flags
                for operation in (_FUTEX_WAIT, _FUTEX_WAKE, _FUTEX_WAIT_BITSET, _FUTEX_WAKE_BITSET)
                for flags in (0, _FUTEX_PRIVATE, _FUTEX_PRIVATE | _FUTEX_CLOCK_REALTIME)
            ],
        ),
    ),
    "clock_gettime": (Below(0, _CLOCKS),),
    "clock_getres": (Below(0, _CLOCKS),),
    "clock_nanosleep": (Below(0, _CLOCKS),),
    "getrandom": (OneOf(2, (0, _GRND_NONBLOCK)),),
}
"""Conditions of calls that kill the process without them."""


@dataclass(frozen=True, slots=True)
class Machine:
    """System call numbers of one architecture (asm/unistd.h) and its audit value (linux/audit.h)."""

    audit: int
    landlock: tuple[int, int]
    seccomp: int
    allowed: Mapping[str, int]
    refused: Mapping[str, int] = field(default_factory=dict)
    foreign_abi: int | None = None
    """First number of a second calling convention to shut out: x32 on x86_64."""


_LANDLOCK_CALLS = (444, 446)

_X86_64 = Machine(
    audit=0xC000003E,
    landlock=_LANDLOCK_CALLS,
    seccomp=317,
    foreign_abi=0x40000000,
    allowed={
        "close": 3, "poll": 7, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13,
        "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25, "madvise": 28,
        "nanosleep": 35, "getitimer": 36, "setitimer": 38, "getpid": 39, "sendto": 44, "recvfrom": 45,
        "shutdown": 48, "exit": 60, "gettimeofday": 96, "gettid": 186, "futex": 202, "restart_syscall": 219,
        "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "ppoll": 271,
        "getrandom": 318,
    },
    refused={
        "read": 0, "write": 1, "open": 2, "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "ioctl": 16,
        "access": 21, "dup": 32, "uname": 63, "fcntl": 72, "getdents": 78, "getcwd": 79, "readlink": 89,
        "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "getuid": 102, "getgid": 104, "geteuid": 107,
        "getegid": 108, "sigaltstack": 131, "sched_getaffinity": 204, "getdents64": 217, "openat": 257,
        "newfstatat": 262, "readlinkat": 267, "faccessat": 269, "prlimit64": 302, "membarrier": 324,
        "statx": 332, "rseq": 334, "openat2": 437, "faccessat2": 439,
    },
)  # fmt: skip

_GENERIC_ALLOWED = {
    "close": 57, "ppoll": 73, "exit": 93, "exit_group": 94, "futex": 98, "nanosleep": 101,
    "getitimer": 102, "setitimer": 103, "clock_gettime": 113, "clock_getres": 114,
    "clock_nanosleep": 115, "sched_yield": 124, "restart_syscall": 128, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "rt_sigreturn": 139, "gettimeofday": 169, "getpid": 172, "gettid": 178,
    "sendto": 206, "recvfrom": 207, "shutdown": 210, "brk": 214, "munmap": 215, "mremap": 216,
    "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278,
}  # fmt: skip

_GENERIC_REFUSED = {
    "getcwd": 17, "dup": 23, "fcntl": 25, "ioctl": 29, "faccessat": 48, "openat": 56, "getdents64": 61,
    "lseek": 62, "read": 63, "write": 64, "readlinkat": 78, "newfstatat": 79, "fstat": 80,
    "sched_getaffinity": 123, "sigaltstack": 132, "uname": 160, "getrusage": 165, "getuid": 174,
    "geteuid": 175, "getgid": 176, "getegid": 177, "sysinfo": 179, "prlimit64": 261, "membarrier": 283,
    "statx": 291, "rseq": 293, "openat2": 437, "faccessat2": 439,
}  # fmt: skip
"""Numbers of the kernel's generic table (asm-generic/unistd.h), which architectures share that came later."""


def _generic(audit: int) -> Machine:
    return Machine(audit, _LANDLOCK_CALLS, 277, _GENERIC_ALLOWED, _GENERIC_REFUSED)


MACHINES = {"x86_64": _X86_64, "aarch64": _generic(0xC00000B7), "riscv64": _generic(0xC00000F3)}


def filter_program(machine: Machine) -> bytes:
    """The seccomp filter, as an array of struct sock_filter.

    Another architecture's calling convention kills the process as well.
    """
    kill = _statement(_BPF_RET, _RET_KILL_PROCESS)
    refuse = _statement(_BPF_RET, _RET_ERRNO | _EPERM)
    allow = _statement(_BPF_RET, _RET_ALLOW)
    program = [_statement(_BPF_LD_W_ABS, _DATA_ARCH), _jump(_BPF_JEQ, machine.audit, 1, 0), kill]
    program.append(_statement(_BPF_LD_W_ABS, _DATA_NR))
    if machine.foreign_abi is not None:
        program += [_jump(_BPF_JGE, machine.foreign_abi, 0, 1), kill]
    for name, number in machine.allowed.items():
        block = [
            instruction
            for conditions, otherwise in ((MEMORY.get(name, ()), refuse), (OTHERS.get(name, ()), kill))
            for condition in conditions
            for instruction in condition.instructions(otherwise)
        ]
        program += [_jump(_BPF_JEQ, number, 0, len(block) + 1), *block, allow]
    for number in machine.refused.values():
        program += [_jump(_BPF_JEQ, number, 0, 1), refuse]
    return b"".join([*program, kill])


def _load(argument: int, *, high: bool = False) -> bytes:
    return _statement(_BPF_LD_W_ABS, _DATA_ARGUMENTS + 8 * argument + 4 * high)


def _statement(code: int, operand: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, operand)


def _jump(code: int, operand: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)
