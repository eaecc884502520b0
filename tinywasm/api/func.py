"""Functions: `Func`, what a host function sees of its `Caller`, and conversion by signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from tinywasm.api.handles import Handle, Storelike, StoreView, store_of, wrap
from tinywasm.api.values import FROM_RAW, TO_RAW, Converter, to_reference
from tinywasm.engine import backend
from tinywasm.engine.interface import Entry
from tinywasm.errors import WasmException
from tinywasm.matching import define
from tinywasm.runtime.func import DirectHost, FuncInstance
from tinywasm.runtime.store import Store
from tinywasm.types import DefinedType, FuncType, RefType, ValType
from tinywasm.unique import Unique
from tinywasm.validation import check_own_type

_Raw = Sequence[Any]


class Func(Handle, kind="func"):
    """A function of a store: one that a module exports, or a Python callable for modules to import."""

    __slots__ = ("_call", "_signature")

    def __init__(
        self, store: Storelike, ty: FuncType, func: Callable[..., Any], access_caller: bool = False
    ) -> None:
        """A host function of type `ty`.

        `func` takes and returns Python values: nothing, one, or a sequence of several. With
        `access_caller` a `Caller` comes before its arguments. An exception that it raises comes out of
        the call from Python as itself; a `WasmException` can be caught by Wasm, and comes out as a new
        one of the same tag and values. A `RecursionError` comes out as `StackExhausted` where it is Wasm
        and host functions calling each other that used up Python's stack.
        Raises `TypeError` for what is not a `FuncType` or cannot be called, and `ValidationError` for a type
        that no module could declare.
        """
        owner = store_of(store)
        check_own_type(ty, FuncType, owner.engine.config.features)
        if not callable(func):
            raise TypeError(f"expected a callable, not {func!r}")
        owner.guard()
        adapt = _with_caller if access_caller else _plain
        defined = define(ty)
        converters = signature(owner, defined)
        raw = FuncInstance(defined, host=adapt(owner, converters, func))
        if not access_caller:
            raw.direct = DirectHost(func, converters.raw_results, partial(_hidden, owner))
        self._bind(owner, raw)

    def _bind(self, store: Store, raw: FuncInstance) -> None:
        self._store, self._raw = store, raw
        self._signature = store.signatures.get(raw.type) or signature(store, raw.type)
        self._call = (store.backend or backend(store)).call

    def type(self, store: Storelike) -> FuncType:
        self._check(store)
        result: FuncType = self._raw.signature
        return result

    def __call__(self, store: Storelike, *params: Any) -> Any:
        """Call the function; None, its result, or a list of several.

        Raises `TypeError` for a wrong number or kind of arguments, `OverflowError` for an integer out of
        range, `Trap`, `WasmException` for an uncaught throw, what a host function raises, and `WasmError`
        for a store that is not the function's, or is in use by another thread.
        """
        if store is not self._store:
            self._check(store)
        return self._invoke(params)

    def _invoke(self, args: tuple[Any, ...]) -> Any:
        entry = self._raw.entry
        if entry is not None:
            try:
                result = entry(args)
            except WasmException as thrown:
                raise _shown(self._store, thrown) from None
            if result is not NotImplemented:
                return result
        signature = self._signature
        if len(args) != len(signature.params):
            raise TypeError(
                f"the function takes {len(signature.params)} arguments, not {len(args)}: {signature.type}"
            )
        raw = [convert(value) for convert, value in zip(signature.params, args)]  # noqa: B905 (as many of both)
        try:
            results = self._call(self._raw, raw)
        except WasmException as thrown:
            raise _shown(self._store, thrown) from None
        shown = signature.shown_results
        if len(shown) == 1:
            return shown[0](results[0])
        return [convert(value) for convert, value in zip(shown, results, strict=True)] if shown else None

    def __repr__(self) -> str:
        return f"<Func {self._raw.name or ''}{self._raw.signature}>"


class BoundFunc(Unique):
    """A function of `Instance.exports`, called without naming its store. `func` is the `Func`."""

    __slots__ = ()
    func: Func

    @property
    def type(self) -> FuncType:
        return self.func.type(self.func._store)

    def __call__(self, *args: Any) -> Any:
        """As `Func`, without the store."""
        return self.func._invoke(args)

    def __repr__(self) -> str:
        return f"<Bound{repr(self.func)[1:]}"


class _PlainBoundFunc(BoundFunc):
    __slots__ = ("_func",)

    def __init__(self, func: Func) -> None:
        self._func = func

    @property
    def func(self) -> Func:  # type: ignore[override]  # the other one has an attribute
        return self._func


@cache
def _bound_class(entry: type[Entry]) -> Any:
    """`BoundFunc` for functions whose values an engine converts itself."""
    return type("BoundFunc", (entry, BoundFunc), {"__slots__": (), "__module__": __name__})


def bind(func: Func) -> BoundFunc:
    """The function without its store."""
    engine = backend(func._store)
    entry = engine.entry(func._raw)
    if entry is None:
        return _PlainBoundFunc(func)
    bound: BoundFunc = _bound_class(entry)(
        engine, func._raw, func, func._invoke, partial(_shown, func._store)
    )
    return bound


class Caller(StoreView):
    """What a host function made with `access_caller` gets first: a view of the instance that calls it.

    It goes wherever a store is expected, until the host function returns.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._instance = backend(store).caller()

    def get(self, name: str) -> Any:
        """The calling instance's export of that name; None where there is none, or Python is the caller."""
        raw = self._instance.exports.get(name) if self._instance and self._store else None
        return None if raw is None else wrap(self.store, raw)

    def __getitem__(self, name: str) -> Any:
        """As `get`, but raises `KeyError`."""
        extern = self.get(name)
        if extern is None:
            raise KeyError(f"the caller exports no {name!r}")
        return extern

    def data(self) -> Any:
        """As `Store.data`."""
        return self.store.data()

    def get_fuel(self) -> int:
        """As `Store.get_fuel`."""
        return self.store.get_fuel()

    def set_fuel(self, fuel: int) -> None:
        """As `Store.set_fuel`."""
        self.store.set_fuel(fuel)

    def _invalidate(self) -> None:
        self._store = None


