"""What C means to the proofs is what it means to the compiler, and to the python engine."""

from __future__ import annotations

import random
import shutil
from typing import Any

import pytest
import z3

import tinywasm
from tests.tinywasm.proofs import c_meaning, c_syntax
from tests.tinywasm.proofs.c_meaning import FORMATS, Value, initial
from tinywasm import binary
from tinywasm.engine import native_available
from tinywasm.engine.native.opcodes import OPCODES
from tinywasm.engine.native.select import lower
from tinywasm.errors import FINER_WORDINGS, Trap, TrapCode
from tinywasm.instructions import TABLE, Instruction
from tinywasm.numerics.floats import f32_from_bits, f32_to_bits, f64_from_bits, f64_to_bits
from tinywasm.numerics.operators import OPERATORS
from tinywasm.types import F32, F64, I32, I64, ValType
from tinywasm.validation import validate

pytestmark = pytest.mark.skipif(
    not native_available or shutil.which(c_syntax.COMPILER[0]) is None,
    reason="needs the native engine, and a C compiler",
)
_C_TYPES: dict[ValType, str] = {I32: "uint32_t", I64: "uint64_t", F32: "float", F64: "double"}
_OF_BITS: dict[ValType, Any] = {F32: f32_from_bits, F64: f64_from_bits}
_TO_BITS: dict[ValType, Any] = {F32: f32_to_bits, F64: f64_to_bits}
_CODES = [*TrapCode, *FINER_WORDINGS]
_EXACT: dict[str, Any] = {
    "uint*": lambda a, b: a * b,
    "int/": lambda a, b: a / b,
    "uint/": z3.UDiv,
    "int%": z3.SRem,
    "uint%": z3.URem,
    "uint<<": lambda a, b: a << b,
    "int>>": lambda a, b: a >> b,
    "uint>>": z3.LShR,
    "+": z3.fpAdd,
    "-": z3.fpSub,
    "*": z3.fpMul,
    "/": z3.fpDiv,
    "__builtin_sqrt": z3.fpSqrt,
    "__builtin_sqrtf": z3.fpSqrt,
}


def exactly(term: Any) -> Any:
    """A term with what the proofs leave open as it truly is."""
    while True:
        known = []
        for name, function in c_meaning.OPEN.items():
            operands = [z3.Var(each, function.domain(each)) for each in range(function.arity())]
            for type, (size, format, _) in FORMATS.items():
                if name.startswith(type) and name.removeprefix(type) in _EXACT:
                    numbers = [z3.fpBVToFP(each, format) for each in operands]
                    exact = _EXACT[name.removeprefix(type)](z3.RNE(), *numbers)
                    # The solver has no bits for a NaN: these are those of any.
                    bits = z3.If(z3.fpIsNaN(exact), z3.BitVecVal(-1, size), z3.fpToIEEEBV(exact))
                    known.append((function, bits))
            family = name.replace("32_t", "").replace("64_t", "")
            if family in _EXACT:
                known.append((function, _EXACT[family](*operands)))
        replaced = z3.substitute_funs(term, *known)
        if replaced.eq(term):
            return term
        term = replaced


def edges(type: ValType, random: random.Random) -> list[int]:
    """Bits of numbers of a type: those at its bounds, and some others."""
    bits = 32 if type in (I32, F32) else 64
    found = [0, 1, 31, 33, (1 << bits - 1) - 1, 1 << bits - 1, (1 << bits) - 1, random.getrandbits(bits)]
    if type in _OF_BITS:
        infinity = FORMATS[_C_TYPES[type]][2]
        one = infinity >> 1 & infinity
        found = [0, 1, one, one + 1, infinity - 1, infinity, infinity + 1, infinity | infinity >> 1]
        found += [each | 1 << bits - 1 for each in (0, 1, one, infinity)]
        found += [random.getrandbits(bits), one + random.getrandbits(20)]
    return found


_ROWS = [
    row
    for row in TABLE
    if row.operator
    and set(row.params) <= set(_C_TYPES)
    and (len(row.params) == 2 or "sqrt" in row.name or "eqz" in row.name)
]


@pytest.mark.parametrize("row", [row for row in _ROWS if len(row.results) == 1], ids=lambda row: row.name)
def test_c_means_what_the_python_engine_does(row: Instruction) -> None:
    assert row.operator
    bits = [32 if type in (I32, F32) else 64 for type in row.params]
    variables = [z3.BitVec(f"v{number}", size) for number, size in enumerate(bits)]
    arguments = [Value(_C_TYPES[type], each) for type, each in zip(row.params, variables, strict=True)]
    machine = initial({0: {}})
    if "traps" in row.traits:
        arguments.append(Value("int*", c_meaning.Place((0, "trap"), 0)))
    made = c_meaning.call(machine, row.operator, arguments)
    result = exactly(
        z3.Concat(machine.levels[0]["trap"].term, c_meaning.convert(made, _C_TYPES[row.results[0]]).term)
    )
    chosen = random.Random(row.name)
    for first in edges(row.params[0], chosen):
        for second in edges(row.params[1], chosen) if len(row.params) == 2 else [0]:
            values = [first, second][: len(row.params)]
            constants = [z3.BitVecVal(value, size) for value, size in zip(values, bits, strict=True)]
            found = z3.simplify(z3.substitute(result, *zip(variables, constants, strict=True)))
            assert found.as_long() == _expected(row, values), values


