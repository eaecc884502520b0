"""Runs a module in a process of its own, and tells how long it took and how much memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent.parent
# What runs wild shall end by itself, not with the machine.
_ADDRESS_SPACE = 16 << 30
_CHILD = f"""
import json, resource, sys, time
import tinywasm

source, export, warm_up, arguments, engine = json.load(sys.stdin)
config = tinywasm.Config(custom_page_sizes=True, engine=engine)
resource.setrlimit(resource.RLIMIT_AS, ({_ADDRESS_SPACE}, {_ADDRESS_SPACE}))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
store = tinywasm.Store(tinywasm.Engine(config))
function = None
if warm_up is not None:
    function = tinywasm.instantiate(source, store=store).exports[export]
    function(*warm_up)
before, start, result = peak(), time.process_time(), None
try:
    if function is None and export is None:
        tinywasm.Module(store.engine, source)
    else:
        function = function or tinywasm.instantiate(source, store=store).exports[export]
        result = function(*arguments)
    ending = "done"
except tinywasm.WasmError as error:
    ending = f"{{type(error).__name__}}: {{error.message}}"
seconds = time.process_time() - start
print(json.dumps(dict(ending=ending, result=result, seconds=seconds, memory=peak() - before)))
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """`ending` is `done` or an error's class and message; `seconds` processor time, `memory` bytes."""

    ending: str
    result: object
    seconds: float
    memory: int


def run(
    source: str,
    export: str | None = None,
    *arguments: int,
    warm_up: tuple[int, ...] | None = None,
    engine: str = "python",
) -> Usage:
    """Call an export of a module in text form, or only load the module where there is no export.

    What is measured is all of that or, where there are arguments to `warm_up` with, one call after
    another one with those.
    """
    request = json.dumps([source, export, warm_up, arguments, engine])
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=request,
        text=True,
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        timeout=100,
        check=True,
    )
    return Usage(**json.loads(done.stdout))
