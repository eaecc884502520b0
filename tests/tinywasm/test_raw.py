"""`tinywasm.raw`: calls with raw values, and what bounds one call."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.engines import ENGINES
from tinywasm import Config, Engine, Interrupted, Module, OutOfFuel, Store, WasmError, raw

TEXT = """
(module
  (memory (export "memory") 1)
  (func (export "turn") (param i32 i64 f32 f64 v128) (result i32 i64 f32 f64 v128)
    local.get 0 local.get 1 local.get 2 local.get 3 local.get 4)
  (func (export "spin") (loop br 0))
  (func (export "five") (result i32) nop nop nop nop i32.const 5))"""


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(Config(engine=request.param))


def functions(store: Store) -> dict[str, Any]:
    return raw.instantiate(store, Module(store.engine, TEXT), {}).exports


def test_values_are_not_converted(engine: Engine) -> None:
    store = Store(engine)
    values = [
        0xFFFF_FFFF,
        0xFFFF_FFFF_FFFF_FFFF,
        raw.f32_from_bits(0xFFA0_0001),
        raw.f64_from_bits(0x7FF0_0000_0000_0001),
        bytes(range(16)),
    ]
    found = raw.invoke(store, functions(store)["turn"], values)
    assert found[:2] == values[:2] and found[4] == values[4]
    assert raw.f32_to_bits(found[2]) == 0xFFA0_0001
    assert raw.f64_to_bits(found[3]) == 0x7FF0_0000_0000_0001


def test_fuel_is_for_one_call(engine: Engine) -> None:
    store = Store(Engine(Config(engine=engine.config.engine, consume_fuel=True)))
    exports = functions(store)
    assert raw.invoke(store, exports["five"], [], fuel=100) == [5]
    assert store.get_fuel() == 95
    with pytest.raises(OutOfFuel):
        raw.invoke(store, exports["five"], [], fuel=2)
    assert raw.invoke(store, exports["five"], [], fuel=5) == [5]
    assert store.get_fuel() == 0


def test_fuel_where_none_is_counted(engine: Engine) -> None:
    store = Store(engine)
    with pytest.raises(WasmError, match="fuel is not metered"):
        raw.invoke(store, functions(store)["five"], [], fuel=100)


def test_a_deadline_is_for_one_call(engine: Engine) -> None:
    store = Store(engine)
    exports = functions(store)
    with pytest.raises(Interrupted):
        raw.invoke(store, exports["spin"], [], deadline=0.01)
    assert raw.invoke(store, exports["five"], []) == [5]
    with pytest.raises(Interrupted):
        raw.invoke(store, exports["five"], [], deadline=0)
    assert raw.invoke(store, exports["five"], [], deadline=1000) == [5]


def test_an_interruption_that_came_too_late_is_taken_back(engine: Engine) -> None:
    store = Store(engine)
    exports = functions(store)
    store.interrupt()
    store.clear_interrupt()
    assert raw.invoke(store, exports["five"], []) == [5]
    store.interrupt()
    with pytest.raises(Interrupted):
        raw.invoke(store, exports["five"], [])


def test_the_engine_is_told(engine: Engine) -> None:
    assert raw.engine_name(Store(engine)) == engine.config.engine


def test_a_view_of_a_binary_module_is_not_copied(engine: Engine) -> None:
    code = bytes([4, 0, 0x41, 5, 0x0B])
    sections = [
        (1, b"\x01\x60\x00\x01\x7f"),
        (3, b"\x01\x00"),
        (7, b"\x01\x01f\x00\x00"),
        (10, b"\x01" + code),
    ]
    body = b"".join(bytes([id, len(content)]) + content for id, content in sections)
    binary = struct.pack("<4sI", b"\0asm", 1) + body
    module = Module(engine, memoryview(binary))
    store = Store(engine)
    function: Any = raw.instantiate(store, module, {}).exports["f"]
    assert raw.invoke(store, function, []) == [5]
    assert Module.deserialize(engine, module.serialize()).exports[0].name == "f"
    assert module.syntax.functions[0].body.code.obj is binary  # type: ignore[attr-defined]
    assert Module(engine, memoryview(b'(module (func (export "g")))')).exports[0].name == "g"


@pytest.mark.parametrize("count", [0, 6])
def test_another_number_of_arguments_is_refused(engine: Engine, count: int) -> None:
    store = Store(engine)
    with pytest.raises(TypeError, match=rf"{count} values where \[i32 i64 f32 f64 v128\] -> .* has 5"):
        raw.invoke(store, functions(store)["turn"], [0] * count)
