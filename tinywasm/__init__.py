"""A WebAssembly runtime in Python."""

from typing import TYPE_CHECKING, Any

from tinywasm.api.externs import Global, Memory, Table, Tag
from tinywasm.api.func import BoundFunc, Caller, Func
from tinywasm.api.instance import Exports, Instance
from tinywasm.api.linker import Linker
from tinywasm.api.values import Val
from tinywasm.config import Config, Engine
from tinywasm.embed import instantiate
from tinywasm.engine import native_available
from tinywasm.errors import (
    DecodeError,
    ExitTrap,
    Frame,
    Interrupted,
    LinkError,
    OutOfFuel,
    ParseError,
    StackExhausted,
    Trap,
    TrapCode,
    ValidationError,
    WasmError,
    WasmException,
)
from tinywasm.loading import loading
from tinywasm.module import Module, wat2wasm
from tinywasm.runtime.store import Store
from tinywasm.types import (
    ExportType,
    FuncType,
    GlobalType,
    ImportType,
    Limits,
    MemoryType,
    TableType,
    TagType,
    ValType,
)
from tinywasm.version import VERSION as __version__

if TYPE_CHECKING:
    from tinywasm.wasi import MemoryTree, WasiConfig

# What wasmtime-py calls it.
WasmtimeError = WasmError

__all__ = [
    "BoundFunc",
    "Caller",
    "Config",
    "DecodeError",
    "Engine",
    "ExitTrap",
    "ExportType",
    "Exports",
    "Frame",
    "Func",
    "FuncType",
    "Global",
    "GlobalType",
    "ImportType",
    "Instance",
    "Interrupted",
    "Limits",
    "LinkError",
    "Linker",
    "Memory",
    "MemoryTree",
    "MemoryType",
    "Module",
    "OutOfFuel",
    "ParseError",
    "StackExhausted",
    "Store",
    "Table",
    "TableType",
    "Tag",
    "TagType",
    "Trap",
    "TrapCode",
    "Val",
    "ValType",
    "ValidationError",
    "WasiConfig",
    "WasmError",
    "WasmException",
    "WasmtimeError",
    "__version__",
    "instantiate",
    "native_available",
    "wat2wasm",
]


def __getattr__(name: str) -> Any:
    """What is loaded when it is first wanted: most modules are no WASI programs."""
    if name not in ("MemoryTree", "WasiConfig"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with loading:
        from tinywasm import wasi
    found = globals()[name] = getattr(wasi, name)
    return found
