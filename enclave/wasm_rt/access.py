"""Who may do what: the client keys that the enclave's configuration names."""

from __future__ import annotations

from schannel.messages import ErrorCode, Request

from .answers import Right
from .configuration import Configuration
from .errors import RequestError


class Access:
    """The rights of one client.

    Who may deploy may also call. A configuration without deployers lets everybody deploy, one without callers
    lets everybody call what is deployed.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._deployers = frozenset(map(bytes.fromhex, configuration.deployers))
        self._callers = frozenset(map(bytes.fromhex, configuration.callers))
        self.restricted = bool(self._deployers or self._callers)
        """Whether there is anything that some client may not do."""

        self.client = b""
        """The public key that the client has proved to own; empty for an anonymous one."""

    @property
    def may_do_nothing(self) -> bool:
        """Whether every request of this client is refused, but for having its own programs forgotten."""
        return not self._may_deploy(self.client) and not self._may_use(self.client)

    def check(self, right: Right, request: Request) -> None:
        """Raise RequestError unless this client has the right that such a request takes."""
        may = {Right.DEPLOY: self._may_deploy, Right.USE: self._may_use}.get(right)
        if may is not None and not may(self.client):
            who = f"the client key {self.client.hex()}" if self.client else "a client without a key"
            raise RequestError(
                ErrorCode.NOT_ALLOWED, f"{who} may not {right.value} here: the {request.title} is refused"
            )

    def check_owner(self, owner: bytes) -> None:
        """Raise RequestError unless this client may use the programs that `owner` had kept.

        With deployers these are the deployers' alone, also where the client is the owner: it may have had a
        program kept under a configuration that let it.
        """
        if not (owner in self._deployers if self._deployers else owner == self.client):
            raise RequestError(
                ErrorCode.NOT_ALLOWED, "the enclave's configuration does not name that owner as a deployer"
            )

    def _may_deploy(self, client: bytes) -> bool:
        return not self._deployers or client in self._deployers

    def _may_use(self, client: bytes) -> bool:
        return not self._callers or client in self._callers or client in self._deployers
