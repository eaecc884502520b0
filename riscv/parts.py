"""The parts of the image that take long to make and seldom change, each kept under all that it depends on."""

from __future__ import annotations

import importlib.metadata
import lzma
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from schannel.packages import OUR_PACKAGES, package_folder

from . import cpio, debian
from .cache import ROOT, kept
from .cross import Python, compile_extensions
from .needs import emulator
from .processes import run

PACKAGES = (*OUR_PACKAGES, "wasm_host")
"""Those of our packages that the guest has."""

BASE_ARCHIVE = "base.cpio.gz"
GUEST_PACKAGES = ("busybox-static", "dropbear-bin", "python3")
BUILD_PACKAGES = ("libpython3-dev", "linux-image-riscv64")
_MODULES = ("failover", "net_failover", "virtio_net", "virtio-rng")
_DROPPED = ("dev/", "var/", "usr/share/", "usr/lib/riscv64-linux-gnu/gconv/", "usr/lib/dpkg/")
_VERSION = 1
"""To be raised where a part is made in another way than before, which its inputs do not show."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where parts are made: the folder that keeps them, the log of the commands, who is told of long work."""

    folder: Path
    log: Path
    say: Callable[[str], None]

    def part(self, name: str, inputs: object, what: str, make: Callable[[Path], None]) -> Path:
        """`cache.kept`; `what` is said where it has to be made."""

        def announced(path: Path) -> None:
            self.say(what)
            make(path)

        return kept(self.folder, name, (_VERSION, inputs), announced)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an image is put together of.

    Each is a folder: `guest` the guest's file system as Debian's packages have it, `kernel` the kernel, its
    modules and Python's headers, `crypto` has the package `Crypto`, `native` our extensions, and `base` the
    archive of the file system, with bytecode of the standard library.
    """

    python: Python
    guest: Path
    kernel: Path
    crypto: Path
    native: Path
    base: Path


def make_parts(shop: Workshop) -> Parts:
    """Every part, from what is kept as far as that goes.

    Raises:
        RiscvError: a command failed.
        OSError: the disk is full, or not to be written.
    """
    guest = shop.part("guest", GUEST_PACKAGES, "Fetching Debian's packages", lambda path: _guest(shop, path))
    kernel = shop.part("kernel", BUILD_PACKAGES, "Fetching Debian's kernel", lambda path: _kernel(shop, path))
    python = Python.of(kernel / "usr/include")
    release = importlib.metadata.version("pycryptodome")
    crypto = shop.part(
        "crypto",
        (release, python.version),
        f"Compiling pycryptodome {release}",
        lambda path: _crypto(shop, path, release, python),
    )
    native = shop.part(
        "native",
        (python.version, *_sources()),
        "Compiling the native engine, which takes a minute or two",
        lambda path: compile_extensions(ROOT, path, python, shop.log),
    )
    base = shop.part(
        "base",
        (GUEST_PACKAGES, BUILD_PACKAGES),
        "Compiling the standard library to bytecode",
        lambda path: _base(shop, path, guest, kernel, python),
    )
    return Parts(python, guest, kernel, crypto, native, base)


def compile_bytecode(shop: Workshop, guest: Path, python: Python, folder: Path, place: str) -> None:
    """Compile a folder to bytecode of the guest's interpreter, which finds it at `place`."""
    run(
        "compiling bytecode",
        [
            *(emulator(), "-L", guest, guest / "usr/bin" / python.name),
            *("-m", "compileall", "-q", "--invalidation-mode=unchecked-hash"),
            *("-s", folder, "-p", place, folder),
        ],
        shop.log,
    )


def _guest(shop: Workshop, path: Path) -> None:
    debian.unpack(GUEST_PACKAGES, path, lambda name: not name.startswith(_DROPPED), shop.log)
    # Debian's installation makes these.
    for folder in ("bin", "lib", "sbin"):
        (path / folder).symlink_to(f"usr/{folder}")


def _kernel(shop: Workshop, path: Path) -> None:
    modules = tuple(f"/{name}.ko.xz" for name in _MODULES)

    def wanted(name: str) -> bool:
        headers = name.startswith("usr/include/") and "/python3." in name
        return headers or name.startswith("boot/vmlinu") or name.endswith(modules)

    debian.unpack(BUILD_PACKAGES, path, wanted, shop.log)


def _crypto(shop: Workshop, path: Path, release: str, python: Python) -> None:
    # There is none for riscv64: Debian's has another name, the package index has its sources.
    path.mkdir()
    run(
        f"fetching pycryptodome {release} (pip)",
        [
            *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"),
            *("--no-deps", "--no-build-isolation", "--no-binary=:all:", "-d", path),
            f"pycryptodome=={release}",
        ],
        shop.log,
    )
    (fetched,) = path.iterdir()
    run(f"unpacking {fetched.name}", ["tar", "-xf", fetched, "-C", path], shop.log)
    fetched.unlink()
    (source,) = path.iterdir()
    compile_extensions(source, path / "compiled", python, shop.log)
    shutil.copytree(source / "lib" / "Crypto", path / "Crypto", ignore=_not_code)
    shutil.copytree(path / "compiled" / "Crypto", path / "Crypto", dirs_exist_ok=True)
    shutil.rmtree(path / "compiled")
    shutil.rmtree(source)


def _not_code(folder: str, names: list[str]) -> list[str]:
    return [
        name
        for name in names
        if name == "SelfTest" or not (name.endswith(".py") or Path(folder, name).is_dir())
    ]


def _base(shop: Workshop, path: Path, guest: Path, kernel: Path, python: Python) -> None:
    path.mkdir()
    tree = path / "tree"
    shutil.copytree(guest, tree, symlinks=True)
    compile_bytecode(shop, guest, python, tree / "usr/lib" / python.name, f"/usr/lib/{python.name}")
    modules = tree / "usr/lib/modules"
    modules.mkdir()
    for name in _MODULES:
        (found,) = kernel.rglob(f"{name}.ko.xz")
        (modules / f"{name}.ko").write_bytes(lzma.decompress(found.read_bytes()))
    cpio.write(path / BASE_ARCHIVE, cpio.entries(tree))
    shutil.rmtree(tree)


def _sources() -> Iterator[bytes]:
    """What our extensions are made of, without what is generated of it."""
    for name in PACKAGES:
        for path in sorted(Path(package_folder(name)).rglob("*")):
            made = path.suffix == ".c" and any(
                path.with_suffix(suffix).exists() for suffix in (".pyx", ".pxd")
            )
            compiled = path.suffix == ".py" and path.with_suffix(".pxd").exists()
            if compiled or (path.suffix in {".pyx", ".pxd", ".pxi", ".c", ".h"} and not made):
                yield path.name.encode() + path.read_bytes()
