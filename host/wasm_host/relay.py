"""Passes bytes between a client and its enclave, both ways, as fast as the slower side takes them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast

_CHUNK = 1 << 18
_AHEAD = 1 << 20
"""Bytes that wait here for the slower side, in each direction: fewer mean more turns of fewer bytes."""

_GRACE = 5.0
"""Seconds that an enclave may go on sending after its client has stopped."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Traffic:
    """Bytes passed on, ``up`` to the enclave and ``down`` to the client, and when the last of them were."""

    relayed: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    last: float = field(default_factory=time.monotonic)

    def add(self, direction: str, size: int) -> None:
        """Note that `size` bytes were passed on."""
        self.relayed[direction] += size
        self.last = time.monotonic()


class _End(asyncio.BufferedProtocol):
    """One side of a relay: what it receives goes to the other side's transport.

    Callbacks, not streams: a relay is on the way of every call, and waking a task costs more than passing the
    bytes on.
    """

    def __init__(self, traffic: Traffic, direction: str) -> None:
        self._traffic = traffic
        self._direction = direction
        self._buffer = memoryview(bytearray(_CHUNK))
        self.other: asyncio.Transport | None = None
        """Where to; set before the first byte."""

        self.through: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nothing comes from this side any more."""

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what is received."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was received."""
        self.pass_on(bytes(self._buffer[:nbytes]))

    def pass_on(self, data: bytes) -> None:
        """Write bytes to the other side."""
        if data and self.other is not None and not self.other.is_closing():
            self.other.write(data)
            self._traffic.add(self._direction, len(data))

    def eof_received(self) -> bool:
        """Pass the end on; this side's transport stays open for what is still to be sent to it."""
        if self.other is not None and self.other.can_write_eof() and not self.other.is_closing():
            self.other.write_eof()
        self._finish()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more, and nothing can be sent."""
        self._finish()
        if self.other is not None:
            self.other.resume_reading()

    def pause_writing(self) -> None:
        """This side takes no more: let the other one wait, so that nothing piles up here."""
        if self.other is not None:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        """This side takes bytes again."""
        if self.other is not None and not self.other.is_closing():
            self.other.resume_reading()

    def _finish(self) -> None:
        if not self.through.done():
            self.through.set_result(None)


async def relay(client: Streams, enclave: Streams, traffic: Traffic) -> None:
    """Relay until either side is through; an end of stream is passed on as such.

    When the enclave's stream ends, so does the relay. When the client's does, the enclave may finish its
    answer within a grace period.
    """
    up, down = _End(traffic, "up"), _End(traffic, "down")
    up.other, down.other = _transport(enclave), _transport(client)
    await _take_over(client, up)
    await _take_over(enclave, down)
    await asyncio.wait({up.through, down.through}, return_when=asyncio.FIRST_COMPLETED)
    if not down.through.done():
        await asyncio.wait({down.through}, timeout=_GRACE)


def _transport(streams: Streams) -> asyncio.Transport:
    return cast(asyncio.Transport, streams[1].transport)


async def _take_over(streams: Streams, end: _End) -> None:
    """Let a stream's bytes come to `end`, beginning with those that had arrived already."""
    transport = _transport(streams)
    arrived, ended = await _arrived(streams[0], transport)
    transport.set_protocol(end)
    transport.set_write_buffer_limits(_AHEAD)
    end.pass_on(arrived)
    if ended or transport.is_closing():
        end.eof_received()
    else:
        transport.resume_reading()


async def _arrived(reader: asyncio.StreamReader, transport: asyncio.Transport) -> tuple[bytes, bool]:
    """What a stream holds already, and whether that is all; its transport is left paused."""
    arrived = b""
    while not transport.is_closing():
        # Taking bytes out of a full stream lets it read again.
        transport.pause_reading()
        reading = asyncio.ensure_future(reader.read(_CHUNK))
        await asyncio.sleep(0)
        if not reading.done():
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            return arrived, False
        if reading.exception() is not None or not reading.result():
            break
        arrived += reading.result()
    return arrived, True
