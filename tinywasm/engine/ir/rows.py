"""What the builder has to know of each row of the instruction table, by its ordinal."""

from __future__ import annotations

from tinywasm.engine.ir.form import CONST_NULL, CONSTANT_KINDS, NOWHERE, WIDE
from tinywasm.instructions import BY_CODE, TABLE, Instruction, Role
from tinywasm.types import V128

# What the builder does with an instruction, by its row. Those up to `PLAIN` are the usual ones, with at most
# three operands and one result; the last two are not counted as instructions.
(
    LOCAL_GET,
    LOCAL_SET,
    LOCAL_TEE,
    CONST,
    UNARY,
    BINARY,
    LOAD,
    STORE,
    PLAIN,
    OPEN,
    LOOP,
    WHEN,
    TRY,
    BR_IF,
    BR,
    CALL,
    DROP,
    NOTHING,
    RETURNS,
    OTHER,
    PREFIX,
    END,
    OTHERWISE,
) = range(23)
_SHAPES = {
    **dict.fromkeys(("nop", "any.convert_extern", "extern.convert_any"), NOTHING),
    **dict.fromkeys(("i32.const", "i64.const", "f32.const", "f64.const", "v128.const", "ref.null"), CONST),
    **{"local.get": LOCAL_GET, "local.set": LOCAL_SET, "local.tee": LOCAL_TEE, "drop": DROP},
    **{"block": OPEN, "loop": LOOP, "if": WHEN, "else": OTHERWISE, "end": END, "try_table": TRY},
    **{"br": BR, "br_if": BR_IF, "return": RETURNS},
    # They look at the topmost operand, which stays what it is.
    **dict.fromkeys(("ref.as_non_null", "ref.cast"), OTHER),
}


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


# Whether a result is wide: as the context says, or as the first operand is.
VARIES, AS_FIRST = 1, 2


def _wide_result(row: Instruction) -> int:
    if row.name in ("global.get", "struct.get", "array.get"):
        return VARIES
    if row.name == "select":
        return AS_FIRST
    return NOWHERE if not row.leaves.fixed else WIDE if row.results[:1] == (V128,) else 0


def _shape(row: Instruction) -> int:
    if row.name in _SHAPES:
        return _SHAPES[row.name]
    if row.takes.repeated in ("func", "type"):
        return CALL
    # A record has room for three operands and one result.
    fits = row.takes.repeated is None and row.takes.fixed <= 3 and row.leaves.fixed <= 1
    if not fits or row.role is not Role.PLAIN:
        return OTHER
    taken, kinds = row.takes.fixed, _immediates(row)
    if kinds == (NONE, NONE) and row.leaves.fixed and _wide_result(row) & ~WIDE == 0:
        return {1: UNARY, 2: BINARY}.get(taken, PLAIN)
    return {1: LOAD, 2: STORE}[taken] if kinds == (MEMARG, NONE) else PLAIN


_KIND_OF = {
    "ref.null": CONST_NULL,
    **{f"{name}.const": kind for kind, name in enumerate(CONSTANT_KINDS[:CONST_NULL])},
}
SHAPES = [_shape(row) for row in TABLE]
TAKES = [row.takes.fixed for row in TABLE]
FIRST_KIND = [_immediates(row)[0] for row in TABLE]
SECOND_KIND = [_immediates(row)[1] for row in TABLE]
WIDE_RESULT = [_wide_result(row) for row in TABLE]
OPENS = [row.role is Role.OPENS for row in TABLE]
LEAVES = [row.role is Role.LEAVES for row in TABLE]
# Of calls: they name the type of what is called, not the function.
NAMES_TYPE = [row.takes.repeated == "type" for row in TABLE]
FIRST_PREFIX, PREFIXED = 0xFB, 512
ORDINALS = [-1] * (256 + 3 * PREFIXED)
for (_prefix, _code), _row in BY_CODE.items():
    ORDINALS[_code if _prefix is None else 256 + (_prefix - FIRST_PREFIX) * PREFIXED + _code] = _row.ordinal
CONSTANT_KIND = [_KIND_OF.get(row.name, -1) for row in TABLE]
