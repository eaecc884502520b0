"""From a flow graph to Python's loops and conditions (after Ramsey, "Beyond Relooper", 2022).

The blocks of a function, of a loop or of an arm are a series: each falls through to the next one's label.
Other ways forward leave a loop that runs once; where these would be many, a loop asks where to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tinywasm import records
from tinywasm.engine.ir import form
from tinywasm.engine.source.blocks import Block, Line, Unit
from tinywasm.engine.source.expressions import negated
from tinywasm.engine.source.graph import MOST_LOOPS, Graph, TooDeep
from tinywasm.engine.source.ranges import Known, Ranges
from tinywasm.interruption import look

# Python allows 100 levels of indentation.
_MOST_LEVELS = 80
# Arms in arms, beyond which a block gets a label.
_MOST_ARMS = 20
# With more labels than this to leave for, code asks where to go on.
_MOST_ONCE = 3


@records.record(eq=False)
class Jump:
    target: int


@records.record(eq=False)
class If:
    condition: str
    then: Code
    otherwise: Code


@records.record(eq=False)
class Table:
    """The first index of each run, and where that goes."""

    index: str
    runs: list[tuple[int, Code]]


@records.record(eq=False)
class Loop:
    head: int
    body: Code


@records.record(eq=False)
class Series:
    """Parts with their labels; that of the first is jumped to by nothing within."""

    parts: list[tuple[int, Code]]


@records.record(eq=False)
class Code:
    """Statements, and behind them at most one of the others; none where they never go on."""

    lines: Sequence[Line] = ()
    end: If | Table | Loop | Series | Jump | None = None


class Builder:
    """Makes the tree of a graph; `first` is what is known where it begins, `head` gives what comes before the
    statements of a block, `between` what comes on a way from one to another."""

    def __init__(
        self,
        unit: Unit,
        graph: Graph,
        first: Ranges,
        head: Callable[[int], list[Line]],
        between: Callable[[int, int], list[Line]],
    ) -> None:
        self.unit = unit
        # What blocks are where nothing is known before: how loops end is asked before they are made.
        self.unknowing: dict[int, Block] = {}
        self.known = Known(unit.code, graph, first, lambda number: self.run(number, {}).ends())
        self.graph = graph
        self.head = head
        self.between = between
        self.arms = 0
        # Labels that are to be placed in the series under way.
        self.work: list[int] = []

    def tree(self, number: int) -> Code:
        """A block and everything behind it that has no place elsewhere."""
        outside, self.work = self.work, [number]
        parts = []
        while self.work:
            number = self.work.pop(0)
            rest, self.work = self.work, []
            code = self.block(number)
            if number in self.graph.heads:
                self.work += self.graph.labels[number]
                code = Code((), Loop(number, self.whole(number, code)))
                self.work = self.graph.after[number] + rest
            else:
                self.work += self.graph.labels[number] + rest
            parts.append((number, code))
        self.work = outside
        return parts[0][1] if len(parts) == 1 else Code((), Series(parts))

    def whole(self, number: int, code: Code) -> Code:
        """The body of a loop: its head, and what is to be placed behind that."""
        parts = [(number, code)]
        while self.work:
            label = self.work.pop(0)
            parts.append((label, self.tree(label)))
        return code if len(parts) == 1 else Code((), Series(parts))

    def run(self, number: int, known: Ranges) -> Block:
        if not known and number in self.unknowing:
            return self.unknowing[number]
        block = Block(self.unit, self.graph.nodes[number], known)
        block.run()
        if not known:
            self.unknowing[number] = block
        return block

    def block(self, number: int) -> Code:
        look()
        node = self.graph.nodes[number]
        block = self.run(number, self.known.before(number))
        ends = block.ends()
        for target in node.successors:
            self.known.way(number, target, ends[target])
        lines = [*self.head(number), *block.lines]
        targets = node.successors
        row = node.exit.row if node.exit is not None else form.JUMP
        if (row == form.BRANCH_TABLE or len(targets) > 2) and len(set(targets)) > 1:
            starts = [place for place, each in enumerate(targets) if not place or targets[place - 1] != each]
            self.arms += len(starts).bit_length()
            runs = [(place, self.way(number, targets[place])) for place in starts]
            self.arms -= len(starts).bit_length()
            return Code(lines, Table(block.condition, runs))
        if len(targets) == 2 and row != form.BRANCH_TABLE:
            self.arms += 1
            taken, other = (self.way(number, target) for target in targets)
            self.arms -= 1
            then, otherwise = (taken, other) if block.holds else (other, taken)
            return Code(lines, If(block.condition, then, otherwise))
        if not targets:
            return Code(lines, None)
        if block.condition:
            lines.append(Line(block.condition))
        code = self.way(number, targets[0])
        return Code([*lines, *code.lines], code.end)

    def way(self, source: int, target: int) -> Code:
        """What comes on a way, and the code of a block where this is the only way to it, else a jump."""
        lines, code = self.between(source, target), self.reached(source, target)
        return Code([*lines, *code.lines], code.end) if lines else code

    def reached(self, source: int, target: int) -> Code:
        index = self.graph.index
        if index[target] <= index[source] or target in self.graph.labelled:
            return Code((), Jump(target))
        if self.arms >= _MOST_ARMS:
            self.work.append(target)
            return Code((), Jump(target))
        return self.tree(target)


@records.record(eq=False)
class _Around:
    """A Python loop around: where `break` and `continue` lead, None where nowhere.

    `states` has the labels that the loop asks for, each with its number. `crossing` are the loops farther
    out for which this one is left, and how those go on.
    """

    leaves: int | None
    again: int | None
    states: dict[int, int] = records.field(default_factory=dict)
    crossing: set[tuple[int, str]] = records.field(default_factory=set)

    def way(self, target: int) -> str:
        if target == self.again or target in self.states:
            return "continue"
        return "break" if target == self.leaves else ""


class Printer:
    """Prints a tree as Python text. Raises `TooDeep`."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.around: list[_Around] = []

    def line(self, level: int, text: str, position: int = -1) -> None:
        if level > _MOST_LEVELS:
            raise TooDeep
        if position >= 0:
            self.out[-1] += f"#{position}"
        self.out.append(" " * level + text)

    def lines(self, level: int, lines: Sequence[Line]) -> None:
        for line in lines:
            self.line(level, line.text, line.position)
            self.lines(level + 1, line.indented)

    def code(self, level: int, code: Code, fall: int | None) -> None:
        """Print, where falling off the end leads to block `fall`."""
        before = len(self.out)
        self.lines(level, code.lines)
        end = code.end
        if isinstance(end, Jump):
            self.jump(level, end.target, fall)
        elif isinstance(end, If):
            self.branch(level, end, fall)
        elif isinstance(end, Table):
            simple = end.index.isidentifier()
            if not simple:
                self.line(level, f"i = {end.index}")
            self.choose(level, end.index if simple else "i", end.runs, fall)
        elif isinstance(end, Loop):
            self.line(level, "while True:")
            self.enter(_Around(fall, end.head))
            self.code(level + 1, end.body, end.head)
            self.exit(level)
        elif isinstance(end, Series):
            self.series(level, end.parts, fall)
        if len(self.out) == before:
            self.line(level, "pass")

    def branch(self, level: int, end: If, fall: int | None) -> None:
        then, otherwise = end.then, end.otherwise
        if _falls(then, fall):
            if _falls(otherwise, fall):
                # Nothing to choose; the condition may trap.
                self.line(level, end.condition)
                return
            self.line(level, f"if {negated(end.condition)}:")
            self.code(level + 1, otherwise, fall)
            return
        self.line(level, f"if {end.condition}:")
        self.code(level + 1, then, fall)
        if _falls(otherwise, fall):
            return
        # Behind what never falls through nothing need be indented.
        if then.end is None or (isinstance(then.end, Jump) and not _falls(Code((), then.end), fall)):
            self.code(level, otherwise, fall)
        else:
            self.line(level, "else:")
            self.code(level + 1, otherwise, fall)

    def choose(self, level: int, index: str, runs: Sequence[tuple[int, Code]], fall: int | None) -> None:
        """Find the run of an index, halving."""
        if len(runs) == 1:
            self.code(level, runs[0][1], fall)
            return
        middle = len(runs) // 2
        self.line(level, f"if {index} < {runs[middle][0]}:")
        self.choose(level + 1, index, runs[:middle], fall)
        self.line(level, "else:")
        self.choose(level + 1, index, runs[middle:], fall)

    # Loops

    def jump(self, level: int, target: int, fall: int | None) -> None:
        if target == fall:
            return
        mark = next(mark for mark in range(len(self.around), 0, -1) if self.around[mark - 1].way(target))
        around = self.around[mark - 1]
        way = around.way(target)
        if target in around.states and target != around.again:
            self.line(level, f"y = {around.states[target]}")
        if mark == len(self.around):
            self.line(level, way)
            return
        # Through the loops between, each of which is left.
        for crossed in self.around[mark:]:
            crossed.crossing.add((mark, way))
        self.line(level, f"x = {_number(mark, way)}")
        self.line(level, "break")

    def enter(self, around: _Around) -> None:
        if len(self.around) >= MOST_LOOPS:
            raise TooDeep
        self.around.append(around)

    def exit(self, level: int) -> None:
        """Behind a loop that may have been left for one around it."""
        left = self.around.pop()
        if not left.crossing:
            return
        self.line(level, "if x:")
        for mark, way in sorted(left.crossing):
            if mark == len(self.around):
                self.line(level + 1, f"if x == {_number(mark, way)}:")
                self.line(level + 2, "x = 0")
                self.line(level + 2, way)
        if any(mark != len(self.around) for mark, _ in left.crossing):
            self.line(level + 1, "break")

    # Series

    def series(self, level: int, parts: Sequence[tuple[int, Code]], fall: int | None) -> None:
        labels = [label for label, _ in parts]
        places = {label: place for place, label in enumerate(labels)}
        if fall is not None and not (self.around and self.around[-1].way(fall)):
            places[fall] = len(parts)
        follows = [*labels[1:], fall]
        # By label that is left for, the first part that does so.
        first: dict[int, int] = {}
        for place, (_, code) in enumerate(parts):
            for target in _jumps(code, follows[place]):
                if places.get(target, 0) > place and target != follows[place]:
                    first.setdefault(places[target], place)
        spans = sorted((start, end) for end, start in first.items())
        self.spans(level, parts, follows, 0, len(parts), spans)

    def spans(
        self,
        level: int,
        parts: Sequence[tuple[int, Code]],
        follows: Sequence[int | None],
        low: int,
        high: int,
        spans: Sequence[tuple[int, int]],
    ) -> None:
        """Print some parts; what is within a span may leave for its end."""
        place = low
        while place < high:
            cluster = [span for span in spans if span[0] == place and span[1] <= high]
            if not cluster:
                self.code(level, parts[place][1], follows[place])
                place += 1
                continue
            end, size = max(end for _, end in cluster), 0
            while size != len(cluster):
                size = len(cluster)
                cluster = [span for span in spans if place <= span[0] < end]
                end = max(end for _, end in cluster)
            if len(cluster) > _MOST_ONCE:
                self.asking(level, parts, follows, place, end)
            else:
                self.line(level, "while True:")
                self.enter(_Around(follows[end - 1], None))
                inner = [span for span in cluster if span[1] < end]
                self.spans(level + 1, parts, follows, place, end, inner)
                self.line(level + 1, "break")
                self.exit(level)
            place = end

    def asking(
        self,
        level: int,
        parts: Sequence[tuple[int, Code]],
        follows: Sequence[int | None],
        low: int,
        high: int,
    ) -> None:
        """Parts in a loop that asks where to go on."""
        self.line(level, f"y = {low}")
        self.line(level, "while True:")
        states = {parts[place][0]: place for place in range(low, high)}
        self.enter(_Around(follows[high - 1], None, states))
        self.ask(level + 1, parts, low, high)
        self.exit(level)

    def ask(self, level: int, parts: Sequence[tuple[int, Code]], low: int, high: int) -> None:
        if high - low == 1:
            # Nothing falls off: each part says where to go on.
            self.code(level, parts[low][1], None)
            return
        middle = (low + high) // 2
        self.line(level, f"if y < {middle}:")
        self.ask(level + 1, parts, low, middle)
        self.line(level, "else:")
        self.ask(level + 1, parts, middle, high)


def _number(mark: int, way: str) -> int:
    return mark if way == "break" else -mark


def _falls(code: Code, fall: int | None) -> bool:
    """Whether it is nothing but falling through."""
    return not code.lines and isinstance(code.end, Jump) and code.end.target == fall


def _inner(code: Code, fall: int | None) -> Iterator[tuple[Code, int | None]]:
    """The parts of what ends the code, with what each falls through to."""
    end = code.end
    if isinstance(end, If):
        yield end.then, fall
        yield end.otherwise, fall
    elif isinstance(end, Table):
        for _, part in end.runs:
            yield part, fall
    elif isinstance(end, Loop):
        yield end.body, end.head
    elif isinstance(end, Series):
        follows = [*(label for label, _ in end.parts[1:]), fall]
        for (_, part), follow in zip(end.parts, follows, strict=True):
            yield part, follow


def _jumps(code: Code, fall: int | None) -> set[int]:
    """The targets of all jumps that do not fall through."""
    found: set[int] = set()
    stack = [(code, fall)]
    while stack:
        part, follow = stack.pop()
        if isinstance(part.end, Jump):
            if part.end.target != follow:
                found.add(part.end.target)
        else:
            stack += _inner(part, follow)
    return found
