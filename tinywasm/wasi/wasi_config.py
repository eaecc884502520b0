"""What a program is given: `WasiConfig`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import index
from typing import TYPE_CHECKING

from tinywasm.records import record
from tinywasm.wasi.files import Directory, File, Socket
from tinywasm.wasi.streams import Capture, InputStream, OutputStream, discard
from tinywasm.wasi.tree import MemoryTree

if TYPE_CHECKING:
    import socket

StrPath = str | os.PathLike[str]

Output = Callable[[bytes], int | None]
"""Takes what the program writes; returns the count of bytes taken, None for all, or `-errno.E...`."""


@record(frozen=True)
class Preopen:
    """A directory to be opened for the program under `guest_path`."""

    open: Callable[[], Directory]
    guest_path: bytes
    fs_mutable: bool


class WasiConfig:
    """What a WASI program gets to see: nothing that is not given here.

    Names and meanings are those of wasmtime-py; `stdin_bytes`, `capture_stdout`, `capture_stderr`,
    `preopen_tree` and `preopen_socket` are ours. Without further settings there are no arguments, no
    environment and no files, the input is empty and output is discarded. One configuration may start
    several programs; each gets descriptors of its own.
    """

    __slots__ = ("__weakref__", "_argv", "_env", "_stderr", "_stdin", "_stdout", "preopens", "sockets")

    def __init__(self) -> None:
        self._argv: list[bytes] = []
        self._env: list[bytes] = []
        self._stdin: Callable[[], File] = InputStream
        self._stdout: Callable[[], File] = lambda: OutputStream(discard)
        self._stderr: Callable[[], File] = lambda: OutputStream(discard)
        self.preopens: list[Preopen] = []
        self.sockets: list[Callable[[], Socket]] = []

    @property
    def argv(self) -> list[str]:
        """The arguments; the first is by convention the program's name."""
        return [os.fsdecode(item) for item in self._argv]

    @argv.setter
    def argv(self, argv: Sequence[str]) -> None:
        if isinstance(argv, str | bytes):
            raise TypeError(f"argv is a sequence of strings, not the string {argv!r}")
        self._argv = [_encode(item) for item in argv]

    def inherit_argv(self) -> None:
        """Pass this process's own arguments."""
        self.argv = sys.argv

    @property
    def env(self) -> list[tuple[str, str]]:
        """The environment: pairs of name and value, or a mapping."""
        pairs = [os.fsdecode(item).partition("=") for item in self._env]
        return [(name, value) for name, _, value in pairs]

    @env.setter
    def env(self, env: Mapping[str, str] | Iterable[Iterable[str]]) -> None:
        if isinstance(env, str | bytes):
            raise TypeError(f"env is a mapping or a sequence of pairs, not the string {env!r}")
        pairs = env.items() if isinstance(env, Mapping) else env
        self._env = [_variable(pair) for pair in pairs]

    def inherit_env(self) -> None:
        """Pass this process's own environment, the whole of it."""
        self.env = os.environ

    @property
    def raw_argv(self) -> list[bytes]:
        """The arguments as the program gets them."""
        return list(self._argv)

    @property
    def raw_env(self) -> list[bytes]:
        """The environment as the program gets it: `NAME=value`."""
        return list(self._env)

    def _set_stdin_file(self, path: StrPath) -> None:
        self._stdin = _file(path, os.O_RDONLY)

    stdin_file = property(
        None, _set_stdin_file, doc="Read the standard input from this file, which must exist."
    )

    def _set_stdin_bytes(self, data: bytes | memoryview) -> None:
        # Its items may be wider than bytes.
        plain = data if isinstance(data, bytes | bytearray) else memoryview(data).cast("B")
        self._stdin = lambda: InputStream(plain)

    stdin_bytes = property(
        None, _set_stdin_bytes, doc="Let the standard input be these bytes, which are not copied."
    )

    def inherit_stdin(self) -> None:
        """Read the standard input of this process."""
        self._stdin = _inherited(0)

    def _set_stdout_file(self, path: StrPath) -> None:
        self._stdout = _output_file(path)

    stdout_file = property(
        None, _set_stdout_file, doc="Write the standard output to this file, emptied first."
    )

    def _set_stdout_custom(self, callback: Output) -> None:
        self._stdout = _custom(callback)

    stdout_custom = property(None, _set_stdout_custom, doc="Hand the standard output to this function.")

    def capture_stdout(self, limit: int = 64 << 20) -> bytearray:
        """Collect the standard output in the array returned; beyond `limit` bytes writes fail (NOSPC)."""
        capture = Capture(index(limit))
        self.stdout_custom = capture
        return capture.data

    def inherit_stdout(self) -> None:
        """Write to the standard output of this process."""
        self._stdout = _inherited(1)

    def _set_stderr_file(self, path: StrPath) -> None:
        self._stderr = _output_file(path)

    stderr_file = property(
        None, _set_stderr_file, doc="Write the standard error to this file, emptied first."
    )

    def _set_stderr_custom(self, callback: Output) -> None:
        self._stderr = _custom(callback)

    stderr_custom = property(None, _set_stderr_custom, doc="Hand the standard error to this function.")

    def capture_stderr(self, limit: int = 64 << 20) -> bytearray:
        """Collect the standard error in the array returned; beyond `limit` bytes writes fail (NOSPC)."""
        capture = Capture(index(limit))
        self.stderr_custom = capture
        return capture.data

    def inherit_stderr(self) -> None:
        """Write to the standard error of this process."""
        self._stderr = _inherited(2)

    def preopen_dir(self, path: StrPath, guest_path: str, fs_mutable: bool = True) -> None:
        """Give the program a directory of this machine under the name `guest_path`.

        Nothing outside of it can be reached. Unless `fs_mutable`, nothing in it can be changed.
        Raises `OSError` where it cannot be opened.
        """
        from tinywasm.wasi.host import HostDirectory

        HostDirectory.at(path).close()
        self.preopens.append(Preopen(lambda: HostDirectory.at(path), _encode(guest_path), fs_mutable))

    def preopen_tree(self, tree: MemoryTree, guest_path: str, fs_mutable: bool = True) -> None:
        """Give the program a file tree in memory under the name `guest_path`, as `preopen_dir`."""
        if not isinstance(tree, MemoryTree):
            raise TypeError(f"expected a MemoryTree, not {tree!r}")
        self.preopens.append(Preopen(tree.open, _encode(guest_path), fs_mutable))

    def preopen_socket(self, connection: socket.socket) -> None:
        """Give the program a socket, listening or connected, on the next descriptor after the directories.

        The program works on a duplicate; `connection` stays the caller's to close.
        """
        import socket

        from tinywasm.wasi.host_sockets import HostSocket

        if not isinstance(connection, socket.socket):
            raise TypeError(f"expected a socket, not {connection!r}")
        self.sockets.append(lambda: HostSocket(connection.dup()))

    def standard_streams(self) -> tuple[File, File, File]:
        """New handles for the descriptors 0, 1 and 2. Raises `OSError`."""
        return self._stdin(), self._stdout(), self._stderr()


