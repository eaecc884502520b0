"""Structured control, branches, calls, and exceptions of generated bodies."""

from __future__ import annotations

from collections.abc import Sequence

from fuzz.generator_code import CLOSED, Body, producer, statement
from tinywasm.codec import Catch
from tinywasm.types import (
    EXNREF,
    I32,
    AbstractHeap,
    FuncType,
    RefType,
    ValType,
)

EXN = RefType(False, AbstractHeap.EXN)


# Blocks of one result, or none


def _fill(b: Body, wanted: Sequence[ValType]) -> None:
    """What stands in a block or an arm: statements and the results, or a way out."""
    b.statements(3)
    if b.env.chance(0.15):
        diverge(b)
    else:
        b.values(wanted)


def _block_of(b: Body, results: tuple[ValType, ...]) -> None:
    block = results[0] if results else None
    kind = b.rng.randrange(4)
    if kind == 0:
        ready = b.open("block", block, results)
        _fill(b, results)
        b.close(ready)
    elif kind == 1:
        _loop(b, block, (), results)
    elif kind == 2:
        b.value(I32)
        ready = b.open("if", block, results)
        _fill(b, results)
        if results or b.env.chance(0.6):
            b.otherwise(ready)
            _fill(b, results)
        b.close(ready)
    else:
        try_block(b, results)


def _loop(
    b: Body, block: ValType | int | None, params: tuple[ValType, ...], results: tuple[ValType, ...]
) -> None:
    """A loop that mostly counts down a local, lest all go on until the budget is used up."""
    counter = b.add_local(I32)
    b.number_of(I32, b.rng.randrange(8))
    b.set_local(counter)
    ready = b.open("loop", block, params)
    b.tick()
    b.discard(params)
    b.statements(3)
    if b.env.chance(0.8):
        b.values(params)
        if b.env.chance(0.9):
            b.emit("local.get", counter)
            b.number_of(I32, 1)
            b.emit("i32.sub")
            b.emit("local.tee", counter)
            b.number_of(I32, 0)
            b.emit("i32.gt_s")
        else:
            b.value(I32)
        b.emit("br_if", 0)
        b.discard(params)
    b.values(results)
    b.close(ready)


@producer(7)
def _structured(b: Body, wanted: ValType) -> bool:
    _block_of(b, (wanted,))
    return True


@statement(7)
def _structured_statement(b: Body) -> bool:
    _block_of(b, ())
    return True


def _typed_block(b: Body, type: int) -> None:
    """A block whose type is an index, with parameters."""
    params, results = b.env.params(type), b.env.results(type)
    b.values(params)
    kind = b.env.pick(["block", "loop", "if", "try_table"])
    if kind == "loop":
        _loop(b, type, params, results)
        return
    if kind == "if":
        b.value(I32)
    catches = [_clauses(b)] if kind == "try_table" else []
    ready = b.open(kind, type, results, *catches)
    b.discard(params)
    _fill(b, results)
    if kind == "if" and (params != results or b.env.chance(0.7)):
        b.otherwise(ready)
        b.discard(params)
        _fill(b, results)
    b.close(ready)


@producer(2)
def _typed_block_value(b: Body, wanted: ValType) -> bool:
    found = _types_with(b, wanted)
    if found is None:
        return False
    _typed_block(b, found)
    _keep_wanted(b, b.env.results(found), wanted)
    return True


@statement(2)
def _typed_block_statement(b: Body) -> bool:
    type = b.env.pick(b.env.of_kind(FuncType))
    _typed_block(b, type)
    b.discard(b.env.results(type))
    return True


def _types_with(b: Body, wanted: ValType) -> int | None:
    """A function type that has a result of the wanted type."""
    env = b.env
    return env.some(
        index
        for index in env.of_kind(FuncType)
        if any(env.matches(each, wanted) for each in env.results(index))
    )


def _keep_wanted(b: Body, results: Sequence[ValType], wanted: ValType) -> None:
    b.keep(results, b.env.pick([i for i, each in enumerate(results) if b.env.matches(each, wanted)]))


# Branches


@producer(2)
def _br_if(b: Body, wanted: ValType) -> bool:
    label = b.env.some(
        depth
        for depth, types in enumerate(reversed(b.labels))
        if len(types) == 1 and b.env.matches(types[0], wanted)
    )
    if label is None:
        return False
    b.value(b.labels[-1 - label][0])
    b.value(I32)
    b.emit("br_if", label)
    return True


@statement(3)
def _br_if_statement(b: Body) -> bool:
    label = b.rng.randrange(len(b.labels))
    types = b.labels[-1 - label]
    b.values(types)
    b.value(I32)
    b.emit("br_if", label)
    b.discard(types)
    return True


