# cython: boundscheck=False, wraparound=False, initializedcheck=False, annotation_typing=False, cdivision=True
"""From a validated body to the intermediate form: the only place that knows structured control flow.

One walk over the bytes, with the operand stack as it would be: each entry is the place where the value is
now. A local that stands on the stack is moved to a temporary before the local changes, and where a block
opens; a constant where a label's block wants it. Nothing is checked again: the validator has been here.

Fuel is charged at heads, for all instructions up to the next one (`end` and `else` are no instructions). A
head is the function's entry, a loop's, both arms of an `if` and the place behind it, the place behind a
conditional branch, and the end of a block that some branch targets.
"""

from __future__ import annotations

from typing import Any

from tinywasm.codec import READ, BlockType
from tinywasm.engine.ir import form, rows
from tinywasm.engine.ir.form import (
    BLOCK,
    BRANCH_IF,
    BRANCH_UNLESS,
    CONST_F32,
    CONST_I32,
    CONST_I64,
    CONST_NULL,
    CONST_V128,
    CONSTANT,
    JUMP,
    LOCAL,
    MAX_LOCALS,
    MOVE,
    MOVE_ROW,
    NOWHERE,
    NUMBER,
    RETURN,
    WIDE,
    Clause,
    Form,
    Region,
)
from tinywasm.engine.ir.operands import Operands, integers, too_large, widths
from tinywasm.engine.ir.rare import RARE
from tinywasm.engine.ir.rows import (
    AS_FIRST,
    BINARY,
    BR,
    BR_IF,
    BYTE,
    CALL,
    CONST,
    DROP,
    END,
    FIRST_PREFIX,
    INDEX,
    LOAD,
    LOCAL_GET,
    LOCAL_SET,
    LOCAL_TEE,
    LOOP,
    MEMARG,
    NONE,
    NOTHING,
    OTHER,
    OTHERWISE,
    PLAIN,
    PREFIX,
    PREFIXED,
    RETURNS,
    STORE,
    TRY,
    UNARY,
    VARIES,
    WHEN,
)
from tinywasm.instructions import TABLE
from tinywasm.interruption import STEPS, look
from tinywasm.syntax import Expr, Function
from tinywasm.types import V128, FuncType, ValType
from tinywasm.validation import Context

_ONES, _SIGN = (1 << 64) - 1, 1 << 63
# The block type without parameters and results (section 5.3.6).
_EMPTY = 0x40


def build(context: Context, index: int, function: Function) -> Form:
    """The intermediate form of a function of the module that `context` describes.

    Raises `Trap`, of the code `ALLOCATION_TOO_LARGE`, where it has more locals or operands than an engine
    holds.
    """
    signature = context.funcs[index].composite
    assert isinstance(signature, FuncType)
    name = f"function {index}"
    if sum(count for count, _ in function.locals) > MAX_LOCALS:
        raise too_large(name, MAX_LOCALS, "locals")
    locals = bytearray(_local(type) for type in signature.params)
    for count, type in function.locals:
        locals += bytes([_local(type)]) * count
    return Builder(context, function.body, locals, name).build(widths(signature.results))


def build_expression(context: Context, expr: Expr, type: ValType) -> Form:
    """The intermediate form of a constant expression, as a function that returns its value."""
    return Builder(context, expr, bytearray(), "a constant expression").build(widths((type,)))


def _local(type: ValType) -> int:
    """What the place of a local has beside its number."""
    return LOCAL | WIDE if type is V128 else LOCAL


# By opcode: see `opcode`.
ORDINALS = integers(rows.ORDINALS)
SHAPES = integers([rows.SHAPES[row] if row >= 0 else PREFIX for row in rows.ORDINALS])
CONSTANT_KIND = integers([rows.CONSTANT_KIND[row] if row >= 0 else -1 for row in rows.ORDINALS])
# By row.
TAKES, WIDE_RESULT, OPENS = integers(rows.TAKES), integers(rows.WIDE_RESULT), integers(rows.OPENS)
LEAVES, NAMES_TYPE = integers(rows.LEAVES), integers(rows.NAMES_TYPE)
FIRST_KIND, SECOND_KIND = integers(rows.FIRST_KIND), integers(rows.SECOND_KIND)


GLOBAL_GET, STRUCT_GET = (
    next(row.ordinal for row in TABLE if row.name == name) for name in ("global.get", "struct.get")
)


