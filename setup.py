"""The optional extensions; everything else about the distribution stands in setup.cfg."""

import os
from glob import glob

from setuptools import Extension, setup

try:
    from Cython.Build import cythonize
except ImportError:
    print("tinywasm: Cython is not here, building without the native engine and all else that is in C")
    extensions = []
else:
    # The compiler heeds the last level that it is given, and CFLAGS come before what stands here.
    optimize = [] if "-O" in os.environ.get("CFLAGS", "") else ["-O2"]
    native = "tinywasm/engine/native/"
    validation = "tinywasm/validation/"
    extensions = cythonize(
        [
            Extension(
                "tinywasm.validation._bodies",
                sources=[validation + "_bodies.pyx", validation + "bodies.c"],
                depends=[validation + "bodies.h", validation + "operands.h"],
                include_dirs=[validation],
                extra_compile_args=optimize,
            ),
            Extension(
                "tinywasm.engine.native._loop",
                sources=[native + "_loop.pyx"]
                + [
                    native + name
                    for name in ("loop.c", "bulk.c", "heap.c", "stack.c", "verify.c", "closed.c")
                ],
                depends=[
                    *glob(native + "*.h"),
                    *glob(native + "*.pxi"),
                    native + "native.pxd",
                ],
                include_dirs=[native],
                extra_compile_args=[
                    *optimize,
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
            *(
                Extension(
                    f"tinywasm.engine.ir.{name}",
                    sources=[f"tinywasm/engine/ir/{name}.py"],
                    extra_compile_args=optimize,
                )
                for name in ("operands", "build")
            ),
            Extension(
                "tinywasm.engine.native.select", sources=[native + "select.py"], extra_compile_args=optimize
            ),
            Extension("schannel._fast", sources=["channel/schannel/_fast.pyx"], extra_compile_args=optimize),
            Extension("wasm_host._pump", sources=["host/wasm_host/_pump.pyx"], extra_compile_args=optimize),
        ],
        language_level=3,
    )
    # Without a compiler the build goes on, and Python does everything. `cythonize` would not pass this on.
    for extension in extensions:
        extension.optional = True

setup(ext_modules=extensions)