@statement(2)
def _br_table_statement(b: Body) -> bool:
    """Nested blocks, the way compilers write a switch."""
    count = 1 + b.rng.randrange(4)
    readies = [b.open("block", None, ()) for _ in range(count)]
    b.value(I32)
    targets = [b.rng.randrange(count) for _ in range(b.rng.randrange(6))]
    b.emit("br_table", (tuple(targets), b.rng.randrange(count)))
    for ready in reversed(readies):
        b.close(ready)
        b.statements(2)
        if b.env.chance(0.3):
            _br_if_statement(b)
    return True


@producer(1)
def _br_table_value(b: Body, wanted: ValType) -> bool:
    """Several blocks of the same type and a branch to any of them, with a value."""
    count = 1 + b.rng.randrange(3)
    readies = [b.open("block", wanted, (wanted,)) for _ in range(count)]
    b.value(wanted)
    b.value(I32)
    targets = [b.rng.randrange(count) for _ in range(b.rng.randrange(4))]
    b.emit("br_table", (tuple(targets), b.rng.randrange(count)))
    for ready in reversed(readies):
        b.close(ready)
        if b.env.chance(0.5):
            b.discard([wanted])
            b.value(wanted)
    return True


# Ways out, behind which code is dead


def diverge(b: Body) -> None:
    """Leave for somewhere else; sometimes with dead code behind."""
    ways = [
        _br_out,
        _br_out,
        _br_out,
        _return,
        _throw,
        _throw,
        _throw_ref,
        _tail_call,
        _tail_call,
        _br_table_out,
    ]
    if b.env.chance(0.05) or not b.env.pick(ways)(b):
        if b.env.chance(0.5):
            b.emit("unreachable")
        else:
            _br_out(b)
    if b.env.chance(0.4):
        _dead_code(b)


def _dead_code(b: Body) -> None:
    """Whatever fits an empty polymorphic stack, its own results dropped."""
    for _ in range(1 + b.rng.randrange(3)):
        row = b.env.pick(CLOSED)
        if row.immediates or b.env.chance(0.3):
            b.statement()
            continue
        b.emit_row(row)
        b.discard(row.results)
    if b.env.chance(0.3):
        # Operands of unknown types, which only dead code can have.
        b.emit("select")
        b.emit(b.env.pick(["ref.is_null", "ref.as_non_null", "nop"]))
        b.emit("drop")


def _br_out(b: Body) -> bool:
    label = b.rng.randrange(len(b.labels))
    b.values(b.labels[-1 - label])
    b.emit("br", label)
    return True


def _return(b: Body) -> bool:
    b.values(b.signature.results)
    b.emit("return")
    return True


def _br_table_out(b: Body) -> bool:
    default = b.rng.randrange(len(b.labels))
    types = b.labels[-1 - default]
    same = [
        depth
        for depth, others in enumerate(reversed(b.labels))
        if len(others) == len(types) and all(map(b.env.exact, types, others))
    ]
    b.values(types)
    b.value(I32)
    b.emit("br_table", (tuple(b.env.pick(same) for _ in range(b.rng.randrange(5))), default))
    return True


def _tail_call(b: Body) -> bool:
    env = b.env
    kind = b.rng.randrange(3)
    if kind == 0:
        wanted = b.signature.results

        def fits(type: FuncType) -> bool:
            return len(type.results) == len(wanted) and all(map(env.matches, type.results, wanted))

        found = env.func_with(fits, b.index)
        if found is None:
            return False
        b.values(env.params(env.funcs[found]))
        b.emit("return_call", found)
        return True
    type = env.some(
        index
        for index in env.of_kind(FuncType)
        if len(env.results(index)) == len(b.signature.results)
        and all(map(env.matches, env.results(index), b.signature.results))
    )
    if type is None:
        return False
    _by_reference(b, type, "return_call", indirect=kind == 1)
    return True


# Calls


@producer(4)
def _call(b: Body, wanted: ValType) -> bool:
    env = b.env
    found = env.func_with(lambda type: any(env.matches(each, wanted) for each in type.results), b.index)
    if found is None:
        return False
    b.values(env.params(env.funcs[found]))
    b.emit("call", found)
    _keep_wanted(b, env.results(env.funcs[found]), wanted)
    return True


@statement(4)
def _call_statement(b: Body) -> bool:
    found = b.env.func_with(lambda type: True, b.index)
    assert found is not None
    type = b.env.funcs[found]
    b.values(b.env.params(type))
    b.emit("call", found)
    b.discard(b.env.results(type))
    return True


