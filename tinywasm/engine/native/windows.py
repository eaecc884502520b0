"""Lowering of bodies whose operands need more slots than the 16-bit fields of a word can name.

Code sees the operands of such a frame through windows. In a window the frame pointer lies `base` slots
higher than in the first, and all slots count from there: those of locals, now negative, are far, and
operands below the window are out of sight. Where the operands outgrow a window a new one begins a few
operands below the top; an instruction that takes operands from below its window first goes back to an
earlier one. `wide_shift` moves the frame pointer. Every label belongs to the window in which it was
opened, and branches move their values and the frame pointer there.

Whatever is out of sight lies in its home slot. Few bodies ever come here, so it is enough that the words
are right: `lower` knows nothing of all this but that labels have a base.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinywasm.code import Cast
from tinywasm.engine.lower import MAX_OPERANDS
from tinywasm.engine.native.lower import (
    _LOWER,
    CONST,
    CONST128,
    Label,
    NativeCode,
    Operand,
    _Builder,
    _Locals,
    _Lower,
)
from tinywasm.errors import StackExhausted
from tinywasm.instructions import TABLE, Instruction, Role
from tinywasm.module import Expr
from tinywasm.types import DefinedType, FuncType, StructType, ValType
from tinywasm.validation import Context

# With so many slots in use a new window begins. An instruction adds some 2,000 at most.
FULL = 50_000
# So many of the topmost operands come along into a new window, or as many as the next instruction takes.
KEPT = 16
# No instruction but the constructors of aggregates takes more operands than this from a row.
_LONGEST_ROW = 2_000


@dataclass(frozen=True, slots=True)
class Window:
    """A window `base` slots above the first one; it sees the operands from number `first` on."""

    base: int
    first: int


class _MovedLocals(_Locals):
    """The locals as they are seen from a window."""

    base = 0

    def __getitem__(self, index: int) -> tuple[int, int]:
        slot, each = super().__getitem__(index)
        return slot - self.base, each

    def move(self, slots: int) -> None:
        self.base += slots
        # What lies before the frame pointer, as a return has to know it.
        self.far += slots


class WindowBuilder(_Builder):
    """Lowers one body through windows. The home of an operand counts from the window that sees it."""

    def __init__(
        self,
        context: Context,
        signature: FuncType,
        locals: Sequence[tuple[int, ValType]],
        metered: bool,
        profiled: bool,
    ) -> None:
        super().__init__(context, signature, locals, metered, profiled)
        self.locals = self.seen = _MovedLocals(signature.params, locals)
        self.windows = [Window(0, 0)]
        self.highest = 0
        self.shifts: list[tuple[int, int]] = []

    def build(self, body: Expr) -> NativeCode:
        code = super().build(body)
        code.frame_slots += self.highest
        code.windows = self.shifts
        return code

    def lowerings(self) -> Sequence[_Lower]:
        return _THROUGH_WINDOWS

    def count(self) -> None:
        if len(self.stack) > MAX_OPERANDS:
            raise StackExhausted
        super().count()

    def overflow(self) -> None:
        """A row of operands may reach far above its window: words name its first slot only."""

    # Moving between windows

    @property
    def base(self) -> int:
        return self.windows[-1].base

    def reach(self, count: int) -> None:
        """Have the `count` topmost operands in the window, and room above them."""
        first = max(len(self.stack) - count, self.labels[-1].depth)
        if first < self.windows[-1].first:
            self.go_back(
                next(n for n in reversed(range(len(self.windows))) if self.windows[n].first <= first)
            )
        if self.top > FULL and count <= _LONGEST_ROW:
            self.go_on(max(count, KEPT))

    def go_on(self, count: int) -> None:
        """Begin a window that sees the `count` topmost operands, as far as this one does."""
        self.settle_all()
        first = max(len(self.stack) - count, self.windows[-1].first)
        slots = self.stack[first].home if first < len(self.stack) else self.top
        if slots:
            self.rebase(first, len(self.stack), -slots)
            self.windows.append(Window(self.base + slots, first))
            self.shift(slots)

    def go_back(self, number: int) -> None:
        """Back into window `number`."""
        if not self.dead:
            self.settle_all()
        before, base, end = self.base, self.windows[number].base, len(self.stack)
        while len(self.windows) > number + 1:
            window = self.windows.pop()
            self.rebase(window.first, end, window.base - base)
            end = window.first
        self.shift(base - before)

    def rebase(self, first: int, end: int, slots: int) -> None:
        """The operands from `first` up to `end`, all in their homes, lie so many slots higher."""
        for operand in self.stack[first:end]:
            operand.home += slots
            operand.value = operand.home

    def shift(self, slots: int) -> None:
        """Move the frame pointer; no code is retargeted across that."""
        if not self.dead:
            self.emit("wide_shift", imm=slots)
        self.top -= slots
        self.seen.move(slots)
        self.first_operand = max(0, self.seen.near - self.base)
        self.max_top = max(self.max_top, self.top)
        self.highest = max(self.highest, self.base)
        self.barrier = len(self.words)
        self.shifts.append((len(self.words), self.base))

    def come_to(self, label: Label) -> None:
        """Back into the window of the innermost label, at its end."""
        if self.dead:
            self.cut(label.depth)
        if label.base != self.base:
            self.go_back(next(n for n, window in enumerate(self.windows) if window.base == label.base))

    # Branches

    def in_place(self, label: Label) -> bool:
        return label.base == self.base and super().in_place(label)

    def carry(self, label: Label) -> None:
        if label.base == self.base:
            super().carry(label)
            return
        below = label.base - self.base
        slot = label.height + below
        for operand in self.stack[len(self.stack) - len(label.branch) :]:
            self.emit("wide_set", self.readable(operand), c=operand.width, imm=slot)
            slot += operand.width
        self.emit("wide_shift", imm=below)

    def readable(self, operand: Operand) -> int:
        """A slot that holds the operand's value; the operand stays as virtual as it was."""
        if operand.kind not in (CONST, CONST128):
            slot: int = operand.value
            return slot
        self.move_to(operand, operand.home)
        return operand.home


