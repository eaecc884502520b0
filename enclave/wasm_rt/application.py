"""The enclave application: answers a client's requests by running its programs with tinywasm.

Whatever a request holds, it gets a result or an error reply; nothing that a client or its program does ends
the session, but for the channel's own errors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

import tinywasm
from schannel.ed25519_sha3 import SigningKey
from schannel.messages import (
    NO_MEMORY,
    CallRequest,
    CallResult,
    DeployRequest,
    DeployResult,
    ErrorCode,
    ErrorReply,
    ExportInfo,
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
    TraceFrame,
    WriteRequest,
    WriteResult,
    unsupported,
)
from schannel.receipts import History
from tinywasm.raw import FuncInstance

from .access import Access
from .answers import ANSWERS, Right, answers
from .attested import AttestedCall, is_small
from .configuration import Configuration
from .errors import CommandFailed, RequestError
from .files import SessionFiles
from .memories import read_memory, write_memory
from .programs import MAX_NAME, Callee, Program, Programs
from .sealing import Label, Sealing, program_digest
from .values import Signature, export_infos, function_type

VERSION = (0, 1, 0)
"""Version of the application, in the evidence's claims."""

_UNSETTLED = 64
"""Small calls after which what their receipts say is worked out, for all of them together."""

_KEPT_RECEIPTS = 1024
"""Calls of which the enclave still knows what a receipt says."""

_CODES: tuple[tuple[type[Exception], ErrorCode], ...] = (
    (tinywasm.ParseError, ErrorCode.MALFORMED_MODULE),
    (tinywasm.DecodeError, ErrorCode.MALFORMED_MODULE),
    (UnicodeDecodeError, ErrorCode.MALFORMED_MODULE),
    (tinywasm.ValidationError, ErrorCode.INVALID_MODULE),
    (tinywasm.LinkError, ErrorCode.LINK_FAILED),
    (tinywasm.OutOfFuel, ErrorCode.OUT_OF_FUEL),
    (tinywasm.Interrupted, ErrorCode.INTERRUPTED),
    (tinywasm.StackExhausted, ErrorCode.STACK_EXHAUSTED),
    (tinywasm.Trap, ErrorCode.TRAP),
    (tinywasm.WasmException, ErrorCode.WASM_EXCEPTION),
    (MemoryError, ErrorCode.LIMIT_EXCEEDED),
    (RecursionError, ErrorCode.LIMIT_EXCEEDED),
)

_COMPARED, _COMPARABLE = 256, 64
"""Names that are compared with one that does not exist, and the characters that such a name has at most."""

_Reply = TypeVar("_Reply", bound=Reply)
_Answered = tuple[int, bytes, CallRequest | RunRequest, Reply, int]
"""A call or run of which a receipt may be asked for: request number, module digest, request, reply, fuel."""