@producer(3)
def _call_by_reference(b: Body, wanted: ValType) -> bool:
    type = _types_with(b, wanted)
    if type is None:
        return False
    _by_reference(b, type, "call", indirect=b.env.chance(0.5))
    _keep_wanted(b, b.env.results(type), wanted)
    return True


@statement(2)
def _call_by_reference_statement(b: Body) -> bool:
    type = b.env.pick(b.env.of_kind(FuncType))
    _by_reference(b, type, "call", indirect=b.env.chance(0.5))
    b.discard(b.env.results(type))
    return True


def _by_reference(b: Body, type: int, call: str, *, indirect: bool) -> None:
    """A `call_indirect` or a `call_ref`, or the tail calls of the same names."""
    env = b.env
    b.values(env.params(type))
    tables = [i for i, each in enumerate(env.tables) if env.top(each.element) is AbstractHeap.FUNC]
    table = env.pick(tables)
    address = env.tables[table].address
    slots = [slot for slot, each in env.slots.get(table, {}).items() if each == type]
    if not indirect or (not slots and env.chance(0.8)):
        b.value(RefType(env.chance(0.05), type))
        b.emit(f"{call}_ref", type)
        return
    if slots and env.chance(0.9):
        b.number_of(address, env.pick(slots))
    else:
        b.small(address, 8)
    b.emit(f"{call}_indirect", type, table)


# Exceptions


def _clauses(b: Body) -> tuple[Catch, ...]:
    """Clauses to labels that already take what a clause brings."""
    found = []
    for label, types in enumerate(reversed(b.labels)):
        for tag, type in enumerate(b.env.tags):
            for ref in (False, True):
                brought = (*b.env.params(type), *([EXN] if ref else []))
                if len(brought) == len(types) and all(map(b.env.matches, brought, types)):
                    found.append(Catch(tag, ref, label))
        if not types:
            found.append(Catch(None, False, label))
        elif len(types) == 1 and b.env.matches(EXN, types[0]):
            found.append(Catch(None, True, label))
    b.rng.shuffle(found)
    return tuple(found[: b.rng.randrange(4)])


def try_block(b: Body, results: tuple[ValType, ...]) -> None:
    """A `try_table` with a block of its own for one clause."""
    block = results[0] if results else None
    env = b.env
    catch, brought = _own_clause(b)
    outer = b.open("block", block, results)
    landing = brought[0] if len(brought) == 1 else _type_of(b, brought) if brought else None
    inner = b.open("block", landing, brought)
    clauses = list(_clauses(b))
    clauses.insert(b.rng.randrange(len(clauses) + 1), catch)
    ready = b.open("try_table", block, results, tuple(clauses))
    b.statements(2)
    if env.chance(0.5):
        b.value(I32)
        thrown = b.open("if", None, ())
        _throw(b)
        b.close(thrown)
    _fill(b, results)
    b.close(ready)
    b.emit("br", 1)
    b.close(inner)
    if brought and brought[-1] == EXN and env.chance(0.3):
        b.emit("throw_ref")
    else:
        b.discard(brought)
        b.values(results)
    b.close(outer)


def _own_clause(b: Body) -> tuple[Catch, tuple[ValType, ...]]:
    """A clause to label 0 and the types that it brings."""
    if b.env.tags and b.env.chance(0.7):
        tag = b.rng.randrange(len(b.env.tags))
        params = b.env.params(b.env.tags[tag])
        if b.env.chance(0.5) and _type_of(b, (*params, EXN)) is not None:
            return Catch(tag, True, 0), (*params, EXN)
        if len(params) < 2 or _type_of(b, params) is not None:
            return Catch(tag, False, 0), params
    return (Catch(None, True, 0), (EXN,)) if b.env.chance(0.5) else (Catch(None, False, 0), ())


def _type_of(b: Body, results: tuple[ValType, ...]) -> int | None:
    """The index of the function type without parameters that has these results."""
    if len(results) == 1:
        return -1
    return b.env.some(
        index
        for index in b.env.of_kind(FuncType)
        if not b.env.params(index) and b.env.results(index) == results
    )


def _throw(b: Body) -> bool:
    if not b.env.tags:
        return False
    tag = b.rng.randrange(len(b.env.tags))
    b.values(b.env.params(b.env.tags[tag]))
    b.emit("throw", tag)
    return True


def _throw_ref(b: Body) -> bool:
    b.value(EXNREF)
    b.emit("throw_ref")
    return True


@statement(1)
def _diverge_in_an_arm(b: Body) -> bool:
    b.value(I32)
    ready = b.open("if", None, ())
    diverge(b)
    b.close(ready)
    return True
