"""What an enclave may ask of the security monitor, over the private socket that the two share.

One datagram asks, one answers. Keystone's calls are SBI_SM_ATTEST_ENCLAVE and SBI_SM_GET_SEALING_KEY; log
lines are not answered. The monitor knows an enclave by its socket, so that it can ask only about itself.
"""

from __future__ import annotations

import socket
from enum import IntEnum

from schannel.ed25519_sha3 import SIGNATURE_SIZE
from schannel.errors import MessageError
from schannel.layouts import MAX_REPORT_DATA
from schannel.monitor_keys import SEALING_KEY_SIZE, Monitor, SealingKey
from schannel.structs import REST, U8, Structure, fixed, one_of, part

from .errors import MonitorRefused

_MAX_ANSWER = 4096
"""Bytes of an answer."""


class Operation(IntEnum):
    """ATTEST data, derive the SEALING_KEY of an identifier, LOG a line."""

    ATTEST = 1
    SEALING_KEY = 2
    LOG = 3


class Status(IntEnum):
    """What became of a request."""

    DONE = 0
    REFUSED = 1


class Request(Structure, shown="request to the monitor"):
    """The argument is data, an identifier, or UTF-8; at most `MAX_REPORT_DATA` bytes of it."""

    operation: Operation = part(one_of(U8, Operation))
    argument: bytes = part(REST)


class Answer(Structure, shown="answer of the monitor"):
    """The result is a report in the compact form, or a `KeyResult`."""

    status: Status = part(one_of(U8, Status))
    result: bytes = part(REST)


class KeyResult(Structure, shown="sealing key"):
    """Keystone's struct sealing_key."""

    key: bytes = part(fixed(SEALING_KEY_SIZE))
    signature: bytes = part(fixed(SIGNATURE_SIZE))


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
        return self._ask(Operation.ATTEST, data)

    def sealing_key(self, identifier: bytes) -> SealingKey:
        """The key that only enclaves of the same identity get; MonitorRefused as for `attest`."""
        answer = self._ask(Operation.SEALING_KEY, identifier)
        try:
            result = KeyResult.parse(answer)
        except MessageError as error:
            raise MonitorRefused("the security monitor gave something else than a sealing key") from error
        return SealingKey(result.key, result.signature)

    def log(self, text: str) -> None:
        """Have a line without secrets logged; lost when the monitor is gone or busy."""
        line = Request(Operation.LOG, text.encode()[:MAX_REPORT_DATA]).build()
        try:
            self._connection.send(line, socket.MSG_DONTWAIT)
        except OSError:
            return

    def _ask(self, operation: Operation, argument: bytes) -> bytes:
        try:
            self._connection.send(Request(operation, argument).build())
            received = self._connection.recv(_MAX_ANSWER)
        except OSError as error:
            raise MonitorRefused("the security monitor is gone") from error
        if not received:
            raise MonitorRefused("the security monitor is gone")
        try:
            answer = Answer.parse(received)
        except MessageError as error:
            raise MonitorRefused("the security monitor does not answer as it must") from error
        if answer.status is not Status.DONE:
            raise MonitorRefused("the security monitor refused")
        return answer.result


def receive_request(connection: socket.socket) -> bytes:
    """The monitor's end: one request, at most one byte longer than any that is valid; empty at the end."""
    return connection.recv(1 + MAX_REPORT_DATA + 1)


def parse_request(received: bytes) -> Request | None:
    """The monitor's end: the request; None for what is none."""
    if len(received) > 1 + MAX_REPORT_DATA:
        return None
    try:
        return Request.parse(received)
    except MessageError:
        return None


def answer_request(monitor: Monitor, enclave_hash: bytes, request: Request | None) -> bytes:
    """The monitor's end: the answer to anything but a log line, about the enclave that asks."""
    match request:
        case Request(Operation.ATTEST, data):
            return Answer(Status.DONE, monitor.attest(enclave_hash, data).to_compact()).build()
        case Request(Operation.SEALING_KEY, identifier):
            sealing = monitor.sealing_key(enclave_hash, identifier)
            return Answer(Status.DONE, KeyResult(sealing.key, sealing.signature).build()).build()
    return Answer(Status.REFUSED, b"").build()