class Application:
    """The programs that one client has deployed, and what it can do with them.

    Args:
        configuration: the limits, and who may do what.
        sealing: keeps programs; None where nothing can be kept.
        receipt_key: signs receipts; None where none are given.
    """

    def __init__(
        self,
        configuration: Configuration,
        sealing: Sealing | None = None,
        receipt_key: SigningKey | None = None,
    ) -> None:
        self._configuration = configuration
        self._access = Access(configuration)
        self._sealing = sealing
        self._receipt_key = receipt_key
        self._files = SessionFiles(configuration.max_file_bytes, configuration.max_message // 2)
        self._programs = Programs(configuration, self._files.tree)
        self._session = b""
        self._history = History()
        self._receipts: deque[AttestedCall] = deque(maxlen=_KEPT_RECEIPTS)
        self._calls = 0
        self._number = 0
        """The number of the request under way."""

        self._unsettled: list[_Answered] = []

    def begin(self, session: bytes) -> None:
        """Note the name of the connection, for receipts."""
        self._session = session

    def identify(self, client: bytes) -> None:
        """Note the public key that the client has proved to own."""
        self._access.client = client

    @property
    def is_of_use(self) -> bool:
        """Whether the client may do anything here."""
        return not self._access.may_do_nothing

    def handle(self, request: Request, number: int = 0) -> Reply:
        """The reply to the request of that number; never raises but for what `settle` raises."""
        if len(self._unsettled) >= _UNSETTLED:
            self._settled()
        self._number = number
        try:
            answer = ANSWERS.get(type(request))
            if answer is None:
                return unsupported(request)
            right, method = answer
            if self._access.restricted:
                self._access.check(right, request)
            return method(self, request)
        except Exception as error:
            return self._failure(error)

    def settle(self) -> None:
        """Free what the latest request left behind, and work out what receipts of the latest calls have to
        say, where these are many, or one is large.

        Whoever sends replies calls this once a reply is on its way: the client need not wait for it. Raises
        MemoryError where there is no room for it.
        """
        self._programs.free()
        if self._unsettled:
            _, _, request, reply, _ = self._unsettled[-1]
            if len(self._unsettled) >= _UNSETTLED or not is_small(request, reply):
                self._settled()

    def _settled(self) -> History:
        """The history with every call in it."""
        for number, digest, request, reply, fuel_used in self._unsettled:
            history = self._history.digest
            self._history.add(request, reply)
            self._calls += 1
            call = AttestedCall(number, self._calls, digest, request, reply, fuel_used, history)
            self._receipts.append(call.frozen(self._session))
        self._unsettled.clear()
        return self._history

    def interrupt(self, why: str) -> None:
        """End the call under way, which is answered with `why`; for signal handlers."""
        self._programs.interrupt(why)

    def _error_reply(self, error: Exception) -> ErrorReply:
        reply = error_reply(error)
        if isinstance(error, tinywasm.Interrupted):
            return replace(reply, message=f"{reply.message}: {self._programs.interrupted_by}")
        if isinstance(error, tinywasm.OutOfFuel) and self._programs.fuel_is_the_last:
            return replace(reply, message=f"{reply.message}: this session has used all that it may")
        return reply

    def _failure(self, error: Exception) -> ErrorReply:
        return error.reply if isinstance(error, RequestError) else self._error_reply(error)

    def _recorded(self, request: Request, do: Callable[[], _Reply]) -> _Reply:
        """Do what may change the session's state: it is in the history, also where it fails half-way."""
        try:
            reply = do()
        except Exception as error:
            self._settled().add(request, self._failure(error))
            raise
        self._settled().add(request, reply)
        return reply

    @answers(Right.USE)
    def _put(self, request: PutRequest) -> PutResult:
        return self._recorded(request, lambda: self._files.put(request))

    @answers(Right.USE)
    def _get(self, request: GetRequest) -> GetResult:
        return self._files.get(request)

    @answers(Right.USE)
    def _write(self, request: WriteRequest) -> WriteResult:
        def write() -> WriteResult:
            write_memory(self._programs.instance(request.module), request)
            return WriteResult()

        return self._recorded(request, write)

    @answers(Right.USE)
    def _read(self, request: ReadRequest) -> ReadResult:
        program = self._programs.program(request.module)

        def read() -> ReadResult:
            largest = self._configuration.max_message // 2
            return ReadResult(read_memory(self._programs.instantiated(program), request, largest))

        # What makes an instance runs a start function.
        return self._recorded(request, read) if program.instance is None else read()

    @answers(Right.DEPLOY)
    def _deploy(self, request: DeployRequest) -> DeployResult:
        digest = program_digest(request.module)
        self._instantiate(request.name, request.module, digest)
        return DeployResult(digest)

    def _instantiate(self, name: str, source: Any, digest: bytes) -> None:
        try:
            self._programs.deploy(name, source, digest)
        except Exception as error:
            self._settled().add_program(name, digest, self._failure(error))
            raise
        self._settled().add_program(name, digest, DeployResult(digest))

    @answers(Right.USE)
    def _info(self, request: InfoRequest) -> InfoResult:
        exports: tuple[ExportInfo, ...] = ()
        if request.module:
            module = self._programs.program(request.module).module
            with self._programs.in_time():
                exports = export_infos(module, self._configuration.max_message // 2)
        version = ".".join(map(str, VERSION))
        return InfoResult(version, self._programs.engine, self._programs.names(), exports)

    @answers(Right.USE)
    def _attested(self, request: CallRequest | RunRequest) -> Reply:
        """Call or run, and remember it for a receipt."""
        program = self._programs.program(request.module)
        starts = isinstance(request, CallRequest) and program.instance is None
        reply: Reply
        try:
            reply = self._call(program, request) if isinstance(request, CallRequest) else self._run(request)
        except RequestError as error:
            if starts:
                # A call that could not be made may have made the instance, and so run a start function.
                self._settled().add(request, error.reply)
            raise
        except CommandFailed as failed:
            assert isinstance(failed.__cause__, Exception)
            reply = replace(self._error_reply(failed.__cause__), stdout=failed.stdout, stderr=failed.stderr)
        except Exception as error:
            reply = self._error_reply(error)
        self._unsettled.append((self._number, program.digest, request, reply, self._programs.fuel_used))
        return reply

    def _call(self, program: Program, request: CallRequest) -> CallResult:
        _, name, values, fuel, timeout_ms = request
        function, signature = program.callees.get(name) or self._find(program, name)
        arguments = signature.to_raw(values)
        if arguments is None:
            shown = function_type(function.signature)
            raise RequestError(
                ErrorCode.BAD_ARGUMENTS, f"the arguments do not fit the function's type {shown}"
            )
        if signature.unshowable is not None:
            raise RequestError(
                ErrorCode.UNSUPPORTED, f"a result of type {signature.unshowable} cannot leave the enclave"
            )
        results = self._programs.call(function, arguments, fuel, timeout_ms)
        return CallResult(signature.from_raw(results), self._programs.fuel_used)

    def _find(self, program: Program, name: str) -> Callee:
        """An exported function, found for the first time."""
        function = _exported_function(self._programs, program, name)
        callee = program.callees[name] = Callee(function, Signature(function.signature))
        return callee

    def _run(self, request: RunRequest) -> RunResult:
        result = self._programs.run(request)
        return replace(result, fuel_used=self._programs.fuel_used)

    @answers(Right.USE)
    def _receipt(self, request: ReceiptRequest) -> ReceiptResult:
        self._settled()
        for call in reversed(self._receipts):
            if request.request in (0, call.number) and self._receipt_key is not None:
                return ReceiptResult(call.receipt(self._session).sign(self._receipt_key))
        raise RequestError(ErrorCode.NOT_FOUND, "there is no such call to give a receipt of")

    @answers(Right.DEPLOY)
    def _seal(self, request: SealRequest) -> SealResult:
        label = self._label(request.label, self._access.client)
        if not len(request.module):
            raise RequestError(ErrorCode.MALFORMED_MODULE, "the program is empty")
        counter = self._sealer().seal(label, request.module, request.counter)
        return SealResult(program_digest(request.module), counter)

    @answers(Right.USE)
    def _restore(self, request: RestoreRequest) -> RestoreResult:
        owner = request.owner or self._access.client
        self._access.check_owner(owner)
        program, counter = self._sealer().open(self._label(request.label, owner), request.counter)
        digest = program_digest(program)
        self._instantiate(request.name, memoryview(program), digest)
        return RestoreResult(digest, counter)

    @answers(Right.OWN)
    def _forget(self, request: ForgetRequest) -> ForgetResult:
        self._sealer().forget(self._label(request.label, self._access.client))
        return ForgetResult()

    def _label(self, text: str, owner: bytes) -> Label:
        if not owner:
            raise RequestError(ErrorCode.NOT_ALLOWED, "programs are kept for clients that have a key")
        if not 0 < len(text) <= MAX_NAME:
            raise RequestError(ErrorCode.BAD_REQUEST, f"a label has 1 to {MAX_NAME} characters")
        return Label(owner, text)

    def _sealer(self) -> Sealing:
        if self._sealing is None:
            raise RequestError(ErrorCode.UNSUPPORTED, "this host stores no programs")
        return self._sealing


def _exported_function(programs: Programs, program: Program, name: str) -> FuncInstance:
    exports = programs.instantiated(program).exports
    functions = {key: item for key, item in exports.items() if isinstance(item, FuncInstance)}
    if name in functions:
        return functions[name]
    # Loaded for whoever mistypes a name.
    import difflib

    # A program chooses how many names it has, and how long they are: comparing takes time.
    candidates = [key for key in islice(functions, _COMPARED) if len(key) <= _COMPARABLE]
    near = difflib.get_close_matches(name[:_COMPARABLE], candidates, 1)
    hint = f": did you mean {near[0]!r}?" if near else ""
    raise RequestError(ErrorCode.NOT_FOUND, f"no function {name[:MAX_NAME]!r} is exported{hint}")


def error_reply(error: Exception) -> ErrorReply:
    """The reply that tells of an exception."""
    code = next((code for cls, code in _CODES if isinstance(error, cls)), None)
    if code is None:
        # Nothing but the kind: the text of an unforeseen error may hold anything.
        return ErrorReply(ErrorCode.INTERNAL, f"the enclave failed: {type(error).__name__}")
    frames = error.frames if isinstance(error, tinywasm.Trap) else ()
    return ErrorReply(code, _describe(error), tuple(_trace_frame(frame) for frame in frames))


def _describe(error: Exception) -> str:
    if isinstance(error, tinywasm.Trap):
        return error.message
    if isinstance(error, UnicodeDecodeError):
        return "the module is neither the binary format nor UTF-8 text"
    if isinstance(error, MemoryError):
        return NO_MEMORY.message
    if isinstance(error, RecursionError):
        return "the module is nested too deeply"
    return str(error)


def _trace_frame(frame: tinywasm.Frame) -> TraceFrame:
    return TraceFrame(frame.module_name or "", frame.func_index, frame.func_name or "", frame.module_offset)
