"""What a session can do, each once, for the blocking and the asynchronous session (`schannel.steps`)."""

from __future__ import annotations

import difflib
import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar, cast

from schannel import fast
from schannel.connection import Connection, Watch
from schannel.errors import ProtocolError, RemoteError
from schannel.events import EnclaveVerified
from schannel.messages import (
    CallRequest,
    CallResult,
    DeployRequest,
    ErrorReply,
    ForgetRequest,
    GetRequest,
    GetResult,
    InfoRequest,
    InfoResult,
    PutRequest,
    PutResult,
    ReadRequest,
    ReceiptRequest,
    Reply,
    RequestFor,
    RestoreRequest,
    RestoreResult,
    Result,
    RunRequest,
    RunResult,
    SealRequest,
    SealResult,
    Value,
    WriteRequest,
)
from schannel.steps import Steps, driven
from schannel.types import FuncType
from schannel.wire import Buffer

from .content import Source, Target, opened, size_of, written
from .errors import ArgumentError, ConnectionLost, RequestFailed
from .receipts import ReceiptFile
from .values import FunctionType

DEFAULT_MODULE = "main"

PIECE = 1 << 20
"""Bytes of a file that travel in one request."""

_AHEAD = 4
"""Pieces that are on their way at a time."""

_ALLOCATORS = ("malloc", "alloc", "allocate", "__alloc", "cabi_realloc")
"""Names under which programs export what gives them memory."""

_SHOWN, _LISTED, _COMPARED = 64, 20, 256
"""Characters of a name, and how many names, that an error shows, and that are compared with a wrong one."""

Progress = Callable[[int, int], None]
"""Is told how many bytes are through, and how many there are."""

Scalar = int | float | bytes
"""A value as Python shows it: a v128 is 16 bytes."""

_DEPLOYING = (DeployRequest, RestoreRequest)
_ATTESTED = (CallRequest, RunRequest)
_NONE: dict[str, FunctionType] = {}

_Result = TypeVar("_Result", bound=Result)


