"""The first measured file: runs the rest of the enclave from the bytes that were measured.

It is executed as it is, by an interpreter without site-packages, environment and cached bytecode. In an
enclave the three measured files and the third-party packages are in sealed memory; what the application file
says of the latter is compared with that memory. In a monitor, the packages' files are read once, and what was
read is both measured and run. The packages in them are found nowhere else, and of what is not among them only
Python's standard library is found.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import importlib
import importlib.util
import io
import json
import os
import socket
import sys
import zipfile
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from types import CodeType, ModuleType

_DEPENDENCIES_ENTRY = "DEPENDENCIES"

_LOADER = "wasm_rt/loader.py"
_READING = ("schannel/__init__.py", "schannel/errors.py", "schannel/packages.py")
"""The files that read all others."""

_LIBRARY_PATHS = "Crypto.Util._file_system"
"""The module in which pycryptodome says where its libraries are: they are loaded without an import."""


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Options of mallopt(3)."""

_LARGE_BLOCK = 2 << 20
"""Bytes: more than a piece of a file, for which a system call is too much, and little where it is a hole."""


class Archive(Mapping[str, bytes]):
    """The files in an archive in sealed memory, each read when it is asked for, as long as it is open."""

    def __init__(self, descriptor: int) -> None:
        self._opened = zipfile.ZipFile(open(descriptor, "rb"))  # noqa: SIM115 - open as long as the archive

    def __getitem__(self, name: str) -> bytes:
        return self._opened.read(name)

    def __contains__(self, name: object) -> bool:
        return name in self._opened.NameToInfo

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened.namelist())

    def __len__(self) -> int:
        return len(self._opened.namelist())


def unpacked(archive: bytes) -> dict[str, bytes]:
    """The files in an archive."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def sealed_memory(name: str, content: bytes) -> int:
    """A descriptor of a file in memory that nobody can change any more, at its beginning."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


class MeasuredFinder(MetaPathFinder):
    """Finds the modules of measured packages in their files, and refuses those packages' names elsewhere."""

    def __init__(self, files: Sequence[Mapping[str, bytes]]) -> None:
        self._libraries: dict[str, str] = {}
        self.use(files)

    def use(self, files: Sequence[Mapping[str, bytes]]) -> None:
        """Find modules in these files from now on: each mapping has names as in an archive."""
        # Typed as what can be changed, which nothing here does.
        self._entries: ChainMap[str, bytes] = ChainMap(*files)  # type: ignore[arg-type]
        self.packages = frozenset(filter(None, map(_top_level, self._entries)))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec; None for names that are not of a measured package.

        Raises:
            ModuleNotFoundError: a measured package has no such module: other finders are not to be asked.
        """
        if fullname.partition(".")[0] not in self.packages:
            return None
        stem = fullname.replace(".", "/")
        if (package := f"{stem}/__init__.py") in self._entries:
            return self._source_spec(fullname, package, is_package=True)
        # Before the source, as Python does: some modules are both.
        for suffix in EXTENSION_SUFFIXES:
            if path_in_memory := self.library(stem + suffix):
                extension = ExtensionFileLoader(fullname, path_in_memory)
                return importlib.util.spec_from_file_location(fullname, path_in_memory, loader=extension)
        if (module := f"{stem}.py") in self._entries:
            return self._source_spec(fullname, module, is_package=False)
        raise ModuleNotFoundError(f"No module named {fullname!r} in the measured files", name=fullname)

    def _source_spec(self, fullname: str, name: str, *, is_package: bool) -> ModuleSpec | None:
        loader = _MeasuredLoader(self, self._entries[name], name, is_package)
        return importlib.util.spec_from_loader(fullname, loader, is_package=is_package)

    def library(self, name: str) -> str:
        """A path from which a measured compiled file can be loaded; empty if there is none of that name."""
        if name not in self._libraries:
            if name not in self._entries:
                return ""
            # It stays open with the process: the linker takes what has the same path for the same library.
            descriptor = sealed_memory(name, self._entries[name])
            # With a dot in it: pycryptodome searches the system for what has none.
            self._libraries[name] = f"/proc/self/fd/./{descriptor}"
        return self._libraries[name]


def _top_level(entry: str) -> str:
    """The top-level module that a file belongs to; empty for one that is not a module's."""
    package, slash, _ = entry.partition("/")
    module, dot, suffix = package.partition(".")
    return package if slash else module if dot + suffix in EXTENSION_SUFFIXES else ""


