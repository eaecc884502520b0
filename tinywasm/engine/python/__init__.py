"""The python engine, the reference: basic blocks of Python functions, run by a loop in Python."""

from __future__ import annotations

from collections.abc import Callable

from tinywasm.engine.interface import Backend, Implementation
from tinywasm.runtime.store import Store


def _load() -> Callable[[Store], Backend]:
    from tinywasm.engine.python.backend import PythonBackend

    return PythonBackend


IMPLEMENTATION = Implementation("python", _load)
