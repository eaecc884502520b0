"""Machine code that was made ahead of time: as bytes, and entered from there.

Nothing can verify it, so whoever has it loaded trusts it like a shared library. It belongs to the release
that made it, down to where the engine's structures have their members, and to processors with the features
that it names.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from importlib.util import source_hash
from typing import TYPE_CHECKING

from tinywasm.engine.interface import functions
from tinywasm.engine.native import _loop, kept, processor
from tinywasm.errors import WasmError
from tinywasm.loading import loading
from tinywasm.records import record
from tinywasm.syntax import DecodedModule
from tinywasm.validation import Context

if TYPE_CHECKING:
    from mmap import mmap

# Whether it pays with fuel; the lengths of the features' names, of the reasons, and of the image.
_HEAD = struct.Struct("<4Q")
# Where a function has none. There, the second of its three numbers is that of the reason.
_NONE = (1 << 32) - 1
_STRIDE = 3
# How many times larger functions may be than those that are compiled while a program waits.
TIMES = 5
_COMPILER = "tinywasm.engine.llvm"


@record(frozen=True, eq=False)
class MachineCode:
    """A function's machine code: the addresses by which the loop and other machine code enter it.

    `slots` are those of its frame; `holder` keeps the code.
    """

    entry: int
    address: int
    slots: int
    holder: _loop.MachineText | _loop.MappedText


class Compiled:
    """What is compiled of a module, by the functions' indices, why the others are not, and what it took.

    Only the tier "auto" has these: `quick` are those of which LLVM made code quickly, `kept` those whose code
    an earlier process made, and `loops` has, by function, the words at which those loops begin that are
    compiled apart. `size` is in bytes; `seconds` is None where it took none in this process: `origin` says
    from where it is then.
    """

    codes: Collection[int]
    declined: Mapping[int, str]
    quick: Collection[int] = ()
    kept: Collection[int] = ()
    loops: Mapping[int, set[int]] = {}
    size: int
    seconds: float | None
    origin = "ahead of time"

    def summary(self) -> list[str]:
        """That, in lines for people. Another thread may be compiling."""
        count, quick, old = len({*self.codes, *self.loops}), len(self.quick), len(self.kept)
        when = self.origin if self.seconds is None else f"in {self.seconds:.2f} s"
        kinds = f", {quick:,} of them quickly" if quick else ""
        kinds += f", {old:,} of them read from the cache" if old else ""
        lines = [f"compiled {functions(count)} to {self.size:,} bytes of machine code {when}{kinds}"]
        declined = list(self.declined.values())
        if not self.size:
            lines = [] if declined else ["nothing was compiled: nothing was hot for long enough"]
        if declined:
            said = ", ".join(f"{reason} ({count:,})" for reason, count in Counter(declined).most_common())
            lines.append(f"interpreted {functions(len(declined))}: {said}")
        return lines


@record(frozen=True, eq=False)
class Image:
    """Machine code of a module: `text` runs wherever it lies.

    `places` has for each function, by its index, where in it the function begins, where what the loop enters
    it by, and the slots of its frame; `declined` has the reasons of those without.
    """

    text: bytes
    places: dict[int, tuple[int, int, int]]
    declined: dict[int, str]


@cache
def maker() -> str:
    """Names what made the code and what it runs in: code of another maker is not taken."""
    told = f"{kept.maker()} {sorted(_loop.PLACES.items())} {sorted(_loop.HELPERS.items())}"
    parts = [told.encode()]
    # Without sources, the version that stands in the file has to do.
    with suppress(OSError):
        parts += [kept.read(_COMPILER, name) for name in _sources()]
    return source_hash(b"\0".join(parts)).hex()


def _sources() -> list[str]:
    """The files that say what is emitted. Raises `OSError`."""
    folder = os.path.join(os.path.dirname(os.path.dirname(__file__)), _COMPILER.rpartition(".")[2])
    return sorted(name for name in os.listdir(folder) if name.endswith(".py"))


def make(
    context: Context,
    syntax: DecodedModule,
    metered: bool,
    cpu: str,
    processes: int = 1,
    times: int = TIMES,
) -> tuple[bytes, bytes]:
    """See `Ahead`. Raises `ValueError` where nothing can be compiled."""
    features = processor.wanted(cpu)
    with loading:
        from tinywasm.engine.llvm.machine import image_of, in_turn, target_of, version

    version()
    run = in_turn
    if processes > 1:
        # Not where nobody asks: it takes long to load.
        from tinywasm.engine.llvm.parallel import in_processes

        run = partial(in_processes, processes)
    image = image_of(context, syntax, metered, target_of(features), run, times)
    functions = range(context.imported_funcs, len(context.funcs))
    return head(image, functions, metered, features), image.text


def head(image: Image, functions: range, metered: bool, features: tuple[str, ...]) -> bytes:
    """What `Precompiled` reads of these functions, which are all of a module."""
    reasons = list(dict.fromkeys(image.declined.values()))
    numbers = {reason: number for number, reason in enumerate(reasons)}
    columns = array("I")
    for index in functions:
        columns.extend(image.places.get(index) or (_NONE, numbers[image.declined[index]], 0))
    names, told = " ".join(features).encode(), "\n".join(reasons).encode()
    sizes = _HEAD.pack(metered, len(names), len(told), len(columns) // _STRIDE)
    return b"".join([sizes, columns.tobytes(), names, told])


def take(context: Context, head: memoryview, text: memoryview | mmap) -> None:
    """See `Ahead`."""
    made = Precompiled(context, head, text)
    kept.shared(context).machine[made.metered, "ahead"] = made


class Precompiled(Compiled):
    """What the functions of a module enter, from a file, in stores that are `metered` or are not."""

    def __init__(
        self, context: Context, head: memoryview, text: memoryview | mmap, seconds: float | None = None
    ) -> None:
        """`seconds` is how long it took, if that was in this process.

        Raises `WasmError` where it is not for this processor.
        """
        self.seconds = seconds
        metered, names, told, count = _HEAD.unpack_from(head)
        columns = head[_HEAD.size : _HEAD.size + count * _STRIDE * 4]
        rest = bytes(head[_HEAD.size + len(columns) :])
        features, reasons = rest[:names].decode(), rest[names : names + told].decode()
        if count != len(context.funcs) - context.imported_funcs:
            raise WasmError("the machine code is that of another module: compile it again")
        _check(features.split())
        self.metered = bool(metered)
        self._columns = columns.cast("I")
        self._first = context.imported_funcs
        self._reasons = reasons.split("\n")
        self._holder: _loop.MachineText | _loop.MappedText = (
            _loop.MachineText(text) if isinstance(text, memoryview) else _loop.MappedText(text)
        )
        self.size = self._holder.size

    def code(self, index: int) -> MachineCode | None:
        """The machine code of a function, where it has some."""
        at = (index - self._first) * _STRIDE
        address, entry, slots = self._columns[at : at + _STRIDE]
        if address == _NONE:
            return None
        start = self._holder.address
        return MachineCode(start + entry, start + address, slots, self._holder)

    @property
    def codes(self) -> list[int]:  # type: ignore[override]
        """The functions that have some."""
        return [index for index, address, _ in self._rows() if address != _NONE]

    @property
    def declined(self) -> dict[int, str]:  # type: ignore[override]
        """Why the others have none."""
        return {index: self._reasons[reason] for index, address, reason in self._rows() if address == _NONE}

    def _rows(self) -> Iterator[tuple[int, int, int]]:
        for at in range(0, len(self._columns), _STRIDE):
            yield self._first + at // _STRIDE, self._columns[at], self._columns[at + 1]


def _check(features: list[str]) -> None:
    if not _is_x86():
        raise WasmError("the machine code is for x86-64, and this processor is another one")
    missing = [name for name in features if name not in processor.here()]
    if missing:
        raise WasmError(
            f"the machine code is for a processor with {', '.join(missing)}, which this one lacks: "
            'compile the module again here, or for cpu "x86-64"'
        )


def _is_x86() -> bool:
    # Not by `platform`, which takes long to load; Windows has no such function, and no machine code.
    return hasattr(os, "uname") and os.uname().machine.lower() in ("x86_64", "amd64")
