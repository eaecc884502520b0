"""The asynchronous session's time limit: for a reply, begun anew as long as something is taken."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from schannel.messages import DeployRequest, DeployResult, Reply
from schannel.transport import AsyncClientConnection, Watch
from wasm_client import AsyncSession, ConnectionLost


class SlowConnection:
    """Takes a request in `steps`, each after a twentieth of a second, then answers it."""

    def __init__(self, steps: list[int]) -> None:
        self._steps = steps

    async def send(self, _request: DeployRequest) -> int:
        return 1

    async def wait(self, _number: int, watch: Watch | None = None) -> Reply:
        for unsent in self._steps:
            assert watch is not None
            watch(unsent)
            await asyncio.sleep(0.05)
        return DeployResult(b"digest")


def deploy(steps: list[int], seen: list[int]) -> bytes:
    session = AsyncSession(cast(AsyncClientConnection, SlowConnection(steps)), 1.5)
    return asyncio.run(session.deploy(bytes(100), progress=lambda done, _: seen.append(done)))


def test_progress_extends_it() -> None:
    seen: list[int] = []
    assert deploy([100 - number for number in range(40)], seen) == b"digest"
    assert seen == list(range(40))


def test_silence_ends_it() -> None:
    with pytest.raises(ConnectionLost, match="did not answer in time"):
        deploy([50] * 100, [])
