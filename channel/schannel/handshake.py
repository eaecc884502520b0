"""The channel's handshake: a prologue, then Noise NX, and the client's optional identity.

The client's first bytes choose version and suite; the enclave accepts or closes. They are mixed into the
handshake, so a change on the way makes the two ends disagree before anything is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from . import layouts
from .ed25519_sha3 import ED25519, SigningKey
from .errors import HandshakeError, MessageError
from .framing import encode_record
from .noise import CipherState, HandshakeState, parse_protocol
from .wire import Buffer

PROTOCOL_VERSION = 2

_PROLOGUE_LABEL = b"tinywasm schannel: client to enclave\0"
_IDENTITY_LABEL = b"tinywasm schannel: client identity\0"


class Suite(IntEnum):
    """The cryptography of a channel, as the prologue names it."""

    X25519_SHA256 = 1
    P384_SHA384 = 2

    @property
    def protocol_name(self) -> str:
        """The Noise protocol name. The one with P-384 is ours: no vectors are published for it."""
        return _PROTOCOL_NAMES[self]


_PROTOCOL_NAMES = {
    Suite.X25519_SHA256: "Noise_NX_25519_AESGCM_SHA256",
    Suite.P384_SHA384: "Noise_NX_P384_AESGCM_SHA384",
}

ALL_SUITES = frozenset(Suite)


def encode_prologue(suite: Suite) -> bytes:
    """The client's first bytes, `framing.PROLOGUE_SIZE` of them."""
    return layouts.PROLOGUE.build({"version": PROTOCOL_VERSION, "suite": suite})


def decode_prologue(prologue: bytes, accepted: frozenset[Suite] = ALL_SUITES) -> Suite:
    """The suite that a client asks for.

    Raises:
        HandshakeError: another protocol or version, or a suite that is unknown or not accepted.
    """
    try:
        parsed = layouts.PROLOGUE.parse(prologue)
    except MessageError as error:
        raise HandshakeError("the peer does not speak this protocol") from error
    if parsed["version"] != PROTOCOL_VERSION:
        raise HandshakeError(
            f"protocol version {parsed['version']} is not supported, only {PROTOCOL_VERSION}"
        )
    if parsed["suite"] not in accepted:
        raise HandshakeError(f"suite {parsed['suite']} is not accepted")
    return Suite(parsed["suite"])


@dataclass(frozen=True, slots=True)
class Established:
    """A finished handshake: one cipher a direction, and the hash that names this connection."""

    sending: CipherState
    receiving: CipherState
    handshake_hash: bytes


class ClientHandshake:
    """The client's side: `start`, then `finish` with the enclave's one message."""

    def __init__(self, suite: Suite) -> None:
        self._prologue = encode_prologue(suite)
        self._noise = HandshakeState(suite.protocol_name, True, _PROLOGUE_LABEL + self._prologue)

    def start(self) -> bytes:
        """Prologue and first record, ready for the wire."""
        return self._prologue + encode_record(self._noise.write_message())

    def finish(self, record: bytes) -> Established:
        """Take the enclave's message.

        Raises:
            RemoteError: it is not an answer to what this client sent.
        """
        _expect_empty(self._noise.read_message(record))
        handshake_hash = self._noise.handshake_hash
        sending, receiving = self._noise.split()
        return Established(sending, receiving, handshake_hash)

    def erase(self) -> None:
        """Forget all keys."""
        self._noise.erase()


class EnclaveHandshake:
    """The enclave's side, with a static key of its own for each connection it is made for."""

    def __init__(self, prologue: bytes, accepted: frozenset[Suite] = ALL_SUITES) -> None:
        name = decode_prologue(prologue, accepted).protocol_name
        static = parse_protocol(name).dh.generate()
        self._noise = HandshakeState(name, False, _PROLOGUE_LABEL + prologue, s=static)

    def respond(self, record: bytes) -> tuple[bytes, Established]:
        """Take the client's message; returns the answer, ready for the wire, and the result.

        Raises:
            RemoteError: it is not a first message of this suite.
        """
        _expect_empty(self._noise.read_message(record))
        answer = encode_record(self._noise.write_message())
        handshake_hash = self._noise.handshake_hash
        receiving, sending = self._noise.split()
        return answer, Established(sending, receiving, handshake_hash)

    def erase(self) -> None:
        """Forget all keys."""
        self._noise.erase()


def _expect_empty(payload: bytes) -> None:
    if payload:
        raise HandshakeError("a handshake message carries a payload")


def sign_identity(key: SigningKey, handshake_hash: bytes) -> bytes:
    """The body of an identity record: the client's public key and its signature of this connection."""
    signature = ED25519.sign(key, _IDENTITY_LABEL + handshake_hash)
    return layouts.IDENTITY.build({"public_key": key.public, "signature": signature})


def verify_identity(body: Buffer, handshake_hash: bytes) -> bytes:
    """The public key of a client that proved to hold its secret.

    Raises:
        MessageError: malformed.
        HandshakeError: the signature is not one of this connection by this key.
    """
    parsed = layouts.IDENTITY.parse(body)
    public_key: bytes = parsed["public_key"]
    if not ED25519.verify(public_key, _IDENTITY_LABEL + handshake_hash, parsed["signature"]):
        raise HandshakeError("the client's identity signature is not valid for this connection")
    return public_key


def identity_key(seed: bytes) -> SigningKey:
    """A client's identity key from its 32-byte seed, as in RFC 8032."""
    return ED25519.key_from_seed(seed)
