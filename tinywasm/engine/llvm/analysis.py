"""What the emitter has to know of a whole function before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form
from tinywasm.engine.llvm import numeric

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


def computed_locals(code: Form, types: Sequence[str], params: int) -> list[bool]:
    """For each local whether, if it holds a NaN, that is one which a computation made."""
    kept = [number < params or type[0] == "i" for number, type in enumerate(types)]
    moved: list[tuple[int, int]] = []
    made: dict[int, bool] = {}

    def computed(place: int) -> bool:
        if place & form.KIND == form.TEMPORARY:
            return made.get(place >> form.NUMBER, False)
        bits, kind = code.constants[place >> form.NUMBER], code.kinds[place >> form.NUMBER]
        if kind == form.CONST_F32:
            return bits & 0x7FFFFFFF <= 0x7F800000
        return bits & (1 << 63) - 1 <= 0x7FF << 52

    for each in code.records():
        if each.row in (form.BLOCK, form.MOVE_ROW):
            made.clear()
        elif each.result != form.NOWHERE:
            number, local = each.result >> form.NUMBER, each.result & form.KIND == form.LOCAL
            name = form.NAMES[each.row]
            if each.row == form.MOVE and each.a & form.KIND == form.LOCAL:
                is_computed = local
                if local:
                    moved.append((each.a >> form.NUMBER, number))
            elif each.row == form.MOVE:
                is_computed = computed(each.a)
            else:
                is_computed = name in numeric.COMPUTED or name in numeric.NUMBERS
            if local:
                kept[number] = kept[number] or not is_computed
            else:
                made[number] = is_computed
        if each.row < form.BLOCK and form.CALLS[each.row]:
            for place in form.results(code, each):
                made.pop(place >> form.NUMBER, None)
    changed = True
    while changed:
        changed = False
        for source, to in moved:
            if kept[source] and not kept[to]:
                kept[to] = changed = True
    return [not each for each in kept]
