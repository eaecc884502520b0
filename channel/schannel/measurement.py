"""The enclave hash of an installed release: Keystone's measurement over three files in a canonical form.

Packages are found and read, never imported, so a client can measure its own installation. What a host has to
reproduce is only file contents: names are sorted, and no time, owner or path outside of a package takes part.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from .errors import LocalError
from .primitives import digest

PAGE_SIZE = 4096
"""Bytes of a page."""

RUNTIME_PACKAGES = ("tinywasm",)
APPLICATION_PACKAGES = ("schannel", "wasm_rt")
DEPENDENCIES = ("Crypto",)
OPTIONAL_DEPENDENCIES = ("cryptography", "_cffi_backend")
"""Third-party packages that the application runs with, the latter where they are installed; their digests are
part of the application."""

LOADER = ("wasm_rt", "loader.py")
"""Package and file of the code that locks the process down and loads the rest."""

PYTHON_ENTRY = "PYTHON"
"""Entry of the runtime file that names the interpreter."""

DEPENDENCIES_ENTRY = "DEPENDENCIES"
"""Entry of the application file: a line a dependency, its name and the SHA3-512 of its canonical archive."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_REGULAR_FILE = 0o100644 << 16


def measure(loader: bytes, runtime: bytes, application: bytes) -> bytes:
    """Keystone's enclave hash (sdk/src/host/Enclave.cpp, measure): 64 bytes.

    SHA3-512 over the three sizes, rounded up to pages, as little-endian 64-bit numbers, then over the pages
    of the three, zero-filled.
    """
    padded = [_pad_to_page(part) for part in (loader, runtime, application)]
    sizes = b"".join(len(part).to_bytes(8, "little") for part in padded)
    return digest("SHA3-512", sizes, *padded)


def _pad_to_page(data: bytes) -> bytes:
    return data + bytes(-len(data) % PAGE_SIZE)


def canonical_archive(entries: Mapping[str, bytes]) -> bytes:
    """A zip file that depends on nothing but names and contents: sorted, stored, one fixed time and mode."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = _UNIX
            info.external_attr = _REGULAR_FILE
            archive.writestr(info, entries[name])
    return buffer.getvalue()


def python_tag() -> str:
    """The interpreter in use, for example ``cpython-3.11.7``."""
    version = sys.version_info
    return f"{sys.implementation.name}-{version.major}.{version.minor}.{version.micro}"


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


def package_entries(name: str, folder: Path, *, extensions: bool = True) -> dict[str, bytes]:
    """The files of a package that Python can import, under their archive names.

    Compiled extensions for other interpreters, caches and data are left out; with `extensions` false, so are
    all compiled extensions.

    Raises:
        LocalError: the folder holds no such files, or a symbolic link.
    """
    if folder.is_file():
        return {folder.name: folder.read_bytes()}
    suffixes = (".py", *EXTENSION_SUFFIXES) if extensions else (".py",)
    entries = {
        f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in _files(folder, suffixes)
    }
    if not entries:
        raise LocalError(f"package {name} has no files in {folder}")
    return entries


def _files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if "__pycache__" in path.parts:
            continue
        if path.is_symlink():
            raise LocalError(f"{path} is a symbolic link: what it points to is not part of the package")
        if path.name.endswith(suffixes) and path.is_file():
            yield path


@dataclass(frozen=True, slots=True)
class EnclaveImage:
    """The three files of an enclave, in the form in which they are measured and loaded."""

    loader: bytes
    runtime: bytes
    application: bytes

    def measurement(self) -> bytes:
        """The enclave hash, 64 bytes."""
        return measure(self.loader, self.runtime, self.application)


def build_image(
    folders: Mapping[str, Path],
    *,
    native: bool = True,
    dependencies: Sequence[str] | None = None,
    python: str | None = None,
) -> EnclaveImage:
    """Build the three files from the folders of the packages.

    Args:
        folders: the folder of each of our packages and of each of `dependencies`.
        native: whether our packages' compiled extensions are part of it.
        dependencies: third-party packages whose digests go into the application; None for what is installed.
        python: the enclave's interpreter; None for the one in use.

    Raises:
        LocalError: a package is missing or empty.
    """
    package, file = LOADER
    loader = _folder(folders, package) / file
    if not loader.is_file():
        raise LocalError(f"package {package} has no {file}")
    runtime = {PYTHON_ENTRY: (python or python_tag()).encode()}
    for name in RUNTIME_PACKAGES:
        runtime |= package_entries(name, _folder(folders, name), extensions=native)
    listed = installed_dependencies() if dependencies is None else dependencies
    application = {DEPENDENCIES_ENTRY: _dependency_lines(folders, listed)}
    for name in APPLICATION_PACKAGES:
        application |= package_entries(name, _folder(folders, name), extensions=native)
    return EnclaveImage(loader.read_bytes(), canonical_archive(runtime), canonical_archive(application))


def installed_image(*, native: bool = True, dependencies: Sequence[str] | None = None) -> EnclaveImage:
    """`build_image` from what is installed for the interpreter in use."""
    listed = installed_dependencies() if dependencies is None else dependencies
    folders = {name: package_folder(name) for name in (*RUNTIME_PACKAGES, *APPLICATION_PACKAGES, *listed)}
    return build_image(folders, native=native, dependencies=listed)


def _dependency_lines(folders: Mapping[str, Path], dependencies: Sequence[str]) -> bytes:
    lines = []
    for name in sorted(dependencies):
        archive = canonical_archive(package_entries(name, _folder(folders, name)))
        lines.append(f"{name} {digest('SHA3-512', archive).hex()}\n")
    return "".join(lines).encode()


def _folder(folders: Mapping[str, Path], name: str) -> Path:
    if name not in folders:
        raise LocalError(f"the folder of package {name} is not given")
    return folders[name]
