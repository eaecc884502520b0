"""The two ends of a channel as state machines: bytes in, events and bytes out, no sockets and no clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from . import fast, layouts
from .ed25519_sha3 import SigningKey
from .endings import CloseReason
from .errors import LocalError, MessageError, PolicyError, ProtocolError, Truncated
from .events import (
    ClientIdentified,
    Event,
    EvidenceRequired,
    PeerClosed,
    ReplyReceived,
    RequestReceived,
)
from .evidence import Claims, Isolation, Report, compact
from .flow import Dropped, Inbox, Limits, Outbox
from .framing import PROLOGUE_SIZE, StreamParser
from .handshake import (
    ALL_SUITES,
    ClientHandshake,
    EnclaveHandshake,
    Established,
    Suite,
    sign_identity,
    verify_identity,
)
from .messages import (
    MESSAGES,
    NO_MEMORY,
    RESULT,
    CallRequest,
    CallResult,
    ErrorReply,
    Message,
    Reply,
    Request,
    decode,
    encode,
    too_large,
)
from .policy import Policy, verify_evidence
from .records import (
    DEFAULT_REKEY,
    PADDING,
    RecordKind,
    RecordReader,
    RecordWriter,
    RekeyInterval,
    split,
)
from .states import CLIENT, ENCLAVE, SENDING, Passed, Table
from .states import State as State
from .wire import Buffer

_MAX_NUMBER = 2**32 - 1
_NOT_OPEN = "the channel is not open"
_ERROR = ErrorReply.type_byte


_OPEN = State.OPEN
_RECEIVED = {
    RecordKind.MESSAGE: Passed.MESSAGE_RECEIVED,
    RecordKind.CREDIT: Passed.CREDIT_RECEIVED,
    RecordKind.CLOSE: Passed.CLOSE_RECEIVED,
    RecordKind.EVIDENCE: Passed.EVIDENCE_RECEIVED,
    RecordKind.IDENTITY: Passed.IDENTITY_RECEIVED,
}


class _Session(ABC):
    """What both ends have in common: framing, records, flow control, the close, and how to die."""

    _table: Table
    """How this end moves from state to state."""

    _event: type[RequestReceived | ReplyReceived]
    """What a message is to this end."""

    _small: type[Message]
    """Of the messages that come, what the fast path reads."""

    def __init__(self, state: State, limits: Limits, rekey: RekeyInterval) -> None:
        self.state = state
        """Where the session is: it moves as `_following` says, or dies."""

        self._limits = limits
        self._takes_small = limits.max_message >= PADDING
        self._rekey = rekey
        self._parser = StreamParser()
        self._out = bytearray()
        self._outbox = Outbox()
        self._inbox = Inbox(limits)
        self._writer: RecordWriter | None = None
        self._reader: RecordReader | None = None
        self._handshake_hash = b""
        self._close_reason: CloseReason | None = None

    @property
    def handshake_hash(self) -> bytes:
        """The name of this connection (Noise, section 11.2); empty before the handshake is done."""
        return self._handshake_hash

    @property
    def peer_closed(self) -> bool:
        """Whether the peer's authenticated close has come."""
        return self.state in (State.CLOSE_RECEIVED, State.CLOSED)

    @property
    def unsent(self) -> int:
        """Bytes of queued messages that wait for the peer's credit."""
        return self._outbox.unsent

    @property
    def buffered(self) -> int:
        """Bytes held of messages of the peer's that are incomplete or unanswered."""
        return self._inbox.buffered

    def receive_data(self, data: bytes) -> list[Event]:
        """Take received bytes, in whatever pieces they come; returns what they complete.

        Raises:
            RemoteError: the peer, or somebody between, broke the protocol. The session is dead, its keys are
                erased, and nothing more is sent: not even why. Only where a client's policy refuses the
                enclave, one record is left to be sent: the close that says so.
            LocalError: the session is dead already.
        """
        if self.state is State.DEAD:
            raise LocalError("the session is over")
        events: list[Event] = []
        try:
            only = self._parser.only_record(data) if self.state is _OPEN else None
            if only is None:
                self._receive(data, events)
            else:
                self._take(only, events)
            if self._inbox.credit_is_low:
                self._grant()
        except BaseException:
            self.abort()
            raise
        return events

    def _receive(self, data: bytes, events: list[Event]) -> None:
        self._parser.receive_data(data)
        while self._next(events):
            pass

    def _next(self, events: list[Event]) -> bool:
        """Process the next piece of the stream; False if it is not complete yet."""
        record = self._parser.next_record()
        if record is None:
            return False
        if self.state is State.HANDSHAKE:
            self._shake_hands(record, events)
        else:
            self._take(record, events)
        return True

    def _following(self, passed: Passed) -> State:
        """The state after what has passed; MessageError where it may not."""
        following = self._table[self.state].get(passed)
        if following is None:
            raise MessageError(f"{passed.name} is not possible in the state {self.state.name}")
        return following

    def receive_eof(self) -> None:
        """Note the end of the peer's stream.

        Raises:
            Truncated: the peer's authenticated close had not come before.
        """
        if self.peer_closed:
            return
        was_dead = self.state is State.DEAD
        self.abort()
        if not was_dead:
            raise Truncated("the stream ended without the peer's authenticated close")

    def data_to_send(self) -> bytes:
        """Take the bytes that are ready to go out. To be called after every other method."""
        try:
            if self._outbox.queue or self._close_reason is not None:
                self._flush()
        except ProtocolError:
            self.abort()
            raise
        data = bytes(self._out)
        if data:
            self._out.clear()
        return data

    def close(self, reason: CloseReason = CloseReason.DONE) -> None:
        """Queue the authenticated close, after everything that is queued already.

        Before the channel is open there is nothing to close: the session just ends.
        """
        if self.state < State.UNCONFIRMED:
            self.abort()
        elif self.state in SENDING and self._close_reason is None:
            self._close_reason = reason

    def abort(self) -> None:
        """End the session at once: erase keys, drop what is queued, send nothing."""
        self.state = State.DEAD
        self._out.clear()
        self._outbox.clear()
        for direction in (self._writer, self._reader):
            if direction is not None:
                direction.erase()

    @abstractmethod
    def _shake_hands(self, record: bytes, events: list[Event]) -> None:
        """The handshake's one message has come from the peer."""

    @abstractmethod
    def _verify(self, kind: RecordKind, body: Buffer, events: list[Event]) -> None:
        """A record of that kind has come that says who the peer is."""

    @abstractmethod
    def _expects(self, kind: int, number: int, size: int) -> bool:
        """Note a message that has come, and counts for `size` bytes in the inbox; whether it is wanted.

        Raises MessageError where it may not come at all.
        """

    @abstractmethod
    def _refuse(self, number: int, why: Dropped) -> None:
        """A message that was expected is not to be had."""

    def _establish(self, established: Established) -> None:
        self._writer = RecordWriter(established.sending, self._rekey)
        self._reader = RecordReader(established.receiving, self._rekey)
        self._handshake_hash = established.handshake_hash
        self.state = self._following(Passed.KEYS_RECEIVED)

    def _take(self, record: bytes, events: list[Event]) -> None:
        """A record of a session that has keys."""
        reader = self._reader
        if reader is None or (self.state is not _OPEN and self.peer_closed):
            raise MessageError("the peer sent something after its close")
        plaintext = reader.decrypt(record)
        small, inbox = fast.read(plaintext), self._inbox
        if (
            type(small) is not self._event
            or self.state is not _OPEN
            or not self._takes_small
            or inbox.current is not None
        ):
            self._take_any(*split(plaintext), events)
            return
        inbox.charge(PADDING)
        inbox.held += PADDING
        if self._expects(self._small.type_byte, small[0], PADDING):
            events.append(small)

    def _take_any(self, kind: RecordKind, body: Buffer, events: list[Event]) -> None:
        following = self._following(_RECEIVED[kind])
        if kind in (RecordKind.EVIDENCE, RecordKind.IDENTITY):
            # Nothing is open before this is verified.
            self._verify(kind, body, events)
        self.state = following
        if kind is RecordKind.MESSAGE:
            self._take_chunk(body, events)
        elif kind is RecordKind.CREDIT:
            self._outbox.add_credit(layouts.CREDIT.parse(body)["amount"])
        elif kind is RecordKind.CLOSE:
            self._handle_close(body, events)

    def _take_chunk(self, chunk: Buffer, events: list[Event]) -> None:
        whole = self._inbox.receive_chunk(chunk)
        if whole is None:
            return
        kind, number, body, size = whole
        if not self._expects(kind, number, size):
            return
        if isinstance(body, Dropped):
            self._refuse(number, body)
            return
        try:
            message: Any = decode(kind, body)
        except MemoryError:
            self._refuse(number, Dropped.NO_MEMORY)
        else:
            events.append(self._event(number, message))

    def _handle_close(self, body: Buffer, events: list[Event]) -> None:
        number = layouts.CLOSE.parse(body)["reason"]
        try:
            reason = CloseReason(number)
        except ValueError as error:
            raise MessageError(f"unknown close reason {number}") from error
        self._outbox.clear()
        self._close_reason = self._close_reason or CloseReason.DONE
        events.append(PeerClosed(reason))
        if self._reader is not None:
            self._reader.erase()

    def _grant(self) -> None:
        if self.state in (_OPEN, State.UNCONFIRMED):
            amount = self._inbox.grant()
            if amount:
                self._seal(RecordKind.CREDIT, layouts.CREDIT.build({"amount": amount}))

    def _seal(self, kind: RecordKind, body: bytes) -> None:
        if self._writer is None:
            raise LocalError("the handshake is not finished")
        self._out += self._writer.seal(kind, body)

    def _queue(self, number: int, message: Message) -> None:
        plaintext = fast.write(number, message) if self._takes_small else None
        if plaintext is not None and self._writer is not None and self._outbox.take_credit(PADDING):
            try:
                self._out += self._writer.encrypt(plaintext)
            except ProtocolError:
                self.abort()
                raise
            return
        parts = encode(message)
        size = sum(map(len, parts))
        if size > self._limits.max_message:
            raise LocalError(
                f"the message has {size} bytes, more than the limit of {self._limits.max_message}"
            )
        self._outbox.put(message.type_byte, number, parts)

    def _flush(self) -> None:
        """Turn queued messages into records as far as credit allows, then the close."""
        if self.state not in SENDING:
            return
        while (chunk := self._outbox.next_chunk()) is not None:
            self._seal(RecordKind.MESSAGE, chunk)
        if self._close_reason is not None and not self._outbox.queue:
            self._seal(RecordKind.CLOSE, layouts.CLOSE.build({"reason": self._close_reason}))
            self.state = self._following(Passed.CLOSE_SENT)
            if self._writer is not None:
                self._writer.erase()


