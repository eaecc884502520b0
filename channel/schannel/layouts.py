"""Every byte layout of the protocol, declared once with `construct`.

Our own layouts are big-endian, Keystone's report is little-endian without padding. Each is wrapped in a
`Layout`, which refuses trailing bytes and turns construct's exceptions into ours; nothing else in the package
knows construct. No declared length or count is believed before the bytes behind it are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import construct as c  # type: ignore[import-untyped]

from .errors import LocalError, MessageError
from .framing import MAGIC

MAX_TEXT = 65535
"""Longest text field, in bytes of UTF-8."""

MAX_REPORT_DATA = 1024
"""Keystone's ATTEST_DATA_MAXLEN in bytes."""

CLAIMS_MAGIC = b"TWCLAIMS"
"""First bytes of our claims: nothing else that a monitor attests begins like this."""


class Layout:
    """One byte layout with a name for error messages."""

    def __init__(self, name: str, *subcons: Any) -> None:
        self._name = name
        self._struct = c.Struct(*subcons, c.Terminated)

    def parse(self, data: bytes) -> Mapping[str, Any]:
        """Take `data` apart, all of it.

        Raises:
            MessageError: too short, too long, or a field that the layout does not allow.
        """
        try:
            parsed: Mapping[str, Any] = self._struct.parse(data)
        except (c.ConstructError, ValueError, OverflowError) as error:
            raise MessageError(f"malformed {self._name}") from error
        return parsed

    def build(self, fields: Mapping[str, object]) -> bytes:
        """Put `fields` together.

        Raises:
            LocalError: a field does not fit.
        """
        try:
            built: bytes = self._struct.build(dict(fields))
        except (c.ConstructError, ValueError, OverflowError, TypeError) as error:
            raise LocalError(f"a field of {self._name} does not fit its layout") from error
        return built


_text = c.Prefixed(c.Int16ub, c.GreedyString("utf8"))
_blob = c.Prefixed(c.Int32ub, c.GreedyBytes)
_value = c.Struct(
    "type" / c.Int8ub,
    "bits"
    / c.Switch(
        c.this.type,
        {0x7F: c.Int32ub, 0x7E: c.Int64ub, 0x7D: c.Int32ub, 0x7C: c.Int64ub, 0x7B: c.BytesInteger(16)},
        default=c.Error,
    ),
)
_values = c.PrefixedArray(c.Int16ub, _value)
_fuel = "fuel" / c.Int64ub
_timeout = "timeout_ms" / c.Int32ub
_fuel_used = "fuel_used" / c.Int64ub

PROLOGUE = Layout(
    "prologue",
    "magic" / c.Const(MAGIC),
    "version" / c.Int8ub,
    "suite" / c.Int8ub,
    "reserved" / c.Const(0, c.Int16ub),
)
"""The client's first bytes, mixed into the handshake."""

RECORD = Layout(
    "record",
    "kind" / c.Int8ub,
    "body" / c.Prefixed(c.Int16ub, c.GreedyBytes),
    "padding" / c.GreedyBytes,
)
"""The plaintext of a transport record."""

CHUNK = Layout(
    "chunk",
    "type" / c.Int8ub,
    "last" / c.Int8ub,
    "request" / c.Int32ub,
    "data" / c.GreedyBytes,
)
"""Body of a record of kind MESSAGE: a piece of one request or reply."""

CREDIT = Layout("credit", "amount" / c.Int32ub)
"""Body of a record of kind CREDIT: more plaintext bytes that the peer may send."""

CLOSE = Layout("close", "reason" / c.Int8ub)
"""Body of a record of kind CLOSE: nothing follows in this direction."""

IDENTITY = Layout("identity", "public_key" / c.Bytes(32), "signature" / c.Bytes(64))
"""Body of a record of kind IDENTITY: the client's key and its signature over the handshake hash."""

CLAIMS = Layout(
    "claims",
    "magic" / c.Const(CLAIMS_MAGIC),
    "claims_version" / c.Const(1, c.Int8ub),
    "role" / c.Const(2, c.Int8ub),
    "handshake_hash" / c.Prefixed(c.Int8ub, c.GreedyBytes),
    "configuration_digest" / c.Bytes(32),
    "version" / c.Int16ub[3],
    "isolation" / c.Int32ub,
)
"""What we put into the data of a report; role 2 is the enclave, the only one that gives evidence."""

_report_tail = (
    "enclave_signature" / c.Bytes(64),
    "monitor_hash" / c.Bytes(64),
    "monitor_public_key" / c.Bytes(32),
    "monitor_signature" / c.Bytes(64),
    "device_public_key" / c.Bytes(32),
)
_report_head = (
    "enclave_hash" / c.Bytes(64),
    "data_len" / c.Int64ul,
    c.Check(c.this.data_len <= MAX_REPORT_DATA),
)

REPORT_RAW = Layout("report", *_report_head, "data" / c.Bytes(MAX_REPORT_DATA), *_report_tail)
"""Keystone's report as the monitor writes it (sm/src/enclave.h): 1,352 bytes."""

REPORT_COMPACT = Layout("report", *_report_head, "data" / c.Bytes(c.this.data_len), *_report_tail)
"""The Rust SDK's compact form: 328 bytes and the data."""

ENCLAVE_SIGNED = Layout("signed report", *_report_head, "data" / c.Bytes(c.this.data_len))
"""What the monitor's key signs (sm/src/enclave.c, attest_enclave)."""

DEPLOY = Layout("deploy request", "name" / _text, "module" / _blob)
DEPLOY_RESULT = Layout("deploy result", "digest" / c.Bytes(32))
CALL = Layout("call request", "module" / _text, "function" / _text, "arguments" / _values, _fuel, _timeout)
CALL_RESULT = Layout("call result", "values" / _values, _fuel_used)
INFO = Layout("info request", "module" / _text)
INFO_RESULT = Layout(
    "info result",
    "version" / _text,
    "engine" / _text,
    "modules" / c.PrefixedArray(c.Int16ub, _text),
    "exports" / c.PrefixedArray(c.Int32ub, c.Struct("name" / _text, "kind" / c.Int8ub, "type" / _text)),
)
RUN = Layout(
    "run request",
    "module" / _text,
    "arguments" / c.PrefixedArray(c.Int16ub, _text),
    "environment" / c.PrefixedArray(c.Int16ub, c.Sequence(_text, _text)),
    "stdin" / _blob,
    _fuel,
    _timeout,
)
RUN_RESULT = Layout("run result", "exit_code" / c.Int32sb, "stdout" / _blob, "stderr" / _blob, _fuel_used)
PUT = Layout("put request", "path" / _text, "content" / _blob)
PUT_RESULT = Layout("put result")
GET = Layout("get request", "path" / _text)
GET_RESULT = Layout("get result", "content" / _blob)
RECEIPT = Layout("receipt request", "request" / c.Int32ub)
RECEIPT_RESULT = Layout("receipt result", "receipt" / _blob)
SEAL = Layout("seal request", "module" / _text, "label" / _text)
SEAL_RESULT = Layout("seal result", "blob" / _blob)
RESTORE = Layout("restore request", "module" / _text, "label" / _text, "blob" / _blob)
RESTORE_RESULT = Layout("restore result")
ERROR = Layout(
    "error reply",
    "code" / c.Int8ub,
    "message" / _text,
    "backtrace"
    / c.PrefixedArray(
        c.Int16ub,
        c.Struct(
            "module" / _text, "function_index" / c.Int32ub, "function_name" / _text, "offset" / c.Int32ub
        ),
    ),
)
