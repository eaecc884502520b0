"""What can go wrong for a client. Every message is one line for the person at the keyboard."""

from __future__ import annotations

import copyreg
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from schannel.errors import ChannelTimeout, EvidenceError, PolicyError, RemoteError, Truncated
from schannel.framing import Refused
from schannel.messages import ErrorCode, TraceFrame

from .builds import explained


class ClientError(Exception):
    """Whatever goes wrong between this program and its enclave."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Python's own way calls the constructor with `args`, which are not what the constructors here take.
        make = copyreg.__newobj__  # type: ignore[attr-defined]
        return make, (type(self), *self.args), self.__dict__


class CannotConnect(ClientError):
    """Nobody answers there, no enclave is free, or whoever answers does not speak the protocol."""


class NotVerified(ClientError):
    """The enclave's evidence does not pass the policy; nothing of the program was sent.

    `rule` is the policy's rule, or the step of the verification, that refused it.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class ConnectionLost(ClientError):
    """The channel broke, was tampered with, or the enclave ended; an answer may be missing."""


@contextmanager
def connecting(address: str, timeout: float) -> Iterator[None]:
    """Turn what goes wrong while a connection is made into `CannotConnect` and `NotVerified`."""
    try:
        yield
    except PolicyError as error:
        raise NotVerified(error.rule, f"the enclave was refused: {explained(error)}") from error
    except EvidenceError as error:
        raise NotVerified(error.reason.value, f"the enclave was refused: {error}") from error
    except Refused as error:
        raise CannotConnect(f"{address} {error.refusal.shown}") from error
    except (ChannelTimeout, TimeoutError) as error:
        raise CannotConnect(f"{address} did not answer within {timeout:g} seconds") from error
    except Truncated as error:
        raise CannotConnect(f"{address} closed the connection before an enclave answered") from error
    except RemoteError as error:
        raise CannotConnect(
            f"{address} does not answer as a wasm-host: something else listens there, or somebody between "
            f"changed its answer ({error})"
        ) from error
    except UnicodeError as error:
        raise CannotConnect(f"cannot connect to {address}: that is not a host name") from error
    except OSError as error:
        raise CannotConnect(
            f"cannot connect to {address}: {(error.strerror or str(error)).lower()}"
        ) from error


class ArgumentError(ClientError):
    """What was asked for makes no request: an unknown function, or arguments that do not fit."""


class RequestFailed(ClientError):
    """The enclave answered with an error; the session goes on.

    `backtrace` is filled for traps, innermost frame first; `stdout` and `stderr` are what a command that did
    not come to its end had written.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        backtrace: Sequence[TraceFrame],
        stdout: bytes = b"",
        stderr: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.backtrace = tuple(backtrace)
        self.stdout = stdout
        self.stderr = stderr
