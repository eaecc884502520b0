"""The C bodies of the numeric instructions give the results of their Python twins, bit for bit.

One shared library wraps every operator of the table to run over a whole array of operands. CC and
CFLAGS choose the compiler and add options, for instance `CFLAGS="-O1 -fsanitize=undefined
-fsanitize-undefined-trap-on-error"`.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.tinywasm.numeric_cases import CELL, ROWS, cases, cell, kinds, python_results
from tinywasm.instructions import Instruction

NATIVE = Path(__file__).parents[2] / "tinywasm" / "engine" / "native"
OPTIONS = "-std=gnu11 -O1 -ffp-contract=off -fno-math-errno -fno-trapping-math -Wall -Wextra -Werror"
C_TYPES = {"i32": "uint32_t", "i64": "uint64_t", "f32": "float", "f64": "double", "v128": "v128"}

# The library.


def wrapper(row: Instruction) -> str:
    """A C function that applies an operator to `count` rows of cells."""
    lines, arguments = ["int trap = TRAP_NONE;"], list[str]()
    for index, kind in enumerate(map(repr, row.params)):
        lines.append(f"{C_TYPES[kind]} p{index}; memcpy(&p{index}, in + {CELL * index}, sizeof p{index});")
        arguments.append(f"p{index}")
    if row.immediates:
        cell = f"in + {CELL * len(row.params)}"
        arguments.append(cell if row.immediates == ("shuffle",) else f"*({cell})")
    lines += [f"{C_TYPES[repr(kind)]} r{index};" for index, kind in enumerate(row.results)]
    if len(row.results) > 1:
        arguments += [f"&r{index}" for index in range(len(row.results))]
        lines.append(f"{row.operator}({', '.join(arguments)});")
    else:
        arguments += ["&trap"] if "traps" in row.traits else []
        lines.append(f"r0 = {row.operator}({', '.join(arguments)});")
    outputs = [*(f"r{index}" for index in range(len(row.results))), "trap"]
    lines += [f"memcpy(out + {CELL * i}, &{output}, sizeof {output});" for i, output in enumerate(outputs)]
    steps = f"count--, in += {CELL * len(kinds(row))}, out += {CELL * len(outputs)}"
    body = f"for (; count; {steps}) {{ {' '.join(lines)} }}"
    return f"void batch_{row.operator}(const uint8_t *in, uint8_t *out, size_t count) {{ {body} }}\n"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shlex.split(os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or "")
    if not compiler:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("numerics")
    source, target = folder / "numerics.c", folder / "numerics.so"
    source.write_text('#include "vectors.h"\n' + "".join(map(wrapper, ROWS)))
    options = [*shlex.split(OPTIONS), *shlex.split(os.environ.get("CFLAGS", ""))]
    command = [*compiler, *options, "-shared", "-fPIC", f"-I{NATIVE}", str(source), "-o", str(target), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(target))


def native_results(
    library: ctypes.CDLL, row: Instruction, operands: Sequence[tuple[Any, ...]]
) -> list[bytes]:
    size = CELL * (len(row.results) + 1)
    output = ctypes.create_string_buffer(size * len(operands))
    function = getattr(library, f"batch_{row.operator}")
    function.argtypes, function.restype = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t), None
    function(b"".join(cell(value) for values in operands for value in values), output, len(operands))
    return [output.raw[start : start + size] for start in range(0, len(output) - 1, size)]


def shown(row: Instruction, values: Sequence[Any]) -> str:
    operands = [value.hex() if isinstance(value, bytes) else hex(value) for value in values]
    return " ".join([row.name, *operands])


@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_twins_agree(library: ctypes.CDLL, row: Instruction) -> None:
    operands = cases(row)
    native = native_results(library, row, operands)
    for values, in_python, in_c in zip(operands, python_results(row, operands), native, strict=True):
        assert in_c.hex(" ", CELL) == in_python.hex(" ", CELL), shown(row, values)
