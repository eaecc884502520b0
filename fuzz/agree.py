"""Runs generated modules on both engines, one seed after the other, until two runs of one differ.

    python -m fuzz.agree [--from SEED] [COUNT]

Every fourth one is seen through small windows on the native engine. Functions of each become Python source
and, where llvmlite is installed, machine code: all, those that prove hot, or some at random, with fuel or
without. Some modules are interrupted at random, and some run out of fuel at many places, on one of the
readers of the intermediate form. Pieces of a hundred have a process of their own, so that a crash or a module
that does not end is told by its seed, like a difference. The status is 0 when all agree, 1 when one does not;
then, and when it is interrupted, the command says with which seed to go on.
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
from contextlib import AbstractContextManager, nullcontext
from random import Random

from fuzz import interrupts
from fuzz.child import words_of
from fuzz.engines import AUTO, COMPILED, PLENTY, Record, difference, load, run
from fuzz.generator import Generated, generate
from fuzz.hot import AT_ONCE, compiled_after, hot_after, looking_after
from fuzz.machine_code import Mixture, compiled_with, compiles
from fuzz.small_windows import small_windows
from tinywasm.engine import native_available

_COUNT = 100_000
_PIECE = 100
# With how many amounts of fuel a module is run that is run with many.
_AMOUNTS = 20
# A module that takes longer than this, of processor time, does not end.
_SECONDS = 60


class Case:
    """A generated module, and what the native engine's loop makes of it."""

    def __init__(self, generated: Generated) -> None:
        self.generated = generated
        self.seed = generated.seed
        self.module = load(generated)
        self._records: dict[int, Record] = {}
        self.used = self.expected(PLENTY).fuel

    def expected(self, fuel: int) -> Record:
        """What a run shows with so much fuel."""
        if fuel not in self._records:
            self._records[fuel] = run(self.generated, self.module, "native", fuel)
        return self._records[fuel]

    def agrees(self, engine: str, fuel: int | None, way: str = "") -> None:
        """Raises `AssertionError` where a run differs from what is expected; None does not meter."""
        expected = self.expected(PLENTY if fuel is None else fuel)
        found = run(self.generated, self.module, engine, fuel)
        different = difference(expected, found, fuel=fuel is not None)
        assert not different, f"generate({self.seed}), {way or engine}, {fuel} units of fuel: {different}"

    def forget(self) -> None:
        """Begin once more: with nothing that other runs have made."""
        self.module.context.compiled.clear()

    def fuels(self, rng: Random) -> tuple[int | None, ...]:
        """With how much fuel one of the readers runs: code that does not meter is made apart."""
        return rng.choice(((None,), (PLENTY, rng.randrange(self.used + 1))))


def check(case: Case) -> None:
    """Raises `AssertionError` where the engines differ."""
    rng = Random(f"check {case.seed}")
    case.agrees("python", PLENTY)
    case.agrees(rng.choice(("python", "native", "native")), None)
    if rng.random() < 0.25:
        case.agrees("python", rng.randrange(case.used + 1))
    hot, likely = rng.choice((AT_ONCE, AT_ONCE, 0, 1, 3)), rng.choice((0.3, 0.6, 1))
    for fuel in case.fuels(rng):
        with hot_after(hot, lambda: rng.random() < likely):
            case.agrees("python", fuel, f"hot after {hot}")


def check_compiled(case: Case, engine: str = COMPILED) -> None:
    """Raises `AssertionError` where the native engine differs with functions compiled."""
    case.forget()
    for fuel in case.fuels(Random(f"compiled {case.seed}")):
        case.agrees(engine, fuel)


def check_auto(case: Case) -> None:
    """Raises `AssertionError` where the native engine differs with functions compiled while they run."""
    rng = Random(f"auto {case.seed}")
    looks, words, again = rng.choice((1, 1, 2, 5)), rng.choice((1, 1, 10, 100)), rng.choice((1, 5, 500))
    with compiled_after(looks, words, again):
        check_compiled(case, AUTO)


def check_mixture(case: Case, likely: float | None = None) -> None:
    """Raises `AssertionError` where the native engine differs with some functions compiled, as many as are
    `likely`, which are entered at all calls, or at random looks."""
    rng, mixture = Random(f"fuels of a mixture {case.seed}"), Mixture(case.seed, likely)
    fuels = case.fuels(rng)
    case.forget()
    mixture.begin(case.module, fuels[0] is not None)
    case.agrees(COMPILED, rng.choice(fuels), "some compiled")
    case.forget()
    with mixture.entered():
        case.agrees(AUTO, rng.choice(fuels), "some entered at random")


def check_machine_code(case: Case) -> None:
    """Raises `AssertionError` where machine code for a module differs."""
    # More effort takes longer than all the rest, and so do whole modules.
    effort = {0: "FULL", 32: "LIGHT"}.get(case.seed % 64, "QUICK")
    with compiled_with(effort):
        if effort != "QUICK":
            check_mixture(case, 0.2)
        elif case.seed % 8 == 1:
            check_compiled(case)
        else:
            check_mixture(case)
    if case.seed % 64 == 2:
        check_auto(case)


def _readers(seed: int) -> dict[str, tuple[str, AbstractContextManager[None]]]:
    """The readers of the intermediate form, and two at once: the engine, and what has to last meanwhile."""
    found: dict[str, tuple[str, AbstractContextManager[None]]] = {
        "python": ("python", nullcontext()),
        "source": ("python", hot_after(AT_ONCE)),
        "native": ("native", nullcontext()),
    }
    if compiles:
        found["compiled"] = (COMPILED, compiled_with("QUICK"))
        found["mixture"] = (AUTO, Mixture(seed).entered())
    return found


def check_interrupts(case: Case) -> int:
    """How many interrupts ended a run of one of the readers. Raises `AssertionError` where another run in the
    same store differs then."""
    seed = case.seed
    name, (engine, way) = Random(f"reader {seed}").choice(list(_readers(seed).items()))
    case.forget()
    with looking_after(Random(f"looks {seed}").choice((1, 3, 20))), way:
        found, ended = interrupts.compare(case.generated, case.module, engine, case.expected(PLENTY))
    assert not found, f"{seed}, {name}, {found}"
    return ended


def check_amounts(case: Case) -> int:
    """How many amounts of fuel were tried: all that are too little, if the module uses little. Raises
    `AssertionError` where one of the readers stops otherwise with one."""
    rng = Random(f"amounts {case.seed}")
    readers = _readers(case.seed)
    del readers["native"]
    name, (engine, way) = rng.choice(list(readers.items()))
    amounts = range(case.used + 1) if case.used < _AMOUNTS else rng.sample(range(case.used), _AMOUNTS)
    case.forget()
    with way:
        for fuel in amounts:
            case.agrees(engine, fuel, name)
    return len(amounts)


def windows(seed: int) -> int:
    """How many slots the windows have in which the module of a seed is seen; 0 without windows."""
    # No multiples of four have them: those are what `check` runs once more without fuel.
    return Random(f"windows {seed}").randrange(4, 81) if seed % 4 == 3 else 0


def check_seed(seed: int) -> None:
    """Check the module of a seed. Raises `AssertionError` where the engines differ."""
    slots = windows(seed)
    with small_windows(slots) if slots else nullcontext():
        case = Case(generate(seed))
        check(case)
    if compiles:
        check_machine_code(case)
    if seed % 16 == 8:
        check_interrupts(case)
    if seed % 32 == 5:
        check_amounts(case)


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
