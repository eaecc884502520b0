"""Which accesses of a function are certain to be aligned, so that they need not ask.

Of each variable it is followed along all ways how many of its low bits are zero. Compilers align what their
pointers point to: what that would be good for is asked once, where the function begins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from tinywasm import records
from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form
from tinywasm.engine.source.graph import Node, everything
from tinywasm.instructions import TABLE, ordinals
from tinywasm.interruption import look

# No access is wider than eight bytes; zero is a multiple of all sizes.
_MOST = ZERO = 3
# How many low bits of a result are zero: none, the lesser or the greater number of two operands' bits, their
# sum, a number more than an operand has, or as many as a global has. An access asks.
_NONE, _LEAST, _GREATEST, _SUM, _SHIFT, _GLOBAL, _ACCESS = range(7)
_RULES = {
    **dict.fromkeys(("add", "sub", "or", "xor"), _LEAST),
    **{"mul": _SUM, "and": _GREATEST, "shl": _SHIFT},
    **dict.fromkeys(("extend_i32_u", "extend_i32_s", "wrap_i64"), _LEAST),
}
_BY_ROW = {
    row.ordinal: _RULES[operation]
    for row in TABLE
    for type, _, operation in [row.name.partition(".")]
    if type in ("i32", "i64") and operation in _RULES
} | {
    row.ordinal: _LEAST if row.name == "select" else _GLOBAL
    for row in TABLE
    if row.name in ("select", "global.get")
}
(_SET,) = ordinals("global.set")
# The low bits that are zero of the address of an i32, and as a mask.
_WORD, WORD = 2, 3
# More are not tried.
_MOST_POINTERS = 8


class Flow:
    """How many low bits are zero of each temporary and, behind those, of each local, along a function's ways.

    For each block, its `steps` are a rule, the variable of the result, and two operands: variables, or the
    complement of what is known of a constant. An access has its position for a result, and a size.
    """

    def __init__(self, code: Form, nodes: Mapping[int, Node], sizes: Mapping[int, int]) -> None:
        """`sizes` says how large accesses are, by their rows."""
        self.heights = code.heights
        self.nodes = nodes
        self.constants = [
            min(_MOST, (bits & -bits).bit_length() - 1) if bits else _MOST for bits in code.constants
        ]
        self.accesses = False
        self.steps = {number: [*self._steps(code, node, sizes)] for number, node in nodes.items()}

    def _steps(self, code: Form, node: Node, sizes: Mapping[int, int]) -> Iterator[tuple[int, int, int, int]]:
        for record in everything(node):
            row = record.row
            size = sizes.get(row, 0)
            if size > 1 and not record.immediate & size - 1:
                self.accesses = True
                yield _ACCESS, record.position, self._operand(record.a), size.bit_length() - 1
            rule = _LEAST if row == form.MOVE else _BY_ROW.get(row, _NONE)
            a = b = -1
            if rule == _GLOBAL:
                a = record.position
            elif rule != _NONE:
                places = form.operands(code, record)
                a, b = self._operand(places[0]), self._operand(places[1 if len(places) > 1 else 0])
                if rule == _SHIFT:
                    constant = places[1] & form.KIND == form.CONSTANT
                    b = code.constants[places[1] >> form.NUMBER] & 31 if constant else 0
            for place in form.results(code, record):
                yield rule, self._operand(place), a, b

    def _operand(self, place: int) -> int:
        number, kind = place >> form.NUMBER, place & form.KIND
        if kind == form.CONSTANT:
            return ~self.constants[number]
        return number + self.heights if kind == form.LOCAL else number

    def aligned(self, entry: int, first: bytes, given: Collection[int] = ()) -> frozenset[int]:
        """The positions of accesses that are aligned.

        `first` has of each local how many low bits are zero at the entry. At the positions `given` the
        globals that are read are aligned.
        """
        if not self.accesses:
            return frozenset()
        known = {entry: bytes(self.heights) + first}
        found: dict[int, list[int]] = {}
        # Blocks to follow again, since less is known than was thought.
        work = {entry}
        while work:
            look()
            for number, node in self.nodes.items():
                if number not in work:
                    continue
                work.remove(number)
                zeros = bytearray(known[number])
                found[number] = _follow(self.steps[number], zeros, given)
                for target in node.successors:
                    both = _either(known.get(target), zeros)
                    if both != known.get(target):
                        known[target] = both
                        work.add(target)
        return frozenset().union(*found.values())


def _follow(
    steps: Sequence[tuple[int, int, int, int]], zeros: bytearray, given: Collection[int]
) -> list[int]:
    """Follow a block's steps: the positions of its accesses that are aligned."""
    found = []
    for rule, result, a, b in steps:
        if rule == _NONE:
            zeros[result] = 0
            continue
        if rule == _GLOBAL:
            zeros[result] = _WORD if a in given else 0
            continue
        one = zeros[a] if a >= 0 else ~a
        if rule == _ACCESS:
            if one >= b:
                found.append(result)
            continue
        if rule == _SHIFT:
            zeros[result] = min(_MOST, one + b)
            continue
        other = zeros[b] if b >= 0 else ~b
        if rule == _LEAST:
            zeros[result] = one if one < other else other
        elif rule == _GREATEST:
            zeros[result] = one if one > other else other
        else:
            zeros[result] = min(_MOST, one + other)
    return found


@records.record(frozen=True)
class Pointers:
    """Parameters and globals that are nearly always multiples of four, and the accesses that are aligned if
    they are."""

    params: Sequence[int]
    globals: Sequence[int]
    aligned: frozenset[int]


def pointers(
    flow: Flow, entry: int, first: bytes, params: Sequence[int], globals: Collection[int]
) -> Pointers | None:
    """What is worth asking of some parameters and globals at the entry; None where that is nothing."""
    if any(entry in node.successors for node in flow.nodes.values()):
        return None
    # The globals that are read before anything might have changed them.
    given: dict[int, set[int]] = {}
    for record in flow.nodes[entry].records:
        if record.row == _SET or (record.row < form.BLOCK and form.CALLS[record.row]):
            break
        if _BY_ROW.get(record.row) == _GLOBAL and record.immediate in globals:
            given.setdefault(record.immediate, set()).add(record.position)

    def found(wanted: Sequence[tuple[str, int]]) -> frozenset[int]:
        known = bytearray(first)
        for kind, number in wanted:
            if kind == "l":
                known[number] = _WORD
        positions = [place for kind, number in wanted if kind == "g" for place in given[number]]
        return flow.aligned(entry, bytes(known), positions)

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