class ClientSession(_Session):
    """The relying party: verifies the enclave before it sends anything but the handshake.

    Args:
        policy: what enclave, monitor and device to accept.
        identity: this client's own key, shown only to an enclave that was verified; None to stay anonymous.
        suite: the cryptography to ask for.
        limits: what to hold in memory for the enclave.
        rekey: when keys are replaced; the enclave's must be the same.
    """

    _table = CLIENT
    _event = ReplyReceived
    _small = CallResult

    def __init__(
        self,
        policy: Policy,
        *,
        identity: SigningKey | None = None,
        suite: Suite = Suite.X25519_SHA256,
        limits: Limits | None = None,
        rekey: RekeyInterval = DEFAULT_REKEY,
    ) -> None:
        super().__init__(State.HANDSHAKE, limits or Limits(), rekey)
        self._policy = policy
        self._identity = identity
        self._handshake = ClientHandshake(suite)
        self._out += self._handshake.start()
        self._parser.refusable = True
        self._farewell = b""
        self._pending: dict[int, int] = {}
        self._last_number = 0

    def send_request(self, request: Request) -> int:
        """Queue a request; returns its number, which the reply carries.

        Raises:
            LocalError: the channel is not open, or the request does not fit.
        """
        if self.state is not _OPEN or self._close_reason is not None:
            raise LocalError(_NOT_OPEN)
        number = self._last_number + 1
        if number > _MAX_NUMBER:
            raise LocalError("this session has run out of request numbers")
        self._queue(number, request)
        self._last_number = number
        self._pending[number] = request.type_byte
        return number

    def abort(self) -> None:
        """End the session at once: erase keys, drop what is queued, send nothing."""
        self._handshake.erase()
        self._identity = None
        super().abort()
        self._out += self._farewell
        self._farewell = b""

    def _shake_hands(self, record: bytes, events: list[Event]) -> None:
        self._parser.refusable = False
        self._establish(self._handshake.finish(record))

    def _verify(self, kind: RecordKind, body: Buffer, events: list[Event]) -> None:
        try:
            events.append(verify_evidence(body, self._policy, self._handshake_hash))
        except PolicyError:
            if self._writer is not None:
                refused = layouts.CLOSE.build({"reason": CloseReason.REFUSED})
                self._farewell = self._writer.seal(RecordKind.CLOSE, refused)
            raise
        if self._identity is not None:
            self._seal(RecordKind.IDENTITY, sign_identity(self._identity, self._handshake_hash))
            self._identity = None

    def _expects(self, kind: int, number: int, size: int) -> bool:
        requested = self._pending.get(number)
        if requested is None:
            raise MessageError("a reply came to a request that is not open")
        if kind != requested | RESULT and kind != _ERROR:
            raise MessageError("a reply is not of the type that its request asks for")
        del self._pending[number]
        self._inbox.held -= size
        return True

    def _refuse(self, number: int, why: Dropped) -> None:
        if why is Dropped.NO_MEMORY:
            raise MessageError("there is no memory left for a reply")
        raise MessageError(f"a reply is longer than the limit of {self._limits.max_message} bytes")


