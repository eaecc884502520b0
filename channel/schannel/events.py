"""What `receive_data` of a session returns. None of it changes; no cryptography."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .endings import CloseReason
from .messages import Reply, Request


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
