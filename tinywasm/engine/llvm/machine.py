"""Compiles the functions of a module, unit by unit, and says which it declined."""

from __future__ import annotations

import importlib
import platform
import threading
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from tinywasm.engine.ir import form
from tinywasm.engine.ir.build import build
from tinywasm.engine.ir.form import Form
from tinywasm.engine.llvm import codegen
from tinywasm.engine.llvm.emit import Declined, decline, emit
from tinywasm.engine.llvm.link import linked
from tinywasm.engine.llvm.unit import Unit
from tinywasm.engine.native import _loop
from tinywasm.errors import Trap
from tinywasm.interruption import look
from tinywasm.loading import waited_for
from tinywasm.records import record
from tinywasm.syntax import DecodedModule
from tinywasm.validation import Context

# How many records a unit has, or few more than the largest function: LLVM takes memory for all of it at once,
# and nothing interrupts it meanwhile.
UNIT_RECORDS = 20_000


@record(frozen=True, eq=False)
class MachineCode:
    """A function's machine code: the addresses by which the loop and other machine code enter it.

    `slots` are those of its frame; `holder` keeps the code.
    """

    entry: int
    address: int
    slots: int
    holder: _loop.MachineText


class Machine:
    """What is compiled of a module, by the functions' indices, and why the others are not.

    It took so many seconds, and `size` bytes of memory.
    """

    def __init__(self, context: Context, syntax: DecodedModule, metered: bool) -> None:
        start = time.monotonic()
        self.size = 0
        self.codes: dict[int, MachineCode] = {}
        self.declined: dict[int, str] = {}
        # Of these, only `Auto` has some.
        self.loops: dict[int, set[int]] = {}
        self._context = context
        self._syntax = syntax
        self._metered = metered
        unit: dict[int, Form] = {}
        size = 0
        for index in range(context.imported_funcs, len(context.funcs)):
            look()
            try:
                code = form_of(context, syntax, index)
            except Declined as reason:
                self.declined[index] = str(reason)
                continue
            unit[index] = code
            size += len(code.code) // form.STRIDE
            if size > UNIT_RECORDS:
                self._compile(unit)
                unit, size = {}, 0
        if unit:
            self._compile(unit)
        self.seconds = time.monotonic() - start

    def _compile(self, forms: dict[int, Form]) -> None:
        made = compiled(emit(self._context, self._syntax, forms, self._metered, forms.keys()), forms)
        self.codes |= {index: made[f"f{index}"] for index in forms}
        self.size += next(iter(made.values())).holder.size
        look()


def form_of(context: Context, syntax: DecodedModule, index: int) -> Form:
    """The form of a function that can be compiled. Raises `Declined`."""
    function = syntax.functions[index - context.imported_funcs]
    try:
        code = build(context, index, function)
    except Trap:
        raise Declined("too large") from None
    decline(context, index, function, code)
    return code


def compiled(unit: Unit, forms: Mapping[int, Form]) -> dict[str, MachineCode]:
    """The machine code of a unit that was made of these functions, by the names in its `entries`."""
    records = sum(len(each.code) for each in forms.values()) // form.STRIDE
    text, places = assemble(unit.text(), effort_for(records))
    start = text.address
    return {
        name: MachineCode(start + places[entry], start + places[name], forms[index].slots, text)
        for name, (index, entry) in unit.entries.items()
    }


def effort_for(records: int) -> int:
    """How much of it is worth its time for a unit of so many records."""
    return codegen.FULL if records <= codegen.FULL_RECORDS else codegen.LIGHT


def version() -> str:
    """What compiles. Raises `ValueError` where nothing can be compiled."""
    major, minor, _ = _binding().llvm_version_info
    return f"LLVM {major}.{minor}, by llvmlite {importlib.import_module('llvmlite').__version__}"


@cache
def _binding() -> Any:
    try:
        binding = codegen.binding()
    except ImportError as error:
        raise ValueError(
            f'the tier "compiled" takes llvmlite, which is not there ({error}): pip install "tinywasm[llvm]"'
        ) from None
    if platform.machine().lower() not in ("x86_64", "amd64") or not binding.get_host_cpu_features()["sse4.1"]:
        raise ValueError('the tier "compiled" makes code for x86-64 with SSE 4.1 only')
    return binding


# Held while LLVM works, and a fork waits for it: in the child nobody would release the lock of llvmlite.
assembling = waited_for(threading.RLock())


def assemble(text: str, effort: int) -> tuple[_loop.MachineText, dict[str, int]]:
    """Machine code of a module of LLVM IR, made with that effort, and where in it each function begins."""
    binding = _binding()
    cpu, features = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    with assembling:
        image, places = linked(codegen.object_code(text, cpu, features, effort))
    return _loop.MachineText(image), places
