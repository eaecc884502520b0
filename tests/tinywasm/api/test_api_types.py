"""Types and numbers that a program makes are checked before anything is made of them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import tinywasm
from tinywasm import (
    Config,
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Limits,
    Linker,
    Memory,
    MemoryType,
    Store,
    Table,
    TableType,
    Tag,
    TagType,
    Trap,
    TrapCode,
    Val,
    ValidationError,
    ValType,
)
from tinywasm.types import I32, I64, AbstractHeap, DefinedType, NumType, RefType

FUNCREF, EXTERNREF = ValType.funcref(), ValType.externref()
MANY = 10_000_000


def _memory(*limits: Any, **options: Any) -> Callable[[Store], object]:
    return lambda store: Memory(store, MemoryType(Limits(*limits), **options))


def _table(*limits: Any, element: Any = FUNCREF, **options: Any) -> Callable[[Store], object]:
    return lambda store: Table(store, TableType(element, Limits(*limits), **options), None)


def _global(*type: Any) -> Callable[[Store], object]:
    return lambda store: Global(store, GlobalType(*type), None)


def _func(*type: Any) -> Callable[[Store], object]:
    return lambda store: Func(store, FuncType(*type), lambda *args: None)


def _tag(type: Any) -> Callable[[Store], object]:
    return lambda store: Tag(store, TagType(type))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (_memory(5, 2), ValidationError, "minimum must not be greater than maximum"),
        (_memory(-1, 2), ValidationError, "must not be negative"),
        (_memory(-1), ValidationError, "must not be negative"),
        (_memory(0, -1), ValidationError, "must not be negative"),
        (_memory(65537), ValidationError, "at most 65536 pages"),
        (_memory(0, 65537), ValidationError, "at most 65536 pages"),
        (_memory(0, 1 << 100), ValidationError, "at most 65536 pages"),
        (_memory((1 << 48) + 1, is_64=True), ValidationError, "at most 281474976710656 pages"),
        (_memory(1, page_size=3), ValidationError, "invalid custom page size 3"),
        (_memory(1, page_size=0), ValidationError, "invalid custom page size 0"),
        (_memory(1, page_size=-65536), ValidationError, "invalid custom page size"),
        (_memory(1, page_size=1), ValidationError, "custom-page-sizes proposal is off"),
        (_memory(1, page_size_log2=1), ValidationError, "invalid custom page size 2"),
        (_memory(1, page_size_log2=1 << 70), ValueError, "page_size_log2"),
        (_memory(1, page_size_log2=-1), ValueError, "page_size_log2"),
        (_memory(1, page_size="1"), TypeError, "integer"),
        (_memory(1, address=ValType.f32()), TypeError, "address type"),
        (_memory(1, address=None), TypeError, "address type"),
        (_memory(1.5), TypeError, "integer"),
        (_memory("1"), TypeError, "integer"),
        (_memory(1, 2.0), TypeError, "integer"),
        (lambda store: Memory(store, MemoryType((1, 2))), TypeError, "expected a Limits"),  # type: ignore[arg-type]
        (lambda store: Memory(store, Limits(1, 2)), TypeError, "expected a MemoryType"),  # type: ignore[arg-type]
        (_table(5, 2), ValidationError, "minimum must not be greater than maximum"),
        (_table(-1), ValidationError, "must not be negative"),
        (_table(1 << 32), ValidationError, "table size"),
        (_table(0, 1 << 32), ValidationError, "table size"),
        (_table(1 << 64, address=I64), ValidationError, "table size"),
        (_table(1, element=I32), TypeError, "a table holds references"),
        (_table(1, element=None), TypeError, "a table holds references"),
        (_table(1, address=FUNCREF), TypeError, "address type"),
        (_table(1, element=RefType(True, 3)), ValidationError, "unknown type 3"),
        (_table(1, element=RefType(True, -1)), ValidationError, "unknown type -1"),
        (_table(1, element=RefType(True, "func")), ValidationError, "no value type"),  # type: ignore[arg-type]
        (_table(1, element=RefType(True, DefinedType())), ValidationError, "no value type"),
        (_table(1, element=RefType(False, AbstractHeap.FUNC)), TypeError, "does not take None"),
        (lambda store: Table(store, TableType(FUNCREF, None), None), TypeError, "expected a Limits"),  # type: ignore[arg-type]
        (_global(None), TypeError, "expected a ValType"),
        (_global(I32, "yes"), TypeError, "expected a bool"),
        (_global(ValType()), ValidationError, "no value type"),
        (_global(NumType("i32", 0x7F)), ValidationError, "no value type"),
        (_global(RefType(True, 0)), ValidationError, "unknown type 0"),
        (_func([1]), TypeError, "expected a ValType"),
        (_func([], "ab"), TypeError, "expected a ValType"),
        (_func(None), TypeError, "not iterable"),
        (_func([ValType()]), ValidationError, "no value type"),
        (_func([], [RefType(True, 0)]), ValidationError, "unknown type 0"),
        (_func([I32] * 1001), ValidationError, "1001 parameters"),
        (_func([], [I32] * 1001), ValidationError, "1001 results"),
        (lambda store: Func(store, FuncType(), None), TypeError, "expected a callable"),  # type: ignore[arg-type]
        (_tag(5), TypeError, "expected a FuncType"),
        (_tag(None), TypeError, "expected a FuncType"),
        (_tag(FuncType([], [I32])), ValidationError, "non-empty tag result type"),
        (_tag(FuncType([ValType()])), ValidationError, "no value type"),
        (lambda store: Val(9, 9), TypeError, "expected a ValType"),  # type: ignore[arg-type]
        (lambda store: Linker(store.engine).define_func("", "", 3, print), TypeError, "a FuncType"),  # type: ignore[arg-type]
        (lambda store: Linker(store.engine).define_func("", "", FuncType(), 3), TypeError, "a callable"),  # type: ignore[arg-type]
        (
            lambda store: Linker(store.engine).define_func("", "", FuncType([ValType()]), print),
            ValidationError,
            "no value type",
        ),
    ],
)
def test_types_are_checked_first(
    store: Store, make: Callable[[Store], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        make(store)
    assert type(caught.value) is error
    assert store.limits.counts == {"instances": 0, "tables": 0, "memories": 0} and not store.limits.used


def test_the_largest_types_are_kept_within_their_memory(store: Store) -> None:
    memory = Memory(store, MemoryType(Limits(1, 65536)))
    memory.write(store, b"x", 65535)
    for place in (65536, 1 << 32):
        with pytest.raises(IndexError):
            memory.write(store, b"x", place)
    assert memory.type(store) == MemoryType(Limits(1, 65536)) and memory.page_size_log2(store) == 16
    with pytest.raises(Trap) as caught:
        Memory(store, MemoryType(Limits(1 << 48), is_64=True))
    assert caught.value.trap_code is TrapCode.ALLOCATION_TOO_LARGE
    with pytest.raises(Trap) as caught:
        Table(store, TableType(FUNCREF, Limits((1 << 64) - 1), I64), None)
    assert caught.value.trap_code is TrapCode.ALLOCATION_TOO_LARGE


def test_what_no_process_has_room_for_is_a_trap(make_store: Any) -> None:
    store = make_store(max_memory_pages=(1 << 48) - 1, max_table_elements=(1 << 32) - 1)
    with pytest.raises(Trap) as caught:
        Memory(store, MemoryType(Limits((1 << 48) - 1), is_64=True))
    assert caught.value.trap_code is TrapCode.ALLOCATION_TOO_LARGE
    memory = Memory(store, MemoryType(Limits(1), is_64=True))
    memory.write(store, b"x", 65535)
    assert memory.data_len(store) == 65536


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("max_memory_pages", 1 << 48, ValueError),
        ("max_memory_pages", -1, ValueError),
        ("max_memory_pages", 1.0, TypeError),
        ("max_table_elements", 1 << 32, ValueError),
        ("max_table_elements", -1, ValueError),
        ("max_call_depth", -1, ValueError),
        ("max_call_depth", 1 << 63, ValueError),
        ("max_call_depth", "9", TypeError),
        ("consume_fuel", 1, TypeError),
        ("wasm_wide_arithmetic", "no", TypeError),
        ("engine", None, TypeError),
    ],
)
def test_numbers_of_a_configuration_are_checked(option: str, value: Any, error: type[Exception]) -> None:
    config = Config()
    with pytest.raises(error):
        setattr(config, option, value)
    assert config == Config()
    if not option.startswith("wasm_"):
        with pytest.raises(error):
            Config(**{option: value})


def test_a_depth_of_nothing_runs_nothing(make_store: Any) -> None:
    store = make_store(max_call_depth=0)
    exports = tinywasm.instantiate('(module (func (export "f")))', store=store).exports
    with pytest.raises(tinywasm.StackExhausted):
        exports.f()


@pytest.mark.parametrize(
    "type",
    [
        Limits(1, 2),
        MemoryType(Limits(1), is_64=True),
        TableType(EXTERNREF, Limits(1)),
        GlobalType(ValType.v128(), True),
        FuncType([I32, FUNCREF], [I64]),
        TagType(FuncType([I32])),
        ValType.f64(),
        FUNCREF,
        tinywasm.ImportType("a", "b", FuncType()),
        tinywasm.ExportType("b", GlobalType(I32)),
        Val.i32(5),
        Config(consume_fuel=True),
    ],
    ids=lambda type: type.__class__.__name__,
)
def test_types_and_values_survive_copy_and_pickle(type: Any) -> None:
    for again in (copy.copy(type), copy.deepcopy(type), pickle.loads(pickle.dumps(type))):
        assert again == type and again.__class__ is type.__class__


def test_numbers_of_numpy_make_limits(store: Store) -> None:
    np = pytest.importorskip("numpy")
    memory = Memory(store, MemoryType(Limits(np.int64(1), np.uint8(2))))
    assert memory.type(store) == MemoryType(Limits(1, 2))


def test_engines_are_not_configured_by_something_else() -> None:
    with pytest.raises(TypeError, match="expected a Config"):
        Engine({"consume_fuel": True})  # type: ignore[arg-type]
