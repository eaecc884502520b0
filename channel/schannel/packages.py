"""The packages of an enclave: which they are, where they are installed, and their files.

Packages are found and read, never imported. Little of the standard library is needed here: it is among the
first code that a monitor runs, and a host's start waits for it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from importlib.machinery import EXTENSION_SUFFIXES

from .errors import LocalError
from .extensions import is_stale_file

RUNTIME_PACKAGES = ("tinywasm",)
APPLICATION_PACKAGES = ("schannel", "wasm_rt")
OUR_PACKAGES = (*RUNTIME_PACKAGES, *APPLICATION_PACKAGES)
DEPENDENCIES = ("Crypto", "construct")
OPTIONAL_DEPENDENCIES = ("cryptography", "_cffi_backend")
"""Third-party packages that the application runs with, the latter where they are installed; their digests are
part of the application."""

_SUFFIXES = (".py", *EXTENSION_SUFFIXES)


def package_folder(name: str) -> str:
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
            return os.path.dirname(spec.origin)
        if spec.origin.endswith(tuple(EXTENSION_SUFFIXES)):
            return spec.origin
    raise LocalError(f"package {name} is not installed as a folder of files")


def installed_dependencies() -> tuple[str, ...]:
    """The third-party packages that an enclave made from this installation runs with."""
    optional = [name for name in OPTIONAL_DEPENDENCIES if importlib.util.find_spec(name) is not None]
    # A part of the optional ones is of no use.
    return (*DEPENDENCIES, *(optional if len(optional) == len(OPTIONAL_DEPENDENCIES) else ()))


def installed_packages() -> dict[str, str]:
    """The folder, or the file, of every package that an enclave made from this installation runs with.

    Raises:
        LocalError: one is missing.
    """
    names = (*OUR_PACKAGES, *installed_dependencies())
    return {name: package_folder(name) for name in names}


def read_packages(folders: Mapping[str, str | os.PathLike[str]]) -> dict[str, dict[str, bytes]]:
    """`package_entries` of each package: every file is read once."""
    return {name: package_entries(name, folder) for name, folder in folders.items()}


def package_entries(name: str, folder: str | os.PathLike[str]) -> dict[str, bytes]:
    """The files of a package that Python can import, under their archive names.

    Compiled extensions for other interpreters or from other sources than lie beside them, caches and data are
    left out.

    Raises:
        LocalError: the folder holds no such files, or a symbolic link.
    """
    if os.path.isfile(folder):
        return {os.path.basename(folder): _content(folder)}
    entries = {f"{name}/{inner}": _content(path) for inner, path in _files(folder)}
    if not entries:
        raise LocalError(f"package {name} has no files in {folder}")
    return entries


def _is_stale(path: str) -> bool:
    return path.endswith(tuple(EXTENSION_SUFFIXES)) and is_stale_file(path)


def _content(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _files(folder: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """Each file of a package, as it is named in there, and its path."""
    folders = [("", os.fspath(folder))]
    while folders:
        prefix, path = folders.pop()
        for entry in os.scandir(path) if os.path.isdir(path) else ():
            if entry.name == "__pycache__":
                continue
            if entry.is_symlink():
                raise LocalError(
                    f"{entry.path} is a symbolic link: what it points to is not part of the package"
                )
            if entry.is_dir():
                folders.append((f"{prefix}{entry.name}/", entry.path))
            elif entry.name.endswith(_SUFFIXES) and entry.is_file() and not _is_stale(entry.path):
                yield prefix + entry.name, entry.path
