"""Receipts: what an enclave attests about one call, in one canonical encoding.

The enclave signs with a key that its evidence endorses, so a receipt is worth what the evidence beside it is
worth. A receipt's `history` is the state that the session was in before the call: a hash chain over every
earlier request that could have changed what a program does, with its outcome.
"""

from __future__ import annotations

import hashlib

from . import fast
from .ed25519_sha3 import ED25519, SigningKey
from .errors import MessageError, ReceiptError
from .messages import DeployRequest, ErrorReply, Message, Reply, Request, encode
from .structs import TEXT, U8, U16, U64, Structure, fixed, part, prefixed
from .wire import Buffer

_SIGNED_LABEL = b"tinywasm schannel: receipt\0"

RUN_FUNCTION = "_start"
"""The function that a run calls."""

DONE = 0
"""The outcome of a call that returned; any other is an `ErrorCode`."""


class SignedReceipt(Structure, shown="signed receipt"):
    """A receipt and its signature."""

    body: bytes = part(prefixed(U16))
    signature: bytes = part(fixed(64))


class Receipt(Structure, shown="receipt", begins=b"TWRECEIP\2"):
    """One call or run. Digests are SHA-256, 32 bytes; `fuel_used` is in instructions.

    Nothing else that a receipt key signs begins like this. `session` is the connection's handshake hash and
    `counter` counts its calls and runs from 1, so that a receipt stands for one call and a missing one shows.
    `request_digest` and `reply_digest` are those of `message_digest`; what they cover is repeated here only
    where a receipt alone should say it.
    """

    session: bytes = part(prefixed(U8))
    counter: int = part(U64)
    kind: int = part(U8)
    module_digest: bytes = part(fixed(32))
    function: str = part(TEXT)
    request_digest: bytes = part(fixed(32))
    reply_digest: bytes = part(fixed(32))
    outcome: int = part(U8)
    fuel_used: int = part(U64)
    history: bytes = part(fixed(32))

    def sign(self, key: SigningKey) -> bytes:
        """The receipt with its signature."""
        body = self.build()
        signature = ED25519.sign(key, _SIGNED_LABEL + body)
        return SignedReceipt(body, signature).build()


def verify_receipt(signed: bytes, receipt_key: bytes) -> Receipt:
    """A receipt that the owner of `receipt_key` (Ed25519, 32 bytes) signed.

    Raises:
        ReceiptError: it is malformed, or the signature is not of this receipt by that key.
    """
    try:
        parsed = SignedReceipt.parse(signed)
        receipt = Receipt.parse(parsed.body)
    except MessageError as error:
        raise ReceiptError("not a receipt") from error
    if not ED25519.verify(receipt_key, _SIGNED_LABEL + parsed.body, parsed.signature):
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
    for piece in parts:
        state.update(piece)
    return state.digest()
