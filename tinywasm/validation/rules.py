"""The instructions whose signature is not closed, one function each (section 3.4).

A rule takes the state and the instruction's immediates. Indices that the module declares are within
range already; labels, locals and fields are looked up here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinywasm.codec import BlockType, Cast, Catch
from tinywasm.errors import DecodeError, ValidationError
from tinywasm.matching import (
    BOT,
    close_heap,
    close_ref,
    close_value,
    matches_ref,
    matches_result,
    matches_value,
    top_heap,
)
from tinywasm.types import (
    ANYREF,
    EXNREF,
    EXTERNREF,
    FUNCREF,
    I32,
    I64,
    AbstractHeap,
    FieldType,
    FuncType,
    HeapType,
    NumType,
    PackedType,
    RefType,
    StorageType,
    TableType,
    ValType,
)
from tinywasm.validation.stack import Body, Types, describe, is_defaultable, unpack

Rule = Callable[..., None]

RULES: dict[str, Rule] = {}


def rule(*mnemonics: str) -> Callable[[Rule], Rule]:
    """The function types these instructions."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(mnemonics, function))
        return function

    return register


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValidationError(message)


def _require_match(actual: ValType, wanted: ValType) -> None:
    if not matches_value(actual, wanted):
        raise ValidationError(f"type mismatch: {actual} does not match {wanted}")


# Control instructions


def _block_type(body: Body, block: BlockType) -> tuple[Types, Types]:
    if block is None:
        return (), ()
    if isinstance(block, int):
        functype = body.func(block)
        return functype.params, functype.results
    return (), (close_value(block, body.context.types),)


def _open(body: Body, kind: str, block: BlockType, extra: Types = ()) -> None:
    start, end = _block_type(body, block)
    body.pop_all(extra)
    body.pop_all(start)
    body.enter(kind, start, end)


@rule("unreachable")
def unreachable(body: Body) -> None:
    body.set_unreachable()


@rule("block")
def block(body: Body, blocktype: BlockType) -> None:
    _open(body, "block", blocktype)


@rule("loop")
def loop(body: Body, blocktype: BlockType) -> None:
    _open(body, "loop", blocktype)


@rule("if")
def if_(body: Body, blocktype: BlockType) -> None:
    _open(body, "if", blocktype, (I32,))


@rule("else")
def else_(body: Body) -> None:
    if body.frame.kind != "if":
        raise DecodeError("END opcode expected", body.position)
    frame = body.leave()
    body.enter("else", frame.start, frame.end)


@rule("end")
def end(body: Body) -> None:
    frame = body.leave()
    if frame.kind == "if" and not matches_result(frame.start, frame.end):
        raise ValidationError(
            f"type mismatch: if without else requires {describe(frame.end)} but has {describe(frame.start)}"
        )
    body.push_all(frame.end)


@rule("try_table")
def try_table(body: Body, blocktype: BlockType, catches: tuple[Catch, ...]) -> None:
    for catch in catches:
        caught = _caught(body, catch)
        label = body.label(catch.label)
        if not matches_result(caught, label):
            raise ValidationError(
                f"type mismatch: catch gives {describe(caught)} but its label takes {describe(label)}"
            )
    _open(body, "try_table", blocktype)


def _caught(body: Body, catch: Catch) -> Types:
    values = () if catch.tag is None else tuple(_tag_params(body, catch.tag))
    return (*values, RefType(False, AbstractHeap.EXN)) if catch.ref else values


def _tag_params(body: Body, tag: int) -> Types:
    if tag >= len(body.context.tags):
        raise ValidationError(f"unknown tag {tag}")
    composite = body.context.tags[tag].composite
    assert isinstance(composite, FuncType)
    return composite.params


@rule("throw")
def throw(body: Body, tag: int) -> None:
    body.pop_all(_tag_params(body, tag))
    body.set_unreachable()


@rule("throw_ref")
def throw_ref(body: Body) -> None:
    body.pop(EXNREF)
    body.set_unreachable()


@rule("br")
def br(body: Body, label: int) -> None:
    body.pop_all(body.label(label))
    body.set_unreachable()


@rule("br_if")
def br_if(body: Body, label: int) -> None:
    operands = body.label(label)
    body.pop(I32)
    body.pop_all(operands)
    body.push_all(operands)


@rule("br_table")
def br_table(body: Body, targets: tuple[tuple[int, ...], int]) -> None:
    labels, default = targets
    body.pop(I32)
    arity = len(body.label(default))
    for label in {*labels, default}:
        operands = body.label(label)
        if len(operands) != arity:
            raise ValidationError(
                f"type mismatch: br_table has labels of {arity} and of {len(operands)} operands"
            )
        body.peek(operands)
    body.set_unreachable()


