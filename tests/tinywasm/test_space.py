"""Address space: what memories take of it, and what the errors say where it, or the mappings, run out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tinywasm
from tests.engines import ENGINES, needs_views
from tinywasm import Config, Engine, Limits, Memory, MemoryType, Store
from tinywasm.runtime import space

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc"),
    pytest.mark.parametrize("engine", ENGINES),
]

PRELUDE = """
import gc, mmap, resource, sys
import tinywasm
from tinywasm import Config, Engine, Instance, Limits, Memory, MemoryType, Module, Store, Trap
MIB = 1 << 20
engine = Engine(Config(engine=sys.argv[1]))
def limit(what, size):
    resource.setrlimit(what, (size, size))
def space():
    return int(open("/proc/self/statm").read().split()[0]) * 4096
def room(memory, store):
    while True:
        for pages in (1024, 64, 1):
            try:
                memory.grow(store, pages)
                break
            except tinywasm.WasmError:
                pass
        else:
            return memory.data_len(store)
"""


def child(engine: str, script: str) -> str:
    command = [sys.executable, "-c", PRELUDE + script, engine]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("\n")


def test_a_memory_leaves_half_of_a_limited_address_space(engine: str) -> None:
    script = """
limit(resource.RLIMIT_AS, space() + 4096 * MIB - 64)
store, kept = Store(engine), []
memory = Memory(store, MemoryType(Limits(1, None)))
print(room(memory, store) // MIB)
mmap.mmap(-1, 2000 * MIB).close()
kept = [Memory(store, MemoryType(Limits(1, None))) for _ in range(1000)]
print(room(kept[0], store) // MIB)
mmap.mmap(-1, 200 * MIB).close()
"""
    first, second = map(int, child(engine, script).split())
    assert first == 1024
    assert second >= 256


def test_what_must_be_large_may_take_nearly_all(engine: str) -> None:
    script = """
limit(resource.RLIMIT_AS, space() + 1024 * MIB)
store = Store(engine)
memory = Memory(store, MemoryType(Limits(900 * 16, None)))
print(memory.data_len(store) // MIB)
"""
    assert child(engine, script) == "900\n"


def test_dropped_stores_are_collected_before_address_space_is_said_to_be_used_up(engine: str) -> None:
    script = """
module = Module(engine, "(module (memory 1600 1600))")
gc.disable()
limit(resource.RLIMIT_AS, space() + 1000 * MIB)
for _ in range(30):
    Instance(Store(engine), module, [])
"""
    child(engine, script)


def test_dropped_stores_are_collected_before_a_memory_gets_less_room(engine: str) -> None:
    script = """
module = Module(engine, '(module (memory (export "m") 1))')
gc.disable()
limit(resource.RLIMIT_AS, space() + 1000 * MIB)
rooms = []
for _ in range(30):
    store = Store(engine)
    rooms.append(room(Instance(store, module, []).exports["m"], store))
print(min(rooms) // MIB, max(rooms) // MIB)
"""
    least, most = map(int, child(engine, script).split())
    assert least >= 2
    assert most >= 256


NO_SPACE = """
limit(resource.RLIMIT_AS, space() + 300 * MIB)
kept, store = [], Store(engine)
try:
    while True:
        kept.append(Memory(store, MemoryType(Limits(160, None))))
except Trap as trap:
    print(len(kept), trap.message)
# There is still room for ordinary work.
bytearray(8 * MIB)
"""


def test_a_limit_of_address_space_is_named(engine: str) -> None:
    count, message = child(engine, NO_SPACE).split(" ", 1)
    assert 8 <= int(count) <= 30
    assert message.startswith(
        "allocation too large: memory of 10485760 bytes: no address space is left of the "
    )
    assert message.endswith(" bytes that the process may take (ulimit -v)\n")


NO_MAPPINGS = """
most, kept = int(open("/proc/sys/vm/max_map_count").read()), []
store = Store(engine)
Memory(store, MemoryType(Limits(1, 2)))
try:
    while True:
        # Neighbours of different protection are mappings of their own.
        kept.append(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE * (len(kept) % 2)))
except OSError:
    del kept[-30:]
try:
    while True:
        kept.append(Memory(store, MemoryType(Limits(1, 2))))
except Trap as trap:
    print(trap.message)
"""


@pytest.mark.skipif(space._map_limit() > 100_000, reason="too many mappings to use them up")
def test_the_number_of_mappings_is_named(engine: str) -> None:
    assert child(engine, NO_MAPPINGS) == (
        "allocation too large: memory of 65536 bytes: the process has all the mappings that the system "
        f"allows ({space._map_limit()}: sysctl vm.max_map_count)\n"
    )


NO_DATA = """
limit(resource.RLIMIT_DATA, 1 << 30)
store = Store(engine)
try:
    Memory(store, MemoryType(Limits(32768, None)))
except Trap as trap:
    print(trap.message)
"""


def test_a_limit_of_data_is_named(engine: str) -> None:
    assert child(engine, NO_DATA) == (
        "allocation too large: memory of 2147483648 bytes: no memory is left of the 1073741824 bytes of "
        "data that the process may have (ulimit -d)\n"
    )


TABLES = """
limit(resource.RLIMIT_AS, space() + 64 * MIB)
try:
    type = tinywasm.TableType(tinywasm.ValType.funcref(), Limits(9_000_000, None))
    tinywasm.Table(Store(engine), type, None)
except Trap as trap:
    print(trap.message)
"""


def test_a_table_that_does_not_fit_is_told_so(engine: str) -> None:
    start = "allocation too large: table of 9000000 elements: no address space is left of the "
    assert child(engine, TABLES).startswith(start)


NO_ROOM = """
import os
segments = "(module (func) (elem func " + "0 " * 200_000 + "))"
sets = "(global.set 0 (i32.const 7))" * 12_000
code = '(module (global (mut i32) (i32.const 0)) (func (export "f")' + sets + "))"
# The stack of a call is kept for the next one.
tinywasm.instantiate('(module (func (export "f")))', store=Store(engine)).exports.f()
for source in (segments, code):
    module, endings, room = Module(engine, source), set(), 0
    # From one that ends at once to one that is enough.
    while 0 not in endings:
        child = os.fork()
        if child == 0:
            limit(resource.RLIMIT_AS, space() + room)
            try:
                exports = Instance(Store(engine), module, []).exports
                for function in exports.values():
                    function()
            except (MemoryError, Trap):
                os._exit(1)
            os._exit(0)
        endings.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        room += MIB // 4
    print(endings)
"""


def test_an_instance_that_does_not_fit_ends_in_an_error(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the system refuses memory, from little room to enough."""
    # Each large piece by a request of its own, or glibc would take some from what was freed before.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    assert child(engine, NO_ROOM) == "{0, 1}\n" * 2


@needs_views
def test_very_many_memories_share_mappings(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "_most_apart", -1)
    store = Store(Engine(Config(engine=engine)))
    before = mappings()
    kept = [Memory(store, MemoryType(Limits(1, None))) for _ in range(300)]
    assert mappings() - before < 30
    views = [memoryview(memory) for memory in kept]
    for number, memory in enumerate(kept):
        assert memory.grow(store, 3) == 1
        assert bytes(memory[:]) == bytes(4 * 65536)
        memory[0] = memory[4 * 65536 - 1] = number & 0xFF
    assert mappings() - before < 30
    assert [view[0] for view in views] == [number & 0xFF for number in range(300)]
    with pytest.raises(tinywasm.WasmError, match="failed to grow memory"):
        kept[0].grow(store, 4096)
    assert kept[0].grow(store, 4096 - 4) == 4


def test_what_was_shared_comes_back_as_zeros(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "_most_apart", -1)
    store = Store(Engine(Config(engine=engine)))
    for _ in range(50):
        memory = Memory(store, MemoryType(Limits(1, 2)))
        assert bytes(memory[:]) == bytes(65536)
        memory.write(store, b"\xff" * 65536)
