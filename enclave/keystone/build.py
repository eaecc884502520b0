"""Builds `wasm-rt`: the enclave's application as one static file, Python and all.

`wasm-rt` runs on Keystone's runtime, Eyrie. `wasm-rt-emulated` is the same for the same processor, and
`wasm-rt-native` for this machine, but for what is behind the edge calls: a socket (`pipe.c`), for tests.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from distutils.core import run_setup
from pathlib import Path
from typing import Any

import sources

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
BUILD = PROJECT / "build/keystone"

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

    configure: tuple[str, ...] = ()

    @property
    def compiler(self) -> list[str]:
        """The command, through ccache where that is there."""
        compiler = f"{self.prefix}gcc"
        return ["ccache", compiler] if shutil.which("ccache") else [compiler]


NATIVE = Machine("native", "", {"wasm-rt-native": ("pipe.c",)})
RISCV64 = Machine(
    "riscv64",
    "riscv64-linux-gnu-",
    {
        "wasm-rt": ("keystone.c",),
        "wasm-rt-emulated": ("pipe.c", "-Wl,--wrap=mmap", "-Wl,--wrap=mmap64"),
    },
    (
        "--host=riscv64-linux-gnu",
        "--build=x86_64-linux-gnu",
        f"--with-build-python={BUILD}/native/python",
        "ac_cv_file__dev_ptmx=no",
        "ac_cv_file__dev_ptc=no",
        "ac_cv_buggy_getaddrinfo=no",
    ),
)


def run(command: Iterable[object], folder: Path = PROJECT, **variables: str) -> None:
    """Run a command quietly; where it fails, show what it wrote."""
    words = list(map(str, command))
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.stdout.buffer.write(done.stdout[-4000:])
        raise SystemExit(f"failed: {shlex.join(words)}")


def build_python(machine: Machine, source: Path) -> Path:
    """CPython's library for a machine, and for this one its interpreter, with few modules."""
    folder, setup = BUILD / machine.name, (HERE / "Setup.local").read_text()
    options = [
        "--disable-shared", "--without-ensurepip", "--disable-test-modules", "--without-doc-strings",
        "--disable-ipv6", "LDFLAGS=-static", "LINKFORSHARED= ", *machine.configure,
    ]  # fmt: skip
    tools = {
        "CC": shlex.join(machine.compiler),
        "CFLAGS": " ".join((*SMALL, SMALL_POOLS)),
        "AR": f"{machine.prefix}ar",
    }
    tools |= {"RANLIB": f"{machine.prefix}ranlib", "READELF": f"{machine.prefix}readelf"}
    if not _is(folder / "configured", f"{options} {tools}"):
        print(f"building Python for {machine.name}, which takes a few minutes", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        run([source / "configure", *options], folder, **tools)
        (folder / "configured").write_text(f"{options} {tools}")
    if not _is(folder / "made", setup):
        (folder / "Modules/Setup.local").write_text(setup)
        targets = ["libpython3.11.a", *(["python"] if machine is NATIVE else [])]
        run(["make", f"-j{os.cpu_count()}", *targets], folder)
        (folder / "made").write_text(setup)
    return folder


def _is(file: Path, content: str) -> bool:
    return file.exists() and file.read_text() == content


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
    command = [*machine.compiler, *map(str, options), "-c", str(source)]
    digest = hashlib.sha256(shlex.join(command).encode())
    for file in sorted([source, *source.parent.glob("*.h"), *source.parent.glob("*.inc")]):
        digest.update(file.read_bytes())
    if source.parent.name == "src":
        for file in sorted(source.parent.glob("*.c")):
            digest.update(file.read_bytes())
    made = BUILD / "objects" / f"{source.stem}-{digest.hexdigest()[:16]}.o"
    if not made.exists():
        made.parent.mkdir(exist_ok=True)
        # What an interrupted compiler leaves is not taken for an object, nor what another build is writing.
        with tempfile.TemporaryDirectory(dir=made.parent) as folder:
            aside = Path(folder, made.name)
            run([*command, "-o", aside])
            aside.replace(made)
    return made


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
        options = ["-static", "-s", "-Wl,--gc-sections", "-o", BUILD / name]
        run([*machine.compiler, *options, *linking, *objects, last, blob, library, "-lm"])
        print(f"{(BUILD / name).relative_to(PROJECT)}: {(BUILD / name).stat().st_size:,} bytes")


def main() -> None:
    """Build for the machines that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("machine", nargs="*", choices=["riscv64", "native"], default=["riscv64"])
    wanted = parser.parse_args().machine
    machines = [machine for machine in (NATIVE, RISCV64) if machine.name in wanted]
    for machine in machines:
        if shutil.which(f"{machine.prefix}gcc") is None:
            raise SystemExit(f"{machine.prefix}gcc is needed, and is not installed")
    os.chdir(PROJECT)
    BUILD.mkdir(parents=True, exist_ok=True)
    source, cryptography = sources.cpython(BUILD), sources.pycryptodome(BUILD)
    native = build_python(NATIVE, source)
    compiled = extensions()
    freeze(native, source, compiled)
    for machine in machines:
        build(machine, build_python(machine, source), source, cryptography, compiled)


if __name__ == "__main__":
    main()
