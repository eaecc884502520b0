"""What is done for each instruction that is compiled: `OPERATIONS`, by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Record
from tinywasm.engine.llvm import calling, numeric, objects, vectors
from tinywasm.engine.llvm.function import Emitter, Value, float_bits, signed
from tinywasm.engine.llvm.unit import (
    BULK,
    FRAME,
    OF_REFERENCES,
    RARELY,
    TAG,
    TRAPS,
    llvm_type,
)
from tinywasm.engine.native import _loop
from tinywasm.types import I64

# As the loop counts a memory that grows.
_GROWTH = 4096
# A unit of fuel pays for 2 to the power of this of bytes.
_BYTES_A_UNIT = 6
WIDTHS = {vectors.V128: 16, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "float": 4, "double": 8}


def operator(e: Emitter, record: Record) -> None:
    name = form.NAMES[record.row]
    # Any NaN is taken only as the type that it was computed as.
    loose = numeric.LOOSE.get(name, "")
    operands = [e.take(place) for place in form.operands(e.form, record)]
    texts = [each.text if each.computed == loose else e.canonical(each).text for each in operands]
    known = e.made.get(key := f"{name} {texts} {record.immediate}")
    if known is None:
        known = e.made[key] = e.name()
        a, b, c, *_ = [*texts, "", ""]
        text = numeric.TEMPLATES[name].format(r=known, a=a, b=b, c=c, lane=record.immediate)
        e.lines.append(text)
    to = numeric.RESULTS.get(name) or numeric.TYPES[name[:3]]
    if name in numeric.CONDITIONS:
        e.make(record.result, Value("", to, "", f"{known}.is"))
    else:
        e.make(record.result, Value(known, to, numeric.COMPUTED.get(name, "")))


def equals_zero(e: Emitter, record: Record) -> None:
    value = e.taken(record.a)
    if value.condition:
        made = e.computed_once(f"xor i1 {value.condition}, true")
    else:
        made = e.computed_once(f"icmp eq {value.type} {value.text}, 0")
    e.make(record.result, Value("", "i32", "", made))


def division(e: Emitter, record: Record) -> None:
    name = form.NAMES[record.row]
    type, operation, of_signed = numeric.DIVISIONS[name]
    a, b = e.take(record.a).text, e.take(record.b).text
    e.trap_if(e.value(f"icmp eq {type} {b}, 0"), TRAPS["INTEGER_DIVISION_BY_ZERO"])
    if of_signed:
        # The quotient of the least integer and -1 is out of range, and so is LLVM's remainder.
        minus = e.value(f"icmp eq {type} {b}, -1")
        if operation == "sdiv":
            least = e.value(f"icmp eq {type} {a}, {-(1 << int(type[1:]) - 1)}")
            e.trap_if(e.value(f"and i1 {minus}, {least}"), TRAPS["INTEGER_OVERFLOW"])
        else:
            b = e.value(f"select i1 {minus}, {type} 1, {type} {b}")
    e.make(record.result, Value(e.value(f"{operation} {type} {a}, {b}"), type))


def truncation(e: Emitter, record: Record) -> None:
    name = form.NAMES[record.row]
    source, operation, above, least, greatest = numeric.TRUNCATIONS[name]
    type, to = numeric.TYPES[source], numeric.TYPES[name[:3]]
    a = e.take(record.a).text
    e.trap_if(e.value(f"fcmp uno {type} {a}, {a}"), TRAPS["BAD_CONVERSION_TO_INTEGER"])
    low = e.value(f"fcmp {above} {type} {a}, {float_bits(type, least)}")
    high = e.value(f"fcmp olt {type} {a}, {float_bits(type, greatest)}")
    fits = e.value(f"and i1 {low}, {high}")
    e.trap_if(e.value(f"xor i1 {fits}, true"), TRAPS["INTEGER_OVERFLOW"])
    e.make(record.result, Value(e.value(f"{operation} {type} {a} to {to}"), to))


def wide_arithmetic(e: Emitter, record: Record) -> None:
    operation, extended, pairs = numeric.WIDE[form.NAMES[record.row]]
    operands = [e.take(place).text for place in form.operands(e.form, record)]
    wide = [e.value(f"{extended} i64 {each} to i128") for each in operands]
    if pairs:
        wide = [
            e.value(f"or i128 {low}, {e.value(f'shl i128 {high}, 64')}") for low, high in (wide[:2], wide[2:])
        ]
    whole = e.value(f"{operation} i128 {wide[0]}, {wide[1]}")
    low, high = form.results(e.form, record)
    e.make(low, Value(e.value(f"trunc i128 {whole} to i64"), "i64"))
    shifted = e.value(f"lshr i128 {whole}, 64")
    e.make(high, Value(e.value(f"trunc i128 {shifted} to i64"), "i64"))


def shuffle(e: Emitter, record: Record) -> None:
    lanes, shape = e.form.objects[record.immediate], vectors.SHAPES["i8x16"]
    given = []
    for place in (record.a, record.b):
        given.append(e.value(f"bitcast {vectors.V128} {e.canonical(e.take(place)).text} to {shape}"))
    chosen = ", ".join(f"i32 {lane}" for lane in lanes)
    made = e.value(f"shufflevector {shape} {given[0]}, {shape} {given[1]}, <16 x i32> <{chosen}>")
    e.make(record.result, Value(e.value(f"bitcast {shape} {made} to {vectors.V128}"), vectors.V128))


def load_extending(e: Emitter, record: Record) -> None:
    type, extend, to = vectors.EXTENDING[form.NAMES[record.row]]
    place = address(e, e.take(record.a), record.second, record.immediate, 8)
    lanes = e.value(f"load {type}, ptr {place}, align 1, {TAG['memory']}")
    made = e.value(f"{extend} {type} {lanes} to {to}")
    e.make(record.result, Value(_as_vector(e, made, to), vectors.V128))


def load_single(e: Emitter, record: Record) -> None:
    """A value for all lanes, or for the first of which the others are zero."""
    bits, kind = form.NAMES[record.row].removeprefix("v128.load").split("_")
    shape, lane = vectors.LANE_SHAPES[bits], f"i{bits}"
    place = address(e, e.take(record.a), record.second, record.immediate, int(bits) // 8)
    value = e.value(f"load {lane}, ptr {place}, align 1, {TAG['memory']}")
    around = "zeroinitializer" if kind == "zero" else "poison"
    made = e.value(f"insertelement {shape} {around}, {lane} {value}, i32 0")
    if kind == "splat":
        mask = f"<{128 // int(bits)} x i32> zeroinitializer"
        made = e.value(f"shufflevector {shape} {made}, {shape} poison, {mask}")
    e.make(record.result, Value(_as_vector(e, made, shape), vectors.V128))


def access_lane(e: Emitter, record: Record) -> None:
    kind, bits = _lane_access(record)
    shape, lane = vectors.LANE_SHAPES[bits], f"i{bits}"
    vector = e.canonical(e.take(record.b)).text
    memory, number = record.second & FRAME - 1, record.second >> 32
    place = address(e, e.take(record.a), memory, record.immediate, int(bits) // 8)
    lanes = vector if shape == vectors.V128 else e.value(f"bitcast {vectors.V128} {vector} to {shape}")
    if kind == "store":
        value = e.value(f"extractelement {shape} {lanes}, i32 {number}")
        e.line(f"store {lane} {value}, ptr {place}, align 1, {TAG['memory']}")
        return
    value = e.value(f"load {lane}, ptr {place}, align 1, {TAG['memory']}")
    made = e.value(f"insertelement {shape} {lanes}, {lane} {value}, i32 {number}")
    e.make(record.result, Value(_as_vector(e, made, shape), vectors.V128))


def _lane_access(record: Record) -> tuple[str, str]:
    """Whether it is a load or a store, and of how many bits."""
    name = form.NAMES[record.row].removeprefix("v128.").removesuffix("_lane")
    kind = "load" if name.startswith("load") else "store"
    return kind, name.removeprefix(kind)


def _as_vector(e: Emitter, value: str, shape: str) -> str:
    return value if shape == vectors.V128 else e.value(f"bitcast {shape} {value} to {vectors.V128}")


def select(e: Emitter, record: Record) -> None:
    a, b = (e.canonical(e.take(place)) for place in (record.a, record.b))
    chosen = e.condition(record.c)
    value = e.value(f"select i1 {chosen}, {a.type} {a.text}, {b.type} {b.text}")
    e.make(record.result, Value(value, a.type))


def global_get(e: Emitter, record: Record) -> None:
    type = llvm_type(e.context.globals[record.immediate].content)
    place = e.reached("globals", record.immediate)
    e.make(record.result, Value(e.load(type, place, "Global.value", f"align 8, {TAG['global']}"), type))


def global_set(e: Emitter, record: Record) -> None:
    """The upper half is zero where the value has 32 bits."""
    value = e.canonical(e.take(record.a))
    place = e.at(e.reached("globals", record.immediate), _loop.PLACES["Global.value"])
    type, text = value.type, value.text
    if type == "float":
        type, text = "i32", e.value(f"bitcast float {text} to i32")
    if type == "i32":
        type, text = "i64", e.value(f"zext i32 {text} to i64")
    e.line(f"store {type} {text}, ptr {place}, align 8, {TAG['global']}")


def unreachable(e: Emitter, record: Record) -> None:
    e.line(f"br {e.trap(TRAPS['UNREACHABLE'])}")
    e.dead = True


# Memories and tables


def access(e: Emitter, record: Record) -> None:
    """A load, or a store where there is no result."""
    memory_type = ACCESSES[form.NAMES[record.row]][1]
    stored = None if record.result != form.NOWHERE else e.canonical(e.take(record.b))
    place = address(e, e.take(record.a), record.second, record.immediate, WIDTHS[memory_type])
    access_at(e, record, place, stored)


def access_at(e: Emitter, record: Record, place: str, stored: Value | None) -> None:
    """The same at a place that is inside."""
    type, memory_type, extended = ACCESSES[form.NAMES[record.row]]
    if stored is not None:
        text = stored.text
        if memory_type != type:
            text = e.value(f"trunc {type} {text} to {memory_type}")
        e.line(f"store {memory_type} {text}, ptr {place}, align 1, {TAG['memory']}")
        return
    value = e.value(f"load {memory_type}, ptr {place}, align 1, {TAG['memory']}")
    if memory_type != type:
        value = e.value(f"{extended} {memory_type} {value} to {type}")
    e.make(record.result, Value(value, type))


def address(e: Emitter, index: Value, memory: int, offset: int, width: int) -> str:
    """Where an access of so many bytes goes. All of it is computed in 64 bits."""
    offset &= (1 << 64) - 1
    type = e.context.memories[memory]
    is64, least = type.address is I64, type.limits.min * type.page_size
    if index.text[0] != "%":
        start = int(index.text) & (1 << (64 if is64 else 32)) - 1
        if start + offset + width <= least:
            return e.at(e.memory(memory), start + offset)
    first = e.wide(index, is64)
    if e.inside.get((memory, first), 0) < offset + width:
        e.trap_if(_outside(e, first, memory, offset + width, is64), TRAPS["MEMORY_OUT_OF_BOUNDS"])
        # No memory becomes smaller.
        e.inside[memory, first] = offset + width
    at = e.computed_once(f"add i64 {first}, {signed(offset, 64)}") if offset else first
    return e.at(e.memory(memory), at)


def _outside(e: Emitter, start: str, memory: int, end: int, is64: bool) -> str:
    """Whether the bytes up to `end` behind a start do not all lie in a memory."""
    size = e.size(memory)
    # The limit is what loops need not compute again. It is below 0 where nothing is inside.
    if is64:
        before = signed(min(end, 1 << 64) - 1, 64)
        starts = e.computed_once(f"call i64 @llvm.usub.sat.i64(i64 {size}, i64 {before})")
        return e.value(f"icmp uge i64 {start}, {starts}")
    # None of the three has more than 34 bits, so nothing wraps.
    last = e.computed_once(f"sub nsw i64 {size}, {end}")
    return e.value(f"icmp sgt i64 {start}, {last}")


def memory_size(e: Emitter, record: Record) -> None:
    pages = e.load("i64", e.memory_structure(record.immediate), "Memory.pages", TAG["size"])
    e.make(record.result, e.narrow(pages, e.context.memories[record.immediate].address is I64))


def memory_grow(e: Emitter, record: Record) -> None:
    is64 = e.context.memories[record.immediate].address is I64
    pages = e.wide(e.take(record.a), is64)
    memory = e.memory_structure(record.immediate)
    old = e.helper("memory_grow", "%instance.store", f"ptr {memory}, i64 {pages}")
    lose(e, _GROWTH)
    e.make(record.result, e.narrow(old, is64))


def lose(e: Emitter, cost: int) -> None:
    """Take off the budget, of which the next head sees that nothing is left."""
    left = e.value(f"sub i64 {e.budget()}, {cost}")
    e.set_budget(e.value(f"call i64 @llvm.smax.i64(i64 {left}, i64 0)"))


def table_size(e: Emitter, record: Record) -> None:
    size = e.load("i64", e.reached("tables", record.immediate), "Table.size", TAG["table"])
    e.make(record.result, e.narrow(size, e.context.tables[record.immediate].address is I64))


def bulk(e: Emitter, record: Record) -> None:
    name = form.NAMES[record.row].replace(".", "_")
    values = [e.take(place) for place in form.operands(e.form, record)]
    to, source = record.immediate, record.second
    if name.endswith("_init"):
        to, source = source, to
    after = e.fresh()
    if name == "memory_fill" or name == "memory_copy":
        short_bulk(e, name, values, (to, source), after)
    slots = e.slots("%instance.store", "%room")
    for number, value in enumerate(values):
        e.put(slots, e.first + record.base + number, value.type, value.text)
    given = (
        f"ptr %instance, i64 %room, i64 {e.budget()}, i64 {e.site(e.position)}, i64 {e.shape(record.base)}"
    )
    given += f", i32 {int(e.metered)}, i32 {to}, i32 {source}"
    e.settle(e.helper(name, "%instance.store", given))
    e.line(f"br label %{after}")
    e.go_on(after)
    e.held.pop("%left")


def short_bulk(e: Emitter, name: str, values: Sequence[Value], memories: tuple[int, int], after: str) -> None:
    """What is inside the memories, and no more than the budget, takes the C library's function only."""
    count = e.wide(values[2], values[2].type == "i64")
    pair = e.value(f"call {{i64, i1}} @llvm.usub.with.overflow.i64(i64 {e.budget()}, i64 {count})")
    outside = e.value(f"extractvalue {{i64, i1}} {pair}, 1")
    copies = name == "memory_copy"
    places = []
    for memory, start in zip(memories, values[: 1 + copies], strict=False):
        at = e.wide(start, start.type == "i64")
        size = e.size(memory)
        starts = e.value(f"call i64 @llvm.usub.sat.i64(i64 {e.value(f'add i64 {size}, 1')}, i64 {count})")
        outside = e.value(f"or i1 {outside}, {e.value(f'icmp uge i64 {at}, {starts}')}")
        places.append(e.at(e.memory(memory), at))
    if e.metered:
        units, fuel = e.value(f"lshr i64 {count}, {_BYTES_A_UNIT}"), e.fuel()
        outside = e.value(f"or i1 {outside}, {e.value(f'icmp ugt i64 {units}, {fuel}')}")
    short, long = e.fresh(), e.fresh()
    e.line(f"br i1 {outside}, label %{long}, label %{short}, {RARELY}")
    e.go_on(short)
    e.line(f"store i64 {e.value(f'extractvalue {{i64, i1}} {pair}, 0')}, ptr %left")
    if e.metered:
        e.set_fuel(e.value(f"sub i64 {fuel}, {units}"))
    second = f"ptr {places[1]}" if copies else f"i32 {values[1].text}"
    e.helper("memmove" if copies else "memset", "%instance.store", f"ptr {places[0]}, {second}, i64 {count}")
    e.line(f"br label %{after}")
    e.go_on(long)


