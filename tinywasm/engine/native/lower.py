"""Lowering for the native engine: a validated body becomes register code.

A frame is a run of 64-bit slots: the locals, then one home slot for each operand height (two for a
v128). Locals beyond `NEAR_SLOTS` are far: they lie before the frame's first slot, out of reach for
the 16-bit fields of most words, and travel through operands. A body whose operands do not fit either
is lowered again, by `windows`. Operands that are a local or a constant stay virtual until something
needs them in a slot, so `local.get` and `const` cost nothing; `local.set` retargets the instruction
that made the value. Comparisons melt into the branch that follows. The opcodes are those that
`tools/gen_loop.py` derives from the instruction table; fuel heads are those of the python engine's
`lower`.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tinywasm.code import BlockType, Cast, MemArg, instructions
from tinywasm.engine.lower import MAX_LOCALS
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
from tinywasm.errors import StackExhausted
from tinywasm.instructions import TABLE, Instruction, Role
from tinywasm.interruption import watched
from tinywasm.module import Expr, Function
from tinywasm.types import (
    F32,
    I32,
    I64,
    V128,
    AbstractHeap,
    ArrayType,
    DefinedType,
    FuncType,
    PackedType,
    RefType,
    StorageType,
    StructType,
    ValType,
)
from tinywasm.validation import Context

# What the 16 bits of a word's fields reach, with some room for what an instruction needs beside its operands.
MAX_SLOTS = 60_000
# Parameters and near locals take at most so many slots, which leaves the other half to operands.
NEAR_SLOTS = 30_000
# So many operands at the top may be virtual: what each instruction looks through stays short.
_VIRTUAL = 256
_M64 = (1 << 64) - 1
_INSTRUCTION = struct.Struct("<HHHHQ")

# Kinds of virtual operands.
SLOT, LOCAL, CONST, CONST128 = range(4)


@dataclass(slots=True)
class Operand:
    """A virtual operand: where its value is now, and the slot where it belongs.

    `value` is a local's slot, a constant's bits, or 16 bytes; for SLOT it is the home itself.
    """

    kind: int
    value: Any
    home: int
    width: int


@dataclass(slots=True)
class Label:
    """A control frame; `height` in slots and `depth` in operands are below the parameters.

    `base` is that of its window, from which its slots count: see `windows`.
    """

    opcode: str
    height: int = 0
    depth: int = 0
    params: tuple[int, ...] = ()
    results: tuple[int, ...] = ()
    target: int = -1
    patches: list[int] = field(default_factory=list)
    clause_patches: list[list[int]] = field(default_factory=list)
    else_patch: int = -1
    clauses: list[list[int]] = field(default_factory=list)
    base: int = 0

    @property
    def branch(self) -> tuple[int, ...]:
        return self.params if self.opcode == "loop" else self.results

    @property
    def targeted(self) -> bool:
        return bool(self.patches or self.clause_patches)


@dataclass(slots=True)
class NativeCode:
    """Register code of one function.

    `words` are 16-byte instructions; `positions` has one module offset a word. `frame_slots` counts from
    the first argument on, `near_slots` without the far locals. `zeros` is the number of slots of locals
    behind the parameters that a call clears; with far locals the code does that itself. A handler is
    [first word, word behind the last, [[tag or -1, with reference, target word, height slot, the target's
    base], ...]], innermost first. `windows` are the places where the base changes, (word, base): see there.
    """

    words: bytes
    positions: list[int]
    frame_slots: int
    near_slots: int
    param_slots: int
    zeros: int
    result_slots: int
    handlers: list[list[Any]]
    windows: list[tuple[int, int]] = field(default_factory=list)


class TooDeep(Exception):
    """A body needs more than `MAX_SLOTS`."""


def width(type: ValType) -> int:
    return 2 if type is V128 else 1


def widths(types: Any) -> tuple[int, ...]:
    return tuple(map(width, types))


def lower(
    context: Context, index: int, function: Function, *, metered: bool, profiled: bool = False
) -> NativeCode:
    """Lower a function of the module that `context` describes.

    `metered` code pays with fuel; `profiled` code counts its calls and instructions.
    Raises `StackExhausted` where its locals or operands cannot be held.
    """
    signature = context.funcs[index].composite
    assert isinstance(signature, FuncType)
    return _build(function.body, context, signature, function.locals, metered, profiled)


def lower_constant(context: Context, expr: Expr, type: ValType) -> NativeCode:
    """Lower a constant expression of type `type` as a function without parameters."""
    return _build(expr, context, FuncType((), (type,)), (), False, False)


def _build(body: Expr, *about: Any) -> NativeCode:
    try:
        return _Builder(*about).build(body)
    except TooDeep:
        # Here, since it extends what this module defines; hardly any program ever needs it.
        from tinywasm.engine.native.windows import WindowBuilder

        return WindowBuilder(*about).build(body)


class _Locals:
    """Where a function's locals lie: the slot and the width of each, run by run as they are declared.

    Far ones have negative slots, counted from where the parameters lie while the function runs.
    """

    def __init__(self, params: Sequence[ValType], declared: Sequence[tuple[int, ValType]]) -> None:
        if sum(count for count, _ in declared) > MAX_LOCALS:
            raise StackExhausted
        self.param_slots = sum(widths(params))
        near, far, index = 0, 0, 0
        runs: list[tuple[int, int, int, bool]] = []
        for number, (count, type) in enumerate([*((1, param) for param in params), *declared]):
            each = width(type)
            fitting = count if number < len(params) else min(count, max(0, NEAR_SLOTS - near) // each)
            if fitting:
                runs.append((index, near, each, False))
            if fitting < count:
                runs.append((index + fitting, far, each, True))
            near += fitting * each
            far += (count - fitting) * each
            index += count
        self.near = near
        self.far = far
        self.first = [first for first, _, _, _ in runs]
        self.runs = [(first, slot - far if is_far else slot, each) for first, slot, each, is_far in runs]

    def __getitem__(self, index: int) -> tuple[int, int]:
        first, slot, each = self.runs[bisect_right(self.first, index) - 1]
        return slot + (index - first) * each, each


class _Builder:
    """State of lowering one body: words so far, the virtual stack, and the control frames."""

    def __init__(
        self,
        context: Context,
        signature: FuncType,
        locals: Sequence[tuple[int, ValType]],
        metered: bool,
        profiled: bool,
    ) -> None:
        self.context = context
        self.profiled = profiled
        # Field c of words whose work their operands determine: whether they pay for it.
        self.metered = int(metered)
        # What stands at each fuel head, to be given the number of instructions behind it.
        self.counters = [name for name, wanted in (("fuel", metered), ("count", profiled)) if wanted]
        self.results = widths(signature.results)
        self.locals = _Locals(signature.params, locals)
        self.first_operand = self.locals.near
        self.top = self.first_operand
        self.max_top = self.first_operand
        self.stack: list[Operand] = []
        # So many operands from the bottom are in their homes.
        self.settled = 0
        self.labels: list[Label] = []
        self.words: list[list[int]] = []
        self.positions: list[int] = []
        self.handlers: list[list[Any]] = []
        self.barrier = 0
        # Words that are data.
        self.raw: set[int] = set()
        self.position = 0
        self.dead = False
        self.head: list[int] = []

    def build(self, body: Expr) -> NativeCode:
        self.position = body.start
        params, zeros, far = (
            self.locals.param_slots,
            self.locals.near - self.locals.param_slots,
            self.locals.far,
        )
        if far:
            self.emit("wide_enter", params, imm=far | zeros << 32)
        if self.profiled:
            self.emit("enter")
        self.lead()
        self.labels.append(Label("func", self.top, results=self.results))
        skipped = 0
        lowerings = self.lowerings()
        for position, row, immediates in instructions(body.code, body.start, body.end):
            if self.dead:
                role = row.role
                if role is Role.OPENS:
                    skipped += 1
                if role not in (Role.CLOSES, Role.DIVIDES) or skipped:
                    skipped -= role is Role.CLOSES
                    continue
            self.position = position
            lowerings[row.ordinal](self, row, immediates)
        self.pair()
        pack = _INSTRUCTION.pack
        return NativeCode(
            b"".join([pack(op, a, b, c, imm & _M64) for op, a, b, c, imm in watched(self.words)]),
            self.positions,
            far + self.max_top + 2,
            self.max_top + 2,
            params,
            0 if far else zeros,
            sum(self.results),
            self.handlers,
        )

    def lowerings(self) -> Sequence[_Lower]:
        """What lowers each instruction, by its row in the table."""
        return _LOWER

    # Words

    def emit(self, name: str, a: int = 0, b: int = 0, c: int = 0, imm: int = 0) -> int:
        self.words.append([OPCODES[name], a, b, c, imm])
        self.positions.append(self.position)
        return len(self.words) - 1

    def data(self, raw: bytes) -> None:
        """A word of 16 bytes of data behind an instruction; no code is retargeted across it."""
        self.raw.add(len(self.words))
        self.words.append(list(_INSTRUCTION.unpack(raw)))
        self.positions.append(self.position)
        self.barrier = len(self.words)

    def remove_last(self) -> list[int]:
        self.positions.pop()
        return self.words.pop()

    def defines(self, slot: int) -> bool:
        """Whether the last word made the value in operand slot `slot` and may still be changed."""
        if len(self.words) <= self.barrier:
            return False
        word = self.words[-1]
        return word[1] == slot and word[0] in _DEFINES

    def lead(self) -> None:
        """A fuel head: what follows is charged here."""
        self.head = [self.emit(name) for name in self.counters]
        self.barrier = len(self.words)

    def count(self) -> None:
        for word in self.head:
            if not self.words[word][4]:
                # A backtrace names the first of the instructions that the fuel was for.
                self.positions[word] = self.position
            self.words[word][4] += 1

    def pair(self) -> None:
        """Let words that often follow each other be done in one.

        The second stays as it is, for branches that come to it, and may begin a pair of its own.
        """
        words = self.words
        for index, (word, following) in enumerate(watched(pairwise(words))):
            forms = PAIRED.get((word[0], following[0]))
            if forms is None or index in self.raw or index + 1 in self.raw:
                continue
            for field_index, opcode in forms:
                if not field_index or following[field_index] == word[1]:
                    word[0] = opcode
                    break

    # The virtual stack

    def push(self, width: int) -> int:
        """A new operand in its home slot, which is returned."""
        if len(self.stack) - self.settled > _VIRTUAL:
            self.settle_next()
        home = self.top
        self.stack.append(Operand(SLOT, home, home, width))
        self.top += width
        self.max_top = max(self.max_top, self.top)
        if self.top > MAX_SLOTS:
            self.overflow()
        return home

    def overflow(self) -> None:
        raise TooDeep

    def push_virtual(self, kind: int, value: Any, width: int) -> None:
        self.push(width)
        self.stack[-1].kind = kind
        self.stack[-1].value = value

    def pop(self) -> Operand:
        operand = self.stack.pop()
        self.top = operand.home
        self.settled = min(self.settled, len(self.stack))
        return operand

    def cut(self, depth: int) -> None:
        """Forget the operands above `depth`."""
        del self.stack[depth:]
        self.settled = min(self.settled, depth)

    def register(self, operand: Operand) -> int:
        """A slot that holds the operand's value."""
        if operand.kind in (SLOT, LOCAL):
            slot: int = operand.value
            return slot
        self.settle(operand)
        return operand.home

    def settle(self, operand: Operand) -> None:
        """Bring the operand into its home slot."""
        self.move_to(operand, operand.home)
        operand.kind, operand.value = SLOT, operand.home

    def move_to(self, operand: Operand, slot: int) -> None:
        if operand.kind == CONST:
            self.put_constant(slot, operand.value)
        elif operand.kind == CONST128:
            self.emit("const128", slot)
            self.data(operand.value)
        elif operand.value != slot:
            if operand.width == 2:
                self.emit("move128", slot, operand.value)
            else:
                self.put_move(slot, operand.value)

    def put_constant(self, slot: int, value: int) -> None:
        """A constant into a slot; two small ones that follow each other share a word."""
        last = self.words[-1] if len(self.words) > self.barrier else None
        if last is not None and last[0] == _CONST and value <= 0xFFFFFFFF and last[4] <= 0xFFFFFFFF:
            last[0], last[3], last[4] = _CONST2, slot, last[4] | value << 32
        else:
            self.emit("const", slot, imm=value)

    def put_move(self, slot: int, source: int) -> None:
        """One slot into another; two moves that follow each other share a word, which does them in order."""
        last = self.words[-1] if len(self.words) > self.barrier else None
        if last is not None and last[0] == _MOVE:
            last[0], last[3], last[4] = _MOVE2, slot, source
        else:
            self.emit("move", slot, source)

    def settle_next(self) -> None:
        """Bring the lowest operand home that may be virtual."""
        operand = self.stack[self.settled]
        if operand.kind != SLOT:
            self.settle(operand)
        self.settled += 1

    def settle_all(self) -> None:
        while self.settled < len(self.stack):
            self.settle_next()

    def settle_top(self, count: int) -> int:
        """Bring the `count` topmost operands home, pop them; the slot of the first."""
        if not count:
            return self.top
        for operand in self.stack[-count:]:
            if operand.kind != SLOT:
                self.settle(operand)
        first = self.stack[-count].home
        self.cut(len(self.stack) - count)
        self.top = first
        return first

    # Labels

    def bind(self, label: Label) -> None:
        """Branches to `label` come here."""
        here = len(self.words)
        for word in label.patches:
            self.words[word][4] = (self.words[word][4] & ~0xFFFFFFFF) | ((here - word) & 0xFFFFFFFF)
        for clause in label.clause_patches:
            clause[2] = here
        self.barrier = here

    def jump(self, name: str, label: Label, a: int = 0, b: int = 0, imm: int = 0) -> None:
        """A branch word to `label`; its distance stands in the low half of the immediate."""
        word = self.emit(name, a, b, imm=imm << 32)
        if label.opcode == "loop":
            self.words[word][4] |= (label.target - word) & 0xFFFFFFFF
            label.patches.append(word)
        else:
            label.patches.append(word)

    def in_place(self, label: Label) -> bool:
        """Whether the values that a branch takes along lie where the label wants them."""
        slot = label.height
        for operand in self.stack[len(self.stack) - len(label.branch) :]:
            if operand.kind != SLOT or operand.home != slot:
                return False
            slot += operand.width
        return True

    def carry(self, label: Label) -> None:
        """Move a branch's values to the label's slots; the virtual stack stays as it is."""
        slot = label.height
        for operand in self.stack[len(self.stack) - len(label.branch) :]:
            self.move_to(operand, slot)
            slot += operand.width

    def branch(self, depth: int) -> None:
        """An unconditional branch, taken from here; the virtual stack stays as it is."""
        label = self.labels[-1 - depth]
        if label.opcode == "func":
            self.return_values()
            return
        self.carry(label)
        self.jump("jump", label)

    def return_values(self) -> None:
        count = len(self.results)
        if self.results == (1,):
            self.leave(self.register_copy(self.stack[-1]), 1)
            return
        for operand in self.stack[len(self.stack) - count :]:
            self.move_to(operand, operand.home)
        self.leave(self.stack[-count].home if count else 0, sum(self.results))

    def leave(self, slot: int, slots: int) -> None:
        """Return what lies in `slots` slots from `slot` on."""
        if self.locals.far:
            self.emit("wide_leave", slot, slots, imm=self.locals.far)
            self.emit("return0")
        elif slots < 2:
            self.emit(f"return{slots}", slot)
        else:
            self.emit("return_n", slot, imm=slots)

    def register_copy(self, operand: Operand) -> int:
        """As `register`, but the operand stays as virtual as it was: the code may run or not."""
        if operand.kind == CONST:
            self.move_to(operand, operand.home)
            return operand.home
        slot: int = operand.value
        return slot

    def branch_if(self, depth: int, condition: Operand, *, when: bool) -> None:
        """Branch to label `depth` when the condition's truth is `when`; else go on here."""
        label = self.labels[-1 - depth]
        if label.opcode != "func" and self.in_place(label):
            self.test(condition, when, lambda name, a, b, imm: self.jump(name, label, a, b, imm))
        else:
            skip = Label("block")
            self.test(condition, not when, lambda name, a, b, imm: self.jump(name, skip, a, b, imm))
            self.barrier = len(self.words)
            self.branch(depth)
            self.bind(skip)
        self.lead()

    def test(self, condition: Operand, when: bool, jump: Callable[[str, int, int, int], None]) -> None:
        """Emit the branch on `condition`, melted with the comparison that made it."""
        if condition.kind == CONST:
            self.settle(condition)
        slot = condition.value
        while condition.kind == SLOT and self.defines(slot):
            op, _, b, c, imm = self.words[-1]
            if op == _EQZ:
                self.remove_last()
                when = not when
                slot = b
                if slot < self.first_operand:
                    # A local keeps the word that made its value.
                    break
                continue
            melted = COMPARES.get(op)
            half = _half_constant(melted[2], imm) if melted else None
            if melted is None or half is None:
                break
            self.remove_last()
            self.melt(melted[0] if when else melted[1], b, c, half, jump)
            return
        if when and self.steps(slot):
            # As a comparison with zero, which a counter's step goes along with.
            self.melt("branch_if__i32_ne__k", slot, 0, 0, jump)
            return
        jump("branch_if" if when else "branch_unless", slot, 0, 0)

    def steps(self, slot: int) -> bool:
        """Whether the last word adds a constant to the counter in `slot`."""
        if len(self.words) <= self.barrier:
            return False
        op, target, source, _, step = self.words[-1]
        return op == _ADD and target == source == slot and -(1 << 15) <= _signed(step) < 1 << 15

    def moved(self, address: Operand) -> bool:
        """Whether the last word adds a constant and leaves the sum in the local that is the address."""
        if address.kind != LOCAL or len(self.words) <= self.barrier:
            return False
        op, target, *_ = self.words[-1]
        return op == _ADD and target == address.value

    def melt(self, name: str, x: int, y: int, imm: int, jump: Callable[[str, int, int, int], None]) -> None:
        """Branch on a comparison, and take a counter's step along that comes just before."""
        counted = COUNTED.get(name)
        if counted is not None and self.steps(x):
            step = self.remove_last()[4]
            jump(counted, x, y, imm)
            self.words[-1][3] = step & 0xFFFF
            return
        jump(name, x, y, imm)

    # Types

    def block_widths(self, block: BlockType) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if block is None:
            return (), ()
        if isinstance(block, int):
            signature = self.context.types[block].composite
            assert isinstance(signature, FuncType)
            return widths(signature.params), widths(signature.results)
        return (), (width(block),)


