"""Objects past their constructors, copies, subclasses and nonsense: one clear error, or what is right."""

from __future__ import annotations

import array
import copy
import errno
import gc
import pickle
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import tinywasm
from tests.engines import needs_views
from tinywasm import (
    Caller,
    Engine,
    ExitTrap,
    Func,
    FuncType,
    Global,
    GlobalType,
    Instance,
    Limits,
    Linker,
    Memory,
    MemoryType,
    Module,
    Store,
    Table,
    TableType,
    Tag,
    TagType,
    Trap,
    Val,
    ValType,
    WasiConfig,
    WasmError,
)

I32, V128 = ValType.i32(), ValType.v128()
OBJECTS = """
(module
  (type $s (struct (field i32))) (type $a (array i32)) (tag $t)
  (memory (export "memory") 1 2) (table (export "table") 2 funcref)
  (global (export "global") (mut i32) (i32.const 1)) (tag (export "tag"))
  (func (export "f") (param i32) (result i32) (local.get 0))
  (func (export "pair") (result i32 i32) (i32.const 1) (i32.const 2))
  (func (export "struct") (result (ref $s)) (struct.new $s (i32.const 1)))
  (func (export "array") (result (ref $a)) (array.new $a (i32.const 1) (i32.const 3)))
  (func (export "exn") (result exnref)
    (block $h (result exnref) (try_table (catch_all_ref $h) (throw $t)) (unreachable)))
  (func (export "any") (param anyref) (result i32) (ref.is_null (local.get 0)))
  (func (export "take") (param exnref))
  (func (export "vector") (param v128) (result v128) (local.get 0)))
"""


@pytest.fixture
def exports(store: Store) -> tinywasm.Exports:
    return tinywasm.instantiate(OBJECTS, store=store).exports


@pytest.mark.parametrize("name", ["struct", "array", "exn"])
def test_references_are_not_made_by_their_class(exports: tinywasm.Exports, name: str) -> None:
    kind: Any = type(exports[name]())
    empty = kind.__new__(kind)
    looks: list[Callable[[], object]] = [lambda: empty.type, lambda: exports.any(empty)]
    if kind.__module__.endswith("_loop"):
        looks += [lambda: empty.heap, lambda: exports.take(empty)]
    for look in looks:
        with pytest.raises((TypeError, ValueError, AttributeError)):
            look()
    assert (empty == exports[name]()) is False and isinstance(hash(empty), int)
    gc.collect()


@pytest.mark.parametrize("name", ["f", "pair"])
def test_functions_are_not_made_by_their_class(exports: tinywasm.Exports, name: str) -> None:
    kind = type(exports[name])
    for arguments in ((), (None, None, None, None, None), (1, 2, 3, 4, 5)):
        with pytest.raises((TypeError, AttributeError)):
            kind.__new__(kind, *arguments)()
    assert exports.f(3) == 3 and exports.pair() == [1, 2]


def test_empty_handles_have_nothing(store: Store) -> None:
    kinds: tuple[Any, ...] = (
        *(Memory, Table, Global, Tag, Func, Instance),
        *(Linker, Caller, Module, Engine, Store),
    )
    for kind in kinds:
        empty = kind.__new__(kind)
        for name in dir(kind):
            if name.startswith("_") or not callable(getattr(kind, name)):
                continue
            with pytest.raises((AttributeError, TypeError, ValueError, WasmError)):
                getattr(empty, name)(store)
                raise WasmError("a method that does nothing with the object")
    with pytest.raises((AttributeError, TypeError)):
        memoryview(Memory.__new__(Memory))
    with pytest.raises(AttributeError, match="no instance"):
        tinywasm.Exports.__new__(tinywasm.Exports).f  # noqa: B018


def test_what_belongs_to_a_store_is_not_copied(store: Store, exports: tinywasm.Exports) -> None:
    instance = tinywasm.instantiate(OBJECTS, store=store)
    things = [exports[name] for name in ("memory", "table", "global", "tag", "f", "pair")]
    things += [exports["f"].func, instance, exports, exports(store), store, store.engine, instance.module]
    things += [Linker(store.engine), exports.struct(), exports.exn()]
    for thing in things:
        for way in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                way(thing)


def test_a_reference_type_of_a_module_is_copied_as_itself(exports: tinywasm.Exports) -> None:
    result = exports.struct.type.results[0]
    assert copy.deepcopy(result) == result and copy.copy(result) == result
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(result)
    undefined = type(result)(True, type(result.heap)())
    assert "undefined" in repr(undefined)


