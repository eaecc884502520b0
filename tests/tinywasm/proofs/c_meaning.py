"""What C code does, as terms of the SMT solver: all paths through a statement, each with its condition.

The machine has what the arms of the loop change: the frame as an array from slot numbers to 64 bits, the
memory as an array of bytes, the globals, the fuel, the program counter. Integers are bit vectors and follow
C's conversions. A float is its bits; comparisons and the conversions between the two formats are those of
the solver's theory of floats.

What is hard for a solver is left open: of products, quotients and shifts by an unknown number, and of
all arithmetic of floats, it knows only that they are functions of their operands, that products and float
sums commute, and that floats do not look at a NaN's payload. What is proved holds whatever the functions
are, so for the true ones as well, with whatever payload a processor gives a NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

import z3

from tests.tinywasm.proofs import c_syntax
from tests.tinywasm.proofs.c_syntax import Tree

BITS = {f"{sign}int{bits}_t": bits for sign in ("", "u") for bits in (8, 16, 32, 64)}
SYNONYMS = {"int": "int32_t", "unsigned": "uint32_t"}
FORMATS = {"float": (32, z3.Float32(), 0x7F800000), "double": (64, z3.Float64(), 0x7FF0000000000000)}


# The functions that are left open, by their names: `double+`, `uint32_t<<`.
OPEN: dict[str, Any] = {}


class Value(NamedTuple):
    """A C value: an integer or a float as its bits, a truth value, a vector, or a `Place`."""

    type: str
    term: Any


class Place(NamedTuple):
    """Where a pointer leads: into the frame (a slot), the memory (a byte), or a variable, of a level and a
    name (a byte of it).
    """

    space: Any
    offset: Any


class Exit(NamedTuple):
    """How a statement is left: by its end, with a value, or to a label of the loop."""

    kind: str
    value: Any = None


END = Exit("end")


@dataclass
class Machine:
    """A state on one path, on the condition `path`.

    `words` are the fields of the words that are known, by their distance from where the path began. `apart`
    are pairs of slots, by the ids of their terms, that are known not to be the same; who gives them keeps the
    terms. `levels` are the variables of the functions that are under way, those of the loop first.
    """

    words: dict[int, dict[str, Any]]
    state: dict[str, Any]
    apart: frozenset[tuple[int, int]] = frozenset()
    levels: list[dict[str, Value]] = field(default_factory=lambda: [{"trap": _number(0)}])
    path: list[Any] = field(default_factory=list)

    def copy(self, condition: Any = None) -> Machine:
        path = self.path if condition is None else [*self.path, condition]
        return replace(self, state=dict(self.state), levels=[dict(level) for level in self.levels], path=path)

    def slot(self, number: Any) -> Any:
        """What a slot holds.

        The solver is not asked about slots that are known to be others: they are left out, and where two of
        the rest are not the same, they come in one order.
        """
        frame = self.state["frame"]
        stores: list[tuple[Any, Any]] = []
        while z3.is_store(frame):
            before, at, value = frame.children()
            if not stores and at.eq(number):
                return value
            if (at.get_id(), number.get_id()) not in self.apart:
                stores.append((at, value))
            frame = before
        stores.reverse()
        for last in range(1, len(stores)):
            at = last
            while at and self._may_change_places(stores[at - 1][0], stores[at][0]):
                stores[at - 1 : at + 1] = stores[at], stores[at - 1]
                at -= 1
        for at, value in stores:
            frame = z3.Store(frame, at, value)
        return frame[number]

    def _may_change_places(self, first: Any, second: Any) -> bool:
        one, other = first.get_id(), second.get_id()
        return one > other and (one, other) in self.apart


Outcome = tuple[Machine, Exit]


def initial(words: dict[int, dict[str, Any]]) -> Machine:
    """A machine that knows nothing of its frame, its memory and its fuel, at its first word."""
    long, wide = z3.BitVecSort(64), z3.BitVecSort(64)
    return Machine(
        words,
        {
            "pc": z3.BitVecVal(min(words), 64),
            "frame": z3.Array("frame", long, wide),
            "memory": z3.Array("memory", long, z3.BitVecSort(8)),
            "memory_size": z3.BitVec("memory_size", 64),
            "globals": z3.Array("globals", long, wide),
            "fuel": z3.BitVec("fuel", 64),
            "budget": z3.BitVec("budget", 64),
            "last_loop": z3.BitVec("last_loop", 64),
        },
    )


def _number(value: int, type: str = "int32_t") -> Value:
    return Value(type, z3.BitVecVal(value, BITS[type]))


# Conversions


def truth(value: Value) -> Any:
    """Whether a value is not zero."""
    if value.type == "truth":
        return value.term
    assert value.type in BITS, value
    return value.term != 0


def convert(value: Value, type: str) -> Value:
    """A value as one of another type."""
    type = SYNONYMS.get(type, type)
    if value.type == type or type.endswith("*"):
        return value
    if value.type == "truth":
        value = Value("int32_t", z3.If(value.term, z3.BitVecVal(1, 32), z3.BitVecVal(0, 32)))
    if type in BITS and value.type in BITS:
        return Value(type, _resized(value.term, BITS[type], value.type[0] == "u"))
    if type in FORMATS and value.type in FORMATS:
        _, format, _ = FORMATS[type]
        return _rounded(type, z3.fpFPToFP(z3.RNE(), real(value), format))
    assert type in FORMATS or value.type in FORMATS, (value, type)
    bits = BITS.get(type) or FORMATS[type][0]
    return Value(
        type, _operation(f"{value.type} to {type}", value.term.sort(), z3.BitVecSort(bits))(value.term)
    )


def _resized(term: Any, bits: int, unsigned: bool) -> Any:
    more = bits - term.size()
    if more > 0:
        return z3.ZeroExt(more, term) if unsigned else z3.SignExt(more, term)
    return z3.Extract(bits - 1, 0, term) if more else term


def real(value: Value) -> Any:
    """A float as the number of the theory."""
    known = _NUMBERS.get(value.term.get_id())
    return z3.fpBVToFP(value.term, FORMATS[value.type][1]) if known is None else known[1]


def is_nan(value: Value) -> Any:
    """Whether a float is a NaN."""
    bits, _, infinity = FORMATS[value.type]
    if z3.is_app_of(value.term, z3.Z3_OP_ITE) and value.term.arg(1).get_id() in _NANS:
        return value.term.arg(0)
    return z3.simplify(z3.UGT(value.term & z3.BitVecVal((1 << bits - 1) - 1, bits), infinity))


# Numbers whose bits were taken, with those, by the ids of the bits.
_NUMBERS: dict[int, tuple[Any, Any]] = {}
# NaNs that operators have made, by the ids of their terms, which are kept.
_NANS: dict[int, Any] = {}


def _with_payload(value: Value, nan: Any) -> Value:
    """The value, or where it is a NaN one with any payload, each time another."""
    bits, _, infinity = FORMATS[value.type]
    fresh = z3.FreshConst(z3.BitVecSort(bits), "payload") | z3.BitVecVal(infinity | 1, bits)
    _NANS[fresh.get_id()] = fresh
    return Value(value.type, z3.If(nan, fresh, value.term))


def _rounded(type: str, number: Any) -> Value:
    value = _with_payload(Value(type, z3.fpToIEEEBV(number)), z3.fpIsNaN(number))
    _NUMBERS[value.term.get_id()] = value.term, number
    return value


def _operation(name: str, *sorts: Any) -> Any:
    return OPEN.setdefault(name, z3.Function(name, *sorts))


def arithmetic(operator: str, *operands: Value) -> Value:
    """The sum, product or anything else of floats."""
    type = operands[0].type
    bits, _, infinity = FORMATS[type]
    quiet = z3.BitVecVal(infinity | infinity >> 1 & ~(infinity << 1), bits)
    made = _open(operator, type, *(z3.If(is_nan(each), quiet, each.term) for each in operands))
    return _with_payload(made, is_nan(made))


def _open(operator: str, type: str, *operands: Any) -> Value:
    """The result of an operator of which the solver is not told more than that it is a function."""
    operation = _operation(f"{type}{operator}", *[operands[0].sort()] * (len(operands) + 1))
    if operator in ("+", "*"):
        # It is told that either order is the same: the greater operand comes first.
        return Value(type, z3.If(z3.UGE(*operands), operation(*operands), operation(*reversed(operands))))
    return Value(type, operation(*operands))


def _common(left: Value, right: Value) -> tuple[Value, Value]:
    """Both operands in the type in which C computes."""
    for type in ("double", "float"):
        if type in (left.type, right.type):
            return convert(left, type), convert(right, type)
    left, right = _promoted(left), _promoted(right)
    bits = max(BITS[left.type], BITS[right.type])
    unsigned = any(each.type[0] == "u" and BITS[each.type] == bits for each in (left, right))
    type = f"{'u' if unsigned else ''}int{bits}_t"
    return convert(left, type), convert(right, type)


def _promoted(value: Value) -> Value:
    return convert(value, "int32_t") if value.type == "truth" or BITS[value.type] < 32 else value


_COMPARISONS: dict[str, tuple[Any, Any, Any]] = {
    # of unsigned integers, signed ones, floats
    "==": (lambda a, b: a == b, lambda a, b: a == b, z3.fpEQ),
    "!=": (lambda a, b: a != b, lambda a, b: a != b, z3.fpNEQ),
    "<": (z3.ULT, lambda a, b: a < b, z3.fpLT),
    ">": (z3.UGT, lambda a, b: a > b, z3.fpGT),
    "<=": (z3.ULE, lambda a, b: a <= b, z3.fpLEQ),
    ">=": (z3.UGE, lambda a, b: a >= b, z3.fpGEQ),
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
}


def binary(operator: str, left: Value, right: Value) -> Value:
    """An operator of two values."""
    if operator in ("<<", ">>"):
        left = _promoted(left)
        count = _resized(_promoted(right).term, BITS[left.type], right.type[0] == "u")
        if not z3.is_bv_value(z3.simplify(count)):
            return _open(operator, left.type, left.term, count)
        if operator == "<<":
            return Value(left.type, left.term << count)
        return Value(left.type, z3.LShR(left.term, count) if left.type[0] == "u" else left.term >> count)
    if left.type.endswith("*"):
        assert operator == "+"
        return Value(left.type, _moved(left, right))
    left, right = _common(left, right)
    if operator in _COMPARISONS:
        if operator == "!=" and left.type in FORMATS and left.term.eq(right.term):
            return Value("truth", is_nan(left))
        unsigned, signed, of_floats = _COMPARISONS[operator]
        if left.type in FORMATS:
            return Value("truth", of_floats(real(left), real(right)))
        return Value("truth", (unsigned if left.type[0] == "u" else signed)(left.term, right.term))
    if left.type in FORMATS:
        return arithmetic(operator, left, right)
    if operator in "*/%" and not any(z3.is_bv_value(each.term) for each in (left, right)):
        return _open(operator, left.type, left.term, right.term)
    return Value(left.type, _ARITHMETIC[operator](left.term, right.term))


def _moved(pointer: Value, distance: Value) -> Place:
    """Where a pointer leads that is moved by so many elements."""
    space, offset = pointer.term
    if not isinstance(space, str):
        # Into a variable, so many bytes.
        return Place(space, offset + constant(distance) * _size(pointer.type[:-1]))
    term = convert(distance, "int64_t").term
    at_start = z3.is_bv_value(offset) and offset.as_long() == 0
    return Place(space, term if at_start else offset + term)


def constant(value: Value) -> int:
    """An integer that is the same on every path."""
    term = z3.simplify(convert(value, "int64_t").term)
    assert z3.is_bv_value(term), term
    return int(term.as_signed_long())


def _size(type: str) -> int:
    type = SYNONYMS.get(type, type)
    return 16 if type == "v128" else (BITS.get(type) or FORMATS[type][0]) // 8


# Expressions


class Evaluation:
    """Evaluates expressions in a machine, which it changes."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def value(self, tree: Tree) -> Value:
        return getattr(self, f"_{tree[0]}")(*tree[1:])  # type: ignore[no-any-return]

    def _number(self, type: str, number: int) -> Value:
        return Value(type, z3.BitVecVal(number, BITS[type]))

    def _float(self, type: str, number: float) -> Value:
        format = FORMATS[type][1]
        return Value(type, z3.simplify(z3.fpToIEEEBV(z3.FPVal(number, format))))

    def _name(self, name: str) -> Value:
        level, state = self.machine.levels[-1], self.machine.state
        if name in level:
            found = level[name]
            if found.type.endswith("[]"):
                return Value(found.type[:-2] + "*", self.place(("name", name)))
            return found
        if name == "fp":
            return Value("uint64_t*", Place("frame", z3.BitVecVal(0, 64)))
        if name == "memory":
            return Value("uint8_t*", Place("memory", z3.BitVecVal(0, 64)))
        if name == "pc":
            return Value("uint64_t", state["pc"])
        if name.startswith("TRAP_"):
            return _number(_traps()[name])
        types = {"memory_size": "uint64_t", "budget": "int64_t", "last_loop": "uint64_t"}
        return Value(types[name], state[name])

    def _cast(self, type: str, tree: Tree) -> Value:
        return convert(self.value(tree), type)

    def _choose(self, condition: Tree, first: Tree, second: Tree) -> Value:
        chosen, left, right = truth(self.value(condition)), self.value(first), self.value(second)
        if left.type != right.type:
            left, right = _common(left, right)
        return Value(left.type, z3.If(chosen, left.term, right.term))

    def _binary(self, operator: str, first: Tree, second: Tree) -> Value:
        left, right = self.value(first), self.value(second)
        if operator in ("&&", "||"):
            both = z3.And if operator == "&&" else z3.Or
            return Value("truth", both(truth(left), truth(right)))
        return binary(operator, left, right)

    def _unary(self, operator: str, tree: Tree) -> Value:
        if operator == "&":
            return Value("?*", self.place(tree))
        value = self.value(tree)
        if operator == "!":
            return Value("truth", z3.Not(truth(value)))
        if operator == "*":
            return self.load(value.term, value.type[:-1])
        value = _promoted(value)
        return Value(value.type, -value.term if operator == "-" else ~value.term)

    def _index(self, array: Tree, index: Tree) -> Value:
        return self._element(array, index, None)

    def _element(self, array: Tree, index: Tree, value: Value | None) -> Value:
        """The element of an array, or what is put there."""
        if _globals(array):
            # The first half of a global's value, which is all that a word of a scalar looks at.
            number = convert(self.value(array[1][2]), "uint64_t").term
            if value is not None:
                globals = z3.Store(self.machine.state["globals"], number, convert(value, "uint64_t").term)
                self.machine.state["globals"] = globals
            return Value("uint64_t", self.machine.state["globals"][number])
        if array == ("arrow", ("name", "instance"), "funcs"):
            return Value("Func*", convert(self.value(index), "uint64_t").term)
        pointer = self.value(array)
        place, type = _moved(pointer, self.value(index)), pointer.type[:-1]
        if value is not None:
            self.store(place, convert(value, type).term)
        return self.load(place, type)

    def _member(self, tree: Tree, name: str) -> Value:
        """The elements of a vector, as its union names them: `u8`, `i16`."""
        kind, bits = name[0], name[1:]
        assert kind in "iu"
        return Value(f"{'u' if kind == 'u' else ''}int{bits}_t*", self.place(tree))

    def _arrow(self, tree: Tree, name: str) -> Value:
        if tree == ("name", "store") and name == "fuel":
            return Value("int64_t", self.machine.state["fuel"])
        assert tree == ("name", "pc"), tree
        if name in ("low", "high"):
            whole, first = self._arrow(tree, "imm").term, 32 * (name == "high")
            return Value("uint32_t", z3.Extract(first + 31, first, whole))
        bits = 64 if name == "imm" else 16
        at = z3.simplify(self.machine.state["pc"])
        if z3.is_bv_value(at) and at.as_signed_long() in self.machine.words:
            return Value(f"uint{bits}_t", self.machine.words[at.as_signed_long()][name])
        # A word that is not known is some word.
        return Value(f"uint{bits}_t", _operation(f"word_{name}", z3.BitVecSort(64), z3.BitVecSort(bits))(at))

    def _increment(self, tree: Tree) -> Value:
        before = self.value(tree)
        self.assign(tree, binary("+", before, _number(1)))
        return before

    def _assign(self, operator: str, target: Tree, tree: Tree) -> Value:
        value = self.value(tree)
        if operator != "=":
            old = self.value(target)
            if target == ("name", "pc"):
                # A distance in words, which may be negative.
                value = convert(value, "int64_t")
            value = convert(binary(operator[0], old, value), old.type)
        self.assign(target, value)
        return value

    def _call(self, function: Tree, arguments: list[Tree]) -> Value:
        name = function[1]
        if name == "__builtin_expect":
            return self.value(arguments[0])
        if name == "memcpy":
            to, source, size = arguments
            bytes = self._bytes(self.value(source).term, constant(self.value(size)))
            self.store(self.value(to).term, bytes)
            return _number(0)
        values = [self.value(each) for each in arguments]
        if name.startswith("__builtin_"):
            return arithmetic(name, *values)
        return call(self.machine, name, values)

    # Places

    def place(self, tree: Tree) -> Place:
        assert tree[0] == "name", tree
        return Place((len(self.machine.levels) - 1, tree[1]), 0)

    def assign(self, target: Tree, value: Value) -> None:
        machine = self.machine
        if target[0] == "index":
            self._element(target[1], target[2], value)
        elif target[0] == "unary" and target[1] == "*":
            place = self.value(target[2]).term
            level, name = place.space
            machine.levels[level][name] = convert(value, machine.levels[level][name].type)
        elif target == ("arrow", ("name", "store"), "fuel"):
            machine.state["fuel"] = convert(value, "int64_t").term
        elif target[1] in ("pc", "budget", "last_loop"):
            machine.state[target[1]] = convert(value, "int64_t").term
        else:
            assert target[0] == "name", target
            name = target[1]
            known = machine.levels[-1].get(name)
            machine.levels[-1][name] = (
                convert(value, known.type) if known and known.term is not None else value
            )

    def load(self, place: Place, type: str) -> Value:
        return Value(SYNONYMS.get(type, type), self._bytes(place, _size(type)))

    def _bytes(self, place: Place, size: int) -> Any:
        """What lies at a place, as one number."""
        if place.space == "frame":
            places = [place.offset + each if each else place.offset for each in range((size + 7) // 8)]
            slots = [self.machine.slot(each) for each in places]
            found = z3.Concat(*reversed(slots)) if len(slots) > 1 else slots[0]
            return _resized(found, 8 * size, True)
        if place.space == "memory":
            memory = self.machine.state["memory"]
            bytes = [memory[place.offset + each] for each in range(size)]
            return z3.Concat(*reversed(bytes)) if size > 1 else bytes[0]
        level, name = place.space
        term = self.machine.levels[level][name].term
        low = 8 * place.offset
        return z3.Extract(low + 8 * size - 1, low, term) if term.size() != 8 * size else term

    def store(self, place: Place, term: Any) -> None:
        size, state = term.size() // 8, self.machine.state
        if place.space == "frame":
            assert size % 8 == 0
            for each in range(size // 8):
                slot = z3.Extract(64 * each + 63, 64 * each, term)
                at = place.offset + each if each else place.offset
                state["frame"] = z3.Store(state["frame"], at, slot if size > 8 else term)
        elif place.space == "memory":
            for each in range(size):
                byte = z3.Extract(8 * each + 7, 8 * each, term)
                state["memory"] = z3.Store(state["memory"], place.offset + each, byte)
        else:
            level, name = place.space
            old = self.machine.levels[level][name]
            low, high, whole = 8 * place.offset, 8 * (place.offset + size), old.term.size()
            pieces = [z3.Extract(whole - 1, high, old.term)] if high < whole else []
            pieces += [term, *([z3.Extract(low - 1, 0, old.term)] if low else [])]
            made = z3.Concat(*pieces) if len(pieces) > 1 else term
            self.machine.levels[level][name] = Value(old.type, made)


def _globals(array: Tree) -> bool:
    """Whether a tree is the value of one of the instance's globals."""
    wanted = ("arrow", ("name", "instance"), "globals")
    return array[:1] + array[2:] == ("arrow", "value") and array[1][:2] == ("index", wanted)


@cache
def _traps() -> dict[str, int]:
    """The codes of traps, by the names that C has for them."""
    lines = (c_syntax.NATIVE / "trap.h").read_text().split("TRAP_NONE = 0,")[1].split("}")[0]
    return {name.strip(): code for code, name in enumerate(lines.split(","), 1)}


# Statements


def run(tree: Tree, machine: Machine) -> Iterator[Outcome]:
    """All ways through a statement."""
    kind = tree[0]
    if kind == "block":
        yield from _sequence(tree[1], machine)
    elif kind == "expression":
        Evaluation(machine).value(tree[1])
        yield machine, END
    elif kind == "declaration":
        _declare(tree, machine)
        yield machine, END
    elif kind == "if":
        yield from _branch(tree, machine)
    elif kind == "for":
        yield from _repeat(tree, machine)
    elif kind == "return":
        yield machine, Exit("return", Evaluation(machine).value(tree[1]))
    elif tree[1] == "trap_memory":
        machine.levels[0]["trap"] = _number(_traps()["TRAP_MEMORY_OUT_OF_BOUNDS"])
        yield machine, Exit("trapped")
    else:
        assert kind == "goto", tree
        yield machine, Exit(tree[1])


def _sequence(trees: list[Tree], machine: Machine) -> Iterator[Outcome]:
    if not trees:
        yield machine, END
        return
    for reached, exit in run(trees[0], machine):
        if exit is END:
            yield from _sequence(trees[1:], reached)
        else:
            yield reached, exit


def _branch(tree: Tree, machine: Machine) -> Iterator[Outcome]:
    _, condition, then, otherwise = tree
    holds = z3.simplify(truth(Evaluation(machine).value(condition)))
    if not z3.is_false(holds):
        yield from run(then, machine.copy(holds))
    if not z3.is_true(holds):
        other = machine.copy(z3.Not(holds))
        yield from run(otherwise, other) if otherwise else iter([(other, END)])


def _repeat(tree: Tree, machine: Machine) -> Iterator[Outcome]:
    """A loop whose condition does not depend on what is not known."""
    _, first, condition, step, body = tree
    list(run(first, machine))
    while z3.is_true(z3.simplify(truth(Evaluation(machine).value(condition)))):
        ((machine, exit),) = run(body, machine)
        assert exit is END
        Evaluation(machine).value(step)
    yield machine, END


def _declare(tree: Tree, machine: Machine) -> None:
    _, declared, names = tree
    evaluation = Evaluation(machine)
    type: str = SYNONYMS.get(declared) or declared
    for name, length, initializer in names:
        bits = 8 * (1 if type.endswith("*") else _size(type))
        if length is not None:
            bits *= constant(evaluation.value(length))
        if initializer is None:
            term = z3.FreshConst(z3.BitVecSort(bits), name)
            value = Value(type, term) if length is None else Value(f"{type}[]", term)
        elif initializer == ("zeros",):
            value = Value(type, z3.BitVecVal(0, bits))
        else:
            value = convert(evaluation.value(initializer), type)
        machine.levels[-1][name] = value


def call(machine: Machine, name: str, arguments: list[Value]) -> Value:
    """The result of a function; what it sets through pointers is set in the machine."""
    function = c_syntax.functions()[name]
    parameters = {
        parameter: convert(value, type)
        for (type, parameter), value in zip(function.parameters, arguments, strict=True)
    }
    inner = replace(machine.copy(), path=[])
    inner.levels.append(parameters)
    outcomes = list(run(c_syntax.body(name), inner))
    result: Value | None = None
    levels = [dict(level) for level in outcomes[-1][0].levels[:-1]]
    for reached, exit in reversed(outcomes):
        assert exit.kind == "return" and all(reached.state[key] is inner.state[key] for key in inner.state)
        value = convert(exit.value, function.type)
        path = reached.path[0] if len(reached.path) == 1 else z3.And(*reached.path)
        result = value if result is None else Value(value.type, _either(path, value.term, result.term))
        for level, known in zip(reached.levels, levels, strict=False):
            for variable, found in level.items():
                if found.term is not known[variable].term:
                    term = _either(path, found.term, known[variable].term)
                    known[variable] = Value(found.type, term)
    machine.levels[:] = levels
    assert result is not None
    return result


def _either(condition: Any, first: Any, second: Any) -> Any:
    if z3.is_app_of(second, z3.Z3_OP_ITE) and second.arg(0).eq(condition):
        second = second.arg(2)
    return first if first.eq(second) else z3.If(condition, first, second)
