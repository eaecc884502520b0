"""From the intermediate form to steps, bound to what they act on in an instance.

An activation's frame is a list: the temporaries, each at its height, one more for verdicts and callees,
then the locals, then the constants. A block of the form becomes one or, where it calls, several of `Block`,
which end in one exit whose targets are blocks. `backend` runs the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import Any

from tinywasm.engine.ir import form
from tinywasm.engine.ir.build import build, build_expression
from tinywasm.engine.ir.form import Form
from tinywasm.engine.ir.rows import BINARY, FIRST_KIND, LOAD, OBJECT, SECOND_KIND, SHAPES, STORE, UNARY
from tinywasm.engine.python import bulk, heat, steps
from tinywasm.instructions import TABLE, Instruction, Role
from tinywasm.interruption import STEPS, look
from tinywasm.matching import close_ref
from tinywasm.numerics.floats import f32_from_bits, f64_from_bits
from tinywasm.numerics.operators import OPERATORS
from tinywasm.records import record
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.module_instance import ModuleInstance
from tinywasm.runtime.storage import Tag
from tinywasm.syntax import Expr
from tinywasm.types import (
    F32,
    F64,
    V128,
    ArrayType,
    DefinedType,
    FuncType,
    PackedType,
    RefType,
    StorageType,
    StructType,
    ValType,
)

# Exits of a block.
GOTO, IF, TABLE_BRANCH, CALL, TAIL_CALL, RETURN, ENTER, BIND = range(8)

# The frame of a caller has at most so many values that nothing needs during the call.
MAX_NEEDLESS = 256

# Code without loops looks at the interrupt flag after so many times `STEPS` records.
MAX_UNPOLLED = 16


class Block:
    """Steps that run one after the other, and the exit behind them.

    `next` and `target` are the exit's blocks: GOTO next; IF target when what is at `place` is not zero, else
    next; TABLE_BRANCH one of the blocks `arg`, else target; CALL the function `arg`, or the one at `place`
    where it is None, with what is at `operands`, and go on at next, with its results at `results`; RETURN
    what is at `operands`; ENTER a Python function that goes on at next, the head of a loop; BIND the
    function, whose arguments are the frame, and go on at its entry. The positions of the steps are
    `Code.positions` from `first` on, the exit's is `exit_position`.

    While a call is under way, its frame begins `below` slots behind that of this function, which has `top`
    slots. Where `kept` is not negative, only so many temporaries are kept meanwhile, with the locals: there
    is much in the frame besides.
    """

    __slots__ = (
        "arg", "below", "exit_position", "first", "func", "kept", "kind", "next", "number", "operands",
        "place", "results", "scope", "steps", "target", "top",
    )  # fmt: skip

    def __init__(self, func: FuncInstance | None) -> None:
        self.func = func
        self.scope: Scope | None = None
        self.steps: list[tuple[Any, ...]] = []
        # Behind what never goes on there is no exit.
        self.kind = GOTO

    first: int
    # Of heads, in the form.
    number: int
    # The rest belongs to the exit, which sets what it uses.
    exit_position: int
    arg: Any
    below: int
    kept: int
    place: int
    operands: Places
    results: Places
    top: int
    next: Block
    target: Block


@record(eq=False)
class Scope:
    """The clauses of a `try_table`, innermost first through `parent`.

    A clause is (tag or None for all, whether the exception goes along, target, places of the values).
    """

    clauses: list[tuple[Tag | None, bool, Block, Places]]
    parent: Scope | None


@record(eq=False)
class Code:
    """A function that can run: its entry, and its frame at the beginning, with the first local's place.

    `constants` is the place behind the locals; `slots` are what the frame takes: see `recursion`. `positions`
    are those of the steps of all blocks, in the module. `left` is how often it may be called, and its loops
    taken up again, before it is hot; `fast` is the Python function that it has then. A loop is entered when
    it has been taken up `turns` times more: most functions are called by then, and need no other way in. For
    the first `wait` of these it is entered at a head for which there is a Python function already.
    """

    entry: Block
    frame: list[Any]
    locals: int
    constants: int
    slots: int
    positions: list[int]
    left: int
    turns: int
    fast: Callable[..., Any] | None = None
    wait: int = 0


def default_value(storage: StorageType) -> Any:
    """The default of a defaultable type (section 4.2.1)."""
    if storage in (F32, F64):
        return 0.0
    if storage is V128:
        return bytes(16)
    return None if isinstance(storage, RefType) else 0


def bind(func: FuncInstance) -> Code:
    """Make a Wasm function ready. Raises as `build` does."""
    definition, instance = func.definition, func.module
    assert definition is not None and instance is not None
    code = build(instance.context, func.index, definition)
    locals: list[Any] = [None] * func.params
    for count, type in definition.locals:
        locals += [default_value(type)] * count
    return Binder(instance, func, code, locals).run()


def bind_constant(instance: ModuleInstance, expr: Expr, type: ValType) -> Code:
    """Make a constant expression ready."""
    return Binder(instance, None, build_expression(instance.context, expr, type), []).run()


@record(frozen=True)
class Row:
    """Where in the frame temporaries of several widths are that lie in a row.

    `places` has them from `start` on, `count` of them, as of a row that begins at 0. This one begins at
    `base`.
    """

    places: Sequence[int]
    start: int
    count: int
    base: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        base = self.base
        places = self.places[self.start : self.start + self.count]
        return iter([base + (place >> form.NUMBER) for place in places])


# Where values are: only what is not in a row has a list of its own.
Places = Sequence[int] | Row


def in_row(places: Sequence[int], start: int, count: int, base: int) -> Places:
    """Where temporaries in a row are; see `Row`."""
    if count == 0 or places[start + count - 1] >> form.NUMBER == count - 1:
        return range(base, base + count)
    return Row(places, start, count, base)


class Binder:
    """State of binding one body: the open block, and the blocks of the form by their numbers."""

    def __init__(
        self, instance: ModuleInstance, func: FuncInstance | None, code: Form, locals: list[Any]
    ) -> None:
        self.instance = instance
        self.memories, self.globals, self.funcs = instance.memories, instance.globals, instance.funcs
        self.func = func
        self.form = code
        self.spare = code.heights
        first_local = code.heights + 1
        # Where in the frame temporaries, locals and constants begin, by the kind of place.
        self.bases = (0, first_local, first_local + len(locals))
        self.frame = [None] * first_local + locals + constants(code)
        # What it has beside the locals.
        self.besides = len(self.frame) - len(locals)
        # None for a block that is not there so far.
        self.blocks: list[Block | None] = [None] * code.blocks
        # The place of each in the code, from 1 on, and 0 for those that have not begun.
        self.begun = [0] * code.blocks
        self.last = 0
        # Blocks that are looped to, which poll; with the steps and the blocks of their loops.
        self.heads: dict[Block, tuple[int, int]] = {}
        # A conditional branch whose other way is the next block, and whether that is where it does not hold.
        self.waiting: tuple[Block, bool] | None = None
        self.scopes = self.regions()
        self.positions: list[int] = []
        self.open(Block(func))
        self.ended = True
        self.position = 0
        store = instance.store
        self.metered = func is not None and store.fuel is not None
        self.profile = store.profile if func is not None else None
        self.counted = self.metered or self.profile is not None
        self.entered = False

    def run(self) -> Code:
        rows = self.form.rows()
        for piece in range(1, 2 + len(self.form.code) // (STEPS * form.STRIDE)):
            look()
            self.records(islice(rows, STEPS))
            if piece % MAX_UNPOLLED == 0 and self.func is not None:
                self.step(steps.poll, self.instance.store.backend)
        entry = self.block_of(self.form.code[form.IMMEDIATE])
        left = heat.NEVER if self.profile is not None else heat.calls(self.form)
        places = self.bases[1:]
        code = Code(entry, self.frame, *places, self.form.slots, self.positions, left, heat.HOT)
        if self.func is not None:
            for block in {entry, *self.heads}:
                # Its position stands before those of the steps.
                block.first -= 1
                head = self.instance.store.backend, code
                loop = self.heads.get(block)
                block.steps.insert(0, (steps.loop, *head, heat.share(*loop)) if loop else (steps.poll, *head))
        return code

    def records(self, rows: Iterable[_Row]) -> None:
        """Bind some records: the usual ones here, where most of the time goes."""
        bases, memories, positions, add = self.bases, self.memories, self.positions, self.steps.append
        for row, position, base, result, a, b, c, immediate, second in rows:
            usual = _USUAL[row]
            if usual == UNARY:
                to, a = bases[result & 3] + (result >> 3), bases[a & 3] + (a >> 3)
                add((steps.unary, _OPERATORS[row], to, a))
            elif usual == BINARY:
                a, b = bases[a & 3] + (a >> 3), bases[b & 3] + (b >> 3)
                add((steps.binary, _OPERATORS[row], bases[result & 3] + (result >> 3), a, b))
            elif usual == LOAD:
                to, a = bases[result & 3] + (result >> 3), bases[a & 3] + (a >> 3)
                add((_ACCESSES[row], memories[second], immediate & _M64, to, a))
            elif usual == STORE:
                a, b = bases[a & 3] + (a >> 3), bases[b & 3] + (b >> 3)
                add((_ACCESSES[row], memories[second], immediate & _M64, a, b))
            elif usual == _MOVES:
                add((steps.move, bases[result & 3] + (result >> 3), bases[a & 3] + (a >> 3)))
            elif usual == _BLOCKS:
                self.begin(position, a, immediate, second)
                add = self.steps.append
                continue
            else:
                _BIND[row](self, (row, position, base, result, a, b, c, immediate, second))
                add = self.steps.append
                continue
            positions.append(position)

    def regions(self) -> list[Scope]:
        scopes: list[Scope] = []
        # By the identity of widths: many clauses may bring the same.
        rows: dict[int, list[int]] = {}
        for region in self.form.regions:
            clauses = []
            for clause in region.clauses:
                widths = clause.widths
                if id(widths) not in rows:
                    rows[id(widths)] = [height << form.NUMBER for height in accumulate(widths, initial=0)]
                places = in_row(rows[id(widths)], 0, len(widths), clause.height)
                tag = None if clause.tag is None else self.instance.tags[clause.tag]
                clauses.append((tag, clause.reference, self.block_of(clause.block), places))
            scopes.append(Scope(clauses, scopes[region.parent] if region.parent >= 0 else None))
        return scopes

    def at(self, place: int) -> int:
        """Where in the frame a place is."""
        return self.bases[place & form.KIND] + (place >> form.NUMBER)

    def all_at(self, places: Sequence[int]) -> Sequence[int]:
        bases = self.bases
        return [bases[place & 3] + (place >> 3) for place in places] if places else ()

    def listed(self, first: int, start: int, count: int, base: int) -> Places:
        """Where operands or results are that `lists` has, from `start` behind the record's first one on."""
        if first < 0:
            return in_row(self.form.lists, ~first + start, count, base)
        first += start
        return self.all_at(self.form.lists[first : first + count])

    # Blocks

    def step(self, function: steps.Step, *imm: Any) -> None:
        self.steps.append((function, *imm))
        self.positions.append(self.position)

    def block_of(self, number: int) -> Block:
        block = self.blocks[number]
        if block is None:
            block = self.blocks[number] = Block(self.func)
        return block

    def reach(self, number: int) -> Block:
        """The block that a branch goes to."""
        block = self.block_of(number)
        if self.begun[number]:
            self.heads[block] = len(self.positions) - block.first, self.last - self.begun[number] + 1
            block.number = number
        return block

    def leave(self, kind: int, position: int) -> Block:
        """End the open block with an exit."""
        block = self.block
        block.kind = kind
        block.exit_position = position
        self.ended = True
        return block

    def open(self, block: Block) -> None:
        self.block = block
        self.steps = block.steps
        block.first = len(self.positions)
        self.ended = False

    def begin(self, position: int, region: int, number: int, fuel: int) -> None:
        """Go on in a block of the form."""
        block = self.blocks[number]
        if block is None:
            block = self.blocks[number] = Block(self.func)
        if self.waiting is not None:
            branching, when = self.waiting
            self.waiting = None
            if when:
                branching.next = block
            else:
                branching.target = block
        elif not self.ended:
            self.leave(GOTO, position).next = block
        self.last += 1
        self.begun[number] = self.last
        if region >= 0:
            block.scope = self.scopes[region]
        # Where it polls, if it does.
        self.positions.append(position)
        self.open(block)
        self.position = position
        if self.counted:
            self.count(fuel)

    def go_on(self, block: Block) -> None:
        block.scope = self.block.scope
        self.open(block)

    def branch(self, place: int, when: bool, number: int, position: int) -> None:
        """End the open block with a conditional branch."""
        block = self.leave(IF, position)
        block.place = place
        if when:
            block.target = self.reach(number)
        else:
            block.next = self.reach(number)
        self.waiting = block, when

    def count(self, fuel: int) -> None:
        """Where a block begins: charge what follows, if it is a head, and count it for a profile."""
        if self.profile and self.func and not self.entered:
            self.step(steps.enter, self.profile, self.profile.record(self.func))
        self.entered = True
        if self.metered and fuel:
            self.step(steps.charge, self.instance.store, fuel)
        if self.profile and self.func and fuel:
            self.step(steps.count, self.profile, self.profile.record(self.func), fuel)

    # Types

    def close(self, ref: RefType) -> RefType:
        return close_ref(ref, self.instance.types)

    def struct(self, index: int) -> tuple[DefinedType, StructType]:
        defined = self.instance.types[index]
        assert isinstance(defined.composite, StructType)
        return defined, defined.composite

    def array(self, index: int) -> tuple[DefinedType, StorageType]:
        defined = self.instance.types[index]
        assert isinstance(defined.composite, ArrayType)
        return defined, defined.composite.field.storage

    def immediates(self, row: Instruction, record: form.Record) -> tuple[Any, ...]:
        """The immediates as `codec` reads them."""
        found: list[Any] = [record.immediate, record.second][: len(row.immediates)]
        for number, kinds in enumerate((FIRST_KIND, SECOND_KIND)):
            if kinds[row.ordinal] == OBJECT:
                found[number] = self.form.objects[found[number]]
        return tuple(found)