class Label:
    """A control frame; `height` is that of the operands below its parameters.

    `carried` are the widths of what a branch takes along to the block `target`, `extent` their sum;
    `otherwise` is the block of an arm that has not begun, or -1; `own` is what `Operands.own` was outside.
    """

    __slots__ = (
        "carried", "extent", "height", "otherwise", "own", "params", "region", "results", "shape", "target",
        "targeted",
    )  # fmt: skip

    def __init__(
        self,
        shape: int,
        height: int,
        target: int,
        region: int,
        params: tuple[int, ...],
        results: tuple[int, ...],
        extent: int,
    ) -> None:
        self.shape = shape
        self.height = height
        self.target = target
        self.region = region
        self.params = params
        self.results = results
        self.carried = params if shape == LOOP else results
        self.extent = extent
        self.own = 0
        self.otherwise = -1
        self.targeted = False


class Builder(Operands):
    """The state of one walk: records and operands, what has been read, and the control frames."""

    # A class with more than thirty attributes is slow without.
    __slots__ = (
        "blocks", "bytes", "constants", "context", "data", "dead", "end", "fuel", "head", "kinds", "known",
        "labels", "layouts", "locals", "memory", "next", "objects", "pos", "region", "regions", "skipped",
    )  # fmt: skip

    def __init__(self, context: Context, body: Expr, locals: bytearray, name: str) -> None:
        super().__init__(name)
        self.context = context
        self.bytes = body.code
        self.data = body.code
        self.pos = body.start
        self.end = body.end
        # For each local what its place has beside its number.
        self.locals = integers(locals, "B")
        self.constants: list[int] = []
        self.kinds: list[int] = []
        # Their places, by kind and value.
        self.known: list[dict[int, int]] = [{} for _ in form.CONSTANT_KINDS]
        self.objects: list[Any] = []
        self.regions: list[Region] = []
        self.region = -1
        self.blocks = 0
        # The record of the last head, and how many instructions it is charged for so far.
        self.head = 0
        self.fuel = 0
        # Where the instruction is that `following` found last.
        self.next = 0
        self.labels: list[Label] = []
        # See `layout`, by the identity of the type.
        self.layouts: dict[int, tuple[tuple[int, ...], tuple[int, ...], int, int]] = {}
        self.dead = False
        self.skipped = 0
        self.memory = 0

    def build(self, results: tuple[int, ...]) -> Form:
        """The form of a function with results of these widths."""
        self.labels.append(Label(RETURNS, 0, self.new_block(), -1, (), results, sum(results)))
        self.begin(self.new_block(), True)
        while self.pos < self.end:
            look()
            end = min(self.pos + STEPS, self.end)
            while self.pos < end:
                if self.dead:
                    self.skip(end)
                else:
                    self.walk(end)
        self.charge()
        # Those of code that never returns were nowhere.
        heights = max(self.highest, sum(results))
        return Form(
            self.records(),
            integers(self.lists),
            integers(self.constants),
            integers(self.kinds),
            self.objects,
            self.regions,
            self.blocks,
            heights,
            heights + len(self.locals) + bytes(self.locals).count(LOCAL | WIDE),
        )

    # Reading

    def leb(self) -> int:
        """An unsigned LEB of at most 64 bits, which is there; those beyond 63 bits come out negative."""
        byte = self.data[self.pos]
        if byte < 128:
            self.pos += 1
            return byte
        return self.long_leb(False)

    def long_leb(self, signed: bool) -> int:
        """A LEB of two bytes or more."""
        data, start = self.data, self.pos
        byte = data[start + 1]
        if byte < 128:
            self.pos = start + 2
            value = data[start] - 128 + (byte << 7)
            return value - (1 << 14) if signed and byte & 64 else value
        pos = start + 2
        value, weight = (data[start] & 127) + ((byte & 127) << 7), 1 << 14
        while byte >= 128:
            byte = data[pos]
            pos += 1
            value += (byte & 127) * weight
            weight <<= 7
        self.pos = pos
        if pos - start > 9:
            return self.as_signed(value & _ONES)
        return value - weight if signed and byte & 64 else value

    def as_signed(self, bits: int) -> int:
        """64 bits as a signed number."""
        return (bits ^ _SIGN) - _SIGN

    def opcode(self) -> int:
        """The next opcode, as `ORDINALS` has it."""
        code = self.data[self.pos]
        self.pos += 1
        return code if code < FIRST_PREFIX else 256 + (code - FIRST_PREFIX) * PREFIXED + self.leb()

    def immediate(self, row: int, kind: int, number: int) -> int:
        """The next immediate: an integer, or where it is none its index in `objects`."""
        if kind == INDEX:
            return self.leb()
        if kind == BYTE:
            self.pos += 1
            return self.data[self.pos - 1]
        value, self.pos = READ[TABLE[row].immediates[number]](self.bytes, self.pos)
        self.objects.append(value)
        return len(self.objects) - 1

    def memory_argument(self, lane: bool) -> int:
        """The offset; in `memory` the memory's index, with the lane above its 32 bits."""
        pos = self.pos
        flags, offset = self.data[pos], self.data[pos + 1]
        self.memory = 0
        if flags < 64 and offset < 128:
            self.pos = pos + 2
        else:
            flags = self.leb()
            if flags & 64:
                self.memory = self.leb()
            offset = self.leb()
        if lane:
            number = self.data[self.pos]
            self.memory |= number << 32
            self.pos += 1
        return offset

    def new_block(self) -> int:
        self.blocks += 1
        return self.blocks - 1

    def begin(self, block: int, head: bool) -> None:
        """Go on in `block`; where it is a head, what follows is charged there."""
        if head:
            self.charge()
            self.head = self.size
            # A backtrace names the first of the instructions that the fuel is for.
            self.position = self.following()
        self.emit(BLOCK, NOWHERE, self.region, head, 0, block, 0)
        self.dead = False

    def following(self) -> int:
        """Where the next instruction is, if one is: `end` and `else` are none. All are looked at once."""
        if self.next < self.pos:
            self.next = self.pos
            while self.next < self.end - 1 and SHAPES[self.data[self.next]] >= END:
                self.next += 1
        return self.next

    def charge(self) -> None:
        """The last head has all its instructions."""
        if self.fuel:
            self.code[self.head + 8] = self.fuel
            self.fuel = 0

    def reset(self, label: Label, widths: tuple[int, ...]) -> None:
        """The operands as they are at the label, with its parameters or results in their temporaries."""
        self.cut(label.height)
        self.push_row(widths)

    # Branches

    def in_place(self, label: Label) -> bool:
        """Whether what a branch takes along is where the label's block wants it."""
        height, here = label.height, self.height - label.extent
        if label.extent > self.singly:
            self.settle_row()
            return here == height
        for width in label.carried:
            here += width
            if self.places[here - 1] != (height << 3 | (width == 2) << 2):
                return False
            height += width
        return True

    def branch(self, label: Label) -> None:
        """An unconditional branch from here; the operands stay as they are, for other branches."""
        if label.extent > self.singly:
            self.branch_in_row(label)
            return
        if label.shape == RETURNS:
            height, settled, own = self.height, self.settled, self.own
            self.leave(label)
            self.height, self.settled, self.own = height, settled, own
            return
        height, here = label.height, self.height - label.extent
        for width in label.carried:
            here += width
            target = height << 3 | (width == 2) << 2
            if self.places[here - 1] != target:
                self.emit(MOVE, target, self.places[here - 1], 0, 0, 0, 0)
            height += width
        label.targeted = True
        self.emit(JUMP, NOWHERE, 0, 0, 0, label.target, 0)

    def branch_in_row(self, label: Label) -> None:
        """The same with many values; the function's end is a label like any other for them."""
        if not self.in_place(label):
            height, here = self.height, self.height - label.extent
            self.height = label.height
            self.emit(MOVE_ROW, label.height << NUMBER, here << NUMBER, 0, 0, label.extent, 0)
            self.height = height
        label.targeted = True
        self.emit(JUMP, NOWHERE, 0, 0, 0, label.target, 0)

    def leave(self, label: Label) -> None:
        """Return from the function, whose label this is, with what is on top."""
        count = len(label.results)
        first = self.take(count)
        self.emit(RETURN, NOWHERE, first, count, 0, 0, 0)

    def edge(self, label: Label) -> int:
        """The block that a branch may go to at once, or -1 where something has to be done on the way.

        Many values are settled, which is done here for both ways that the code may go.
        """
        if (label.shape == RETURNS and label.extent <= self.singly) or not self.in_place(label):
            return -1
        label.targeted = True
        return label.target

    def branch_when(self, operation: int, depth: int, place: int, second: int) -> None:
        """Branch to label `depth` or go on here, as `operation` finds the operand at `place`."""
        label = self.labels[len(self.labels) - 1 - depth]
        following = self.new_block()
        target = self.edge(label)
        if target >= 0:
            self.emit(operation, NOWHERE, place, 0, 0, target, second)
        else:
            self.emit(form.INVERSE[operation], NOWHERE, place, 0, 0, following, second)
            self.begin(self.new_block(), False)
            self.branch(label)
        self.begin(following, True)

    # Instructions

    def walk(self, end: int) -> None:
        """The instructions up to a position, or up to what nothing goes on behind."""
        data, locals, pos, fuel = self.data, self.locals, self.pos, 0
        while pos < end:
            code = data[pos]
            shape = SHAPES[code]
            self.position = pos
            if shape <= LOCAL_TEE:
                local = data[pos + 1]
                pos += 2
                if local >= 128:
                    self.pos = pos - 1
                    local = self.long_leb(False)
                    pos = self.pos
                place = local << 3 | locals[local]
                if shape != LOCAL_GET:
                    self.assign(place)
                if shape != LOCAL_SET:
                    self.push(place)
                fuel += 1
                continue
            self.pos = pos + 1
            if shape == UNARY:
                self.unary(ORDINALS[code], 0, 0)
            elif shape == BINARY:
                self.binary(ORDINALS[code], 0, 0)
            elif shape == CONST:
                self.push(self.constant(CONSTANT_KIND[code]))
            elif shape <= PLAIN:
                self.plain(ORDINALS[code], shape)
            else:
                self.fuel += fuel
                self.unusual(code, shape)
                if self.dead:
                    return
                fuel, pos = 0, self.pos
                continue
            pos = self.pos
            fuel += 1
        self.pos = pos
        self.fuel += fuel

    def plain(self, row: int, shape: int) -> None:
        """An instruction with at most three operands and one result, and with immediates."""
        if shape == LOAD:
            offset = self.memory_argument(False)
            self.unary(row, offset, self.memory)
        elif shape == STORE:
            offset = self.memory_argument(False)
            self.binary(row, offset, self.memory)
        else:
            self.general(row)

    def skip(self, end: int) -> None:
        """Pass over instructions that nothing reaches, up to a position, or up to where something goes on."""
        while self.dead and self.pos < end:
            self.position = self.pos
            code = self.opcode()
            shape = SHAPES[code]
            if shape >= END and not self.skipped:
                self.unusual(code, shape)
                continue
            row = ORDINALS[code]
            if OPENS[row]:
                self.skipped += 1
            elif shape == END:
                self.skipped -= 1
            for kind in TABLE[row].immediates:
                _, self.pos = READ[kind](self.bytes, self.pos)

    def constant(self, kind: int) -> int:
        """A constant's place; it is known by its kind and bits, or for a vector by its index in `objects`."""
        if kind <= CONST_I64:
            value = self.data[self.pos]
            if value < 128:
                self.pos += 1
                if value >= 64:
                    value -= 128
            else:
                value = self.long_leb(True)
            if kind == CONST_I32:
                value &= 0xFFFFFFFF
        else:
            value = self.wide_constant(kind)
        known = self.known[kind]
        place = known.get(value, NOWHERE)
        if place != NOWHERE:
            return place
        place = known[value] = len(self.constants) << 3 | (kind == CONST_V128) << 2 | CONSTANT
        self.constants.append(value)
        self.kinds.append(kind)
        return place

    def wide_constant(self, kind: int) -> int:
        """The bits of a constant that is not an integer."""
        if kind == CONST_V128:
            raw, self.pos = READ["v128"](self.bytes, self.pos)
            self.objects.append(raw)
            return len(self.objects) - 1
        if kind == CONST_NULL:
            _, self.pos = READ["heap"](self.bytes, self.pos)
            return 0
        size = 4 if kind == CONST_F32 else 8
        raw = self.bytes[self.pos : self.pos + size]
        self.pos += size
        return self.as_signed(int.from_bytes(raw, "little"))

    def unary(self, row: int, immediate: int, second: int) -> None:
        """An instruction with one operand and one result."""
        height = self.height - 1
        a = self.places[height]
        if a & WIDE:
            height -= 1
        self.height = height
        if self.settled > height:
            self.unsettle()
        result = height << 3 | WIDE_RESULT[row]
        self.emit(row, result, a, 0, 0, immediate, second)
        self.made = self.size
        if result & WIDE:
            self.push(result)
        else:
            self.places[height] = result
            self.height = height + 1

    def binary(self, row: int, immediate: int, second: int) -> None:
        """An instruction with two operands, and with a result or without."""
        height = self.height - 1
        b = self.places[height]
        if b & WIDE:
            height -= 1
        height -= 1
        a = self.places[height]
        if a & WIDE:
            height -= 1
        self.height = height
        if self.settled > height:
            self.unsettle()
        wide = WIDE_RESULT[row]
        if wide == NOWHERE:
            self.emit(row, NOWHERE, a, b, 0, immediate, second)
            return
        self.emit(row, height << 3 | wide, a, b, 0, immediate, second)
        self.made = self.size
        if wide:
            self.push(height << 3 | wide)
        else:
            self.places[height] = height << 3
            self.height = height + 1

    def general(self, row: int) -> None:
        """An instruction with at most three operands and one result, of any width."""
        immediate = second = 0
        kind = FIRST_KIND[row]
        if kind == MEMARG:
            immediate = self.memory_argument(SECOND_KIND[row] != NONE)
            second = self.memory
        elif kind == INDEX and SECOND_KIND[row] == NONE:
            immediate = self.leb()
        elif kind != NONE:
            immediate = self.immediate(row, kind, 0)
            kind = SECOND_KIND[row]
            if kind != NONE:
                second = self.immediate(row, kind, 1)
        taken = TAKES[row]
        c = self.pop() if taken > 2 else 0
        b = self.pop() if taken > 1 else 0
        a = self.pop() if taken else 0
        wide = WIDE_RESULT[row]
        if wide == NOWHERE:
            self.emit(row, NOWHERE, a, b, c, immediate, second)
            return
        if wide == AS_FIRST:
            wide = a & WIDE
        elif wide == VARIES:
            wide = self.wide_result(row, immediate, second)
        result = self.height << 3 | wide
        self.emit(row, result, a, b, c, immediate, second)
        self.made = self.size
        self.push(result)

    def wide_result(self, row: int, immediate: int, second: int) -> int:
        """Whether a result is wide, where the context knows."""
        type: Any
        if row == GLOBAL_GET:
            type = self.context.globals[immediate].content
        else:
            composite: Any = self.context.types[immediate].composite
            type = (composite.fields[second] if row == STRUCT_GET else composite.field).storage
        return WIDE if type is V128 else 0

    def unusual(self, code: int, shape: int) -> None:
        """What is not one of the few shapes that nearly all instructions have."""
        if shape == END:
            self.close()
            return
        if shape == OTHERWISE:
            self.alternative()
            return
        self.fuel += 1
        if shape <= TRY:
            self.open(shape)
        elif shape == BR_IF:
            depth = self.leb()
            self.branch_when(BRANCH_IF, depth, self.pop(), 0)
        elif shape == CALL:
            self.call(ORDINALS[code])
        elif shape == BR:
            self.branch(self.labels[len(self.labels) - 1 - self.leb()])
            self.dead = True
        elif shape == DROP:
            self.pop()
        elif shape == RETURNS:
            self.branch(self.labels[0])
            self.dead = True
        elif shape != NOTHING:
            self.rare(code)

    def rare(self, code: int) -> None:
        """An instruction behind a prefix, or one that `rare` has."""
        if code >= FIRST_PREFIX:
            self.pos -= 1
            code = self.opcode()
        shape, row = SHAPES[code], ORDINALS[code]
        if shape == OTHER:
            RARE[TABLE[row].name](self, row)
        elif shape == CONST:
            self.push(self.constant(CONSTANT_KIND[code]))
        elif shape == UNARY:
            self.unary(row, 0, 0)
        elif shape == BINARY:
            self.binary(row, 0, 0)
        elif shape <= PLAIN:
            self.plain(row, shape)

    def call(self, row: int) -> None:
        """A call. The operand that says which function, if one does, is C; the places of the results follow
        those of the arguments in `lists`, and their number is above the 32 bits of the table's index."""
        immediate = self.leb()
        second = self.leb() if SECOND_KIND[row] != NONE else 0
        place = self.pop() if TAKES[row] else 0
        types: Any = self.context.types if NAMES_TYPE[row] else self.context.funcs
        signature: FuncType = types[immediate].composite
        results = signature.results
        count = len(signature.params)
        if count > self.singly or len(results) > self.singly:
            self.call_in_row(row, place, immediate, second, signature)
            return
        first = self.take(count)
        if LEAVES[row]:
            self.emit(row, NOWHERE, first, count, place, immediate, second)
            self.dead = True
            # A host function leaves them where its arguments were, whoever takes them.
            self.highest = max(self.highest, self.height + sum(widths(results)))
            return
        self.emit(row, NOWHERE, first, count, place, immediate, second | len(results) << 32)
        for type in results:
            self.lists.append(self.push_result(2 if type is V128 else 1))

    def call_in_row(self, row: int, place: int, immediate: int, second: int, signature: FuncType) -> None:
        """The same with many arguments or results."""
        params, results, taken, left = self.layout(signature)
        first, _ = self.rows.get(id(signature)) or self.list_row(id(signature), params, results)
        self.take_row(taken)
        if LEAVES[row]:
            self.emit(row, NOWHERE, ~first, len(params), place, immediate, second)
            self.dead = True
            self.highest = max(self.highest, self.height + left)
            return
        self.emit(row, NOWHERE, ~first, len(params), place, immediate, second | len(results) << 32)
        self.push_row(results)

    def layout(self, signature: FuncType) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
        """The widths of parameters and results, and the sums of both. A body may ask often for very many."""
        found = self.layouts.get(id(signature))
        if found is None:
            params, results = widths(signature.params), widths(signature.results)
            found = self.layouts[id(signature)] = params, results, sum(params), sum(results)
        return found

    # Structured control

    def block_layout(self) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
        """The layout of the block type that comes next."""
        byte = self.data[self.pos]
        if byte == _EMPTY:
            self.pos += 1
            return (), (), 0, 0
        block: BlockType
        block, self.pos = READ["block"](self.bytes, self.pos)
        if not isinstance(block, int):
            return ((), (2,), 0, 2) if block is V128 else ((), (1,), 0, 1)
        signature = self.context.types[block].composite
        assert isinstance(signature, FuncType)
        return self.layout(signature)

    def open(self, shape: int) -> None:
        params, results, taken, left = self.block_layout()
        clauses = self.clauses() if shape == TRY else ()
        position = self.position
        condition, made = 0, ()
        if shape == WHEN:
            condition = self.pop()
            if params or self.height > self.settled:
                made = self.withdraw(condition)
        if params:
            self.settle_top(len(params))
        if self.height > self.settled:
            self.settle_locals(NOWHERE)
        if made:
            row, result, a, b, c, immediate, second = made
            self.emit(row, result, a, b, c, immediate, second)
        self.position = position
        height = self.height - taken
        extent = taken if shape == LOOP else left
        label = Label(shape, height, self.new_block(), self.region, params, results, extent)
        label.own = self.own
        self.own = max(self.own, height)
        self.labels.append(label)
        if shape == LOOP:
            self.begin(label.target, True)
        elif shape == WHEN:
            label.otherwise = self.new_block()
            self.emit(BRANCH_UNLESS, NOWHERE, condition, 0, 0, label.otherwise, 0)
            self.begin(self.new_block(), True)
        elif shape == TRY:
            self.regions.append(Region(self.region, clauses))
            self.region = len(self.regions) - 1
            self.begin(self.new_block(), False)

    def clauses(self) -> tuple[Clause, ...]:
        found = []
        catches, self.pos = READ["catches"](self.bytes, self.pos)
        for catch in catches:
            label = self.labels[len(self.labels) - 1 - catch.label]
            label.targeted = True
            found.append(Clause(catch.tag, catch.ref, label.target, label.height, label.carried))
        return tuple(found)

    def alternative(self) -> None:
        """The other arm of an `if`."""
        label = self.labels[len(self.labels) - 1]
        if not self.dead:
            self.branch(label)
        self.reset(label, label.params)
        self.begin(label.otherwise, True)
        label.otherwise = -1
        label.targeted = True

    def close(self) -> None:
        label = self.labels.pop()
        if label.shape == RETURNS:
            self.close_function(label)
            return
        if label.otherwise >= 0:
            # The arm that is not there leaves its parameters as its results.
            label.targeted = True
        joined = label.targeted and label.shape != LOOP
        if joined and not self.dead:
            self.settle_top(len(label.results))
        self.region = label.region
        if joined:
            self.reset(label, label.results)
            if label.otherwise >= 0:
                self.begin(label.otherwise, False)
            self.begin(label.target, True)
        elif label.shape == TRY and not self.dead:
            self.begin(label.target, False)
        if label.own < label.height:
            # What lies below belongs to the label around.
            self.own = label.own

    def close_function(self, label: Label) -> None:
        self.labels.append(label)
        if not self.dead:
            self.branch(label)
        if label.targeted:
            # A clause brings its values here, or a branch with many.
            self.reset(label, label.results)
            self.begin(label.target, False)
            self.leave(label)
