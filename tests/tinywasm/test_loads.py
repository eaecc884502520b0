"""Each load of the table, on all engines and in hot code: edges of what types hold, at any address."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest

from fuzz.hot import AT_ONCE, hot_after
from tests.engines import ENGINES
from tinywasm import Config, Engine, Module, Store, Trap, raw
from tinywasm.instructions import TABLE, Instruction
from tinywasm.numerics.floats import f32_to_bits, f64_to_bits
from tinywasm.types import F32, F64

LOADS = [row for row in TABLE if ".load" in row.name and len(row.params) == 1]
END = 65536
NEVER = 1 << 40
# Of integers the ends of each width, of floats zeros, infinities and NaNs of both kinds.
WORDS = (
    0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF,
    0x7F80_0000, 0xFF80_0001, 0x7FA0_0000, 0x7FC0_0000, 0xFFC0_1234, 0x3F80_0000,
    0x7FF0_0000_0000_0000, 0x7FF4_0000_0000_0001, 0xFFF8_0000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF,
    0x8000_0000_0000_0000, 0x7FA0_0000_7FA0_0000,
)  # fmt: skip
DATA = b"".join(struct.pack("<Q", word) for word in WORDS)
LAST = bytes.fromhex("80ff7f00a07fffff")
ADDRESSES = (*range(len(DATA)), *range(END - 20, END + 4), 1 << 31, (1 << 32) - 1)


def _text(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)


def _shown(row: Instruction, value: float | bytes) -> object:
    if row.results == (F32,) and isinstance(value, float):
        return f32_to_bits(value)
    if row.results == (F64,) and isinstance(value, float):
        return f64_to_bits(value)
    return value


def _found(row: Instruction, offset: int, engine: str) -> Iterable[object]:
    text = f"""
    (module (memory 1)
      (data (i32.const 0) "{_text(DATA)}") (data (i32.const {END - len(LAST)}) "{_text(LAST)}")
      (func (export "f") (param i32) (result {row.results[0]})
        ({row.name} offset={offset} (local.get 0))))"""
    store = Store(Engine(Config(engine=engine)))
    function = raw.instantiate(store, Module(store.engine, text), {}).exports["f"]
    for address in ADDRESSES:
        try:
            (value,) = raw.invoke(store, function, [address])  # type: ignore[arg-type]
        except Trap as trap:
            yield trap.code
        else:
            yield _shown(row, value)


@pytest.mark.parametrize("row", LOADS, ids=lambda row: row.name)
def test_a_load_gives_the_same_everywhere(row: Instruction) -> None:
    for offset in (0, 3, 8):
        with hot_after(NEVER):
            expected = list(_found(row, offset, "python"))
        assert len(set(expected)) > 4
        for engine in ENGINES:
            with hot_after(AT_ONCE):
                assert list(_found(row, offset, engine)) == expected, (engine, offset)
