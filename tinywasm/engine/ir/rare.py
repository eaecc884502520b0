"""The builder's rarer instructions, by name: what has objects as immediates, or takes many operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinywasm.codec import READ, Cast
from tinywasm.engine.ir.form import (
    BRANCH_CAST,
    BRANCH_CAST_FAIL,
    BRANCH_NON_NULL,
    BRANCH_NULL,
    BRANCH_TABLE,
    NOWHERE,
    NUMBER,
    STRIDE,
)
from tinywasm.engine.ir.operands import widths
from tinywasm.engine.ir.rows import FIRST_KIND, NONE, OBJECT, OTHER, SECOND_KIND, SHAPES
from tinywasm.instructions import TABLE, Role
from tinywasm.interruption import STEPS, look
from tinywasm.types import V128, ArrayType, CompositeType, StorageType, StructType


def _branch_table(b: Any, row: int) -> None:
    place = b.pop()
    count = b.leb() + 1
    edges: dict[int, int] = {}
    apart = []
    first = len(b.lists)
    for index in range(count):
        if index % STEPS == STEPS - 1:
            look()
        depth = b.leb()
        if depth not in edges:
            edges[depth] = b.edge(b.labels[-1 - depth])
            if edges[depth] < 0:
                edges[depth] = b.new_block()
                apart.append(depth)
        b.lists.append(edges[depth])
    b.emit(BRANCH_TABLE, NOWHERE, place, 0, 0, first, count)
    for depth in apart:
        b.begin(edges[depth], False)
        b.branch(b.labels[-1 - depth])
    b.dead = True


def _branch_null(b: Any, row: int) -> None:
    depth = b.leb()
    place = b.pop()
    b.branch_when(BRANCH_NULL, depth, place, 0)
    b.push(place)
    # Of the block that has just begun, where the reference is an operand.
    b.code[b.size - STRIDE + 2] = b.height


def _branch_non_null(b: Any, row: int) -> None:
    b.branch_when(BRANCH_NON_NULL, b.leb(), b.places[b.height - 1], 0)
    b.pop()


def _branch_cast(b: Any, row: int) -> None:
    cast: Cast
    cast, b.pos = READ["cast"](b.bytes, b.pos)
    b.objects.append(cast.target)
    operation = BRANCH_CAST if TABLE[row].name == "br_on_cast" else BRANCH_CAST_FAIL
    b.branch_when(operation, cast.label, b.places[b.height - 1], len(b.objects) - 1)


def _check(b: Any, row: int) -> None:
    """The topmost operand is looked at, and stays what it is."""
    immediate = b.immediate(row, OBJECT, 0) if TABLE[row].immediates else 0
    b.emit(row, NOWHERE, b.places[b.height - 1], 0, 0, immediate, 0)


def _leave(b: Any, row: int) -> None:
    b.emit(row, NOWHERE, b.pop() if TABLE[row].takes.fixed else 0, 0, 0, 0, 0)
    b.dead = True


def _many(b: Any, row: int) -> None:
    """Any number of operands, and results of one height each."""
    instruction = TABLE[row]
    immediate = b.immediate(row, FIRST_KIND[row], 0) if FIRST_KIND[row] != NONE else 0
    second = b.immediate(row, SECOND_KIND[row], 1) if SECOND_KIND[row] != NONE else 0
    count = instruction.takes.fixed
    composite: Any = None
    repeated = instruction.takes.repeated
    if repeated is not None:
        composite = (b.context.tags if repeated == "tag" else b.context.types)[immediate].composite
        count = second
        if repeated != "count":
            count = len(composite.fields if repeated == "field" else composite.params)
    in_row = repeated is not None and count > b.singly
    first = ~_take_row(b, composite, count) if in_row else b.take(count)
    result = b.height << NUMBER if instruction.leaves.fixed else NOWHERE
    b.emit(row, result, first, count, 0, immediate, second)
    for _ in range(instruction.leaves.fixed):
        b.push_result(1)
    b.dead = instruction.role is Role.LEAVES


def _take_row(b: Any, composite: CompositeType, count: int) -> int:
    """Take the many operands that an object or an exception is made of; where their places are in `lists`."""
    if isinstance(composite, ArrayType):
        # Arrays of all lengths have the beginning of one list.
        width = 2 if composite.field.storage is V128 else 1
        first, extent = b.rows.get(width, (0, 0))
        if extent < count * width:
            first, _ = b.list_row(width, (width,) * (2 * count))
        b.take_row(count * width)
        return int(first)
    found = b.rows.get(id(composite))
    if found is None:
        types: Sequence[StorageType]
        if isinstance(composite, StructType):
            types = [field.storage for field in composite.fields]
        else:
            types = composite.params
        found = b.list_row(id(composite), widths(types))
    first, extent = found
    b.take_row(extent)
    return int(first)


_BY_NAME: dict[str, Callable[[Any, int], None]] = {
    "br_table": _branch_table,
    "br_on_null": _branch_null,
    "br_on_non_null": _branch_non_null,
    **dict.fromkeys(("br_on_cast", "br_on_cast_fail"), _branch_cast),
    **dict.fromkeys(("ref.as_non_null", "ref.cast"), _check),
    **dict.fromkeys(("unreachable", "throw_ref"), _leave),
}
RARE = {row.name: _BY_NAME.get(row.name, _many) for row in TABLE if SHAPES[row.ordinal] == OTHER}