class Operations:
    """A verified session with an enclave.

    Every operation raises `RequestFailed` when the enclave answers with an error, `ArgumentError` when no
    request can be made of what it was given, and `ConnectionLost` when the channel breaks, after which the
    session is over. `module` is the name that a program was deployed as.
    """

    def __init__(self, connection: Connection, reply_timeout: float) -> None:
        self._connection: Connection = connection
        self._reply_timeout = reply_timeout
        self._functions: dict[str, dict[str, FunctionType]] = {}
        self._latest: tuple[int, CallRequest | RunRequest, Reply] | None = None

    @property
    def verified(self) -> EnclaveVerified:
        """What the evidence said."""
        verified = self._connection.verified
        assert verified is not None
        return verified

    @driven
    def ask(self, request: RequestFor[_Result]) -> Steps[_Result]:
        """Send any request of `schannel.messages`; returns the enclave's answer to just that."""
        return (yield from self._ask(request))

    @driven
    def deploy(
        self, program: Buffer, module: str = DEFAULT_MODULE, *, progress: Progress | None = None
    ) -> Steps[bytes]:
        """Send a program, binary or text, and have it instantiated; returns the SHA-256 of what arrived.

        It is linked with the session's other modules by their names.
        """
        _check_program(program)
        watch = _sent(progress, len(program))
        return (yield from self._ask(DeployRequest(module, program), watch)).digest

    @driven
    def seal(
        self, program: Buffer, label: str, counter: int = 0, *, progress: Progress | None = None
    ) -> Steps[SealResult]:
        """Have a program kept for later connections; `counter` is the highest known for the label."""
        _check_program(program)
        watch = _sent(progress, len(program))
        return (yield from self._ask(SealRequest(label, program, counter), watch))

    @driven
    def restore(
        self, label: str, module: str = DEFAULT_MODULE, counter: int = 0, owner: bytes = b""
    ) -> Steps[RestoreResult]:
        """Deploy a program that was kept, refusing versions before `counter`."""
        return (yield from self._ask(RestoreRequest(label, module, counter, owner)))

    @driven
    def forget(self, label: str) -> Steps[None]:
        """Have a program removed that was kept for this client; nobody but the host can know that it was."""
        yield from self._ask(ForgetRequest(label))

    @driven
    def info(self, module: str = "") -> Steps[InfoResult]:
        """Versions, engine and deployed modules, and what one of them exports."""
        return (yield from self._ask(InfoRequest(module)))

    @driven
    def functions(self, module: str = DEFAULT_MODULE) -> Steps[list[FunctionType]]:
        """The functions that a deployed program exports."""
        return list((yield from self._functions_of(module)).values())

    @driven
    def function(self, name: str, module: str = DEFAULT_MODULE) -> Steps[FunctionType]:
        """One exported function; ArgumentError, with the nearest name, if there is none of that name."""
        return (yield from self._function(name, module))

    @driven
    def call(
        self,
        function: str,
        *arguments: Scalar,
        module: str = DEFAULT_MODULE,
        fuel: int = 0,
        timeout_ms: int = 0,
    ) -> Steps[Scalar | list[Scalar] | None]:
        """Call an exported function with Python values; returns None, its one result, or a list.

        `fuel` (instructions) and `timeout_ms` of 0 mean the enclave's own limits. Raises also ArgumentError.
        """
        known = self._functions.get(module, _NONE).get(function) or (
            yield from self._function(function, module)
        )
        request = CallRequest(module, function, known.arguments_from_python(arguments), fuel, timeout_ms)
        number, reply = yield from self._connection.asking(request, self._reply_timeout)
        self._latest = (number, request, reply)
        items = (reply if type(reply) is CallResult else _expect(reply, CallResult)).values
        values: list[Any] | None = fast.numbers(items)
        if values is None:
            values = [item.to_python() for item in items]
        return values if len(values) > 1 else values[0] if values else None

    @driven
    def call_values(
        self,
        function: str,
        arguments: tuple[Value, ...],
        module: str = DEFAULT_MODULE,
        fuel: int = 0,
        timeout_ms: int = 0,
    ) -> Steps[tuple[Value, ...]]:
        """Call with values as they travel: the bits of a NaN are kept."""
        request = CallRequest(module, function, arguments, fuel, timeout_ms)
        return (yield from self._ask(request)).values

    @driven
    def run(
        self,
        arguments: Sequence[str] = (),
        *,
        stdin: Buffer = b"",
        environment: Mapping[str, str] | None = None,
        module: str = DEFAULT_MODULE,
        fuel: int = 0,
        timeout_ms: int = 0,
        progress: Progress | None = None,
    ) -> Steps[RunResult]:
        """Run a WASI command to its end in the session's file tree.

        Where it ends abnormally, `RequestFailed` has what it wrote until then.
        """
        variables = tuple((environment or {}).items())
        request = RunRequest(module, _words(arguments), variables, stdin, fuel, timeout_ms)
        result = yield from self._ask(request, _sent(progress, len(stdin)))
        # A view of the message until here; whoever called wants bytes.
        return replace(result, stdout=bytes(result.stdout))

    @driven
    def receipt(self) -> Steps[ReceiptFile]:
        """An attested receipt of the latest call or run; ArgumentError if there was none."""
        if self._latest is None:
            raise ArgumentError("nothing was called yet")
        number, request, reply = self._latest
        signed = (yield from self._ask(ReceiptRequest(number))).receipt
        return ReceiptFile(signed, self.verified.evidence, request, reply)

    @driven
    def put(self, path: str, source: Source, *, progress: Progress | None = None) -> Steps[int]:
        """Store a file in the session's tree, from bytes, a local file or an open one; returns its size.

        A local file is read between the pieces, in asyncio too without leaving the event loop. Raises also
        OSError, where it cannot be read.
        """
        sent: deque[int] = deque()
        done = offset = 0
        with opened(source) as file:
            total = size_of(file)
            while (piece := file.read(PIECE)) or offset == 0:
                sent.append((yield from self._send(PutRequest(path, piece, offset))))
                offset += len(piece)
                if len(sent) >= _AHEAD:
                    done = (yield from self._wait(sent.popleft(), PutResult)).size
                    _report(progress, done, total)
                if not piece:
                    break
        for number in sent:
            done = (yield from self._wait(number, PutResult)).size
            _report(progress, done, total)
        return done

    @driven
    def get(self, path: str, into: Target = None, *, progress: Progress | None = None) -> Steps[bytes]:
        """Fetch a file of the session's tree: into a local file or an open one, or as the result.

        Raises also OSError, where a local file cannot be written.
        """
        with written(into) as file:
            first = yield from self._ask(GetRequest(path, 0, PIECE))
            file.write(first.content)
            done, total = len(first.content), first.total
            asked: deque[int] = deque()
            offsets: Iterator[int] = iter(range(done, total, PIECE) if done else ())
            while True:
                while len(asked) < _AHEAD and (offset := next(offsets, None)) is not None:
                    asked.append((yield from self._send(GetRequest(path, offset, PIECE))))
                _report(progress, done, total)
                if not asked:
                    break
                piece = yield from self._wait(asked.popleft(), GetResult)
                file.write(piece.content)
                done += len(piece.content)
            if done != total:
                raise ConnectionLost(f"{path} changed while it was fetched")
            return file.getvalue() if into is None and isinstance(file, io.BytesIO) else b""

    @driven
    def write_memory(
        self, address: int, data: Buffer, module: str = DEFAULT_MODULE, memory: str = ""
    ) -> Steps[None]:
        """Put bytes into an exported memory of a program; an empty `memory` means its only one."""
        yield from self._ask(WriteRequest(module, address, data, memory))

    @driven
    def read_memory(
        self, address: int, size: int, module: str = DEFAULT_MODULE, memory: str = ""
    ) -> Steps[bytes]:
        """Bytes of an exported memory of a program."""
        return bytes((yield from self._ask(ReadRequest(module, address, size, memory))).content)

    @driven
    def buffer(self, data: Buffer | str, module: str = DEFAULT_MODULE) -> Steps[int]:
        """Write bytes, or text as UTF-8, where the program's own allocator says; returns the address.

        Raises ArgumentError where the program exports no allocator or has no room.
        """
        content = data.encode() if isinstance(data, str) else data
        functions = yield from self._functions_of(module)
        name = next((name for name in _ALLOCATORS if name in functions), None)
        if name is None:
            raise ArgumentError(
                f"the program exports no allocator ({', '.join(_ALLOCATORS)}): write to an address instead"
            )
        size = (0, 0, 1, len(content)) if name == "cabi_realloc" else (len(content),)
        given = functions[name].arguments_from_python(size)
        values = (yield from self._ask(CallRequest(module, name, given))).values
        address = values[0].bits if values else 0
        if address == 0:
            raise ArgumentError(f"the program's {name} has no room for {len(content)} bytes")
        yield from self._ask(WriteRequest(module, address, content))
        return address

    def _functions_of(self, module: str) -> Steps[dict[str, FunctionType]]:
        """Asked once for each program."""
        if module not in self._functions:
            result = yield from self._ask(InfoRequest(module))
            self._functions[module] = {
                export.name: FunctionType(export.name, export.type.params, export.type.results)
                for export in result.exports
                if isinstance(export.type, FuncType)
            }
        return self._functions[module]

    def _function(self, name: str, module: str) -> Steps[FunctionType]:
        known = yield from self._functions_of(module)
        if name in known:
            return known[name]
        # A program chooses how many names it has, and how long they are: comparing takes time.
        candidates = [other for other in islice(known, _COMPARED) if len(other) <= _SHOWN]
        near = difflib.get_close_matches(name[:_SHOWN], candidates, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"the program's functions: {_listed(list(known))}"
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
        raise ArgumentError(f"unknown function {shown!r}: {hint}")

    def _ask(self, request: RequestFor[_Result], watch: Watch | None = None) -> Steps[_Result]:
        if isinstance(request, _DEPLOYING):
            self._functions.pop(request.name, None)
        number, reply = yield from self._connection.asking(request, self._reply_timeout, watch)
        if isinstance(request, _ATTESTED):
            self._latest = (number, request, reply)
        return cast(_Result, _expect(reply, request.result))

    def _send(self, request: RequestFor[Result]) -> Steps[int]:
        return self._connection.sending(request, self._reply_timeout)

    def _wait(self, number: int, kind: type[_Result]) -> Steps[_Result]:
        return _expect((yield from self._connection.waiting(number, self._reply_timeout)), kind)

    def _failure(self, error: ProtocolError) -> Exception:
        """What an error of the channel means to whoever uses the session."""
        if isinstance(error, RemoteError):
            return ConnectionLost(f"the connection to the enclave is lost: {error}")
        if self._connection.is_open:
            return ArgumentError(str(error))
        return ConnectionLost(f"the session is over: {error}")


def _words(arguments: Sequence[str]) -> tuple[str, ...]:
    """A command's arguments; ArgumentError for text, whose letters would each be one."""
    if isinstance(arguments, str | bytes):
        raise ArgumentError(f"arguments are a sequence of strings, not one: write [{_clipped(arguments)!r}]")
    return tuple(arguments)


def _clipped(text: str | bytes) -> str | bytes:
    return text if len(text) <= _SHOWN else text[:_SHOWN]


def _check_program(program: Buffer) -> None:
    if not len(program):
        raise ArgumentError("the program is empty")


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(name[:_SHOWN] for name in names[:_LISTED]) + more or "none"


def _expect(reply: Reply, kind: type[_Result]) -> _Result:
    if isinstance(reply, ErrorReply):
        raise RequestFailed(reply.code, reply.message, reply.backtrace, bytes(reply.stdout), reply.stderr)
    # The channel has compared the reply's type with the request's.
    assert isinstance(reply, kind)
    return reply


def _sent(progress: Progress | None, total: int) -> Watch | None:
    if progress is None:
        return None
    return lambda unsent: progress(max(total - unsent, 0), total)


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
