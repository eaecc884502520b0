"""`poll_oneoff`: wait for clocks and descriptors."""

from __future__ import annotations

from tinywasm.records import record
from tinywasm.wasi.abi import (
    CLOCK_ABSTIME,
    EVENT,
    READWRITE_HANGUP,
    SUBSCRIPTION,
    SUBSCRIPTION_CLOCK,
    SUBSCRIPTION_FD,
    U32,
    ClockId,
    Errno,
    EventType,
    FileType,
    Rights,
    WasiError,
    Whence,
)
from tinywasm.wasi.files import File
from tinywasm.wasi.guest import BAD, HANGUP, READABLE, WRITABLE, Guest
from tinywasm.wasi.process import clock_time
from tinywasm.wasi.registry import bit, enum, function

MAX_SUBSCRIPTIONS = 1 << 16
_SUBSCRIPTIONS_A_LOOK = 1024
_MASKS = {EventType.FD_READ: READABLE, EventType.FD_WRITE: WRITABLE}


@record()
class _Event:
    userdata: int
    type: EventType
    errno: Errno = Errno.SUCCESS
    bytes: int = 0
    flags: int = 0


@record()
class _Clock:
    event: _Event
    clock: ClockId
    deadline: int


@record()
class _Stream:
    event: _Event
    fd: int


class _Poll:
    """The subscriptions of one call, sorted into what is over already and what to wait for."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.over: list[_Event] = []
        self.clocks: list[_Clock] = []
        self.streams: list[_Stream] = []

    def subscribe(self, address: int) -> None:
        userdata, tag, content = self.guest.memory.load(SUBSCRIPTION, address)
        event = _Event(userdata, enum(EventType, tag))
        try:
            if event.type is EventType.CLOCK:
                self._add_clock(event, content)
            else:
                self._add_file(event, content)
        except WasiError as error:
            event.errno = error.errno
            self.over.append(event)

    def _add_clock(self, event: _Event, content: bytes) -> None:
        id, timeout, _, flags = SUBSCRIPTION_CLOCK.fields.unpack(content)
        clock = enum(ClockId, id)
        start = 0 if bit(CLOCK_ABSTIME, flags) else clock_time(self.guest, clock)
        self.clocks.append(_Clock(event, clock, start + timeout))

    def _add_file(self, event: _Event, content: bytes) -> None:
        (fd,) = SUBSCRIPTION_FD.fields.unpack(content)
        found = self.guest.table[fd]
        found.require(Rights.POLL_FD_READWRITE)
        file = found.file(Rights.FD_READ if event.type is EventType.FD_READ else Rights.FD_WRITE)
        number = file.fileno()
        if number is not None:
            self.streams.append(_Stream(event, number))
            return
        event.bytes = _left(file) if event.type is EventType.FD_READ else 1
        self.over.append(event)

    def run(self) -> list[_Event]:
        """Wait for the first event; all that have happened by then."""
        while True:
            wanted = [(stream.fd, _MASKS[stream.event.type]) for stream in self.streams]
            ready = dict(self.guest.wait(wanted, 0.0 if self.over else self._seconds()))
            events = self.over + [clock.event for clock in self.clocks if self._left(clock) <= 0]
            for stream in self.streams:
                happened = ready.get(stream.fd, 0)
                if happened & (_MASKS[stream.event.type] | HANGUP | BAD):
                    stream.event.bytes = 1
                    stream.event.flags = READWRITE_HANGUP if happened & HANGUP else 0
                    events.append(stream.event)
            if events:
                return events

    def _left(self, clock: _Clock) -> int:
        return clock.deadline - clock_time(self.guest, clock.clock)

    def _seconds(self) -> float | None:
        if not self.clocks:
            return None
        return max(0, min(map(self._left, self.clocks))) / 1e9


def _left(file: File) -> int:
    """Bytes between position and end of a file; 1 for a stream, of which nobody knows."""
    if file.filetype is not FileType.REGULAR_FILE:
        return 1
    return max(0, file.stat().size - file.seek(0, Whence.CUR))


@function("iiii")
def poll_oneoff(guest: Guest, subscriptions: int, events: int, count: int, result: int) -> None:
    if count == 0 or count > MAX_SUBSCRIPTIONS:
        raise WasiError(Errno.INVAL)
    guest.memory.check(events, count * EVENT.size)
    poll = _Poll(guest)
    for index in range(count):
        if index % _SUBSCRIPTIONS_A_LOOK == 0:
            guest.poll()
        poll.subscribe(subscriptions + index * SUBSCRIPTION.size)
    happened = poll.run()
    for index, event in enumerate(happened):
        fields = (event.userdata, event.errno, event.type, event.bytes, event.flags)
        guest.memory.store(EVENT, events + index * EVENT.size, *fields)
    guest.memory.store(U32, result, len(happened))
