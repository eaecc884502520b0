"""The enclave as an application on Keystone: one session over edge calls, then the end.

It has no clock: calls end by their fuel, and silent clients are the host's to end. See docs/keystone.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import _edge

from schannel import edge, storage
from schannel.edge import AnswerHead, Beginning, Call, Closing, Event, Happening
from schannel.endings import Ending
from schannel.errors import LocalError, MessageError
from schannel.evidence import Isolation
from schannel.monitor_keys import SEALING_KEY_SIZE, SealingKey
from schannel.storage import Answer, Operation, Status

from . import call_timer
from .configuration import Configuration
from .errors import MonitorRefused
from .server import Server, Stop
from .stored import Storage, StorageError

PIECE = 1 << 16
"""Bytes that are sent, received, stored or fetched at a time."""

_MOST_SETTINGS = 1 << 16
_RANDOMNESS = "randomness=sealing-key+monitor+host+cycles"
"""What the randomness is made of, for the evidence."""


def ocall(number: Call, request: bytes = b"", most: int = 0) -> bytes:
    """The host's answer of at most `most` bytes; OSError where it refuses, or gives something else."""
    head = AnswerHead.sizeof()
    answer = _edge.ocall(number, edge.Request(head + most, request).build(), head + most)
    try:
        size = AnswerHead.parse(answer[:head]).size
        if size > most:
            raise MessageError("more than was asked for")
    except MessageError as error:
        raise OSError(f"the host does not answer edge call {number.name} as it must") from error
    return answer[head : head + size]


class EdgeMonitor:
    """Keystone's security monitor, and the host's log."""

    def attest(self, data: bytes) -> bytes:
        """The monitor's report with `data` in it, in the raw form; MonitorRefused where it gives none."""
        try:
            return _edge.attest(data)
        except OSError as error:
            raise MonitorRefused("the security monitor refused") from error

    def sealing_key(self, identifier: bytes) -> SealingKey:
        """The key that only this enclave gets; MonitorRefused where the monitor gives none."""
        try:
            key = _edge.sealing_key(identifier)
        except OSError as error:
            raise MonitorRefused("the security monitor refused") from error
        return SealingKey(key[:SEALING_KEY_SIZE], key[SEALING_KEY_SIZE:])

    def log(self, text: str) -> None:
        """Have the host log a line."""
        try:
            ocall(Call.LOG, text.encode()[: edge.MAX_LINE])
        except OSError:
            return


class EdgeStorage(Storage):
    """The host's storage, by edge calls."""

    largest = PIECE

    def exchange(
        self, operation: Operation, name: bytes, offset: int, size: int, piece: bytes = b""
    ) -> tuple[Status, int, bytes]:
        """Ask by one edge call."""
        head = Answer.sizeof()
        try:
            request = storage.Request(operation, name, offset, size).build() + piece
            given = ocall(Call.STORE, request, head + PIECE)
            answer = Answer.parse(given[:head])
        except (OSError, MessageError) as error:
            raise StorageError("the host's storage does not answer") from error
        if answer.size != len(given) - head:
            raise StorageError("the host's storage does not answer as it must")
        return answer.status, answer.total, given[head:]


class KeystoneServer(Server):
    """A session over edge calls."""

    # Eyrie takes all of it at once, from little.
    reserves = range(1 << 20, (1 << 18) - 1, -(1 << 18))

    def _wait_for_data(self) -> bytes:
        try:
            event = Event.parse(ocall(Call.RECEIVE, most=1 + PIECE))
            if event.kind is Happening.CLOSE:
                raise Stop(Closing.parse(event.content).reason)
        except MessageError as error:
            raise OSError("the host gives something else than an event") from error
        # Whatever comes with the end of the stream.
        return event.content if event.kind is Happening.DATA else b""

    def _flush(self) -> None:
        pending = memoryview(self._session.data_to_send())
        for start in range(0, len(pending), PIECE):
            try:
                ocall(Call.SEND, bytes(pending[start : start + PIECE]))
            except OSError:
                raise TimeoutError("the client does not read") from None


def main(build: str) -> Ending:
    """Serve one session; returns how it ended. `build` says what the application was built from."""
    call_timer.available = False
    monitor = EdgeMonitor()
    try:
        begun = Beginning.parse(ocall(Call.BEGIN, most=edge.ENTROPY_SIZE + _MOST_SETTINGS))
        _edge.stir(begun.entropy)
        configuration = Configuration.from_mapping(_settings(begun.settings))
        server = KeystoneServer(
            monitor, EdgeStorage(), configuration, Isolation(0), f"{build};{_RANDOMNESS}".lstrip(";")
        )
        return server.serve()
    except (MonitorRefused, LocalError, MessageError, OSError) as error:
        monitor.log(f"the enclave failed: {error}")
    except Exception as error:
        # Its text may hold anything: only the kind may leave the enclave.
        monitor.log(f"the enclave failed: {type(error).__name__}")
    return Ending.FAILED


def _settings(text: bytes) -> Mapping[str, Any]:
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise LocalError("the host's settings are no JSON") from error
    if not isinstance(settings, dict):
        raise LocalError("the host's settings are no JSON object")
    return settings
