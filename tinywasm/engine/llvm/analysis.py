"""What the emitter has to know of a whole function before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, Record
from tinywasm.engine.llvm import numeric
from tinywasm.engine.llvm.numeric import COMPUTED
from tinywasm.instructions import TABLE, Role

# Records at which the collector may run: what allocates or calls, and blocks, where the engine looks.
COLLECTS = [
    name == "block"
    or (row < form.BLOCK and form.CALLS[row])
    or name.startswith(("struct.new", "array.new", "throw"))
    for row, name in enumerate(form.NAMES)
]
# Behind which nothing goes on.
_ENDS = [
    TABLE[row].role is Role.LEAVES if row < form.BLOCK else name in ("jump", "branch_table", "return")
    for row, name in enumerate(form.NAMES)
]
_KEPT, _NUMBER = "kept", "number"


def loop_costs(code: Form) -> dict[int, int]:
    """By block, for the heads of loops: how many records lie between it and the last branch to it."""
    starts: dict[int, int] = {}
    costs: dict[int, int] = {}
    for number, each in enumerate(code.records()):
        targets: Sequence[int] = ()
        if each.row == form.BLOCK:
            starts[each.immediate] = number
            # A handler may lead back as well.
            targets = _caught(code, each.a)
        elif form.JUMP <= each.row < form.BRANCH_TABLE:
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
        {_KEPT} if number < params or type in ("i32", "i64", "ptr") else set()
        for number, type in enumerate(types)
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


def live_references(code: Form, references: int) -> dict[int, int]:
    """By record, for blocks and for what may collect: which of these locals are read behind it.

    Sets of locals are integers, of a bit each. What a handler reads is read behind whatever its region has.
    """
    if not references:
        return {}
    rows = [*code.records()]
    starts = [number for number, each in enumerate(rows) if each.row == form.BLOCK]
    numbers = {rows[start].immediate: index for index, start in enumerate(starts)}
    blocks = [rows[start:end] for start, end in zip(starts, [*starts[1:], len(rows)], strict=True)]
    onward = [_successors(code, block, index, numbers) for index, block in enumerate(blocks)]
    handlers = [_handlers(code, block[0].a, numbers) for block in blocks]
    before = [0] * len(blocks)
    changed = True
    while changed:
        changed = False
        for index in range(len(blocks) - 1, -1, -1):
            caught = _union(before, handlers[index])
            live = _union(before, onward[index]) | caught
            for each in reversed(blocks[index]):
                live = _before(code, each, live, references)
            if live | caught != before[index]:
                before[index] = live | caught
                changed = True
    found: dict[int, int] = {}
    for index, block in enumerate(blocks):
        caught = _union(before, handlers[index])
        live = _union(before, onward[index]) | caught
        for number in range(starts[index] + len(block) - 1, starts[index] - 1, -1):
            each = rows[number]
            if COLLECTS[each.row]:
                found[number] = (live | caught) & ~_written(code, each)
            live = _before(code, each, live, references)
    return found


def _union(sets: Sequence[int], which: Sequence[int]) -> int:
    found = 0
    for each in which:
        found |= sets[each]
    return found


def _successors(code: Form, block: Sequence[Record], index: int, numbers: dict[int, int]) -> list[int]:
    last = block[-1]
    found = []
    for each in block:
        if form.JUMP <= each.row < form.BRANCH_TABLE:
            found.append(numbers[each.immediate])
        elif each.row == form.BRANCH_TABLE:
            found += [numbers[target] for target in code.lists[each.immediate : each.immediate + each.second]]
    if not _ENDS[last.row] and index + 1 < len(numbers):
        found.append(index + 1)
    return found


def _handlers(code: Form, region: int, numbers: dict[int, int]) -> list[int]:
    """To which blocks the clauses of a region lead, and of those around it."""
    return [numbers[block] for block in _caught(code, region) if block in numbers]


def _caught(code: Form, region: int) -> list[int]:
    """The same, by the numbers of the blocks."""
    found = []
    while region >= 0:
        found += [clause.block for clause in code.regions[region].clauses]
        region = code.regions[region].parent
    return found


def _written(code: Form, record: Record) -> int:
    locals = 0
    for place in form.results(code, record):
        if place & form.KIND == form.LOCAL:
            locals |= 1 << (place >> form.NUMBER)
    return locals


def _before(code: Form, record: Record, live: int, references: int) -> int:
    """What is live before a record, where that is live behind it."""
    live &= ~_written(code, record)
    for place in form.operands(code, record):
        if place & form.KIND == form.LOCAL:
            live |= 1 << (place >> form.NUMBER) & references
    return live
