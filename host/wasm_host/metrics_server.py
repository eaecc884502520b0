"""A small HTTP server that shows the host's metrics and its health."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import NamedTuple

_MAX_HEAD = 8192
_REQUEST_TIMEOUT = 5.0
_MAX_REQUESTS = 16
_PLAIN = "text/plain; charset=utf-8"

Page = Callable[[str], tuple[str, bytes]]
"""Content type and content for what a request accepts."""


class _Request(NamedTuple):
    line: list[bytes]
    accepted: str


class MetricsServer:
    """``GET /metrics``, and ``GET /healthz``: 503 with what `ailment` says, 200 where that is nothing.

    Both say on which device enclaves run.
    """

    def __init__(self, page: Page, ailment: Callable[[], str], device: str) -> None:
        self._page = page
        self._ailment = ailment
        self._device = device
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
                    writer.write(self._answer(await _request(reader)))
                    await writer.drain()
        except (OSError, TimeoutError):
            pass
        finally:
            self._requests -= 1
            writer.close()

    def _answer(self, request: _Request) -> bytes:
        match request.line:
            case [b"GET", b"/metrics", _]:
                kind, content = self._page(request.accepted)
                return _response("200 OK", content, kind)
            case [b"GET", b"/healthz", _]:
                ailment = self._ailment()
                text = f"{ailment or 'ok'}\ndevice: {self._device}\n".encode()
                return _response("503 Service Unavailable" if ailment else "200 OK", text)
            case [b"GET", _, _]:
                return _response("404 Not Found", b"the paths are /metrics and /healthz\n")
            case [_, _, version] if version.startswith(b"HTTP/"):
                return _response("405 Method Not Allowed", b"only GET\n", headers="Allow: GET\r\n")
        return _response("400 Bad Request", b"this is HTTP\n")


async def _request(reader: asyncio.StreamReader) -> _Request:
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        line, *headers = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        named = [header.partition(b":") for header in headers]
        accepted = [value.decode("latin-1") for name, _, value in named if name.strip().lower() == b"accept"]
        return _Request(line.split(b" "), ",".join(accepted))
    return _Request([], "")


def _response(status: str, content: bytes, kind: str = _PLAIN, headers: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
        f"{headers}Connection: close\r\n\r\n"
    )
    return head.encode() + content
