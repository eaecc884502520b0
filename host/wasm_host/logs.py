"""The host's log: lines for people or JSON objects, of events, never of what clients send.

Some texts come from enclaves, which run strangers' programs: nothing in them may start another line.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from datetime import UTC, datetime

from schannel.command_line import printable

_LOGGER = logging.getLogger("wasm_host")


def log_event(level: int, event: str, message: str, **fields: str | int | float) -> None:
    """Log `message` for people; `event` and `fields` are for machines."""
    _LOGGER.log(level, "%s", message, extra={"event": event, "fields": fields})


class LimitedLog:
    """Logs what anybody can cause who reaches the host: at most `lines` in so many `seconds`.

    The first that is left out is told; how many there were, the metrics say.
    """

    def __init__(self, lines: int = 60, seconds: float = 60.0) -> None:
        self._lines = lines
        self._seconds = seconds
        self._begun = -math.inf
        self._count = 0

    def event(self, level: int, event: str, message: str, **fields: str | int | float) -> None:
        """Log as `log_event`, unless there were too many of late."""
        now = time.monotonic()
        if now - self._begun >= self._seconds:
            self._begun, self._count = now, 0
        self._count += 1
        if self._count <= self._lines:
            log_event(level, event, message, **fields)
        elif self._count == self._lines + 1:
            left = self._begun + self._seconds - now
            shown = (
                f"more clients are not served than are logged: for {left:.0f} seconds they are only counted"
            )
            log_event(logging.WARNING, "left_out", shown)


def configure_logs(program: str, *, verbose: bool, as_json: bool) -> None:
    """Log to standard error: warnings, and with `verbose` what happens otherwise."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(program))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler], force=True)


class TextFormatter(logging.Formatter):
    """``wasm-host: message``, in one line whatever the message is."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        return f"{self._program}: {printable(record.getMessage())}"


class JsonFormatter(logging.Formatter):
    """One object a line: ``time``, ``level``, ``event``, ``message``, and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        return json.dumps(
            {
                "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
                "level": record.levelname.lower(),
                "event": getattr(record, "event", "other"),
                "message": record.getMessage(),
                **getattr(record, "fields", {}),
            }
        )
