"""THE table: every instruction of WebAssembly 3.0 (and of the two proposals) once, as plain data.

A row is opcode, mnemonic, immediates, signature, whether the operator is a numeric function, and what
else readers need to know: its role in structured control flow, its traits, the proposal it came with.

- Immediates are kinds, separated by spaces, in the order of the binary format; `codec` reads and
  writes each kind, `text` parses and prints it.
- A signature is `operands -> results`. `at` is the address type of the instruction's memory or table.
  It is open, and a rule of its own types the instruction (`validation.rules`), where an operand is `?`
  or where there is a number of them that depends: `func*` stands for those of the function's type,
  `type*` for those of the function type that the immediate names, `block*` of the block type, `label*`
  of the label, `tag*` of the tag, `result*` of the function around; `field*` for one operand each field
  of the structure, `count*` for as many as the immediate says. An instruction with a role is open too.
- NUMERIC: the operator is the function in `numerics` named as the mnemonic with `_` for `.`.
- `role`: OPENS, DIVIDES and CLOSES a block; BRANCHES, perhaps; LEAVES, never to come back.
- `traits`: `commutes` (its two operands may change places), `compares` (its i32 says whether something
  holds of its scalar operands), `traps` (by its own definition; running out of something is no trait).
- `proposal`: of the proposals to the first standard, those that brought it.
- `const`: allowed in constant expressions (section 3.4).

Three mnemonics own two opcodes each: `select`, `ref.test` and `ref.cast`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from tinywasm.records import record
from tinywasm.types import (
    ARRAYREF,
    EQREF,
    F32,
    F64,
    I31REF,
    I32,
    I64,
    V128,
    AbstractHeap,
    RefType,
    ValType,
)


class Feature(enum.Enum):
    """Proposals that are not in the standard yet, off by default."""

    WIDE_ARITHMETIC = "wide-arithmetic"
    CUSTOM_PAGE_SIZES = "custom-page-sizes"


class Role(enum.Enum):
    """What an instruction is to structured control flow."""

    PLAIN = "plain"
    OPENS = "opens"
    DIVIDES = "divides"
    CLOSES = "closes"
    BRANCHES = "branches"
    LEAVES = "leaves"


PLAIN, OPENS, DIVIDES, CLOSES, BRANCHES, LEAVES = Role


@record(frozen=True)
class Arity:
    """How many operands: `fixed` ones, and below them those that `repeated` stands for, if anything does."""

    fixed: int
    repeated: str | None


class AddressType(ValType):
    """Stands in a signature for the address type of the memory or table at hand."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "at"


AT = AddressType()


@record(frozen=True, eq=False)
class Instruction:
    """One row of the table.

    `ordinal` is the row's position; `rule` is true where the signature is open, and then `params` and
    `results` are empty; `takes` and `leaves` say how many operands there are in any case, where a branch
    is not taken; `operator` names a function of `numerics` or is None.
    """

    ordinal: int
    prefix: int | None
    code: int
    name: str
    immediates: tuple[str, ...]
    params: tuple[ValType, ...]
    results: tuple[ValType, ...]
    takes: Arity
    leaves: Arity
    rule: bool
    operator: str | None
    role: Role
    traits: frozenset[str]
    proposals: tuple[str, ...]
    const: bool
    feature: Feature | None

    def __repr__(self) -> str:
        return self.name


NUMERIC = "numeric"

TABLE: list[Instruction] = []
BY_CODE: dict[tuple[int | None, int], Instruction] = {}
BY_NAME: dict[str, list[Instruction]] = {}

_TYPES: dict[str, ValType] = {
    "i32": I32,
    "i64": I64,
    "f32": F32,
    "f64": F64,
    "v128": V128,
    "at": AT,
    "eqref": EQREF,
    "i31ref": I31REF,
    "arrayref": ARRAYREF,
    "(ref i31)": RefType(False, AbstractHeap.I31),
}
_TRAITS = frozenset(("commutes", "compares", "traps"))
_group: tuple[int | None, Feature | None, str] = (None, None, "")


@contextmanager
def group(prefix: int | None = None, feature: Feature | None = None, proposal: str = "") -> Iterator[None]:
    """The rows below share an opcode prefix, and a proposal or the feature that switches it on."""
    global _group
    _group = (prefix, feature, feature.value if feature else proposal)
    yield
    _group = (None, None, "")


# What of a row follows from its signature: `params` to `rule`.
_Signature = tuple[tuple[ValType, ...], tuple[ValType, ...], Arity, Arity, bool]


# Most rows share what these give with others.
@cache
def _side(text: str) -> tuple[Arity, tuple[ValType, ...] | None]:
    """One side of a signature: how many operands, and their types, None where a rule says what they are."""
    words = [text] if text in _TYPES else text.split()
    repeated = [word[:-1] for word in words if word.endswith("*")]
    arity = Arity(len(words) - len(repeated), repeated[0] if repeated else None)
    return arity, None if repeated or "?" in words else tuple(_TYPES[word] for word in words)


@cache
def _signature(text: str, plain: bool) -> _Signature:
    left, _, right = text.partition("->")
    (takes, params), (leaves, results) = _side(left.strip()), _side(right.strip())
    if not plain or params is None or results is None:
        return (), (), takes, leaves, True
    return params, results, takes, leaves, False


@cache
def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


@cache
def _traits(text: str) -> frozenset[str]:
    traits = frozenset(text.split())
    assert traits <= _TRAITS, text
    return traits


def op(
    code: int,
    name: str,
    immediates: str,
    signature: str,
    operator: str = "",
    *,
    role: Role = PLAIN,
    traits: str = "",
    proposal: str = "",
    const: bool = False,
) -> None:
    """Declare one instruction."""
    prefix, feature, of_group = _group
    params, results, takes, leaves, rule = _signature(signature, role is PLAIN)
    # Values without their names, which take longer to sort than all the rest.
    row = Instruction(
        *(len(TABLE), prefix, code, name, _words(immediates)),
        *(params, results, takes, leaves, rule),
        name.replace(".", "_") if operator else None,
        role,
        _traits(traits),
        _words(proposal or of_group),
        const,
        feature,
    )
    TABLE.append(row)
    BY_CODE[prefix, code] = row
    BY_NAME.setdefault(name, []).append(row)


