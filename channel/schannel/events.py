"""What `receive_data` of a session returns. None of it changes; no cryptography."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from .messages import Reply, Request


class CloseReason(IntEnum):
    """Why an end closed the channel."""

    DONE = 0
    SHUTDOWN = 1
    IDLE = 2
    TIME = 3
    MEMORY = 4
    REFUSED = 5

    @property
    def shown(self) -> str:
        """The reason, for people: why there is no session any more."""
        return _REASONS[self]


_REASONS = {
    CloseReason.DONE: "the enclave was done",
    CloseReason.SHUTDOWN: "the host is shutting down",
    CloseReason.IDLE: "nothing had passed for too long",
    CloseReason.TIME: "the time that the host gives a session is over",
    CloseReason.MEMORY: "the host's memory is used up, and this session had the most of it",
    CloseReason.REFUSED: "the client's policy does not accept the enclave",
}


@dataclass(frozen=True, slots=True)
class EvidenceRequired:
    """Enclave: the handshake is done. Have the monitor attest `data`, then call `send_evidence`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EnclaveVerified:
    """Client: the evidence passed the policy; requests may be sent.

    `simulated` means that no hardware stands behind the evidence: the machine's owner can read everything,
    and the user must be told so. Measurements are 64 bytes, the configuration digest 32. `receipt_key` is the
    Ed25519 key that signs the enclave's receipts, `evidence` the report in its compact form, to be kept with
    them, and `handshake_hash` the name of the connection that it was made for.
    """

    simulated: bool
    enclave_measurement: bytes
    monitor_measurement: bytes
    device_public_key: bytes
    configuration_digest: bytes
    version: tuple[int, int, int]
    isolation: tuple[str, ...]
    receipt_key: bytes
    handshake_hash: bytes
    evidence: bytes


@dataclass(frozen=True, slots=True)
class ClientIdentified:
    """Enclave: the client proved that it holds the key of this Ed25519 public key (32 bytes)."""

    public_key: bytes


class RequestReceived(NamedTuple):
    """Enclave: answer with `send_reply(number, ...)`, exactly once."""

    number: int
    request: Request


class ReplyReceived(NamedTuple):
    """Client: the reply to the request of that number."""

    number: int
    reply: Reply


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer will send nothing more, and everything it sent has arrived."""

    reason: CloseReason


Event = EvidenceRequired | EnclaveVerified | ClientIdentified | RequestReceived | ReplyReceived | PeerClosed
