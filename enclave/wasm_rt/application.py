"""The enclave application: answers a client's requests by running its programs with tinywasm.

Whatever a request holds, it gets a result or an error reply; nothing that a client or its program does ends
the session, but for the channel's own errors.
"""

from __future__ import annotations

import difflib
import hashlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import tinywasm
from schannel.layouts import MAX_TEXT
from schannel.messages import (
    CallRequest,
    CallResult,
    DeployRequest,
    DeployResult,
    ErrorCode,
    ErrorReply,
    ExportInfo,
    ExternKind,
    InfoRequest,
    InfoResult,
    Reply,
    Request,
    TraceFrame,
    Value,
    ValueType,
)
from tinywasm.engine import native_available
from tinywasm.instance import extern_type, instantiate, invoke
from tinywasm.numerics.floats import f32_from_bits, f32_to_bits, f64_from_bits, f64_to_bits
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.module import Extern, ModuleInstance
from tinywasm.types import F32, F64, I32, I64, V128, FuncType, ValType

from .configuration import Configuration

VERSION = (0, 1, 0)
"""Version of the application, in the evidence's claims."""

MAX_NAME = 256
"""Longest module name in characters."""

_TO_RAW: dict[ValueType, Callable[[int], Any]] = {
    ValueType.I32: lambda bits: bits,
    ValueType.I64: lambda bits: bits,
    ValueType.F32: f32_from_bits,
    ValueType.F64: f64_from_bits,
    ValueType.V128: lambda bits: bits.to_bytes(16, "little"),
}
_TO_BITS: dict[ValType, tuple[ValueType, Callable[[Any], int]]] = {
    I32: (ValueType.I32, lambda raw: raw),
    I64: (ValueType.I64, lambda raw: raw),
    F32: (ValueType.F32, f32_to_bits),
    F64: (ValueType.F64, f64_to_bits),
    V128: (ValueType.V128, lambda raw: int.from_bytes(raw, "little")),
}
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


