"""The enclave hash of an installed release: Keystone's measurement over three files in a canonical form.

Packages are read, never imported, so a client can measure its own installation. What a host has to reproduce
is only file contents: names are sorted, and no time, owner or path outside of a package takes part.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import LocalError
from .packages import (
    APPLICATION_PACKAGES,
    OUR_PACKAGES,
    RUNTIME_PACKAGES,
    installed_dependencies,
    package_folder,
    read_packages,
)
from .primitives import digest

PAGE_SIZE = 4096
"""Bytes of a page."""

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
    packages: Mapping[str, Mapping[str, bytes]],
    *,
    native: bool = True,
    dependencies: Sequence[str] | None = None,
    python: str | None = None,
) -> EnclaveImage:
    """Build the three files from the packages' entries.

    Args:
        packages: what `package_entries` gives for each of our packages and for each of `dependencies`.
        native: whether our packages' compiled extensions are part of it.
        dependencies: third-party packages whose digests go into the application; None for what is installed.
        python: the enclave's interpreter; None for the one in use.

    Raises:
        LocalError: a package is missing, or one of them has no loader.
    """
    package, file = LOADER
    loader = _package(packages, package).get(f"{package}/{file}")
    if loader is None:
        raise LocalError(f"package {package} has no {file}")
    runtime = {PYTHON_ENTRY: (python or python_tag()).encode()}
    for name in RUNTIME_PACKAGES:
        runtime |= _ours(packages, name, native)
    listed = installed_dependencies() if dependencies is None else dependencies
    lines = [f"{name} {dependency_digest(_package(packages, name)).hex()}\n" for name in sorted(listed)]
    application = {DEPENDENCIES_ENTRY: "".join(lines).encode()}
    for name in APPLICATION_PACKAGES:
        application |= _ours(packages, name, native)
    return EnclaveImage(loader, canonical_archive(runtime), canonical_archive(application))


def installed_image(*, native: bool = True, dependencies: Sequence[str] | None = None) -> EnclaveImage:
    """`build_image` from what is installed for the interpreter in use."""
    listed = installed_dependencies() if dependencies is None else dependencies
    folders = {name: package_folder(name) for name in (*OUR_PACKAGES, *listed)}
    return build_image(read_packages(folders), native=native, dependencies=listed)


def dependency_digest(entries: Mapping[str, bytes]) -> bytes:
    """What the application file says of a third-party package: SHA3-512 of its canonical archive."""
    return digest("SHA3-512", canonical_archive(entries))


def _ours(packages: Mapping[str, Mapping[str, bytes]], name: str, native: bool) -> dict[str, bytes]:
    entries = _package(packages, name)
    return {entry: content for entry, content in entries.items() if native or entry.endswith(".py")}


def _package(packages: Mapping[str, Mapping[str, bytes]], name: str) -> Mapping[str, bytes]:
    if name not in packages:
        raise LocalError(f"the files of package {name} are not given")
    return packages[name]
