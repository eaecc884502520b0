"""What a session can do, each once, for the blocking and the asynchronous session alike.

An operation is a generator: it yields `Ask` and is given the request's number and its reply; or, to
have several requests on their way, `Send` and is given the number, later `Wait` and is given the reply. It
returns its result. Who drives it does the input and output.
"""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, BinaryIO, NamedTuple, TypeVar

from schannel import fast
from schannel.messages import (
    CallRequest,
    CallResult,
    DeployRequest,
    DeployResult,
    ErrorReply,
    ExternKind,
    ForgetRequest,
    ForgetResult,
    GetRequest,
    GetResult,
    InfoRequest,
    InfoResult,
    PutRequest,
    PutResult,
    ReadRequest,
    ReadResult,
    ReceiptRequest,
    ReceiptResult,
    Reply,
    Request,
    RestoreRequest,
    RestoreResult,
    RunRequest,
    RunResult,
    SealRequest,
    SealResult,
    WriteRequest,
    WriteResult,
)
from schannel.transport import Watch
from schannel.wire import Buffer

from .errors import ArgumentError, ConnectionLost, RequestFailed
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


class Ask(NamedTuple):
    """Send a request and wait for its reply; answered with its number and the reply.

    `watch` hears of bytes still unsent.
    """

    request: Request
    watch: Watch | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request; answered with its number."""

    request: Request


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for the reply to a request; answered with the reply."""

    number: int


_NONE: dict[str, FunctionType] = {}

_T = TypeVar("_T")
_Kind = TypeVar("_Kind")
Operation = Generator[Ask | Send | Wait, Any, _T]


class Exchange(NamedTuple):
    """A call or run with its reply: what a receipt is about. `number` names it within the session."""

    number: int
    request: CallRequest | RunRequest
    reply: Reply


