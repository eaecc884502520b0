"""Blocks, branches, exceptions and ways out in the bodies of `shape_bodies`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fuzz.shape_accesses import moving_load, small_load
from fuzz.shape_types import CALLEES, REF_STRUCT, STRUCT, SUBSTRUCT, TAGS, op, unsigned
from tinywasm.codec import Cast, Catch, write_instruction
from tinywasm.instructions import BY_NAME
from tinywasm.types import ANYREF, EXNREF, FUNCREF, I32, I64, AbstractHeap, RefType, ValType

if TYPE_CHECKING:
    from fuzz.shape_bodies import Body

_SET, _TEE = op("local.set"), op("local.tee")
_END, _ELSE, _DROP = op("end"), op("else"), op("drop")
_EXN = RefType(False, AbstractHeap.EXN)
_I31 = RefType(False, AbstractHeap.I31)
# The callee that throws.
_THROWING = next(1 + n for n, callee in enumerate(CALLEES) if op("throw") in callee.code)


def _block(b: Body, results: tuple[ValType, ...]) -> None:
    taken = b.takeable()
    given = tuple(b.stack[len(b.stack) - taken :]) + results
    b.open("block", given, taken)
    b.inside(given)
    b.close(given)


def _if_else(b: Body, results: tuple[ValType, ...]) -> None:
    taken = b.takeable()
    given = tuple(b.stack[len(b.stack) - taken :]) + results
    b.condition()
    b.stack.pop()
    label = b.open("if", given, taken)
    params = b.stack[label.base :]
    b.inside(given)
    if results or b.random() < 0.5:
        b.code += _ELSE
        del b.stack[label.base :]
        b.stack += params
        b.inside(given)
    b.close(given)


def _loop(b: Body, results: tuple[ValType, ...]) -> None:
    """A loop that a counter ends, which nothing else sets."""
    if b.loops == len(b.counters):
        _block(b, results)
        return
    counter = b.counters[b.loops]
    b.loops += 1
    up = b.random() < 0.5
    b.number(I32, 0 if up else 3)
    b.set(counter)
    if b.random() < 0.4:
        _guarded_loop(b, counter, up, results)
    else:
        taken = b.takeable()
        given = tuple(b.stack[len(b.stack) - taken :])
        b.open("loop", given + results, taken)
        if b.random() < 0.7:
            b.statement()
        b.finish(given)
        _count(b, counter, up)
        b.code += op("br_if") + b"\0"
        for type in results:
            b.operand(type)
        b.close(given + results)
    b.loops -= 1


def _count(b: Body, counter: int, up: bool) -> None:
    """The counter's step, and the condition to go on: at most twice more."""
    tee = b.random() < 0.5
    b.get(counter)
    b.number(I32, 1 if up else -1)
    b.code += op("i32.add") + (_TEE if tee else _SET) + unsigned(counter)
    b.pop(1)
    if not tee:
        b.pop(1)
        if b.random() < 0.3:
            b.set_some()
        b.get(counter)
    if not up:
        number = b.random()
        if number < 0.3:
            b.code += b.pick((b"", op("i32.eqz") * 2))
        else:
            b.number(I32, 0)
            b.instruction(b.pick(("i32.ne", "i32.gt_s", "i32.gt_u")), 2, I32)
    else:
        b.number(I32, 3)
        b.instruction(b.pick(("i32.ne", "i32.lt_s", "i32.lt_u")), 2, I32)
    b.stack.pop()


def _guarded_loop(b: Body, counter: int, up: bool, results: tuple[ValType, ...]) -> None:
    """A loop with parameters that any branch inside may go back to, since it counts at its head."""
    b.open("block", results)
    params = b.pick(TAGS) if b.random() < 0.6 else ()
    params = params or tuple(b.pick_type() for _ in range(int(b.random() * 3)))
    for type in params:
        b.operand(type)
    label = b.open("loop", params, len(params))
    for type in results:
        b.operand(type)
    _count(b, counter, up)
    b.code += op("i32.eqz") + op("br_if") + b"\1"
    for _ in results:
        b.consume()
    label.closed = False
    if params in TAGS and b.random() < 0.3:
        _try_table(b, ())
    b.inside(params)
    if b.random() < 0.8:
        b.condition()
        b.stack.pop()
        b.code += op("br_if") + b"\0"
    b.close(params)
    b.finish(results)
    b.close(results)


