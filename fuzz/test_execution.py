"""Valid mutants run to a result or an error of ours, the same one on each engine."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import assume, given

from fuzz.profiles import acceptance_cases
from fuzz.structure import changed_modules
from tinywasm import Config, Engine, Module, Store, WasmError
from tinywasm.binary import decode
from tinywasm.engine import backend, native_available
from tinywasm.instantiation import instantiate, invoke
from tinywasm.instructions import Feature
from tinywasm.runtime.func import FuncInstance
from tinywasm.types import RefType, ValType
from tinywasm.wast.spectest import spectest

_FUEL = 20_000
_DEPTH = 100
# So many locals in a frame fit both engines' stacks at that depth, which differ in size: 2**24 values of the
# python engine, 2**23 slots of the native one, where a vector takes two.
_MOST_LOCALS = (1 << 22) // _DEPTH


def engine_of(name: str) -> Engine:
    """An engine with what the corpus needs, and with bounds on what a mutant may take."""
    return Engine(
        Config(
            engine=name,
            wide_arithmetic=True,
            custom_page_sizes=True,
            consume_fuel=True,
            max_call_depth=_DEPTH,
            max_memory_pages=256,
            max_table_elements=100_000,
        )
    )


def _argument(type: ValType, number: int) -> Any:
    if isinstance(type, RefType):
        return None
    return {"i32": number, "i64": number, "v128": bytes(16)}.get(str(type), float(number))


def _shown(value: Any) -> str:
    """A result as both engines must give it; of references, whether there is one."""
    if isinstance(value, float):
        return struct.pack("<d", value).hex()
    return repr(value) if isinstance(value, int | bytes | None) else "reference"


def outcomes(name: str, data: bytes, load: Callable[[Engine, bytes], Module] = Module) -> Iterator[str]:
    """What instantiation and each exported function end with, and the fuel that is left."""
    store = Store(engine_of(name))
    store.set_fuel(_FUEL)
    try:
        module = load(store.engine, data)
        instance = instantiate(store, module, {"spectest": spectest(backend(store), lambda line: None)})
    except WasmError as error:
        yield f"{type(error).__name__}: {error.message}"
        return
    for export, func in instance.exports.items():
        if isinstance(func, FuncInstance) and not any(map(_needs_object, func.signature.params)):
            for number in (0, 1, 7):
                yield f"{export}({number}): {_call(store, func, number)}"


def _needs_object(type: ValType) -> bool:
    return isinstance(type, RefType) and not type.nullable


def _call(store: Store, func: FuncInstance, number: int) -> str:
    store.set_fuel(_FUEL)
    try:
        results = invoke(store, func, [_argument(type, number) for type in func.signature.params])
    except WasmError as error:
        return f"{type(error).__name__}: {error.message}, {store.get_fuel()} left"
    return f"{' '.join(map(_shown, results))}, {store.get_fuel()} left"


@acceptance_cases
@given(changed_modules())
def test_mutants_run(data: bytes) -> None:
    list(outcomes("python", data))


@pytest.mark.skipif(not native_available, reason="the native engine is not built")
@acceptance_cases
@given(changed_modules())
def test_engines_agree(data: bytes) -> None:
    """All but modules with a function of which one engine holds fewer activations than the depth allows."""
    expected = list(outcomes("python", data))
    assume(expected)
    assume(_locals(data) <= _MOST_LOCALS)
    assert list(outcomes("native", data)) == expected


def _locals(data: bytes) -> int:
    """The most that a function of the module has, parameters not counted."""
    try:
        module = decode(data, frozenset(Feature))
    except WasmError:
        return 0
    return max((sum(count for count, _ in each.locals) for each in module.functions), default=0)