def constants(code: Form) -> list[Any]:
    """The values of the constants."""
    values: list[Any] = []
    for bits, kind in zip(code.constants, code.kinds, strict=True):
        if kind == form.CONST_I32:
            values.append(bits)
        elif kind == form.CONST_I64:
            values.append(bits & 0xFFFFFFFFFFFFFFFF)
        elif kind == form.CONST_F32:
            values.append(f32_from_bits(bits))
        elif kind == form.CONST_F64:
            values.append(f64_from_bits(bits & 0xFFFFFFFFFFFFFFFF))
        else:
            values.append(code.objects[bits] if kind == form.CONST_V128 else None)
    return values


# What `Binder.records` binds itself, by the row of a record.
_MOVES, _BLOCKS, _UNUSUAL = -1, -2, -3


def _usual(row: int) -> int:
    if row >= form.BLOCK:
        return {form.MOVE: _MOVES, form.BLOCK: _BLOCKS}.get(row, _UNUSUAL)
    usual = (UNARY, BINARY) if TABLE[row].operator else (LOAD, STORE)
    return SHAPES[row] if SHAPES[row] in usual else _UNUSUAL


_USUAL = [_usual(row) for row in range(len(form.NAMES))]
_OPERATORS: list[Any] = [OPERATORS.get(row.operator or "") for row in TABLE]
_ACCESSES: list[Any] = [steps.LOADS_AND_STORES.get(row.name) for row in TABLE]
_M64 = 0xFFFFFFFFFFFFFFFF

