"""The native engine: register code in a compiled dispatch loop (`_loop`).

It can run where the extension is built and fits this instruction table.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from tinywasm.engine.interface import Ahead, Backend, Implementation, Keeper
from tinywasm.engine.native.digest import DIGEST
from tinywasm.extensions import STALE, is_stale
from tinywasm.loading import loading
from tinywasm.runtime.store import Store


def _load() -> Callable[[Store], Backend]:
    from tinywasm.engine.native.backend import NativeBackend

    return NativeBackend


def _keeper() -> Keeper:
    from tinywasm.engine.native import kept

    return kept


def _ahead() -> Ahead:
    from tinywasm.engine.native import ahead

    return ahead


def _compiler() -> str:
    with loading:
        from tinywasm.engine.llvm.machine import version

        return version()


def _implementation() -> Implementation:
    if is_stale("tinywasm.engine.native._loop"):
        return Implementation("native", _load, STALE)
    try:
        _loop = importlib.import_module("tinywasm.engine.native._loop")
    except ModuleNotFoundError:
        return Implementation("native", _load, "the extension was not built")
    except ImportError as error:
        return Implementation("native", _load, f"the extension does not load: {error}")
    # Installed, it has no sources beside it.
    if _loop.TABLE_DIGEST != DIGEST:
        return Implementation("native", _load, STALE)
    tiers = ("interpreter", "auto", "compiled")
    return Implementation(
        "native",
        _load,
        exporter=_loop.Buffered,
        keeper=_keeper,
        tiers=tiers,
        compiler=_compiler,
        ahead=_ahead,
    )


IMPLEMENTATION = _implementation()
