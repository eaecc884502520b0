"""What host functions raise comes out as it was raised, and stays theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tinywasm
from tinywasm import (
    Func,
    FuncType,
    Instance,
    Linker,
    LinkError,
    Module,
    StackExhausted,
    Store,
    Tag,
    TagType,
    Trap,
    TrapCode,
    ValType,
    WasmException,
)

THROUGH = '(module (import "h" "f" (func $f)) (func (export "g") (call $f)))'


def _through(store: Store, host: Callable[[], object]) -> tinywasm.Exports:
    return tinywasm.instantiate(THROUGH, {"h": {"f": host}}, store=store).exports


def _forever() -> None:
    def deeper() -> None:
        deeper()

    deeper()


def test_the_recursion_of_a_host_function_is_its_own(store: Store) -> None:
    through = _through(store, _forever)
    for call in (through.g, lambda: Func(store, FuncType(), _forever)(store)):
        with pytest.raises(RecursionError):
            call()


def test_its_own_recursion_is_told_from_that_through_wasm(make_store: Any) -> None:
    """Where more calls may nest than Python's stack holds."""
    store, calls = make_store(max_nested_calls=10_000), 0

    def host() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            _forever()
        through.g()

    through = _through(store, host)
    with pytest.raises(RecursionError):
        through.g()
    calls = 4
    with pytest.raises(StackExhausted) as caught:
        through.g()
    assert isinstance(caught.value.__cause__, RecursionError)
    assert caught.value.trap_code is TrapCode.STACK_OVERFLOW
    calls = 2
    with pytest.raises(RecursionError):
        through.g()


def test_an_exception_is_thrown_again(store: Store) -> None:
    tag = Tag(store, TagType(FuncType([ValType.i32(), ValType.externref()])))
    mine = object()
    error = WasmException(tag, [7, mine])

    def throw() -> None:
        raise error

    module = Module(
        store.engine,
        """(module
          (import "h" "t" (tag $t (param i32 externref))) (import "h" "f" (func $f))
          (func (export "through") (call $f))
          (func (export "caught") (result i32 externref)
            (block $h (result i32 externref) (try_table (catch $t $h) (call $f)) (unreachable))))""",
    )
    host = Func(store, FuncType(), throw)
    exports = Instance(store, module, [tag, host]).exports
    for _ in range(3):
        assert exports.caught() == [7, mine]
        for call in (exports.through, lambda: host(store)):
            with pytest.raises(WasmException) as caught:
                call()
            assert caught.value.tag == tag and caught.value.values == (7, mine)
        assert error.tag is tag and error.values == (7, mine)


@pytest.mark.parametrize("tag", [None, 5, "memory"])
def test_an_exception_without_a_tag_is_a_mistake(store: Store, tag: Any) -> None:
    if tag == "memory":
        tag = tinywasm.Memory(store, tinywasm.MemoryType(tinywasm.Limits(1)))

    def throw() -> None:
        raise WasmException(tag, [])

    with pytest.raises(TypeError, match="takes a Tag"):
        _through(store, throw).g()


TABLE = """(module
  (type $f (func)) (table 1 funcref)
  (func (export "call") (param i32) (call_indirect (type $f) (local.get 0)))
  (func (export "tail") (param i32) (return_call_indirect (type $f) (local.get 0)))
  (func (export "null") (call_ref $f (ref.null $f))))"""


def test_traps_have_the_codes_of_wasmtime_and_the_words_of_the_specification(store: Store) -> None:
    exports = tinywasm.instantiate(TABLE, store=store).exports
    for name in ("call", "tail"):
        with pytest.raises(Trap, match=r"^undefined element") as caught:
            exports[name](1)
        assert caught.value.trap_code is TrapCode.TABLE_OUT_OF_BOUNDS
    with pytest.raises(Trap, match=r"^null function reference") as caught:
        exports.null()
    assert caught.value.trap_code is TrapCode.NULL_REFERENCE


def test_exports_are_not_set(store: Store) -> None:
    instance = tinywasm.instantiate(
        '(module (global (export "g") (mut i32) (i32.const 1)) (func (export "f")) (func (export "get")))',
        store=store,
    )
    exports = instance.exports
    with pytest.raises(AttributeError, match="set_value"):
        exports.g = 9
    for name in ("f", "get", "other"):
        with pytest.raises(AttributeError, match="exports cannot be set"):
            setattr(exports, name, 9)
    with pytest.raises(AttributeError):
        exports(store).g = 9  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        exports.g.value = 3
    with pytest.raises(AttributeError):
        exports.f.func = None
    with pytest.raises(AttributeError):
        del exports.f
    for name in ("module", "store", "exports"):
        with pytest.raises(AttributeError):
            setattr(instance, name, None)
    with pytest.raises(TypeError):
        exports["g"] = 9
    exports.g.set_value(store, 9)
    assert exports.g.value(store) == 9 and "f" in exports and "h" not in exports


def test_only_what_is_unknown_traps_beside_wasi(store: Store) -> None:
    linker = Linker(store.engine)
    linker.define_wasi()
    store.set_wasi(tinywasm.WasiConfig())
    module = Module(
        store.engine,
        """(module
          (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
          (import "wasi_snapshot_preview1" "unheard_of" (func $unheard_of))
          (func (export "yield") (result i32) (call $yield)) (func (export "other") (call $unheard_of)))""",
    )
    for _ in range(2):
        linker.define_unknown_imports_as_traps(module)
    exports = linker.instantiate(store, module).exports
    assert exports["yield"]() == 0
    with pytest.raises(Trap, match="unheard_of"):
        exports.other()
    with pytest.raises(LinkError, match="defined twice"):
        linker.define_func("wasi_snapshot_preview1", "sched_yield", FuncType(), print)


def test_wasi_works_in_a_start_function(store: Store) -> None:
    linker = Linker(store.engine)
    linker.define_wasi()
    config = tinywasm.WasiConfig()
    output = config.capture_stdout()
    store.set_wasi(config)
    module = Module(
        store.engine,
        """(module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 8) "\\10\\00\\00\\00\\07\\00\\00\\00started")
          (func $start (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))))
          (start $start))""",
    )
    linker.instantiate(store, module)
    assert output == b"started"
