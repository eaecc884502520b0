"""Native code that is changed at random: the verifier refuses it, or the loop does no harm with it.

    python -m fuzz.code_mutations FIRST COUNT

Runs the modules of `generator_shapes` with seeds from FIRST on with changed code, in this process, which a
wild access ends. What is changed is everything that code from a file would bring along. Code that takes
slots for references is passed over where none of it is taken from a file: where it is not found closed.
"""

from __future__ import annotations

import copy
import faulthandler
import signal
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any
from unittest.mock import patch

from fuzz import shape_runs
from fuzz.generator_shapes import Shapes, generate
from tinywasm.engine.native import _loop
from tinywasm.engine.native.frame import RegisterCode
from tinywasm.engine.native.opcodes import OPCODES
from tinywasm.engine.native.select import lower
from tinywasm.errors import InternalError
from tinywasm.module import Module

# Changed versions of each function, and how many seconds of processor time a call may take: changed loops
# need not end. By the clock on the wall, a second alarm could come before the first one was dealt with.
VERSIONS = 12
SECONDS = 0.02
# What fields, sizes and targets are replaced by.
NUMBERS = (0, 1, 2, 3, 8, 15, 16, 17, 31, 32, 255, 1 << 15, (1 << 16) - 1)
LARGE = (*NUMBERS, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
install = _loop.NativeCode


class Endless(Exception):
    """A call that took too long."""


def _number(rng: Random, old: int, bits: int) -> int:
    """Something else for a field of so many bits."""
    choice = rng.randrange(4)
    if choice == 0:
        made = old ^ 1 << rng.randrange(bits)
    elif choice == 1:
        made = old + rng.choice((-3, -2, -1, 1, 2, 3))
    elif choice == 2:
        made = rng.choice(LARGE if bits > 16 else NUMBERS)
    else:
        made = old ^ rng.choice(LARGE) << 32
    return made & ((1 << bits) - 1)


def _change_word(rng: Random, words: list[list[int]]) -> None:
    word = rng.choice(words)
    choice = rng.randrange(8)
    if choice == 0:
        word[0] = rng.randrange(len(OPCODES) + 1)
    elif choice == 1:
        word[0] = rng.choice(words)[0]
    elif choice == 2:
        word[:] = rng.choice(words)
    elif choice == 3:
        # The field of another word, which lies within the frame.
        field = rng.randrange(1, 4)
        word[field] = rng.choice(words)[rng.randrange(1, 4)]
    else:
        field = rng.randrange(1, 5)
        word[field] = _number(rng, word[field], 64 if field == 4 else 16)


def _change_sizes(rng: Random, code: RegisterCode) -> None:
    name = rng.choice(("frame_slots", "near_slots", "param_slots", "zeros", "result_slots"))
    setattr(code, name, _number(rng, getattr(code, name), 31))


def _change_handlers(rng: Random, code: RegisterCode) -> None:
    handler = rng.choice(code.handlers)
    if not handler[2] or rng.random() < 0.3:
        handler[rng.randrange(2)] = _number(rng, handler[0], 31)
        return
    clause = rng.choice(handler[2])
    field = rng.randrange(5)
    clause[field] = _number(rng, clause[field], 31)


def _change_windows(rng: Random, code: RegisterCode) -> None:
    index = rng.randrange(len(code.windows))
    start, base = code.windows[index]
    code.windows[index] = (
        (_number(rng, start, 31), base) if rng.random() < 0.5 else (start, _number(rng, base, 31))
    )


def changed(rng: Random, code: RegisterCode) -> RegisterCode:
    """The same code with one to three changes."""
    words = [list(word) for word in struct.iter_unpack("<HHHHQ", code.words)]
    made = replace(code, handlers=copy.deepcopy(code.handlers), windows=list(code.windows))
    for _ in range(rng.randrange(1, 4)):
        choice = rng.randrange(12)
        if choice == 0:
            _change_sizes(rng, made)
        elif choice == 1 and made.handlers:
            _change_handlers(rng, made)
        elif choice <= 3 and made.windows:
            _change_windows(rng, made)
        else:
            _change_word(rng, words)
    return replace(made, words=b"".join(struct.pack("<HHHHQ", *word) for word in words))


class Changes:
    """Stands for `_loop.NativeCode`: one function of the module gets changed code."""

    def __init__(self, rng: Random, name: str, counts: Counter[str]) -> None:
        self.rng = rng
        self.name = name
        self.counts = counts

    def __call__(
        self, code: RegisterCode, scope: Any, definition: Any, name: str, *more: Any, **named: Any
    ) -> Any:
        if name == self.name:
            try:
                made = install(changed(self.rng, code), scope, definition, name)
                harmless = not made.references or made.closed(scope)
                self.counts["run" if harmless else "references"] += 1
                if harmless:
                    return made
            except InternalError:
                self.counts["refused"] += 1
        return install(code, scope, definition, name, *more, **named)


def end(signal_number: int, frame: object) -> None:
    """What the timer's signal does."""
    raise Endless


def plain_functions(shapes: Shapes, module: Module) -> Iterator[int]:
    """The functions whose code takes no slot for a reference, or is taken from a file all the same."""
    context = module.context
    scope = _loop.NativeScope(context)
    for number in range(shapes.count):
        index = shapes.first + number
        function = module.syntax.functions[index - context.imported_funcs]
        code = lower(context, index, function, metered=False)
        installed = install(code, scope, context.funcs[index], "")
        if not installed.references or installed.closed(scope):
            yield number


def run(seed: int, counts: Counter[str]) -> None:
    """All functions of a module, each in some changed versions, with a few calls."""
    shapes = generate(seed)
    module = shape_runs.load(shapes)
    rng = Random(seed)
    ways = [way for way in shape_runs.ways(seed) if way.engine == "native" and not way.profiled]
    for number in plain_functions(shapes, module):
        for _ in range(VERSIONS):
            changes = Changes(rng, f"function {shapes.first + number}", counts)
            with shape_runs.lowered(way := rng.choice(ways)), patch.object(_loop, "NativeCode", changes):
                call(shape_runs.Run(shapes, module, way), number, counts)


def call(instance: shape_runs.Run, number: int, counts: Counter[str]) -> None:
    """Call a function a few times, for a while altogether."""
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS, SECONDS)
        try:
            for args in instance.shapes.calls[:3]:
                instance.call(number, args)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except Endless:
        counts["endless"] += 1


def main() -> None:
    faulthandler.enable()
    signal.signal(signal.SIGVTALRM, end)
    first, count = map(int, sys.argv[1:])
    counts: Counter[str] = Counter()
    for seed in range(first, first + count):
        print(f"seed {seed}", dict(counts), file=sys.stderr, flush=True)
        run(seed, counts)
    for name in ("run", "refused", "references", "endless"):
        print(counts[name], name)


if __name__ == "__main__":
    main()