def _encode(text: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"expected a string, not {text!r}")
    if "\0" in text:
        raise ValueError(f"a string for a WASI program cannot contain a zero: {text!r}")
    return text.encode("utf-8", "surrogateescape")


def _variable(pair: Iterable[str]) -> bytes:
    parts = () if isinstance(pair, str | bytes) else tuple(pair)
    if len(parts) != 2:
        raise TypeError(f"a variable is a pair of name and value, not {pair!r}")
    name, value = parts
    for part in parts:
        _encode(part)
    if not name or "=" in name:
        raise ValueError(f"{name!r} cannot be the name of an environment variable")
    return _encode(f"{name}={value}")


def _custom(callback: Output) -> Callable[[], File]:
    if not callable(callback):
        raise TypeError(f"expected a function that takes output, not {callback!r}")
    return lambda: OutputStream(callback)


# `host` needs POSIX, so it is imported where it is wanted: a program in memory runs everywhere.


def _file(path: StrPath, flags: int) -> Callable[[], File]:
    from tinywasm.wasi.host import HostFile

    HostFile.open(path, flags).close()
    return lambda: HostFile.open(path, flags & ~os.O_TRUNC)


def _output_file(path: StrPath) -> Callable[[], File]:
    return _file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


def _inherited(fd: int) -> Callable[[], File]:
    from tinywasm.wasi.host import HostFile

    return lambda: HostFile(fd, owned=False)
