"""What the host counts; `exposition` shows it to Prometheus.

Counts and times only: no address, no size of a single message, nothing of what passes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


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