def _expected(row: Instruction, values: list[int]) -> int:
    """The trap's code above the bits of the result."""
    size = 32 if row.results[0] in (I32, F32) else 64
    operands = [_OF_BITS.get(type, int)(value) for type, value in zip(row.params, values, strict=True)]
    try:
        result = OPERATORS[row.operator or ""](*operands)
    except Trap as trap:
        return _CODES.index(trap.code) + 1 << size
    return int(_TO_BITS.get(row.results[0], int)(result))


# Functions with words of all kinds, and arguments for them.
PROGRAMS = {
    """(local.set 1 (i32.add (i32.mul (local.get 0) (i32.const 7)) (i32.const -3)))
       (i32.xor (local.get 1) (local.get 0))""": [5, 1 << 31],
    """(loop $l (local.set 1 (i32.add (local.get 1) (local.get 0)))
         (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (local.get 1)""": [9],
    """(loop $l (local.set 1 (i32.add (local.get 1) (i32.const 3)))
         (br_if $l (i32.lt_u (local.get 1) (local.get 0)))) (local.get 1)""": [20, 1],
    """(i32.store offset=4 (i32.add (local.get 0) (i32.const 8)) (i32.const 77))
       (i32.load8_u offset=12 (local.get 0))""": [16, 65520, 65521, -9],
    "(i32.store16 (i32.const 6) (local.get 0)) (i32.load (i32.const 4))": [0xABCD],
    """(local.set 0 (i32.add (local.get 0) (i32.const 4)))
       (i32.store (local.get 0) (local.get 0)) (i32.load (local.get 0))""": [8, 65528, 65529],
    """(f64.store (i32.const 8) (f64.const 0.25))
       (select (i32.const 5) (local.get 0) (f64.lt (f64.load (i32.const 8)) (f64.const 0.5)))""": [3],
    """(if (result i32) (i32.eqz (local.get 0))
         (then (i32.const 3)) (else (i32.div_s (i32.const 100) (local.get 0))))""": [0, 7, -7],
    "(i32.div_s (i32.const -0x80000000) (local.get 0))": [0, -1, 5],
}


@pytest.mark.parametrize("body", PROGRAMS)
def test_the_proofs_machine_runs_code_as_the_engine_does(body: str) -> None:
    source = tinywasm.wat2wasm(
        f'(module (memory 1) (func (export "f") (param i32) (result i32) (local i32) {body}))'
    )
    module = binary.decode(source)
    code = lower(validate(module), 0, module.functions[0], metered=False)
    engine = tinywasm.Store(tinywasm.Engine(tinywasm.Config(engine="native")))
    for argument in PROGRAMS[body]:
        try:
            expected = tinywasm.instantiate(source, store=engine).exports.f(argument) & 0xFFFFFFFF
        except Trap as trap:
            expected = _CODES.index(trap.code) + 1
        assert run_code(code.words, argument & 0xFFFFFFFF) == expected


def run_code(words: bytes, argument: int) -> int:
    """The result of a function with one parameter, or the code of its trap."""
    known: dict[int, dict[str, Any]] = {}
    for number in range(len(words) // 16):
        word = words[16 * number : 16 * number + 16]
        fields = [int.from_bytes(word[each : each + 2], "little") for each in (0, 2, 4, 6)]
        known[number] = {
            name: z3.BitVecVal(field, 16) for name, field in zip(("op", *"abc"), fields, strict=True)
        }
        known[number]["imm"] = z3.BitVecVal(int.from_bytes(word[8:], "little"), 64)
    machine = initial(known)
    machine.state["frame"] = z3.Store(z3.K(z3.BitVecSort(64), z3.BitVecVal(0, 64)), 0, argument)
    machine.state["memory"] = z3.K(z3.BitVecSort(64), z3.BitVecVal(0, 8))
    for name, number in (("memory_size", 65536), ("budget", 9999), ("last_loop", 0)):
        machine.state[name] = z3.BitVecVal(number, 64)
    for _ in range(500):
        opcode = known[machine.state["pc"].as_long()]["op"].as_long()
        ((machine, exit),) = c_meaning.run(c_syntax.arm(list(OPCODES)[opcode]), machine)
        machine.state = {name: z3.simplify(exactly(term)) for name, term in machine.state.items()}
        if exit.kind == "trapped":
            return int(z3.simplify(machine.levels[0]["trap"].term).as_long())
        if exit.kind == "leave":
            return int(z3.simplify(machine.state["frame"][0]).as_long())
        assert exit.kind == "*"
    raise AssertionError("no end")
