"""The first measured file: runs the rest of the enclave from the bytes that were measured.

It is executed as it is, by an interpreter without site-packages and without an environment, with the three
measured files in memory. The packages in them are found nowhere else; the third-party packages, whose
digests the application file lists and the monitor has compared, are the only others that are found outside of
Python's standard library.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import io
import json
import os
import socket
import sys
import zipfile
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from types import CodeType, ModuleType


class MeasuredFinder(MetaPathFinder):
    """Finds the modules of the packages in measured archives, and refuses those packages' names elsewhere."""

    def __init__(self, archives: Sequence[bytes]) -> None:
        self._entries: dict[str, bytes] = {}
        for archive in archives:
            with zipfile.ZipFile(io.BytesIO(archive)) as opened:
                self._entries |= {name: opened.read(name) for name in opened.namelist()}
        self.packages = frozenset(name.partition("/")[0] for name in self._entries if "/" in name)

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
        for name, is_package in ((f"{stem}/__init__.py", True), (f"{stem}.py", False)):
            if name in self._entries:
                loader = _MeasuredLoader(self._entries[name], name, is_package)
                return importlib.util.spec_from_loader(fullname, loader, is_package=is_package)
        for suffix in EXTENSION_SUFFIXES:
            if stem + suffix in self._entries:
                return self._extension(fullname, self._entries[stem + suffix])
        raise ModuleNotFoundError(f"No module named {fullname!r} in the measured files", name=fullname)

    def _extension(self, fullname: str, content: bytes) -> ModuleSpec | None:
        # A compiled module can only be loaded from a file: one in memory, that stays open with the process.
        descriptor = os.memfd_create(fullname)
        os.write(descriptor, content)
        path = f"/proc/self/fd/{descriptor}"
        return importlib.util.spec_from_file_location(
            fullname, path, loader=ExtensionFileLoader(fullname, path)
        )


class _MeasuredLoader(InspectLoader):
    def __init__(self, source: bytes, name: str, is_package: bool) -> None:
        self._source = source
        self._name = name
        self._is_package = is_package

    def is_package(self, fullname: str) -> bool:
        return self._is_package

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._source)

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._source, f"<measured>/{self._name}")


class DependencyFinder(MetaPathFinder):
    """Finds the listed third-party packages, and nothing beside them, in the given folders."""

    def __init__(self, folders: dict[str, str]) -> None:
        self._folders = folders

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a listed package; its submodules are found by Python's own finder."""
        folder = self._folders.get(fullname)
        if folder is None:
            return None
        return importlib.machinery.PathFinder.find_spec(fullname, [os.path.dirname(folder)])


def main(
    control: int, loader: bytes, runtime: bytes, application: bytes, dependencies: str, settings: str
) -> None:
    """Load the measured application and serve the monitor's requests for enclaves until it hangs up.

    Args:
        control: descriptor of the socket to the monitor.
        loader, runtime, application: the three measured files; this is the first.
        dependencies: JSON object, third-party package to its folder.
        settings: JSON object, the operator's part of the configuration; its digest is in the evidence.
    """
    sys.meta_path.insert(0, MeasuredFinder([runtime, application]))
    sys.meta_path.append(DependencyFinder(json.loads(dependencies)))
    zygote = importlib.import_module("wasm_rt.zygote")
    zygote.serve(socket.socket(fileno=control), settings)
