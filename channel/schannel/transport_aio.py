"""A client's connection for asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self, TypeVar

from .connection import DEFAULT_TIMEOUT, Address, Connection
from .errors import ChannelTimeout
from .session import ClientSession, State
from .steps import Awaiting, Steps
from .transport import RECEIVE_SIZE

_T = TypeVar("_T")


class AsyncClientConnection(Connection, Awaiting):
    """A connection to an enclave for asyncio; one operation at a time, others wait for it.

    Besides its own time limit, `asyncio.timeout` around an operation sets one, and hangs up.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: ClientSession
    ) -> None:
        super().__init__(session)
        self._reader = reader
        self._writer = writer
        self._lock = asyncio.Lock()

    @classmethod
    async def connect(
        cls, address: Address, session: ClientSession, timeout: float = DEFAULT_TIMEOUT
    ) -> Self:
        """Connect and verify; raises as `ClientConnection.connect`."""
        connection = None
        try:
            async with asyncio.timeout(timeout):
                connection = cls(*await _open_streams(address), session)
                await connection.handshake(timeout)
        except BaseException as error:
            session.abort()
            if connection is not None:
                connection.abort()
            if isinstance(error, TimeoutError):
                raise ChannelTimeout("the enclave did not answer in time") from error
            raise
        return connection

    async def drive(self, steps: Steps[_T]) -> _T:
        """As `ClientConnection.drive`."""
        answer: Any = None
        take = steps.send
        async with self._lock:
            try:
                while True:
                    data, deadline, receives = take(answer)
                    try:
                        take = steps.send
                        answer = await self._do(data, deadline, receives)
                    except BaseException as error:
                        answer, take = self._broken(error), steps.throw
            except StopIteration as end:
                result: _T = end.value
                return result
            finally:
                if self._session.state is State.DEAD:
                    self.abort()

    def abort(self) -> None:
        """Erase the keys and close the socket without a word."""
        if words := self._last_words():
            self._writer.write(words)
        if self._session.state is not State.CLOSED:
            self._session.abort()
        self._writer.close()

    async def _do(self, data: bytes, deadline: float | None, receives: bool) -> bytes | None:
        try:
            async with asyncio.timeout(None if deadline is None else max(deadline - time.monotonic(), 0)):
                if data:
                    self._writer.write(data)
                    await self._writer.drain()
                return await self._reader.read(RECEIVE_SIZE) if receives else b""
        except TimeoutError:
            return None


async def _open_streams(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(address, str):
        return await asyncio.open_unix_connection(address)
    return await asyncio.open_connection(*address)
