"""The optional extensions; everything else about the distribution stands in setup.cfg."""

import os
import runpy
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from setuptools import Extension, setup

# The compiler heeds the last level that it is given, and CFLAGS come before what stands here.
OPTIMIZE = [] if "-O" in os.environ.get("CFLAGS", "") else ["-O2"]
GENERATED = {"_loop.c", "_bodies.c", "build.c", "columns.c", "operands.c", "select.c"}

record = runpy.run_path("tinywasm/extensions.py")["record"]


def extension(name: str, folder: str, files: Sequence[str], options: Sequence[str] = ()) -> Extension:
    """An extension of these files in a folder."""
    # Without it nothing tells that an extension was built from something else.
    said = Path("build", "records", f"{name}.c")
    text = f'const char built_from[] = "{record(folder, files).decode()}";\n'
    if not said.exists() or said.read_text() != text:
        said.parent.mkdir(parents=True, exist_ok=True)
        said.write_text(text)
    paths = [f"{folder}/{file}" for file in files]
    sources = [path for path in paths if path.endswith((".py", ".pyx", ".c"))]
    return Extension(
        name,
        sources=[*sources, said.as_posix()],
        depends=[path for path in paths if path not in sources],
        include_dirs=[folder],
        extra_compile_args=[*OPTIMIZE, *options],
    )


def beside(folder: str, *patterns: str) -> list[str]:
    """The names of the files that are written by hand, or by a tool of this project."""
    found = sorted(os.path.basename(path) for pattern in patterns for path in glob(f"{folder}/{pattern}"))
    return [name for name in found if name not in GENERATED]


VALIDATION = "tinywasm/validation"
NATIVE = "tinywasm/engine/native"
IR = "tinywasm/engine/ir"
BINARY = "tinywasm/binary"

try:
    from Cython.Build import cythonize
except ImportError:
    print("tinywasm: Cython is not here, building without the native engine and all else that is in C")
    extensions = []
else:
    extensions = cythonize(
        [
            extension(
                "tinywasm.validation._bodies",
                VALIDATION,
                ["_bodies.pyx", *beside(VALIDATION, "*.c", "*.h")],
            ),
            extension(
                "tinywasm.engine.native._loop",
                NATIVE,
                ["_loop.pyx", "native.pxd", *beside(NATIVE, "*.pxi", "*.c", "*.h")],
                [
                    "-ffp-contract=off",
                    "-fno-math-errno",
                    "-fno-trapping-math",
                    "-fno-strict-aliasing",
                    # They look for what the arms of the loop have in common: long, and to no good.
                    "-fno-tree-fre",
                    "-fno-tree-pre",
                    "-fno-code-hoisting",
                ],
            ),
            extension("tinywasm.binary.columns", BINARY, ["columns.py", "columns.pxd"]),
            extension("tinywasm.engine.native.select", NATIVE, ["select.py", "select.pxd"]),
            extension("tinywasm.engine.ir.operands", IR, ["operands.py", "operands.pxd"]),
            extension("tinywasm.engine.ir.build", IR, ["build.py", "build.pxd", "operands.pxd"]),
            extension("schannel._fast", "channel/schannel", ["_fast.pyx"]),
            extension("schannel._transport", "channel/schannel", ["_transport.pyx"]),
            extension("wasm_host._pump", "host/wasm_host", ["_pump.pyx"]),
        ],
        language_level=3,
    )
    # Without a compiler the build goes on, and Python does everything. `cythonize` would not pass this on.
    for each in extensions:
        each.optional = True

setup(ext_modules=extensions)