class _MeasuredLoader(InspectLoader):
    def __init__(self, finder: MeasuredFinder, source: bytes, name: str, is_package: bool) -> None:
        self._finder = finder
        self._source = source
        self._name = name
        self._is_package = is_package

    def is_package(self, fullname: str) -> bool:
        return self._is_package

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._source)

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._source, f"<measured>/{self._name}")

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if module.__name__ == _LIBRARY_PATHS:
            module.pycryptodome_filename = lambda folders, name: (  # type: ignore[attr-defined]
                self._finder.library("/".join([*folders, name]))
            )


class StandardLibraryOnly(MetaPathFinder):
    """Refuses what is neither measured nor of the standard library, wherever it may lie."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Leave the standard library's modules to Python; ModuleNotFoundError for any other."""
        if fullname.partition(".")[0] not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {fullname!r} is measured", name=fullname)


def boot(folders: str, loader: bytes) -> dict[str, dict[str, bytes]]:
    """In a monitor: read the packages' files, and run nothing but these from now on; returns them.

    Args:
        folders: JSON object, package to its folder, or to its file.
        loader: the bytes of this file that are running.

    Raises:
        RuntimeError: a file was changed meanwhile.
    """
    given: dict[str, str] = json.loads(folders)
    first = {_LOADER: loader}
    for name in _READING:
        package, _, file = name.partition("/")
        with open(os.path.join(given[package], file), "rb") as opened:
            first[name] = opened.read()
    finder = MeasuredFinder([first])
    sys.meta_path[:0] = [finder, StandardLibraryOnly()]
    packages: dict[str, dict[str, bytes]] = importlib.import_module("schannel.packages").read_packages(given)
    files = ChainMap(*packages.values())
    for name, content in first.items():
        if files.get(name) != content:
            raise RuntimeError(f"{name} was changed while the monitor started")
    finder.use([files])
    return packages


def main(
    control: int, loader: bytes, runtime: bytes, application: bytes, dependencies: str, settings: str
) -> None:
    """In the process that enclaves are forked from: load the application, serve until the monitor ends.

    Args:
        control: descriptor of the socket to the monitor.
        loader, runtime, application: the three measured files; this is the first.
        dependencies: JSON object, third-party package to the descriptor of its archive.
        settings: JSON object, the operator's part of the configuration; its digest is in the evidence.
    """
    _keep_large_blocks_apart()
    ours = unpacked(runtime) | unpacked(application)
    archives = _check_dependencies(ours[_DEPENDENCIES_ENTRY].decode(), json.loads(dependencies))
    sys.meta_path[:0] = [MeasuredFinder([ours, *archives]), StandardLibraryOnly()]
    zygote = importlib.import_module("wasm_rt.zygote")
    zygote.serve(socket.socket(fileno=control), settings, (loader, runtime, application))


def _keep_large_blocks_apart() -> None:
    """Have glibc map large blocks apart from its heap, and give them back when they are freed.

    Once a block was freed, a library's file for one, it takes others of that size from its heap, where what
    grows as a session's file does leaves holes behind.
    """
    # Other C libraries have no such call, nor such a rule.
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BLOCK)


def _check_dependencies(measured: str, given: Mapping[str, int]) -> list[Archive]:
    """The archives of the third-party packages.

    Raises:
        RuntimeError: they are not those that the application was measured with.
    """
    listed = dict(line.split() for line in measured.splitlines())
    for name, descriptor in given.items():
        with open(descriptor, "rb", closefd=False) as file:
            if hashlib.file_digest(file, "sha3_512").hexdigest() != listed.get(name):
                raise RuntimeError(f"the package {name} is not the one that was measured")
        os.lseek(descriptor, 0, os.SEEK_SET)
    if missing := listed.keys() - given.keys():
        raise RuntimeError(f"not given: {', '.join(sorted(missing))}")
    return [Archive(descriptor) for descriptor in given.values()]