# A record as `Form.rows` has it.
_Row = tuple[int, ...]
_Bind = Callable[[Binder, _Row], None]
_BindRarely = Callable[[Binder, Instruction, form.Record], None]

# What the steps of instructions act on, from their immediates


def _memory(b: Binder, imm: Any) -> Any:
    return b.instance.memories[imm[0]]


def _table(b: Binder, imm: Any) -> Any:
    return b.instance.tables[imm[0]]


def _memories(b: Binder, imm: Any) -> Any:
    return b.instance.store, b.instance.memories[imm[0]], b.instance.memories[imm[1]]


def _tables(b: Binder, imm: Any) -> Any:
    return b.instance.store, b.instance.tables[imm[0]], b.instance.tables[imm[1]]


def _store_and(bind: Callable[[Binder, Any], Any]) -> Callable[[Binder, Any], Any]:
    return lambda b, imm: (b.instance.store, bind(b, imm))


def _segment(b: Binder, imm: Any) -> Any:
    return b.instance, imm[0]


def _struct_size(struct: StructType) -> int:
    return sum(16 if field.storage is V128 else 8 for field in struct.fields)


def _struct_new_default(b: Binder, imm: Any) -> Any:
    defined, struct = b.struct(imm[0])
    values = tuple(default_value(field.storage) for field in struct.fields)
    return b.instance.store, defined, _struct_size(struct), values


