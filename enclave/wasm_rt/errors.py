"""What the application raises to answer a request with an error."""

from __future__ import annotations

from schannel.messages import ErrorCode, ErrorReply


class RequestError(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.reply = ErrorReply(code, message)

    def __reduce__(self) -> tuple[type[RequestError], tuple[ErrorCode, str]]:
        return type(self), (self.reply.code, self.reply.message)
