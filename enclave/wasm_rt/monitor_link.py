"""What an enclave may ask of the security monitor, over the private socket that the two share.

One datagram asks, one answers. Keystone's calls are SBI_SM_ATTEST_ENCLAVE and SBI_SM_GET_SEALING_KEY; log
lines are not answered. The monitor knows an enclave by its socket, so that it can ask only about itself.
"""

from __future__ import annotations

import socket

from schannel.ed25519_sha3 import SIGNATURE_SIZE
from schannel.errors import LocalError
from schannel.layouts import MAX_REPORT_DATA
from schannel.monitor_keys import Monitor, SealingKey

ATTEST, SEALING_KEY, LOG = b"A", b"S", b"L"
_DONE, _REFUSED = b"\x00", b"\x01"
_MAX_REQUEST = 1 + MAX_REPORT_DATA
_MAX_ANSWER = 4096
_KEY_SIZE = 128


class MonitorRefused(Exception):
    """The monitor did not do what the enclave asked for."""


class MonitorLink:
    """The enclave's end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """The socket's descriptor, to keep it open."""
        return self._connection.fileno()

    def attest(self, data: bytes) -> bytes:
        """The monitor's report of this enclave with `data` in it, in the compact form.

        Raises:
            MonitorRefused: `data` is too long, or the monitor is gone.
        """
        return self._ask(ATTEST + data)

    def sealing_key(self, identifier: bytes) -> SealingKey:
        """The key that only enclaves of the same identity get; MonitorRefused as for `attest`."""
        answer = self._ask(SEALING_KEY + identifier)
        if len(answer) != _KEY_SIZE + SIGNATURE_SIZE:
            raise MonitorRefused("the security monitor gave something else than a sealing key")
        return SealingKey(answer[:_KEY_SIZE], answer[_KEY_SIZE:])

    def log(self, text: str) -> None:
        """Have a line without secrets logged; lost when the monitor is gone or busy."""
        try:
            self._connection.send(LOG + text.encode()[:MAX_REPORT_DATA], socket.MSG_DONTWAIT)
        except OSError:
            return

    def _ask(self, request: bytes) -> bytes:
        try:
            self._connection.send(request)
            answer = self._connection.recv(_MAX_ANSWER)
        except OSError as error:
            raise MonitorRefused("the security monitor is gone") from error
        if not answer:
            raise MonitorRefused("the security monitor is gone")
        if answer[:1] != _DONE:
            raise MonitorRefused("the security monitor refused")
        return answer[1:]


def receive_request(connection: socket.socket) -> bytes:
    """The monitor's end: one request, at most one byte longer than any that is valid; empty at the end."""
    return connection.recv(_MAX_REQUEST + 1)


def answer_request(monitor: Monitor, enclave_hash: bytes, request: bytes) -> bytes:
    """The monitor's end: the answer to a request other than a log line, about the enclave that asks."""
    operation, argument = request[:1], request[1:]
    try:
        if operation == ATTEST:
            return _DONE + monitor.attest(enclave_hash, argument).to_compact()
        if operation == SEALING_KEY and len(argument) <= MAX_REPORT_DATA:
            sealing = monitor.sealing_key(enclave_hash, argument)
            return _DONE + sealing.key + sealing.signature
    except LocalError:
        return _REFUSED
    return _REFUSED