class Signature:
    """The converters of a function type in a store.

    `params` bring arguments into raw form and `results` results; `shown_params` and `shown_results` do the
    reverse.
    """

    def __init__(self, store: Store, type: FuncType) -> None:
        self.type = type
        self.params = [to_raw(store, param) for param in type.params]
        self.results = [to_raw(store, result) for result in type.results]
        self.shown_params = [from_raw(store, param) for param in type.params]
        self.shown_results = [from_raw(store, result) for result in type.results]

    def raw_results(self, result: Any) -> _Raw:
        """What a host function of this type returned, in raw form."""
        if len(self.results) == 1:
            return (self.results[0](result),)
        if not self.results:
            if result is not None:
                raise TypeError(f"the host function should return nothing, not {result!r}: {self.type}")
            return ()
        values = list(result)
        if len(values) != len(self.results):
            raise TypeError(
                f"the host function should return {len(self.results)} values, not {len(values)}: {self.type}"
            )
        return [convert(value) for convert, value in zip(self.results, values, strict=True)]


def signature(store: Store, type: DefinedType) -> Signature:
    """The converters, made once for each type in a store."""
    found: Signature | None = store.signatures.get(type)
    if found is None:
        assert isinstance(type.composite, FuncType)
        found = store.signatures[type] = Signature(store, type.composite)
    return found


def to_raw(store: Store, type: ValType) -> Converter:
    """A converter of Python values to raw ones. It raises `TypeError` and `OverflowError`."""
    if not isinstance(type, RefType):
        return TO_RAW[type]

    def raw_function(value: Any) -> Any:
        if isinstance(value, BoundFunc):
            value = value.func
        if isinstance(value, Func):
            value._check(store)
            return value._raw
        return value

    return to_reference(type, raw_function)


def from_raw(store: Store, type: ValType) -> Converter:
    """A converter of raw values to Python values: integers signed, functions as `Func`."""
    if not isinstance(type, RefType):
        return FROM_RAW.get(type, _same)
    return lambda raw: Func._of(store, raw) if isinstance(raw, FuncInstance) else raw


def _same(raw: Any) -> Any:
    return raw


def _plain(store: Store, signature: Signature, func: Callable[..., Any]) -> Callable[..., _Raw]:
    """The raw host function around a Python callable."""
    converters = signature.shown_params

    def host(*raw: Any) -> _Raw:
        args = [convert(value) for convert, value in zip(converters, raw, strict=True)]
        try:
            return signature.raw_results(func(*args))
        except WasmException as thrown:
            raise _hidden(store, thrown) from None

    return host


def _with_caller(store: Store, signature: Signature, func: Callable[..., Any]) -> Callable[..., _Raw]:
    def host(*args: Any) -> Any:
        caller = Caller(store)
        try:
            return func(caller, *args)
        finally:
            caller._invalidate()

    return _plain(store, signature, host)


def _shown(store: Store, thrown: WasmException) -> WasmException:
    """The exception for Python: its tag a `Tag`, its values Python values."""
    converters = [from_raw(store, param) for param in thrown.tag.type.functype.params]
    values = [convert(raw) for convert, raw in zip(converters, thrown.values, strict=True)]
    return WasmException(wrap(store, thrown.tag), values)


def _hidden(store: Store, thrown: WasmException) -> WasmException:
    """The exception for an engine; the host function's own stays as it is, and may be raised again.

    Raises `TypeError` where tag and values do not fit.
    """
    if not isinstance(thrown.tag, Handle) or thrown.tag._raw.kind != "tag":
        raise TypeError(f"a WasmException takes a Tag, not {thrown.tag!r}")
    thrown.tag._check(store)
    given = tuple(thrown.values)
    params = thrown.tag._raw.type.functype.params
    if len(params) != len(given):
        raise TypeError(f"the exception should have {len(params)} values, not {len(given)}")
    values = [to_raw(store, param)(value) for param, value in zip(params, given, strict=True)]
    return WasmException(thrown.tag._raw, values)


def unwrap(store: Store, item: Any) -> Any:
    """The runtime object of a handle.

    Raises `TypeError` for something else, and `WasmError` for an object of another store.
    """
    if isinstance(item, BoundFunc):
        item = item.func
    if not isinstance(item, Handle):
        raise TypeError(f"expected a Func, Memory, Table, Global or Tag, not {item!r}")
    item._check(store)
    return item._raw
