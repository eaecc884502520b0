"""From the intermediate form to the steps of the python engine, bound to what they act on in an instance.

An activation's frame is a list: the temporaries, each at its height, one more for verdicts and callees,
then the locals. A block of the form becomes one or, where it calls, several of `Block`, which end in one
exit whose targets are blocks. `python` runs the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinywasm import numerics
from tinywasm.engine import bulk, steps
from tinywasm.engine.ir import form
from tinywasm.engine.ir.build import build, build_expression
from tinywasm.engine.ir.form import STRIDE, Form
from tinywasm.engine.ir.rows import FIRST_KIND, OBJECT, SECOND_KIND
from tinywasm.instructions import TABLE, Instruction, Role
from tinywasm.interruption import watched
from tinywasm.matching import close_ref
from tinywasm.module import Expr
from tinywasm.numerics.floats import f32_from_bits, f64_from_bits
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.instance import ModuleInstance
from tinywasm.runtime.storage import Tag
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
GOTO, IF, TABLE_BRANCH, CALL, TAIL_CALL, RETURN = range(6)

# Code without loops looks at the interrupt flag after so many steps.
MAX_UNPOLLED = 4096


class Block:
    """Steps that run one after the other, and the exit behind them.

    `next` and `target` are the exit's blocks: GOTO next; IF target when what is at `place` is not zero, else
    next; TABLE_BRANCH one of the blocks `arg`, else target; CALL the function `arg`, or the one at `place`
    where it is None, with what is at `operands`, and go on at next, with its results at `results`; RETURN
    what is at `operands`. `positions` are those of the steps in the code, `exit_position` the exit's.
    """

    __slots__ = (
        "arg", "exit_position", "func", "kind", "next", "operands", "place",
        "positions", "results", "scope", "steps", "target",
    )  # fmt: skip

    def __init__(self, func: FuncInstance | None) -> None:
        self.func = func
        self.scope: Scope | None = None
        self.steps: Any = []
        self.positions: list[int] = []
        self.kind = GOTO
        self.arg: Any = None
        self.place = 0
        self.operands: Sequence[int] = ()
        self.results: Sequence[int] = ()
        # Never entered unless an exit that uses them sets them.
        self.next: Block = self
        self.target: Block = self
        self.exit_position = 0


@dataclass(slots=True, eq=False)
class Scope:
    """The clauses of a `try_table`, innermost first through `parent`.

    A clause is (tag or None for all, whether the exception goes along, target, places of the values).
    """

    clauses: list[tuple[Tag | None, bool, Block, list[int]]]
    parent: Scope | None


@dataclass(slots=True, eq=False)
class Code:
    """A function that can run: its entry, and its frame at the beginning, with the first local's place."""

    entry: Block
    frame: list[Any]
    locals: int


def default_value(storage: StorageType) -> Any:
    """The default of a defaultable type (section 4.2.1)."""
    if storage in (F32, F64):
        return 0.0
    if storage is V128:
        return bytes(16)
    return None if isinstance(storage, RefType) else 0


def bind(func: FuncInstance) -> Code:
    """Make a Wasm function ready. Raises `StackExhausted` where its locals or operands cannot be held."""
    definition, instance = func.definition, func.module
    assert definition is not None and instance is not None
    code = build(instance.context, func.index, definition)
    locals: list[Any] = [None] * func.params
    for count, type in definition.locals:
        locals += [default_value(type)] * count
    return Binder(instance, func, code).run(locals)


def bind_constant(instance: ModuleInstance, expr: Expr, type: ValType) -> Code:
    """Make a constant expression ready."""
    return Binder(instance, None, build_expression(instance.context, expr, type)).run([])


