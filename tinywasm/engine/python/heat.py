"""When a function is hot, so that a Python function of it is worth its price: see `entering`."""

from __future__ import annotations

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form

# So many calls and turns of loops make a function hot; after as many turns more a loop is entered.
HOT = 100
# One that cannot be entered is asked again after as many; where none is to be hot, they never are.
LATER = 200
NEVER = 1 << 60
# For each so many integers of its records, it takes as many again. Translating a record takes the time of
# some 150 steps, and a turn of a large function runs few of its steps.
_MANY = 50 * form.STRIDE
# A turn runs about so many blocks of a loop at the most, and counts once for each so many of their steps.
_BLOCKS, _STEPS = 8, 32


def calls(code: Form) -> int:
    """How often a function may be called before it is hot."""
    return HOT * max(1, len(code.code) // _MANY)


def share(steps: int, blocks: int) -> int:
    """For how many calls a turn counts of a loop that has so many steps in so many blocks."""
    return max(1, steps * min(blocks, _BLOCKS) // (blocks * _STEPS))