def _struct_width(b: Binder, imm: Any) -> Any:
    storage = b.struct(imm[0])[1].fields[imm[1]].storage
    return imm[1], storage.value if isinstance(storage, PackedType) else 0


def _struct_mask(b: Binder, imm: Any) -> Any:
    return imm[1], bulk.storage_mask(b.struct(imm[0])[1].fields[imm[1]].storage)


def _array_mask(b: Binder, imm: Any) -> int:
    return bulk.storage_mask(b.array(imm[0])[1])


def _array_width(b: Binder, imm: Any) -> int:
    storage = b.array(imm[0])[1]
    return storage.value if isinstance(storage, PackedType) else 0


def _array_new(b: Binder, imm: Any) -> Any:
    return b.instance.store, *b.array(imm[0])


def _array_new_default(b: Binder, imm: Any) -> Any:
    defined, storage = b.array(imm[0])
    return b.instance.store, defined, bulk.storage_size(storage), default_value(storage)


def _array_storage(b: Binder, imm: Any) -> Any:
    return b.instance.store, b.array(imm[0])[1]


def _array_new_data(b: Binder, imm: Any) -> Any:
    return b.instance, *b.array(imm[0]), imm[1]


def _array_new_elem(b: Binder, imm: Any) -> Any:
    return b.instance, b.instance.types[imm[0]], imm[1]