@rule("return")
def return_(body: Body) -> None:
    body.pop_all(body.results)
    body.set_unreachable()


def _call(body: Body, functype: FuncType) -> None:
    body.pop_all(functype.params)
    body.push_all(functype.results)


def _return_call(body: Body, functype: FuncType) -> None:
    if not matches_result(functype.results, body.results):
        raise ValidationError(
            f"type mismatch: current function requires result type {describe(body.results)}"
            f" but callee returns {describe(functype.results)}"
        )
    body.pop_all(functype.params)
    body.set_unreachable()


def _function(body: Body, func: int) -> FuncType:
    composite = body.context.funcs[func].composite
    assert isinstance(composite, FuncType)
    return composite


def _indirect(body: Body, index: int, table: int) -> FuncType:
    tabletype = body.context.tables[table]
    functype = body.func(index)
    _require_match(tabletype.element, FUNCREF)
    body.pop(tabletype.address)
    return functype


def _referenced(body: Body, index: int) -> FuncType:
    functype = body.func(index)
    body.pop(RefType(True, body.defined(index)))
    return functype


@rule("call")
def call(body: Body, func: int) -> None:
    _call(body, _function(body, func))


@rule("call_indirect")
def call_indirect(body: Body, index: int, table: int) -> None:
    _call(body, _indirect(body, index, table))


@rule("call_ref")
def call_ref(body: Body, index: int) -> None:
    _call(body, _referenced(body, index))


@rule("return_call")
def return_call(body: Body, func: int) -> None:
    _return_call(body, _function(body, func))


@rule("return_call_indirect")
def return_call_indirect(body: Body, index: int, table: int) -> None:
    _return_call(body, _indirect(body, index, table))


@rule("return_call_ref")
def return_call_ref(body: Body, index: int) -> None:
    _return_call(body, _referenced(body, index))


@rule("br_on_null")
def br_on_null(body: Body, label: int) -> None:
    operands = body.label(label)
    ref = body.pop_ref()
    body.pop_all(operands)
    body.push_all(operands)
    body.push(RefType(False, ref.heap))


def _label_with_ref(body: Body, label: int) -> tuple[Types, RefType]:
    operands = body.label(label)
    last = operands[-1] if operands else None
    if not isinstance(last, RefType):
        raise ValidationError(
            f"type mismatch: instruction requires a label that takes a reference, not {describe(operands)}"
        )
    return operands[:-1], last


@rule("br_on_non_null")
def br_on_non_null(body: Body, label: int) -> None:
    operands, last = _label_with_ref(body, label)
    body.pop(RefType(True, last.heap))
    body.pop_all(operands)
    body.push_all(operands)


def _closed_cast(body: Body, cast: Cast) -> tuple[RefType, RefType, RefType]:
    """Source and target, and what is left of the source when the cast fails (section 3.2)."""
    types = body.context.types
    source, target = close_ref(cast.source, types), close_ref(cast.target, types)
    if not matches_ref(target, source):
        raise ValidationError(f"type mismatch: cast from {source} to {target}, which is not a subtype")
    return source, target, RefType(source.nullable and not target.nullable, source.heap)


def _br_on(body: Body, label: int, source: RefType, branching: RefType, falling: RefType) -> None:
    operands, last = _label_with_ref(body, label)
    _require_match(branching, last)
    body.pop(source)
    body.pop_all(operands)
    body.push_all(operands)
    body.push(falling)


@rule("br_on_cast")
def br_on_cast(body: Body, cast: Cast) -> None:
    source, target, rest = _closed_cast(body, cast)
    _br_on(body, cast.label, source, target, rest)


@rule("br_on_cast_fail")
def br_on_cast_fail(body: Body, cast: Cast) -> None:
    source, target, rest = _closed_cast(body, cast)
    _br_on(body, cast.label, source, rest, target)


# Parametric and variable instructions


@rule("drop")
def drop(body: Body) -> None:
    body.pop_any()


@rule("select")
def select(body: Body, types: tuple[ValType, ...] | None = None) -> None:
    if types is None:
        _select_untyped(body)
        return
    _require(len(types) == 1, f"invalid result arity {len(types)}, must be 1")
    result = close_value(types[0], body.context.types)
    body.pop_all((result, result, I32))
    body.push(result)