class RequestError(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.reply = ErrorReply(code, message)


class Application:
    """The programs that one client has deployed, and what it can do with them."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._engine = tinywasm.Engine(
            tinywasm.Config(
                consume_fuel=True,
                max_call_depth=configuration.max_call_depth,
                max_memory_pages=configuration.max_memory_pages,
                max_table_elements=configuration.max_table_elements,
            )
        )
        self._modules: dict[str, ModuleInstance] = {}
        self._running: tinywasm.Store | None = None

    def handle(self, request: Request) -> Reply:
        """The reply to a request; never raises."""
        try:
            match request:
                case DeployRequest():
                    return self._deploy(request)
                case CallRequest():
                    return self._call(request)
                case InfoRequest():
                    return self._info(request)
                case _:
                    return ErrorReply(ErrorCode.UNSUPPORTED, "this enclave does not offer that request")
        except RequestError as error:
            return error.reply
        except Exception as error:
            return _error_reply(error)

    def interrupt(self) -> None:
        """End the call under way; for signal handlers."""
        if self._running is not None:
            self._running.interrupt()

    def _deploy(self, request: DeployRequest) -> DeployResult:
        if not 0 < len(request.name) <= MAX_NAME:
            raise RequestError(ErrorCode.BAD_REQUEST, f"a module's name has 1 to {MAX_NAME} characters")
        if request.name not in self._modules and len(self._modules) >= self._configuration.max_modules:
            raise RequestError(
                ErrorCode.LIMIT_EXCEEDED, f"at most {self._configuration.max_modules} modules can be deployed"
            )
        source = bytes(request.module)
        module = tinywasm.Module(self._engine, source if source.startswith(b"\0asm") else source.decode())
        store = tinywasm.Store(self._engine)
        with self._limited(store, 0, 0):
            self._modules[request.name] = instantiate(store, module, {})
        return DeployResult(hashlib.sha256(request.module).digest())

    def _info(self, request: InfoRequest) -> InfoResult:
        exports: tuple[ExportInfo, ...] = ()
        if request.module:
            instance = self._module(request.module)
            exports = tuple(_export_info(name, extern) for name, extern in instance.exports.items())
        version = ".".join(map(str, VERSION))
        engine = "native" if native_available else "python"
        return InfoResult(version, engine, tuple(self._modules), exports)

    def _call(self, request: CallRequest) -> CallResult:
        instance = self._module(request.module)
        function = _exported_function(instance, request.function)
        arguments = _raw_arguments(function, request)
        for result in function.signature.results:
            if result not in _TO_BITS:
                raise RequestError(
                    ErrorCode.UNSUPPORTED, f"a result of type {result} cannot leave the enclave"
                )
        store = instance.store
        with self._limited(store, request.fuel, request.timeout_ms):
            fuel = store.get_fuel()
            results = invoke(store, function, arguments)
        values = zip(function.signature.results, results, strict=True)
        return CallResult(tuple(_value(kind, raw) for kind, raw in values), fuel - store.get_fuel())

    def _module(self, name: str) -> ModuleInstance:
        if name not in self._modules:
            raise RequestError(ErrorCode.NOT_DEPLOYED, f"no module {name!r} is deployed")
        return self._modules[name]

    @contextmanager
    def _limited(self, store: tinywasm.Store, fuel: int, timeout_ms: int) -> Iterator[None]:
        """Run with at most so much fuel and time; 0 stands for the configuration's limit."""
        limits = self._configuration
        store.set_fuel(min(fuel or limits.max_fuel, limits.max_fuel))
        store.interrupted = False
        self._running = store
        previous = signal.signal(signal.SIGALRM, self._expire)
        signal.setitimer(signal.ITIMER_REAL, min(timeout_ms or limits.max_call_ms, limits.max_call_ms) / 1000)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
            self._running = None

    def _expire(self, _signal: int, _frame: FrameType | None) -> None:
        self.interrupt()


def _exported_function(instance: ModuleInstance, name: str) -> FuncInstance:
    functions = {key: item for key, item in instance.exports.items() if isinstance(item, FuncInstance)}
    if name in functions:
        return functions[name]
    near = difflib.get_close_matches(name[:MAX_NAME], functions, 1)
    hint = f": did you mean {near[0]!r}?" if near else ""
    raise RequestError(ErrorCode.NOT_FOUND, f"no function {name[:MAX_NAME]!r} is exported{hint}")


def _raw_arguments(function: FuncInstance, request: CallRequest) -> list[Any]:
    expected = [_TO_BITS.get(param, (None,))[0] for param in function.signature.params]
    if expected != [argument.type for argument in request.arguments]:
        signature = function_type(function.signature)
        raise RequestError(
            ErrorCode.BAD_ARGUMENTS, f"the arguments do not fit the function's type {signature}"
        )
    return [_TO_RAW[argument.type](argument.bits) for argument in request.arguments]


def _value(kind: ValType, raw: Any) -> Value:
    value_type, to_bits = _TO_BITS[kind]
    return Value(value_type, to_bits(raw))


def _export_info(name: str, extern: Extern) -> ExportInfo:
    kind = ExternKind[extern.kind.upper()]
    shown = function_type(extern.signature) if isinstance(extern, FuncInstance) else str(extern_type(extern))
    return ExportInfo(name, kind, shown[:MAX_TEXT])


def function_type(signature: FuncType) -> str:
    """A function type in the text format, for example ``(func (param i32 i32) (result i32))``."""
    parts = ["func"]
    for keyword, types in (("param", signature.params), ("result", signature.results)):
        if types:
            parts.append(f"({keyword} {' '.join(map(str, types))})")
    return f"({' '.join(parts)})"


def _error_reply(error: Exception) -> ErrorReply:
    code = next((code for cls, code in _CODES if isinstance(error, cls)), None)
    if code is None:
        # Nothing but the kind: the text of an unforeseen error may hold anything.
        return ErrorReply(ErrorCode.INTERNAL, f"the enclave failed: {type(error).__name__}")
    frames = error.frames if isinstance(error, tinywasm.Trap) else ()
    return ErrorReply(code, _describe(error), tuple(_trace_frame(frame) for frame in frames))


def _describe(error: Exception) -> str:
    if isinstance(error, tinywasm.Interrupted):
        return f"{error.message}: the time limit was reached"
    if isinstance(error, tinywasm.Trap):
        return error.message
    if isinstance(error, UnicodeDecodeError):
        return "the module is neither the binary format nor UTF-8 text"
    if isinstance(error, MemoryError):
        return "the enclave's memory is exhausted"
    if isinstance(error, RecursionError):
        return "the module is nested too deeply"
    return str(error)


def _trace_frame(frame: tinywasm.Frame) -> TraceFrame:
    return TraceFrame(frame.module_name or "", frame.func_index, frame.func_name or "", frame.module_offset)