def _array_init_data(b: Binder, imm: Any) -> Any:
    return b.instance, b.array(imm[0])[1], imm[1]


def _wanted(b: Binder, imm: Any) -> RefType:
    return b.close(imm[0])


def _nothing(b: Binder, imm: Any) -> None:
    return None


def _struct_new(b: Binder, imm: Any) -> Any:
    defined, struct = b.struct(imm[0])
    masks = tuple(bulk.storage_mask(field.storage) for field in struct.fields)
    return b.instance.store, defined, _struct_size(struct), masks


def _array_new_fixed(b: Binder, imm: Any) -> Any:
    return *_array_new(b, imm), imm[1]


def _thrown(b: Binder, imm: Any) -> Any:
    tag = b.instance.tags[imm[0]]
    defined = tag.type.type
    assert isinstance(defined, DefinedType) and isinstance(defined.composite, FuncType)
    return b.instance.store.limits, tag, len(defined.composite.params)


# Instructions whose steps take the places of result and operands behind what they act on.
_ON_FRAME: dict[str, tuple[steps.Step, Callable[[Binder, Any], Any]]] = {
    "table.get": (steps.table_get, _table),
    "table.set": (steps.table_set, _table),
    "ref.is_null": (steps.ref_is_null, _nothing),
    "ref.as_non_null": (steps.ref_as_non_null, _nothing),
    "ref.eq": (steps.ref_eq, _nothing),
    "ref.test": (steps.ref_test, _wanted),
    "ref.cast": (steps.ref_cast, _wanted),
    "ref.i31": (steps.ref_i31, _nothing),
    "i31.get_s": (steps.i31_get_s, _nothing),
    "i31.get_u": (steps.i31_get_u, _nothing),
    "struct.get": (steps.struct_get, _struct_width),
    "struct.get_s": (steps.struct_get_s, _struct_width),
    "struct.get_u": (steps.struct_get, _struct_width),
    "struct.set": (steps.struct_set, _struct_mask),
    "array.get": (steps.array_get, _array_mask),
    "array.get_s": (steps.array_get_s, _array_width),
    "array.get_u": (steps.array_get, _array_mask),
    "array.set": (steps.array_set, _array_mask),
    "array.len": (steps.array_len, _nothing),
}
# Instructions whose steps work on a stack of their operands.
_ON_STACK: dict[str, tuple[steps.Step, Callable[[Binder, Any], Any]]] = {
    "table.size": (steps.table_size, _table),
    "table.grow": (bulk.table_grow, _store_and(_table)),
    "table.fill": (bulk.table_fill, _store_and(_table)),
    "table.copy": (bulk.table_copy, _tables),
    "table.init": (bulk.table_init, lambda b, imm: (b.instance, imm[0], b.instance.tables[imm[1]])),
    "elem.drop": (steps.elem_drop, _segment),
    "memory.size": (steps.memory_size, _memory),
    "memory.grow": (steps.memory_grow, _memory),
    "memory.fill": (bulk.memory_fill, _store_and(_memory)),
    "memory.copy": (bulk.memory_copy, _memories),
    "memory.init": (bulk.memory_init, lambda b, imm: (b.instance, imm[0], b.instance.memories[imm[1]])),
    "data.drop": (steps.data_drop, _segment),
    "struct.new_default": (bulk.struct_new_default, _struct_new_default),
    "array.new": (bulk.array_new, _array_new),
    "array.new_default": (bulk.array_new_default, _array_new_default),
    "array.new_data": (bulk.array_new_data, _array_new_data),
    "array.new_elem": (bulk.array_new_elem, _array_new_elem),
    "array.fill": (bulk.array_fill, _array_storage),
    "array.copy": (bulk.array_copy, _array_storage),
    "array.init_data": (bulk.array_init_data, _array_init_data),
    "array.init_elem": (bulk.array_init_elem, lambda b, imm: (b.instance, imm[1])),
    "struct.new": (bulk.struct_new, _struct_new),
    "array.new_fixed": (bulk.array_new_fixed, _array_new_fixed),
    "throw": (steps.throw, _thrown),
    "throw_ref": (steps.throw_ref, lambda b, imm: b.instance.store.limits),
    "unreachable": (steps.unreachable, _nothing),
}