@needs_views
def test_public_classes_are_subclassed(make_store: Any) -> None:
    class MyStore(Store):
        pass

    class MyMemory(Memory):
        label = "mine"

    class MyTable(Table):
        pass

    class MyGlobal(Global):
        def value(self, store: Any) -> Any:
            return super().value(store) + 1

    class MyTag(Tag):
        pass

    class MyFunc(Func):
        pass

    class MyLinker(Linker):
        pass

    store = MyStore(make_store().engine)
    memory = MyMemory(store, MemoryType(Limits(1)))
    memory.extra = 5  # type: ignore[attr-defined]
    assert memory.label == "mine" and len(memoryview(memory)) == 65536
    table = MyTable(store, TableType(ValType.funcref(), Limits(1)), None)
    glob = MyGlobal(store, GlobalType(I32, True), 4)
    assert glob.value(store) == 5
    tag = MyTag(store, TagType(FuncType()))
    func = MyFunc(store, FuncType([], [I32]), lambda: 7)
    linker = MyLinker(store.engine)
    for name, item in (("m", memory), ("t", table), ("g", glob), ("tag", tag), ("f", func)):
        linker.define(store, "h", name, item)
    module = Module(
        store.engine,
        """(module (import "h" "m" (memory 1)) (import "h" "t" (table 1 funcref))
          (import "h" "g" (global (mut i32))) (import "h" "tag" (tag)) (import "h" "f" (func $f (result i32)))
          (export "memory" (memory 0)) (func (export "f") (result i32) (call $f)))""",
    )
    exports = linker.instantiate(store, module).exports
    assert exports.f() == 7 and type(exports.memory) is Memory and exports.memory == memory


def test_a_buffer_that_is_itself_has_no_end(store: Store) -> None:
    class Endless(Memory):
        def __buffer__(self, flags: int, /) -> Any:
            return self

    # Python looks at the method from 3.12 on.
    with suppress(TypeError):
        assert len(memoryview(Endless(store, MemoryType(Limits(1))))) == 65536


@pytest.mark.parametrize("seconds", [float("inf"), 1e10, 1e300, threading.TIMEOUT_MAX, 10**30])
def test_far_deadlines_do_not_come(store: Store, exports: tinywasm.Exports, seconds: float) -> None:
    failures: list[Any] = []
    before, threading.excepthook = threading.excepthook, failures.append
    others = threading.enumerate()
    try:
        store.set_deadline(seconds)
        assert exports.f(3) == 3
        timers = [thread for thread in threading.enumerate() if thread not in others]
        store.set_deadline(None)
        for timer in timers:
            timer.join(60)
    finally:
        threading.excepthook = before
    assert not failures and exports.f(3) == 3


def test_nonsense_for_a_store(make_store: Any) -> None:
    store = make_store(consume_fuel=True)
    store.set_fuel(5)
    calls: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: store.set_deadline(float("nan")), ValueError),
        (lambda: store.set_deadline("1"), TypeError),
        (lambda: store.set_deadline(10**400), OverflowError),
        (lambda: store.set_fuel(1.5), TypeError),
        (lambda: store.set_fuel(float("nan")), TypeError),
        (lambda: store.set_fuel("5"), TypeError),
        (lambda: store.set_epoch_deadline(1.5), TypeError),
        (lambda: store.set_limits(memory_size=float("nan")), TypeError),
        (lambda: store.set_limits(table_elements=1.5), TypeError),
        (lambda: store.set_limits(memory_size=1, instances="1"), TypeError),
        (lambda: store.set_limits(memory_size=1, total_memory=None), TypeError),
        (lambda: Caller("store"), TypeError),  # type: ignore[arg-type]
        (lambda: Trap(5), TypeError),  # type: ignore[arg-type]
        (lambda: tinywasm.instantiate("(module)", {"h": 5}), TypeError),  # type: ignore[dict-item]
        (lambda: tinywasm.instantiate("(module)", store="s"), TypeError),  # type: ignore[arg-type]
        (lambda: Module.deserialize(store.engine, 10**12), TypeError),  # type: ignore[arg-type]
        (lambda: Linker(store.engine).instantiate(store, None), TypeError),  # type: ignore[arg-type]
        (
            lambda: Linker(store.engine).define_unknown_imports_as_traps(5),  # type: ignore[arg-type]
            TypeError,
        ),
    ]
    for call, error in calls:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value)
    assert store.get_fuel() == 5 and store.limits.memory_size is None
    store.set_limits(memory_size=1 << 200, table_elements=1 << 200, total_memory=1 << 200, memories=1 << 200)
    Memory(store, MemoryType(Limits(1)))


def test_a_vector_is_sixteen_bytes_whatever_the_view(exports: tinywasm.Exports) -> None:
    wide = array.array("q", range(16))

    class Liar(bytes):
        def __bytes__(self) -> bytes:
            return b"abc"

        def __len__(self) -> int:
            return 16

    for wrong in (memoryview(wide), Liar(bytes(15)), bytes(17), "x" * 16, None):
        with pytest.raises(TypeError):
            exports.vector(wrong)
        with pytest.raises(TypeError):
            Val.v128(wrong)  # type: ignore[arg-type]
    assert exports.vector(memoryview(array.array("q", [1, 2]))) == bytes([1, *[0] * 7, 2, *[0] * 7])
    assert exports.vector(Liar(range(16))) == bytes(range(16))


