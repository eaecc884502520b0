"""Memories and tables for Python programs, and views that outlive growth."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tinywasm
from tests.engines import needs_views
from tinywasm import (
    Func,
    FuncType,
    Limits,
    Memory,
    MemoryType,
    Store,
    Table,
    TableType,
    Trap,
    TrapCode,
    ValType,
    WasmError,
)
from tinywasm.engine import native_available

MODULE = """
(module
  (memory (export "memory") 1 10)
  (table (export "table") 2 5 funcref)
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
  (func (export "size") (result i32) (table.size 0))
  (func (export "grow_table") (param i32) (result i32) (table.grow (ref.null func) (local.get 0))))
"""
# Before Python 3.12 only an extension's class can offer the buffer protocol.


@pytest.fixture
def exports(store: Store) -> tinywasm.Exports:
    return tinywasm.instantiate(MODULE, store=store).exports


@needs_views
def test_numpy_views_share_the_bytes_and_survive_growth(store: Store, exports: tinywasm.Exports) -> None:
    view = np.frombuffer(exports.memory, dtype=np.uint8)
    assert view.size == 65536 and view.flags.writeable
    exports.store(10, 77)
    assert view[10] == 77
    assert exports.grow(8) == 1
    view[11] = 88
    assert exports.load(11) == 88
    exports.store(12, 99)
    assert view[12] == 99 and view.size == 65536
    grown = np.frombuffer(exports.memory, dtype="<u4")
    assert grown.nbytes == 9 * 65536 and grown.ctypes.data == view.ctypes.data
    assert memoryview(exports.memory).nbytes == 9 * 65536


@needs_views
def test_a_view_keeps_the_bytes_alive(make_store: Any) -> None:
    view = np.frombuffer(tinywasm.instantiate(MODULE, store=make_store()).exports.memory, dtype=np.uint8)
    gc.collect()
    view[:] = 5
    assert view.sum() == 5 * 65536


def test_ctypes_views_survive_growth(store: Store, exports: tinywasm.Exports) -> None:
    memory = exports.memory
    pointer, array = memory.data_ptr(store), memory.get_buffer_ptr(store, 4, 65532)
    memory.grow(store, 2)
    pointer[65535] = 6
    assert array[3] == 6 and exports.load(65535) == 6
    assert len(memory.get_buffer_ptr(store)) == 3 * 65536
    assert np.frombuffer(memory.get_buffer_ptr(store), dtype=np.uint8)[65535] == 6
    with pytest.raises(ValueError):
        memory.get_buffer_ptr(store, 5, 3 * 65536 - 4)


def test_read_takes_slices_and_copies(store: Store, exports: tinywasm.Exports) -> None:
    memory = exports.memory
    assert memory.write(store, b"hello", 3) == 5
    found = memory.read(store, 3, 8)
    assert found == b"hello" and isinstance(found, bytearray)
    found[0] = 0
    assert memory.read(store, 3, 4) == b"h"
    assert memory.write(store, np.arange(3, dtype=np.uint16), -6) == 6
    assert memory.read(store, -6) == b"\0\0\1\0\2\0"
    assert memory.read(store, 8, 3) == b"" and memory.read(store, 65530, 1 << 40) == b"\0\0\1\0\2\0"
    assert len(memory.read(store)) == len(memory) == memory.data_len(store) == 65536


@pytest.mark.parametrize("start", [65533, 65536, 1 << 40])
def test_write_that_does_not_fit_writes_nothing(store: Store, exports: tinywasm.Exports, start: int) -> None:
    with pytest.raises(IndexError, match="do not fit"):
        exports.memory.write(store, b"1234", start)
    assert exports.memory.read(store, -4) == bytes(4)


def test_bytes_by_item(exports: tinywasm.Exports) -> None:
    memory = exports.memory
    memory[5] = 200
    memory[6:9] = b"abc"
    assert memory[5] == 200 and memory[4:10] == b"\0\xc8abc\0" and memory[-1] == 0
    with pytest.raises(IndexError):
        memory[65536]
    with pytest.raises(ValueError):
        memory[0:3] = b"12"


def test_growth_and_its_refusal(store: Store, exports: tinywasm.Exports) -> None:
    memory = exports.memory
    assert (memory.size(store), memory.grow(store, 3), memory.size(store)) == (1, 1, 4)
    for pages in (7, -1, 1 << 70):
        with pytest.raises(WasmError):
            memory.grow(store, pages)
    assert memory.type(store).limits == Limits(1, 10)
    assert memory.page_size(store) == 65536 and memory.page_size_log2(store) == 16


def test_own_memories(make_store: Any) -> None:
    store = make_store(max_memory_pages=4, custom_page_sizes=True)
    assert Memory(store, MemoryType(Limits(0))).data_len(store) == 0
    assert Memory(store, MemoryType(Limits(2, None), True)).type(store).is_64
    tiny = Memory(store, MemoryType(Limits(3), page_size_log2=0))
    assert (tiny.data_len(store), tiny.grow(store, 4), tiny.data_len(store)) == (3, 3, 7)
    with pytest.raises(Trap) as caught:
        Memory(store, MemoryType(Limits(5)))
    assert caught.value.trap_code is TrapCode.ALLOCATION_TOO_LARGE
    with pytest.raises(TypeError, match="expected a MemoryType"):
        Memory(store, Limits(1))  # type: ignore[arg-type]
    assert Memory(store, MemoryType(Limits(0))).data_ptr(store) is not None


def test_handles_are_for_their_store(make_store: Any, exports: tinywasm.Exports) -> None:
    for use in (exports.memory.size, exports.memory.read, exports.table.size):
        with pytest.raises(WasmError, match="belongs to another store"):
            use(make_store())
        with pytest.raises(TypeError, match="expected a Store or a Caller"):
            use("store")


def test_tables(store: Store, exports: tinywasm.Exports) -> None:
    table = exports.table
    host = Func(store, FuncType([], [ValType.i32()]), lambda: 42)
    table.set(store, 0, host)
    table[1] = exports.size
    assert table.get(store, 0) == host and table[1](store) == 2 and list(table) == [host, exports.size.func]
    table[0], table[1] = table[1], None
    assert table.get(store, 0) == exports.size.func and table.get(store, 1) is None
    assert table.grow(store, 2, None) == 2 == table.size(store) - 2
    assert table[-1] is None and table.get(store, 4) is None and table.get(store, -1) is None
    for index in (4, -1):
        with pytest.raises(Trap, match="out of bounds table access"):
            table.set(store, index, None)
    with pytest.raises(IndexError):
        table[4]
    with pytest.raises(TypeError):
        table[0] = 5
    for count in (2, -1):
        with pytest.raises(WasmError):
            table.grow(store, count, None)
    assert table.type(store) == TableType(ValType.funcref(), Limits(2, 5))
    own = Table(store, TableType(ValType.externref(), Limits(3)), "x")
    assert list(own) == ["x"] * 3
    with pytest.raises(TypeError):
        Table(store, TableType(ValType.funcref(), Limits(1)), "x")
    with pytest.raises(TypeError, match="expected a TableType"):
        Table(store, ValType.funcref(), None)  # type: ignore[arg-type]


def test_limits_of_a_store_hold_for_what_is_there_and_what_comes(store: Store) -> None:
    exports = tinywasm.instantiate(MODULE, store=store).exports
    store.set_limits(memory_size=3 * 65536 + 5, table_elements=3)
    assert [exports.grow(n) for n in (3, 2, 1)] == [-1, 1, -1]
    assert [exports.grow_table(n) for n in (2, 1, 1)] == [-1, 2, -1]
    with pytest.raises(Trap) as caught:
        tinywasm.instantiate("(module (memory 4))", store=store)
    assert caught.value.trap_code is TrapCode.ALLOCATION_TOO_LARGE
    with pytest.raises(Trap, match="allocation too large"):
        Table(store, TableType(ValType.externref(), Limits(4)), None)
    other = tinywasm.instantiate(MODULE, store=store).exports
    assert [other.grow(n) for n in (3, 2)] == [-1, 1]
    store.set_limits(memory_size=4 * 65536)
    assert [other.grow(n) for n in (2, 1)] == [-1, 3]
    store.set_limits(memory_size=65536)
    assert other.grow(1) == -1 and other.grow(0) == 4


@pytest.mark.parametrize("kind", ["instances", "tables", "memories"])
def test_counts_of_a_store(store: Store, kind: str) -> None:
    store.set_limits(**{kind: 2})
    tinywasm.instantiate(MODULE, store=store)
    tinywasm.instantiate(MODULE, store=store)
    with pytest.raises(Trap, match=f"the store may hold 2 {kind}"):
        tinywasm.instantiate(MODULE, store=store)


LIMITED = """
import resource
from tinywasm import Config, Engine, Limits, Memory, MemoryType, Store, Trap, WasmError

resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
store = Store(Engine(Config(engine={engine!r})))
memories = [Memory(store, MemoryType(Limits(1))) for _ in range(50)]
for memory in memories:
    memory.grow(store, 20)
    memory[20 * 65536] = 1
try:
    memories[0].grow(store, 20_000)
except WasmError as error:
    print(error)
try:
    Memory(store, MemoryType(Limits(20_000)))
except Trap as trap:
    print(trap.trap_code.name)
bytearray(500 << 20)
"""


@pytest.mark.parametrize("engine", ["python", "native"])
def test_reserved_space_counts_toward_no_limit_of_the_process(engine: str) -> None:
    if engine == "native" and not native_available:
        pytest.skip("the native engine is not built")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(engine=engine)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("failed to grow memory by `20000`\nALLOCATION_TOO_LARGE\n", "")


_CYCLES = """
import gc, sys
from tinywasm import Config, Engine, Limits, Memory, MemoryType, Store

class Holder:
    pass

seen = []
class Last(Holder):
    def __del__(self):
        seen.append(self.view[5])

gc.disable()
for number in range(30):
    store = Store(Engine(Config(engine=sys.argv[1])))
    memory = Memory(store, MemoryType(Limits(1, 2)))
    memory[5] = number
    holder = (Holder, Last)[number % 2]()
    holder.itself = holder
    holder.view, holder.memory, holder.store = memoryview(memory), memory, store
    holder.part, holder.steps = holder.view[3:9], iter(holder.view)
    holder.pointer = memory.get_buffer_ptr(store)
    holder.over = memoryview(holder.pointer)
    kept = memoryview(memory) if number % 3 == 0 else None
    del holder, memory, store
    gc.collect()
    assert kept is None or kept[5] == number
    del kept
assert seen == list(range(1, 30, 2))
print("done")
"""


@needs_views
@pytest.mark.parametrize("engine", ["python", *["native"] * native_available])
def test_views_in_garbage_are_collected(engine: str) -> None:
    # In a process of its own, which a fault would end.
    command = [sys.executable, "-X", "faulthandler", "-c", _CYCLES, engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
