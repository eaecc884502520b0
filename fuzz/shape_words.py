"""Code for given words of the native engine, alone and in pairs, in the bodies of `shape_bodies`.

What a word is made of can be told from its name and from the tables in `opcodes`, so that words that are
added there take part by themselves. Words that no recipe is known for are left to chance; `reach` says
whether they come up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fuzz.shape_accesses import immediates, wide_address
from fuzz.shape_control import cut_off
from fuzz.shape_types import GLOBALS, op, unsigned
from tinywasm.engine.native.opcodes import COUNTED, FUSED, FUSED_CONSTANTS, OPCODES, PAIRED
from tinywasm.instructions import TABLE, Instruction
from tinywasm.types import F32, F64, I32, I64, ValType

if TYPE_CHECKING:
    from fuzz.shape_bodies import Body

_NAMES = {number: name for name, number in OPCODES.items()}
_OPERATORS: dict[str, Instruction] = {row.operator: row for row in TABLE if row.operator is not None}
_ACCESSES = {
    row.name.replace(".", "_"): row
    for row in TABLE
    if row.immediates and row.immediates[0].startswith("memarg")
}
_FIELDS = ("", "a", "b", "c", "imm")
# Opcode of two in one -> the first, the second, and the field of the second that the first has made.
_PAIRS = {
    _NAMES[opcode]: (_NAMES[first], _NAMES[second], _FIELDS[field])
    for (first, second), forms in PAIRED.items()
    for field, opcode in forms
}
# Two operators in one: the inner, the outer, and whether the inner one's value is on the right.
_FUSED = {name: (_NAMES[inner], outer, right) for (inner, outer, right), name in FUSED.items()}
_FUSED_CONSTANTS = {name: (_NAMES[inner], outer) for (inner, outer), name in FUSED_CONSTANTS.items()}
_COUNTED = {counted: branch for branch, counted in COUNTED.items()}


@dataclass(slots=True)
class Fields:
    """The locals that a word's fields name: `taken` names the one that the word before has made."""

    body: Body
    taken: str = ""
    made: int = -1
    strict: bool = True
    wanted: ValType | None = None

    def get(self, field: str, type: ValType) -> None:
        """Push what field `field` names."""
        b = self.body
        if field == self.taken and self.made >= 0 and b.locals[self.made] is type:
            b.get(self.made)
        elif not self.strict and b.random() < 0.4:
            b.operand(type)
        else:
            b.get(self.local(type))

    def local(self, type: ValType) -> int:
        """A local that the word before has not made."""
        b = self.body
        return b.pick([each for each in b.by_type[type] if each != self.made])

    def pointer(self, field: str) -> None:
        """An address; the fields of accesses that come from a word before are what that made."""
        b = self.body
        if field == self.taken and self.made >= 0 and b.locals[self.made] is I32:
            b.get(self.made)
        else:
            b.get(b.pick([each for each in b.pointers if each != self.made]))


def word(b: Body, name: str) -> None:
    """Code for a word, or for a pair of words; what it makes goes into a local."""
    fields = Fields(b, strict=b.random() < 0.8)
    first, second, taken = _PAIRS.get(name, ("", name, ""))
    # What branches go to. It brings the operands below home, so that nothing comes between the words.
    b.open("block", ())
    if first:
        fields.wanted = _taken_type(second, taken) if taken else None
        made = _kept(b, first, fields)
        # Now and then the second takes something else.
        fields.taken, fields.made, fields.wanted = taken if b.random() < 0.85 else "", made, None
    _kept(b, second, fields)
    b.close(())


def _kept(b: Body, name: str, fields: Fields) -> int:
    """Code for one word; the local that keeps its value, or -1."""
    if not _word(b, name, fields):
        return -1
    local = b.tee_of(b.stack[-1])
    b.set(local)
    return local


def _taken_type(name: str, field: str) -> ValType:
    """The type of the operand that a field names."""
    if name in _FUSED:
        name = _FUSED[name][0]
    elif name in _FUSED_CONSTANTS:
        name = _FUSED_CONSTANTS[name][0]
    compare = name.removeprefix("branch_if__").removeprefix("branch_unless__").removesuffix("__k")
    if compare in _OPERATORS:
        return _OPERATORS[compare].params[0]
    access = _ACCESSES.get(name.partition("__")[0])
    return access.params[1] if access is not None and not access.results and field == "b" else I32


