"""Metrics, health and log lines: what a machine reads, and what must not be in them."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket

import pytest

from wasm_host import check
from wasm_host.logs import JsonFormatter, TextFormatter, configure_logs, log_event
from wasm_host.metrics import Metrics, MetricsServer

SAMPLE = re.compile(r'^wasm_host_[a-z_]+(\{[a-z]+="[a-z]+"\})? \d+(\.\d+)?$')


def ask(*requests: bytes, healthy: bool = True) -> list[bytes]:
    async def main() -> list[bytes]:
        metrics = Metrics(connections=3)
        metrics.refused["busy"] += 2
        server = MetricsServer(metrics, lambda: healthy)
        listener = socket.create_server(("127.0.0.1", 0))
        await server.listen(listener)
        address = listener.getsockname()
        answers = []
        for request in requests:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(request)
            answers.append(await asyncio.wait_for(reader.read(), 20))
            writer.close()
        server.close()
        return answers

    return asyncio.run(main())


def test_metrics_page() -> None:
    (answer,) = ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert f"Content-Length: {len(body)}" in head
    samples = [line for line in body.splitlines() if not line.startswith("#")]
    assert all(map(SAMPLE.match, samples))
    assert "wasm_host_connections_total 3" in samples
    assert 'wasm_host_refused_total{reason="busy"} 2' in samples


@pytest.mark.parametrize(("healthy", "status"), [(True, b"200 OK"), (False, b"503 Service Unavailable")])
def test_health(healthy: bool, status: bytes) -> None:
    (answer,) = ask(b"GET /healthz HTTP/1.0\r\n\r\n", healthy=healthy)
    assert answer.startswith(b"HTTP/1.1 " + status)


def test_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasm_host.metrics._REQUEST_TIMEOUT", 0.2)
    answers = ask(
        b"GET /secret HTTP/1.1\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\n\r\n",
        b"junk\r\n\r\n",
        b"GET /" + b"x" * 20_000,
        b"GET /metr",
    )
    assert [answer[9:12] for answer in answers] == [b"404", b"405", b"400", b"400", b""]


def _record(message: str, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"msg": "%s", "args": (message,), "levelno": 20, "levelname": "INFO", **extra}
    )


def test_json_lines() -> None:
    line = JsonFormatter().format(_record("a\nb", event="refused", fields={"peer": "1.2.3.4:5"}))
    assert "\n" not in line
    parsed = json.loads(line)
    assert parsed.pop("time").endswith("+00:00")
    assert parsed == {"level": "info", "event": "refused", "message": "a\nb", "peer": "1.2.3.4:5"}


def test_enclaves_cannot_forge_lines_or_move_the_cursor() -> None:
    line = TextFormatter("wasm-host").format(_record("x\nwasm-host: forged \x1b[2J \u202e"))
    assert line == "wasm-host: x\\nwasm-host: forged \\x1b[2J \\u202e"


def test_verbosity(capsys: pytest.CaptureFixture[str]) -> None:
    for verbose in (False, True):
        configure_logs("wasm-host", verbose=verbose, as_json=False)
        log_event(logging.INFO, "event", "100% done")
    assert capsys.readouterr().err == "wasm-host: 100% done\n"


def test_report_of_layers() -> None:
    lines = list(check.report({"seccomp": "", "landlock": "Function not implemented"}))
    assert lines[1:] == [
        "  seccomp   offered",
        "  landlock  MISSING: Function not implemented",
        "enclaves run here without: landlock",
    ]
    assert list(check.report({"seccomp": ""}))[-1].endswith("every layer of isolation")
