"""WASI preview 1: a program's files, streams, clocks and arguments, and nothing beyond them.

`WasiConfig` says what a program is given and `run_command` runs it; `MODULE` is what it imports from.
`Wasi` and `WasiImports` are for those who link by hand.
"""

from tinywasm.wasi.abi import MODULE, WasiError
from tinywasm.wasi.command import run_command
from tinywasm.wasi.tree import MemoryFile, MemoryTree
from tinywasm.wasi.wasi_config import WasiConfig
from tinywasm.wasi.world import Wasi, WasiImports

__all__ = [
    "MODULE",
    "MemoryFile",
    "MemoryTree",
    "Wasi",
    "WasiConfig",
    "WasiError",
    "WasiImports",
    "run_command",
]
