"""The kernels: what each does, its sizes, and its result where that is known beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
KERNELS_DIR = HERE / "kernels"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A module that exports `run(n)`.

    `tiny` takes a plain interpreter written in Python about 50 ms and gives `expected` (unsigned), `small`
    takes the slowest one some seconds, `large` takes a fast one a few hundred milliseconds. `clang` are the
    flags beyond the common ones; `scalar` kernels need nothing of the machine but MVP instructions and
    bulk memory, and enter the geometric mean. The work grows with this `power` of the size; where that is 0,
    by the golden ratio with each step.
    """

    name: str
    title: str
    tiny: int
    expected: int
    small: int
    large: int
    clang: tuple[str, ...] = ()
    scalar: bool = True
    suffix: str = ".c"
    power: float = 1.0

    @property
    def source(self) -> Path:
        return KERNELS_DIR / f"{self.name}{self.suffix}"

    @property
    def wasm(self) -> Path:
        return KERNELS_DIR / f"{self.name}.wasm"

    def size(self, name: str) -> int:
        """The argument of `run` for "tiny", "small" or "large"."""
        return {"tiny": self.tiny, "small": self.small, "large": self.large}[name]

    def times(self, factor: float) -> int:
        """The argument of `run` for so many times the work of "large"."""
        if not self.power:
            return max(self.large + round(math.log(factor, (1 + math.sqrt(5)) / 2)), 1)
        return max(round(self.large * math.pow(factor, 1 / self.power)), 1)


KERNELS = (
    Kernel("fib", "recursive Fibonacci", 17, 1_597, 23, 34, power=0),
    Kernel("sieve", "sieve of Eratosthenes", 2, 2_056, 10, 2000),
    Kernel("matmul", "matrix product, f64", 24, 2_074_324_308, 48, 256, power=3),
    Kernel("mandelbrot", "Mandelbrot set, f64", 20, 493_987_468, 60, 600, power=2),
    Kernel("sha256", "SHA-256", 2, 3_758_061_914, 15, 2000),
    Kernel("strings", "words in a hash table", 300, 978_361_561, 2_500, 500_000),
    Kernel("quicksort", "quicksort", 1000, 3_070_159_500, 6_000, 500_000),
    Kernel("nbody", "n-body, f64", 200, 1_091_329_066, 2_000, 200_000),
    Kernel("lz", "LZ compression and back", 3000, 2_966_348_291, 20_000, 1_000_000),
    Kernel("interpreter", "bytecode interpreter, br_table", 50, 1_048, 150, 8_000),
    Kernel("indirect", "call_indirect", 10_000, 1_094_813_551, 75_000, 5_000_000),
    Kernel("bulk", "memory.copy and memory.fill", 400, 2_975_282_101, 7_500, 1_000_000, ("-mbulk-memory",)),
    Kernel("simd_dot", "SIMD dot product, f32x4", 10, 3_991_753_178, 150, 300_000, ("-msimd128",), False),
    Kernel("gc_list", "GC: linked list", 8, 98_832_768, 50, 4_000, (), False, ".wat"),
    Kernel("gc_tree", "GC: search tree, casts, i31", 5, 3_072_783_757, 30, 3_000, (), False, ".wat"),
)

# No kernel: what it exports is called by measure.py.
CALLS = Kernel("calls", "calls over the border", 0, 0, 0, 0, (), False, ".wat")
BY_NAME = {kernel.name: kernel for kernel in KERNELS}
