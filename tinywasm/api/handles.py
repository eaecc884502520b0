"""What all handles of runtime objects share: the store they belong to, and who may use them."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from tinywasm.errors import WasmError
from tinywasm.runtime.store import Store
from tinywasm.unique import Unique


class StoreView(Unique):
    """Stands for a store while a host function runs: see `Caller`."""

    def __init__(self, store: Store) -> None:
        if not isinstance(store, Store):
            raise TypeError(f"expected a Store, not {store!r}")
        self._store: Store | None = store

    @property
    def store(self) -> Store:
        """The store. Raises `ValueError` once the host function has returned."""
        if self._store is None:
            raise ValueError("the caller is no longer valid: its host function has returned")
        return self._store


Storelike = Store | StoreView


def store_of(storelike: Storelike) -> Store:
    """The store that is meant. Raises `TypeError` for something else."""
    if isinstance(storelike, Store):
        return storelike
    if isinstance(storelike, StoreView):
        return storelike.store
    raise TypeError(f"expected a Store or a Caller, not {storelike!r}")


class Handle(Unique):
    """A runtime object (`_raw`) for Python programs, usable with its own store alone.

    Two handles are equal where they stand for the same object.
    """

    __slots__ = ("__weakref__", "_raw", "_store")
    _raw: Any
    _store: Store
    _kinds: ClassVar[dict[str, type[Handle]]] = {}

    def __init_subclass__(cls, kind: str = "") -> None:
        # An embedder's own subclass has no kind: what the runtime hands out is of ours.
        if kind:
            Handle._kinds[kind] = cls

    @classmethod
    def _of(cls, store: Store, raw: Any) -> Self:
        # Not `cls.__new__`, which with a base from an extension would be that one's.
        handle = object.__new__(cls)
        handle._bind(store, raw)
        return handle

    def _bind(self, store: Store, raw: Any) -> None:
        self._store = store
        self._raw = raw

    def _check(self, storelike: Storelike) -> None:
        """Raises `WasmError` where the store is not the one that the object lives in."""
        if storelike is not self._store and store_of(storelike) is not self._store:
            raise WasmError(f"this {type(self).__name__} belongs to another store")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and self._raw is other._raw

    def __hash__(self) -> int:
        return id(self._raw)


def wrap(store: Store, raw: Any) -> Handle:
    """The handle of a runtime object."""
    return Handle._kinds[raw.kind]._of(store, raw)
