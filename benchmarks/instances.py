"""What a store with one instance takes: `python -m benchmarks.instances`.

For each engine of tinywasm, and for wasmtime where it is installed, and for modules without and with a
memory: microseconds of processor time to make one and drop it, and to make one of many that live; bytes of
memory for each of those; and how many there can be at once, up to 100,000. Every runtime is measured in
processes of its own, in turn with the others; the times are medians.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tinywasm import wat2wasm
from tinywasm.engine import native_available

_FUNCTION = '(func (export "f") (param i32) (result i32) (local.get 0))'
MODULES = {"no memory": f"(module {_FUNCTION})", "memory": f'(module (memory (export "m") 1) {_FUNCTION})'}
_ROUNDS = 5
_WARM_UP = 100
_PAGE = 4096


def runtimes() -> list[str]:
    """Those that can be measured here."""
    found = ["native"] * native_available + ["python"]
    return found + ["wasmtime"] * (importlib.util.find_spec("wasmtime") is not None)


def _maker(runtime: str, module: str) -> Callable[[], Any]:
    api = importlib.import_module("wasmtime" if runtime == "wasmtime" else "tinywasm")
    engine = api.Engine() if runtime == "wasmtime" else api.Engine(api.Config(engine=runtime))
    compiled = api.Module(engine, bytes(wat2wasm(MODULES[module])))

    def make() -> Any:
        store = api.Store(engine)
        return store, api.Instance(store, compiled, [])

    return make


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def measure(runtime: str, module: str, count: int) -> dict[str, float]:
    """In this process: `count` made and kept, or as many as there can be, then `count` made and dropped."""
    make = _maker(runtime, module)
    for _ in range(_WARM_UP):
        make()
    gc.collect()
    before, start, kept = _resident(), time.process_time(), []
    try:
        for _ in range(count):
            kept.append(make())
    except Exception as error:
        print(f"{runtime}, {module}: {len(kept)} live, then: {error}", file=sys.stderr)
    seconds, taken, alive = time.process_time() - start, _resident() - before, len(kept)
    kept.clear()
    gc.collect()
    start = time.process_time()
    for _ in range(count):
        make()
    dropped = (time.process_time() - start) / count
    each = {"dropped": dropped * 1e6, "kept": seconds / alive * 1e6, "bytes": taken / alive}
    return {**each, "alive": alive}


def _in_a_process(runtime: str, module: str, count: int) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.instances",
        "--child",
        runtime,
        module,
        "--count",
        str(count),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def report(count: int, alive: int, rounds: int = _ROUNDS) -> str:
    """The table, in Markdown: `count` for the figures, `alive` for how many there can be."""
    lines = [
        "| runtime | module | µs, dropped | µs, kept | bytes each | alive |",
        "|---|---|---|---|---|---|",
    ]
    places = [(runtime, module) for module in MODULES for runtime in runtimes()]
    samples: dict[tuple[str, str], list[dict[str, float]]] = {place: [] for place in places}
    for _ in range(rounds):
        for place in places:
            samples[place].append(_in_a_process(*place, count))
    for place in places:
        dropped, kept, size = (
            median(sample[what] for sample in samples[place]) for what in ("dropped", "kept", "bytes")
        )
        most = int(_in_a_process(*place, alive)["alive"])
        lines.append(f"| {place[0]} | {place[1]} | {dropped:.1f} | {kept:.1f} | {size:,.0f} | {most:,} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instances",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--count", type=int, default=10_000, help="instances for the figures (default 10,000)"
    )
    parser.add_argument("--alive", type=int, default=100_000, help="to try at once (default 100,000)")
    parser.add_argument("--child", nargs=2, metavar=("RUNTIME", "MODULE"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        runtime, module = options.child
        print(json.dumps(measure(runtime, module, options.count)))
    else:
        print(report(options.count, options.alive))
    return 0


if __name__ == "__main__":
    sys.exit(main())