@dataclass(frozen=True, slots=True)
class EnclaveClaims:
    """What an enclave claims on every connection.

    `configuration_digest` has 32 bytes, each part of `version` is below 65,536, and `receipt_key` is the
    public key, 32 bytes, under which the enclave signs receipts. `build` says for people what the enclave was
    built from.

    Raises:
        LocalError: a field does not fit.
    """

    configuration_digest: bytes
    version: tuple[int, int, int]
    isolation: Isolation
    receipt_key: bytes
    build: str = ""

    def __post_init__(self) -> None:
        self.for_handshake(b"")

    def for_handshake(self, handshake_hash: bytes) -> bytes:
        """The data to have attested for one connection."""
        claims = Claims(
            handshake_hash,
            self.configuration_digest,
            self.version,
            self.isolation,
            self.receipt_key,
            self.build,
        )
        return claims.build()


class EnclaveSession(_Session):
    """The enclave: proves what it is, then answers requests.

    Args:
        claims: what the evidence says besides the handshake.
        suites: the cryptography to accept.
        limits: what to hold in memory for the client.
        rekey: when keys are replaced; the client's must be the same.
    """

    _table = ENCLAVE
    _event = RequestReceived
    _small = CallRequest

    def __init__(
        self,
        claims: EnclaveClaims,
        *,
        suites: frozenset[Suite] = ALL_SUITES,
        limits: Limits | None = None,
        rekey: RekeyInterval = DEFAULT_REKEY,
    ) -> None:
        super().__init__(State.PROLOGUE, limits or Limits(), rekey)
        self._claims = claims
        self._suites = suites
        self._handshake: EnclaveHandshake | None = None
        self._unanswered: dict[int, tuple[int, int]] = {}
        self._last_number = 0

    @property
    def confirmed(self) -> bool:
        """Whether an authentic record has come: until then, the client need not have the keys at all."""
        return self.state in (_OPEN, State.CLOSE_SENT, State.CLOSE_RECEIVED, State.CLOSED)

    def send_evidence(self, report: bytes) -> None:
        """Answer `EvidenceRequired` with the monitor's report, raw or compact.

        Raises:
            LocalError: evidence is not due.
            EvidenceError: the bytes are no report.
        """
        if self.state is not State.EVIDENCE:
            raise LocalError("evidence is not due")
        Report.from_bytes(report)
        self._seal(RecordKind.EVIDENCE, compact(report))
        self.state = self._following(Passed.EVIDENCE_SENT)
        self._grant()

    def send_reply(self, number: int, reply: Reply) -> None:
        """Queue the reply to a request, which from now on is not held any more.

        Raises:
            LocalError: the channel is not open, no such request is unanswered, or the reply is not of its
                type or too long.
        """
        if self.state is not _OPEN or self._close_reason is not None:
            raise LocalError(_NOT_OPEN)
        if number not in self._unanswered:
            raise LocalError(f"request {number} is not waiting for a reply")
        requested, size = self._unanswered[number]
        if reply.type_byte not in (requested | RESULT, _ERROR):
            raise LocalError(f"{type(reply).__name__} does not answer a {MESSAGES[requested].title}")
        self._queue(number, reply)
        del self._unanswered[number]
        self._inbox.held -= size
        if self._inbox.credit_is_low:
            self._grant()

    def abort(self) -> None:
        """End the session at once: erase keys, drop what is queued, send nothing."""
        if self._handshake is not None:
            self._handshake.erase()
        self._unanswered.clear()
        super().abort()

    def _next(self, events: list[Event]) -> bool:
        if self.state is not State.PROLOGUE:
            return super()._next(events)
        prologue = self._parser.take(PROLOGUE_SIZE)
        if prologue is None:
            return False
        self._handshake = EnclaveHandshake(prologue, self._suites)
        self.state = self._following(Passed.PROLOGUE_RECEIVED)
        return True

    def _shake_hands(self, record: bytes, events: list[Event]) -> None:
        assert self._handshake is not None
        answer, established = self._handshake.respond(record)
        self._establish(established)
        self._out += answer
        events.append(EvidenceRequired(self._claims.for_handshake(self._handshake_hash)))

    def _verify(self, kind: RecordKind, body: Buffer, events: list[Event]) -> None:
        events.append(ClientIdentified(verify_identity(body, self._handshake_hash)))

    def _expects(self, kind: int, number: int, size: int) -> bool:
        if kind & RESULT:
            raise MessageError("the client sent a reply")
        if number != self._last_number + 1:
            raise MessageError("the client's request numbers do not count up")
        self._last_number = number
        # After its own close an end says nothing more.
        if self._close_reason is not None:
            self._inbox.held -= size
            return False
        self._unanswered[number] = (kind, size)
        return True

    def _refuse(self, number: int, why: Dropped) -> None:
        lacks_memory = why is Dropped.NO_MEMORY
        self.send_reply(number, NO_MEMORY if lacks_memory else too_large(self._limits.max_message))
