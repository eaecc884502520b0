"""Requests, replies and typed values: what the two ends say to each other, as frozen dataclasses.

Byte layouts are in `layouts`; `encode` and `decode` join the two. Text is UTF-8; a module name is the one
that the client gave it in `DeployRequest`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import IntEnum
from typing import Any, NamedTuple

from . import layouts
from .errors import LocalError, MessageError
from .layouts import Layout


class MessageType(IntEnum):
    """The type byte of a chunk. A result is its request's type plus 0x80; an error answers any of them."""

    DEPLOY = 1
    CALL = 2
    INFO = 3
    RUN = 4
    PUT = 5
    GET = 6
    RECEIPT = 7
    SEAL = 8
    RESTORE = 9
    DEPLOY_RESULT = 0x81
    CALL_RESULT = 0x82
    INFO_RESULT = 0x83
    RUN_RESULT = 0x84
    PUT_RESULT = 0x85
    GET_RESULT = 0x86
    RECEIPT_RESULT = 0x87
    SEAL_RESULT = 0x88
    RESTORE_RESULT = 0x89
    ERROR = 0xFF


class ErrorCode(IntEnum):
    """What an error reply is about."""

    INTERNAL = 1
    UNSUPPORTED = 2
    BAD_REQUEST = 3
    NOT_ALLOWED = 4
    BUSY = 5
    TOO_LARGE = 6
    LIMIT_EXCEEDED = 7
    NOT_FOUND = 8
    NOT_DEPLOYED = 9
    MALFORMED_MODULE = 16
    INVALID_MODULE = 17
    LINK_FAILED = 18
    BAD_ARGUMENTS = 19
    TRAP = 32
    OUT_OF_FUEL = 33
    INTERRUPTED = 34
    STACK_EXHAUSTED = 35
    WASM_EXCEPTION = 36
    BAD_SEAL = 48


class ValueType(IntEnum):
    """Type of a value; the numbers are those of the WebAssembly binary format."""

    I32 = 0x7F
    I64 = 0x7E
    F32 = 0x7D
    F64 = 0x7C
    V128 = 0x7B


class ExternKind(IntEnum):
    """Kind of an export; the numbers are those of the WebAssembly binary format."""

    FUNC = 0
    TABLE = 1
    MEMORY = 2
    GLOBAL = 3
    TAG = 4


_BITS = {ValueType.I32: 32, ValueType.I64: 64, ValueType.F32: 32, ValueType.F64: 64, ValueType.V128: 128}


