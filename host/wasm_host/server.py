"""Accepts clients and gives each an enclave of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any, NoReturn, TypeVar

from schannel.framing import LENGTH_SIZE, MAGIC, PROLOGUE_SIZE, Refusal, encode_refusal

from .admission import Admission, TurnedAway
from .limits import ServerLimits
from .logs import LimitedLog, log_event
from .memory import MemoryWatch
from .metrics import Metrics
from .monitor import FAILED, KILLED, Enclave, End, Monitor, MonitorError, NoRoom, Stop
from .pool import EnclavePool
from .relay import Relay, Streams, Traffic
from .storage import SealedStore, serve_storage

_REFUSAL_LINGER, _REFUSAL_READ = 1.0, 4096
"""Seconds for which a refused client's bytes are read, and thrown away, and how many at a time."""

_MAX_REFUSING = 64
"""Clients that are told at a time; more than these just find the connection closed."""

_MAX_FIRST_MESSAGE = 1024
"""Bytes of a client's first record: in every suite it is one public key."""

_MAX_EARLY = 4096
"""Bytes that are read of a client while it waits for an enclave."""

_T = TypeVar("_T")


_FOREIGN, _LEFT, _FAILED = "foreign", "left", "failed"
NOT_SERVED = (_FOREIGN, _LEFT, _FAILED)
"""Why clients are not served, where they are not told: another protocol, an early end, no enclave."""


