"""From a function's form to the source of a Python function.

It takes the parameters, or at the head of a running loop all variables, and then its place `p` (see
`running`). It returns nothing, the result, or a tuple of results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from tinywasm import records
from tinywasm.engine.ir import form
from tinywasm.engine.ir.build import build
from tinywasm.engine.ir.form import Form
from tinywasm.engine.recursion import SMALL_FRAME
from tinywasm.engine.source.alignment import WORD, ZERO, Flow, pointers
from tinywasm.engine.source.blocks import ACCESSES, Line, Unit, locals_of
from tinywasm.engine.source.early import early
from tinywasm.engine.source.expressions import MASKS
from tinywasm.engine.source.foresight import asking, read_first
from tinywasm.engine.source.graph import (
    Graph,
    Node,
    TooDeep,
    everything,
    flat_graph,
    from_head,
    graph,
    nodes,
)
from tinywasm.engine.source.handlers import split
from tinywasm.engine.source.ranges import Ranges
from tinywasm.engine.source.structure import Builder, Printer
from tinywasm.instructions import TABLE
from tinywasm.numerics.operators import OPERATORS
from tinywasm.syntax import Function
from tinywasm.types import F32, F64, I32, I64, V128
from tinywasm.validation import Context

_ARITHMETIC = {
    row.ordinal
    for row in TABLE
    if row.operator is not None and row.results and row.name.split(".")[1] not in ("neg", "abs", "copysign")
    and "reinterpret" not in row.name and "lane" not in row.name
}  # fmt: skip
# Those of f32 do not ask.
_SIZES = {
    row.ordinal: ACCESSES[row.name][1] for row in TABLE if row.name in ACCESSES and row.name != "f32.load"
}
_ZEROS: dict[object, str] = {I32: "0", I64: "0", F32: "0.0", F64: "0.0", V128: repr(bytes(16))}
# In place of a block: the whole function, whatever it is called with.
PLAIN = -1
# More would take seconds.
_MOST_RECORDS, _MOST_TEXT = 30_000, 2_000_000
# Beyond so many blocks, code asks where to go on after each.
_MOST_STRUCTURED = 6_000
# What is quick to find; not all that looks like a variable is one.
_CALLED = re.compile(r"[if](?:32|64)_\w+(?=\()")
_VARIABLE = re.compile(r"[lt]\d+")


@records.record(frozen=True)
class Source:
    """A function's text, what it takes before `p`, and the names that it uses. On the reference its
    frame takes `slots`."""

    text: str
    takes: tuple[str, ...]
    names: dict[str, tuple[Any, ...]]
    slots: int

    @property
    def tails(self) -> bool:
        """Whether it may leave a tail call to do."""
        return "return Tail(" in self.text or "return tail(" in self.text

    def position(self, line: int) -> int | None:
        """The position of what may trap on a line, counted from 1: the line before ends with it.

        None where the function has handed over to the reference.
        """
        _, sign, position = self.text.split("\n", line - 1)[line - 2].rpartition("#")
        return int(position) if sign else None


class Declined(Exception):
    """This tier does not do what the function does."""


class Translation:
    """A function of a module, which may be entered at its beginning and at the heads of its loops."""

    def __init__(
        self,
        context: Context,
        index: int,
        function: Function,
        metered: bool,
        hosts: frozenset[int],
        ending: frozenset[int],
    ) -> None:
        """Raises `Declined`, and as `build` does."""
        self.context = context
        self.index = index
        self.hosts = hosts
        self.ending = ending
        self.code = build(context, index, function)
        if self.code.slots > SMALL_FRAME:
            raise Declined("a large frame")
        if len(self.code.code) > _MOST_RECORDS * form.STRIDE:
            raise Declined("much code")
        try:
            self.nodes, self.clauses = split(self.code, nodes(self.code))
        except TooDeep:
            raise Declined("many handlers") from None
        if any(record.row == form.MOVE_ROW for node in self.nodes.values() for record in node.records):
            raise Declined("many values in a row")
        self.locals = locals_of(context, index, function.locals)
        self.zeros = [_ZEROS.get(type, "None") for count, type in function.locals for _ in range(count)]
        self.loose = _loose(self.code, self.nodes, self.locals, self.params)
        zeros = bytes(self.params) + bytes([ZERO]) * (len(self.locals) - self.params)
        flow = Flow(self.code, self.nodes, _SIZES)
        self.aligned = flow.aligned(self.entry, zeros)
        numbers = [number for number in range(self.params) if self.locals[number] == "i32"]
        globals = [index for index, type in enumerate(context.globals) if type.content is I32]
        self.pointers = None
        if any(
            _SIZES.get(record.row) == 4 and record.position not in self.aligned for record in self._records()
        ):
            self.pointers = pointers(flow, self.entry, zeros, numbers, globals)
        # What is charged cannot be done again.
        asked = {self.entry} if metered else asking(self.nodes, self.entry, self.params, self.code)
        self.asking = asked
        self.metered = metered

    @property
    def params(self) -> int:
        signature: Any = self.context.funcs[self.index].composite
        return len(signature.params)

    @property
    def entry(self) -> int:
        return self.code.code[form.IMMEDIATE]

    def _records(self) -> Iterator[form.Record]:
        return chain.from_iterable(node.records for node in self.nodes.values())

    def source(self, block: int) -> Source:
        """The function from one of its blocks on, or for `PLAIN` one that takes no pointers for aligned."""
        guess = self.pointers if block == self.entry else None
        block = self.entry if block == PLAIN else block
        unit = Unit(
            self.context,
            self.index,
            self.code,
            self.locals,
            self.loose,
            self.aligned if guess is None else guess.aligned,
            self.metered,
            self.hosts,
            self.ending,
            self.clauses,
        )
        unit.early = early(unit, self.nodes, self.entry, self.params)
        try:
            text = self._print(unit, self._graph(block), flat=False)
        except TooDeep:
            text = self._print(unit, flat_graph(self.nodes, block), flat=True)
        if len(text) > _MOST_TEXT:
            raise Declined("much code")
        if block == self.entry:
            takes = tuple(f"l{number}" for number in range(self.params))
            first = self._zeros()
            if self.entry in self.asking:
                first = [f" {self._question().text}", f"  {self._question().indented[0].text}", *first]
            if guess is not None:
                for number in guess.globals:
                    unit.names[f"g{number}"] = ("global", number)
                unit.names[f"A{self.index}"] = ("plain", self.index)
                names = [
                    *(f"l{number}" for number in guess.params),
                    *(f"g{number}.value" for number in guess.globals),
                ]
                args = ", ".join([*takes, "p"])
                first = [f" if ({' | '.join(names)}) & {WORD}:", f"  return A{self.index}({args})", *first]
        else:
            most = {"l": len(self.locals), "t": self.code.heights}
            found = sorted(set(_VARIABLE.findall(text)))
            takes = tuple(name for name in found if int(name[1:]) < most[name[0]])
            first = []
        if "if x:\n" in text:
            first.append(" x = 0")
        unit.names[f"R{self.index}"] = ("reference", self.index)
        head = f"def f({', '.join((*takes, 'p'))}):"
        text = "\n".join([head, *first, text])
        called = {name: ("operator",) for name in set(_CALLED.findall(text)) if name in OPERATORS}
        return Source(text, takes, called | unit.names, self.code.slots)

    def _graph(self, block: int) -> Graph:
        """Raises `TooDeep`."""
        found = self.nodes
        if len(found) > _MOST_STRUCTURED:
            raise TooDeep
        if block != self.entry:
            found = from_head(found, graph(found, self.entry), block)
        return graph(found, block)

    def _print(self, unit: Unit, shape: Graph, flat: bool) -> str:
        """The text of the lines, each with its end."""
        printer = Printer()
        printer.out.append("")
        zeros: Ranges = {}
        if shape.entry == self.entry:
            zeros = {
                f"l{number}": (0, 0)
                for number, type in enumerate(self.locals)
                if number >= self.params and type in MASKS
            }
        builder = Builder(unit, shape, zeros, lambda number: self._head(unit, shape, number), self._between)
        if flat:
            parts = [(number, builder.block(number)) for number in shape.index]
            printer.asking(1, parts, [None] * len(parts), 0, len(parts))
        else:
            printer.code(1, builder.tree(shape.entry), None)
        return "\n".join([*(printer.out[1:] if not printer.out[0] else printer.out), ""])

    def _head(self, unit: Unit, shape: Graph, number: int) -> list[Line]:
        """What comes before the statements of a block."""
        lines = []
        node = shape.nodes[number]
        if number in shape.heads:
            lines.append(Line("if POLL:", -1, (Line("B.poll()", node.position),)))
        if unit.metered and node.fuel:
            lines.append(Line(f"if S.fuel < {node.fuel}:", -1, (Line("raise OutOfFuel", node.position),)))
            lines.append(Line(f"S.fuel -= {node.fuel}"))
        return lines

    def _question(self) -> Line:
        """Whether calls may go deeper. If not, the reference does all over again."""
        args = [*(f"l{number}" for number in range(self.params)), "p"]
        return Line("if p < LEAST:", -1, (Line(f"return R{self.index}({', '.join(args)})"),))

    def _between(self, source: int, target: int) -> list[Line]:
        """What comes on a way from one block to another."""
        return [self._question()] if source == self.entry and target in self.asking else []

    def _zeros(self) -> list[str]:
        """The declared locals' first values, where they are wanted."""
        groups: dict[str, list[str]] = {}
        for number in sorted(read_first(self.nodes, self.entry, self.code)):
            if number >= self.params:
                groups.setdefault(self.zeros[number - self.params], []).append(f"l{number}")
        return [f" {' = '.join(names)} = {zero}" for zero, names in groups.items()]


def _loose(code: Form, found: dict[int, Node], locals: Sequence[str], params: int) -> set[int]:
    """Locals of floats to which nothing but arithmetic writes."""
    loose = {number for number in range(params, len(locals)) if locals[number] in ("f32", "f64")}
    for node in found.values():
        for record in everything(node):
            for place in form.results(code, record):
                if place & form.KIND == form.LOCAL and not _computes(code, record, loose):
                    loose.discard(place >> form.NUMBER)
    return loose


def _computes(code: Form, record: form.Record, loose: set[int]) -> bool:
    if record.row < form.BLOCK:
        return record.row in _ARITHMETIC
    if record.a & form.KIND != form.CONSTANT:
        return False
    number = record.a >> form.NUMBER
    exponent = 0x7FF0000000000000 if code.kinds[number] == form.CONST_F64 else 0x7F800000
    return code.constants[number] & exponent != exponent
