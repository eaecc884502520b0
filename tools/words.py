"""What the fields of the loop's words are: the columns of the opcode table.

A word is an opcode, the fields a, b and c of 16 bits and an immediate of 64. `Word` says for each what it
names; `engine/native/verify.c` holds every word to it before the loop runs it, and nothing else says it.
"""

from __future__ import annotations

from dataclasses import dataclass

# A field of 16 bits that names slots says what is done with them, and with how many from there on.
READ, READ2, WRITE, WRITE2, CHANGE, CHANGE2 = (
    (manner, count) for manner in ("read", "write", "change") for count in (1, 2)
)
# As many as the immediate's type, or this word, tells.
VARIES = ("change", 0)
NO_FIELD = ("", 0)


def row(count: int) -> tuple[str, int]:
    """Operands in consecutive slots, where results are left, too."""
    return ("change", count)


# What field c may be instead of a slot.
OTHERS = (
    "any",  # a number of which each will do
    "flag",  # 0 or 1
    "memory",  # a memory's index, or that the word before has it
    "bits",  # of a packed field: 8 or 16
    "slots",  # how many are moved: 1 or 2
)

# What an immediate is. With `_` between two, the lower half is the first and the upper half the second.
IMMEDIATES = (
    "any",  # a number of which each will do
    "slot",  # a slot that is read
    "slots",  # two slots that are read, the first in the lowest 16 bits
    "row",  # how far above slot a others begin, in the lower half, and in the upper how many are moved
    "offset",  # of an access in a memory with 32-bit addresses
    "address",  # the sum of two numbers of 32 bits
    "lane2",
    "lane4",
    "lane8",
    "lane16",
    "offset_lane2",  # the lane is the uppermost byte
    "offset_lane4",
    "offset_lane8",
    "offset_lane16",
    "distance",  # to a branch's target in words, in the lower half
    "distances",  # one less than the number of jumps behind this word
    "fuel",
    "function",
    "global",
    "global_set",
    "memory",
    "memory_memory",
    "data",
    "data_memory",
    "table",
    "table_table",
    "elem",
    "elem_table",
    "tag",
    "signature",  # a function type
    "signature_table",
    "structure",  # a structure type
    "structure_field",
    "array",  # an array type
    "array_length",
    "array_data",
    "array_elem",
    "heap",  # a type's index or an abstract type, and whether null belongs to it
    "results",  # how many slots of results
    "no_result",  # what a return of nothing, or of one slot, says without it
    "one_result",
    "frame",  # far locals, and near ones to clear
    "start",  # how far the frame pointer lies above the frame's start
    "place",  # a slot that is out of reach, in relation to the frame pointer
    "shift",  # of the frame pointer
    "far_memory",  # a memory's index, for the access that follows
)

# What comes after a word.
FLOWS = (
    "next",
    "data",  # 16 bytes of data, then the next word
    "lanes",  # the same, of lanes of two vectors
    "jumps",  # a row of jumps
    "leave",  # the end of the frame: a return or a tail call
    "never",  # nothing that runs into the following word
)


@dataclass(frozen=True)
class Word:
    """The columns of one opcode.

    `c` is a slot or one of OTHERS. `references` tells that the word makes references of numbers, or takes
    for granted that a slot holds one.
    """

    a: tuple[str, int] = NO_FIELD
    b: tuple[str, int] = NO_FIELD
    c: tuple[str, int] | str = "any"
    immediate: str = "any"
    flow: str = "next"
    references: bool = False


def _call(named: bool, immediate: str, *, flow: str = "next", references: bool = False) -> Word:
    return Word(VARIES, READ if named else NO_FIELD, "any", immediate, flow, references)


def _references(
    a: tuple[str, int],
    b: tuple[str, int] = NO_FIELD,
    c: tuple[str, int] | str = "any",
    immediate: str = "any",
    flow: str = "next",
) -> Word:
    return Word(a, b, c, immediate, flow, references=True)


