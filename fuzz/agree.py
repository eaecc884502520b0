"""Runs generated modules on both engines, one seed after the other, until two runs of one differ.

    python -m fuzz.agree [--from SEED] [COUNT]

Every fourth one is seen through small windows on the native engine. Where llvmlite is installed, functions
of each are compiled: all, those that prove hot, or some, which are entered at random. Some modules are
interrupted at random, on one of the readers of the intermediate form, and some run out of fuel wherever they
can, on all of them. Pieces of a hundred have a process of their own, so that a crash or a module that does
not end is told by its seed, like a difference. The status is 0 when all agree, 1 when one does not; then, and
when it is interrupted, the command says with which seed to go on.
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
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from random import Random

from fuzz import interrupts
from fuzz.child import words_of
from fuzz.engines import AUTO, COMPILED, PLENTY, difference, load, run
from fuzz.generator import Generated, generate
from fuzz.hot import AT_ONCE, compiled_after, hot_after, looking_after
from fuzz.machine_code import Mixture, compiled_with, compiles
from fuzz.small_windows import small_windows
from tinywasm.engine import native_available
from tinywasm.module import Module

_COUNT = 100_000
_PIECE = 100
# The most fuel of modules that are run with every amount up to that.
_LITTLE_FUEL = 300
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
    _check_tier(generated, load(generated), engine, nullcontext)


def check_auto(generated: Generated) -> None:
    """Raises `AssertionError` where the native engine differs with functions compiled while they run."""
    rng = Random(f"auto {generated.seed}")
    looks, words, again = rng.choice((1, 1, 2, 5)), rng.choice((1, 1, 10, 100)), rng.choice((1, 5, 500))
    with compiled_after(looks, words, again):
        check_compiled(generated, AUTO)


def check_mixture(generated: Generated) -> None:
    """Raises `AssertionError` where the native engine differs with some functions compiled, which are entered
    at random looks."""
    module, mixture = load(generated), Mixture(generated.seed)

    def entered() -> AbstractContextManager[None]:
        # Once more from the beginning.
        module.context.compiled.clear()
        return mixture.entered()

    _check_tier(generated, module, AUTO, entered)


def _check_tier(
    generated: Generated, module: Module, tier: str, way: Callable[[], AbstractContextManager[None]]
) -> None:
    native = run(generated, module, "native", PLENTY)
    for fuel in _fuels(generated.seed, native.fuel):
        expected = native if fuel == PLENTY else run(generated, module, "native", fuel)
        with way():
            found = difference(expected, run(generated, module, tier, fuel), fuel=fuel is not None)
        assert not found, f"{generated.seed}, {tier}, {fuel} units of fuel: {found}"


def _fuels(seed: int, used: int) -> list[int | None]:
    """With how much fuel a module is run that uses so much. Code that does not meter is compiled apart."""
    rng = Random(f"fuels {seed}")
    return [PLENTY, rng.randrange(used + 1), rng.randrange(used + 1), *([None] if seed % 4 == 0 else [])]


def check_machine_code(seed: int) -> None:
    """Raises `AssertionError` where machine code for the modules of a seed differs."""
    rng = Random(f"machine code {seed}")
    way = rng.choice((check_compiled, check_mixture, check_mixture))
    # More effort takes longer than all the rest.
    with compiled_with({0: "FULL", 8: "LIGHT"}.get(seed % 16, "QUICK")):
        way(generate(seed))
    if seed % 32 == 0:
        check_auto(generate(seed))


def _readers(generated: Generated) -> dict[str, tuple[str, AbstractContextManager[None]]]:
    """The readers of the intermediate form, and two at once: the engine, and what has to last meanwhile."""
    found: dict[str, tuple[str, AbstractContextManager[None]]] = {
        "python": ("python", nullcontext()),
        "source": ("python", hot_after(AT_ONCE)),
        "native": ("native", nullcontext()),
    }
    if compiles:
        found["compiled"] = (COMPILED, compiled_with("QUICK"))
        found["mixture"] = (AUTO, Mixture(generated.seed).entered())
    return found


def check_interrupts(seed: int) -> int:
    """How many interrupts ended a run of one of the readers. Raises `AssertionError` where another run in the
    same store differs then."""
    generated = generate(seed)
    name, (engine, way) = Random(f"reader {seed}").choice(list(_readers(generated).items()))
    expected = run(generated, load(generated), "native", PLENTY)
    with looking_after(Random(f"looks {seed}").choice((1, 3, 20))), way:
        found, ended = interrupts.compare(generated, load(generated), engine, expected)
    assert not found, f"{seed}, {name}, {found}"
    return ended


def check_every_fuel(seed: int) -> int:
    """How much fuel a module uses, if it is little. Raises `AssertionError` where one of the readers stops
    otherwise with any amount up to that."""
    generated = generate(seed)
    module = load(generated)
    used = run(generated, module, "native", PLENTY).fuel
    if used > _LITTLE_FUEL:
        return 0
    expected = [run(generated, module, "native", fuel) for fuel in range(used + 1)]
    for name, (engine, way) in _readers(generated).items():
        module = load(generated)
        with way:
            for fuel, each in enumerate(expected):
                found = difference(each, run(generated, module, engine, fuel))
                assert not found, f"{seed}, {name}, {fuel} units of fuel: {found}"
    return used


def windows(seed: int) -> int:
    """How many slots the windows have in which the module of a seed is seen; 0 without windows."""
    # No multiples of four have them: those are what `check` runs once more without fuel.
    return Random(f"windows {seed}").randrange(4, 81) if seed % 4 == 3 else 0


def check_seed(seed: int) -> None:
    """Check the module of a seed. Raises `AssertionError` where the engines differ."""
    slots = windows(seed)
    with small_windows(slots) if slots else nullcontext():
        check(generate(seed))
    if compiles:
        check_machine_code(seed)
    if seed % 8 == 0:
        check_interrupts(seed)
    if seed % 8 == 5:
        check_every_fuel(seed)


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