class Binder:
    """State of binding one body: the open block, and the blocks of the form by their numbers."""

    def __init__(self, instance: ModuleInstance, func: FuncInstance | None, code: Form) -> None:
        self.instance = instance
        self.func = func
        self.form = code
        self.spare = code.heights
        self.first_local = code.heights + 1
        self.blocks = [Block(func) for _ in range(code.blocks)]
        self.begun = [False] * code.blocks
        # Blocks that are looped to, which poll.
        self.heads: set[Block] = set()
        # What a block does before its own steps, and the position that this has.
        self.lead: dict[Block, tuple[list[tuple[steps.Step, Any]], int]] = {}
        # A conditional branch whose other way is the next block, and whether that is where it does not hold.
        self.waiting: tuple[Block, bool] | None = None
        self.all: list[Block] = []
        self.scopes = self.regions()
        self.block = Block(func)
        self.ended = True
        self.position = 0
        self.unpolled = 0
        store = instance.store
        self.metered = func is not None and store.fuel is not None
        self.profile = store.profile if func is not None else None

    def run(self, locals: list[Any]) -> Code:
        code = self.form.code
        for start in watched(range(0, len(code), STRIDE)):
            self.record(code, start)
        entry = self.blocks[code[form.IMMEDIATE]]
        for block in self.all:
            before, position = self.lead.get(block, ([], block.exit_position))
            if self.func is not None and (block is entry or block in self.heads):
                before = [*before, (steps.poll, self.instance.store.backend)]
            block.positions[:0] = [position] * len(before)
            block.steps = (*before, *block.steps)
        return Code(entry, [None] * self.first_local + locals, self.first_local)

    def regions(self) -> list[Scope]:
        scopes: list[Scope] = []
        for region in self.form.regions:
            clauses = []
            for clause in region.clauses:
                places, height = [], clause.height
                for width in clause.widths:
                    places.append(height)
                    height += width
                tag = None if clause.tag is None else self.instance.tags[clause.tag]
                clauses.append((tag, clause.reference, self.blocks[clause.block], places))
            scopes.append(Scope(clauses, scopes[region.parent] if region.parent >= 0 else None))
        return scopes

    # Places

    def at(self, place: int) -> int:
        """Where in the frame a local or a temporary is."""
        number = place >> form.NUMBER
        return number if place & form.KIND == form.TEMPORARY else self.first_local + number

    def value(self, place: int) -> Any:
        """A constant's value."""
        number = place >> form.NUMBER
        bits, kind = self.form.constants[number], self.form.kinds[number]
        if kind == form.CONST_I64:
            return bits & 0xFFFFFFFFFFFFFFFF
        if kind == form.CONST_F32:
            return f32_from_bits(bits)
        if kind == form.CONST_F64:
            return f64_from_bits(bits & 0xFFFFFFFFFFFFFFFF)
        return (
            self.form.objects[bits] if kind == form.CONST_V128 else None if kind == form.CONST_NULL else bits
        )

    def brought(self, places: Sequence[int], height: int) -> list[int]:
        """Where operands are that begin at a height; constants are put to theirs, where nothing else is."""
        found = []
        for place in places:
            if place & form.KIND == form.CONSTANT:
                self.step(steps.put, (height, self.value(place)))
                found.append(height)
            else:
                found.append(self.at(place))
            height += 1 + (place >> 2 & 1)
        return found

    # Blocks

    def step(self, function: steps.Step, imm: Any) -> None:
        block = self.block
        self.unpolled += 1
        if self.unpolled > MAX_UNPOLLED and self.func is not None:
            self.unpolled = 0
            block.steps.append((steps.poll, self.instance.store.backend))
            block.positions.append(self.position)
        block.steps.append((function, imm))
        block.positions.append(self.position)

    def leave(self, kind: int) -> Block:
        """End the open block with an exit."""
        block = self.block
        block.kind = kind
        block.exit_position = self.position
        self.ended = True
        return block

    def open(self, block: Block) -> None:
        self.block = block
        self.ended = False
        self.all.append(block)

    def begin(self, number: int, region: int, head: int, fuel: int) -> None:
        block = self.blocks[number]
        if self.waiting is not None:
            branching, when = self.waiting
            self.waiting = None
            if when:
                branching.next = block
            else:
                branching.target = block
        elif not self.ended:
            self.leave(GOTO).next = block
        self.begun[number] = True
        block.scope = self.scopes[region] if region >= 0 else None
        record = self.profile.record(self.func) if self.profile and self.func else None
        lead: list[tuple[steps.Step, Any]] = []
        if record and not self.all:
            lead.append((steps.enter, (self.profile, record)))
        self.open(block)
        if head and fuel:
            if self.metered:
                lead.append((steps.charge, (self.instance.store, fuel)))
            if record:
                lead.append((steps.count, (self.profile, record, fuel)))
        if lead:
            self.lead[block] = lead, self.position

    def reach(self, number: int) -> Block:
        """The block that a branch goes to."""
        block = self.blocks[number]
        if self.begun[number]:
            self.heads.add(block)
        return block

    # Records

    def record(self, code: Sequence[int], start: int) -> None:
        row = code[start]
        self.position = code[start + 1]
        a, immediate, second = code[start + 4], code[start + 7], code[start + 8]
        if row == form.MOVE:
            self.move(code[start + 3], a)
        elif row < form.BLOCK:
            _BIND[row](self, TABLE[row], form.Record(*code[start : start + STRIDE]))
        elif row == form.BLOCK:
            self.begin(immediate, a, code[start + 5], second)
        elif row == form.JUMP:
            self.leave(GOTO).next = self.reach(immediate)
        elif row in (form.BRANCH_IF, form.BRANCH_UNLESS):
            (place,) = self.brought([a], code[start + 2])
            self.branch(place, row == form.BRANCH_IF, immediate)
        elif row == form.RETURN:
            operands = self.brought(self.form.lists[a : a + code[start + 5]], code[start + 2])
            self.leave(RETURN).operands = operands
        elif row == form.BRANCH_TABLE:
            (place,) = self.brought([a], code[start + 2])
            blocks = [self.reach(number) for number in self.form.lists[immediate : immediate + second]]
            block = self.leave(TABLE_BRANCH)
            block.place, block.arg, block.target = place, tuple(blocks[:-1]), blocks[-1]
        else:
            self.branch_reference(row, a, code[start + 2], immediate, second)

    def branch(self, place: int, when: bool, number: int) -> None:
        block = self.leave(IF)
        block.place = place
        if when:
            block.target = self.reach(number)
        else:
            block.next = self.reach(number)
        self.waiting = block, when

    def go_on(self, block: Block) -> None:
        block.scope = self.block.scope
        self.open(block)

    def branch_reference(self, row: int, a: int, height: int, immediate: int, second: int) -> None:
        (place,) = self.brought([a], height)
        if row in (form.BRANCH_NULL, form.BRANCH_NON_NULL):
            self.step(steps.test_null, (self.spare, place))
            self.branch(self.spare, row == form.BRANCH_NULL, immediate)
        else:
            self.step(steps.test_cast, (self.spare, place, self.close(self.form.objects[second])))
            self.branch(self.spare, row == form.BRANCH_CAST, immediate)

    def move(self, result: int, place: int) -> None:
        if place & form.KIND == form.CONSTANT:
            self.step(steps.put, (self.at(result), self.value(place)))
        else:
            self.step(steps.move, (self.at(result), self.at(place)))

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
        """The immediates as `code` reads them."""
        found: list[Any] = [record.immediate, record.second][: len(row.immediates)]
        for number, kinds in enumerate((FIRST_KIND, SECOND_KIND)):
            if kinds[row.ordinal] == OBJECT:
                found[number] = self.form.objects[found[number]]
        return tuple(found)


