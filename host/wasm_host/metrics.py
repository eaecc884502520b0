"""What the host counts, and a small HTTP server that shows it to Prometheus.

Counts and times only: no address, no size of a single message, nothing of what passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_MAX_HEAD = 8192
_REQUEST_TIMEOUT = 5.0
_MAX_REQUESTS = 16
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Metrics:
    """Counters since the start, and gauges of now."""

    connections: int = 0
    open_connections: int = 0
    waiting: int = 0
    sessions: int = 0
    pool_ready: int = 0
    enclaves_started: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    enclaves_ended: Counter[str] = field(default_factory=Counter)
    relayed: Counter[str] = field(default_factory=Counter)
    waits: int = 0
    wait_seconds: float = 0.0

    def render(self) -> str:
        """All of them in Prometheus's text format."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for name, kind, shown, samples in (
            ("connections_total", "counter", "Connections accepted.", {"": self.connections}),
            ("connections", "gauge", "Connections open now.", {"": self.open_connections}),
            ("refused_total", "counter", "Clients turned away.", _labelled("reason", self.refused)),
            ("closed_total", "counter", "Sessions that the host ended.", _labelled("reason", self.closed)),
            ("waiting", "gauge", "Clients that wait for an enclave.", {"": self.waiting}),
            ("sessions", "gauge", "Clients that have an enclave.", {"": self.sessions}),
            ("pool_ready", "gauge", "Enclaves that wait for a client.", {"": self.pool_ready}),
            ("enclaves_started_total", "counter", "Enclaves started.", {"": self.enclaves_started}),
            ("enclaves_ended_total", "counter", "Ends of enclaves.", _labelled("how", self.enclaves_ended)),
            ("relayed_bytes_total", "counter", "Bytes passed on.", _labelled("direction", self.relayed)),
        ):
            yield from _head(name, kind, shown)
            yield from (f"wasm_host_{name}{label} {value}" for label, value in samples.items())
        yield from _head("enclave_wait_seconds", "summary", "Time from first message to enclave.")
        yield f"wasm_host_enclave_wait_seconds_sum {self.wait_seconds:.6f}"
        yield f"wasm_host_enclave_wait_seconds_count {self.waits}"


def _head(name: str, kind: str, shown: str) -> Iterator[str]:
    yield f"# HELP wasm_host_{name} {shown}"
    yield f"# TYPE wasm_host_{name} {kind}"


def _labelled(label: str, counts: Counter[str]) -> dict[str, int]:
    return {f'{{{label}="{name}"}}': count for name, count in sorted(counts.items())}


class MetricsServer:
    """``GET /metrics``, and ``GET /healthz``: 200 while `healthy`, else 503."""

    def __init__(self, metrics: Metrics, healthy: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._healthy = healthy
        self._requests = 0
        self._listener: asyncio.Server | None = None

    async def listen(self, listener: socket.socket) -> None:
        """Answer on a bound socket until `close`."""
        self._listener = await asyncio.start_server(self._accept, sock=listener, limit=_MAX_HEAD)

    def close(self) -> None:
        """Answer no more."""
        if self._listener is not None:
            self._listener.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._requests += 1
        try:
            if self._requests <= _MAX_REQUESTS:
                async with asyncio.timeout(_REQUEST_TIMEOUT):
                    writer.write(self._answer(await _request_line(reader)))
                    await writer.drain()
        except (OSError, TimeoutError):
            pass
        finally:
            self._requests -= 1
            writer.close()

    def _answer(self, line: list[bytes]) -> bytes:
        match line:
            case [b"GET", b"/metrics", _]:
                return _response("200 OK", self._metrics.render())
            case [b"GET", b"/healthz", _]:
                if self._healthy():
                    return _response("200 OK", "ok\n")
                return _response("503 Service Unavailable", "stopping\n")
            case [b"GET", _, _]:
                return _response("404 Not Found", "there is /metrics and /healthz\n")
            case [_, _, version] if version.startswith(b"HTTP/"):
                return _response("405 Method Not Allowed", "only GET\n", "Allow: GET\r\n")
        return _response("400 Bad Request", "this is HTTP\n")


async def _request_line(reader: asyncio.StreamReader) -> list[bytes]:
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        head = await reader.readuntil(b"\r\n\r\n")
        return head.split(b"\r\n", 1)[0].split(b" ")
    return []


def _response(status: str, body: str, headers: str = "") -> bytes:
    content = body.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {_TEXT}\r\nContent-Length: {len(content)}\r\n"
        f"{headers}Connection: close\r\n\r\n"
    )
    return head.encode() + content
