"""What holds of every function in the intermediate form. For tests: it is slow, and trusts nothing.

Along every path, a temporary is read only where it was made before, as wide as it was made, and after
that it is gone, but for what a branch or a check looks at only. Places, blocks, regions and entries of
lists are there.
"""

from __future__ import annotations

from collections.abc import Iterator

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, Record, operands, results
from tinywasm.instructions import TABLE, Role

# What is there: for each temporary whether it is wide.
State = dict[int, bool]

_LOOKING = {
    form.BRANCH_NULL,
    form.BRANCH_NON_NULL,
    form.BRANCH_CAST,
    form.BRANCH_CAST_FAIL,
    *(row.ordinal for row in TABLE if row.name in ("ref.as_non_null", "ref.cast")),
}
_CONDITIONAL = range(form.BRANCH_IF, form.BRANCH_TABLE)
_ENDS = {form.JUMP, form.BRANCH_TABLE, form.RETURN, *(r.ordinal for r in TABLE if r.role is Role.LEAVES)}


class Fault(Exception):
    """The form of a function breaks a rule; the message has the record."""


def check(code: Form, locals: int) -> None:
    """Check the form of a function with so many locals. Raises `Fault`."""
    _Checker(code, locals).run()


class _Checker:
    def __init__(self, code: Form, locals: int) -> None:
        self.code = code
        self.locals = locals
        self.states: dict[int, State] = {}
        self.starts: dict[int, int] = {}
        self.records = list(code.records())

    def run(self) -> None:
        for index, record in enumerate(self.records):
            if not 0 <= record.row < len(form.NAMES):
                raise Fault(f"{record.position:#x}: there is no row {record.row}")
            if record.row == form.BLOCK:
                self.need(record.immediate not in self.starts, record, "begins twice")
                self.need(-1 <= record.a < len(self.code.regions), record, "is in no region that there is")
                self.starts[record.immediate] = index
        first = self.records[0]
        self.need(first.row == form.BLOCK, first, "is not the beginning of a block")
        waiting = [first.immediate]
        self.states[first.immediate] = {}
        while waiting:
            for block, state in self.walk(waiting.pop()):
                known = self.states.get(block)
                record = self.records[self.starts[block]]
                # What lies above the block's operands is left over, and so may be what lies below: an operand
                # that was dropped, whose place a constant has taken.
                both = {
                    number: wide
                    for number, wide in state.items()
                    if number < record.base and (known is None or known.get(number) == wide)
                }
                if both != known:
                    self.states[block] = both
                    waiting.append(block)

    def need(self, holds: bool, record: Record, message: str) -> None:
        if not holds:
            raise Fault(f"{record.position:#x}: {form.NAMES[record.row]} {message}")

    def walk(self, block: int) -> Iterator[tuple[int, State]]:
        """Where the block leads, with what is there then."""
        state = dict(self.states[block])
        start = self.starts[block]
        yield from self.caught(self.records[start], state)
        for record in self.records[start + 1 :]:
            if record.row == form.BLOCK:
                yield record.immediate, state
                return
            if record.row == form.MOVE_ROW:
                state = self.move_row(record, state)
                continue
            self.read(record, state)
            for place in results(self.code, record):
                self.write(record, place, state)
            if record.row in _CONDITIONAL or record.row == form.JUMP:
                yield self.target(record, record.immediate), dict(state)
            elif record.row == form.BRANCH_TABLE:
                for target in self.code.lists[record.immediate : record.immediate + record.second]:
                    yield self.target(record, target), dict(state)
            if record.row in _ENDS:
                return
        self.need(False, self.records[-1], "is not the end of a block")

    def caught(self, record: Record, state: State) -> Iterator[tuple[int, State]]:
        region = record.a
        while region >= 0:
            for clause in self.code.regions[region].clauses:
                block = self.target(record, clause.block)
                found = {number: wide for number, wide in state.items() if number < clause.height}
                height = clause.height
                for width in clause.widths:
                    found[height] = width == 2
                    height += width
                yield block, found
            region = self.code.regions[region].parent

    def target(self, record: Record, block: int) -> int:
        self.need(block in self.starts, record, f"leads to block {block}, which is not there")
        return block

    def read(self, record: Record, state: State) -> None:
        for place in operands(self.code, record):
            kind, number = place & form.KIND, place >> form.NUMBER
            wide = bool(place & form.WIDE)
            if kind == form.TEMPORARY:
                self.need(state.get(number) == wide, record, f"reads t{number}, of which it says wide={wide}")
                if record.row not in _LOOKING and record.row != form.RETURN:
                    del state[number]
            elif kind == form.LOCAL:
                self.need(0 <= number < self.locals, record, f"reads local {number}")
            else:
                self.need(number < len(self.code.constants), record, f"reads constant {number}")
        self.lie(record)

    def move_row(self, record: Record, state: State) -> State:
        """What is there when a row of temporaries has been moved down."""
        first, to, count = record.a >> form.NUMBER, record.result >> form.NUMBER, record.immediate
        self.need(0 <= to < first, record, f"moves a row from t{first} to t{to}")
        moved, height = {}, first
        while height < first + count:
            self.need(height in state, record, f"moves t{height}, which is not there")
            moved[height - first + to] = state[height]
            height += 2 if state[height] else 1
        self.need(height == first + count, record, f"moves a part of t{height - 2}")
        behind = first + count
        kept = {
            number: wide
            for number, wide in state.items()
            if number + wide < to or to + count <= number < first or number >= behind
        }
        return kept | moved

    def lie(self, record: Record) -> None:
        """Operands that are taken are in their own temporaries or may be brought there."""
        if record.row in _LOOKING or record.row == form.MOVE:
            return
        height = record.base
        for place in operands(self.code, record):
            if place & form.KIND == form.TEMPORARY:
                number = place >> form.NUMBER
                self.need(number == height, record, f"reads t{number} as the operand at height {height}")
            height += 2 if place & form.WIDE else 1
        self.need(height <= self.code.heights, record, "has operands above the frame")

    def write(self, record: Record, place: int, state: State) -> None:
        number, wide = place >> form.NUMBER, bool(place & form.WIDE)
        if place & form.KIND == form.LOCAL:
            self.need(number < self.locals, record, f"writes local {number}")
            return
        self.need(number + wide < self.code.heights, record, f"writes t{number}, above the frame")
        if wide:
            state.pop(number + 1, None)
        if state.get(number - 1):
            del state[number - 1]
        state[number] = wide
