"""Which accesses of a function are certain to be aligned, so that they need not ask.

Of each variable it is followed along all ways how many of its low bits are zero. Compilers align what their
pointers point to: what that would be good for is asked once, where the function begins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, Record
from tinywasm.engine.source.graph import Node
from tinywasm.instructions import TABLE
from tinywasm.interruption import look

# The low bits that are zero, of those of the operands, and the second operand where that is a constant.
_Zeros = Callable[[int, int, int | None], int]
# No access is wider than eight bytes; zero is a multiple of all sizes.
_MOST = ZERO = 3
_RULES: dict[str, _Zeros] = {
    **dict.fromkeys(("add", "sub", "or", "xor"), lambda a, b, number: min(a, b)),
    "mul": lambda a, b, number: a + b,
    "and": lambda a, b, number: max(a, b),
    "shl": lambda a, b, number: a + (number & 31 if number is not None else 0),
    **dict.fromkeys(("extend_i32_u", "extend_i32_s", "wrap_i64"), lambda a, b, number: a),
}
_BY_ROW = {
    row.ordinal: _RULES[operation]
    for row in TABLE
    for type, _, operation in [row.name.partition(".")]
    if type in ("i32", "i64") and operation in _RULES
}
_SELECT = next(row.ordinal for row in TABLE if row.name == "select")
_GLOBAL = next(row.ordinal for row in TABLE if row.name == "global.get")
_SET = next(row.ordinal for row in TABLE if row.name == "global.set")
# The low bits that are zero of the address of an i32, and as a mask.
_WORD, WORD = 2, 3
# More are not tried.
_MOST_POINTERS = 8


class _Zeroed:
    """How many low bits are zero of each temporary and, behind those, of each local."""

    def __init__(self, code: Form, known: bytes, given: Collection[int]) -> None:
        self.code = code
        self.known = bytearray(known)
        self.given = given

    def variable(self, place: int) -> int:
        return (place >> form.NUMBER) + (self.code.heights if place & form.KIND == form.LOCAL else 0)

    def of(self, place: int) -> int:
        if place & form.KIND != form.CONSTANT:
            return self.known[self.variable(place)]
        bits = self.code.constants[place >> form.NUMBER]
        return min(_MOST, (bits & -bits).bit_length() - 1) if bits else _MOST

    def result(self, record: Record) -> int:
        rule = _BY_ROW.get(record.row)
        if rule is not None:
            places = form.operands(self.code, record)
            a, b = self.of(places[0]), self.of(places[-1])
            constant = places[-1] & form.KIND == form.CONSTANT
            return min(
                _MOST, rule(a, b, self.code.constants[places[-1] >> form.NUMBER] if constant else None)
            )
        if record.row == form.MOVE:
            return self.of(record.a)
        if record.row == _GLOBAL:
            return _WORD if record.position in self.given else 0
        return min(self.of(record.a), self.of(record.b)) if record.row == _SELECT else 0

    def follow(self, record: Record) -> None:
        zeros = self.result(record)
        for place in form.results(self.code, record):
            self.known[self.variable(place)] = zeros


def aligned(
    code: Form,
    nodes: Mapping[int, Node],
    entry: int,
    first: bytes,
    sizes: Mapping[int, int],
    given: Collection[int] = (),
) -> frozenset[int]:
    """The positions of accesses that are aligned.

    `first` has of each local how many low bits are zero at the entry, `sizes` how large accesses are, by
    their rows. At the positions `given` the globals that are read are aligned.
    """
    known = {entry: bytes(code.heights) + first}
    found: dict[int, set[int]] = {}
    # Blocks to follow again, since less is known than was thought.
    work = {entry}
    while work:
        look()
        for number, node in nodes.items():
            if number not in work:
                continue
            work.remove(number)
            zeroed = _Zeroed(code, known[number], given)
            found[number] = {*_accesses(zeroed, node, sizes)}
            for target in node.successors:
                both = _either(known.get(target), zeroed.known)
                if both != known.get(target):
                    known[target] = both
                    work.add(target)
    return frozenset().union(*found.values())


class Pointers(NamedTuple):
    """Parameters and globals that are nearly always multiples of four, and the accesses that are aligned if
    they are."""

    params: Sequence[int]
    globals: Sequence[int]
    aligned: frozenset[int]


def pointers(
    code: Form,
    nodes: Mapping[int, Node],
    entry: int,
    first: bytes,
    sizes: Mapping[int, int],
    params: Sequence[int],
    globals: Collection[int],
) -> Pointers | None:
    """What is worth asking of some parameters and globals at the entry; None where that is nothing."""
    if any(entry in node.successors for node in nodes.values()):
        return None
    # The globals that are read before anything might have changed them.
    given: dict[int, set[int]] = {}
    for record in nodes[entry].records:
        if record.row == _SET or (record.row < form.BLOCK and form.CALLS[record.row]):
            break
        if record.row == _GLOBAL and record.immediate in globals:
            given.setdefault(record.immediate, set()).add(record.position)

    def found(wanted: Sequence[tuple[str, int]]) -> frozenset[int]:
        known = bytearray(first)
        for kind, number in wanted:
            if kind == "l":
                known[number] = _WORD
        positions = [place for kind, number in wanted if kind == "g" for place in given[number]]
        return aligned(code, nodes, entry, bytes(known), sizes, positions)

    asked = [*(("l", number) for number in params), *(("g", number) for number in given)]
    if not 0 < len(asked) <= _MOST_POINTERS:
        return None
    best = found(asked)
    for each in [*asked]:
        rest = [other for other in asked if other != each]
        if found(rest) == best:
            asked = rest
    if not asked:
        return None
    names = {wanted: [number for kind, number in asked if kind == wanted] for wanted in "lg"}
    return Pointers(names["l"], names["g"], best)


def _either(one: bytes | None, other: bytearray) -> bytes:
    return bytes(other) if one is None else bytes(map(min, one, other))


def _accesses(zeroed: _Zeroed, node: Node, sizes: Mapping[int, int]) -> Iterator[int]:
    """The positions of a block's accesses that are aligned."""
    for record in node.records:
        size = sizes.get(record.row, 0)
        if size > 1 and not (record.immediate | 1 << zeroed.of(record.a)) & size - 1:
            yield record.position
        zeroed.follow(record)
    if node.exit is not None:
        zeroed.follow(node.exit)
