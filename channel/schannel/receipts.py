"""Receipts: what an enclave attests about one call, in one canonical encoding.

The enclave signs with a key that its evidence endorses, so a receipt is worth what the evidence beside it is
worth. A receipt's `history` is the state that the session was in before the call: a hash chain over every
earlier request that could have changed what a program does, with its outcome.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

from . import fast, layouts
from .ed25519_sha3 import ED25519, SigningKey
from .errors import MessageError, ReceiptError
from .messages import DeployRequest, ErrorReply, Message, Reply, Request, encode
from .wire import Buffer

_SIGNED_LABEL = b"tinywasm schannel: receipt\0"

RUN_FUNCTION = "_start"
"""The function that a run calls."""

DONE = 0
"""The outcome of a call that returned; any other is an `ErrorCode`."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One call or run. Digests are SHA-256, 32 bytes; `fuel_used` is in instructions.

    `session` is the connection's handshake hash and `counter` counts its calls and runs from 1, so that a
    receipt stands for one call and a missing one shows. `request_digest` and `reply_digest` are those of
    `message_digest`; what they cover is repeated here only where a receipt alone should say it.
    """

    session: bytes
    counter: int
    kind: int
    module_digest: bytes
    function: str
    request_digest: bytes
    reply_digest: bytes
    outcome: int
    fuel_used: int
    history: bytes

    def encode(self) -> bytes:
        """The canonical encoding, which is signed."""
        return layouts.RECEIPT_BODY.build({f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def decode(cls, body: bytes) -> Receipt:
        """The inverse of `encode`; MessageError for anything else."""
        parsed = layouts.RECEIPT_BODY.parse(body)
        return cls(**{f.name: parsed[f.name] for f in fields(cls)})

    def sign(self, key: SigningKey) -> bytes:
        """The receipt with its signature."""
        body = self.encode()
        signature = ED25519.sign(key, _SIGNED_LABEL + body)
        return layouts.SIGNED_RECEIPT.build({"body": body, "signature": signature})


def verify_receipt(signed: bytes, receipt_key: bytes) -> Receipt:
    """A receipt that the owner of `receipt_key` (Ed25519, 32 bytes) signed.

    Raises:
        ReceiptError: it is malformed, or the signature is not of this receipt by that key.
    """
    try:
        parsed = layouts.SIGNED_RECEIPT.parse(signed)
        receipt = Receipt.decode(parsed["body"])
    except MessageError as error:
        raise ReceiptError("not a receipt") from error
    if not ED25519.verify(receipt_key, _SIGNED_LABEL + parsed["body"], parsed["signature"]):
        raise ReceiptError("the enclave's receipt key did not sign this receipt")
    return receipt


def message_digest(message: Message) -> bytes:
    """The digest of a request or reply, all of it: of its type byte and its body, as they travel."""
    body = fast.body(message)
    return _sha256(bytes([message.type_byte]), *(encode(message) if body is None else (body,)))


def outcome(reply: Reply) -> int:
    """`DONE`, or the code of the error."""
    return reply.code if isinstance(reply, ErrorReply) else DONE


class History:
    """The hash chain over a session's requests."""

    def __init__(self) -> None:
        self.digest = _sha256(b"tinywasm schannel: history\0")

    def add(self, request: Request, reply: Reply) -> None:
        """Go on by a request that may have changed the session's state, and its outcome."""
        # One hash and not two: it is worked out for each call.
        body = fast.body(request)
        kind = bytes([request.type_byte, outcome(reply)])
        self.digest = _sha256(self.digest, kind, *(encode(request) if body is None else (body,)))

    def add_program(self, name: str, program_digest: bytes, reply: Reply) -> None:
        """Go on by a program that was deployed under a name, however it came."""
        kind = bytes([DeployRequest.type_byte, outcome(reply)])
        self.digest = _sha256(self.digest, kind, program_digest, name.encode())


def _sha256(*parts: Buffer) -> bytes:
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.digest()
