"""The library: a verified session with an enclave."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TypeVar

from schannel.connection import DEFAULT_TIMEOUT
from schannel.ed25519_sha3 import SigningKey
from schannel.errors import ProtocolError
from schannel.flow import Limits
from schannel.policy import Policy
from schannel.session import ClientSession
from schannel.steps import Blocking, Steps
from schannel.transport import ClientConnection

from .errors import CannotConnect, ConnectionLost, connecting
from .operations import Operations

REPLY_TIMEOUT = 300.0
"""Seconds; more than an enclave grants a call, and enough to validate a large program."""

MAX_REPLY = 1 << 30
"""Bytes of the largest reply that is taken."""

_MAX_PORT, _MAX_PORT_DIGITS = 65535, 5

_T = TypeVar("_T")


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


class Session(Operations, Blocking):
    """A verified session whose operations block; a context manager that closes it in order."""

    _connection: ClientConnection

    def drive(self, steps: Steps[_T]) -> _T:
        """Take an operation's steps; returns what it returns."""
        try:
            return self._connection.drive(steps)
        except ProtocolError as error:
            raise self._failure(error) from error

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
