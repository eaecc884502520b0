"""The short way to run a module from Python: `instantiate`, and exports called as Python functions."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from tinywasm.api.externs import Global
from tinywasm.api.func import BoundFunc, Func, unwrap
from tinywasm.api.handles import Handle, store_of
from tinywasm.api.instance import Instance
from tinywasm.config import Engine
from tinywasm.errors import LinkError
from tinywasm.instantiation import instantiate_with
from tinywasm.module import Module, import_types
from tinywasm.runtime.storage import Extern
from tinywasm.runtime.store import Store
from tinywasm.types import ExternType, FuncType, GlobalType, ImportType

Source = str | bytes | bytearray | PathLike[str]
Imports = Mapping[str, Mapping[str, Any] | Instance]

_IMPORTS = "imports map module names to mappings or instances, as in {'env': {'log': print}}"


def load(engine: Engine, source: Source) -> Module:
    """A module from a path, bytes, or text: a `str` that begins with `(` or `;` is text.

    Raises `OSError` for a file that cannot be read, and as `Module`.
    """
    if isinstance(source, PathLike):
        return Module.from_file(engine, source)
    if isinstance(source, str) and not source.lstrip().startswith(("(", ";")):
        return Module.from_file(engine, source)
    return Module(engine, source)


def instantiate(source: Source, imports: Imports | None = None, *, store: Store | None = None) -> Instance:
    """Load, validate and instantiate a module in one step.

    `source` is a path, the bytes of a binary module, or WebAssembly text. `imports` maps the names of
    modules to instances, or to mappings from names to Python callables, whose types come from the
    module, to numbers for immutable globals, or to exports of other instances. `store` is by default
    that of the imports, else a new one. Raises `WasmError` of the phase that failed, and `OSError` for
    a file that cannot be read.
    """
    if imports is not None and not isinstance(imports, Mapping):
        raise TypeError(f"{_IMPORTS}, not {type(imports).__name__}")
    namespaces = {name: _namespace(name, space) for name, space in (imports or {}).items()}
    store = store_of(store) if store is not None else _store_of(namespaces) or Store()
    module = load(store.engine, source)
    externs = [
        _extern(store, namespaces, wanted, definition)
        for wanted, definition in zip(module.imports, import_types(module), strict=True)
    ]
    return Instance._of(module, instantiate_with(store, module, externs))


def _namespace(name: str, space: Mapping[str, Any] | Instance) -> Mapping[str, Any]:
    if isinstance(space, Instance):
        return space.exports
    if not isinstance(space, Mapping):
        raise TypeError(f"{_IMPORTS}; the imports of {name!r} are {type(space).__name__}")
    return space


def _store_of(namespaces: Mapping[str, Mapping[str, Any]]) -> Store | None:
    """The store of the first import that has one."""
    for space in namespaces.values():
        for item in space.values():
            if isinstance(item, BoundFunc):
                item = item.func
            if isinstance(item, Handle):
                return item._store
    return None


def _extern(
    store: Store, namespaces: Mapping[str, Mapping[str, Any]], wanted: ImportType, definition: ExternType
) -> Extern:
    place = f'"{wanted.module}" "{wanted.name}"'
    space = namespaces.get(wanted.module, {})
    if wanted.name not in space:
        raise LinkError(f"unknown import: {place} should be {_described(wanted)}")
    item = space[wanted.name]
    if isinstance(item, Handle | BoundFunc):
        raw: Extern = unwrap(store, item)
        return raw
    if callable(item) and isinstance(wanted.type, FuncType):
        item = Func(store, wanted.type, item)
        # The import's own definition, which may be open, or one of a recursive group.
        item._raw.type = definition
    elif isinstance(wanted.type, GlobalType) and not wanted.type.mutable and not callable(item):
        try:
            item = Global(store, wanted.type, item)
        except (TypeError, OverflowError) as error:
            raise LinkError(f"incompatible import type: {place}: {error}") from None
    else:
        given = "a Python callable" if callable(item) else f"{type(item).__name__} object"
        raise LinkError(f"incompatible import type: {place} should be {_described(wanted)}, not {given}")
    made: Extern = item._raw
    return made


def _described(wanted: ImportType) -> str:
    kind = type(wanted.type).__name__.removesuffix("Type").lower().replace("func", "function")
    return f"a {kind} {wanted.type}"
