"""Byte layouts as classes, each field declared once, read and written by construct.

They are for what is not in a call's way: evidence, receipts, sealed programs, and how the host speaks to its
monitor, its storage and its devices. The messages of a session have codecs of their own (`schannel.wire`),
which are an order of magnitude quicker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, dataclass_transform

from .errors import LocalError, MessageError
from .extra import explained

if TYPE_CHECKING:
    from .wire import Buffer

try:
    import construct
except ModuleNotFoundError as error:
    raise explained(error) from error

Kind = Any
"""How one field is laid out; construct has no types."""

U8, U16, U32, U64 = construct.Int8ub, construct.Int16ub, construct.Int32ub, construct.Int64ub
U16_LITTLE, U32_LITTLE, U64_LITTLE = construct.Int16ul, construct.Int32ul, construct.Int64ul

REST = construct.GreedyBytes
"""The remaining bytes."""

TEXT = construct.PascalString(U16, "utf-8")
"""UTF-8 after the count of its bytes."""

_E = TypeVar("_E", bound=IntEnum | IntFlag)


def fixed(size: int) -> Kind:
    """Exactly `size` bytes."""
    return construct.Bytes(size)


def prefixed(count: Kind) -> Kind:
    """Bytes after their count."""
    return construct.Prefixed(count, construct.GreedyBytes)


def repeated(count: int, item: Kind) -> Kind:
    """So many items, as a tuple."""
    return _adapted(construct.Array(count, item), tuple, list)


def bounded(kind: Kind, largest: int) -> Kind:
    """A number of at most `largest`."""
    return construct.ExprValidator(kind, lambda value, _: value <= largest)


def one_of(kind: Kind, members: type[_E]) -> Kind:
    """A number that is one of an enumeration's."""
    return _adapted(kind, members, lambda value: int(members(value)))


def array(count: Kind, item: Kind) -> Kind:
    """Items after their count, as a tuple."""
    return _adapted(construct.PrefixedArray(count, item), tuple, list)


def nested(structure: type[Structure]) -> Kind:
    """Another structure's fields."""
    return _adapted(structure.layout, structure.from_fields, vars)


def _adapted(kind: Kind, read: Callable[[Any], Any], write: Callable[[Any], Any]) -> Kind:
    return construct.ExprAdapter(kind, lambda value, _: read(value), lambda value, _: write(value))


def part(kind: Kind, *, default: Any = MISSING) -> Any:
    """A field of a structure, laid out as `kind`."""
    return field(default=default, metadata={"kind": kind})


@dataclass_transform(frozen_default=True, field_specifiers=(part,))
class Structure:
    """Base of frozen dataclasses whose fields, in their order, are a byte layout.

    `shown` is what messages about it call it, `begins` the bytes that every one of them begins with.
    """

    shown: ClassVar[str]
    layout: ClassVar[Kind]
    _whole: ClassVar[Kind]

    def __init_subclass__(cls, shown: str, begins: bytes = b"") -> None:
        dataclass(frozen=True)(cls)
        named = fields(cls)  # type: ignore[arg-type]  # now it is one
        cls.shown = shown
        parts = [item.name / item.metadata["kind"] for item in named]
        cls.layout = construct.Struct(*([construct.Const(begins)] if begins else []), *parts)
        cls._whole = construct.Struct("fields" / cls.layout, construct.Terminated)

    @classmethod
    def from_fields(cls, values: dict[str, Any]) -> Self:
        """From what construct has read."""
        return cls(**{name: values[name] for name in cls.names()})

    @classmethod
    def parse(cls, data: Buffer) -> Self:
        """Take `data` apart, all of it.

        Raises:
            MessageError: too short, too long, or a field that the layout does not allow.
        """
        try:
            return cls.from_fields(cls._whole.parse(data).fields)
        except (construct.ConstructError, ValueError) as error:
            raise MessageError(f"malformed {cls.shown}") from error

    def build(self) -> bytes:
        """The bytes.

        Raises:
            LocalError: a field does not fit.
        """
        try:
            return bytes(self.layout.build(vars(self)))
        except (construct.ConstructError, ValueError, TypeError, AttributeError) as error:
            reason = str(error).strip().rpartition("\n")[2]
            raise LocalError(f"what a {self.shown} says does not fit its layout: {reason}") from error

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The fields."""
        return tuple(item.name for item in cls.layout.subcons if item.name is not None)

    @classmethod
    def sizeof(cls) -> int:
        """Bytes of a structure whose fields all have a fixed size."""
        return int(cls.layout.sizeof())
