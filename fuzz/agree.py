"""Runs generated modules on both engines, one seed after the other, until two runs of one differ.

    python -m fuzz.agree [--from SEED] [COUNT]

Every fourth one is seen through small windows on the native engine; every sixteenth has a companion of which
most functions are compiled, where llvmlite is installed: all, or those that prove hot. Pieces of a hundred
have a process of their own, so that a crash or a module that does not end is told by its seed, like a
difference. The status is 0 when all agree, 1 when one does not; then, and when it is interrupted, the command
says with which seed to go on.
"""

from __future__ import annotations

import argparse
import mmap
import os
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from random import Random

from fuzz.child import words_of
from fuzz.compilable import compilable, compiles
from fuzz.engines import AUTO, COMPILED, PLENTY, difference, load, run
from fuzz.generator import Generated, generate
from fuzz.hot import AT_ONCE, compiled_after, hot_after
from fuzz.small_windows import small_windows
from tinywasm.engine import native_available

_COUNT = 100_000
_PIECE = 100
# A module that takes longer than this, of processor time, does not end.
_SECONDS = 60


def check(generated: Generated) -> None:
    """Raises `AssertionError` where the engines differ."""
    module = load(generated)
    seed = generated.seed
    python, native = (run(generated, module, engine, PLENTY) for engine in ("python", "native"))
    found = difference(python, native)
    assert not found, f"generate({seed}), metered: {found}"
    found = difference(native, run(generated, module, "native"), fuel=False)
    assert not found, f"generate({seed}), native, metered and not: {found}"
    if seed % 4 == 0:
        found = difference(python, run(generated, module, "python"), fuel=False)
        assert not found, f"generate({seed}), python, metered and not: {found}"
    hot = Random(f"hot {seed}").choice((AT_ONCE, 0, 1, 3, 10))
    with hot_after(hot):
        found = difference(python, run(generated, module, "python", PLENTY))
    assert not found, f"generate({seed}), hot after {hot}: {found}"
    bound = Random(seed).randrange(python.fuel + 1)
    python, native = (run(generated, module, engine, bound) for engine in ("python", "native"))
    found = difference(python, native)
    assert not found, f"generate({seed}), {bound} units of fuel: {found}"
    with hot_after(hot):
        found = difference(python, run(generated, module, "python", bound))
    assert not found, f"generate({seed}), {bound} units of fuel, hot after {hot}: {found}"


def check_compiled(generated: Generated, engine: str = COMPILED) -> None:
    """Raises `AssertionError` where the native engine differs with functions compiled."""
    module = load(generated)
    native = run(generated, module, "native", PLENTY)
    for fuel in (PLENTY, None, Random(generated.seed).randrange(native.fuel + 1)):
        expected = native if fuel == PLENTY else run(generated, module, "native", fuel)
        found = difference(expected, run(generated, module, engine, fuel), fuel=fuel is not None)
        assert not found, f"compilable({generated.seed}), {engine}, {fuel} units of fuel: {found}"


def check_auto(generated: Generated) -> None:
    """Raises `AssertionError` where the native engine differs with functions compiled while they run."""
    rng = Random(f"auto {generated.seed}")
    looks, words = rng.choice((1, 1, 2, 5)), rng.choice((1, 1, 10, 100))
    with compiled_after(looks, words):
        check_compiled(generated, AUTO)


def windows(seed: int) -> int:
    """How many slots the windows have in which the module of a seed is seen; 0 without windows."""
    # No multiples of four have them: those are what `check` runs once more without fuel.
    return Random(f"windows {seed}").randrange(4, 81) if seed % 4 == 3 else 0


def check_seed(seed: int) -> None:
    """Check the module of a seed. Raises `AssertionError` where the engines differ."""
    slots = windows(seed)
    with small_windows(slots) if slots else nullcontext():
        check(generate(seed))
    # LLVM takes longer than all the rest.
    if compiles and seed % 16 == 0:
        (check_auto if seed % 32 else check_compiled)(compilable(seed))


def check_piece(seeds: range) -> tuple[int, str]:
    """Check modules in a process of their own: how many agree, and in words how the next one does not."""
    shared = mmap.mmap(-1, 8)
    words, status = words_of(lambda: _attempt(seeds, shared))
    (done,) = struct.unpack("q", shared)
    if os.WIFSIGNALED(status):
        words = f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return done, words


def _attempt(seeds: range, done: mmap.mmap) -> str:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    try:
        for seed in seeds:
            signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
            check_seed(seed)
            done[:] = struct.pack("q", seed - seeds.start + 1)
    except KeyboardInterrupt:
        return ""
    except BaseException as error:
        return str(error) if isinstance(error, AssertionError) else traceback.format_exc(limit=-8)
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the modules of the seeds that are named; 1 if the engines differ on one."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.agree", description=__doc__.split("\n\n")[0])
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("count", type=int, nargs="?", default=_COUNT, help="modules (default %(default)s)")
    options = parser.parse_args(arguments)
    if not native_available:
        print("the native engine is not built", file=sys.stderr)
        return 2
    start, next_seed, end = time.monotonic(), options.first, options.first + options.count
    try:
        while next_seed < end:
            done, wrong = check_piece(range(next_seed, min(next_seed + _PIECE, end)))
            next_seed += done
            agree = next_seed - options.first
            if wrong:
                print(f"{agree} agree; then seed {next_seed}, windows of {windows(next_seed)}: {wrong}")
                print(f"go on with --from {next_seed + 1}")
                return 1
            rate = agree / (time.monotonic() - start)
            print(f"{agree} of {options.count} agree, {rate:.1f} a second", flush=True)
    except KeyboardInterrupt:
        print(f"interrupted: go on with --from {next_seed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
