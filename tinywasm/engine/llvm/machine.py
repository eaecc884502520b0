"""Compiles the functions of a module, unit by unit, and says which it declined."""

from __future__ import annotations

import importlib
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any, TypeAlias

from tinywasm.engine.ir import form
from tinywasm.engine.ir.build import build
from tinywasm.engine.ir.form import Form
from tinywasm.engine.llvm import INSTALL, codegen
from tinywasm.engine.llvm.emit import Declined, decline, emit, signature
from tinywasm.engine.llvm.link import linked
from tinywasm.engine.llvm.unit import Unit, entry_name
from tinywasm.engine.native import _loop, processor
from tinywasm.engine.native.ahead import Compiled, Image, MachineCode
from tinywasm.errors import Trap, TrapCode
from tinywasm.interruption import look
from tinywasm.loading import waited_for
from tinywasm.records import record
from tinywasm.syntax import DecodedModule
from tinywasm.validation import Context

# How many records a unit has, or few more than the largest function: LLVM takes memory for all of it at once,
# and nothing interrupts it meanwhile.
UNIT_RECORDS = 2_000
# The bytes of a stack that LLVM has room in.
_STACK = 8 << 20
# What `codegen.object_code` takes.
Job: TypeAlias = tuple[str, str, str, int]
# Held while llvmlite works, and a fork waits for it: in the child nobody would release the lock of llvmlite.
assembling = waited_for(threading.RLock())
_ROUNDING = (".ceil", ".floor", ".trunc", ".nearest")


@record(frozen=True)
class Target:
    """A processor and its features, as LLVM names them."""

    cpu: str
    features: str

    @property
    def rounds(self) -> bool:
        """Whether it rounds floats by an instruction; else there would be a call of the C library."""
        return "+sse4.1" in self.features.split(",")


def target_of(features: Iterable[str]) -> Target:
    """Any processor with these features, which `processor` knows."""
    return Target("x86-64", ",".join(f"+{name}" for name in ("sse2", *features)))


def host() -> Target:
    """This machine's processor. Raises as `version`."""
    with assembling:
        binding = _binding()
        features, cpu = binding.get_host_cpu_features(), binding.get_host_cpu_name()
    if not features["sse4.1"]:
        raise ValueError('the tier "compiled" makes code for x86-64 with SSE 4.1 only')
    return Target(cpu, features.flatten())


class Machine(Compiled):
    """All functions of a module that are not declined."""

    def __init__(self, context: Context, syntax: DecodedModule, metered: bool) -> None:
        start = time.monotonic()
        image = image_of(context, syntax, metered, host(), in_turn)
        text = _loop.MachineText(image.text)
        self.codes: dict[int, MachineCode] = {
            index: MachineCode(text.address + entry, text.address + address, slots, text)
            for index, (address, entry, slots) in image.places.items()
        }
        self.size = text.size
        self.declined = image.declined
        self.seconds = time.monotonic() - start

    def code(self, index: int) -> MachineCode | None:
        """The machine code of a function, where it has some."""
        return self.codes.get(index)


