"""Who may come in: connections are counted, and clients wait in a queue of bounded length and time."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from schannel.framing import Refusal

from .limits import ServerLimits
from .metrics import Metrics


class TurnedAway(Exception):
    """A client is not served, and is told why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.shown)
        self.refusal = refusal

    def __reduce__(self) -> tuple[type[TurnedAway], tuple[Refusal]]:
        return type(self), (self.refusal,)


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the first 64 bits, since who has one has all that begin so."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if parsed.version == 4 or parsed.ipv4_mapped:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


class Admission:
    """Counts connections by address, and gives places to those that wait in turn."""

    def __init__(self, limits: ServerLimits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._by_address: Counter[str] = Counter()
        self._places = asyncio.Semaphore(limits.enclaves)

    @contextmanager
    def connection(self, address: str) -> Iterator[None]:
        """Count one connection as long as it lasts.

        Raises:
            TurnedAway: there are too many, altogether or from this address.
        """
        if self._metrics.open_connections >= self._limits.connections:
            raise TurnedAway(Refusal.CONNECTIONS)
        address = network_of(address)
        if self._by_address[address] >= self._limits.per_address:
            raise TurnedAway(Refusal.ADDRESS)
        self._metrics.open_connections += 1
        self._by_address[address] += 1
        try:
            yield
        finally:
            self._metrics.open_connections -= 1
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for one of the places of clients that are served, and hold it.

        Raises:
            TurnedAway: none became free in time, or too many wait already.
        """
        await self._acquire()
        self._metrics.sessions += 1
        try:
            yield
        finally:
            self._metrics.sessions -= 1
            self._places.release()

    async def _acquire(self) -> None:
        if self._places.locked() and self._metrics.waiting >= self._limits.waiting:
            raise TurnedAway(Refusal.BUSY)
        self._metrics.waiting += 1
        try:
            async with asyncio.timeout(self._limits.wait):
                await self._places.acquire()
        except TimeoutError as error:
            raise TurnedAway(Refusal.BUSY) from error
        finally:
            self._metrics.waiting -= 1
