"""A large valid module, generated: `python -m benchmarks.large_module SIZE FILE`.

Its functions look like those of a compiler: about fifty statements each of arithmetic, memory accesses
with offsets, conditions, counted loops, `br_table`, direct and indirect calls. About a tenth of the
module is data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from tinywasm.binary import encode
from tinywasm.codec import MemArg, write_instruction
from tinywasm.instructions import BY_NAME
from tinywasm.syntax import (
    DataSegment,
    DecodedModule,
    ElementSegment,
    Export,
    Expr,
    Function,
    Global,
    Table,
)
from tinywasm.types import (
    F64,
    FUNCREF,
    I32,
    I64,
    AbstractHeap,
    FuncType,
    GlobalType,
    Limits,
    MemoryType,
    NumType,
    RecGroup,
    RefType,
    SubType,
    TableType,
)

_SIGNATURES = (
    FuncType([I32], [I32]),
    FuncType([I32, I32], [I32]),
    FuncType([I32, I64], [I64]),
    FuncType([I32, F64], [F64]),
)
# Every function has the same locals, so that a call needs no thought: three of each type after the
# parameters, which are never written.
_LOCALS = (I32, I64, F64)
_LOCALS_EACH = 3
_STATEMENTS = 50
_DEPTH = 3
# One code entry's size on average, measured; the data are a ninth of the code.
_BYTES_A_FUNCTION = 1230
_CHUNK = 4096

_OPERATORS = {
    I32: ("add", "sub", "mul", "and", "or", "xor", "shl", "shr_u", "shr_s", "rotl"),
    I64: ("add", "sub", "mul", "and", "or", "xor", "shl", "shr_u"),
    F64: ("add", "sub", "mul", "min", "max", "copysign"),
}
_COMPARISONS = ("eq", "ne", "lt_s", "lt_u", "gt_s", "le_u", "ge_s")
_ALIGN = {I32: 2, I64: 3, F64: 3}


@cache
def _op(name: str, *immediates: Any) -> bytes:
    return write_instruction(BY_NAME[name][0], immediates)


class _Body:
    """The code of one function, one statement after the other."""

    def __init__(self, random: Random, signature: FuncType, functions: int) -> None:
        self._random = random
        self._functions = functions
        self._first_local = len(signature.params)
        self._out: list[bytes] = []

    def code(self, result: NumType) -> bytes:
        for _ in range(self._random.randint(_STATEMENTS // 5, 2 * _STATEMENTS - _STATEMENTS // 5)):
            self._statement(_DEPTH)
        self._expression(result, 2)
        return b"".join(self._out) + _op("end")

    def _emit(self, name: str, *immediates: Any) -> None:
        self._out.append(_op(name, *immediates))

    def _local(self, type: NumType) -> int:
        kind = _LOCALS.index(type)
        return self._first_local + kind * _LOCALS_EACH + self._random.randrange(_LOCALS_EACH)

    def _statement(self, depth: int) -> None:
        choice = self._random.randrange(100)
        type = self._random.choice((I32, I32, I32, I64, F64))
        if choice < 40:
            self._expression(type, depth)
            self._emit("local.set", self._local(type))
        elif choice < 60:
            self._address()
            self._expression(type, depth - 1)
            self._emit(f"{type}.store", MemArg(_ALIGN[type], 0, self._random.randrange(512)))
        elif choice < 70:
            self._call(type)
            self._emit("local.set", self._local(type))
        elif depth:
            self._nested(choice, depth - 1)

    def _nested(self, choice: int, depth: int) -> None:
        if choice < 85:
            self._condition(depth)
            self._emit("if", None)
            self._statement(depth)
            if self._random.random() < 0.5:
                self._emit("else")
                self._statement(depth)
            self._emit("end")
        elif choice < 95:
            self._loop(depth)
        else:
            self._switch(depth)

    def _loop(self, depth: int) -> None:
        counter = self._local(I32)
        self._emit("block", None)
        self._emit("loop", None)
        self._condition(depth)
        self._emit("br_if", 1)
        self._statement(depth)
        self._emit("local.get", counter)
        self._emit("i32.const", 1)
        self._emit("i32.sub")
        self._emit("local.tee", counter)
        self._emit("br_if", 0)
        self._emit("end")
        self._emit("end")

    def _switch(self, depth: int) -> None:
        arms = self._random.randint(2, 5)
        for _ in range(arms):
            self._emit("block", None)
        self._emit("local.get", self._local(I32))
        self._emit("br_table", (tuple(range(arms - 1)), arms - 1))
        for _ in range(arms):
            self._emit("end")
            self._statement(depth)

    def _condition(self, depth: int) -> None:
        self._expression(I32, depth)
        self._expression(I32, 0)
        self._emit(f"i32.{self._random.choice(_COMPARISONS)}")

    def _address(self) -> None:
        self._emit("local.get", self._local(I32))
        if self._random.random() < 0.3:
            self._emit("i32.const", self._random.choice((4, 8, 12, 16, 1024, 65536)))
            self._emit("i32.add")

    def _call(self, type: NumType) -> None:
        kind = {I32: self._random.randrange(2), I64: 2, F64: 3}[type]
        for param in _SIGNATURES[kind].params:
            assert isinstance(param, NumType)
            self._expression(param, 1)
        if self._random.random() < 0.2:
            self._emit("local.get", self._local(I32))
            self._emit("call_indirect", kind, 0)
        else:
            # Function number i has signature i modulo their number.
            callee = self._random.randrange(self._functions // len(_SIGNATURES)) * len(_SIGNATURES)
            self._out.append(write_instruction(BY_NAME["call"][0], (callee + kind,)))

    def _expression(self, type: NumType, depth: int) -> None:
        choice = self._random.random()
        if depth <= 0 or choice < 0.2:
            if self._random.random() < 0.7:
                self._emit("local.get", self._local(type))
            else:
                self._constant(type)
        elif choice < 0.35:
            self._address()
            self._emit(f"{type}.load", MemArg(_ALIGN[type], 0, self._random.randrange(512)))
        elif choice < 0.42:
            self._convert(type, depth)
        else:
            self._expression(type, depth - 1)
            self._expression(type, depth - 2)
            self._emit(f"{type}.{self._random.choice(_OPERATORS[type])}")

    def _constant(self, type: NumType) -> None:
        value = self._random.choice((0, 1, 2, 3, 4, 8, 255, 1000, 65536, 1 << 28))
        self._emit(f"{type}.const", value if type is not F64 else (0x3FF + value % 64) << 52)

    def _convert(self, type: NumType, depth: int) -> None:
        if type is I32:
            self._expression(I64, depth - 1)
            self._emit("i32.wrap_i64")
        elif type is I64:
            self._expression(I32, depth - 1)
            self._emit("i64.extend_i32_u")
        else:
            self._expression(I32, depth - 1)
            self._emit("f64.convert_i32_s")


def _expr(code: bytes) -> Expr:
    return Expr(code, 0, len(code))


def module(size: int, seed: int = 1) -> DecodedModule:
    """A module of about `size` bytes when encoded, the same for the same arguments."""
    random = Random(seed)
    count = max(size * 9 // 10 // _BYTES_A_FUNCTION, 1) * len(_SIGNATURES) // len(_SIGNATURES)
    count = max(size * 9 // 10 // _BYTES_A_FUNCTION // len(_SIGNATURES), 1) * len(_SIGNATURES)
    functions = []
    for index in range(count):
        kind = index % len(_SIGNATURES)
        signature = _SIGNATURES[kind]
        result = signature.results[0]
        assert isinstance(result, NumType)
        code = _Body(random, signature, count).code(result)
        functions.append(Function(kind, [(_LOCALS_EACH, type) for type in _LOCALS], _expr(code)))
    data = [random.randbytes(_CHUNK) for _ in range(size // 10 // _CHUNK)]
    zero = _op("i32.const", 0) + _op("end")
    pages = len(data) * _CHUNK // 65536 + 2
    return DecodedModule(
        types=[RecGroup((SubType(signature),)) for signature in _SIGNATURES],
        functions=functions,
        tables=[Table(TableType(FUNCREF, Limits(count, count)))],
        memories=[MemoryType(Limits(pages, None))],
        globals=[Global(GlobalType(I32, True), _expr(zero))],
        exports=[Export("run", "func", 0), Export("memory", "memory", 0)],
        elems=[
            ElementSegment(RefType(False, AbstractHeap.FUNC), list(range(count)), "active", 0, _expr(zero))
        ],
        datas=[
            DataSegment(chunk, 0, _expr(_op("i32.const", number * _CHUNK) + _op("end")))
            for number, chunk in enumerate(data)
        ],
    )


def build(size: int, seed: int = 1) -> bytes:
    """The binary form of `module`."""
    return encode(module(size, seed))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_module", description=__doc__)
    parser.add_argument("size", type=int, metavar="SIZE", help="bytes, about")
    parser.add_argument("file", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    options.file.write_bytes(build(options.size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
