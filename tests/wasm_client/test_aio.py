"""The asynchronous session's time limit: for a reply, begun anew as long as something is taken."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from schannel.events import Event, ReplyReceived
from schannel.messages import DeployResult, Request
from schannel.session import ClientSession, State
from schannel.transport_aio import AsyncClientConnection
from wasm_client import AsyncSession, ConnectionLost


class SlowSession:
    """Has so many bytes left to send at each step; the last brings the reply."""

    state = State.OPEN

    def __init__(self, steps: list[int]) -> None:
        self._steps = steps

    @property
    def unsent(self) -> int:
        return self._steps[0]

    def send_request(self, _request: Request) -> int:
        return 1

    def data_to_send(self) -> bytes:
        return b""

    def receive_data(self, _data: bytes) -> list[Event]:
        self._steps.pop(0)
        return [] if self._steps else [ReplyReceived(1, DeployResult(b"digest"))]

    def abort(self) -> None:
        self.state = State.DEAD


class SlowStream:
    """A stream on which something comes each twentieth of a second."""

    async def read(self, _size: int) -> bytes:
        await asyncio.sleep(0.05)
        return b"credit"

    def close(self) -> None:
        pass


def deploy(steps: list[int], seen: list[int]) -> bytes:
    async def run() -> bytes:
        reader, writer = cast(asyncio.StreamReader, SlowStream()), cast(asyncio.StreamWriter, SlowStream())
        connection = AsyncClientConnection(reader, writer, cast(ClientSession, SlowSession(steps)))
        return await AsyncSession(connection, 1.5).deploy(
            bytes(100), progress=lambda done, _: seen.append(done)
        )

    return asyncio.run(run())


def test_progress_extends_it() -> None:
    seen: list[int] = []
    assert deploy([100 - number for number in range(40)], seen) == b"digest"
    assert seen == list(range(40))


def test_silence_ends_it() -> None:
    with pytest.raises(ConnectionLost, match="did not answer in time"):
        deploy([50] * 100, [])
