"""Runs the modules of `generator_shapes` on wasmtime, and compares with the native engine.

Results are compared as numbers, bit for bit, by the functions that give them so; traps by their kind. One
difference is allowed: wasmtime looks at the bounds of `array.copy`'s first array before it looks whether the
second is null; section 4.4.5.17 has it the other way round.
"""

from __future__ import annotations

import zlib
from typing import Any

import wasmtime

from fuzz.generator_shapes import Shapes, generate
from fuzz.shape_runs import Run, Way, load
from fuzz.shape_types import PARAMS, op
from fuzz.wasmtime_oracle import ENGINE, our_kind, their_kind
from tinywasm import binary
from tinywasm.errors import Trap, TrapCode, WasmException
from tinywasm.instantiation import invoke
from tinywasm.module import Module
from tinywasm.types import I32, I64, FuncType, ValType


def _signed(type: ValType, value: Any) -> Any:
    """A raw number as wasmtime gives and takes it: integers signed."""
    bits = 32 if type is I32 else 64 if type is I64 else 0
    return value - (1 << bits) if bits and value >> (bits - 1) else value


# A null array in `array.copy`, whose bounds may be wrong as well.
_ORDER = (TrapCode.NULL_REFERENCE, TrapCode.ARRAY_OUT_OF_BOUNDS)
_COPY = op("array.copy")


def _at_copy(shapes: Shapes, trap: Trap) -> bool:
    """Whether a null reference was found by `array.copy`."""
    if trap.code is not TrapCode.NULL_REFERENCE:
        return False
    frame = trap.frames[0]
    # The imported function has no body.
    code = shapes.module.functions[frame.func_index - 1].body.bytes
    return code[frame.module_offset :].startswith(_COPY)


def _run_ours(shapes: Shapes, module: Module) -> tuple[list[Any], list[int]]:
    run = Run(shapes, module, Way("native"))
    outcomes: list[Any] = []
    first = shapes.first + shapes.count
    for func in run.instance.funcs[first : first + shapes.count]:
        assert isinstance(func.type.composite, FuncType)
        types = func.type.composite.results
        for args in shapes.calls:
            try:
                values = invoke(run.store, func, args)
                outcomes.append([_signed(*each) for each in zip(types, values, strict=True)])
            except Trap as trap:
                outcomes.append(_ORDER if _at_copy(shapes, trap) else our_kind(trap))
            except WasmException as thrown:
                outcomes.append(our_kind(thrown))
    return outcomes, run.memories()


def _run_theirs(shapes: Shapes) -> tuple[list[Any], list[int]]:
    store = wasmtime.Store(ENGINE)
    store.set_limits(memory_size=4 << 16, table_elements=100)
    compiled = wasmtime.Module(ENGINE, binary.encode(shapes.module))
    word = wasmtime.ValType.i32()
    same = wasmtime.Func(store, wasmtime.FuncType([word], [word]), lambda number: number)
    exports: Any = wasmtime.Instance(store, compiled, [same]).exports(store)
    outcomes: list[Any] = []
    for number in range(shapes.count):
        func = exports[f"w{number}"]
        for args in shapes.calls:
            try:
                result = func(store, *map(_signed, PARAMS, args))
                outcomes.append(result if isinstance(result, list) else [] if result is None else [result])
            except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
                outcomes.append(their_kind(error))
    memories = [zlib.crc32(exports[name].read(store)) for name in shapes.exported["memory"]]
    return outcomes, memories


def check(seed: int) -> int:
    """Compare the module of a seed; how many functions it has.

    Raises `AssertionError` where one differs.
    """
    shapes = generate(seed, foreign=True, far=False)
    module = load(shapes)
    ours, theirs = _run_ours(shapes, module), _run_theirs(shapes)
    for number, (one, other) in enumerate(zip(ours[0], theirs[0], strict=True)):
        name, args = number // len(shapes.calls), shapes.calls[number % len(shapes.calls)]
        same = other in one if one is _ORDER else one == other
        assert same, f"generate({seed}, foreign=True): w{name}{args}\n  {one}\n  {other}"
    assert ours[1] == theirs[1], f"generate({seed}, foreign=True): memories"
    return shapes.count
