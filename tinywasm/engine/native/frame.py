"""Where things lie in a frame of the native engine, and the code that lies beside it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from tinywasm.engine.ir.operands import widths
from tinywasm.records import field, record
from tinywasm.types import V128, ValType

# What the 16 bits of a word's fields reach, with some room for what an instruction needs beside its operands.
MAX_SLOTS = 60_000
# Parameters and near locals take at most so many slots, which leaves the other half to operands.
NEAR_SLOTS = 30_000
# Windows begin at multiples of this; an instruction's operands begin one to two of it above the base.
WINDOW = 16_384
# How far above the base a row of operands is written before the base follows.
REACH = 0xFF00
# Scratch slots begin so far above the lowest operand of an instruction, of which none has more outside a row.
SCRATCH = 12
# The scratch slot that no operand of a word which is taken along can have: those have the first three, of an
# instruction that begins at most four slots higher.
LATER = 5
# What a frame has above its operands: scratch slots, and what the loop itself writes there.
ABOVE = 32
# As the memory of an access: the word before has its index.
FAR_MEMORY = (1 << 16) - 1


@record()
class RegisterCode:
    """Register code of one function.

    `words` are 16-byte instructions; `positions` has one module offset a word. `frame_slots` are those of
    locals and operands, `near_slots` those without far locals. `zeros` is the number of slots of locals
    behind the parameters that a call clears; with far locals the code does that itself. A handler is
    [first word, word behind the last, [[tag or -1, with reference, target word, height slot, the target's
    base], ...]], innermost first. `windows` are the places where the base changes, (word, base).
    """

    words: bytes
    positions: Sequence[int]
    frame_slots: int
    near_slots: int
    param_slots: int
    zeros: int
    result_slots: int
    handlers: list[list[Any]]
    windows: list[tuple[int, int]] = field(default_factory=list)


class Locals:
    """Where a function's locals lie: the slot of each, run by run as they are declared.

    Far ones have negative slots, counted from where the parameters lie while the function runs.
    """

    def __init__(self, params: Sequence[ValType], declared: Sequence[tuple[int, ValType]]) -> None:
        self.param_slots = sum(widths(params))
        near, far, index = 0, 0, 0
        runs: list[tuple[int, int, int, bool]] = []
        for number, (count, type) in enumerate([*((1, param) for param in params), *declared]):
            each = 2 if type is V128 else 1
            fitting = count if number < len(params) else min(count, max(0, NEAR_SLOTS - near) // each)
            if fitting:
                runs.append((index, near, each, False))
            if fitting < count:
                runs.append((index + fitting, far, each, True))
            near += fitting * each
            far += (count - fitting) * each
            index += count
        self.near = near
        self.far = far
        self.first = [first for first, _, _, _ in runs]
        self.runs = [(first, slot - far if is_far else slot, each) for first, slot, each, is_far in runs]
        # Most functions have few locals, of one slot each: then a local's slot is its number.
        self.plain = not far and near == index

    def slot(self, index: int) -> int:
        first, slot, each = self.runs[bisect_right(self.first, index) - 1]
        return slot + (index - first) * each
