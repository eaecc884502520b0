"""Machine code for generated modules, sooner and of fewer functions than the tiers make it.

A mixture has some functions of a module compiled, and one of them from a loop of it on; the native engine's
loop runs the others. Calls and loops come to enter machine code at random looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib.util import find_spec
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from fuzz.hot import looking_after
from tinywasm.engine import native_available
from tinywasm.errors import InternalError
from tinywasm.module import Module
from tinywasm.syntax import DecodedModule
from tinywasm.validation import Context

if TYPE_CHECKING:
    from tinywasm.engine.llvm.unit import Unit

compiles = native_available and find_spec("llvmlite") is not None

_NOWHERE = -1


@contextmanager
def compiled_with(effort: str) -> Iterator[None]:
    """While it lasts, LLVM works with "QUICK", "LIGHT" or "FULL" effort."""
    from tinywasm.engine.llvm import codegen, machine

    with patch.object(machine, "effort_for", lambda records: getattr(codegen, effort)):
        yield


class Mixture:
    """What is compiled of one module: as many functions as are `likely`. Its instances may be many, one after
    the other."""

    def __init__(self, seed: int, likely: float | None = None) -> None:
        self.rng = Random(f"mixture {seed}")
        self._likely = likely or self.rng.choice((0.2, 0.4, 0.8))
        self._made: dict[bool, _Made] = {}

    def begin(self, module: Module, metered: bool) -> None:
        """From now on, calls enter what is compiled of the module, on the tier "compiled"."""
        from tinywasm.engine.native import kept

        made = self._of(module.context, module.syntax, metered)
        kept.shared(module.context).machine[metered, "compiled"] = made

    @contextmanager
    def entered(self) -> Iterator[None]:
        """While it lasts, functions that are made ready on the tier "auto" are compiled or not as it says."""
        from tinywasm.engine.llvm import auto

        looks, words = self.rng.choice((1, 1, 1, 2)), self.rng.choice((1, 1, 1, 10))
        with (
            looking_after(words),
            patch.object(auto, "HOT", looks),
            patch.object(auto, "Auto", self._entering),
        ):
            yield

    def _entering(
        self, context: Context, syntax: DecodedModule, metered: bool, functions: Any, folder: str
    ) -> _Entering:
        return _Entering(self._of(context, syntax, metered), self.rng, metered, functions)

    def _of(self, context: Context, syntax: DecodedModule, metered: bool) -> _Made:
        if metered not in self._made:
            self._made[metered] = _Made(self.rng, self._likely, context, syntax, metered)
        return self._made[metered]


class _Made:
    """One unit of functions, some of which can be entered, and its code by the names of its entries."""

    def __init__(
        self, rng: Random, likely: float, context: Context, syntax: DecodedModule, metered: bool
    ) -> None:
        from tinywasm.engine.llvm.analysis import loop_costs
        from tinywasm.engine.llvm.emit import Declined
        from tinywasm.engine.llvm.machine import form_of

        self.context, self.syntax, self.metered = context, syntax, metered
        self.forms = {}
        self.declined: dict[int, str] = {}
        for index in range(context.imported_funcs, len(context.funcs)):
            if rng.random() < likely:
                try:
                    self.forms[index] = form_of(context, syntax, index)
                except Declined as reason:
                    self.declined[index] = str(reason)
        # The loop's function comes to be entered at calls only where it is called within the unit.
        self.entered = {index for index in self.forms if rng.random() < 0.8}
        loops = [(index, block) for index, form in self.forms.items() for block in loop_costs(form)]
        self.loop = rng.choice(loops) if loops else None
        self.word = _NOWHERE

    def code(self, index: int) -> Any:
        """The machine code of a function as a whole, where it can be entered."""
        return self.named.get(f"f{index}")

    @cached_property
    def named(self) -> dict[str, Any]:
        """By the names of the unit's entries."""
        from tinywasm.engine.llvm.machine import compiled

        unit = self._unit()
        return compiled(unit, self.forms) if unit.entries else {}

    def _unit(self) -> Unit:
        from tinywasm.engine.llvm.emit import emit

        if self.loop is not None:
            self.word = self._word(*self.loop)
            # Nothing may lead to a loop, where it is in code that is dead.
            with suppress(InternalError):
                others = self.entered - {self.loop[0]}
                return emit(self.context, self.syntax, self.forms, self.metered, others, self.loop)
        return emit(self.context, self.syntax, self.forms, self.metered, self.entered)

    def _word(self, index: int, block: int) -> int:
        """At which word a block begins."""
        from tinywasm.engine.native.select import blocks

        function = self.syntax.functions[index - self.context.imported_funcs]
        words = blocks(self.context, index, function, metered=self.metered)[1]
        # Another one may begin at the same word.
        return next((word for word, begins in words.items() if begins == block), _NOWHERE)


class _Entering:
    """In place of `Auto`: machine code that is made already is entered at random looks."""

    def __init__(self, made: _Made, rng: Random, metered: bool, functions: Any) -> None:
        self.codes: dict[int, Any] = {}
        self.loops: dict[int, set[int]] = {}
        self.declined = made.declined
        self._made, self._rng, self._metered, self._functions = made, rng, metered, functions
        self._likely = rng.choice((0.3, 1, 1))

    def looks(self, index: int) -> int:
        """How many have to meet a function until it is hot."""
        from tinywasm.engine.llvm import auto

        return auto.HOT

    def heat(self, index: int, word: int | None) -> None:
        """A function has become hot, in a loop that begins at `word` or as a whole."""
        made, rng = self._made, self._rng
        function = self._functions[index, self._metered, "auto"]
        function.cool = rng.randrange(1, 6)
        if rng.random() > self._likely:
            return
        code, loop = made.code(index), made.named.get(f"f{index}.loop")
        if code is not None and index not in self.codes:
            self.codes[index] = code
            enter(function, code)
        if loop is not None and index not in self.loops and made.word != _NOWHERE:
            self.loops[index] = {made.word}
            enter_loop(function, made.word, loop)


def enter(function: Any, code: Any) -> None:
    function.enter(code)


def enter_loop(function: Any, word: int, code: Any) -> None:
    function.enter_loop(word, code)