def _try_table(b: Body, results: tuple[ValType, ...]) -> None:
    """A block around a `try_table` whose clauses come to it or go further out."""
    tag = int(b.random() * len(TAGS))
    around = [label.types for label in b.labels[1:] if label.types in TAGS and not label.closed]
    if around and b.random() < 0.6:
        tag = TAGS.index(b.pick(around))
    caught = TAGS[tag]
    ref = b.random() < 0.4
    every = b.random() < 0.25
    given = (() if every else caught) + ((_EXN,) if ref else ())
    b.open("block", results)
    b.open("block", given)
    clauses = [Catch(None if every else tag, ref, 0)]
    fitting = [
        depth
        for depth, label in enumerate(reversed(b.labels))
        if label.types == caught and depth and not label.closed
    ]
    if fitting and b.random() < 0.7:
        # Further out, back to a loop, or to the function's end.
        clauses.insert(0, Catch(tag, False, b.pick(fitting)))
    elif not results and b.random() < 0.5:
        clauses.append(Catch(None, False, 1))
    immediates = write_instruction(BY_NAME["try_table"][0], (None, clauses))[2:]
    b.open("try_table", results if b.random() < 0.5 else (), 0, immediates)
    kept = b.labels[-1].types
    b.caught.append(tag)
    if len(b.labels) < 8 and b.random() < 0.2:
        _try_table(b, ())
    elif b.random() < 0.5:
        b.statement()
    number = b.random()
    if number < 0.5:
        if b.random() < 0.5:
            b.condition()
            b.stack.pop()
            b.open("if", ())
            _throw(b, tag)
            b.close(())
        else:
            # One that a clause further out takes, or none.
            _throw(b, b.pick((tag, tag, 0, *b.caught)))
    else:
        b.operand(I32)
        b.emit("call", _THROWING)
    b.caught.pop()
    b.finish(kept)
    b.close(kept)
    if b.random() < 0.3:
        # Where the clauses do not hold any more.
        b.operand(I32)
        b.emit("call", _THROWING)
        b.consume()
    if kept != results:
        for type in results:
            b.operand(type)
    b.code += op("br") + b"\1"
    b.close(given)
    if ref:
        # Locals that can hold it are of this type.
        b.stack[-1] = EXNREF
    b.finish(results)
    b.close(results)


def _throw(b: Body, tag: int) -> None:
    if b.random() < 0.15:
        b.operand(EXNREF)
        b.code += op("throw_ref")
    else:
        for type in TAGS[tag]:
            b.operand(type)
        b.emit("throw", tag)
    cut_off(b)


def _target(b: Body) -> int | None:
    """The depth of some label that a branch may go to."""
    depth = int(b.random() * len(b.labels))
    return None if b.labels[-1 - depth].closed else depth


def _carried(b: Body, depth: int) -> None:
    """Have on the stack what a branch takes along; what is there may be it already."""
    types = b.labels[-1 - depth].types
    above = len(b.stack) - b.labels[-1].base
    if types and above >= len(types) and tuple(b.stack[-len(types) :]) == types and b.random() < 0.5:
        return
    for index, type in enumerate(types):
        if index and b.random() < 0.1:
            b.between()
        if b.random() < 0.3:
            b.constant(type)
        else:
            b.operand(type)


def _branch_if(b: Body) -> None:
    depth = _target(b)
    if depth is not None:
        branch_if(b, depth)


