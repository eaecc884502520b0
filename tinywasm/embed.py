"""The short way to run a module from Python: `instantiate`, and exports called as Python functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinywasm import instance as linking
from tinywasm.config import Engine
from tinywasm.errors import LinkError
from tinywasm.instance import Module
from tinywasm.numerics.floats import f32_round
from tinywasm.runtime.func import FuncInstance, host_function
from tinywasm.runtime.module import Extern, ModuleInstance
from tinywasm.runtime.store import Store
from tinywasm.types import F32, F64, I32, I64, V128, DefinedType, FuncType, ValType

Imports = Mapping[str, Mapping[str, Any]]


def to_raw(type: ValType, value: Any) -> Any:
    """The engine's representation of a Python value.

    Integers may be given signed or unsigned. Raises `TypeError` for a value of another kind and
    `OverflowError` for an integer out of the type's range.
    """
    if type in (I32, I64):
        return _to_integer(type, value)
    if type in (F32, F64):
        number = float(value)
        return f32_round(number) if type is F32 else number
    if type is V128:
        if not isinstance(value, bytes | bytearray) or len(value) != 16:
            raise TypeError("a v128 is given as 16 bytes")
        return bytes(value)
    return value.instance if isinstance(value, Func) else value


def _to_integer(type: ValType, value: Any) -> int:
    bits = 32 if type is I32 else 64
    if not hasattr(value, "__index__"):
        raise TypeError(f"{type} takes an integer, not {value!r}")
    number = value.__index__()
    if not -(1 << (bits - 1)) <= number < 1 << bits:
        raise OverflowError(f"{number} is out of range for {type}")
    result: int = number & ((1 << bits) - 1)
    return result


def from_raw(store: Store, type: ValType, value: Any) -> Any:
    """The Python value of an engine's value: integers signed, functions callable."""
    if type is I32:
        return value - (1 << 32) if value >> 31 else value
    if type is I64:
        return value - (1 << 64) if value >> 63 else value
    return Func(store, value) if isinstance(value, FuncInstance) else value


class Func:
    """A function of a store, callable with Python values.

    A call returns None, the one result, or a list of several. It raises `TypeError` for a wrong
    number or kind of arguments, `OverflowError` for an integer out of range, and `Trap`.
    """

    def __init__(self, store: Store, instance: FuncInstance) -> None:
        self.store = store
        self.instance = instance

    @property
    def type(self) -> FuncType:
        return self.instance.signature

    def __call__(self, *args: Any) -> Any:
        signature = self.instance.signature
        if len(args) != len(signature.params):
            raise TypeError(
                f"the function takes {len(signature.params)} arguments, not {len(args)}: {signature}"
            )
        raw = [to_raw(type, value) for type, value in zip(signature.params, args, strict=True)]
        results = linking.invoke(self.store, self.instance, raw)
        values = [
            from_raw(self.store, type, value) for type, value in zip(signature.results, results, strict=True)
        ]
        return values if len(values) > 1 else values[0] if values else None


class Exports(Mapping[str, Any]):
    """An instance's exports, by item or as attributes; functions come as `Func`."""

    def __init__(self, instance: ModuleInstance) -> None:
        self._instance = instance

    def __getitem__(self, name: str) -> Any:
        extern = self._instance.exports[name]
        return Func(self._instance.store, extern) if isinstance(extern, FuncInstance) else extern

    def __getattr__(self, name: str) -> Any:
        if name not in self._instance.exports:
            raise AttributeError(f"the module exports no {name!r}; it exports {', '.join(self) or 'nothing'}")
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._instance.exports)

    def __len__(self) -> int:
        return len(self._instance.exports)


class Instance:
    """An instantiated module."""

    def __init__(self, module: Module, instance: ModuleInstance) -> None:
        self.module = module
        self.store = instance.store
        self.exports = Exports(instance)


def load(engine: Engine, source: str | bytes | Path) -> Module:
    """A module from a path, bytes, or text: a `str` that begins with `(` or `;` is text.

    Raises `OSError` for a file that cannot be read, and as `Module`.
    """
    if isinstance(source, str) and not source.lstrip().startswith(("(", ";")):
        source = Path(source)
    if isinstance(source, Path):
        return Module.from_file(engine, source)
    return Module(engine, source)


def instantiate(
    source: str | bytes | Path, imports: Imports | None = None, *, store: Store | None = None
) -> Instance:
    """Load, validate and instantiate a module in one step.

    `source` is a path, the bytes of a binary module, or WebAssembly text. `imports` maps module and
    field names to Python callables, whose types come from the module, or to exports of other
    instances. Raises `WasmError` of the phase that failed.
    """
    store = store or Store()
    module = load(store.engine, source)
    namespace = _namespace(store, module, imports or {})
    return Instance(module, linking.instantiate(store, module, namespace))


def _namespace(store: Store, module: Module, imports: Imports) -> dict[str, dict[str, Extern]]:
    namespace: dict[str, dict[str, Extern]] = {}
    for imp, wanted in zip(module.syntax.imports, linking.import_types(module), strict=True):
        value = imports.get(imp.module, {}).get(imp.name)
        if value is not None:
            namespace.setdefault(imp.module, {})[imp.name] = _extern(store, value, wanted)
    return namespace


def _extern(store: Store, value: Any, wanted: Any) -> Extern:
    if isinstance(value, Func):
        return value.instance
    if callable(value):
        if not isinstance(wanted, DefinedType):
            raise LinkError(f"incompatible import type: a Python callable was given for {wanted}")
        assert isinstance(wanted.composite, FuncType)
        return host_function(wanted.composite, _adapter(store, value, wanted.composite))
    extern: Extern = value
    return extern


def _adapter(store: Store, function: Callable[..., Any], type: FuncType) -> Callable[..., Sequence[Any]]:
    """A raw host function around a Python callable."""

    def host(*raw: Any) -> Sequence[Any]:
        args = [from_raw(store, param, value) for param, value in zip(type.params, raw, strict=True)]
        result = function(*args)
        if not type.results:
            return ()
        values = [result] if len(type.results) == 1 else list(result)
        if len(values) != len(type.results):
            raise TypeError(f"the host function should return {len(type.results)} values: {type}")
        return [to_raw(result_type, value) for result_type, value in zip(type.results, values, strict=True)]

    return host
