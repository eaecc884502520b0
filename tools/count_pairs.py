"""Choose the words of the native loop that are done two in one, and write tools/pairs.py.

    python tools/count_pairs.py

Builds a copy of the package whose loop counts which words follow each other, runs the benchmark kernels
(with and without fuel) and the WASI test programs on it, and keeps each pair that is at least `SHARE` of
the words that run, on average over the programs. Run tools/gen_loop.py afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from gen_loop import arms, opcode_names

ROOT = Path(__file__).resolve().parent.parent
SHARE = 0.001

_KERNEL = """
import sys
from benchmarks.catalogue import BY_NAME
from tinywasm import Config, Engine, Instance, Module, Store
from tinywasm.engine.native import patterns
patterns.PAIRS.clear()
kernel, fuel = BY_NAME[sys.argv[1]], sys.argv[2] == "fuel"
engine = Engine(Config(engine="native", consume_fuel=fuel))
store = Store(engine)
if fuel:
    store.set_fuel(1 << 60)
Instance(store, Module(engine, kernel.wasm.read_bytes()), []).exports(store)["run"](store, kernel.small)
"""

_COMMAND = """
import sys
from tinywasm.engine.native import patterns
patterns.PAIRS.clear()
from tinywasm.cli import main
sys.exit(main(["run", "--engine", "native", "--dir", ".", *sys.argv[1:]]))
"""

_WASI = "tests/wasi_programs"
_TEXT = b"The quick brown fox, the lazy dog; 17 other animals of the wood.\n" * 5_000
_STOCK = "".join(f"item{number % 300} {number % 17 - 3}\n" for number in range(5_000))


def build(folder: Path) -> None:
    """A copy of the package in `folder`, with a loop that counts."""
    for name in ("tinywasm", "channel/schannel", "host/wasm_host", "benchmarks", _WASI):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so", "_*.c"))
    for name in ("setup.py", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=folder, env={**os.environ, "CFLAGS": "-DCOUNT_PAIRS"}, check=True)


def shares(folder: Path, source: str, *arguments: str, stdin: bytes = b"") -> Counter[tuple[str, str, int]]:
    """The pairs of a program that runs beside its files, as shares of all its words."""
    path = folder / "counts"
    path.unlink(missing_ok=True)
    environment = {**os.environ, "TINYWASM_PAIR_COUNTS": str(path), "PYTHONPATH": str(folder)}
    # A status is a program's result and may be anything; one that did not run left no counts.
    subprocess.run(
        [sys.executable, "-c", source, *arguments],
        cwd=folder / _WASI,
        env=environment,
        input=stdin,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    total, *lines = path.read_text().splitlines()
    names = opcode_names()
    found: Counter[tuple[str, str, int]] = Counter()
    for line in lines:
        first, second, same, count = map(int, line.split())
        found[names[first], names[second], same] = count / int(total)  # type: ignore[assignment]
    return found


def taken_field(first: str, second: str, same: int) -> str:
    """The operand of the second that is what the first has made, or an empty string."""
    known = arms()
    if not known[first].value:
        return ""
    fields = [field for bit, field in enumerate(("a", "b", "c", "imm")) if same >> bit & 1]
    return next((field for field in fields if field in known[second].reads), "")


def choose(programs: list[Counter[tuple[str, str, int]]], *, fuel: bool) -> list[str]:
    """Lines for tools/pairs.py; of programs that pay fuel only the words that do so."""
    known = arms()
    mean: Counter[tuple[str, str, str]] = Counter()
    for program in programs:
        for (first, second, same), share in program.items():
            pairable = first in known and second in known and known[first].tail == "NEXT;"
            if pairable and (first == "fuel") == fuel and second != "fuel":
                taken = taken_field(first, second, same)
                mean[first, second, taken] += share / len(programs)  # type: ignore[assignment]
    return [" ".join(filter(None, pair)) for pair, share in mean.items() if share >= SHARE]


def main() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        from benchmarks.catalogue import KERNELS

        kernels = [kernel.name for kernel in KERNELS if kernel.scalar]
        plain = [shares(folder, _KERNEL, kernel, "plain") for kernel in kernels]
        (folder / _WASI / "stock.txt").write_text(_STOCK)
        for command in (["words.wasm"], ["store.wasm", "log", "store.script"], ["inventory.wasm", "."]):
            plain.append(shares(folder, _COMMAND, *command, stdin=_TEXT))
        metered = [shares(folder, _KERNEL, kernel, "fuel") for kernel in kernels]
    lines = sorted({*choose(plain, fuel=False), *choose(metered, fuel=True)})
    text = '"""Words of the native loop that are done two in one. Written by count_pairs.py; do not edit."""'
    (ROOT / "tools/pairs.py").write_text("\n".join([text, "", 'LINES = """', *lines, '"""', ""]))
    print(f"{len(lines)} pairs; now run tools/gen_loop.py")


if __name__ == "__main__":
    main()