def branch_if(b: Body, depth: int) -> None:
    """A branch that may be taken, to a label that is not closed."""
    if b.labels[-1 - depth].closed:
        return
    before = len(b.stack)
    _carried(b, depth)
    b.condition()
    b.stack.pop()
    b.code += op("br_if") + unsigned(depth)
    while len(b.stack) > before:
        b.consume()


def use_condition(b: Body) -> None:
    """Use the topmost i32 as a condition."""
    depth = _target(b)
    if depth is not None and not b.labels[-1 - depth].types:
        b.code += op("br_if") + unsigned(depth)
        b.stack.pop()
    else:
        b.stack.pop()
        b.open("if", ())
        b.statement()
        b.finish(())
        b.close(())


def leave(b: Body) -> None:
    """Go away for good; what follows is dead, and takes operands from nowhere."""
    depth = _target(b)
    number = b.random()
    if number < 0.35 and depth is not None:
        _carried(b, depth)
        b.code += op("br") + unsigned(depth)
    elif number < 0.6 and depth is not None:
        types = b.labels[-1 - depth].types
        fitting = [
            n for n in range(len(b.labels)) if b.labels[-1 - n].types == types and not b.labels[-1 - n].closed
        ]
        _carried(b, depth)
        b.condition() if b.random() < 0.5 else b.operand(I32)
        labels = [b.pick(fitting) for _ in range(int(b.random() * 4))]
        b.emit_row(BY_NAME["br_table"][0], (tuple(labels), b.pick(fitting)))
    elif number < 0.8:
        results = b.labels[0].types
        for type in results:
            b.operand(type)
        b.code += op("return")
    elif number < 0.9:
        tail_call(b)
    elif number < 0.94:
        _throw(b, int(b.random() * len(TAGS)))
    else:
        b.code += op("unreachable")
    cut_off(b)


def _table_of_heights(b: Body) -> None:
    """A table whose labels are at several heights."""
    count = 2 + int(b.random() * 2)
    for _ in range(count):
        b.open("block", ())
        if b.random() < 0.7:
            b.operand(b.pick_type())
    b.operand(I32)
    labels = tuple(int(b.random() * count) for _ in range(int(b.random() * 4)))
    b.emit_row(BY_NAME["br_table"][0], (labels, int(b.random() * count)))
    cut_off(b)
    for _ in range(count):
        b.finish(())
        b.close(())
        if b.random() < 0.5:
            b.between()


def tail_call(b: Body) -> None:
    """A call instead of a return, where some callee returns the same; else just a return."""
    results = b.labels[0].types
    fitting = [n for n, callee in enumerate(CALLEES) if callee.results == results]
    if fitting:
        b.call_one(b.pick(fitting), "return_")
        cut_off(b)
        return
    for type in results:
        b.operand(type)
    b.code += op("return")
    cut_off(b)


def cut_off(b: Body) -> None:
    """Sometimes take operands that are not there."""
    del b.stack[b.labels[-1].base :]
    number = b.random()
    if number < 0.3:
        b.code += op(b.pick(("i32.add", "i32.eqz", "i32.lt_u", "i32.load8_u")))
        if b.code.endswith(op("i32.load8_u")):
            b.code += b"\0\0"
        b.stack.append(I32)
        b.consume()
    elif number < 0.4:
        b.code += _SET + unsigned(b.local_of(I64))


def _on_null(b: Body) -> None:
    """Branches on references; they need labels of one type or none."""
    if b.random() < 0.3:
        _taking_along(b)
        return
    b.open("block", ())
    if b.random() < 0.5:
        b.between()
    type = b.pick((REF_STRUCT, ANYREF, FUNCREF))
    if b.random() < 0.5:
        b.operand(b.pick_type())
    if b.random() < 0.5:
        local = b.local_of(type)
        if b.random() < 0.5:
            b.get(local)
        else:
            b.operand(type)
        b.code += op("br_on_null") + b"\0"
        if b.random() < 0.5:
            # The reference stays, whatever the local holds from now on.
            b.assign(local)
        if b.random() < 0.5:
            _null_test(b)
        else:
            b.consume()
        b.finish(())
        b.close(())
        return
    assert isinstance(type, RefType)
    b.open("block", (RefType(False, type.heap),))
    if b.random() < 0.4:
        b.operand(b.pick_type())
    b.operand(type)
    b.code += op("br_on_non_null") + b"\0" + op("br") + b"\1"
    b.close((RefType(False, type.heap),))
    b.stack[-1] = type
    b.finish(())
    b.close(())


