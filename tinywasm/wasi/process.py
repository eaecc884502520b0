"""Arguments, environment, clocks, randomness, and the process itself."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from tinywasm.errors import ExitTrap
from tinywasm.wasi.abi import U32, U64, ClockId, Errno, WasiError
from tinywasm.wasi.guest import Guest
from tinywasm.wasi.registry import enum, function

_RANDOM_CHUNK = 1 << 20


def _strings(guest: Guest, strings: Sequence[bytes], pointers: int, buffer: int) -> None:
    """An array of pointers to zero-terminated strings, which lie one after the other in `buffer`."""
    for index, string in enumerate(strings):
        guest.memory.store(U32, pointers + index * U32.size, buffer)
        guest.memory.write(buffer, string + b"\0")
        buffer += len(string) + 1


def _sizes(guest: Guest, strings: Sequence[bytes], count: int, size: int) -> None:
    guest.memory.store(U32, count, len(strings))
    guest.memory.store(U32, size, sum(len(string) + 1 for string in strings))


@function("ii")
def args_get(guest: Guest, argv: int, buffer: int) -> None:
    _strings(guest, guest.arguments, argv, buffer)


@function("ii")
def args_sizes_get(guest: Guest, count: int, size: int) -> None:
    _sizes(guest, guest.arguments, count, size)


@function("ii")
def environ_get(guest: Guest, environ: int, buffer: int) -> None:
    _strings(guest, guest.environment, environ, buffer)


@function("ii")
def environ_sizes_get(guest: Guest, count: int, size: int) -> None:
    _sizes(guest, guest.environment, count, size)


def clock_time(guest: Guest, clock: ClockId) -> int:
    """Nanoseconds: since 1970, since the program began, or of processor time."""
    if clock is ClockId.REALTIME:
        return time.time_ns()
    if clock is ClockId.MONOTONIC:
        # Not the host's own count, which would tell how long it has been up.
        return time.monotonic_ns() - guest.started
    return time.process_time_ns() if clock is ClockId.PROCESS_CPUTIME else time.thread_time_ns()


@function("ii")
def clock_res_get(guest: Guest, id: int, result: int) -> None:
    clock = enum(ClockId, id)
    if clock is ClockId.REALTIME:
        info = time.get_clock_info("time")
    elif clock is ClockId.MONOTONIC:
        info = time.get_clock_info("monotonic")
    elif clock is ClockId.PROCESS_CPUTIME:
        info = time.get_clock_info("process_time")
    else:
        info = time.get_clock_info("thread_time")
    guest.memory.store(U64, result, max(1, round(info.resolution * 1e9)))


@function("iIi")
def clock_time_get(guest: Guest, id: int, precision: int, result: int) -> None:
    guest.memory.store(U64, result, clock_time(guest, enum(ClockId, id)))


@function("ii")
def random_get(guest: Guest, buffer: int, size: int) -> None:
    guest.memory.check(buffer, size)
    for start in range(0, size, _RANDOM_CHUNK):
        guest.poll()
        guest.memory.write(buffer + start, os.urandom(min(_RANDOM_CHUNK, size - start)))


@function("i", returns=False)
def proc_exit(guest: Guest, status: int) -> None:
    raise ExitTrap(status)


@function("i")
def proc_raise(guest: Guest, signal: int) -> None:
    """A guest has no signals; preview 1 has them no longer."""
    raise WasiError(Errno.NOTSUP)


@function("")
def sched_yield(guest: Guest) -> None:
    guest.poll()
    # Sleeping for no time gives other threads of the host their turn.
    time.sleep(0)
