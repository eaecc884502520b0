"""Serialized modules that are forged at random: they are refused, or run without harm.

    python -m fuzz.forged_modules COUNT

Changes the code that a serialized module of `generator_shapes` brings along, and the line that tells of it,
and gives the file the digest that belongs to it. Runs in this process, which a wild access ends.
"""

from __future__ import annotations

import faulthandler
import signal
import struct
import sys
from collections import Counter
from importlib.util import source_hash
from random import Random
from typing import Any
from unittest.mock import patch

from fuzz import shape_runs
from fuzz.code_mutations import LARGE, SECONDS, Endless, end
from fuzz.generator_shapes import Shapes, generate
from tinywasm.config import Engine
from tinywasm.engine.native import kept
from tinywasm.errors import WasmError
from tinywasm.module import Module
from tinywasm.validation import Context

# Of so many files, all are of one module.
FILES = 100
# Functions that are called in each.
CALLED = 40


def forged(rng: Random, artifact: bytes) -> bytes:
    """The file with some bytes of the code changed."""
    lines = artifact.split(b"\n", 5)
    about, body = lines[4], bytearray(lines[5])
    size = int(about.split()[-1])
    for _ in range(rng.choice((1, 3, 10, 100))):
        # The first bytes say where code begins.
        place = rng.randrange(rng.choice((2000, size)))
        choice = rng.randrange(4)
        if choice == 0:
            body[place] ^= 1 << rng.randrange(8)
        elif choice == 1:
            body[place] = rng.randrange(256)
        elif choice == 2:
            body[place : place + 4] = struct.pack("<I", rng.choice(LARGE) & 0xFFFF_FFFF)
        else:
            other = rng.randrange(size)
            body[place : place + 16] = body[other : other + 16]
    if rng.random() < 0.05:
        about = about.rsplit(b" ", 1)[0] + b" %d" % (
            size + rng.choice((-(1 << 40), -100, -1, 1, 100, 1 << 40))
        )
    whole = about + b"\n" + body
    return b"\n".join([*lines[:3], source_hash(whole).hex().encode(), whole])


def run(seed: int, counts: Counter[str]) -> None:
    """So many forged files of one module."""
    rng = Random(seed)
    shapes = generate(seed)
    engine = Engine(shape_runs.config("native"))
    source = Module.from_decoded(engine, shapes.module).serialize()
    for _ in range(FILES):
        try:
            instance = load(rng, shapes, engine, source)
        except WasmError:
            counts["refused"] += 1
            continue
        counts["loaded"] += 1
        call(rng, instance)


def load(rng: Random, shapes: Shapes, engine: Engine, artifact: bytes) -> shape_runs.Run:
    """An instance of a forged module. Raises `WasmError` where that is refused."""
    module = Module.deserialize(engine, forged(rng, artifact))
    found = kept.shared(module.context).kept
    # This begins with what the module's instances share.
    instance = shape_runs.Run(shapes, module, shape_runs.Way("native"))
    kept.shared(module.context).kept = found
    return instance


def call(rng: Random, instance: shape_runs.Run) -> None:
    """Call some functions, each for a while."""
    for number in rng.sample(range(instance.shapes.count), CALLED):
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS, SECONDS)
            try:
                instance.call(number, rng.choice(instance.shapes.calls))
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except Endless:
            pass


def main() -> None:
    faulthandler.enable()
    signal.signal(signal.SIGVTALRM, end)
    counts: Counter[str] = Counter()
    original = kept.taken

    def taken(context: Context, index: int) -> Any:
        found = original(context, index)
        counts["made anew" if found is None else "taken"] += 1
        return found

    with patch.object(kept, "taken", taken):
        for seed in range(0, int(sys.argv[1]), FILES):
            run(seed, counts)
    for name in ("loaded", "refused", "taken", "made anew"):
        print(f"{counts[name]} {name}")


if __name__ == "__main__":
    main()
