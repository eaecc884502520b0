"""From the intermediate form of a function to LLVM IR, unless it is declined."""

from __future__ import annotations

from collections.abc import Mapping, Set

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, Record
from tinywasm.engine.llvm.analysis import COLLECTS, loop_costs
from tinywasm.engine.llvm.calling import called
from tinywasm.engine.llvm.function import Emitter
from tinywasm.engine.llvm.guarded import guarded, quickly
from tinywasm.engine.llvm.operations import OPERATIONS
from tinywasm.engine.llvm.unit import REFERENCE, Unit, llvm_type
from tinywasm.interruption import look
from tinywasm.syntax import DecodedModule, Function
from tinywasm.types import FuncType
from tinywasm.validation import Context

# What is larger takes LLVM too long, which nothing interrupts, or could have a frame that is larger than what
# is left of the stack. The time grows faster than the number of values that are kept at once.
MAX_RECORDS = 10_000
MAX_LOCALS = 1_000
MAX_HEIGHTS = 500
MAX_VALUES = 64
MAX_CLAUSES = 1_000
# How often references are spilled at most, if all that may be one is needed behind all that may collect.
MAX_SPILLED = 200_000
# Where a temporary comes from that is a reference, beside globals and calls.
MAKE_REFERENCES = {
    name
    for name in form.NAMES
    if name.startswith(("struct.", "array.", "ref.")) or name in ("table.get", "table.grow")
}
_DONE = [name in OPERATIONS for name in form.NAMES]


class Declined(Exception):
    """The function stays with the loop; the argument says why."""


def emit(
    context: Context,
    syntax: DecodedModule,
    forms: Mapping[int, Form],
    metered: bool,
    entered: Set[int],
    loop: tuple[int, int] | None = None,
    linked: Set[int] = frozenset(),
    warms: bool = False,
) -> Unit:
    """A unit of functions of a module, by their indices; none of them is one to decline.

    Those that are `entered` can be called from outside of it; and one, besides, can be entered where a `loop`
    begins: its index, and the block. Those that are `linked` will be in the same image, in whatever unit.
    Where it `warms`, looks warm the function that they meet.
    """
    slots = {index: code.slots for index, code in forms.items()}
    unit = Unit(forms.keys() | linked, slots, entered)
    unit.helper = "warm" if warms else "look"
    for index, code in forms.items():
        if loop is None or index != loop[0] or index in entered:
            _emit(unit, context, syntax, index, code, metered, None)
    if loop is not None:
        index, block = loop
        _emit(unit, context, syntax, index, forms[index], metered, block)
        if index in unit.called and index not in entered:
            _emit(unit, context, syntax, index, forms[index], metered, None)
    for index in unit.called - forms.keys():
        unit.declare(index, signature(context, index))
    return unit


def _emit(
    unit: Unit,
    context: Context,
    syntax: DecodedModule,
    index: int,
    code: Form,
    metered: bool,
    block: int | None,
) -> None:
    """Add a function, or what there is of it from the head of a loop on."""
    function = syntax.functions[index - context.imported_funcs]
    type = signature(context, index)
    emitter = Emitter(unit, context, index, function, code, metered, block)
    blocks = guarded(code, emitter.computed)
    for number, record in enumerate(code.records()):
        emitter.number = number
        if record.row == form.BLOCK:
            look()
        if record.row == form.BLOCK or not emitter.dead:
            emitter.position = record.position
            OPERATIONS[form.NAMES[record.row]](emitter, record)
        if number in blocks and not emitter.dead:
            quickly(emitter, number, blocks[number])
    if block is not None:
        unit.functions.append(emitter.finish_loop(block))
        unit.entries[f"f{index}.loop"] = index, unit.entry(type, loop=True)
        return
    unit.functions.append(emitter.finish())
    if index in unit.entered:
        unit.entries[f"f{index}"] = index, unit.entry(type, loop=False)


def signature(context: Context, index: int) -> FuncType:
    """The type of a function."""
    found = context.funcs[index].composite
    assert isinstance(found, FuncType)
    return found


def decline(context: Context, index: int, function: Function, code: Form, times: int = 1) -> None:
    """Raises `Declined` for a function that `emit` does not do, or that is so many times too large."""
    type = signature(context, index)
    _check_signature(type)
    locals = sum(count for count, _ in function.locals)
    records = len(code.code) // form.STRIDE
    if records > times * MAX_RECORDS or locals > times * MAX_LOCALS or code.heights > times * MAX_HEIGHTS:
        raise Declined("too large")
    if sum(len(region.clauses) for region in code.regions) > MAX_CLAUSES:
        raise Declined("too large")
    for region in code.regions:
        for clause in region.clauses:
            if len(clause.widths) > MAX_VALUES:
                raise Declined("many values")
    rows = code.code[:: form.STRIDE]
    for row in set(rows):
        if not _DONE[row]:
            raise Declined(form.NAMES[row])
    for record in code.records():
        if record.row < form.BLOCK and form.CALLS[record.row]:
            _check_signature(called(context, record))
        elif record.row < form.BLOCK and form.LISTED[record.row] and record.b > MAX_VALUES:
            raise Declined("many values")
    if _spilled(context, type, function, code) > MAX_SPILLED:
        raise Declined("too large")


def _spilled(context: Context, signature: FuncType, function: Function, code: Form) -> int:
    """How often references are spilled at most."""
    references = sum(llvm_type(type) == REFERENCE for type in signature.params)
    references += sum(count for count, type in function.locals if llvm_type(type) == REFERENCE)
    points = len(loop_costs(code))
    operands = 0
    for record in code.records():
        points += record.row != form.BLOCK and COLLECTS[record.row]
        if form.NAMES[record.row] in MAKE_REFERENCES or _results(context, record):
            operands = code.heights
    return points * (references + operands)


def _results(context: Context, record: Record) -> bool:
    """Whether a record's results may have references, as those of calls."""
    if form.NAMES[record.row] == "global.get":
        return llvm_type(context.globals[record.immediate].content) == REFERENCE
    if record.row >= form.BLOCK or not form.CALLS[record.row]:
        return False
    return any(llvm_type(type) == REFERENCE for type in called(context, record).results)


def _check_signature(signature: FuncType) -> None:
    if max(len(signature.params), len(signature.results)) > MAX_VALUES:
        raise Declined("many values")
