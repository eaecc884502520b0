# cython: boundscheck=False, wraparound=False, annotation_typing=False, cdivision=True
"""From a validated body to the intermediate form: the only place that knows structured control flow.

One walk over the bytes, with the operand stack as it would be: each entry is the place where the value is
now. A local that stands on the stack is moved to a temporary before the local changes, and where a block
opens; a constant where a label's block wants it. Nothing is checked again: the validator has been here.

Fuel is charged at heads, for all instructions up to the next one (`end` and `else` are no instructions). A
head is the function's entry, a loop's, both arms of an `if` and the place behind it, the place behind a
conditional branch, and the end of a block that some branch targets.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from tinywasm.code import READ, BlockType, Cast
from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import (
    BLOCK,
    BRANCH_CAST,
    BRANCH_IF,
    BRANCH_NON_NULL,
    BRANCH_NULL,
    BRANCH_TABLE,
    BRANCH_UNLESS,
    CONST_F32,
    CONST_F64,
    CONST_I32,
    CONST_I64,
    CONST_V128,
    CONSTANT,
    JUMP,
    LOCAL,
    MAX_LOCALS,
    MAX_OPERANDS,
    MAX_RECORDS,
    MOVE,
    NOWHERE,
    RECORDS_A_BYTE,
    RETURN,
    STRIDE,
    TEMPORARY,
    Clause,
    Form,
    Region,
)
from tinywasm.engine.ir.rows import (
    BR,
    BR_CAST,
    BR_IF,
    BR_NON_NULL,
    BR_NULL,
    BR_TABLE,
    BYTE,
    CALL,
    CHECK,
    CONST,
    CONSTANT_KIND,
    DROP,
    END,
    FIRST_KIND,
    FIRST_PREFIX,
    INDEX,
    LOCAL_GET,
    LOCAL_SET,
    LOCAL_TEE,
    LOOP,
    MANY,
    MEMARG,
    NONE,
    NOTHING,
    OBJECT,
    OPEN,
    OPENS,
    ORDINALS,
    OTHERWISE,
    PLAIN,
    PREFIXED,
    RESULT_WIDTH,
    RETURNS,
    SECOND_KIND,
    SELECT,
    SHAPES,
    TAKES,
    TRY,
    WHEN,
)
from tinywasm.errors import StackExhausted
from tinywasm.instructions import TABLE, Role
from tinywasm.interruption import STEPS, look
from tinywasm.module import Expr, Function
from tinywasm.types import V128, ArrayType, FuncType, StructType, ValType
from tinywasm.validation import Context

_NO_LOCAL = -1
_ONES, _SIGN = (1 << 64) - 1, 1 << 63


def widths(types: Sequence[ValType]) -> tuple[int, ...]:
    """How many heights each type takes."""
    return tuple(2 if type is V128 else 1 for type in types)


def build(context: Context, index: int, function: Function) -> Form:
    """The intermediate form of a function of the module that `context` describes.

    Raises `StackExhausted` where its locals, operands or records are more than an engine holds.
    """
    signature = context.funcs[index].composite
    assert isinstance(signature, FuncType)
    if sum(count for count, _ in function.locals) > MAX_LOCALS:
        raise StackExhausted
    wide = bytearray(type is V128 for type in signature.params)
    for count, type in function.locals:
        wide += bytes([type is V128]) * count
    builder = Builder(context, function.body.code, function.body.start, function.body.end)
    return builder.build(wide, widths(signature.results))


def _doubled(integers: Any) -> Any:
    """Room for twice as many."""
    doubled = array("q")
    for _ in range(2):
        doubled.frombytes(memoryview(integers).cast("B"))
    return doubled


def build_expression(context: Context, expr: Expr, type: ValType) -> Form:
    """The intermediate form of a constant expression, as a function that returns its value."""
    builder = Builder(context, expr.code, expr.start, expr.end)
    return builder.build(bytearray(), widths((type,)))


class Label:
    """A control frame. `height` and `depth`, in operands, are those below its parameters.

    `carried` are the widths of what a branch takes along to the block `target`; `otherwise` is the block of
    an arm that has not begun, or -1.
    """

    def __init__(self, shape: int, height: int, depth: int, target: int, region: int) -> None:
        self.shape = shape
        self.height = height
        self.depth = depth
        self.target = target
        self.region = region
        self.otherwise = -1
        self.targeted = False
        self.params: tuple[int, ...] = ()
        self.results: tuple[int, ...] = ()
        self.carried: tuple[int, ...] = ()


class Builder:
    """The state of one walk: records so far, the operand stack, and the control frames."""

    def __init__(self, context: Context, data: bytes, start: int, end: int) -> None:
        self.context = context
        self.bytes = data
        self.data = data
        self.pos = start
        self.end = end
        self.position = start
        self.code = array("q", bytes(8 * STRIDE * 64))
        self.size = 0
        self.most = MAX_RECORDS + RECORDS_A_BYTE * (end - start)
        self.lists: list[int] = []
        self.constants = array("q", bytes(8 * 16))
        self.kinds = array("q", bytes(8 * 16))
        self.constant_count = 0
        self.objects: list[Any] = []
        self.regions: list[Region] = []
        self.region = -1
        self.blocks = 0
        self.head = 0
        # The record that may have another place for its result, while nothing came between.
        self.last = -1
        # The operands: where the value of each is, its height, and below it the next one for the same local.
        self.places = array("q", bytes(8 * 64))
        self.heights = array("q", bytes(8 * 64))
        self.below = array("q", bytes(8 * 64))
        self.depth = 0
        self.height = 0
        self.highest = 0
        # So many operands from the bottom stand for no local.
        self.settled = 0
        self.followed = 0
        self.labels: list[Label] = []
        self.dead = False
        self.skipped = 0
        self.memory = 0

    def build(self, wide: bytearray, results: tuple[int, ...]) -> Form:
        """The form of a function with locals of these widths and results of those."""
        self.wide = wide
        # For each local that is followed, the topmost operand that stands for it.
        self.topmost = array("q", [_NO_LOCAL]) * min(len(wide), form.FOLLOWED)
        self.followed = len(self.topmost)
        label = Label(RETURNS, 0, 0, self.new_block(), -1)
        label.results = label.carried = results
        self.labels.append(label)
        self.begin(self.new_block(), True)
        steps = 0
        while self.pos < self.end:
            if steps % STEPS == 0:
                look()
            steps += 1
            self.step()
        count = self.constant_count
        return Form(
            memoryview(self.code)[: self.size * STRIDE],
            array("q", self.lists),
            memoryview(self.constants)[:count],
            memoryview(self.kinds)[:count],
            self.objects,
            self.regions,
            self.blocks,
            self.highest,
        )

    # Reading

    def leb(self) -> int:
        """An unsigned LEB of at most 64 bits, which is there; those beyond 63 bits come out negative."""
        byte = self.data[self.pos]
        self.pos += 1
        if byte < 128:
            return byte
        value = part = byte & 127
        shift = 7
        while byte >= 128:
            byte = self.data[self.pos]
            self.pos += 1
            part = byte & 127
            value |= part << shift
            shift += 7
        return self.as_signed(value & _ONES)

    def signed_leb(self) -> int:
        """A signed LEB of at most 64 bits, which is there."""
        value, shift, byte = 0, 0, 128
        while byte >= 128:
            byte = self.data[self.pos]
            self.pos += 1
            part = byte & 127
            value |= part << shift
            shift += 7
        if byte & 64 and shift < 64:
            value |= _ONES << shift
        return self.as_signed(value & _ONES)

    def as_signed(self, bits: int) -> int:
        """64 bits as a signed number."""
        return (bits ^ _SIGN) - _SIGN

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
        flags = self.leb()
        self.memory = self.leb() if flags & 64 else 0
        offset = self.leb()
        if lane:
            number = self.data[self.pos]
            self.memory |= number << 32
            self.pos += 1
        return offset

    # Records

    def emit(self, row: int, result: int, a: int, b: int, c: int, immediate: int, second: int) -> int:
        start = self.size * STRIDE
        if self.size == self.most:
            raise StackExhausted
        if start == len(self.code):
            self.code = _doubled(self.code)
        code = self.code
        code[start] = row
        code[start + 1] = self.position
        code[start + 2] = self.height
        code[start + 3] = result
        code[start + 4] = a
        code[start + 5] = b
        code[start + 6] = c
        code[start + 7] = immediate
        code[start + 8] = second
        self.size += 1
        self.last = -1
        return self.size - 1

    def new_block(self) -> int:
        self.blocks += 1
        return self.blocks - 1

    def begin(self, block: int, head: bool) -> None:
        """Go on in `block`; where it is a head, what follows is charged there."""
        record = self.emit(BLOCK, NOWHERE, self.region, head, 0, block, 0)
        if head:
            self.head = record
        self.dead = False

    def count(self) -> None:
        if self.depth > MAX_OPERANDS or len(self.lists) > self.most:
            raise StackExhausted
        start = self.head * STRIDE
        code = self.code
        if not code[start + 8]:
            # A backtrace names the first of the instructions that the fuel was for.
            code[start + 1] = self.position
        code[start + 8] += 1

    # The operand stack

    def push(self, place: int, width: int) -> None:
        depth = self.depth
        if depth == len(self.places):
            self.places = _doubled(self.places)
            self.heights = _doubled(self.heights)
            self.below = _doubled(self.below)
        self.places[depth] = place
        self.heights[depth] = self.height
        self.depth = depth + 1
        self.height += width
        if self.height > self.highest:
            self.highest = self.height

    def push_result(self, width: int) -> int:
        """A new operand in a temporary of its own; its place."""
        place = self.height << 3 | (width == 2) << 2 | TEMPORARY
        self.push(place, width)
        return place

    def push_local(self, local: int, wide: int) -> None:
        if local >= self.followed:
            place = local << 3 | wide << 2 | LOCAL
            self.emit(MOVE, self.push_result(1 + wide), place, 0, 0, 0, 0)
            return
        self.push(local << 3 | wide << 2 | LOCAL, 1 + wide)
        depth = self.depth - 1
        self.below[depth] = self.topmost[local]
        self.topmost[local] = depth

    def pop(self) -> int:
        """The place of the topmost operand, which is taken."""
        depth = self.depth - 1
        self.depth = depth
        self.height = self.heights[depth]
        if self.settled > depth:
            self.settled = depth
        place = self.places[depth]
        if place & 3 == LOCAL:
            self.topmost[place >> 3] = self.below[depth]
        return place

    def settle(self, depth: int) -> None:
        """Move the operand to the temporary of its height. It is the topmost one for its local, if any."""
        place = self.places[depth]
        kind = place & 3
        if kind == TEMPORARY:
            return
        if kind == LOCAL:
            self.topmost[place >> 3] = self.below[depth]
        self.places[depth] = self.heights[depth] << 3 | (place & 4)
        self.emit(MOVE, self.places[depth], place, 0, 0, 0, 0)

    def settle_top(self, count: int) -> None:
        for depth in range(self.depth - 1, self.depth - 1 - count, -1):
            self.settle(depth)

    def settle_locals(self) -> None:
        """Move what stands for locals; a constant is the same wherever the code goes from here."""
        for depth in range(self.depth - 1, self.settled - 1, -1):
            if self.places[depth] & 3 == LOCAL:
                self.settle(depth)
        self.settled = self.depth

    def assign(self, local: int) -> None:
        """Take an operand into a local; operands that stand for its old value are moved first."""
        place = self.pop()
        target = local << 3 | self.wide[local] << 2 | LOCAL
        if local < self.followed:
            if self.topmost[local] < 0 and self.last >= 0:
                start = self.last * STRIDE
                if self.code[start + 3] == place:
                    self.code[start + 3] = target
                    self.last = -1
                    return
            while self.topmost[local] >= 0:
                self.settle(self.topmost[local])
        if place != target:
            self.emit(MOVE, target, place, 0, 0, 0, 0)

    def reset(self, label: Label, widths: tuple[int, ...]) -> None:
        """The operands as they are at the label, with its parameters or results in their temporaries."""
        while self.depth > label.depth:
            self.pop()
        for width in widths:
            self.push_result(width)

    # Branches

    def in_place(self, label: Label) -> bool:
        """Whether what a branch takes along is where the label's block wants it."""
        height = label.height
        depth = self.depth - len(label.carried)
        for width in label.carried:
            if self.places[depth] != (height << 3 | (width == 2) << 2):
                return False
            depth += 1
            height += width
        return True

    def branch(self, label: Label) -> None:
        """An unconditional branch from here; the operands stay as they are, for other branches."""
        count = len(label.carried)
        if label.shape == RETURNS:
            first = len(self.lists)
            for index in range(self.depth - count, self.depth):
                self.lists.append(self.places[index])
            height = self.height
            if count:
                self.height = self.heights[self.depth - count]
            self.emit(RETURN, NOWHERE, first, count, 0, 0, 0)
            self.height = height
            return
        height = label.height
        depth = self.depth - count
        for width in label.carried:
            target = height << 3 | (width == 2) << 2
            if self.places[depth] != target:
                self.emit(MOVE, target, self.places[depth], 0, 0, 0, 0)
            depth += 1
            height += width
        label.targeted = True
        self.emit(JUMP, NOWHERE, 0, 0, 0, label.target, 0)

    def branch_when(self, operation: int, depth: int, place: int, second: int) -> None:
        """Branch to label `depth` or go on here, as `operation` finds the operand at `place`."""
        label = self.labels[len(self.labels) - 1 - depth]
        following = self.new_block()
        if label.shape != RETURNS and self.in_place(label):
            label.targeted = True
            self.emit(operation, NOWHERE, place, 0, 0, label.target, second)
        else:
            self.emit(form.INVERSE[operation], NOWHERE, place, 0, 0, following, second)
            self.begin(self.new_block(), False)
            self.branch(label)
        self.begin(following, True)

    def branch_table(self) -> None:
        (labels, default), self.pos = READ["labels"](self.bytes, self.pos)
        place = self.pop()
        edges: dict[int, int] = {}
        apart = []
        first = len(self.lists)
        for depth in (*labels, default):
            if depth not in edges:
                label = self.labels[len(self.labels) - 1 - depth]
                if label.shape != RETURNS and self.in_place(label):
                    label.targeted = True
                    edges[depth] = label.target
                else:
                    edges[depth] = self.new_block()
                    apart.append(depth)
            self.lists.append(edges[depth])
        self.emit(BRANCH_TABLE, NOWHERE, place, 0, 0, first, len(labels) + 1)
        for depth in apart:
            self.begin(edges[depth], False)
            self.branch(self.labels[len(self.labels) - 1 - depth])
        self.dead = True

    # Instructions

    def step(self) -> None:
        position = self.pos
        code = self.data[position]
        self.pos = position + 1
        if code >= FIRST_PREFIX and ORDINALS[code] < 0:
            code = 256 + (code - FIRST_PREFIX) * PREFIXED + self.leb()
        row = ORDINALS[code]
        shape = SHAPES[row]
        if self.dead and (self.skipped or (shape != END and shape != OTHERWISE)):
            self.skip(row, shape)
            return
        self.position = position
        if shape != END and shape != OTHERWISE:
            self.count()
        if shape == LOCAL_GET:
            local = self.leb()
            self.push_local(local, self.wide[local])
        elif shape == PLAIN:
            self.plain(row)
        elif shape == CONST:
            self.constant(row)
        elif shape == LOCAL_SET:
            self.assign(self.leb())
        elif shape == LOCAL_TEE:
            local = self.leb()
            self.assign(local)
            self.push_local(local, self.wide[local])
        else:
            self.unusual(row, shape)

    def skip(self, row: int, shape: int) -> None:
        """Pass over an instruction that nothing reaches."""
        if OPENS[row]:
            self.skipped += 1
        elif shape == END:
            self.skipped -= 1
        for kind in TABLE[row].immediates:
            _, self.pos = READ[kind](self.bytes, self.pos)

    def constant(self, row: int) -> None:
        """A constant: it is found again by its kind and bits, or for a vector by its index in `objects`."""
        kind = CONSTANT_KIND[row]
        value = 0
        if kind == CONST_I32:
            value = self.signed_leb() & 0xFFFFFFFF
        elif kind == CONST_I64:
            value = self.signed_leb()
        elif kind in (CONST_F32, CONST_F64):
            size = 4 if kind == CONST_F32 else 8
            for index in range(size - 1, -1, -1):
                byte = self.data[self.pos + index]
                value = value << 8 | byte
            self.pos += size
        elif kind == CONST_V128:
            value = self.immediate(row, OBJECT, 0)
        else:
            _, self.pos = READ["heap"](self.bytes, self.pos)
        number = self.constant_count
        if number == len(self.constants):
            self.constants = _doubled(self.constants)
            self.kinds = _doubled(self.kinds)
        self.constants[number] = self.as_signed(value & _ONES)
        self.kinds[number] = kind
        self.constant_count = number + 1
        wide = kind == CONST_V128
        self.push(number << 3 | wide << 2 | CONSTANT, 1 + wide)

    def plain(self, row: int) -> None:
        """An instruction with at most three operands and one result, of any width."""
        immediate = second = 0
        kind = FIRST_KIND[row]
        if kind == MEMARG:
            immediate = self.memory_argument(SECOND_KIND[row] != NONE)
            second = self.memory
        elif kind != NONE:
            immediate = self.immediate(row, kind, 0)
            kind = SECOND_KIND[row]
            if kind != NONE:
                second = self.immediate(row, kind, 1)
        a = b = c = 0
        taken = TAKES[row]
        if taken == 1:
            a = self.pop()
        elif taken == 2:
            b = self.pop()
            a = self.pop()
        elif taken == 3:
            c = self.pop()
            b = self.pop()
            a = self.pop()
        width = RESULT_WIDTH[row]
        if width == 0:
            self.emit(row, NOWHERE, a, b, c, immediate, second)
            return
        if width == 3:
            width = self.width_of(row, immediate, second)
        record = self.emit(row, self.height << 3 | (width == 2) << 2, a, b, c, immediate, second)
        self.push_result(width)
        self.last = record

    def width_of(self, row: int, immediate: int, second: int) -> int:
        """The width of a result that the context knows."""
        name = TABLE[row].name
        type: Any
        if name == "global.get":
            type = self.context.globals[immediate].content
        else:
            composite = self.context.types[immediate].composite
            if isinstance(composite, StructType):
                type = composite.fields[second].storage
            else:
                assert isinstance(composite, ArrayType)
                type = composite.field.storage
        return 2 if type is V128 else 1

    def unusual(self, row: int, shape: int) -> None:
        """What is not one of the few shapes that nearly all instructions have."""
        if shape == DROP:
            self.pop()
        elif shape == SELECT:
            if TABLE[row].immediates:
                _, self.pos = READ["types"](self.bytes, self.pos)
            c, b, a = self.pop(), self.pop(), self.pop()
            record = self.emit(row, self.height << 3 | (a & 4), a, b, c, 0, 0)
            self.push_result(1 + (a >> 2 & 1))
            self.last = record
        elif shape == CHECK:
            c = self.immediate(row, OBJECT, 0) if TABLE[row].immediates else 0
            self.emit(row, NOWHERE, self.places[self.depth - 1], 0, 0, c, 0)
        elif shape == CALL:
            self.call(row)
        elif shape == MANY:
            self.many(row)
        elif shape == BR_IF:
            depth = self.leb()
            self.branch_when(BRANCH_IF, depth, self.pop(), 0)
        elif shape in (OPEN, LOOP, WHEN, TRY, OTHERWISE, END):
            self.structure(shape)
        elif shape != NOTHING:
            self.leave(row, shape)

    def leave(self, row: int, shape: int) -> None:
        """The rarer branches, and what never goes on here."""
        labels = self.labels
        if shape == BR:
            self.branch(labels[len(labels) - 1 - self.leb()])
            self.dead = True
        elif shape == BR_TABLE:
            self.branch_table()
        elif shape == RETURNS:
            self.branch(labels[0])
            self.dead = True
        elif shape == BR_NULL:
            depth = self.leb()
            place = self.pop()
            self.branch_when(BRANCH_NULL, depth, place, 0)
            self.restore(place)
            # Of the block that has just begun, where the reference is an operand.
            self.code[(self.size - 1) * STRIDE + 2] = self.height
        elif shape == BR_NON_NULL:
            self.branch_when(BRANCH_NON_NULL, self.leb(), self.places[self.depth - 1], 0)
            self.pop()
        elif shape == BR_CAST:
            cast: Cast
            cast, self.pos = READ["cast"](self.bytes, self.pos)
            self.objects.append(cast.target)
            operation = BRANCH_CAST if TABLE[row].name == "br_on_cast" else form.BRANCH_CAST_FAIL
            self.branch_when(operation, cast.label, self.places[self.depth - 1], len(self.objects) - 1)
        else:
            self.emit(row, NOWHERE, self.pop() if TAKES[row] else 0, 0, 0, 0, 0)
            self.dead = True

    def restore(self, place: int) -> None:
        """Put back an operand that was taken, at the same height: no local that is not followed is one."""
        if place & 3 == LOCAL:
            self.push_local(place >> 3, place >> 2 & 1)
        else:
            self.push(place, 1 + (place >> 2 & 1))

    def take(self, count: int) -> int:
        """Take operands into `lists`, in order; where they begin there."""
        first = len(self.lists)
        for index in range(self.depth - count, self.depth):
            self.lists.append(self.places[index])
        for _ in range(count):
            self.pop()
        return first

    def many(self, row: int) -> None:
        """Any number of operands, and results of fixed widths."""
        immediate = second = 0
        if FIRST_KIND[row] != NONE:
            immediate = self.immediate(row, FIRST_KIND[row], 0)
        if SECOND_KIND[row] != NONE:
            second = self.immediate(row, SECOND_KIND[row], 1)
        count = TAKES[row]
        repeated = TABLE[row].takes.repeated
        if repeated == "count":
            count += second
        elif repeated is not None:
            types = self.context.tags if repeated == "tag" else self.context.types
            composite: Any = types[immediate].composite
            count += len(composite.fields if repeated == "field" else composite.params)
        first = self.take(count)
        result = NOWHERE
        if TABLE[row].leaves.fixed:
            result = self.height << 3
        self.emit(row, result, first, count, 0, immediate, second)
        for _ in range(TABLE[row].leaves.fixed):
            self.push_result(1)
        self.dead = TABLE[row].role is Role.LEAVES

    def call(self, row: int) -> None:
        """A call. The operand that says which function, if one does, is C; the places of the results follow
        those of the arguments in `lists`, and their number is above the 32 bits of the table's index."""
        instruction = TABLE[row]
        immediate = self.leb()
        second = self.leb() if len(instruction.immediates) > 1 else 0
        place = self.pop() if TAKES[row] else 0
        context = self.context
        types: Any = context.funcs if instruction.takes.repeated == "func" else context.types
        signature: FuncType = types[immediate].composite
        count = len(signature.params)
        first = self.take(count)
        leaves = instruction.role is Role.LEAVES
        second |= (0 if leaves else len(signature.results)) << 32
        self.emit(row, NOWHERE, first, count, place, immediate, second)
        self.dead = leaves
        if leaves:
            # A host function leaves them where its arguments were, whoever takes them.
            self.highest = max(self.highest, self.height + sum(widths(signature.results)))
            return
        for width in widths(signature.results):
            self.lists.append(self.push_result(width))

    # Structured control

    def block_widths(self, block: BlockType) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if block is None:
            return (), ()
        if isinstance(block, int):
            signature = self.context.types[block].composite
            assert isinstance(signature, FuncType)
            return widths(signature.params), widths(signature.results)
        return (), widths((block,))

    def structure(self, shape: int) -> None:
        if shape == END:
            self.close()
        elif shape == OTHERWISE:
            self.alternative()
        else:
            block, self.pos = READ["block"](self.bytes, self.pos)
            params, results = self.block_widths(block)
            self.open(shape, params, results)

    def open(self, shape: int, params: tuple[int, ...], results: tuple[int, ...]) -> None:
        clauses = self.clauses() if shape == TRY else ()
        condition = self.pop() if shape == WHEN else 0
        position = self.position
        made = self.withdraw(condition) if shape == WHEN else ()
        if params:
            self.settle_top(len(params))
        self.settle_locals()
        if made:
            row, result, a, b, c, immediate, second = made
            self.emit(row, result, a, b, c, immediate, second)
        self.position = position
        depth = self.depth - len(params)
        height = self.heights[depth] if params else self.height
        label = Label(shape, height, depth, self.new_block(), self.region)
        label.params, label.results = params, results
        label.carried = params if shape == LOOP else results
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

    def withdraw(self, place: int) -> tuple[Any, ...]:
        """Take back the record that made the operand which was just taken, if it is the last one.

        It may be given again behind moves of what stands below: they write temporaries that it does not
        read, and it writes no local.
        """
        start = self.last * STRIDE
        if self.last < 0 or self.code[start + 3] != place:
            return ()
        self.size -= 1
        self.position = self.code[start + 1]
        record = self.code[start : start + STRIDE]
        return (record[0], *record[3:])

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

    def close_function(self, label: Label) -> None:
        self.labels.append(label)
        if not self.dead:
            self.branch(label)
        if label.targeted:
            # A clause brings its values here.
            self.reset(label, label.results)
            self.begin(label.target, False)
            self.branch(label)
