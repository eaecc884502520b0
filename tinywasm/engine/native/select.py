# cython: boundscheck=False, wraparound=False, initializedcheck=False, annotation_typing=False, cdivision=True
"""From the intermediate form to register code: which words, and where in the frame everything lies.

A frame is a run of 64-bit slots: the locals, then a slot for each height of the operands. Locals beyond
`NEAR_SLOTS` are far: they lie before the frame's first slot, out of reach for the 16-bit fields of most
words. Constants that a word cannot hold are put into scratch slots above the operands at hand, where
nothing else lies: so whatever is brought there on the way cannot take the place of an operand.

Words are selected one record after the other. By a pattern a record may take the word before it along, if
that made nothing but one of its operands: temporaries are used once. `barrier` is where words may no longer
be taken back, since a branch leads behind them or they belong together. After a word that never goes on to
the next one, as a jump, `ended` holds: what comes is entered by branches only, so nothing moves the frame
pointer for it.

Bodies whose slots do not fit into 16 bits are seen through windows: the frame pointer moves to `base`
slots above the frame's first, so that the operands at hand are near it, and everything else is fetched
from out of sight. Each block is entered with the base that follows from its height.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Any

from tinywasm.engine.ir import form, operands
from tinywasm.engine.ir.build import build, build_expression
from tinywasm.engine.ir.form import (
    BASE,
    BLOCK,
    BRANCH_CAST,
    BRANCH_CAST_FAIL,
    BRANCH_IF,
    BRANCH_NON_NULL,
    BRANCH_NULL,
    BRANCH_TABLE,
    BRANCH_UNLESS,
    CONST_V128,
    CONSTANT,
    JUMP,
    LOCAL,
    MOVE,
    MOVE_ROW,
    NOWHERE,
    RETURN,
    STRIDE,
    TEMPORARY,
    Form,
)
from tinywasm.engine.native import frame
from tinywasm.engine.native.frame import ABOVE, FAR_MEMORY, LATER, SCRATCH, Locals, RegisterCode
from tinywasm.engine.native.opcodes import OPCODES
from tinywasm.engine.native.patterns import (
    A1,
    A2,
    ALIVE,
    ALWAYS,
    ANY_MEMORY,
    B1,
    B2,
    BINARY,
    BOTH_HALVES,
    C1,
    C2,
    COUNT,
    F1,
    FIELD_A,
    FIELD_B,
    FIELD_C,
    FIRST_OF_PAIR,
    FIRSTS,
    FOUND,
    GUARD,
    HALF,
    HALVES,
    HEAPS,
    HIGH,
    I1,
    I2,
    LOAD,
    LOOSE,
    LOW,
    MADE,
    MANNERS,
    NONE,
    ONE,
    PAIRS,
    RIGHT,
    ROW,
    S1,
    SECONDS,
    SINGLE,
    SOURCES,
    STEP,
    STORE,
    SUM,
    TERNARY,
    TWO,
    UNARY,
    WAY,
    WORDS,
)
from tinywasm.engine.native.rare import RARE
from tinywasm.instructions import TABLE
from tinywasm.interruption import STEPS, look
from tinywasm.syntax import Expr, Function
from tinywasm.types import I64, FuncType, RefType, ValType
from tinywasm.validation import Context


def lower(
    context: Context,
    index: int,
    function: Function,
    *,
    metered: bool,
    profiled: bool = False,
) -> RegisterCode:
    """The register code of a function of the module that `context` describes.

    `metered` code pays with fuel; `profiled` code counts its calls and instructions.
    Raises as `build` does.
    """
    code = build(context, index, function)
    signature = context.funcs[index].composite
    assert isinstance(signature, FuncType)
    return select(context, code, signature, function.locals, metered, profiled)


def blocks(
    context: Context, index: int, function: Function, *, metered: bool
) -> tuple[bytes, dict[int, int]]:
    """The words of a function, as `lower` makes them, and by the words at which blocks begin these blocks.

    Where several begin at the same word, it is the last one.
    """
    code = build(context, index, function)
    signature = context.funcs[index].composite
    assert isinstance(signature, FuncType)
    selector = Selector(context, code, Locals(signature.params, function.locals), metered, False)
    words = selector.run(sum(operands.widths(signature.results))).words
    return words, {selector.starts[block]: block for block in range(code.blocks)}


def lower_constant(context: Context, expr: Expr, type: ValType) -> RegisterCode:
    """Lower a constant expression of type `type` as a function without parameters."""
    code = build_expression(context, expr, type)
    return select(context, code, FuncType((), (type,)), (), False, False)


def select(
    context: Context,
    code: Form,
    signature: FuncType,
    declared: Sequence[tuple[int, ValType]],
    metered: bool,
    profiled: bool,
) -> RegisterCode:
    """The register code of a function in the intermediate form."""
    selector = Selector(context, code, Locals(signature.params, declared), metered, profiled)
    return selector.run(sum(operands.widths(signature.results)))


_CONST, _CONST128, _MOVED, _MOVED128 = (OPCODES[n] for n in ("const", "const128", "move", "move128"))
# The place of the patterns in `FOUND` that take a constant: it is not put into a slot at all.
_OF_CONSTANT = FIRSTS[_CONST]
_WIDE_GET, _WIDE_SET, _WIDE_SHIFT = OPCODES["wide_get"], OPCODES["wide_set"], OPCODES["wide_shift"]
_WIDE_MEMORY, _WIDE_LEAVE = OPCODES["wide_memory"], OPCODES["wide_leave"]
_JUMP, _BR_TABLE, _WHEN, _UNLESS = (OPCODES[n] for n in ("jump", "br_table", "branch_if", "branch_unless"))
_REF_TEST, _MOVED_ROW = OPCODES["ref_test"], OPCODES["move_row"]
# C does not say what the shift of a negative number is: it is multiplied by `_UP` instead.
_HALF, _SIGN, _UP = (1 << 32) - 1, 1 << 31, 1 << 32
_FUEL, _COUNTS, _GLOBAL_GET128 = OPCODES["fuel"], OPCODES["count"], OPCODES["global_get128"]
_RETURN0, _RETURN1, _RETURN_N = OPCODES["return0"], OPCODES["return1"], OPCODES["return_n"]
_WITH_SHUFFLE = next(row.ordinal for row in TABLE if row.name == "i8x16.shuffle")


class Selector:
    """The words of one function so far, and where everything lies."""

    def __init__(self, context: Context, code: Form, locals: Locals, metered: bool, profiled: bool) -> None:
        self.context = context
        self.form = code
        self.code = code.code
        self.constants = code.constants
        self.kinds = code.kinds
        self.lists = self.operands = code.lists
        self.locals = locals
        self.plain_locals = locals.plain
        self.window_size = frame.WINDOW
        self.reach = frame.REACH
        self.metered = int(metered)
        self.profiled = profiled
        self.first = locals.near
        self.deep = locals.near + code.heights + ABOVE > frame.MAX_SLOTS
        # How far the frame pointer is above the frame's first slot, and the lowest operand's slot from there.
        self.base = 0
        self.here = 0
        self.windows: list[tuple[int, int]] = []
        # In a body that is seen through windows: the slot of each block's first operand.
        self.entries: dict[int, int] = {}
        # The lower halves of the words, opcode and slots, and the upper ones, immediates.
        self.low = operands.zeros(64, "Q")
        self.high = operands.zeros(64)
        self.positions = operands.zeros(64)
        self.size = 0
        self.barrier = 0
        self.position = 0
        self.ended = False
        # Words that are data; branches, whose immediates' lower halves are blocks until all blocks are known.
        self.data: set[int] = set()
        self.branches: list[int] = []
        self.starts = operands.integers([-1]) * code.blocks
        self.regions: list[tuple[int, int]] = [(-1, -1)] * len(code.regions)
        self.region = -1
        # What the fields of a pattern's word are made of, in the order of `SOURCES`.
        self.sources = operands.zeros(len(SOURCES))
        # The slots of the fields of structure types, as far as they were asked for.
        self.field_slots: dict[int, list[int]] = {}
        # A result for a local that is out of reach: its slot, the local's, its width.
        self.owed: tuple[int, int, int] | None = None

    def run(self, result_slots: int) -> RegisterCode:
        locals = self.locals
        params, zeros, far = locals.param_slots, locals.near - locals.param_slots, locals.far
        if self.deep:
            self.find_entries()
        if far:
            self.emit(OPCODES["wide_enter"], params, 0, 0, far | zeros << 32)
        if self.profiled:
            self.emit(OPCODES["enter"], 0, 0, 0, 0)
        for start in range(0, len(self.code), STRIDE):
            if start % (STEPS * STRIDE) == 0:
                look()
            self.record(start)
        self.enter_region(-1)
        self.resolve()
        self.pair()
        slots = self.first + self.form.heights
        return RegisterCode(
            self.packed(),
            self.positions[: self.size],
            far + slots,
            slots,
            params,
            0 if far else zeros,
            result_slots,
            self.handlers(),
            self.windows,
        )

    def packed(self) -> bytes:
        words = array("Q", bytes(16 * self.size))
        words[0::2] = array("Q", operands.packed(self.low, self.size))
        words[1::2] = array("Q", operands.packed(self.high, self.size))
        return words.tobytes()

    # Words

    def emit(self, opcode: int, a: int, b: int, c: int, immediate: int) -> None:
        size = self.size
        if size == len(self.low):
            self.low, self.high = operands.doubled(self.low), operands.doubled(self.high)
            self.positions = operands.doubled(self.positions)
        self.low[size] = opcode | a << 16 | b << 32 | c << 48
        self.high[size] = immediate
        self.positions[size] = self.position
        self.size = size + 1

    def emit_data(self, raw: bytes) -> None:
        """A word of 16 bytes of data behind an instruction."""
        self.data.add(self.size)
        low, high = struct.unpack("<Qq", raw)
        self.emit(0, 0, 0, 0, high)
        self.low[self.size - 1] = low
        self.barrier = self.size

    # Patterns

    def pattern(self, first: int, i1: int, word: int, i2: int, where: int, dead: bool) -> int:
        """The pattern by which the word `first`, with immediate `i1`, goes into a word, or NONE."""
        at = FIRSTS[first & 0xFFFF] + SECONDS[word] + where
        number = FOUND[at] if dead else NONE
        if number == NONE:
            number = FOUND[at + ALIVE]
        if number == NONE or GUARD[number] == ALWAYS:
            return number
        return number if self.guarded(GUARD[number], first, i1, i2) else NONE

    def guarded(self, guard: int, first: int, i1: int, i2: int) -> bool:
        """Whether a guard's condition holds."""
        if guard == HALF:
            return i1 == _signed_half(i1)
        if guard == STEP:
            return (first >> 16 & 0xFFFF) == (first >> 32 & 0xFFFF) and -(1 << 15) <= i1 < 1 << 15
        if guard == BOTH_HALVES:
            return 0 <= i1 <= _HALF and 0 <= i2 <= _HALF
        return _single(i1) >= 0

    def joint(self, place: int, word: int, where: int) -> int:
        """The pattern by which the last word, which has made `place`, goes into a word that reads that."""
        kind, last = place & 3, self.size - 1
        if last < self.barrier or kind > LOCAL:
            return NONE
        low = self.low[last]
        number = self.pattern(low, self.high[last], word, 0, where, kind == TEMPORARY)
        if number == NONE or (low >> 16 & 0xFFFF) != self.seen(place):
            return NONE
        return number

    def make(self, number: int, first: int, i1: int, a: int, b: int, c: int, i2: int) -> None:
        """The word that a pattern makes of the word `first`, with immediate i1, and of these fields."""
        sources = self.sources
        sources[A1], sources[B1], sources[C1] = first >> 16 & 0xFFFF, first >> 32 & 0xFFFF, first >> 48
        sources[I1], sources[S1] = i1, _signed_half(i1)
        if GUARD[number] == SINGLE:
            sources[F1] = _single(i1)
        sources[A2], sources[B2], sources[C2], sources[I2] = a, b, c, i2
        made = sources[LOW[number]]
        if WAY[number] == HALVES:
            made = (made & _HALF) | _signed_half(sources[HIGH[number]]) * _UP
        elif WAY[number] == SUM:
            made += sources[HIGH[number]]
        a, b, c = sources[FIELD_A[number]], sources[FIELD_B[number]], sources[FIELD_C[number]]
        self.emit(MADE[number], a, b, c & 0xFFFF, made)

    def join(self, field: int) -> bool:
        """Make the last two words one by a pattern, if the second's field reads what the first has made."""
        last = self.size - 1
        if last <= self.barrier:
            return False
        first, i1, second, i2 = self.low[last - 1], self.high[last - 1], self.low[last], self.high[last]
        slot = second >> 16 * field & 0xFFFF
        # Where no local is, there is what nothing else reads.
        dead = slot >= self.first - self.base
        number = self.pattern(first, i1, second & 0xFFFF, i2, 0, dead)
        if number == NONE or (not LOOSE[number] and (first >> 16 & 0xFFFF) != slot):
            return False
        self.size = last - 1
        self.make(number, first, i1, second >> 16 & 0xFFFF, second >> 32 & 0xFFFF, second >> 48, i2)
        return True

    # Places

    def seen(self, place: int) -> int:
        """The slot of a local or temporary from where the frame pointer is, in reach of a word or not."""
        number = place >> 3
        if place & 3 == TEMPORARY:
            return self.first + number - self.base
        return (number if self.plain_locals else self.locals.slot(number)) - self.base

    def slot(self, place: int, scratch: int) -> int:
        """A slot in reach that holds the value: its own, or the scratch slot of that number."""
        own = self.here + SCRATCH + 2 * scratch - self.base
        if place & 3 == CONSTANT:
            self.put_constant(own, place >> 3)
            return own
        slot = self.seen(place)
        if 0 <= slot <= 0xFFFF:
            return slot
        self.emit(_WIDE_GET, own, 0, 1 + (place >> 2 & 1), slot)
        return own

    def target(self, place: int) -> int:
        """The slot where a word leaves the result that belongs to `place`."""
        slot = self.seen(place)
        if 0 <= slot <= 0xFFFF:
            return slot
        own = self.here + SCRATCH - self.base
        self.owed = own, slot, 1 + (place >> 2 & 1)
        return own

    def put_constant(self, slot: int, number: int) -> None:
        """A constant into a slot; two small ones that follow each other share a word."""
        value = self.constants[number]
        if self.kinds[number] == CONST_V128:
            self.emit(_CONST128, slot, 0, 0, 0)
            self.emit_data(self.form.objects[value])
            return
        self.emit(_CONST, slot, 0, 0, value)
        self.join(1)

    def move(self, slot: int, place: int) -> None:
        """A value into a slot in reach; two moves in a row share a word, which does them in order."""
        if place & 3 == CONSTANT:
            self.put_constant(slot, place >> 3)
            return
        source = self.seen(place)
        if not 0 <= source <= 0xFFFF:
            self.emit(_WIDE_GET, slot, 0, 1 + (place >> 2 & 1), source)
        elif source == slot:
            return
        elif place & 4:
            self.emit(_MOVED128, slot, source, 0, 0)
        else:
            self.emit(_MOVED, slot, source, 0, 0)
            self.join(1)

    def row(self, first: int, count: int) -> int:
        """Bring operands into their own slots, one behind the other; the slot of the first."""
        if first < 0:
            return self.here - self.base
        slot = self.here
        for index in range(first, first + count):
            place = self.operands[index]
            if self.deep and slot - self.base > self.reach:
                self.shift(self.window(slot))
            self.move(slot - self.base, place)
            slot += 1 + (place >> 2 & 1)
        if self.deep:
            self.shift(self.window(self.here))
        return self.here - self.base

    def behind(self, first: int, count: int) -> int:
        """The slot behind those that operands have in a row."""
        slot = self.here
        if first >= 0:
            for index in range(first, first + count):
                slot += 1 + (self.operands[index] >> 2 & 1)
        elif count:
            last = self.operands[~first + count - 1]
            slot += (last >> 3) + 1 + (last >> 2 & 1)
        return slot

    # Windows

    def find_entries(self) -> None:
        for start in range(0, len(self.code), STRIDE):
            if self.code[start] == BLOCK:
                self.entries[self.code[start + 7]] = self.first + self.code[start + BASE]

    def window(self, slot: int) -> int:
        """The base from which a slot, and what an instruction needs above it, is seen."""
        windows = slot // self.window_size - 1
        return windows * self.window_size if windows > 0 else 0

    def shift(self, base: int) -> None:
        """Move the frame pointer."""
        if base != self.base:
            if not self.ended:
                self.emit(_WIDE_SHIFT, 0, 0, 0, base - self.base)
            self.base = base
            self.barrier = self.size
            self.windows.append((self.size, base))

    # Records

    def record(self, start: int) -> None:
        code = self.code
        row = code[start]
        self.position = code[start + 1]
        self.here = self.first + code[start + 2]
        if self.deep and row != BLOCK:
            self.shift(self.window(self.here))
        if row == MOVE:
            self.move_record(code[start + 3], code[start + 4])
        elif row < BLOCK:
            self.instruction(row, start)
        elif row == BLOCK:
            self.begin(start)
        elif row == JUMP:
            self.jump(code[start + 7])
        elif row == BRANCH_IF:
            self.test(code[start + 4], True, code[start + 7])
        elif row == BRANCH_UNLESS:
            self.test(code[start + 4], False, code[start + 7])
        elif row == RETURN:
            self.leave(code[start + 4], code[start + 5])
        elif row == BRANCH_TABLE:
            self.branch_table(code[start + 4], code[start + 7], code[start + 8])
        elif row == MOVE_ROW:
            self.move_row(code[start + 3], code[start + 4], code[start + 7])
        else:
            self.branch_reference(row, start)
        if self.owed is not None:
            slot, local, width = self.owed
            self.owed = None
            self.emit(_WIDE_SET, slot, 0, width, local)

    def move_record(self, result: int, place: int) -> None:
        slot = self.seen(result)
        if 0 <= slot <= 0xFFFF:
            self.move(slot, place)
        else:
            self.emit(_WIDE_SET, self.slot(place, 0), 0, 1 + (result >> 2 & 1), slot)

    def move_row(self, result: int, first: int, count: int) -> None:
        """Move what lies in slots from where `first` is on. The frame pointer is near the lowest of all."""
        self.emit(_MOVED_ROW, self.seen(result), 0, 0, (first - result >> 3) + count * _UP)

    def begin(self, start: int) -> None:
        """A block begins: its counters, and what belongs to where."""
        code = self.code
        if self.deep:
            self.shift(self.window(self.here))
        self.ended = False
        if code[start + 4] != self.region:
            self.enter_region(code[start + 4])
        self.starts[code[start + 7]] = self.size
        if code[start + 5]:
            if self.metered:
                self.emit(_FUEL, 0, 0, 0, code[start + 8])
            if self.profiled:
                self.emit(_COUNTS, 0, 0, 0, code[start + 8])
        self.barrier = self.size

    def enter_region(self, region: int) -> None:
        """Here end and begin the handler regions that are not around both what was and what comes."""
        regions, old, entered = self.form.regions, self.region, []
        self.region = region
        # A region's number is larger than that of the region around it: so they meet in the one around both.
        while region != old:
            if region > old:
                entered.append(region)
                region = regions[region].parent
            else:
                self.regions[old] = self.regions[old][0], self.size
                old = regions[old].parent
        for each in entered:
            self.regions[each] = self.size, self.size

    def handlers(self) -> list[list[Any]]:
        """Innermost first: a region's number is larger than that of the region around it."""
        found = []
        for number in range(len(self.regions) - 1, -1, -1):
            clauses = []
            for clause in self.form.regions[number].clauses:
                base = self.window(self.entries[clause.block]) if self.deep else 0
                tag = -1 if clause.tag is None else clause.tag
                target = self.starts[clause.block]
                clauses.append([tag, int(clause.reference), target, self.first + clause.height, base])
            first, end = self.regions[number]
            found.append([first, end, clauses])
        return found

    # Branches

    def branch(self, opcode: int, slot: int, block: int) -> None:
        """A branch word; the lower half of its immediate is the block until all are known."""
        self.branches.append(self.size)
        self.emit(opcode, slot, 0, 0, block)

    def resolve(self) -> None:
        """Give the branches the distances to their blocks."""
        for word in self.branches:
            immediate = self.high[word]
            distance = self.starts[immediate & 0xFFFFFFFF] - word
            self.high[word] = (immediate & ~_HALF) | (distance & _HALF)

    def jump(self, block: int) -> None:
        if self.deep:
            self.shift(self.window(self.entries[block]))
        self.branch(_JUMP, 0, block)
        self.ended = True

    def test(self, place: int, when: bool, block: int) -> None:
        """Branch on the truth of an operand, with the comparison that made it, and a counter's step."""
        slot = self.slot(place, 0)
        if self.deep and self.window(self.entries[block]) != self.base:
            self.test_afar(slot, when, block)
            return
        self.emit(_WHEN if when else _UNLESS, slot, 0, 0, block)
        while self.join(1):
            pass
        self.branches.append(self.size - 1)

    def test_afar(self, slot: int, when: bool, block: int) -> None:
        """Branch to a block that is entered with another base: over a jump that goes there."""
        base = self.base
        self.emit(_UNLESS if when else _WHEN, slot, 0, 0, 3)
        self.barrier = self.size
        self.jump(block)
        self.ended = True
        self.shift(base)
        self.ended = False
        self.barrier = self.size

    def branch_table(self, place: int, first: int, count: int) -> None:
        self.emit(_BR_TABLE, self.slot(place, 0), 0, 0, count - 1)
        blocks = self.lists[first : first + count]
        if not self.deep:
            for block in blocks:
                self.branch(_JUMP, 0, block)
            self.ended = True
            return
        # To jumps of the blocks that are entered with another base.
        base = self.base
        row = self.size
        for _ in blocks:
            self.emit(_JUMP, 0, 0, 0, 0)
        reached: dict[int, int] = {}
        for number, block in enumerate(blocks):
            if block not in reached:
                self.ended = True
                self.shift(base)
                self.ended = False
                self.barrier = reached[block] = self.size
                self.jump(block)
            self.high[row + number] = reached[block] - (row + number) & 0xFFFFFFFF

    def branch_reference(self, row: int, start: int) -> None:
        """A branch on whether a reference is null, or of a type."""
        code = self.code
        place, block = code[start + 4], code[start + 7]
        if row in (BRANCH_NULL, BRANCH_NON_NULL):
            self.test_plainly(self.slot(place, 0), row == BRANCH_NON_NULL, block)
            return
        assert row in (BRANCH_CAST, BRANCH_CAST_FAIL)
        concrete, bits = self.cast(self.form.objects[code[start + 8]])
        scratch = self.here + SCRATCH + 2 - self.base
        self.emit(_REF_TEST, scratch, self.slot(place, 0), concrete, bits)
        self.test_plainly(scratch, row == BRANCH_CAST, block)

    def test_plainly(self, slot: int, when: bool, block: int) -> None:
        if self.deep and self.window(self.entries[block]) != self.base:
            self.test_afar(slot, when, block)
        else:
            self.branch(_WHEN if when else _UNLESS, slot, block)

    def leave(self, first: int, count: int) -> None:
        """Return from the function."""
        if count == 1 and not self.lists[first] & 4:
            slot, slots = self.slot(self.lists[first], 0), 1
        else:
            slot, slots = self.row(first, count), 0
            for index in range(first, first + count):
                slots += 1 + (self.lists[index] >> 2 & 1)
        far = self.locals.far + self.base
        if far:
            self.emit(_WIDE_LEAVE, slot, slots, 0, far)
            self.emit(_RETURN0, 0, 0, 0, 0)
        elif slots < 2:
            self.emit(_RETURN1 if slots else _RETURN0, slot, 0, 0, 0)
        else:
            self.emit(_RETURN_N, slot, 0, 0, slots)
        self.ended = True

    # Instructions

    def instruction(self, row: int, start: int) -> None:
        code = self.code
        manner = MANNERS[row]
        if manner == BINARY:
            self.binary(row, code[start + 3], code[start + 4], code[start + 5], code[start + 7])
        elif manner == LOAD:
            self.access(row, code[start + 3], code[start + 4], NOWHERE, code[start + 7], code[start + 8])
        elif manner == STORE:
            self.access(row, NOWHERE, code[start + 4], code[start + 5], code[start + 7], code[start + 8])
        elif manner == UNARY:
            source = self.slot(code[start + 4], 0)
            self.emit(WORDS[row], self.target(code[start + 3]), source, 0, code[start + 7])
        elif manner == ONE:
            source = self.slot(code[start + 4], 0) if TABLE[row].takes.fixed else 0
            wide = code[start + 3] & 4
            word = _GLOBAL_GET128 if wide else WORDS[row]
            self.emit(word, self.target(code[start + 3]), source, 0, code[start + 7])
        elif manner == ROW:
            self.in_row(row, start)
        elif manner == TWO:
            x, y = self.slot(code[start + 4], 0), self.slot(code[start + 5], 1)
            self.emit(WORDS[row], x, y, 0, code[start + 7])
        elif manner == TERNARY:
            x, y = self.slot(code[start + 4], 0), self.slot(code[start + 5], 1)
            z = self.slot(code[start + 6], 2)
            self.emit(WORDS[row], self.target(code[start + 3]), x, y, z)
        else:
            RARE[TABLE[row].name](self, self.form_record(start))

    def form_record(self, start: int) -> form.Record:
        c = self.code
        # One by one: a slice would be an object of its own.
        return form.Record(
            c[start], c[start + 1], c[start + 2], c[start + 3], c[start + 4],
            c[start + 5], c[start + 6], c[start + 7], c[start + 8],
        )  # fmt: skip

    def binary(self, row: int, result: int, first: int, second: int, immediate: int) -> None:
        word, number = WORDS[row], NONE
        if second & 3 == CONSTANT:
            number, constant, other = FOUND[_OF_CONSTANT + SECONDS[word] + RIGHT], second, first
        if number == NONE and first & 3 == CONSTANT:
            number, constant, other = FOUND[_OF_CONSTANT + SECONDS[word]], first, second
        if number != NONE:
            slot = self.slot(other, 0)
            self.make(number, 0, self.constants[constant >> 3], self.target(result), slot, slot, 0)
            self.join(2)
            return
        number, other = self.joint(second, word, RIGHT), first
        if number == NONE:
            number, other = self.joint(first, word, 0), second
        if number != NONE:
            self.size -= 1
            before, high = self.low[self.size], self.high[self.size]
            slot = self.slot(other, LATER)
            self.make(number, before, high, self.target(result), slot, slot, 0)
            return
        x, y = self.slot(first, 0), self.slot(second, 1)
        self.emit(word, self.target(result), x, y, immediate)
        if row == _WITH_SHUFFLE:
            self.emit_data(self.form.objects[immediate])

    def access(self, row: int, result: int, address: int, value: int, offset: int, memory: int) -> None:
        """A load, or a store of `value`. What the address was made with goes into the word."""
        short = memory == 0 and not self.large(0)
        word, third = WORDS[row] if short else ANY_MEMORY[row], min(memory, FAR_MEMORY)
        before = high = base = stored = 0
        if address & 3 == CONSTANT:
            number, high = FOUND[_OF_CONSTANT + SECONDS[word]], self.constants[address >> 3]
        else:
            number = self.joint(address, word, 0)
            if number != NONE:
                self.size -= 1
                before, high = self.low[self.size], self.high[self.size]
        if number == NONE:
            base = self.slot(address, 0)
        if value != NOWHERE:
            stored = self.slot(value, LATER)
        if memory >= FAR_MEMORY:
            self.emit(_WIDE_MEMORY, 0, 0, 0, memory)
        a, b = (self.target(result), base) if value == NOWHERE else (base, stored)
        if number == NONE:
            self.emit(word, a, b, third, offset)
        else:
            self.make(number, before, high, a, b, third, offset)

    def large(self, memory: int) -> bool:
        """Whether a memory has 64-bit addresses."""
        return self.context.memories[memory].address is I64

    def in_row(self, row: int, start: int) -> None:
        """Operands in consecutive slots, where the results will be as well."""
        record = self.form_record(start)
        instruction = TABLE[row]
        if form.LISTED[row]:
            slot = self.row(record.a, record.b)
        else:
            height = self.here
            for place in (record.a, record.b, record.c)[: instruction.takes.fixed]:
                self.move(height - self.base, place)
                height += 1 + (place >> 2 & 1)
            slot = self.here - self.base
        # Two indices take a half of the immediate each.
        both = record.immediate
        if len(instruction.immediates) == 2:
            both |= _signed_half(record.second) * _UP
        # Field c: whether the work that the operands determine is paid for.
        self.emit(WORDS[row], slot, 0, self.metered, both if instruction.name != "array.copy" else 0)
        self.ended = instruction.name == "throw"
        if record.result & 3 == LOCAL:
            self.move_record(record.result, record.base << 3 | (record.result & 4))

    def cast(self, ref: RefType) -> tuple[int, int]:
        """Field c and the immediate: the type index in the low half or the abstract type, and flags."""
        concrete = isinstance(ref.heap, int)
        code = ref.heap if isinstance(ref.heap, int) else HEAPS[ref.heap]  # type: ignore[index]
        return int(concrete), code | ref.nullable << 32

    # Pairs

    def pair(self) -> None:
        """Let words that often follow each other be done in one.

        The second stays as it is, for branches that come to it, and may begin a pair of its own.
        """
        low = self.low
        for index in range(self.size - 1):
            word = low[index]
            opcode = word & 0xFFFF
            if opcode >= COUNT or not FIRST_OF_PAIR[opcode]:
                continue
            following = low[index + 1]
            forms = PAIRS.get(opcode * COUNT + (following & 0xFFFF))
            # Words that have data behind them are the first of no pair.
            if forms is None or index in self.data:
                continue
            made = word >> 16 & 0xFFFF
            for taken, both in forms:
                value = self.high[index + 1] if taken == 4 else following >> 16 * taken & 0xFFFF
                if not taken or value == made:
                    low[index] = word - opcode + both
                    break


def _signed_half(bits: int) -> int:
    """The lower 32 bits as a signed number."""
    return ((bits & _HALF) ^ _SIGN) - _SIGN


def _single(bits: int) -> int:
    """The bits of the float that has the value of a double, or -1 where there is none, as for a NaN."""
    (number,) = struct.unpack("<d", struct.pack("<q", bits))
    try:
        (single,) = struct.unpack("<I", struct.pack("<f", number))
    except OverflowError:
        return -1
    (back,) = struct.unpack("<f", struct.pack("<I", single))
    return int(single) if back == number else -1
