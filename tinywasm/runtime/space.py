"""Address space for memories: how much each reserves, and what ran out where there is none."""

from __future__ import annotations

import gc
import mmap
import resource
import sys
from collections.abc import Callable
from typing import Final, TypeVar

from tinywasm.errors import Trap, TrapCode

_MIB = 1 << 20
# So many bytes has a memory of 32 bits at the most that names no maximum. Where the last page is never there,
# a small number added to the address of something that is does not make a small one.
BELOW_ALL: Final = (1 << 32) - (1 << 16)
_PLAIN = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
# `mmap` names this flag from Python 3.13 on; the number is Linux's.
_RESERVING = _PLAIN | getattr(mmap, "MAP_NORESERVE", 0x4000)


def _reserves() -> bool:
    try:
        mmap.mmap(-1, mmap.PAGESIZE, flags=_RESERVING, prot=0).close()
    except (OSError, ValueError):
        return False
    return True


# Whether address space is to be had without memory. Where it is not, as in an enclave on Keystone, what is
# kept for growth is taken from all else.
RESERVES: Final = _reserves()
FLAGS: Final = _RESERVING if RESERVES else _PLAIN
# What even a memory that needs nearly all leaves to the process.
_LEFT = (16 if RESERVES else 2) * _MIB
# A larger reservation leaves something to the others also where nothing limits the process.
_LARGE = 1 << 36
# The room of each memory beyond `_most_apart`.
_CROWDED_ROOM = 256 * _MIB


# Each memory refers to this object, whose references tell how many there are.
presence: Final = [object()]


def _map_limit() -> int:
    """How many mappings the system lets a process have."""
    try:
        with open("/proc/sys/vm/max_map_count", encoding="ascii") as count:
            return int(count.read())
    except (OSError, ValueError):
        return 65530


# So many memories have two mappings of their own, an open and a closed one. Those of all others are open
# throughout, which makes one mapping of neighbours, however many they are.
_most_apart = _map_limit() // 8

_Taken = TypeVar("_Taken")


def reserve(take: Callable[[int, bool], _Taken | None], least: int, most: int) -> _Taken:
    """What `take(size, opened)` gives for the best size in bytes, from `least` up to `most`.

    `take` maps address space, and opens all of it or only the first `least` bytes; it gives None where
    the system refuses. Of what a limited process has left, the first memory takes at most half for its
    growth, the next ones ever smaller parts, so that there are some left for any number. Before less is
    taken than is wanted, stores that were dropped are collected. Raises `Trap`, which names what ran out.
    """
    most = max(least, most)
    if _alive() > _most_apart and not _limited():
        taken = take(max(least, min(most, _CROWDED_ROOM)), True)
        if taken is not None:
            return taken
    taken = _sparingly(take, most, least)
    if taken is None:
        _garbage.look()
        taken = _largest(take, least, most)
    if taken is None:
        gc.collect()
        taken = _largest(take, least, most)
    if taken is None:
        _garbage.expect()
        raise exhausted(f"memory of {least} bytes", least)
    return taken


def _limited() -> bool:
    """Whether the process is limited, for all it can tell."""
    try:
        limits = [resource.getrlimit(what)[0] for what in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    except OSError:
        return True
    return any(limit != resource.RLIM_INFINITY for limit in limits)


def _alive() -> int:
    """How many memories there are, those in uncollected garbage included."""
    return sys.getrefcount(presence) - _REFERENCES


_REFERENCES = sys.getrefcount(presence)


class _Garbage:
    """Collects when half of the memories may be garbage: the cost for each new memory stays the same."""

    def __init__(self) -> None:
        self._after = 0

    def expect(self) -> None:
        """Collect at the next look: whoever was refused a memory will drop some."""
        self._after = 0

    def look(self) -> None:
        if _alive() > 2 * self._after + 3:
            gc.collect()
            self._after = _alive()


_garbage = _Garbage()


def _largest(take: Callable[[int, bool], _Taken | None], least: int, most: int) -> _Taken | None:
    size = most
    while True:
        taken = _sparingly(take, size, least)
        if taken is not None or size == least:
            return taken
        size = max(least, size // 2)


def _sparingly(take: Callable[[int, bool], _Taken | None], size: int, least: int) -> _Taken | None:
    """What `take` gives, if enough is left where something has to be."""
    if RESERVES and size <= _LARGE and _limit(resource.RLIMIT_AS) is None:
        return take(size, False)
    left = _LEFT if size == least else max(_LEFT, size * (_alive() ** 2 + 1))
    spare = _mapping(left)
    if spare is None:
        return None
    with spare:
        return take(size, False)


def _mapping(size: int) -> mmap.mmap | None:
    """That much address space, closed; None where there is less."""
    try:
        return mmap.mmap(-1, size, flags=FLAGS, prot=0)
    except (OSError, ValueError, OverflowError):
        return None


def exhausted(what: str, size: int) -> Trap:
    """The trap where the system does not give `what`, which takes `size` bytes: it names what ran out."""
    return Trap(TrapCode.ALLOCATION_TOO_LARGE, f"allocation too large: {what}: {_shortage(size)}")


def _shortage(size: int) -> str:
    maps = _map_limit()
    if _map_count() >= maps - 2:
        return f"the process has all the mappings that the system allows ({maps}: sysctl vm.max_map_count)"
    probe = _mapping(size + _LEFT)
    if probe is None:
        limit = _limit(resource.RLIMIT_AS)
        if limit is None:
            return "no address space is left"
        return f"no address space is left of the {limit} bytes that the process may take (ulimit -v)"
    probe.close()
    limit = _limit(resource.RLIMIT_DATA)
    if limit is not None:
        return f"no memory is left of the {limit} bytes of data that the process may have (ulimit -d)"
    return "the system gives no more memory"


def _map_count() -> int:
    """How many mappings the process has; 0 where that cannot be read."""
    try:
        # Little is to be had where mappings are not: more might need one of its own.
        piece = bytearray(4096)
        with open("/proc/self/maps", "rb", buffering=0) as maps:
            return sum(piece.count(b"\n", 0, size) for size in iter(lambda: maps.readinto(piece), 0))
    except OSError:
        return 0


def _limit(what: int) -> int | None:
    """A limit of the process; None where there is none, or a sandbox does not tell."""
    try:
        soft, _ = resource.getrlimit(what)
    except OSError:
        return None
    return None if soft == resource.RLIM_INFINITY else soft
