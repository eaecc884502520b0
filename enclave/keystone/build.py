"""Builds `wasm-rt`: the enclave's application as one static file, Python and all.

`wasm-rt` runs on Keystone's runtime, Eyrie. `wasm-rt-emulated` is the same for the same processor, and
`wasm-rt-native` for this machine, but for what is behind the edge calls: a socket (`pipe.c`), for tests.

What is for Keystone uses no floating-point registers: its monitor does not switch them. GCC for bare machines
brings the arithmetic that takes their place, and Debian's source package musl the C library.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from distutils.core import run_setup
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import float_registers
import needs
import one_build
import sources

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
BUILD = PROJECT / "build/keystone"
ANEW = "Where nothing else explains it: after `rm -r build/keystone` the build starts anew."
C_LIBRARY = BUILD / "libc/installed"

CRYPTOGRAPHY = ("AES.c", "SHA512.c", "ghash_portable.c", "curve25519.c", "ed25519.c", "ec_nat_module.c")
"""Of pycryptodome's C sources."""

OURS = ("main.c", "edge.c", "random.c", "primitives.c")
LINKED = ("_edge", "_primitives")
"""The modules in those that Python can import."""

SMALL_POOLS = "-DWITH_PYMALLOC_RADIX_TREE=0"
"""CPython's allocator takes 4 KiB for objects of a size, not 16, and has no tree of what is where."""

SMALL = ("-Os", "-ffunction-sections", "-fdata-sections", "-DNDEBUG")
PYCRYPTODOME_OPTIONS = (
    "-DHAVE_STDINT_H", "-DHAVE_POSIX_MEMALIGN", "-DHAVE_UINT128", "-DSYS_BITS=64", "-DPYCRYPTO_LITTLE_ENDIAN",
)  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """A processor to build for: its compiler, what `configure` has to know, and the files that are linked."""

    name: str
    prefix: str
    files: Mapping[str, tuple[str, ...]]
    """From a file's name to the C file with what is behind its edge calls, and options for the linker."""

    options: tuple[str, ...] = ()
    configure: tuple[str, ...] = ()

    @property
    def compiler(self) -> list[str]:
        """The command, through ccache where that is there."""
        compiler = [f"{self.prefix}gcc", *self.options]
        return ["ccache", *compiler] if shutil.which("ccache") else compiler

    @cached_property
    def version(self) -> str:
        """What the compiler says of itself."""
        return run([f"{self.prefix}gcc", "--version"]).partition("\n")[0]


NATIVE = Machine("native", "", {"wasm-rt-native": ("pipe.c",)})
RISCV64 = Machine(
    "riscv64",
    needs.COMPILER.removesuffix("gcc"),
    {
        "wasm-rt": ("keystone.c",),
        # The C library has names of its own for some of its functions.
        "wasm-rt-emulated": ("pipe.c", "-Wl,--wrap=mmap", "-Wl,--wrap=__mmap", "-Wl,--wrap=__mremap"),
    },
    (
        "-march=rv64imac", "-mabi=lp64", f"-specs={HERE}/musl.specs",
        "-isystem", f"{C_LIBRARY}/include", f"-B{C_LIBRARY}/lib", f"-L{C_LIBRARY}/lib",
    ),
    (
        "--host=riscv64-linux-musl",
        "--build=x86_64-linux-gnu",
        f"--with-build-python={BUILD}/native/python",
        "ac_cv_file__dev_ptmx=no",
        "ac_cv_file__dev_ptc=no",
        "ac_cv_buggy_getaddrinfo=no",
    ),
)  # fmt: skip


def run(command: Iterable[object], folder: Path = PROJECT, **variables: str) -> str:
    """Run a command quietly, and return what it wrote; where it fails, show that."""
    words = list(map(str, command))
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.stdout.buffer.write(done.stdout[-4000:])
        raise SystemExit(f"failed: {shlex.join(words)}\n{ANEW}")
    return done.stdout.decode(errors="replace")


def build_c_library(machine: Machine, source: Path) -> None:
    """The C library for a machine, in the folder that its compiler looks in."""
    folder = C_LIBRARY.parent
    options = [
        f"--prefix={C_LIBRARY}", f"--target={machine.name}-linux-musl", "--disable-shared",
        # The newer one maps and unmaps very often, and each time Eyrie looks for room from the beginning.
        "--with-malloc=oldmalloc",
    ]  # fmt: skip
    tools = {"CC": shlex.join(machine.compiler), **_binutils(machine)}
    made, key = folder / "made", _relative(f"{options} {tools} {machine.version}")
    if not _is(made, key, *(C_LIBRARY / "lib" / name for name in ("libc.a", "crt1.o", "crti.o", "crtn.o"))):
        print(f"building the C library for {machine.name}", flush=True)
        _empty(folder, made)
        run([source / "configure", *options], folder, **tools)
        run(["make", f"-j{os.cpu_count()}", "install"], folder)
        made.write_text(key)


