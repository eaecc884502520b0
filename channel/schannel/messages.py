"""Requests, replies and typed values: what the two ends say to each other, none of which ever changes.

Each message is declared here once, a request with its number below the result that answers it;
`declaration` says what follows from that. Text is UTF-8; a module name is the one that the client gave it in
`DeployRequest`. What every call makes anew is a named tuple, the rest are frozen dataclasses, which take
longer to make.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, NamedTuple

from .declaration import MESSAGES as MESSAGES
from .declaration import RESULT as RESULT
from .declaration import (
    Bytes,
    Digest,
    Number32,
    Number64,
    Payload,
    Text,
    message,
    request,
    struct,
)
from .declaration import Message as Message
from .declaration import Reply as Reply
from .declaration import Request as Request
from .declaration import RequestFor as RequestFor
from .declaration import Result as Result
from .errors import MessageError
from .types import EXTERN_TYPE, ExternType
from .values import VALUE
from .values import Value as Value
from .values import ValueType as ValueType
from .wire import TEXT, U8, U16, U32, Buffer, array, enumerated, group, prefixed


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


Values = Annotated[tuple[Value, ...], array(U16, VALUE)]
Texts = Annotated[tuple[str, ...], array(U16, TEXT)]
Variables = Annotated[tuple[tuple[str, str], ...], array(U16, group(TEXT, TEXT))]


@dataclass(frozen=True, slots=True)
class DeployResult(Result):
    """The module is instantiated; `digest` is SHA-256 of the bytes that arrived."""

    digest: Digest


@request(1)
@dataclass(frozen=True, slots=True)
class DeployRequest(RequestFor[DeployResult]):
    """Send a module (binary or text) under a name of the client's choice."""

    name: Text
    module: Payload


class _CallResult(NamedTuple):
    values: Values = ()
    fuel_used: Number64 = 0


class CallResult(_CallResult, Result):
    """What the function returned, and the instructions it took (0 where fuel is not metered)."""

    __slots__ = ()


class _CallRequest(NamedTuple):
    module: Text
    function: Text
    arguments: Values = ()
    fuel: Number64 = 0
    timeout_ms: Number32 = 0


@request(2)
class CallRequest(_CallRequest, RequestFor[CallResult]):
    """Call an exported function. `fuel` (instructions) and `timeout_ms` of 0 mean the enclave's limit."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ExportInfo:
    """One export, with the type that the module declares."""

    name: Text
    type: Annotated[ExternType, EXTERN_TYPE]


@dataclass(frozen=True, slots=True)
class InfoResult(Result):
    """Versions, the engine in use, deployed modules, and the asked module's exports."""

    version: Text
    engine: Text
    modules: Texts = ()
    exports: Annotated[tuple[ExportInfo, ...], array(U32, struct(ExportInfo))] = ()


@request(3)
@dataclass(frozen=True, slots=True)
class InfoRequest(RequestFor[InfoResult]):
    """Ask about the enclave and, if `module` is not empty, about that module's exports."""

    module: Text = ""


@dataclass(frozen=True, slots=True)
class RunResult(Result):
    """How the command ended (0 to 2**32 - 1) and what it wrote."""

    exit_code: Number32
    stdout: Payload = b""
    stderr: Bytes = b""
    fuel_used: Number64 = 0


@request(4)
@dataclass(frozen=True, slots=True)
class RunRequest(RequestFor[RunResult]):
    """Run a deployed WASI command to its end; `fuel` and `timeout_ms` as for a call."""

    module: Text
    arguments: Texts = ()
    environment: Variables = ()
    stdin: Payload = b""
    fuel: Number64 = 0
    timeout_ms: Number32 = 0


@dataclass(frozen=True, slots=True)
class PutResult(Result):
    """The piece is stored; `size` is the file's size now."""

    size: Number64


@request(5)
@dataclass(frozen=True, slots=True)
class PutRequest(RequestFor[PutResult]):
    """Store a piece of a file in the session's file tree, in the enclave's memory.

    With `offset` 0 the file is made, or made anew; any other offset must be its size so far.
    """

    path: Text
    content: Payload
    offset: Number64 = 0


@dataclass(frozen=True, slots=True)
class GetResult(Result):
    """A piece of the file, shorter than asked for at its end or at the limit; `total` is its size."""

    total: Number64
    content: Payload


@request(6)
@dataclass(frozen=True, slots=True)
class GetRequest(RequestFor[GetResult]):
    """Fetch at most `size` bytes of a file of the session's tree, from `offset`."""

    path: Text
    offset: Number64 = 0
    size: Number32 = 2**32 - 1


@dataclass(frozen=True, slots=True)
class ReceiptResult(Result):
    """The receipt with its signature."""

    receipt: Bytes


@request(7)
@dataclass(frozen=True, slots=True)
class ReceiptRequest(RequestFor[ReceiptResult]):
    """Ask for a signed receipt of an earlier call or run of this session; 0 stands for the latest."""

    request: Number32 = 0