def _half_constant(type: str, imm: int) -> int | None:
    """A comparison's constant as the upper half of an immediate holds it, or None where it does not fit."""
    if type == "":
        return 0
    if type != "f64":
        return _signed(imm) & 0xFFFFFFFF if -(1 << 31) <= _signed(imm) < 1 << 31 else None
    (number,) = struct.unpack("<d", struct.pack("<Q", imm & _M64))
    try:
        (half,) = struct.unpack("<I", struct.pack("<f", number))
    except OverflowError:
        return None
    (back,) = struct.unpack("<f", struct.pack("<I", half))
    # Not for a NaN, which is unlike itself.
    return int(half) if back == number else None


def _signed(bits: int) -> int:
    bits &= _M64
    return bits - (1 << 64) if bits >> 63 else bits


_EQZ = OPCODES["i32_eqz"]
_ADD = OPCODES["i32_add__k"]
_CONST, _CONST2 = OPCODES["const"], OPCODES["const2"]
_MOVE, _MOVE2 = OPCODES["move"], OPCODES["move2"]
# Words that do nothing but make the value of their slot `a`, so that they may make it elsewhere.
_DEFINES = frozenset(
    OPCODES[name]
    for row in TABLE
    if len(row.results) == 1 and (row.operator or (row.immediates and row.immediates[0].startswith("memarg")))
    if len(row.immediates) != 2 and row.immediates != ("shuffle",)
    for flat in [row.name.replace(".", "_")]
    for name in (flat, f"{flat}__k", f"{flat}__x", f"{flat}__a", f"{flat}__s", f"{flat}__u")
    if name in OPCODES
) | {
    OPCODES[name]
    for name in ("global_get", "struct_get", "array_get", *FUSED.values(), *FUSED_CONSTANTS.values())
}

