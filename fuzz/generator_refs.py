"""References, aggregates, tables, and bulk instructions of generated bodies."""

from __future__ import annotations

from fuzz.generator_code import Body, producer, statement
from fuzz.generator_env import defaultable, unpacked
from tinywasm.codec import Cast, Catch
from tinywasm.instructions import BY_NAME
from tinywasm.types import (
    I32,
    I64,
    AbstractHeap,
    ArrayType,
    FuncType,
    NumType,
    PackedType,
    RefType,
    StructType,
    ValType,
)

A = AbstractHeap


# Constructors


def construct(b: Body, wanted: RefType) -> None:
    """A reference of type `wanted` that is not null, where there can be one."""
    env, heap = b.env, wanted.heap
    if isinstance(heap, int):
        _construct_defined(b, heap)
    elif heap in (A.ANY, A.EQ):
        construct(b, RefType(False, env.pick([A.I31, A.STRUCT, A.ARRAY])))
    elif heap is A.I31:
        b.leaf(I32)
        b.emit("ref.i31")
    elif heap is A.STRUCT:
        _construct_defined(b, env.pick(env.of_kind(StructType)))
    elif heap is A.ARRAY:
        _construct_defined(b, env.pick(env.of_kind(ArrayType)))
    elif heap is A.FUNC:
        b.emit("ref.func", b.rng.randrange(len(env.funcs)))
    elif heap is A.EXTERN:
        construct(b, RefType(False, A.ANY))
        b.emit("extern.convert_any")
    else:
        catch_one(b)


def catch_one(b: Body) -> None:
    """A reference to an exception just thrown, which only a `try_table` gives."""
    exn = RefType(False, A.EXN)
    ready = b.open("block", exn, (exn,))
    inner = b.open("try_table", None, (), (Catch(None, True, 0),))
    tag = b.rng.randrange(len(b.env.tags))
    for type in b.env.params(b.env.tags[tag]):
        b.leaf(type)
    b.emit("throw", tag)
    b.close(inner)
    b.emit("unreachable")
    b.close(ready)


def _construct_defined(b: Body, index: int) -> None:
    env = b.env
    composite = env.types[index].composite
    wanted = RefType(False, index)
    if isinstance(composite, FuncType):
        found = env.some(i for i, type in enumerate(env.funcs) if env.matches(RefType(False, type), wanted))
        assert found is not None, "there is a function of each type"
        b.emit("ref.func", found)
    elif isinstance(composite, StructType):
        if all(defaultable(field.storage) for field in composite.fields) and env.chance(0.5):
            b.emit("struct.new_default", index)
            return
        for field in composite.fields:
            _field_leaf(b, field.storage)
        b.emit("struct.new", index)
    else:
        if defaultable(composite.field.storage) and env.chance(0.4):
            b.number_of(I32, b.rng.choice([0, 4, 5, 8, 9]))
            b.emit("array.new_default", index)
            return
        if env.chance(0.4):
            _field_leaf(b, composite.field.storage)
            b.number_of(I32, b.rng.choice([0, 4, 5, 8, 9]))
            b.emit("array.new", index)
            return
        count = b.rng.choice([0, 2, 3, 4, 5])
        for _ in range(count):
            _field_leaf(b, composite.field.storage)
        b.emit("array.new_fixed", index, count)


def _field_leaf(b: Body, storage: object) -> None:
    """A leaf without nesting: references to definitions that refer to each other would never end."""
    type = unpacked(storage)  # type: ignore[arg-type]
    if isinstance(type, RefType) and type.nullable and (isinstance(type.heap, int) or b.env.chance(0.5)):
        b.emit("ref.null", type.heap)
    else:
        b.leaf(type)


