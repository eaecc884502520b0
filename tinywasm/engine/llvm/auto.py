"""The tier "auto": functions that prove hot are compiled while the loop runs them.

The loop looks now and then whether a run shall end, and whichever function a look meets is warmer by one. So
what is not hot costs nothing. A hot function is compiled together with those that it calls, as far as they
have been called and are small, or warm themselves. From then on calls enter machine code, and so does whoever
runs it already, at a look at the head of the loop in which it was found hot.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form
from tinywasm.engine.llvm import INSTALL, background, codegen
from tinywasm.engine.native import _loop, processor
from tinywasm.engine.native.ahead import Compiled, MachineCode
from tinywasm.loading import loading, waited_for
from tinywasm.records import record
from tinywasm.syntax import DecodedModule
from tinywasm.validation import Context

if TYPE_CHECKING:
    from tinywasm.engine.llvm.kept_codes import KeptCodes

# How many looks meet a function until it is hot: some 10 milliseconds. And how many looks meet machine code
# that was made quickly until it is compiled with more effort.
HOT = 32
HOT_AGAIN = 512
# How many hot ones there have to be until LLVM is loaded, and until the first is compiled. Where no processor
# is free, LLVM takes the program's time, and the more of it, the fewer others there are to take it from: then
# nothing is compiled until there were so many, divided by the number of threads that want to run.
READY = 4
FIRST = 8
LATE = 150
# How many records a unit has at most, by the effort; and up to how many bytes of WebAssembly a callee is
# compiled with its callers even if it is not warm, or is compiled already.
UNIT_RECORDS = {codegen.QUICK: 6_000, codegen.LIGHT: 2_000}
SMALL_BYTES = 400
# How many records a function has at most all of which is compiled with more effort at once if a loop is hot.
LOOP_RECORDS = 400
# How many looks meet a function where it begins until its loops are worth no code of their own: it is called
# so often that calls will soon enter its code.
CALLED = 2
# In the middle of how many loops of a function machine code is entered at most.
MOST_LOOPS = 8
# The bytes of machine code in this process beyond which no more is made.
MOST_BYTES = 64 << 20
_CALL = form.NAMES.index("call")


def running() -> int:
    """How many threads run or want to, and this one with them, as far as the system tells."""
    try:
        # proc(5): behind three averages.
        with open("/proc/loadavg", "rb") as file:
            return int(file.read().split()[3].partition(b"/")[0])
    except (OSError, ValueError, IndexError):
        return 1


def processors() -> int:
    """How many may run this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def missing() -> str:
    """Why nothing can be compiled here, as far as that is seen without loading LLVM."""
    if find_spec("llvmlite") is None:
        return f"llvmlite is not there: {INSTALL}"
    return "" if "sse4.1" in processor.here() else "machine code is for x86-64 with SSE 4.1 only"


# Held while what compiles is loaded: a lock of its own, for which nobody waits but a fork.
_loading = waited_for(threading.RLock())


@record(frozen=True)
class Loop:
    """A loop of a function, by the word and by the block at which it begins."""

    index: int
    word: int
    block: int


