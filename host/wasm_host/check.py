"""``wasm-host --check``: which layers of isolation enclaves would have on this machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator

from .monitor import MonitorError
from .simulated import INTERPRETER_OPTIONS, LOAD, package_folders

# In a process of its own: the host imports neither the enclave's code nor what that code imports.
_PROBE = (
    LOAD
    + """
import json
from wasm_rt.sandbox import probe_layers
print(json.dumps(probe_layers()))
"""
)


def check_isolation(patience: float) -> dict[str, str]:
    """Each layer's name and why it is missing; empty text for a layer that is there.

    Raises:
        MonitorError: this machine cannot run enclaves at all, or it takes longer than `patience` seconds.
    """
    if sys.platform != "linux":
        raise MonitorError("enclaves are Linux processes: this machine cannot run any")
    try:
        done = subprocess.run(
            [sys.executable, *INTERPRETER_OPTIONS, "-c", _PROBE, package_folders()],
            capture_output=True,
            text=True,
            timeout=patience,
            env={},
        )
    except subprocess.TimeoutExpired as error:
        raise MonitorError(
            f"the layers of isolation could not be tried in {patience:g} seconds: "
            "on a slow machine, let it have more (--max-start)"
        ) from error
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise MonitorError(f"the layers of isolation cannot be tried: {reason}")
    layers: dict[str, str] = json.loads(done.stdout)
    return layers


def report(layers: dict[str, str]) -> Iterator[str]:
    """The lines that tell it to people."""
    system = os.uname()
    yield f"{system.sysname} {system.release} {system.machine}, Python {platform.python_version()}"
    width = max(map(len, layers))
    for name, reason in layers.items():
        yield f"  {name:{width}}  {'MISSING: ' + reason if reason else 'offered'}"
    missing = [name for name, reason in layers.items() if reason]
    if missing:
        yield f"enclaves run here without: {', '.join(missing)}"
    else:
        yield "enclaves run here with every layer of isolation"
