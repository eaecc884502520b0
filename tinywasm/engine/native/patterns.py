"""Which words of the loop there are for the rows of the instruction table: the data that selection reads.

An opcode is found by a row's ordinal or by another opcode; `NONE` stands where there is none.
"""

from __future__ import annotations

from array import array

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


def _opcodes(suffix: str) -> array[int]:
    return array("q", [OPCODES.get(_plain(row) + suffix, NONE) for row in TABLE])


def _flags(names: frozenset[str]) -> array[int]:
    return array("q", [_plain(row) in names for row in TABLE])


MANNERS = array("q", [_manner(row) for row in TABLE])
WORDS = _opcodes("")
# With the second operand in the immediate.
CONSTANTS = array(
    "q", [OPCODES[f"{_plain(row)}__k"] if _plain(row) in CONSTANT_FORMS else NONE for row in TABLE]
)
COMMUTES = _flags(COMMUTATIVE)
# Whose constant is sign-extended to 64 bits, so that it fits half an immediate.
EXTENDED = array("q", [len(row.params) == 2 and row.params[1] in (I32, F32) for row in TABLE])
# Accesses: to any memory; with a constant added to the address; to a constant address; moving a local.
ANY_MEMORY, ADDED, STATIC, MOVING = map(_opcodes, ("__x", "__a", "__s", "__u"))

# Words that do nothing but make the value of slot `a`: of a temporary, they may be taken into another word.
MAKES = array("q", [0]) * COUNT
for _row in TABLE:
    if len(_row.results) == 1 and _row.operator and _row.immediates != ("shuffle",):
        for _suffix in ("", "__k"):
            if (_name := _plain(_row) + _suffix) in OPCODES:
                MAKES[OPCODES[_name]] = 1
for _name in (*FUSED.values(), *FUSED_CONSTANTS.values()):
    MAKES[OPCODES[_name]] = 1

# Both operands' operators in one word: by the inner opcode, the outer row, and whether the inner one is on
# the right; and whether the inner one has a constant.
_BY_NAME = {_plain(row): row.ordinal for row in TABLE}
INNER = array("q", [0]) * COUNT
TWO_OPERATORS: dict[int, int] = {}
for (_opcode, _outer, _right), _name in FUSED.items():
    INNER[_opcode] = 2 if "__k" in _name else 1
    TWO_OPERATORS[(_opcode * len(TABLE) + _BY_NAME[_outer]) * 2 + _right] = OPCODES[_name]
INNER_CONSTANT = array("q", [0]) * COUNT
TWO_CONSTANTS: dict[int, int] = {}
for (_opcode, _outer), _name in FUSED_CONSTANTS.items():
    INNER_CONSTANT[_opcode] = 1
    TWO_CONSTANTS[_opcode * len(TABLE) + _BY_NAME[_outer]] = OPCODES[_name]

# A comparison's branches, where it holds and where it does not, and what its constant is.
NO_CONSTANT, INTEGER, DOUBLE = range(3)
HOLDS, FAILS = array("q", [NONE]) * COUNT, array("q", [NONE]) * COUNT
COMPARED = array("q", [0]) * COUNT
for _opcode, (_when, _unless, _kind) in COMPARES.items():
    HOLDS[_opcode], FAILS[_opcode] = OPCODES[_when], OPCODES[_unless]
    COMPARED[_opcode] = NO_CONSTANT if not _kind else DOUBLE if _kind == "f64" else INTEGER
# Branches that take the step of a counter along.
STEPPING = array("q", [NONE]) * COUNT
for _name, _counted in COUNTED.items():
    STEPPING[OPCODES[_name]] = OPCODES[_counted]

# Two words that follow each other in one: by the two opcodes, (field of the second that is the slot `a` of
# the first, or 0 for any, opcode).
FIRST_OF_PAIR = array("q", [0]) * COUNT
PAIRS: dict[int, list[tuple[int, int]]] = {}
for (_first, _second), _pairs in PAIRED.items():
    FIRST_OF_PAIR[_first] = 1
    PAIRS[_first * COUNT + _second] = _pairs

# How words name an abstract heap type; the order is that of `enum heap_kind` in native.h.
HEAPS = {heap: number for number, heap in enumerate(AbstractHeap)}
