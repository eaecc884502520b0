"""The packages of an enclave: which they are, where they are installed, and their files.

Packages are found and read, never imported. Only the standard library is needed here: it is among the first
code that a monitor runs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from .errors import LocalError

RUNTIME_PACKAGES = ("tinywasm",)
APPLICATION_PACKAGES = ("schannel", "wasm_rt")
OUR_PACKAGES = (*RUNTIME_PACKAGES, *APPLICATION_PACKAGES)
DEPENDENCIES = ("Crypto",)
OPTIONAL_DEPENDENCIES = ("cryptography", "_cffi_backend")
"""Third-party packages that the application runs with, the latter where they are installed; their digests are
part of the application."""

_SUFFIXES = (".py", *EXTENSION_SUFFIXES)


def package_folder(name: str) -> Path:
    """Where an installed package's files are, found without importing it; of a compiled module, its file.

    Raises:
        LocalError: there is no such package, or it is not a folder of files.
    """
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        raise LocalError(f"package {name} cannot be found") from error
    if spec is not None and spec.origin is not None:
        if spec.submodule_search_locations:
            return Path(spec.origin).parent
        if spec.origin.endswith(tuple(EXTENSION_SUFFIXES)):
            return Path(spec.origin)
    raise LocalError(f"package {name} is not installed as a folder of files")


def installed_dependencies() -> tuple[str, ...]:
    """The third-party packages that an enclave made from this installation runs with."""
    optional = [name for name in OPTIONAL_DEPENDENCIES if importlib.util.find_spec(name) is not None]
    # A part of the optional ones is of no use.
    return (*DEPENDENCIES, *(optional if len(optional) == len(OPTIONAL_DEPENDENCIES) else ()))


def installed_packages() -> dict[str, Path]:
    """The folder, or the file, of every package that an enclave made from this installation runs with.

    Raises:
        LocalError: one is missing.
    """
    names = (*OUR_PACKAGES, *installed_dependencies())
    return {name: package_folder(name) for name in names}


def read_packages(folders: Mapping[str, str | Path]) -> dict[str, dict[str, bytes]]:
    """`package_entries` of each package: every file is read once."""
    return {name: package_entries(name, Path(folder)) for name, folder in folders.items()}


def package_entries(name: str, folder: Path) -> dict[str, bytes]:
    """The files of a package that Python can import, under their archive names.

    Compiled extensions for other interpreters, caches and data are left out.

    Raises:
        LocalError: the folder holds no such files, or a symbolic link.
    """
    if folder.is_file():
        return {folder.name: folder.read_bytes()}
    entries = {f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in _files(folder)}
    if not entries:
        raise LocalError(f"package {name} has no files in {folder}")
    return entries


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if "__pycache__" in path.parts:
            continue
        if path.is_symlink():
            raise LocalError(f"{path} is a symbolic link: what it points to is not part of the package")
        if path.name.endswith(_SUFFIXES) and path.is_file():
            yield path
