"""Lowering for the python engine: a validated body becomes basic blocks of steps.

Branches are resolved here once: a block ends in one exit whose targets are blocks, and a branch that
drops operands goes through a small block that does so. `python` runs the result. Nothing is checked
again: the validator has been here.

Fuel is charged at the head of each basic block for all its instructions (`end` and `else` are no
instructions). A head is the function's entry, a loop's, both arms of an `if` and the place behind
it, the place behind a conditional branch, and the end of a block that some branch targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tinywasm import numerics
from tinywasm.code import BlockType, Cast, Catch, MemArg, instructions
from tinywasm.engine import bulk, steps
from tinywasm.engine.ir.form import MAX_LOCALS, MAX_OPERANDS
from tinywasm.errors import StackExhausted
from tinywasm.instructions import BY_NAME, TABLE, Instruction, Role
from tinywasm.interruption import watched
from tinywasm.matching import close_ref
from tinywasm.module import Expr
from tinywasm.numerics.floats import f32_from_bits, f64_from_bits
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.heap import TagInstance
from tinywasm.runtime.module import ModuleInstance
from tinywasm.runtime.profile import Profile
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
)

# Exits of a block.
GOTO, IF, UNWIND, TABLE_BRANCH, CALL, TAIL_CALL, RETURN = range(7)

# Code without loops looks at the interrupt flag after so many instructions.
MAX_UNPOLLED = 4096


class Block:
    """Steps that run one after the other, and the exit behind them.

    `next` and `target` are the exit's blocks: GOTO next; IF target when the operand is not zero, else
    next; UNWIND with `arg` (height, arity) next; TABLE_BRANCH one of the blocks `arg`, else target;
    CALL the function `arg`, or the one on the stack where it is None, and go on at next.
    `positions` are those of the steps in the code, `exit_position` the exit's. `cost` is what its head
    charges, and `charged_from` the position of the first instruction that it charges for.
    """

    __slots__ = (
        "arg", "charged_from", "cost", "exit_position", "func", "kind", "next",
        "positions", "scope", "steps", "target",
    )  # fmt: skip

    def __init__(self, func: FuncInstance | None, scope: Scope | None) -> None:
        self.func = func
        self.scope = scope
        self.steps: Any = []
        self.positions: list[int] = []
        self.kind = RETURN
        self.arg: Any = None
        # Never entered unless an exit that uses them sets them.
        self.next: Block = self
        self.target: Block = self
        self.exit_position = 0
        self.cost = 0
        self.charged_from = 0


@dataclass(slots=True, eq=False)
class Scope:
    """The clauses of a `try_table`, innermost first through `parent`.

    A clause is (tag or None for all, whether the exception goes along, target, height to cut to).
    """

    clauses: list[tuple[TagInstance | None, bool, Block, int]]
    parent: Scope | None


@dataclass(slots=True, eq=False)
class Code:
    """A lowered function: its entry and the initial values of its own locals."""

    entry: Block
    locals: list[Any]


@dataclass(slots=True, eq=False)
class _Label:
    """A control frame. `height` is the operand height below the parameters; `arity` a branch's."""

    opcode: str
    height: int
    results: int
    arity: int
    target: Block
    after: Block
    otherwise: Block | None = None
    params: int = 0
    scope: Scope | None = None
    targeted: bool = False


def default_value(storage: StorageType) -> Any:
    """The default of a defaultable type (section 4.2.1)."""
    if storage in (F32, F64):
        return 0.0
    if storage is V128:
        return bytes(16)
    return None if isinstance(storage, RefType) else 0


def lower(func: FuncInstance) -> Code:
    """Lower a Wasm function. Raises `StackExhausted` where its locals or operands cannot be held."""
    definition, instance = func.definition, func.module
    assert definition is not None and instance is not None
    if sum(count for count, _ in definition.locals) > MAX_LOCALS:
        raise StackExhausted
    values = [value for count, type in definition.locals for value in [default_value(type)] * count]
    builder = _Builder(instance, func, height=func.params + len(values))
    return Code(builder.build(definition.body, func.results), values)


def lower_constant(instance: ModuleInstance, expr: Expr) -> list[tuple[steps.Step, Any]]:
    """The steps of a constant expression; they leave its value on an empty stack."""
    block = _Builder(instance, None, height=0).build(expr, 1)
    result: list[tuple[steps.Step, Any]] = list(block.steps)
    return result


