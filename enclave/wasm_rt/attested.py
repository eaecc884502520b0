"""What the enclave remembers of a call, to give a receipt of it when one is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from schannel.messages import CallRequest, CallResult, ErrorReply, Reply, RunRequest
from schannel.receipts import RUN_FUNCTION, Receipt, message_digest, outcome

_FEW = 16
"""Values of a call that are remembered as they are; the digests of more are worked out at once."""


@dataclass(slots=True)
class AttestedCall:
    """A call or run: its request's number, its own among the session's calls, and what its receipt says.

    Most calls are never asked about, so what costs time is left until then.
    """

    number: int
    counter: int
    module_digest: bytes
    request: CallRequest | RunRequest
    reply: Reply
    fuel_used: int
    history: bytes
    _receipt: Receipt | None = None

    def frozen(self, session: bytes) -> AttestedCall:
        """This call, without holding on to large inputs and outputs."""
        if not is_small(self.request, self.reply):
            self._receipt = self.receipt(session)
            self.request, self.reply = CallRequest("", ""), CallResult()
        return self

    def receipt(self, session: bytes) -> Receipt:
        """What the receipt says; `session` is the connection's handshake hash."""
        return self._receipt or Receipt(
            session=session,
            counter=self.counter,
            kind=self.request.type_byte,
            module_digest=self.module_digest,
            function=self.request.function if isinstance(self.request, CallRequest) else RUN_FUNCTION,
            request_digest=message_digest(self.request),
            reply_digest=message_digest(self.reply),
            outcome=outcome(self.reply),
            fuel_used=self.fuel_used,
            history=self.history,
        )


def is_small(request: CallRequest | RunRequest, reply: Reply) -> bool:
    """Whether a call may be remembered as it is."""
    if not isinstance(request, CallRequest) or len(request.arguments) > _FEW:
        return False
    return isinstance(reply, ErrorReply) or (isinstance(reply, CallResult) and len(reply.values) <= _FEW)
