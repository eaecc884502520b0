"""What `make wasm-rt` needs of the machine, and the packages of Debian's that have it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

COMPILER = "riscv64-unknown-elf-gcc"

_PACKAGES = {
    "apt-get": "apt",
    "dpkg-source": "dpkg-dev",
    "gcc": "gcc",
    "make": "make",
    COMPILER: "gcc-riscv64-unknown-elf",
}
"""From a program to the package that has it."""


def missing_packages(programs: Iterable[str] = _PACKAGES) -> list[str]:
    """The packages that have to be installed."""
    return [_PACKAGES[program] for program in programs if shutil.which(program) is None]


if __name__ == "__main__":
    print(*missing_packages())
