"""A parser as a function of bytes, what it may do with them, and what damages its inputs."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass

from schannel.errors import ProtocolError

EXECUTING = frozenset(
    (
        *("compile", "exec", "import", "marshal.loads", "pickle.find_class", "ctypes.dlopen"),
        *("os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen"),
        "socket.connect",
    )
)
"""Audit events of Python of which a parser raises none, for any input."""


@dataclass(frozen=True)
class Target:
    """A parser, inputs that it takes, and the errors that are its answer to others."""

    name: str
    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    errors: tuple[type[Exception], ...] = (ProtocolError,)

    def __post_init__(self) -> None:
        # The first use of a parser may import modules, and those are executed.
        for seed in self.seeds:
            with contextlib.suppress(Exception):
                self.parse(seed)

    def accepts(self, data: bytes) -> bool:
        """Whether the input is taken; anything but a value or one of `errors` is raised.

        Raises:
            AssertionError: something was executed.
        """
        _audit.watch()
        try:
            self.parse(data)
        except self.errors:
            return False
        finally:
            done = _audit.stop()
            assert not done, f"{self.name} did {done[0]} while parsing {data.hex()}"
        return True


class _Audit:
    """What Python reports between `watch` and `stop`; a hook of Python's can never be removed."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._watching = False
        sys.addaudithook(self._note)

    def watch(self) -> None:
        self._watching = True

    def stop(self) -> list[str]:
        self._watching = False
        seen, self._seen = self._seen, []
        return seen

    def _note(self, event: str, _arguments: object) -> None:
        if self._watching and event in EXECUTING:
            self._seen.append(event)


_audit = _Audit()

_EXTREMES = tuple(
    map(bytes.fromhex, ("00", "ff", "0000", "ffff", "7fffffff", "ffffffff", "ff" * 8, "80" + "00" * 7))
)
_MAX_EDITS = 4


def damage(chooser: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """One of the seeds with one to four edits."""
    data = chooser.choice(seeds)
    for _ in range(chooser.randint(1, _MAX_EDITS)):
        data = chooser.choice(_EDITS)(chooser, data, seeds)
    return data


_Edit = Callable[[random.Random, bytes, tuple[bytes, ...]], bytes]


def _flip(chooser: random.Random, data: bytes, _seeds: tuple[bytes, ...]) -> bytes:
    at = chooser.randrange(len(data) + 1)
    return data[:at] + bytes(byte ^ 1 << chooser.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]


def _extreme(chooser: random.Random, data: bytes, _seeds: tuple[bytes, ...]) -> bytes:
    at, value = chooser.randrange(len(data) + 1), chooser.choice(_EXTREMES)
    return data[:at] + value + data[at + len(value) :]


def _insert(chooser: random.Random, data: bytes, _seeds: tuple[bytes, ...]) -> bytes:
    at = chooser.randrange(len(data) + 1)
    return data[:at] + chooser.randbytes(chooser.randint(1, 8)) + data[at:]


def _delete(chooser: random.Random, data: bytes, _seeds: tuple[bytes, ...]) -> bytes:
    at = chooser.randrange(len(data) + 1)
    return data[:at] + data[at + chooser.randint(1, 32) :]


def _repeat(chooser: random.Random, data: bytes, _seeds: tuple[bytes, ...]) -> bytes:
    at, size = chooser.randrange(len(data) + 1), chooser.randint(1, 32)
    return data[:at] + data[at : at + size] * chooser.choice((2, 3, 100)) + data[at:]


def _cut(chooser: random.Random, data: bytes, _seeds: tuple[bytes, ...]) -> bytes:
    return data[: chooser.randrange(len(data) + 1)]


def _splice(chooser: random.Random, data: bytes, seeds: tuple[bytes, ...]) -> bytes:
    other = chooser.choice(seeds)
    return data[: chooser.randrange(len(data) + 1)] + other[chooser.randrange(len(other) + 1) :]


_EDITS: tuple[_Edit, ...] = (_flip, _flip, _extreme, _extreme, _insert, _delete, _repeat, _cut, _splice)
