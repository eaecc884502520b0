"""Instances and their exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tinywasm.api.externs import Global
from tinywasm.api.func import Func, bind, unwrap
from tinywasm.api.handles import Storelike, store_of, wrap
from tinywasm.errors import WasmError
from tinywasm.instantiation import instantiate_with
from tinywasm.module import Module
from tinywasm.runtime.module_instance import ModuleInstance
from tinywasm.runtime.store import Store
from tinywasm.unique import Unique


class Instance(Unique):
    """A module's instance: its functions can be called.

    `store` is where it lives and `module` what it was made of.
    """

    _exports: Exports | None = None

    def __init__(self, store: Storelike, module: Module, imports: Sequence[Any]) -> None:
        """Instantiate `module` with `imports` in the order of `module.imports`.

        Raises `LinkError` for a wrong number of imports or one of another type, `Trap` where
        initialisation or the start function traps, and what that raises otherwise.
        """
        if not isinstance(module, Module):
            raise TypeError(f"expected a Module, not {module!r}")
        owner = store_of(store)
        externs = [unwrap(owner, item) for item in imports]
        self._bind(module, instantiate_with(owner, module, externs))

    @classmethod
    def _of(cls, module: Module, raw: ModuleInstance) -> Instance:
        instance = cls.__new__(cls)
        instance._bind(module, raw)
        return instance

    def _bind(self, module: Module, raw: ModuleInstance) -> None:
        self._module = module
        self._raw = raw

    @property
    def module(self) -> Module:
        return self._module

    @property
    def store(self) -> Store:
        return self._raw.store

    @property
    def exports(self) -> Exports:
        """`exports.NAME(...)` and `exports["NAME"]` without naming the store, `exports(store)` with it."""
        if self._exports is None:
            # In one step: another thread may have made them meanwhile.
            vars(self).setdefault("_exports", Exports(InstanceExports(self._raw)))
        exports: Exports = vars(self)["_exports"]
        return exports


class InstanceExports(Unique, Mapping[str, Any]):
    """An instance's exports by name or position, as handles whose methods take the store."""

    __slots__ = ("_found", "_instance")

    def __init__(self, raw: ModuleInstance) -> None:
        self._instance = raw
        self._found: dict[str, Any] = {}

    @property
    def by_index(self) -> Sequence[Any]:
        """The exports in the module's order."""
        return tuple(self.values())

    def __getitem__(self, name: str | int) -> Any:
        if isinstance(name, int):
            return self.by_index[name]
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = wrap(self._instance.store, self._instance.exports[name])
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._instance.exports

    def __iter__(self) -> Iterator[str]:
        return iter(self._instance.exports)

    def __len__(self) -> int:
        return len(self._instance.exports)


_INHERITED = frozenset(dir(Mapping))


class Exports(Unique, Mapping[str, Any]):
    """An instance's exports as attributes or by item; functions are called without naming the store.

    An export hides a method of this class that has the same name. A name that is not a Python identifier,
    or that a class must not redefine (`__len__`), is looked up by item.
    """

    __exports: InstanceExports

    def __init__(self, exports: InstanceExports) -> None:
        self.__dict__["_Exports__exports"] = exports
        # The rest comes when it is first asked for; these would never be.
        for name in _INHERITED.intersection(exports):
            self.__dict__[name] = self[name]

    def __call__(self, store: Storelike) -> InstanceExports:
        """The exports as wasmtime-py gives them: every method takes the store."""
        if store_of(store) is not self.__exports._instance.store:
            raise WasmError("this Instance belongs to another store")
        return self.__exports

    def __getitem__(self, name: str | int) -> Any:
        found = self.__exports[name]
        return bind(found) if isinstance(found, Func) else found

    def __setattr__(self, name: str, value: Any) -> None:
        is_global = isinstance(self.__exports.get(name), Global)
        hint = f": exports.{name}.set_value(store, value) sets the global" if is_global else ""
        raise AttributeError(f"exports cannot be set{hint}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("exports cannot be deleted")

    def __getattr__(self, name: str) -> Any:
        if name == "_Exports__exports":
            raise AttributeError("these Exports are of no instance")
        if name not in self.__exports:
            names = ", ".join(self.__exports) or "nothing"
            raise AttributeError(f"the module exports no {name!r}; it exports {names}")
        found = self.__dict__[name] = self[name]
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.__exports

    def __dir__(self) -> Sequence[str]:
        # Some of them are attributes already.
        return sorted({*super().__dir__(), *self.__exports})

    def __iter__(self) -> Iterator[str]:
        return iter(self.__exports)

    def __len__(self) -> int:
        return len(self.__exports)
