"""Memories, tables, globals, tags and segments: the same to all outside, whichever engine has them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from greenlet import getcurrent, greenlet

import tinywasm
from tests.engines import ENGINES
from tinywasm import (
    Config,
    Engine,
    Instance,
    LinkError,
    Module,
    Store,
    Trap,
    TrapCode,
    WasmError,
    raw,
    wat2wasm,
)
from tinywasm.engine import backend
from tinywasm.instantiation import instantiate_with
from tinywasm.interruption import look, obeying
from tinywasm.matching import define
from tinywasm.runtime import storage
from tinywasm.runtime.func import FuncInstance
from tinywasm.types import FUNCREF, I32, FuncType, GlobalType, Limits, MemoryType, TableType, TagType


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(Config(engine=request.param))


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


def made(store: Store, kind: str) -> Any:
    engine = backend(store)
    makers: dict[str, Callable[[], Any]] = {
        "Memory": lambda: engine.memory(MemoryType(Limits(1, 3))),
        "Table": lambda: engine.table(TableType(FUNCREF, Limits(1, 3)), None),
        "Global": lambda: engine.glob(GlobalType(I32, True), 7),
        "Tag": lambda: engine.tag(TagType(define(FuncType((I32,), ())))),
    }
    return makers[kind]()


@pytest.mark.parametrize("kind", ["Memory", "Table", "Global", "Tag"])
def test_both_engines_keep_to_the_interface(store: Store, kind: str) -> None:
    protocol = getattr(storage, kind)
    members = {name for name in vars(protocol) if not name.startswith("_")} | set(protocol.__annotations__)
    item = made(store, kind)
    assert members and not [name for name in members if not hasattr(item, name)]
    assert item.kind == kind.lower()


def test_a_memory_grows(store: Store) -> None:
    memory = made(store, "Memory")
    view = memory.data
    view[0] = 5
    assert (memory.grow(1), memory.grow(2), memory.grow(0)) == (1, -1, 2)
    assert memory.current_type == MemoryType(Limits(2, 3))
    assert memory.type == MemoryType(Limits(1, 3))
    memory.data[65535] = 6
    assert (view[65535], len(memory.data), memory.pages) == (6, 2 << 16, 2)


def test_a_memory_that_names_no_maximum_never_has_the_last_page(store: Store) -> None:
    def memory(least: int, most: int | None) -> storage.Memory:
        return backend(store).memory(MemoryType(Limits(least, most)))

    assert (memory(65530, None).grow(6), memory(65530, None).grow(5)) == (-1, 65530)
    assert (memory(65530, 65536).grow(6), memory(65536, None).pages) == (65530, 65536)


def test_a_table_grows(store: Store) -> None:
    table = made(store, "Table")
    assert (table.grow(1, None), table.grow(2, None), table.grow(0, None), len(table)) == (1, -1, 2, 2)
    assert table.current_type == TableType(FUNCREF, Limits(2, 3))
    assert table.type == TableType(FUNCREF, Limits(1, 3))
    with pytest.raises(Trap, match="out of bounds"):
        table.get(2)


MADE = """
(module
  (memory (export "memory") 1) (table (export "table") 1 funcref) (global (export "global") i32 (i32.const 1))
  (tag (export "tag")) (func (export "func")))"""
IMPORTS = {
    "memory": "(memory 1)",
    "table": "(table 1 funcref)",
    "global": "(global i32)",
    "tag": "(tag)",
    "func": "(func)",
}


def importing(store: Store, other: Store, kind: str) -> None:
    """Import what lives in another store, past the handles, which are refused before."""
    extern = raw.instantiate(other, Module(other.engine, MADE), {}).exports[kind]
    module = Module(store.engine, f'(module (import "m" "x" {IMPORTS[kind]}))')
    raw.instantiate(store, module, {"m": {"x": extern}})


@pytest.mark.skipif(len(ENGINES) < 2, reason="needs two engines")
@pytest.mark.parametrize("kind", IMPORTS)
def test_what_another_engine_made_is_refused(store: Store, kind: str) -> None:
    (name,) = set(ENGINES) - {store.engine.config.engine}
    with pytest.raises(LinkError, match="of another store" if kind == "func" else "another engine made"):
        importing(store, Store(Engine(Config(engine=name))), kind)


def test_a_function_of_another_store_is_refused(store: Store) -> None:
    with pytest.raises(LinkError, match="a function of another store"):
        importing(store, Store(store.engine), "func")


SEGMENTS = [
    *(f'(data (i32.const {4 * index}) "{index:04}")' for index in range(700)),
    '(data $kept "kept")',
    '(data (memory 0) (global.get 0) "glob")',
    '(data (memory 1) (i32.const 8) "next")',
    '(data (i32.const 4) "over")',
]


def _written(store: Store, *more: str) -> tuple[bytes, bytes, Any]:
    """What the active ones of these segments left in two memories, and what went wrong."""
    memories = [made(store, "Memory"), made(store, "Memory")]
    imports = [*memories, backend(store).glob(GlobalType(I32, False), 60000)]
    wanted = '(import "m" "0" (memory 1 3)) (import "m" "1" (memory 1 3)) (import "m" "2" (global i32))'
    taken = '(func (export "take") (memory.init $kept (i32.const 61000) (i32.const 0) (i32.const 4)))'
    module = Module(store.engine, wat2wasm(f"(module {wanted} {''.join([*SEGMENTS, *more])} {taken})"))
    caught: Any = None
    try:
        instance = instantiate_with(store, module, imports)
        take = instance.exports["take"]
        assert isinstance(take, FuncInstance)
        backend(store).call(take, [])
    except Trap as trap:
        caught = trap.trap_code
    return bytes(memories[0].data), bytes(memories[1].data), caught


def test_active_segments_of_all_forms_are_written_in_order(store: Store) -> None:
    first, second, caught = _written(store)
    numbers = "".join(f"{index:04}" for index in range(700)).encode()
    assert caught is None and first[: len(numbers)] == numbers[:4] + b"over" + numbers[8:]
    assert (first[60000:60004], first[61000:61004], second[8:12]) == (b"glob", b"kept", b"next")
    assert (sum(map(bool, first)), sum(map(bool, second))) == (len(numbers) + 8, 4)


@pytest.mark.parametrize("address", (65535, 65537, -1))
def test_a_segment_out_of_bounds_ends_it_where_it_is(store: Store, address: int) -> None:
    past = f'(data (i32.const {address}) "ab")'
    first, _, caught = _written(store, '(data (i32.const 0) "then")', past, '(data (i32.const 0) "late")')
    assert caught is TrapCode.MEMORY_OUT_OF_BOUNDS
    assert (first[:8], first[-1:]) == (b"thenover", b"\0")


# Each element is a million bytes that only the segment holds.
LARGE = """
(module
  (type $a (array i8))
  (elem $e (ref null $a) (array.new_default $a (i32.const 1000000)))
  (elem $declared declare (ref null $a) (array.new_default $a (i32.const 1000000)))
  (table $t 1 (ref null $a))
  (func (export "more") (drop (array.new_default $a (i32.const 1000000))))
  (func (export "init") (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1)))
  (func (export "clear") (table.set $t (i32.const 0) (ref.null $a)))
  (func (export "drop") (elem.drop $e)))"""


def limited(store: Store, most: int) -> Store:
    store.set_limits(total_memory=most)
    return store


@pytest.fixture
def total(store: Store) -> int:
    """What an array of a million elements takes."""
    return 8_000_000 if store.engine.config.engine == "python" else 1_000_000


def test_a_dropped_element_segment_holds_nothing(store: Store, total: int) -> None:
    e = tinywasm.instantiate(LARGE, store=limited(store, total * 5 // 2)).exports
    # The passive segment's, and one more: the declarative one was dropped at the beginning.
    e.more()
    e.init()
    e.drop()
    # Now it is the table's.
    assert tinywasm.instantiate("(module)", store=store)
    store.set_limits(total_memory=total * 3 // 2)
    with pytest.raises(Trap) as caught:
        e.more()
    assert caught.value.trap_code is TrapCode.ALLOCATION_TOO_LARGE
    e.clear()
    e.more()


DROPS = """
(module
  (memory (export "memory") 1) (table (export "table") 1 funcref) (func $f)
  (data $d "abc") (elem $e func $f $f)
  (data (i32.const 8) "def") (elem (i32.const 0) $f)
  (func (export "data") (param i32) (memory.init $d (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "elem") (param i32) (table.init $e (i32.const 0) (i32.const 0) (local.get 0)))
  (func (export "drop") (data.drop $d) (elem.drop $e)))"""


def test_drops_by_code_and_by_the_embedder_are_the_same(store: Store) -> None:
    module = Module(store.engine, DROPS)
    for drop in ("code", "embedder"):
        instance = Instance(store, module, [])
        e = instance.exports
        e.data(3)
        e.elem(1)
        assert e.memory[0:3] == b"abc"
        if drop == "code":
            e.drop()
            e.drop()
        else:
            for _ in range(2):
                instance._raw.drop_data(0)
                instance._raw.drop_elem(0)
        for name in ("data", "elem"):
            e[name](0)
            with pytest.raises(Trap, match="out of bounds"):
                e[name](1)
        # Dropped for one instance, not for the module.
    assert Instance(store, module, []).exports.data(3) is None


class Watched(Store):
    """A store that does something wherever making an instance looks at the limit of time."""

    during: Callable[[], Any] = staticmethod(lambda: None)

    def poll_time(self) -> None:
        self.during()
        super().poll_time()


STEPS = """
(module
  (memory 1) (global i32 (i32.const 1)) (table 1 funcref) (func $f) (func $start)
  (elem (i32.const 0) func $f) (data (i32.const 0) "a")
  (export "f" (func $f)) (start $start))"""


def in_thread(work: Callable[[], Any]) -> str:
    """What becomes of `work` in another thread."""
    seen: list[str] = []

    def run() -> None:
        try:
            work()
            seen.append("done")
        except WasmError as error:
            seen.append(error.message)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return seen[0]


def test_no_other_thread_enters_while_an_instance_is_made(engine: Engine) -> None:
    store = Watched(engine)
    seen: list[str] = []
    one = tinywasm.instantiate('(module (func (export "one")))', store=store).exports.one
    module = Module(engine, STEPS)
    store.during = lambda: seen.append(in_thread(one))
    instantiate_with(store, module, [], lambda instance: seen.append(in_thread(one)))
    assert len(seen) > 5 and set(seen) == {"the store is in use by another thread"}
    assert in_thread(one) == "done"


def test_a_failed_instance_leaves_the_store_free(engine: Engine) -> None:
    store = Store(engine)
    one = tinywasm.instantiate('(module (func (export "one")))', store=store)
    for text, error in (
        ('(module (memory 1) (data (i32.const 65536) "a"))', Trap),
        ("(module (func $f unreachable) (start $f))", Trap),
        ('(module (import "" "" (func)))', LinkError),
    ):
        with pytest.raises(error):
            Instance(store, Module(engine, text), [])
        assert in_thread(one.exports.one) == "done"


def test_instances_that_greenlets_make_end_in_any_order(engine: Engine) -> None:
    store = Watched(engine)
    module = Module(engine, STEPS)
    one = tinywasm.instantiate('(module (func (export "one")))', store=store)
    main = getcurrent()
    outcome: dict[str, Any] = {}

    def wait() -> None:
        if getcurrent() is not main:
            main.switch()

    store.during = wait

    def make(name: str) -> None:
        outcome[name] = Instance(store, module, [])

    both = {name: greenlet(make) for name in ("first", "second")}
    for name, each in both.items():
        each.switch(name)
    for each in both.values():
        while not each.dead:
            one.exports.one()
            each.switch()
    assert set(outcome) == {"first", "second"}
    assert in_thread(one.exports.one) == "done"
    assert outcome["first"].exports.f() is None
    # Nothing of either is left to be asked by what comes next.
    other: list[str] = []
    store.during = lambda: other.append("asked")
    Instance(Store(engine), module, [])
    tinywasm.wat2wasm("(module)")
    with obeying(lambda: other.append("in its turn")):
        look()
    look()
    assert other == ["in its turn"]


START = '(module (import "h" "h" (func $h)) (start $h))'


def test_a_recursion_error_of_a_host_function_at_the_start_is_its_own(engine: Engine) -> None:
    def h() -> None:
        raise RecursionError("its own")

    with pytest.raises(RecursionError, match="its own"):
        tinywasm.instantiate(START, {"h": {"h": h}}, store=Store(engine))