def test_integers_that_lie_are_what_they_hold(store: Store, exports: tinywasm.Exports) -> None:
    class Liar(int):
        def __and__(self, other: object) -> Any:
            return "and"

        def __le__(self, other: object) -> bool:
            return True

        __ge__ = __lt__ = __gt__ = __le__

    assert exports.f(Liar(5)) == 5
    with pytest.raises(OverflowError):
        exports.f(Liar(1 << 40))
    exports["global"].set_value(store, Liar(9))
    assert exports["global"].value(store) == 9


# WASI


WRITES = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "\\10\\00\\00\\00\\05\\00\\00\\00hello")
  (func (export "write") (result i32) (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))
  (func (export "read") (result i32) (call $read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 0))))"""


def _program(store: Store, config: WasiConfig) -> tinywasm.Exports:
    linker = Linker(store.engine)
    linker.define_wasi()
    store.set_wasi(config)
    return linker.instantiate(store, Module(store.engine, WRITES)).exports


@pytest.mark.parametrize("count", [2.5, "5", float("nan"), [5]])
def test_what_takes_output_returns_integers(store: Store, count: Any) -> None:
    config = WasiConfig()
    config.stdout_custom = lambda data: count
    with pytest.raises(TypeError, match="number of bytes"):
        _program(store, config).write()


def test_what_takes_output_may_count_as_it_likes(store: Store) -> None:
    np = pytest.importorskip("numpy")
    answers = [np.int64(3), True, None, 1 << 70, -errno.ENOSPC, -(1 << 70)]
    config = WasiConfig()
    config.stdout_custom = lambda data: answers.pop(0)
    program = _program(store, config)
    assert [program.write() for _ in range(6)] == [0, 0, 0, 0, 51, 29]


def test_a_view_of_captured_output_holds_it(store: Store) -> None:
    config = WasiConfig()
    output = config.capture_stdout()
    program = _program(store, config)
    program.write()
    with memoryview(output), pytest.raises(WasmError, match="view"):
        program.write()
    program.write()
    assert output == b"hellohello"


def test_wide_input_is_read_as_bytes(store: Store) -> None:
    config = WasiConfig()
    config.stdin_bytes = memoryview(array.array("I", [1, 2]))
    program = _program(store, config)
    taken = b""
    for _ in range(3):
        assert program.read() == 0
        count = int.from_bytes(program.memory[0:4], "little")
        taken += program.memory[16 : 16 + count]
    assert taken == bytes([1, 0, 0, 0, 2, 0, 0, 0])


def test_everything_is_closed_also_after_what_cannot_be() -> None:
    from tinywasm.wasi.abi import Rights
    from tinywasm.wasi.guest import Descriptor, DescriptorTable
    from tinywasm.wasi.streams import InputStream

    closed = []

    class Handle(InputStream):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def close(self) -> None:
            closed.append(self.number)
            if self.number in (1, 3):
                raise OSError(errno.EIO, f"broken {self.number}")

    table = DescriptorTable()
    for number in range(5):
        table.add(Descriptor(Handle(number), Rights(0), Rights(0)))
    with pytest.raises(OSError, match="broken 1"):
        table.renumber(0, 1)
    with pytest.raises(OSError, match="broken 3"):
        table.close()
    assert sorted(closed) == [0, 1, 2, 3, 4]
    table.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("argv", "abc"),
        ("argv", b"abc"),
        ("argv", [1]),
        ("argv", 5),
        ("env", "ab"),
        ("env", ["ab"]),
        ("env", [("a", "b", "c")]),
        ("env", [("a",)]),
        ("env", {"a": 5}),
        ("env", {5: "a"}),
        ("stdin_bytes", "text"),
        ("stdin_bytes", 5),
        ("stdout_custom", None),
        ("stderr_custom", "x"),
        ("stdout_file", None),
        ("stdin_file", 3.5),
    ],
)
def test_nonsense_for_a_program(name: str, value: Any) -> None:
    config = WasiConfig()
    with pytest.raises(TypeError):
        setattr(config, name, value)
    assert config.argv == [] and config.env == []


def test_more_nonsense_for_a_program(store: Store) -> None:
    config = WasiConfig()
    with pytest.raises(AttributeError):
        config.stdout = print  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        Linker(store.engine).allow_shadow = True  # type: ignore[attr-defined]
    calls: list[Callable[[], object]] = [
        lambda: config.preopen_tree({}, "/"),  # type: ignore[arg-type]
        lambda: config.preopen_socket(5),  # type: ignore[arg-type]
        lambda: config.preopen_dir("/", 5),  # type: ignore[arg-type]
        lambda: config.capture_stdout(1.5),  # type: ignore[arg-type]
        lambda: _program(store, "config"),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()
    assert not config.preopens and not config.sockets
    assert ExitTrap(3).exit_code == 3
