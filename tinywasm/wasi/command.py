"""Run a WASI command: instantiate, call `_start`, tell the exit status."""

from __future__ import annotations

from tinywasm.errors import ExitTrap, LinkError
from tinywasm.instantiation import Namespace, instantiate, invoke
from tinywasm.module import Module
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.store import Store
from tinywasm.wasi.wasi_config import WasiConfig
from tinywasm.wasi.world import Wasi

_START = "_start"


def run_command(
    module: Module, wasi: WasiConfig, *, store: Store | None = None, imports: Namespace | None = None
) -> int:
    """Run a program to its end and return its exit status, 0 to 2**32 - 1.

    `store` carries fuel and interruption, `imports` what the module wants besides WASI. Raises
    `LinkError` for a module that is no command (it must export `_start`), `Trap` where it ends
    abnormally, `OSError` where its files cannot be opened.
    """
    store = store or Store(module.engine)
    with Wasi(wasi) as world:
        linked = world.imports()
        try:
            namespace = {**(imports or {}), **linked.namespace}
            instance = instantiate(store, module, namespace, linked.bind)
            start = instance.exports.get(_START)
            if not isinstance(start, FuncInstance) or start.params or start.results:
                raise LinkError(
                    f"the module is not a WASI command: it exports no function {_START} without parameters"
                )
            invoke(store, start, [])
        except ExitTrap as exit:
            return exit.exit_code
    return 0
