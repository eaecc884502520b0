"""The library for asyncio: the same operations, awaited."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TypeVar

from schannel.connection import DEFAULT_TIMEOUT
from schannel.ed25519_sha3 import SigningKey
from schannel.errors import ProtocolError
from schannel.policy import Policy
from schannel.steps import Awaiting, Steps
from schannel.transport_aio import AsyncClientConnection

from .errors import ConnectionLost, connecting
from .operations import Operations
from .session import REPLY_TIMEOUT, client_session, target

_T = TypeVar("_T")


async def connect_async(
    address: str,
    policy: Policy,
    timeout: float = DEFAULT_TIMEOUT,
    reply_timeout: float = REPLY_TIMEOUT,
    *,
    key: SigningKey | None = None,
) -> AsyncSession:
    """As `connect`."""
    with connecting(address, timeout):
        session = client_session(policy, key)
        connection = await AsyncClientConnection.connect(target(address), session, timeout)
    return AsyncSession(connection, reply_timeout)


class AsyncSession(Operations, Awaiting):
    """A verified session whose operations are awaited, one at a time: a second one waits for the first."""

    _connection: AsyncClientConnection

    async def drive(self, steps: Steps[_T]) -> _T:
        """Take an operation's steps; returns what it returns."""
        try:
            return await self._connection.drive(steps)
        except ProtocolError as error:
            raise self._failure(error) from error

    async def close(self) -> None:
        """As `Session.close`."""
        try:
            await self._connection.close()
        except ProtocolError as error:
            raise ConnectionLost(f"the session did not end in order: {error}") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self._connection.leave()
