"""Locks an enclave process down, before the first byte from outside.

Each layer is tried on its own: what the kernel does not offer is left out and reported, so that the evidence
names only what holds. After `lock_down` the process has the descriptors it had, memory, time and randomness.
Every module must be imported by then: a file that is opened later is refused.
"""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from schannel.evidence import Isolation
from schannel.process import (
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    check,
    die_with_parent,
    libc,
    prctl,
)

from .system_calls import MACHINES, Machine, filter_program

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

_NO_TABLE = "there is no system call table for this architecture"


@dataclass(frozen=True, slots=True)
class Isolated:
    """What `lock_down` or `enter_namespaces` achieved, and for each missing layer the reason."""

    active: Isolation
    missing: tuple[tuple[str, str], ...]


_Layer = tuple[Isolation, Callable[[], None]]

_PROBE_DATA_LIMIT = 1 << 30
_LONGEST_REASON = 4096

MAX_STACK = 64 << 20
"""Bytes that an enclave's stack may have, where the machine does not limit it anyway."""


class _LayerUnavailable(Exception):
    """The kernel or the machine does not offer a layer; the text says why."""


libc.syscall.restype = ctypes.c_long


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
        (Isolation.NOT_DUMPABLE, lambda: prctl(PR_SET_DUMPABLE, 0)),
        (Isolation.NO_NEW_PRIVILEGES, lambda: prctl(PR_SET_NO_NEW_PRIVS, 1)),
        (Isolation.LANDLOCK, _restrict_with_landlock),
        # Last: nothing above would be allowed any more.
        (Isolation.SECCOMP, _filter_system_calls),
    ]


def probe_layers() -> dict[str, str]:
    """Try each layer alone, in a process of its own: its name and why it is not to be had, empty if it is."""
    layers = [(Isolation.NAMESPACES, _unshare_namespaces), *_layers(_PROBE_DATA_LIMIT, frozenset({0, 1, 2}))]
    return {layer.names()[0]: _probe_layer(layer, enter) for layer, enter in layers}


def _probe_layer(layer: Isolation, enter: Callable[[], None]) -> str:
    receiver, sender = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        # Without privileges, the kernel lets only a process restrict itself that can gain none.
        needed = layer in (Isolation.LANDLOCK, Isolation.SECCOMP)
        before = [(Isolation.NO_NEW_PRIVILEGES, lambda: prctl(PR_SET_NO_NEW_PRIVS, 1))] if needed else []
        tried = _try_layers([*before, (layer, enter)])
        sender.send((tried.missing[-1][1] if tried.missing else "").encode())
        os._exit(0)
    sender.close()
    with receiver:
        said = receiver.recv(_LONGEST_REASON)
    _, status = os.waitpid(pid, 0)
    return said.decode(errors="replace") if status == 0 else "a process does not survive it"


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


def _syscall(number: int, *arguments: object) -> int:
    return check(libc.syscall(ctypes.c_long(number), *arguments))


def _die_with_parent() -> None:
    parent = os.getppid()
    die_with_parent()
    if parent == 1 or os.getppid() != parent:
        raise _LayerUnavailable("the parent process has ended already")


def _close_others(keep: frozenset[int]) -> None:
    start = 0
    for descriptor in sorted(keep):
        # Python takes none below 0 for all.
        if start < descriptor:
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
        # A stack is no data, and grows up to its limit by itself.
        (resource.RLIMIT_STACK, _stack_limit()),
    ):
        resource.setrlimit(what, (limit, limit))


def _stack_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return MAX_STACK if soft == resource.RLIM_INFINITY else min(soft, MAX_STACK)


def _unshare_namespaces() -> None:
    flags = sum(_CLONE_FLAGS.values())
    # With a user namespace of its own, the process also loses every capability outside of it.
    if libc.unshare(ctypes.c_int(flags | _CLONE_NEWUSER)) < 0:
        check(libc.unshare(ctypes.c_int(flags)))


def _machine() -> Machine:
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
