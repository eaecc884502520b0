"""Requests, replies and typed values: what the two ends say to each other, none of which ever changes.

Byte layouts are in `layouts`; `encode` and `decode` join the two. Text is UTF-8; a module name is the one
that the client gave it in `DeployRequest`. What every call makes anew is a named tuple, the rest are frozen
dataclasses, which take longer to make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, NamedTuple

from . import layouts
from .errors import LocalError, MessageError
from .values import VALUE_TYPES
from .values import Value as Value
from .values import ValueType as ValueType
from .wire import Buffer, Layout

RESULT = 0x80
"""What is added to a request's type for its result's."""


class MessageType(IntEnum):
    """The type byte of a chunk. A result is its request's plus `RESULT`; an error answers any of them."""

    DEPLOY = 1
    CALL = 2
    INFO = 3
    RUN = 4
    PUT = 5
    GET = 6
    RECEIPT = 7
    SEAL = 8
    RESTORE = 9
    WRITE = 10
    READ = 11
    FORGET = 12
    DEPLOY_RESULT = 0x81
    CALL_RESULT = 0x82
    INFO_RESULT = 0x83
    RUN_RESULT = 0x84
    PUT_RESULT = 0x85
    GET_RESULT = 0x86
    RECEIPT_RESULT = 0x87
    SEAL_RESULT = 0x88
    RESTORE_RESULT = 0x89
    WRITE_RESULT = 0x8A
    READ_RESULT = 0x8B
    FORGET_RESULT = 0x8C
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


class ExternKind(IntEnum):
    """Kind of an export; the numbers are those of the WebAssembly binary format."""

    FUNC = 0
    TABLE = 1
    MEMORY = 2
    GLOBAL = 3
    TAG = 4


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """Send a module (binary or text) under a name of the client's choice."""

    name: str
    module: Buffer


@dataclass(frozen=True, slots=True)
class DeployResult:
    """The module is instantiated; `digest` is SHA-256 of the bytes that arrived."""

    digest: bytes


class CallRequest(NamedTuple):
    """Call an exported function. `fuel` (instructions) and `timeout_ms` of 0 mean the enclave's limit."""

    module: str
    function: str
    arguments: tuple[Value, ...] = ()
    fuel: int = 0
    timeout_ms: int = 0


class CallResult(NamedTuple):
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
    """Run a deployed WASI command to its end; `fuel` and `timeout_ms` as in `CallRequest`."""

    module: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    stdin: Buffer = b""
    fuel: int = 0
    timeout_ms: int = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    """How the command ended (0 to 2**32 - 1) and what it wrote."""

    exit_code: int
    stdout: Buffer = b""
    stderr: bytes = b""
    fuel_used: int = 0


@dataclass(frozen=True, slots=True)
class PutRequest:
    """Store a piece of a file in the session's file tree, in the enclave's memory.

    With `offset` 0 the file is made, or made anew; any other offset must be its size so far.
    """

    path: str
    content: Buffer
    offset: int = 0


@dataclass(frozen=True, slots=True)
class PutResult:
    """The piece is stored; `size` is the file's size now."""

    size: int


@dataclass(frozen=True, slots=True)
class GetRequest:
    """Fetch at most `size` bytes of a file of the session's tree, from `offset`."""

    path: str
    offset: int = 0
    size: int = 2**32 - 1


@dataclass(frozen=True, slots=True)
class GetResult:
    """A piece of the file, shorter than asked for at its end or at the limit; `total` is its size."""

    total: int
    content: Buffer


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Write into a module's exported memory; an empty `memory` means its only one."""

    module: str
    address: int
    content: Buffer
    memory: str = ""


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The bytes are written."""


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """Read `size` bytes from a module's exported memory."""

    module: str
    address: int
    size: int
    memory: str = ""


@dataclass(frozen=True, slots=True)
class ReadResult:
    """The bytes."""

    content: Buffer


@dataclass(frozen=True, slots=True)
class ReceiptRequest:
    """Ask for a signed receipt of an earlier call or run of this session; 0 stands for the latest."""

    request: int = 0


@dataclass(frozen=True, slots=True)
class ReceiptResult:
    """The receipt as `receipts` reads it."""

    receipt: bytes


