"""Which words of the loop there are for the rows of the instruction table, and which do two words in one.

This is the data that selection reads. An opcode is found by a row's ordinal or by another opcode; `NONE`
stands where there is none. A `Pattern` says of two words, one behind the other, which word does what both
do; the tests prove each, for all slots and values, from the C of the three words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tinywasm.engine.ir.operands import integers
from tinywasm.engine.native.opcodes import (
    COMMUTATIVE,
    COMPARES,
    CONSTANT_FORMS,
    COUNTED,
    FUSED,
    FUSED_CONSTANTS,
    OPCODES,
    PAIRED,
)
from tinywasm.instructions import TABLE, Instruction
from tinywasm.types import F32, I32, AbstractHeap

NONE = -1
COUNT = len(OPCODES)

# How the words for a row are selected: see `select`.
(
    UNARY,
    BINARY,
    TERNARY,
    LOAD,
    STORE,
    LOAD_LANE,
    STORE_LANE,
    ONE,
    TWO,
    ROW,
    OTHER,
) = range(11)

# Rows whose words take up to two operands from any slots, with the immediate of the row.
_ONE = {
    "table.get": "table_get",
    "ref.is_null": "i64_eqz",
    "ref.i31": "ref_i31",
    "i31.get_s": "i31_get_s",
    "i31.get_u": "i31_get_u",
    "array.len": "array_len",
    "global.get": "global_get",
    "memory.size": "memory_size",
    "table.size": "table_size",
    "ref.func": "ref_func",
}
_TWO = {"table.set": "table_set"}
# Rows whose words take their operands from consecutive slots and leave their results there.
_ROW = (
    *("memory.grow", "memory.fill", "memory.copy", "memory.init", "data.drop"),
    *("table.grow", "table.fill", "table.copy", "table.init", "elem.drop"),
    *("struct.new", "struct.new_default", "array.new", "array.new_default", "array.new_fixed"),
    *("array.new_data", "array.new_elem", "array.fill", "array.copy", "array.init_data", "array.init_elem"),
    "throw",
)


def _manner(row: Instruction) -> int:
    if row.name == "ref.eq":
        return BINARY
    if row.operator is not None:
        return (UNARY, BINARY, TERNARY)[len(row.params) - 1] if len(row.results) == 1 else OTHER
    if row.immediates and row.immediates[0].startswith("memarg"):
        lane = len(row.immediates) == 2
        return (LOAD_LANE if lane else LOAD) if row.results else (STORE_LANE if lane else STORE)
    for names, manner in ((_ONE, ONE), (_TWO, TWO), (_ROW, ROW)):
        if row.name in names:
            return manner
    return OTHER


def _plain(row: Instruction) -> str:
    """The name of the word for a row, where it has one of its own."""
    # A reference is a number to the loop, and equal references are equal numbers.
    special = {"ref.eq": "i64_eq", **_ONE, **_TWO}
    return special.get(row.name) or row.operator or row.name.replace(".", "_")


def _opcodes(suffix: str) -> Sequence[int]:
    opcodes: Sequence[int] = integers([OPCODES.get(_plain(row) + suffix, NONE) for row in TABLE])
    return opcodes


MANNERS = integers([_manner(row) for row in TABLE])
WORDS = _opcodes("")
# Accesses to any memory.
ANY_MEMORY = _opcodes("__x")


# Patterns


class Pattern(NamedTuple):
    """The words `first` and `second`, one behind the other, are `made` in one.

    `joint` is the field of the second that names the slot which the first has made, in its field a; with
    an empty one the slots may be any. Where that slot is `dead`, nothing but the second reads it, so that
    `made` need not write it.

    `fields` are a, b, c and the immediate of `made`: fields of the first and of the second (`b1`, `i2`), or
    0. `s1` is the lower half of the first's immediate with its sign, `f1` the bits of the float that has the
    value of the double there. In an immediate, `i1:i2` are lower halves, the lower one first; `i1+i2` is
    the sum.

    It holds under its `guard`, a condition that the fields show: see `GUARDS`.
    """

    first: str
    second: str
    made: str
    joint: str
    dead: bool
    fields: str
    guard: str = ""


# Of the first's fields a1, b1 and its immediate i1, and of the second's immediate i2.
GUARDS = {
    "": "always",
    "half": "i1 is a signed number of 32 bits",
    "single": "i1 is a double, and no NaN, that a float has the value of",
    "step": "i1 is a signed number of 16 bits, and a1 is b1",
    "halves": "i1 and i2 are unsigned numbers of 32 bits",
}

_NAMES = {number: name for name, number in OPCODES.items()}


def _constant_operands() -> Iterator[Pattern]:
    """A constant goes into the word that takes it as its second operand, or as either where they commute."""
    for row in TABLE:
        if (name := row.operator) in CONSTANT_FORMS:
            number = "s1" if row.params[1:] in ((I32,), (F32,)) else "i1"
            yield Pattern("const", name, f"{name}__k", "c", True, f"a2 b2 0 {number}")
            if name in COMMUTATIVE:
                yield Pattern("const", name, f"{name}__k", "b", True, f"a2 c2 0 {number}")


def _operators() -> Iterator[Pattern]:
    """An operator goes into the one that takes its value, and so does one with a constant."""
    for (inner, outer, right), made in FUSED.items():
        joint, other = ("c", "b2") if right else ("b", "c2")
        fields = f"a2 b1 {other} i1" if _NAMES[inner].endswith("__k") else f"a2 b1 c1 {other}"
        yield Pattern(_NAMES[inner], outer, made, joint, True, fields)
    for (inner, outer), made in FUSED_CONSTANTS.items():
        yield Pattern(_NAMES[inner], f"{outer}__k", made, "b", True, "a2 b1 0 i1:i2")


def _accesses() -> Iterator[Pattern]:
    """A constant address, and the addition of a constant that made it, go into the access."""
    for row in TABLE:
        name = _plain(row)
        if f"{name}__s" in OPCODES:
            joint, static, moved = ("b", "a2 0", "a2 b1") if row.results else ("a", "0 b2", "b1 b2")
            yield Pattern("const", name, f"{name}__s", joint, True, f"{static} 0 i1+i2")
            yield Pattern("i32_add__k", name, f"{name}__a", joint, True, f"{moved} 0 i2:i1")
            # What was added to a local is written there.
            yield Pattern("i32_add__k", name, f"{name}__u", joint, False, f"{moved} a1 i2:i1")


def _branches() -> Iterator[Pattern]:
    """A comparison goes into the branch on it, and then the step of a counter."""
    yield Pattern("i32_eqz", "branch_if", "branch_unless", "a", True, "b1 0 0 i2")
    yield Pattern("i32_eqz", "branch_unless", "branch_if", "a", True, "b1 0 0 i2")
    for opcode, (when, unless, kind) in COMPARES.items():
        guard = {"": "", "f64": "single"}.get(kind, "half")
        immediate = {"": "i2", "single": "i2:f1"}.get(guard, "i2:i1")
        second = "0" if guard or _NAMES[opcode].endswith("eqz") else "c1"
        for branch, made in (("branch_if", when), ("branch_unless", unless)):
            yield Pattern(_NAMES[opcode], branch, made, "a", True, f"b1 {second} 0 {immediate}", guard)
    for branch, counted in COUNTED.items():
        yield Pattern("i32_add__k", branch, counted, "a", False, "a1 b2 i1 i2", "step")
    # As a comparison with zero.
    yield Pattern("i32_add__k", "branch_if", "count_i32_ne__k", "a", False, "a1 0 i1 i2:0", "step")


def _doubles() -> Iterator[Pattern]:
    yield Pattern("const", "const", "const2", "", False, "a1 0 a2 i1:i2", "halves")
    # In order: the second may move what the first has made.
    yield Pattern("move", "move", "move2", "", False, "a1 b1 a2 b2")


PATTERNS = [*_constant_operands(), *_operators(), *_accesses(), *_branches(), *_doubles()]

# The same by number. Sources of fields are places in an array of values that selection fills.
SOURCES = ("0", "a1", "b1", "c1", "i1", "s1", "f1", "a2", "b2", "c2", "i2")
ZERO, A1, B1, C1, I1, S1, F1, A2, B2, C2, I2 = range(len(SOURCES))
ALWAYS, HALF, SINGLE, STEP, BOTH_HALVES = range(len(GUARDS))
WHOLE, HALVES, SUM = range(3)


def _source(pattern: Pattern, field: int) -> int:
    return SOURCES.index(pattern.fields.split()[field])


def _immediate(pattern: Pattern) -> tuple[int, int, int]:
    """The sources of an immediate, and how it is made of them."""
    text = pattern.fields.split()[3]
    for sign, way in ((":", HALVES), ("+", SUM)):
        if sign in text:
            low, high = text.split(sign)
            return SOURCES.index(low), SOURCES.index(high), way
    return SOURCES.index(text), ZERO, WHOLE


MADE = integers([OPCODES[pattern.made] for pattern in PATTERNS])
FIELD_A, FIELD_B, FIELD_C = (
    integers([_source(pattern, field) for pattern in PATTERNS]) for field in range(3)
)
LOW, HIGH, WAY = (integers(column) for column in zip(*map(_immediate, PATTERNS), strict=True))
GUARD = integers([list(GUARDS).index(pattern.guard) for pattern in PATTERNS])
LOOSE = integers([not pattern.joint for pattern in PATTERNS])

# Where the number of a pattern stands in `FOUND`: at the sum of what its first and its second word have here,
# of RIGHT where the joint is the second's field c, and of ALIVE where it is not dead.
RIGHT, ALIVE = 1, 2
_firsts = {name: number for number, name in enumerate(dict.fromkeys(p.first for p in PATTERNS), 1)}
_seconds = {name: number for number, name in enumerate(dict.fromkeys(p.second for p in PATTERNS), 1)}
_stride = 4 * (len(_seconds) + 1)
FIRSTS = integers([_stride * _firsts.get(name, 0) for name in OPCODES])
SECONDS = integers([4 * _seconds.get(name, 0) for name in OPCODES])
FOUND = integers([NONE], "h") * (_stride * (len(_firsts) + 1))
for _number, _pattern in enumerate(PATTERNS):
    _at = FIRSTS[OPCODES[_pattern.first]] + SECONDS[OPCODES[_pattern.second]]
    _at += RIGHT * (_pattern.joint == "c") + ALIVE * (not _pattern.dead)
    assert FOUND[_at] == NONE, _pattern
    FOUND[_at] = _number

# Two words that follow each other in one: by the two opcodes, (field of the second that is the slot `a` of
# the first, or 0 for any, opcode).
FIRST_OF_PAIR = integers([0]) * COUNT
PAIRS: dict[int, list[tuple[int, int]]] = {}
for (_first, _second), _pairs in PAIRED.items():
    FIRST_OF_PAIR[_first] = 1
    PAIRS[_first * COUNT + _second] = _pairs

# How words name an abstract heap type; the order is that of `enum heap_kind` in native.h.
HEAPS = {heap: number for number, heap in enumerate(AbstractHeap)}