# Control instructions (section 5.4.2)
with group():
    op(0x00, "unreachable", "", "->", role=LEAVES, traits="traps")
    op(0x01, "nop", "", "->")
    op(0x02, "block", "block", "block* -> block*", role=OPENS)
    op(0x03, "loop", "block", "block* -> block*", role=OPENS)
    op(0x04, "if", "block", "block* i32 -> block*", role=OPENS)
    op(0x05, "else", "", "->", role=DIVIDES)
    op(0x08, "throw", "tag", "tag* ->", role=LEAVES, proposal="exception-handling")
    op(0x0A, "throw_ref", "", "? ->", role=LEAVES, traits="traps", proposal="exception-handling")
    op(0x0B, "end", "", "->", role=CLOSES, const=True)
    op(0x0C, "br", "label", "label* ->", role=LEAVES)
    op(0x0D, "br_if", "label", "label* i32 -> label*", role=BRANCHES)
    op(0x0E, "br_table", "labels", "label* i32 ->", role=LEAVES)
    op(0x0F, "return", "", "result* ->", role=LEAVES)
    op(0x10, "call", "func", "func* -> func*")
    op(0x11, "call_indirect", "type table", "type* ? -> type*", traits="traps")

with group(proposal="tail-call"):
    op(0x12, "return_call", "func", "func* ->", role=LEAVES)
    op(0x13, "return_call_indirect", "type table", "type* ? ->", role=LEAVES, traits="traps")

with group(proposal="function-references"):
    op(0x14, "call_ref", "type", "type* ? -> type*", traits="traps")

with group(proposal="tail-call function-references"):
    op(0x15, "return_call_ref", "type", "type* ? ->", role=LEAVES, traits="traps")

with group(proposal="exception-handling"):
    op(0x1F, "try_table", "block catches", "block* -> block*", role=OPENS)

# Parametric, variable and table instructions (sections 5.4.1, 5.4.3 and 5.4.4)
with group():
    op(0x1A, "drop", "", "? ->")
    op(0x1B, "select", "", "? ? i32 -> ?")
    op(0x1C, "select", "types", "? ? i32 -> ?", proposal="reference-types")
    op(0x20, "local.get", "local", "-> ?")
    op(0x21, "local.set", "local", "? ->")
    op(0x22, "local.tee", "local", "? -> ?")
    op(0x23, "global.get", "global", "-> ?", const=True)
    op(0x24, "global.set", "global", "? ->")
    op(0x25, "table.get", "table", "? -> ?", traits="traps", proposal="reference-types")
    op(0x26, "table.set", "table", "? ? ->", traits="traps", proposal="reference-types")

# Memory instructions (section 5.4.5)
with group():
    op(0x28, "i32.load", "memarg4", "at -> i32", traits="traps")
    op(0x29, "i64.load", "memarg8", "at -> i64", traits="traps")
    op(0x2A, "f32.load", "memarg4", "at -> f32", traits="traps")
    op(0x2B, "f64.load", "memarg8", "at -> f64", traits="traps")
    op(0x2C, "i32.load8_s", "memarg1", "at -> i32", traits="traps")
    op(0x2D, "i32.load8_u", "memarg1", "at -> i32", traits="traps")
    op(0x2E, "i32.load16_s", "memarg2", "at -> i32", traits="traps")
    op(0x2F, "i32.load16_u", "memarg2", "at -> i32", traits="traps")
    op(0x30, "i64.load8_s", "memarg1", "at -> i64", traits="traps")
    op(0x31, "i64.load8_u", "memarg1", "at -> i64", traits="traps")
    op(0x32, "i64.load16_s", "memarg2", "at -> i64", traits="traps")
    op(0x33, "i64.load16_u", "memarg2", "at -> i64", traits="traps")
    op(0x34, "i64.load32_s", "memarg4", "at -> i64", traits="traps")
    op(0x35, "i64.load32_u", "memarg4", "at -> i64", traits="traps")
    op(0x36, "i32.store", "memarg4", "at i32 ->", traits="traps")
    op(0x37, "i64.store", "memarg8", "at i64 ->", traits="traps")
    op(0x38, "f32.store", "memarg4", "at f32 ->", traits="traps")
    op(0x39, "f64.store", "memarg8", "at f64 ->", traits="traps")
    op(0x3A, "i32.store8", "memarg1", "at i32 ->", traits="traps")
    op(0x3B, "i32.store16", "memarg2", "at i32 ->", traits="traps")
    op(0x3C, "i64.store8", "memarg1", "at i64 ->", traits="traps")
    op(0x3D, "i64.store16", "memarg2", "at i64 ->", traits="traps")
    op(0x3E, "i64.store32", "memarg4", "at i64 ->", traits="traps")
    op(0x3F, "memory.size", "mem", "-> at")
    op(0x40, "memory.grow", "mem", "at -> at")