# Loads that also move the local in their slot `c`.
_MOVING = frozenset(opcode for name, opcode in OPCODES.items() if name.endswith("__u"))

_Lower = Callable[[_Builder, Instruction, tuple[Any, ...]], None]


# Structured control


def _open(b: _Builder, row: Instruction, block: BlockType) -> Label:
    b.settle_all()
    params, results = b.block_widths(block)
    depth = len(b.stack) - len(params)
    height = b.stack[depth].home if params else b.top
    label = Label(row.name, height, depth, params, results)
    b.labels.append(label)
    return label


def _block(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    _open(b, row, imm[0])


def _loop(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    label = _open(b, row, imm[0])
    label.target = len(b.words)
    b.lead()


def _if(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    condition = b.pop()
    if condition.kind == SLOT and b.defines(condition.value) and not _moves_operand(b, b.words[-1]):
        # The rest goes home before the word that made the condition, which stays last to melt.
        word, position = b.words.pop(), b.positions.pop()
        b.settle_all()
        b.words.append(word)
        b.positions.append(position)
    else:
        b.settle_all()
    skip = Label("block")
    label = _open(b, row, imm[0])
    b.test(condition, False, lambda name, x, y, bits: b.jump(name, skip, x, y, bits))
    label.else_patch = skip.patches[0]
    b.lead()


def _moves_operand(b: _Builder, word: list[int]) -> bool:
    """Whether a word changes a local that an operand still stands for."""
    if word[0] not in _MOVING:
        return False
    return any(operand.kind == LOCAL and operand.value == word[3] for operand in b.stack[b.settled :])


def _reset(b: _Builder, label: Label, widths: tuple[int, ...]) -> None:
    """The virtual stack as it is at the label: everything home."""
    b.cut(label.depth)
    b.top = label.height
    b.dead = False
    for each in widths:
        b.push(each)


def _bind_else(b: _Builder, label: Label) -> None:
    skip = Label("block", patches=[label.else_patch])
    label.else_patch = -1
    b.bind(skip)


def _else(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    label = b.labels[-1]
    if not b.dead:
        b.settle_all()
        b.jump("jump", label)
    _bind_else(b, label)
    _reset(b, label, label.params)
    label.opcode = "else"
    b.lead()


def _end(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    label = b.labels.pop()
    if label.opcode == "func":
        if not b.dead:
            b.return_values()
        if label.clause_patches:
            b.bind(label)
            # A clause brings its values here, which may be more than anything else that the frame holds.
            b.max_top = max(b.max_top, label.height + sum(b.results))
            b.leave(label.height, sum(b.results))
        return
    joined = label.opcode in ("if", "else") or (label.opcode != "loop" and label.targeted)
    if joined and not b.dead:
        b.settle_all()
    if label.opcode == "try_table":
        b.handlers.append([label.target, len(b.words), label.clauses])
        b.barrier = len(b.words)
    if joined:
        if label.else_patch >= 0:
            _bind_else(b, label)
        b.bind(label)
        _reset(b, label, label.results)
        b.lead()


def _try_table(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    clauses = []
    for catch in imm[1]:
        target = b.labels[-1 - catch.label]
        tag = -1 if catch.tag is None else catch.tag
        clause = [tag, int(catch.ref), target.target, target.height + target.base, target.base]
        if target.opcode != "loop":
            target.clause_patches.append(clause)
        clauses.append(clause)
    label = _open(b, row, imm[0])
    label.target, label.clauses = len(b.words), clauses
    b.barrier = len(b.words)


# Branches and calls


def _unreachable(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.emit("unreachable")
    b.dead = True


def _throw(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    defined = b.context.tags[imm[0]]
    assert isinstance(defined.composite, FuncType)
    b.emit("throw", b.settle_top(len(defined.composite.params)), imm=imm[0])
    b.dead = True


def _throw_ref(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.emit("throw_ref", b.register(b.pop()))
    b.dead = True


def _br(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.branch(imm[0])
    b.dead = True


def _br_if(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.branch_if(imm[0], b.pop(), when=True)


def _br_table(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    index = b.register(b.pop())
    labels, default = imm[0]
    b.emit("br_table", index, imm=len(labels))
    stops: dict[int, Label] = {}
    for depth in (*labels, default):
        label = b.labels[-1 - depth]
        if label.opcode != "func" and b.in_place(label):
            b.jump("jump", label)
        else:
            b.jump("jump", stops.setdefault(depth, Label("block")))
    for depth, stop in stops.items():
        b.bind(stop)
        b.branch(depth)
    b.dead = True


def _br_on_null(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    reference = b.pop()
    b.branch_if(imm[0], reference, when=False)
    b.stack.append(reference)
    b.top = reference.home + 1


def _br_on_non_null(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    if b.stack[-1].kind == CONST:
        b.settle(b.stack[-1])
    b.branch_if(imm[0], b.stack[-1], when=True)
    b.pop()


def _br_on_cast(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    cast: Cast = imm[0]
    reference = b.register(b.stack[-1])
    scratch = b.top
    b.emit("ref_test", scratch, reference, *_cast_target(cast.target))
    b.barrier = len(b.words)
    b.branch_if(cast.label, Operand(SLOT, scratch, scratch, 1), when=row.name == "br_on_cast")


def _return(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.return_values()
    b.dead = True


def _leave_call(b: _Builder, row: Instruction, type: DefinedType, fields: dict[str, int]) -> None:
    signature = type.composite
    assert isinstance(signature, FuncType)
    arguments = b.settle_top(len(signature.params))
    tail = row.name.startswith("return_")
    if tail and b.locals.far:
        # What replaces the frame begins where that does; the callee's operand lies behind the arguments.
        slots = sum(widths(signature.params))
        b.emit("wide_leave", arguments, slots + ("b" in fields), imm=b.locals.far)
        arguments, fields = 0, {key: slots if key == "b" else field for key, field in fields.items()}
    b.emit(row.name, arguments, **fields)
    # Also behind a tail call: a host function leaves its results here first.
    for each in widths(signature.results):
        b.push(each)
    b.dead = tail


def _callee(b: _Builder) -> int:
    """The slot of the operand that says which function is called."""
    operand = b.pop()
    if b.locals.far:
        b.settle(operand)
    return b.register(operand)


def _call(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    _leave_call(b, row, b.context.funcs[imm[0]], {"imm": imm[0]})


def _call_indirect(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    index = _callee(b)
    _leave_call(b, row, b.context.types[imm[0]], {"b": index, "imm": imm[0] | imm[1] << 32})


def _call_ref(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    callee = _callee(b)
    _leave_call(b, row, b.context.types[imm[0]], {"b": callee})


# Parametric and variable instructions


def _nop(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()


def _drop(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.pop()


def _select(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    condition = b.register(b.pop())
    second, first = b.pop(), b.pop()
    y, x = b.register(second), b.register(first)
    home = b.push(first.width)
    b.emit("select" if first.width == 1 else "select128", home, x, y, condition)


def _const(bits: int) -> _Lower:
    mask = (1 << bits) - 1

    def lower_const(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
        b.count()
        b.push_virtual(CONST, imm[0] & mask, 1)

    return lower_const


def _const128(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.push_virtual(CONST128, imm[0], 2)


def _ref_null(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.push_virtual(CONST, 0, 1)


def _local_get(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    slot, each = b.locals[imm[0]]
    if slot < 0:
        b.emit("wide_get", b.push(each), c=each, imm=slot)
    else:
        b.push_virtual(LOCAL, slot, each)


def _assign(b: _Builder, slot: int) -> None:
    """Pop an operand into a near local; operands that still stand for the old value go home first."""
    value = b.pop()
    stale = [operand for operand in b.stack[b.settled :] if operand.kind == LOCAL and operand.value == slot]
    if not stale and value.kind == SLOT and b.defines(value.value):
        b.words[-1][1] = slot
        return
    for operand in stale:
        b.settle(operand)
    b.move_to(value, slot)


def _local_set(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    slot, each = b.locals[imm[0]]
    if slot < 0:
        b.emit("wide_set", b.register(b.pop()), c=each, imm=slot)
    else:
        _assign(b, slot)


def _local_tee(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    slot, each = b.locals[imm[0]]
    if slot < 0:
        b.emit("wide_set", b.register(b.stack[-1]), c=each, imm=slot)
    else:
        _assign(b, slot)
        b.push_virtual(LOCAL, slot, each)


def _global_get(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    each = width(b.context.globals[imm[0]].content)
    b.emit("global_get" if each == 1 else "global_get128", b.push(each), imm=imm[0])


def _global_set(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    value = b.pop()
    b.emit("global_set" if value.width == 1 else "global_set128", b.register(value), imm=imm[0])


# Numeric


def _unary(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    source = b.register(b.pop())
    b.emit(row.operator or "", b.push(width(row.results[0])), source, imm=imm[0] if imm else 0)


def _binary(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    name = row.operator or ""
    second, first = b.pop(), b.pop()
    if name in COMMUTATIVE and first.kind == CONST and second.kind != CONST:
        # The operands change places, and the constant one never needs its home.
        first, second = second, first
    if second.kind == CONST and name in CONSTANT_FORMS:
        if _fuse_constants(b, name, first, second.value):
            return
        x, value = b.register(first), second.value
        b.emit(f"{name}__k", b.push(width(row.results[0])), x, imm=_extended(value, row.params[1]))
        return
    if _fuse(b, name, first, second):
        return
    y, x = b.register(second), b.register(first)
    b.emit(name, b.push(width(row.results[0])), x, y, imm[0] if imm else 0)


def _fuse_constants(b: _Builder, name: str, first: Operand, constant: int) -> bool:
    """Take along an operator with a constant that has just made the first operand of another such."""
    if first.kind != SLOT or not b.defines(first.value):
        return False
    op, _, x, _, inner = b.words[-1]
    fused = FUSED_CONSTANTS.get((op, name))
    if fused is None:
        return False
    b.remove_last()
    b.emit(fused, b.push(1), x, imm=(inner & 0xFFFFFFFF) | constant << 32)
    return True


def _fuse(b: _Builder, name: str, first: Operand, second: Operand) -> bool:
    """Take along the operator that has just made one of the operands."""
    right = second.kind == SLOT and b.defines(second.value)
    inner, other = (second, first) if right else (first, second)
    if inner.kind != SLOT or not b.defines(inner.value):
        return False
    op, _, x, y, constant = b.words[-1]
    fused = FUSED.get((op, name, right))
    if fused is None:
        return False
    b.remove_last()
    z = b.register(other)
    if "__k" in fused:
        b.emit(fused, b.push(1), x, z, constant)
    else:
        b.emit(fused, b.push(1), x, y, z)
    return True


def _binary_as(operator: str) -> _Lower:
    """An instruction that a numeric operator serves as well."""
    twin = next(row for row in TABLE if row.operator == operator)
    return lambda b, row, imm: _binary(b, twin, imm)


def _extended(bits: int, type: ValType) -> int:
    """The constant as the immediate holds it: i32 sign-extended, so that it fits half of one."""
    return bits - (1 << 32) if type in (I32, F32) and bits >> 31 == 1 else bits


def _shuffle(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    _binary(b, row, ())
    b.data(imm[0])


def _ternary(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    third, second, first = b.pop(), b.pop(), b.pop()
    z, y, x = b.register(third), b.register(second), b.register(first)
    b.emit(row.operator or "", b.push(2), x, y, z)


def _wide(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    slots = [b.register(b.pop()) for _ in row.params][::-1]
    low, _ = b.push(1), b.push(1)
    upper = slots[2] | slots[3] << 16 if len(slots) == 4 else 0
    b.emit(row.operator or "", low, slots[0], slots[1], upper)


def _numeric(row: Instruction) -> _Lower:
    if row.name == "i8x16.shuffle":
        return _shuffle
    return _wide if len(row.results) == 2 else (_unary, _binary, _ternary)[len(row.params) - 1]


# Memory and tables

_LANE_OFFSETS = (1 << 48) - 1
# As the memory of an access: the word before has its index.
_FAR_MEMORY = (1 << 16) - 1


def _access(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    argument: MemArg = imm[0]
    memory = b.context.memories[argument.memory]
    short = argument.memory == 0 and memory.address is not I64
    name = row.name.replace(".", "_")
    offset = argument.offset
    if len(imm) == 2:
        # No memory reaches an offset that does not fit beside the lane.
        offset = min(offset, _LANE_OFFSETS) | imm[1] << 56
    value = b.pop() if len(row.params) == 2 else None
    address = b.pop()
    if not short:
        name += "__x"
    elif len(imm) == 1 and address.kind == CONST:
        # The sum of two numbers of 32 bits: the word knows its whole address.
        name += "__s"
        offset += address.value
        address = Operand(LOCAL, 0, address.home, 1)
    elif len(imm) == 1 and offset <= 0xFFFFFFFF and address.kind == SLOT and b.defines(address.value):
        op, _, base, _, addend = b.words[-1]
        if op == _ADD and not _displaces(value, base):
            # The constant that the address was made with goes into the access.
            b.remove_last()
            name += "__a"
            address = Operand(LOCAL, base, address.home, 1)
            offset |= (addend & 0xFFFFFFFF) << 32
    third = argument.memory
    if (
        short
        and "__" not in name
        and len(imm) == 1
        and offset <= 0xFFFFFFFF
        and b.moved(address)
        and not _displaces(value, b.words[-1][2])
    ):
        # The word that moved a local on to the address goes into the access, which writes the local.
        _, third, base, _, addend = b.remove_last()
        name += "__u"
        address = Operand(LOCAL, base, address.home, 1)
        offset |= (addend & 0xFFFFFFFF) << 32
    if row.results and value is not None:
        _load_lane(b, name, address, value, third, offset)
    elif value is not None:
        y, x = b.register(value), b.register(address)
        b.emit(name, x, y, third, offset)
    else:
        x = b.register(address)
        b.emit(name, b.push(width(row.results[0])), x, third, offset)
    if argument.memory >= _FAR_MEMORY:
        _far_memory(b, argument.memory)


def _displaces(value: Operand | None, slot: int) -> bool:
    """Whether a constant that is brought home takes the place of what lies in `slot`."""
    if value is None or value.kind not in (CONST, CONST128):
        return False
    return value.home <= slot < value.home + value.width


def _far_memory(b: _Builder, memory: int) -> None:
    """Give the access that was just emitted a memory whose index is too large for it.

    Nothing comes between the two words, so the access is not moved either.
    """
    access, position = b.words.pop(), b.positions.pop()
    access[3] = _FAR_MEMORY
    b.emit("wide_memory", imm=memory)
    b.words.append(access)
    b.positions.append(position)
    b.barrier = len(b.words)


def _load_lane(b: _Builder, name: str, address: Operand, vector: Operand, memory: int, offset: int) -> None:
    """The word changes a vector in place, so that goes where the result will lie."""
    scratch = vector.home + 2
    b.max_top = max(b.max_top, scratch + 1)
    b.move_to(address, scratch)
    result = b.push(2)
    b.move_to(vector, result)
    b.emit(name, result, scratch, memory, offset)


def _in_row(opcode: str, fields: Callable[[_Builder, Any], dict[str, int]]) -> _Lower:
    """An instruction that takes its operands from consecutive slots and leaves its results there."""

    def lower_in_row(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
        b.count()
        b.emit(opcode, b.settle_top(row.takes.fixed), c=b.metered, **fields(b, imm))
        for _ in range(row.leaves.fixed):
            b.push(1)

    return lower_in_row


def _single(opcode: str, fields: Callable[[_Builder, Any], dict[str, int]]) -> _Lower:
    """One operand in any slot, one result."""

    def lower_single(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
        b.count()
        source = b.register(b.pop())
        b.emit(opcode, b.push(1), source, **fields(b, imm))

    return lower_single


def _source(opcode: str, fields: Callable[[_Builder, Any], dict[str, int]]) -> _Lower:
    """No operand, one result."""

    def lower_source(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
        b.count()
        b.emit(opcode, b.push(1), **fields(b, imm))

    return lower_source


def _check(opcode: str, fields: Callable[[_Builder, Any], dict[str, int]]) -> _Lower:
    """Looks at the topmost operand, which stays."""

    def lower_check(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
        b.count()
        b.emit(opcode, b.register(b.stack[-1]), **fields(b, imm))

    return lower_check


def _none(b: _Builder, imm: Any) -> dict[str, int]:
    return {}


def _imm(b: _Builder, imm: Any) -> dict[str, int]:
    return {"imm": imm[0]}


def _pair(b: _Builder, imm: Any) -> dict[str, int]:
    """Two indices, a half of the immediate each: the other fields are too small for some modules."""
    return {"imm": imm[0] | imm[1] << 32}


def _table_set(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    value, index = b.pop(), b.pop()
    y, x = b.register(value), b.register(index)
    b.emit("table_set", x, y, imm=imm[0])


# References

# How `ref_test` names an abstract type; the order is that of `enum heap_kind` in heap.h.
_HEAPS = list(AbstractHeap)


def _cast_target(ref: RefType) -> tuple[int, int]:
    """Field c and the immediate: the type index in the low half or the abstract type, and flags."""
    concrete = isinstance(ref.heap, int)
    code = ref.heap if isinstance(ref.heap, int) else _HEAPS.index(ref.heap)  # type: ignore[arg-type]
    return int(concrete), code | ref.nullable << 32


def _ref_test(b: _Builder, imm: Any) -> dict[str, int]:
    c, bits = _cast_target(imm[0])
    return {"c": c, "imm": bits}


# Aggregates


def _layout(b: _Builder, index: int) -> list[tuple[int, StorageType]]:
    """The fields of a struct type: slot and storage type of each."""
    composite = b.context.types[index].composite
    assert isinstance(composite, StructType)
    slot, fields = 0, []
    for each in composite.fields:
        fields.append((slot, each.storage))
        slot += 2 if each.storage is V128 else 1
    return fields


def _struct_new(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.emit("struct_new", b.settle_top(len(_layout(b, imm[0]))), c=b.metered, imm=imm[0])
    b.push(1)


def _struct_get(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    slot, storage = _layout(b, imm[0])[imm[1]]
    source = b.register(b.pop())
    if storage is V128:
        b.emit("struct_get128", b.push(2), source, imm=slot)
    elif row.name == "struct.get_s":
        assert isinstance(storage, PackedType)
        b.emit("struct_get_s", b.push(1), source, storage.value, slot)
    else:
        b.emit("struct_get", b.push(1), source, imm=slot)


def _struct_set(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    slot, storage = _layout(b, imm[0])[imm[1]]
    value, reference = b.pop(), b.pop()
    y, x = b.register(value), b.register(reference)
    if isinstance(storage, PackedType):
        b.emit("struct_set_packed", x, y, storage.value, slot)
    else:
        b.emit("struct_set128" if storage is V128 else "struct_set", x, y, imm=slot)


def _storage(b: _Builder, index: int) -> StorageType:
    composite = b.context.types[index].composite
    assert isinstance(composite, ArrayType)
    return composite.field.storage


def _array_get(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    index, reference = b.pop(), b.pop()
    y, x = b.register(index), b.register(reference)
    opcode = "array_get_s" if row.name == "array.get_s" else "array_get"
    b.emit(opcode, b.push(2 if _storage(b, imm[0]) is V128 else 1), x, y, imm[0])


def _array_set(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    value, index, reference = b.pop(), b.pop(), b.pop()
    z, y, x = b.register(value), b.register(index), b.register(reference)
    b.emit("array_set", x, y, z, imm[0])


def _array_new_fixed(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.emit("array_new_fixed", b.settle_top(imm[1]), c=b.metered, imm=imm[0] | imm[1] << 32)
    b.push(1)


_HAND: dict[str, _Lower] = {
    "unreachable": _unreachable,
    "nop": _nop,
    "block": _block,
    "loop": _loop,
    "if": _if,
    "else": _else,
    "end": _end,
    "try_table": _try_table,
    "throw": _throw,
    "throw_ref": _throw_ref,
    "br": _br,
    "br_if": _br_if,
    "br_table": _br_table,
    "br_on_null": _br_on_null,
    "br_on_non_null": _br_on_non_null,
    "br_on_cast": _br_on_cast,
    "br_on_cast_fail": _br_on_cast,
    "return": _return,
    "call": _call,
    "call_indirect": _call_indirect,
    "call_ref": _call_ref,
    "return_call": _call,
    "return_call_indirect": _call_indirect,
    "return_call_ref": _call_ref,
    "drop": _drop,
    "select": _select,
    "local.get": _local_get,
    "local.set": _local_set,
    "local.tee": _local_tee,
    "global.get": _global_get,
    "global.set": _global_set,
    "i32.const": _const(32),
    "i64.const": _const(64),
    "f32.const": _const(32),
    "f64.const": _const(64),
    "v128.const": _const128,
    "memory.size": _source("memory_size", _imm),
    "memory.grow": _in_row("memory_grow", _imm),
    "memory.fill": _in_row("memory_fill", _imm),
    "memory.copy": _in_row("memory_copy", _pair),
    "memory.init": _in_row("memory_init", _pair),
    "data.drop": _in_row("data_drop", _imm),
    "table.get": _single("table_get", _imm),
    "table.set": _table_set,
    "table.size": _source("table_size", _imm),
    "table.grow": _in_row("table_grow", _imm),
    "table.fill": _in_row("table_fill", _imm),
    "table.copy": _in_row("table_copy", _pair),
    "table.init": _in_row("table_init", _pair),
    "elem.drop": _in_row("elem_drop", _imm),
    "ref.null": _ref_null,
    "ref.func": _source("ref_func", _imm),
    # A reference is a number to the loop: null is zero, and equal references are equal numbers.
    "ref.is_null": _single("i64_eqz", _none),
    "ref.eq": _binary_as("i64_eq"),
    "ref.as_non_null": _check("ref_as_non_null", _none),
    "ref.test": _single("ref_test", _ref_test),
    "ref.cast": _check("ref_cast", _ref_test),
    "ref.i31": _single("ref_i31", _none),
    "i31.get_s": _single("i31_get_s", _none),
    "i31.get_u": _single("i31_get_u", _none),
    "any.convert_extern": _nop,
    "extern.convert_any": _nop,
    "struct.new": _struct_new,
    "struct.new_default": _in_row("struct_new_default", _imm),
    "struct.get": _struct_get,
    "struct.get_s": _struct_get,
    "struct.get_u": _struct_get,
    "struct.set": _struct_set,
    "array.new": _in_row("array_new", _imm),
    "array.new_default": _in_row("array_new_default", _imm),
    "array.new_fixed": _array_new_fixed,
    "array.new_data": _in_row("array_new_data", _pair),
    "array.new_elem": _in_row("array_new_elem", _pair),
    "array.get": _array_get,
    "array.get_s": _array_get,
    "array.get_u": _array_get,
    "array.set": _array_set,
    "array.len": _single("array_len", _none),
    "array.fill": _in_row("array_fill", _imm),
    "array.copy": _in_row("array_copy", _none),
    "array.init_data": _in_row("array_init_data", _pair),
    "array.init_elem": _in_row("array_init_elem", _pair),
}


def _handler(row: Instruction) -> _Lower:
    if row.operator is not None:
        return _numeric(row)
    if row.immediates and row.immediates[0].startswith("memarg"):
        return _access
    return _HAND[row.name]


_LOWER: list[_Lower] = [_handler(row) for row in TABLE]
