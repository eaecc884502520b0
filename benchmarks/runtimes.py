"""How each runtime that Python can import loads a module and finds its functions."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

# The packages come without types, and none of them has to be there: they are imported by name.
Functions = Callable[[str], Callable[..., Any]]
Loader = Callable[[bytes, bool], Functions]

# More than any kernel needs, in bytes: wasm3 allocates its stack up front.
WASM3_STACK = 1 << 20


def _nothing(*_: Any) -> None:
    return None


def _add(a: int, b: int) -> int:
    return a + b


def load_tinywasm(data: bytes, host: bool, fuel: bool = False, tier: str = "interpreter") -> Functions:
    tinywasm: Any = import_module("tinywasm")
    store = tinywasm.Store(tinywasm.Engine(tinywasm.Config(consume_fuel=fuel, tier=tier)))
    if fuel:
        store.set_fuel(1 << 62)
    imports = {"host": {"nothing": _nothing, "add": _add}} if host else {}
    exports = tinywasm.instantiate(data, imports, store=store).exports
    return lambda name: exports[name]


def load_pywasm(data: bytes, host: bool) -> Functions:
    core: Any = import_module("pywasm.core")
    io: Any = import_module("io")
    runtime = core.Runtime()
    if host:
        i32 = core.ValType.i32()
        runtime.imports["host"] = {
            "nothing": runtime.allocate_func_host(core.FuncType([], []), lambda machine, args: []),
            "add": runtime.allocate_func_host(
                core.FuncType([i32, i32], [i32]), lambda machine, args: [args[0] + args[1]]
            ),
        }
    instance = runtime.instance(core.ModuleDesc.from_reader(io.BytesIO(data)))

    def function(name: str) -> Callable[..., Any]:
        def call(*args: int) -> Any:
            results = runtime.invocate(instance, name, list(args))
            return results[0] if results else None

        return call

    return function


def load_pwasm(data: bytes, host: bool) -> Functions:
    pwasm: Any = import_module("pwasm")
    imports = {"host": {"nothing": _nothing, "add": _add}} if host else {}
    exports = pwasm.instantiate(pwasm.decode_module(data), imports, mode="compile").exports
    return lambda name: getattr(exports, name)


def load_pywasm3(data: bytes, host: bool) -> Functions:
    wasm3: Any = import_module("wasm3")
    environment = wasm3.Environment()
    runtime = environment.new_runtime(WASM3_STACK)
    module = environment.parse_module(data)
    runtime.load(module)
    if host:
        module.link_function("host", "nothing", "v()", _nothing)
        module.link_function("host", "add", "i(ii)", _add)
    # The runtime has to outlive its functions.
    return lambda name, kept=(environment, runtime): kept[1].find_function(name)  # type: ignore[misc]


def load_wasmtime(data: bytes, host: bool) -> Functions:
    wasmtime: Any = import_module("wasmtime")
    store = wasmtime.Store()
    imports = []
    if host:
        i32 = wasmtime.ValType.i32()
        imports = [
            wasmtime.Func(store, wasmtime.FuncType([], []), _nothing),
            wasmtime.Func(store, wasmtime.FuncType([i32, i32], [i32]), _add),
        ]
    module = wasmtime.Module(store.engine, data)
    exports = wasmtime.Instance(store, module, imports).exports(store)
    return lambda name: partial(exports[name], store)


LOADERS: dict[str, Loader] = {
    "tinywasm": load_tinywasm,
    "tinywasm+fuel": partial(load_tinywasm, fuel=True),
    "tinywasm+auto": partial(load_tinywasm, tier="auto"),
    "tinywasm+compiled": partial(load_tinywasm, tier="compiled"),
    "pywasm": load_pywasm,
    "pwasm": load_pwasm,
    "pywasm3": load_pywasm3,
    "wasmtime-py": load_wasmtime,
}


def machine_code() -> int | None:
    """How many bytes of it the tier "auto" has made in this process; None while it makes more."""
    background: Any = import_module("tinywasm.engine.llvm.background")
    loop: Any = import_module("tinywasm.engine.native._loop")
    size: int = loop.machine_bytes()
    return None if background.busy() else size


# What compiles while it runs, and what tells how far it is.
GROWING: dict[str, Callable[[], int | None]] = {"tinywasm+auto": machine_code}


def tinywasm_environment(engine: str) -> dict[str, str]:
    """The environment of a process that runs tinywasm on this engine."""
    return {**os.environ, "TINYWASM_ENGINE": engine}
