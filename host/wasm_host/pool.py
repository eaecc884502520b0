"""Enclaves that are started, locked down and wait for a client, so that none waits for them.

An enclave serves one client and ends; what is kept ready has served nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial

from schannel.endings import Ending

from .logs import log_event
from .metrics import Metrics
from .monitor import Enclave, End, Monitor, MonitorError

_RETRY = 1.0
"""Seconds before another try when an enclave could not be started, or ended while it waited."""


class EnclavePool:
    """Keeps up to `size` enclaves ready; 0 means that each is started when it is wanted."""

    def __init__(self, monitor: Monitor, size: int, metrics: Metrics) -> None:
        self._monitor = monitor
        self._size = size
        self._metrics = metrics
        self._ready: deque[Enclave] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._closed = False

    async def take(self) -> Enclave:
        """An enclave that has served nobody.

        Raises:
            MonitorError, OSError: none can be started.
        """
        while self._ready:
            enclave = self._ready.popleft()
            self._count()
            if not enclave.ended.done():
                self.fill()
                return enclave
        enclave = await self._start()
        self.fill()
        return enclave

    def fill(self) -> None:
        """Start what is missing, in the background."""
        if not self._closed and (self._filling is None or self._filling.done()):
            self._filling = asyncio.create_task(self._fill())

    async def close(self) -> None:
        """End the enclaves that wait, and start no more."""
        self._closed = True
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)
        for enclave in self._ready:
            self._monitor.kill_enclave(enclave)
            enclave.hang_up()
        self._ready.clear()
        self._count()

    async def _fill(self) -> None:
        while len(self._ready) < self._size:
            try:
                enclave = await self._start()
            except (MonitorError, OSError) as error:
                log_event(logging.WARNING, "pool_failed", f"no enclave can be kept ready: {error}")
                await asyncio.sleep(_RETRY)
                continue
            self._ready.append(enclave)
            self._count()
            enclave.ended.add_done_callback(partial(self._lose, enclave))

    def _lose(self, enclave: Enclave, _ended: asyncio.Future[End]) -> None:
        if enclave not in self._ready:
            return
        self._ready.remove(enclave)
        self._count()
        self._metrics.enclaves_ended[Ending.FAILED.name.lower()] += 1
        enclave.hang_up()
        log_event(
            logging.WARNING,
            "pool_lost",
            f"enclave {enclave.number} ended before it had a client",
            enclave=enclave.number,
        )
        if not self._closed:
            # Not at once: where enclaves cannot live, starting them over and over would be all that is done.
            asyncio.get_running_loop().call_later(_RETRY, self.fill)

    async def _start(self) -> Enclave:
        enclave = await self._monitor.start_enclave()
        self._metrics.enclaves_started += 1
        return enclave

    def _count(self) -> None:
        self._metrics.pool_ready = len(self._ready)
