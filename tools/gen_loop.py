"""Generate the native engine's opcodes and the dispatch arms that follow from the instruction table.

    python tools/gen_loop.py [--check]

Writes `engine/native/opcodes.py` (names and numbers for the lowering), `dispatch.h` (for the loop): every
numeric operator with its register and constant forms, comparisons melted into branches, and all loads and
stores; and `words.h` (for the verifier): what the fields of each word are. The rest of the opcodes, listed
in HAND, have their arms in `loop.c`. `digest.py` and the built loop have a digest of the table; the engine
refuses a loop built from another one. `trap.h` and `heap_kind.h` number what Python has enumerations of;
`validation/rule_names.h` lists the rules that the quick look at bodies has for open signatures.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pairs import LINES
from words import (
    CHANGE,
    CHANGE2,
    FLOWS,
    HAND,
    IMMEDIATES,
    NO_FIELD,
    OTHERS,
    READ,
    READ2,
    VARIES,
    WRITE,
    WRITE2,
    Word,
)

from tinywasm.errors import FINER_WORDINGS, TrapCode
from tinywasm.instructions import TABLE, Instruction
from tinywasm.types import F32, F64, I32, I64, V128, AbstractHeap, ValType

NATIVE = Path(__file__).resolve().parent.parent / "tinywasm" / "engine" / "native"

SCALARS: dict[ValType, tuple[str, str, str]] = {
    # type: (C type, read a slot, write a slot)
    I32: ("uint32_t", "R32", "W32"),
    I64: ("uint64_t", "R64", "W64"),
    F32: ("float", "RF32", "WF32"),
    F64: ("double", "RF64", "WF64"),
    V128: ("v128", "RV", "WV"),
}


def numeric_rows() -> list[Instruction]:
    return [row for row in TABLE if row.operator is not None]


def _scalar(row: Instruction) -> bool:
    return V128 not in row.params and not row.immediates and len(row.results) == 1


def constant_forms() -> list[Instruction]:
    """Scalar binary operators whose second operand may be a constant."""
    return [row for row in numeric_rows() if _scalar(row) and len(row.params) == 2]


def compares() -> list[Instruction]:
    """Comparisons of two scalars, and a test against zero, that melt into branches.

    The other such test, `i32.eqz`, only turns its branch around.
    """
    return [row for row in numeric_rows() if "compares" in row.traits and row.name != "i32.eqz"]


def constant_compares() -> list[Instruction]:
    """Those whose constant fits half an immediate."""
    return [row for row in compares() if len(row.params) == 2]


# An operator whose operand another one has just made takes both in one word: name -> (inner form, outer
# operator, C expression over the inner's operands x and y and the other operand z). `reversed` is for
# outer operators that do not commute, with the inner's value on the right.
@dataclass(frozen=True)
class Fusion:
    name: str
    inner: str
    outer: str
    expression: str
    reversed: bool = False


def fusions() -> list[Fusion]:
    found = []
    for t in ("f64", "f32"):
        # A NaN of the product passes through, so that one look at the end is enough.
        found += [
            Fusion(f"{t}_mul_add", f"{t}_mul", f"{t}_add", f"{t}_canonical(x * y + z)"),
            Fusion(f"{t}_mul_sub", f"{t}_mul", f"{t}_sub", f"{t}_canonical(x * y - z)"),
            Fusion(f"{t}_mul_sub_from", f"{t}_mul", f"{t}_sub", f"{t}_canonical(z - x * y)", reversed=True),
        ]
    for t in ("i32", "i64"):
        for inner, outer in _INTEGER_PAIRS:
            operator = inner.removesuffix("__k")
            found.append(
                Fusion(
                    f"{t}_{inner}_{outer}",
                    f"{t}_{inner}",
                    f"{t}_{outer}",
                    f"{t}_{outer}({t}_{operator}(x, y), z)",
                )
            )
    return found


_INTEGER_PAIRS = [
    ("add", "add"),
    ("mul", "add"),
    ("shl__k", "add"),
    ("add__k", "add"),
    ("xor", "xor"),
    ("and", "xor"),
    ("and", "or"),
    ("rotl__k", "xor"),
    ("shr_u__k", "xor"),
]

# Two i32 operators with constants in one word: the first in the lower half of the immediate.
CONSTANT_PAIRS = [
    ("mul", "add"),
    ("shl", "add"),
    ("shr_u", "and"),
    ("and", "shl"),
    ("add", "and"),
    ("add", "shl"),
]

# Comparisons that close a counted loop: the counter is changed by a constant just before.
COUNTED = ("i32_ne", "i32_lt_u", "i32_lt_s", "i32_gt_s", "i32_gt_u")


@dataclass(frozen=True)
class Pair:
    """Two opcodes that often follow each other, as one that does both words; field `taken` of the second, if
    any, is the slot that the first has just written, and is not read again."""

    first: str
    second: str
    taken: str

    @property
    def name(self) -> str:
        return f"{self.first}__then__{self.second}" + (f"__{self.taken}" if self.taken else "")


PAIRS = [Pair(*line.split(), *([""] if line.count(" ") == 1 else [])) for line in LINES.strip().splitlines()]


def access_rows() -> list[Instruction]:
    return [row for row in TABLE if row.immediates and row.immediates[0].startswith("memarg")]


def opcode_names() -> list[str]:
    names = [*HAND, *_SIMPLE]
    names += [row.operator or "" for row in numeric_rows()]
    names += [f"{row.operator}__k" for row in constant_forms()]
    for sense in ("if", "unless"):
        names += [f"branch_{sense}__{row.operator}" for row in compares()]
        names += [f"branch_{sense}__{row.operator}__k" for row in constant_compares()]
    names += [fusion.name for fusion in fusions()]
    names += [f"i32_{inner}__k_{outer}__k" for inner, outer in CONSTANT_PAIRS]
    names += [f"count_{name}{form}" for name in COUNTED for form in ("", "__k")]
    for row in access_rows():
        names += [f"{_flat(row)}{form}" for form in _access_forms(row)]
    names += [pair.name for pair in PAIRS]
    assert len(set(names)) == len(names)
    return names


def _flat(row: Instruction) -> str:
    return row.name.replace(".", "_")


def digest() -> str:
    rows = [(r.ordinal, r.prefix, r.code, r.name, r.immediates, str(r.params), str(r.results)) for r in TABLE]
    return hashlib.sha256(repr((rows, opcode_names())).encode()).hexdigest()[:16]


def _python_set(name: str, members: Iterable[str | None]) -> list[str]:
    return [f"{name} = frozenset(", "    {", *[f'        "{each}",' for each in members], "    }", ")"]


def python_source() -> str:
    lines = ['"""Opcodes of the native loop. Generated by tools/gen_loop.py; do not edit."""', ""]
    lines += ["OPCODES: dict[str, int] = {"]
    lines += [f'    "{name}": {number},' for number, name in enumerate(opcode_names())]
    lines += ["}", "", "# Operators that have a form with a constant as second operand."]
    lines += _python_set("CONSTANT_FORMS", (row.operator for row in constant_forms()))
    commutative = (
        row.operator for row in constant_forms() if "commutes" in row.traits and row.params[0] in (I32, I64)
    )
    lines += ["", *_python_set("COMMUTATIVE", commutative), ""]
    lines += ["# Comparisons: opcode -> (branch if, branch unless, kind of the constant in the immediate)."]
    lines += ["COMPARES: dict[int, tuple[str, str, str]] = {"]
    names = [(f"{row.operator}", "") for row in compares()]
    names += [(f"{row.operator}__k", str(row.params[1])) for row in constant_compares()]
    for name, constant in names:
        lines.append(f'    OPCODES["{name}"]: ("branch_if__{name}", "branch_unless__{name}", "{constant}"),')
    lines += [
        "}",
        "",
        "# (inner opcode, outer operator, inner's value on the right) -> opcode of both at once.",
    ]
    lines += ["FUSED: dict[tuple[int, str, bool], str] = {"]
    for fusion in fusions():
        sides = [fusion.reversed] if "_sub" in fusion.name else [False, True]
        for right in sides:
            lines.append(f'    (OPCODES["{fusion.inner}"], "{fusion.outer}", {right}): "{fusion.name}",')
    lines += ["}", "", "# (inner opcode, outer operator), both with a constant -> opcode of both at once."]
    lines += ["FUSED_CONSTANTS: dict[tuple[int, str], str] = {"]
    for inner, outer in CONSTANT_PAIRS:
        lines.append(f'    (OPCODES["i32_{inner}__k"], "i32_{outer}"): "i32_{inner}__k_{outer}__k",')
    lines += ["}", "", "# Branches on a comparison that may take the counter's step along."]
    lines += ["COUNTED: dict[str, str] = {"]
    for name in COUNTED:
        for form in ("", "__k"):
            lines.append(f'    "branch_if__{name}{form}": "count_{name}{form}",')
    lines += [
        "}",
        "",
        "# (opcode, the one behind it) -> both in one. The second's field of that index in a word",
    ]
    lines += ["# is the slot that the first has written; 0 fits any two."]
    lines += ["PAIRED: dict[tuple[int, int], list[tuple[int, int]]] = {"]
    for (first, second), pairs in _pairs_by_opcodes().items():
        lines.append(f'    (OPCODES["{first}"], OPCODES["{second}"]): [')
        lines += [f'        ({_FIELDS.index(pair.taken)}, OPCODES["{pair.name}"]),' for pair in pairs]
        lines.append("    ],")
    return "\n".join([*lines, "}", ""])


_FIELDS = ("", "a", "b", "c", "imm")


def _pairs_by_opcodes() -> dict[tuple[str, str], list[Pair]]:
    """The pairs of the same two opcodes, those that take a value first."""
    found: dict[tuple[str, str], list[Pair]] = {}
    for pair in sorted(PAIRS, key=lambda pair: not pair.taken):
        found.setdefault((pair.first, pair.second), []).append(pair)
    return found


# Arms


@dataclass(frozen=True)
class Arm:
    """The C of one opcode.

    `reads` are the fields of its word that name the slots of its operands, with the macro that reads each;
    they stand in the other texts as $field. `value`, of the C type `ctype`, is what it leaves in slot a by
    the macro `write`, after the statements `before`; `check` follows the value. An arm ends with `tail`.
    `fields`, `immediate` and `flow` are columns of its word, see `words`, where the rest does not tell.
    """

    reads: dict[str, str]
    before: str = ""
    ctype: str = ""
    value: str = ""
    check: str = ""
    write: str = ""
    tail: str = "NEXT;"
    fields: dict[str, tuple[str, int] | str] = field(default_factory=dict)
    immediate: str = "any"
    flow: str = "next"

    @property
    def word(self) -> Word:
        """The columns of the word: those of `fields`, and what follows from what it reads and writes."""
        columns: dict[str, Any] = {
            slot: READ2 if macro == "RV" else READ for slot, macro in self.reads.items() if slot != "imm"
        }
        if self.value:
            columns["a"] = WRITE2 if self.write == "WV" else WRITE
        immediate = "slot" if "imm" in self.reads else self.immediate
        return Word(**{**columns, **self.fields}, immediate=immediate, flow=self.flow)

    def body(self, made: str, taken: dict[str, str]) -> str:
        """All but the tail: the value is left in the variable `made` too, and the fields in `taken` are
        read from what that has for them."""
        text = f"{self.before} "
        if self.value:
            text += f"{made} = {self.value}; {self.check} {self.write}(pc->a, {made});"
        for each, macro in self.reads.items():
            text = text.replace(f"${each}", taken.get(each) or f"{macro}(pc->{each})")
        return " ".join(text.split())

    def ending(self, taken: dict[str, str]) -> str:
        text = self.tail
        for each, macro in self.reads.items():
            text = text.replace(f"${each}", taken.get(each) or f"{macro}(pc->{each})")
        return text


def _made(ctype: str, macro: str) -> str:
    """A value that an arm has just made, `made` of type `ctype`, as the macro would read it from its slot."""
    bits = {"float": "i32_reinterpret_f32(made)", "double": "i64_reinterpret_f64(made)"}.get(ctype, "made")
    return {
        "R32": f"(uint32_t){bits}",
        "R64": f"(uint64_t){bits}",
        "RF32": "made" if ctype == "float" else f"imm_f32({bits})",
        "RF64": "made" if ctype == "double" else f"imm_f64({bits})",
    }[macro]


def _writing(type: ValType) -> dict[str, Any]:
    ctype, _, write = SCALARS[type]
    return {"ctype": ctype, "write": write}


def _numeric_arm(row: Instruction) -> Arm:
    slots = ("b", "c", "imm")[: len(row.params)]
    reads = {slot: SCALARS[type][1] for type, slot in zip(row.params, slots, strict=True)}
    arguments = [f"${slot}" for slot in slots]
    if row.immediates == ("shuffle",):
        arguments.append("(const uint8_t *)(pc + 1)")
    elif row.immediates:
        arguments.append("(unsigned)pc->imm")
    if "traps" in row.traits:
        arguments.append("&trap")
    return Arm(
        reads,
        value=f"{row.operator}({', '.join(arguments)})",
        check="CHECK_TRAP;" if "traps" in row.traits else "",
        tail="pc++; NEXT;" if row.immediates == ("shuffle",) else "NEXT;",
        immediate=row.immediates[0] if row.immediates and row.immediates != ("shuffle",) else "any",
        flow="lanes" if row.immediates == ("shuffle",) else "next",
        **_writing(row.results[0]),
    )


def _wide_arm(row: Instruction) -> Arm:
    slots = ["pc->b", "pc->c", "pc->imm & 0xFFFF", "pc->imm >> 16"][: len(row.params)]
    reads = ", ".join(f"R64({slot})" for slot in slots)
    return Arm(
        {},
        before=f"uint64_t low, high; {row.operator}({reads}, &low, &high);",
        tail="W64(pc->a, low); W64(pc->a + 1, high); NEXT;",
        fields={"a": WRITE2, "b": READ, "c": READ},
        immediate="slots" if len(row.params) == 4 else "any",
    )


_CONSTANTS: dict[ValType, str] = {
    I32: "pc->low",
    I64: "pc->imm",
    F32: "imm_f32(pc->imm)",
    F64: "imm_f64(pc->imm)",
}


def _constant_arm(row: Instruction) -> Arm:
    extra = ", &trap" if "traps" in row.traits else ""
    return Arm(
        {"b": SCALARS[row.params[0]][1]},
        value=f"{row.operator}($b, {_CONSTANTS[row.params[1]]}{extra})",
        check="CHECK_TRAP;" if "traps" in row.traits else "",
        **_writing(row.results[0]),
    )


def _branches(operator: str, reads: dict[str, str], arguments: str, form: str) -> Iterator[tuple[str, Arm]]:
    condition = f"{operator}({arguments})"
    for sense, test in (("if", condition), ("unless", f"!{condition}")):
        yield (
            f"branch_{sense}__{operator}{form}",
            Arm(reads, before=f"if ({test}) BRANCH;", immediate="distance"),
        )


def _branch_arms(row: Instruction) -> Iterator[tuple[str, Arm]]:
    reads = {slot: SCALARS[type][1] for type, slot in zip(row.params, ("a", "b"), strict=False)}
    return _branches(row.operator or "", reads, ", ".join(f"${slot}" for slot in reads), "")


# A constant in the upper half of the immediate: an i64 sign-extended, an f64 as an f32 of the same value.
_HALF_CONSTANTS: dict[ValType, str] = {
    I32: "pc->high",
    I64: "(uint64_t)(int32_t)pc->high",
    F32: "imm_f32(pc->high)",
    F64: "(double)imm_f32(pc->high)",
}


def _constant_branch_arms(row: Instruction) -> Iterator[tuple[str, Arm]]:
    arguments = f"$a, {_HALF_CONSTANTS[row.params[1]]}"
    return _branches(row.operator or "", {"a": SCALARS[row.params[0]][1]}, arguments, "__k")


def _fused_arm(fusion: Fusion) -> Arm:
    type = {"i32": I32, "i64": I64, "f32": F32, "f64": F64}[fusion.name[:3]]
    ctype, read, _ = SCALARS[type]
    constant = fusion.inner.endswith("__k")
    y, z = ("(pc->imm)", "$c") if constant else ("$c", "$imm")
    return Arm(
        {"b": read, "c": read} if constant else {"b": read, "c": read, "imm": read},
        before=f"{ctype} x = $b, y = ({ctype}){y}, z = {z};",
        value=fusion.expression,
        **_writing(type),
    )


def _constant_pair_arm(inner: str, outer: str) -> Arm:
    first = f"i32_{inner}($b, pc->low)"
    return Arm({"b": "R32"}, value=f"i32_{outer}({first}, pc->high)", **_writing(I32))


def _counted_arms(name: str) -> Iterator[tuple[str, Arm]]:
    """The counter in a grows by c (signed), then meets slot b, or the constant in the immediate."""
    step = "uint32_t next = $a + (uint32_t)(int32_t)(int16_t)pc->c; W32(pc->a, next);"
    for form, reads, against in (
        ("", {"a": "R32", "b": "R32"}, "$b"),
        ("__k", {"a": "R32"}, "pc->high"),
    ):
        yield (
            f"count_{name}{form}",
            Arm(
                reads,
                before=f"{step} if ({name}(next, {against})) BRANCH;",
                fields={"a": CHANGE},
                immediate="distance",
            ),
        )


_LOAD_CTYPES = {
    "8_s": "int8_t",
    "8_u": "uint8_t",
    "16_s": "int16_t",
    "16_u": "uint16_t",
    "32_s": "int32_t",
    "32_u": "uint32_t",
}


def _access_forms(row: Instruction) -> dict[str, str]:
    """Suffixes of the forms and the macros that find their place.

    The short form is for memory 0 with 32-bit addresses; `__x` names its memory in c, unless that is
    `FAR_MEMORY`; `__a` is short and adds a constant, the upper half of its immediate, to the address;
    `__s` has its whole address there; `__u` makes its address as `__a` does and leaves it in slot c.
    """
    forms = {"": "ADDRESS", "__x": "ADDRESS_X"}
    return (
        forms
        if len(row.immediates) == 2
        else {**forms, "__a": "ADDRESS_A", "__s": "ADDRESS_S", "__u": "ADDRESS_U"}
    )


def _access_arms(row: Instruction) -> Iterator[tuple[str, Arm]]:
    size = int(row.immediates[0][6:])
    lane = len(row.immediates) == 2
    store = not row.results
    offset = "(pc->imm & 0xFFFFFFFFFFFF)" if lane else "pc->imm"
    address = "a" if store else "b"
    for form, macro in _access_forms(row).items():
        reads = {} if form == "__s" else {address: "R64" if form == "__x" else "R32"}
        place = f"{macro}({f'${address}' if reads else ''}, {offset}, {size})"
        arm = _access_arm(row, place, reads, size, lane)
        immediate = f"offset_{row.immediates[1]}" if lane else _OFFSETS[form]
        yield (
            f"{_flat(row)}{form}",
            replace(arm, fields={**arm.fields, **_THIRD.get(form, {})}, immediate=immediate),
        )


# What the immediate of each form is, where there is no lane, and what its field c.
_OFFSETS = {"": "offset", "__x": "any", "__a": "any", "__s": "address", "__u": "any"}
_THIRD: dict[str, dict[str, tuple[str, int] | str]] = {"__x": {"c": "memory"}, "__u": {"c": WRITE}}


def _access_arm(row: Instruction, place: str, reads: dict[str, str], size: int, lane: bool) -> Arm:
    kind, access = row.name.split(".")
    if kind == "v128":
        text = f"{place} {_vector_access(access, size, lane, not row.results)}"
        vector = {"b": READ2} if not row.results else {"a": CHANGE2 if lane else WRITE2}
        return Arm(reads, before=text, fields={**vector})
    if not row.results:
        bits = f"uint{size * 8}_t"
        return Arm(
            {**reads, "b": "R64"}, before=f"{place} {bits} bits = ({bits})$b; memcpy(place, &bits, {size});"
        )
    # A float is moved as bits, which keeps a signalling NaN.
    source = _LOAD_CTYPES.get(access.removeprefix("load"), f"uint{size * 8}_t")
    wide = "uint32_t" if kind in ("i32", "f32") else "uint64_t"
    return Arm(
        reads,
        before=f"{place} {source} bits; memcpy(&bits, place, {size});",
        ctype="uint64_t",
        value=f"({wide})bits",
        write="W64",
    )


def _vector_access(access: str, size: int, lane: bool, store: bool) -> str:
    if lane and store:
        return f"v128 value = RV(pc->b); memcpy(place, value.u8 + {size} * (pc->imm >> 56), {size});"
    if lane:
        fill = f"memcpy(value.u8 + {size} * (pc->imm >> 56), place, {size});"
        return f"v128 value = RV(pc->a); {fill} WV(pc->a, value);"
    if store:
        return "v128 value = RV(pc->b); memcpy(place, &value, 16);"
    if access == "load":
        return "v128 value; memcpy(&value, place, 16); WV(pc->a, value);"
    if access.endswith("splat"):
        count = 16 // size
        fill = f"for (int i = 0; i < {count}; i++) memcpy(value.u8 + i * {size}, place, {size});"
        return f"v128 value; {fill} WV(pc->a, value);"
    if access.endswith("zero"):
        return f"v128 value = {{0}}; memcpy(&value, place, {size}); WV(pc->a, value);"
    shape, sign = access.removeprefix("load").split("_")
    bits, count = map(int, shape.split("x"))
    letter = "i" if sign == "s" else "u"
    ctype = f"{'int' if sign == 's' else 'uint'}{bits}_t"
    wide = f"{'int' if sign == 's' else 'uint'}{bits * 2}_t"
    fill = f"for (int i = 0; i < {count}; i++) value.{letter}{bits * 2}[i] = ({wide})lanes[i];"
    return f"{ctype} lanes[{count}]; memcpy(lanes, place, 8); v128 value; {fill} WV(pc->a, value);"


_COPY: dict[str, Any] = {"ctype": "uint64_t", "write": "W64"}

# Opcodes without a row of their own in the table, but with arms that pairs are made of.
_SIMPLE = {
    "fuel": Arm(
        {},
        before="if (unlikely(store->fuel < (int64_t)pc->imm)) FAIL(TRAP_OUT_OF_FUEL);"
        " store->fuel -= (int64_t)pc->imm;",
        immediate="fuel",
    ),
    "jump": Arm({}, tail="JUMP;", immediate="distance", flow="never"),
    "branch_if": Arm({"a": "R64"}, before="if ($a) BRANCH;", immediate="distance"),
    "branch_unless": Arm({"a": "R64"}, before="if (!$a) BRANCH;", immediate="distance"),
    # A row of jumps follows.
    "br_table": Arm(
        {"a": "R32"},
        tail="uint32_t index = $a; pc += 1 + (index < pc->imm ? index : pc->imm); JUMP;",
        immediate="distances",
        flow="jumps",
    ),
    "call": Arm(
        {},
        tail="callee = instance->funcs[pc->imm]; args = fp + pc->a; goto enter;",
        fields={"a": VARIES},
        immediate="function",
    ),
    "return0": Arm({}, tail="goto leave;", immediate="no_result", flow="never"),
    "return1": Arm({"a": "R64"}, tail="fp[0] = $a; goto leave;", immediate="one_result", flow="never"),
    "move": Arm({"b": "R64"}, value="$b", **_COPY),
    "move2": Arm(
        {"b": "R64"},
        before="fp[pc->a] = $b; fp[pc->c] = fp[pc->imm];",
        fields={"a": WRITE, "c": WRITE},
        immediate="slot",
    ),
    "const": Arm({}, value="pc->imm", **_COPY),
    "const2": Arm(
        {},
        before="fp[pc->a] = pc->low; fp[pc->c] = pc->high;",
        fields={"a": WRITE, "c": WRITE},
    ),
    "select": Arm(
        {"b": "R64", "c": "R64", "imm": "R32"},
        before="uint64_t b = $b, c = $c;",
        value="$imm ? b : c",
        **_COPY,
    ),
    "global_get": Arm({}, value="instance->globals[pc->imm]->value[0]", immediate="global", **_COPY),
    "global_set": Arm(
        {"a": "R64"}, before="instance->globals[pc->imm]->value[0] = $a;", immediate="global_set"
    ),
}


def arms() -> dict[str, Arm]:
    """The arms of all opcodes but those in HAND and the pairs."""
    found = dict(_SIMPLE)
    for row in numeric_rows():
        found[row.operator or ""] = _wide_arm(row) if len(row.results) == 2 else _numeric_arm(row)
    found |= {f"{row.operator}__k": _constant_arm(row) for row in constant_forms()}
    for row in compares():
        found.update(_branch_arms(row))
    for row in constant_compares():
        found.update(_constant_branch_arms(row))
    found |= {fusion.name: _fused_arm(fusion) for fusion in fusions()}
    found |= {
        f"i32_{inner}__k_{outer}__k": _constant_pair_arm(inner, outer) for inner, outer in CONSTANT_PAIRS
    }
    for name in COUNTED:
        found.update(_counted_arms(name))
    for row in access_rows():
        found.update(_access_arms(row))
    return found


def _plain(name: str, arm: Arm) -> str:
    made = f"{arm.ctype} made;" if arm.value else ""
    return f"OP({name}) {{ {made} {arm.body('made', {})} {arm.ending({})} }}"


def _pair(first: Arm, second: Arm, taken: str | None) -> str:
    """Both in one; field `taken` of the second is not read but taken from what the first has made."""
    forwarded = {taken: _made(first.ctype, second.reads[taken])} if taken else {}
    made = f"{first.ctype} made;" if first.value else ""
    other = f"{second.ctype} other;" if second.value else ""
    return (
        f"{made} {{ {first.body('made', {})} }} pc++; "
        f"{other} {second.body('other', forwarded)} {second.ending(forwarded)}"
    )


def digest_source() -> str:
    head = '"""What the native loop was made of. Generated by tools/gen_loop.py; do not edit."""'
    return f'{head}\n\nDIGEST = "{digest()}"\n'


NAMES = """
   An opcode has the name of the instruction that it does, with `_` for `.`. Behind `__` stand its forms:

       i32_add__k               the second operand is a constant, in the immediate
       i32_load__x              the memory is named in field c (without it: memory 0, of 32-bit addresses)
       i32_load__a              a constant is added to the address
       i32_load__s              the whole address is a constant
       i32_load__u              as __a, and the sum is left in slot c
       branch_if__i32_lt_s      jumps if the comparison holds; branch_unless__, if it does not
       i32_shl__k_add           the operator add of what i32_shl__k makes, in one word
       f64_mul_sub_from         subtracts the product from the other operand; f64_mul_sub, that from it
       count_i32_ne             adds to a counter, then jumps if the comparison holds
       first__then__second      two opcodes that follow each other, in one word; with a field's name behind,
                                second__b, that field of the second is what the first has just made

   Opcodes without an instruction of their own (move, fuel, count ...) are listed in `HAND` of tools/words.py
   and `_SIMPLE` of the tool."""


def _head(about: str, more: str = "") -> list[str]:
    """The beginning of a generated header."""
    return [f"/* {about} Generated by tools/gen_loop.py; do not edit.{more} */", ""]


def c_source() -> str:
    known = arms()
    lines = _head(
        "Arms of the native loop, one for each opcode that does not have one in `loop.c`.",
        "\n\n   `opcodes.h` says what the names mean. R32 reads a slot as 32 bits, W64 writes one as 64;"
        "\n   `loop.c` has these macros and the others.",
    )
    lines += [_plain(name, arm) for name, arm in known.items()]
    for pair in PAIRS:
        lines.append(f"OP({pair.name}) {{ {_pair(known[pair.first], known[pair.second], pair.taken)} }}")
    return "\n".join(lines) + "\n"


def labels_source() -> str:
    lines = _head("Opcodes of the native loop.", f"\n{NAMES}")
    lines += [f'#define TABLE_DIGEST "{digest()}"', "#define FOR_EACH_OPCODE(X) \\"]
    lines += [f"    X({name}) \\" for name in opcode_names()]
    lines += [
        "",
        "enum opcode {",
        "#define X(name) OP_##name,",
        "FOR_EACH_OPCODE(X)",
        "#undef X",
        "OPCODE_COUNT };",
    ]
    return "\n".join(lines) + "\n"


def words_source() -> str:
    """The columns as C: how many slots a field names, and numbers for the rest."""
    known = {**HAND, **{name: arm.word for name, arm in arms().items()}}
    lines = _head(
        "What the fields of words are, for the verifier.",
        "\n\n   tools/words.py says what the columns mean, and `opcodes.h` what the names.",
    )
    for name, members in (("third", OTHERS), ("immediate", IMMEDIATES), ("flow", FLOWS)):
        lines.append(f"enum {name} {{ {', '.join(f'{name}_{each}'.upper() for each in members)} }};")
    lines += [
        "",
        "/* As many slots as the word itself or a type tells. */",
        "#define VARIES 0xFF",
        "",
        "/* `a`, `b` and `c` are numbers of slots; `reads` and `writes` have a bit for each of them, a the",
        "   lowest. Two words in one have the columns of the `first`; behind",
        "   it stands the `second`, whose field `taken` (from 1) is slot a of the first. */",
        "static const struct word {",
        "    uint8_t a, b, c, reads, writes, third, immediate, flow, references, taken;",
        "    uint16_t first, second;",
        "} words[OPCODE_COUNT] = {",
    ]
    lines += [_word_row(name, name, known[name]) for name in known]
    for pair in PAIRS:
        lines.append(_word_row(pair.name, pair.first, known[pair.first], pair))
    return "\n".join([*lines, "};", ""])


def _word_row(name: str, first: str, word: Word, pair: Pair | None = None) -> str:
    slots = [_slots(each) for each in (word.a, word.b, word.c)]
    third = word.c if isinstance(word.c, str) else "any"
    taken = _FIELDS.index(pair.taken) if pair else 0
    numbers = [f"THIRD_{third}", f"IMMEDIATE_{word.immediate}", f"FLOW_{word.flow}"]
    values = [
        *slots,
        _using(word, "read"),
        _using(word, "write"),
        *(each.upper() for each in numbers),
        str(int(word.references)),
        str(taken),
    ]
    values += [f"OP_{first}", f"OP_{pair.second}" if pair else "OPCODE_COUNT"]
    return f"    [OP_{name}] = {{{', '.join(values)}}},"


def _using(word: Word, manner: str) -> str:
    """Which of the fields are slots that are used in this manner."""
    columns = enumerate((word.a, word.b, word.c))
    return str(sum(1 << number for number, column in columns if column[0] in (manner, "change")))


def _slots(column: tuple[str, int] | str) -> str:
    if isinstance(column, str) or column == NO_FIELD:
        return "0"
    return str(column[1]) if column[1] else "VARIES"


def traps_source() -> str:
    """Codes of traps; a code less one is the position in `_TRAPS` of the extension."""
    # Only a host function ends a program with an exit status.
    names = [code.name for code in TrapCode if code is not TrapCode.EXIT]
    names += [wording.upper().replace(" ", "_") for wording in FINER_WORDINGS]
    lines = _head(
        "Why execution left the loop.",
        "\n\n   The names are those of `errors.TrapCode`, then the wordings of `errors.FINER_WORDINGS`.",
    )
    lines += ["#ifndef TINYWASM_TRAP_H", "#define TINYWASM_TRAP_H", "", "enum trap_code {"]
    lines += ["    TRAP_PYTHON = -1, /* not a trap: a Python exception is pending */", "    TRAP_NONE = 0,"]
    return "\n".join([*lines, *(f"    TRAP_{name}," for name in names), "};", "", "#endif", ""])


def heaps_source() -> str:
    """Abstract heap types, numbered as the extension's `_HEAP_NUMBERS`."""
    lines = _head("Abstract heap types, by the names of `types.AbstractHeap`.")
    return "\n".join(
        [*lines, "enum heap_kind {", *(f"    HEAP_{each.name}," for each in AbstractHeap), "};", ""]
    )


def rules_source() -> str:
    """Rules of validation that instructions have whose signature is open, in the order of the table."""
    names = dict.fromkeys(row.name.replace(".", "_") for row in TABLE if row.rule)
    lines = _head("Instructions whose signature is open, each with a rule.")
    return "\n".join(
        [*lines, "#define FOR_EACH_RULE(X) \\", " \\\n".join(f"    X({name})" for name in names), ""]
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="fail where a file is not current")
    check = parser.parse_args().check
    stale = []
    outputs = {
        "digest.py": digest_source,
        "opcodes.py": python_source,
        "dispatch.h": c_source,
        "opcodes.h": labels_source,
        "words.h": words_source,
        "trap.h": traps_source,
        "heap_kind.h": heaps_source,
        "../../validation/rule_names.h": rules_source,
    }
    for name, make in outputs.items():
        path, text = NATIVE / name, make()
        if check and (not path.exists() or path.read_text() != text):
            stale.append(name)
        elif not check:
            path.write_text(text)
    for name in stale:
        print(f"{name} is not current: run python tools/gen_loop.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
