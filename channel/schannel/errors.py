"""The exceptions of the channel. No message carries a key, a plaintext or a peer's bytes."""

from __future__ import annotations

import copyreg
from enum import Enum
from typing import Any


class ProtocolError(Exception):
    """Whatever goes wrong on a channel; never raised itself.

    The two branches say who has to change something, as in h11: `LocalError` is a mistake of the calling
    program, `RemoteError` one of the peer or of somebody between.
    """

    def __init__(self, message: str) -> None:
        if type(self) is ProtocolError:
            raise TypeError("ProtocolError is abstract: raise LocalError or RemoteError")
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        # Python's own way calls the constructor with `args`, which are not what the constructors here take.
        make = copyreg.__newobj__  # type: ignore[attr-defined]
        return make, (type(self), *self.args), self.__dict__


class LocalError(ProtocolError):
    """This program asked for something that the protocol or the session's state does not allow."""


class NonceExhausted(LocalError):
    """A cipher key has been used for 2**64 - 1 records (Noise, section 5.1); the session must end."""


class PolicyFileError(LocalError):
    """A policy cannot be used: unknown key, wrong type, or an entry that must not be trusted."""


class RemoteError(ProtocolError):
    """The peer, or somebody between, broke the protocol."""


class FramingError(RemoteError):
    """A record's length prefix is outside of what the protocol allows."""


class HandshakeError(RemoteError):
    """The handshake cannot be completed: wrong magic, version, suite, or message."""


class InvalidKey(RemoteError):
    """A public key or point from the peer is malformed, of low order, or gives an all-zero secret."""


class DecryptError(RemoteError):
    """A ciphertext failed authentication: altered, dropped, repeated, reordered, or from elsewhere."""


class MessageError(RemoteError):
    """A record was authentic, but what it holds is not a message of this protocol."""


class FlowControlError(RemoteError):
    """The peer sent more than it was granted, or granted more than the protocol allows."""


class Truncated(RemoteError):
    """The stream ended without an authenticated close: what was received may be incomplete."""


class ChannelTimeout(RemoteError):
    """The peer did not answer within the time allowed."""


class EvidenceReason(Enum):
    """Why evidence was refused."""

    MALFORMED = "malformed"
    MONITOR_SIGNATURE = "monitor signature"
    ENCLAVE_SIGNATURE = "enclave signature"
    CLAIMS = "claims"
    HANDSHAKE = "handshake"


class EvidenceError(RemoteError):
    """Evidence is not what a genuine monitor signs for this connection.

    `reason` is the step of the verification that failed.
    """

    def __init__(self, reason: EvidenceReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ReceiptError(RemoteError):
    """A receipt is malformed, not signed by the key that must have signed it, or of something else."""


class PolicyError(RemoteError):
    """Genuine evidence of something that the policy does not accept.

    `rule` is the policy's key that refused it, for example ``enclave.measurements``. `build` is what the
    enclave says it was built from (`schannel.builds`), which proves nothing; empty where it does not say.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{message} (policy rule: {rule})")
        self.rule = rule
        self.build = ""