# The opcodes whose arms stand in `loop.c`.
HAND = {
    "enter": Word(),
    "count": Word(),
    "compiled": Word(),
    "return_n": Word(VARIES, immediate="results", flow="never"),
    "call_indirect": _call(True, "signature_table"),
    "call_ref": _call(True, "signature", references=True),
    "return_call": _call(False, "function", flow="never"),
    "return_call_indirect": _call(True, "signature_table", flow="never"),
    "return_call_ref": _call(True, "signature", flow="never", references=True),
    "unreachable": Word(flow="never"),
    "move128": Word(WRITE2, READ2),
    "move_row": Word(VARIES, immediate="row"),
    "const128": Word(WRITE2, flow="data"),
    "select128": Word(WRITE2, READ2, READ2, "slot"),
    "global_get128": Word(WRITE2, immediate="global"),
    "global_set128": Word(READ2, immediate="global_set"),
    "memory_size": Word(WRITE, immediate="memory"),
    "memory_grow": Word(CHANGE, c="flag", immediate="memory"),
    "memory_fill": Word(row(3), c="flag", immediate="memory"),
    "memory_copy": Word(row(3), c="flag", immediate="memory_memory"),
    "memory_init": Word(row(3), c="flag", immediate="data_memory"),
    "data_drop": Word(c="flag", immediate="data"),
    "table_get": _references(WRITE, READ, immediate="table"),
    "table_set": _references(READ, READ, immediate="table"),
    "table_size": Word(WRITE, immediate="table"),
    "table_grow": _references(row(2), c="flag", immediate="table"),
    "table_fill": _references(row(3), c="flag", immediate="table"),
    "table_copy": _references(row(3), c="flag", immediate="table_table"),
    "table_init": _references(row(3), c="flag", immediate="elem_table"),
    "elem_drop": Word(c="flag", immediate="elem"),
    "ref_func": _references(WRITE, immediate="function"),
    "ref_as_non_null": _references(READ),
    "ref_test": _references(WRITE, READ, "flag", "heap"),
    "ref_cast": _references(READ, c="flag", immediate="heap"),
    "ref_i31": _references(WRITE, READ),
    "i31_get_s": _references(WRITE, READ),
    "i31_get_u": _references(WRITE, READ),
    "struct_new": _references(VARIES, c="flag", immediate="structure"),
    "struct_new_default": _references(CHANGE, c="flag", immediate="structure"),
    "struct_get": _references(WRITE, READ, immediate="structure_field"),
    "struct_get_s": _references(WRITE, READ, "bits", "structure_field"),
    "struct_get128": _references(WRITE2, READ, immediate="structure_field"),
    "struct_set": _references(READ, READ, immediate="structure_field"),
    "struct_set_packed": _references(READ, READ, "bits", "structure_field"),
    "struct_set128": _references(READ, READ2, immediate="structure_field"),
    "array_new": _references(VARIES, c="flag", immediate="array"),
    "array_new_default": _references(CHANGE, c="flag", immediate="array"),
    "array_new_fixed": _references(VARIES, c="flag", immediate="array_length"),
    "array_new_data": _references(row(2), c="flag", immediate="array_data"),
    "array_new_elem": _references(row(2), c="flag", immediate="array_elem"),
    "array_get": _references(VARIES, READ, READ, "array"),
    "array_get_s": _references(WRITE, READ, READ, "array"),
    "array_set": _references(READ, READ, VARIES, "array"),
    "array_len": _references(WRITE, READ),
    "array_fill": _references(VARIES, c="flag", immediate="array"),
    "array_copy": _references(row(5), c="flag"),
    "array_init_data": _references(row(4), c="flag", immediate="array_data"),
    "array_init_elem": _references(row(4), c="flag", immediate="array_elem"),
    "throw": Word(VARIES, c="flag", immediate="tag", flow="never"),
    "throw_ref": _references(READ, flow="never"),
    "wide_enter": Word(immediate="frame"),
    "wide_leave": Word(VARIES, immediate="start", flow="leave"),
    "wide_get": Word(WRITE, c="slots", immediate="place"),
    "wide_set": Word(READ, c="slots", immediate="place"),
    "wide_shift": Word(immediate="shift"),
    "wide_memory": Word(immediate="far_memory"),
}
