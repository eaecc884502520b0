"""Recursion that ends at once: what a function returns before it has done anything is written where it calls
itself, which saves half of the calls of a tree of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tinywasm import records
from tinywasm.engine.ir import form
from tinywasm.engine.source.blocks import Block, Unit
from tinywasm.engine.source.expressions import negated
from tinywasm.engine.source.graph import Node

_PARAMETER = r"\bl(\d+)\b"
# Lines that may trap, and variables that are no parameters, of which `z` serves within an expression alone.
_OTHER = r"\n|\b(?:[tv]\d+|[aiwc])\b"


@records.record(frozen=True)
class Early:
    """A condition on the parameters, and what the function returns where it holds."""

    condition: str
    result: str

    def call(self, args: Sequence[str], call: str) -> str:
        """An expression for a call; the arguments may be written any number of times."""
        condition, result = (
            re.sub(_PARAMETER, lambda found: args[int(found[1])], text)
            for text in (self.condition, self.result)
        )
        return f"({result} if {condition} else {call})"


def early(unit: Unit, nodes: dict[int, Node], entry: int, params: int) -> Early | None:
    """What a function returns at once, if it does, and nobody notices more of it."""
    if unit.metered or any(entry in node.successors for node in nodes.values()):
        return None
    first = nodes[entry]
    if first.exit is None or first.exit.row not in (form.BRANCH_IF, form.BRANCH_UNLESS):
        return None
    for place, number in enumerate(first.successors):
        node = nodes[number]
        if node.exit is not None and node.exit.row == form.RETURN and node.exit.b:
            found = _early(unit, first, node, place == 0, params)
            if found is not None:
                return found
    return None


def _early(unit: Unit, first: Node, last: Node, taken: bool, params: int) -> Early | None:
    blocks = [Block(unit, node, {}) for node in (first, last)]
    for block in blocks:
        block.run()
    lines = [line for block in blocks for line in block.lines]
    condition = blocks[0].condition
    if len(lines) != 1 or not lines[0].text.startswith("return "):
        return None
    if blocks[0].holds != taken:
        condition = negated(condition)
    found = Early(condition, lines[0].text.removeprefix("return "))
    text = f"{found.condition} {found.result}"
    if re.search(_OTHER, text) or any(int(number) >= params for number in re.findall(_PARAMETER, text)):
        return None
    return found
