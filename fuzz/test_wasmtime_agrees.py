"""wasmtime's compiler, as an independent judge, does the same with generated modules as the native engine.

Only functions of scalar parameters and results are called, since wasmtime's Python interface has no other
values for us; what they do inside reaches the rest, and memories are compared at the end. Fuel, messages
and backtraces are wasmtime's own. NaNs are equal to each other: their bits do not survive the interface.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given

import tinywasm
from fuzz.engines import config_of, raw_value
from fuzz.generator import BUDGET, Generated, generated_modules
from fuzz.profiles import oracle_cases
from tinywasm.errors import Trap, WasmException
from tinywasm.types import F32, F64, I32, I64, ValType

pytest.importorskip("wasmtime", reason="wasmtime has no wheel for every system")
import wasmtime

from fuzz.wasmtime_oracle import ENGINE, our_kind, their_kind

_SCALARS = {I32, I64, F32, F64}


def _scalar(generated: Generated, index: int) -> bool:
    env = generated.env
    signature = env.signature(env.funcs[index])
    return _SCALARS.issuperset(signature.params) and _SCALARS.issuperset(signature.results)


def _signed(type: ValType, value: Any) -> Any:
    """A raw number as wasmtime gives and takes it: integers signed."""
    if type not in (I32, I64):
        return value
    bits = 32 if type is I32 else 64
    return value - (1 << bits) if value >> (bits - 1) else value


def _plain(value: Any) -> Any:
    """A number to be compared: any NaN is None."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _args(generated: Generated, index: int, rng: Random) -> list[Any]:
    """Numbers, signed, that survive the interface: no NaN."""
    found = []
    for type in generated.env.params(generated.env.funcs[index]):
        value = _signed(type, raw_value(generated.env, rng, type))
        found.append(1.5 if value != value else value)
    return found


def _host(generated: Generated, index: int) -> Callable[..., Any]:
    """The host function for either interface."""
    plan = generated.hosts[index]
    rng = Random(plan.seed)

    def call(*args: Any) -> Any:
        types = generated.env.results(plan.type)
        raw = [_signed(type, raw_value(generated.env, rng, type)) for type in types]
        values = [1.5 if value != value else value for value in raw]
        return values if len(values) > 1 else values[0] if values else None

    return call


def _results(generated: Generated, type: int, result: Any) -> list[Any]:
    """What a call gave, as a list."""
    count = len(generated.env.results(type))
    return [_plain(value) for value in (result if count > 1 else [result] * count)]


def _run_ours(generated: Generated) -> tuple[list[Any], list[bytes]]:
    """Through the public interface, whose calls take a way of their own where all are numbers."""
    config = dataclasses.replace(config_of(generated, "auto", metered=False), max_call_depth=1000)
    store = tinywasm.Store(tinywasm.Engine(config))
    env = generated.env
    hosts = {str(index): _host(generated, index) for index in range(len(generated.hosts))}
    outcomes: list[Any] = []
    try:
        exports: Any = tinywasm.instantiate(generated.data, {"h": hosts}, store=store).exports
    except (Trap, WasmException) as error:
        return [our_kind(error)], []
    rng = Random(generated.seed)
    for index, type in enumerate(env.funcs):
        if not _scalar(generated, index):
            continue
        exports["budget"].set_value(store, BUDGET)
        try:
            result = exports[f"f{index}"](*_args(generated, index, rng))
            outcomes.append(_results(generated, type, result))
        except (Trap, WasmException) as error:
            outcomes.append(our_kind(error))
    return outcomes, [bytes(exports[f"m{i}"].read(store)) for i in range(len(env.memories))]


def _run_theirs(generated: Generated) -> tuple[list[Any], list[bytes]]:
    store = wasmtime.Store(ENGINE)
    store.set_limits(memory_size=6 << 16, table_elements=24)
    module = wasmtime.Module(ENGINE, generated.data)
    env = generated.env
    imports = []
    for index, theirs in enumerate(module.imports):
        assert isinstance(theirs.type, wasmtime.FuncType)
        imports.append(wasmtime.Func(store, theirs.type, _host(generated, index)))
    outcomes: list[Any] = []
    try:
        exports: Any = wasmtime.Instance(store, module, imports).exports(store)
    except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
        return [their_kind(error)], []
    rng = Random(generated.seed)
    for index, type in enumerate(env.funcs):
        if not _scalar(generated, index):
            continue
        exports["budget"].set_value(store, BUDGET)
        try:
            result = exports[f"f{index}"](store, *_args(generated, index, rng))
            outcomes.append(_results(generated, type, result))
        except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
            outcomes.append(their_kind(error))
    return outcomes, [bytes(exports[f"m{i}"].read(store)) for i in range(len(env.memories))]


@oracle_cases
@given(generated_modules(foreign=True))
def test_wasmtime_agrees(generated: Generated) -> None:
    ours, theirs = _run_ours(generated), _run_theirs(generated)
    assert ours[0] == theirs[0], f"generate({generated.seed}, foreign=True): calls\n{ours[0]}\n{theirs[0]}"
    for index, (left, right) in enumerate(zip(ours[1], theirs[1], strict=True)):
        assert left == right, f"generate({generated.seed}, foreign=True): memory {index}"