@dataclass(frozen=True, slots=True)
class SealRequest:
    """Have a program kept under a label, sealed to this enclave's measurement and this client's key.

    `counter` is the highest that the client has seen for the label: the sealed program's will be higher.
    """

    label: str
    module: Buffer
    counter: int = 0


@dataclass(frozen=True, slots=True)
class SealResult:
    """It is kept; `digest` is SHA-256 of the program."""

    digest: bytes
    counter: int


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """Deploy the program kept under `label` as `name`, unless its counter is below `counter`.

    `owner` is the public key (32 bytes) of the client that had it kept; empty for one's own.
    """

    label: str
    name: str
    counter: int = 0
    owner: bytes = b""


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """It is instantiated; `digest` is SHA-256 of the program."""

    digest: bytes
    counter: int


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """Have the program removed that this client had kept under a label."""

    label: str


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """The host was told to remove it, and says that it did."""


@dataclass(frozen=True, slots=True)
class TraceFrame:
    """One frame of a trap's backtrace, innermost first; `offset` is in bytes from the module's start."""

    module: str
    function_index: int
    function_name: str
    offset: int


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """A request failed; the session goes on.

    `backtrace` is filled for traps, `stdout` and `stderr` with what a command had written when it failed.
    """

    code: ErrorCode
    message: str
    backtrace: tuple[TraceFrame, ...] = ()
    stdout: Buffer = b""
    stderr: bytes = b""


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
    | ForgetRequest
    | WriteRequest
    | ReadRequest
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
    | ForgetResult
    | WriteResult
    | ReadResult
)
Reply = Result | ErrorReply
Message = Request | Reply


_MAX_ERROR_TEXT = 4096
_MAX_BACKTRACE = 128


class _Form:
    """How one message type is held and laid out; `nested` says for a field how it is laid out and rebuilt."""

    def __init__(self, cls: type[Any], layout: Layout, **nested: _Nested) -> None:
        self.cls = cls
        self.layout = layout
        self.nested = nested
        self.names: tuple[str, ...] = getattr(cls, "_fields", ()) or tuple(f.name for f in fields(cls))

    def plain(self, message: Message) -> dict[str, Any]:
        """The fields as the layout takes them."""
        values = {name: getattr(message, name) for name in self.names}
        for name, (to_plain, _) in self.nested.items():
            values[name] = to_plain(values[name])
        return values

    def rebuild(self, parsed: dict[str, Any]) -> Message:
        """The message of parsed fields; raises ValueError or LocalError for what is out of range."""
        for name, (_, from_plain) in self.nested.items():
            parsed[name] = from_plain(parsed[name])
        message: Message = self.cls(**parsed)
        return message


_Nested = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def plain_values(values: tuple[Value, ...]) -> list[tuple[int, int | bytes]]:
    """Values as the layouts take them."""
    return [
        (value.type, value.bits.to_bytes(16, "big") if value.type is ValueType.V128 else value.bits)
        for value in values
    ]


def values_from_plain(items: tuple[tuple[int, int | bytes], ...]) -> tuple[Value, ...]:
    """The inverse of `plain_values`."""
    return tuple(
        Value(VALUE_TYPES[kind], int.from_bytes(bits, "big") if isinstance(bits, bytes) else bits)
        for kind, bits in items
    )


_VALUES = (plain_values, values_from_plain)
_EXPORTS = (
    lambda exports: [(export.name, export.kind, export.type) for export in exports],
    lambda items: tuple(ExportInfo(name, ExternKind(kind), type) for name, kind, type in items),
)
_FRAMES = (
    lambda frames: [(f.module, f.function_index, f.function_name, f.offset) for f in frames],
    lambda items: tuple(TraceFrame(*item) for item in items),
)

