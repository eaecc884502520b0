"""What of the native engine the modules of `generator_shapes` reach: words, and branches of the lowering.

    python -m fuzz.reach

prints what they do not. A word counts where it is run: another one is put into its place, which traps, and
the trap is seen there. That takes no more than what words look like. Branches are those of the files that
lower, as the `coverage` package counts them.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from fuzz.generator_shapes import FUNCTIONS, Shapes, generate
from fuzz.limits import ROOT
from fuzz.shape_bodies import SUBJECTS, Subject
from fuzz.shape_runs import Run, Way, check, load, ways
from tinywasm.engine.native import backend
from tinywasm.engine.native.opcodes import OPCODES, PAIRED
from tinywasm.errors import TrapCode
from tinywasm.module import Module

# All subjects, and memories far away; then what has not come up.
SEEDS = [49, *range(1 + len(SUBJECTS) // FUNCTIONS)]
ROUNDS = 12
_ENGINE = "tinywasm/engine"
_LOWERING = ",".join(
    f"{_ENGINE}/{name}.py"
    for name in (
        "python/bind",
        "ir/build",
        "ir/operands",
        "ir/rare",
        "native/frame",
        "native/rare",
        "native/select",
    )
)
# Coverage sees the lines of sources.
_RUN = ("fuzz.uncompiled", "fuzz.reach", "run")
_SUBJECT: dict[str, Subject] = {
    each if isinstance(each, str) else each.operator or each.name.replace(".", "_"): each for each in SUBJECTS
}
# Ends the names of accesses to memories far away.
_FAR = "__x"
# Words behind these are data.
_WITH_DATA = {OPCODES["const128"], OPCODES["i8x16_shuffle"]}
# Pairs do what the next word says as well; a frame is left for a return.
_BINDING = {both for forms in PAIRED.values() for _, both in forms} | {OPCODES["wide_leave"]}
_UNREACHABLE = OPCODES["unreachable"]
_WORD = 16
_TRAP = struct.pack("<H14x", _UNREACHABLE)

Look = Callable[[int, Any], None]


@contextmanager
def looking(look: Look) -> Iterator[None]:
    """While it lasts, `look` is given the index of each function that is lowered, and its code."""
    lower = vars(backend)["lower"]

    def looked(context: Any, index: int, *args: Any, **options: Any) -> Any:
        code = lower(context, index, *args, **options)
        look(index, code)
        return code

    with patch.object(backend, "lower", looked):
        yield


def opcodes(words: bytes) -> list[tuple[int, int]]:
    """The words of a function that a trap may stand for: number of the word, and opcode.

    Not for data, nor behind words that say what the next one is: the verifier would refuse that.
    """
    found, data, bound = [], False, False
    for number, (opcode,) in enumerate(struct.iter_unpack("<H14x", words)):
        if not data and not bound:
            found.append((number, opcode))
        data, bound = not data and opcode in _WITH_DATA, not data and opcode in _BINDING
    return found


class Reach:
    """Which words have been seen to run so far."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    @property
    def missing(self) -> list[str]:
        return [name for name, number in OPCODES.items() if number not in self.seen]

    def add(self, shapes: Shapes, module: Module, way: Way) -> None:
        """Run a module in some way, and again with traps in place of words that were not seen to run yet."""
        found: dict[int, list[tuple[int, int]]] = {}

        def look(index: int, code: Any) -> None:
            if index >= shapes.first:
                found[index] = [word for word in opcodes(code.words) if word[1] not in self.seen]

        with looking(look):
            outcomes = list(Run(shapes, module, way).outcomes())
        if any(outcome[:2] == ("trap", TrapCode.UNREACHABLE) for outcome in outcomes):
            self.seen.add(_UNREACHABLE)
        # Not every word that is there is run: a few attempts each.
        for _ in range(3):
            self._try(shapes, module, way, found)

    def _try(self, shapes: Shapes, module: Module, way: Way, found: dict[int, list[tuple[int, int]]]) -> None:
        """Put a trap into each function, for an opcode that has none in another."""
        taken = set(self.seen)
        traps: dict[int, tuple[int, int]] = {}
        for index, words in found.items():
            chosen = next((word for word in words if word[1] not in taken), None)
            if chosen is not None:
                words.remove(chosen)
                taken.add(chosen[1])
                traps[index] = chosen
        if not traps:
            return
        places: dict[int, int] = {}

        def put(index: int, code: Any) -> None:
            if index in traps:
                number, at = traps[index][0], traps[index][0] * _WORD
                places[index] = code.positions[number]
                # To the end: the verifier refuses words that have lost what came before them.
                code.words = code.words[:at] + _TRAP * (len(code.words) // _WORD - number)

        with looking(put):
            outcomes = list(Run(shapes, module, way).outcomes([index - shapes.first for index in traps]))
        for outcome in outcomes:
            if outcome[:2] == ("trap", TrapCode.UNREACHABLE):
                frame = outcome[3][0]
                if frame.module_offset == places.get(frame.func_index):
                    self.seen.add(traps[frame.func_index][1])


def missing_words() -> list[str]:
    """Run modules until every word was seen to run; those that were not."""
    reach = Reach()
    for seed in range(len(SEEDS) + ROUNDS):
        if seed < len(SEEDS):
            shapes = generate(SEEDS[seed])
        elif reach.missing:
            about = [_SUBJECT.get(name) or _SUBJECT.get(name.removesuffix(_FAR)) for name in reach.missing]
            far = any(name.endswith(_FAR) for name in reach.missing)
            shapes = generate(seed, subjects=[each for each in about if each is not None], far=far)
        else:
            break
        module = load(shapes)
        for way in ways(shapes.seed):
            if way.engine == "native":
                reach.add(shapes, module, way)
    return reach.missing


def missing_branches() -> list[str]:
    """Lines of the lowering that the first modules do not reach, and branches, which are never taken."""
    with TemporaryDirectory() as folder:
        data, report = f"{folder}/data", Path(folder) / "report"
        # In a process of its own, where nothing is imported before coverage is measured.
        options = ["--rcfile=", f"--data-file={data}"]
        _coverage("run", *options, "--branch", f"--include={_LOWERING}", "-m", *_RUN)
        _coverage("json", *options, "-q", f"--include={_LOWERING}", "-o", str(report))
        return _unreached(json.loads(report.read_text()))


def run() -> None:
    """Run the first modules, each in all ways."""
    for seed in SEEDS:
        check(seed)


def _coverage(command: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "coverage", command, *arguments], cwd=ROOT, check=True)


def _unreached(report: Any) -> list[str]:
    """Lines that were not run, and ends of branches that were; by their text, which is more lasting than
    numbers."""
    found = []
    for name, measured in report["files"].items():
        lines = ["", *map(str.strip, (ROOT / name).read_text().splitlines())]
        missing = measured["missing_lines"]
        found += [f"{name}: {lines[line]}" for line in missing]
        for line, target in measured["missing_branches"]:
            if target not in missing:
                end = lines[target] if target > 0 else "the end"
                found.append(f"{name}: {lines[line]} -> {end}")
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["run"]:
        run()
    else:
        print("\n".join([*missing_words(), *missing_branches()]))
