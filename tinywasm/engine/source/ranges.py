"""What is known of variables where a block begins: the range of each, from constants and from branches.

Blocks come in an order in which all ways forward to one come before it. Of what a loop writes to nothing is
known at its head.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form
from tinywasm.engine.source.expressions import Facts
from tinywasm.engine.source.graph import Graph, Node

# By its name, the least and the greatest value that a variable of integers may have.
Ranges = dict[str, tuple[int, int]]


class Known:
    """The ranges on the ways that have been seen to the blocks of a graph."""

    def __init__(self, code: Form, graph: Graph, first: Ranges) -> None:
        """At the beginning of the first block `first` is known."""
        self.graph = graph
        # By block, how many ways to it are still to come.
        self.open: Counter[int] = Counter()
        self.at: dict[int, Ranges] = {graph.entry: first}
        self.again: set[int] = set()
        self.written: dict[int, set[str]] = {head: set() for head in graph.heads}
        for number, place in graph.index.items():
            node = graph.nodes[number]
            for target in node.successors:
                if graph.index[target] > place:
                    self.open[target] += 1
                else:
                    self.again.add(target)
            names = set(_written(code, node))
            for head in graph.around.get(number, ()):
                self.written[head] |= names

    def before(self, number: int) -> Ranges:
        """What is known where a block begins."""
        known = self.at.pop(number, {})
        if self.open[number]:
            return {}
        if number in self.again:
            if number not in self.graph.around.get(number, ()):
                return {}
            written = self.written[number]
            return {name: ends for name, ends in known.items() if name not in written}
        return known

    def way(self, number: int, target: int, known: Ranges, facts: Facts) -> None:
        """What is known on a way from one block to another, one of several if there are."""
        if self.graph.index[target] <= self.graph.index[number]:
            return
        for name, low, high in facts:
            before = known.get(name, (low, high))
            known = known | {name: (max(low, before[0]), min(high, before[1]))}
        self.open[target] -= 1
        if target not in self.at:
            self.at[target] = known
            return
        others = self.at[target]
        self.at[target] = {
            name: (min(low, others[name][0]), max(high, others[name][1]))
            for name, (low, high) in known.items()
            if name in others
        }


def _written(code: Form, node: Node) -> Iterator[str]:
    for record in (*node.records, node.exit):
        if record is not None:
            for place in form.results(code, record):
                yield name_of(place)


def name_of(place: int) -> str:
    """The variable of a local or a temporary."""
    return f"{'tl'[place & form.KIND]}{place >> form.NUMBER}"
