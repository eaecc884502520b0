"""What the builder has to know of each row of the instruction table, in arrays for quick looks."""

from __future__ import annotations

from array import array

from tinywasm.engine.ir.form import CONST_NULL, CONSTANT_KINDS
from tinywasm.instructions import BY_CODE, TABLE, Instruction, Role
from tinywasm.types import V128

# What the builder does with an instruction, by its row.
(
    PLAIN,
    LOCAL_GET,
    LOCAL_SET,
    LOCAL_TEE,
    CONST,
    OPEN,
    LOOP,
    WHEN,
    OTHERWISE,
    END,
    BR,
    BR_IF,
    BR_TABLE,
    RETURNS,
    CALL,
    DROP,
    SELECT,
    NOTHING,
    CHECK,
    MANY,
    LEAVE,
    TRY,
    BR_NULL,
    BR_NON_NULL,
    BR_CAST,
) = range(25)
_SHAPES = {
    **dict.fromkeys(("nop", "any.convert_extern", "extern.convert_any"), NOTHING),
    **dict.fromkeys(("i32.const", "i64.const", "f32.const", "f64.const", "v128.const", "ref.null"), CONST),
    **dict.fromkeys(("br_on_cast", "br_on_cast_fail"), BR_CAST),
    # They look at the topmost operand, which stays what it is.
    **dict.fromkeys(("ref.as_non_null", "ref.cast"), CHECK),
    **dict.fromkeys(("unreachable", "throw_ref"), LEAVE),
    **{"local.get": LOCAL_GET, "local.set": LOCAL_SET, "local.tee": LOCAL_TEE, "drop": DROP},
    **{
        "block": OPEN,
        "loop": LOOP,
        "if": WHEN,
        "else": OTHERWISE,
        "end": END,
        "try_table": TRY,
        "select": SELECT,
    },
    **{"br": BR, "br_if": BR_IF, "br_table": BR_TABLE, "return": RETURNS},
    **{"br_on_null": BR_NULL, "br_on_non_null": BR_NON_NULL, "throw": MANY},
}


def _shape(row: Instruction) -> int:
    if row.name in _SHAPES:
        return _SHAPES[row.name]
    if row.takes.repeated in ("func", "type"):
        return CALL
    # A record has room for three operands and one result.
    return MANY if row.takes.repeated or row.takes.fixed > 3 or row.leaves.fixed > 1 else PLAIN


# How an immediate is read: as an unsigned LEB of 32 bits, otherwise by the kind's own reader.
INDEX, SIGNED, BITS32, BITS64, MEMARG, BYTE, OBJECT, NONE = range(8)
_KINDS = {
    **dict.fromkeys(("label", "func", "type", "local", "global", "table", "mem", "tag"), INDEX),
    **dict.fromkeys(("data", "elem", "field", "count"), INDEX),
    **dict.fromkeys(("memarg1", "memarg2", "memarg4", "memarg8", "memarg16"), MEMARG),
    **dict.fromkeys(("lane2", "lane4", "lane8", "lane16"), BYTE),
    **{"i32": SIGNED, "i64": SIGNED, "f32": BITS32, "f64": BITS64},
}


def _immediates(row: Instruction) -> tuple[int, int]:
    kinds = [*(_KINDS.get(kind, OBJECT) for kind in row.immediates), NONE, NONE]
    return kinds[0], kinds[1]


def _result_width(row: Instruction) -> int:
    """0 without a result, 1 or 2; 3 where the context has to say."""
    if row.name in ("global.get", "struct.get", "array.get"):
        return 3
    return 0 if not row.leaves.fixed else 2 if row.results[:1] == (V128,) else 1


_KIND_OF = {
    "ref.null": CONST_NULL,
    **{f"{name}.const": kind for kind, name in enumerate(CONSTANT_KINDS[:CONST_NULL])},
}
SHAPES = array("q", [_shape(row) for row in TABLE])
TAKES = array("q", [row.takes.fixed for row in TABLE])
FIRST_KIND = array("q", [_immediates(row)[0] for row in TABLE])
SECOND_KIND = array("q", [_immediates(row)[1] for row in TABLE])
RESULT_WIDTH = array("q", [_result_width(row) for row in TABLE])
OPENS = array("q", [row.role is Role.OPENS for row in TABLE])
FIRST_PREFIX, PREFIXED = 0xFB, 512
ORDINALS = array("q", [-1] * (256 + 3 * PREFIXED))
for (_prefix, _code), _row in BY_CODE.items():
    ORDINALS[_code if _prefix is None else 256 + (_prefix - FIRST_PREFIX) * PREFIXED + _code] = _row.ordinal
CONSTANT_KIND = array("q", [_KIND_OF.get(row.name, -1) for row in TABLE])
