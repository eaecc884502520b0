"""What a message of the channel is: a class that says its fields, and for a request its number and its reply.

Everything else follows: the byte layout, the type bytes, encoding and decoding, the tables in
docs/protocol.md, the client's `ask` with the type of what it returns, and the enclave's dispatch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Annotated, Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin, get_type_hints

from .wire import (
    DIGEST,
    PAYLOAD,
    TEXT,
    U32,
    U64,
    Buffer,
    Codec,
    Layout,
    prefixed,
    struct_of,
)

RESULT = 0x80
"""What is added to a request's type byte for its result's."""

Text = Annotated[str, TEXT]
Number32 = Annotated[int, U32]
Number64 = Annotated[int, U64]
Digest = Annotated[bytes, DIGEST]
Bytes = Annotated[bytes, prefixed(U32)]
Payload = Annotated[Buffer, PAYLOAD]
"""A message's large field: it travels last, and is not copied."""


class Message:
    """A request or a reply. Its fields travel in the order in which they are declared, `Payload` last."""

    __slots__ = ()

    type_byte: ClassVar[int]
    """The type byte of its chunks."""

    title: ClassVar[str]
    """What it is called in errors and documents."""

    layout: ClassVar[Layout]


class Reply(Message):
    """What answers a request."""

    __slots__ = ()


class Result(Reply):
    """What answers one kind of request, where it succeeds."""

    __slots__ = ()


_Result = TypeVar("_Result", bound=Result, covariant=True)
_Message = TypeVar("_Message", bound=Message)
_Request = TypeVar("_Request", bound="Request")


class Request(Message):
    """What a client may send, whatever answers it."""

    __slots__ = ()

    result: ClassVar[type[Result]]


class RequestFor(Request, Generic[_Result]):
    """A request that is answered with such a result, or with an error."""

    __slots__ = ()


MESSAGES: dict[int, type[Message]] = {}
"""Every declared message by its type byte."""


def request(number: int) -> Callable[[type[_Request]], type[_Request]]:
    """Declare a request of that number, and the result that its base `RequestFor` names."""

    def declare(cls: type[_Request]) -> type[_Request]:
        (result,) = (get_args(base)[0] for base in _bases(cls) if get_origin(base) is RequestFor)
        cls.result = message(number | RESULT)(result)
        return message(number)(cls)

    return declare


def message(number: int) -> Callable[[type[_Message]], type[_Message]]:
    """Declare a message of that type byte."""

    def declare(cls: type[_Message]) -> type[_Message]:
        if not 0 < number <= 0xFF or number in MESSAGES:
            raise ValueError(f"{cls.__name__} cannot have the type byte {number}")
        cls.type_byte = number
        cls.title = _title(cls)
        codecs = declared_codecs(cls)
        last = {name: codec for name, codec in codecs.items() if codec is PAYLOAD}
        cls.layout = Layout(cls.title, **{name: codecs[name] for name in codecs if name not in last}, **last)
        MESSAGES[number] = cls
        return cls

    return declare


STRUCTS: dict[type[Any], Layout] = {}
"""Every class whose instances are parts of messages."""


def struct(cls: type[Any]) -> Codec:
    """How instances of a class are laid out inside of a message: field after field."""
    codecs = declared_codecs(cls)
    STRUCTS[cls] = Layout(_title(cls), **codecs)
    return struct_of(cls, codecs, _title(cls))


def _title(cls: type[Any]) -> str:
    return re.sub(r"(?<=.)(?=[A-Z])", " ", cls.__name__).lower()


def declared_codecs(cls: type[Any]) -> dict[str, Codec]:
    """The codecs that annotations name, by field, in the order of declaration."""
    hints = get_type_hints(cls, include_extras=True)
    return {name: _codec(cls, name, hints[name]) for name in _field_names(cls)}


def _codec(cls: type[Any], name: str, hint: Any) -> Codec:
    for given in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        if isinstance(given, Codec):
            return given
    raise TypeError(f"the field {name} of {cls.__name__} does not say how it is laid out")


def _field_names(cls: type[Any]) -> Iterable[str]:
    return cast(Iterable[str], getattr(cls, "_fields", None) or [field.name for field in fields(cls)])


def _bases(cls: type[Any]) -> Iterable[Any]:
    return cast(Iterable[Any], getattr(cls, "__orig_bases__", ()))
