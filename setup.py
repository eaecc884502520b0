"""The optional extension; everything else about the distribution stands in setup.cfg."""

from setuptools import Extension, setup

try:
    from Cython.Build import cythonize
except ImportError:
    print("tinywasm: Cython is not here, building without the native engine")
    extensions = []
else:
    native = "tinywasm/engine/native/"
    extensions = cythonize(
        Extension(
            "tinywasm.engine.native._loop",
            sources=[native + "_loop.pyx", native + "loop.c", native + "heap.c"],
            depends=[
                native + header
                for header in ("native.h", "numerics.h", "vectors.h", "trap.h", "dispatch.h", "opcodes.h")
            ],
            include_dirs=[native],
            extra_compile_args=[
                "-O2",
                "-ffp-contract=off",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-fno-strict-aliasing",
            ],
            # Without a compiler the build goes on, and everything runs on the python engine.
            optional=True,
        ),
        language_level=3,
    )

setup(ext_modules=extensions)
