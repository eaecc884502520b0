"""Whether an extension was built from the sources that lie beside it.

At the build, `setup.py` links a record into each: the names of its sources, and a hash of what they said.
Where the sources are there, as in a checkout, the two are compared; an installed package has none. Python
would load an old extension, and fail at the first thing that has changed since.

`tinywasm` and `schannel` each have this file, since neither imports the other.
"""

from __future__ import annotations

import importlib.util
import mmap
import os
import warnings
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES

STALE = "the extension was built from other sources; build it again"

_MARK = b"built from the sources "


def record(folder: str, names: Sequence[str]) -> bytes:
    """What is linked into an extension that is made of these files in a folder."""
    # What Python keeps pyc files by: quick, and there without another import.
    digest = importlib.util.source_hash(b"\0".join(_read(os.path.join(folder, name)) for name in names))
    return _MARK + digest.hex().encode() + b" of " + " ".join(names).encode()


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def is_stale(name: str) -> bool:
    """Whether the module of that name is an extension, and was built from other sources than there are."""
    package, _, module = name.rpartition(".")
    found = importlib.util.find_spec(package)
    folders = (found and found.submodule_search_locations) or ()
    return any(
        is_stale_file(os.path.join(folder, module + suffix))
        for folder in folders
        for suffix in EXTENSION_SUFFIXES
    )


def is_stale_file(built: str) -> bool:
    """The same of an extension's file, which need not be there."""
    folder, file_name = os.path.split(built)
    stem = os.path.join(folder, file_name.partition(".")[0])
    # What Cython reads is not installed.
    if not any(os.path.exists(stem + suffix) for suffix in (".pyx", ".pxd")):
        return False
    try:
        with open(built, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = content.find(_MARK)
            found = content[start : content.find(b"\0", start)]
    except FileNotFoundError:
        return False
    try:
        names = found.decode().partition(" of ")[2].split()
        return start < 0 or record(folder, names) != found
    except FileNotFoundError:
        return True


def usable(name: str) -> bool:
    """Whether an extension may be loaded; says so in a warning where it is stale."""
    if not is_stale(name):
        return True
    warnings.warn(f"{name}: {STALE}; until then Python does its work", RuntimeWarning, stacklevel=2)
    return False