_Bind = Callable[[Binder, Instruction, form.Record], None]

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
    return tag, len(defined.composite.params)


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
    "throw_ref": (steps.throw_ref, _nothing),
    "unreachable": (steps.unreachable, _nothing),
}


def _on_frame(b: Binder, row: Instruction, record: form.Record) -> None:
    step, bound = _ON_FRAME[row.name]
    operands = b.brought(form.operands(b.form, record), record.base)
    results = [b.at(place) for place in form.results(b.form, record)]
    b.step(step, (bound(b, b.immediates(row, record)), *results, *operands))


def _on_stack(b: Binder, row: Instruction, record: form.Record) -> None:
    step, bound = _ON_STACK[row.name]
    operands = b.brought(form.operands(b.form, record), record.base)
    results = [b.at(place) for place in form.results(b.form, record)]
    imm = step, bound(b, b.immediates(row, record)), operands
    if results:
        b.step(steps.with_result, (*imm, results[0]))
    else:
        b.step(steps.without_result, imm)
    b.ended = row.role is Role.LEAVES


def _numeric(b: Binder, row: Instruction, record: form.Record) -> None:
    operator = numerics.OPERATORS[row.operator or ""]
    places = form.operands(b.form, record)
    result = b.at(record.result)
    if row.immediates:
        imm = operator, result, *b.brought(places, record.base), b.immediates(row, record)[0]
        b.step(steps.unary_lane if len(places) == 1 else steps.binary_lane, imm)
    elif row.leaves.fixed > 1:
        b.step(steps.several, (operator, result, b.brought(places, record.base)))
    elif len(places) == 2 and places[1] & form.KIND == form.CONSTANT:
        (first,) = b.brought(places[:1], record.base)
        b.step(steps.binary_constant, (operator, result, first, b.value(places[1])))
    else:
        step = (steps.unary, steps.binary, steps.ternary)[len(places) - 1]
        b.step(step, (operator, result, *b.brought(places, record.base)))


