"""Arguments, clocks, randomness, exit, and pointers that lead out of memory."""

from __future__ import annotations

import pickle
import struct
import time
from collections.abc import Callable

import pytest

from tests.engines import ENGINES
from tests.tinywasm.wasi.wasi_calls import BUFFER, IOVEC, OTHER_PATH, PAGES, PATH, RESULT, TinywasmCalls
from tinywasm import Config, Engine, ExitTrap, LinkError, Module, Trap, TrapCode, wat2wasm
from tinywasm.binary.names import read_names
from tinywasm.instantiation import instantiate, invoke
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.store import Store
from tinywasm.syntax import Names
from tinywasm.wasi import Wasi, WasiConfig
from tinywasm.wasi.abi import MODULE, ClockId, Errno
from tinywasm.wasi.registry import FUNCTIONS

Plain = Callable[[WasiConfig], TinywasmCalls]
END = PAGES * 65536


@pytest.mark.parametrize("kind", ["args", "environ"])
@pytest.mark.parametrize("count", [0, 3])
def test_strings(plain: Plain, kind: str, count: int) -> None:
    config = WasiConfig()
    config.argv = ["program", "", "naïve=1"][:count]
    config.env = [("HOME", "/"), ("EMPTY", ""), ("WORD", "naïve")][:count]
    strings = ["program", "", "naïve=1"] if kind == "args" else ["HOME=/", "EMPTY=", "WORD=naïve"]
    expected = [string.encode() for string in strings[:count]]
    guest = plain(config)
    assert guest.raw(f"{kind}_sizes_get", RESULT, RESULT + 4) == Errno.SUCCESS
    size = sum(len(item) + 1 for item in expected)
    assert (guest.u32(RESULT), guest.u32(RESULT + 4)) == (len(expected), size)
    assert guest.raw(f"{kind}_get", PATH, BUFFER) == Errno.SUCCESS
    pointers = struct.unpack(f"<{len(expected)}I", guest.peek(PATH, len(expected) * 4))
    for pointer, item in zip(pointers, expected, strict=True):
        assert guest.peek(pointer, len(item) + 1) == item + b"\0"
    assert guest.peek(BUFFER, size) == b"".join(item + b"\0" for item in expected)


class TestClocks:
    @pytest.mark.parametrize("clock", ClockId)
    def test_time_goes_on(self, plain: Plain, clock: ClockId) -> None:
        guest = plain(WasiConfig())
        assert guest.raw("clock_res_get", clock, RESULT) == Errno.SUCCESS
        assert 0 < guest.u64() <= 10**9
        assert guest.raw("clock_time_get", clock, 0, RESULT) == Errno.SUCCESS
        first = guest.u64()
        sum(range(100_000))
        assert guest.raw("clock_time_get", clock, 1 << 63, RESULT) == Errno.SUCCESS
        assert guest.u64() > first

    def test_real_time_is_real_and_monotonic_time_begins_with_the_program(self, plain: Plain) -> None:
        guest = plain(WasiConfig())
        guest.raw("clock_time_get", ClockId.REALTIME, 0, RESULT)
        assert abs(guest.u64() - time.time_ns()) < 10**10
        guest.raw("clock_time_get", ClockId.MONOTONIC, 0, RESULT)
        assert guest.u64() < 60 * 10**9

    def test_unknown_clocks(self, plain: Plain) -> None:
        guest = plain(WasiConfig())
        assert guest.raw("clock_time_get", 4, 0, RESULT) == Errno.INVAL
        assert guest.raw("clock_res_get", 0xFFFFFFFF, RESULT) == Errno.INVAL


def test_randomness(plain: Plain) -> None:
    guest = plain(WasiConfig())
    assert guest.raw("random_get", BUFFER, 64) == Errno.SUCCESS
    first = guest.peek(BUFFER, 64)
    assert guest.raw("random_get", BUFFER, 64) == Errno.SUCCESS
    assert len({first, guest.peek(BUFFER, 64), bytes(64)}) == 3
    assert guest.peek(BUFFER + 64, 8) == bytes(8)
    assert guest.raw("random_get", 0, END) == Errno.SUCCESS
    assert guest.raw("random_get", BUFFER, 0) == Errno.SUCCESS


@pytest.mark.parametrize("status", [0, 3, 255, 0xFFFFFFFF])
def test_exit(plain: Plain, status: int) -> None:
    with pytest.raises(ExitTrap) as caught:
        plain(WasiConfig()).raw("proc_exit", status)
    assert caught.value.exit_code == status


def test_yield_and_signals(plain: Plain) -> None:
    guest = plain(WasiConfig())
    assert guest.raw("sched_yield") == Errno.SUCCESS
    assert guest.raw("proc_raise", 9) == Errno.NOTSUP


