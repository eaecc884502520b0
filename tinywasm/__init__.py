"""A WebAssembly runtime in Python."""

from tinywasm.config import Config, Engine
from tinywasm.embed import Exports, Func, Instance, instantiate
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
from tinywasm.instance import Module
from tinywasm.runtime.store import Store
from tinywasm.types import FuncType, GlobalType, Limits, MemoryType, TableType, ValType

__all__ = [
    "Config",
    "DecodeError",
    "Engine",
    "ExitTrap",
    "Exports",
    "Frame",
    "Func",
    "FuncType",
    "GlobalType",
    "Instance",
    "Interrupted",
    "Limits",
    "LinkError",
    "MemoryType",
    "Module",
    "OutOfFuel",
    "ParseError",
    "StackExhausted",
    "Store",
    "TableType",
    "Trap",
    "TrapCode",
    "ValType",
    "ValidationError",
    "WasmError",
    "WasmException",
    "instantiate",
]
