"""Bodies of the functions of `generator_shapes`.

A body begins with two to four operands that stay below everything else. Shapes follow: an instruction, each
of whose operands comes about in one of the ways in which an operand can (`Body.operand`), with code between
them that sets locals again while operands still stand for them (`Body.between`). At its end a body returns
the operands below and some others. Everything is written as bytes at once: half a million functions have to
be made in a reasonable time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import TypeVar

from fuzz import shape_accesses as accesses
from fuzz import shape_control as control
from fuzz import shape_objects as objects
from fuzz import shape_words as words
from fuzz.shape_types import (
    CALLEES,
    FIELDS,
    GLOBALS,
    NUMBERS,
    PARAMS,
    REF_ARRAYS,
    REF_STRUCT,
    REFERENCES,
    TAGS,
    Memory,
    Types,
    op,
    unsigned,
)
from tinywasm.codec import write_instruction
from tinywasm.engine.native.opcodes import OPCODES
from tinywasm.engine.python.bind import MAX_UNPOLLED
from tinywasm.instructions import BY_NAME, TABLE, Instruction
from tinywasm.leb128 import write_signed
from tinywasm.types import (
    ANYREF,
    EXNREF,
    EXTERNREF,
    F32,
    F64,
    FUNCREF,
    I32,
    I64,
    V128,
    RefType,
    ValType,
)

T = TypeVar("T")

MAX_DEPTH = 3
_NUMERIC = [row for row in TABLE if row.operator is not None]
_ACCESS = [row for row in TABLE if row.immediates and row.immediates[0].startswith("memarg")]
_BY_RESULT: dict[ValType, list[Instruction]] = {
    type: [row for row in _NUMERIC if row.results == (type,)] for type in NUMBERS
}
_LOADS: dict[ValType, list[Instruction]] = {
    type: [row for row in _ACCESS if row.results == (type,)] for type in NUMBERS
}
_STORES = [row for row in _ACCESS if not row.results]
_ACCESS_SET = frozenset(_ACCESS)
_CALLEES: dict[tuple[ValType, ...], list[int]] = {}
for _number, _callee in enumerate(CALLEES):
    _CALLEES.setdefault(_callee.results, []).append(_number)
    if len(_callee.results) > 1:
        for _type in _callee.results:
            _CALLEES.setdefault((_type,), []).append(_number)
# One function each is about one of these: instructions, words of the native engine, long ones, fields of
# structures, and the call of a constant that is null.
Subject = Instruction | str
_ROW, _WAY, _NULL = "a row of operands", "a long way", "a null callee"
_FIELDS = {f"field {n}": n for n in range(len(FIELDS))}
SUBJECTS: list[Subject] = [*_NUMERIC, *_ACCESS, *words.WORDS, _ROW, _WAY, _NULL, *_FIELDS]


def _rows(names: str) -> list[Instruction]:
    return [BY_NAME[name][0] for name in names.split()]


# What compilers make most, and engines fuse.
_USUAL: dict[ValType, list[Instruction]] = {
    I32: _rows(
        "i32.add i32.add i32.add i32.sub i32.mul i32.and i32.or i32.xor i32.xor i32.shl i32.shr_u i32.shr_s"
        " i32.rotl i32.rem_u i32.div_u i32.eqz i32.eq i32.ne i32.lt_u i32.lt_s i32.gt_s"
    ),
    I64: _rows("i64.add i64.add i64.mul i64.and i64.or i64.xor i64.shl i64.shr_u i64.rotl i64.extend_i32_u"),
    F32: _rows("f32.add f32.sub f32.mul f32.mul"),
    F64: _rows("f64.add f64.add f64.sub f64.sub f64.mul f64.mul f64.mul f64.div f64.sqrt"),
    V128: _rows("i32x4.add v128.and i8x16.shuffle i64x2.splat i32x4.replace_lane v128.bitselect"),
}
_USUAL_LOADS: dict[ValType, list[Instruction]] = {
    I32: _rows("i32.load i32.load i32.load8_u i32.load8_u i32.load16_u"),
    I64: _rows("i64.load i64.load32_u i64.load8_u"),
    F32: _rows("f32.load"),
    F64: _rows("f64.load"),
    V128: _rows("v128.load v128.load8_splat v128.load32_zero v128.load8_lane v128.load64_lane"),
}
_USUAL_STORES = _rows("i32.store i32.store i32.store8 i32.store8 i64.store f64.store f64.store v128.store")
_COMPARES = _rows(
    "i32.eq i32.ne i32.ne i32.lt_u i32.lt_s i32.gt_u i32.gt_s i32.le_s i32.le_u i32.ge_u i32.ge_s"
    " i64.eq i64.ne i64.lt_s i64.gt_u i64.le_u i64.ge_s f64.le f64.lt f64.eq f64.ge f32.lt f32.ne f32.gt"
)
_ANY_COMPARES = [row for row in _NUMERIC if "compares" in row.traits]
_COUNTED = _rows("i32.ne i32.lt_u i32.lt_s i32.gt_s i32.gt_u")

_GET, _SET, _TEE = op("local.get"), op("local.set"), op("local.tee")
_I32_CONST, _I64_CONST, _F32_CONST, _F64_CONST = map(op, ("i32.const", "i64.const", "f32.const", "f64.const"))
_CONST: dict[ValType, bytes] = {I32: _I32_CONST, I64: _I64_CONST}
_END, _DROP = op("end"), op("drop")
_CONSTANTS_32 = [
    0, 1, 2, 3, 5, 8, 16, 31, 77, 100, 255, 300, 1 << 15, (1 << 16) - 1, -1, -2, -1 << 31, 1 << 20,
]  # fmt: skip
_CONSTANTS_64 = [
    0, 1, 2, 7, 8, 63, 100, 1 << 31, (1 << 32) - 1, 1 << 32, -1, -1 << 31, -(1 << 31) - 1, -1 << 62, -1 << 63,
]  # fmt: skip
_FLOATS = [0.0, -0.0, 1.0, -1.5, 0.5, 2.0, 4.0, 100.25, 1e10, float("inf")]
_HARD_FLOATS = [0.1, 1e300, -1e300, 5e-324, float("nan"), 16_777_217.0]


class Label:
    """`types` are what a branch takes along, `base` the height below them; `closed` ones are no target."""

    __slots__ = ("base", "closed", "types")

    def __init__(self, types: tuple[ValType, ...], base: int, closed: bool = False) -> None:
        self.types = types
        self.base = base
        self.closed = closed


# Words of the native engine that are often joined with the next one.
_JOINED = [OPCODES[name] for name in ("const", "move", "i32_add", "i32_add__k", "i32_eqz", "fuel")]


def _word(number: int) -> int:
    """Data that looks like a word that others are joined with; `number` chooses which, and its slots."""
    opcode = _JOINED[number % len(_JOINED)]
    slot = number // len(_JOINED) % 24
    return opcode | slot << 16 | slot << 32 | slot << 48


class Body:
    """One body under construction: its code so far, the types on the stack, and the labels around it."""

    def __init__(self, rng: Random, types: Types, memories: Sequence[Memory]) -> None:
        self.rng = rng
        self.random = rng.random
        self.types = types
        self.memories = memories
        self.code = bytearray()
        self.stack: list[ValType] = []
        self.labels: list[Label] = []
        # The tags of the clauses around.
        self.caught: list[int] = []
        declared: list[ValType] = [I32, I32, I64, F32, F64, F64, V128, V128, FUNCREF, REF_STRUCT, ANYREF]
        declared += [EXTERNREF, EXNREF, REF_ARRAYS[4], REF_ARRAYS[8]]
        rng.shuffle(declared)
        self.locals: list[ValType] = [*PARAMS, *declared]
        self.by_type: dict[ValType, list[int]] = {}
        for index, type in enumerate(self.locals):
            self.by_type.setdefault(type, []).append(index)
        # These hold addresses, mostly small ones.
        self.pointers = [0, self.by_type[I32][2]]
        # Loops count in these, which nothing else sets.
        self.counters = [len(self.locals), len(self.locals) + 1]
        self.locals += [I32, I32]
        self.loops = 0
        self.depth = 0
        self.left = 0

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.random() * len(options))]

    def build(self, subject: Subject) -> tuple[ValType, ...]:
        """Write the body of a function about `subject`; the types of its results."""
        below = tuple(self.pick_type() for _ in range(2 + int(self.random() * 3)))
        extra = tuple(self.pick_type() for _ in range(int(self.random() * 3)))
        # Some locals are seen at the end.
        watched = [self.local_of(type) for type in (I32, I32, I64, F32, F64)]
        results = below + extra + tuple(self.locals[local] for local in watched)
        returns = isinstance(subject, str) and "return1" in subject
        if returns or self.random() < 0.2:
            # What a callee returns too, which can be called instead of a return, or an exception brings.
            others = self.pick(CALLEES).results if self.random() < 0.7 else self.pick(TAGS)
            results, watched = ((I32,) if returns else others), []
        self.labels.append(Label(results, 0))
        self.left = 14
        for type in below:
            self.operand(type)
        if subject in _OTHERS:
            _OTHERS[subject](self)
        elif isinstance(subject, str):
            words.word(self, subject)
        else:
            self.subject(subject)
        for _ in range(1 + int(self.random() * 3)):
            self.statement()
        if self.random() < 0.15:
            control.tail_call(self) if self.random() < 0.5 else control.leave(self)
        self.finish(results[: len(results) - len(watched)])
        for local in watched:
            self.get(local)
        self.code += _END
        return results

    def pick_type(self) -> ValType:
        number = self.random()
        if number < 0.45:
            return I32
        if number < 0.85:
            return NUMBERS[1 + int((number - 0.45) * 10)]
        return self.pick(REFERENCES)

    # Writing

    def emit(self, name: str, *numbers: int) -> None:
        """An instruction whose immediates are indices."""
        self.code += op(name)
        for number in numbers:
            self.code += unsigned(number)

    def emit_row(self, row: Instruction, *immediates: object) -> None:
        self.code += write_instruction(row, immediates)

    def pop(self, count: int) -> None:
        if count:
            del self.stack[-count:]

    def get(self, local: int) -> None:
        # Now and then in more bytes than it takes.
        self.code += _GET + (
            bytes([local & 127 | 128, local >> 7]) if len(self.code) % 16 == 0 else unsigned(local)
        )
        self.stack.append(self.locals[local])

    def set(self, local: int) -> None:
        self.code += _SET + unsigned(local)
        self.stack.pop()

    def constant(self, type: ValType) -> None:
        rng = self.rng
        code = self.code
        if type is I32:
            code += _I32_CONST + write_signed(self.pick(_CONSTANTS_32))
        elif type is I64:
            code += _I64_CONST + write_signed(self.pick(_CONSTANTS_64))
        elif type is F32:
            code += _F32_CONST + struct.pack("<f", self.pick(_FLOATS))
        elif type is F64:
            floats = _FLOATS if self.random() < 0.75 else _HARD_FLOATS
            code += _F64_CONST + struct.pack("<d", self.pick(floats))
        elif type is V128:
            chance = self.random()
            lane = rng.getrandbits(64) if chance < 0.5 else _word(int(chance * 1e9)) if chance < 0.9 else 3
            code += op("v128.const") + struct.pack("<QQ", lane, self.pick((0, 7, (1 << 64) - 1)))
        else:
            assert isinstance(type, RefType)
            self.emit_row(BY_NAME["ref.null"][0], type.heap)
        self.stack.append(type)

    def number(self, type: ValType, value: int) -> None:
        self.code += _CONST[type] + write_signed(value)
        self.stack.append(type)

    def local_of(self, type: ValType) -> int:
        return self.pick(self.by_type[type])

    def instruction(self, name: str, pops: int, *pushed: ValType) -> None:
        """An instruction without immediates."""
        self.code += op(name)
        self.pop(pops)
        self.stack += pushed

    # Operands

    def operand(self, type: ValType) -> None:
        """Leave one operand that came about in one of the ways there are."""
        self.left -= 1
        number = self.random()
        if self.depth >= MAX_DEPTH or self.left < 0:
            number *= 0.45
        if number < 0.27:
            self.get(self.local_of(type))
        elif number < 0.45:
            self.constant(type)
        else:
            self.depth += 1
            if isinstance(type, RefType):
                self.reference(type)
            else:
                self.computed(type)
            self.depth -= 1

    def computed(self, type: ValType) -> None:
        number = self.random()
        if number < 0.40:
            self.operation(type)
        elif number < 0.52:
            self.load(type)
        elif number < 0.62:
            self.computed_or_leaf(type)
            self.code += _TEE + unsigned(self.tee_of(type))
        elif number < 0.72:
            self.structured((type,))
        elif number < 0.78:
            self.call((type,))
        elif number < 0.82:
            self.code += op("global.get") + unsigned(GLOBALS.index(type))
            self.stack.append(type)
        elif number < 0.88:
            self.select(type)
        elif number < 0.93:
            # The local's old value stays on the stack while it gets a new one.
            local = self.tee_of(type)
            self.get(local)
            self.assign(local)
        elif number < 0.96 and type is I32:
            self.test()
        else:
            self.element(type)

    def tee_of(self, type: ValType) -> int:
        """A local to set; seldom one that holds addresses."""
        local = self.local_of(type)
        return self.by_type[I32][1] if local in self.pointers and self.random() < 0.9 else local

    def computed_or_leaf(self, type: ValType) -> None:
        if self.random() < 0.7:
            self.operation(type)
        else:
            self.operand(type)

    def operation(self, type: ValType) -> None:
        self.numeric(self.pick(_USUAL[type] if self.random() < 0.8 else _BY_RESULT[type]))

    def numeric(self, row: Instruction) -> None:
        """A numeric instruction; where it has two operands, one of them is often a constant."""
        params = row.params
        count = len(params)
        divides = "div_" in row.name or "rem_" in row.name
        if count == 2 and params[0] is not V128:
            choice = self.random()
            if divides and choice < 0.6:
                self.operand(params[0])
                self.number(params[1], self.pick((1, 2, 3, 7, 10, -1)))
            elif choice < 0.3:
                self.operand(params[0])
                self.constant(params[1])
            elif choice < 0.4:
                self.constant(params[0])
                self.operand(params[1])
            else:
                self.operand(params[0])
                self.between()
                self.operand(params[1])
        else:
            for index, type in enumerate(params):
                if index:
                    self.between()
                self.operand(type)
        if row.immediates:
            self.emit_row(row, *map(self.lane, row.immediates))
        else:
            self.code += op(row.name)
        self.pop(count)
        self.stack += row.results

    def lane(self, kind: str) -> object:
        if kind == "shuffle":
            return bytes(int(self.random() * 32) for _ in range(16))
        return int(self.random() * int(kind.removeprefix("lane")))

    def select(self, type: ValType) -> None:
        self.operand(type)
        self.between()
        self.operand(type)
        if self.random() < 0.3:
            self.between()
        self.condition()
        if isinstance(type, RefType) or self.random() < 0.3:
            self.emit_row(BY_NAME["select"][1], (type,))
        else:
            self.code += op("select")
        self.pop(2)

    def condition(self) -> None:
        """An i32 that something depends on."""
        self.left -= 1
        number = self.random()
        if self.left < 0 or number < 0.1:
            self.get(self.local_of(I32))
        elif number < 0.5:
            row = self.pick(_COMPARES if self.random() < 0.8 else _ANY_COMPARES)
            self.depth += 1
            self.numeric(row)
            self.depth -= 1
            while self.random() < 0.25:
                self.code += op("i32.eqz")
        elif number < 0.6:
            self.step()
        elif number < 0.63:
            accesses.moving_load(self)
        elif number < 0.67:
            self.kept_comparison()
        elif number < 0.72:
            self.test()
        else:
            self.operand(I32)

    def kept_comparison(self) -> None:
        """A comparison that a local keeps, turned around."""
        local = self.by_type[I32][1]
        self.depth += 1
        self.numeric(self.pick(_COMPARES))
        self.depth -= 1
        if self.random() < 0.5:
            self.code += _TEE + unsigned(local)
        else:
            self.set(local)
            self.get(local)
        self.code += op("i32.eqz")

    def step(self) -> None:
        """A counter's step, and what becomes of it: a comparison, or the counter itself."""
        local = self.by_type[I32][1] if self.random() < 0.8 else self.local_of(I32)
        tee = self.random() < 0.5
        # Sometimes from one counter to another.
        self.get(local if self.random() < 0.75 else self.local_of(I32))
        if self.random() < 0.3:
            self.between()
        self.number(I32, self.pick((1, -1, 4, -4, 32_767, -32_768, 32_768, -32_769, 1 << 20)))
        self.instruction("i32.add" if self.random() < 0.8 else "i32.sub", 1)
        self.code += (_TEE if tee else _SET) + unsigned(local)
        if not tee:
            self.stack.pop()
            if self.random() < 0.2:
                self.between()
            self.get(local)
        choice = self.random()
        if choice < 0.2:
            self.code += op("i32.eqz")
        elif choice < 0.8:
            row = self.pick(_COUNTED)
            self.depth += 1
            if self.random() < 0.4:
                self.constant(I32)
            elif self.random() < 0.6:
                self.get(self.local_of(I32))
            else:
                self.operand(I32)
            self.depth -= 1
            self.code += op(row.name)
            self.stack.pop()

    # Addresses and memories

    def long_way(self) -> None:
        """More instructions in a row than pass without a look at what may end a call."""
        work = op("i32.const") + b"\0" + op("i32.eqz") + op("drop")
        self.code += work * (MAX_UNPOLLED + 100)

    def row_of_operands(self) -> None:
        """More operands than an engine may keep from their places, and some more code above them."""
        below = len(self.stack)
        self.left = 5
        for _ in range(250 + int(self.random() * 30)):
            self.get(self.local_of(self.pick((I32, I64, F64))))
        self.operand(I32)
        self.set_some()
        accesses.moving_load(self)
        while len(self.stack) > below + 4:
            self.code += _DROP
            self.stack.pop()
        while len(self.stack) > below:
            self.consume()

    def load(self, type: ValType) -> None:
        accesses.access(self, self.pick(_USUAL_LOADS[type] if self.random() < 0.8 else _LOADS[type]))

    def subject(self, row: Instruction) -> None:
        """The instruction that this function is about, and something to do with its results."""
        below = len(self.stack)
        self.left += 10
        if row in _ACCESS_SET:
            accesses.access(self, row)
        else:
            self.numeric(row)
        while len(self.stack) > below:
            self.consume()

    def consume(self) -> None:
        """Do something with the topmost operand."""
        type = self.stack[-1]
        number = self.random()
        if number < 0.2 or type not in self.by_type:
            self.code += _DROP
            self.stack.pop()
        elif number < 0.4 and type in GLOBALS:
            self.code += op("global.set") + unsigned(GLOBALS.index(type))
            self.stack.pop()
        elif number < 0.5 and type is I32:
            control.use_condition(self)
        else:
            self.set(self.tee_of(type))

    # Statements: the stack is afterwards as it was

    def between(self) -> None:
        """Something that happens between two operands, mostly nothing."""
        if self.random() < 0.75 or self.left < 0:
            return
        self.left -= 2
        number = self.random()
        if number < 0.4:
            known = self.stack and self.random() < 0.6 and self.stack[-1] in self.by_type
            self.assign(self.tee_of(self.stack[-1] if known else self.pick_type()))
        elif number < 0.5:
            self.assign(self.pick(self.pointers))
        elif number < 0.6:
            self.call(())
        else:
            self.depth += 1
            self.statement()
            self.depth -= 1

    def assign(self, local: int) -> None:
        """Set a local, one that holds an address to another address."""
        if local in self.pointers:
            self.depth += 1
            if self.random() < 0.5:
                self.get(local)
                self.number(I32, self.pick((1, 4, 4, 8, -4)))
                self.instruction("i32.add", 2, I32)
            else:
                accesses.address(self, I32, 1 << 16)
            self.depth -= 1
        else:
            self.operand(self.locals[local])
        self.set(local)

    def statement(self) -> None:
        self.left -= 1
        if self.depth > MAX_DEPTH:
            self.code += op("nop")
            return
        self.depth += 1
        self.pick(_STATEMENTS)(self)
        self.depth -= 1

    def store(self) -> None:
        accesses.access(self, self.pick(_USUAL_STORES if self.random() < 0.8 else _STORES))

    def set_some(self) -> None:
        self.assign(self.tee_of(self.pick_type()))

    def discard(self) -> None:
        self.operand(self.pick_type())
        self.consume()

    def void_block(self) -> None:
        self.structured(())

    def void_call(self) -> None:
        self.call(())

    def values(self) -> None:
        """Several operands in a row, used one after the other."""
        below = len(self.stack)
        for _ in range(2 + int(self.random() * 2)):
            self.operand(self.pick_type())
            if self.random() < 0.2:
                self.between()
        while len(self.stack) > below:
            self.consume()

    def chain(self) -> None:
        """Usual instructions on few locals, each of which leaves its result in one."""
        for _ in range(2 + int(self.random() * 3)):
            type = self.pick((I32, I32, F64))
            local = self.tee_of(type)
            number = self.random()
            if number < 0.2:
                self.get(self.local_of(type))
            elif number < 0.3:
                self.constant(type)
            elif number < 0.55:
                self.load(type)
            elif number < 0.7:
                self.store()
                continue
            else:
                self.numeric(self.pick(_USUAL[type]))
            self.set(local)

    # Blocks

    def structured(self, results: tuple[ValType, ...]) -> None:
        """A structured instruction that takes up to two operands from the stack."""
        if len(self.labels) > 5 or self.left < 0:
            for type in results:
                self.operand(type)
            return
        control.structured(self, results)

    def open(self, name: str, results: tuple[ValType, ...], taken: int = 0, catches: bytes = b"") -> Label:
        params = tuple(self.stack[len(self.stack) - taken :])
        if params or len(results) > 1 or self.random() < 0.1:
            block = write_signed(self.types.function(params, results))
        elif results:
            block = write_instruction(BY_NAME["block"][0], results)[1:]
        else:
            block = b"\x40"
        self.code += op(name) + block + catches
        closed = name == "loop" or any(type not in self.by_type for type in results)
        label = Label(params if name == "loop" else results, len(self.stack) - taken, closed)
        self.labels.append(label)
        return label

    def takeable(self) -> int:
        """How many operands on the stack a block may take."""
        free = len(self.stack) - self.labels[-1].base
        count = int(self.random() * (min(free, 2) + 1)) if self.random() < 0.4 else 0
        known = all(type in self.by_type for type in self.stack[len(self.stack) - count :])
        return count if known else 0

    def close(self, results: tuple[ValType, ...]) -> None:
        self.code += _END
        base = self.labels.pop().base
        del self.stack[base:]
        self.stack += results

    def inside(self, results: tuple[ValType, ...]) -> None:
        """What stands in a block or an arm."""
        if self.random() < 0.6:
            self.statement()
        if self.random() < 0.2:
            # The label's values come from here as well as from its end.
            control.branch_if(self, 0)
        if self.random() < 0.15:
            control.leave(self)
        self.finish(results)

    def finish(self, results: tuple[ValType, ...]) -> None:
        """Have just `results` above the innermost label's height."""
        base = self.labels[-1].base
        while len(self.stack) > base and tuple(self.stack[base:]) != results[: len(self.stack) - base]:
            self.consume()
        for type in results[len(self.stack) - base :]:
            self.operand(type)

    # Branches

    # Calls

    def call(self, results: tuple[ValType, ...]) -> None:
        fitting = _CALLEES.get(results)
        if not fitting:
            for type in results:
                self.operand(type)
            return
        below = len(self.stack)
        self.call_one(self.pick(fitting), "")
        if not results or len(self.stack) == below + 1:
            return
        # Others came along.
        while self.stack[-1] is not results[0]:
            self.consume()
        if len(self.stack) > below + 1:
            kept = self.tee_of(results[0])
            self.set(kept)
            while len(self.stack) > below:
                self.consume()
            self.get(kept)

    def call_one(self, number: int, prefix: str) -> None:
        callee = CALLEES[number]
        for index, type in enumerate(callee.params):
            if index:
                self.between()
            self.operand(type)
        choice = self.random()
        if choice < 0.5:
            self.emit(f"{prefix}call", 1 + number)
        else:
            type_index = self.types.function(callee.params, callee.results)
            if choice < 0.8:
                table = int(choice * 100) & 1
                address = I64 if table else I32
                self.number(address, 1 + number + table)
                if self.random() < 0.5:
                    # In a local, or in a slot.
                    local = self.by_type[address][1 if address is I32 else 0]
                    self.code += _TEE + unsigned(local)
                    if self.random() < 0.5:
                        self.number(address, 0)
                        self.instruction("i64.or" if table else "i32.or", 2, address)
                self.code += op(f"{prefix}call_indirect") + unsigned(type_index) + unsigned(table)
            else:
                self.callee(1 + number, type_index)
                self.code += op(f"{prefix}call_ref") + unsigned(type_index)
            self.stack.pop()
        self.pop(len(callee.params))
        self.stack += callee.results

    def call_null(self) -> None:
        number = int(self.random() * len(CALLEES))
        callee = CALLEES[number]
        for type in callee.params:
            self.operand(type)
        type_index = self.types.function(callee.params, callee.results)
        self.code += op("ref.null") + write_signed(type_index) + op("call_ref") + unsigned(type_index)
        self.pop(len(callee.params))
        self.stack += callee.results
        for _ in callee.results:
            self.consume()

    def callee(self, number: int, type_index: int) -> None:
        """A reference to a function, sometimes in a local of its own, seldom null."""
        choice = self.random()
        if choice < 0.05:
            self.code += op("ref.null") + write_signed(type_index)
        else:
            self.code += op("ref.func") + unsigned(number)
        if choice > 0.6:
            self.locals.append(RefType(True, type_index))
            local = unsigned(len(self.locals) - 1)
            self.code += _TEE + local if choice > 0.8 else _SET + local + _GET + local
        self.stack.append(FUNCREF)

    # References and aggregates: see shape_objects

    def reference(self, type: RefType) -> None:
        objects.reference(self, type)

    def element(self, type: ValType) -> None:
        objects.element(self, type)

    def test(self) -> None:
        objects.test(self)


_OTHERS: dict[Subject, Callable[[Body], None]] = {
    _ROW: Body.row_of_operands,
    _WAY: Body.long_way,
    _NULL: Body.call_null,
    **{name: partial(objects.set_field, field=n) for name, n in _FIELDS.items()},
}
_STATEMENTS: list[Callable[[Body], None]] = [
    *[Body.store] * 5, *[Body.set_some] * 3, *[Body.discard] * 2, *[Body.void_block] * 5, Body.void_call,
    *[Body.values] * 3, *[Body.chain] * 5, *control.STATEMENTS, *objects.STATEMENTS,
]  # fmt: skip