@producer(10, numbers=False)
def _new(b: Body, wanted: ValType) -> bool:
    """An aggregate whose parts are any values."""
    env = b.env
    assert isinstance(wanted, RefType)
    index = env.some(
        i
        for i in (*env.of_kind(StructType), *env.of_kind(ArrayType))
        if env.matches(RefType(False, i), wanted)
    )
    if index is None:
        if env.top(wanted) not in (A.FUNC, A.EXN):
            return False
        construct(b, wanted)
        return True
    composite = env.types[index].composite
    if isinstance(composite, StructType):
        for field in composite.fields:
            b.value(unpacked(field.storage))
        b.emit("struct.new", index)
    else:
        assert isinstance(composite, ArrayType)
        _new_array(b, index)
    return True


def _new_array(b: Body, index: int) -> None:
    env = b.env
    storage = env.element(index).storage
    ways = ["array.new", "array.new_fixed"]
    if defaultable(storage):
        ways.append("array.new_default")
    if not isinstance(storage, RefType) and env.datas:
        ways.append("array.new_data")
    elems = _elems_for(b, storage)
    if elems:
        ways.append("array.new_elem")
    way = env.pick(ways)
    if way == "array.new_fixed":
        count = b.rng.choice([0, 2, 3, 4, 5])
        for _ in range(count):
            b.value(unpacked(storage))
        b.emit(way, index, count)
        return
    if way in ("array.new_data", "array.new_elem"):
        b.small(I32, 4)
        b.small(I32, 8 if way == "array.new_data" else 4)
        b.emit(way, index, b.rng.randrange(len(env.datas)) if way == "array.new_data" else env.pick(elems))
        return
    if way == "array.new":
        b.value(unpacked(storage))
    b.length(I32)
    b.emit(way, index)


def _elems_for(b: Body, storage: object) -> list[int]:
    if not isinstance(storage, RefType):
        return []
    return [i for i, segment in enumerate(b.env.elems) if b.env.matches(segment.type, storage)]


# Aggregates


def _fields(b: Body, wanted: ValType) -> list[tuple[int, int]]:
    env = b.env
    return [
        (index, place)
        for index in env.of_kind(StructType)
        for place, field in enumerate(env.fields(index))
        if env.matches(unpacked(field.storage), wanted)
    ]


@producer(4)
def _struct_get(b: Body, wanted: ValType) -> bool:
    found = _fields(b, wanted)
    if not found:
        return False
    index, place = b.env.pick(found)
    packed = isinstance(b.env.fields(index)[place].storage, PackedType)
    _aggregate(b, index)
    b.emit(b.env.pick(["struct.get_s", "struct.get_u"]) if packed else "struct.get", index, place)
    return True


@producer(4)
def _array_get(b: Body, wanted: ValType) -> bool:
    env = b.env
    index = env.some(
        i for i in env.of_kind(ArrayType) if env.matches(unpacked(env.element(i).storage), wanted)
    )
    if index is None:
        return False
    packed = isinstance(env.element(index).storage, PackedType)
    _aggregate(b, index)
    b.small(I32, 2)
    b.emit(env.pick(["array.get_s", "array.get_u"]) if packed else "array.get", index)
    return True


def _aggregate(b: Body, index: int) -> None:
    b.value(RefType(b.env.chance(0.08), index))


@statement(4)
def _struct_set(b: Body) -> bool:
    env = b.env
    found = [
        (index, place)
        for index in env.of_kind(StructType)
        for place, field in enumerate(env.fields(index))
        if field.mutable
    ]
    if not found:
        return False
    index, place = env.pick(found)
    _aggregate(b, index)
    b.value(unpacked(env.fields(index)[place].storage))
    b.emit("struct.set", index, place)
    return True


def _mutable_array(b: Body) -> int | None:
    return b.env.some(i for i in b.env.of_kind(ArrayType) if b.env.element(i).mutable)


@statement(4)
def _array_set(b: Body) -> bool:
    index = _mutable_array(b)
    if index is None:
        return False
    _aggregate(b, index)
    b.small(I32, 2)
    b.value(unpacked(b.env.element(index).storage))
    b.emit("array.set", index)
    return True


@statement(2)
def _array_fill(b: Body) -> bool:
    index = _mutable_array(b)
    if index is None:
        return False
    _aggregate(b, index)
    b.small(I32, 2)
    b.value(unpacked(b.env.element(index).storage))
    b.small(I32, 2)
    b.emit("array.fill", index)
    return True