def _word(b: Body, name: str, f: Fields) -> bool:
    """Write the code; whether it leaves a value."""
    if name in _SIMPLE:
        return _SIMPLE[name](b, f)
    stem = name.removesuffix("__k")
    if stem in _OPERATORS:
        _operator(b, _OPERATORS[stem], f, constant=stem != name)
        return True
    if name in _FUSED:
        inner, outer, right = _FUSED[name]
        row = _OPERATORS[inner.removesuffix("__k")]
        constant = inner.endswith("__k")
        other = "c" if constant else "imm"
        right = right if "_sub" in name else b.random() < 0.5
        if right:
            f.get(other, row.params[0])
        _joined(b, row.results[0], lambda: _operator(b, row, f, constant=constant))
        if not right:
            f.get(other, row.params[0])
        b.instruction(_OPERATORS[outer].name, 2, row.results[0])
        return True
    if name in _FUSED_CONSTANTS:
        inner, outer = _FUSED_CONSTANTS[name]
        row = _OPERATORS[inner.removesuffix("__k")]
        _joined(b, I32, lambda: _operator(b, row, f, constant=True))
        _constant(b, I32)
        b.instruction(_OPERATORS[outer].name, 2, I32)
        return True
    if name in _COUNTED:
        counter = b.by_type[I32][1]
        b.get(counter)
        b.number(I32, b.pick((1, -1, 4)))
        b.instruction("i32.add", 2, I32)
        b.set(counter)
        return _branch(b, _COUNTED[name], f, counter)
    if name.startswith("branch_"):
        return _branch(b, name, f)
    stem, _, form = name.partition("__")
    return _access(b, _ACCESSES[stem], form, f)


def _constant(b: Body, type: ValType) -> None:
    """A constant, one that does not end a program as a divisor and fits wherever there is little room."""
    if type in (I32, I64):
        b.number(type, 1 + int(b.random() * 9))
    else:
        b.constant(type)


def _operator(b: Body, row: Instruction, f: Fields, *, constant: bool) -> None:
    for field, type in zip(("b", "c", "imm"), row.params, strict=False):
        if constant and field == "c":
            _constant(b, type)
        else:
            f.get(field, type)
    b.instruction(row.name, len(row.params), *row.results)


def _joined(b: Body, type: ValType, write: Callable[[], None]) -> None:
    """What `write` leaves: now and then at the end of two arms, or of a block that is left before as well."""
    number = b.random()
    if number < 0.8:
        write()
        return
    if number < 0.9:
        b.condition()
        b.stack.pop()
        label = b.open("if", (type,))
        write()
        b.code += op("else")
        del b.stack[label.base :]
    else:
        b.open("block", (type,))
        b.operand(type)
        b.condition()
        b.code += op("br_if") + b"\0" + op("drop")
        b.pop(2)
    write()
    b.close((type,))


def _branch(b: Body, name: str, f: Fields, counter: int = -1) -> bool:
    """A branch on a comparison, or an `if`, which branches where the condition is false."""
    sense, _, compare = name.removeprefix("branch_").partition("__")
    if not compare:
        f.get("a", I32)
    elif counter >= 0:
        _comparison(b, compare, f, counter)
    else:
        _joined(b, I32, lambda: _comparison(b, compare, f, counter))
    b.stack.pop()
    if sense == "if":
        b.code += op("br_if") + b"\0"
    else:
        b.open("if", ())
        b.close(())
    return False


def _comparison(b: Body, name: str, f: Fields, counter: int) -> None:
    """The comparison of a branch, of a counter where one is given."""
    stem = name.removesuffix("__k")
    row = _OPERATORS[stem]
    for field, type in zip(("a", "b"), row.params, strict=False):
        if field == "a" and counter >= 0:
            b.get(counter)
        elif field == "b" and stem != name:
            _constant(b, type)
        else:
            f.get(field, type)
    b.instruction(row.name, len(row.params), I32)


