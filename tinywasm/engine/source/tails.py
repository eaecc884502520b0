"""Tail calls: a function returns what is left to do to a loop around it, so that nothing grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Record
from tinywasm.engine.ir.operands import widths
from tinywasm.engine.recursion import ROOM_SHIFT
from tinywasm.engine.source.expressions import exact
from tinywasm.instructions import TABLE
from tinywasm.types import FuncType

if TYPE_CHECKING:
    from tinywasm.engine.source.blocks import Block


def tail_call(block: Block, record: Record) -> None:
    """Leave a call to do, but one to a host function, which is done here."""
    row, index, unit = TABLE[record.row], record.immediate, block.unit
    indirect = bool(row.takes.fixed)
    callee = block.calm(block.read(record.c, "i32")) if indirect else None
    args = [block.read(place) for place in form.operands(unit.code, record)[: record.b]]
    if sum(value.acts for value in args) > (0 if indirect else 1):
        args = [block.calm(value) for value in args]
    texts = [exact(value).text for value in args]
    block.older()
    if callee is not None:
        block.callee(record, row.name.removeprefix("return_"), exact(callee))
        text = f"tail({', '.join(['c', *texts, 'p'])})"
    elif index in unit.hosts:
        signature = unit.context.funcs[index].composite
        assert isinstance(signature, FuncType)
        deeper = (1 << ROOM_SHIFT) - max(sum(widths(signature.params)), sum(widths(signature.results)))
        text = f"{block.use(f'f{index}', 'func', index)}({', '.join([*texts, f'p - {deeper}'])})"
    else:
        text = f"Tail(({block.use(f'T{index}', 'tail', index)}, ({', '.join([*texts, 'p'])},)))"
    block.act(f"return {text}")
    block.pending.clear()