# Numeric instructions (section 5.4.8)
with group():
    op(0x41, "i32.const", "i32", "-> i32", const=True)
    op(0x42, "i64.const", "i64", "-> i64", const=True)
    op(0x43, "f32.const", "f32", "-> f32", const=True)
    op(0x44, "f64.const", "f64", "-> f64", const=True)
    op(0x45, "i32.eqz", "", "i32 -> i32", NUMERIC, traits="compares")
    op(0x46, "i32.eq", "", "i32 i32 -> i32", NUMERIC, traits="commutes compares")
    op(0x47, "i32.ne", "", "i32 i32 -> i32", NUMERIC, traits="commutes compares")
    op(0x48, "i32.lt_s", "", "i32 i32 -> i32", NUMERIC, traits="compares")
    op(0x49, "i32.lt_u", "", "i32 i32 -> i32", NUMERIC, traits="compares")
    op(0x4A, "i32.gt_s", "", "i32 i32 -> i32", NUMERIC, traits="compares")
    op(0x4B, "i32.gt_u", "", "i32 i32 -> i32", NUMERIC, traits="compares")
    op(0x4C, "i32.le_s", "", "i32 i32 -> i32", NUMERIC, traits="compares")
    op(0x4D, "i32.le_u", "", "i32 i32 -> i32", NUMERIC, traits="compares")
    op(0x4E, "i32.ge_s", "", "i32 i32 -> i32", NUMERIC, traits="compares")
    op(0x4F, "i32.ge_u", "", "i32 i32 -> i32", NUMERIC, traits="compares")
    op(0x50, "i64.eqz", "", "i64 -> i32", NUMERIC, traits="compares")
    op(0x51, "i64.eq", "", "i64 i64 -> i32", NUMERIC, traits="commutes compares")
    op(0x52, "i64.ne", "", "i64 i64 -> i32", NUMERIC, traits="commutes compares")
    op(0x53, "i64.lt_s", "", "i64 i64 -> i32", NUMERIC, traits="compares")
    op(0x54, "i64.lt_u", "", "i64 i64 -> i32", NUMERIC, traits="compares")
    op(0x55, "i64.gt_s", "", "i64 i64 -> i32", NUMERIC, traits="compares")
    op(0x56, "i64.gt_u", "", "i64 i64 -> i32", NUMERIC, traits="compares")
    op(0x57, "i64.le_s", "", "i64 i64 -> i32", NUMERIC, traits="compares")
    op(0x58, "i64.le_u", "", "i64 i64 -> i32", NUMERIC, traits="compares")
    op(0x59, "i64.ge_s", "", "i64 i64 -> i32", NUMERIC, traits="compares")
    op(0x5A, "i64.ge_u", "", "i64 i64 -> i32", NUMERIC, traits="compares")
    op(0x5B, "f32.eq", "", "f32 f32 -> i32", NUMERIC, traits="commutes compares")
    op(0x5C, "f32.ne", "", "f32 f32 -> i32", NUMERIC, traits="commutes compares")
    op(0x5D, "f32.lt", "", "f32 f32 -> i32", NUMERIC, traits="compares")
    op(0x5E, "f32.gt", "", "f32 f32 -> i32", NUMERIC, traits="compares")
    op(0x5F, "f32.le", "", "f32 f32 -> i32", NUMERIC, traits="compares")
    op(0x60, "f32.ge", "", "f32 f32 -> i32", NUMERIC, traits="compares")
    op(0x61, "f64.eq", "", "f64 f64 -> i32", NUMERIC, traits="commutes compares")
    op(0x62, "f64.ne", "", "f64 f64 -> i32", NUMERIC, traits="commutes compares")
    op(0x63, "f64.lt", "", "f64 f64 -> i32", NUMERIC, traits="compares")
    op(0x64, "f64.gt", "", "f64 f64 -> i32", NUMERIC, traits="compares")
    op(0x65, "f64.le", "", "f64 f64 -> i32", NUMERIC, traits="compares")
    op(0x66, "f64.ge", "", "f64 f64 -> i32", NUMERIC, traits="compares")
    op(0x67, "i32.clz", "", "i32 -> i32", NUMERIC)
    op(0x68, "i32.ctz", "", "i32 -> i32", NUMERIC)
    op(0x69, "i32.popcnt", "", "i32 -> i32", NUMERIC)
    op(0x6A, "i32.add", "", "i32 i32 -> i32", NUMERIC, traits="commutes", const=True)
    op(0x6B, "i32.sub", "", "i32 i32 -> i32", NUMERIC, const=True)
    op(0x6C, "i32.mul", "", "i32 i32 -> i32", NUMERIC, traits="commutes", const=True)
    op(0x6D, "i32.div_s", "", "i32 i32 -> i32", NUMERIC, traits="traps")
    op(0x6E, "i32.div_u", "", "i32 i32 -> i32", NUMERIC, traits="traps")
    op(0x6F, "i32.rem_s", "", "i32 i32 -> i32", NUMERIC, traits="traps")
    op(0x70, "i32.rem_u", "", "i32 i32 -> i32", NUMERIC, traits="traps")
    op(0x71, "i32.and", "", "i32 i32 -> i32", NUMERIC, traits="commutes")
    op(0x72, "i32.or", "", "i32 i32 -> i32", NUMERIC, traits="commutes")
    op(0x73, "i32.xor", "", "i32 i32 -> i32", NUMERIC, traits="commutes")
    op(0x74, "i32.shl", "", "i32 i32 -> i32", NUMERIC)
    op(0x75, "i32.shr_s", "", "i32 i32 -> i32", NUMERIC)
    op(0x76, "i32.shr_u", "", "i32 i32 -> i32", NUMERIC)
    op(0x77, "i32.rotl", "", "i32 i32 -> i32", NUMERIC)
    op(0x78, "i32.rotr", "", "i32 i32 -> i32", NUMERIC)
    op(0x79, "i64.clz", "", "i64 -> i64", NUMERIC)
    op(0x7A, "i64.ctz", "", "i64 -> i64", NUMERIC)
    op(0x7B, "i64.popcnt", "", "i64 -> i64", NUMERIC)
    op(0x7C, "i64.add", "", "i64 i64 -> i64", NUMERIC, traits="commutes", const=True)
    op(0x7D, "i64.sub", "", "i64 i64 -> i64", NUMERIC, const=True)
    op(0x7E, "i64.mul", "", "i64 i64 -> i64", NUMERIC, traits="commutes", const=True)
    op(0x7F, "i64.div_s", "", "i64 i64 -> i64", NUMERIC, traits="traps")
    op(0x80, "i64.div_u", "", "i64 i64 -> i64", NUMERIC, traits="traps")
    op(0x81, "i64.rem_s", "", "i64 i64 -> i64", NUMERIC, traits="traps")
    op(0x82, "i64.rem_u", "", "i64 i64 -> i64", NUMERIC, traits="traps")
    op(0x83, "i64.and", "", "i64 i64 -> i64", NUMERIC, traits="commutes")
    op(0x84, "i64.or", "", "i64 i64 -> i64", NUMERIC, traits="commutes")
    op(0x85, "i64.xor", "", "i64 i64 -> i64", NUMERIC, traits="commutes")
    op(0x86, "i64.shl", "", "i64 i64 -> i64", NUMERIC)
    op(0x87, "i64.shr_s", "", "i64 i64 -> i64", NUMERIC)
    op(0x88, "i64.shr_u", "", "i64 i64 -> i64", NUMERIC)
    op(0x89, "i64.rotl", "", "i64 i64 -> i64", NUMERIC)
    op(0x8A, "i64.rotr", "", "i64 i64 -> i64", NUMERIC)
    op(0x8B, "f32.abs", "", "f32 -> f32", NUMERIC)
    op(0x8C, "f32.neg", "", "f32 -> f32", NUMERIC)
    op(0x8D, "f32.ceil", "", "f32 -> f32", NUMERIC)
    op(0x8E, "f32.floor", "", "f32 -> f32", NUMERIC)
    op(0x8F, "f32.trunc", "", "f32 -> f32", NUMERIC)
    op(0x90, "f32.nearest", "", "f32 -> f32", NUMERIC)
    op(0x91, "f32.sqrt", "", "f32 -> f32", NUMERIC)
    op(0x92, "f32.add", "", "f32 f32 -> f32", NUMERIC, traits="commutes")
    op(0x93, "f32.sub", "", "f32 f32 -> f32", NUMERIC)
    op(0x94, "f32.mul", "", "f32 f32 -> f32", NUMERIC, traits="commutes")
    op(0x95, "f32.div", "", "f32 f32 -> f32", NUMERIC)
    op(0x96, "f32.min", "", "f32 f32 -> f32", NUMERIC, traits="commutes")
    op(0x97, "f32.max", "", "f32 f32 -> f32", NUMERIC, traits="commutes")
    op(0x98, "f32.copysign", "", "f32 f32 -> f32", NUMERIC)
    op(0x99, "f64.abs", "", "f64 -> f64", NUMERIC)
    op(0x9A, "f64.neg", "", "f64 -> f64", NUMERIC)
    op(0x9B, "f64.ceil", "", "f64 -> f64", NUMERIC)
    op(0x9C, "f64.floor", "", "f64 -> f64", NUMERIC)
    op(0x9D, "f64.trunc", "", "f64 -> f64", NUMERIC)
    op(0x9E, "f64.nearest", "", "f64 -> f64", NUMERIC)
    op(0x9F, "f64.sqrt", "", "f64 -> f64", NUMERIC)
    op(0xA0, "f64.add", "", "f64 f64 -> f64", NUMERIC, traits="commutes")
    op(0xA1, "f64.sub", "", "f64 f64 -> f64", NUMERIC)
    op(0xA2, "f64.mul", "", "f64 f64 -> f64", NUMERIC, traits="commutes")
    op(0xA3, "f64.div", "", "f64 f64 -> f64", NUMERIC)
    op(0xA4, "f64.min", "", "f64 f64 -> f64", NUMERIC, traits="commutes")
    op(0xA5, "f64.max", "", "f64 f64 -> f64", NUMERIC, traits="commutes")
    op(0xA6, "f64.copysign", "", "f64 f64 -> f64", NUMERIC)
    op(0xA7, "i32.wrap_i64", "", "i64 -> i32", NUMERIC)
    op(0xA8, "i32.trunc_f32_s", "", "f32 -> i32", NUMERIC, traits="traps")
    op(0xA9, "i32.trunc_f32_u", "", "f32 -> i32", NUMERIC, traits="traps")
    op(0xAA, "i32.trunc_f64_s", "", "f64 -> i32", NUMERIC, traits="traps")
    op(0xAB, "i32.trunc_f64_u", "", "f64 -> i32", NUMERIC, traits="traps")
    op(0xAC, "i64.extend_i32_s", "", "i32 -> i64", NUMERIC)
    op(0xAD, "i64.extend_i32_u", "", "i32 -> i64", NUMERIC)
    op(0xAE, "i64.trunc_f32_s", "", "f32 -> i64", NUMERIC, traits="traps")
    op(0xAF, "i64.trunc_f32_u", "", "f32 -> i64", NUMERIC, traits="traps")
    op(0xB0, "i64.trunc_f64_s", "", "f64 -> i64", NUMERIC, traits="traps")
    op(0xB1, "i64.trunc_f64_u", "", "f64 -> i64", NUMERIC, traits="traps")
    op(0xB2, "f32.convert_i32_s", "", "i32 -> f32", NUMERIC)
    op(0xB3, "f32.convert_i32_u", "", "i32 -> f32", NUMERIC)
    op(0xB4, "f32.convert_i64_s", "", "i64 -> f32", NUMERIC)
    op(0xB5, "f32.convert_i64_u", "", "i64 -> f32", NUMERIC)
    op(0xB6, "f32.demote_f64", "", "f64 -> f32", NUMERIC)
    op(0xB7, "f64.convert_i32_s", "", "i32 -> f64", NUMERIC)
    op(0xB8, "f64.convert_i32_u", "", "i32 -> f64", NUMERIC)
    op(0xB9, "f64.convert_i64_s", "", "i64 -> f64", NUMERIC)
    op(0xBA, "f64.convert_i64_u", "", "i64 -> f64", NUMERIC)
    op(0xBB, "f64.promote_f32", "", "f32 -> f64", NUMERIC)
    op(0xBC, "i32.reinterpret_f32", "", "f32 -> i32", NUMERIC)
    op(0xBD, "i64.reinterpret_f64", "", "f64 -> i64", NUMERIC)
    op(0xBE, "f32.reinterpret_i32", "", "i32 -> f32", NUMERIC)
    op(0xBF, "f64.reinterpret_i64", "", "i64 -> f64", NUMERIC)
    op(0xC0, "i32.extend8_s", "", "i32 -> i32", NUMERIC, proposal="sign-extension-ops")
    op(0xC1, "i32.extend16_s", "", "i32 -> i32", NUMERIC, proposal="sign-extension-ops")
    op(0xC2, "i64.extend8_s", "", "i64 -> i64", NUMERIC, proposal="sign-extension-ops")
    op(0xC3, "i64.extend16_s", "", "i64 -> i64", NUMERIC, proposal="sign-extension-ops")
    op(0xC4, "i64.extend32_s", "", "i64 -> i64", NUMERIC, proposal="sign-extension-ops")