# Instructions that are not among the few which nearly all code is made of


def _on_frame(b: Binder, row: Instruction, record: form.Record) -> None:
    step, bound = _ON_FRAME[row.name]
    places = [*form.results(b.form, record), *form.operands(b.form, record)]
    b.step(step, bound(b, b.immediates(row, record)), *b.all_at(places))


def _on_stack(b: Binder, row: Instruction, record: form.Record) -> None:
    step, bound = _ON_STACK[row.name]
    operands: Places
    if form.LISTED[row.ordinal]:
        operands = b.listed(record.a, 0, record.b, record.base)
    else:
        operands = b.all_at(form.operands(b.form, record))
    results = b.all_at(form.results(b.form, record))
    imm = step, bound(b, b.immediates(row, record)), operands
    if results:
        b.step(steps.with_result, *imm, results[0])
    else:
        b.step(steps.without_result, *imm)
    b.ended = row.role is Role.LEAVES


def _numeric(b: Binder, row: Instruction, record: form.Record) -> None:
    operator = OPERATORS[row.operator or ""]
    result, operands = b.at(record.result), b.all_at(form.operands(b.form, record))
    if row.immediates:
        step = steps.unary_lane if len(operands) == 1 else steps.binary_lane
        b.step(step, operator, result, *operands, b.immediates(row, record)[0])
    elif row.leaves.fixed > 1:
        b.step(steps.several, operator, result, operands)
    else:
        b.step(steps.ternary, operator, result, *operands)


def _access_lane(b: Binder, row: Instruction, record: form.Record) -> None:
    memory, lane = b.instance.memories[record.second & 0xFFFFFFFF], record.second >> 32
    places = [*form.results(b.form, record), *form.operands(b.form, record)]
    offset = record.immediate & 0xFFFFFFFFFFFFFFFF
    b.step(steps.LOADS_AND_STORES[row.name], memory, offset, lane, *b.all_at(places))


def _select(b: Binder, row: Instruction, record: form.Record) -> None:
    b.step(steps.select, *b.all_at((record.result, record.a, record.b, record.c)))


def _function(b: Binder, row: Instruction, record: form.Record) -> None:
    b.step(steps.put, b.at(record.result), b.instance.funcs[record.immediate])


_OTHERS: dict[str, _BindRarely] = {
    "select": _select,
    "ref.func": _function,
}


def _rarely(row: Instruction) -> _BindRarely | None:
    if row.operator is not None:
        return _numeric
    if row.name in steps.LOADS_AND_STORES:
        return _access_lane
    if row.name in _ON_FRAME:
        return _on_frame
    return _on_stack if row.name in _ON_STACK else _OTHERS.get(row.name)


_RARELY: list[Any] = [_rarely(row) for row in TABLE]


def bind_record(b: Binder, record: form.Record) -> None:
    """Bind one record of an instruction by itself."""
    if record.row in _BIND:
        _BIND[record.row](b, record)
        return
    places = [*form.results(b.form, record), *form.operands(b.form, record)]
    memory = b.memories[record.second]
    b.step(_ACCESSES[record.row], memory, record.immediate & _M64, *b.all_at(places))


def _instruction(b: Binder, record: _Row) -> None:
    b.position = record[form.POSITION]
    _RARELY[record[0]](b, TABLE[record[0]], form.Record._make(record))