def _select_untyped(body: Body) -> None:
    body.pop(I32)
    second, first = body.pop_any(), body.pop_any()
    for value in (first, second):
        if isinstance(value, RefType):
            raise ValidationError(
                f"type mismatch: instruction requires numeric or vector type but stack has [{value}]"
            )
    if first is not second and BOT not in (first, second):
        raise ValidationError(
            f"type mismatch: instruction requires two equal types but stack has {describe((first, second))}"
        )
    body.push(second if first is BOT else first)


@rule("local.get")
def local_get(body: Body, local: int) -> None:
    body.push(body.ready.get(local) or body.local_get(local))


@rule("local.set")
def local_set(body: Body, local: int) -> None:
    body.pop(body.local_set(local))


@rule("local.tee")
def local_tee(body: Body, local: int) -> None:
    value = body.local_set(local)
    body.pop(value)
    body.push(value)


@rule("global.get")
def global_get(body: Body, index: int) -> None:
    body.push(body.context.globals[index].content)


@rule("global.set")
def global_set(body: Body, index: int) -> None:
    globaltype = body.context.globals[index]
    _require(globaltype.mutable, f"immutable global {index}")
    body.pop(globaltype.content)


# Table and memory instructions


@rule("table.get")
def table_get(body: Body, table: int) -> None:
    tabletype = body.context.tables[table]
    body.pop(tabletype.address)
    body.push(tabletype.element)


@rule("table.set")
def table_set(body: Body, table: int) -> None:
    tabletype = body.context.tables[table]
    body.pop_all((tabletype.address, tabletype.element))


@rule("table.grow")
def table_grow(body: Body, table: int) -> None:
    tabletype = body.context.tables[table]
    body.pop_all((tabletype.element, tabletype.address))
    body.push(tabletype.address)


@rule("table.fill")
def table_fill(body: Body, table: int) -> None:
    tabletype = body.context.tables[table]
    body.pop_all((tabletype.address, tabletype.element, tabletype.address))


@rule("table.copy")
def table_copy(body: Body, target: int, source: int) -> None:
    to, of = body.context.tables[target], body.context.tables[source]
    _require_match(of.element, to.element)
    body.pop_all((to.address, of.address, _narrower(to.address, of.address)))


@rule("table.init")
def table_init(body: Body, elem: int, table: int) -> None:
    tabletype: TableType = body.context.tables[table]
    _require_match(body.context.elems[elem], tabletype.element)
    body.pop_all((tabletype.address, I32, I32))


@rule("memory.copy")
def memory_copy(body: Body, target: int, source: int) -> None:
    to, of = body.context.memories[target].address, body.context.memories[source].address
    body.pop_all((to, of, _narrower(to, of)))


def _narrower(first: NumType, second: NumType) -> NumType:
    return I64 if first is I64 and second is I64 else I32


# Reference instructions


@rule("ref.null")
def ref_null(body: Body, heap: HeapType) -> None:
    body.push(RefType(True, close_heap(heap, body.context.types)))


@rule("ref.is_null")
def ref_is_null(body: Body) -> None:
    body.pop_ref()
    body.push(I32)


@rule("ref.func")
def ref_func(body: Body, func: int) -> None:
    _require(func in body.context.refs, f"undeclared function reference {func}")
    body.push(RefType(False, body.context.funcs[func]))


@rule("ref.as_non_null")
def ref_as_non_null(body: Body) -> None:
    body.push(RefType(False, body.pop_ref().heap))


def _pop_castable(body: Body, target: RefType) -> RefType:
    closed = close_ref(target, body.context.types)
    body.pop(RefType(True, top_heap(closed.heap)))
    return closed


@rule("ref.test")
def ref_test(body: Body, target: RefType) -> None:
    _pop_castable(body, target)
    body.push(I32)


@rule("ref.cast")
def ref_cast(body: Body, target: RefType) -> None:
    body.push(_pop_castable(body, target))


# Aggregate instructions


def _field(body: Body, index: int, field: int) -> FieldType:
    fields = body.fields(index)
    if field >= len(fields):
        raise ValidationError(f"unknown field {field}")
    return fields[field]


def _require_default(storage: StorageType) -> None:
    _require(is_defaultable(storage), f"type mismatch: {storage} has no default value")


def _require_packing(storage: StorageType, packed: bool) -> None:
    kind = "packed" if packed else "unpacked"
    _require(isinstance(storage, PackedType) == packed, f"type mismatch: {storage} is not {kind}")


def _nullable(body: Body, index: int) -> RefType:
    return RefType(True, body.defined(index))


def _push_new(body: Body, index: int) -> None:
    body.push(RefType(False, body.defined(index)))


