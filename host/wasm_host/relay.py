"""Passes bytes between clients and their enclaves, both ways, as fast as the slower side takes them.

One thread does it for all sessions: it is on the way of every call, twice, and waking a task of asyncio costs
several times what passing the bytes on does. What belongs to a session is touched by that thread alone.

Where the extension `_pump` is built it passes on what is plain, without the interpreter lock; all else is
decided here, with it and without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import select
import socket
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from schannel.extensions import STALE, is_stale

if TYPE_CHECKING:
    from ._pump import Pump

_GRACE = 5.0
"""Seconds for what is still to be passed on once one side has ended."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


_UP, _DOWN, _LAST = range(3)
"""Where a session's counters hold what."""


def _load() -> tuple[type[Pump] | None, str]:
    """The extension's wait, or why it cannot be used."""
    if is_stale("wasm_host._pump"):
        return None, STALE
    try:
        built = importlib.import_module("wasm_host._pump")
    except ModuleNotFoundError:
        return None, "the extension was not built"
    except ImportError as error:
        return None, f"the extension does not load: {error}"
    return built.Pump, ""


_Pump, pump_unavailable_because = _load()


class Traffic:
    """Bytes passed on, and when the last of them were: the relay's thread writes, any other may read."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = array("Q", (0, 0, time.monotonic_ns()))
        """Bytes up, bytes down, and a time in nanoseconds, where the extension finds them."""

    @property
    def relayed(self) -> dict[str, int]:
        """Bytes, ``up`` to the enclave and ``down`` to the client."""
        return {"up": self.counts[_UP], "down": self.counts[_DOWN]}

    @property
    def last(self) -> float:
        """When the last of them were passed on, in seconds of the monotonic clock."""
        return self.counts[_LAST] / 1e9

    def add(self, direction: int, size: int) -> None:
        """Note that `size` bytes were passed on."""
        self.counts[direction] += size
        self.counts[_LAST] = time.monotonic_ns()


class _End:
    """One side of a session; `pending` came from it and waits for the other side to take it."""

    __slots__ = ("direction", "events", "other", "pending", "reading", "socket", "traffic")

    other: _End

    def __init__(
        self,
        sock: socket.socket,
        direction: int,
        traffic: Traffic,
        pending: bytes = b"",
        *,
        reading: bool = True,
    ) -> None:
        self.socket = sock
        self.direction = direction
        self.traffic = traffic
        self.pending = pending
        self.reading = reading
        self.events = 0


class _Link:
    """A session's two sides, and what the loop hears of them."""

    def __init__(self, client: _End, enclave: _End) -> None:
        client.other, enclave.other = enclave, client
        self.ends = (client, enclave)
        self.client = client
        self._loop = asyncio.get_running_loop()
        self.ended = self._loop.create_future()
        """Done when either side sends nothing more."""

        self.finished = self._loop.create_future()
        """Done when nothing more goes to the client."""

    def note(self, *futures: asyncio.Future[None]) -> None:
        """Tell the loop, from the relay's thread."""
        # The loop may be gone when the process ends.
        with contextlib.suppress(RuntimeError):
            for future in futures:
                self._loop.call_soon_threadsafe(_resolve, future)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Relay:
    """The relaying thread of a host; `buffer` is what it holds of one direction of one session, in bytes.

    Each `start` has its `close`.
    """

    def __init__(self, buffer: int) -> None:
        self._buffer = memoryview(bytearray(buffer))
        self._epoll = select.epoll()
        self._pump = _Pump(self._epoll.fileno(), self._buffer) if _Pump else None
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._ends: dict[int, tuple[_End, _Link]] = {}
        self._orders: deque[Callable[[], None]] = deque()
        self._running = True
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        """Begin to relay what `relay` is given."""
        self._thread.start()

    async def relay(self, client: Streams, enclave: socket.socket, first: bytes, traffic: Traffic) -> None:
        """Relay until either side is through, beginning with `first` to the enclave, which is then hung up.

        An end of stream is passed on as such. When one side's has come, there is a grace period for what is
        on its way to the client, the enclave's answer to the end of its client's stream included.
        """
        try:
            arrived, ended = await _take_over(client)
            # A descriptor of the thread's own: asyncio closes its one when it likes.
            descriptor = os.dup(client[1].get_extra_info("socket").fileno())
        except BaseException:
            enclave.close()
            raise
        enclave.setblocking(False)
        up = _End(socket.socket(fileno=descriptor), _UP, traffic, first + arrived, reading=not ended)
        link = _Link(up, _End(enclave, _DOWN, traffic))
        self._order(lambda: self._add(link))
        try:
            await link.ended
            await asyncio.wait({link.finished}, timeout=_GRACE)
        finally:
            self._order(lambda: self._drop(link))

    def close(self) -> None:
        """Stop; what is being relayed ends."""
        if self._thread.is_alive():
            self._order(self._stop)
            self._thread.join()
            # Not in the thread: it may obey before it is woken, and would have closed what is to wake it.
            self._epoll.close()
            os.close(self._wake)

    def _order(self, action: Callable[[], None]) -> None:
        """Have the relay's thread do something."""
        if self._thread.is_alive():
            self._orders.append(action)
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        ends = self._ends
        while self._running:
            woken = False
            for descriptor, untaken in self._poll():
                woken |= descriptor == self._wake
                if descriptor in ends:
                    end, link = ends[descriptor]
                    try:
                        self._serve(end, link, untaken)
                    except OSError:
                        self._drop(link)
            # At the end: what is added now may have the number of what was dropped just before.
            if woken:
                self._obey()
        for _, link in list(ends.values()):
            self._drop(link)

    def _poll(self) -> list[tuple[int, bytes]]:
        """Wait; returns the descriptors to look at, with what came from them and the other did not take."""
        if self._pump is not None:
            return self._pump.poll()
        return [(descriptor, b"") for descriptor, _ in self._epoll.poll()]

    def _obey(self) -> None:
        os.eventfd_read(self._wake)
        while self._orders:
            self._orders.popleft()()

    def _stop(self) -> None:
        self._running = False

    def _add(self, link: _Link) -> None:
        for end in link.ends:
            self._ends[end.socket.fileno()] = (end, link)
        try:
            for end in link.ends:
                self._watch(end)
                self._flush(end, link)
        except OSError:
            self._drop(link)

    def _drop(self, link: _Link) -> None:
        for end in link.ends:
            if self._ends.pop(end.socket.fileno(), None) is not None:
                if self._pump is not None:
                    self._pump.forget(end.socket.fileno())
                if end.events:
                    self._epoll.unregister(end.socket)
                end.socket.close()
        link.note(link.ended, link.finished)

    def _serve(self, end: _End, link: _Link, untaken: bytes) -> None:
        """An end has bytes, takes bytes again, has ended or has broken; the other did not take `untaken`."""
        if untaken:
            self._pass_on(end, link, memoryview(untaken))
            return
        if end.other.pending:
            self._flush(end.other, link)
        if end.pending or not end.reading:
            return
        try:
            size = end.socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if size:
            self._pass_on(end, link, self._buffer[:size])
        else:
            end.reading = False
            self._through(end, link)
            self._watch(end)

    def _flush(self, end: _End, link: _Link) -> None:
        pending, end.pending = end.pending, b""
        if pending:
            self._pass_on(end, link, memoryview(pending))
        if not end.pending:
            if not end.reading:
                self._through(end, link)
            self._watch(end)
            self._watch(end.other)

    def _pass_on(self, end: _End, link: _Link, data: memoryview) -> None:
        """Send to the other side what came from `end`; what that does not take waits."""
        try:
            sent = end.other.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost(end, link)
            return
        end.traffic.add(end.direction, sent)
        if sent < len(data):
            end.pending = bytes(data[sent:])
            self._watch(end)
            self._watch(end.other)

    def _through(self, end: _End, link: _Link) -> None:
        """Nothing comes from `end` any more: pass that on, after what came before."""
        if not end.pending:
            with contextlib.suppress(OSError):
                end.other.socket.shutdown(socket.SHUT_WR)
        link.note(link.ended)
        if end is not link.client and not end.pending:
            link.note(link.finished)

    def _lost(self, end: _End, link: _Link) -> None:
        """The other side takes nothing any more."""
        end.reading = False
        self._watch(end)
        if end is not link.client:
            link.note(link.ended, link.finished)

    def _watch(self, end: _End) -> None:
        """Have the kernel tell what can be done now; an end that has broken would tell it for ever."""
        events = select.EPOLLIN if end.reading and not end.pending else 0
        if end.other.pending:
            events |= select.EPOLLOUT
        if events == end.events:
            return
        if not end.events:
            self._epoll.register(end.socket, events)
        elif events:
            self._epoll.modify(end.socket, events)
        else:
            self._epoll.unregister(end.socket)
        end.events = events
        if self._pump is None:
            return
        # Nothing waits in either direction: the plain case.
        if events == select.EPOLLIN:
            other = end.other.socket.fileno()
            self._pump.pass_on(end.socket.fileno(), other, end.traffic.counts, end.direction)
        else:
            self._pump.forget(end.socket.fileno())


async def _take_over(client: Streams) -> tuple[bytes, bool]:
    """What a client's stream holds already, and whether that is all; asyncio reads no more of it."""
    reader, transport = client[0], client[1].transport
    assert isinstance(transport, asyncio.Transport)
    arrived = b""
    while not transport.is_closing():
        # Taking bytes out of a full stream lets it read again.
        transport.pause_reading()
        reading = asyncio.ensure_future(reader.read(1 << 16))
        await asyncio.sleep(0)
        if not reading.done():
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            return arrived, False
        if reading.exception() is not None or not reading.result():
            break
        arrived += reading.result()
    return arrived, True