# Reference instructions (section 5.4.6)
with group():
    op(0xD0, "ref.null", "heap", "-> ?", const=True, proposal="reference-types")
    op(0xD1, "ref.is_null", "", "? -> i32", proposal="reference-types")
    op(0xD2, "ref.func", "func", "-> ?", const=True, proposal="reference-types")
    op(0xD3, "ref.eq", "", "eqref eqref -> i32", proposal="gc")
    op(0xD4, "ref.as_non_null", "", "? -> ?", traits="traps", proposal="function-references")
    op(0xD5, "br_on_null", "label", "label* ? -> label* ?", role=BRANCHES, proposal="function-references")
    op(0xD6, "br_on_non_null", "label", "label* -> label*", role=BRANCHES, proposal="function-references")

# Aggregate instructions (section 5.4.7)
with group(prefix=0xFB, proposal="gc"):
    op(0x00, "struct.new", "type", "field* -> ?", const=True)
    op(0x01, "struct.new_default", "type", "-> ?", const=True)
    op(0x02, "struct.get", "type field", "? -> ?", traits="traps")
    op(0x03, "struct.get_s", "type field", "? -> i32", traits="traps")
    op(0x04, "struct.get_u", "type field", "? -> i32", traits="traps")
    op(0x05, "struct.set", "type field", "? ? ->", traits="traps")
    op(0x06, "array.new", "type", "? i32 -> ?", const=True)
    op(0x07, "array.new_default", "type", "i32 -> ?", const=True)
    op(0x08, "array.new_fixed", "type count", "count* -> ?", const=True)
    op(0x09, "array.new_data", "type data", "i32 i32 -> ?", traits="traps")
    op(0x0A, "array.new_elem", "type elem", "i32 i32 -> ?", traits="traps")
    op(0x0B, "array.get", "type", "? i32 -> ?", traits="traps")
    op(0x0C, "array.get_s", "type", "? i32 -> i32", traits="traps")
    op(0x0D, "array.get_u", "type", "? i32 -> i32", traits="traps")
    op(0x0E, "array.set", "type", "? i32 ? ->", traits="traps")
    op(0x0F, "array.len", "", "arrayref -> i32", traits="traps")
    op(0x10, "array.fill", "type", "? i32 ? i32 ->", traits="traps")
    op(0x11, "array.copy", "type type", "? i32 ? i32 i32 ->", traits="traps")
    op(0x12, "array.init_data", "type data", "? i32 i32 i32 ->", traits="traps")
    op(0x13, "array.init_elem", "type elem", "? i32 i32 i32 ->", traits="traps")
    op(0x14, "ref.test", "ref", "? -> i32")
    op(0x15, "ref.test", "refnull", "? -> i32")
    op(0x16, "ref.cast", "ref", "? -> ?", traits="traps")
    op(0x17, "ref.cast", "refnull", "? -> ?", traits="traps")
    op(0x18, "br_on_cast", "cast", "label* -> label*", role=BRANCHES)
    op(0x19, "br_on_cast_fail", "cast", "label* -> label*", role=BRANCHES)
    op(0x1A, "any.convert_extern", "", "? -> ?", const=True)
    op(0x1B, "extern.convert_any", "", "? -> ?", const=True)
    op(0x1C, "ref.i31", "", "i32 -> (ref i31)", const=True)
    op(0x1D, "i31.get_s", "", "i31ref -> i32", traits="traps")
    op(0x1E, "i31.get_u", "", "i31ref -> i32", traits="traps")

