"""The intermediate form of a function body: records of integers, the same for every engine.

A body is a run of basic blocks, in the order of the code. A record is `STRIDE` integers: what is done, the
position of the instruction in the module, the height of the lowest operand that it takes, where its result
goes, up to three operands, and two immediates. `ROW` is the ordinal of an instruction of the table, or one
of the operations below that stand for structured control flow, locals and constants.

A place, for an operand or a result, is one integer: `number << 3 | wide << 2 | kind`. It is a temporary,
numbered by its height among the operands of the frame, a local, or a constant, numbered in `constants`.
A vector is wide, and takes two heights. An operand of the stack is a temporary only where it has to be:
`local.get` and the constants leave nothing behind. A temporary is used once, by what takes the operand.

Branches have no values of their own: before a branch, moves bring them to the heights at which its label
wants them, which makes the values of a label the parameters of its block. What a block finds below them is
as it was where its label was opened.

Where a branch, a call or another instruction takes along more than `SINGLY` values, these lie in a row: each
is in its own temporary, where it was brought once, however many take it along. So what is made of a body is
in proportion to its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tinywasm.instructions import TABLE
from tinywasm.records import record

# A function with more locals than this, or with more operands at a time, is refused when it is called.
MAX_LOCALS = 1_000_000
MAX_OPERANDS = 1_000_000
# Up to so many values that an instruction takes along are moved, or named, one by one.
SINGLY = 8
# Where more operands than this may stand for locals, all are moved to temporaries when a local changes.
UNSETTLED = 64

# Fields of a record.
ROW, POSITION, BASE, RESULT, A, B, C, IMMEDIATE, SECOND = range(9)
STRIDE = 9
# As a place: there is none.
NOWHERE = -1

# Kinds of places, and the bit of those that are two heights wide.
TEMPORARY, LOCAL, CONSTANT = range(3)
KIND, WIDE, NUMBER = 3, 4, 3

# Kinds of constants: a vector's bits are its index in `objects`.
CONSTANT_KINDS = ("i32", "i64", "f32", "f64", "v128", "null")
CONST_I32, CONST_I64, CONST_F32, CONST_F64, CONST_V128, CONST_NULL = range(6)

# Operations beside the instructions of the table:
# a block begins: IMMEDIATE is its number, SECOND the fuel that is charged here, A its handler region, and B
# is 1 where it is a head, which is charged for;
BLOCK = len(TABLE)
# A to RESULT;
MOVE = BLOCK + 1
# to the block IMMEDIATE: in any case, or depending on A, where a cast is to the type `objects[SECOND]`;
JUMP, BRANCH_IF, BRANCH_UNLESS = range(BLOCK + 2, BLOCK + 5)
BRANCH_NULL, BRANCH_NON_NULL, BRANCH_CAST, BRANCH_CAST_FAIL = range(BLOCK + 5, BLOCK + 9)
# to one of the SECOND blocks from `lists[IMMEDIATE]` on, the last of which is the default;
BRANCH_TABLE = BLOCK + 9
# from the function, with the B operands from `lists[A]` on;
RETURN = BLOCK + 10
# what lies in the temporaries of IMMEDIATE heights from A on, to as many from RESULT on, which is below A.
MOVE_ROW = BLOCK + 11
NAMES = [
    *(row.name for row in TABLE),
    *("block", "move", "jump", "branch_if", "branch_unless", "branch_null", "branch_non_null"),
    *("branch_cast", "branch_cast_fail", "branch_table", "return", "move_row"),
]
INVERSE = {
    BRANCH_IF: BRANCH_UNLESS,
    BRANCH_UNLESS: BRANCH_IF,
    BRANCH_NULL: BRANCH_NON_NULL,
    BRANCH_NON_NULL: BRANCH_NULL,
    BRANCH_CAST: BRANCH_CAST_FAIL,
    BRANCH_CAST_FAIL: BRANCH_CAST,
}


class Clause(NamedTuple):
    """A clause of `try_table`: the tag or None, whether the exception goes along, where it leads.

    What it brings, of these widths, lies from `height` on when `block` begins.
    """

    tag: int | None
    reference: bool
    block: int
    height: int
    widths: tuple[int, ...]


class Region(NamedTuple):
    """Where the clauses of a `try_table` hold; `parent` is the region around, or -1."""

    parent: int
    clauses: tuple[Clause, ...]


class Record(NamedTuple):
    """A record's fields by their names, for readers that need not be quick."""

    row: int
    position: int
    base: int
    result: int
    a: int
    b: int
    c: int
    immediate: int
    second: int


