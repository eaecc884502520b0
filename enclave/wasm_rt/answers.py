"""Which method of the application answers which request, and what a client must be allowed to do for it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

from schannel.messages import Reply, Request

_Method = TypeVar("_Method", bound=Callable[..., Reply])


class Right(Enum):
    """What the enclave's configuration may keep from a client."""

    DEPLOY = "deploy programs"
    USE = "use programs"
    OWN = "remove its own programs"
    """Every client may: whoever may keep nothing any more may still remove it."""


class Answer(NamedTuple):
    """How a request is answered; `method` is called with the application and the request."""

    right: Right
    method: Callable[[Any, Any], Reply]


ANSWERS: dict[type[Request], Answer] = {}
"""The answer to each kind of request that is served."""


def answers(right: Right) -> Callable[[_Method], _Method]:
    """Have a method answer the requests that its parameter `request` is annotated with."""

    def register(method: _Method) -> _Method:
        hints = get_type_hints(method)
        for kind in get_args(hints["request"]) or (hints["request"],):
            if kind in ANSWERS or hints["return"] not in (kind.result, Reply):
                raise TypeError(f"{method.__qualname__} is not the one answer to a {kind.title}")
            ANSWERS[kind] = Answer(right, method)
        return method

    return register