def drop_segment(e: Emitter, record: Record) -> None:
    name = form.NAMES[record.row].replace(".", "_")
    e.helper(name, "%instance.store", f"ptr %instance, i64 {record.immediate}")


def _accesses() -> dict[str, tuple[str, str, str]]:
    """By mnemonic: the type of the value, that in memory, and how the one becomes the other."""
    found = {}
    for wasm, type in numeric.TYPES.items():
        for kind in ("load", "store"):
            found[f"{wasm}.{kind}"] = type, type, ""
        for bits in (8, 16, 32) if wasm == "i64" else (8, 16) if wasm == "i32" else ():
            found[f"{wasm}.store{bits}"] = type, f"i{bits}", ""
            found[f"{wasm}.load{bits}_s"] = type, f"i{bits}", "sext"
            found[f"{wasm}.load{bits}_u"] = type, f"i{bits}", "zext"
    found["v128.load"] = found["v128.store"] = vectors.V128, vectors.V128, ""
    return found


ACCESSES = _accesses()
# What is done for each kind of record.
OPERATIONS: dict[str, Callable[[Emitter, Record], None]] = {
    **dict.fromkeys(numeric.TEMPLATES, operator),
    **dict.fromkeys(("i32.eqz", "i64.eqz"), equals_zero),
    **dict.fromkeys(numeric.DIVISIONS, division),
    **dict.fromkeys(numeric.TRUNCATIONS, truncation),
    **dict.fromkeys(numeric.WIDE, wide_arithmetic),
    **dict.fromkeys(ACCESSES, access),
    **dict.fromkeys((name.replace("_", ".") for name in BULK), bulk),
    **dict.fromkeys(("jump", "branch_if", "branch_unless"), Emitter.branch),
    "block": Emitter.begin,
    "move": Emitter.move,
    "move_row": Emitter.move_row,
    "branch_table": Emitter.branch_table,
    "return": Emitter.leave,
    "unreachable": unreachable,
    "select": select,
    "i8x16.shuffle": shuffle,
    **dict.fromkeys(vectors.EXTENDING, load_extending),
    **dict.fromkeys((f"v128.load{bits}_splat" for bits in (8, 16, 32, 64)), load_single),
    **dict.fromkeys(("v128.load32_zero", "v128.load64_zero"), load_single),
    **dict.fromkeys(
        (f"v128.{kind}{bits}_lane" for kind in ("load", "store") for bits in (8, 16, 32, 64)), access_lane
    ),
    "global.get": global_get,
    "global.set": global_set,
    "memory.size": memory_size,
    "memory.grow": memory_grow,
    "table.size": table_size,
    "data.drop": drop_segment,
    "elem.drop": drop_segment,
    "call": calling.call,
    "call_indirect": calling.call_indirect,
    "call_ref": calling.call_ref,
    **dict.fromkeys(("return_call", "return_call_indirect", "return_call_ref"), calling.tail_call),
    "throw": objects.throw,
    "throw_ref": objects.throw_ref,
    "ref.is_null": objects.is_null,
    "ref.eq": objects.equal,
    "ref.func": objects.function,
    "ref.as_non_null": objects.as_non_null,
    **dict.fromkeys(("branch_null", "branch_non_null"), objects.branch_on_null),
    "table.get": objects.table_get,
    "table.set": objects.table_set,
    "table.grow": objects.table_grow,
    "ref.test": objects.test,
    "ref.cast": objects.cast,
    **dict.fromkeys(("branch_cast", "branch_cast_fail"), objects.branch_on_cast),
    "ref.i31": objects.i31,
    **dict.fromkeys(("i31.get_s", "i31.get_u"), objects.i31_get),
    **dict.fromkeys(("struct.get", "struct.get_s", "struct.get_u"), objects.struct_get),
    "struct.set": objects.struct_set,
    **dict.fromkeys(("array.get", "array.get_s", "array.get_u"), objects.array_get),
    "array.set": objects.array_set,
    "array.len": objects.array_len,
    **dict.fromkeys((name for name in form.NAMES if name.replace(".", "_") in OF_REFERENCES), objects.asked),
}