@dataclass(frozen=True, slots=True)
class Value:
    """A WebAssembly number or vector as its bit pattern, so that a NaN keeps its payload.

    `bits` is unsigned; bit 0 of a v128 is the lowest bit of lane 0.

    Raises:
        LocalError: `bits` does not fit the type.
    """

    type: ValueType
    bits: int

    def __post_init__(self) -> None:
        if not 0 <= self.bits < 1 << _BITS[self.type]:
            raise LocalError(f"value does not fit {self.type.name.lower()}")

    @classmethod
    def i32(cls, number: int) -> Value:
        """A 32-bit integer, given signed or unsigned."""
        return cls._integer(ValueType.I32, number)

    @classmethod
    def i64(cls, number: int) -> Value:
        """A 64-bit integer, given signed or unsigned."""
        return cls._integer(ValueType.I64, number)

    @classmethod
    def f32(cls, number: float) -> Value:
        """A single, rounded from a Python float (overflow becomes an infinity)."""
        try:
            packed = struct.pack("<f", number)
        except OverflowError:
            packed = struct.pack("<f", float("inf") if number > 0 else float("-inf"))
        return cls(ValueType.F32, int.from_bytes(packed, "little"))

    @classmethod
    def f64(cls, number: float) -> Value:
        """A double."""
        return cls(ValueType.F64, int.from_bytes(struct.pack("<d", number), "little"))

    @classmethod
    def v128(cls, lanes: bytes) -> Value:
        """A vector from its 16 bytes in memory order."""
        if len(lanes) != 16:
            raise LocalError(f"a v128 has 16 bytes, not {len(lanes)}")
        return cls(ValueType.V128, int.from_bytes(lanes, "little"))

    @classmethod
    def _integer(cls, kind: ValueType, number: int) -> Value:
        width = _BITS[kind]
        if not -(1 << (width - 1)) <= number < 1 << width:
            raise LocalError(f"{number} does not fit {kind.name.lower()}")
        return cls(kind, number % (1 << width))

    def to_python(self) -> int | float | bytes:
        """The value as Python shows it: integers signed, v128 as its 16 bytes."""
        width = _BITS[self.type]
        if self.type in (ValueType.I32, ValueType.I64):
            return self.bits - ((self.bits >> (width - 1)) << width)
        raw = self.bits.to_bytes(width // 8, "little")
        if self.type is ValueType.V128:
            return raw
        number: float = struct.unpack("<f" if self.type is ValueType.F32 else "<d", raw)[0]
        return number


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """Send a module (binary or text) under a name of the client's choice."""

    name: str
    module: bytes


@dataclass(frozen=True, slots=True)
class DeployResult:
    """The module is instantiated; `digest` is SHA-256 of the bytes that arrived."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class CallRequest:
    """Call an exported function. `fuel` (instructions) and `timeout_ms` of 0 mean the enclave's limit."""

    module: str
    function: str
    arguments: tuple[Value, ...] = ()
    fuel: int = 0
    timeout_ms: int = 0


@dataclass(frozen=True, slots=True)
class CallResult:
    """What the function returned, and the instructions it took (0 where fuel is not metered)."""

    values: tuple[Value, ...] = ()
    fuel_used: int = 0


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """Ask about the enclave and, if `module` is not empty, about that module's exports."""

    module: str = ""


@dataclass(frozen=True, slots=True)
class ExportInfo:
    """One export; `type` is its type in the text format, for example ``(func (param i32) (result i32))``."""

    name: str
    kind: ExternKind
    type: str


@dataclass(frozen=True, slots=True)
class InfoResult:
    """Versions, the engine in use, deployed modules, and the asked module's exports."""

    version: str
    engine: str
    modules: tuple[str, ...] = ()
    exports: tuple[ExportInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Run a deployed WASI command."""

    module: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    stdin: bytes = b""
    fuel: int = 0
    timeout_ms: int = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    """How the command ended and what it wrote."""

    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""
    fuel_used: int = 0


@dataclass(frozen=True, slots=True)
class PutRequest:
    """Store a file in the enclave's own memory."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class PutResult:
    """The file is stored."""


@dataclass(frozen=True, slots=True)
class GetRequest:
    """Fetch a file from the enclave's own memory."""

    path: str


@dataclass(frozen=True, slots=True)
class GetResult:
    """The file's content."""

    content: bytes


@dataclass(frozen=True, slots=True)
class ReceiptRequest:
    """Ask for a signed receipt of an earlier request of this session."""

    request: int


@dataclass(frozen=True, slots=True)
class ReceiptResult:
    """The receipt, in the receipt's own format."""

    receipt: bytes


@dataclass(frozen=True, slots=True)
class SealRequest:
    """Seal the state of a module under a label."""

    module: str
    label: str


@dataclass(frozen=True, slots=True)
class SealResult:
    """The sealed blob; only an enclave of the same identity opens it."""

    blob: bytes


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """Restore a module's state from a sealed blob."""

    module: str
    label: str
    blob: bytes


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The state is restored."""


@dataclass(frozen=True, slots=True)
class TraceFrame:
    """One frame of a trap's backtrace, innermost first; `offset` is in bytes from the module's start."""

    module: str
    function_index: int
    function_name: str
    offset: int


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """A request failed; the session goes on. `backtrace` is filled for traps."""

    code: ErrorCode
    message: str
    backtrace: tuple[TraceFrame, ...] = ()


Request = (
    DeployRequest
    | CallRequest
    | InfoRequest
    | RunRequest
    | PutRequest
    | GetRequest
    | ReceiptRequest
    | SealRequest
    | RestoreRequest
)
Result = (
    DeployResult
    | CallResult
    | InfoResult
    | RunResult
    | PutResult
    | GetResult
    | ReceiptResult
    | SealResult
    | RestoreResult
)
Reply = Result | ErrorReply
Message = Request | Reply


_MAX_ERROR_TEXT = 4096
_MAX_BACKTRACE = 128


class _Form(NamedTuple):
    """How one message type is held and laid out; `nested` rebuilds fields that are not plain."""

    cls: type[Any]
    layout: Layout
    nested: Mapping[str, Callable[[Any], object]] = {}


def _value_tuple(items: list[Any]) -> tuple[Value, ...]:
    return tuple(Value(ValueType(item["type"]), item["bits"]) for item in items)


def _export_tuple(items: list[Any]) -> tuple[ExportInfo, ...]:
    return tuple(ExportInfo(item["name"], ExternKind(item["kind"]), item["type"]) for item in items)


def _pair_tuple(items: list[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in items)


def _frame_tuple(items: list[Any]) -> tuple[TraceFrame, ...]:
    return tuple(TraceFrame(**{f.name: item[f.name] for f in fields(TraceFrame)}) for item in items)


_FORMS: dict[MessageType, _Form] = {
    MessageType.DEPLOY: _Form(DeployRequest, layouts.DEPLOY),
    MessageType.DEPLOY_RESULT: _Form(DeployResult, layouts.DEPLOY_RESULT),
    MessageType.CALL: _Form(CallRequest, layouts.CALL, {"arguments": _value_tuple}),
    MessageType.CALL_RESULT: _Form(CallResult, layouts.CALL_RESULT, {"values": _value_tuple}),
    MessageType.INFO: _Form(InfoRequest, layouts.INFO),
    MessageType.INFO_RESULT: _Form(
        InfoResult, layouts.INFO_RESULT, {"modules": tuple, "exports": _export_tuple}
    ),
    MessageType.RUN: _Form(RunRequest, layouts.RUN, {"arguments": tuple, "environment": _pair_tuple}),
    MessageType.RUN_RESULT: _Form(RunResult, layouts.RUN_RESULT),
    MessageType.PUT: _Form(PutRequest, layouts.PUT),
    MessageType.PUT_RESULT: _Form(PutResult, layouts.PUT_RESULT),
    MessageType.GET: _Form(GetRequest, layouts.GET),
    MessageType.GET_RESULT: _Form(GetResult, layouts.GET_RESULT),
    MessageType.RECEIPT: _Form(ReceiptRequest, layouts.RECEIPT),
    MessageType.RECEIPT_RESULT: _Form(ReceiptResult, layouts.RECEIPT_RESULT),
    MessageType.SEAL: _Form(SealRequest, layouts.SEAL),
    MessageType.SEAL_RESULT: _Form(SealResult, layouts.SEAL_RESULT),
    MessageType.RESTORE: _Form(RestoreRequest, layouts.RESTORE),
    MessageType.RESTORE_RESULT: _Form(RestoreResult, layouts.RESTORE_RESULT),
    MessageType.ERROR: _Form(ErrorReply, layouts.ERROR, {"code": ErrorCode, "backtrace": _frame_tuple}),
}
_TYPES: dict[type[Message], MessageType] = {form.cls: number for number, form in _FORMS.items()}


def message_type(message: Message) -> MessageType:
    """The type byte of a message."""
    return _TYPES[type(message)]


def result_type(request: MessageType) -> MessageType:
    """The type that a successful reply to `request` must have."""
    return MessageType(request | 0x80)


def unsupported(request: Request) -> ErrorReply:
    """The reply to a request that this enclave does not serve."""
    name = message_type(request).name.lower()
    return ErrorReply(ErrorCode.UNSUPPORTED, f"this enclave does not support {name} requests")


def encode(message: Message) -> bytes:
    """The body of a message, without its chunk headers.

    Error replies are cut to a few kilobytes of text and the innermost frames, so that no guest can make an
    error unsendable.

    Raises:
        LocalError: a field does not fit its layout.
    """
    if isinstance(message, ErrorReply):
        message = _clip_error(message)
    form = _FORMS[message_type(message)]
    return form.layout.build({f.name: _plain(getattr(message, f.name)) for f in fields(message)})


def decode(kind: MessageType, body: bytes) -> Message:
    """A message from its type and body.

    Raises:
        MessageError: the body is not, byte for byte, one message of that type.
    """
    form = _FORMS[kind]
    parsed = form.layout.parse(body)
    try:
        message: Message = form.cls(
            **{f.name: form.nested.get(f.name, _same)(parsed[f.name]) for f in fields(form.cls)}
        )
    except (ValueError, LocalError) as error:
        raise MessageError(f"a field of a {kind.name.lower()} message is out of range") from error
    return message


def _same(item: object) -> object:
    return item


def _plain(item: object) -> object:
    if is_dataclass(item):
        return {f.name: _plain(getattr(item, f.name)) for f in fields(item)}
    if isinstance(item, tuple):
        return [_plain(part) for part in item]
    return item


def _clip_error(error: ErrorReply) -> ErrorReply:
    frames = tuple(
        replace(frame, module=_clip(frame.module), function_name=_clip(frame.function_name))
        for frame in error.backtrace[:_MAX_BACKTRACE]
    )
    return replace(error, message=_clip(error.message), backtrace=frames)


def _clip(text: str) -> str:
    raw = text.encode("utf-8", "replace")
    return raw[:_MAX_ERROR_TEXT].decode("utf-8", "ignore")
