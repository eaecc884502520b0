"""Floats in `wasm-rt`, which computes them without floating-point registers, are those of any other machine.

A program applies each instruction with floats to many operands, and writes the results: all their bits are to
be the same from the application, as QEMU emulates it, and from the engine here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.keystone_application import POLICY, built, emulator, run
from tests.tinywasm.numeric_cases import CELL, EDGES, ROWS, cases, cell, kinds, python_results
from tinywasm import Engine, Linker, Module, Store, WasiConfig, wat2wasm
from tinywasm.instructions import Instruction
from tinywasm.numerics.floats import f32_from_bits, f64_from_bits
from wasm_client import RequestFailed, connect

pytestmark = pytest.mark.slow

FLOATS = [
    row for row in ROWS if any(name in f"{row.name} {row.params} {row.results}" for name in ("f32", "f64"))
]
TRAPPING = [row for row in FLOATS if "traps" in row.traits]
LITERALS = {
    "f64": (
        "0.1", "-1.5e3", "4.9e-324", "2.4703282292062328e-324", "2.2250738585072011e-308", "1e22", "1e23",
        "1.7976931348623157e308", "9007199254740993", "0x1.fffffffffffff8p0", "123456789.123456789", "inf",
        "-nan:0x8000000000001",
    ),
    "f32": (
        "0.1", "-1.5e3", "1e-45", "7.006492321624086e-46", "3.4028235e38", "16777217", "0x1.000001p0",
        "0x1.000003p0", "123456789.123456789", "-inf", "nan:0x200000",
    ),
}  # fmt: skip
"""Floats in text, many of them halfway between two: where they are read, they are rounded."""

FIRST = 1 << 12
"""Where in memory operands begin, behind what is for `fd_write`."""

Operands = list[tuple[Any, ...]]


def chosen(row: Instruction) -> Operands:
    """Operands without a trap; a lane is always the second."""
    lanes = len(row.immediates)
    found = [(*case[: len(row.params)], *[1] * lanes) for case in cases(row)]
    results = python_results(row, found)
    return [case for case, result in zip(found, results, strict=True) if not any(result[-CELL:])]


def escaped(content: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in content)


def constant(kind: str, bits: int) -> str:
    """A float in the text format."""
    width, exponent_bits, fraction_bits = {"f32": (32, 8, 23), "f64": (64, 11, 52)}[kind]
    sign = "-" if bits >> width - 1 else ""
    exponent = bits >> fraction_bits & (1 << exponent_bits) - 1
    fraction = bits & (1 << fraction_bits) - 1
    if exponent == (1 << exponent_bits) - 1:
        return sign + (f"nan:0x{fraction:x}" if fraction else "inf")
    bias = (1 << exponent_bits - 1) - 1
    normal = exponent != 0
    shift = max(exponent, 1) - bias - fraction_bits
    return f"{sign}0x{fraction | normal << fraction_bits:x}p{shift}"


def constants() -> Iterator[tuple[str, int]]:
    for kind in ("f32", "f64"):
        source = random.Random(kind)
        for bits in (*EDGES[kind], *(source.getrandbits(int(kind[1:])) for _ in range(100))):
            yield kind, bits


def program() -> tuple[str, bytes]:
    """The program in text, and what it has to write of its constants, which comes first."""
    operands: dict[str, Operands] = {row.name: chosen(row) for row in FLOATS}
    data, functions, calls = b"", [], []
    wanted = list(constants())
    place = result = FIRST + sum(CELL * len(row.params) * len(operands[row.name]) for row in FLOATS)
    stores = []
    for kind, bits in wanted:
        stores.append(f"({kind}.store (i32.const {result}) ({kind}.const {constant(kind, bits)}))")
        result += CELL
    functions.append(f"(func $constants {' '.join(stores)})")
    calls.append("(call $constants)")
    for number, row in enumerate(FLOATS):
        loads = [
            f"({kind}.load offset={CELL * index} (local.get 0))"
            for index, kind in enumerate(map(repr, row.params))
        ]
        applied = f"({row.name} {' '.join('1' for _ in row.immediates)} {' '.join(loads)})"
        functions.append(f"""(func $row{number} (param i32 i32 i32) (loop
            ({row.results[0]!r}.store (local.get 1) {applied})
            (local.set 0 (i32.add (local.get 0) (i32.const {CELL * len(row.params)})))
            (local.set 1 (i32.add (local.get 1) (i32.const {CELL})))
            (br_if 0 (local.tee 2 (i32.sub (local.get 2) (i32.const 1))))))""")
        count = len(operands[row.name])
        calls.append(
            f"(call $row{number} (i32.const {FIRST + len(data)}) (i32.const {result}) (i32.const {count}))"
        )
        data += b"".join(cell(value) for case in operands[row.name] for value in case[: len(row.params)])
        result += CELL * count
    text = f"""(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") {(result >> 16) + 1})
        (data (i32.const {FIRST}) "{escaped(data)}")
        {"".join(functions)}
        (func (export "_start") {"".join(calls)}
            (i32.store (i32.const 0) (i32.const {place}))
            (i32.store (i32.const 4) (i32.const {result - place}))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
    return text, b"".join(cell(bits) for _, bits in wanted)


def trapping(row: Instruction) -> Operands:
    """Operands with a trap."""
    found = cases(row)
    results = python_results(row, found)
    return [case for case, result in zip(found, results, strict=True) if any(result[-CELL:])]


def written_here(module: bytes) -> bytes:
    engine = Engine()
    linker, store, wasi = Linker(engine), Store(engine), WasiConfig()
    linker.define_wasi()
    output = wasi.capture_stdout()
    store.set_wasi(wasi)
    linker.instantiate(store, Module(engine, module)).exports(store)["_start"](store)
    return bytes(output)


def test_every_bit_is_the_same(tmp_path: Path) -> None:
    text, of_constants = program()
    module = bytes(wat2wasm(text))
    expected = written_here(module)
    assert expected.startswith(of_constants)
    written = []

    def client(address: str) -> None:
        with connect(address, POLICY, timeout=120) as session:
            session.deploy(module)
            written.append(bytes(session.run().stdout))

    run([emulator(), built("wasm-rt-emulated")], tmp_path, client)
    (result,) = written
    assert len(result) == len(expected)
    assert result.startswith(of_constants)
    place = len(of_constants)
    for row in FLOATS:
        for case in chosen(row):
            end = place + CELL
            shown = f"{row.name} {dict(zip(kinds(row), case, strict=False))}"
            assert result[place:end].hex() == expected[place:end].hex(), shown
            place = end
    assert place == len(expected)


def text_program() -> str:
    """A program with a function of all literals, and one for each instruction that may trap."""
    read = [
        f"(f64.const {literal}) (i64.reinterpret_f64)"
        if kind == "f64"
        else f"(f32.const {literal}) (i32.reinterpret_f32) (i64.extend_i32_u)"
        for kind, literals in LITERALS.items()
        for literal in literals
    ]
    functions = [
        f"""(func (export "{row.name}") (param {row.params[0]!r}) (result {row.results[0]!r})
            ({row.name} (local.get 0)))"""
        for row in TRAPPING
    ]
    return f"""(module
        (func (export "literals") (result {"i64 " * len(read)}) {" ".join(read)})
        (func (export "add") (param f64 f64) (result f64) (f64.add (local.get 0) (local.get 1)))
        {"".join(functions)})"""


def test_literals_arguments_and_traps(tmp_path: Path) -> None:
    text = text_program()
    engine = Engine()
    store = Store(engine)
    here = Linker(engine).instantiate(store, Module(engine, text)).exports(store)

    def client(address: str) -> None:
        with connect(address, POLICY, timeout=120) as session:
            session.deploy(text.encode())
            literals: Any = session.call("literals")
            assert list(literals) == here["literals"](store)
            assert session.call("add", 1.5, 2) == 3.5
            assert session.call("add", 0.1, 0.2) == 0.1 + 0.2
            for row in TRAPPING:
                to_float = {"f32": f32_from_bits, "f64": f64_from_bits}[repr(row.params[0])]
                for (bits,) in random.Random(row.name).sample(trapping(row), 5):
                    with pytest.raises(RequestFailed, match=r"overflow|conversion to integer"):
                        session.call(row.name, to_float(bits))

    run([emulator(), built("wasm-rt-emulated")], tmp_path, client)
