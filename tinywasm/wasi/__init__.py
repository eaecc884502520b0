"""WASI preview 1: a program's files, streams, clocks and arguments, and nothing beyond them.

`WasiConfig` says what a program is given and `run_command` runs it. `Wasi` and `WasiImports` are for
who links by hand.
"""

from tinywasm.wasi.command import run_command
from tinywasm.wasi.config import WasiConfig
from tinywasm.wasi.tree import MemoryTree
from tinywasm.wasi.world import Wasi, WasiImports

__all__ = ["MemoryTree", "Wasi", "WasiConfig", "WasiImports", "run_command"]
