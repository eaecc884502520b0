"""The host's metrics as Prometheus takes them, with the library that its makers wrote for that.

It is imported only where metrics are shown: it takes a tenth of a second and two megabytes.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from schannel.endings import Ending
from schannel.framing import Refusal
from schannel.release import installed_version

from .limits import ServerLimits
from .metrics import Metrics
from .monitor import KILLED, Stop
from .relay import pump_unavailable_because
from .server import NOT_SERVED

_PREFIX = "wasm_host_"
_OPENMETRICS = "application/openmetrics-text"
_MEBIBYTE, _DAY = 1 << 20, 86_400

_LIMITS: dict[str, tuple[str, int]] = {
    "enclaves": ("enclaves", 1),
    "share": ("enclaves_per_address", 1),
    "waiting": ("waiting", 1),
    "wait": ("wait_seconds", 1),
    "connections": ("connections", 1),
    "per_address": ("connections_per_address", 1),
    "handshake": ("handshake_seconds", 1),
    "idle": ("idle_seconds", 1),
    "session": ("session_seconds", 1),
    "memory": ("enclave_memory_bytes", _MEBIBYTE),
    "buffer": ("buffer_bytes", 1),
    "kept": ("kept_bytes", _MEBIBYTE),
    "kept_per_client": ("kept_bytes_per_client", _MEBIBYTE),
    "kept_days": ("kept_unused_seconds", _DAY),
    "drain": ("drain_seconds", 1),
    "grace": ("grace_seconds", 1),
    "pool": ("pool", 1),
    "start": ("start_seconds", 1),
}
"""What each limit is called here, and how many of the base unit its own is."""

Usage = Callable[[], int]


class _Host(Collector):
    """Reads everything anew each time that it is asked for."""

    def __init__(self, metrics: Metrics, limits: ServerLimits, memory: Usage, kept: Usage) -> None:
        self._metrics = metrics
        self._limits = limits
        self._memory = memory
        self._kept = kept

    def collect(self) -> Iterator[Metric]:
        """The metrics, with every label that there can be."""
        now = self._metrics
        yield from self._counters(now)
        yield _gauge("open_connections", "Connections open now.", now.open_connections)
        yield _gauge("waiting", "Clients that wait for an enclave.", now.waiting)
        yield _gauge("sessions", "Clients that have an enclave.", now.sessions)
        yield _gauge("pool_ready", "Enclaves that wait for a client.", now.pool_ready)
        yield _gauge("enclave_memory_bytes", "Memory of the enclaves that serve clients.", self._memory())
        yield _gauge("kept_bytes", "Sealed programs, when they were counted last.", self._kept())
        yield SummaryMetricFamily(
            f"{_PREFIX}enclave_wait_seconds",
            "Time from first message to enclave.",
            now.waits,
            now.wait_seconds,
        )
        for field, (name, factor) in _LIMITS.items():
            shown = f"The limit {field!r}, as the host was started with."
            yield _gauge(f"limit_{name}", shown, getattr(self._limits, field) * factor)
        build = {
            "version": installed_version(),
            "python": platform.python_version(),
            "relay": "python" if pump_unavailable_because else "c",
        }
        yield InfoMetricFamily(f"{_PREFIX}build", "What runs.", build)

    def _counters(self, now: Metrics) -> Iterator[Metric]:
        yield CounterMetricFamily(f"{_PREFIX}connections", "Connections accepted.", now.connections)
        yield CounterMetricFamily(f"{_PREFIX}enclaves_started", "Enclaves started.", now.enclaves_started)
        reasons = [*_names(Refusal), *NOT_SERVED]
        yield _labelled("refused", "Connections that were not served.", "reason", reasons, now.refused)
        yield _labelled("closed", "Sessions that the host ended.", "reason", _names(Stop), now.closed)
        hows = [*_names(Ending), KILLED]
        yield _labelled("enclaves_ended", "Ends of sessions.", "how", hows, now.enclaves_ended)
        directions = ["up", "down"]
        yield _labelled("relayed_bytes", "Bytes of ended sessions.", "direction", directions, now.relayed)


def _names(kinds: Iterable[Refusal | Stop | Ending]) -> list[str]:
    return [kind.name.lower() for kind in kinds]


def _gauge(name: str, shown: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}{name}", shown, value)


def _labelled(
    name: str, shown: str, label: str, values: Iterable[str], counts: Mapping[str, int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{_PREFIX}{name}", shown, labels=[label])
    for value in values:
        family.add_metric([value], counts[value])
    return family


class Exposition:
    """The pages of one host's metrics, in a registry of its own.

    Args:
        metrics, limits: of the host.
        memory: bytes that the enclaves have now.
        kept: bytes of sealed programs that are stored.
    """

    def __init__(self, metrics: Metrics, limits: ServerLimits, memory: Usage, kept: Usage) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Host(metrics, limits, memory, kept))
        # Start time, memory, processor time and descriptors of the host's process, under their usual names.
        ProcessCollector(registry=self._registry)

    def page(self, accepted: str = "") -> tuple[str, bytes]:
        """Content type and content for a request that accepts these: OpenMetrics where that is among them."""
        kinds = {item.partition(";")[0].strip() for item in accepted.split(",")}
        # Not what the request says: the library would return parts of it in the answer's head.
        encode, kind = choose_encoder(_OPENMETRICS if _OPENMETRICS in kinds else "")
        return kind, encode(self._registry)
