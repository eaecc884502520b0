"""Builds the kernels: C to WebAssembly with clang and lld, WAT with tinywasm, C to the native floor.

`python -m benchmarks.build` rewrites every `.wasm`; `--check` only says which ones differ.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.catalogue import CALLS, KERNELS, KERNELS_DIR, Kernel
from tinywasm import binary, text

# No contraction to fused operations, and libc's mathematical functions replaced by instructions: a
# kernel's result has to be the same to the last bit everywhere.
COMMON = (
    "-std=gnu11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-ffp-contract=off",
    "-fno-math-errno",
    # The recursive kernels are about calls.
    "-fno-optimize-sibling-calls",
)
WASM = (
    "--target=wasm32",
    "-mcpu=mvp",
    "-ffreestanding",
    "-fno-builtin",
    "-nostdlib",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
    "-Wl,-z,stack-size=65536",
)
TIMEOUT = 120


def clang_command(kernel: Kernel, output: Path) -> list[str]:
    return ["clang", *WASM, *COMMON, *kernel.clang, "-o", str(output), str(kernel.source)]


def build_wasm(kernel: Kernel, output: Path) -> None:
    """Raises `subprocess.CalledProcessError` where clang fails, `FileNotFoundError` without clang."""
    if kernel.suffix == ".wat":
        output.write_bytes(binary.encode(text.parse_module(kernel.source.read_bytes())))
    else:
        subprocess.run(clang_command(kernel, output), check=True, timeout=TIMEOUT)
        output.chmod(0o644)


def build_native(kernel: Kernel, compiler: str, output: Path) -> None:
    """The program that runs a C kernel on this machine. Raises `subprocess.CalledProcessError`."""
    sources = [str(kernel.source), str(KERNELS_DIR / "native.c")]
    command = [compiler, *COMMON, "-o", str(output), *sources]
    subprocess.run(command, check=True, timeout=TIMEOUT, capture_output=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.build", description="Build the kernels.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a .wasm differs")
    check = parser.parse_args(arguments).check
    if not shutil.which("clang"):
        print("clang not found; on Debian: apt-get install clang lld", file=sys.stderr)
        return 1
    stale = []
    with tempfile.TemporaryDirectory() as folder:
        for kernel in (*KERNELS, CALLS):
            built = Path(folder) / kernel.wasm.name
            build_wasm(kernel, built)
            if not kernel.wasm.exists() or kernel.wasm.read_bytes() != built.read_bytes():
                stale.append(kernel.wasm.name)
                if not check:
                    shutil.copyfile(built, kernel.wasm)
    print(("differ: " if check else "written: ") + ", ".join(stale) if stale else "all up to date")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
