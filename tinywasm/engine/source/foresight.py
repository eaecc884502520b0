"""What a function will do with its variables, and with the depth that it was called at."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, Record
from tinywasm.engine.source.graph import Node, everything
from tinywasm.instructions import TABLE
from tinywasm.interruption import look

# What nobody notices, unless it traps.
_QUIET = {
    row.ordinal
    for row in TABLE
    if row.operator is not None or ".load" in row.name or row.name in ("select", "global.get")
} | {form.MOVE}


def _calls(node: Node) -> bool:
    return any(record.row < form.BLOCK and form.CALLS[record.row] for record in everything(node))


def _backwards(nodes: dict[int, Node], own: Callable[[Node, int], int]) -> dict[int, int]:
    """For each block the bits that `own` makes of it and of those of all blocks that may come next."""
    found = dict.fromkeys(nodes, 0)
    changed = True
    while changed:
        look()
        changed = False
        for number, node in reversed(nodes.items()):
            behind = 0
            for target in node.successors:
                behind |= found[target]
            bits = own(node, behind)
            changed |= bits != found[number]
            found[number] = bits
    return found


def may_call(nodes: dict[int, Node]) -> set[int]:
    """The blocks from which a call can be reached, their own among them."""
    calling = {number for number, node in nodes.items() if _calls(node)}
    found = _backwards(nodes, lambda node, behind: behind | (node.number in calling))
    return {number for number, bits in found.items() if bits}


def asking(nodes: dict[int, Node], entry: int, params: int, code: Form) -> set[int]:
    """Where a function asks whether calls may go deeper: at its entry, or on the ways from there to a block.

    Who has asked calls functions that have not to ask for themselves. What was done before can be done again
    by the reference, since nobody noticed.
    """
    calling, node = may_call(nodes), nodes[entry]
    if entry not in calling:
        return set()
    again = any(entry in each.successors for each in nodes.values())
    quiet = all(record.row in _QUIET and not _changes(code, record, params) for record in node.records)
    quiet = quiet and not _calls(node)
    return calling & {*node.successors} if quiet and not again else {entry}


def _changes(code: Form, record: Record, params: int) -> bool:
    """Whether it writes to a parameter."""
    return any(
        place & form.KIND == form.LOCAL and place >> form.NUMBER < params
        for place in form.results(code, record)
    )


def read_first(nodes: dict[int, Node], entry: int, code: Form) -> set[int]:
    """The locals that may be read before anything is written to them."""
    reads: dict[int, int] = {}
    writes: dict[int, int] = {}
    for number, node in nodes.items():
        reads[number] = writes[number] = 0
        for record in everything(node):
            reads[number] |= _locals(form.operands(code, record)) & ~writes[number]
            # The results of a call are not written where it goes on at a clause.
            if record is not node.exit:
                writes[number] |= _locals(form.results(code, record))
    found = _backwards(nodes, lambda node, behind: reads[node.number] | (behind & ~writes[node.number]))[
        entry
    ]
    return {number for number in range(found.bit_length()) if found >> number & 1}


def _locals(places: Iterable[int]) -> int:
    bits = 0
    for place in places:
        if place & form.KIND == form.LOCAL:
            bits |= 1 << (place >> form.NUMBER)
    return bits
