"""Who may come in: connections are counted, and clients wait in a queue of bounded length and time.

Whatever there is, no single address can take all of it: connections, enclaves, and with its connections the
places in the queue, where those who wait for their own address's share are not in the way of others.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

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


@dataclass(slots=True)
class _Address:
    """The open connections from one address, and its share of the enclaves."""

    places: asyncio.Semaphore
    connections: int = 0


class Admission:
    """Counts connections by address, and gives places to those that wait in turn."""

    def __init__(self, limits: ServerLimits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._by_address: dict[str, _Address] = {}
        self._places = asyncio.Semaphore(limits.enclaves)

    @contextmanager
    def connection(self, address: str) -> Iterator[None]:
        """Count one connection as long as it lasts.

        Raises:
            TurnedAway: there are too many, altogether or from this address.
        """
        if self._metrics.open_connections >= self._limits.connections:
            raise TurnedAway(Refusal.CONNECTIONS)
        network = network_of(address)
        known = self._by_address.get(network) or _Address(asyncio.Semaphore(self._limits.share))
        if known.connections >= self._limits.per_address:
            raise TurnedAway(Refusal.ADDRESS)
        self._by_address[network] = known
        self._metrics.open_connections += 1
        known.connections += 1
        try:
            yield
        finally:
            self._metrics.open_connections -= 1
            known.connections -= 1
            if not known.connections:
                del self._by_address[network]

    @asynccontextmanager
    async def place(self, address: str) -> AsyncIterator[None]:
        """Wait for one of the places of clients that are served, and hold it, for a counted connection.

        Raises:
            TurnedAway: none became free in time, or too many wait already.
        """
        share = self._by_address[network_of(address)].places
        await self._acquire(share)
        self._metrics.sessions += 1
        try:
            yield
        finally:
            self._metrics.sessions -= 1
            self._places.release()
            share.release()

    async def _acquire(self, share: asyncio.Semaphore) -> None:
        if (self._places.locked() or share.locked()) and self._metrics.waiting >= self._limits.waiting:
            raise TurnedAway(Refusal.BUSY)
        self._metrics.waiting += 1
        try:
            async with asyncio.timeout(self._limits.wait):
                await share.acquire()
                try:
                    await self._places.acquire()
                except BaseException:
                    share.release()
                    raise
        except TimeoutError as error:
            # With a place free, it is its own address that has too many.
            raise TurnedAway(Refusal.BUSY if self._places.locked() else Refusal.ADDRESS) from error
        finally:
            self._metrics.waiting -= 1
