"""Messages cut into chunks and put together again, with credit that bounds what the receiver must hold.

Credit is counted in bytes of padded plaintext, of chunks only. Each end starts with `INITIAL_CREDIT`; the
receiver grants more as it can hold more. One message is in progress per direction at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from .errors import FlowControlError, LocalError, MessageError
from .messages import MESSAGES
from .records import CHUNK_HEAD, CHUNK_HEADER_SIZE, HEADER_SIZE, MAX_PLAINTEXT, PADDING, padded_size
from .wire import Buffer

INITIAL_CREDIT = MAX_PLAINTEXT
"""Bytes that each end may send before it is granted any."""

MAX_CREDIT = 2**31 - 1
_SPARE = range(1 << 18, 1 << 21)
"""Bytes of memory that a message leaves when it grows, for the records to come, and for the reply: as many
as it has itself, within these limits."""

_OVERHEAD = HEADER_SIZE + CHUNK_HEADER_SIZE
DEFAULT_MAX_MESSAGE = 256 << 20
DEFAULT_WINDOW = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What this end is willing to hold for its peer, in bytes.

    `max_message` bounds one request or reply, sent or received; `window` bounds what the peer may send ahead
    of being consumed.

    Raises:
        LocalError: `window` is smaller than the credit that every peer starts with, or a size is absurd.
    """

    max_message: int = DEFAULT_MAX_MESSAGE
    window: int = DEFAULT_WINDOW

    def __post_init__(self) -> None:
        if not INITIAL_CREDIT <= self.window <= MAX_CREDIT:
            raise LocalError(f"the window is {INITIAL_CREDIT} to {MAX_CREDIT} bytes, not {self.window}")
        if self.max_message <= 0:
            raise LocalError("the message limit must be positive")


class Dropped(Enum):
    """Why a message is not held: it is longer than allowed, or there is no memory for it."""

    TOO_LONG = 1
    NO_MEMORY = 2


class Assembled(NamedTuple):
    """A complete message as it came; `size` is what it counts for in `Inbox.held`.

    `body` is a view of what it came in or was put together in, so that its fields need no copy of their own.
    Where nothing is held, it is the reason: told once, as soon as that is known.
    """

    type: int
    number: int
    body: Buffer | Dropped
    size: int


class _Outgoing:
    """A message on its way out, in the pieces in which it was encoded."""

    __slots__ = ("_parts", "left", "number", "type")

    def __init__(self, kind: int, number: int, parts: Sequence[Buffer]) -> None:
        self.type = kind
        self.number = number
        self._parts = parts
        self.left = sum(map(len, parts))

    def take(self, size: int) -> bytes:
        """The next `size` bytes, or what is left."""
        if self.left <= size:
            self.left = 0
            return b"".join(self._parts)
        if not isinstance(self._parts, deque):
            self._parts = deque(memoryview(part) for part in self._parts if len(part))
        taken: list[Buffer] = []
        while size and self._parts:
            part = self._parts.popleft()
            taken.append(part[:size])
            if len(part) > size:
                self._parts.appendleft(part[size:])
            size -= len(taken[-1])
        data = b"".join(taken)
        self.left -= len(data)
        return data


class Outbox:
    """The sending half: cuts queued messages into chunks as far as credit allows."""

    def __init__(self) -> None:
        self.queue: deque[_Outgoing] = deque()
        """The messages that have not been handed out, or not all of them."""

        self._credit = INITIAL_CREDIT
        self.unsent = 0
        """Bytes of the queued messages that have not been handed out."""

    def put(self, kind: int, number: int, parts: Sequence[Buffer]) -> None:
        """Queue a message, which is not copied: its pieces must stay as they are until they are sent."""
        message = _Outgoing(kind, number, parts)
        self.queue.append(message)
        self.unsent += message.left

    def clear(self) -> None:
        """Drop what is queued: the peer will not read it."""
        self.queue.clear()
        self.unsent = 0

    def add_credit(self, amount: int) -> None:
        """Take a grant of the peer's.

        Raises:
            FlowControlError: the grant is zero or goes beyond what the protocol can count.
        """
        if not 0 < amount <= MAX_CREDIT - self._credit:
            raise FlowControlError("the peer granted an impossible amount of credit")
        self._credit += amount

    def take_credit(self, cost: int) -> bool:
        """Whether a message may go out now in one record with a plaintext of `cost` bytes, now paid for."""
        if self.queue or cost > self._credit:
            return False
        self._credit -= cost
        return True

    def next_chunk(self) -> bytes | None:
        """The next chunk's bytes, or None while nothing is queued or no credit is left."""
        if not self.queue or self._credit < PADDING:
            return None
        plaintext = min(MAX_PLAINTEXT, self._credit & -PADDING)
        message = self.queue[0]
        data = message.take(plaintext - HEADER_SIZE - CHUNK_HEADER_SIZE)
        self.unsent -= len(data)
        last = not message.left
        if last:
            self.queue.popleft()
        chunk = CHUNK_HEAD.pack(message.type, last, message.number) + data
        self._credit -= padded_size(len(chunk))
        return chunk


