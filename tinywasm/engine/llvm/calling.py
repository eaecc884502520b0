"""What is done for calls, which come back, and for tail calls, which do not."""

from __future__ import annotations

from collections.abc import Sequence

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Record
from tinywasm.engine.llvm import objects
from tinywasm.engine.llvm.function import Emitter, Value
from tinywasm.engine.llvm.unit import (
    FINER_TRAPS,
    FRAME,
    INVARIANT,
    RARELY,
    SELF,
    TAG,
    TRAPS,
    in_registers,
    llvm_type,
    placed,
    returned,
)
from tinywasm.types import I64, FuncType
from tinywasm.validation import Context


def called(context: Context, record: Record) -> FuncType:
    """The type of what a call calls."""
    direct = form.NAMES[record.row] in ("call", "return_call")
    signature = (context.funcs if direct else context.types)[record.immediate].composite
    assert isinstance(signature, FuncType)
    return signature


def _arguments(e: Emitter, record: Record) -> list[Value]:
    places = form.operands(e.form, record)
    return [e.canonical(e.take(place)) for place in places]


def call(e: Emitter, record: Record) -> None:
    signature = called(e.context, record)
    values = _arguments(e, record)
    index = record.immediate
    if index not in e.unit.members:
        bridge(e, record, signature, e.reached("funcs", index), values)
        return
    e.unit.called.add(index)
    e.spill(record.base)
    given = "".join(f", {value.type} {value.text}" for value in values)
    room = e.value(f"sub i64 %room, {FRAME + e.first + record.base}")
    left = e.budget()
    made = returned(signature)
    whole = e.value(f"call swiftcc {made} @f{index}({SELF}, i64 {room}, i64 {left}{given})")
    receive(e, record, signature, whole)


def bridge(e: Emitter, record: Record, signature: FuncType, callee: str, values: Sequence[Value]) -> None:
    """Call a function that may be anyone's."""
    e.spill(record.base)
    left = e.budget()
    given = f"{SELF}, i64 %room, i64 {left}, ptr {callee}, i64 {e.site(e.position)}"
    given += f", i64 {e.shape(record.base)}"
    given += "".join(f", {value.type} {value.text}" for value in values)
    whole = e.value(f"call swiftcc {returned(signature)} {e.unit.bridge(signature)}({given})")
    receive(e, record, signature, whole)


def receive(e: Emitter, record: Record, signature: FuncType, whole: str) -> None:
    made = returned(signature)
    e.sizes.clear()
    e.settle(e.value(f"extractvalue {made} {whole}, 0"), throws=True)
    for number, place in enumerate(form.results(e.form, record)):
        value = e.value(f"extractvalue {made} {whole}, {number + 1}")
        e.make(place, Value(value, llvm_type(signature.results[number])))


def call_indirect(e: Emitter, record: Record) -> None:
    *values, index = _arguments(e, record)
    bridge(e, record, called(e.context, record), _element(e, record, index), values)


def call_ref(e: Emitter, record: Record) -> None:
    *values, callee = _arguments(e, record)
    function = objects.not_null(e, callee, "null function reference")
    bridge(e, record, called(e.context, record), function, values)


def tail_call(e: Emitter, record: Record) -> None:
    """Where LLVM can, in place of this frame; else the engine does the same, which takes longer."""
    signature = called(e.context, record)
    values = _arguments(e, record)
    index = record.immediate if form.NAMES[record.row] == "return_call" else None
    if index is not None:
        callee = e.reached("funcs", index)
    elif form.NAMES[record.row] == "return_call_indirect":
        callee = _element(e, record, values.pop())
    else:
        callee = objects.not_null(e, values.pop(), "null function reference")
    # For both ways.
    left = e.budget()
    slow = e.fresh()
    # LLVM can where both take the same, and all results are in registers.
    same = [llvm_type(type) for type in signature.params] == e.types[: e.params]
    if same and e.loop is None and in_registers(signature):
        _replace(e, index, callee, values, slow)
    e.line(f"br label %{slow}")
    e.go_on(slow)
    for (slot, type), value in zip(placed(signature.params), values, strict=True):
        e.put(e.frame(), slot, type, value.text)
    given = f"ptr %instance, i64 %room, i64 {left}, ptr {callee}, i64 {e.site(e.position)}"
    left = e.helper("replace", "%instance.store", f"{given}, i64 {e.shape(record.base)}")
    failed, done = e.fresh(), e.fresh()
    e.line(f"br i1 {e.value(f'icmp slt i64 {left}, 0')}, label %{failed}, label %{done}, {RARELY}")
    e.go_on(failed)
    e.fail(e.signature)
    e.go_on(done)
    e.give(e.signature, left, [e.get(e.frame(), *each) for each in placed(e.signature.results)])
    e.dead = True