class Auto(Compiled):
    """What is compiled of a module as it proves hot.

    `functions` is the code of the module, by what the backend knows it by; it enters what is compiled. What
    earlier processes have compiled is in the folder, if there is one.
    """

    def __init__(
        self,
        context: Context,
        syntax: DecodedModule,
        metered: bool,
        functions: dict[tuple[int, bool, str], _loop.NativeCode],
        folder: str,
    ) -> None:
        """Raises as `kept_folder.find`."""
        self.seconds: float = 0.0
        self._folder = _kept_codes(folder, context, metered) if folder else None
        found = self._folder.found() if self._folder else {codegen.QUICK: {}, codegen.LIGHT: {}}
        self.codes: dict[int, MachineCode] = found[codegen.QUICK] | found[codegen.LIGHT]
        self.size = sum(each.size for each in {code.holder for code in self.codes.values()})
        self.quick: set[int] = found[codegen.QUICK].keys() - found[codegen.LIGHT].keys()
        self.kept: set[int] = set(self.codes)
        self.declined: dict[int, str] = {}
        self.loops: dict[int, set[int]] = {}
        self._context = context
        self._syntax = syntax
        self._metered = metered
        self._functions = functions
        self._hot = 0
        # The sum of what `running` told, and how many have to be hot.
        self._running = 0
        self._first: float = FIRST

    def looks(self, index: int) -> int:
        """How many have to meet a function that has not run yet until it is hot."""
        return HOT_AGAIN if index in self.quick else HOT

    def heat(self, index: int, word: int | None) -> None:
        """A function has become hot, in a loop that begins at `word` or as a whole."""
        if self._begins() and self._wants(index, word):
            background.do(self.compile, (index, word), urgent=index not in self.quick)
        elif index not in self.declined:
            self._function(index).cool = HOT

    def _begins(self) -> bool:
        """Whether so many have been hot that it is time to compile."""
        self._hot += 1
        if self._hot <= READY:
            self._running += running()
        if self._hot == READY:
            mean = self._running / READY
            if mean < processors():
                background.do(self.prepare, None)
            else:
                self._first = max(FIRST, LATE / mean)
        return self._hot > self._first

    def prepare(self, _: None) -> None:
        """Have LLVM there when it is wanted."""
        with _loading:
            from tinywasm.engine.llvm import apart
        apart.start()

    def _wants(self, index: int, word: int | None) -> bool:
        if index in self.declined:
            return False
        return index not in self.codes or index in self.quick or self._is_new(index, word)

    def _is_new(self, index: int, word: int | None) -> bool:
        """Whether that is a loop which is to go on in machine code, and does not yet."""
        loops = self.loops.get(index, set())
        return word is not None and word not in loops and len(loops) < MOST_LOOPS

    def compile(self, hot: tuple[int, int | None]) -> None:
        """Compile what `heat` was told of, and what it calls, unless it is compiled or declined."""
        index, word = hot
        if not self._wants(index, word):
            return
        start = time.monotonic()
        try:
            self._compile(index, word)
            # What runs it may be in another loop.
            self._function(index).cool = self.looks(index)
        except Exception as error:
            # As before, the loop runs it.
            self.declined[index] = str(error) or type(error).__name__
        self.seconds += time.monotonic() - start

    def _compile(self, index: int, word: int | None) -> None:
        with _loading:
            from tinywasm.engine.llvm.emit import Declined
        if _loop.machine_bytes() > MOST_BYTES:
            raise Declined("enough machine code")
        code, loop = self._form(index), None
        often = index not in self.codes and self._function(index).begun >= CALLED
        if word is not None and self._is_new(index, word) and not often:
            self.loops.setdefault(index, set()).add(word)
            loop = self._loop_at(index, word)
        for part, effort in self._parts(index, code, loop):
            self.prepare(None)
            forms = self._unit(index, code, effort)
            entered = {each for each in forms if self._gains(each, effort)} if part is None else set()
            self._make(forms, entered, effort, part)

    def _parts(self, index: int, code: Form, loop: Loop | None) -> list[tuple[Loop | None, int]]:
        """What is compiled, one after the other, with how much effort: a loop, and the function as a whole.

        Nobody leaves machine code in the midst of a loop, so that there the first is as good as it can be.
        """
        records = len(code.code) // form.STRIDE
        best = codegen.LIGHT if records <= UNIT_RECORDS[codegen.LIGHT] else codegen.QUICK
        at_once = index in self.codes or (loop is not None and records <= LOOP_RECORDS)
        effort = best if at_once else codegen.QUICK
        parts: list[tuple[Loop | None, int]] = [(None, effort)] if self._gains(index, effort) else []
        if loop is not None:
            # What takes longer comes last.
            parts.insert(len(parts) if best > effort else 0, (loop, best))
        return parts

    def _make(self, forms: dict[int, Form], entered: set[int], effort: int, loop: Loop | None) -> None:
        """Compile these functions, and enter some of them, or one where a loop begins."""
        with _loading:
            from tinywasm.engine.llvm import apart
            from tinywasm.engine.llvm.emit import emit
            from tinywasm.engine.llvm.machine import assembling, loaded
        quick, place = effort == codegen.QUICK, None if loop is None else (loop.index, loop.block)
        unit = emit(self._context, self._syntax, forms, self._metered, entered, place, warms=quick)
        made = loaded(unit, forms, apart.object_code(unit.text(), effort))
        # A fork comes before this or after it.
        with assembling:
            for each in entered:
                self.codes[each] = made[f"f{each}"]
                (self.quick.add if quick else self.quick.discard)(each)
                self.kept.discard(each)
                self._function(each).enter(self.codes[each])
                self._function(each).cool = self.looks(each)
                if self._folder:
                    self._folder.add(each, self.codes[each], effort)
            if loop is not None:
                self._function(loop.index).enter_loop(loop.word, made[f"f{loop.index}.loop"])
            self.size += next(iter(made.values())).holder.size

    def _gains(self, index: int, effort: int) -> bool:
        """Whether a function has no code that is as good as code made with that effort."""
        return index not in self.codes or (effort > codegen.QUICK and index in self.quick)

    def _loop_at(self, index: int, word: int) -> Loop | None:
        """The loop that begins at a word; None where the code is not what is made of the body.

        So may kept code be: what it has in the slots, machine code would take for locals and operands.
        """
        with loading:
            from tinywasm.engine.native.select import blocks
        function = self._syntax.functions[index - self._context.imported_funcs]
        words, found = blocks(self._context, index, function, metered=self._metered)
        known = word in found and self._function(index).has_words(words)
        return Loop(index, word, found[word]) if known else None

    def _function(self, index: int) -> _loop.NativeCode:
        return self._functions[index, self._metered, "auto"]

    def _unit(self, index: int, code: Form, effort: int) -> dict[int, Form]:
        """The forms of a function, and of those that are compiled with it."""
        unit, records = {index: code}, len(code.code)
        waiting = deque(_callees(code))
        while waiting:
            each = waiting.popleft()
            callee = None if each in unit else self._callee(each, effort)
            if callee is None or records + len(callee.code) > UNIT_RECORDS[effort] * form.STRIDE:
                continue
            unit[each] = callee
            records += len(callee.code)
            waiting.extend(_callees(callee))
        return unit

    def _form(self, index: int) -> Form:
        """The form of a function. Raises `Declined`."""
        from tinywasm.engine.llvm.emit import Declined
        from tinywasm.engine.llvm.machine import form_of

        found = form_of(self._context, self._syntax, index)
        if found.slots != self._function(index).slots:
            raise Declined("kept code of another function")
        return found

    def _callee(self, index: int, effort: int) -> Form | None:
        """The form of a function that is called, where it is compiled with its caller."""
        from tinywasm.engine.llvm.emit import Declined

        if (index, self._metered, "auto") not in self._functions or index in self.declined:
            return None
        body = self._syntax.functions[index - self._context.imported_funcs].body
        warm = self._function(index).cool < self.looks(index) and self._gains(index, effort)
        if not warm and body.end - body.start > SMALL_BYTES:
            return None
        try:
            return self._form(index)
        except Declined as reason:
            self.declined[index] = str(reason)
            return None


def _kept_codes(folder: str, context: Context, metered: bool) -> KeptCodes:
    with loading:
        from tinywasm.engine.llvm.kept_codes import KeptCodes
    return KeptCodes(folder, context, metered)


def _callees(code: Form) -> Iterator[int]:
    return (record.immediate for record in code.records() if record.row == _CALL)