def image_of(
    context: Context,
    syntax: DecodedModule,
    metered: bool,
    target: Target,
    run: Callable[[Iterator[Job]], Iterable[bytes]],
    times: int = 1,
) -> Image:
    """The machine code of a module. `run` does what LLVM has to do.

    Functions may be so many times larger, and deserve so many times more effort, than where a program waits.
    """
    sizes: dict[int, int] = {}
    slots: dict[int, int] = {}
    declined: dict[int, str] = {}
    for index in range(context.imported_funcs, len(context.funcs)):
        look()
        try:
            code = form_of(context, syntax, index, target, times)
        except Declined as reason:
            declined[index] = str(reason)
        else:
            sizes[index], slots[index] = len(code.code) // form.STRIDE, code.slots

    effort = effort_for(sum(sizes.values()) // times)

    def jobs() -> Iterator[Job]:
        for unit in _units(sizes):
            # Once more: all at once would take much memory.
            forms = {index: form_of(context, syntax, index, target, times) for index in unit}
            text = emit(context, syntax, forms, metered, forms.keys(), linked=sizes.keys()).text()
            yield text, target.cpu, target.features, effort

    image, named = linked(list(run(jobs())))
    places = {
        index: (named[f"f{index}"], named[entry_name(signature(context, index))], slots[index])
        for index in sizes
    }
    # No map has no bytes.
    return Image(image or bytes(1), places, declined)


def in_turn(jobs: Iterator[Job]) -> Iterator[bytes]:
    """Object files, made one after the other."""
    for job in jobs:
        with assembling:
            made = _with_room(partial(codegen.object_code, *job))
        look()
        yield made


# Held while a thread with a larger stack is started.
_starting = waited_for(threading.RLock())


def _with_room(work: Callable[[], bytes]) -> bytes:
    """What `work` returns, which takes more of the stack than many threads have.

    The main thread has enough. It is also the one that signals interrupt, which must not leave LLVM at work.
    """
    if threading.current_thread() is threading.main_thread():
        return work()
    made: list[bytes] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            made.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="tinywasm, LLVM", daemon=True)
    # The size is the whole process's: whoever came between would keep ours.
    with _starting:
        before = threading.stack_size(_STACK)
        try:
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    for error in errors:
        raise error
    return made[0]


def _units(sizes: Mapping[int, int]) -> Iterator[list[int]]:
    """Which functions are compiled together, by their sizes in records."""
    unit: list[int] = []
    size = 0
    for index, records in sizes.items():
        unit.append(index)
        size += records
        if size > UNIT_RECORDS:
            yield unit
            unit, size = [], 0
    if unit:
        yield unit


def form_of(
    context: Context, syntax: DecodedModule, index: int, target: Target | None = None, times: int = 1
) -> Form:
    """The form of a function that can be compiled. Raises `Declined`."""
    function = syntax.functions[index - context.imported_funcs]
    try:
        code = build(context, index, function)
    except Trap as trap:
        if trap.code is not TrapCode.ALLOCATION_TOO_LARGE:
            raise
        raise Declined("too large") from None
    decline(context, index, function, code, times)
    if target is not None and not target.rounds:
        for name in {form.NAMES[row] for row in code.code[:: form.STRIDE]}:
            if name.endswith(_ROUNDING):
                raise Declined(f"{name} without SSE 4.1")
    return code


def compiled(unit: Unit, forms: Mapping[int, Form]) -> dict[str, MachineCode]:
    """The machine code of a unit that was made of these functions, by the names in its `entries`."""
    records = sum(len(each.code) for each in forms.values()) // form.STRIDE
    return loaded(unit, forms, object_code(unit.text(), effort_for(records)))


def loaded(unit: Unit, forms: Mapping[int, Form], data: bytes) -> dict[str, MachineCode]:
    """The same from the object file of its text."""
    image, places = linked([data])
    text = _loop.MachineText(image)
    start = text.address
    return {
        name: MachineCode(start + places[entry], start + places[name], forms[index].slots, text)
        for name, (index, entry) in unit.entries.items()
    }


def effort_for(records: int) -> int:
    """How much of it is worth its time for so many records."""
    if records <= codegen.FULL_RECORDS:
        return codegen.FULL
    return codegen.LIGHT if records <= codegen.LIGHT_RECORDS else codegen.QUICK


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
            f"machine code is made by llvmlite, which cannot be used ({error}): {INSTALL}"
        ) from None
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise ValueError('the tier "compiled" makes code for x86-64 only')
    return binding


def object_code(text: str, effort: int) -> bytes:
    """An object file of a unit's text, for what `processor` knows of this machine, made in this process."""
    _binding()
    target = target_of(processor.here())
    with assembling:
        return _with_room(partial(codegen.object_code, text, target.cpu, target.features, effort))
