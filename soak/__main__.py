"""``python -m soak [--short]``: many clients and connections, killed enclaves, large files and programs.

Everything is on the loopback, on free ports, and ends with this program. The long profile takes about a
quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .host import RunningHost, running_host
from .load import at_once, killing, one_after_another
from .streaming import streaming


@dataclass(frozen=True)
class Profile:
    """How much of everything."""

    clients: int
    calls: int
    connections: int
    killed: int
    megabytes: int


LONG = Profile(clients=64, calls=1000, connections=10_000, killed=100, megabytes=300)
SHORT = Profile(clients=8, calls=50, connections=60, killed=5, megabytes=64)


def main() -> int:
    """Run all parts; status 1 when one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a minute instead of a quarter of an hour")
    profile = SHORT if parser.parse_args().short else LONG
    parts: list[tuple[str, Callable[[RunningHost], str]]] = [
        (
            f"{profile.clients} clients at once, {profile.calls} calls each",
            lambda host: at_once(host, profile.clients, profile.calls),
        ),
        (
            f"{profile.connections} connections one after another",
            lambda host: one_after_another(host, profile.connections),
        ),
        (f"{profile.killed} enclaves killed under load", lambda host: killing(host, profile.killed)),
        (
            f"a file and a program of {profile.megabytes} MiB",
            lambda host: streaming(host, profile.megabytes << 20),
        ),
    ]
    failed = False
    for title, part in parts:
        with tempfile.TemporaryDirectory() as state, running_host(Path(state), profile.clients) as host:
            started = time.monotonic()
            try:
                said = part(host)
            except AssertionError as error:
                said, failed = f"FAILED: {error}", True
            print(f"{title}: {said} ({time.monotonic() - started:.1f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