# A call for each function that takes a pointer, which stands in it as "?"; the rest is valid.
POINTERS = [
    ("args_get", ("?", BUFFER)),
    ("args_get", (PATH, "?")),
    ("args_sizes_get", ("?", RESULT)),
    ("args_sizes_get", (RESULT, "?")),
    ("environ_get", ("?", BUFFER)),
    ("environ_get", (PATH, "?")),
    ("environ_sizes_get", ("?", RESULT)),
    ("environ_sizes_get", (RESULT, "?")),
    ("clock_res_get", (0, "?")),
    ("clock_time_get", (0, 0, "?")),
    ("fd_fdstat_get", (0, "?")),
    ("fd_filestat_get", (0, "?")),
    ("fd_prestat_get", (3, "?")),
    ("fd_prestat_dir_name", (3, "?", 1)),
    ("fd_pread", (4, "?", 1, 0, RESULT)),
    ("fd_pread", (4, IOVEC, 1, 0, "?")),
    ("fd_pwrite", (4, "?", 1, 0, RESULT)),
    ("fd_pwrite", (4, IOVEC, 1, 0, "?")),
    ("fd_read", (4, "?", 1, RESULT)),
    ("fd_read", (4, IOVEC, 1, "?")),
    ("fd_write", (4, "?", 1, RESULT)),
    ("fd_write", (4, IOVEC, 1, "?")),
    ("fd_readdir", (3, "?", 30, 0, RESULT)),
    ("fd_readdir", (3, BUFFER, 30, 0, "?")),
    ("fd_seek", (4, 0, 0, "?")),
    ("fd_tell", (4, "?")),
    ("path_create_directory", (3, "?", 4)),
    ("path_filestat_get", (3, 0, "?", 4, RESULT)),
    ("path_filestat_get", (3, 0, PATH, 4, "?")),
    ("path_filestat_set_times", (3, 0, "?", 4, 0, 0, 0)),
    ("path_link", (3, 0, "?", 4, 3, OTHER_PATH, 1)),
    ("path_link", (3, 0, PATH, 4, 3, "?", 1)),
    ("path_open", (3, 0, "?", 4, 0, 0, 0, 0, RESULT)),
    ("path_open", (3, 0, PATH, 4, 0, 0, 0, 0, "?")),
    ("path_readlink", (3, "?", 4, BUFFER, 9, RESULT)),
    ("path_readlink", (3, OTHER_PATH, 1, "?", 9, RESULT)),
    ("path_readlink", (3, OTHER_PATH, 1, BUFFER, 9, "?")),
    ("path_remove_directory", (3, "?", 4)),
    ("path_rename", (3, "?", 4, 3, OTHER_PATH, 1)),
    ("path_rename", (3, PATH, 4, 3, "?", 1)),
    ("path_symlink", ("?", 4, 3, OTHER_PATH, 1)),
    ("path_symlink", (PATH, 4, 3, "?", 1)),
    ("path_unlink_file", (3, "?", 4)),
    ("poll_oneoff", ("?", BUFFER, 1, RESULT)),
    ("poll_oneoff", (BUFFER, "?", 1, RESULT)),
    ("poll_oneoff", (BUFFER, BUFFER + 64, 1, "?")),
    ("random_get", ("?", 1)),
]


@pytest.mark.parametrize("bad", [END, 0xFFFFFFF8])
@pytest.mark.parametrize(("name", "args"), POINTERS)
def test_a_pointer_out_of_memory_traps(
    guest: TinywasmCalls, name: str, args: tuple[int | str, ...], bad: int
) -> None:
    """As the interface description demands; its FAULT is for no one."""
    guest.create("file", b"x")
    guest.symlink("file", "l")
    guest.path("file")
    guest.path("l", OTHER_PATH)
    guest.iovecs([4])
    with pytest.raises(Trap) as caught:
        guest.raw(name, *(bad if value == "?" else int(value) for value in args))
    assert caught.value.code is TrapCode.MEMORY_OUT_OF_BOUNDS


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("args_sizes_get", (RESULT + 2, RESULT)),
        ("clock_time_get", (0, 0, RESULT + 4)),
        ("fd_read", (0, IOVEC + 1, 1, RESULT)),
        ("fd_fdstat_get", (0, RESULT + 4)),
        ("poll_oneoff", (BUFFER + 4, BUFFER + 64, 1, RESULT)),
    ],
)
def test_a_misaligned_pointer_traps(plain: Plain, name: str, args: tuple[int, ...]) -> None:
    with pytest.raises(Trap, match="misaligned pointer"):
        plain(WasiConfig()).raw(name, *args)


@pytest.mark.parametrize("name", ["fd_read", "fd_write"])
def test_buffers_out_of_memory_trap(guest: TinywasmCalls, name: str) -> None:
    file = guest.create("file", b"0123")
    guest.poke(IOVEC, struct.pack("<IIII", BUFFER, 2, END - 1, 2))
    with pytest.raises(Trap):
        guest.raw(name, file, IOVEC, 2, RESULT)
    with pytest.raises(Trap):
        guest.raw(name, file, IOVEC, 0xFFFFFFFF, RESULT)


def test_pointers_to_nothing_may_be_anything(guest: TinywasmCalls) -> None:
    file = guest.create("file")
    assert guest.raw("random_get", 0xFFFFFFFF, 0) == Errno.SUCCESS
    assert guest.raw("fd_read", file, 0xFFFFFFFF, 0, RESULT) == Errno.SUCCESS
    guest.poke(IOVEC, struct.pack("<II", 0xFFFFFFFF, 0))
    assert guest.raw("fd_write", file, IOVEC, 1, RESULT) == Errno.SUCCESS


