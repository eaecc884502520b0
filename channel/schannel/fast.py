"""The fast path of small calls: what is plain goes through C where `_fast` is built, the rest is declined.

What is declined, by None, goes the general way, by the layouts. That takes every case, and is the one that
refuses. Without a compiler everything is declined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

from .events import ReplyReceived, RequestReceived
from .extensions import usable
from .messages import Message
from .values import Value


def _extension() -> ModuleType | None:
    """The extension, if it is built, and from these sources."""
    if not usable("schannel._fast"):
        return None
    try:
        from . import _fast
    except ImportError:
        return None
    return _fast


def decline(*_: object) -> None:
    """What every function here does without the extension."""


_fast = _extension()
available = _fast is not None
"""Whether there is a fast path."""

body: Callable[[Message], bytes | None] = _fast.body if _fast else decline
"""The body of a call request or result: what `messages.encode` gives, in one piece."""

write: Callable[[int, Message], bytes | None] = _fast.write if _fast else decline
"""The plaintext of the record that carries the whole of a request of that number, or of the reply to it."""

read: Callable[[bytes], RequestReceived | ReplyReceived | None] = _fast.read if _fast else decline
"""The inverse of `write`: what a plaintext brings to the end that takes such messages."""

values: Callable[[tuple[object, ...], Sequence[object]], tuple[Value, ...] | None] = (
    _fast.values if _fast else decline
)
"""Values of integer types from that many integers, signed or unsigned."""

bits: Callable[[tuple[object, ...], Sequence[Value]], list[int] | None] = _fast.bits if _fast else decline
"""The bits of values that are of these types."""

numbers: Callable[[Sequence[Value]], list[int] | None] = _fast.numbers if _fast else decline
"""Values of integer types as signed integers."""
