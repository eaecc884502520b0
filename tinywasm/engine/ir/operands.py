# cython: boundscheck=False, wraparound=False, initializedcheck=False, annotation_typing=False, cdivision=True
"""The records of a form that is being built, and the operand stack of the walk: see `build`."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from types import FunctionType
from typing import Any

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import LOCAL, MAX_OPERANDS, MOVE, NOWHERE, STRIDE, WIDE
from tinywasm.errors import Trap, TrapCode
from tinywasm.types import V128, StorageType

_ONES = (1 << 64) - 1


def integers(values: Sequence[int], typecode: str = "q") -> Any:
    """An array where this is compiled, for machine code to look into; else a list: Python is quicker so."""
    return list(values) if _INTERPRETED else array(typecode, values)


_INTERPRETED = isinstance(integers, FunctionType)


def zeros(count: int, typecode: str = "q") -> Any:
    """Room for integers, kept in the same way."""
    return integers((0,), typecode) * count


def packed(room: Any, count: int) -> bytes:
    """The first integers that are kept so, of 64 bits each."""
    if not _INTERPRETED:  # pragma: no cover
        return memoryview(room)[:count].tobytes()
    return array("Q", [each & _ONES for each in room[:count]]).tobytes()


def doubled(room: Any) -> Any:
    """The integers that are kept so, with room for as many behind them."""
    if not _INTERPRETED:  # pragma: no cover
        view = memoryview(room)
        return array(view.format, 2 * view.tobytes())
    return room * 2


def widths(types: Sequence[StorageType]) -> tuple[int, ...]:
    """How many heights each type takes."""
    return tuple(2 if type is V128 else 1 for type in types) if V128 in types else (1,) * len(types)


def too_large(name: str, limit: int, what: str) -> Trap:
    """What to raise for a function that no engine holds, of so many of `what`."""
    return Trap(
        TrapCode.ALLOCATION_TOO_LARGE,
        f"{TrapCode.ALLOCATION_TOO_LARGE.value}: {name} has more than {limit:,} {what},"
        " the most that an engine holds",
    )


class Operands:
    """Records so far, and where the operands are that the instructions so far have left.

    `code` has `size` integers. `places` has each operand at the height that it reaches up to.
    """

    __slots__ = (
        "code", "height", "highest", "lists", "made", "name", "own", "places", "position", "rows", "settled",
        "singly", "size",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        """For what errors call by that name."""
        self.name = name
        self.code = zeros(0 if _INTERPRETED else 64 * STRIDE)
        self.size = 0
        self.lists: list[int] = []
        # Where places in rows begin in `lists`, and how many heights the operands take, by what has such.
        self.rows: dict[Any, tuple[int, int]] = {}
        self.position = 0
        # The size when the last record made an operand: it may have another place for its result while there
        # are no more.
        self.made = -1
        self.places = zeros(64)
        self.height = 0
        self.highest = 0
        # No operand up to this height stands for a local.
        self.settled = 0
        # Of the operands that belong to the innermost label, each up to this height is in its own temporary.
        # Never more than `settled`, nor less than where they begin.
        self.own = 0
        self.singly = form.SINGLY

    def records(self) -> Sequence[int]:
        """The records without the room behind them."""
        found: Sequence[int] = self.code if _INTERPRETED else memoryview(self.code)[: self.size]
        return found

    def emit(self, row: int, result: int, a: int, b: int, c: int, immediate: int, second: int) -> None:
        if not _INTERPRETED:  # pragma: no cover
            start = self.size
            self.size = start + STRIDE
            if self.size > len(self.code):
                self.code = doubled(self.code)
            code = self.code
            code[start] = row
            code[start + 1] = self.position
            code[start + 2] = self.height
            code[start + 3] = result
            code[start + 4] = a
            code[start + 5] = b
            code[start + 6] = c
            code[start + 7] = immediate
            code[start + 8] = second
            return
        # One tuple is what Python is quickest with.
        self.code += (row, self.position, self.height, result, a, b, c, immediate, second)
        self.size += STRIDE

    def withdraw(self, place: int) -> tuple[Any, ...]:
        """Take back the record that made the operand which was just taken, if it is the last one.

        It may be given again behind moves of what stands below: they write temporaries that it does not
        read, and it writes no local.
        """
        start = self.size - STRIDE
        if self.made != self.size or self.code[start + 3] != place:
            return ()
        self.size = start
        self.position = self.code[start + 1]
        code: Any = self.code
        record = tuple(code[start : start + STRIDE])
        if _INTERPRETED:  # pragma: no branch
            del code[start:]
        return (record[0], *record[3:])

    def push(self, place: int) -> None:
        height = self.height + 1 + (place >> 2 & 1)
        if height > self.highest:
            self.reach(height)
        self.places[height - 1] = place
        self.height = height

    def reach(self, height: int) -> None:
        """There are operands up to here, and were not so far."""
        self.highest = height
        if height > MAX_OPERANDS:
            raise too_large(self.name, MAX_OPERANDS, "operands at the same time")
        if height > len(self.places):
            self.places = doubled(self.places)

    def push_result(self, width: int) -> int:
        """A new operand in a temporary of its own; its place."""
        place = self.height << 3 | (width == 2) << 2
        self.push(place)
        return place

    def pop(self) -> int:
        """The place of the topmost operand, which is taken."""
        height = self.height - 1
        place: int = self.places[height]
        if place & WIDE:
            height -= 1
        self.height = height
        if self.settled > height:
            self.unsettle()
        return place

    def unsettle(self) -> None:
        """What was known of operands that are not there any more is not known of those that follow."""
        self.settled = self.height
        if self.own > self.height:
            self.own = self.height

    def cut(self, height: int) -> None:
        """Take what lies above a height."""
        self.height = height
        if self.settled > height:
            self.unsettle()

    def settle(self, height: int) -> int:
        """Move the operand that reaches up to a height to its temporary; where that is."""
        place: int = self.places[height - 1]
        height -= 1 + (place >> 2 & 1)
        if place & 3:
            target = height << 3 | (place & WIDE)
            self.places[height + (place >> 2 & 1)] = target
            self.emit(MOVE, target, place, 0, 0, 0, 0)
        return height

    def settle_top(self, count: int) -> None:
        if count > self.singly:
            self.settle_row()
            return
        height = self.height
        for _ in range(count):
            height = self.settle(height)

    def settle_row(self) -> None:
        """Move all operands of the innermost label to their own temporaries. Each is looked at once."""
        height = self.height
        while height > self.own:
            height = self.settle(height)
        self.own = self.settled = self.height

    def push_row(self, widths: tuple[int, ...]) -> None:
        """New operands of these widths in temporaries of their own."""
        for width in widths:
            self.push_result(width)
        # As all were that lie below: see `Builder.open`.
        self.own = self.settled = self.height

    def settle_locals(self, which: int) -> None:
        """Move what stands for a local, or for any if it is `NOWHERE`.

        A constant is the same wherever the code goes from here.
        """
        height = self.height
        while height > self.settled:
            place = self.places[height - 1]
            if place == which or (which == NOWHERE and place & 3 == LOCAL):
                self.settle(height)
            height -= 1 + (place >> 2 & 1)
        if which == NOWHERE:
            self.settled = self.height

    def assign(self, target: int) -> None:
        """Take an operand into a local; operands that stand for its old value are moved first."""
        place = self.pop()
        if self.height > self.settled:
            # Where there is much to look through, all are moved: then it is looked through once.
            self.settle_locals(target if self.height - self.settled <= form.UNSETTLED else NOWHERE)
        if self.made == self.size and self.code[self.size - STRIDE + 3] == place:
            self.code[self.size - STRIDE + 3] = target
            self.made = -1
        elif place != target:
            self.emit(MOVE, target, place, 0, 0, 0, 0)

    def take(self, count: int) -> int:
        """Take operands into `lists`, in order; where they begin there."""
        places = []
        for _ in range(count):
            places.append(self.pop())
        places.reverse()
        self.lists += places
        return len(self.lists) - count

    def take_row(self, extent: int) -> None:
        """Take the operands of so many heights, in their own temporaries."""
        self.settle_row()
        self.cut(self.height - extent)

    def list_row(self, key: Any, taken: tuple[int, ...], left: tuple[int, ...] = ()) -> tuple[int, int]:
        """Put into `lists` the places of operands and results of these widths, in rows that begin at 0."""
        found = self.rows[key] = len(self.lists), sum(taken)
        for row in (taken, left):
            height = 0
            for width in row:
                self.lists.append(height << 3 | (width == 2) << 2)
                height += width
        return found
