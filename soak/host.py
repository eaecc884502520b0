"""A wasm-host of this program's own, and what it and its enclaves use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from schannel.policy import Policy
from schannel.simulation import simulation_policy

ROOT = Path(__file__).resolve().parent.parent
_FOLDERS = [ROOT, *(ROOT / name for name in ("channel", "enclave", "host", "client"))]
_STOP_TIMEOUT = 30.0


@dataclass(frozen=True)
class Usage:
    """Memory in KiB and descriptors of host, monitor and zygote; processes below the host, enclaves too."""

    memory: int
    descriptors: int
    processes: int


@dataclass(frozen=True)
class RunningHost:
    """Where it listens and what clients accept."""

    pid: int
    address: str
    policy: Policy
    log: Path

    def below(self) -> dict[int, int]:
        """The processes below the host, each with its parent."""
        parents = {pid: parent for pid in _all() if (parent := _parent(pid)) is not None}
        found: dict[int, int] = {}
        queue = [self.pid]
        while queue:
            above = queue.pop()
            children = [pid for pid, parent in parents.items() if parent == above]
            found |= dict.fromkeys(children, above)
            queue += children
        return found

    def enclave_of(self, port: int) -> int:
        """The process that serves the client with this local port."""
        enclave = self._enclaves().get(f"127.0.0.1:{port}")
        assert enclave is not None, f"the host says nothing of the client at port {port}"
        return enclave

    def latest_enclave(self) -> int:
        """The process that serves the client who came last."""
        return list(self._enclaves().values())[-1]

    def _enclaves(self) -> dict[str, int]:
        """The enclaves' processes by their clients' addresses, in order."""
        events = map(json.loads, self.log.read_text().splitlines())
        return {
            event["peer"]: int(event["message"].rpartition(" ")[2])
            for event in events
            if event["event"] == "session_started"
        }

    def usage(self) -> Usage:
        """What host, monitor and zygote use now; enclaves count as processes only."""
        below = self.below()
        # The monitor is the host's child, the zygote the monitor's; enclaves are the zygote's.
        lasting = {self.pid, *(pid for pid, above in below.items() if self.pid in (above, below.get(above)))}
        return Usage(sum(map(_memory, lasting)), sum(map(_descriptors, lasting)), len(below))


@contextmanager
def running_host(state: Path, clients: int) -> Iterator[RunningHost]:
    """Run a host for so many clients at once; it is ended with the block, by force if need be."""
    log = state / "log"
    with log.open("w") as errors:
        process = _start(state, clients, errors)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("wasm-host: listening on "), "the host does not start"
        yield RunningHost(process.pid, line.split()[-1], simulation_policy(state), log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _start(state: Path, clients: int, errors: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "wasm_host", "-a", "127.0.0.1:0", "--max-enclaves", str(clients)),
            *("--max-enclaves-per-address", str(clients)),
            *("--max-per-address", str(4 * clients), "--max-connections", str(4 * clients)),
            *("--max-wait", "120", "--max-drain", "5", "-v", "--log-format", "json"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        cwd=state,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, _FOLDERS)),
            "TINYWASM_STATE_DIR": str(state),
        },
        start_new_session=True,
    )


def _all() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]


def _parent(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[1])


def resident(pid: int) -> int:
    """Bytes that a process has in memory now."""
    return _status(pid, "VmRSS") << 10


def peak(pid: int) -> int:
    """The most bytes that a process ever had in memory; a forked one begins with its parent's of then."""
    return _status(pid, "VmHWM") << 10


def _memory(pid: int) -> int:
    """Anonymous memory, which is what a leak fills; file pages come and go with the system's needs."""
    return _status(pid, "RssAnon")


def _status(pid: int, name: str) -> int:
    """A figure of proc(5) in KiB, 0 where it is not given."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