def _access(b: Binder, row: Instruction, record: form.Record) -> None:
    memory, lane = b.instance.memories[record.second & 0xFFFFFFFF], record.second >> 32
    operands = b.brought(form.operands(b.form, record), record.base)
    offset = record.immediate & 0xFFFFFFFFFFFFFFFF
    result = [b.at(record.result)] if row.results else []
    lanes = [lane] if len(row.immediates) == 2 else []
    b.step(steps.LOADS_AND_STORES[row.name], (memory, offset, *lanes, *result, *operands))


def _select(b: Binder, row: Instruction, record: form.Record) -> None:
    operands = b.brought([record.a, record.b, record.c], record.base)
    b.step(steps.select, (b.at(record.result), *operands))


def _global_get(b: Binder, row: Instruction, record: form.Record) -> None:
    b.step(steps.global_get, (b.at(record.result), b.instance.globals[record.immediate]))


def _global_set(b: Binder, row: Instruction, record: form.Record) -> None:
    (place,) = b.brought([record.a], record.base)
    b.step(steps.global_set, (b.instance.globals[record.immediate], place))


def _function(b: Binder, row: Instruction, record: form.Record) -> None:
    b.step(steps.put, (b.at(record.result), b.instance.funcs[record.immediate]))


def _call(b: Binder, row: Instruction, record: form.Record) -> None:
    """A call: the function is known, or at the spare place."""
    places = list(b.form.lists[record.a : record.a + record.b])
    named = bool(row.takes.fixed)
    operands = b.brought([*places, record.c] if named else places, record.base)
    callee = None
    place = operands.pop() if named else 0
    if row.takes.repeated == "func":
        callee = b.instance.funcs[record.immediate]
    elif len(row.immediates) == 2:
        table = b.instance.tables[record.second & 0xFFFFFFFF]
        b.step(steps.fetch_indirect, (table, b.instance.types[record.immediate], place, b.spare))
        place = b.spare
    tail = row.role is Role.LEAVES
    block = b.leave(TAIL_CALL if tail else CALL)
    block.arg, block.place, block.operands = callee, place, operands
    if not tail:
        block.results = [b.at(each) for each in form.results(b.form, record)]
        block.next = Block(b.func)
        b.go_on(block.next)


_OTHERS: dict[str, _Bind] = {
    "select": _select,
    "global.get": _global_get,
    "global.set": _global_set,
    "ref.func": _function,
    **dict.fromkeys(("call", "call_indirect", "call_ref"), _call),
    **dict.fromkeys(("return_call", "return_call_indirect", "return_call_ref"), _call),
}


def _binding(row: Instruction) -> _Bind | None:
    if row.operator is not None:
        return _numeric
    if row.name in steps.LOADS_AND_STORES:
        return _access
    if row.name in _ON_FRAME:
        return _on_frame
    return _on_stack if row.name in _ON_STACK else _OTHERS.get(row.name)


# None for what the form has other records for.
_BIND: list[Any] = [_binding(row) for row in TABLE]
