"""What the emitter has to know of a whole function before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, Record
from tinywasm.engine.llvm import numeric
from tinywasm.engine.llvm.numeric import COMPUTED

_KEPT, _NUMBER = "kept", "number"
_BRANCHES = (form.JUMP, form.BRANCH_IF, form.BRANCH_UNLESS)


def loop_costs(code: Form) -> dict[int, int]:
    """By block, for the heads of loops: how many records lie between it and the last branch to it."""
    starts: dict[int, int] = {}
    costs: dict[int, int] = {}
    for number, each in enumerate(code.records()):
        targets: Sequence[int] = ()
        if each.row == form.BLOCK:
            starts[each.immediate] = number
        elif each.row in _BRANCHES:
            targets = (each.immediate,)
        elif each.row == form.BRANCH_TABLE:
            targets = code.lists[each.immediate : each.immediate + each.second]
        for target in targets:
            if target in starts:
                costs[target] = number - starts[target]
    return costs


def computed_locals(code: Form, types: Sequence[str], params: int) -> list[str]:
    """For each local the type as which it may hold any NaN, since only computations made them; or "".

    It is so where all values of the local are computed as that type, or are numbers.
    """
    tags: list[set[str]] = [
        {_KEPT} if number < params or type in ("i32", "i64") else set() for number, type in enumerate(types)
    ]
    moved: list[tuple[int, int]] = []
    made: dict[int, str] = {}
    for each in code.records():
        if each.row in (form.BLOCK, form.MOVE_ROW):
            made.clear()
        elif each.row < form.BLOCK and form.CALLS[each.row]:
            for place in form.results(code, each):
                made.pop(place >> form.NUMBER, None)
        elif each.result != form.NOWHERE:
            number, to_local = each.result >> form.NUMBER, each.result & form.KIND == form.LOCAL
            if to_local and each.row == form.MOVE and each.a & form.KIND == form.LOCAL:
                moved.append((each.a >> form.NUMBER, number))
                continue
            tag = _tag(code, each, made)
            if not to_local:
                made[number] = tag
            elif tag != _NUMBER:
                tags[number].add(tag)
    changed = True
    while changed:
        changed = False
        for source, to in moved:
            if not tags[source] <= tags[to]:
                tags[to] |= tags[source]
                changed = True
    return ["" if len(each) != 1 or _KEPT in each else next(iter(each)) for each in tags]


def _tag(code: Form, record: Record, made: dict[int, str]) -> str:
    """What is known of the value that a record makes: the type of a computation, `_NUMBER` or `_KEPT`."""
    if record.row != form.MOVE:
        name = form.NAMES[record.row]
        return COMPUTED.get(name, _NUMBER if name in numeric.NUMBERS else _KEPT)
    kind, number = record.a & form.KIND, record.a >> form.NUMBER
    if kind == form.TEMPORARY:
        return made.get(number, _KEPT)
    return _NUMBER if kind == form.CONSTANT and _is_number(code, number) else _KEPT


def _is_number(code: Form, constant: int) -> bool:
    bits, kind = code.constants[constant], code.kinds[constant]
    if kind == form.CONST_V128:
        return bool(code.objects[bits] == bytes(16))
    if kind == form.CONST_F32:
        return bits & 0x7FFFFFFF <= 0x7F800000
    return bits & (1 << 63) - 1 <= 0x7FF << 52
