"""What is done for instructions of references: tables of them, casts, structures, arrays and exceptions.

What takes long, or may collect, is a call into the engine, with its operands among the slots. Before one that
may collect, `Emitter.spill` brings the references that are still needed to where the collector looks; since
objects never move, they stay where they are as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Record
from tinywasm.engine.llvm.analysis import COLLECTS
from tinywasm.engine.llvm.function import Emitter, Value
from tinywasm.engine.llvm.unit import FINER_TRAPS, INVARIANT, REFERENCE, TAG, TRAPS, llvm_type
from tinywasm.engine.llvm.vectors import V128
from tinywasm.engine.native import _loop
from tinywasm.engine.native.patterns import HEAPS
from tinywasm.engine.native.rare import field
from tinywasm.types import I64, AbstractHeap, ArrayType, FuncType, PackedType, RefType, StorageType

_SIZES = {"i8": 1, "i16": 2, "i32": 4, "float": 4, V128: 16}
_TOPS = (AbstractHeap.ANY, AbstractHeap.EXTERN, AbstractHeap.FUNC, AbstractHeap.EXN)


def not_null(e: Emitter, value: Value, wording: str) -> str:
    """A reference, after a trap where it is null."""
    code = FINER_TRAPS.get(wording) or TRAPS[wording]
    e.trap_if(e.value(f"icmp eq ptr {value.text}, null"), code)
    return value.text


def _boolean(e: Emitter, record: Record, condition: str) -> None:
    e.make(record.result, Value(e.value(f"zext i1 {condition} to i32"), "i32"))


def is_null(e: Emitter, record: Record) -> None:
    _boolean(e, record, e.value(f"icmp eq ptr {e.take(record.a).text}, null"))


def equal(e: Emitter, record: Record) -> None:
    a, b = e.take(record.a).text, e.take(record.b).text
    _boolean(e, record, e.value(f"icmp eq ptr {a}, {b}"))


def function(e: Emitter, record: Record) -> None:
    e.make(record.result, Value(e.reached("funcs", record.immediate), REFERENCE))


def as_non_null(e: Emitter, record: Record) -> None:
    not_null(e, e.peek(record.a), "NULL_REFERENCE")


def branch_on_null(e: Emitter, record: Record) -> None:
    null = e.value(f"icmp eq ptr {e.peek(record.a).text}, null")
    e.branch_on(null, record.immediate, record.row == form.BRANCH_NULL)


# Tables


def _element(e: Emitter, table: int, index: Value) -> str:
    """Where an element lies."""
    structure = e.reached("tables", table)
    at = e.wide(index, e.context.tables[table].address is I64)
    size = e.load("i64", structure, "Table.size", TAG["table"])
    e.trap_if(e.value(f"icmp uge i64 {at}, {size}"), TRAPS["TABLE_OUT_OF_BOUNDS"])
    elements = e.load("ptr", structure, "Table.elements", TAG["table"])
    return e.at(elements, e.value(f"mul i64 {at}, 8"))


def table_get(e: Emitter, record: Record) -> None:
    place = _element(e, record.immediate, e.take(record.a))
    e.make(record.result, Value(e.load(REFERENCE, place, 0, TAG["table"]), REFERENCE))


def table_set(e: Emitter, record: Record) -> None:
    index, value = e.take(record.a), e.take(record.b)
    e.line(f"store ptr {value.text}, ptr {_element(e, record.immediate, index)}, {TAG['table']}")


# Casts


def _is_instance(e: Emitter, reference: str, target: RefType) -> str:
    """Whether a reference is of a type, as an `i1`."""
    null = e.value(f"icmp eq ptr {reference}, null")
    nullable = str(target.nullable).lower()
    if target.heap in _TOPS:
        return "true" if target.nullable else e.value(f"xor i1 {null}, true")
    wanted = e.reached("types", target.heap) if isinstance(target.heap, int) else "null"
    begin, check, done = e.label, e.fresh(), e.fresh()
    e.line(f"br i1 {null}, label %{done}, label %{check}")
    e.go_on(check)
    if isinstance(target.heap, int):
        belongs = _is_concrete(e, reference, target.heap, wanted)
    elif target.heap is AbstractHeap.I31:
        belongs = _is_i31(e, reference)
    else:
        assert isinstance(target.heap, AbstractHeap)
        belongs = _asked(e, reference, "null", HEAPS[target.heap])
    checked = e.label
    e.line(f"br label %{done}")
    e.go_on(done)
    return e.value(f"phi i1 [ {nullable}, %{begin} ], [ {belongs}, %{checked} ]")


def _is_i31(e: Emitter, reference: str) -> str:
    return e.value(f"trunc i64 {e.value(f'ptrtoint ptr {reference} to i64')} to i1")


def _is_concrete(e: Emitter, reference: str, type: int, wanted: str) -> str:
    definition = e.context.types[type]
    ways = []
    done = e.fresh()
    if not isinstance(definition.composite, FuncType):
        look = e.fresh()
        ways.append(("false", e.label))
        e.line(f"br i1 {_is_i31(e, reference)}, label %{done}, label %{look}")
        e.go_on(look)
    has = e.load("ptr", reference, "Object.type", INVARIANT)
    belongs = e.value(f"icmp eq ptr {has}, {wanted}")
    if not definition.final:
        other = e.fresh()
        ways.append(("true", e.label))
        e.line(f"br i1 {belongs}, label %{done}, label %{other}")
        e.go_on(other)
        belongs = _asked(e, reference, wanted, 0)
    ways.append((belongs, e.label))
    e.line(f"br label %{done}")
    e.go_on(done)
    return e.value(f"phi i1 {', '.join(f'[ {value}, %{label} ]' for value, label in ways)}")


def _asked(e: Emitter, reference: str, type: str, heap: int) -> str:
    given = f"ptr {reference}, ptr {type}, i32 {heap}"
    return e.value(f"icmp ne i64 {e.helper('is_instance', '%instance.store', given)}, 0")


def test(e: Emitter, record: Record) -> None:
    _boolean(e, record, _is_instance(e, e.take(record.a).text, e.form.objects[record.immediate]))


def cast(e: Emitter, record: Record) -> None:
    belongs = _is_instance(e, e.peek(record.a).text, e.form.objects[record.immediate])
    e.trap_if(e.value(f"xor i1 {belongs}, true"), TRAPS["CAST_FAILURE"])


def branch_on_cast(e: Emitter, record: Record) -> None:
    belongs = _is_instance(e, e.peek(record.a).text, e.form.objects[record.second])
    e.branch_on(belongs, record.immediate, record.row == form.BRANCH_CAST)


# Small integers


def i31(e: Emitter, record: Record) -> None:
    wide = e.value(f"zext i32 {e.take(record.a).text} to i64")
    shifted = e.value(f"and i64 {e.value(f'shl i64 {wide}, 1')}, {(1 << 32) - 1}")
    tagged = e.value(f"or i64 {shifted}, 1")
    e.make(record.result, Value(e.value(f"inttoptr i64 {tagged} to ptr"), REFERENCE))


def i31_get(e: Emitter, record: Record) -> None:
    reference = not_null(e, e.take(record.a), "null i31 reference")
    tagged = e.value(f"trunc i64 {e.value(f'ptrtoint ptr {reference} to i64')} to i32")
    shift = "ashr" if form.NAMES[record.row] == "i31.get_s" else "lshr"
    e.make(record.result, Value(e.value(f"{shift} i32 {tagged}, 1"), "i32"))


# Structures and arrays


def _get(e: Emitter, record: Record, storage: StorageType, place: str, tag: str) -> None:
    type = _stored(storage)
    value = e.load(type, place, 0, f"align {min(_SIZES.get(type, 8), 8)}, {TAG[tag]}")
    if isinstance(storage, PackedType):
        extend = "sext" if form.NAMES[record.row].endswith("_s") else "zext"
        value, type = e.value(f"{extend} {type} {value} to i32"), "i32"
    e.make(record.result, Value(value, type))


def _stored(storage: StorageType) -> str:
    return f"i{storage.value}" if isinstance(storage, PackedType) else llvm_type(storage)


def struct_get(e: Emitter, record: Record) -> None:
    slot, storage = field(e, record)
    structure = not_null(e, e.take(record.a), "null structure reference")
    _get(e, record, storage, e.at(structure, _loop.PLACES["Struct.fields"] + 8 * slot), "field")


def struct_set(e: Emitter, record: Record) -> None:
    """What has less than 64 bits is extended with zeros, as it is in a slot."""
    slot, storage = field(e, record)
    given, value = e.take(record.a), e.canonical(e.take(record.b))
    structure = not_null(e, given, "null structure reference")
    if isinstance(storage, PackedType):
        value = Value(e.value(f"and i32 {value.text}, {(1 << storage.value) - 1}"), "i32")
    fields = e.at(structure, _loop.PLACES["Struct.fields"])
    e.put(fields, slot, value.type, value.text, "field")


def _array_place(e: Emitter, array: Value, index: Value, storage: StorageType) -> str:
    """Where an element lies."""
    reference = not_null(e, array, "null array reference")
    at = e.wide(index, False)
    length = e.load("i64", reference, "Array.length", TAG["length"])
    e.trap_if(e.value(f"icmp uge i64 {at}, {length}"), TRAPS["ARRAY_OUT_OF_BOUNDS"])
    elements = e.at(reference, _loop.PLACES["Array.elements"])
    return e.at(elements, e.value(f"mul i64 {at}, {_SIZES.get(_stored(storage), 8)}"))


def _element_type(e: Emitter, record: Record) -> StorageType:
    composite = e.context.types[record.immediate].composite
    assert isinstance(composite, ArrayType)
    return composite.field.storage


def array_get(e: Emitter, record: Record) -> None:
    storage = _element_type(e, record)
    array, index = e.take(record.a), e.take(record.b)
    _get(e, record, storage, _array_place(e, array, index, storage), "element")


def array_set(e: Emitter, record: Record) -> None:
    storage = _element_type(e, record)
    array, index, given = e.take(record.a), e.take(record.b), e.canonical(e.take(record.c))
    place, type, value = _array_place(e, array, index, storage), _stored(storage), given.text
    if isinstance(storage, PackedType):
        value = e.value(f"trunc i32 {value} to {type}")
    e.line(f"store {type} {value}, ptr {place}, align {min(_SIZES.get(type, 8), 8)}, {TAG['element']}")


def array_len(e: Emitter, record: Record) -> None:
    array = not_null(e, e.take(record.a), "null array reference")
    e.make(record.result, e.narrow(e.load("i64", array, "Array.length", TAG["length"]), False))


# What the engine does


def asked(e: Emitter, record: Record) -> None:
    """By the helper of the instruction's name, with its operands among the slots, and its result there."""
    values = [e.canonical(e.take(place)) for place in form.operands(e.form, record)]
    if COLLECTS[record.row]:
        e.spill(record.base)
    call_with_slots(e, record, values)
    if record.result != form.NOWHERE:
        found = e.get(e.frame(), e.first + record.base, REFERENCE)
        e.make(record.result, Value(found, REFERENCE))