def test_overlapping_buffers_do_not_multiply(guest: TinywasmCalls) -> None:
    """A thousand times the whole memory is asked for; it ends early, as reads may."""
    file = guest.create("file", b"0123456789")
    guest.poke(IOVEC, struct.pack("<II", 0, IOVEC) * 512)
    assert guest.raw("fd_read", file, IOVEC, 512, RESULT) == Errno.SUCCESS
    assert guest.u32() == 10


START = f"""(module
    (import "{MODULE}" "sched_yield" (func $yield (result i32)))
    (import "{MODULE}" "random_get" (func $random (param i32 i32) (result i32)))
    %s
    (func (export "yield") (result i32) call $yield)
    (func $fill (export "fill") (result i32) i32.const 0 i32.const 8 call $random)
    (func $start call $fill drop) %s)"""


def _guest_of(text: str, engine: str) -> tuple[Store, dict[str, object]]:
    store = Store(Engine(Config(engine=engine)))
    module = Module(store.engine, text)
    imports = Wasi(WasiConfig()).imports()
    instance = instantiate(store, module, imports.namespace, imports.bind)
    return store, dict(instance.exports)


def test_without_an_exported_memory_only_what_needs_none_works(engine: str) -> None:
    store, exports = _guest_of(START % ("(memory 1)", ""), engine)
    assert invoke(store, exports["yield"], []) == [Errno.SUCCESS]  # type: ignore[arg-type]
    with pytest.raises(LinkError, match='exports as "memory"'):
        invoke(store, exports["fill"], [])  # type: ignore[arg-type]


def test_a_start_function_has_the_memory(engine: str) -> None:
    _, exports = _guest_of(START % ('(memory (export "memory") 1)', "(start $start)"), engine)
    assert bytes(exports["memory"].data[:8]) != bytes(8)  # type: ignore[attr-defined]


def test_an_export_named_memory_that_is_none_is_no_memory(engine: str) -> None:
    store, exports = _guest_of(START % ('(func (export "memory"))', ""), engine)
    with pytest.raises(LinkError, match='exports as "memory"'):
        invoke(store, exports["fill"], [])  # type: ignore[arg-type]


def test_instances_share_descriptors_but_not_memory(engine: str) -> None:
    wasi = Wasi(WasiConfig())
    store = Store(Engine(Config(engine=engine)))
    text = START % ('(memory (export "memory") 1)', "")
    memories = []
    for _ in range(2):
        imports = wasi.imports()
        instance = instantiate(store, Module(store.engine, text), imports.namespace, imports.bind)
        memories.append((instance.exports["memory"], instance.exports["fill"]))
    assert invoke(store, memories[1][1], []) == [0]  # type: ignore[arg-type]
    assert bytes(memories[0][0].data[:8]) == bytes(8)  # type: ignore[union-attr]
    assert bytes(memories[1][0].data[:8]) != bytes(8)  # type: ignore[union-attr]


def test_every_type_is_the_interface_description_s() -> None:
    """A few with the widths that are easily got wrong; the programs import all the usual ones."""
    types = {name: str(entry.type) for name, entry in FUNCTIONS.items()}
    for name, params in {
        "fd_seek": "i32 i64 i32 i32",
        "path_open": "i32 i32 i32 i32 i32 i64 i64 i32 i32",
        "fd_readdir": "i32 i32 i32 i64 i32",
        "path_filestat_set_times": "i32 i32 i32 i32 i64 i64 i32",
        "fd_advise": "i32 i64 i64 i32",
    }.items():
        assert " ".join(str(type) for type in FUNCTIONS[name].type.params) == params, types[name]
    assert FUNCTIONS["proc_exit"].type.results == ()


@pytest.mark.parametrize("engine", ENGINES)
def test_names_are_read_for_the_backtrace_of_an_exit_when_that_is_asked_for(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        (module
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1)
          (func $leave (call $exit (i32.const 3)))
          (func (export "_start") (call $leave)))"""
    reads: list[bytes] = []

    def read(payload: bytes) -> Names:
        reads.append(payload)
        return read_names(payload)

    monkeypatch.setattr("tinywasm.binary.names.read_names", read)
    module = Module(Engine(Config(engine=engine)), wat2wasm(text))
    with Wasi(WasiConfig()) as world:
        linked = world.imports()
        instance = instantiate(Store(module.engine), module, linked.namespace, linked.bind)
        start = instance.exports["_start"]
        assert isinstance(start, FuncInstance)
        with pytest.raises(ExitTrap) as caught:
            invoke(instance.store, start, [])
    assert not reads
    kept = pickle.loads(pickle.dumps(caught.value))
    for frames in (caught.value.frames, kept.frames):
        assert [(frame.func_index, frame.func_name) for frame in frames] == [(1, "leave"), (2, None)]
    assert len(reads) == 1
