"""Where calls and throws within a `try_table` go on: their blocks end there, and its clauses are blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tinywasm import records
from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, Record
from tinywasm.engine.python.steps import brought
from tinywasm.engine.source.graph import Node, TooDeep
from tinywasm.errors import WasmException
from tinywasm.instructions import TABLE, Role, ordinals
from tinywasm.runtime.store import Store

if TYPE_CHECKING:
    from tinywasm.engine.source.blocks import Block

THROWS = ordinals("throw", "throw_ref")
# Calls that come back.
_CALLS = {row.ordinal for row in TABLE if form.CALLS[row.ordinal] and row.role is not Role.LEAVES}
# In a block of a clause, a record that gives a temporary the value IMMEDIATE of what was caught. As the
# beginning of a block, which no record of a `Node` is, it reads nothing.
BROUGHT = form.BLOCK
# Every call has a way to each clause around it.
_MOST_CLAUSES = 20

# The tags of the clauses that hold in a region, innermost first, and whether the exception goes along.
Clauses = tuple[tuple[int | None, bool], ...]


@records.record(eq=False)
class _Region:
    """What holds in a region: the clauses, and the numbers of their blocks."""

    clauses: Clauses
    blocks: list[int]


def split(code: Form, found: dict[int, Node]) -> tuple[dict[int, Node], dict[int, Clauses]]:
    """The blocks with those of clauses, and the clauses of each region where something may be caught.

    A block in a region ends with each call, whose successors are the block where the rest is, and those of
    the clauses; a throw has the latter. Raises `TooDeep`.
    """
    if not code.regions:
        return found, {}
    made: dict[int, Node] = {}
    after = max(found) + 1
    regions, clauses = _regions(code, after)
    after += len(clauses)
    for number, node in found.items():
        region = regions[node.region] if node.region >= 0 else None
        if region is None or not region.blocks:
            made[number] = node
            continue
        start = 0
        for place, record in enumerate(node.records):
            if record.row in _CALLS:
                way = records.replace(node, records=node.records[start:place], exit=record)
                made[number] = records.replace(way, number=number, successors=[after, *region.blocks])
                # All of it was charged for.
                node = records.replace(node, fuel=0)
                number, after, start = after, after + 1, place + 1
        rest = records.replace(node, number=number, records=node.records[start:])
        if node.exit is not None and node.exit.row in THROWS:
            rest = records.replace(rest, successors=region.blocks)
        made[number] = rest
    made |= clauses
    held = {number: each.clauses for number, each in enumerate(regions) if each.blocks}
    return made, held


def _regions(code: Form, after: int) -> tuple[list[_Region], dict[int, Node]]:
    """The regions, and the blocks of their clauses, with numbers from `after` on."""
    regions: list[_Region] = []
    made: dict[int, Node] = {}
    for region in code.regions:
        clauses, blocks = [], []
        for clause in region.clauses:
            clauses.append((clause.tag, clause.reference))
            blocks.append(after)
            heights = accumulate(clause.widths[:-1], initial=clause.height) if clause.widths else ()
            values = [
                Record(BROUGHT, 0, 0, height << form.NUMBER, 0, 0, 0, place, 0)
                for place, height in enumerate(heights)
            ]
            made[after] = Node(after, 0, -1, 0, values, None, [clause.block])
            after += 1
        if region.parent >= 0 and (None, False) not in clauses and (None, True) not in clauses:
            clauses += regions[region.parent].clauses
            blocks += regions[region.parent].blocks
        if len(clauses) > _MOST_CLAUSES:
            raise TooDeep
        regions.append(_Region(tuple(clauses), blocks))
    return regions, made


def catches(node: Node) -> bool:
    """Whether what a block ends with is a call or a throw that its clauses may catch."""
    return node.exit is not None and bool(node.successors) and node.exit.row in _CALLS | THROWS


def bring(block: Block, record: Record) -> None:
    """The value of an exception that was caught."""
    block.made_here(record.result, f"brought[{record.immediate}]")


def catcher(store: Store) -> Callable[[WasmException, Sequence[tuple[Any, bool]]], tuple[int, list[Any]]]:
    """Finds the clause that takes an exception, counted from 1, and what it brings, or raises it again."""

    def catch(thrown: WasmException, clauses: Sequence[tuple[Any, bool]]) -> tuple[int, list[Any]]:
        for number, (tag, with_ref) in enumerate(clauses, 1):
            if tag is None or tag is thrown.tag:
                return number, brought(store, thrown, tag, with_ref)
        raise thrown

    return catch