# Saturating conversions (section 5.4.8)
with group(prefix=0xFC, proposal="nontrapping-float-to-int-conversion"):
    op(0x00, "i32.trunc_sat_f32_s", "", "f32 -> i32", NUMERIC)
    op(0x01, "i32.trunc_sat_f32_u", "", "f32 -> i32", NUMERIC)
    op(0x02, "i32.trunc_sat_f64_s", "", "f64 -> i32", NUMERIC)
    op(0x03, "i32.trunc_sat_f64_u", "", "f64 -> i32", NUMERIC)
    op(0x04, "i64.trunc_sat_f32_s", "", "f32 -> i64", NUMERIC)
    op(0x05, "i64.trunc_sat_f32_u", "", "f32 -> i64", NUMERIC)
    op(0x06, "i64.trunc_sat_f64_s", "", "f64 -> i64", NUMERIC)
    op(0x07, "i64.trunc_sat_f64_u", "", "f64 -> i64", NUMERIC)

# Bulk memory and tables (sections 5.4.4 and 5.4.5)
with group(prefix=0xFC, proposal="bulk-memory"):
    op(0x08, "memory.init", "data mem", "at i32 i32 ->", traits="traps")
    op(0x09, "data.drop", "data", "->")
    op(0x0A, "memory.copy", "mem mem", "? ? ? ->", traits="traps")
    op(0x0B, "memory.fill", "mem", "at i32 at ->", traits="traps")
    op(0x0C, "table.init", "elem table", "? i32 i32 ->", traits="traps")
    op(0x0D, "elem.drop", "elem", "->")
    op(0x0E, "table.copy", "table table", "? ? ? ->", traits="traps")
    op(0x0F, "table.grow", "table", "? ? -> ?", proposal="reference-types")
    op(0x10, "table.size", "table", "-> at", proposal="reference-types")
    op(0x11, "table.fill", "table", "? ? ? ->", traits="traps", proposal="reference-types")