def _taking_along(b: Body) -> None:
    """A branch where a reference is null, with other operands that it takes along."""
    carried = tuple(b.pick_type() for _ in range(1 + int(b.random() * 2)))
    b.open("block", carried)
    for type in carried:
        b.operand(type)
    b.operand(b.pick((REF_STRUCT, ANYREF, FUNCREF)))
    b.code += op("br_on_null") + b"\0"
    _null_test(b)
    b.finish(carried)
    b.close(carried)
    for _ in carried:
        b.consume()


def _on_cast(b: Body) -> None:
    """A branch on whether a reference has a type, with other operands taken along or not."""
    target = b.pick((RefType(False, STRUCT), RefType(True, SUBSTRUCT), _I31))
    rest = RefType(not target.nullable, AbstractHeap.ANY)
    fails = b.random() < 0.5
    taken = rest if fails else target
    carried = (b.pick_type(),) if b.random() < 0.4 else ()
    b.open("block", ())
    b.open("block", (*carried, taken))
    if b.random() < 0.4:
        b.operand(b.pick_type())
    for type in carried:
        b.operand(type)
    b.operand(ANYREF)
    b.emit_row(BY_NAME["br_on_cast_fail" if fails else "br_on_cast"][0], Cast(0, ANYREF, target))
    _null_test(b)
    while len(b.stack) > b.labels[-1].base:
        b.consume()
    b.code += op("br") + b"\1"
    b.close((*carried, taken))
    _null_test(b)
    b.finish(())
    b.close(())


def _moved(b: Body) -> None:
    """Something that depends on a load that moves its address, which operands below stand for."""
    below = len(b.stack)
    moving_load(b, 1 + int(b.random() * 2))
    if b.random() < 0.7:
        use_condition(b)
    else:
        b.instruction(b.pick(("i32.add", "i32.xor", "i32.lt_u")), 2, I32)
    while len(b.stack) > below:
        b.consume()


def _joined(b: Body) -> None:
    """A local that changes in an arm, as its last instruction or nearly, and is used right behind."""
    pointer = b.random() < 0.5
    local = b.pick(b.pointers) if pointer else b.by_type[I32][1]
    b.condition()
    b.stack.pop()
    b.open("if", ())
    b.get(local)
    b.number(I32, b.pick((1, 4, 8)))
    b.instruction("i32.add", 2, I32)
    b.set(local)
    b.close(())
    if pointer:
        small_load(b, local)
        b.consume()
        return
    b.get(local)
    if b.random() < 0.8:
        b.number(I32, int(b.random() * 9))
        b.instruction(b.pick(("i32.ne", "i32.lt_u", "i32.gt_s")), 2, I32)
    use_condition(b)


def _null_test(b: Body) -> None:
    """Use a reference of whatever type."""
    b.instruction("ref.is_null", 1, I32)
    b.consume()


def structured(b: Body, results: tuple[ValType, ...]) -> None:
    """A structured instruction that takes up to two operands from the stack."""
    b.pick(_STRUCTURED)(b, results)


_STRUCTURED: list[Callable[[Body, tuple[ValType, ...]], None]] = [
    _block, _if_else, _if_else, _if_else, _loop, _loop, _try_table,
]  # fmt: skip
STATEMENTS: list[Callable[[Body], None]] = [
    *[_branch_if] * 4, _on_null, _on_cast, _moved, _joined, _joined, _table_of_heights,
]  # fmt: skip
