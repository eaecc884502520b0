"""Which features of x86-64 machine code may use, under LLVM's names, and which of them are here."""

from __future__ import annotations

from functools import cache

from tinywasm.engine.native import _loop

# By name, which of the numbers of `_loop.processor` tells, and which bit of it.
_BITS = {
    "cx16": (0, 13), "sahf": (2, 0), "popcnt": (0, 23), "sse3": (0, 0), "ssse3": (0, 9), "sse4.1": (0, 19),
    "sse4.2": (0, 20), "avx": (0, 28), "avx2": (1, 5), "bmi": (1, 3), "bmi2": (1, 8), "f16c": (0, 29),
    "fma": (0, 12), "lzcnt": (2, 5), "movbe": (0, 22), "avx512f": (1, 16), "avx512bw": (1, 30),
    "avx512cd": (1, 28), "avx512dq": (1, 17), "avx512vl": (1, 31),
}  # fmt: skip
_NAMES = tuple(_BITS)
# The levels of the System V ABI: each has the features up to here.
LEVELS = {"x86-64": 0, "x86-64-v2": 7, "x86-64-v3": 15, "x86-64-v4": 20}
CPUS = ("host", *LEVELS)
# Which bits of XCR0 say that the system keeps the registers of these features.
_AVX, _AVX512 = 0x6, 0xE6
_OLD = frozenset(_NAMES[: _NAMES.index("avx")]) | {"bmi", "bmi2", "lzcnt", "movbe"}


def wanted(cpu: str) -> tuple[str, ...]:
    """The features of a processor: "host", or a level. Raises `ValueError` for another name."""
    if cpu == "host":
        return here()
    if cpu not in LEVELS:
        *known, last = (f'"{each}"' for each in CPUS)
        raise ValueError(f'unknown processor "{cpu}": use {", ".join(known)} or {last}')
    return _NAMES[: LEVELS[cpu]]


@cache
def here() -> tuple[str, ...]:
    """The features of this machine's processor: none where it is of another kind."""
    found = _loop.processor()
    return tuple(
        name
        for name, (number, bit) in _BITS.items()
        if found[number] >> bit & 1 and (name in _OLD or _kept(name, found[3]))
    )


def _kept(name: str, registers: int) -> bool:
    needed = _AVX512 if name.startswith("avx512") else _AVX
    return registers & needed == needed
