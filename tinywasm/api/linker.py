"""`Linker`: imports by name."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinywasm.api.func import Func, unwrap
from tinywasm.api.handles import Handle, Storelike, store_of, wrap
from tinywasm.api.instance import Instance
from tinywasm.config import Engine
from tinywasm.errors import LinkError, Trap
from tinywasm.instantiation import instantiate_with
from tinywasm.loading import loading
from tinywasm.module import Module, import_types
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.store import Store
from tinywasm.types import DefinedType, FuncType, ImportType
from tinywasm.unique import Unique
from tinywasm.validation import check_own_type

if TYPE_CHECKING:
    from tinywasm.wasi import WasiImports

# Makes a definition's external value for a store, or raises `WasmError` where it belongs to another one.
_Definition = Callable[[Store], Handle]


class Linker(Unique):
    """Definitions by two names, and instantiation of modules that import them.

    `allow_shadowing`: whether a name may be defined again, False at first.
    """

    __slots__ = ("__weakref__", "_definitions", "_wasi", "allow_shadowing", "engine")

    def __init__(self, engine: Engine) -> None:
        if not isinstance(engine, Engine):
            raise TypeError(f"expected an Engine, not {engine!r}")
        self.engine = engine
        self.allow_shadowing = False
        self._definitions: dict[tuple[str, str], _Definition] = {}
        # The two names of each function of WASI, once they are defined.
        self._wasi: set[tuple[str, str]] = set()

    def define(self, store: Storelike, module: str, name: str, item: Any) -> None:
        """Define a `Func`, `Memory`, `Table`, `Global` or `Tag` of `store`.

        Raises `LinkError` where the name is taken and shadowing not allowed, `WasmError` where the item
        belongs to another store, `TypeError` for something else.
        """
        owner = store_of(store)
        handle = wrap(owner, unwrap(owner, item))
        self._define(module, name, lambda wanted: _checked(handle, wanted))

    def define_func(
        self, module: str, name: str, ty: FuncType, func: Callable[..., Any], access_caller: bool = False
    ) -> None:
        """Define a host function for any store; see `Func`. Raises as `define`."""
        check_own_type(ty, FuncType, self.engine.config.features)
        if not callable(func):
            raise TypeError(f"expected a callable, not {func!r}")
        self._define(module, name, lambda store: Func(store, ty, func, access_caller))

    def define_instance(self, store: Storelike, name: str, instance: Instance) -> None:
        """Define each export of an instance under the module name `name`. Raises as `define`."""
        if not isinstance(instance, Instance):
            raise TypeError(f"expected an Instance, not {instance!r}")
        for export, item in instance.exports(store).items():
            self.define(store, name, export, item)

    def define_wasi(self) -> None:
        """Define the functions of WASI preview 1, which work with what `Store.set_wasi` gave the store.

        Raises `LinkError` where one of their names is taken and shadowing not allowed.
        """
        with loading:
            from tinywasm.wasi import MODULE
            from tinywasm.wasi.registry import FUNCTIONS
        wasi = {(MODULE, name) for name in FUNCTIONS}
        for names in wasi:
            self._refuse_taken(*names)
            self._definitions.pop(names, None)
        self._wasi = wasi

    def define_module(self, store: Storelike, name: str, module: Module) -> None:
        """Define the exports of a module under the module name `name`, instantiating it as it expects.

        A WASI command, which exports `_start`, gets a new instance for every call of one of its
        functions, and defines nothing else; any other module gets one instance now, whose `_initialize`
        is called where it is exported. Raises as `instantiate` and `define`.
        """
        if not isinstance(module, Module):
            raise TypeError(f"expected a Module, not {module!r}")
        if any(export.name == "_start" for export in module.exports):
            for export in module.exports:
                if isinstance(export.type, FuncType):
                    self._define(name, export.name, self._fresh(module, export.name, export.type))
            return
        instance = self.instantiate(store, module)
        if "_initialize" in instance.exports:
            instance.exports["_initialize"]()
        self.define_instance(store, name, instance)

    def _fresh(self, module: Module, name: str, type: FuncType) -> _Definition:
        def define(store: Store) -> Func:
            def call(*args: Any) -> Any:
                return self.instantiate(store, module).exports[name](*args)

            return Func(store, type, call)

        return define

    def define_unknown_imports_as_traps(self, module: Module) -> None:
        """Define every function that `module` imports and nobody defined as one that traps when called."""
        if not isinstance(module, Module):
            raise TypeError(f"expected a Module, not {module!r}")
        for wanted, type in zip(module.imports, import_types(module), strict=True):
            if isinstance(type, DefinedType) and not self._defines(wanted.module, wanted.name):
                self._define(wanted.module, wanted.name, _trap(type, _unknown(wanted)))

    def instantiate(self, store: Storelike, module: Module) -> Instance:
        """Instantiate `module` with what is defined here.

        Raises `LinkError` for an import that is not defined or has another type, and as `Instance`.
        """
        if not isinstance(module, Module):
            raise TypeError(f"expected a Module, not {module!r}")
        owner = store_of(store)
        owner.guard()
        wasi = _wasi_imports(owner) if self._wants_wasi(module) else None
        externs = []
        for wanted in module.imports:
            found = self._definitions.get((wanted.module, wanted.name))
            if found is not None:
                externs.append(found(owner)._raw)
            elif wasi and (wanted.module, wanted.name) in self._wasi:
                externs.append(wasi.functions[wanted.name])
            else:
                raise LinkError(_unknown(wanted))
        instance = instantiate_with(owner, module, externs, wasi.bind if wasi else None)
        return Instance._of(module, instance)

    def _wants_wasi(self, module: Module) -> bool:
        modules = {module for module, _ in self._wasi}
        return any(wanted.module in modules for wanted in module.imports)

    def get(self, store: Storelike, module: str, name: str) -> Any:
        """What is defined by that name. Raises `LinkError` where nothing is."""
        found = self._definitions.get((module, name))
        if found is None:
            raise LinkError(f"`{module}::{name}` is not defined in the linker")
        return found(store_of(store))

    def get_default(self, store: Storelike, name: str) -> Func:
        """The function that is called to run a module of that name.

        It is the export with the empty name, else `_start`, else one that does nothing. Raises
        `LinkError` where that is not a function.
        """
        owner = store_of(store)
        for export in ("", "_start"):
            found = self._definitions.get((name, export))
            if found is not None:
                func = found(owner)
                if not isinstance(func, Func):
                    raise LinkError(f"`{name}::{export}` is not a function")
                return func
        return Func(owner, FuncType(), lambda: None)

    def _define(self, module: str, name: str, definition: _Definition) -> None:
        self._refuse_taken(module, name)
        self._definitions[module, name] = definition

    def _refuse_taken(self, module: str, name: str) -> None:
        if not self.allow_shadowing and self._defines(module, name):
            raise LinkError(f"import of `{module}::{name}` defined twice")

    def _defines(self, module: str, name: str) -> bool:
        return (module, name) in self._definitions or (module, name) in self._wasi


def _unknown(wanted: ImportType) -> str:
    return f"unknown import: `{wanted.module}::{wanted.name}` has not been defined"


def _wasi_imports(store: Store) -> WasiImports:
    """The functions for one more instance in the store, whose instances share the open files."""
    from tinywasm.wasi import Wasi, WasiConfig

    if store.wasi is None:
        raise LinkError("the module imports WASI: say what it is given with Store.set_wasi(WasiConfig())")
    if isinstance(store.wasi, WasiConfig):
        world = store.wasi = Wasi(store.wasi)
        weakref.finalize(store, world.close)
    if not isinstance(store.wasi, Wasi):
        raise TypeError(f"Store.set_wasi takes a WasiConfig, not {store.wasi!r}")
    return store.wasi.imports()


def _checked(handle: Handle, store: Store) -> Handle:
    handle._check(store)
    return handle


def _trap(type: DefinedType, message: str) -> _Definition:
    """A function of exactly that type: its signature would not do for one that is not final, or recursive."""

    def trap(*args: Any) -> Any:
        raise Trap(message)

    return lambda store: wrap(store, FuncInstance(type, host=trap))