class NotOurs(Exception):
    """Nobody to serve; `reason` is one of `NOT_SERVED`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[NotOurs], tuple[str, str]]:
        return type(self), (self.reason, str(self))


class Server:
    """Relays between clients and enclaves until it is drained or closed.

    `data_limit` is what an enclave may have by its configuration, in bytes; None where that is not known.
    """

    def __init__(
        self,
        monitor: Monitor,
        store: SealedStore,
        limits: ServerLimits | None = None,
        metrics: Metrics | None = None,
        data_limit: int | None = None,
    ) -> None:
        self._monitor = monitor
        self._store = store
        self._limits = limits or ServerLimits()
        self._metrics = metrics or Metrics()
        self._admission = Admission(self._limits, self._metrics)
        self._memory = MemoryWatch(self._limits.memory, data_limit)
        self._pool = EnclavePool(monitor, self._limits.pool, self._metrics)
        self._relay = Relay(self._limits.buffer)
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._refusing = 0
        self._log = LimitedLog()
        self._draining = asyncio.Event()
        self._closing = asyncio.Event()
        self._grace = self._limits.grace

    @property
    def enclave_memory(self) -> int:
        """Bytes that the enclaves have now that serve clients."""
        return self._memory.used

    @property
    def accepting(self) -> bool:
        """Whether a client that connects now may be served."""
        return self._listener is not None and not self._draining.is_set()

    async def listen(self, listener: socket.socket) -> None:
        """Accept clients from a bound socket."""
        self._listener = await asyncio.start_server(self._accept, sock=listener, limit=self._limits.buffer)
        self._relay.start()
        self._pool.fill()

    async def drain(self) -> None:
        """Accept nobody any more, give sessions the time that the limits name to finish, then close."""
        await self._stop_accepting()
        if self._connections:
            log_event(logging.INFO, "draining", f"{self._metrics.sessions} sessions have time to finish")
            closing = asyncio.create_task(self._closing.wait())
            finished = asyncio.create_task(asyncio.wait(self._connections))
            either: set[asyncio.Task[Any]] = {closing, finished}
            await asyncio.wait(either, timeout=self._limits.drain, return_when=asyncio.FIRST_COMPLETED)
            for task in either:
                task.cancel()
        await self.close()

    async def close(self) -> None:
        """Accept nobody any more, have every enclave close its session, and wait until they have ended."""
        self._closing.set()
        await self._stop_accepting()
        if self._connections:
            await asyncio.wait(self._connections)
        self._relay.close()

    def hurry(self) -> None:
        """Do not let sessions finish by themselves: have their enclaves close them."""
        self._closing.set()

    def abort(self) -> None:
        """Give up draining or closing in order: end every enclave at once."""
        self._grace = 0.0
        self._closing.set()

    async def _stop_accepting(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._draining.set()
        await self._pool.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._metrics.connections += 1
        writer.transport.set_write_buffer_limits(self._limits.buffer)
        address, port = writer.get_extra_info("peername")[:2]
        peer = f"{address}:{port}"
        try:
            await self._serve(address, peer, (reader, writer))
        except TurnedAway as error:
            self._metrics.refused[error.refusal.name.lower()] += 1
            self._log.event(logging.WARNING, "refused", f"{peer}: told that the host {error}", peer=peer)
            await self._refuse((reader, writer), error.refusal)
        except NotOurs as error:
            self._metrics.refused[error.reason] += 1
            self._log.event(logging.INFO, "not_served", f"{peer}: {error}", peer=peer)
        except (OSError, MonitorError) as error:
            self._metrics.refused[_FAILED] += 1
            self._log.event(logging.WARNING, "failed", f"{peer}: {error}", peer=peer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, address: str, peer: str, client: Streams) -> None:
        with self._admission.connection(address):
            first = await unless(first_message(client[0], self._limits.handshake), self._drained())
            since = time.monotonic()
            async with contextlib.AsyncExitStack() as stack:
                early = bytearray()
                taking = self._take(address, stack)
                enclave = await unless(taking, self._drained(), hung_up(client[0], early))
                first += early
                self._metrics.waits += 1
                self._metrics.wait_seconds += time.monotonic() - since
                log_event(
                    logging.INFO,
                    "session_started",
                    f"{peer}: enclave {enclave.number} started, {enclave.place}",
                    peer=peer,
                    enclave=enclave.number,
                )
                kill = partial(self._monitor.kill_enclave, enclave)
                with self._memory.watching(enclave.place, enclave.memory, kill) as too_large:
                    await self._connect(peer, client, enclave, first, too_large)

    async def _take(self, address: str, stack: contextlib.AsyncExitStack) -> Enclave:
        """Wait for a place, which `stack` holds, and for an enclave."""
        await stack.enter_async_context(self._admission.place(address))
        try:
            return await self._pool.take()
        except NoRoom as error:
            self._log.event(logging.WARNING, "no_room", str(error))
            raise TurnedAway(Refusal.BUSY) from error

    async def _drained(self) -> NoReturn:
        """Wait until the host stops, which is TurnedAway."""
        await self._draining.wait()
        raise TurnedAway(Refusal.STOPPING)

    async def _connect(
        self, peer: str, client: Streams, enclave: Enclave, first: bytes, too_large: asyncio.Event
    ) -> None:
        storage = await asyncio.open_connection(sock=enclave.storage)
        storing = asyncio.create_task(serve_storage(*storage, self._store))
        traffic = Traffic()
        relaying = asyncio.create_task(self._relay.relay(client, enclave.channel, first, traffic))
        try:
            if why := await self._end_of_session(relaying, traffic, too_large):
                self._stop(peer, enclave, why)
                await asyncio.wait({relaying}, timeout=self._grace)
        finally:
            for task in (relaying, storing):
                task.cancel()
            await asyncio.gather(relaying, storing, return_exceptions=True)
            self._metrics.relayed.update(traffic.relayed)
            await self._end(peer, enclave, traffic)

    async def _end_of_session(
        self, relaying: asyncio.Task[None], traffic: Traffic, too_large: asyncio.Event
    ) -> Stop | None:
        """Wait for the end; returns why the session has to be ended, None when it has ended by itself."""
        over = time.monotonic() + self._limits.session
        closing, chosen = (asyncio.create_task(event.wait()) for event in (self._closing, too_large))
        try:
            while True:
                quiet = traffic.last + self._limits.idle
                left = min(quiet, over) - time.monotonic()
                if left <= 0:
                    return Stop.IDLE if quiet < over else Stop.TIME
                waited_for: set[asyncio.Task[Any]] = {relaying, closing, chosen}
                await asyncio.wait(waited_for, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if relaying.done():
                    return None
                if closing.done() or chosen.done():
                    return Stop.SHUTDOWN if closing.done() else Stop.MEMORY
        finally:
            closing.cancel()
            chosen.cancel()

    def _stop(self, peer: str, enclave: Enclave, why: Stop) -> None:
        """Have an enclave close its session."""
        self._metrics.closed[why.name.lower()] += 1
        log_event(logging.INFO, "session_closed", f"{peer}: {why.value}", peer=peer, enclave=enclave.number)
        self._monitor.stop_enclave(enclave, why)

    async def _end(self, peer: str, enclave: Enclave, traffic: Traffic) -> None:
        """Wait for an enclave whose channel is closed; end it when it goes on without its client."""
        ended = asyncio.shield(enclave.ended)
        try:
            end = await asyncio.wait_for(ended, self._grace)
        except TimeoutError:
            self._monitor.kill_enclave(enclave)
            await enclave.ended
            end = End(KILLED, "the enclave did not end when asked, and was killed")
        self._metrics.enclaves_ended[end.how] += 1
        log_event(
            logging.WARNING if end.how in (KILLED, FAILED) else logging.INFO,
            "session_ended",
            f"{peer}: enclave {enclave.number} has ended: {end.shown}",
            peer=peer,
            enclave=enclave.number,
            how=end.how,
            **traffic.relayed,
        )

    async def _refuse(self, client: Streams, refusal: Refusal) -> None:
        """Tell a client why it is not served, and see to it that it hears."""
        if self._refusing >= _MAX_REFUSING:
            return
        reader, writer = client
        self._refusing += 1
        # Closing with unread bytes would reset the connection, and the refusal could be lost with it.
        try:
            writer.write(encode_refusal(refusal))
            writer.write_eof()
            async with asyncio.timeout(_REFUSAL_LINGER):
                while await reader.read(_REFUSAL_READ):
                    pass
        except (TimeoutError, OSError):
            pass
        finally:
            self._refusing -= 1


async def unless(waited_for: Coroutine[Any, Any, _T], *given_up: Coroutine[Any, Any, NoReturn]) -> _T:
    """Wait for something, unless one of the others raises before: then it does not matter any more."""
    wanted = asyncio.create_task(waited_for)
    others = [asyncio.create_task(other) for other in given_up]
    try:
        await asyncio.wait({wanted, *others}, return_when=asyncio.FIRST_COMPLETED)
        return next(filter(asyncio.Task.done, [wanted, *others])).result()
    finally:
        for task in (wanted, *others):
            task.cancel()
        await asyncio.gather(wanted, *others, return_exceptions=True)


async def hung_up(reader: asyncio.StreamReader, early: bytearray) -> NoReturn:
    """Wait until a client that waits itself has left; what it sends meanwhile is added to `early`.

    Raises:
        NotOurs: it has left: without its own direction of the stream, a session is not possible either.
    """
    try:
        # A client has nothing to say before its enclave has: who sends more than this is not looked after.
        while len(early) <= _MAX_EARLY:
            if not (data := await reader.read(_MAX_EARLY)):
                raise NotOurs(_LEFT, "left while it waited for an enclave")
            early += data
    except ConnectionError as error:
        raise NotOurs(_LEFT, "broke off while it waited for an enclave") from error
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody ends this wait")


async def first_message(reader: asyncio.StreamReader, seconds: float) -> bytes:
    """A client's prologue and first record: who does not send them costs no enclave.

    Raises:
        NotOurs: somebody else's bytes, or an end before they were there.
        TurnedAway: they were not there within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            prologue = await reader.readexactly(PROLOGUE_SIZE)
            if not prologue.startswith(MAGIC):
                raise NotOurs(_FOREIGN, "does not speak this protocol")
            prefix = await reader.readexactly(LENGTH_SIZE)
            size = int.from_bytes(prefix, "big")
            if not 0 < size <= _MAX_FIRST_MESSAGE:
                raise NotOurs(_FOREIGN, "does not begin as a client does")
            return prologue + prefix + await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise NotOurs(_LEFT, "left before its first message was complete") from error
    except ConnectionError as error:
        raise NotOurs(_LEFT, "broke off before its first message was complete") from error
    except TimeoutError as error:
        raise TurnedAway(Refusal.SLOW) from error
