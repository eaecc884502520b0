"""Blocks that store several computed floats, compiled a second time for where all is well.

What is stored has to be canonical, and to check each float takes longer than to store it. If the addresses of
a block are inside and aligned, nothing in it traps, and floats of a type overlap as a whole or not at all. So
any NaN may lie in memory until something could see its bits; who loads it only to compute with it does not.
Then one comparison tells of two floats whether either is NaN; if so, all are stored again, in order.

Whether the addresses are so is seen where the block begins. If not, it is done as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, Record
from tinywasm.engine.llvm import numeric
from tinywasm.engine.llvm.function import Emitter, Value, signed
from tinywasm.engine.llvm.operations import ACCESSES, OPERATIONS, WIDTHS, access_at
from tinywasm.engine.llvm.unit import RARELY, TAG
from tinywasm.records import record
from tinywasm.types import I64

# For fewer floats, or in longer blocks, a second version is not worth what it takes to compile.
LEAST = 3
_MOST_RECORDS = 300
# How far from its base an access may be.
_FAR = 1 << 31
_WIDTHS = {row: WIDTHS[ACCESSES[name][1]] for row, name in enumerate(form.NAMES) if name in ACCESSES}
_FLOATS = {row: "store" in form.NAMES[row] for row in _WIDTHS if form.NAMES[row][0] == "f"}
_STORES = [row for row, stores in _FLOATS.items() if stores]
_ADDS = [form.NAMES.index(name) for name in ("i32.add", "i64.add")]
# What takes any NaN for any other, of the type that it takes.
_COMPUTES = {row for row, name in enumerate(form.NAMES) if name in numeric.LOOSE}
_COMPUTED = {row for row, name in enumerate(form.NAMES) if name in numeric.COMPUTED}
# What neither traps nor sees what is in memory.
_QUIET = {row for row, name in enumerate(form.NAMES) if name in numeric.TEMPLATES} | {form.MOVE}
_SIMPLE = {*_QUIET, *_WIDTHS, form.JUMP, form.BRANCH_IF, form.BRANCH_UNLESS, form.BRANCH_TABLE, form.RETURN}
_SIMPLE |= {row for row, name in enumerate(form.NAMES) if name in ("select", "global.get", "global.set")}


@record()
class Guarded:
    """A block that is worth it, by its `records`, behind the first and with the first of the next block.

    A base is the place of a local, whose value is that where the block begins, or `NOWHERE` for address 0.
    `accesses` has, by the numbers of records, the base and how far from it the access is; `ranges` by memory
    and base between which distances all are; `masks` by base the bits that have to be 0. `operands` are the
    numbers of loads of floats that are only computed with.
    """

    records: Sequence[Record]
    accesses: dict[int, tuple[int, int]]
    ranges: dict[tuple[int, int], tuple[int, int]]
    masks: dict[int, int]
    operands: set[int]


def guarded(code: Form, computed: Sequence[str]) -> dict[int, Guarded]:
    """Those of a function, by the numbers of their first records. `computed` is what its locals are."""
    rows = [*code.code[:: form.STRIDE]]
    if sum(rows.count(row) for row in _STORES) < LEAST:
        return {}
    records = [*code.records()]
    starts = [number for number, each in enumerate(records) if each.row == form.BLOCK]
    found = {}
    for start, end in zip(starts, [*starts[1:], len(records)], strict=True):
        inside = records[start + 1 : end]
        if len(inside) <= _MOST_RECORDS and all(each.row in _SIMPLE for each in inside):
            block = Guarded(records[start + 1 : end + 1], {}, {}, {}, set())
            if _read(code, block, start + 1, computed) >= LEAST:
                found[start] = block
    return found


def _read(code: Form, block: Guarded, start: int, computed: Sequence[str]) -> int:
    """Find the accesses of a block; how many computed floats it stores."""
    sums: dict[int, tuple[int, int] | None] = {}
    made: set[int] = set()
    loaded: dict[int, int] = {}
    stored = 0
    for number, each in enumerate(block.records, start):
        if each.row == form.BLOCK:
            break
        block.operands |= {
            loaded.pop(place)
            for place in form.operands(code, each)
            if place in loaded and each.row in _COMPUTES
        }
        if each.row in _WIDTHS and _note(block, number, each, _sum(code, each.a, sums)):
            is_local = each.b & form.KIND == form.LOCAL
            loose = computed[each.b >> form.NUMBER] if is_local else each.b in made
            stored += bool(_FLOATS.get(each.row) and loose)
        if each.result != form.NOWHERE:
            loaded.pop(each.result, None)
            if number in block.accesses and each.result & form.KIND == form.TEMPORARY:
                loaded[each.result] = number
            (made.add if each.row in _COMPUTED else made.discard)(each.result)
            sums[each.result] = _made(code, each, sums)
    return stored


def _sum(code: Form, place: int, sums: dict[int, tuple[int, int] | None]) -> tuple[int, int] | None:
    """The base of which a place has the sum with a constant, and that; None if it is no such sum."""
    kind, number = place & form.KIND, place >> form.NUMBER
    if kind == form.CONSTANT:
        return form.NOWHERE, code.constants[number] & (1 << _bits(code, number)) - 1
    return sums.get(place, (place, 0) if kind == form.LOCAL else None)


def _made(code: Form, each: Record, sums: dict[int, tuple[int, int] | None]) -> tuple[int, int] | None:
    """The same of what a record makes."""
    if each.row == form.MOVE:
        return _sum(code, each.a, sums)
    if each.row in _ADDS:
        a, b = (each.a, each.b) if each.b & form.KIND == form.CONSTANT else (each.b, each.a)
        base, number = _sum(code, a, sums), b >> form.NUMBER
        if base is not None and b & form.KIND == form.CONSTANT:
            return base[0], base[1] + signed(code.constants[number], _bits(code, number))
    return None


def _bits(code: Form, constant: int) -> int:
    return 32 if code.kinds[constant] == form.CONST_I32 else 64


def _note(block: Guarded, number: int, each: Record, address: tuple[int, int] | None) -> bool:
    """Add an access to a block, if it can be seen beforehand whether it is inside and aligned."""
    if address is None:
        return False
    base, start = address
    width, at = _WIDTHS[each.row], start + (each.immediate & (1 << 64) - 1)
    if not (0 if base == form.NOWHERE else -_FAR) <= start <= at < _FAR:
        return False
    if each.row in _FLOATS:
        if at % width:
            return False
        block.masks[base] = block.masks.get(base, 0) | width - 1
    low, high = block.ranges.get((each.second, base), (start, 0))
    block.ranges[each.second, base] = min(low, start), max(high, at + width)
    block.accesses[number] = base, at
    return True


def quickly(e: Emitter, start: int, block: Guarded) -> None:
    """Do a block that begins with that record as it may be done where all is well.

    What follows is for where it is not: the block as any other."""
    quick, other = e.fresh(), e.fresh()
    temporaries = dict(e.temporaries)
    away, bases = _unless(e, block)
    e.line(f"br i1 {away}, label %{other}, label %{quick}, {RARELY}")
    known = e.all_known()
    e.go_on(quick)
    waiting: list[tuple[Value, str]] = []
    for number, each in enumerate(block.records, start + 1):
        if each.row not in _QUIET and number not in block.accesses:
            _check(e, waiting)
        if each.row == form.BLOCK or e.dead:
            break
        e.number, e.position = number, each.position
        if number in block.accesses:
            base, at = block.accesses[number]
            _access(e, block, each, e.at(e.at(e.memory(each.second), bases[base]), at), waiting)
        else:
            OPERATIONS[form.NAMES[each.row]](e, each)
    if not e.dead:
        e.flush()
        e.line(f"br label {e.leads(block.records[-1].immediate)}")
    e.temporaries, e.dead = temporaries, False
    e.know(known)
    e.go_on(other)


def _unless(e: Emitter, block: Guarded) -> tuple[str, dict[int, str]]:
    """Whether the addresses are not as they have to be; and the bases, in 64 bits."""
    bases = {form.NOWHERE: "0"}
    found = []
    for (memory, base), (low, high) in block.ranges.items():
        if base not in bases:
            bases[base] = e.wide(e.take(base), e.context.memories[memory].address is I64)
        first = e.value(f"add i64 {bases[base]}, {low}")
        last = e.value(f"sub i64 {e.size(memory)}, {high - low}")
        found.append(e.value(f"icmp ugt i64 {first}, {last}"))
        type = e.context.memories[memory]
        if high - low > type.limits.min * type.page_size:
            found.append(e.value(f"icmp slt i64 {last}, 0"))
    aligned = [bases[base] for base in block.masks if base != form.NOWHERE]
    if aligned:
        bits = reduce(lambda a, b: e.value(f"or i64 {a}, {b}"), aligned)
        low_bits = e.value(f"and i64 {bits}, {max(block.masks.values())}")
        found.append(e.value(f"icmp ne i64 {low_bits}, 0"))
    return reduce(lambda a, b: e.value(f"or i1 {a}, {b}"), found), bases


def _access(e: Emitter, block: Guarded, record: Record, place: str, waiting: list[tuple[Value, str]]) -> None:
    """A load or a store at a place; stores of floats are left `waiting` for their check."""
    type = ACCESSES[form.NAMES[record.row]][0]
    loads = record.result != form.NOWHERE
    stored = None if loads else e.take(record.b)
    e.take(record.a)
    seen = loads and e.number not in block.operands
    if record.row not in _FLOATS or seen or (waiting and waiting[0][0].type != type):
        _check(e, waiting)
    if record.row not in _FLOATS:
        access_at(e, record, place, stored and e.canonical(stored))
    elif stored is not None:
        e.line(f"store {type} {stored.text}, ptr {place}, align 1, {TAG['memory']}")
        waiting.append((stored, place))
    else:
        value = e.value(f"load {type}, ptr {place}, align 1, {TAG['memory']}")
        e.make(record.result, Value(value, type))


def _check(e: Emitter, waiting: list[tuple[Value, str]]) -> None:
    """Let what is stored be canonical from here on."""
    computed = [value for value, _ in waiting if value.computed]
    if computed:
        pairs = zip(computed[::2], [*computed[1::2], computed[-1]], strict=False)
        found = [e.value(f"fcmp uno {a.type} {a.text}, {b.text}") for a, b in pairs]
        store, after = e.fresh(), e.fresh()
        either = reduce(lambda a, b: e.value(f"or i1 {a}, {b}"), found)
        e.line(f"br i1 {either}, label %{store}, label %{after}, {RARELY}")
        e.go_on(store)
        for value, place in waiting:
            text = e.canonical(value).text
            e.line(f"store {value.type} {text}, ptr {place}, align 1, {TAG['memory']}")
        e.line(f"br label %{after}")
        e.go_on(after)
    waiting.clear()