class _Builder:
    """State of lowering one body: the open block, the operand height, and the control frames."""

    def __init__(self, instance: ModuleInstance, func: FuncInstance | None, height: int) -> None:
        self.instance = instance
        self.func = func
        self.height = height
        self.max_height = height + MAX_OPERANDS
        self.scope: Scope | None = None
        self.blocks: list[Block] = []
        self.labels: list[_Label] = []
        self.position = 0
        self.unpolled = 0
        self.dead = False
        self.block = self.leader = self.new_block()
        store = instance.store
        self.metered = func is not None and store.fuel is not None
        self.profile: Profile | None = store.profile if func is not None else None

    def build(self, body: Expr, results: int) -> Block:
        entry = self.block
        if self.func is not None:
            self.poll()
        after = self.new_block()
        self.labels.append(_Label("func", self.height, results, results, after, after))
        skipped = 0
        for position, row, immediates in instructions(body.code, body.start, body.end):
            if self.dead:
                role = row.role
                if role is Role.OPENS:
                    skipped += 1
                if role not in (Role.CLOSES, Role.DIVIDES) or skipped:
                    skipped -= role is Role.CLOSES
                    continue
            self.position = position
            _LOWER[row.ordinal](self, row, immediates)
        for block in watched(self.blocks):
            self.seal(block)
        return entry

    def seal(self, block: Block) -> None:
        before = list(self.bookkeeping(block))
        block.positions[:0] = [block.charged_from] * len(before)
        block.steps = (*before, *block.steps)

    def bookkeeping(self, block: Block) -> Iterator[tuple[steps.Step, Any]]:
        """What is counted before a block's own steps."""
        record = self.profile.record(self.func) if self.profile and self.func else None
        if record and block is self.blocks[0]:
            yield steps.enter, (self.profile, record)
        if self.metered and block.cost:
            yield steps.charge, (self.instance.store, block.cost)
        if record and block.cost:
            yield steps.count, (self.profile, record, block.cost)

    # Blocks

    def new_block(self) -> Block:
        block = Block(self.func, self.scope)
        self.blocks.append(block)
        return block

    def step(self, function: steps.Step, imm: Any, pops: int, pushes: int) -> None:
        self.block.steps.append((function, imm))
        self.block.positions.append(self.position)
        self.height += pushes - pops

    def poll(self) -> None:
        self.unpolled = 0
        self.step(steps.poll, self.instance.store.backend, 0, 0)

    def count(self) -> None:
        if self.height > self.max_height:
            raise StackExhausted
        if not self.leader.cost:
            self.leader.charged_from = self.position
        self.leader.cost += 1
        self.unpolled += 1
        if self.unpolled > MAX_UNPOLLED and self.func is not None:
            self.poll()

    def enter(self, block: Block, height: int, *, lead: bool = True) -> None:
        """Go on in `block` with `height` operands."""
        self.block = block
        self.dead = False
        self.height = height
        if lead:
            self.leader = block

    def leave(
        self, kind: int, next: Block | None = None, target: Block | None = None, arg: Any = None
    ) -> None:
        """End the open block with an exit; what follows is dead until a block is entered."""
        block = self.block
        block.kind = kind
        block.arg = arg
        block.exit_position = self.position
        block.next = next or block
        block.target = target or block
        self.dead = True

    def branch_to(self, depth: int) -> Block:
        """The block that a branch to label `depth` goes to, from the present height."""
        label = self.labels[-1 - depth]
        label.targeted = True
        if self.height - label.arity == label.height or label.opcode == "func":
            return label.target
        trampoline = self.new_block()
        trampoline.kind = UNWIND
        trampoline.arg = (label.height, label.arity)
        trampoline.next = label.target
        return trampoline

    def branch_if(self, depth: int, taken_pops: int = 0) -> None:
        """Leave with a conditional branch on the operand above, which is off the height already.

        `taken_pops` operands are there only where the branch is not taken.
        """
        next_block = self.new_block()
        self.height -= taken_pops
        target = self.branch_to(depth)
        self.height += taken_pops
        self.leave(IF, next_block, target)
        self.enter(next_block, self.height)

    # Types

    def signature(self, index: int) -> FuncType:
        composite = self.instance.types[index].composite
        assert isinstance(composite, FuncType)
        return composite

    def block_arity(self, block: BlockType) -> tuple[int, int]:
        if block is None:
            return 0, 0
        if isinstance(block, int):
            signature = self.signature(block)
            return len(signature.params), len(signature.results)
        return 0, 1

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


_Lower = Callable[[_Builder, Instruction, tuple[Any, ...]], None]

# Structured control


def _open(b: _Builder, row: Instruction, block: BlockType) -> _Label:
    params, results = b.block_arity(block)
    after = b.new_block()
    loop = row.name == "loop"
    target = b.new_block() if loop else after
    label = _Label(row.name, b.height - params, results, params if loop else results, target, after)
    label.params, label.scope = params, b.scope
    b.labels.append(label)
    return label


