"""Passes bytes between a client and its enclave, both ways, as fast as the slower side takes them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

_CHUNK = 1 << 16
_GRACE = 5.0
"""Seconds that an enclave may go on sending after its client has stopped."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Traffic:
    """Bytes passed on, ``up`` to the enclave and ``down`` to the client, and when the last of them were."""

    relayed: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    last: float = field(default_factory=time.monotonic)

    def add(self, direction: str, size: int) -> None:
        """Note that `size` bytes have been taken by their receiver's side."""
        self.relayed[direction] += size
        self.last = time.monotonic()


async def relay(client: Streams, enclave: Streams, traffic: Traffic) -> None:
    """Relay until either side is through; an end of stream is passed on as such.

    When the enclave's stream ends, so does the relay. When the client's does, the enclave may finish its
    answer within a grace period.
    """
    upward = asyncio.create_task(_pump(client[0], enclave[1], traffic, "up"))
    downward = asyncio.create_task(_pump(enclave[0], client[1], traffic, "down"))
    try:
        await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
        if not downward.done():
            await asyncio.wait({downward}, timeout=_GRACE)
    finally:
        for task in (upward, downward):
            task.cancel()
        await asyncio.gather(upward, downward, return_exceptions=True)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, traffic: Traffic, direction: str
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            # Waits while the other side is slower: neither end's memory fills up here.
            await writer.drain()
            traffic.add(direction, len(data))
        writer.write_eof()
