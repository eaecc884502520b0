"""Engines: what runs validated code. `backend` gives a store the one that its configuration asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tinywasm.config import Config, Engine
from tinywasm.engine.native import native_available, unavailable_because
from tinywasm.engine.python import PythonBackend
from tinywasm.module import DecodedModule, Expr
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.module import ModuleInstance
from tinywasm.runtime.store import Store
from tinywasm.types import GlobalType, MemoryType, TableType, TagType, ValType
from tinywasm.validation import Context

__all__ = ["Backend", "Config", "Engine", "backend", "native_available"]


class Backend(Protocol):
    """What an engine does for one store: it makes the store's runtime objects and runs its functions.

    Values are raw (see `runtime`). Objects that one backend made are used with that store only.
    """

    native: Any
    """The compiled loop's side of the store, or None on the python engine."""

    def memory(self, type: MemoryType) -> Any: ...

    def table(self, type: TableType, init: Any) -> Any: ...

    def glob(self, type: GlobalType, value: Any) -> Any: ...

    def tag(self, type: TagType) -> Any: ...

    def instance(self, syntax: DecodedModule, context: Context) -> ModuleInstance:
        """An instance with its types and nothing else yet."""

    def constant(self, instance: ModuleInstance, expr: Expr, type: ValType) -> Any:
        """The value of a constant expression of closed type `type`."""

    def call(
        self, func: FuncInstance, args: Sequence[Any], caller: ModuleInstance | None = None
    ) -> list[Any]:
        """Call a function, for `caller` where it is a start function.

        Raises `Trap`, `WasmException` for an uncaught throw, what a host raises, and
        `WasmError` while another thread's call is under way, or a later one in another greenlet.
        """

    def caller(self) -> ModuleInstance | None:
        """The instance whose code calls the host function under way, asked when that begins."""

    def collect(self) -> None:
        """Free unreachable Wasm objects now."""

    def guard(self) -> None:
        """Raises `WasmError` while another thread's call is under way."""

    def want_poll(self) -> None:
        """Have code that runs call `Store.poll` soon; what begins to run does it first. From any thread."""


def backend(store: Store) -> Backend:
    """The store's backend. Raises `ValueError` for an unknown engine, or a native one that is not built."""
    if store.backend is None:
        made = _choose(store.engine.config.engine)(store)
        # In one step: another thread, or a signal handler, may have made one meanwhile.
        store.limits.native = vars(store).setdefault("backend", made).native
    chosen: Backend = store.backend
    return chosen


def _choose(name: str) -> Any:
    if name not in ("auto", "python", "native"):
        raise ValueError(f'unknown engine "{name}": use "auto", "python" or "native"')
    if name == "python" or (name == "auto" and not native_available):
        return PythonBackend
    if not native_available:
        raise ValueError(f"the native engine is not available: {unavailable_because}")
    from tinywasm.engine.native.backend import NativeBackend

    return NativeBackend
