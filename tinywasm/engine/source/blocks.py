"""From the records of a basic block to Python statements.

A temporary is not a variable of the Python function until it has to be: its expression stands where it is
used. One that acts keeps its turn: before a statement does anything that others may notice, those that are
older become variables. Before a variable changes, whatever reads it does.

A variable holds an exact value (see `expressions`), but a local that only arithmetic writes to may be loose.
Where an expression or statement may trap, it begins a line of its own, and the line before ends with its
position in the module, as a comment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from tinywasm import records
from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, Record
from tinywasm.engine.recursion import ROOM_SHIFT
from tinywasm.engine.source import expressions, objects, vectors
from tinywasm.engine.source.expressions import (
    MASKS,
    Facts,
    Value,
    condition,
    exact,
    integer,
    literal,
    not_zero,
    other,
    type_name,
    variable,
)
from tinywasm.engine.source.formulas import OPERATORS, ROUNDED
from tinywasm.engine.source.graph import Node
from tinywasm.engine.source.handlers import BROUGHT, THROWS, Clauses, bring, catches
from tinywasm.engine.source.ranges import Ranges, learned, name_of
from tinywasm.engine.source.tails import tail_call
from tinywasm.instructions import TABLE, Role
from tinywasm.numerics.floats import f32_from_bits, f64_from_bits
from tinywasm.runtime.space import BELOW_ALL
from tinywasm.types import FuncType
from tinywasm.validation import Context

if TYPE_CHECKING:
    from tinywasm.engine.source.early import Early


@records.record(eq=False)
class Unit:
    """What a function's blocks share: its module, its form, the types of its locals, which of these are
    loose, the positions of accesses that are aligned, the imports that are host functions, the memories that
    end early, the clauses of its handler regions, the names that its source uses beyond its own variables,
    each with what it stands for, the constants that were read, and what it returns at once."""

    context: Context
    index: int
    code: Form
    locals: list[str]
    loose: set[int]
    aligned: frozenset[int]
    metered: bool
    hosts: frozenset[int]
    ending: frozenset[int]
    clauses: dict[int, Clauses]
    names: dict[str, Any] = records.field(default_factory=dict)
    constants: dict[int, Value] = records.field(default_factory=dict)
    early: Early | None = None


class Line:
    """A statement of one line, or the head of an indented one, and its position if it may trap."""

    __slots__ = "indented", "position", "text"

    def __init__(self, text: str, position: int = -1, indented: tuple[Line, ...] = ()) -> None:
        self.text, self.position, self.indented = text, position, indented


# Memory accesses: the view's name, the size, its type, and the range of what it reads.
ACCESSES = {
    "i32.load": ("U32", 4, 0, expressions.M32),
    "i64.load": ("U64", 8, 0, expressions.M64),
    "f64.load": ("D64", 8, 0, 0),
    "f32.load": ("F32", 4, 0, 0),
    **{
        f"{type}.load{8 * size}_{sign}": (
            f"{sign.upper()}{8 * size}",
            size,
            -(1 << 8 * size >> 1) if sign == "s" else 0,
            (1 << 8 * size >> (sign == "s")) - 1,
        )
        for type, sizes in (("i32", (1, 2)), ("i64", (1, 2, 4)))
        for size in sizes
        for sign in "su"
    },
    "i32.store": ("U32", 4, 0, expressions.M32),
    "i64.store": ("U64", 8, 0, expressions.M64),
    "f64.store": ("D64", 8, 0, 0),
    "i32.store8": ("U8", 1, 0, 0xFF),
    "i32.store16": ("U16", 2, 0, 0xFFFF),
    "i64.store8": ("U8", 1, 0, 0xFF),
    "i64.store16": ("U16", 2, 0, 0xFFFF),
    "i64.store32": ("U32", 4, 0, expressions.M32),
}
# Where memories end that end early.
_ENDS = {"i32": BELOW_ALL, "i64": 1 << 48}
_SHIFTS = {1: 0, 2: 1, 4: 2, 8: 3}
# So many bytes are copied or filled at once: the reference does more in pieces, and meters them.
_AT_ONCE = 1 << 16
# A longer expression is not written twice; one that is longer still becomes a variable, so that expressions
# nest no deeper than Python's parser does.
_SHORT, _LONG = 40, 300


class Block:
    """The statements of one basic block, while they are made."""

    def __init__(self, unit: Unit, node: Node, known: Ranges) -> None:
        self.unit = unit
        self.node = node
        self.lines: list[Line] = []
        self.pending: dict[int, Value] = {}
        self.position = node.position
        self.fresh = 0
        # Of the exit: the operand of a branch, and whether a conditional one is taken where it holds.
        self.condition = ""
        self.holds = False
        self.known = {**known}
        # What is known beyond that where the exit goes to its first successor, and to its second.
        self.facts: tuple[Facts, Facts] = (), ()

    def run(self) -> None:
        for record in self.node.records:
            self.position = record.position
            self.turn_of_dropped(record)
            _RECORDS[record.row](self, record)
        if self.node.exit is not None:
            self.position = self.node.exit.position
            self.turn_of_dropped(self.node.exit)
            self.leave(self.node.exit)
        else:
            self.settle()

    def ends(self) -> dict[int, Ranges]:
        """What is known on the ways from here, by their targets."""
        targets = self.node.successors
        if len(set(targets)) < 2 or len(targets) > 2:
            return dict.fromkeys(targets, self.known)
        return {target: learned(self.known, facts) for target, facts in zip(targets, self.facts, strict=True)}

    def turn_of_dropped(self, record: Record) -> None:
        """Before a record, let all that acts have its turn, if some of it was dropped.

        What was dropped lies at or above the lowest of the record's temporaries and is not an operand. It is
        older than what the record makes, which may come to lie below it.
        """
        for value in self.pending.values():
            if value.acts:
                break
        else:
            return
        acting = {height for height, value in self.pending.items() if value.acts}
        operands = _heights(form.operands(self.unit.code, record))
        places = operands | _heights(form.results(self.unit.code, record))
        if places and max(acting - operands, default=-1) >= min(places):
            self.older()

    # Values

    def variable(self, name: str, type: str, loose: bool = False) -> Value:
        low, high = 0, MASKS.get(type, 0)
        if high and name in self.known:
            low, high = self.known[name]
        return Value(name, type, low, high, frozenset((name,)), False, True, "", loose)

    def read(self, place: int, type: str = "ref") -> Value:
        """The value at a place, which is used up if it is a temporary."""
        kind, number = place & form.KIND, place >> form.NUMBER
        if kind == form.CONSTANT:
            return self.constant(number)
        if kind == form.LOCAL:
            return self.variable(f"l{number}", self.unit.locals[number], number in self.unit.loose)
        value = self.pending.pop(number, None)
        if value is None:
            return self.variable(f"t{number}", type)
        return value.but(type=type, high=MASKS.get(type, 0)) if value.type == "ref" else value

    def constant(self, number: int) -> Value:
        found = self.unit.constants.get(number)
        if found is None:
            found = self.unit.constants[number] = self.constant_of(number)
        return found

    def constant_of(self, number: int) -> Value:
        code = self.unit.code
        kind, bits = code.kinds[number], code.constants[number]
        if kind == form.CONST_I32:
            return integer("i32", bits)
        if kind == form.CONST_I64:
            return integer("i64", bits & expressions.M64)
        if kind == form.CONST_NULL:
            return Value("None", "ref", simple=True)
        if kind == form.CONST_V128:
            return Value(literal(code.objects[bits]), "ref", simple=True)
        number_ = f32_from_bits(bits) if kind == form.CONST_F32 else f64_from_bits(bits & expressions.M64)
        type = "f32" if kind == form.CONST_F32 else "f64"
        if number_ == number_ and abs(number_) != float("inf"):
            return Value(f"({number_!r})" if number_ < 0 else repr(number_), type, simple=True)
        name = f"{type}_{bits & expressions.M64:x}"
        self.unit.names[name] = ("value", number_)
        return Value(name, type, simple=True)

    def operands(self, record: Record) -> list[Value]:
        """Those that are not acting, but may be made of others that are."""
        places, types = form.operands(self.unit.code, record), _types(record.row)
        if len(types) < len(places):
            types = (*types, *["ref"] * (len(places) - len(types)))
        return [self.read(place, type) for place, type in zip(places, types, strict=False)]

    def calm(self, value: Value) -> Value:
        """The operand as an expression that does not act: the result of one that does in a variable."""
        if not value.acts:
            return value
        self.older()
        (name,), value = self.variables(1), exact(value)
        self.say(f"{name} = {value.text}")
        return variable(name, value.type).but(low=value.low, high=value.high)

    def variables(self, count: int) -> list[str]:
        """Names that nothing else has here."""
        self.fresh += count
        return [f"v{number}" for number in range(self.fresh - count, self.fresh)]

    def say(self, text: str) -> None:
        """A statement that nobody notices."""
        self.lines.append(Line(text))

    def named(self, value: Value) -> Value:
        """The operand as a variable or a constant, which may be written more than once."""
        return value if value.simple else self.calm(value.but(acts=True))

    def repeated(self, value: Value) -> str:
        """What may be written more than once for a value that does not act."""
        if value.simple:
            return value.text
        (name,) = self.variables(1)
        self.say(f"{name} = {value.text}")
        return name

    def assign(self, name: str, value: Value) -> None:
        """Give a variable a value, after whatever reads what it had."""
        if value.acts:
            self.older()
        self.unread(name)
        if value.text != name:
            self.lines.append(Line(f"{name} = {value.text}"))
        self.learn(name, value)

    def learn(self, name: str, value: Value) -> None:
        """Remember the range of what a variable has been given."""
        if value.type in MASKS and (value.low > 0 or value.high < MASKS[value.type]):
            self.known[name] = value.low, value.high

    def unread(self, name: str) -> None:
        """Make variables of what reads a variable that is about to change."""
        self.known.pop(name, None)
        for height in [height for height, value in self.pending.items() if name in value.reads]:
            # This one may itself change what others read.
            if height in self.pending:
                self.spill(height)

    def spill(self, height: int) -> None:
        value = self.pending[height]
        if value.acts:
            # Those before it have their turn first.
            for other_height in sorted(self.pending):
                if other_height < height and self.pending[other_height].acts:
                    self.spill(other_height)
        del self.pending[height]
        name, value = f"t{height}", exact(value)
        self.unread(name)
        self.lines.append(Line(f"{name} = {value.text}"))
        self.learn(name, value)

    def older(self) -> None:
        """Let all that acts have its turn."""
        for height in sorted(self.pending):
            if height in self.pending and self.pending[height].acts:
                self.spill(height)

    def settle(self) -> None:
        """Make variables of all temporaries."""
        self.older()
        for height in sorted(self.pending):
            if height in self.pending:
                self.spill(height)

    def put(self, place: int, value: Value) -> None:
        """A result, to its place."""
        number = place >> form.NUMBER
        if place & form.KIND == form.LOCAL:
            self.assign(f"l{number}", value if number in self.unit.loose else exact(value))
            return
        self.pending[number] = value
        if len(value.text) > _LONG:
            self.spill(number)

    def act(self, text: str, indented: Iterable[Line] = ()) -> None:
        """A statement that others may notice."""
        self.older()
        self.lines.append(Line(text, self.position, tuple(indented)))

    def acting(self, value: Value) -> Value:
        """An expression that may trap here."""
        return value.but(text=f"(#{self.position}\n{value.text})", acts=True, simple=False)

    def use(self, name: str, *what: Any) -> str:
        """A name of the namespace, and what it stands for."""
        self.unit.names[name] = what
        return name

    # Instructions

    def numeric(self, record: Record) -> None:
        parts, make = self.operands(record), _MAKES[record.row]
        if make is not None:
            self.put(record.result, make(*parts))
            return
        row = TABLE[record.row]
        make = OPERATORS.get(row.name)
        if row.name in ROUNDED:
            value = ROUNDED[row.name](*parts)
            self.older_if(value)
            self.lines.append(Line(f"R[0] = {value.text}"))
            self.made_here(record.result, "R[0]", loose=True)
            return
        if row.name == "f64.div":
            self.put(record.result, self.division(parts))
            return
        if make is not None:
            value = make(*[self.calm(part) for part in parts])
            self.put(record.result, self.acting(value) if value.acts else value)
            return
        assert row.operator is not None
        immediates = [str(record.immediate)] if row.immediates else []
        if row.immediates and row.name == "i8x16.shuffle":
            immediates = [literal(self.unit.code.objects[record.immediate])]
        traps = "traps" in row.traits
        if traps:
            parts = [self.calm(part) for part in parts]
        texts = [exact(part).text for part in parts]
        text = f"{self.use(row.operator, 'operator')}({', '.join(texts + immediates)})"
        if row.leaves.fixed > 1:
            self.results(record, text)
            return
        value = other(text, type_name(row.results[0]), *parts)
        self.put(record.result, self.acting(value) if traps else value)

    def older_if(self, value: Value) -> None:
        if value.acts:
            self.older()

    def made_here(self, place: int, text: str, loose: bool = False) -> None:
        """Give a place its value by a statement at once."""
        name, number = name_of(place), place >> form.NUMBER
        if place & form.KIND == form.LOCAL:
            type = self.unit.locals[number]
            value = Value(text, type, 0, MASKS.get(type, 0), loose=loose)
            self.put(place, value)
            return
        self.pending.pop(number, None)
        self.unread(name)
        self.lines.append(Line(f"{name} = {text}"))
        if loose:
            self.pending[number] = variable(name, "f32", loose=True)

    def division(self, parts: list[Value]) -> Value:
        a, b = (self.calm(part) for part in parts)
        divide = self.use("f64_div", "operator")
        if b.simple:
            if b.text[0].isdigit() and float(b.text) != 0.0:
                return other(f"({a.text} / {b.text})", "f64", a, b, loose=True)
            return other(
                f"({a.text} / {b.text} if {b.text} else {divide}({a.text}, {b.text}))",
                "f64",
                a,
                b,
                loose=True,
            )
        return (
            other(f"({a.text} / z if (z := {b.text}) else {divide}({a.text}, z))", "f64", a, b, loose=True)
            if a.simple and a.text != "z"
            else other(f"{divide}({a.text}, {b.text})", "f64", a, b)
        )

    def move(self, record: Record) -> None:
        value = self.read(record.a)
        if record.result & form.KIND == form.TEMPORARY and (value.acts or value.reads):
            # Its turn is now: what follows may be older by height, and may change what it reads.
            self.pending.pop(record.result >> form.NUMBER, None)
            self.assign(name_of(record.result), exact(value))
            return
        self.put(record.result, value)

    def select(self, record: Record) -> None:
        places = (record.a, record.b, record.c)
        first, second, chosen = (self.read(place) for place in places)
        if chosen.type == "ref":
            chosen = chosen.but(type="i32", high=expressions.M32)
        first, second, chosen = (self.calm(value) for value in (first, second, chosen))
        type = first.type if first.type != "ref" else second.type
        first, second = exact(first), exact(second)
        text = f"({first.text} if {condition(chosen)} else {second.text})"
        value = expressions.made(
            text, type, min(first.low, second.low), max(first.high, second.high), first, second, chosen
        )
        if "ref" in (first.type, second.type):
            value = value.but(low=0, high=MASKS.get(type, 0))
        self.put(record.result, value)

    def memory(self, index: int, kind: str) -> str:
        """The name of a view of a memory."""
        return self.use(self.name_of(kind, index), "view", index, kind)

    def name_of(self, kind: str, index: int) -> str:
        return kind if index == 0 else f"{kind}_{index}"

    def load(self, record: Record) -> None:
        row = TABLE[record.row]
        kind, size, low, high = ACCESSES[row.name]
        address = self.calm(self.read(record.a, "i32"))
        index, offset = record.second, record.immediate & expressions.M64
        type = type_name(row.results[0])
        view, shift = self.memory(index, kind), _SHIFTS[size]
        self.reached(address, index, offset + size)
        if size == 1 or (record.position in self.unit.aligned and kind != "F32"):
            text = f"{view}[{_item(address, offset, shift)}]"
            self.put(record.result, self.acting(Value(text, type, low, high, address.reads)))
            return
        address = exact(address)
        at = f"{address.text} + {offset}" if offset else address.text
        slow = self.use(f"{view}_unaligned", "load", index, kind)
        if address.known:
            place = address.low + offset
            text = f"{view}[{place >> shift}]" if place % size == 0 else f"{slow}({place})"
        elif address.simple and offset % size == 0:
            text = f"{view}[{at} >> {shift}] if not {address.text} & {size - 1} else {slow}({at})"
        else:
            text = f"{view}[a >> {shift}] if not (a := {at}) & {size - 1} else {slow}(a)"
        value = Value(text, type, low, high, address.reads)
        if kind == "F32":
            # A signalling NaN is not what the view gives.
            again = "a" if "(a := " in text else at
            text = f"z if (z := {text}) == z else {slow}({again})"
            value = value.but(text=text)
        self.put(record.result, self.acting(value))

    def reached(self, address: Value, index: int, end: int) -> None:
        """Keep what an access up to `end` bytes from an address says of the variable that has this.

        The access may have its turn only later, but before anybody notices what was made of that.
        """
        if index in self.unit.ending and address.text in address.reads:
            most = _ENDS[address.type] - end
            if 0 <= address.low <= most < address.high <= MASKS[address.type]:
                self.known[address.text] = address.low, most

    def store(self, record: Record) -> None:
        row = TABLE[record.row]
        # Both are read before one has its turn, or the younger one would be the first.
        address, value = self.read(record.a, "i32"), self.read(record.b, type_name(row.params[1]))
        address = self.calm(address)
        index, offset = record.second, record.immediate & expressions.M64
        self.reached(address, index, offset + (4 if row.name == "f32.store" else ACCESSES[row.name][1]))
        if row.name == "f32.store":
            write = self.use(f"{self.name_of('F32', index)}_write", "store", index, "F32")
            self.act(f"{write}({_item(address, offset, 0)}, {exact(value).text})")
            return
        kind, size, _, mask = ACCESSES[row.name]
        view, shift = self.memory(index, kind), _SHIFTS[size]
        written = exact(value) if kind == "D64" else _low_bits(value, mask)
        if size == 1 or record.position in self.unit.aligned:
            self.act(f"{view}[{_item(address, offset, shift)}] = {written.text}")
            return
        address = exact(address)
        at = f"{address.text} + {offset}" if offset else address.text
        slow = self.use(f"{view}_write", "store", index, kind)
        if address.known:
            place = address.low + offset
            if place % size == 0:
                self.act(f"{view}[{place >> shift}] = {written.text}")
            else:
                self.act(f"{slow}({place}, {written.text})")
            return
        self.older()
        if not written.simple and (written.acts or len(written.text) > _SHORT):
            self.lines.append(Line(f"w = {written.text}"))
            written = Value("w", value.type)
        if address.simple and offset % size == 0:
            test = f"{address.text} & {size - 1}"
        else:
            self.lines.append(Line(f"a = {at}"))
            at, test = "a", f"a & {size - 1}"
        self.lines.append(Line(f"if {test}:", -1, (Line(f"{slow}({at}, {written.text})", self.position),)))
        self.lines.append(
            Line("else:", -1, (Line(f"{view}[{at} >> {shift}] = {written.text}", self.position),))
        )

    def global_get(self, record: Record) -> None:
        content = self.unit.context.globals[record.immediate]
        name = self.use(f"g{record.immediate}", "global", record.immediate)
        value = other(f"{name}.value", type_name(content.content), acts=content.mutable)
        self.put(record.result, value)

    def global_set(self, record: Record) -> None:
        value = exact(self.read(record.a))
        name = self.use(f"g{record.immediate}", "global", record.immediate)
        self.act(f"{name}.value = {value.text}")

    def call(self, record: Record) -> None:
        row = TABLE[record.row]
        places = form.operands(self.unit.code, record)[: record.b]
        results = form.results(self.unit.code, record)
        indirect = bool(row.takes.fixed)
        callee = self.calm(self.read(record.c, "i32")) if indirect else None
        args = [self.read(place) for place in places]
        if sum(value.acts for value in args) > (0 if indirect else 1):
            args = [self.calm(value) for value in args]
        below = self.unit.code.slots - self.unit.code.heights + record.base
        texts = [exact(value).text for value in args]
        deeper = (1 << ROOM_SHIFT) - below
        if callee is None:
            function = self.use(f"f{record.immediate}", "func", record.immediate)
            if record.immediate in self.unit.hosts:
                # A host function's own calls begin behind the whole frame.
                deeper = (1 << ROOM_SHIFT) - self.unit.code.slots
        else:
            self.older()
            function = self.callee(record, row.name, exact(callee))
        text = f"{function}({', '.join([*texts, f'p - {deeper}'])})"
        early = self.unit.early
        if early is not None and callee is None and record.immediate == self.unit.index:
            names = [self.repeated(exact(value)) for value in args if not value.acts]
            if len(names) == len(args):
                text = early.call(names, f"{function}({', '.join([*names, f'p - {deeper}'])})")
        if callee is None and len(results) == 1:
            # Its turn may come within an expression.
            signature = self.unit.context.funcs[record.immediate].composite
            assert isinstance(signature, FuncType)
            type = type_name(signature.results[0])
            self.put(results[0], self.acting(other(text, type, *args)))
            return
        self.results(record, text, self.position)

    def results(self, record: Record, text: str, position: int = -1) -> None:
        """Give all results of a record their values by a statement at once."""
        places = form.results(self.unit.code, record)
        names = [name_of(place) for place in places]
        self.older()
        for name in names:
            self.unread(name)
        for place in places:
            if place & form.KIND == form.TEMPORARY:
                # What was dropped there.
                self.pending.pop(place >> form.NUMBER, None)
        self.lines.append(Line(f"{', '.join(names)} = {text}" if names else text, position))

    def callee(self, record: Record, name: str, value: Value) -> str:
        """Look up what is called, and say how to call it."""
        if name == "call_ref":
            self.lines.append(Line(f"c = {value.text}"))
            self.lines.append(Line("if c is None:", -1, (Line("null_function()", self.position),)))
        else:
            table = record.second & expressions.M32
            type = record.immediate
            elements = self.use(f"e{table}", "table", table)
            wanted = self.use(f"y{type}", "type", type)
            index = value.text if value.simple else "i"
            if not value.simple:
                self.lines.append(Line(f"i = {value.text}"))
            self.lines.append(Line(f"c = {elements}[{index}]", self.position))
            self.lines.append(
                Line(
                    f"if c is None or c.type is not {wanted}:",
                    -1,
                    (Line(f"check_callee(c, {index}, {wanted})", self.position),),
                )
            )
        return "(c.fast or stub(c))"

    def bulk(self, record: Record) -> None:
        """`memory.copy` and `memory.fill`, most of which write little."""
        if self.unit.metered:
            self.generic(record)
            return
        filling = TABLE[record.row].name == "memory.fill"
        to, source = record.immediate, record.immediate if filling else record.second
        memories = [self.unit.context.memories[index] for index in (to, source)]
        types = [type_name(memory.address) for memory in memories]
        types = [types[0], "i32" if filling else types[1], min(types)]
        places = form.operands(self.unit.code, record)
        values = [exact(self.read(place, type)) for place, type in zip(places, types, strict=True)]
        first, second, count = (self.calm(self.named(value)) for value in values)
        tests = [f"{count.text} <= {_AT_ONCE}"] if count.high > _AT_ONCE else []
        for start, index in ((first, to),) if filling else ((first, to), (second, source)):
            memory = self.unit.context.memories[index]
            if start.high + count.high > memory.limits.min * memory.page_size:
                tests.append(f"{start.text} + {count.text} <= {self.memory(index, 'N')}")
        target = f"{self.use(f'M{to}', 'bytes', to)}[{first.text} : {first.text} + {count.text}]"
        if filling:
            text = f"{target} = BYTES[{_low_bits(second, 0xFF).text}] * {count.text}"
        elif to == source:
            text = f"M{to}.move({first.text}, {second.text}, {count.text})"
        else:
            read = self.use(f"M{source}", "bytes", source)
            text = f"{target} = {read}[{second.text} : {second.text} + {count.text}]"
        if not tests:
            self.act(text)
            return
        slow = self.use(f"x{self.unit.index}_{record.position}", "step", record)
        slow = f"{slow}({first.text}, {second.text}, {count.text})"
        self.act(f"if {' and '.join(tests)}:", [Line(text)])
        self.lines.append(Line("else:", -1, (Line(slow, self.position),)))

    def generic(self, record: Record) -> None:
        """Whatever else there is, by the step of the reference."""
        places = form.operands(self.unit.code, record)
        operands = [self.read(place) for place in places]
        texts = [exact(self.calm(value)).text for value in operands]
        name = self.use(f"x{self.unit.index}_{record.position}", "step", record)
        self.results(record, f"{name}({', '.join(texts)})", self.position)

    # Exits

    def leave(self, record: Record) -> None:
        row = record.row
        self.holds = row in (form.BRANCH_IF, form.BRANCH_NULL, form.BRANCH_CAST)
        if row == form.RETURN:
            places = form.operands(self.unit.code, record)
            results = [self.read(place) for place in places]
            if sum(value.acts for value in results) > 1:
                results = [self.calm(value) for value in results]
            texts = [exact(value).text for value in results]
            self.older()
            self.lines.append(Line(f"return {_listed(texts)}" if texts else "return"))
            self.pending.clear()
        elif row == form.JUMP:
            self.settle()
        elif row in (form.BRANCH_IF, form.BRANCH_UNLESS, form.BRANCH_TABLE):
            value = self.read(record.a, "i32")
            # What settles gives temporaries their values, and one may be what the operand reads.
            if value.reads & {f"t{height}" for height in self.pending}:
                self.older()
                self.lines.append(Line(f"i = {exact(value).text}"))
                value = Value("i", value.type, 0, MASKS[value.type])
            self.settle()
            if row == form.BRANCH_TABLE:
                self.condition = exact(value).text
                return
            self.condition = condition(value)
            facts = (value.holds, value.fails) if value.condition else not_zero(exact(value))
            self.facts = facts if self.holds else facts[::-1]
        elif row in (form.BRANCH_NULL, form.BRANCH_NON_NULL):
            self.settle()
            self.condition = f"{self.read(record.a).text} is None"
        elif row in (form.BRANCH_CAST, form.BRANCH_CAST_FAIL):
            self.settle()
            self.condition = objects.is_instance(self, self.read(record.a).text, record.second)
        elif row < form.BLOCK and form.CALLS[row] and TABLE[row].role is Role.LEAVES:
            tail_call(self, record)
        elif catches(self.node):
            self.attempt(record)
        else:
            self.generic(record)

    def attempt(self, record: Record) -> None:
        """A call or a throw that clauses may catch: it leaves the number of the way to go in a variable."""
        self.older()
        operands = _heights(form.operands(self.unit.code, record))
        for height in sorted(self.pending):
            if height in self.pending and height not in operands:
                self.spill(height)
        first = len(self.lines)
        _RECORDS[record.row](self, record)
        self.settle()
        tried = self.lines[first:]
        del self.lines[first:]
        region = self.node.region
        clauses = self.use(f"h{self.unit.index}_{region}", "clauses", *self.unit.clauses[region])
        caught = [Line(f"n, brought = catch(thrown, {clauses})")]
        if record.row in THROWS:
            caught.append(Line("n -= 1"))
        else:
            tried.append(Line("n = 0"))
        self.lines.append(Line("try:", -1, tuple(tried)))
        self.lines.append(Line("except WasmException as thrown:", -1, tuple(caught)))
        self.condition = "n"


def _heights(places: Iterable[int]) -> set[int]:
    """Of places, those of temporaries."""
    return {place >> form.NUMBER for place in places if place & form.KIND == form.TEMPORARY}


def _item(address: Value, offset: int, shift: int) -> str:
    """The number of the item at an address that is a multiple of its size."""
    if shift and address.base and address.shift >= shift:
        more, mask = address.shift - shift, MASKS[address.type]
        text = f"({address.base} << {more})" if more else address.base
        if address.low < 0 or address.high > mask:
            text = f"({text} & {mask >> shift})"
        return f"{text} + {offset >> shift}" if offset else text
    address = exact(address)
    if address.known:
        return str(address.low + offset >> shift)
    text = f"{address.text} + {offset}" if offset else address.text
    return f"{text} >> {shift}" if shift else text


def _low_bits(value: Value, mask: int) -> Value:
    """What is stored of an integer."""
    if value.low >= 0 and value.high <= mask:
        return value
    if value.known:
        return integer(value.type, value.low & mask)
    return value.but(text=f"{value.text} & {mask}", simple=False)


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


_NAMED: dict[str, Callable[[Block, Record], None]] = {
    "select": Block.select,
    "global.get": Block.global_get,
    "global.set": Block.global_set,
    "memory.copy": Block.bulk,
    "memory.fill": Block.bulk,
    **objects.NAMED,
    **vectors.NAMED,
}


# How instructions that never trap read as expressions.
_MAKES = [None if "traps" in row.traits else OPERATORS.get(row.name) for row in TABLE]


@cache
def _types(row: int) -> tuple[str, ...]:
    """The types of an instruction's operands, as far as the table says them."""
    return tuple(map(type_name, TABLE[row].params)) or ("ref",) * 3


def _how(row: int) -> Callable[[Block, Record], None]:
    if row == BROUGHT:
        return bring
    if row >= form.BLOCK:
        return Block.move
    instruction = TABLE[row]
    if form.CALLS[row]:
        return Block.call
    if instruction.name in _NAMED:
        return _NAMED[instruction.name]
    if instruction.operator is not None:
        return Block.numeric
    if instruction.name in ACCESSES or instruction.name == "f32.store":
        return Block.load if instruction.results else Block.store
    return Block.generic


_RECORDS = [_how(row) for row in range(len(form.NAMES))]


def locals_of(context: Context, index: int, counts: Sequence[tuple[int, Any]]) -> list[str]:
    """The types of a function's locals, its parameters among them."""
    signature = context.funcs[index].composite
    assert isinstance(signature, FuncType)
    found = [type_name(type) for type in signature.params]
    for count, type in counts:
        found += [type_name(type)] * count
    return found
