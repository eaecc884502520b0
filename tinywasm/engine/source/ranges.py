"""What is known of variables where a block begins: the range of each, from constants and from branches.

Blocks come in an order in which all ways forward to one come before it. Of variables that a loop writes to,
its head knows what holds both on the way in and where turns end; some counters are known by induction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, Record
from tinywasm.engine.source.expressions import M32, M64, Facts
from tinywasm.engine.source.graph import Graph, Node, everything
from tinywasm.instructions import TABLE, ordinals

# By its name, the least and the greatest value that a variable of integers may have.
Ranges = dict[str, tuple[int, int]]
_ADD = ordinals("i32.add", "i64.add")
_SUB = ordinals("i32.sub", "i64.sub")
_EQUAL = ordinals("i32.eq", "i64.eq", "i32.eqz", "i64.eqz")
_UNEQUAL = ordinals("i32.ne", "i64.ne")


class Known:
    """The ranges on the ways that have been seen to the blocks of a graph."""

    def __init__(
        self, code: Form, graph: Graph, first: Ranges, ends: Callable[[int], dict[int, Ranges]]
    ) -> None:
        """At the beginning of the first block `first` is known. `ends` says what is known on the ways from
        a block, by their targets, where nothing is known before."""
        self.code = code
        self.graph = graph
        self.ends = ends
        # By block, how many ways to it are still to come.
        self.open: Counter[int] = Counter()
        self.at: dict[int, Ranges] = {graph.entry: first}
        # By head, the blocks from which a turn ends, and what writes to each variable, with its block.
        self.last: dict[int, list[int]] = {}
        self.writes: dict[int, dict[str, list[tuple[int, Record]]]] = {head: {} for head in graph.heads}
        for number, place in graph.index.items():
            node = graph.nodes[number]
            for target in node.successors:
                if graph.index[target] > place:
                    self.open[target] += 1
                else:
                    self.last.setdefault(target, []).append(number)
            if heads := graph.around.get(number):
                self._note([self.writes[head] for head in heads], node)

    def _note(self, loops: list[dict[str, list[tuple[int, Record]]]], node: Node) -> None:
        """Note what a block writes, in the loops around it."""
        for record in everything(node):
            for place in form.results(self.code, record):
                name, write = name_of(place), (node.number, record)
                for writes in loops:
                    writes.setdefault(name, []).append(write)

    def before(self, number: int) -> Ranges:
        """What is known where a block begins."""
        known = self.at.pop(number, {})
        if self.open[number]:
            return {}
        if number not in self.last:
            return known
        if number not in self.graph.around.get(number, ()):
            return {}
        return self._turning(number, known)

    def way(self, number: int, target: int, known: Ranges) -> None:
        """What is known on a way from one block to another, one of several if there are."""
        if self.graph.index[target] <= self.graph.index[number]:
            return
        self.open[target] -= 1
        self.at[target] = _either(self.at[target], known) if target in self.at else known

    # Loops

    def _turning(self, head: int, known: Ranges) -> Ranges:
        """What is known at a loop's head, from what is known on the way in."""
        written = self.writes[head]
        found = {name: ends for name, ends in known.items() if name not in written}
        others = {name: ends for name, ends in known.items() if name in written}
        for name in [*others]:
            ends = self._counted(head, name, known)
            if ends is not None:
                found[name] = ends
                del others[name]
        for number in self.last[head] if others else ():
            others = _either(others, self.ends(number)[head])
        return found | others

    def _counted(self, head: int, name: str, known: Ranges) -> tuple[int, int] | None:
        """The range of a counter that takes one step a turn, until it is what it is compared with.

        It cannot step over that: it comes there in steps of one, or in steps that divide the way.
        """
        writes = self.writes[head][name]
        if len(writes) != 1 or len(self.last[head]) != 1:
            return None
        (number, record), low, high = writes[0], *known[name]
        end = self._unequal(self.graph.nodes[self.last[head][0]], head, name)
        step = self._step(record, name)
        if end is None or not step or self.graph.around[number][-1] != head:
            return None
        if end in self.writes[head]:
            return None
        mask = M32 if TABLE[record.row].name.startswith("i32") else M64
        first, last = known.get(end, (0, mask)) if isinstance(end, str) else (end, end)
        if abs(step) > 1 and (low != high or first != last or (last - low) % step):
            return None
        if step > 0:
            return (low, last - step) if high < first else None
        return (first - step, high) if low > last else None

    def _step(self, record: Record, name: str) -> int:
        """What a record adds to a variable, 0 where it does something else."""
        if record.row not in _ADD | _SUB or name_of(record.a) != name:
            return 0
        number = self._number(record.b)
        mask = M32 if TABLE[record.row].name.startswith("i32") else M64
        if number is None:
            return 0
        number = ((number & mask) ^ (mask + 1) >> 1) - ((mask + 1) >> 1)
        return number if record.row in _ADD else -number

    def _unequal(self, node: Node, target: int, name: str) -> int | str | None:
        """What a variable differs from on a way: a number, or the name of another variable."""
        branch = node.exit
        if branch is None or branch.row not in (form.BRANCH_IF, form.BRANCH_UNLESS):
            return None
        if len(set(node.successors)) < 2:
            return None
        holds = (branch.row == form.BRANCH_IF) == (node.successors[0] == target)
        if branch.a & form.KIND == form.LOCAL:
            return 0 if holds and name_of(branch.a) == name else None
        last = node.records[-1] if node.records else None
        if last is None or last.row >= form.BLOCK or branch.a not in form.results(self.code, last):
            return None
        if last.row not in (_UNEQUAL if holds else _EQUAL):
            return None
        places = form.operands(self.code, last)
        if name_of(places[0]) != name:
            places = places[::-1]
        if name_of(places[0]) != name:
            return None
        if len(places) == 1:
            return 0
        number = self._number(places[1])
        if number is not None:
            return number & (M32 if TABLE[last.row].name.startswith("i32") else M64)
        return name_of(places[1]) if places[1] & form.KIND == form.LOCAL else None

    def _number(self, place: int) -> int | None:
        if place & form.KIND != form.CONSTANT:
            return None
        return self.code.constants[place >> form.NUMBER]


def learned(known: Ranges, facts: Facts) -> Ranges:
    """What is known where `facts` hold besides."""
    for name, low, high in facts:
        before = known.get(name, (low, high))
        known = known | {name: (max(low, before[0]), min(high, before[1]))}
    return known


def _either(known: Ranges, others: Ranges) -> Ranges:
    return {
        name: (min(low, others[name][0]), max(high, others[name][1]))
        for name, (low, high) in known.items()
        if name in others
    }


def name_of(place: int) -> str:
    """The variable of a local or a temporary, and of a constant none."""
    kind = place & form.KIND
    return "" if kind == form.CONSTANT else f"{'tl'[kind]}{place >> form.NUMBER}"
