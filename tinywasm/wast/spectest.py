"""The module `spectest` that scripts import: what the reference interpreter's host offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tinywasm.engine import Backend
from tinywasm.numerics.floats import f32_round
from tinywasm.runtime.func import FuncInstance, host_function
from tinywasm.runtime.storage import Extern
from tinywasm.types import (
    F32,
    F64,
    FUNCREF,
    I32,
    I64,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    TableType,
    ValType,
)
from tinywasm.wast.result_patterns import Value

_PRINTERS: dict[str, tuple[ValType, ...]] = {
    "print": (),
    "print_i32": (I32,),
    "print_i64": (I64,),
    "print_f32": (F32,),
    "print_f64": (F64,),
    "print_i32_f32": (I32, F32),
    "print_f64_f64": (F64, F64),
}


def spectest(backend: Backend, output: Callable[[str], None]) -> Mapping[str, Extern]:
    """A fresh `spectest`: its functions hand a line for each value they print to `output`."""
    return {
        **{name: _printer(params, output) for name, params in _PRINTERS.items()},
        "global_i32": backend.glob(GlobalType(I32), 666),
        "global_i64": backend.glob(GlobalType(I64), 666),
        "global_f32": backend.glob(GlobalType(F32), f32_round(666.6)),
        "global_f64": backend.glob(GlobalType(F64), 666.6),
        "table": backend.table(TableType(FUNCREF, Limits(10, 20)), None),
        "table64": backend.table(TableType(FUNCREF, Limits(10, 20), I64), None),
        "memory": backend.memory(MemoryType(Limits(1, 2))),
    }


def _printer(params: tuple[ValType, ...], output: Callable[[str], None]) -> FuncInstance:
    def show(*raw: Any) -> tuple[Any, ...]:
        for type, value in zip(params, raw, strict=True):
            output(str(Value(type, value)))
        return ()

    return host_function(FuncType(params), show)
