"""Methods that are written once, for callers that block and for those that await.

Such a method is a generator: it says step by step what is to be sent and received, and knows no socket. Who
has the socket, `Blocking` or `Awaiting`, drives it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

_P = ParamSpec("_P")
_T = TypeVar("_T")

Step = tuple[bytes, float | None, bool]
"""What to send, until when (as `time.monotonic` tells; None for without limit), and whether to receive then.

The answer is what came, no bytes at the end of the stream or where nothing is to be received; None where not
all was sent, or nothing came, in time.
"""

NOW = 0.0
"""A time that has passed: receive what is there already."""

Steps = Generator[Step, Any, _T]


class Blocking(ABC):
    """Whoever takes steps in the thread that asks for it."""

    @abstractmethod
    def drive(self, steps: Steps[_T]) -> _T:
        """Take the steps; returns what they return."""


class Awaiting(ABC):
    """Whoever takes steps in asyncio."""

    @abstractmethod
    async def drive(self, steps: Steps[_T]) -> _T:
        """Take the steps; returns what they return."""


class Driven(Generic[_P, _T]):
    """What a driven method is to a type checker."""

    @overload
    def __get__(self, driver: Blocking, owner: object = None) -> Callable[_P, _T]: ...
    @overload
    def __get__(self, driver: Awaiting, owner: object = None) -> Callable[_P, Coroutine[Any, Any, _T]]: ...
    def __get__(self, driver: Blocking | Awaiting, owner: object = None) -> Callable[_P, object]:
        raise NotImplementedError


def driven(steps: Callable[Concatenate[Any, _P], Steps[_T]]) -> Driven[_P, _T]:
    """A method that takes these steps: it blocks in a `Blocking`, and is awaited in an `Awaiting`."""

    @wraps(steps)
    def method(driver: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> object:
        return driver.drive(steps(driver, *args, **kwargs))

    return cast("Driven[_P, _T]", method)
