"""Where the files of a Keystone that somebody has built are: KEYSTONE_BUILD_DIR names the folder.

Our own `wasm-rt`, which the enclaves run, is what `make wasm-rt` builds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .cache import ROOT
from .errors import RiscvError

APPLICATION = ROOT / "build" / "keystone" / "wasm-rt"
BUILD_APPLICATION = (ROOT / "enclave" / "keystone" / "build.py", "riscv64")
"""The script that makes it, and what it is told; what has not changed it keeps."""

_STARTS = ("", "buildroot.build")
"""A folder with the files themselves, or buildroot's, is as welcome as Keystone's."""

MACHINE = (
    (("fw_jump.bin",), "images"),
    (("Image",), "images"),
    (("keystone-driver.ko",), "build/keystone-driver-*"),
)
ENCLAVE = (("eyrie-rt", "loader.bin"), "build/keystone-examples-*/*")
"""Files that are in one folder, and which of buildroot's that is."""

_OPTIONS_FILE = ".options_log"
_NEEDED_OPTIONS = frozenset({"LINUX_SYSCALL", "ENV_SETUP"})
"""Eyrie's options without which wasm-rt does not start; a build has runtimes with and without them."""


@dataclass(frozen=True, slots=True)
class Keystone:
    """The files of a build: firmware with the security monitor, Linux, its driver, and what enclaves need."""

    firmware: Path
    kernel: Path
    driver: Path
    runtime: Path
    loader: Path


def find(folder: Path) -> Keystone:
    """All files of a build, where Keystone's own build leaves them, or in the folder itself.

    Raises:
        RiscvError: there is no such folder, or it cannot be read, or some are missing, or several differ.
    """
    return Keystone(*_find(folder, (*MACHINE, ENCLAVE)))


def find_runtime(folder: Path) -> tuple[Path, Path]:
    """Runtime and loader alone; RiscvError as for `find`."""
    runtime, loader = _find(folder, (ENCLAVE,))
    return runtime, loader


def _find(folder: Path, wanted: Iterable[tuple[tuple[str, ...], str]]) -> list[Path]:
    try:
        folder = folder.expanduser()
        if not folder.is_dir():
            raise RiscvError(f"KEYSTONE_BUILD_DIR: there is no folder {folder}")
        return _found(folder, wanted)
    except OSError as error:
        # A part of the path may be what is too long, or not to be entered.
        reason = (error.strerror or str(error)).lower()
        raise RiscvError(f"KEYSTONE_BUILD_DIR: cannot use {error.filename or folder}: {reason}") from error
    except RuntimeError as error:
        raise RiscvError(f"KEYSTONE_BUILD_DIR: there is no folder {folder}: nobody has that name") from error


def _found(folder: Path, wanted: Iterable[tuple[tuple[str, ...], str]]) -> list[Path]:
    files, missing = list[Path](), list[str]()
    for names, place in wanted:
        places = [Path(start, inside) for start in _STARTS for inside in ("", place)]
        if having := next(filter(None, (_having(folder, each, names) for each in places)), None):
            files += _only(having, names, folder)
        else:
            missing.append(f"{' with '.join(names)} (looked for in: {', '.join(map(str, places))})")
    if missing:
        raise RiscvError(f"{folder} lacks {'; '.join(missing)}")
    return files


def _having(folder: Path, place: Path, names: tuple[str, ...]) -> list[Path]:
    """The folders of a place, which may be a pattern, that have all of the files."""
    found = sorted(folder.glob(str(place))) if place.parts else [folder]
    return [each for each in found if all((each / name).is_file() for name in names)]


def _only(having: list[Path], names: tuple[str, ...], folder: Path) -> list[Path]:
    """The files of those folders, which have to be the same in all of them."""
    fit = [each for each in having if _has_options(each)]
    if not fit:
        options = " and ".join(sorted(_NEEDED_OPTIONS))
        raise RiscvError(
            f"wasm-rt needs a runtime with Eyrie's options {options}, and none of these was built with them: "
            + ", ".join(str(each / names[0]) for each in having)
        )
    if len({tuple((each / name).read_bytes() for name in names) for each in fit}) > 1:
        differing = " and ".join(str(each / names[0]) for each in fit)
        raise RiscvError(f"{differing} differ: copy the one that is meant to {folder}")
    return [fit[0] / name for name in names]


def _has_options(folder: Path) -> bool:
    """Whether the runtime there, where there is one that says so, has what wasm-rt needs."""
    options = folder / _OPTIONS_FILE
    return not options.is_file() or {*options.read_text(errors="replace").split()} >= _NEEDED_OPTIONS