@statement(2)
def _array_copy(b: Body) -> bool:
    env = b.env
    target = _mutable_array(b)
    if target is None:
        return False
    wanted = env.element(target).storage
    source = env.some(
        i
        for i in env.of_kind(ArrayType)
        for storage in [env.element(i).storage]
        if storage is wanted
        or (isinstance(storage, RefType) and isinstance(wanted, RefType) and env.matches(storage, wanted))
    )
    assert source is not None
    _aggregate(b, target)
    b.small(I32, 2)
    _aggregate(b, source)
    b.small(I32, 2)
    b.small(I32, 2)
    b.emit("array.copy", target, source)
    return True


@statement(2)
def _array_init(b: Body) -> bool:
    env = b.env
    index = _mutable_array(b)
    if index is None:
        return False
    storage = env.element(index).storage
    elems = _elems_for(b, storage)
    if isinstance(storage, RefType) and not elems:
        return False
    if not isinstance(storage, RefType) and not env.datas:
        return False
    _aggregate(b, index)
    b.small(I32, 2)
    b.small(I32, 2)
    b.small(I32, 2)
    if isinstance(storage, RefType):
        b.emit("array.init_elem", index, env.pick(elems))
    else:
        b.emit("array.init_data", index, b.rng.randrange(len(env.datas)))
    return True


# Tests and casts


def _castable(b: Body) -> RefType:
    """The top of a hierarchy that has casts."""
    return RefType(True, b.env.pick([A.ANY, A.ANY, A.ANY, A.FUNC, A.EXTERN]))


def _target(b: Body, source: RefType) -> RefType:
    return RefType(b.env.chance(0.5), b.env.pick(b.env.below(source)).heap)


@producer(3, refs=False)
def _ref_tests(b: Body, wanted: ValType) -> bool:
    if wanted is not I32:
        return False
    source = _castable(b)
    if b.env.chance(0.3):
        b.value(b.env.pick([*b.env.below(source), RefType(True, A.EXN)]))
        b.emit("ref.is_null")
        return True
    target = _target(b, source)
    b.value(source)
    b.emit_row(BY_NAME["ref.test"][target.nullable], target)
    return True


@producer(4, numbers=False)
def _br_on_cast(b: Body, wanted: ValType) -> bool:
    """A value of a supertype where it is of the wanted type, or else another."""
    assert isinstance(wanted, RefType)
    top = b.env.top(wanted)
    if top is A.EXN:
        return False
    source = RefType(True, top)
    ready = b.open("block", wanted, (wanted,))
    b.value(source)
    b.emit("br_on_cast", Cast(0, source, wanted))
    b.discard([RefType(not wanted.nullable, top)])
    b.value(wanted)
    b.close(ready)
    return True


@producer(2, numbers=False)
def _br_on_cast_fail(b: Body, wanted: ValType) -> bool:
    assert isinstance(wanted, RefType)
    top = b.env.top(wanted)
    if top is A.EXN:
        return False
    source = RefType(True, top)
    outer = b.open("block", wanted, (wanted,))
    inner = b.open("block", source, (source,))
    b.value(source)
    b.emit("br_on_cast_fail", Cast(0, source, wanted))
    b.emit("br", 1)
    b.close(inner)
    b.discard([source])
    b.value(wanted)
    b.close(outer)
    return True


@producer(1, numbers=False)
def _ref_cast(b: Body, wanted: ValType) -> bool:
    assert isinstance(wanted, RefType)
    if b.env.top(wanted) is A.EXN:
        return False
    above = [each for each in b.env.heaps() if b.env.matches(wanted, RefType(True, each))]
    b.value(wanted if b.env.chance(0.7) else RefType(True, b.env.pick(above)))
    b.emit_row(BY_NAME["ref.cast"][wanted.nullable], wanted)
    return True