@rule("struct.new")
def struct_new(body: Body, index: int) -> None:
    body.pop_all(body.struct_operands(index))
    _push_new(body, index)


@rule("struct.new_default")
def struct_new_default(body: Body, index: int) -> None:
    without = body.struct_without_default(index)
    if without is not None:
        _require_default(without)
    _push_new(body, index)


@rule("struct.get")
def struct_get(body: Body, index: int, field: int) -> None:
    storage = _field(body, index, field).storage
    _require_packing(storage, False)
    body.pop(_nullable(body, index))
    body.push(unpack(storage))


@rule("struct.get_s", "struct.get_u")
def struct_get_packed(body: Body, index: int, field: int) -> None:
    _require_packing(_field(body, index, field).storage, True)
    body.pop(_nullable(body, index))
    body.push(I32)


@rule("struct.set")
def struct_set(body: Body, index: int, field: int) -> None:
    fieldtype = _field(body, index, field)
    _require(fieldtype.mutable, f"immutable field {field}")
    body.pop_all((_nullable(body, index), unpack(fieldtype.storage)))


def _mutable_array(body: Body, index: int) -> StorageType:
    field = body.array(index)
    _require(field.mutable, f"immutable array {index}")
    return field.storage


def _require_bits(storage: StorageType) -> None:
    _require(not isinstance(storage, RefType), "array type is not numeric or vector")


@rule("array.new")
def array_new(body: Body, index: int) -> None:
    body.pop_all((unpack(body.array(index).storage), I32))
    _push_new(body, index)


@rule("array.new_default")
def array_new_default(body: Body, index: int) -> None:
    _require_default(body.array(index).storage)
    body.pop(I32)
    _push_new(body, index)


@rule("array.new_fixed")
def array_new_fixed(body: Body, index: int, count: int) -> None:
    body.pop_repeated(unpack(body.array(index).storage), count)
    _push_new(body, index)


@rule("array.new_data")
def array_new_data(body: Body, index: int, _data: int) -> None:
    _require_bits(body.array(index).storage)
    body.pop_all((I32, I32))
    _push_new(body, index)


@rule("array.new_elem")
def array_new_elem(body: Body, index: int, elem: int) -> None:
    _require_match(body.context.elems[elem], unpack(body.array(index).storage))
    body.pop_all((I32, I32))
    _push_new(body, index)


@rule("array.get")
def array_get(body: Body, index: int) -> None:
    storage = body.array(index).storage
    _require_packing(storage, False)
    body.pop_all((_nullable(body, index), I32))
    body.push(unpack(storage))


@rule("array.get_s", "array.get_u")
def array_get_packed(body: Body, index: int) -> None:
    _require_packing(body.array(index).storage, True)
    body.pop_all((_nullable(body, index), I32))
    body.push(I32)


@rule("array.set")
def array_set(body: Body, index: int) -> None:
    storage = _mutable_array(body, index)
    body.pop_all((_nullable(body, index), I32, unpack(storage)))


@rule("array.fill")
def array_fill(body: Body, index: int) -> None:
    storage = _mutable_array(body, index)
    body.pop_all((_nullable(body, index), I32, unpack(storage), I32))


@rule("array.copy")
def array_copy(body: Body, target: int, source: int) -> None:
    to, of = _mutable_array(body, target), body.array(source).storage
    same = to is of
    if not isinstance(to, PackedType) and not isinstance(of, PackedType):
        same = matches_value(of, to)
    _require(same, f"array types do not match: {of} and {to}")
    body.pop_all((_nullable(body, target), I32, _nullable(body, source), I32, I32))


@rule("array.init_data")
def array_init_data(body: Body, index: int, _data: int) -> None:
    _require_bits(_mutable_array(body, index))
    body.pop_all((_nullable(body, index), I32, I32, I32))


@rule("array.init_elem")
def array_init_elem(body: Body, index: int, elem: int) -> None:
    _require_match(body.context.elems[elem], unpack(_mutable_array(body, index)))
    body.pop_all((_nullable(body, index), I32, I32, I32))


@rule("any.convert_extern")
def any_convert_extern(body: Body) -> None:
    _convert(body, EXTERNREF, AbstractHeap.ANY)


@rule("extern.convert_any")
def extern_convert_any(body: Body) -> None:
    _convert(body, ANYREF, AbstractHeap.EXTERN)


def _convert(body: Body, wanted: RefType, heap: AbstractHeap) -> None:
    value: Any = body.pop(wanted)
    body.push(RefType(value is not BOT and value.nullable, heap))