def call_with_slots(e: Emitter, record: Record, values: Sequence[Value], *, throws: bool = False) -> None:
    slot = e.first + record.base
    for value in values:
        e.put(e.frame(), slot, value.type, value.text)
        slot += 2 if value.type == V128 else 1
    given = (
        f"ptr %instance, i64 %room, i64 {e.budget()}, i64 {e.site(e.position)}, i64 {e.shape(record.base)}"
    )
    given += f", i32 {int(e.metered)}, i32 {record.immediate}, i32 {record.second}"
    left = e.helper(form.NAMES[record.row].replace(".", "_"), "%instance.store", given)
    e.settle(left, throws=throws)


def table_grow(e: Emitter, record: Record) -> None:
    values = [e.take(record.a), e.take(record.b)]
    is64 = e.context.tables[record.immediate].address is I64
    call_with_slots(e, record, values)
    type = "i64" if is64 else "i32"
    e.make(record.result, Value(e.get(e.frame(), e.first + record.base, type), type))


def throw(e: Emitter, record: Record) -> None:
    values = [e.canonical(e.take(place)) for place in form.operands(e.form, record)]
    e.spill(record.base)
    call_with_slots(e, record, values, throws=True)
    e.line("unreachable")
    e.dead = True


def throw_ref(e: Emitter, record: Record) -> None:
    exception = not_null(e, e.take(record.a), "null exception reference")
    e.settle(e.helper("throw_ref", "%instance.store", f"ptr %instance.store, ptr {exception}"), throws=True)
    e.line("unreachable")
    e.dead = True
