"""The library: a verified session with an enclave."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

from schannel.ed25519_sha3 import SigningKey
from schannel.errors import ProtocolError, RemoteError
from schannel.events import EnclaveVerified
from schannel.flow import Limits
from schannel.messages import CallRequest, InfoResult, RestoreResult, RunRequest, RunResult, SealResult, Value
from schannel.policy import Policy
from schannel.session import ClientSession
from schannel.transport import DEFAULT_TIMEOUT, ClientConnection
from schannel.wire import Buffer

from .content import Source, Target, opened, size_of, written
from .errors import ArgumentError, CannotConnect, ConnectionLost, connecting
from .operations import DEFAULT_MODULE, Ask, Operation, Operations, Progress, Send, words
from .receipts import ReceiptFile
from .values import FunctionType

REPLY_TIMEOUT = 300.0
"""Seconds; more than an enclave grants a call, and enough to validate a large program."""

MAX_REPLY = 1 << 30
"""Bytes of the largest reply that is taken."""

_MAX_PORT, _MAX_PORT_DIGITS = 65535, 5

_T = TypeVar("_T")

Scalar = int | float | bytes
"""A value as Python shows it: a v128 is 16 bytes."""


def target(address: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``; CannotConnect if it is none."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal():
        raise CannotConnect(f"cannot connect to {address}: not HOST:PORT")
    # Longer ones are out of range for sure, and converting digits takes quadratic time.
    if len(port) > _MAX_PORT_DIGITS or not 0 < int(port) <= _MAX_PORT:
        raise CannotConnect(f"cannot connect to {address}: a port is 1 to {_MAX_PORT}")
    return host.strip("[]"), int(port)


def client_session(policy: Policy, key: SigningKey | None) -> ClientSession:
    """A channel that takes replies as large as programs and files are."""
    return ClientSession(policy, identity=key, limits=Limits(max_message=MAX_REPLY))


def connect(
    address: str,
    policy: Policy,
    timeout: float = DEFAULT_TIMEOUT,
    reply_timeout: float = REPLY_TIMEOUT,
    *,
    key: SigningKey | None = None,
) -> Session:
    """Connect to a host and verify the enclave that it gives us.

    Args:
        address: ``HOST:PORT``.
        policy: which enclaves, monitors and devices to accept.
        timeout: seconds for connecting, for waiting for a free enclave, and for its evidence, together.
        reply_timeout: seconds for each later request without progress: a host can withhold an answer, but
            not for ever.
        key: this client's own key (`load_key`), shown to the enclave only once that is verified.

    Raises:
        CannotConnect: there is no enclave to talk to.
        NotVerified: there is one, but not one that the policy accepts.
    """
    with connecting(address, timeout):
        connection = ClientConnection.connect(target(address), client_session(policy, key), timeout)
    return Session(connection, reply_timeout)


class Session:
    """A verified session; a context manager that closes it in order.

    Every operation raises `RequestFailed` when the enclave answers with an error, `ArgumentError` when no
    request can be made of what it was given, and `ConnectionLost` when the channel breaks, after which the
    session is over. `module` is the name that a program was deployed as.
    """

    def __init__(self, connection: ClientConnection, reply_timeout: float) -> None:
        self._connection = connection
        self._reply_timeout = reply_timeout
        self._operations = Operations()

    @property
    def verified(self) -> EnclaveVerified:
        """What the evidence said."""
        verified = self._connection.verified
        assert verified is not None
        return verified

    def deploy(
        self, program: Buffer, module: str = DEFAULT_MODULE, *, progress: Progress | None = None
    ) -> bytes:
        """Send a program, binary or text, and have it instantiated; returns the SHA-256 of what arrived.

        It is linked with the session's other modules by their names.
        """
        return self._do(self._operations.deploy(program, module, progress))

    def functions(self, module: str = DEFAULT_MODULE) -> list[FunctionType]:
        """The functions that a deployed program exports."""
        return self._do(self._operations.functions(module))

    def function(self, name: str, module: str = DEFAULT_MODULE) -> FunctionType:
        """One exported function; ArgumentError, with the nearest name, if there is none of that name."""
        return self._do(self._operations.function(name, module))

    def info(self, module: str = "") -> InfoResult:
        """Versions, engine and deployed modules, and what one of them exports."""
        return self._do(self._operations.info(module))

    def call(
        self,
        function: str,
        *arguments: Scalar,
        module: str = DEFAULT_MODULE,
        fuel: int = 0,
        timeout_ms: int = 0,
    ) -> Scalar | list[Scalar] | None:
        """Call an exported function with Python values; returns None, its one result, or a list.

        `fuel` (instructions) and `timeout_ms` of 0 mean the enclave's own limits. Raises also ArgumentError.
        """
        known = self._operations.known(function, module)
        if known is None:
            return self._do(self._operations.call(function, arguments, module, fuel, timeout_ms))
        # The same without an operation: nothing is done as often, and it has to be quick.
        request = CallRequest(module, function, known.arguments_from_python(arguments), fuel, timeout_ms)
        try:
            number = self._connection.send(request, self._reply_timeout)
            reply = self._connection.wait(number, self._reply_timeout)
        except ProtocolError as error:
            raise self._failure(error) from error
        return self._operations.called(number, request, reply)

    def call_values(
        self,
        function: str,
        arguments: tuple[Value, ...],
        module: str = DEFAULT_MODULE,
        fuel: int = 0,
        timeout_ms: int = 0,
    ) -> tuple[Value, ...]:
        """Call with values as they travel: the bits of a NaN are kept."""
        request = CallRequest(module, function, arguments, fuel, timeout_ms)
        return self._do(self._operations.call_values(request)).values

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
    ) -> RunResult:
        """Run a WASI command to its end in the session's file tree.

        Where it ends abnormally, `RequestFailed` has what it wrote until then.
        """
        variables = tuple((environment or {}).items())
        request = RunRequest(module, words(arguments), variables, stdin, fuel, timeout_ms)
        return self._do(self._operations.run(request, progress))

    def put(self, path: str, source: Source, *, progress: Progress | None = None) -> int:
        """Store a file in the session's tree, from bytes, a local file or an open one; returns its size.

        Raises also OSError, where a local file cannot be read.
        """
        with opened(source) as file:
            return self._do(self._operations.put(path, file, size_of(file), progress))

    def get(self, path: str, into: Target = None, *, progress: Progress | None = None) -> bytes:
        """Fetch a file of the session's tree: into a local file or an open one, or as the result.

        Raises also OSError, where a local file cannot be written.
        """
        with written(into) as file:
            self._do(self._operations.get(path, file, progress))
            return file.getvalue() if into is None and isinstance(file, io.BytesIO) else b""

    def write_memory(
        self, address: int, data: Buffer, module: str = DEFAULT_MODULE, memory: str = ""
    ) -> None:
        """Put bytes into an exported memory of a program; an empty `memory` means its only one."""
        self._do(self._operations.write_memory(address, data, module, memory))

    def read_memory(self, address: int, size: int, module: str = DEFAULT_MODULE, memory: str = "") -> bytes:
        """Bytes of an exported memory of a program."""
        return self._do(self._operations.read_memory(address, size, module, memory))

    def buffer(self, data: Buffer | str, module: str = DEFAULT_MODULE) -> int:
        """Write bytes, or text as UTF-8, where the program's own allocator says; returns the address.

        Raises ArgumentError where the program exports no allocator or has no room.
        """
        return self._do(self._operations.buffer(data.encode() if isinstance(data, str) else data, module))

    def receipt(self) -> ReceiptFile:
        """An attested receipt of the latest call or run; ArgumentError if there was none."""
        latest = self._operations.latest
        if latest is None:
            raise ArgumentError("nothing was called yet")
        signed = self._do(self._operations.receipt(latest.number))
        return ReceiptFile(signed, self.verified.evidence, latest.request, latest.reply)

    def seal(
        self, program: Buffer, label: str, counter: int = 0, *, progress: Progress | None = None
    ) -> SealResult:
        """Have a program kept for later connections; `counter` is the highest known for the label."""
        return self._do(self._operations.seal(program, label, counter, progress))

    def restore(
        self, label: str, module: str = DEFAULT_MODULE, counter: int = 0, owner: bytes = b""
    ) -> RestoreResult:
        """Deploy a program that was kept, refusing versions before `counter`."""
        return self._do(self._operations.restore(label, module, counter, owner))

    def forget(self, label: str) -> None:
        """Have a program removed that was kept for this client; nobody but the host can know that it was."""
        self._do(self._operations.forget(label))

    def close(self) -> None:
        """Close in order; ConnectionLost if the enclave's own close does not come."""
        try:
            self._connection.close()
        except ProtocolError as error:
            raise ConnectionLost(f"the session did not end in order: {error}") from error

    def abort(self) -> None:
        """End without a word."""
        self._connection.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._connection.leave()

    def _do(self, operation: Operation[_T]) -> _T:
        answer: object = None
        try:
            while True:
                step = operation.send(answer)
                if isinstance(step, Ask):
                    number = self._connection.send(step.request, self._reply_timeout)
                    answer = (number, self._connection.wait(number, self._reply_timeout, step.watch))
                elif isinstance(step, Send):
                    answer = self._connection.send(step.request, self._reply_timeout)
                else:
                    answer = self._connection.wait(step.number, self._reply_timeout)
        except StopIteration as end:
            result: _T = end.value
            return result
        except ProtocolError as error:
            raise self._failure(error) from error

    def _failure(self, error: ProtocolError) -> Exception:
        """What an error of the channel means to whoever uses the session."""
        if isinstance(error, RemoteError):
            return ConnectionLost(f"the connection to the enclave is lost: {error}")
        if self._connection.is_open:
            return ArgumentError(str(error))
        return ConnectionLost(f"the session is over: {error}")