# Vector instructions (section 5.4.9)
with group(prefix=0xFD, proposal="simd"):
    op(0x00, "v128.load", "memarg16", "at -> v128", traits="traps")
    op(0x01, "v128.load8x8_s", "memarg8", "at -> v128", traits="traps")
    op(0x02, "v128.load8x8_u", "memarg8", "at -> v128", traits="traps")
    op(0x03, "v128.load16x4_s", "memarg8", "at -> v128", traits="traps")
    op(0x04, "v128.load16x4_u", "memarg8", "at -> v128", traits="traps")
    op(0x05, "v128.load32x2_s", "memarg8", "at -> v128", traits="traps")
    op(0x06, "v128.load32x2_u", "memarg8", "at -> v128", traits="traps")
    op(0x07, "v128.load8_splat", "memarg1", "at -> v128", traits="traps")
    op(0x08, "v128.load16_splat", "memarg2", "at -> v128", traits="traps")
    op(0x09, "v128.load32_splat", "memarg4", "at -> v128", traits="traps")
    op(0x0A, "v128.load64_splat", "memarg8", "at -> v128", traits="traps")
    op(0x0B, "v128.store", "memarg16", "at v128 ->", traits="traps")
    op(0x0C, "v128.const", "v128", "-> v128", const=True)
    op(0x0D, "i8x16.shuffle", "shuffle", "v128 v128 -> v128", NUMERIC)
    op(0x0E, "i8x16.swizzle", "", "v128 v128 -> v128", NUMERIC)
    op(0x0F, "i8x16.splat", "", "i32 -> v128", NUMERIC)
    op(0x10, "i16x8.splat", "", "i32 -> v128", NUMERIC)
    op(0x11, "i32x4.splat", "", "i32 -> v128", NUMERIC)
    op(0x12, "i64x2.splat", "", "i64 -> v128", NUMERIC)
    op(0x13, "f32x4.splat", "", "f32 -> v128", NUMERIC)
    op(0x14, "f64x2.splat", "", "f64 -> v128", NUMERIC)
    op(0x15, "i8x16.extract_lane_s", "lane16", "v128 -> i32", NUMERIC)
    op(0x16, "i8x16.extract_lane_u", "lane16", "v128 -> i32", NUMERIC)
    op(0x17, "i8x16.replace_lane", "lane16", "v128 i32 -> v128", NUMERIC)
    op(0x18, "i16x8.extract_lane_s", "lane8", "v128 -> i32", NUMERIC)
    op(0x19, "i16x8.extract_lane_u", "lane8", "v128 -> i32", NUMERIC)
    op(0x1A, "i16x8.replace_lane", "lane8", "v128 i32 -> v128", NUMERIC)
    op(0x1B, "i32x4.extract_lane", "lane4", "v128 -> i32", NUMERIC)
    op(0x1C, "i32x4.replace_lane", "lane4", "v128 i32 -> v128", NUMERIC)
    op(0x1D, "i64x2.extract_lane", "lane2", "v128 -> i64", NUMERIC)
    op(0x1E, "i64x2.replace_lane", "lane2", "v128 i64 -> v128", NUMERIC)
    op(0x1F, "f32x4.extract_lane", "lane4", "v128 -> f32", NUMERIC)
    op(0x20, "f32x4.replace_lane", "lane4", "v128 f32 -> v128", NUMERIC)
    op(0x21, "f64x2.extract_lane", "lane2", "v128 -> f64", NUMERIC)
    op(0x22, "f64x2.replace_lane", "lane2", "v128 f64 -> v128", NUMERIC)
    op(0x23, "i8x16.eq", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x24, "i8x16.ne", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x25, "i8x16.lt_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x26, "i8x16.lt_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x27, "i8x16.gt_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x28, "i8x16.gt_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x29, "i8x16.le_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x2A, "i8x16.le_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x2B, "i8x16.ge_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x2C, "i8x16.ge_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x2D, "i16x8.eq", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x2E, "i16x8.ne", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x2F, "i16x8.lt_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x30, "i16x8.lt_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x31, "i16x8.gt_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x32, "i16x8.gt_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x33, "i16x8.le_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x34, "i16x8.le_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x35, "i16x8.ge_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x36, "i16x8.ge_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x37, "i32x4.eq", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x38, "i32x4.ne", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x39, "i32x4.lt_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x3A, "i32x4.lt_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x3B, "i32x4.gt_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x3C, "i32x4.gt_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x3D, "i32x4.le_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x3E, "i32x4.le_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x3F, "i32x4.ge_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x40, "i32x4.ge_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x41, "f32x4.eq", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x42, "f32x4.ne", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x43, "f32x4.lt", "", "v128 v128 -> v128", NUMERIC)
    op(0x44, "f32x4.gt", "", "v128 v128 -> v128", NUMERIC)
    op(0x45, "f32x4.le", "", "v128 v128 -> v128", NUMERIC)
    op(0x46, "f32x4.ge", "", "v128 v128 -> v128", NUMERIC)
    op(0x47, "f64x2.eq", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x48, "f64x2.ne", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x49, "f64x2.lt", "", "v128 v128 -> v128", NUMERIC)
    op(0x4A, "f64x2.gt", "", "v128 v128 -> v128", NUMERIC)
    op(0x4B, "f64x2.le", "", "v128 v128 -> v128", NUMERIC)
    op(0x4C, "f64x2.ge", "", "v128 v128 -> v128", NUMERIC)
    op(0x4D, "v128.not", "", "v128 -> v128", NUMERIC)
    op(0x4E, "v128.and", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x4F, "v128.andnot", "", "v128 v128 -> v128", NUMERIC)
    op(0x50, "v128.or", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x51, "v128.xor", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x52, "v128.bitselect", "", "v128 v128 v128 -> v128", NUMERIC)
    op(0x53, "v128.any_true", "", "v128 -> i32", NUMERIC)
    op(0x54, "v128.load8_lane", "memarg1 lane16", "at v128 -> v128", traits="traps")
    op(0x55, "v128.load16_lane", "memarg2 lane8", "at v128 -> v128", traits="traps")
    op(0x56, "v128.load32_lane", "memarg4 lane4", "at v128 -> v128", traits="traps")
    op(0x57, "v128.load64_lane", "memarg8 lane2", "at v128 -> v128", traits="traps")
    op(0x58, "v128.store8_lane", "memarg1 lane16", "at v128 ->", traits="traps")
    op(0x59, "v128.store16_lane", "memarg2 lane8", "at v128 ->", traits="traps")
    op(0x5A, "v128.store32_lane", "memarg4 lane4", "at v128 ->", traits="traps")
    op(0x5B, "v128.store64_lane", "memarg8 lane2", "at v128 ->", traits="traps")
    op(0x5C, "v128.load32_zero", "memarg4", "at -> v128", traits="traps")
    op(0x5D, "v128.load64_zero", "memarg8", "at -> v128", traits="traps")
    op(0x5E, "f32x4.demote_f64x2_zero", "", "v128 -> v128", NUMERIC)
    op(0x5F, "f64x2.promote_low_f32x4", "", "v128 -> v128", NUMERIC)
    op(0x60, "i8x16.abs", "", "v128 -> v128", NUMERIC)
    op(0x61, "i8x16.neg", "", "v128 -> v128", NUMERIC)
    op(0x62, "i8x16.popcnt", "", "v128 -> v128", NUMERIC)
    op(0x63, "i8x16.all_true", "", "v128 -> i32", NUMERIC)
    op(0x64, "i8x16.bitmask", "", "v128 -> i32", NUMERIC)
    op(0x65, "i8x16.narrow_i16x8_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x66, "i8x16.narrow_i16x8_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x67, "f32x4.ceil", "", "v128 -> v128", NUMERIC)
    op(0x68, "f32x4.floor", "", "v128 -> v128", NUMERIC)
    op(0x69, "f32x4.trunc", "", "v128 -> v128", NUMERIC)
    op(0x6A, "f32x4.nearest", "", "v128 -> v128", NUMERIC)
    op(0x6B, "i8x16.shl", "", "v128 i32 -> v128", NUMERIC)
    op(0x6C, "i8x16.shr_s", "", "v128 i32 -> v128", NUMERIC)
    op(0x6D, "i8x16.shr_u", "", "v128 i32 -> v128", NUMERIC)
    op(0x6E, "i8x16.add", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x6F, "i8x16.add_sat_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x70, "i8x16.add_sat_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x71, "i8x16.sub", "", "v128 v128 -> v128", NUMERIC)
    op(0x72, "i8x16.sub_sat_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x73, "i8x16.sub_sat_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x74, "f64x2.ceil", "", "v128 -> v128", NUMERIC)
    op(0x75, "f64x2.floor", "", "v128 -> v128", NUMERIC)
    op(0x76, "i8x16.min_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x77, "i8x16.min_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x78, "i8x16.max_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x79, "i8x16.max_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x7A, "f64x2.trunc", "", "v128 -> v128", NUMERIC)
    op(0x7B, "i8x16.avgr_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x7C, "i16x8.extadd_pairwise_i8x16_s", "", "v128 -> v128", NUMERIC)
    op(0x7D, "i16x8.extadd_pairwise_i8x16_u", "", "v128 -> v128", NUMERIC)
    op(0x7E, "i32x4.extadd_pairwise_i16x8_s", "", "v128 -> v128", NUMERIC)
    op(0x7F, "i32x4.extadd_pairwise_i16x8_u", "", "v128 -> v128", NUMERIC)
    op(0x80, "i16x8.abs", "", "v128 -> v128", NUMERIC)
    op(0x81, "i16x8.neg", "", "v128 -> v128", NUMERIC)
    op(0x82, "i16x8.q15mulr_sat_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x83, "i16x8.all_true", "", "v128 -> i32", NUMERIC)
    op(0x84, "i16x8.bitmask", "", "v128 -> i32", NUMERIC)
    op(0x85, "i16x8.narrow_i32x4_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x86, "i16x8.narrow_i32x4_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x87, "i16x8.extend_low_i8x16_s", "", "v128 -> v128", NUMERIC)
    op(0x88, "i16x8.extend_high_i8x16_s", "", "v128 -> v128", NUMERIC)
    op(0x89, "i16x8.extend_low_i8x16_u", "", "v128 -> v128", NUMERIC)
    op(0x8A, "i16x8.extend_high_i8x16_u", "", "v128 -> v128", NUMERIC)
    op(0x8B, "i16x8.shl", "", "v128 i32 -> v128", NUMERIC)
    op(0x8C, "i16x8.shr_s", "", "v128 i32 -> v128", NUMERIC)
    op(0x8D, "i16x8.shr_u", "", "v128 i32 -> v128", NUMERIC)
    op(0x8E, "i16x8.add", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x8F, "i16x8.add_sat_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x90, "i16x8.add_sat_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x91, "i16x8.sub", "", "v128 v128 -> v128", NUMERIC)
    op(0x92, "i16x8.sub_sat_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x93, "i16x8.sub_sat_u", "", "v128 v128 -> v128", NUMERIC)
    op(0x94, "f64x2.nearest", "", "v128 -> v128", NUMERIC)
    op(0x95, "i16x8.mul", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x96, "i16x8.min_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x97, "i16x8.min_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x98, "i16x8.max_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x99, "i16x8.max_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x9B, "i16x8.avgr_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x9C, "i16x8.extmul_low_i8x16_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x9D, "i16x8.extmul_high_i8x16_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x9E, "i16x8.extmul_low_i8x16_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0x9F, "i16x8.extmul_high_i8x16_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xA0, "i32x4.abs", "", "v128 -> v128", NUMERIC)
    op(0xA1, "i32x4.neg", "", "v128 -> v128", NUMERIC)
    op(0xA3, "i32x4.all_true", "", "v128 -> i32", NUMERIC)
    op(0xA4, "i32x4.bitmask", "", "v128 -> i32", NUMERIC)
    op(0xA7, "i32x4.extend_low_i16x8_s", "", "v128 -> v128", NUMERIC)
    op(0xA8, "i32x4.extend_high_i16x8_s", "", "v128 -> v128", NUMERIC)
    op(0xA9, "i32x4.extend_low_i16x8_u", "", "v128 -> v128", NUMERIC)
    op(0xAA, "i32x4.extend_high_i16x8_u", "", "v128 -> v128", NUMERIC)
    op(0xAB, "i32x4.shl", "", "v128 i32 -> v128", NUMERIC)
    op(0xAC, "i32x4.shr_s", "", "v128 i32 -> v128", NUMERIC)
    op(0xAD, "i32x4.shr_u", "", "v128 i32 -> v128", NUMERIC)
    op(0xAE, "i32x4.add", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xB1, "i32x4.sub", "", "v128 v128 -> v128", NUMERIC)
    op(0xB5, "i32x4.mul", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xB6, "i32x4.min_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xB7, "i32x4.min_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xB8, "i32x4.max_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xB9, "i32x4.max_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xBA, "i32x4.dot_i16x8_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xBC, "i32x4.extmul_low_i16x8_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xBD, "i32x4.extmul_high_i16x8_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xBE, "i32x4.extmul_low_i16x8_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xBF, "i32x4.extmul_high_i16x8_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xC0, "i64x2.abs", "", "v128 -> v128", NUMERIC)
    op(0xC1, "i64x2.neg", "", "v128 -> v128", NUMERIC)
    op(0xC3, "i64x2.all_true", "", "v128 -> i32", NUMERIC)
    op(0xC4, "i64x2.bitmask", "", "v128 -> i32", NUMERIC)
    op(0xC7, "i64x2.extend_low_i32x4_s", "", "v128 -> v128", NUMERIC)
    op(0xC8, "i64x2.extend_high_i32x4_s", "", "v128 -> v128", NUMERIC)
    op(0xC9, "i64x2.extend_low_i32x4_u", "", "v128 -> v128", NUMERIC)
    op(0xCA, "i64x2.extend_high_i32x4_u", "", "v128 -> v128", NUMERIC)
    op(0xCB, "i64x2.shl", "", "v128 i32 -> v128", NUMERIC)
    op(0xCC, "i64x2.shr_s", "", "v128 i32 -> v128", NUMERIC)
    op(0xCD, "i64x2.shr_u", "", "v128 i32 -> v128", NUMERIC)
    op(0xCE, "i64x2.add", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xD1, "i64x2.sub", "", "v128 v128 -> v128", NUMERIC)
    op(0xD5, "i64x2.mul", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xD6, "i64x2.eq", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xD7, "i64x2.ne", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xD8, "i64x2.lt_s", "", "v128 v128 -> v128", NUMERIC)
    op(0xD9, "i64x2.gt_s", "", "v128 v128 -> v128", NUMERIC)
    op(0xDA, "i64x2.le_s", "", "v128 v128 -> v128", NUMERIC)
    op(0xDB, "i64x2.ge_s", "", "v128 v128 -> v128", NUMERIC)
    op(0xDC, "i64x2.extmul_low_i32x4_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xDD, "i64x2.extmul_high_i32x4_s", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xDE, "i64x2.extmul_low_i32x4_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xDF, "i64x2.extmul_high_i32x4_u", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xE0, "f32x4.abs", "", "v128 -> v128", NUMERIC)
    op(0xE1, "f32x4.neg", "", "v128 -> v128", NUMERIC)
    op(0xE3, "f32x4.sqrt", "", "v128 -> v128", NUMERIC)
    op(0xE4, "f32x4.add", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xE5, "f32x4.sub", "", "v128 v128 -> v128", NUMERIC)
    op(0xE6, "f32x4.mul", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xE7, "f32x4.div", "", "v128 v128 -> v128", NUMERIC)
    op(0xE8, "f32x4.min", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xE9, "f32x4.max", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xEA, "f32x4.pmin", "", "v128 v128 -> v128", NUMERIC)
    op(0xEB, "f32x4.pmax", "", "v128 v128 -> v128", NUMERIC)
    op(0xEC, "f64x2.abs", "", "v128 -> v128", NUMERIC)
    op(0xED, "f64x2.neg", "", "v128 -> v128", NUMERIC)
    op(0xEF, "f64x2.sqrt", "", "v128 -> v128", NUMERIC)
    op(0xF0, "f64x2.add", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xF1, "f64x2.sub", "", "v128 v128 -> v128", NUMERIC)
    op(0xF2, "f64x2.mul", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xF3, "f64x2.div", "", "v128 v128 -> v128", NUMERIC)
    op(0xF4, "f64x2.min", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xF5, "f64x2.max", "", "v128 v128 -> v128", NUMERIC, traits="commutes")
    op(0xF6, "f64x2.pmin", "", "v128 v128 -> v128", NUMERIC)
    op(0xF7, "f64x2.pmax", "", "v128 v128 -> v128", NUMERIC)
    op(0xF8, "i32x4.trunc_sat_f32x4_s", "", "v128 -> v128", NUMERIC)
    op(0xF9, "i32x4.trunc_sat_f32x4_u", "", "v128 -> v128", NUMERIC)
    op(0xFA, "f32x4.convert_i32x4_s", "", "v128 -> v128", NUMERIC)
    op(0xFB, "f32x4.convert_i32x4_u", "", "v128 -> v128", NUMERIC)
    op(0xFC, "i32x4.trunc_sat_f64x2_s_zero", "", "v128 -> v128", NUMERIC)
    op(0xFD, "i32x4.trunc_sat_f64x2_u_zero", "", "v128 -> v128", NUMERIC)
    op(0xFE, "f64x2.convert_low_i32x4_s", "", "v128 -> v128", NUMERIC)
    op(0xFF, "f64x2.convert_low_i32x4_u", "", "v128 -> v128", NUMERIC)

# Relaxed vector instructions (section 5.4.9)
with group(prefix=0xFD, proposal="relaxed-simd"):
    op(0x100, "i8x16.relaxed_swizzle", "", "v128 v128 -> v128", NUMERIC)
    op(0x101, "i32x4.relaxed_trunc_f32x4_s", "", "v128 -> v128", NUMERIC)
    op(0x102, "i32x4.relaxed_trunc_f32x4_u", "", "v128 -> v128", NUMERIC)
    op(0x103, "i32x4.relaxed_trunc_f64x2_s_zero", "", "v128 -> v128", NUMERIC)
    op(0x104, "i32x4.relaxed_trunc_f64x2_u_zero", "", "v128 -> v128", NUMERIC)
    op(0x105, "f32x4.relaxed_madd", "", "v128 v128 v128 -> v128", NUMERIC)
    op(0x106, "f32x4.relaxed_nmadd", "", "v128 v128 v128 -> v128", NUMERIC)
    op(0x107, "f64x2.relaxed_madd", "", "v128 v128 v128 -> v128", NUMERIC)
    op(0x108, "f64x2.relaxed_nmadd", "", "v128 v128 v128 -> v128", NUMERIC)
    op(0x109, "i8x16.relaxed_laneselect", "", "v128 v128 v128 -> v128", NUMERIC)
    op(0x10A, "i16x8.relaxed_laneselect", "", "v128 v128 v128 -> v128", NUMERIC)
    op(0x10B, "i32x4.relaxed_laneselect", "", "v128 v128 v128 -> v128", NUMERIC)
    op(0x10C, "i64x2.relaxed_laneselect", "", "v128 v128 v128 -> v128", NUMERIC)
    op(0x10D, "f32x4.relaxed_min", "", "v128 v128 -> v128", NUMERIC)
    op(0x10E, "f32x4.relaxed_max", "", "v128 v128 -> v128", NUMERIC)
    op(0x10F, "f64x2.relaxed_min", "", "v128 v128 -> v128", NUMERIC)
    op(0x110, "f64x2.relaxed_max", "", "v128 v128 -> v128", NUMERIC)
    op(0x111, "i16x8.relaxed_q15mulr_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x112, "i16x8.relaxed_dot_i8x16_i7x16_s", "", "v128 v128 -> v128", NUMERIC)
    op(0x113, "i32x4.relaxed_dot_i8x16_i7x16_add_s", "", "v128 v128 v128 -> v128", NUMERIC)

# The wide-arithmetic proposal
with group(prefix=0xFC, feature=Feature.WIDE_ARITHMETIC):
    op(0x13, "i64.add128", "", "i64 i64 i64 i64 -> i64 i64", NUMERIC)
    op(0x14, "i64.sub128", "", "i64 i64 i64 i64 -> i64 i64", NUMERIC)
    op(0x15, "i64.mul_wide_s", "", "i64 i64 -> i64 i64", NUMERIC, traits="commutes")
    op(0x16, "i64.mul_wide_u", "", "i64 i64 -> i64 i64", NUMERIC, traits="commutes")


def ordinals(*names: str) -> set[int]:
    """Those of the instructions with some names."""
    return {row.ordinal for name in names for row in BY_NAME[name]}
