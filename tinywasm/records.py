"""Classes of plain values, as `dataclasses` makes them, without code that is compiled at each start.

That module writes the methods of each class as text, for Python to compile when the class is made: half of
what importing this package took. Here they are the same for all classes. Who asks `dataclasses` about a
record, for its fields or to replace some, is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, dataclass_transform

_Class = TypeVar("_Class", bound=type)
_Record = TypeVar("_Record")
_NONE: Any = object()


class _Field(NamedTuple):
    default: Any
    default_factory: Callable[[], Any] | None
    compare: bool
    repr: bool


def field(
    *,
    default: Any = _NONE,
    default_factory: Callable[[], Any] | None = None,
    compare: bool = True,
    repr: bool = True,
) -> Any:
    """As `dataclasses.field`."""
    return _Field(default, default_factory, compare, repr)


@dataclass_transform(field_specifiers=(field,))
def record(
    *, frozen: bool = False, eq: bool = True, repr: bool = True, init: bool = True
) -> Callable[[_Class], _Class]:
    """As `dataclasses.dataclass` with `slots`, for a class that inherits no fields."""

    def make(given: _Class) -> _Class:
        namespace = dict(given.__dict__)
        written: dict[str, str] = given.__annotations__
        fields = {
            name: _described(namespace.pop(name, _NONE))
            for name, type in written.items()
            if not type.startswith("ClassVar")
        }
        for name in ("__dict__", "__weakref__"):
            namespace.pop(name, None)
        namespace |= {"__slots__": tuple(fields), "__match_args__": tuple(fields)}
        namespace |= {"__dataclass_fields__": _Fields(), **_copying(tuple(fields))}
        compared = attrgetter(*[name for name, each in fields.items() if each.compare])
        for name, method in (*_comparing(compared, frozen).items(),) if eq else ():
            # What the class says itself stays; that it compares itself says nothing of a hash.
            if name not in given.__dict__ or (name == "__hash__" and given.__dict__[name] is None):
                namespace[name] = method
        if repr and "__repr__" not in given.__dict__:
            namespace["__repr__"] = _shown([name for name, each in fields.items() if each.repr])
        if frozen:
            namespace |= {"__setattr__": _refuse, "__delattr__": _refuse}
        made: Any = type(given)(given.__name__, given.__bases__, namespace)
        made._record, made.__annotations__ = fields, written
        if init and "__init__" not in given.__dict__:
            made.__init__ = _constructor(made, fields)
            made.__signature__ = _Signature()
        result: _Class = made
        return result

    return make


def replace(self: _Record, /, **changes: Any) -> _Record:
    """As `dataclasses.replace`."""
    names: Sequence[str] = type(self).__match_args__  # type: ignore[attr-defined]
    return type(self)(**{name: getattr(self, name) for name in names} | changes)


def _described(given: Any) -> _Field:
    return given if isinstance(given, _Field) else _Field(given, None, True, True)


def _constructor(made: Any, fields: dict[str, _Field]) -> Callable[..., None]:
    # Past what refuses to set a frozen one, but not past what a class has to check.
    checked = made.__setattr__ not in (object.__setattr__, _refuse)
    setters = [_setter(name) if checked else getattr(made, name).__set__ for name in fields]
    count, after = len(setters), getattr(made, "__post_init__", None)

    def __init__(self: Any, *args: Any, **named: Any) -> None:
        if named or len(args) != count:
            args = _completed(made, fields, args, named)
        for set, value in zip(setters, args):  # noqa: B905 (as many of both)
            set(self, value)
        if after is not None:
            after(self)

    return __init__


def _setter(name: str) -> Callable[[Any, Any], None]:
    return lambda self, value: setattr(self, name, value)


def _completed(
    made: type, fields: dict[str, _Field], args: Sequence[Any], named: dict[str, Any]
) -> tuple[Any, ...]:
    """A value for each field. Raises `TypeError` as any function that is called wrongly."""
    place, names = f"{made.__qualname__}.__init__()", list(fields)
    if len(args) > len(names):
        raise TypeError(f"{place} takes at most {len(names)} arguments, but {len(args)} were given")
    values = dict(zip(names, args, strict=False))
    for name, value in named.items():
        if name not in fields:
            raise TypeError(f"{place} got an unexpected keyword argument {name!r}")
        if name in values:
            raise TypeError(f"{place} got multiple values for argument {name!r}")
        values[name] = value
    missing = [name for name, each in fields.items() if name not in values and _has_no_default(each)]
    if missing:
        raise TypeError(f"{place} misses {', '.join(map(repr, missing))}")
    return tuple(values[name] if name in values else _default(each) for name, each in fields.items())


def _has_no_default(each: _Field) -> bool:
    return each.default is _NONE and each.default_factory is None


def _default(each: _Field) -> Any:
    return each.default if each.default_factory is None else each.default_factory()


def _comparing(compared: Callable[[Any], Any], frozen: bool) -> dict[str, Any]:
    def __eq__(self: Any, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return compared(self) == compared(other)

    def __hash__(self: Any) -> int:
        return hash(compared(self))

    return {"__eq__": __eq__, "__hash__": __hash__ if frozen else None}


def _shown(names: Sequence[str]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({values})"

    return __repr__


def _copying(names: Sequence[str]) -> dict[str, Any]:
    def __getstate__(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: Sequence[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    def __replace__(self: Any, /, **changes: Any) -> Any:
        return replace(self, **changes)

    return {"__getstate__": __getstate__, "__setstate__": __setstate__, "__replace__": __replace__}


def _refuse(self: Any, name: str, *value: Any) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot {'assign to' if value else 'delete'} field {name!r}")


def _as_dataclass(owner: Any) -> Any:
    import dataclasses

    def told(each: _Field) -> Any:
        named: dict[str, Any] = {"compare": each.compare, "repr": each.repr}
        if each.default_factory is not None:
            named["default_factory"] = each.default_factory
        elif each.default is not _NONE:
            named["default"] = each.default
        return dataclasses.field(**named)

    fields = [(name, owner.__annotations__[name], told(each)) for name, each in owner._record.items()]
    return dataclasses.make_dataclass(owner.__name__, fields)


class _Fields:
    """What `dataclasses` looks for."""

    def __get__(self, instance: object, owner: Any) -> Any:
        found = owner.__dataclass_fields__ = _as_dataclass(owner).__dataclass_fields__
        return found


class _Signature:
    """What `inspect` looks for."""

    def __get__(self, instance: object, owner: Any) -> Any:
        import inspect

        return inspect.signature(_as_dataclass(owner))
