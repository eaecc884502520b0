"""The first measured file: runs the rest of the enclave from the bytes that were measured.

It is executed as it is, by an interpreter without site-packages, environment and cached bytecode. In an
enclave the three measured files and the third-party packages are in sealed memory; what the application file
says of the latter is compared with that memory. In a monitor, the packages' files are read once, and what was
read is both measured and run. The packages in them are found nowhere else, and of what is not among them only
Python's standard library is found.

Every start of a host waits for what is imported here. So archives are read without `zipfile`, which brings
a hundred times as much code.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import hashlib
import importlib
import importlib.util
import json
import os
import socket
import struct
import sys
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import InspectLoader, MetaPathFinder
else:
    InspectLoader = MetaPathFinder = object

_DEPENDENCIES_ENTRY = "DEPENDENCIES"

_LOADER = "wasm_rt/loader.py"
_READING = tuple(f"schannel/{name}.py" for name in ("__init__", "errors", "extensions", "packages"))
"""The files that read all others."""

_LIBRARY_PATHS = "Crypto.Util._file_system"
"""The module in which pycryptodome says where its libraries are: they are loaded without an import."""


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Options of mallopt(3)."""

_LARGE_BLOCK = 2 << 20
"""Bytes: more than a piece of a file, for which a system call is too much, and little where it is a hole."""


_END = struct.Struct("<4s6xHLLH")
_ENTRY = struct.Struct("<4s6xH8xLL3H8xL")
_HEAD = struct.Struct("<4s22xHH")
"""What an archive in canonical form has (PKWARE's APPNOTE, 4.3): its end, an entry of the directory before
that, and what stands before each file; of which only what says where files are is read."""


class Archive(Mapping[str, bytes]):
    """The files in an archive of the canonical form, each read when it is asked for.

    Args:
        read: gives the bytes at a place, at most so many.
        size: bytes of the archive.

    Raises:
        RuntimeError: it is not in that form.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._places: dict[str, tuple[int, int]] = {}
        try:
            self._read_directory(size)
        except (struct.error, ValueError) as error:
            raise RuntimeError("an archive is not in canonical form") from error

    def _read_directory(self, size: int) -> None:
        mark, count, length, place, _ = _END.unpack(self._read(max(0, size - _END.size), _END.size))
        directory, at = self._read(place, length), 0
        if mark != b"PK\5\6":
            raise ValueError("no end")
        for _ in range(count):
            mark, method, stored, plain, named, *others, place = _ENTRY.unpack_from(directory, at)
            if mark != b"PK\1\2" or method or stored != plain:
                raise ValueError("no entry of a file that is stored as it is")
            at += _ENTRY.size
            self._places[directory[at : at + named].decode()] = place, plain
            at += named + sum(others)

    def __getitem__(self, name: str) -> bytes:
        place, size = self._places[name]
        mark, named, extra = _HEAD.unpack(self._read(place, _HEAD.size))
        content = self._read(place + _HEAD.size + named + extra, size)
        if mark != b"PK\3\4" or len(content) != size:
            raise RuntimeError("an archive is not in canonical form")
        return content

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def unpacked(archive: bytes) -> dict[str, bytes]:
    """The files in an archive; RuntimeError as for `Archive`."""
    return dict(Archive(lambda place, size: archive[place : place + size], len(archive)))


def _in_memory(descriptor: int) -> Archive:
    """An archive in sealed memory, as long as that is open."""
    return Archive(lambda place, size: os.pread(descriptor, size, place), os.fstat(descriptor).st_size)


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
        return compile(self._source, f"<measured>/{self._name}", "exec", dont_inherit=True)

    def create_module(self, spec: ModuleSpec) -> None:
        """Have Python make the module."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), vars(module))
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


INTERPRETER_OPTIONS = ("-I", "-S", "-B", "-X", "pycache_prefix=/dev/null/none")
"""No environment, no working directory, no site-packages with their `.pth` files, and no cached bytecode, not
even of the standard library: nothing can be below that path."""

_ZYGOTE = """
import os, socket, sys
import ctypes.util, dataclasses, decimal, difflib, fcntl, hashlib, hmac, importlib.util, json, mmap, pdb
import pickle, platform, re, resource, selectors, signal, struct, threading, typing, weakref
os.chdir("/")
control = socket.socket(fileno=int(sys.argv[1]))
text, descriptors, _, _ = socket.recv_fds(control, 65536, 64)
if not text:
    sys.exit()
files = []
for descriptor in descriptors[:4]:
    with open(descriptor, "rb") as file:
        files.append(file.read())
names = {"__name__": "wasm_rt.loader"}
exec(compile(files[0], "<measured>/wasm_rt/loader.py", "exec"), names)
names["main"](control, *files, dict(zip(json.loads(text), descriptors[4:], strict=True)))
"""
"""Imports what enclaves need of the standard library while the monitor reads and measures, then waits for the
measured files: everything that these lines do not do is done by measured code."""


def start_zygote() -> tuple[int, socket.socket]:
    """In a monitor, first of all: start the process that enclaves are forked from.

    Returns its number and its control socket, on which it waits for what `give_files` gives it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        theirs.set_inheritable(True)
        number = str(theirs.fileno())
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, *INTERPRETER_OPTIONS, "-c", _ZYGOTE, number],
            {},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            ],
        )
    return pid, ours


def give_files(zygote: socket.socket, files: Sequence[bytes], archives: Mapping[str, bytes]) -> None:
    """Give the zygote its files in sealed memory: the three measured ones and the settings.

    `archives` are those of the third-party packages. A zygote that has ended gets nothing.
    """
    descriptors = [sealed_memory("measured", content) for content in (*files, *archives.values())]
    # Its socket says next that it has ended.
    with contextlib.suppress(ConnectionError):
        socket.send_fds(zygote, [json.dumps([*archives]).encode()], descriptors)
    for descriptor in descriptors:
        os.close(descriptor)


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
    control: socket.socket,
    loader: bytes,
    runtime: bytes,
    application: bytes,
    settings: bytes,
    dependencies: Mapping[str, int],
) -> None:
    """In the process that enclaves are forked from: load the application, serve until the monitor ends.

    Args:
        control: the socket to the monitor.
        loader, runtime, application: the three measured files; this is the first.
        settings: JSON object, the operator's part of the configuration; its digest is in the evidence.
        dependencies: third-party package to the descriptor of its archive.
    """
    _keep_large_blocks_apart()
    ours = unpacked(runtime) | unpacked(application)
    archives = _check_dependencies(ours[_DEPENDENCIES_ENTRY].decode(), dependencies)
    sys.meta_path[:0] = [MeasuredFinder([ours, *archives]), StandardLibraryOnly()]
    # Nothing that is made while modules are loaded is garbage; the zygote enables it again.
    gc.disable()
    importlib.import_module("wasm_rt.zygote").serve(control, settings, loader, ours)


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
    return [_in_memory(descriptor) for descriptor in given.values()]
