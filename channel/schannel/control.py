"""What host, simulated monitor and zygote say to each other: a datagram each, its kind and its fields.

The host sends Start with the enclave's ends of channel and storage, to which the monitor adds that of its own
link on the way to the zygote; Stop, Kill and Ping. The zygote says Prepared once, then Started or Failed,
Ended with a wait status, and Pong. The monitor passes all of these on, but Ready takes the place of Prepared;
Log and Error are its own, and after an Error nothing follows.
"""

from __future__ import annotations

from .endings import CloseReason
from .errors import MessageError
from .structs import TEXT, U8, U32, U64, Structure, array, fixed, nested, one_of, part

MAX_DATAGRAM = 65536
"""Bytes that a receiver has to have room for."""


class Start(Structure, shown="request to start an enclave"):
    """Start an enclave that is called by this number from then on."""

    number: int = part(U32)


class Stop(Structure, shown="request to stop an enclave"):
    """Have an enclave close its session, and tell its client why."""

    number: int = part(U32)
    reason: CloseReason = part(one_of(U8, CloseReason))


class Kill(Structure, shown="request to kill an enclave"):
    """End an enclave at once."""

    number: int = part(U32)


class Ping(Structure, shown="ping"):
    """Answer with a Pong of the same number."""

    number: int = part(U32)


class Missing(Structure, shown="missing layer"):
    """A layer of isolation that enclaves do not have on this machine, and why."""

    layer: str = part(TEXT)
    reason: str = part(TEXT)


class Prepared(Structure, shown="report of the zygote"):
    """Enclaves can be forked: the digest of their configuration, their memory in bytes, their isolation."""

    configuration: bytes = part(fixed(32))
    data_limit: int = part(U64)
    isolation: tuple[str, ...] = part(array(U8, TEXT))
    missing: tuple[Missing, ...] = part(array(U8, nested(Missing)))


class Ready(Structure, shown="report of the monitor"):
    """Enclaves can be started: what evidence will say of enclave, monitor and device, and of each enclave."""

    enclave: bytes = part(fixed(64))
    monitor: bytes = part(fixed(64))
    device: bytes = part(fixed(32))
    prepared: Prepared = part(nested(Prepared))


class Started(Structure, shown="note of a start"):
    """The enclave runs, in the process of that number."""

    number: int = part(U32)
    pid: int = part(U32)


class Failed(Structure, shown="note of a failed start"):
    """The enclave could not be started."""

    number: int = part(U32)


class Ended(Structure, shown="note of an end"):
    """The enclave has ended with this wait status."""

    number: int = part(U32)
    status: int = part(U32)


class Pong(Structure, shown="answer to a ping"):
    """The process behind still answers."""

    number: int = part(U32)


class Log(Structure, shown="line for the log"):
    """A line of that enclave's."""

    number: int = part(U32)
    text: str = part(TEXT)


class Error(Structure, shown="report of a failure"):
    """Why no enclave can be started any more."""

    text: str = part(TEXT)


Control = Start | Stop | Kill | Ping | Prepared | Ready | Started | Failed | Ended | Pong | Log | Error

_KINDS: tuple[type[Control], ...] = (
    Start, Stop, Kill, Ping, Prepared, Ready, Started, Failed, Ended, Pong, Log, Error,
)  # fmt: skip
"""Both ends are of one release: a kind's number is its place."""


def encode(message: Control) -> bytes:
    """The datagram."""
    return bytes([_KINDS.index(type(message))]) + message.build()


def decode(datagram: bytes) -> Control:
    """The message in a datagram; MessageError for what is none."""
    if not datagram or datagram[0] >= len(_KINDS):
        raise MessageError("not a control message")
    return _KINDS[datagram[0]].parse(datagram[1:])