def _params(type: DefinedType) -> int:
    assert isinstance(type.composite, FuncType)
    return len(type.composite.params)


def _fields(b: WindowBuilder, imm: tuple[Any, ...]) -> int:
    composite = b.context.types[imm[0]].composite
    assert isinstance(composite, StructType)
    return len(composite.fields)


def _carried(b: WindowBuilder, imm: tuple[Any, ...]) -> int:
    """What a branch takes along; all labels of a table take as much as its last."""
    target = imm[0]
    depth = target if isinstance(target, int) else target.label if isinstance(target, Cast) else target[1]
    return len(b.labels[-1 - depth].branch)


# How many operands stand for what a row repeats.
_REPEATED: dict[str, Callable[[WindowBuilder, Any], int]] = {
    "block": lambda b, imm: len(b.block_widths(imm[0])[0]),
    "label": _carried,
    "result": lambda b, imm: len(b.results),
    "func": lambda b, imm: _params(b.context.funcs[imm[0]]),
    "type": lambda b, imm: _params(b.context.types[imm[0]]),
    "tag": lambda b, imm: _params(b.context.tags[imm[0]]),
    "field": _fields,
    "count": lambda b, imm: int(imm[1]),
}


def _through_windows(row: Instruction, lower: _Lower) -> _Lower:
    takes = row.takes

    def lower_in_reach(b: Any, row: Instruction, imm: tuple[Any, ...]) -> None:
        b.reach(takes.fixed + (_REPEATED[takes.repeated](b, imm) if takes.repeated else 0))
        lower(b, row, imm)

    def lower_opener(b: Any, row: Instruction, imm: tuple[Any, ...]) -> None:
        lower_in_reach(b, row, imm)
        b.labels[-1].base = b.base

    def lower_end(b: Any, row: Instruction, imm: tuple[Any, ...]) -> None:
        b.come_to(b.labels[-1])
        lower(b, row, imm)

    if row.role in (Role.CLOSES, Role.DIVIDES):
        return lower_end
    return lower_opener if row.role is Role.OPENS else lower_in_reach


_THROUGH_WINDOWS: list[_Lower] = [
    _through_windows(row, lower) for row, lower in zip(TABLE, _LOWER, strict=True)
]