def _replace(e: Emitter, index: int | None, callee: str, values: Sequence[Value], slow: str) -> None:
    """Go on in the machine code of a function with the room of this frame, unless there is none, or it does
    not fit: then to the block `slow`."""
    if index is not None and index in e.unit.slots:
        e.unit.called.add(index)
        machine, frame = f"@f{index}", str(e.unit.slots[index])
    else:
        code = e.load("ptr", callee, "Func.code")
        _unless(e, e.value(f"icmp eq ptr {code}, null"), slow)
        machine = e.load("ptr", code, "Code.machine")
        _unless(e, e.value(f"icmp eq ptr {machine}, null"), slow)
        owner = e.load("ptr", callee, "Func.instance")
        _unless(e, e.value(f"icmp ne ptr {owner}, %instance"), slow)
        frame = e.value(f"zext i32 {e.load('i32', code, 'Code.frame_slots')} to i64")
    room = e.value(f"and i64 %room, {FRAME - 1}")
    _unless(e, e.value(f"icmp ult i64 {room}, {frame}"), slow)
    made = returned(e.signature)
    given = "".join(f", {value.type} {value.text}" for value in values)
    left = e.budget()
    whole = e.value(f"musttail call swiftcc {made} {machine}({SELF}, i64 %room, i64 {left}{given})")
    e.line(f"ret {made} {whole}")
    # What follows begins another block.
    e.go_on(e.fresh())


def _unless(e: Emitter, condition: str, away: str) -> None:
    label = e.fresh()
    e.line(f"br i1 {condition}, label %{away}, label %{label}, {RARELY}")
    e.go_on(label)


def _element(e: Emitter, record: Record, index: Value) -> str:
    """The function that is an element of a table; traps where there is none of the type."""
    number = record.second & 0xFFFFFFFF
    table = e.reached("tables", number)
    at = e.wide(index, e.context.tables[number].address is I64)
    size = e.load("i64", table, "Table.size", TAG["table"])
    e.trap_if(e.value(f"icmp uge i64 {at}, {size}"), FINER_TRAPS["undefined element"])
    elements = e.load("ptr", table, "Table.elements", TAG["table"])
    callee = e.load("ptr", e.at(elements, e.value(f"mul i64 {at}, 8")), 0, TAG["table"])
    check_element(e, callee, at)
    wanted = e.reached("types", record.immediate)
    has = e.load("ptr", callee, "Object.type", INVARIANT)
    differs, other, go = e.value(f"icmp ne ptr {has}, {wanted}"), e.fresh(), e.fresh()
    e.line(f"br i1 {differs}, label %{other}, label %{go}, {RARELY}")
    e.go_on(other)
    belongs = e.helper("is_instance", "%instance.store", f"ptr {callee}, ptr {wanted}, i32 0")
    e.trap_if(e.value(f"icmp eq i64 {belongs}, 0"), TRAPS["BAD_SIGNATURE"])
    e.line(f"br label %{go}")
    e.go_on(go)
    return callee


def check_element(e: Emitter, callee: str, index: str) -> None:
    """Trap where a table has no function."""
    null, trap, label = e.value(f"icmp eq ptr {callee}, null"), e.fresh(), e.fresh()
    e.line(f"br i1 {null}, label %{trap}, label %{label}, {RARELY}")
    e.go_on(trap)
    site = e.site(e.position)
    e.helper("trap_null", e.store_again(), f"ptr %instance, i64 %room, i64 {site}, i64 {index}")
    e.fail(e.signature)
    e.go_on(label)