def _block(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    _open(b, row, imm[0])


def _loop(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    label = _open(b, row, imm[0])
    b.leave(GOTO, label.target)
    b.enter(label.target, b.height)
    b.poll()


def _if(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.height -= 1
    label = _open(b, row, imm[0])
    then = b.new_block()
    label.otherwise = b.new_block()
    b.leave(IF, label.otherwise, then)
    b.enter(then, b.height)


def _else(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    label = b.labels[-1]
    if not b.dead:
        b.leave(GOTO, label.after)
    assert label.otherwise is not None
    b.enter(label.otherwise, label.height + label.params)
    label.otherwise = None
    label.targeted = True


def _end(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    label = b.labels.pop()
    b.scope = label.scope
    if label.opcode == "func":
        if not b.dead:
            b.leave(RETURN)
        label.after.kind = RETURN
        return
    if label.otherwise is not None:
        if not b.dead:
            b.leave(GOTO, label.after)
        b.enter(label.otherwise, label.height + label.params)
        label.targeted = True
    joined = label.opcode != "loop" and label.targeted
    if b.dead and not joined:
        return
    if joined or label.opcode == "try_table":
        if not b.dead:
            b.leave(GOTO, label.after)
        b.enter(label.after, label.height + label.results, lead=joined)


def _try_table(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    clauses = [_clause(b, catch) for catch in imm[1]]
    _open(b, row, imm[0])
    b.scope = Scope(clauses, b.scope)
    inside = b.new_block()
    b.leave(GOTO, inside)
    b.enter(inside, b.height, lead=False)


def _clause(b: _Builder, catch: Catch) -> tuple[TagInstance | None, bool, Block, int]:
    label = b.labels[-1 - catch.label]
    label.targeted = True
    tag = None if catch.tag is None else b.instance.tags[catch.tag]
    # The function's own label keeps no operand but the results: RETURN takes them off the top.
    return tag, catch.ref, label.target, label.height


# Branches and calls


def _unreachable(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.step(steps.unreachable, None, 0, 0)
    b.dead = True


def _throw(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    if imm:
        tag = b.instance.tags[imm[0]]
        defined = tag.type.type
        assert isinstance(defined, DefinedType) and isinstance(defined.composite, FuncType)
        b.step(steps.throw, (tag, len(defined.composite.params)), 0, 0)
    else:
        b.step(steps.throw_ref, None, 0, 0)
    b.dead = True


def _br(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.leave(GOTO, b.branch_to(imm[0]))


def _br_if(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.height -= 1
    b.branch_if(imm[0])


def _br_table(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.height -= 1
    labels, default = imm[0]
    blocks = {depth: b.branch_to(depth) for depth in {*labels, default}}
    b.leave(TABLE_BRANCH, target=blocks[default], arg=tuple(blocks[depth] for depth in labels))


def _br_on_null(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.step(steps.test_null, None, 0, 0)
    b.branch_if(imm[0], taken_pops=1)


def _br_on_non_null(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.step(steps.test_non_null, None, 0, 0)
    b.branch_if(imm[0])
    b.height -= 1


def _br_on_cast(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    cast: Cast = imm[0]
    test = steps.test_cast if row.name == "br_on_cast" else steps.test_cast_fail
    b.step(test, b.close(cast.target), 0, 0)
    b.branch_if(cast.label)


def _return(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.leave(RETURN)


def _leave_call(b: _Builder, row: Instruction, type: DefinedType, callee: FuncInstance | None) -> None:
    signature = type.composite
    assert isinstance(signature, FuncType)
    if row.name.startswith("return_"):
        b.leave(TAIL_CALL, arg=callee)
        return
    next_block = b.new_block()
    b.leave(CALL, next_block, arg=callee)
    height = b.height - len(signature.params) + len(signature.results)
    b.enter(next_block, height, lead=False)


def _call(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    callee = b.instance.funcs[imm[0]]
    _leave_call(b, row, callee.type, callee)


def _call_indirect(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    defined = b.instance.types[imm[0]]
    b.step(steps.fetch_indirect, (b.instance.tables[imm[1]], defined), 1, 0)
    _leave_call(b, row, defined, None)


def _call_ref(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.height -= 1
    _leave_call(b, row, b.instance.types[imm[0]], None)


# Plain instructions: bound to what they act on


def _plain(step: steps.Step, bind: Callable[[_Builder, Any], Any]) -> _Lower:
    """An instruction of a fixed stack effect, whose step takes what `bind` makes of its immediates."""

    def lower_plain(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
        b.count()
        b.step(step, bind(b, imm), row.takes.fixed, row.leaves.fixed)

    return lower_plain


def _nop(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()


def _ref_func(b: _Builder, imm: Any) -> Any:
    return b.instance.funcs[imm[0]]


def _nothing(b: _Builder, imm: Any) -> None:
    return None


def _first(b: _Builder, imm: Any) -> Any:
    return imm[0]


def _global(b: _Builder, imm: Any) -> Any:
    return b.instance.globals[imm[0]]


def _memory(b: _Builder, imm: Any) -> Any:
    return b.instance.memories[imm[0]]


def _table(b: _Builder, imm: Any) -> Any:
    return b.instance.tables[imm[0]]


def _memories(b: _Builder, imm: Any) -> Any:
    return b.instance.store, b.instance.memories[imm[0]], b.instance.memories[imm[1]]


def _tables(b: _Builder, imm: Any) -> Any:
    return b.instance.store, b.instance.tables[imm[0]], b.instance.tables[imm[1]]


def _store_and(bind: Callable[[_Builder, Any], Any]) -> Callable[[_Builder, Any], Any]:
    return lambda b, imm: (b.instance.store, bind(b, imm))


def _segment(b: _Builder, imm: Any) -> Any:
    return b.instance, imm[0]


def _struct_size(struct: StructType) -> int:
    return sum(16 if field.storage is V128 else 8 for field in struct.fields)


def _struct_new(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    defined, struct = b.struct(imm[0])
    masks = tuple(bulk.storage_mask(field.storage) for field in struct.fields)
    b.step(bulk.struct_new, (b.instance.store, defined, _struct_size(struct), masks), len(masks), 1)


def _struct_new_default(b: _Builder, imm: Any) -> Any:
    defined, struct = b.struct(imm[0])
    values = tuple(default_value(field.storage) for field in struct.fields)
    return b.instance.store, defined, _struct_size(struct), values


def _struct_width(b: _Builder, imm: Any) -> Any:
    storage = b.struct(imm[0])[1].fields[imm[1]].storage
    return imm[1], storage.value if isinstance(storage, PackedType) else 0


def _struct_mask(b: _Builder, imm: Any) -> Any:
    return imm[1], bulk.storage_mask(b.struct(imm[0])[1].fields[imm[1]].storage)


def _array_mask(b: _Builder, imm: Any) -> int:
    return bulk.storage_mask(b.array(imm[0])[1])


def _array_width(b: _Builder, imm: Any) -> int:
    storage = b.array(imm[0])[1]
    return storage.value if isinstance(storage, PackedType) else 0


def _array_new(b: _Builder, imm: Any) -> Any:
    return b.instance.store, *b.array(imm[0])


def _array_new_default(b: _Builder, imm: Any) -> Any:
    defined, storage = b.array(imm[0])
    return b.instance.store, defined, bulk.storage_size(storage), default_value(storage)


def _array_new_fixed(b: _Builder, row: Instruction, imm: tuple[Any, ...]) -> None:
    b.count()
    b.step(bulk.array_new_fixed, (*_array_new(b, imm), imm[1]), imm[1], 1)


def _array_storage(b: _Builder, imm: Any) -> Any:
    return b.instance.store, b.array(imm[0])[1]


def _array_new_data(b: _Builder, imm: Any) -> Any:
    return b.instance, *b.array(imm[0]), imm[1]


def _array_new_elem(b: _Builder, imm: Any) -> Any:
    return b.instance, b.instance.types[imm[0]], imm[1]


def _array_init_data(b: _Builder, imm: Any) -> Any:
    return b.instance, b.array(imm[0])[1], imm[1]


def _wanted(b: _Builder, imm: Any) -> RefType:
    return b.close(imm[0])


def _mask(bits: int) -> Callable[[_Builder, Any], int]:
    return lambda b, imm: imm[0] & ((1 << bits) - 1)


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
    "throw_ref": _throw,
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
    "drop": _plain(steps.drop, _nothing),
    "select": _plain(steps.select, _nothing),
    "local.get": _plain(steps.local_get, _first),
    "local.set": _plain(steps.local_set, _first),
    "local.tee": _plain(steps.local_tee, _first),
    "global.get": _plain(steps.global_get, _global),
    "global.set": _plain(steps.global_set, _global),
    "table.get": _plain(steps.table_get, _table),
    "table.set": _plain(steps.table_set, _table),
    "table.size": _plain(steps.table_size, _table),
    "table.grow": _plain(bulk.table_grow, _store_and(_table)),
    "table.fill": _plain(bulk.table_fill, _store_and(_table)),
    "table.copy": _plain(bulk.table_copy, _tables),
    "table.init": _plain(bulk.table_init, lambda b, imm: (b.instance, imm[0], b.instance.tables[imm[1]])),
    "elem.drop": _plain(steps.elem_drop, _segment),
    "memory.size": _plain(steps.memory_size, _memory),
    "memory.grow": _plain(steps.memory_grow, _memory),
    "memory.fill": _plain(bulk.memory_fill, _store_and(_memory)),
    "memory.copy": _plain(bulk.memory_copy, _memories),
    "memory.init": _plain(bulk.memory_init, lambda b, imm: (b.instance, imm[0], b.instance.memories[imm[1]])),
    "data.drop": _plain(steps.data_drop, _segment),
    "i32.const": _plain(steps.constant, _mask(32)),
    "i64.const": _plain(steps.constant, _mask(64)),
    "f32.const": _plain(steps.constant, lambda b, imm: f32_from_bits(imm[0])),
    "f64.const": _plain(steps.constant, lambda b, imm: f64_from_bits(imm[0])),
    "v128.const": _plain(steps.constant, _first),
    "ref.null": _plain(steps.constant, _nothing),
    "ref.func": _plain(steps.constant, _ref_func),
    "ref.is_null": _plain(steps.ref_is_null, _nothing),
    "ref.as_non_null": _plain(steps.ref_as_non_null, _nothing),
    "ref.eq": _plain(steps.ref_eq, _nothing),
    "ref.test": _plain(steps.ref_test, _wanted),
    "ref.cast": _plain(steps.ref_cast, _wanted),
    "ref.i31": _plain(steps.ref_i31, _nothing),
    "i31.get_s": _plain(steps.i31_get_s, _nothing),
    "i31.get_u": _plain(steps.i31_get_u, _nothing),
    # Both sides share one representation, see `runtime.heap.heap_type_of`.
    "any.convert_extern": _nop,
    "extern.convert_any": _nop,
    "struct.new": _struct_new,
    "struct.new_default": _plain(bulk.struct_new_default, _struct_new_default),
    "struct.get": _plain(steps.struct_get, _struct_width),
    "struct.get_s": _plain(steps.struct_get_s, _struct_width),
    "struct.get_u": _plain(steps.struct_get, _struct_width),
    "struct.set": _plain(steps.struct_set, _struct_mask),
    "array.new": _plain(bulk.array_new, _array_new),
    "array.new_default": _plain(bulk.array_new_default, _array_new_default),
    "array.new_fixed": _array_new_fixed,
    "array.new_data": _plain(bulk.array_new_data, _array_new_data),
    "array.new_elem": _plain(bulk.array_new_elem, _array_new_elem),
    "array.get": _plain(steps.array_get, _array_mask),
    "array.get_s": _plain(steps.array_get_s, _array_width),
    "array.get_u": _plain(steps.array_get, _array_mask),
    "array.set": _plain(steps.array_set, _array_mask),
    "array.len": _plain(steps.array_len, _nothing),
    "array.fill": _plain(bulk.array_fill, _array_storage),
    "array.copy": _plain(bulk.array_copy, _array_storage),
    "array.init_data": _plain(bulk.array_init_data, _array_init_data),
    "array.init_elem": _plain(bulk.array_init_elem, lambda b, imm: (b.instance, imm[1])),
}


def _numeric(row: Instruction) -> _Lower:
    operator = numerics.OPERATORS[row.operator or ""]
    taken = row.takes.fixed
    if row.immediates:
        step: steps.Step = steps.unary_lane if taken == 1 else steps.binary_lane
        return _plain(step, lambda b, imm: (operator, imm[0]))
    if row.leaves.fixed > 1:
        return _plain(steps.several, lambda b, imm: (operator, taken))
    step = (steps.unary, steps.binary, steps.ternary)[taken - 1]
    return _plain(step, lambda b, imm: operator)


def _place(b: _Builder, imm: Any) -> Any:
    argument: MemArg = imm[0]
    return b.instance.memories[argument.memory], argument.offset, *imm[1:]


def _handler(row: Instruction) -> _Lower:
    if row.operator is not None:
        return _numeric(row)
    step = steps.LOADS_AND_STORES.get(row.name)
    if step is not None:
        return _plain(step, _place)
    return _HAND[row.name]


_LOWER: list[_Lower] = [_handler(row) for row in TABLE]
assert set(_HAND) | set(steps.LOADS_AND_STORES) <= set(BY_NAME)
