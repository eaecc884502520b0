"""The library for asyncio: the same operations, awaited."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

from schannel.ed25519_sha3 import SigningKey
from schannel.errors import LocalError, ProtocolError, RemoteError
from schannel.events import EnclaveVerified
from schannel.messages import InfoResult, RestoreResult, RunRequest, RunResult, SealResult
from schannel.policy import Policy
from schannel.transport import DEFAULT_TIMEOUT, AsyncClientConnection, Watch
from schannel.wire import Buffer

from .content import Source, Target, opened, size_of, written
from .errors import ArgumentError, ConnectionLost, connecting
from .operations import DEFAULT_MODULE, Ask, Operation, Operations, Progress, Send, words
from .receipts import ReceiptFile
from .session import REPLY_TIMEOUT, Scalar, client_session, target
from .values import FunctionType

_T = TypeVar("_T")


async def connect_async(
    address: str,
    policy: Policy,
    timeout: float = DEFAULT_TIMEOUT,
    reply_timeout: float = REPLY_TIMEOUT,
    *,
    key: SigningKey | None = None,
) -> AsyncSession:
    """As `connect`."""
    with connecting(address, timeout):
        session = client_session(policy, key)
        connection = await AsyncClientConnection.connect(target(address), session, timeout)
    return AsyncSession(connection, reply_timeout)


class AsyncSession:
    """As `Session`, one operation at a time: a second one waits for the first."""

    def __init__(self, connection: AsyncClientConnection, reply_timeout: float) -> None:
        self._connection = connection
        self._reply_timeout = reply_timeout
        self._operations = Operations()
        self._turn = asyncio.Lock()

    @property
    def verified(self) -> EnclaveVerified:
        """What the evidence said."""
        verified = self._connection.verified
        assert verified is not None
        return verified

    async def deploy(
        self, program: Buffer, module: str = DEFAULT_MODULE, *, progress: Progress | None = None
    ) -> bytes:
        """As `Session.deploy`."""
        return await self._do(self._operations.deploy(program, module, progress))

    async def functions(self, module: str = DEFAULT_MODULE) -> list[FunctionType]:
        """As `Session.functions`."""
        return await self._do(self._operations.functions(module))

    async def info(self, module: str = "") -> InfoResult:
        """As `Session.info`."""
        return await self._do(self._operations.info(module))

    async def call(
        self,
        function: str,
        *arguments: Scalar,
        module: str = DEFAULT_MODULE,
        fuel: int = 0,
        timeout_ms: int = 0,
    ) -> Scalar | list[Scalar] | None:
        """As `Session.call`."""
        return await self._do(self._operations.call(function, arguments, module, fuel, timeout_ms))

    async def run(
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
        """As `Session.run`."""
        variables = tuple((environment or {}).items())
        request = RunRequest(module, words(arguments), variables, stdin, fuel, timeout_ms)
        return await self._do(self._operations.run(request, progress))

    async def put(self, path: str, source: Source, *, progress: Progress | None = None) -> int:
        """As `Session.put`; a local file is read between the pieces, without leaving the event loop."""
        with opened(source) as file:
            return await self._do(self._operations.put(path, file, size_of(file), progress))

    async def get(self, path: str, into: Target = None, *, progress: Progress | None = None) -> bytes:
        """As `Session.get`."""
        with written(into) as file:
            await self._do(self._operations.get(path, file, progress))
            return file.getvalue() if into is None and isinstance(file, io.BytesIO) else b""

    async def write_memory(
        self, address: int, data: Buffer, module: str = DEFAULT_MODULE, memory: str = ""
    ) -> None:
        """As `Session.write_memory`."""
        await self._do(self._operations.write_memory(address, data, module, memory))

    async def read_memory(
        self, address: int, size: int, module: str = DEFAULT_MODULE, memory: str = ""
    ) -> bytes:
        """As `Session.read_memory`."""
        return await self._do(self._operations.read_memory(address, size, module, memory))

    async def buffer(self, data: Buffer | str, module: str = DEFAULT_MODULE) -> int:
        """As `Session.buffer`."""
        given = data.encode() if isinstance(data, str) else data
        return await self._do(self._operations.buffer(given, module))

    async def receipt(self) -> ReceiptFile:
        """As `Session.receipt`."""
        latest = self._operations.latest
        if latest is None:
            raise ArgumentError("nothing was called yet")
        signed = await self._do(self._operations.receipt(latest.number))
        return ReceiptFile(signed, self.verified.evidence, latest.request, latest.reply)

    async def seal(
        self, program: Buffer, label: str, counter: int = 0, *, progress: Progress | None = None
    ) -> SealResult:
        """As `Session.seal`."""
        return await self._do(self._operations.seal(program, label, counter, progress))

    async def restore(
        self, label: str, module: str = DEFAULT_MODULE, counter: int = 0, owner: bytes = b""
    ) -> RestoreResult:
        """As `Session.restore`."""
        return await self._do(self._operations.restore(label, module, counter, owner))

    async def forget(self, label: str) -> None:
        """As `Session.forget`."""
        await self._do(self._operations.forget(label))

    async def close(self) -> None:
        """Close in order; ConnectionLost if the enclave's own close does not come."""
        try:
            await self._connection.close()
        except ProtocolError as error:
            raise ConnectionLost(f"the session did not end in order: {error}") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self._connection.leave()

    async def _do(self, operation: Operation[_T]) -> _T:
        answer: object = None
        async with self._turn:
            try:
                while True:
                    step = operation.send(answer)
                    async with asyncio.timeout(self._reply_timeout) as limit:
                        if isinstance(step, Ask):
                            number = await self._connection.send(step.request)
                            watch = self._extending(limit, step.watch)
                            answer = (number, await self._connection.wait(number, watch))
                        elif isinstance(step, Send):
                            answer = await self._connection.send(step.request)
                        else:
                            answer = await self._connection.wait(step.number)
            except StopIteration as end:
                result: _T = end.value
                return result
            except TimeoutError as error:
                raise ConnectionLost("the enclave did not answer in time") from error
            except LocalError as error:
                if self._connection.is_open:
                    raise ArgumentError(str(error)) from error
                raise ConnectionLost(f"the session is over: {error}") from error
            except RemoteError as error:
                raise ConnectionLost(f"the connection to the enclave is lost: {error}") from error

    def _extending(self, limit: asyncio.Timeout, told: Watch | None) -> Watch:
        """What is told of progress: as long as the enclave takes something, the time limit begins anew."""
        before: int | None = None

        def watch(unsent: int) -> None:
            nonlocal before
            if before is not None and unsent != before:
                limit.reschedule(asyncio.get_running_loop().time() + self._reply_timeout)
            before = unsent
            if told is not None:
                told(unsent)

        return watch