_FORMS: dict[MessageType, _Form] = {
    MessageType.DEPLOY: _Form(DeployRequest, layouts.DEPLOY),
    MessageType.DEPLOY_RESULT: _Form(DeployResult, layouts.DEPLOY_RESULT),
    MessageType.CALL: _Form(CallRequest, layouts.CALL, arguments=_VALUES),
    MessageType.CALL_RESULT: _Form(CallResult, layouts.CALL_RESULT, values=_VALUES),
    MessageType.INFO: _Form(InfoRequest, layouts.INFO),
    MessageType.INFO_RESULT: _Form(InfoResult, layouts.INFO_RESULT, exports=_EXPORTS),
    MessageType.RUN: _Form(RunRequest, layouts.RUN),
    MessageType.RUN_RESULT: _Form(RunResult, layouts.RUN_RESULT),
    MessageType.PUT: _Form(PutRequest, layouts.PUT),
    MessageType.PUT_RESULT: _Form(PutResult, layouts.PUT_RESULT),
    MessageType.GET: _Form(GetRequest, layouts.GET),
    MessageType.GET_RESULT: _Form(GetResult, layouts.GET_RESULT),
    MessageType.WRITE: _Form(WriteRequest, layouts.WRITE),
    MessageType.WRITE_RESULT: _Form(WriteResult, layouts.WRITE_RESULT),
    MessageType.READ: _Form(ReadRequest, layouts.READ),
    MessageType.READ_RESULT: _Form(ReadResult, layouts.READ_RESULT),
    MessageType.RECEIPT: _Form(ReceiptRequest, layouts.RECEIPT),
    MessageType.RECEIPT_RESULT: _Form(ReceiptResult, layouts.RECEIPT_RESULT),
    MessageType.SEAL: _Form(SealRequest, layouts.SEAL),
    MessageType.SEAL_RESULT: _Form(SealResult, layouts.SEAL_RESULT),
    MessageType.RESTORE: _Form(RestoreRequest, layouts.RESTORE),
    MessageType.RESTORE_RESULT: _Form(RestoreResult, layouts.RESTORE_RESULT),
    MessageType.FORGET: _Form(ForgetRequest, layouts.FORGET),
    MessageType.FORGET_RESULT: _Form(ForgetResult, layouts.FORGET_RESULT),
    MessageType.ERROR: _Form(ErrorReply, layouts.ERROR, code=(int, ErrorCode), backtrace=_FRAMES),
}
MESSAGE_TYPES: dict[type[Message], MessageType] = {form.cls: number for number, form in _FORMS.items()}
"""The type byte of each kind of message."""


def message_type(message: Message) -> MessageType:
    """The type byte of a message."""
    return MESSAGE_TYPES[type(message)]


def result_type(request: MessageType) -> MessageType:
    """The type that a successful reply to `request` must have."""
    return MessageType(request | RESULT)


def unsupported(request: Request) -> ErrorReply:
    """The reply to a request that this enclave does not serve."""
    name = message_type(request).name.lower()
    return ErrorReply(ErrorCode.UNSUPPORTED, f"this enclave does not support {name} requests")


def too_large(limit: int) -> ErrorReply:
    """The reply to a request of more bytes than an enclave takes."""
    return ErrorReply(ErrorCode.TOO_LARGE, f"a request may have {limit} bytes here, and this one has more")


def encode(message: Message) -> list[Buffer]:
    """The body of a message, without its chunk headers, in pieces: a large last field is not copied.

    Error replies are cut to a few kilobytes of text and the innermost frames, so that no guest can make an
    error unsendable.

    Raises:
        LocalError: a field does not fit its layout.
    """
    if isinstance(message, ErrorReply):
        message = _clip_error(message)
    form = _FORMS[message_type(message)]
    return form.layout.parts(form.plain(message))


def decode(kind: MessageType, body: Buffer) -> Message:
    """A message from its type and body; its large last field is a view of `body` where that is a view.

    Raises:
        MessageError: the body is not, byte for byte, one message of that type.
    """
    form = _FORMS[kind]
    parsed = form.layout.parse(body)
    try:
        return form.rebuild(parsed)
    except (ValueError, LocalError) as error:
        raise MessageError(f"a field of a {kind.name.lower()} message is out of range") from error


def _clip_error(error: ErrorReply) -> ErrorReply:
    frames = tuple(
        replace(frame, module=_clip(frame.module), function_name=_clip(frame.function_name))
        for frame in error.backtrace[:_MAX_BACKTRACE]
    )
    return replace(error, message=_clip(error.message), backtrace=frames)


def _clip(text: str) -> str:
    raw = text.encode("utf-8", "replace")
    return raw[:_MAX_ERROR_TEXT].decode("utf-8", "ignore")