def _access(b: Body, row: Instruction, form: str, f: Fields) -> bool:
    store = not row.results
    memory = b.memories[0]
    if form == "x":
        memory = b.pick(b.memories[1:])
    address = "a" if store else "b"
    if memory.address is I64:
        wide_address(b)
    elif form == "s":
        b.number(I32, int(b.random() * 200))
    elif form in ("a", "u"):
        if form == "a":
            _joined(b, I32, lambda: _sum(b, address, f))
        else:
            _sum(b, address, f)
            b.code += op("local.tee") + unsigned(b.pick(b.pointers))
    else:
        f.pointer(address)
    if len(row.params) == 2:
        f.get("b" if store else "c", row.params[1])
    b.emit_row(row, *immediates(b, row, memory))
    b.pop(len(row.params))
    b.stack += row.results
    return not store


def _sum(b: Body, address: str, f: Fields) -> None:
    f.pointer(address)
    b.number(I32, int(b.random() * 60))
    b.instruction("i32.add", 2, I32)


# Words that are neither numeric nor accesses


def _move(b: Body, f: Fields) -> bool:
    b.get(f.local(f.wanted or b.pick((I32, I32, I64, F64))))
    return True


def _moves(b: Body, f: Fields) -> bool:
    for _ in range(2):
        type = b.pick((I32, I64, F64, F32))
        b.get(f.local(type))
        b.set(f.local(type) if type is not I32 else b.by_type[I32][1])
    return False


def _const(b: Body, f: Fields) -> bool:
    _constant(b, f.wanted or b.pick((I32, F64, I64)))
    return True


def _consts(b: Body, f: Fields) -> bool:
    for _ in range(2):
        b.number(I32, int(b.random() * 100))
        b.set(b.by_type[I32][1])
    return False


def _jump(b: Body, f: Fields) -> bool:
    b.code += op("br") + b"\0"
    return False


def _table_branch(b: Body, f: Fields) -> bool:
    f.get("a", I32)
    b.stack.pop()
    b.code += op("br_table") + b"\2\0\0\0"
    return False


def _select(b: Body, f: Fields) -> bool:
    type = b.locals[f.made] if f.taken in ("b", "c") and f.made >= 0 else I32
    f.get("b", type)
    f.get("c", type)
    f.get("imm", I32)
    b.instruction("select", 3, type)
    return True


def _global_get(b: Body, f: Fields) -> bool:
    b.emit("global.get", 0)
    b.stack.append(I32)
    return True


def _global_set(b: Body, f: Fields) -> bool:
    type = b.locals[f.made] if f.taken == "a" and f.made >= 0 else I32
    f.get("a", type)
    b.emit("global.set", GLOBALS.index(type))
    b.stack.pop()
    return False


def _call(b: Body, f: Fields) -> bool:
    b.emit("call", 1)
    return False


def _return(b: Body, f: Fields) -> bool:
    """Where the function returns one number."""
    results = b.labels[0].types
    if results == (I32,):
        f.get("a", I32)
        b.code += op("return")
        cut_off(b)
    return False


def _head(b: Body, f: Fields) -> bool:
    """Fuel is paid anew behind a branch."""
    b.get(f.local(I32))
    b.stack.pop()
    b.code += op("br_if") + b"\0"
    return False


_SIMPLE: dict[str, Callable[[Body, Fields], bool]] = {
    "fuel": _head,
    "jump": _jump,
    "br_table": _table_branch,
    "call": _call,
    "return1": _return,
    "move": _move,
    "move2": _moves,
    "const": _const,
    "const2": _consts,
    "select": _select,
    "global_get": _global_get,
    "global_set": _global_set,
}


def _known(name: str) -> bool:
    stem = name.removesuffix("__k")
    return (
        stem in _OPERATORS
        or name in {**_SIMPLE, **_FUSED, **_FUSED_CONSTANTS, **_COUNTED}
        or name.startswith("branch_")
        or name.partition("__")[0] in _ACCESSES
    )


# Words that there is code for, but those of single operators.
WORDS = [
    name
    for name in OPCODES
    if (all(map(_known, _PAIRS[name][:2])) if name in _PAIRS else _known(name))
    if _OPERATORS.get(name) is None
]
