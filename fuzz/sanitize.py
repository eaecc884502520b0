"""Run the extensions under the address and undefined-behaviour sanitizers of gcc (`make sanitize`).

    python -m fuzz.sanitize [--modules N]

Builds the package with instrumented extensions in build/sanitize and runs there: the official suite, where
it is found, and again with small windows (`small_windows`); the tests of the engines and of the host's
relay; mutants, which try the validator's C code as well; changed native code; N generated modules on both
engines; a random user of the API; and the generated modules again, and the suite's garbage collection, with a
collection at every allocation. The first finding ends it, with the sanitizer's report. Memory that
the extensions' own C code allocated and lost is reported at the end.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "spec-tests"))

from locate import find_suite  # noqa: E402  (spec-tests is no package)

BUILD = ROOT / "build" / "sanitize"
FLAGS = (
    "-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all -fno-omit-frame-pointer -g"
)
LEAKS = BUILD / "leaks"
# How a report of anything but a leak begins.
ERRORS = ("ERROR: AddressSanitizer", "runtime error:")
STACK = 1 << 30
# A script with one of these words makes objects that the collector frees.
_COLLECTED = (b"struct.new", b"array.new", b"throw", b"try_table")
EXTENSIONS = (
    "tinywasm.engine.native._loop",
    "tinywasm.engine.native.select",
    "tinywasm.engine.ir.build",
    "tinywasm.validation._bodies",
    "schannel._fast",
    "wasm_host._pump",
)
# Where the C code of all extensions lies, as reports name it.
FOLDERS = {extension.rpartition(".")[0].replace(".", "/") + "/" for extension in EXTENSIONS}
TESTS = ["test_engines", "test_engine", "test_native_numerics", "test_wide_frames", "test_windows"]
TESTS += ["test_references_from_outside", "test_native_types", "test_shared_code"]
MEASURE_MEMORY = ["test_types_are_freed_with_the_last_store_that_uses_them"]


def build() -> None:
    """Build all packages into BUILD. Raises `CalledProcessError` or `FileNotFoundError`."""
    environment = {**os.environ, "CC": "gcc", "CFLAGS": FLAGS, "LDFLAGS": FLAGS}
    places = ["--build-base", str(BUILD / "base"), "--build-lib", str(BUILD / "lib")]
    command = [sys.executable, "setup.py", "-q", "build", *places]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    # An extension that does not build is left out without an error, and there would be nothing to find.
    for extension in EXTENSIONS:
        if not list((BUILD / "lib").glob(f"{extension.replace('.', '/')}.*.so")):
            raise FileNotFoundError(f"{extension} was not built")


def _library(name: str) -> str:
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def _environment(modules: int) -> dict[str, str]:
    return {
        **os.environ,
        "LD_PRELOAD": f"{_library('libasan.so')} {_library('libubsan.so')}",
        # Python itself loses memory at its end; leaks are told apart afterwards. The runtimes share this
        # status, so that what else they find ends with it as well: the reports tell.
        "ASAN_OPTIONS": f"detect_leaks=1:exitcode=99:halt_on_error=1:log_path={LEAKS}/report",
        "LSAN_OPTIONS": "exitcode=0:max_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        # Python's own allocator would hide where one of its objects ends.
        "PYTHONMALLOC": "malloc",
        # It loads its libraries in a way that the address sanitizer does not stand.
        "PYCRYPTODOME_DISABLE_DEEPBIND": "1",
        "PYTHONPATH": f"{BUILD / 'lib'}{os.pathsep}{ROOT}",
        # Or the packages beside this folder would come first, with extensions that are not instrumented.
        "PYTHONSAFEPATH": "1",
        "TINYWASM_ENGINE": "native",
        "FUZZ_MODULES": str(modules),
    }


def steps() -> Iterator[tuple[str, list[str]]]:
    """What runs: a name, and the arguments of `python -m`."""
    suite = [script.path for script in find_suite().scripts]
    scripts = list(map(str, suite))
    collecting = [str(path) for path in suite if any(word in path.read_bytes() for word in _COLLECTED)]
    # Nothing of pytest's configuration comes in front either.
    pytest = ["pytest", "-q", "-x", "-p", "no:cacheprovider", "-o", "pythonpath=", "-p", "fuzz.instrumented"]
    yield "whether everything is instrumented", ["fuzz.instrumented"]
    generated = [*pytest, "fuzz/test_engines_agree.py", "fuzz/test_shapes.py", "-k", "engines_agree"]
    if scripts:
        yield "the official suite", ["tinywasm", "wast", *scripts]
        yield "the official suite, with small windows", ["fuzz.small_windows", "tinywasm", "wast", *scripts]
    tests = [f"tests/tinywasm/{name}.py" for name in TESTS]
    # The address sanitizer keeps freed memory for a while, to notice who uses it.
    tests += [f"--deselect=tests/tinywasm/test_native_types.py::{name}" for name in MEASURE_MEMORY]
    yield "tests of the engines", [*pytest, *tests]
    confidential = ["tests/wasm_host/test_relay.py", "tests/schannel/test_fast.py"]
    yield "tests of the relay and of small calls", [*pytest, *confidential]
    yield "mutants of modules", [*pytest, "fuzz/test_execution.py", "fuzz/test_acceptance.py"]
    yield "changed native code", ["fuzz.code_mutations", "0", "10"]
    yield "forged modules", ["fuzz.forged_modules", "200"]
    yield "generated modules", generated
    yield "a random user of the API", [*pytest, "fuzz/test_api_user.py"]
    if scripts:
        yield "garbage collection in the suite, always", ["fuzz.stress", "tinywasm", "wast", *collecting]
    yield "generated modules, always collecting", ["fuzz.stress", *generated]


def reports() -> list[str]:
    """What the sanitizers have written so far."""
    return [path.read_text(errors="replace") for path in LEAKS.iterdir()]


def _deepen() -> None:
    """An instrumented frame of the loop takes many times the stack of an ordinary one."""
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (STACK if most == resource.RLIM_INFINITY else most, most))


def own_leaks() -> list[str]:
    """Of the leaks that were reported, those that the extension allocated itself."""
    found = []
    for report in reports():
        for leak in re.split(r"\n\n", report):
            frames = re.findall(r"#\d+ .*", leak)
            if "leak of" in leak and any(name in frame for frame in frames[1:2] for name in FOLDERS):
                found.append(leak)
    return found


def main() -> int:
    """Build, run everything; 0 where nothing was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--modules", type=int, default=500, help="how many generated modules (default 500)")
    modules = parser.parse_args().modules
    build()
    shutil.rmtree(LEAKS, ignore_errors=True)
    LEAKS.mkdir(parents=True)
    for name, arguments in steps():
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", *arguments]
        status = subprocess.run(command, cwd=ROOT, env=_environment(modules), preexec_fn=_deepen).returncode
        errors = [text for text in reports() if any(mark in text for mark in ERRORS)]
        if status or errors:
            print("\n\n".join(error[:20_000] for error in errors))
            print(f"{name}: found something (status {status})", file=sys.stderr)
            return 1
    leaks = own_leaks()
    print("\n\n".join(leaks) or "Nothing found.")
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