class Inbox:
    """The receiving half: puts messages together within the limits and says when to grant credit.

    What it holds (the message in progress, and complete ones until they are taken off) and the credit it has
    granted stay together within `max_message` + `window`.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._credit = INITIAL_CREDIT
        self.held = 0
        """Bytes that the complete messages count for; whoever is done with one takes off what it counts."""

        self.current: tuple[int, int] | None = None
        """The message in progress, by its type and number."""

        self._body = bytearray()
        self._skipping = False
        self.credit_is_low = True
        """Whether `grant` is worth asking."""

    @property
    def buffered(self) -> int:
        """Bytes held for the peer now, rounded up as they cost."""
        return self.held + (0 if self.current is None else _cost(len(self._body)))

    def receive_chunk(self, chunk: Buffer) -> Assembled | None:
        """Take a chunk; returns the message that it completes.

        Raises:
            FlowControlError: it is more than was granted.
            MessageError: malformed or out of turn.
        """
        size = len(chunk)
        self.charge((HEADER_SIZE + size + PADDING - 1) & -PADDING)
        if size < CHUNK_HEADER_SIZE:
            raise MessageError("malformed chunk")
        kind, last, number = CHUNK_HEAD.unpack_from(chunk)
        if kind not in MESSAGES:
            raise MessageError(f"unknown message type {kind}")
        if last not in (0, 1):
            raise MessageError("a chunk's last mark is neither 0 nor 1")
        data = chunk[CHUNK_HEADER_SIZE:]
        if self.current is None:
            if last and len(data) <= self._limits.max_message:
                return self._hold(kind, number, data)
        elif self.current != (kind, number):
            raise MessageError("a message began before the one before it ended")
        if not data:
            raise MessageError("a chunk holds nothing")
        if self._skipping or len(self._body) + len(data) > self._limits.max_message:
            return self._skip(kind, number, Dropped.TOO_LONG, last=last == 1)
        if not self._append(data):
            return self._skip(kind, number, Dropped.NO_MEMORY, last=last == 1)
        self.current = (kind, number)
        if not last:
            return None
        body, self._body, self.current = self._body, bytearray(), None
        return self._hold(kind, number, memoryview(body))

    def charge(self, cost: int) -> None:
        """Take what a chunk costs, in bytes of plaintext, out of the credit that was granted.

        Raises:
            FlowControlError: it is more than was granted.
        """
        self._credit -= cost
        if self._credit < 0:
            raise FlowControlError("the peer sent more than it was granted")
        if self._credit <= self._limits.window >> 1:
            self.credit_is_low = True

    def grant(self) -> int:
        """Bytes to grant now, counted as granted; 0 while it is not worth a record."""
        window = self._limits.window
        room = self._limits.max_message + window - self.buffered
        due = (min(window, room) - self._credit) // PADDING * PADDING
        if due < window // 2:
            return 0
        self._credit += due
        self.credit_is_low = False
        return due

    def _append(self, data: Buffer) -> bool:
        """Add to the message in progress; False where the channel would have no memory left for itself."""
        body = self._body
        grows = len(body) + len(data) > body.__alloc__()
        try:
            spare = bytes(min(max(len(body), _SPARE.start), _SPARE.stop) if grows else 0)
            body += data
            del spare
        except MemoryError:
            return False
        return True

    def _skip(self, kind: int, number: int, why: Dropped, *, last: bool) -> Assembled | None:
        """Pass over the pieces of a message that is not held; the first time, tell why."""
        told, self._skipping = self._skipping, not last
        self.current = None if last else (kind, number)
        self._body = bytearray()
        return None if told else Assembled(kind, number, why, 0)

    def _hold(self, kind: int, number: int, body: Buffer) -> Assembled:
        # Never more than its chunks cost the peer.
        cost = (_OVERHEAD + len(body) + PADDING - 1) & -PADDING
        self.held += cost
        return Assembled(kind, number, body, cost)


def _cost(body_size: int) -> int:
    """What a message of that size counts for: never more than its chunks cost the peer."""
    return padded_size(CHUNK_HEADER_SIZE + body_size)
