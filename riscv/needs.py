"""What is asked before anything is built: Debian's packages, and that no machine runs already."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .cache import FOLDER, ROOT, locked
from .errors import RiscvError, told

FIRMWARE = Path("/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_jump.bin")
COMPILER = "riscv64-linux-gnu-gcc"
EMULATORS = ("qemu-riscv64-static", "qemu-riscv64")
"""The emulator of programs, under the names that it had; `QEMU` is the one of machines."""

QEMU = "qemu-system-riscv64"
MMDEBSTRAP = "mmdebstrap"

_APPLICATION = ROOT / "enclave" / "keystone" / "needs.py"
"""Prints the packages that are missing to build the application for Keystone."""

_NEEDED: Sequence[tuple[Sequence[str], Sequence[str]]] = (
    (("apt-get",), ("apt",)),
    ((QEMU,), ("qemu-system-riscv", "qemu-system-misc")),
    (EMULATORS, ("qemu-user-static", "qemu-user")),
    ((str(FIRMWARE),), ("opensbi",)),
    ((MMDEBSTRAP,), ("mmdebstrap",)),
    (("gpgv",), ("gpgv",)),
    ((COMPILER,), ("gcc-riscv64-linux-gnu",)),
    (("/usr/riscv64-linux-gnu/include/stdio.h",), ("libc6-dev-riscv64-cross",)),
    (("ssh-keygen",), ("openssh-client",)),
)
"""Programs or files of which one is enough, and packages that have them, the newest release's first."""

_WITHOUT_PRIVILEGES = (("newuidmap",), ("uidmap",))
"""mmdebstrap unpacks as root, or as one of a namespace of its own."""


def missing_packages(*, application: bool = False) -> list[str]:
    """The packages that have to be installed, with those to build the application for Keystone if asked."""
    needed = _NEEDED if os.geteuid() == 0 else (*_NEEDED, _WITHOUT_PRIVILEGES)
    missing = [_known(packages) for files, packages in needed if not any(map(_is_there, files))]
    if application:
        done = subprocess.run([sys.executable, _APPLICATION], capture_output=True, text=True, check=True)
        missing += [package for package in done.stdout.split() if package not in missing]
    return missing


def _is_there(file: str) -> bool:
    return Path(file).is_file() if file.startswith("/") else shutil.which(file) is not None


def _known(packages: Sequence[str]) -> str:
    """The first of the names that this machine's release knows, or else the last."""
    if len(packages) > 1 and shutil.which("apt-cache"):
        for package in packages:
            done = subprocess.run(["apt-cache", "pkgnames", package], capture_output=True, text=True)
            if package in done.stdout.split():
                return package
    return packages[-1]


def check(*, application: bool = False) -> None:
    """RiscvError, with the command that installs it, where anything is missing."""
    if missing := missing_packages(application=application):
        raise RiscvError(f"packages are missing: sudo apt-get install {' '.join(missing)}")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else has a machine of `folder` meanwhile; RiscvError where somebody has one now."""
    with locked(folder / "machine.lock", _refuse):
        yield


def _refuse() -> None:
    raise RiscvError("the machine runs already, in another terminal: it ends with the prompt there")


def emulator() -> str:
    """The command that runs a program of the guest's."""
    return next(filter(None, map(shutil.which, EMULATORS)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what stands in the way; returns 1 if anything does."""
    parser = argparse.ArgumentParser(prog="riscv.needs", description=__doc__)
    parser.add_argument("--application", action="store_true", help="for the application for Keystone as well")
    options = parser.parse_args(arguments)
    try:
        check(application=options.application)
        with alone(FOLDER):
            pass
    except RiscvError as error:
        print(f"riscv: {error}", file=sys.stderr)
    except OSError as error:
        print(f"riscv: {told(error)}", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
