"""What can go wrong for a client. Every message is one line for the person at the keyboard."""

from __future__ import annotations

from collections.abc import Sequence

from schannel.messages import ErrorCode, TraceFrame


class ClientError(Exception):
    """Whatever goes wrong between this program and its enclave."""


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


class ArgumentError(ClientError):
    """A function that the program does not export, or arguments that do not fit its type."""


class RequestFailed(ClientError):
    """The enclave answered with an error; the session goes on.

    `backtrace` is filled for traps, innermost frame first.
    """

    def __init__(self, code: ErrorCode, message: str, backtrace: Sequence[TraceFrame]) -> None:
        super().__init__(message)
        self.code = code
        self.backtrace = tuple(backtrace)
