"""The byte layouts of prologue and records.

Those of messages are declared with them, those of evidence and receipts in classes of `structs`. How a field
of each kind is written and read is `wire`'s business.
"""

from __future__ import annotations

from .framing import MAGIC
from .wire import (
    REST,
    SMALL_PAYLOAD,
    U8,
    U32,
    Layout,
    constant,
    fixed,
)

MAX_REPORT_DATA = 1024
"""Keystone's ATTEST_DATA_MAXLEN in bytes."""

DIGEST_SIZE = 32
"""Bytes of a SHA-256 digest."""

PROLOGUE = Layout("prologue", magic=constant(MAGIC), version=U8, suite=U8, reserved=constant(bytes(2)))
"""The client's first bytes, mixed into the handshake."""

RECORD = Layout("record", kind=U8, body=SMALL_PAYLOAD, padding=REST)
"""The plaintext of a transport record."""

CHUNK = Layout("chunk", type=U8, last=U8, request=U32, data=REST)
"""Body of a record of kind MESSAGE: a piece of one request or reply."""

CREDIT = Layout("credit", amount=U32)
"""Body of a record of kind CREDIT: more plaintext bytes that the peer may send."""

CLOSE = Layout("close", reason=U8)
"""Body of a record of kind CLOSE: nothing follows in this direction."""

IDENTITY = Layout("identity", public_key=fixed(32), signature=fixed(64))
"""Body of a record of kind IDENTITY: the client's key and its signature over the handshake hash."""
