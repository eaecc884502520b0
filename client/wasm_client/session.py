"""The library: a verified session with an enclave."""

from __future__ import annotations

import difflib
from types import TracebackType
from typing import Self

from schannel.errors import (
    ChannelTimeout,
    EvidenceError,
    LocalError,
    PolicyError,
    ProtocolError,
    RemoteError,
    Truncated,
)
from schannel.events import EnclaveVerified
from schannel.framing import Refused
from schannel.messages import (
    CallRequest,
    CallResult,
    DeployRequest,
    DeployResult,
    ErrorReply,
    ExternKind,
    InfoRequest,
    InfoResult,
    Reply,
    Request,
    Value,
)
from schannel.policy import Policy
from schannel.session import ClientSession
from schannel.transport import DEFAULT_TIMEOUT, ClientConnection

from .errors import ArgumentError, CannotConnect, ConnectionLost, NotVerified, RequestFailed
from .values import FunctionType

DEFAULT_MODULE = "main"
REPLY_TIMEOUT = 300.0
"""Seconds; more than an enclave grants a call, and enough to validate a large program."""


def connect(
    address: str, policy: Policy, timeout: float = DEFAULT_TIMEOUT, reply_timeout: float = REPLY_TIMEOUT
) -> Session:
    """Connect to a host and verify the enclave that it gives us.

    Args:
        address: ``HOST:PORT``.
        policy: which enclaves, monitors and devices to accept.
        timeout: seconds for connecting, for waiting for a free enclave, and for its evidence, together.
        reply_timeout: seconds for each later request: a host can withhold an answer, but not for ever.

    Raises:
        CannotConnect: there is no enclave to talk to.
        NotVerified: there is one, but not one that the policy accepts.
    """
    host, _, port = address.rpartition(":")
    try:
        target = (host.strip("[]"), int(port))
        connection = ClientConnection.connect(target, ClientSession(policy), timeout)
    except PolicyError as error:
        raise NotVerified(error.rule, f"the enclave was refused: {error}") from error
    except EvidenceError as error:
        raise NotVerified(error.reason.value, f"the enclave was refused: {error}") from error
    except Refused as error:
        raise CannotConnect(f"{address} {error.refusal.shown}") from error
    except (ChannelTimeout, TimeoutError) as error:
        raise CannotConnect(f"{address} did not answer within {timeout:g} seconds") from error
    except Truncated as error:
        raise CannotConnect(f"{address} closed the connection before an enclave answered") from error
    except RemoteError as error:
        raise CannotConnect(f"{address} does not answer as a wasm-host: {error}") from error
    except (OSError, ValueError, OverflowError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "not HOST:PORT"
        raise CannotConnect(f"cannot connect to {address}: {reason.lower()}") from error
    return Session(connection, reply_timeout)


class Session:
    """A verified session; a context manager that closes it in order.

    `deploy` and `call` raise `RequestFailed` when the enclave answers with an error, and `ConnectionLost`
    when the channel breaks, after which the session is over.
    """

    def __init__(self, connection: ClientConnection, reply_timeout: float) -> None:
        self._connection = connection
        self._reply_timeout = reply_timeout
        self._functions: dict[str, dict[str, FunctionType]] = {}

    @property
    def verified(self) -> EnclaveVerified:
        """What the evidence said."""
        verified = self._connection.verified
        assert verified is not None
        return verified

    def deploy(self, program: bytes, module: str = DEFAULT_MODULE) -> bytes:
        """Send a program, binary or text, and have it instantiated; returns the SHA-256 of what arrived."""
        self._functions.pop(module, None)
        result = self._request(DeployRequest(module, program))
        assert isinstance(result, DeployResult)
        return result.digest

    def functions(self, module: str = DEFAULT_MODULE) -> list[FunctionType]:
        """The functions that a deployed program exports."""
        if module not in self._functions:
            result = self._request(InfoRequest(module))
            assert isinstance(result, InfoResult)
            self._functions[module] = {
                export.name: FunctionType.parse(export.name, export.type)
                for export in result.exports
                if export.kind is ExternKind.FUNC
            }
        return list(self._functions[module].values())

    def function(self, name: str, module: str = DEFAULT_MODULE) -> FunctionType:
        """One exported function; ArgumentError, with the nearest name, if there is none of that name."""
        known = {function.name: function for function in self.functions(module)}
        if name in known:
            return known[name]
        near = difflib.get_close_matches(name, known, 1)
        listed = ", ".join(known) or "none"
        hint = f"did you mean {near[0]!r}?" if near else f"the program's functions: {listed}"
        raise ArgumentError(f"unknown function {name!r}: {hint}")

    def call(
        self,
        function: str,
        *arguments: int | float | bytes,
        module: str = DEFAULT_MODULE,
        fuel: int = 0,
        timeout_ms: int = 0,
    ) -> int | float | bytes | list[int | float | bytes] | None:
        """Call an exported function with Python values; returns None, its one result, or a list.

        `fuel` (instructions) and `timeout_ms` of 0 mean the enclave's own limits. Raises also ArgumentError.
        """
        given = self.function(function, module).arguments_from_python(arguments)
        values = [item.to_python() for item in self.call_values(function, given, module, fuel, timeout_ms)]
        return values if len(values) > 1 else values[0] if values else None

    def call_values(
        self,
        function: str,
        arguments: tuple[Value, ...],
        module: str = DEFAULT_MODULE,
        fuel: int = 0,
        timeout_ms: int = 0,
    ) -> tuple[Value, ...]:
        """Call with values as they travel: the bits of a NaN are kept."""
        result = self._request(CallRequest(module, function, arguments, fuel, timeout_ms))
        assert isinstance(result, CallResult)
        return result.values

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
            self.abort()

    def _request(self, request: Request) -> Reply:
        try:
            reply = self._connection.request(request, self._reply_timeout)
        except LocalError as error:
            raise ConnectionLost(f"the session is over: {error}") from error
        except RemoteError as error:
            raise ConnectionLost(f"the connection to the enclave is lost: {error}") from error
        if isinstance(reply, ErrorReply):
            raise RequestFailed(reply.code, reply.message, reply.backtrace)
        return reply