@producer(1, numbers=False)
def _as_non_null(b: Body, wanted: ValType) -> bool:
    assert isinstance(wanted, RefType)
    b.value(RefType(b.env.chance(0.3), wanted.heap))
    b.emit("ref.as_non_null")
    return True


@producer(2, numbers=False)
def _br_on_non_null(b: Body, wanted: ValType) -> bool:
    assert isinstance(wanted, RefType)
    some = RefType(False, wanted.heap)
    ready = b.open("block", some, (some,))
    b.value(RefType(True, wanted.heap))
    b.emit("br_on_non_null", 0)
    b.value(some)
    b.close(ready)
    return True


@statement(2)
def _br_on_null(b: Body) -> bool:
    label = b.rng.randrange(len(b.labels))
    types = b.labels[-1 - label]
    heap = b.env.pick(b.env.heaps())
    b.values(types)
    b.value(RefType(True, heap))
    b.emit("br_on_null", label)
    b.discard([*types, RefType(False, heap)])
    return True


@producer(2, numbers=False)
def _convert(b: Body, wanted: ValType) -> bool:
    assert isinstance(wanted, RefType)
    if wanted.heap is A.EXTERN:
        b.value(RefType(wanted.nullable, A.ANY))
        b.emit("extern.convert_any")
        return True
    if wanted.heap is A.ANY:
        b.value(RefType(wanted.nullable, A.EXTERN))
        b.emit("any.convert_extern")
        return True
    return False


# Tables


@producer(3, numbers=False)
def _table_get(b: Body, wanted: ValType) -> bool:
    env = b.env
    table = env.some(i for i, each in enumerate(env.tables) if env.matches(each.element, wanted))
    if table is None:
        return False
    b.small(env.tables[table].address, 8)
    b.emit("table.get", table)
    return True


@producer(1, refs=False)
def _table_grow(b: Body, wanted: ValType) -> bool:
    table = b.env.some(i for i, each in enumerate(b.env.tables) if each.address is wanted)
    if table is None:
        return False
    b.value(b.env.tables[table].element)
    b.length(wanted)
    b.emit("table.grow", table)
    return True


@statement(2)
def _table_set(b: Body) -> bool:
    table = b.rng.randrange(len(b.env.tables))
    b.small(b.env.tables[table].address, 8)
    b.value(b.env.tables[table].element)
    b.emit("table.set", table)
    return True


@statement(1)
def _table_fill(b: Body) -> bool:
    table = b.rng.randrange(len(b.env.tables))
    type = b.env.tables[table]
    b.small(type.address, 8)
    b.value(type.element)
    b.small(type.address, 4)
    b.emit("table.fill", table)
    return True


def _narrower(first: NumType, second: NumType) -> NumType:
    return I64 if first is I64 and second is I64 else I32


@statement(2)
def _table_copy(b: Body) -> bool:
    env = b.env
    target = b.rng.randrange(len(env.tables))
    wanted = env.tables[target].element
    source = env.some(i for i, each in enumerate(env.tables) if env.matches(each.element, wanted))
    assert source is not None
    to, from_ = env.tables[target].address, env.tables[source].address
    b.small(to, 4)
    b.small(from_, 4)
    b.small(_narrower(to, from_), 4)
    b.emit("table.copy", target, source)
    return True


@statement(2)
def _table_init(b: Body) -> bool:
    env = b.env
    pairs = [
        (elem, table)
        for elem, segment in enumerate(env.elems)
        for table, each in enumerate(env.tables)
        if env.matches(segment.type, each.element)
    ]
    if not pairs:
        return False
    elem, table = env.pick(pairs)
    b.small(env.tables[table].address, 4)
    b.small(I32, 4)
    b.small(I32, 4)
    b.emit("table.init", elem, table)
    return True


@statement(2)
def _memory_copy(b: Body) -> bool:
    env = b.env
    target, source = b.rng.randrange(len(env.memories)), b.rng.randrange(len(env.memories))
    b.address(target)
    b.address(source)
    b.small(_narrower(env.memories[target].address, env.memories[source].address), 64)
    b.emit("memory.copy", target, source)
    return True
