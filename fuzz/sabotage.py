"""Sabotages the lowering of either engine, and looks whether generated modules find it.

    python -m fuzz.sabotage [NAME...]

replaces a piece of the source as each entry of `sabotages` says, or those that are named, and runs modules of
`generator_shapes` and `generator` with it until something differs from what the python engine did before, or
a rule of the intermediate form is broken. A sabotage that nothing finds is a hole in the generators, or its
code is not needed: then the command ends with status 1.

Nothing on disk is changed: each sabotage has a process of its own, in which the modules that lower are
executed again, from their source.
"""

from __future__ import annotations

import importlib
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

from fuzz import engines, generator, generator_shapes, shape_runs
from fuzz.child import words_of
from fuzz.limits import address_space
from fuzz.sabotages import SABOTAGES, Sabotage
from fuzz.shape_bodies import SUBJECTS
from fuzz.small_windows import small_windows
from tinywasm.engine.ir.check import check
from tinywasm.engine.native import backend as native
from tinywasm.engine.python import backend as python
from tinywasm.module import Module
from tinywasm.types import FuncType

# The modules that lower, each after those from which it imports names.
MODULES = (
    "native.frame",
    "native.patterns",
    "ir.operands",
    "ir.rare",
    "ir.build",
    "native.rare",
    "native.select",
    "python.bind",
)
# Modules in which nearly everything is found: one has far memories, and some are of `generator`. Then so many
# that each subject comes up often, in modules with far memories as well.
FIRST_SEEDS, FIRST_GENERATED = (0, 1, 49), 6
SEEDS = [*range(2, 2 + 8 * len(SUBJECTS) // generator_shapes.FUNCTIONS), *range(99, 599, 50)]
GENERATED = 80
# A module that takes longer than this, of processor time, does not end.
SECONDS = 10
BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Case:
    """A module of `generator_shapes`, with what the python engine makes of it."""

    shapes: generator_shapes.Shapes
    module: Module
    expected: list[Any]

    def difference(self, engine: str) -> str:
        ways = [way for way in shape_runs.ways(self.shapes.seed) if way.engine == engine]
        return shape_runs.compare(self.shapes, self.module, self.expected, ways)


@dataclass(frozen=True, slots=True)
class GeneratedCase:
    """A module of `generator`, with what the python engine makes of it, with all fuel and with some."""

    generated: generator.Generated
    module: Module
    expected: dict[int, engines.Record]

    def difference(self, engine: str) -> str:
        windows = (0, Random(self.generated.seed).randrange(4, 80)) if engine == "native" else (0,)
        for slots in windows:
            for fuel, record in self.expected.items():
                with small_windows(slots) if slots else nullcontext():
                    found = engines.run(self.generated, self.module, engine, fuel)
                different = engines.difference(record, found)
                if different:
                    return (
                        f"generator.generate({self.generated.seed}), {slots} slots, {fuel} fuel: {different}"
                    )
        return ""


def cases() -> Iterator[Case | GeneratedCase]:
    """All modules, those first that find most."""
    yield from map(_case, FIRST_SEEDS)
    yield from map(_generated_case, range(FIRST_GENERATED))
    yield from map(_case, SEEDS)
    yield from map(_generated_case, range(FIRST_GENERATED, GENERATED))


def _case(seed: int) -> Case:
    shapes = generator_shapes.generate(seed)
    module = shape_runs.load(shapes)
    run = shape_runs.Run(shapes, module, shape_runs.ways(seed)[0])
    return Case(shapes, module, list(run.outcomes()))


def _generated_case(seed: int) -> GeneratedCase:
    generated = generator.generate(seed)
    module = engines.load(generated)
    full = engines.run(generated, module, "python", engines.PLENTY)
    some = Random(seed).randrange(full.fuel + 1)
    expected = {fuel: engines.run(generated, module, "python", fuel) for fuel in (engines.PLENTY, some)}
    return GeneratedCase(generated, module, expected)


def source_of(module: ModuleType) -> Path:
    """The source of a module, which may have been compiled."""
    assert module.__file__
    path = Path(module.__file__)
    return path.with_name(path.name.split(".")[0] + ".py")


def sabotaged(sabotage: Sabotage) -> str:
    """The source of the sabotaged module. Raises `ValueError` unless there is exactly one such place."""
    source = source_of(_module(sabotage.module)).read_text()
    start, end = 0, len(source)
    if sabotage.function:
        # The last one of that name: methods come after functions.
        start = [each.start() for each in re.finditer(rf"^ *def {sabotage.function}\(", source, re.M)][-1]
        following = re.compile(r"^( *@| *def |class |[A-Z])", re.M).search(source, source.index("\n", start))
        end = following.start() if following else end
    piece = source[start:end]
    if piece.count(sabotage.old) != 1:
        raise ValueError(f"{sabotage}: {piece.count(sabotage.old)} places have this text")
    return source[:start] + piece.replace(sabotage.old, sabotage.new) + source[end:]


def apply(sabotage: Sabotage | None) -> None:
    """Have this process lower with the source as it is, or as it is sabotaged.

    Each form is checked, unless what makes it is as it was.
    """
    for name in MODULES:
        module = _module(name)
        path = source_of(module)
        hit = sabotage is not None and sabotage.module == name
        source = sabotaged(sabotage) if hit and sabotage is not None else path.read_text()
        exec(compile(source, str(path), "exec"), vars(module))
    build, select = vars(_module("ir.build")), vars(_module("native.select"))
    original = build["build"]

    def checked(context: Any, index: int, function: Any) -> Any:
        code = original(context, index, function)
        signature = context.funcs[index].composite
        assert isinstance(signature, FuncType)
        check(code, len(signature.params) + sum(count for count, _ in function.locals))
        return code

    if sabotage is None or sabotage.module.startswith("ir."):
        build["build"] = checked
    vars(native).update(lower=select["lower"], lower_constant=select["lower_constant"])
    bind = vars(_module("python.bind"))
    vars(python).update(bind=bind["bind"], bind_constant=bind["bind_constant"])


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"tinywasm.engine.{name}")


def found_by(cases: Sequence[Case | GeneratedCase], sabotage: Sabotage | None) -> str:
    """How a sabotage is found, in a process of its own: in words, or nothing if it is not."""
    words, status = words_of(lambda: _attempt(cases, sabotage))
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return words


def _attempt(cases: Sequence[Case | GeneratedCase], sabotage: Sabotage | None) -> str:
    # Beyond what the process that this one was forked from has.
    most = address_space() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    engine = "python" if sabotage is not None and sabotage.module == "python.bind" else "native"
    try:
        # Data that cannot be made of what is sabotaged is found as well.
        apply(sabotage)
        for case in cases:
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            different = case.difference(engine)
            if different:
                return different
    except Exception as error:
        # Whatever the lowering raises where it should not.
        return f"{type(error).__name__}: {error}"
    return ""


def main() -> int:
    """Try the sabotages that are named, or all; 1 if one is not found."""
    wanted = set(sys.argv[1:])
    chosen = [each for each in SABOTAGES if not wanted or each.name in wanted]
    if not chosen or len(chosen) < len(wanted):
        print(
            f"no such sabotage: {', '.join(sorted(wanted - {each.name for each in chosen}))}", file=sys.stderr
        )
        return 2
    modules = list(cases())
    wrong = found_by(modules, None)
    if wrong:
        print(f"without sabotage: {wrong}", file=sys.stderr)
        return 2
    survivors = 0
    for sabotage in chosen:
        start = time.perf_counter()
        found = found_by(modules, sabotage)
        survivors += not found
        how = " ".join(found.split())[:100] or "NOT FOUND"
        print(
            f"{sabotage.module:14} {sabotage.name:44} {time.perf_counter() - start:5.1f}s {how}", flush=True
        )
    print(f"{len(chosen)} sabotages, {survivors} not found")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