class Operations:
    """The operations, and what they remember of the session."""

    def __init__(self) -> None:
        self._functions: dict[str, dict[str, FunctionType]] = {}
        self._latest: tuple[int, CallRequest | RunRequest, Reply] | None = None

    @property
    def latest(self) -> Exchange | None:
        """The latest call or run."""
        return None if self._latest is None else Exchange(*self._latest)

    def deploy(self, program: Buffer, module: str, progress: Progress | None) -> Operation[bytes]:
        """Send a program; returns the SHA-256 of what arrived."""
        _check_program(program)
        self._functions.pop(module, None)
        watch = _sent(progress, len(program))
        return (yield from _ask(DeployRequest(module, program), DeployResult, watch)).digest

    def seal(
        self, program: Buffer, label: str, counter: int, progress: Progress | None
    ) -> Operation[SealResult]:
        """Have a program kept."""
        _check_program(program)
        watch = _sent(progress, len(program))
        return (yield from _ask(SealRequest(label, program, counter), SealResult, watch))

    def restore(self, label: str, module: str, counter: int, owner: bytes) -> Operation[RestoreResult]:
        """Deploy a program that was kept."""
        self._functions.pop(module, None)
        return (yield from _ask(RestoreRequest(label, module, counter, owner), RestoreResult))

    def forget(self, label: str) -> Operation[None]:
        """Have a kept program removed."""
        yield from _ask(ForgetRequest(label), ForgetResult)

    def info(self, module: str) -> Operation[InfoResult]:
        """About the enclave and, unless it is empty, a module."""
        return (yield from _ask(InfoRequest(module), InfoResult))

    def functions(self, module: str) -> Operation[list[FunctionType]]:
        """The functions that a deployed program exports; asked once."""
        if module not in self._functions:
            result = yield from self.info(module)
            self._functions[module] = {
                export.name: FunctionType.parse(export.name, export.type)
                for export in result.exports
                if export.kind is ExternKind.FUNC
            }
        return list(self._functions[module].values())

    def function(self, name: str, module: str) -> Operation[FunctionType]:
        """One exported function; ArgumentError, with the nearest name, if there is none of that name."""
        if module not in self._functions:
            yield from self.functions(module)
        known = self._functions[module]
        if name in known:
            return known[name]
        # A program chooses how many names it has, and how long they are: comparing takes time.
        candidates = [other for other in islice(known, _COMPARED) if len(other) <= _SHOWN]
        near = difflib.get_close_matches(name[:_SHOWN], candidates, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"the program's functions: {_listed(list(known))}"
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
        raise ArgumentError(f"unknown function {shown!r}: {hint}")

    def call(
        self, name: str, arguments: tuple[int | float | bytes, ...], module: str, fuel: int, timeout_ms: int
    ) -> Operation[int | float | bytes | list[int | float | bytes] | None]:
        """Call with Python values; returns None, the one result, or a list."""
        function = self.known(name, module) or (yield from self.function(name, module))
        request = CallRequest(module, name, function.arguments_from_python(arguments), fuel, timeout_ms)
        number, reply = yield Ask(request)
        return self.called(number, request, reply)

    def known(self, name: str, module: str) -> FunctionType | None:
        """An exported function of which the enclave has told already."""
        return self._functions.get(module, _NONE).get(name)

    def called(
        self, number: int, request: CallRequest, reply: Reply
    ) -> int | float | bytes | list[int | float | bytes] | None:
        """Remember a call; returns what it gave, as `call` does."""
        self._latest = (number, request, reply)
        items = (reply if type(reply) is CallResult else _expect(reply, CallResult)).values
        values: list[Any] | None = fast.numbers(items)
        if values is None:
            values = [item.to_python() for item in items]
        return values if len(values) > 1 else values[0] if values else None

    def call_values(self, request: CallRequest) -> Operation[CallResult]:
        """Call with values as they travel."""
        return (yield from self._attested(request, CallResult))

    def run(self, request: RunRequest, progress: Progress | None) -> Operation[RunResult]:
        """Run a command to its end."""
        result = yield from self._attested(request, RunResult, _sent(progress, len(request.stdin)))
        # A view of the message until here; whoever called wants bytes.
        return replace(result, stdout=bytes(result.stdout))

    def receipt(self, number: int) -> Operation[bytes]:
        """The signed receipt of a call or run."""
        return (yield from _ask(ReceiptRequest(number), ReceiptResult)).receipt

    def put(self, path: str, file: BinaryIO, total: int, progress: Progress | None) -> Operation[int]:
        """Send a file in pieces; returns its size."""
        sent: deque[int] = deque()
        done = offset = 0
        while piece := file.read(PIECE):
            sent.append((yield Send(PutRequest(path, piece, offset))))
            offset += len(piece)
            if len(sent) >= _AHEAD:
                done = _expect((yield Wait(sent.popleft())), PutResult).size
                _report(progress, done, total)
        if offset == 0:
            sent.append((yield Send(PutRequest(path, b""))))
        for number in sent:
            done = _expect((yield Wait(number)), PutResult).size
            _report(progress, done, total)
        return done

    def get(self, path: str, file: BinaryIO, progress: Progress | None) -> Operation[int]:
        """Fetch a file in pieces; returns its size."""
        first = yield from _ask(GetRequest(path, 0, PIECE), GetResult)
        file.write(first.content)
        done, total = len(first.content), first.total
        asked: deque[int] = deque()
        offsets: Iterator[int] = iter(range(done, total, PIECE) if done else ())
        while True:
            while len(asked) < _AHEAD and (offset := next(offsets, None)) is not None:
                asked.append((yield Send(GetRequest(path, offset, PIECE))))
            _report(progress, done, total)
            if not asked:
                break
            piece = _expect((yield Wait(asked.popleft())), GetResult)
            file.write(piece.content)
            done += len(piece.content)
        if done != total:
            raise ConnectionLost(f"{path} changed while it was fetched")
        return done

    def write_memory(self, address: int, data: Buffer, module: str, memory: str) -> Operation[None]:
        """Put bytes into a program's memory."""
        yield from _ask(WriteRequest(module, address, data, memory), WriteResult)

    def read_memory(self, address: int, size: int, module: str, memory: str) -> Operation[bytes]:
        """Bytes of a program's memory."""
        result = yield from _ask(ReadRequest(module, address, size, memory), ReadResult)
        return bytes(result.content)

    def buffer(self, data: Buffer, module: str) -> Operation[int]:
        """Have the program allocate memory for bytes and write them there; returns their address."""
        functions = {function.name: function for function in (yield from self.functions(module))}
        name = next((name for name in _ALLOCATORS if name in functions), None)
        if name is None:
            raise ArgumentError(
                f"the program exports no allocator ({', '.join(_ALLOCATORS)}): write to an address instead"
            )
        size = (0, 0, 1, len(data)) if name == "cabi_realloc" else (len(data),)
        given = functions[name].arguments_from_python(size)
        result = yield from self.call_values(CallRequest(module, name, given))
        address = result.values[0].bits if result.values else 0
        if address == 0:
            raise ArgumentError(f"the program's {name} has no room for {len(data)} bytes")
        yield from self.write_memory(address, data, module, "")
        return address

    def _attested(
        self, request: CallRequest | RunRequest, kind: type[_Kind], watch: Watch | None = None
    ) -> Operation[_Kind]:
        number, reply = yield Ask(request, watch)
        self._latest = (number, request, reply)
        return _expect(reply, kind)


def words(arguments: Sequence[str]) -> tuple[str, ...]:
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


def _ask(request: Request, kind: type[_Kind], watch: Watch | None = None) -> Operation[_Kind]:
    _, reply = yield Ask(request, watch)
    return _expect(reply, kind)


def _expect(reply: Reply, kind: type[_Kind]) -> _Kind:
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