def _binutils(machine: Machine) -> dict[str, str]:
    return {name: f"{machine.prefix}{name.lower()}" for name in ("AR", "RANLIB", "READELF")}


def build_python(machine: Machine, source: Path) -> Path:
    """CPython's library for a machine, and for this one its interpreter, with few modules."""
    folder, setup = BUILD / machine.name, (HERE / "Setup.local").read_text()
    configured, made = folder / "configured", folder / "made"
    command = [
        f"{source}/configure",
        "--disable-shared", "--without-ensurepip", "--disable-test-modules", "--without-doc-strings",
        "--disable-ipv6", "LDFLAGS=-static", "LINKFORSHARED= ", *machine.configure,
    ]  # fmt: skip
    tools = {
        "CC": shlex.join(machine.compiler),
        "CFLAGS": " ".join((*SMALL, SMALL_POOLS)),
        **_binutils(machine),
    }
    targets = ["libpython3.11.a", *(["python"] if machine is NATIVE else [])]
    # The tree has absolute paths in it, and so has the interpreter; the library is good wherever it lies.
    whole = f"{command} {tools} {machine.version}"
    key = (whole if machine is NATIVE else _relative(whole)) + setup
    if _is(made, key, folder / "pyconfig.h", *(folder / target for target in targets)):
        return folder
    if not _is(configured, whole, folder / "Makefile", folder / "pyconfig.h"):
        print(f"building Python for {machine.name}, which takes a few minutes", flush=True)
        _empty(folder, made, configured)
        run(command, folder, **tools)
        configured.write_text(whole)
    made.unlink(missing_ok=True)
    # For make, a file without content is a file that is made.
    for target in targets:
        (folder / target).unlink(missing_ok=True)
    (folder / "Modules/Setup.local").write_text(setup)
    run(["make", f"-j{os.cpu_count()}", *targets], folder)
    made.write_text(key)
    return folder


def _relative(text: str) -> str:
    """What is the same in a checkout that was moved."""
    return text.replace(f"{PROJECT}/", "")


def _is(stamp: Path, content: str, *products: Path) -> bool:
    """Whether the stamp says so, and what it stands for is there."""
    there = stamp.exists() and all(file.exists() and file.stat().st_size for file in products)
    return there and stamp.read_text() == content


def _empty(folder: Path, *stamps: Path) -> None:
    """Make a folder anew; its stamps go first, lest they stand for what is half gone."""
    for stamp in stamps:
        stamp.unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()


def extensions() -> dict[str, Any]:
    """The compiled modules of our packages, as `setup.py` declares them."""
    found = run_setup(str(PROJECT / "setup.py"), ["-q", "--name"], stop_after="init").ext_modules or []
    return {each.name: each for each in found if each.name.startswith(("tinywasm.", "schannel."))}


def freeze(python: Path, source: Path, compiled: Iterable[str]) -> None:
    """Write what is frozen in, and `linked.c`, into the build's folder."""
    (BUILD / "frozen").mkdir(exist_ok=True)
    (BUILD / "frozen/built.py").write_text(f"BUILD = {description()!r}\n")
    site = Path(next(path for path in sys.path if path.endswith("site-packages")))
    (BUILD / "frozen/construct").unlink(missing_ok=True)
    (BUILD / "frozen/construct").symlink_to(site / "construct")
    path = [BUILD / "frozen", HERE, *(PROJECT / part for part in ("", "channel", "enclave")), source / "Lib"]
    # Where in its line code stands is not for an enclave to tell.
    command = [python / "python", "-I", "-X", "no_debug_ranges", HERE / "freeze.py"]
    run([*command, BUILD / "frozen", *path, "--", *LINKED, *compiled])


def description() -> str:
    """What the application is built from, in words, for its evidence."""
    sys.path[:0] = [str(PROJECT / "channel")]
    from schannel.builds import describe
    from schannel.measurement import PYTHON_ENTRY
    from schannel.packages import OUR_PACKAGES, read_packages

    folders = {"tinywasm": PROJECT / "tinywasm"}
    folders |= {"schannel": PROJECT / "channel/schannel", "wasm_rt": PROJECT / "enclave/wasm_rt"}
    read = read_packages({name: folders[name] for name in OUR_PACKAGES})
    files = {
        key: content for entries in read.values() for key, content in entries.items() if key.endswith(".py")
    }
    return describe(b"", {**files, PYTHON_ENTRY: sources.PYTHON.removeprefix("python").encode()})


