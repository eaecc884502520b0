"""Metrics, health and log lines: what a machine reads, and what must not be in them."""

from __future__ import annotations

import asyncio
import json
import logging
import platform
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from schannel.endings import Ending
from schannel.framing import Refusal
from tests.processes import ROOT, environment
from wasm_host import check
from wasm_host.exposition import Exposition
from wasm_host.limits import ServerLimits
from wasm_host.logs import JsonFormatter, TextFormatter, configure_logs, log_event
from wasm_host.metrics import Metrics
from wasm_host.metrics_server import MetricsServer
from wasm_host.monitor import Stop

METRICS = Metrics(connections=3, waits=2, wait_seconds=0.5, refused=Counter(busy=2), relayed=Counter(up=7))
PARSERS: dict[str, Any] = {
    "text/plain": parse_text,
    "application/openmetrics-text": parse_openmetrics,
}


def exposition(limits: ServerLimits | None = None) -> Exposition:
    return Exposition(METRICS, limits or ServerLimits(), lambda: 5 << 20, lambda: 8192)


def ask(*requests: bytes, healthy: bool = True) -> list[bytes]:
    async def main() -> list[bytes]:
        server = MetricsServer(exposition().page, lambda: "" if healthy else "stopping", "simulated")
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


def samples(families: Iterable[Metric]) -> dict[str, float]:
    """Values by name and labels, as they are written."""
    found = {}
    for family in families:
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found, "each is there once"
            found[key] = sample.value
    return found


@pytest.mark.parametrize(
    "accepted", ["", *PARSERS, "text/html, application/openmetrics-text;version=1.0.0;q=0.8"]
)
def test_page_is_what_prometheus_takes(accepted: str) -> None:
    """By the parsers of Prometheus's own library; that of OpenMetrics minds names that clash."""
    (answer,) = ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\nACCEPT: %s\r\n\r\n" % accepted.encode())
    head, _, body = answer.decode().partition("\r\n\r\n")
    kind = re.search(r"Content-Type: ([a-z/-]+);", head)
    assert kind is not None and kind[1] == (
        "application/openmetrics-text" if "openmetrics" in accepted else "text/plain"
    )
    assert head.startswith("HTTP/1.1 200 OK")
    assert f"Content-Length: {len(body)}" in head
    families = list(PARSERS[kind[1]](body))
    assert len({family.name for family in families}) == len(families)
    found = samples(families)
    assert found["wasm_host_connections_total"] == 3
    assert found['wasm_host_refused_total{reason="busy"}'] == 2
    assert found["wasm_host_enclave_wait_seconds_sum"] == 0.5
    assert found["wasm_host_enclave_memory_bytes"] == 5 << 20
    assert found["wasm_host_kept_bytes"] == 8192


def test_every_label_has_a_value_at_the_start() -> None:
    found = samples(parse_text(Exposition(Metrics(), ServerLimits(), int, int).page()[1].decode()))
    for name, label, values in (
        ("refused", "reason", [*(item.name.lower() for item in Refusal), "foreign", "left", "failed"]),
        ("closed", "reason", [item.name.lower() for item in Stop]),
        ("enclaves_ended", "how", [*(item.name.lower() for item in Ending), "killed"]),
        ("relayed_bytes", "direction", ["up", "down"]),
    ):
        shown = {key: value for key, value in found.items() if key.startswith(f"wasm_host_{name}_total{{")}
        assert shown == {f'wasm_host_{name}_total{{{label}="{value}"}}': 0 for value in values}


def test_limits_are_shown_in_base_units() -> None:
    limits = ServerLimits(enclaves=8, memory=3, kept_days=2, idle=1.5)
    found = samples(parse_text(exposition(limits).page()[1].decode()))
    shown = {key.removeprefix("wasm_host_limit_"): value for key, value in found.items() if "_limit_" in key}
    assert len(shown) == len(fields(ServerLimits)), "each of them"
    assert (shown["enclaves"], shown["enclaves_per_address"]) == (8, 2)
    assert (shown["enclave_memory_bytes"], shown["kept_unused_seconds"]) == (3 << 20, 2 * 86_400)
    assert shown["idle_seconds"] == 1.5


def test_build_and_start_are_shown() -> None:
    found = samples(parse_text(exposition().page()[1].decode()))
    (build,) = (key for key in found if key.startswith("wasm_host_build_info"))
    assert f'python="{platform.python_version()}"' in build and 'version="' in build
    assert 0 < time.time() - found["process_start_time_seconds"] < 86_400
    assert found["process_resident_memory_bytes"] > 1 << 20


def test_documents_name_every_metric_and_label() -> None:
    text = (ROOT / "docs" / "confidential.md").read_text()
    for name in samples(parse_text(exposition().page()[1].decode())):
        if name.startswith("wasm_host_") and "_limit_" not in name:
            family, _, label = name.removeprefix("wasm_host_").partition("{")
            assert f"`{re.sub('_(sum|count)$', '', family)}`" in text, name
            if family.endswith("_total") and label:
                assert f"`{label.split(chr(34))[1]}`" in text, name


def test_registry_is_its_own() -> None:
    """Two hosts in one process, and nothing in the library's global registry."""
    before = list(REGISTRY.collect())
    pages = [exposition().page()[1] for _ in range(2)]
    assert all(b"wasm_host_sessions 0.0" in page for page in pages)
    assert [family.name for family in REGISTRY.collect()] == [family.name for family in before]


@pytest.mark.parametrize(
    "accepted", [b"application/openmetrics-text; version=1.0.0\nx: y", b"\xff" * 100, b",;=" * 50]
)
def test_nothing_of_the_request_is_in_the_answer(accepted: bytes) -> None:
    plain, hostile = ask(
        b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nAccept: %s\r\n\r\n" % accepted,
    )
    assert hostile.startswith(b"HTTP/1.1 200 OK")
    assert b"x: y" not in hostile and b"\xff" not in hostile
    if b"openmetrics" in accepted:
        assert hostile.splitlines()[1] == plain.splitlines()[1]


def test_host_that_shows_no_metrics_does_not_load_the_library(tmp_path: Path) -> None:
    code = "import sys, wasm_host.cli; print('prometheus_client' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment(tmp_path)
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize(("healthy", "status"), [(True, b"200 OK"), (False, b"503 Service Unavailable")])
def test_health(healthy: bool, status: bytes) -> None:
    (answer,) = ask(b"GET /healthz HTTP/1.0\r\n\r\n", healthy=healthy)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.endswith(
        b"\r\n\r\nok\ndevice: simulated\n" if healthy else b"stopping\ndevice: simulated\n"
    )


def test_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasm_host.metrics_server._REQUEST_TIMEOUT", 0.2)
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
