"""Accepts clients and gives each an enclave of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from dataclasses import dataclass

from schannel.framing import REFUSAL

from .monitor import Enclave, MonitorError, MonitorProcess
from .relay import relay
from .storage import SealedStore, serve_storage

_log = logging.getLogger(__name__)

_REFUSAL_LINGER, _REFUSAL_READ = 1.0, 4096
"""Seconds for which a refused client's bytes are read, and thrown away, and how many at a time."""

MAX_ENCLAVES = 16
"""Enclaves at a time: Keystone's ENCL_MAX."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """`enclaves` at a time; another client waits for one at most `wait` seconds, and so many may wait.

    An enclave that is asked to end has `grace` seconds for it.
    """

    enclaves: int = MAX_ENCLAVES
    waiting: int = 64
    wait: float = 10.0
    grace: float = 2.0


class Server:
    """Relays between clients and enclaves until `close`."""

    def __init__(
        self, monitor: MonitorProcess, store: SealedStore, limits: ServerLimits | None = None
    ) -> None:
        self._monitor = monitor
        self._store = store
        self._limits = limits or ServerLimits()
        self._free = asyncio.Semaphore(self._limits.enclaves)
        self._waiting = 0
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def listen(self, listener: socket.socket) -> None:
        """Accept clients from a bound socket."""
        self._listener = await asyncio.start_server(self._accept, sock=listener)

    async def close(self) -> None:
        """Accept nobody any more, have every enclave close its session, and wait until they have ended."""
        if self._listener is not None:
            self._listener.close()
        self._stopping.set()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        peer = "{}:{}".format(*writer.get_extra_info("peername")[:2])
        try:
            await self._serve(peer, reader, writer)
        except (OSError, MonitorError) as error:
            _log.warning("%s: %s", peer, error)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._acquire():
            _log.warning("%s: refused, no enclave is free", peer)
            await _refuse(reader, writer)
            return
        try:
            enclave = await self._monitor.start_enclave()
            _log.info("%s: enclave %d started, process %d", peer, enclave.number, enclave.pid.result())
            await self._connect(peer, (reader, writer), enclave)
        finally:
            self._free.release()

    async def _acquire(self) -> bool:
        """Wait for a free enclave, no longer than the limits allow."""
        if self._free.locked() and self._waiting >= self._limits.waiting:
            return False
        self._waiting += 1
        acquiring = asyncio.create_task(self._free.acquire())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait(
                {acquiring, stopping}, timeout=self._limits.wait, return_when=asyncio.FIRST_COMPLETED
            )
            return acquiring.done()
        finally:
            self._waiting -= 1
            acquiring.cancel()
            stopping.cancel()

    async def _connect(
        self, peer: str, client: tuple[asyncio.StreamReader, asyncio.StreamWriter], enclave: Enclave
    ) -> None:
        streams = await asyncio.open_connection(sock=enclave.channel)
        storage = await asyncio.open_connection(sock=enclave.storage)
        storing = asyncio.create_task(serve_storage(*storage, self._store, enclave.number))
        relaying = asyncio.create_task(relay(client, streams))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({relaying, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                self._monitor.stop_enclave(enclave)
                await asyncio.wait({relaying}, timeout=self._limits.grace)
        finally:
            for task in (relaying, stopping, storing):
                task.cancel()
            await asyncio.gather(relaying, stopping, storing, return_exceptions=True)
            streams[1].close()
            await self._end(peer, enclave)

    async def _end(self, peer: str, enclave: Enclave) -> None:
        """Wait for an enclave whose channel is closed; end it when it goes on without its client."""
        ended = asyncio.shield(enclave.ended)
        try:
            status = await asyncio.wait_for(ended, self._limits.grace)
        except TimeoutError:
            self._monitor.kill_enclave(enclave)
            status = await enclave.ended
        _log.info("%s: enclave %d %s", peer, enclave.number, describe_status(status))


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Tell a client that no enclave is free, and see to it that it hears."""
    writer.write(REFUSAL)
    writer.write_eof()
    # Closing with unread bytes would reset the connection, and the refusal could be lost with it.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REFUSAL_LINGER):
            while await reader.read(_REFUSAL_READ):
                pass


def describe_status(status: int) -> str:
    """How a process ended, for people, from its wait status."""
    if os.WIFSIGNALED(status):
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"was ended by signal {os.WTERMSIG(status)}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"