@dataclass(frozen=True, slots=True)
class SealResult(Result):
    """It is kept; `digest` is SHA-256 of the program."""

    digest: Digest
    counter: Number64


@request(8)
@dataclass(frozen=True, slots=True)
class SealRequest(RequestFor[SealResult]):
    """Have a program kept under a label, sealed to this enclave's measurement and this client's key.

    `counter` is the highest that the client has seen for the label: the sealed program's will be higher.
    """

    label: Text
    module: Payload
    counter: Number64 = 0


@dataclass(frozen=True, slots=True)
class RestoreResult(Result):
    """It is instantiated; `digest` is SHA-256 of the program."""

    digest: Digest
    counter: Number64


@request(9)
@dataclass(frozen=True, slots=True)
class RestoreRequest(RequestFor[RestoreResult]):
    """Deploy the program kept under `label` as `name`, unless its counter is below `counter`.

    `owner` is the public key (32 bytes) of the client that had it kept; empty for one's own.
    """

    label: Text
    name: Text
    counter: Number64 = 0
    owner: Annotated[bytes, prefixed(U8)] = b""


@dataclass(frozen=True, slots=True)
class WriteResult(Result):
    """The bytes are written."""


@request(10)
@dataclass(frozen=True, slots=True)
class WriteRequest(RequestFor[WriteResult]):
    """Write into a module's exported memory; an empty `memory` means its only one."""

    module: Text
    address: Number64
    content: Payload
    memory: Text = ""


@dataclass(frozen=True, slots=True)
class ReadResult(Result):
    """The bytes."""

    content: Payload


@request(11)
@dataclass(frozen=True, slots=True)
class ReadRequest(RequestFor[ReadResult]):
    """Read `size` bytes from a module's exported memory; an empty `memory` means its only one."""

    module: Text
    address: Number64
    size: Number32
    memory: Text = ""


@dataclass(frozen=True, slots=True)
class ForgetResult(Result):
    """The host was told to remove it, and says that it did."""


@request(12)
@dataclass(frozen=True, slots=True)
class ForgetRequest(RequestFor[ForgetResult]):
    """Have the program removed that this client had kept under a label."""

    label: Text


@dataclass(frozen=True, slots=True)
class TraceFrame:
    """One frame of a trap's backtrace, innermost first; `offset` is in bytes from the module's start."""

    module: Text
    function_index: Number32
    function_name: Text
    offset: Number32


@message(0xFF)
@dataclass(frozen=True, slots=True)
class ErrorReply(Reply):
    """A request failed; the session goes on.

    `backtrace` is filled for traps, `stdout` and `stderr` with what a command had written when it failed.
    """

    code: Annotated[ErrorCode, enumerated(ErrorCode)]
    message: Text
    backtrace: Annotated[tuple[TraceFrame, ...], array(U16, struct(TraceFrame))] = ()
    stdout: Payload = b""
    stderr: Bytes = b""


_MAX_ERROR_TEXT = 4096
_MAX_BACKTRACE = 128


def unsupported(request: Request) -> ErrorReply:
    """The reply to a request that this enclave does not serve."""
    return ErrorReply(ErrorCode.UNSUPPORTED, f"this enclave does not support a {request.title}")


def too_large(limit: int) -> ErrorReply:
    """The reply to a request of more bytes than an enclave takes."""
    return ErrorReply(ErrorCode.TOO_LARGE, f"a request may have {limit} bytes here, and this one has more")


NO_MEMORY = ErrorReply(ErrorCode.LIMIT_EXCEEDED, "the enclave's memory is exhausted")
"""The reply to a request for which an enclave has no memory."""


def encode(message: Message) -> list[Buffer]:
    """The body of a message, without its chunk headers, in pieces: a large last field is not copied.

    Error replies are cut to a few kilobytes of text and the innermost frames, so that no guest can make an
    error unsendable.

    Raises:
        LocalError: a field does not fit its layout.
    """
    if isinstance(message, ErrorReply):
        message = _clip_error(message)
    layout = message.layout
    return layout.parts({name: getattr(message, name) for name in layout.fields})


def decode(type_byte: int, body: Buffer) -> Message:
    """A message from its type byte and body; its large last field is a view of `body` where that is a view.

    Raises:
        MessageError: the body is not, byte for byte, one message of that type, or there is no such type.
    """
    cls = MESSAGES.get(type_byte)
    if cls is None:
        raise MessageError(f"unknown message type {type_byte}")
    return cls(**cls.layout.parse(body))


def _clip_error(error: ErrorReply) -> ErrorReply:
    frames = tuple(
        replace(frame, module=_clip(frame.module), function_name=_clip(frame.function_name))
        for frame in error.backtrace[:_MAX_BACKTRACE]
    )
    return replace(error, message=_clip(error.message), backtrace=frames)


def _clip(text: str) -> str:
    raw = text.encode("utf-8", "replace")
    return raw[:_MAX_ERROR_TEXT].decode("utf-8", "ignore")
