"""Every byte layout of the protocol beside those of messages, which are declared with them.

Our own layouts are big-endian, Keystone's report is little-endian without padding. How a field of each kind
is written and read is `wire`'s business.
"""

from __future__ import annotations

from .framing import MAGIC
from .wire import (
    DIGEST,
    REST,
    SMALL_PAYLOAD,
    TEXT,
    U8,
    U16,
    U32,
    U64,
    U64_LITTLE,
    Layout,
    bounded,
    constant,
    fixed,
    group,
    prefixed,
)

MAX_TEXT = 65535
"""Longest text field, in bytes of UTF-8."""

MAX_REPORT_DATA = 1024
"""Keystone's ATTEST_DATA_MAXLEN in bytes."""

CLAIMS_MAGIC = b"TWCLAIMS"
"""First bytes of our claims: nothing else that a monitor attests begins like this."""

RECEIPT_MAGIC = b"TWRECEIP"
"""First bytes of a receipt: nothing else that a receipt key signs begins like this."""

SEALED_MAGIC = b"TWSEALED"
"""First bytes of a sealed program."""

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

CLAIMS = Layout(
    "claims",
    magic=constant(CLAIMS_MAGIC),
    claims_version=constant(b"\3"),
    role=constant(b"\2"),
    handshake_hash=prefixed(U8),
    configuration_digest=DIGEST,
    version=group(U16, U16, U16),
    isolation=U32,
    receipt_key=fixed(32),
    build=TEXT,
)
"""What we put into the data of a report; role 2 is the enclave, the only one that gives evidence."""

_report_tail = {
    "enclave_signature": fixed(64),
    "monitor_hash": fixed(64),
    "monitor_public_key": fixed(32),
    "monitor_signature": fixed(64),
    "device_public_key": fixed(32),
}
_data_size = bounded(U64_LITTLE, MAX_REPORT_DATA)

REPORT_RAW = Layout(
    "report", enclave_hash=fixed(64), data_len=_data_size, data=fixed(MAX_REPORT_DATA), **_report_tail
)
"""Keystone's report as the monitor writes it (sm/src/enclave.h): 1,352 bytes."""

REPORT_COMPACT = Layout("report", enclave_hash=fixed(64), data=prefixed(_data_size), **_report_tail)
"""The Rust SDK's compact form: 328 bytes and the data."""

ENCLAVE_SIGNED = Layout("signed report", enclave_hash=fixed(64), data=prefixed(_data_size))
"""What the monitor's key signs (sm/src/enclave.c, attest_enclave)."""

RECEIPT_BODY = Layout(
    "receipt",
    magic=constant(RECEIPT_MAGIC),
    receipt_version=constant(b"\2"),
    session=prefixed(U8),
    counter=U64,
    kind=U8,
    module_digest=DIGEST,
    function=TEXT,
    request_digest=DIGEST,
    reply_digest=DIGEST,
    outcome=U8,
    fuel_used=U64,
    history=DIGEST,
)
"""What a receipt says; the enclave's receipt key signs these bytes."""

SIGNED_RECEIPT = Layout("signed receipt", body=prefixed(U16), signature=fixed(64))
"""A receipt and its signature."""

SEALED_HEADER = Layout(
    "sealed program",
    magic=constant(SEALED_MAGIC),
    seal_version=constant(b"\1"),
    counter=U64,
    name=DIGEST,
    salt=fixed(32),
    size=U64,
)
"""Head of a sealed program, authenticated with each of its segments."""
