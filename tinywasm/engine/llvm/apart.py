"""LLVM in a process of its own, where there can be one.

So it keeps no lock that others wait for, neither the interpreter's nor llvmlite's; a process that ends or
forks need not wait for it; and what it takes of memory goes with it. `codegen.py` is its program.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec

from tinywasm.engine.llvm import codegen, machine
from tinywasm.engine.llvm.emit import Declined
from tinywasm.engine.native import processor

# For how many seconds whoever asks waits for the next part of an answer, while others wait behind.
_PATIENCE = 60.0


class _Process:
    """The process, and our end of what leads to it and back."""

    def __init__(self) -> None:
        spec = find_spec("llvmlite")
        if not sys.executable or getattr(sys, "frozen", False) or spec is None or spec.origin is None:
            raise OSError("nothing to start")
        folder = os.path.dirname(os.path.dirname(spec.origin))
        target = machine.target_of(processor.here())
        words = [sys.executable, "-I", "-S", codegen.__file__, folder, target.cpu, target.features]
        self._ours, theirs = socket.socketpair()
        try:
            silence = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
            files = [*((os.POSIX_SPAWN_DUP2, theirs.fileno(), number) for number in (0, 1)), silence]
            # In a group of its own: Ctrl-C is not for it.
            self.pid = os.posix_spawn(sys.executable, words, os.environ, file_actions=files, setpgroup=0)
        except OSError:
            self._ours.close()
            raise
        finally:
            theirs.close()
        self._ours.settimeout(_PATIENCE)
        self.worked = False

    def ask(self, text: str, effort: int) -> bytes:
        """An object file. Raises `Declined`, and `EOFError` or `OSError` where the process ended."""
        data = text.encode()
        self._ours.sendall(codegen.REQUEST.pack(effort, len(data)) + data)
        if not self.worked:
            # LLVM is there. What ends the process from now on may be what it was asked.
            self._answer()
            self.worked = True
        return self._answer()

    def _answer(self) -> bytes:
        made, size = codegen.ANSWER.unpack(self._read(codegen.ANSWER.size))
        answer = self._read(size)
        if not made:
            raise Declined(answer.decode())
        return answer

    def _read(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            part = self._ours.recv(size)
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def leave(self) -> None:
        """Have it end, whatever it does; who waits for an answer is told at once that there will be none."""
        with suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            # If somebody has waited for it, another process may have its number.
            if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        self.leave()
        self.forget()
        with suppress(OSError):
            os.waitpid(self.pid, 0)

    def forget(self) -> None:
        """Leave it to the process that this one was forked from."""
        self._ours.close()


_process: _Process | None = None
_possible = hasattr(os, "posix_spawn")
_ended = False
# Held by whoever has the process work. In the child of a fork the process is not there.
_lock = threading.Lock()


def start() -> None:
    """Have the process there when it is asked, which takes it some tenths of a second."""
    with _lock:
        _started()


def _started() -> _Process | None:
    global _process, _possible
    if _process is None and _possible and not _ended:
        try:
            _process = _Process()
        except OSError:
            _possible = False
    return _process


def object_code(text: str, effort: int) -> bytes:
    """An object file of a unit's text, made in this process where it can have no other. Raises `Declined`."""
    global _possible
    with _lock:
        # What is ended from outside is started again once, unless it has never worked.
        for _ in range(2):
            process = _started()
            if process is None:
                break
            try:
                return process.ask(text, effort)
            except TimeoutError:
                _rest()
                raise Declined("LLVM takes too long") from None
            except (OSError, EOFError):
                if _ended:
                    # Nobody waits for it.
                    break
                _possible = process.worked
                _rest()
    if _ended or _possible:
        raise Declined("LLVM was ended")
    return machine.object_code(text, effort)


def _rest() -> None:
    global _process
    if _process is not None:
        _process.end()
        _process = None


def rest() -> None:
    """End the process until it is asked again; for one that was ended for good, nobody waits."""
    with _lock:
        if not _ended:
            _rest()


def end() -> None:
    """End it for good, whatever it does at the moment."""
    global _ended
    _ended = True
    if _process is not None:
        _process.leave()


def _forked() -> None:
    global _process, _lock
    _lock = threading.Lock()
    process, _process = _process, None
    if process is not None:
        process.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
