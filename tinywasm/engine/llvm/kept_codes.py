"""What the tier "auto" has compiled of a module, in the folder of `Config(cache=)`: a file for each effort.

Both are read before the module's first instance is made, and written when the module is freed or Python ends.
"""

from __future__ import annotations

import weakref

from tinywasm.engine.llvm import codegen
from tinywasm.engine.native import _loop, ahead, cache, processor
from tinywasm.engine.native.ahead import Image, MachineCode
from tinywasm.validation import Context

# The bytes of machine code beyond which no more of a module is kept.
MOST_BYTES = 64 << 20
# What the vectors among the constants need.
_ALIGNMENT = 64


class KeptCodes:
    """The machine code of functions, by the effort with which it was made."""

    def __init__(self, folder: str, context: Context, metered: bool) -> None:
        """Raises as `kept_folder.find`."""
        self._codes = _Codes(folder, context, metered)
        # Goes with the module, which the other must not hold.
        weakref.finalize(self, self._codes.keep)

    def found(self) -> dict[int, dict[int, MachineCode]]:
        """By effort, what functions have."""
        return {effort: dict(codes) for effort, codes in self._codes.made.items()}

    def add(self, index: int, code: MachineCode, effort: int) -> None:
        self._codes.made[effort][index] = code
        self._codes.fresh.add(effort)


class _Codes:
    def __init__(self, folder: str, context: Context, metered: bool) -> None:
        self.fresh: set[int] = set()
        self.made: dict[int, dict[int, MachineCode]] = {}
        self._folder = folder
        self._functions = range(context.imported_funcs, len(context.funcs))
        self._metered = metered
        self._names: dict[int, str] = {}
        for effort in (codegen.QUICK, codegen.LIGHT):
            name = self._names[effort] = cache.name(context, metered, f"hot {effort}")
            found = cache.find(folder, name, context) if name else None
            codes = ((index, found.code(index)) for index in found.codes) if found is not None else ()
            self.made[effort] = {index: code for index, code in codes if code is not None}

    def keep(self) -> None:
        """Write what was added, beside what was found."""
        for effort in tuple(self.fresh):
            better = self.made[codegen.LIGHT] if effort == codegen.QUICK else {}
            # At once, since another thread may be compiling.
            codes = {index: code for index, code in tuple(self.made[effort].items()) if index not in better}
            image = self._image(codes)
            if codes and len(image.text) <= MOST_BYTES:
                head = ahead.head(image, self._functions, self._metered, processor.here())
                cache.keep(self._folder, self._names[effort], head, image.text)

    def _image(self, codes: dict[int, MachineCode]) -> Image:
        text = bytearray()
        starts: dict[_loop.MachineText | _loop.MappedText, int] = {}
        for code in codes.values():
            if code.holder not in starts:
                text += bytes(-len(text) % _ALIGNMENT)
                starts[code.holder] = len(text) - code.holder.address
                text += code.holder.image()
        places = {
            index: (code.address + starts[code.holder], code.entry + starts[code.holder], code.slots)
            for index, code in codes.items()
        }
        return Image(bytes(text), places, dict.fromkeys(self._functions, ""))
