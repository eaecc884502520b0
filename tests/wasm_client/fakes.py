"""A session without an enclave."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from schannel.messages import Reply, Request
from schannel.steps import Steps
from schannel.transport import ClientConnection
from schannel.transport_aio import AsyncClientConnection
from wasm_client import AsyncSession, Session


class Answering:
    """A connection on which a function answers every request, at once."""

    is_open = True

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        self._answer = answer

    def asking(self, request: Request, *_: object) -> Steps[tuple[int, Reply]]:
        yield from ()
        return 1, self._answer(request)

    def drive(self, steps: Steps[object]) -> object:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        raise AssertionError("nothing is to be sent or received here")


class AnsweringLater(Answering):
    """The same for asyncio."""

    async def drive(self, steps: Steps[object]) -> object:
        return super().drive(steps)


def answering(answer: Callable[[Request], Reply]) -> Session:
    """A session on such a connection."""
    return Session(cast(ClientConnection, Answering(answer)), 1.0)


def answering_later(answer: Callable[[Request], Reply]) -> AsyncSession:
    """A session on such a connection, for asyncio."""
    return AsyncSession(cast(AsyncClientConnection, AnsweringLater(answer)), 1.0)