def compile_object(machine: Machine, source: Path, options: Iterable[object]) -> Path:
    """The object of a C file; one that was compiled from the same before is taken as it is."""
    if not source.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
    command = [*machine.compiler, *map(str, options), "-c", str(source)]
    key = _relative(f"{machine.version} {shlex.join(command)}")
    made = BUILD / f"objects/{source.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.o"
    inputs = made.with_suffix(".inputs")
    if not _is(inputs, _digests(inputs.read_text()) if inputs.exists() else "", made):
        made.parent.mkdir(exist_ok=True)
        # What an interrupted compiler leaves is not taken for an object.
        with tempfile.TemporaryDirectory(dir=made.parent) as folder:
            aside, rule = Path(folder, made.name), Path(folder, "rule")
            run([*command, "-o", aside, "-MD", "-MF", rule])
            read = shlex.split(rule.read_text().partition(":")[2].replace("\\\n", " "))
            inputs.unlink(missing_ok=True)
            aside.replace(made)
            rule.write_text(_digests("".join(f"- {_relative(file)}\n" for file in read)))
            rule.replace(inputs)
    return made


def _digests(lines: str) -> str:
    """Lines of a digest and a file's path, with the digests that are right now."""
    files = [line.partition(" ")[2] for line in lines.splitlines()]
    return "".join(f"{_digest(PROJECT / file)} {file}\n" for file in files)


@cache
def _digest(file: Path) -> str:
    """Of a file that the build does not change any more; nothing where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def build(
    machine: Machine, python: Path, source: Path, cryptography: Path, compiled: Mapping[str, Any]
) -> None:
    """Compile and link the files of a machine."""
    include = [f"-I{folder}" for folder in (HERE, python, source / "Include", cryptography)]
    small = [*SMALL, *PYCRYPTODOME_OPTIONS, *include]
    work: list[tuple[Path, list[object]]] = [(cryptography / name, [*small]) for name in CRYPTOGRAPHY]
    work += [(HERE / name, [*small, "-Wall", "-Wextra", "-Wno-unused-parameter"]) for name in OURS]
    work += [(BUILD / "frozen/linked.c", [*small])]
    for name, extension in compiled.items():
        entry = f"-DPyInit_{name.rpartition('.')[2]}=PyInit_{name.replace('.', '_')}"
        folders = [f"-I{PROJECT / folder}" for folder in extension.include_dirs]
        options = [*SMALL, *extension.extra_compile_args, entry, *folders, *include]
        # What says which sources it was built from is for files that lie beside them.
        files = [file for file in extension.sources if not file.startswith("build/")]
        work += [(PROJECT / file, options) for file in files]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda one: compile_object(machine, *one), work))
    blob = BUILD / f"frozen/{machine.name}.o"
    run([*machine.compiler, "-c", HERE / "blob.S", "-o", blob, f"-Wa,-I{BUILD}/frozen"])
    for name, (end, *linking) in machine.files.items():
        last = compile_object(machine, HERE / end, small)
        library = python / "libpython3.11.a"
        made, aside = BUILD / name, BUILD / f"{name}.draft"
        options = ["-static", "-s", "-Wl,--gc-sections", "-o", aside]
        run([*machine.compiler, *options, *linking, *objects, last, blob, library, "-lm"])
        if machine is RISCV64 and (wrong := float_registers.check(aside.read_bytes())):
            aside.unlink()
            raise SystemExit(f"{made.relative_to(PROJECT)} is not for Keystone: {wrong}")
        aside.replace(made)
        print(f"{made.relative_to(PROJECT)}: {made.stat().st_size:,} bytes")


def main() -> None:
    """Build for the machines that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("machine", nargs="+", choices=["riscv64", "native"])
    wanted = parser.parse_args().machine
    machines = [machine for machine in (NATIVE, RISCV64) if machine.name in wanted]
    if missing := needs.missing_packages():
        raise SystemExit(f"packages are missing: sudo apt-get install {' '.join(missing)}")
    os.chdir(PROJECT)
    try:
        sys.exit(one_build.run(lambda: build_all(machines), BUILD))
    except OSError as error:
        where = error.filename or BUILD
        raise SystemExit(
            f"{error.strerror or error}: {where}. {BUILD} has to be a folder that can be written to, with "
            f"700 MB of room. {ANEW}"
        ) from None


def build_all(machines: Sequence[Machine]) -> None:
    """Get the sources, and build what is not built yet."""
    for left in (BUILD / "objects").glob("tmp*"):
        shutil.rmtree(left)
    source, cryptography = sources.debian(sources.PYTHON, BUILD), sources.pycryptodome(BUILD)
    if RISCV64 in machines:
        build_c_library(RISCV64, sources.debian(sources.C_LIBRARY, BUILD))
    native = build_python(NATIVE, source)
    compiled = extensions()
    freeze(native, source, compiled)
    for machine in machines:
        build(machine, build_python(machine, source), source, cryptography, compiled)


if __name__ == "__main__":
    main()