@record(frozen=True, eq=False)
class Form:
    """A function body in the intermediate form.

    `code` has `STRIDE` integers a record; 64-bit immediates are signed. `lists` holds what does not fit
    into a record: operands of calls and constructors, blocks of tables. `constants` are the bits of each,
    signed, and `kinds` their kinds; `objects` are the immediates that are not integers. `regions` are the
    handler regions. `blocks` counts the blocks, `heights` the heights of the frame, `slots` those and two for
    each local that is a vector, one for each other.
    """

    code: Sequence[int]
    lists: Sequence[int]
    constants: Sequence[int]
    kinds: Sequence[int]
    objects: list[Any]
    regions: list[Region]
    blocks: int
    heights: int
    slots: int

    def rows(self) -> Iterator[tuple[int, ...]]:
        """The records, one after the other."""
        integers = iter(self.code)
        return zip(*[integers] * STRIDE, strict=True)

    def records(self) -> Iterator[Record]:
        """The same, with names for their fields."""
        return map(Record._make, self.rows())


# Instructions whose operands are in `lists`, from A on, B of them. Where A is negative they lie in a row that
# begins at BASE, and in `lists` are from ~A on their places in a row that begins at 0, for all such records.
LISTED = [row.takes.repeated is not None or row.takes.fixed > 3 or row.leaves.fixed > 1 for row in TABLE]
# Calls: the operand that says which function is C; the places of their results follow the arguments, and
# SECOND has their number above 32 bits.
CALLS = [row.takes.repeated in ("func", "type") for row in TABLE]


# How many operands a record has in A, B and C, and how many results, where they are not in `lists`.
_IN_LISTS = -1
_TAKES = [
    *(_IN_LISTS if listed else row.takes.fixed for row, listed in zip(TABLE, LISTED, strict=True)),
    *([0 if row in (BLOCK, JUMP) else _IN_LISTS if row == RETURN else 1 for row in range(BLOCK, BLOCK + 12)]),
]
_LEAVES = [
    *(_IN_LISTS if calls else row.leaves.fixed for row, calls in zip(TABLE, CALLS, strict=True)),
    *[1] * 12,
]


def operands(code: Form, record: Record) -> list[int]:
    """The places that a record reads, in order."""
    count = _TAKES[record.row]
    if count == 2:
        return [record.a, record.b]
    if count == 1:
        return [record.a]
    if count >= 0:
        return [record.a, record.b, record.c][:count]
    if record.row == RETURN:
        return list(code.lists[record.a : record.a + record.b])
    listed = _listed(code, record, 0, record.b)
    return [*listed, record.c] if CALLS[record.row] and TABLE[record.row].takes.fixed else listed


def _listed(code: Form, record: Record, start: int, count: int) -> list[int]:
    """Places in `lists`, from `start` behind the record's first one on."""
    in_row = record.a < 0
    start += ~record.a if in_row else record.a
    base = record.base << NUMBER if in_row else 0
    return [base + place for place in code.lists[start : start + count]]


def results(code: Form, record: Record) -> list[int]:
    """The places that a record writes, in order."""
    count, result = _LEAVES[record.row], record.result
    if count == _IN_LISTS:
        return _listed(code, record, record.b, record.second >> 32)
    if result == NOWHERE:
        return []
    return [result] if count == 1 else [result + (each << NUMBER) for each in range(count)]
