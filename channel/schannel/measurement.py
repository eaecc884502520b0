"""The enclave hash of an installed release: Keystone's measurement over three files in a canonical form.

Packages are read, never imported, so a client can measure its own installation. What a host has to reproduce
is only file contents: names are sorted, and no time, owner or path outside of a package takes part. A host's
start waits for what is imported here, so that is little.
"""

from __future__ import annotations

import hashlib
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from .errors import LocalError
from .packages import (
    APPLICATION_PACKAGES,
    OUR_PACKAGES,
    RUNTIME_PACKAGES,
    installed_dependencies,
    package_folder,
    read_packages,
)

PAGE_SIZE = 4096
"""Bytes of a page."""

LOADER = ("wasm_rt", "loader.py")
"""Package and file of the code that locks the process down and loads the rest."""

PYTHON_ENTRY = "PYTHON"
"""Entry of the runtime file that names the interpreter."""

DEPENDENCIES_ENTRY = "DEPENDENCIES"
"""Entry of the application file: a line a dependency, its name and the SHA3-512 of its canonical archive."""

_VERSION, _UNIX, _UTF8, _MIDNIGHT, _DAY = 20, 3, 0x800, 0, 1 << 5 | 1
"""Of a file in an archive (PKWARE's APPNOTE, 4.4): version 2.0, made on Unix, names in UTF-8, 1980-01-01."""

_REGULAR_FILE = 0o100644 << 16


def measure(loader: bytes, runtime: bytes, application: bytes) -> bytes:
    """Keystone's enclave hash (sdk/src/host/Enclave.cpp, measure): 64 bytes.

    SHA3-512 over the three sizes, rounded up to pages, as little-endian 64-bit numbers, then over the pages
    of the three, zero-filled.
    """
    parts = [(part, bytes(-len(part) % PAGE_SIZE)) for part in (loader, runtime, application)]
    sizes = [(len(part) + len(padding)).to_bytes(8, "little") for part, padding in parts]
    digest = hashlib.sha3_512(b"".join(sizes))
    for part, padding in parts:
        digest.update(part)
        digest.update(padding)
    return digest.digest()


def canonical_archive(entries: Mapping[str, bytes]) -> bytes:
    """A zip file that depends on nothing but names and contents: sorted, stored, one fixed time and mode.

    Raises:
        LocalError: there are more files or bytes than such a file can have.
    """
    try:
        return b"".join(_archived(entries))
    except struct.error as error:
        raise LocalError("a package is too large to be measured") from error


def _archived(entries: Mapping[str, bytes]) -> Iterator[bytes]:
    directory, place = [], 0
    for name in sorted(entries):
        content, named = entries[name], name.encode()
        flags = 0 if named.isascii() else _UTF8
        numbers = (_VERSION, flags, 0, _MIDNIGHT, _DAY, zlib.crc32(content), len(content), len(content))
        about = struct.pack("<5H3L2H", *numbers, len(named), 0)
        directory.append(struct.pack("<4s2B", b"PK\1\2", _VERSION, _UNIX) + about)
        directory.append(struct.pack("<3H2L", 0, 0, 0, _REGULAR_FILE, place) + named)
        yield b"PK\3\4" + about + named
        yield content
        place += 4 + len(about) + len(named) + len(content)
    yield from directory
    size, count = sum(map(len, directory)), len(entries)
    yield struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, place, 0)


def python_tag() -> str:
    """The interpreter in use, for example ``cpython-3.11.7``."""
    version = sys.version_info
    return f"{sys.implementation.name}-{version.major}.{version.minor}.{version.micro}"


class EnclaveImage(NamedTuple):
    """The three files of an enclave, in the form in which they are measured and loaded."""

    loader: bytes
    runtime: bytes
    application: bytes

    def measurement(self) -> bytes:
        """The enclave hash, 64 bytes."""
        return measure(*self)

    def files(self) -> dict[str, bytes]:
        """The files in runtime and application."""
        import io
        import zipfile

        files: dict[str, bytes] = {}
        for part in (self.runtime, self.application):
            with zipfile.ZipFile(io.BytesIO(part)) as archive:
                files |= {name: archive.read(name) for name in archive.namelist()}
        return files


def build_image(
    packages: Mapping[str, Mapping[str, bytes]],
    *,
    native: bool = True,
    dependencies: Mapping[str, bytes],
    python: str | None = None,
) -> EnclaveImage:
    """Build the three files from the packages' entries.

    Args:
        packages: what `package_entries` gives for each of our packages.
        native: whether our packages' compiled extensions are part of it.
        dependencies: the `canonical_archive` of each third-party package, whose digest the application has.
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
    lines = [f"{name} {hashlib.sha3_512(dependencies[name]).hexdigest()}\n" for name in sorted(dependencies)]
    application = {DEPENDENCIES_ENTRY: "".join(lines).encode()}
    for name in APPLICATION_PACKAGES:
        application |= _ours(packages, name, native)
    return EnclaveImage(loader, canonical_archive(runtime), canonical_archive(application))


def installed_image(*, native: bool = True, dependencies: Iterable[str] | None = None) -> EnclaveImage:
    """`build_image` from what is installed for the interpreter in use.

    `dependencies` are the third-party packages that count; None for those that are installed.
    """
    listed = installed_dependencies() if dependencies is None else tuple(dependencies)
    packages = read_packages({name: package_folder(name) for name in (*OUR_PACKAGES, *listed)})
    archives = {name: canonical_archive(packages[name]) for name in listed}
    return build_image(packages, native=native, dependencies=archives)


def _ours(packages: Mapping[str, Mapping[str, bytes]], name: str, native: bool) -> dict[str, bytes]:
    entries = _package(packages, name)
    return {entry: content for entry, content in entries.items() if native or entry.endswith(".py")}


def _package(packages: Mapping[str, Mapping[str, bytes]], name: str) -> Mapping[str, bytes]:
    if name not in packages:
        raise LocalError(f"the files of package {name} are not given")
    return packages[name]