def _global_get(b: Binder, record: _Row) -> None:
    _, position, _, result, _, _, _, index, _ = record
    b.steps.append((steps.global_get, b.at(result), b.globals[index]))
    b.positions.append(position)


def _global_set(b: Binder, record: _Row) -> None:
    _, position, _, _, a, _, _, index, _ = record
    b.steps.append((steps.global_set, b.globals[index], b.at(a)))
    b.positions.append(position)


_OF_FUNCTION = {row.ordinal for row in TABLE if row.name in ("call", "return_call")}
_IN_TABLE = {row.ordinal for row in TABLE if row.name in ("call_indirect", "return_call_indirect")}


def _call(b: Binder, record: _Row) -> None:
    """A call: the function is known, or at the spare place."""
    row, position, base, _, first, count, c, index, second = record
    place, callee = c, None
    if row in _OF_FUNCTION:
        callee = b.funcs[index]
    elif row in _IN_TABLE:
        table = b.instance.tables[second & 0xFFFFFFFF]
        b.position = position
        b.step(steps.fetch_indirect, table, b.instance.types[index], b.at(c), b.spare)
        place = b.spare
    else:
        place = b.at(c)
    tail = TABLE[row].role is Role.LEAVES
    block = b.leave(TAIL_CALL if tail else CALL, position)
    block.arg, block.place, block.operands = callee, place, b.listed(first, 0, count, base)
    block.top = b.form.slots
    if not tail:
        block.below = b.form.slots - b.form.heights + base
        block.kept = base if b.besides - base > MAX_NEEDLESS else -1
        block.results = b.listed(first, count, second >> 32, base)
        block.next = Block(b.func)
        b.go_on(block.next)


# What the form has beside instructions


def _jump(b: Binder, record: _Row) -> None:
    b.leave(GOTO, record[1]).next = b.reach(record[form.IMMEDIATE])


def _branch_if(b: Binder, record: _Row) -> None:
    row, position, _, _, a, _, _, number, _ = record
    b.branch(b.at(a), row == form.BRANCH_IF, number, position)


def _move_row(b: Binder, record: _Row) -> None:
    b.position = record[form.POSITION]
    b.step(steps.move_row, b.at(record[form.RESULT]), b.at(record[form.A]), record[form.IMMEDIATE])


def _return(b: Binder, record: _Row) -> None:
    _, position, _, _, first, count, _, _, _ = record
    b.leave(RETURN, position).operands = b.all_at(b.form.lists[first : first + count])


def _branch_table(b: Binder, record: _Row) -> None:
    _, position, _, _, a, _, _, first, count = record
    blocks = [b.reach(number) for number in b.form.lists[first : first + count]]
    block = b.leave(TABLE_BRANCH, position)
    block.place, block.arg, block.target = b.at(a), tuple(blocks[:-1]), blocks[-1]


def _branch_null(b: Binder, record: _Row) -> None:
    row, position, _, _, a, _, _, number, _ = record
    b.position = position
    b.step(steps.test_null, b.spare, b.at(a))
    b.branch(b.spare, row == form.BRANCH_NULL, number, position)


def _branch_cast(b: Binder, record: _Row) -> None:
    row, position, _, _, a, _, _, number, target = record
    b.position = position
    b.step(steps.test_cast, b.spare, b.at(a), b.close(b.form.objects[target]))
    b.branch(b.spare, row == form.BRANCH_CAST, number, position)


_GLOBALS: dict[str, _Bind] = {"global.get": _global_get, "global.set": _global_set}
_STRUCTURE: dict[int, _Bind] = {
    form.JUMP: _jump,
    form.RETURN: _return,
    form.MOVE_ROW: _move_row,
    form.BRANCH_TABLE: _branch_table,
    **dict.fromkeys((form.BRANCH_IF, form.BRANCH_UNLESS), _branch_if),
    **dict.fromkeys((form.BRANCH_NULL, form.BRANCH_NON_NULL), _branch_null),
    **dict.fromkeys((form.BRANCH_CAST, form.BRANCH_CAST_FAIL), _branch_cast),
}


def _binding(row: int) -> _Bind:
    if row >= form.BLOCK:
        return _STRUCTURE[row]
    if form.CALLS[row]:
        return _call
    return _GLOBALS.get(TABLE[row].name, _instruction)


_BIND: dict[int, _Bind] = {row: _binding(row) for row, usual in enumerate(_USUAL) if usual == _UNUSUAL}
