"""What the application raises to answer a request with an error, and what ends an enclave."""

from __future__ import annotations

from schannel.messages import ErrorCode, ErrorReply
from schannel.wire import Buffer


class RequestError(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.reply = ErrorReply(code, message)

    def __reduce__(self) -> tuple[type[RequestError], tuple[ErrorCode, str]]:
        return type(self), (self.reply.code, self.reply.message)


class CommandFailed(Exception):
    """A command did not come to its end, for the reason that is the cause; what it had written."""

    def __init__(self, stdout: Buffer, stderr: bytes) -> None:
        super().__init__("a command failed")
        self.stdout = stdout
        self.stderr = stderr

    def __reduce__(self) -> tuple[type[CommandFailed], tuple[Buffer, bytes]]:
        return type(self), (bytes(self.stdout), self.stderr)


class MonitorRefused(Exception):
    """The monitor did not do what the enclave asked for."""
